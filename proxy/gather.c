#include "gather.h"

#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "conn_internal.h"
#include "worker.h"

/* Buffers ----------------------------------------------------------------------------- */

/* Gives a connection a buffer; the first one of a round sees to its end: libevent puts an event
 * that is made active behind those that it has found in this round. */
static struct gather *_take(struct conn *c)
{
    struct gathers *gs = &c->worker->gathers;
    struct gather *g = TAILQ_FIRST(&gs->kept);
    if (g) {
        TAILQ_REMOVE(&gs->kept, g, link);
        gs->n_kept--;
    } else {
        g = malloc(sizeof(*g));
        if (!g)
            abort();
    }
    if (TAILQ_EMPTY(&gs->used))
        event_active(&gs->round, EV_READ, 0);
    g->c = c;
    g->len = 0;
    c->gather = g;
    TAILQ_INSERT_TAIL(&gs->used, g, link);
    gs->n_used++;
    return g;
}

/* Parts a connection from its buffer. @return The buffer, NULL without. */
static struct gather *_detach(struct conn *c)
{
    struct gathers *gs = &c->worker->gathers;
    struct gather *g = c->gather;
    if (!g)
        return NULL;
    c->gather = NULL;
    TAILQ_REMOVE(&gs->used, g, link);
    gs->n_used--;
    return g;
}

static void _give_back(struct worker *w, struct gather *g)
{
    struct gathers *gs = &w->gathers;
    if (!g)
        return;
    if (gs->n_kept == GATHERS_KEPT) {
        free(g);
        return;
    }
    TAILQ_INSERT_HEAD(&gs->kept, g, link);
    gs->n_kept++;
}

/* Writing ----------------------------------------------------------------------------- */

/* Writes what is gathered, and `data` after it. */
static void _write(struct conn *c, const void *data, size_t len)
{
    struct worker *w = c->worker;
    struct gather *g = _detach(c); /* First: the owner may put more when it is called back. */
    struct iovec iov[2] = {{.iov_base = g ? g->data : NULL, .iov_len = g ? g->len : 0},
                           {.iov_base = (void *)data, .iov_len = len}};
    conn_write(c, iov, 2);
    _give_back(w, g);
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

void gather_put(struct conn *c, const void *data, size_t len)
{
    struct gathers *gs = &c->worker->gathers;
    /* Behind a queue, or when the socket may not be written to, there is nothing to save. */
    if (!c->gather && (len > GATHER_SIZE || c->out || !conn_may_write(c))) {
        _write(c, data, len);
        return;
    }
    while (!c->gather && gs->n_used >= GATHERS_MAX)
        gather_write(TAILQ_FIRST(&gs->used)->c);
    if (c->dead || c->write_failed) /* By an owner that was called back. */
        return;
    struct gather *g = c->gather ? c->gather : _take(c);
    if (g->len + len > GATHER_SIZE) {
        _write(c, data, len);
        return;
    }
    memcpy(g->data + g->len, data, len);
    g->len += len;
}

/* API of conn.h ----------------------------------------------------------------------- */

void conn_gather(struct conn *c)
{
    conn_push(c);
    c->gathering = true;
}

size_t conn_gathered(const struct conn *c)
{
    return c->gather ? c->gather->len : 0;
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
