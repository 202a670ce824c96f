/*
 * Subscriptions and MONITOR. Each has a connection of its own; what comes there are messages,
 * not replies. Classic channels and patterns live on the cluster's first endpoint, so that every
 * PUBLISH finds every pattern; sharded channels live on the shard of their slot. MONITOR listens
 * to all shards.
 */
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis.h"
#include "worker.h"

/** Messages that may wait for the end of a reply. */
#define HELD_MAX (1U << 20)

static bool _is(const struct redis_call *call, const char *name)
{
    return strcmp(call->command->name, name) == 0;
}

static const struct rt_endpoint *_home(const struct redis_client *cl)
{
    return &redis_cluster(cl)->endpoints[0];
}

/* The connection of the client's subscriptions: that of the classic ones, which stays where it began
 * when a reload makes another endpoint the first, or that of an endpoint's sharded ones. */
static struct redis_upstream *_find(const struct redis_client *cl, bool classic, uint32_t endpoint)
{
    struct redis_upstream *u;
    LIST_FOREACH (u, &cl->pins, pins) {
        if (u->pin == REDIS_PIN_MESSAGES && u->classic == classic && (classic || u->c.endpoint == endpoint))
            return u;
    }
    return NULL;
}

bool redis_pubsub_allows(const struct redis_call *call)
{
    static const char *const allowed[] = {"subscribe",    "psubscribe", "unsubscribe",
                                          "punsubscribe", "ssubscribe", "sunsubscribe",
                                          "ping",         "quit",       "reset"};
    if (call->client->resp == 3 || !redis_pinned(call->client, REDIS_PIN_MESSAGES))
        return true;
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        if (_is(call, allowed[i]))
            return true;
    }
    redis_client_error(
        call->client,
        "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
        "allowed in this context",
        call->command->name);
    return false;
}

/* Messages ---------------------------------------------------------------------------- */

static bool _begins(const char *data, size_t len, const char *kind)
{
    char head[48];
    int n = snprintf(head, sizeof(head), "$%zu\r\n%s\r\n", strlen(kind), kind);
    return len > (size_t)n && memcmp(data, head, (size_t)n) == 0;
}

/* The integer at the end of a confirmation. */
static uint32_t _count(const char *data, size_t len)
{
    size_t at = len;
    while (at > 0 && data[at - 1] != ':')
        at--;
    return (uint32_t)strtoul(data + at, NULL, 10);
}

/* All confirmations have come: connections without subscriptions are given up. The next command may
 * wait for this, even if the client does not read at the moment. */
static void _settled(struct redis_client *cl)
{
    struct redis_upstream *u, *next;
    for (u = LIST_FIRST(&cl->pins); u; u = next) {
        next = LIST_NEXT(u, pins);
        bool classic = u->classic && cl->subs.channels + cl->subs.patterns;
        if (u->pin == REDIS_PIN_MESSAGES && !classic && !u->shard_subs)
            redis_shard_unpin(u, false);
        else if (!u->c.dead)
            u->c.ops->clock(&u->c); /* No answer is due any more. */
    }
    if (!cl->c.reading)
        redis_client_resume(cl);
}

/* One error stands for all confirmations of a command. */
static void _refused(struct redis_client *cl)
{
    if (!cl->subs.awaited)
        return;
    cl->subs.awaited = 0;
    _settled(cl);
}

/* Follows what a confirmation says. */
static void _confirmed(struct redis_client *cl, struct redis_upstream *u, const char *data, size_t len)
{
    struct redis_subs *s = &cl->subs;
    uint32_t count = _count(data, len);
    if (_begins(data, len, "subscribe") || _begins(data, len, "unsubscribe"))
        s->channels = count > s->patterns ? count - s->patterns : 0;
    else if (_begins(data, len, "psubscribe") || _begins(data, len, "punsubscribe"))
        s->patterns = count > s->channels ? count - s->channels : 0;
    else if (_begins(data, len, "ssubscribe") || _begins(data, len, "sunsubscribe"))
        u->shard_subs = count;
    else
        return;
    if (s->awaited && --s->awaited)
        return;
    _settled(cl);
}

static void _deliver(struct redis_client *cl, const char *data, size_t len)
{
    struct redis_request *r = cl->head;
    if (!r || !r->started) {
        conn_put(&cl->c, data, len);
        return;
    }
    if (!cl->subs.held)
        cl->subs.held = evbuffer_new();
    if (!cl->subs.held || evbuffer_add(cl->subs.held, data, len))
        abort();
    if (evbuffer_get_length(cl->subs.held) > HELD_MAX)
        redis_client_close(cl, true);
}

void redis_pubsub_message(struct redis_upstream *u)
{
    struct redis_client *cl = u->owner;
    size_t len = evbuffer_get_length(u->message);
    struct evbuffer *message = u->message;
    const char *data = (const char *)evbuffer_pullup(message, -1);
    char type;
    int64_t n;
    u->message = evbuffer_new();
    if (!u->message)
        abort();
    if (cl && u->pin == REDIS_PIN_MONITOR && !u->monitoring) {
        u->monitoring = true; /* Its OK: the client has had one. */
        if (data[0] == '-')
            redis_upstream_fail(u, false, "MONITOR refused");
    } else if (cl) {
        int header = resp_header(data, len, &type, &n);
        bool subscription = u->pin == REDIS_PIN_MESSAGES && header > 0;
        _deliver(cl, data, len);
        if (u->pin == REDIS_PIN_MESSAGES && data[0] == '-')
            _refused(cl);
        else if (subscription && n == 3)
            _confirmed(cl, u, data + header, len - (size_t)header);
        /* A client that does not read gets no more; its own connection waits with the rest. */
        if (!cl->c.dead && !u->c.dead &&
            conn_backlog(&cl->c) > cl->c.worker->runtime->conf->limits.buffer / 2)
            redis_upstream_pause(u);
    }
    evbuffer_free(message);
}

void redis_pubsub_flush(struct redis_client *cl)
{
    size_t len = evbuffer_get_length(cl->subs.held);
    if (cl->head && cl->head->started)
        return;
    conn_put(&cl->c, evbuffer_pullup(cl->subs.held, -1), len);
    evbuffer_free(cl->subs.held);
    cl->subs.held = NULL;
}

void redis_pubsub_reset(struct redis_client *cl)
{
    if (cl->subs.held)
        evbuffer_free(cl->subs.held);
    memset(&cl->subs, 0, sizeof(cl->subs));
}

/* Commands ---------------------------------------------------------------------------- */

/* What redis says to somebody who was not subscribed. */
static void _not_subscribed(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    const char *name = call->command->name, *header = cl->resp == 3 ? ">3" : "*3";
    if (call->in->argc == 1)
        redis_client_replyf(cl, "%s\r\n$%zu\r\n%s\r\n%s\r\n:0\r\n", header, strlen(name), name,
                            cl->resp == 3 ? "_" : "$-1");
    for (uint32_t i = 1; i < call->in->argc; i++) {
        struct evbuffer *b = evbuffer_new();
        size_t len;
        const char *channel = redis_arg(call, i, &len);
        if (!b)
            abort();
        evbuffer_add_printf(b, "%s\r\n$%zu\r\n%s\r\n$%zu\r\n", header, strlen(name), name, len);
        evbuffer_add(b, channel, len);
        evbuffer_add(b, "\r\n:0\r\n", 6);
        len = evbuffer_get_length(b);
        redis_client_reply(cl, (const char *)evbuffer_pullup(b, -1), len);
        evbuffer_free(b);
    }
}

/* How many confirmations the command brings. */
static uint32_t _confirmations(const struct redis_call *call, const struct redis_upstream *u)
{
    const struct redis_subs *s = &call->client->subs;
    uint32_t all;
    if (call->in->argc > 1)
        return call->in->argc - 1;
    if (_is(call, "unsubscribe"))
        all = s->channels;
    else
        all = _is(call, "punsubscribe") ? s->patterns : u->shard_subs;
    return all ? all : 1;
}

static enum redis_taken _subscription(const struct redis_call *call, const struct rt_endpoint *e, bool more)
{
    struct redis_client *cl = call->client;
    const char *why;
    if (cl->head)
        return REDIS_WAIT;
    bool classic = call->command->policy == REDIS_PUBSUB;
    struct redis_upstream *u = _find(cl, classic, e->id);
    if (!u && !more) {
        _not_subscribed(call);
        return REDIS_TAKEN;
    }
    if (!u)
        u = redis_shard_pin(redis_shard_get(cl, e), cl, REDIS_PIN_MESSAGES, &why);
    if (!u) {
        redis_unavailable(call, e, why);
        return REDIS_TAKEN;
    }
    u->classic = classic;
    cl->mute_next = false; /* Confirmations are no replies. */
    cl->subs.awaited = _confirmations(call, u);
    redis_upstream_more(u, call->in->text, call->in->text_len);
    u->c.ops->clock(&u->c);
    return REDIS_TAKEN;
}

/* SUNSUBSCRIBE without a channel: from all of them. */
static enum redis_taken _unsubscribe_all_shards(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    struct redis_upstream *u;
    uint32_t awaited = 0;
    if (cl->head)
        return REDIS_WAIT;
    LIST_FOREACH (u, &cl->pins, pins) {
        if (u->pin == REDIS_PIN_MESSAGES && !u->classic)
            awaited += _confirmations(call, u);
    }
    cl->subs.awaited = awaited;
    if (!awaited)
        _not_subscribed(call);
    LIST_FOREACH (u, &cl->pins, pins) {
        if (u->pin == REDIS_PIN_MESSAGES && !u->classic) {
            redis_upstream_more(u, call->in->text, call->in->text_len);
            u->c.ops->clock(&u->c);
        }
    }
    return REDIS_TAKEN;
}

/* The endpoint of sharded channels, which all share a slot. */
static enum redis_taken _sharded(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    const struct redis_ring *ring = redis_cluster(cl)->ring;
    bool publish = _is(call, "spublish");
    uint32_t place = 0;
    size_t len;
    if (call->in->argc == 1)
        return _unsubscribe_all_shards(call);
    for (uint32_t i = 1; i < (publish ? 2 : call->in->argc); i++) {
        const char *channel = redis_arg(call, i, &len);
        uint32_t p = redis_ring_place(ring, channel, len);
        if (i > 1 && !redis_ring_same(ring, place, p)) {
            redis_client_error(cl, "CROSSSLOT Keys in request don't hash to the same slot");
            return REDIS_TAKEN;
        }
        place = p;
    }
    const struct rt_endpoint *e = redis_place_endpoint(cl, place);
    return publish ? redis_forward(call, e) : _subscription(call, e, _is(call, "ssubscribe"));
}

enum redis_taken redis_pubsub(const struct redis_call *call)
{
    if (call->command->policy == REDIS_SHARD_PUBSUB)
        return _sharded(call);
    if (_is(call, "subscribe") || _is(call, "psubscribe"))
        return _subscription(call, _home(call->client), true);
    if (_is(call, "unsubscribe") || _is(call, "punsubscribe"))
        return _subscription(call, _home(call->client), false);
    return redis_forward(call, _home(call->client));
}

enum redis_taken redis_monitor(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    const struct rt_cluster *cluster = redis_cluster(cl);
    const char *why;
    if (cl->head)
        return REDIS_WAIT;
    if (redis_pinned(cl, REDIS_PIN_MONITOR)) {
        redis_client_ok(cl);
        return REDIS_TAKEN;
    }
    for (size_t i = 0; i < cluster->conf->n_endpoints; i++) {
        const struct rt_endpoint *e = &cluster->endpoints[i];
        struct redis_upstream *u = redis_shard_pin(redis_shard_get(cl, e), cl, REDIS_PIN_MONITOR, &why);
        if (!u) {
            redis_unavailable(call, e, why);
            while ((u = redis_pinned(cl, REDIS_PIN_MONITOR))) /* Not those of WATCH and SUBSCRIBE. */
                redis_shard_unpin(u, false);
            return REDIS_TAKEN;
        }
        redis_upstream_more(u, call->in->text, call->in->text_len);
    }
    redis_client_ok(cl);
    return REDIS_TAKEN;
}
