#include "daemon_double.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/kpath_internal.h"
#include "proxy/worker.h"
#include "tests/unit/http1_chunk_walk.h"

#define NODES 32

static struct worker _worker;
static struct conf _conf;
static struct runtime _runtime = {.conf = &_conf};
static struct conf_listener _conf_listener;
static struct rt_listener _rt_listener = {.conf = &_conf_listener};
static struct worker_listener _listener;
static struct node *_nodes[NODES];
static size_t _n_nodes;
static struct daemon_counts _counts;

static struct node *_node(struct conn *c)
{
    return (struct node *)c;
}

/* What kpath.c calls ------------------------------------------------------------------- */

static void _append(struct node *n, const void *data, size_t len)
{
    n->in = realloc(n->in, n->in_len + len + 1);
    assert_non_null(n->in);
    memcpy(n->in + n->in_len, data, len);
    n->in_len += len;
}

/* Bytes that were passed up and not copied before the socket left the map: TCP counts them as
 * unread for ever, and has none to give. */
static bool _has_lost(const struct node *n)
{
    int unread = 0;
    char byte;
    return !ioctl(n->c.fd, FIONREAD, &unread) && unread > 0 &&
           recv(n->c.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0;
}

void conn_suspend(struct conn *c)
{
    c->leaving = true;
}

void conn_resume(struct conn *c, const char *data, size_t len, int err)
{
    (void)err;
    c->leaving = false;
    if (len)
        _append(_node(c), data, len);
    _counts.lost += _has_lost(_node(c));
}

void conn_flush(struct worker *w)
{
    (void)w;
}

void conn_push(struct conn *c)
{
    (void)c;
}

void conn_deadline(struct conn *c, uint64_t ns)
{
    (void)c;
    (void)ns;
}

uint64_t conn_now(void)
{
    return bench_now();
}

void conn_close(struct conn *c, bool reset)
{
    (void)reset;
    c->dead = true;
}

static bool _idle(const struct conn *c)
{
    return !((const struct node *)c)->partner;
}

static void _clock(struct conn *c)
{
    (void)c;
}

static void _park(struct conn *u)
{
    _node(u)->parked = true;
}

/* Where the kernel path left a message off. */
static struct flow _rest(const struct slot *s)
{
    if (s->framing == HTTP1_FRAMED_CHUNKED && s->remaining)
        return (struct flow){.chunked = true, .chunks = s->chunks};
    return (struct flow){.left = s->remaining};
}

static void _takeover(struct conn *d, struct conn *u, const struct slot *ds, const struct slot *us)
{
    struct node *dn = _node(d), *un = _node(u);
    dn->partner = un;
    un->partner = dn;
    un->parked = false;
    dn->request = _rest(ds);
    dn->started = us->responding;
    dn->interim = false;
    if (dn->started)
        dn->response = _rest(us);
    _counts.chunked +=
        (dn->request.chunked && dn->request.chunks.begun) || (dn->started && dn->response.chunked);
    _counts.held += ds->held || us->held;
    _counts.takeovers++;
}

static struct conn_ops _ops = {
    .idle = _idle,
    .clock = _clock,
    .takeover = _takeover,
    .park = _park,
};

/* Life --------------------------------------------------------------------------------- */

void daemon_open(struct kpath *k, uint8_t protocol)
{
    memset(&_worker, 0, sizeof(_worker));
    memset(&_counts, 0, sizeof(_counts));
    _conf.datapath.promote_after = 0;
    _conf.timeouts = (struct conf_timeouts){.idle = -1ULL, .response = -1ULL, .body = -1ULL, .write = -1ULL};
    _ops.protocol = protocol;
    _worker.runtime = &_runtime;
    _worker.base = event_base_new();
    assert_non_null(_worker.base);
    TAILQ_INIT(&_worker.conns);
    _rt_listener.runtime = &_runtime;
    _listener.worker = &_worker;
    _listener.rt = &_rt_listener;
    assert_int_equal(kpath_worker_init(&_worker, k), 0);
}

void daemon_close(void)
{
    for (size_t i = 0; i < _n_nodes; i++) {
        struct node *n = _nodes[i];
        kpath_detach(&n->c);
        close(n->c.fd);
        kpath_free_slot(&n->c);
        if (n->far >= 0)
            close(n->far);
    }
    for (size_t i = 0; i < _n_nodes; i++) {
        free(_nodes[i]->in);
        free(_nodes[i]);
    }
    _n_nodes = 0;
    kpath_worker_free(&_worker);
    if (_worker.base)
        event_base_free(_worker.base);
    _worker.base = NULL;
}

struct node *daemon_offer(const struct wire *w, bool upstream)
{
    struct node *n = calloc(1, sizeof(*n));
    assert_true(n && _n_nodes < NODES);
    n->far = w->far;
    n->c.fd = w->near;
    n->c.worker = &_worker;
    n->c.slot = SLOT_NONE;
    n->c.reading = true;
    n->c.upstream = upstream;
    n->c.ops = &_ops;
    _nodes[_n_nodes++] = n;
    if (upstream) {
        n->c.pool_index = UINT32_MAX;
        kpath_donate(&n->c);
    } else {
        n->c.listener = &_listener;
        kpath_promote(&n->c);
    }
    return n;
}

struct node *daemon_add(bool upstream)
{
    struct wire w;
    wire_connect(&w, 0, 0);
    struct node *n = daemon_offer(&w, upstream);
    assert_true(n->c.kernel);
    return n;
}

size_t daemon_nodes(void)
{
    return _n_nodes;
}

struct node *daemon_node(size_t i)
{
    return _nodes[i];
}

struct daemon_counts daemon_counts(void)
{
    return _counts;
}

uint32_t daemon_random(uint32_t *state, uint32_t below)
{
    *state = *state * 1664525U + 1013904223U;
    return (uint32_t)(((uint64_t)(*state >> 8) * below) >> 24);
}

/* Exchanges ---------------------------------------------------------------------------- */

static uint64_t _redis_len(const uint8_t *in, size_t len)
{
    struct http1_window w;
    struct resp_scan_state scan;
    struct resp_frame f;
    unsigned n = len < HTTP1_WINDOW ? (unsigned)len : HTTP1_WINDOW;
    memcpy(w.bytes, in, n);
    int reason = *in == '*' ? resp_frame_command(&w, 0, n, &scan, &f) : resp_frame_reply(&w, 0, n, &scan, &f);
    return reason == RESP_FRAME_OK ? f.len : 0;
}

bool daemon_flow(const uint8_t *in, size_t len, struct flow *f)
{
    *f = (struct flow){0};
    if (_ops.protocol == SLOT_REDIS) {
        f->left = len ? _redis_len(in, len) : 0;
        return f->left > 0;
    }
    const uint8_t *end = memmem(in, len, "\r\n\r\n", 4);
    if (!end)
        return false;
    f->left = (uint64_t)(end - in) + 4;
    f->chunked = memmem(in, f->left, "\r\nTransfer-Encoding:", 20) != NULL;
    const uint8_t *field = memmem(in, f->left, "\r\nContent-Length:", 17);
    f->left += field ? strtoull((const char *)field + 17, NULL, 10) : 0;
    return true;
}

size_t daemon_flow_on(struct flow *f, const uint8_t *in, size_t len)
{
    size_t n = len < f->left ? len : (size_t)f->left, data_len = 0;
    f->left -= n;
    if (f->left || !f->chunked || f->chunks.done)
        return n;
    struct http1_walk w = {.chunks = f->chunks};
    char *data = malloc(len + 1);
    assert_non_null(data);
    n += http1_walk(&w, (const char *)in + n, len - n, data, &data_len);
    free(data);
    f->chunks = w.chunks;
    return n;
}

/* The connection is in userspace and out of the maps. */
static bool _writable(const struct node *n)
{
    return !n->c.kernel && !n->c.leaving && !n->c.dead;
}

/* Moves what is the message's from one buffer into the other socket. */
static void _forward(struct node *from, struct node *to, struct flow *f)
{
    size_t n = _writable(to) ? daemon_flow_on(f, from->in, from->in_len) : 0;
    if (!n)
        return;
    send_bytes(to->c.fd, from->in, n);
    memmove(from->in, from->in + n, from->in_len - n);
    from->in_len -= n;
}

static void _finish(struct node *d)
{
    struct node *u = d->partner;
    d->partner = u->partner = NULL;
    d->started = false;
    d->c.requests++;
    _counts.exchanges++;
    if (u->c.counted)
        __atomic_fetch_sub(&_worker.kpath->k->endpoint_load[0].outstanding, 1, __ATOMIC_RELAXED);
    u->c.counted = false;
    if (u->in_len || !kpath_donate(&u->c))
        u->parked = true;
}

/* A response, or an interim one before it: those have status 1xx, behind "HTTP/1.1 ". */
static bool _response_begins(struct node *d, const struct node *u)
{
    d->started = daemon_flow(u->in, u->in_len, &d->response);
    d->interim = d->started && _ops.protocol == SLOT_HTTP && u->in[9] == '1';
    return d->started;
}

static void _exchange(struct node *d)
{
    struct node *u = d->partner;
    _forward(d, u, &d->request);
    if (!daemon_flow_done(&d->request))
        return;
    while (d->started || _response_begins(d, u)) {
        _forward(u, d, &d->response);
        if (!daemon_flow_done(&d->response))
            return;
        if (!d->interim)
            break;
        d->started = false;
    }
    if (d->started && _writable(d) && _writable(u))
        _finish(d);
}

/* An idle upstream connection of userspace, or one that is taken for the purpose. */
static struct node *_idle_upstream(uint32_t *random_state)
{
    for (size_t i = 0; i < _n_nodes; i++) {
        struct node *u = _nodes[i];
        if (u->c.upstream && u->parked && !u->partner && !u->in_len && _writable(u))
            return u;
    }
    struct node *any = _nodes[daemon_random(random_state, (uint32_t)_n_nodes)];
    if (any->c.upstream)
        kpath_wake(&any->c);
    return NULL;
}

static void _downstream(struct node *d, uint32_t *random_state)
{
    if (d->partner) {
        _exchange(d);
        return;
    }
    struct flow request;
    if (daemon_flow(d->in, d->in_len, &request)) {
        struct node *u = _idle_upstream(random_state);
        if (!u || !_writable(d))
            return;
        d->partner = u;
        u->partner = d;
        u->parked = false;
        d->request = request;
        d->started = false;
        _exchange(d);
    } else if (!d->in_len && _writable(d) && daemon_random(random_state, 2)) {
        /* How long a connection stays in userspace after a fallback is not the matter here. */
        d->c.penalty = d->c.promote_at = 0;
        kpath_promote(&d->c);
    }
}

static void _upstream(struct node *u, uint32_t *random_state)
{
    if (u->partner || !u->parked || !_writable(u))
        return;
    if (u->in_len) {
        _counts.strays += u->in_len;
        u->in_len = 0;
    } else if (daemon_random(random_state, 4) == 0 && kpath_donate(&u->c)) {
        u->parked = false;
    }
}

static void _readable(struct node *n)
{
    uint8_t buf[16384];
    if (n->c.kernel) {
        kpath_wake(&n->c);
        return;
    }
    ssize_t r = n->c.leaving ? -1 : recv(n->c.fd, buf, sizeof(buf), MSG_DONTWAIT);
    if (r > 0)
        _append(n, buf, (size_t)r);
}

void daemon_step(uint32_t *random_state, uint32_t take_one_in)
{
    struct pollfd fds[NODES];
    struct timespec wait = {.tv_nsec = 200000};
    for (size_t i = 0; i < _n_nodes; i++)
        fds[i] = (struct pollfd){.fd = _nodes[i]->c.leaving ? -1 : _nodes[i]->c.fd, .events = POLLIN};
    ppoll(fds, _n_nodes, &wait, NULL);
    for (size_t i = 0; i < _n_nodes; i++) {
        if (fds[i].revents)
            _readable(_nodes[i]);
    }
    if (take_one_in && daemon_random(random_state, take_one_in) == 0) {
        struct node *n = _nodes[daemon_random(random_state, (uint32_t)_n_nodes)];
        _counts.takes += n->c.kernel;
        kpath_wake(&n->c);
    }
    event_base_loop(_worker.base, EVLOOP_NONBLOCK);
    for (size_t i = 0; i < _n_nodes; i++) {
        struct node *n = _nodes[i];
        if (n->c.kernel)
            continue;
        if (n->c.upstream)
            _upstream(n, random_state);
        else
            _downstream(n, random_state);
    }
}
