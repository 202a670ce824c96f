/* After 101 Switching Protocols: bytes both ways, half-close passed on (RFC 9110 7.8). */
#include <sys/socket.h>

#include "http.h"
#include "worker.h"

uint64_t tunnel_limit(const struct exchange *x)
{
    const struct conf_timeouts *t = &x->runtime->conf->timeouts;
    /* A side that has closed its half waits for the end, not for a conversation. */
    bool half = x->tunnel_eof[0] || x->tunnel_eof[1];
    return half && t->idle && t->idle < t->tunnel ? t->idle : t->tunnel;
}

void tunnel_begin(struct exchange *x)
{
    x->state = EXCHANGE_TUNNEL;
    x->upstream_keep = false;
    downstream_clock(x->d);
    upstream_clock(x);
    struct conn *d = &x->d->c;
    conn_read(d, true);
    conn_pump(d);
    /* An end that came before the switch is reported again. */
    if (!d->dead && d->eof_seen)
        event_active(&d->rev, EV_READ, 0);
}

size_t tunnel_input(struct exchange *x, bool from_upstream, const char *data, size_t len)
{
    conn_put(from_upstream ? &x->d->c : &x->u->c, data, len);
    downstream_clock(x->d);
    upstream_clock(x);
    return len;
}

/* Passes FIN on when everything before it has been handed to the socket. */
static void _pass_fin(struct exchange *x, bool to_upstream)
{
    struct conn *c = to_upstream ? &x->u->c : &x->d->c;
    conn_flush(c->worker);
    if (!c->dead && !c->out)
        shutdown(c->fd, SHUT_WR);
}

void tunnel_eof(struct exchange *x, bool from_upstream)
{
    x->tunnel_eof[from_upstream] = true;
    if (!x->tunnel_eof[0] || !x->tunnel_eof[1]) {
        _pass_fin(x, !from_upstream);
        downstream_clock(x->d);
        upstream_clock(x);
        return;
    }
    /* Both sides are done: what is queued still leaves. */
    struct downstream *d = x->d;
    conn_finish(&upstream_unbind(x)->c, false);
    x->downstream_close = true;
    d->x = NULL;
    exchange_free(d->c.worker, x);
    conn_finish(&d->c, false);
}

void tunnel_drained(struct exchange *x, bool upstream_side)
{
    if (x->tunnel_eof[!upstream_side])
        _pass_fin(x, upstream_side);
}
