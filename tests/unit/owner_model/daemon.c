/* The daemon: its own code takes, frees and gives connections; here is what that code finds around it. */
#include "model.h"

#include <string.h>

#include "kernel_internal.h"
#include "kpath.h"
#include "leave.h"
#include "takeover.h"
#include "worker.h"

static struct conf conf;
static struct runtime runtime = {.conf = &conf};
static struct conf_listener conf_listener;
static bool remote_endpoint[1];
static struct rt_listener rt_listener = {.runtime = &runtime, .conf = &conf_listener};
static struct worker_listener worker_listener;
static struct worker worker = {.runtime = &runtime, .kpath = &world.kw};
static char skeleton[4096] __attribute__((aligned(16)));

static unsigned _number(const struct conn *c)
{
    return c->upstream ? U1 + (unsigned)((const struct upstream *)c - world.up)
                       : (unsigned)((const struct downstream *)c - world.down);
}

/* Userspace --------------------------------------------------------------------------- */

void daemon_froze(const uint64_t *owner)
{
    for (unsigned c = 0; c < CONNS; c++) {
        if (conn_of(c)->slot < SLOTS && (const void *)owner == &model_slots[conn_of(c)->slot].owner)
            world.socks[c].frozen = true;
    }
}

bool daemon_bound(unsigned u)
{
    return world.socks[D1].partner == u || world.socks[D2].partner == u;
}

/* Answers every request that is there completely, by connections that the model does not know. */
void userspace_serves(unsigned d)
{
    struct socket_model *s = &world.socks[d];
    s->answered = s->redirected = (uint8_t)request_at(d, s->arrived);
    s->gone = s->parsed = (uint16_t)request_begin(d, s->answered);
    conn_of(d)->in = s->arrived > s->gone ? (struct kept *)skeleton : NULL;
}

bool userspace_can_finish(unsigned d)
{
    const struct socket_model *s = &world.socks[d];
    return !is_up(d) && s->user && !s->closed && s->partner != NONE && world.socks[s->partner].user &&
           s->arrived >= request_begin(d, s->answered + 1U);
}

/* The exchange that was taken over comes to its end. */
void userspace_finishes(unsigned d)
{
    struct socket_model *s = &world.socks[d], *u = &world.socks[s->partner];
    DEMAND(u->n_queue && u->queue[0].client == d && u->queue[0].message == s->answered,
           "response only to its request: userspace reads a response to another");
    DEMAND(u->gone == s->answer_at, "no lost byte: the rest of a response does not go on where it was");
    DEMAND(u->n_queue == 1 || s->spent, "an upstream connection with more requests is used again");
    if (violation)
        return;
    s->answer_at = 0;
    u->base += response_len(d, s->answered);
    u->arrived = u->parsed = u->gone = u->at = u->n_queue = 0;
    memset(u->queue, 0, sizeof(u->queue));
    u->closed = s->spent;
    s->partner = NONE;
    s->spent = false;
    userspace_serves(d);
}

static bool _idle(const struct conn *c)
{
    unsigned i = _number(c);
    return is_up(i) ? !daemon_bound(i) : world.socks[i].partner == NONE;
}

static void _park(struct conn *c)
{
    check_idle(_number(c));
}

static void _clock(struct conn *c)
{
    check_idle(_number(c));
}

static const char *adopted_head, *kept;
static size_t kept_len;
static struct exchange adopted;

static void _takeover(struct conn *d, struct conn *u, const struct slot *ds, const struct slot *us)
{
    unsigned i = _number(d);
    memset(&adopted, 0, sizeof(adopted));
    kept_len = 0;
    takeover(d, u, ds, us);
    check_takeover(i, _number(u), &adopted, adopted_head);
    check_kept(i, kept, kept_len);
    world.socks[i].partner = (uint8_t)_number(u);
    world.socks[i].spent = adopted.upstream_spent;
}

static const struct conn_ops ops = {
    .protocol = SLOT_HTTP, .idle = _idle, .clock = _clock, .takeover = _takeover, .park = _park};

struct exchange *exchange_adopt(struct downstream *d, struct upstream *u, const char *head,
                                struct http1_message *m, const char *body, size_t body_len)
{
    DEMAND(m, "no lost byte: the head of a request at hand is not known any more");
    adopted_head = head;
    adopted.d = d;
    adopted.u = u;
    return &adopted;
}

void exchange_upstream_failed(struct exchange *x, int err, bool connecting)
{
    DEMAND(false, "a server was blamed for speaking first");
}

struct downstream *downstream_of(const struct conn *c)
{
    return (struct downstream *)c;
}

struct upstream *upstream_of(const struct conn *c)
{
    return (struct upstream *)c;
}

void downstream_clock(struct downstream *d)
{
}
void upstream_clock(struct exchange *x)
{
}

void conn_keep(struct conn *c, const char *data, size_t len)
{
    kept = data;
    kept_len = len;
}

void conn_put(struct conn *c, const void *data, size_t len)
{
    DEMAND(false, "userspace writes although no chunk is at hand");
}

/* Connections ------------------------------------------------------------------------- */

void conn_push(struct conn *c)
{
}
void conn_flush(struct worker *w)
{
}
void conn_deadline(struct conn *c, uint64_t ns)
{
}

bool kernel_trusts(const struct kpath *k, enum slot_protocol protocol, int fd)
{
    return true;
}

uint64_t conn_now(void)
{
    return 0;
}

void conn_suspend(struct conn *c)
{
    c->leaving = true;
}

void conn_resume(struct conn *c, const char *data, size_t len, int err)
{
    unsigned i = _number(c);
    struct socket_model *s = &world.socks[i];
    c->leaving = false;
    DEMAND(!err, "a connection comes back with an error");
    check_resume(i, data, len);
    s->gone = s->parsed = (uint16_t)(s->gone - s->passed);
    s->passed = 0;
    s->user = true;
    if (!is_up(i) && s->partner == NONE)
        userspace_serves(i);
}

static void _close_partner(unsigned c)
{
    for (unsigned d = D1; d <= D2; d++) {
        unsigned u = world.socks[d].partner;
        if (u == NONE || (c != d && c != u))
            continue;
        world.socks[d].partner = NONE;
        conn_close(conn_of(c == d ? u : d), true);
    }
}

void conn_close(struct conn *c, bool reset)
{
    unsigned i = _number(c);
    if (c->dead)
        return;
    c->dead = true;
    kpath_detach(c);
    struct socket_model *s = model_call(i);
    s->closed = true;
    s->in_map = false;
    s->n_underway = 0;
    memset(s->underway, 0, sizeof(s->underway));
    kpath_free_slot(c);
    _close_partner(i);
}

/* Tasks ------------------------------------------------------------------------------- */

void daemon_run(void)
{
    struct conn *c = world.task_conn < CONNS ? conn_of(world.task_conn) : NULL;
    switch ((enum task)world.task) {
    case TASK_WAKE:
        kpath_wake(c);
        break;
    case TASK_LEAVE:
        model_fire(&worker);
        world.kw.leave_poll_us = 0;
        break;
    case TASK_PROMOTE:
        c->promote_at = c->penalty = 0;
        kpath_promote(c);
        break;
    case TASK_DONATE:
        kpath_donate(c);
        break;
    case TASK_CLOSE:
        conn_close(c, true);
        break;
    case TASK_NONE:
        break;
    }
    world.task = TASK_NONE;
    world.task_conn = 0;
}

static void _setup_conn(unsigned i)
{
    struct conn *c = conn_of(i);
    c->fd = FD + (int)i;
    c->worker = &worker;
    c->ops = &ops;
    c->slot = SLOT_NONE;
    c->pool_index = UINT32_MAX;
    c->reading = true;
    c->upstream = is_up(i);
    c->listener = is_up(i) ? NULL : &worker_listener;
    world.socks[i].user = true;
    world.socks[i].partner = world.socks[i].target = NONE;
}

static void _task(enum task task, unsigned c)
{
    world.task = (uint8_t)task;
    world.task_conn = (uint8_t)c;
    start(DAEMON);
    while (!resting(DAEMON))
        step(DAEMON, 0);
}

void daemon_init(void)
{
    worker_listener.rt = &rt_listener;
    TAILQ_INIT(&worker.conns);
    world.k = (struct kpath){.remote = true,
                             .skel = (struct skein_bpf *)skeleton,
                             .slots = model_slots,
                             .pools = &model_pool,
                             .n_slots = SLOTS,
                             .n_workers = 1,
                             .n_endpoints = 1,
                             .conns = world.conns,
                             .gens = world.gens,
                             .remote_endpoint = remote_endpoint,
                             .socks_fd = SOCKS_FD,
                             .cookies_fd = COOKIES_FD};
    world.kw.k = &world.k;
    world.kw.free = world.free;
    leave_init(&worker);
    for (uint32_t i = 0; i < SLOTS; i++)
        world.free[world.kw.n_free++] = SLOTS - 1 - i;
    world.wakes = scenario->wakes;
    world.inserts = scenario->inserts;
    world.closes = scenario->closes;
    for (unsigned i = 0; i < CONNS; i++) {
        _setup_conn(i);
        if (is_up(i) ? i - U1 < scenario->upstreams : requests_of(i) > 0)
            _task(is_up(i) ? TASK_DONATE : TASK_PROMOTE, i);
        else
            world.socks[i].closed = conn_of(i)->dead = true;
    }
}
