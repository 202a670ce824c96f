/* Connections to the shards: commands out in one order, replies in in the same. */
#include <errno.h>
#include <event2/buffer.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gather.h"
#include "kpath.h"
#include "log.h"
#include "redis.h"
#include "redis_worker.h"
#include "skein/slot.h"
#include "worker.h"

/** How long a client that does not read may hold up others that share its connection. */
#define STALL_NS (200ULL * 1000 * 1000)

struct redis_upstream *redis_upstream_of(struct conn *c)
{
    return (struct redis_upstream *)((char *)c - offsetof(struct redis_upstream, c));
}

static const struct conf *_conf(const struct redis_upstream *u)
{
    return u->c.worker->runtime->conf;
}

/* Whether something has to come: the replies to the setup, the reply to a command that does not block,
 * or the confirmation of a subscription. */
static bool _answer_due(const struct redis_upstream *u)
{
    if (u->pin == REDIS_PIN_MESSAGES && u->owner->subs.awaited)
        return true;
    return u->setup || (u->head && !(u->owner && u->owner->blocked));
}

static void _clock(struct conn *c)
{
    struct redis_upstream *u = redis_upstream_of(c);
    if (c->connecting)
        conn_deadline(c, _conf(u)->timeouts.connect);
    else if (u->paused && !u->head)
        conn_deadline(c, 0); /* Messages: the client's own clock runs. */
    else if (u->paused)
        conn_deadline(c, u->head->next_up ? STALL_NS : _conf(u)->timeouts.write);
    else if (_answer_due(u))
        conn_deadline(c, _conf(u)->timeouts.response);
    else
        conn_deadline(c, u->shared || u->owner ? 0 : _conf(u)->timeouts.idle);
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

static void _enqueue(struct redis_upstream *u, struct redis_request *r)
{
    bool first = !u->head;
    r->sent = true;
    r->next_up = NULL;
    *u->tail = r;
    u->tail = &r->next_up;
    if (first)
        _clock(&u->c);
}

void redis_upstream_adopt(struct redis_upstream *u, struct redis_request *r)
{
    _enqueue(u, r);
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
    _enqueue(u, r);
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
    _enqueue(u, r);
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
    if (conn_backlog(&u->c) + (u->held ? evbuffer_get_length(u->held) : 0) <= _conf(u)->limits.buffer)
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

static void _unpause(struct redis_upstream *u)
{
    if (u->paused)
        TAILQ_REMOVE(&u->c.worker->redis->paused, u, pause);
    u->paused = false;
}

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
    _unpause(u);
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
    if (!TAILQ_EMPTY(&u->waiters) && conn_backlog(c) < _conf(u)->limits.buffer / 2)
        _wake_waiters(u);
}

static void _drained(struct conn *c)
{
    struct redis_upstream *u = redis_upstream_of(c);
    _clock(c); /* Until now the time of a write ran. */
    if (u->owner && u->owner->streaming == u)
        redis_client_resume(u->owner);
    if (!c->dead)
        _wake_waiters(u);
}

/* Replies ----------------------------------------------------------------------------- */

static void _setup_done(struct redis_request *r)
{
    struct redis_upstream *u = r->arg;
    if (u->c.dead)
        return;
    if (r->reply[0] == '-' || r->failed) {
        char why[100];
        snprintf(why, sizeof(why), "%.*s", (int)r->reply_len - 3, r->reply + 1);
        log_warn("endpoint %s: refuses AUTH or HELLO: %s", runtime_endpoint_name(u->c.endpoint), why);
        redis_upstream_fail(u, true, why);
        return;
    }
    if (--u->setup)
        return;
    size_t len = evbuffer_get_length(u->held);
    if (len)
        conn_put(&u->c, evbuffer_pullup(u->held, -1), len);
    evbuffer_free(u->held);
    u->held = NULL;
    if (!conn_backlog(&u->c))
        _drained(&u->c); /* Whoever waited for it may go on. */
}

static void _setup(struct redis_upstream *u, const char *text, size_t len)
{
    struct redis_request *r = redis_request_new_part(u->c.worker, NULL, NULL);
    r->complete = _setup_done;
    r->arg = u;
    r->collect = true;
    _enqueue(u, r);
    conn_put(&u->c, text, len);
    u->setup++;
}

static void _begin(struct redis_upstream *u, const struct conf_redis_cluster *conf)
{
    char text[9000];
    int n;
    if (conf->password) {
        if (conf->user)
            n = snprintf(text, sizeof(text), "*3\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n",
                         strlen(conf->user), conf->user, strlen(conf->password), conf->password);
        else
            n = snprintf(text, sizeof(text), "*2\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n", strlen(conf->password),
                         conf->password);
        _setup(u, text, (size_t)n);
    }
    if (u->resp == 3)
        _setup(u, "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n", 22);
    if (u->setup)
        u->held = evbuffer_new();
    if (u->setup && !u->held)
        abort();
}

/* Replies that say something about the shard or about skein itself. */
static void _look_at_error(struct redis_upstream *u, const struct redis_request *r, const char *data,
                           size_t len)
{
    static const char protocol[] = "-ERR Protocol error";
    const char *name = runtime_endpoint_name(u->c.endpoint);
    if (len >= sizeof(protocol) - 1 && memcmp(data, protocol, sizeof(protocol) - 1) == 0)
        log_error("endpoint %s: %.*s after command %s", name, (int)(len < 80 ? len : 80), data,
                  r->command ? r->command->name : "of skein's own");
    stat_add(&u->c.worker->stats.endpoints[u->c.endpoint].errors, 1);
}

void redis_upstream_pause(struct redis_upstream *u)
{
    if (u->paused)
        return;
    u->paused = true;
    TAILQ_INSERT_TAIL(&u->c.worker->redis->paused, u, pause);
    conn_read(&u->c, false);
}

/* Whether what comes next on a paused connection may come now. */
static bool _may_go_on(const struct redis_upstream *u, const struct redis_client *cl)
{
    if (!u->head)
        return !u->owner || (u->owner == cl && conn_backlog(&cl->c) <= _conf(u)->limits.buffer / 2);
    return !u->head->client || (u->head->client == cl && redis_request_takes(u->head));
}

void redis_paused_resume(struct redis_client *cl)
{
    struct redis_upstream *u, *next;
    for (u = TAILQ_FIRST(&cl->c.worker->redis->paused); u; u = next) {
        next = TAILQ_NEXT(u, pause);
        if (!_may_go_on(u, cl))
            continue;
        _unpause(u);
        _clock(&u->c);
        conn_read(&u->c, true);
        next = TAILQ_FIRST(&cl->c.worker->redis->paused); /* Reading may have changed the list. */
        if (next == u)
            break;
    }
}

struct redis_request *redis_upstream_detach(struct redis_upstream *u)
{
    struct redis_request *r = u->head;
    if (!r)
        return NULL;
    u->head = r->next_up;
    if (!u->head)
        u->tail = &u->head;
    return r;
}

/* The reply of the first request is complete. */
static void _pop(struct redis_upstream *u)
{
    struct redis_request *r = redis_upstream_detach(u);
    resp_reply_reset(&u->reply);
    free(u->again);
    u->again = NULL;
    if (!u->head && (u->pin == REDIS_PIN_ONCE || u->pin == REDIS_PIN_ADOPTED)) {
        bool early = u->owner->streaming == u;
        if (early)
            u->owner->streaming = NULL; /* The rest of the command is dropped. */
        redis_shard_unpin(u, !early);
    } else if (!u->head && !u->owner && !u->shared && !u->setup) {
        redis_shard_unpin(u, true); /* Its owner has left meanwhile. */
    }
    redis_request_done(u->c.worker, r);
}

/* Consumes one reply or a part of it. @return Bytes; 0: not now. */
static size_t _reply(struct redis_upstream *u, const char *data, size_t len)
{
    size_t used = 0;
    bool begins = !u->reply.type;
    enum resp_result result = resp_reply_feed(&u->reply, data, len, &used);
    if (result == RESP_ERROR) {
        redis_upstream_fail(u, true, u->reply.error);
        return len;
    }
    bool messages = !u->setup && (u->pin == REDIS_PIN_MESSAGES || u->pin == REDIS_PIN_MONITOR);
    if (messages || u->reply.push) {
        if (used && evbuffer_add(u->message, data, used))
            abort();
        if (evbuffer_get_length(u->message) > REDIS_BUFFERED_MAX * _conf(u)->limits.buffer) {
            redis_upstream_fail(u, false, "a message is too large");
            return len;
        }
        if (result == RESP_DONE) {
            resp_reply_reset(&u->reply);
            redis_pubsub_message(u);
        }
        return used;
    }
    struct redis_request *r = u->head;
    if (!r) {
        redis_upstream_fail(u, true, "a reply that nobody asked for");
        return len;
    }
    if (begins && u->reply.type == '-')
        _look_at_error(u, r, data, used);
    if (used)
        redis_request_bytes(r, data, used);
    if (r->client)
        r->client->bytes += used;
    if (result == RESP_DONE)
        _pop(u);
    else if (!redis_request_takes(r))
        redis_upstream_pause(u);
    return used;
}

static size_t _input(struct conn *c, const char *data, size_t len)
{
    struct redis_upstream *u = redis_upstream_of(c);
    size_t used = 0;
    if (u->head && !u->setup)
        redis_shard_answered(u->shard);
    while (used < len && !c->dead && c->reading) {
        size_t n = _reply(u, data + used, len - used);
        used += n;
        if (!n)
            break;
    }
    if (!c->dead && !c->kernel)
        _clock(c);
    return c->dead ? len : used;
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
    _clock(c);
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
    _unpause(u);
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
    .input = _input,
    .eof = _eof,
    .broken = _broken,
    .connected = _connected,
    .congested = _congested,
    .progress = _progress,
    .drained = _drained,
    .expired = _expired,
    .idle = _idle,
    .park = _park,
    .clock = _clock,
    .cancel = _cancel,
};

struct redis_upstream *redis_upstream_new(struct redis_shard *s, uint8_t resp, int *err)
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
    u->tail = &u->head;
    TAILQ_INIT(&u->waiters);
    stat_add(&w->stats.endpoints[s->endpoint].connects, 1);
    stat_add(&w->stats.endpoints[s->endpoint].active, 1);
    kpath_connecting(&u->c, s->bypass_except);
    if (connect(fd, (const struct sockaddr *)&a->sa, a->len)) {
        *err = errno;
        if (*err != EINPROGRESS) {
            conn_close(&u->c, false);
            return NULL;
        }
        conn_await_connect(&u->c);
    }
    _begin(u, s->conf);
    conn_read(&u->c, true);
    _clock(&u->c);
    return u;
}
