#include "bypass_helper.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "proxy/probe.h"
#include "proxy/selftest.h"
#include "skein.skel.h"

static const struct conf *_conf;

static int _prepare(struct kpath *k, char *why, size_t len)
{
    struct probe p = {0};
    int r = bypass_open(k, _conf, &p);
    const struct probe_check *c = probe_culprit(&p, GUARD_BYPASS);
    if (r)
        snprintf(why, len, "%s: %s", c ? c->name : "bypass", c ? c->why : strerror(-r));
    return r;
}

int bypass_run_with(const char *name, const struct CMUnitTest *tests, size_t n, const struct conf *conf)
{
    _conf = conf;
    return bench_run_with(name, tests, n, _prepare);
}

int bypass_run(const char *name, const struct CMUnitTest *tests, size_t n)
{
    return bypass_run_with(name, tests, n, NULL);
}

/* Connections ------------------------------------------------------------------------- */

/* What a client connects to: the listener's port, at the loopback address of its own family. */
static socklen_t _target(union selftest_address *a, const struct bypass_place *where,
                         const union selftest_address *listener)
{
    in_port_t port = listener->sa.sa_family == AF_INET6 ? listener->in6.sin6_port : listener->in.sin_port;
    socklen_t len = selftest_loopback(a, where->client_family);
    if (where->client_family != AF_INET6) {
        a->in.sin_port = port;
    } else {
        a->in6.sin6_port = port;
        if (where->mapped)
            inet_pton(AF_INET6, "::ffff:127.0.0.1", &a->in6.sin6_addr);
    }
    return len;
}

static void _set_up(int fd, int buffers)
{
    int one = 1;
    assert_true(fd >= 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (!buffers)
        return;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffers, sizeof(buffers)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffers, sizeof(buffers)), 0);
}

static void _connect(struct bench *b, struct wire *w, const struct bypass_place *where)
{
    union selftest_address a, to;
    socklen_t len = selftest_loopback(&a, where->server_family);
    int l = socket(where->server_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int *client = w->upstream ? &w->near : &w->far, *server = w->upstream ? &w->far : &w->near;
    _set_up(l, w->upstream ? where->far_buf : where->near_buf);
    if (where->server_family == AF_INET6 && (where->client_family == AF_INET || where->mapped))
        a.in6.sin6_addr = in6addr_any;
    *client = socket(where->client_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    _set_up(*client, w->upstream ? where->near_buf : where->far_buf);
    if (w->upstream)
        bypass_connecting(b->k, *client, true);
    else
        bypass_listen(b->k, l);
    assert_int_equal(bind(l, &a.sa, len), 0);
    assert_int_equal(listen(l, 1), 0);
    assert_int_equal(getsockname(l, &a.sa, &len), 0);
    len = _target(&to, where, &a);
    assert_int_equal(connect(*client, &to.sa, len), 0);
    *server = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    bypass_unlisten(b->k, l);
    close(l);
    _set_up(*server, 0);
}

struct wire *bypass_pair(struct bench *b, bool upstream, const struct bypass_place *where)
{
    struct bypass_place p = where ? *where : (struct bypass_place){0};
    struct wire *w = bench_new_wire(b, upstream);
    if (!p.client_family)
        p.client_family = p.server_family = AF_INET;
    _connect(b, w, &p);
    wire_renew(b, w);
    return w;
}

struct wire *bypass_adopt(struct bench *b, bool upstream, int near, int far)
{
    struct wire *w = bench_new_wire(b, upstream);
    w->near = near;
    w->far = far;
    wire_renew(b, w);
    return w;
}

enum bypass_reason bypass_tie(struct bench *b, struct wire *w)
{
    struct pool *p = &b->k->pools[0];
    enum bypass_reason r = bypass_bind(b->k, w->slot, w->cookie);
    if (r != BYPASS_OK || !w->upstream)
        return r;
    bench_slot(b, w)->pool_index = w->slot;
    p->ref[w->slot] = w->ref;
    __atomic_fetch_or(&p->idle[0], 1ULL << w->slot, __ATOMIC_ACQ_REL);
    return r;
}

void bypass_left_alone(struct bench *b, int option, int value, enum bypass_reason why)
{
    for (int upstream = 0; upstream < 2; upstream++) {
        struct wire *w = bypass_pair(b, upstream, NULL);
        assert_int_equal(setsockopt(w->far, SOL_SOCKET, option, &value, sizeof(value)), 0);
        assert_int_equal(bypass_tie(b, w), why);
        send_text(w->far, PLAIN_REQUEST);
        expect_text(w->near, PLAIN_REQUEST);
    }
}

static struct wire *_tied(struct bench *b, bool upstream, uint8_t protocol)
{
    struct wire *w = bypass_pair(b, upstream, NULL);
    bench_slot(b, w)->protocol = protocol;
    assert_int_equal(bypass_tie(b, w), BYPASS_OK);
    return w;
}

struct wire *bypass_down(struct bench *b)
{
    return _tied(b, false, SLOT_HTTP);
}

struct wire *bypass_up(struct bench *b)
{
    return _tied(b, true, SLOT_HTTP);
}

struct wire *bypass_redis_down(struct bench *b)
{
    return _tied(b, false, SLOT_REDIS);
}

struct wire *bypass_redis_up(struct bench *b)
{
    return _tied(b, true, SLOT_REDIS);
}

struct wire *bypass_remote(struct bench *b, bool upstream, int near_buf, int far_buf)
{
    struct wire *w = bench_pair(b, upstream, near_buf, far_buf);
    bench_insert(b, w);
    /* Shows its address to the programs that can look none up. */
    assert_int_equal(kernel_inspect(b->k, w->slot), 0);
    return w;
}

bool bypass_knows(struct bench *b, int fd)
{
    uint64_t cookie = kernel_cookie(fd), value;
    return bpf_map_lookup_elem(bpf_map__fd(b->k->skel->maps.apps), &cookie, &value) == 0;
}

bool bypass_collects(struct bench *b)
{
    __u32 id, n = 1;
    int map = bpf_map__fd(b->k->skel->maps.apps);
    assert_int_equal(bpf_prog_query(map, BPF_SK_SKB_STREAM_VERDICT, 0, NULL, &id, &n), 0);
    return n;
}

/* What the programs did --------------------------------------------------------------- */

uint64_t bypass_requests(struct bench *b)
{
    struct kernel_listener_stats now;
    kernel_listener_stats(b->k, 0, &now);
    return now.bypassed[0] - b->base.bypassed[0];
}

uint64_t bypass_responses(struct bench *b)
{
    struct kernel_listener_stats now;
    kernel_listener_stats(b->k, 0, &now);
    return now.bypassed[1] - b->base.bypassed[1];
}

void bypass_ask(struct bench *b, struct wire *down, struct wire *up)
{
    uint64_t before = bypass_requests(b);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    assert_int_equal(bypass_requests(b), before + 1);
}

void bypass_exchange(struct bench *b, struct wire *down, struct wire *up)
{
    uint64_t before = bypass_responses(b);
    bypass_ask(b, down, up);
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
    assert_int_equal(bypass_responses(b), before + 1);
    await(bench_is_idle(b, up));
}

int bypass_readable(int fd)
{
    int n = -1;
    assert_int_equal(ioctl(fd, FIONREAD, &n), 0);
    return n;
}

/* The daemon's part ------------------------------------------------------------------- */

bool bypass_settled(struct bench *b, const struct wire *w)
{
    return kernel_inspect(b->k, w->slot) == 0 && slot_settled(bench_slot(b, w));
}

/* Or gone: then nobody reads. */
static bool _may_leave(struct bench *b, const struct wire *w)
{
    return kernel_inspect(b->k, w->slot) == -ENOENT || bypass_settled(b, w);
}

void bypass_take(struct bench *b, struct wire *w)
{
    uint32_t ref = owner_lease(bench_take(b, w));
    struct wire *other = ref ? &b->wires[ref_index(ref)] : NULL;
    if (other)
        bench_take(b, other);
    bench_end_lease(b, w);
    await(_may_leave(b, w) && (!other || _may_leave(b, other)));
}

enum bypass_reason bypass_give_back(struct bench *b, struct wire *w)
{
    uint8_t protocol = bench_slot(b, w)->protocol;
    bypass_take(b, w);
    kernel_forget(b->k, w->slot, w->cookie);
    wire_renew(b, w);
    bench_slot(b, w)->protocol = protocol;
    return bypass_tie(b, w);
}
