/* The client's side: heads, limits, order of requests, keep-alive and its end. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "balance.h"
#include "http.h"
#include "kpath.h"
#include "log.h"
#include "takeover.h"
#include "worker.h"

/** Empty lines tolerated before a request line (RFC 9112 2.2), in bytes. */
#define EMPTY_LINES_MAX 16

/** Bytes of later requests kept while one is outstanding; reading stops above. */
#define PIPELINE_KEEP 16384

struct downstream *downstream_of(const struct conn *c)
{
    return (struct downstream *)((char *)c - offsetof(struct downstream, c));
}

static struct listener_stats *_stats(struct downstream *d)
{
    return &d->c.worker->stats.listeners[d->c.listener_id];
}

static const struct conf *_conf(struct downstream *d)
{
    return d->c.worker->runtime->conf;
}

void downstream_fault(struct downstream *d, enum fault f, const char *why)
{
    stat_add(&_stats(d)->faults[f], 1);
    log_debug("%s: status=%u reason=%s: %s", runtime_listener_name(d->c.listener_id), fault_status(f),
              fault_name(f), why);
}

/* Sends an error answer outside of an exchange and ends the connection. */
static void _refuse(struct downstream *d, enum fault f, const char *why)
{
    downstream_fault(d, f, why);
    stat_add(&_stats(d)->errors, 1);
    reply(d, fault_status(f), NULL, true, false);
    conn_finish(&d->c, true);
}

/* Parses one head and begins its exchange. @return Bytes consumed. */
static size_t _request(struct downstream *d, const char *data, size_t len)
{
    const struct conf_limits *cl = &_conf(d)->limits;
    struct http1_limits limits = {.header_bytes = (uint32_t)cl->header_bytes,
                                  .header_count = cl->header_count,
                                  .target_bytes = (uint32_t)cl->target_bytes};
    static _Thread_local struct http1_message m;
    size_t end = http1_head_end(data, len, d->scanned);
    if (!end) {
        int status = http1_request_partial(data, len, &limits);
        if (status) {
            stat_add(&_stats(d)->requests, 1);
            _refuse(d, fault_of_status(status), http1_error());
            return len;
        }
        bool first = !d->scanned;
        d->scanned = (uint32_t)len;
        if (first)
            downstream_clock(d);
        return 0;
    }
    d->scanned = 0;
    d->c.requests++;
    stat_add(&_stats(d)->requests, 1);
    int status = http1_parse_request(data, end, &limits, &m);
    if (status) {
        _refuse(d, fault_of_status(status), http1_error());
        return len;
    }
    exchange_begin(d, data, &m);
    return end;
}

static size_t _input(struct conn *c, const char *data, size_t len)
{
    struct downstream *d = downstream_of(c);
    size_t used = 0;
    while (used < len && !c->dead && !c->closing) {
        if (!d->x && c->out) {
            conn_read(c, false); /* A client that does not read gets no more answers. */
            break;
        } else if (!d->x) {
            size_t skip = http1_skip_empty_lines(data + used, len - used);
            if (skip > EMPTY_LINES_MAX) {
                _refuse(d, FAULT_BAD_REQUEST, "too many empty lines");
                return len;
            }
            used += skip;
            if (used == len)
                break;
            size_t n = _request(d, data + used, len - used);
            if (!n)
                break;
            used += n;
        } else if (d->x->state == EXCHANGE_TUNNEL) {
            return used + tunnel_input(d->x, false, data + used, len - used);
        } else if (d->x->state == EXCHANGE_REQUEST) {
            size_t n = exchange_request_body(d->x, data + used, len - used);
            used += n;
            if (!n || !c->reading)
                break;
        } else {
            if (len - used > PIPELINE_KEEP)
                conn_read(c, false);
            break;
        }
    }
    /* Once the connection is ending, what still comes in is nobody's. */
    return c->closing ? len : used;
}

static void _eof(struct conn *c)
{
    struct downstream *d = downstream_of(c);
    struct exchange *x = d->x;
    if (!x) {
        conn_finish(c, false); /* Of the last response something may be left to send. */
    } else if (x->state == EXCHANGE_TUNNEL) {
        tunnel_eof(x, false);
    } else if (x->state == EXCHANGE_REQUEST) {
        exchange_truncated(x);
    } else if (kpath_is_abandoned(c)) {
        exchange_cancel(x, FAULT_CLIENT_CLOSED);
    }
    /* A half-closed client that asked for something still gets it. */
}

static void _broken(struct conn *c, int err)
{
    struct downstream *d = downstream_of(c);
    (void)err;
    if (d->x)
        exchange_cancel(d->x, FAULT_CLIENT_CLOSED);
    else
        conn_close(c, true);
}

static void _congested(struct conn *c)
{
    struct downstream *d = downstream_of(c);
    if (!d->x) {
        conn_read(c, false);
    } else if (d->x->u) {
        conn_read(&d->x->u->c, false);
        upstream_clock(d->x);
    }
    downstream_clock(d);
}

static void _drained(struct conn *c)
{
    struct downstream *d = downstream_of(c);
    struct exchange *x = d->x;
    if (!x) {
        downstream_next(d, false, false);
        return;
    }
    if (x->u)
        conn_read(&x->u->c, true);
    if (c->dead || d->x != x)
        return;
    if (x->state == EXCHANGE_TUNNEL)
        tunnel_drained(x, false);
    upstream_clock(x);
    downstream_clock(d);
}

void downstream_clock(struct downstream *d)
{
    const struct conf_timeouts *t = &_conf(d)->timeouts;
    struct exchange *x = d->x;
    if (d->c.out)
        conn_deadline(&d->c, t->write);
    else if (!x)
        conn_deadline(&d->c, conn_pending(&d->c) || d->scanned ? t->header : t->idle);
    else if (x->state == EXCHANGE_TUNNEL)
        conn_deadline(&d->c, tunnel_limit(x));
    else if (x->state == EXCHANGE_REQUEST && !(x->u && x->u->c.out))
        conn_deadline(&d->c, t->body);
    else
        conn_deadline(&d->c, 0); /* The upstream side has the clock. */
}

static void _expired(struct conn *c)
{
    struct downstream *d = downstream_of(c);
    struct exchange *x = d->x;
    if (c->kernel && !kpath_expired(c))
        return;
    if (c->out) {
        if (x)
            exchange_cancel(x, FAULT_WRITE_TIMEOUT);
        else
            conn_close(c, true);
    } else if (!x && (conn_pending(c) || d->scanned)) {
        _refuse(d, FAULT_HEADER_TIMEOUT, "head timeout");
    } else if (!x) {
        /* Between messages: from here on userspace owns it, so that FIN comes last. */
        kpath_wake(c);
        if (!d->x && !conn_pending(c))
            conn_finish(c, true);
    } else if (x->state == EXCHANGE_TUNNEL) {
        exchange_cancel(x, FAULT_TUNNEL_TIMEOUT);
    } else if (x->state == EXCHANGE_REQUEST) {
        exchange_fail(x, FAULT_BODY_TIMEOUT, "request body timeout");
    }
}

static bool _idle(const struct conn *c)
{
    return !downstream_of(c)->x;
}

static void _clock(struct conn *c)
{
    downstream_clock(downstream_of(c));
}

static void _cancel(struct conn *c)
{
    struct exchange *x = downstream_of(c)->x;
    if (x)
        exchange_cancel(x, FAULT_DRAIN_TIMEOUT);
    else
        conn_close(c, true);
}

static void _drain(struct conn *c)
{
    kpath_wake(c);
    if (!c->dead && _idle(c))
        conn_finish(c, true);
}

static const struct conn_ops _ops = {
    .input = _input,
    .eof = _eof,
    .broken = _broken,
    .connected = NULL,
    .congested = _congested,
    .drained = _drained,
    .expired = _expired,
    .idle = _idle,
    .clock = _clock,
    .cancel = _cancel,
    .drain = _drain,
    .takeover = takeover,
    .source = balance_hash_source,
};

static void _release(struct conn *c)
{
    struct downstream *d = downstream_of(c);
    struct worker *w = c->worker;
    stat_add(&_stats(d)->active, -1);
    upstream_unpin(d);
    atomic_fetch_sub_explicit(&w->connections, 1, memory_order_relaxed);
    free(d);
    worker_conn_gone(w);
}

void downstream_new(struct worker_listener *l, int fd)
{
    struct worker *w = l->worker;
    struct downstream *d = calloc(1, sizeof(*d));
    if (!d) {
        close(fd);
        return;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    conn_init(&d->c, w, fd, &_ops, _release);
    d->c.listener = l;
    d->c.listener_id = l->rt->id;
    stat_add(&_stats(d)->accepted, 1);
    stat_add(&_stats(d)->active, 1);
    atomic_fetch_add_explicit(&w->connections, 1, memory_order_relaxed);
    downstream_clock(d);
    conn_read(&d->c, true);
}

void downstream_resume(struct downstream *d)
{
    conn_read(&d->c, true);
}

void downstream_next(struct downstream *d, bool close, bool linger)
{
    struct conn *c = &d->c;
    d->x = NULL;
    if (c->dead)
        return;
    if (close || (c->eof_seen && !conn_pending(c)) || c->worker->draining || !d->c.listener) {
        conn_finish(c, linger);
        return;
    }
    downstream_clock(d);
    if (c->out || c->pumping)
        return; /* Goes on when the output has left, or in the loop that called us. */
    conn_read(c, true);
    conn_pump(c);
    if (c->dead || c->closing || c->out)
        return;
    if (!c->eof_seen)
        kpath_promote(c);
    else if (!d->x)
        conn_finish(c, false);
    else if (d->x->state == EXCHANGE_REQUEST && !conn_pending(c))
        exchange_truncated(d->x);
}
