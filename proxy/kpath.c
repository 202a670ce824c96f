#include "kpath.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "http.h"
#include "kernel_internal.h"
#include "log.h"
#include "takeover.h"
#include "worker.h"

/** How often connections that are leaving are looked at: at first, and at most. */
#define LEAVE_POLL_US     200
#define LEAVE_POLL_MAX_US 20000

/** Longest time between two looks at a connection that the kernel path owns. */
#define WATCH_MAX_NS (5ULL * 1000 * 1000 * 1000)

/** Requests a connection spends in userspace after it has fallen back, doubled each time that
 * it did not carry at least as many on the kernel path before it fell back again. */
#define PENALTY_MAX 1024

struct kpath_worker {
    struct kpath *k;
    uint32_t *free; /**< Slots of this worker that nobody uses. */
    uint32_t n_free;
    struct conn_list leaving;
    struct event leave_timer;
    unsigned leave_poll_us;
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

static void _watch(struct conn *c);

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
        return r;
    }
    c->activity = 0;
    c->active_at = conn_now();
    _watch(c);
    return 0;
}

/* Downstream -------------------------------------------------------------------------- */

static bool _may_promote(const struct downstream *d)
{
    const struct conn *c = &d->c;
    if (!c->worker->kpath || c->worker->draining || !d->listener || d->listener->rt->kernel_id == UINT32_MAX)
        return false;
    if (d->x || c->dead || c->closing || c->slot != SLOT_NONE || c->eof_seen || c->write_failed || c->out ||
        c->in)
        return false;
    return c->reading && !d->kernel_refused &&
           d->requests >= c->worker->runtime->conf->datapath.promote_after && d->requests >= d->promote_at;
}

void kpath_promote(struct downstream *d)
{
    struct conn *c = &d->c;
    if (!_may_promote(d))
        return;
    conn_flush(c->worker);
    if (c->out || c->dead || c->write_failed || !_acquire_slot(c))
        return;
    kernel_init_slot(c->worker->kpath->k, c->slot, false);
    struct slot *s = _slot(c);
    s->listener = d->listener->rt->kernel_id;
    s->stats_id = d->listener->rt->id;
    s->pool = c->worker->id;
    if (_insert(c)) {
        d->kernel_refused = true;
        return;
    }
    struct listener_stats *stats = &c->worker->stats.listeners[d->listener_id];
    stat_add(d->promotions++ ? &stats->returned : &stats->promoted, 1);
}

/* After a fallback: stays longer in userspace if the kernel path was of little use. */
static void _penalize(struct downstream *d)
{
    if (_slot(&d->c)->activity > d->penalty)
        d->penalty = 1;
    else if (d->penalty < PENALTY_MAX)
        d->penalty = d->penalty ? d->penalty * 2 : 1;
    d->promote_at = d->requests + d->penalty;
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

uint32_t kpath_pooled(struct worker *w, uint32_t endpoint)
{
    uint32_t n = 0;
    if (!w->kpath || endpoint >= w->kpath->k->n_endpoints)
        return 0;
    const struct pool *p = &w->kpath->k->pools[endpoint * w->kpath->k->n_workers + w->id];
    for (int i = 0; i < POOL_WORDS; i++)
        n += (uint32_t)__builtin_popcountll(__atomic_load_n(&p->idle[i], __ATOMIC_RELAXED));
    return n;
}

bool kpath_donate(struct upstream *u)
{
    struct conn *c = &u->c;
    if (!c->worker->kpath || c->dead || c->closing || c->in || c->out || c->write_failed || !c->reading ||
        c->slot != SLOT_NONE)
        return false;
    conn_flush(c->worker);
    struct kpath *k = c->worker->kpath->k;
    if (c->dead || c->out || c->write_failed || u->endpoint >= k->n_endpoints || !_acquire_slot(c))
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

/* Taking ------------------------------------------------------------------------------ */

/* Makes userspace the owner: the programs redirect nothing from the connection any more, and
 * its verdict is not at work. @return The owner word. */
static uint64_t _take(struct conn *c)
{
    struct slot *s = _slot(c);
    uint64_t w = slot_wait(s);
    while (!(w & OWNER_USER) && !slot_cas(s, &w, w | OWNER_USER))
        w = slot_wait(s);
    c->kernel = false;
    conn_suspend(c);
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

/* Makes userspace the owner of the partner too, if it still is one: its lease names `ref`. By the
 * time we look, an upstream connection may have completed its response and serve another. */
static bool _take_partner(struct conn *p, uint32_t ref)
{
    struct slot *s = _slot(p);
    uint64_t w = slot_wait(s);
    while (owner_lease(w) == ref && !(w & OWNER_USER) && !slot_cas(s, &w, w | OWNER_USER))
        w = slot_wait(s);
    if (owner_lease(w) != ref)
        return false;
    p->kernel = false;
    conn_suspend(p);
    return true;
}

/* Takes the connection and, if it has a lease, the other side too.
 * @return The other side; NULL if there is none (any more). The lease is cleared. */
static struct conn *_take_pair(struct conn *c)
{
    uint64_t w = _take(c);
    struct conn *p = _partner(c, w);
    if (p && !_take_partner(p, slot_ref(c->slot, owner_gen(w))))
        p = NULL;
    _clear_lease(_slot(c));
    if (p)
        _clear_lease(_slot(p));
    return p;
}

/* Leaving the maps -------------------------------------------------------------------- */

/* Copies what was passed up. It is read without being consumed: consuming would move TCP's
 * idea of the reader past bytes that strparser has not seen (docs/architecture.md, "two
 * readers"). @return false if it is not all there yet. */
static bool _copy_passed(struct conn *c)
{
    size_t len = __atomic_load_n(&_slot(c)->passed, __ATOMIC_ACQUIRE);
    if (len == c->passed_len)
        return true;
    char *data = realloc(c->passed, len);
    if (!data)
        abort();
    c->passed = data;
    if (recv(c->fd, data, len, MSG_PEEK | MSG_DONTWAIT) != (ssize_t)len)
        return false;
    c->passed_len = len;
    return true;
}

/* Stops the programs for good once everything redirected into the socket is in TCP's hands and
 * everything that was passed up is copied. @return Whether they are stopped. */
static bool _freeze(struct conn *c)
{
    struct slot *s = _slot(c);
    uint64_t w = slot_owner(s);
    if (w & OWNER_FROZEN)
        return slot_settled(s);
    if ((w & OWNER_BUSY) || !slot_settled(s) || !_copy_passed(c))
        return false;
    return slot_cas(s, &w, w | OWNER_FROZEN);
}

/* Whether the frozen socket can be removed: TCP and strparser agree on where the reader is, and
 * strparser has either stopped or nothing to read. Otherwise its work item could be at work,
 * and would drop what it reads while the socket is being removed. If it can not be, asks the
 * kernel to run strparser once more, which stops it and makes both agree. */
static bool _may_remove(struct conn *c)
{
    const struct slot *s = _slot(c);
    int one = 1;
    if (kernel_inspect(c->worker->kpath->k, c->slot))
        return false;
    if (s->copied_seq == s->parsed_seq && (s->stopped || s->rcv_nxt == s->parsed_seq))
        return true;
    setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one));
    return false;
}

/* The socket's error without the one that the parser left. */
static int _socket_error(int fd)
{
    int err = 0;
    socklen_t len = sizeof(err);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
        return errno;
    return err == PARSER_GAVE_UP ? 0 : err;
}

static void _free_slot(struct conn *c)
{
    kernel_forget(c->worker->kpath->k, c->slot, c->cookie);
    _release_slot(c);
}

/* Takes the connection out of the maps if that loses nothing. @return Whether it left. */
static bool _try_leave(struct conn *c)
{
    struct kpath *k = c->worker->kpath->k;
    int r = kernel_inspect(k, c->slot);
    bool gone = r == -ENOENT || _slot(c)->aborted;
    if (r && !gone)
        return false;
    if (!gone && (!_freeze(c) || !_may_remove(c)))
        return false;
    kernel_remove(k, c->slot);
    if (c->upstream)
        _pool_leave(upstream_of(c));
    _free_slot(c);
    char *data = c->passed;
    size_t len = c->passed_len;
    c->passed = NULL;
    c->passed_len = 0;
    int err = _socket_error(c->fd);
    /* Resuming may end an exchange, which then parks or donates the connection itself. */
    bool idle = c->upstream && !upstream_of(c)->x;
    conn_resume(c, data, len, gone && !err ? ECONNRESET : err);
    free(data);
    if (idle && !c->dead)
        upstream_park(upstream_of(c));
    return true;
}

static void _arm_leave(struct kpath_worker *kw)
{
    struct timeval tv = {.tv_usec = kw->leave_poll_us};
    event_add(&kw->leave_timer, &tv);
}

/* Lets a taken connection leave now, or as soon as it can. */
static void _leave(struct conn *c)
{
    struct kpath_worker *kw = c->worker->kpath;
    if (_try_leave(c))
        return;
    TAILQ_INSERT_TAIL(&kw->leaving, c, leave);
    c->leave_listed = true;
    kw->leave_poll_us = LEAVE_POLL_US;
    _arm_leave(kw);
}

static void _unlist(struct conn *c)
{
    if (c->leave_listed)
        TAILQ_REMOVE(&c->worker->kpath->leaving, c, leave);
    c->leave_listed = false;
}

static void _on_leave(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    struct kpath_worker *kw = w->kpath;
    struct conn *c;
    unsigned n = 0;
    bool left = false;
    (void)fd;
    (void)what;
    TAILQ_FOREACH (c, &kw->leaving, leave)
        n++;
    while (n-- && (c = TAILQ_FIRST(&kw->leaving))) {
        _unlist(c);
        if (_try_leave(c)) {
            left = true;
            continue;
        }
        TAILQ_INSERT_TAIL(&kw->leaving, c, leave);
        c->leave_listed = true;
    }
    conn_flush(w);
    /* A slow reader may take its time: look less often while nothing happens. */
    kw->leave_poll_us = left ? LEAVE_POLL_US : kw->leave_poll_us * 2;
    if (kw->leave_poll_us > LEAVE_POLL_MAX_US)
        kw->leave_poll_us = LEAVE_POLL_MAX_US;
    if (!TAILQ_EMPTY(&kw->leaving))
        _arm_leave(kw);
}

/* Taking over ------------------------------------------------------------------------- */

/* A taken connection without a lease is idle. */
static void _idle(struct conn *c)
{
    if (c->upstream) {
        _pool_hide(upstream_of(c)); /* Parked when it has left. */
    } else {
        downstream_of(c)->picked = _slot(c)->picked;
        downstream_clock(downstream_of(c));
    }
}

void kpath_wake(struct conn *c)
{
    if (!c->kernel)
        return;
    struct conn *p = _take_pair(c);
    struct conn *d = c->upstream ? p : c, *u = c->upstream ? c : p;
    if (d)
        _penalize(downstream_of(d));
    if (p) {
        _pool_hide(upstream_of(u));
        takeover(downstream_of(d), upstream_of(u), _slot(d), _slot(u));
    } else {
        _idle(c);
    }
    if (!c->dead)
        _leave(c);
    if (p && !p->dead)
        _leave(p);
}

void kpath_detach(struct conn *c)
{
    _unlist(c);
    if (!c->kernel)
        return;
    struct conn *p = _take_pair(c);
    if (c->upstream)
        _pool_hide(upstream_of(c));
    /* The other side has lost its counterpart in the middle of a message. */
    if (p)
        conn_close(p, true);
}

void kpath_free_slot(struct conn *c)
{
    if (c->slot == SLOT_NONE)
        return;
    if (c->upstream)
        _pool_leave(upstream_of(c));
    _free_slot(c);
}

/* The rest ---------------------------------------------------------------------------- */

/* How often a connection that the kernel path owns is looked at: often enough for the
 * shortest of the timeouts that may end it. */
static void _watch(struct conn *c)
{
    const struct conf_timeouts *t = &c->worker->runtime->conf->timeouts;
    uint64_t shortest = t->idle;
    if (t->response < shortest)
        shortest = t->response;
    if (t->body < shortest)
        shortest = t->body;
    if (t->write < shortest)
        shortest = t->write;
    shortest /= 4;
    conn_deadline(c, shortest > WATCH_MAX_NS ? WATCH_MAX_NS : shortest);
}

bool kpath_expired(struct conn *c)
{
    uint32_t now = __atomic_load_n(&_slot(c)->activity, __ATOMIC_RELAXED);
    bool active = now != c->activity;
    if (active) {
        c->activity = now;
        c->active_at = conn_now();
    } else if (owner_lease(slot_owner(_slot(c)))) {
        kpath_wake(c);
        return false;
    } else if (conn_now() - c->active_at >= c->worker->runtime->conf->timeouts.idle) {
        return true;
    }
    _watch(c);
    return false;
}

void kpath_reload(struct worker *w)
{
    struct conn *c, *next;
    if (!w->kpath)
        return;
    for (c = TAILQ_FIRST(&w->conns); c; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->upstream || !c->kernel || !downstream_of(c)->listener)
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
    TAILQ_INIT(&kw->leaving);
    event_assign(&kw->leave_timer, w->base, -1, 0, _on_leave, w);
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
