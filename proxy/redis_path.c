/*
 * Which path a Redis client takes, and how it gets from one to the other.
 *
 * The kernel path forwards one command at a time, with the least latency. Userspace sends the
 * commands of many clients to a shard at once, which then reads many per system call: with more
 * than a few busy clients, or with pipelines, that is worth more (docs/architecture.md has the
 * measurement). So with `kernel: auto` a client is given to the kernel path only while few are
 * busy, and taken back when that changes. A client of this host whose shards are on it too takes the bypass
 * path, where one system call less is worth less: only many deep pipelines are better off together.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "kernel_internal.h"
#include "kpath.h"
#include "kpath_internal.h"
#include "redis.h"
#include "redis_worker.h"

/** How often busy clients are counted. */
#define TICK_US 200000

/** Busy clients of a worker up to which the kernel path is used, and above which it is given up. */
#define BUSY_FEW  4
#define BUSY_MANY 6

/** Commands that a local client sends at once to have a deep pipeline, and those of all such clients of a
 * worker from which on, and below which no more, userspace serves them. */
#define DEEP      8
#define DEEP_MANY 700
#define DEEP_FEW  400

static struct redis_path *_path(struct worker *w)
{
    return &w->redis->path;
}

/* While many deep pipelines are served, the worker does not interrupt the server and the clients for what has
 * come meanwhile, but takes it when they sleep: more at once (sched(7), SCHED_BATCH). A policy that somebody
 * else has chosen stays; one that is refused is no harm. */
static void _set_deep(struct redis_path *p, bool deep)
{
    const struct sched_param none = {0};
    if (p->deep == deep)
        return;
    p->deep = deep;
    if (deep)
        p->batch = sched_getscheduler(0) == SCHED_OTHER && !sched_setscheduler(0, SCHED_BATCH, &none);
    else if (p->batch && sched_getscheduler(0) == SCHED_BATCH)
        sched_setscheduler(0, SCHED_OTHER, &none);
}

void redis_path_seen(struct redis_client *cl)
{
    struct redis_path *p = _path(cl->c.worker);
    if (cl->seen == p->tick)
        return;
    cl->seen = p->tick;
    p->seen++;
}

static bool _is_auto(const struct worker *w)
{
    return w->runtime->conf->datapath.kernel == CONF_AUTO;
}

/* Commands that userspace has had of the client at once since the last tick, or the kernel if userspace had
 * none; whether it was the kernel. */
static uint32_t _at_once(struct redis_client *cl, bool *by_kernel)
{
    struct conn *c = &cl->c;
    bool here = cl->seen == _path(c->worker)->tick;
    uint32_t depth = cl->depth > cl->deepest ? cl->depth : cl->deepest;
    cl->depth_before = depth;
    cl->depth = 0;
    *by_kernel = false;
    if (c->kernel) {
        const struct slot *s = kpath_slot(c);
        uint32_t activity = __atomic_load_n(&s->activity, __ATOMIC_RELAXED);
        *by_kernel = activity != cl->activity && !here;
        cl->activity = activity;
        if (*by_kernel)
            return __atomic_load_n(&s->run, __ATOMIC_RELAXED);
    }
    return here ? depth : 0;
}

/* Whether no shard is known to be on another host. Past TCP a client and its shards cost each other less than
 * multiplexing saves, with any number of clients, but for many with deep pipelines. */
static bool _all_local(struct redis_client *cl)
{
    const struct rt_cluster *cluster = redis_cluster(cl);
    if (cluster->conf->bypass_except)
        return false;
    for (size_t i = 0; i < cluster->conf->n_endpoints; i++) {
        if (kpath_is_remote(cl->c.worker, cluster->endpoints[i].id))
            return false;
    }
    return true;
}

/* So many of the commands that it has had at once count as those of a deep pipeline: of a client that the
 * bypass path would serve, and what that takes at once. */
static uint32_t _deep_of(struct redis_client *cl, uint32_t depth)
{
    if (depth < DEEP || cl->resp != 2 || !kpath_may_bypass(&cl->c) || !_all_local(cl))
        return 0;
    return depth < RUN_MAX ? depth : RUN_MAX;
}

/* Counts clients that the kernel path served since the last tick, and userspace did not.
 * @param deep  Commands in deep pipelines, on whatever path. */
static uint32_t _busy_in_kernel(struct worker *w, uint32_t *deep)
{
    struct conn *c;
    uint32_t n = 0;
    *deep = 0;
    TAILQ_FOREACH (c, &w->conns, link) {
        bool by_kernel;
        if (c->upstream || !redis_is_client(c))
            continue;
        uint32_t depth = _at_once(redis_client_of(c), &by_kernel);
        n += by_kernel && !c->local;
        *deep += _deep_of(redis_client_of(c), depth);
    }
    return n;
}

/* Whether it is one of those that userspace serves while they are many. */
static bool _keeps_deep(const struct redis_client *cl)
{
    return cl->depth >= DEEP || cl->depth_before >= DEEP;
}

static bool _is_remote(struct conn *c)
{
    return !c->local;
}

/* What it has sent at once goes with it to userspace, which then keeps it. */
static bool _is_deep(struct conn *c)
{
    struct redis_client *cl = redis_client_of(c);
    uint32_t depth = __atomic_load_n(&kpath_slot(c)->run, __ATOMIC_RELAXED);
    if (!c->local)
        return false;
    if (depth > cl->depth_before)
        cl->depth_before = depth;
    return _keeps_deep(cl);
}

static void _take(struct worker *w, bool (*which)(struct conn *c))
{
    struct conn *c, *next;
    for (c = TAILQ_FIRST(&w->conns); c; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->kernel && !c->upstream && redis_is_client(c) && which(c))
            kpath_wake(c);
        if (next && next->dead)
            next = TAILQ_FIRST(&w->conns); /* It ended with this one, and is in another list now. */
    }
}

static void _on_tick(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    struct redis_path *p = _path(w);
    (void)fd;
    (void)what;
    uint32_t deep, busy = p->seen + _busy_in_kernel(w, &deep);
    p->tick++;
    p->seen = 0;
    p->deep_seen = 0;
    if (busy > BUSY_MANY && !p->many) {
        p->many = true;
        _take(w, _is_remote);
    } else if (busy <= BUSY_FEW) {
        p->many = false;
    }
    if (deep >= DEEP_MANY || deep < DEEP_FEW || !_is_auto(w))
        _set_deep(p, deep >= DEEP_MANY && _is_auto(w));
    if (p->deep)
        _take(w, _is_deep);
    conn_flush(w);
}

static void _take_deep(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    (void)fd;
    (void)what;
    _take(w, _is_deep);
    conn_flush(w);
}

/* Counts what userspace has had at once of a local client that is promoted now. Of clients that begin
 * together it is known before the next tick that they are many: they are taken back as soon as this event is
 * over. */
static void _count_deep(struct redis_client *cl)
{
    struct redis_path *p = _path(cl->c.worker);
    if (cl->depth < DEEP || cl->deep_seen == p->tick)
        return;
    cl->deep_seen = p->tick;
    cl->deep_counted = _deep_of(cl, cl->depth);
    p->deep_seen += cl->deep_counted;
    if (p->deep_seen < DEEP_MANY)
        return;
    _set_deep(p, true);
    event_active(&p->take_deep, EV_TIMEOUT, 0);
}

void redis_path_left(struct redis_client *cl)
{
    struct redis_path *p = _path(cl->c.worker);
    if (cl->deep_seen == p->tick)
        p->deep_seen -= cl->deep_counted;
}

/* Counting begins when the first client could be promoted. */
static void _start(struct worker *w)
{
    struct timeval tv = {.tv_usec = TICK_US};
    struct redis_path *p = _path(w);
    p->started = true;
    p->tick++;
    event_assign(&p->timer, w->base, -1, EV_PERSIST, _on_tick, w);
    event_add(&p->timer, &tv);
    event_assign(&p->take_deep, w->base, -1, 0, _take_deep, w);
}

void redis_path_free(struct worker *w)
{
    struct redis_path *p = _path(w);
    if (!p->started)
        return;
    event_del(&p->timer);
    event_del(&p->take_deep);
}

bool redis_path_many(struct worker *w)
{
    return _path(w)->many;
}

/* With `auto`: whether the kernel path is the better one for the client now, which has sent so many commands
 * at once. */
static bool _worthwhile(struct redis_client *cl, uint32_t depth)
{
    struct redis_path *p = _path(cl->c.worker);
    if (p->many || p->seen > BUSY_FEW)
        stat_add(&redis_client_stats(cl)->kept_many, 1);
    else if (depth > 1)
        stat_add(&redis_client_stats(cl)->kept_pipelined, 1);
    else
        return true;
    return false;
}

void redis_path_promote(struct redis_client *cl)
{
    struct conn *c = &cl->c;
    if (!c->worker->kpath || !c->listener || c->listener->rt->kernel_id == UINT32_MAX || c->pumping)
        return;
    struct redis_path *p = _path(c->worker);
    bool choose = _is_auto(c->worker), local = _all_local(cl);
    uint32_t depth = cl->deepest;
    cl->activity = 0;
    cl->deepest = 0;
    if (depth > cl->depth)
        cl->depth = depth;
    if (choose && !p->started)
        _start(c->worker);
    if (choose && local && p->deep && _keeps_deep(cl) && kpath_may_bypass(c)) {
        stat_add(&redis_client_stats(cl)->kept_many, 1);
        return;
    }
    if (local && kpath_promote_local(c)) {
        if (choose)
            _count_deep(cl);
        return;
    }
    if (!choose || _worthwhile(cl, depth))
        kpath_promote(c);
}

/* Takeover ---------------------------------------------------------------------------- */

void redis_takeover(struct conn *d, struct conn *up, const struct slot *ds, const struct slot *us)
{
    struct redis_client *cl = redis_client_of(d);
    struct redis_upstream *u = redis_upstream_of(up);
    /* Programs frame no other command while the lease lasts. */
    const char *head = (const char *)ds->window.bytes;
    struct redis_request *r = redis_request_new(cl, NULL);
    d->ops->clock(d); /* Until now the kernel path was watched. */
    redis_shard_own(u, cl, REDIS_PIN_ADOPTED);
    cl->alone = true;
    d->ops->clock(d); /* Until now the kernel path's looks at it were timed. */
    redis_upstream_adopt(u, r);
    for (unsigned i = 1; i < us->run; i++)
        redis_upstream_adopt(u, redis_request_new(cl, NULL)); /* Of a pipeline, past TCP. */
    if (us->responding) {
        r->started = true;
        /* What remains is the end of a bulk string, the last one of the reply. */
        resp_reply_reset(&u->reply);
        u->reply.type = '$';
        u->reply.remaining = us->remaining;
    }
    if (ds->remaining) {
        /* The same of the command's last argument. */
        cl->stream = (struct resp_stream){.remaining = ds->remaining};
        cl->in_stream = true;
        cl->streaming = u;
    }
    if (!ds->remaining && ds->window_len == ds->frame.len)
        redis_again_keep(u, redis_command_find(head + ds->frame.name_off, ds->frame.name_len), head,
                         ds->window_len, ds->frame.key_off, ds->frame.key_len);
    if (!us->responding && us->early) {
        redis_upstream_fail(u, true, "a reply before the command was sent");
        return;
    }
    u->c.ops->clock(&u->c);
}
