/* The server's side: connections, their idle pools, and what happens to them. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "endpoint.h"
#include "http.h"
#include "kpath.h"
#include "worker.h"

struct upstream *upstream_of(const struct conn *c)
{
    return (struct upstream *)((char *)c - offsetof(struct upstream, c));
}

static struct upstream_pool *_pool(struct worker *w, uint32_t endpoint)
{
    return &w->pools[endpoint];
}

/* Whether the worker keeps as many idle connections to the endpoint as it may, on both paths.
 * Userspace may keep one all the same: a kernel path that idles with the whole number must not
 * make every new client's first request open a connection of its own. */
static bool _full(struct worker *w, uint32_t endpoint)
{
    uint32_t max = w->runtime->conf->limits.idle_upstreams;
    if (max && !_pool(w, endpoint)->n_idle)
        return false;
    return _pool(w, endpoint)->n_idle + kpath_pooled(w, endpoint) >= max;
}

/* Takes an idle connection out of its list. */
static void _unpark(struct upstream *u)
{
    struct upstream_pool *p = _pool(u->c.worker, u->c.endpoint);
    if (!u->idle.tqe_prev)
        return;
    TAILQ_REMOVE(&p->idle, u, idle);
    u->idle.tqe_prev = NULL;
    p->n_idle--;
}

static void _forget_pin(struct upstream *u)
{
    if (u->pinned_by)
        u->pinned_by->pinned = NULL;
    u->pinned_by = NULL;
}

static void _destroy(struct upstream *u)
{
    _unpark(u);
    _forget_pin(u);
    conn_close(&u->c, false);
}

static size_t _input(struct conn *c, const char *data, size_t len)
{
    struct upstream *u = upstream_of(c);
    size_t used = 0;
    while (used < len && u->x && !c->dead && c->reading) {
        struct exchange *x = u->x;
        size_t n = x->state == EXCHANGE_TUNNEL ? tunnel_input(x, true, data + used, len - used)
                                               : response_input(x, data + used, len - used);
        used += n;
        if (!n || c->dead)
            return used;
    }
    if (!u->x && used < len) {
        /* Nobody asked: never delivered, and the connection is not trusted again. */
        _destroy(u);
        return len;
    }
    return used;
}

static void _eof(struct conn *c)
{
    struct upstream *u = upstream_of(c);
    struct exchange *x = u->x;
    if (!x)
        _destroy(u);
    else if (x->state == EXCHANGE_TUNNEL)
        tunnel_eof(x, true);
    else
        response_eof(x, c->was_reset ? ECONNRESET : 0);
}

static void _broken(struct conn *c, int err)
{
    struct upstream *u = upstream_of(c);
    struct exchange *x = u->x;
    if (!x)
        _destroy(u);
    else if (c->connecting)
        exchange_upstream_failed(x, err, true);
    else if (x->state == EXCHANGE_TUNNEL)
        exchange_cancel(x, FAULT_UPSTREAM_RESET);
    else
        response_eof(x, err);
}

static void _congested(struct conn *c)
{
    struct exchange *x = upstream_of(c)->x;
    if (!x)
        return;
    if (x->state != EXCHANGE_RESPONSE)
        conn_read(&x->d->c, false);
    downstream_clock(x->d);
    upstream_clock(x);
}

static void _drained(struct conn *c)
{
    struct exchange *x = upstream_of(c)->x;
    if (!x)
        return;
    upstream_clock(x);
    if (x->state == EXCHANGE_TUNNEL)
        tunnel_drained(x, true);
    downstream_resume(x->d);
    if (upstream_of(c)->x == x)
        downstream_clock(x->d);
}

static void _expired(struct conn *c)
{
    struct upstream *u = upstream_of(c);
    struct exchange *x = u->x;
    if (c->kernel && !kpath_expired(c))
        return;
    if (!x) {
        kpath_wake(c);
        if (!u->x)
            _destroy(u);
    } else if (c->connecting) {
        exchange_upstream_failed(x, ETIMEDOUT, true);
    } else if (x->state == EXCHANGE_TUNNEL) {
        exchange_cancel(x, FAULT_TUNNEL_TIMEOUT);
    } else {
        exchange_endpoint_failed(x, "response timeout");
        exchange_fail(x, FAULT_RESPONSE_TIMEOUT, "upstream timeout");
    }
}

static bool _idle(const struct conn *c)
{
    return !upstream_of(c)->x;
}

static void _clock(struct conn *c)
{
    if (upstream_of(c)->x)
        upstream_clock(upstream_of(c)->x);
}

static void _cancel(struct conn *c)
{
    struct exchange *x = upstream_of(c)->x;
    if (x)
        exchange_cancel(x, FAULT_DRAIN_TIMEOUT);
    else
        conn_close(c, true);
}

static void _park(struct conn *c)
{
    upstream_park(upstream_of(c));
}

static const struct conn_ops _ops = {
    .input = _input,
    .eof = _eof,
    .broken = _broken,
    .connected = _clock,
    .congested = _congested,
    .drained = _drained,
    .expired = _expired,
    .idle = _idle,
    .clock = _clock,
    .cancel = _cancel,
    .park = _park,
};

/* The request that was outstanding on the connection is over. */
static void _uncount(struct upstream *u)
{
    if (u->c.counted)
        endpoint_uncount(u->c.endpoint);
    u->c.counted = false;
}

static void _release(struct conn *c)
{
    struct upstream *u = upstream_of(c);
    struct worker *w = c->worker;
    _uncount(u);
    stat_add(&w->stats.endpoints[u->c.endpoint].active, -1);
    _forget_pin(u);
    free(u);
    worker_conn_gone(w);
}

void upstream_clock(struct exchange *x)
{
    const struct conf_timeouts *t = &x->runtime->conf->timeouts;
    struct conn *c = x->u ? &x->u->c : NULL;
    if (!c)
        return;
    if (c->connecting)
        conn_deadline(c, t->connect);
    else if (x->state == EXCHANGE_TUNNEL)
        conn_deadline(c, tunnel_limit(x));
    else if (c->out)
        conn_deadline(c, t->write);
    else if (!c->reading || x->state == EXCHANGE_REQUEST)
        conn_deadline(c, 0); /* The client has the clock. */
    else
        conn_deadline(c, t->response);
}

void upstream_bind(struct exchange *x, struct upstream *u)
{
    u->x = x;
    x->u = u;
    stat_add(&u->c.worker->stats.endpoints[u->c.endpoint].outstanding, 1);
}

struct upstream *upstream_unbind(struct exchange *x)
{
    struct upstream *u = x->u;
    x->u = NULL;
    u->x = NULL;
    stat_add(&u->c.worker->stats.endpoints[u->c.endpoint].outstanding, -1);
    _uncount(u);
    return u;
}

static void _bind(struct exchange *x, struct upstream *u)
{
    upstream_bind(x, u);
    x->sent_before = u->c.sent;
    if (x->cluster->conf->lb_policy == CONF_LEAST_REQUEST) {
        u->c.counted = true;
        endpoint_count(u->c.endpoint);
    }
    stat_add(&u->c.worker->stats.endpoints[u->c.endpoint].requests, 1);
}

static int _connect(struct exchange *x)
{
    struct worker *w = x->d->c.worker;
    const struct conf_address *a = &x->endpoint->conf->address;
    int one = 1;
    int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct upstream *u = calloc(1, sizeof(*u));
    if (!u) {
        close(fd);
        return -ENOMEM;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    conn_bound_buffers(fd, x->runtime->conf->limits.buffer);
    conn_init(&u->c, w, fd, &_ops, _release);
    u->c.upstream = true;
    u->c.endpoint = x->endpoint->id;
    kpath_connecting(&u->c, x->cluster->conf->bypass_except);
    stat_add(&w->stats.endpoints[u->c.endpoint].connects, 1);
    stat_add(&w->stats.endpoints[u->c.endpoint].active, 1);
    if (connect(fd, (const struct sockaddr *)&a->sa, a->len)) {
        int err = errno;
        if (err != EINPROGRESS) {
            conn_close(&u->c, false);
            return -err;
        }
        conn_await_connect(&u->c);
    }
    _bind(x, u);
    conn_read(&u->c, true);
    upstream_clock(x);
    return 0;
}

/* Whether nothing has come from an idle connection. Its event may be waiting behind the one that we
 * are in, and what has come answers no request that is still to be sent (RFC 9112 9.2). */
static bool _is_silent(const struct upstream *u)
{
    char byte;
    return recv(u->c.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

/* An idle connection for the exchange: its client's own, or anybody's. */
static struct upstream *_kept(struct exchange *x)
{
    struct upstream *own = x->d->pinned;
    struct upstream *u;
    if (own && !own->c.dead && own->c.endpoint == x->endpoint->id && _is_silent(own)) {
        x->pin = true;
        return own;
    }
    while ((u = TAILQ_FIRST(&_pool(x->d->c.worker, x->endpoint->id)->idle)) && !_is_silent(u))
        _destroy(u);
    return u;
}

int upstream_get(struct exchange *x, bool fresh)
{
    struct upstream *u = fresh ? NULL : _kept(x);
    if (!u)
        return _connect(x);
    _unpark(u);
    _forget_pin(u);
    u->reused = true;
    _bind(x, u);
    return 0;
}

void upstream_drop(struct exchange *x)
{
    if (x->u)
        _destroy(upstream_unbind(x));
}

void upstream_park(struct upstream *u)
{
    struct worker *w = u->c.worker;
    struct upstream_pool *p = _pool(w, u->c.endpoint);
    const struct conf *conf = w->runtime->conf;
    if (u->c.dead || u->idle.tqe_prev || u->pinned_by)
        return;
    if (u->c.eof_seen || u->c.write_failed || u->c.out || w->draining || _full(w, u->c.endpoint)) {
        _destroy(u);
        return;
    }
    u->scanned = 0;
    conn_deadline(&u->c, conf->timeouts.idle);
    TAILQ_INSERT_HEAD(&p->idle, u, idle);
    p->n_idle++;
    conn_read(&u->c, true);
}

void upstream_unpin(struct downstream *d)
{
    if (d->pinned)
        _destroy(d->pinned);
}

void upstream_pin(struct exchange *x)
{
    struct downstream *d = x->d;
    struct upstream *u = upstream_unbind(x);
    if (u->c.dead)
        return;
    if (u->c.eof_seen || u->c.write_failed || u->c.out || u->c.worker->draining) {
        _destroy(u);
        return;
    }
    upstream_unpin(d);
    d->pinned = u;
    u->pinned_by = d;
    u->scanned = 0;
    conn_deadline(&u->c, u->c.worker->runtime->conf->timeouts.idle);
    conn_read(&u->c, true);
}

void upstream_release(struct exchange *x)
{
    bool donate = x->want_donate;
    struct downstream *d = x->d;
    struct upstream *u = upstream_unbind(x);
    if (u->c.dead)
        return;
    struct worker *w = u->c.worker;
    if (donate && !u->c.eof_seen && !u->c.out && !w->draining &&
        kpath_pooled(w, u->c.endpoint) < w->runtime->conf->limits.idle_upstreams && kpath_donate(&u->c)) {
        kpath_remember(&d->c, &u->c);
        return;
    }
    upstream_park(u);
}
