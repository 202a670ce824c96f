/*
 * MULTI to EXEC, and WATCH. MULTI is answered here: which shard the transaction belongs to is
 * known with its first key. Then it gets a connection of its own, which is told MULTI and what
 * was queued before.
 */
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#include "redis.h"
#include "worker.h"

void redis_transaction_reset(struct redis_client *cl)
{
    if (cl->tx.held)
        evbuffer_free(cl->tx.held);
    memset(&cl->tx, 0, sizeof(cl->tx));
}

void redis_transaction_lost(struct redis_client *cl)
{
    bool open = cl->tx.open, watching = cl->tx.watching;
    redis_transaction_reset(cl);
    cl->tx.open = open;
    cl->tx.dirty = open;
    cl->tx.lost = watching && !open;
}

/* Ends the transaction; its connection holds no state any more (`clean`), or ends too. */
static void _end(struct redis_client *cl, bool clean)
{
    struct redis_upstream *u = redis_pinned(cl, REDIS_PIN_TRANSACTION);
    redis_transaction_reset(cl);
    if (u)
        redis_shard_unpin(u, clean);
}

void redis_transaction_abort(struct redis_client *cl)
{
    _end(cl, false);
}

/* EXEC, DISCARD or UNWATCH was answered. */
static void _ended(struct redis_request *r)
{
    if (r->client)
        _end(r->client, !r->failed);
}

/* The shard's answer to MULTI and to what was queued here has been given already. */
static void _swallowed(struct redis_request *r)
{
    if (r->client && (r->failed || r->reply[0] != '+'))
        r->client->tx.dirty = true;
}

static void _send_quietly(struct redis_upstream *u, struct redis_client *cl, const char *data, size_t len)
{
    struct redis_request *r = redis_request_new_part(cl->c.worker, cl, NULL);
    r->collect = true;
    r->complete = _swallowed;
    redis_upstream_send(u, r, data, len);
}

/* The last command of a transaction. */
static void _send_last(const struct redis_call *call, struct redis_upstream *u)
{
    struct redis_client *cl = call->client;
    struct redis_request *r = redis_request_new(cl, call->command);
    r->complete = _ended;
    cl->alone = true;
    cl->tx.open = false;
    redis_upstream_send(u, r, call->in->text, call->in->text_len);
}

static struct redis_upstream *_pin(const struct redis_call *call, const struct rt_endpoint *e)
{
    struct redis_client *cl = call->client;
    const char *why;
    struct redis_upstream *u = redis_pinned(cl, REDIS_PIN_TRANSACTION);
    if (!u)
        u = redis_shard_pin(redis_shard_get(cl, e), cl, REDIS_PIN_TRANSACTION, &why);
    if (!u)
        redis_unavailable(call, e, why);
    return u;
}

/* Tells the shard MULTI and the commands that came before it was known. */
static void _begin(struct redis_client *cl, struct redis_upstream *u)
{
    if (cl->tx.begun)
        return;
    cl->tx.begun = true;
    _send_quietly(u, cl, "*1\r\n$5\r\nMULTI\r\n", 15);
    size_t len = cl->tx.held ? evbuffer_get_length(cl->tx.held) : 0;
    const char *data = len ? (const char *)evbuffer_pullup(cl->tx.held, -1) : NULL;
    struct resp_request in = {0};
    while (len && resp_request_parse(&in, data, len, &cl->limits) == RESP_DONE) {
        _send_quietly(u, cl, in.text, in.text_len);
        data += in.size;
        len -= in.size;
        resp_request_reset(&in);
    }
    resp_request_free(&in);
    if (cl->tx.held)
        evbuffer_free(cl->tx.held);
    cl->tx.held = NULL;
}

/* A command without a key: kept until the shard is known. */
static enum redis_taken _queue_keyless(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    if (cl->tx.begun)
        return redis_send_pinned(call);
    if (!cl->tx.held)
        cl->tx.held = evbuffer_new();
    if (!cl->tx.held || evbuffer_add(cl->tx.held, call->in->text, call->in->text_len))
        abort();
    if (evbuffer_get_length(cl->tx.held) > REDIS_STREAM_MIN)
        redis_client_error(cl, "ERR too many commands without a key at the beginning of a transaction");
    else
        redis_client_reply(cl, "+QUEUED\r\n", 9);
    return REDIS_TAKEN;
}

static enum redis_taken _queue_at(const struct redis_call *call, uint32_t place)
{
    struct redis_client *cl = call->client;
    if (cl->tx.placed && !redis_ring_same(redis_cluster(cl)->ring, cl->tx.place, place)) {
        redis_client_error(cl, "CROSSSLOT Keys in request don't hash to the same slot");
        return REDIS_TAKEN;
    }
    struct redis_upstream *u = _pin(call, redis_place_endpoint(cl, place));
    if (!u)
        return REDIS_TAKEN;
    if (!redis_upstream_takes(u, cl))
        return REDIS_WAIT;
    cl->tx.placed = true;
    cl->tx.place = place;
    _begin(cl, u);
    redis_send(call, u);
    return REDIS_TAKEN;
}

static bool _is(const struct redis_call *call, const char *name)
{
    return strcmp(call->command->name, name) == 0;
}

enum redis_taken redis_transaction_queue(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    uint32_t place;
    if (call->command->flags & REDIS_NO_MULTI) {
        redis_client_error(cl, "ERR Command not allowed inside a transaction");
        return REDIS_TAKEN;
    }
    switch (call->command->policy) {
    case REDIS_FORWARD:
    case REDIS_BLOCKING:
    case REDIS_SPLIT_MGET:
    case REDIS_SPLIT_MSET:
    case REDIS_SPLIT_SUM:
        return redis_call_place(call, &place) ? _queue_at(call, place) : REDIS_TAKEN;
    case REDIS_LOCAL:
        if (_is(call, "ping") || _is(call, "echo") || _is(call, "time"))
            return _queue_keyless(call);
        break;
    default:
        break;
    }
    redis_client_error(cl, "ERR command '%s' is not supported inside a transaction by this proxy",
                       call->command->name);
    return REDIS_TAKEN;
}

/* MULTI, EXEC, ... -------------------------------------------------------------------- */

static enum redis_taken _multi(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    if (cl->tx.open) {
        bool dirty = cl->tx.dirty;
        redis_client_error(cl, "ERR MULTI calls can not be nested");
        cl->tx.dirty = dirty; /* Redis does not hold this one against the transaction. */
        return REDIS_TAKEN;
    }
    if (cl->head)
        return REDIS_WAIT;
    cl->tx.open = true;
    cl->tx.dirty = false;
    redis_client_ok(cl);
    return REDIS_TAKEN;
}

static enum redis_taken _exec(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    if (!cl->tx.open) {
        redis_client_error(cl, "ERR EXEC without MULTI");
        return REDIS_TAKEN;
    }
    if (cl->head)
        return REDIS_WAIT; /* What is queued may still be refused. */
    if (cl->tx.dirty) {
        redis_client_error(cl, "EXECABORT Transaction discarded because of previous errors.");
        _end(cl, false);
        return REDIS_TAKEN;
    }
    if (cl->tx.lost) {
        redis_client_replyf(cl, "%s", cl->resp == 3 ? "_\r\n" : "*-1\r\n");
        _end(cl, false);
        return REDIS_TAKEN;
    }
    if (!cl->tx.begun && !cl->tx.held && !cl->tx.watching) {
        redis_client_reply(cl, "*0\r\n", 4);
        _end(cl, true);
        return REDIS_TAKEN;
    }
    struct redis_upstream *u = _pin(call, &redis_cluster(cl)->endpoints[0]);
    if (!u) {
        _end(cl, false);
        return REDIS_TAKEN;
    }
    _begin(cl, u);
    _send_last(call, u);
    return REDIS_TAKEN;
}

static enum redis_taken _discard(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    if (!cl->tx.open) {
        redis_client_error(cl, "ERR DISCARD without MULTI");
        return REDIS_TAKEN;
    }
    struct redis_upstream *u = redis_pinned(cl, REDIS_PIN_TRANSACTION);
    if (u) {
        _begin(cl, u);
        _send_last(call, u);
        return REDIS_TAKEN;
    }
    redis_client_ok(cl);
    _end(cl, true);
    return REDIS_TAKEN;
}

static enum redis_taken _watch(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    uint32_t place;
    if (cl->tx.open) {
        bool dirty = cl->tx.dirty;
        redis_client_error(cl, "ERR WATCH inside MULTI is not allowed");
        cl->tx.dirty = dirty;
        return REDIS_TAKEN;
    }
    if (!redis_call_place(call, &place))
        return REDIS_TAKEN;
    if (cl->tx.watching && !redis_ring_same(redis_cluster(cl)->ring, cl->tx.place, place)) {
        redis_client_error(cl, "CROSSSLOT Keys in request don't hash to the same slot");
        return REDIS_TAKEN;
    }
    if (!cl->tx.watching && cl->head)
        return REDIS_WAIT; /* What was sent before must have happened before. */
    struct redis_upstream *u = _pin(call, redis_place_endpoint(cl, place));
    if (!u)
        return REDIS_TAKEN;
    cl->tx.watching = true;
    cl->tx.placed = true;
    cl->tx.place = place;
    return redis_send_pinned(call);
}

static enum redis_taken _unwatch(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    if (cl->tx.open)
        return _queue_keyless(call);
    struct redis_upstream *u = redis_pinned(cl, REDIS_PIN_TRANSACTION);
    cl->tx.lost = false;
    if (u)
        _send_last(call, u);
    else
        redis_client_ok(cl);
    return REDIS_TAKEN;
}

enum redis_taken redis_transaction(const struct redis_call *call)
{
    if (_is(call, "multi"))
        return _multi(call);
    if (_is(call, "exec"))
        return _exec(call);
    if (_is(call, "discard"))
        return _discard(call);
    if (_is(call, "watch"))
        return _watch(call);
    return _unwatch(call);
}
