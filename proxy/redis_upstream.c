/* Connections to the shards: commands out in one order, replies in in the same (redis_upstream_reply.c). */
#include <errno.h>
#include <event2/buffer.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "gather.h"
#include "kpath.h"
#include "log.h"
#include "redis.h"
#include "redis_upstream_internal.h"
#include "redis_worker.h"
#include "skein/slot.h"
#include "worker.h"

/** How long a client that does not read may hold up others that share its connection. */
#define STALL_NS (200ULL * 1000 * 1000)

struct redis_upstream *redis_upstream_of(struct conn *c)
{
    return (struct redis_upstream *)((char *)c - offsetof(struct redis_upstream, c));
}

/* Whether something has to come: the replies to the setup, the reply to a command that does not block,
 * or the confirmation of a subscription. */
static bool _answer_due(const struct redis_upstream *u)
{
    if (u->pin == REDIS_PIN_MESSAGES && u->owner->subs.awaited)
        return true;
    return u->setup || (u->head && !(u->owner && u->owner->blocked));
}

void redis_upstream_clock(struct conn *c)
{
    struct redis_upstream *u = redis_upstream_of(c);
    if (c->connecting)
        conn_deadline(c, redis_upstream_conf(u)->timeouts.connect);
    else if (u->paused && !u->head)
        conn_deadline(c, 0); /* Messages: the client's own clock runs. */
    else if (u->paused)
        conn_deadline(c, u->head->next_up ? STALL_NS : redis_upstream_conf(u)->timeouts.write);
    else if (_answer_due(u))
        conn_deadline(c, redis_upstream_conf(u)->timeouts.response);
    else
        conn_deadline(c, u->shared || u->owner ? 0 : redis_upstream_conf(u)->timeouts.idle);
}

/* Sending ----------------------------------------------------------------------------- */

void redis_upstream_flush_run(struct worker *w)
{
    struct redis_worker *rw = w->redis;
    struct redis_upstream *u = rw->run_to;
    if (!u)
        return;
    rw->run_to = NULL;
    if (!u->c.dead)
        conn_put(&u->c, rw->run, rw->run_len);
}

static void _put(struct redis_upstream *u, const char *data, size_t len)
{
    redis_upstream_flush_run(u->c.worker);
    if (!u->setup)
        conn_put(&u->c, data, len);
    else if (evbuffer_add(u->held, data, len))
        abort();
}

void redis_upstream_enqueue(struct redis_upstream *u, struct redis_request *r)
{
    bool first = !u->head;
    r->sent = true;
    r->next_up = NULL;
    *u->tail = r;
    u->tail = &r->next_up;
    if (first)
        redis_upstream_clock(&u->c);
}

void redis_upstream_adopt(struct redis_upstream *u, struct redis_request *r)
{
    redis_upstream_enqueue(u, r);
    u->donate = true;
}

void redis_upstream_send_run(struct redis_upstream *u, struct redis_request *r, const char *data, size_t len)
{
    struct redis_worker *rw = u->c.worker->redis;
    if (u->setup) {
        redis_upstream_send(u, r, data, len);
        return;
    }
    stat_add(&u->c.worker->stats.endpoints[u->c.endpoint].requests, 1);
    redis_upstream_enqueue(u, r);
    if (rw->run_to != u || rw->run + rw->run_len != data) {
        redis_upstream_flush_run(u->c.worker);
        rw->run_to = u;
        rw->run = data;
        rw->run_len = 0;
    }
    rw->run_len += len;
}

void redis_upstream_send(struct redis_upstream *u, struct redis_request *r, const char *data, size_t len)
{
    stat_add(&u->c.worker->stats.endpoints[u->c.endpoint].requests, 1);
    redis_upstream_enqueue(u, r);
    _put(u, data, len);
}

void redis_upstream_more(struct redis_upstream *u, const char *data, size_t len)
{
    _put(u, data, len);
    if (u->owner && u->owner->streaming == u && (u->setup || conn_backlog(&u->c)))
        conn_read(&u->owner->c, false); /* drained() turns it on again. */
}

bool redis_upstream_takes(struct redis_upstream *u, struct redis_client *cl)
{
    if (conn_backlog(&u->c) + (u->held ? evbuffer_get_length(u->held) : 0) <=
        redis_upstream_conf(u)->limits.buffer)
        return true;
    if (!cl->blocked_on) {
        cl->blocked_on = u;
        TAILQ_INSERT_TAIL(&u->waiters, cl, blocked_link);
    }
    return false;
}

static void _wake_waiters(struct redis_upstream *u)
{
    struct redis_client *cl;
    size_t n = 0;
    TAILQ_FOREACH (cl, &u->waiters, blocked_link)
        n++; /* Those behind them come while these go on. */
    while (n-- && (cl = TAILQ_FIRST(&u->waiters))) {
        TAILQ_REMOVE(&u->waiters, cl, blocked_link);
        cl->blocked_on = NULL;
        redis_client_resume(cl);
    }
}

/* Ending ------------------------------------------------------------------------------ */

/* What the owner of a pinned connection loses with it. */
static void _tell_owner(struct redis_client *cl, struct redis_upstream *u, enum redis_pin pin)
{
    if (cl->streaming == u)
        cl->streaming = NULL; /* The rest of the command is dropped. */
    if (pin == REDIS_PIN_MESSAGES || pin == REDIS_PIN_MONITOR)
        redis_client_close(cl, false); /* As a server does that goes away. */
    else if (!cl->c.reading && !cl->c.out && !cl->blocked_on)
        redis_client_resume(cl);
}

void redis_upstream_fail(struct redis_upstream *u, bool failure, const char *why)
{
    struct worker *w = u->c.worker;
    struct redis_request *r, *next;
    struct redis_client *owner = u->owner;
    enum redis_pin pin = u->pin;
    char text[200];
    if (u->c.dead)
        return;
    snprintf(text, sizeof(text), "shard %s: %s", runtime_endpoint_name(u->c.endpoint), why);
    if (failure)
        redis_shard_failed(u->shard, why);
    redis_shard_forget(u);
    redis_upstream_unpause(u);
    conn_close(&u->c, false);
    /* Before its requests fail: then the client may go on with the next commands. */
    if (owner && pin == REDIS_PIN_TRANSACTION)
        redis_transaction_lost(owner);
    r = u->head;
    u->head = NULL;
    u->tail = &u->head;
    for (; r; r = next) {
        next = r->next_up;
        redis_request_fail(w, r, text);
    }
    if (owner && !owner->c.dead)
        _tell_owner(owner, u, pin);
    _wake_waiters(u);
}

/* The server is not to run dry while those who wait are woken: they go on early. */
static void _progress(struct conn *c)
{
    struct redis_upstream *u = redis_upstream_of(c);
    if (!TAILQ_EMPTY(&u->waiters) && conn_backlog(c) < redis_upstream_conf(u)->limits.buffer / 2)
        _wake_waiters(u);
}

void redis_upstream_drained(struct conn *c)
{
    struct redis_upstream *u = redis_upstream_of(c);
    redis_upstream_clock(c); /* Until now the time of a write ran. */
    if (u->owner && u->owner->streaming == u)
        redis_client_resume(u->owner);
    if (!c->dead)
        _wake_waiters(u);
}

/* Events ------------------------------------------------------------------------------ */

static void _eof(struct conn *c)
{
    struct redis_upstream *u = redis_upstream_of(c);
    if (redis_again_send(u))
        return;
    redis_upstream_fail(u, u->head != NULL, "connection closed by the server");
}

static void _broken(struct conn *c, int err)
{
    struct redis_upstream *u = redis_upstream_of(c);
    if (!c->connecting && redis_again_send(u))
        return;
    if (c->connecting)
        stat_add(&c->worker->stats.endpoints[c->endpoint].connect_failures, 1);
    redis_upstream_fail(u, c->connecting || u->head, strerror(err));
}

static void _connected(struct conn *c)
{
    redis_upstream_clock(c);
}

static void _congested(struct conn *c)
{
    (void)c; /* redis_upstream_takes() looks at the backlog. */
}

static void _expired(struct conn *c)
{
    struct redis_upstream *u = redis_upstream_of(c);
    if (c->kernel && !kpath_expired(c))
        return;
    if (c->kernel)
        kpath_wake(c);
    if (c->dead || c->leaving)
        return;
    if (u->paused && u->head && u->head->client) {
        struct redis_client *cl = u->head->client;
        if (!cl->slow && u->head->next_up) {
            cl->slow = true;
            redis_paused_resume(cl);
            return;
        }
        log_info("%s: client closed: it does not read", runtime_listener_name(cl->c.listener_id));
        redis_client_close(cl, true);
        return;
    }
    if (c->connecting)
        stat_add(&c->worker->stats.endpoints[c->endpoint].connect_failures, 1);
    redis_upstream_fail(u, c->connecting || u->head, c->connecting ? "connect timeout" : "timeout");
}

static bool _idle(const struct conn *c)
{
    const struct redis_upstream *u =
        (const struct redis_upstream *)((const char *)c - offsetof(struct redis_upstream, c));
    return !u->head && !u->owner && !u->shared && !u->setup;
}

static void _cancel(struct conn *c)
{
    redis_upstream_fail(redis_upstream_of(c), false, "shutting down");
}

static void _release(struct conn *c)
{
    struct redis_upstream *u = redis_upstream_of(c);
    struct worker *w = c->worker;
    if (w->redis->run_to == u)
        w->redis->run_to = NULL;
    struct redis_request *r, *next;
    redis_shard_forget(u);
    redis_upstream_unpause(u);
    /* A worker that drains closes it under replies that nobody waits for any more. */
    for (r = u->head; r; r = next) {
        next = r->next_up;
        redis_request_fail(w, r, "shutting down");
    }
    if (u->held)
        evbuffer_free(u->held);
    free(u->again);
    evbuffer_free(u->message);
    stat_add(&w->stats.endpoints[c->endpoint].active, -1);
    free(u);
    worker_conn_gone(w);
}

static void _park(struct conn *c)
{
    struct redis_upstream *u = redis_upstream_of(c);
    if (!u->owner && !u->head)
        redis_shard_unpin(u, true);
}

static const struct conn_ops _ops = {
    .protocol = SLOT_REDIS,
    .input = redis_upstream_input,
    .eof = _eof,
    .broken = _broken,
    .connected = _connected,
    .congested = _congested,
    .progress = _progress,
    .drained = redis_upstream_drained,
    .expired = _expired,
    .idle = _idle,
    .park = _park,
    .clock = redis_upstream_clock,
    .cancel = _cancel,
};

struct redis_upstream *redis_upstream_new(struct redis_shard *s, uint8_t resp, bool shared, int *err)
{
    struct worker *w = s->worker;
    const struct conf_address *a = &s->address;
    int one = 1;
    int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *err = errno;
    if (fd < 0)
        return NULL;
    struct redis_upstream *u = calloc(1, sizeof(*u));
    if (!u || !(u->message = evbuffer_new()))
        abort();
    /* Room for what the server writes while the worker is busy with clients: it would have to wait. */
    int receive = (int)(w->runtime->conf->limits.buffer / 2);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    conn_init(&u->c, w, fd, &_ops, _release);
    conn_gather(&u->c, GATHER_MANY);
    u->c.upstream = true;
    u->c.endpoint = s->endpoint;
    u->c.pool_index = UINT32_MAX;
    u->shard = s;
    u->resp = resp;
    u->shared = shared;
    u->tail = &u->head;
    TAILQ_INIT(&u->waiters);
    stat_add(&w->stats.endpoints[s->endpoint].connects, 1);
    stat_add(&w->stats.endpoints[s->endpoint].active, 1);
    /* Userspace alone uses it: without a program in the server's send() it is better off. */
    kpath_connecting(&u->c, s->bypass_except || shared || resp != 2);
    if (connect(fd, (const struct sockaddr *)&a->sa, a->len)) {
        *err = errno;
        if (*err != EINPROGRESS) {
            conn_close(&u->c, false);
            return NULL;
        }
        conn_await_connect(&u->c);
    }
    redis_upstream_setup(u, s->conf);
    conn_read(&u->c, true);
    redis_upstream_clock(&u->c);
    return u;
}
