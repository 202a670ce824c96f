#include "kpath.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "kernel_internal.h"
#include "log.h"
#include "takeover.h"
#include "worker.h"

/** How often gated connections are looked at. */
#define GATE_POLL_US 500

struct kpath_worker {
    struct kpath *k;
    uint32_t *free; /**< Slots of this worker that nobody uses. */
    uint32_t n_free;
    struct conn_list gated;
    struct event gate_timer;
};

static struct slot *_slot(const struct conn *c)
{
    return &c->worker->kpath->k->slots[c->slot];
}

static struct pool *_pool(const struct upstream *u)
{
    struct kpath *k = u->c.worker->kpath->k;
    return &k->pools[u->endpoint * k->n_workers + u->c.worker->id];
}

/* Slots ------------------------------------------------------------------------------- */

static bool _acquire_slot(struct conn *c)
{
    struct kpath_worker *kw = c->worker->kpath;
    if (!kw->n_free)
        return false;
    c->slot = kw->free[--kw->n_free];
    kw->k->conns[c->slot] = c;
    c->received = 0;
    atomic_fetch_add_explicit(&kw->k->in_use, 1, memory_order_relaxed);
    return true;
}

static void _release_slot(struct conn *c)
{
    struct kpath_worker *kw = c->worker->kpath;
    kw->k->conns[c->slot] = NULL;
    kw->free[kw->n_free++] = c->slot;
    c->slot = SLOT_NONE;
    atomic_fetch_sub_explicit(&kw->k->in_use, 1, memory_order_relaxed);
}

/* Puts the connection into the maps; from then on the programs see its bytes. */
static int _insert(struct conn *c)
{
    struct kpath *k = c->worker->kpath->k;
    c->kernel = true;
    c->cookie = kernel_cookie(c->fd);
    int r = kernel_insert(k, c->slot, c->fd);
    if (r) {
        c->kernel = false;
        kernel_forget(k, c->slot, c->cookie);
        _release_slot(c);
    }
    return r;
}

/* Gives a connection that userspace owned back to the programs, unless something was passed
 * up meanwhile that userspace has not read. */
static bool _give_back(struct conn *c)
{
    struct slot *s = _slot(c);
    uint64_t w = slot_owner(s);
    if (!(w & OWNER_USER) || (w & OWNER_BUSY) || c->gated)
        return false;
    if (__atomic_load_n(&s->passed, __ATOMIC_ACQUIRE) != c->received)
        return false;
    if (c->sent != c->sent_at_take)
        s->tx_valid = 0;
    c->kernel = true;
    if (slot_cas(s, &w, w & ~OWNER_USER))
        return true;
    c->kernel = false;
    return false;
}

/* Downstream -------------------------------------------------------------------------- */

static bool _may_promote(const struct downstream *d)
{
    const struct conn *c = &d->c;
    if (!c->worker->kpath || c->worker->draining || !d->listener || d->listener->rt->kernel_id == UINT32_MAX)
        return false;
    if (d->x || c->dead || c->closing || c->kernel || c->eof_seen || c->write_failed || c->out || c->in)
        return false;
    return c->reading && d->requests >= c->worker->runtime->conf->datapath.promote_after;
}

static void _promote_new(struct downstream *d)
{
    struct kpath *k = d->c.worker->kpath->k;
    if (d->kernel_refused || !_acquire_slot(&d->c))
        return;
    kernel_init_slot(k, d->c.slot, false);
    struct slot *s = _slot(&d->c);
    s->listener = d->listener->rt->kernel_id;
    s->stats_id = d->listener->rt->id;
    s->pool = d->c.worker->id;
    if (_insert(&d->c)) {
        d->kernel_refused = true;
        return;
    }
    stat_add(&d->c.worker->stats.listeners[d->listener_id].promoted, 1);
}

void kpath_promote(struct downstream *d)
{
    if (!_may_promote(d))
        return;
    conn_flush(d->c.worker);
    if (d->c.out || d->c.dead || d->c.write_failed)
        return;
    if (d->c.slot == SLOT_NONE)
        _promote_new(d);
    else if (_give_back(&d->c))
        stat_add(&d->c.worker->stats.listeners[d->listener_id].returned, 1);
}

/* Upstream ---------------------------------------------------------------------------- */

static void _pool_put(struct upstream *u)
{
    uint32_t i = u->pool_index;
    __atomic_fetch_or(&_pool(u)->idle[i / 64], 1ULL << (i % 64), __ATOMIC_ACQ_REL);
}

static void _pool_hide(struct upstream *u)
{
    uint32_t i = u->pool_index;
    __atomic_fetch_and(&_pool(u)->idle[i / 64], ~(1ULL << (i % 64)), __ATOMIC_ACQ_REL);
}

static bool _pool_place(struct upstream *u)
{
    struct pool *p = _pool(u);
    for (uint32_t i = 0; i < POOL_SIZE; i++) {
        if (p->ref[i])
            continue;
        p->ref[i] = slot_ref(u->c.slot, u->c.worker->kpath->k->gens[u->c.slot]);
        u->pool_index = i;
        return true;
    }
    return false;
}

static void _pool_leave(struct upstream *u)
{
    if (u->pool_index == UINT32_MAX)
        return;
    _pool_hide(u);
    _pool(u)->ref[u->pool_index] = 0;
    u->pool_index = UINT32_MAX;
}

static bool _donate_new(struct upstream *u)
{
    struct kpath *k = u->c.worker->kpath->k;
    if (u->endpoint >= k->n_endpoints || !_acquire_slot(&u->c))
        return false;
    kernel_init_slot(k, u->c.slot, true);
    struct slot *s = _slot(&u->c);
    s->stats_id = u->endpoint;
    s->pool = u->endpoint * k->n_workers + u->c.worker->id;
    if (!_pool_place(u)) {
        kernel_forget(k, u->c.slot, 0);
        _release_slot(&u->c);
        return false;
    }
    s->pool_index = u->pool_index;
    if (!_insert(&u->c)) {
        _pool_put(u);
        return true;
    }
    _pool_leave(u);
    return false;
}

bool kpath_donate(struct upstream *u)
{
    struct conn *c = &u->c;
    if (!c->worker->kpath || c->dead || c->closing || c->in || c->out || c->write_failed || !c->reading)
        return false;
    conn_flush(c->worker);
    if (c->dead || c->out || c->write_failed)
        return false;
    if (c->slot == SLOT_NONE)
        return _donate_new(u);
    if (!_give_back(c))
        return false;
    _pool_put(u);
    return true;
}

/* Taking over ------------------------------------------------------------------------- */

/* Makes userspace the owner: programs of the connection pass everything up from now on, and
 * none of them is at work. @return The owner word. */
static uint64_t _take(struct conn *c)
{
    struct slot *s = _slot(c);
    uint64_t w = slot_owner(s);
    for (;;) {
        /* BUSY lasts for one run of a program, which nothing preempts. */
        if (w & OWNER_BUSY)
            w = slot_owner(s);
        else if ((w & OWNER_USER) || slot_cas(s, &w, w | OWNER_USER))
            break;
    }
    if (c->kernel)
        c->sent_at_take = c->sent;
    c->kernel = false;
    c->gated = true; /* Until kpath_drained() says otherwise. */
    return slot_owner(s);
}

static void _clear_lease(struct slot *s)
{
    __atomic_fetch_and(&s->owner, ~OWNER_LEASE_MASK, __ATOMIC_ACQ_REL);
}

static struct conn *_partner(struct conn *c, uint64_t owner)
{
    uint32_t ref = owner_lease(owner);
    return ref ? c->worker->kpath->k->conns[ref_index(ref)] : NULL;
}

/* Takes both sides. @return Whether they still had a lease, which is theirs no more. */
static bool _take_pair(struct conn *c, struct conn **partner)
{
    uint64_t w = _take(c);
    struct conn *p = _partner(c, w);
    if (!p)
        return false;
    _take(p);
    *partner = p;
    /* The upstream side may have completed the response between the two. */
    w = slot_owner(_slot(c));
    uint64_t pw = slot_owner(_slot(p));
    bool holds = owner_lease(w) && owner_lease(pw);
    _clear_lease(_slot(c));
    _clear_lease(_slot(p));
    return holds;
}

/* An upstream connection that turned out to be idle goes where it can be used. */
static void _settle_upstream(struct upstream *u)
{
    u->c.gated = false; /* A complete response proves that the request has left. */
    if (!kpath_donate(u))
        upstream_park(u);
}

void kpath_wake(struct conn *c)
{
    struct conn *p = NULL;
    if (!c->kernel)
        return;
    bool leased = _take_pair(c, &p);
    struct conn *d = c->upstream ? p : c, *u = c->upstream ? c : p;
    if (leased) {
        _pool_hide(upstream_of(u));
        takeover(downstream_of(d), upstream_of(u), _slot(d), _slot(u));
        return;
    }
    if (p && p->upstream)
        _settle_upstream(upstream_of(p));
    if (p && !p->upstream)
        kpath_promote(downstream_of(p));
    if (c->upstream) {
        c->gated = false;
        _pool_hide(upstream_of(c));
        upstream_park(upstream_of(c));
    } else if (_slot(c)->picked) {
        downstream_of(c)->picked = _slot(c)->picked;
        _slot(c)->picked = 0;
    }
}

void kpath_detach(struct conn *c)
{
    struct conn *p = NULL;
    if (c->gate_listed) {
        TAILQ_REMOVE(&c->worker->kpath->gated, c, gate);
        c->gate_listed = false;
    }
    if (c->slot == SLOT_NONE)
        return;
    if (c->kernel && _take_pair(c, &p)) {
        /* The other side has lost its counterpart in the middle of a message. */
        conn_close(p, true);
    } else if (p) {
        if (p->upstream)
            _settle_upstream(upstream_of(p));
        else
            kpath_promote(downstream_of(p));
    } else {
        _take(c);
    }
    if (c->upstream)
        _pool_leave(upstream_of(c));
}

void kpath_free_slot(struct conn *c)
{
    if (c->slot == SLOT_NONE)
        return;
    kernel_forget(c->worker->kpath->k, c->slot, c->cookie);
    _release_slot(c);
}

/* Drain gate -------------------------------------------------------------------------- */

bool kpath_drained(struct conn *c)
{
    if (c->slot == SLOT_NONE)
        return true;
    return tcp_written(c->fd) >= c->sent + __atomic_load_n(&_slot(c)->redirected, __ATOMIC_ACQUIRE);
}

static void _arm_gate(struct kpath_worker *kw)
{
    struct timeval tv = {.tv_usec = GATE_POLL_US};
    if (!event_pending(&kw->gate_timer, EV_TIMEOUT, NULL))
        event_add(&kw->gate_timer, &tv);
}

void kpath_gate(struct conn *c)
{
    struct kpath_worker *kw = c->worker->kpath;
    if (!c->gate_listed) {
        TAILQ_INSERT_TAIL(&kw->gated, c, gate);
        c->gate_listed = true;
    }
    _arm_gate(kw);
}

static void _on_gate(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    struct kpath_worker *kw = w->kpath;
    struct conn *c;
    unsigned n = 0;
    (void)fd;
    (void)what;
    TAILQ_FOREACH(c, &kw->gated, gate)
        n++;
    /* Each once: one that is still closed lists itself again, at the end. */
    while (n-- && (c = TAILQ_FIRST(&kw->gated))) {
        TAILQ_REMOVE(&kw->gated, c, gate);
        c->gate_listed = false;
        conn_gate_opened(c);
    }
    conn_flush(w);
    if (!TAILQ_EMPTY(&kw->gated))
        _arm_gate(kw);
}

/* The rest ---------------------------------------------------------------------------- */

bool kpath_active(struct conn *c)
{
    if (!c->kernel)
        return false;
    uint32_t now = __atomic_load_n(&_slot(c)->activity, __ATOMIC_RELAXED);
    bool active = now != c->activity;
    c->activity = now;
    return active;
}

void kpath_reload(struct worker *w)
{
    struct conn *c, *next;
    if (!w->kpath)
        return;
    for (c = TAILQ_FIRST(&w->conns); c; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->upstream || c->slot == SLOT_NONE || !downstream_of(c)->listener)
            continue;
        uint32_t id = downstream_of(c)->listener->rt->kernel_id;
        if (id == UINT32_MAX)
            kpath_wake(c);
        else
            __atomic_store_n(&_slot(c)->listener, id, __ATOMIC_RELEASE);
    }
}

int kpath_worker_init(struct worker *w, struct kpath *k)
{
    if (!k)
        return 0;
    struct kpath_worker *kw = calloc(1, sizeof(*kw));
    uint32_t share = k->n_slots / k->n_workers;
    if (!kw)
        return -ENOMEM;
    kw->k = k;
    kw->free = calloc(share, sizeof(*kw->free));
    if (!kw->free) {
        free(kw);
        return -ENOMEM;
    }
    /* Low numbers first: their memory is warm. */
    for (uint32_t i = 0; i < share; i++)
        kw->free[i] = w->id * share + (share - 1 - i);
    kw->n_free = share;
    TAILQ_INIT(&kw->gated);
    event_assign(&kw->gate_timer, w->base, -1, 0, _on_gate, w);
    w->kpath = kw;
    return 0;
}

void kpath_worker_free(struct worker *w)
{
    if (!w->kpath)
        return;
    free(w->kpath->free);
    free(w->kpath);
    w->kpath = NULL;
}
