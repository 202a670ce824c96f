#include "kpath.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "kernel_internal.h"
#include "kpath_internal.h"
#include "leave.h"
#include "skein/fallback.h"
#include "worker.h"

/** Longest time between two looks at a connection that the kernel path owns. */
#define WATCH_MAX_NS (5ULL * 1000 * 1000 * 1000)

/** Times in a row that something was still to be read at a connection's other end when it could have been
 * bypassed; then it takes the kernel path. */
#define UNREAD_MAX 8

/** Requests a connection spends in userspace after it has fallen back, doubled each time that
 * it did not carry at least as many on the kernel path before it fell back again. */
#define PENALTY_MAX 1024

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

/* SK_MSG programs send into the daemon's own socket too: they find it by its address, and send only what it
 * takes at once, for which the room in its send queue alone has to count. */
static void _share_socket(struct conn *c)
{
    uint32_t no_limit = UINT32_MAX;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &no_limit, sizeof(no_limit));
    kernel_inspect(c->worker->kpath->k, c->slot);
}

/* Gives the connection to the programs: past TCP if its other end is an application of this host, otherwise
 * by putting it into the maps. From then on the programs see its bytes. One that may be bypassed soon is not
 * put into the maps, where it would stay. */
static int _insert(struct conn *c, bool local_only)
{
    struct kpath *k = c->worker->kpath->k;
    leave_undo_room(c);
    c->kernel = true;
    c->cookie = kernel_cookie(c->fd);
    enum bypass_reason why = kpath_bypass(c);
    int r = 0;
    bool soon = why == BYPASS_NO_MEMORY || (why == BYPASS_BUSY && (c->unread < UNREAD_MAX || !k->remote));
    if (why != BYPASS_OK && (local_only || soon))
        r = -EAGAIN;
    else if (why != BYPASS_OK)
        r = k->remote ? kernel_insert(k, c->slot, c->fd) : -EOPNOTSUPP;
    if (!r && !c->local && k->bypass)
        _share_socket(c);
    if (r) {
        c->kernel = false;
        kernel_forget(k, c->slot, c->cookie);
        _release_slot(c);
        return r;
    }
    c->activity = 0;
    c->held = false;
    c->active_at = conn_now();
    _watch(c);
    return 0;
}

/* What the self-test has switched off stays in userspace. */
static bool _trusted(const struct conn *c)
{
    const struct kpath *k = c->worker->kpath->k;
    return !k->unsafe || kernel_trusts(k, c->ops->protocol, c->fd);
}

/* Downstream -------------------------------------------------------------------------- */

static bool _may_promote(const struct conn *c)
{
    if (!c->worker->kpath || c->worker->draining || !c->listener || c->listener->rt->kernel_id == UINT32_MAX)
        return false;
    if (!c->ops->idle(c) || c->dead || c->closing || c->slot != SLOT_NONE || c->eof_seen || c->write_failed ||
        c->out || c->in)
        return false;
    return c->reading && !c->kernel_refused &&
           c->requests >= c->worker->runtime->conf->datapath.promote_after && c->requests >= c->promote_at &&
           _trusted(c);
}

static void _promote(struct conn *c, bool local_only)
{
    if (!_may_promote(c))
        return;
    conn_push(c);
    if (c->out || c->dead || c->write_failed || !_acquire_slot(c))
        return;
    c->excepted = c->listener->rt->conf->bypass_except;
    kernel_init_slot(c->worker->kpath->k, c->slot, false);
    struct slot *s = kpath_slot(c);
    s->listener = c->listener->rt->kernel_id;
    s->stats_id = c->listener->rt->id;
    s->protocol = c->ops->protocol;
    s->pool = c->worker->id;
    s->place = c->place;
    s->source = c->ops->source ? c->ops->source(c) : 0;
    int r = _insert(c, local_only);
    if (r) {
        c->kernel_refused = r != -EAGAIN;
        return;
    }
    struct listener_stats *stats = &c->worker->stats.listeners[c->listener_id];
    stat_add(c->promotions++ ? &stats->returned : &stats->promoted, 1);
}

void kpath_promote(struct conn *c)
{
    _promote(c, false);
}

bool kpath_promote_local(struct conn *c)
{
    if (!c->worker->kpath || !c->worker->kpath->k->bypass || c->remote)
        return false;
    _promote(c, true);
    return c->kernel;
}

/* Whether the programs ended the stay for what they met in it, as they will again. That a peer is slow now
 * says nothing about the next message, and the move costs little beside the bytes that filled its buffers;
 * nor does it if the daemon took the connection itself: for the end of the other side, for a timeout, or
 * because an event overtook the programs. An empty pool does say something: a server that ends every
 * connection leaves it empty for ever. */
static bool _left_for_good(const struct conn *c)
{
    uint8_t why = kpath_slot(c)->left_for;
    return why != HTTP1_OK && why != FALLBACK_DOWNSTREAM_SLOW && why != FALLBACK_UPSTREAM_SLOW;
}

/* After a fallback: stays longer in userspace if the kernel path was of little use, and otherwise returns as
 * soon as both ends are idle. */
static void _penalize(struct conn *d, const struct conn *u)
{
    if (!_left_for_good(d) && !(u && _left_for_good(u))) {
        d->promote_at = d->requests;
        return;
    }
    if (kpath_slot(d)->activity > d->penalty)
        d->penalty = 1;
    else if (d->penalty < PENALTY_MAX)
        d->penalty = d->penalty ? d->penalty * 2 : 1;
    d->promote_at = d->requests + d->penalty;
}

/* Upstream ---------------------------------------------------------------------------- */

bool kpath_donate(struct conn *c)
{
    if (!c->worker->kpath || c->dead || c->closing || c->in || c->out || c->write_failed || !c->reading ||
        c->slot != SLOT_NONE || !_trusted(c))
        return false;
    conn_push(c);
    struct kpath *k = c->worker->kpath->k;
    if (c->dead || c->out || c->write_failed || c->endpoint >= k->n_endpoints || !_acquire_slot(c))
        return false;
    kernel_init_slot(k, c->slot, true);
    struct slot *s = kpath_slot(c);
    s->stats_id = c->endpoint;
    s->protocol = c->ops->protocol;
    s->pool = c->endpoint * k->n_workers + c->worker->id;
    if (!kpath_pool_place(c)) {
        kernel_forget(k, c->slot, 0);
        _release_slot(c);
        return false;
    }
    s->pool_index = c->pool_index;
    if (!_insert(c, false)) {
        kpath_pool_put(c);
        return true;
    }
    kpath_pool_unplace(c);
    return false;
}

void kpath_remember(struct conn *d, const struct conn *u)
{
    d->place = u->pool_index;
}

/* Taking ------------------------------------------------------------------------------ */

static void _taken(struct conn *c)
{
    c->kernel = false;
    if (!c->upstream)
        c->place = kpath_slot(c)->place;
    conn_suspend(c);
}

/* Makes userspace the owner: the programs redirect nothing from the connection any more, and
 * its verdict is not at work. @return The owner word. */
static uint64_t _take(struct conn *c)
{
    struct slot *s = kpath_slot(c);
    uint64_t w = slot_wait(s);
    while (!(w & OWNER_USER) && !slot_cas(s, &w, w | OWNER_USER))
        w = slot_wait(s);
    _taken(c);
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
    struct slot *s = kpath_slot(p);
    uint64_t w = slot_wait(s);
    while (owner_lease(w) == ref && !(w & OWNER_USER) && !slot_cas(s, &w, w | OWNER_USER))
        w = slot_wait(s);
    if (owner_lease(w) != ref)
        return false;
    _taken(p);
    return true;
}

/* The outstanding request goes on counting in the endpoint's load, and now userspace ends that. */
static void _take_count(struct conn *u)
{
    if (!u)
        return;
    u->counted = kpath_slot(u)->counted;
    kpath_slot(u)->counted = 0;
}

/* Takes the connection and, if it has a lease, the other side too.
 * @return The other side; NULL if there is none (any more). The lease is cleared. */
static struct conn *_take_pair(struct conn *c)
{
    uint64_t w = _take(c);
    struct conn *p = _partner(c, w);
    if (p && !_take_partner(p, slot_ref(c->slot, owner_gen(w))))
        p = NULL;
    _clear_lease(kpath_slot(c));
    if (p)
        _clear_lease(kpath_slot(p));
    _take_count(c->upstream ? c : p);
    return p;
}

/* Taking over ------------------------------------------------------------------------- */

/* A taken connection without a lease is idle. */
static void _idle(struct conn *c)
{
    if (c->upstream) {
        kpath_pool_hide(c); /* Parked when it has left. */
    } else {
        c->picked = kpath_slot(c)->picked;
        c->ops->clock(c);
    }
}

/* Messages that began in the kernel and go on in userspace. */
static void _count_spills(const struct conn *d, const struct conn *u)
{
    struct listener_stats *stats = &d->worker->stats.listeners[d->listener_id];
    if (kpath_slot(d)->remaining)
        stat_add(&stats->spilled_requests, 1);
    if (kpath_slot(u)->responding)
        stat_add(&stats->spilled_responses, 1);
}

void kpath_wake(struct conn *c)
{
    if (!c->kernel)
        return;
    struct conn *p = _take_pair(c);
    struct conn *d = c->upstream ? p : c, *u = c->upstream ? c : p;
    if (d)
        _penalize(d, u);
    if (p) {
        kpath_pool_hide(u);
        _count_spills(d, u);
        d->ops->takeover(d, u, kpath_slot(d), kpath_slot(u));
    } else {
        _idle(c);
    }
    if (!c->dead)
        leave_begin(c);
    if (p && !p->dead)
        leave_begin(p);
}

void kpath_detach(struct conn *c)
{
    leave_forget(c);
    if (!c->kernel)
        return;
    struct conn *p = _take_pair(c);
    if (c->upstream)
        kpath_pool_hide(c);
    /* The other side has lost its counterpart in the middle of a message. */
    if (p)
        conn_close(p, true);
}

void kpath_free_slot(struct conn *c)
{
    if (c->slot == SLOT_NONE)
        return;
    if (c->upstream)
        kpath_pool_leave(c);
    kernel_forget(c->worker->kpath->k, c->slot, c->cookie);
    _release_slot(c);
}

/* The rest ---------------------------------------------------------------------------- */

static uint64_t _idle_limit(const struct conn *c)
{
    return c->ops->idle_limit ? c->ops->idle_limit(c) : c->worker->runtime->conf->timeouts.idle;
}

/* How often a connection that the kernel path owns is looked at: often enough for the
 * shortest of the timeouts that may end it. */
static void _watch(struct conn *c)
{
    const struct conf_timeouts *t = &c->worker->runtime->conf->timeouts;
    uint64_t idle = _idle_limit(c), shortest = idle ? idle : UINT64_MAX;
    if (t->response < shortest)
        shortest = t->response;
    if (t->header < shortest)
        shortest = t->header;
    if (t->body < shortest)
        shortest = t->body;
    if (t->write < shortest)
        shortest = t->write;
    shortest /= 4;
    conn_deadline(c, shortest > WATCH_MAX_NS ? WATCH_MAX_NS : shortest);
}

bool kpath_expired(struct conn *c)
{
    uint32_t now = __atomic_load_n(&kpath_slot(c)->activity, __ATOMIC_RELAXED);
    if (__atomic_load_n(&kpath_slot(c)->aborted, __ATOMIC_RELAXED)) {
        kpath_wake(c);
        return false;
    }
    bool active = now != c->activity, held = __atomic_load_n(&kpath_slot(c)->held, __ATOMIC_RELAXED);
    if (held && c->held && !active) {
        /* A head that does not get on: from here on userspace's clock counts. */
        kpath_wake(c);
        return false;
    }
    c->held = held;
    if (active) {
        c->activity = now;
        c->active_at = conn_now();
    } else if (owner_lease(slot_owner(kpath_slot(c)))) {
        kpath_wake(c);
        return false;
    } else if (_idle_limit(c) && conn_now() - c->active_at >= _idle_limit(c)) {
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
        if (c->upstream || !c->kernel || !c->listener)
            continue;
        uint32_t id = c->listener->rt->kernel_id;
        if (id == UINT32_MAX)
            kpath_wake(c);
        else
            __atomic_store_n(&kpath_slot(c)->listener, id, __ATOMIC_RELEASE);
        if (next && next->dead)
            next = TAILQ_FIRST(&w->conns); /* It ended with this one, and is in another list now. */
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
    w->kpath = kw;
    leave_init(w);
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
