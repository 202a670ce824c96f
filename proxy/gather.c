#include "gather.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "conn_internal.h"
#include "worker.h"

/* Buffers ----------------------------------------------------------------------------- */

/* A buffer without owner. */
static struct gather *_buffer(struct gathers *gs)
{
    struct gather *g = TAILQ_FIRST(&gs->kept);
    if (g) {
        TAILQ_REMOVE(&gs->kept, g, link);
        gs->n_kept--;
    } else {
        g = malloc(sizeof(*g));
        if (!g)
            abort();
    }
    g->len = 0;
    g->next = NULL;
    gs->n_used++;
    return g;
}

/* Gives a connection its first buffer; the first one of a round sees to its end: libevent puts an
 * event that is made active behind those that it has found in this round. */
static struct gather *_take(struct conn *c)
{
    struct gathers *gs = &c->worker->gathers;
    struct gather *g = _buffer(gs);
    if (TAILQ_EMPTY(&gs->used))
        event_active(&gs->round, EV_READ, 0);
    g->c = c;
    g->total = 0;
    g->last = g;
    c->gather = g;
    TAILQ_INSERT_TAIL(&gs->used, g, link);
    return g;
}

/* Parts a connection from its buffers. @return The first one, NULL without. */
static struct gather *_detach(struct conn *c)
{
    struct gather *g = c->gather;
    if (!g)
        return NULL;
    c->gather = NULL;
    TAILQ_REMOVE(&c->worker->gathers.used, g, link);
    return g;
}

static void _give_back(struct worker *w, struct gather *g)
{
    struct gathers *gs = &w->gathers;
    struct gather *next;
    for (; g; g = next) {
        next = g->next;
        gs->n_used--;
        if (gs->n_kept == GATHERS_KEPT) {
            free(g);
            continue;
        }
        TAILQ_INSERT_HEAD(&gs->kept, g, link);
        gs->n_kept++;
    }
}

/* Writing ----------------------------------------------------------------------------- */

/* Writes what is gathered, and `data` after it. */
static void _write(struct conn *c, const void *data, size_t len)
{
    struct worker *w = c->worker;
    struct gather *first = _detach(c); /* First: the owner may put more when it is called back. */
    struct iovec iov[GATHER_MANY + 1];
    int n = 0;
    for (struct gather *g = first; g; g = g->next)
        iov[n++] = (struct iovec){.iov_base = g->data, .iov_len = g->len};
    if (len)
        iov[n++] = (struct iovec){.iov_base = (void *)data, .iov_len = len};
    conn_write(c, iov, n);
    _give_back(w, first);
}

void gather_write(struct conn *c)
{
    if (c->gather)
        _write(c, NULL, 0);
}

void gather_drop(struct conn *c)
{
    _give_back(c->worker, _detach(c));
}

static void _on_round(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    struct gather *g;
    (void)fd;
    (void)what;
    while ((g = TAILQ_FIRST(&w->gathers.used)))
        gather_write(g->c);
    conn_flush(w);
}

/* Copies into a connection's buffers, which have room for it. */
static void _fill(struct gathers *gs, struct gather *first, const char *data, size_t len)
{
    first->total += len;
    while (len) {
        struct gather *g = first->last;
        size_t n = GATHER_SIZE - g->len < len ? GATHER_SIZE - g->len : len;
        memcpy(g->data + g->len, data, n);
        g->len += n;
        data += n;
        len -= n;
        if (len)
            first->last = g->next = _buffer(gs);
    }
}

void gather_put(struct conn *c, const void *data, size_t len)
{
    struct gathers *gs = &c->worker->gathers;
    /* Behind a queue, or when the socket may not be written to, there is nothing to save. */
    if (!c->gather && (len > c->gather_max * GATHER_SIZE || c->out || !conn_may_write(c))) {
        _write(c, data, len);
        return;
    }
    while (!c->gather && gs->n_used >= GATHERS_MAX)
        gather_write(TAILQ_FIRST(&gs->used)->c);
    if (c->dead || c->write_failed) /* By an owner that was called back. */
        return;
    struct gather *g = c->gather ? c->gather : _take(c);
    bool fits = g->total + len <= c->gather_max * GATHER_SIZE &&
                (g->last->len + len <= GATHER_SIZE || gs->n_used + c->gather_max <= GATHERS_MAX);
    if (fits)
        _fill(gs, g, data, len);
    else
        _write(c, data, len);
}

/* API of conn.h ----------------------------------------------------------------------- */

void conn_gather(struct conn *c, unsigned buffers)
{
    conn_push(c);
    c->gathering = true;
    c->gather_max = (uint8_t)buffers;
}

size_t conn_gathered(const struct conn *c)
{
    return c->gather ? c->gather->total : 0;
}

/* Life -------------------------------------------------------------------------------- */

void gather_worker_init(struct worker *w)
{
    struct gathers *gs = &w->gathers;
    TAILQ_INIT(&gs->used);
    TAILQ_INIT(&gs->kept);
    gs->n_used = gs->n_kept = 0;
    event_assign(&gs->round, w->base, -1, 0, _on_round, w);
}

void gather_worker_free(struct worker *w)
{
    struct gathers *gs = &w->gathers;
    struct gather *g;
    while ((g = TAILQ_FIRST(&gs->used)))
        gather_drop(g->c);
    while ((g = TAILQ_FIRST(&gs->kept))) {
        TAILQ_REMOVE(&gs->kept, g, link);
        free(g);
    }
    gs->n_kept = 0;
}
