#include "kernel_helper.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proxy/probe.h"
#include "skein.skel.h"

/* Tests of one program share the loaded programs: verifying them takes longer than a test. */
static struct bench _bench;

/* Life -------------------------------------------------------------------------------- */

struct kpath *bench_open_kpath(char *why, size_t len)
{
    struct conf conf = {.workers = 1, .datapath = {.connections = BENCH_SLOTS}};
    struct kpath *k = NULL;
    struct probe p = {0};
    int r = kernel_open(&conf, &k, &p);
    for (enum probe_guard g = 0; g < _GUARD_MAX; g++) {
        const struct probe_check *c = probe_culprit(&p, g);
        if (!c)
            continue;
        snprintf(why, len, "%s: %s", c->name, c->why);
        /* Programs that load and then do not work are a failure, not a missing feature. */
        if (!r || r == -ENOTRECOVERABLE) {
            printf("kernel path (%s): %s\n", probe_guard_name(g), why);
            exit(EXIT_FAILURE);
        }
    }
    return r ? NULL : k;
}

int bench_run_with(const char *name, const struct CMUnitTest *tests, size_t n,
                   int (*prepare)(struct kpath *k, char *why, size_t len))
{
    char why[PROBE_WHY];
    int result = BENCH_SKIPPED;
    _bench.k = bench_open_kpath(why, sizeof(why));
    if (!_bench.k || (prepare && prepare(_bench.k, why, sizeof(why))))
        printf("%s: skipped: %s\n", name, why);
    else
        result = _cmocka_run_group_tests(name, tests, n, NULL, NULL);
    kernel_close(&_bench.k);
    return result;
}

int bench_run(const char *name, const struct CMUnitTest *tests, size_t n)
{
    return bench_run_with(name, tests, n, NULL);
}

static void _fill_tables(struct kpath *k)
{
    memset(k->pools, 0, sizeof(*k->pools) * k->n_endpoints);
    memset(k->clusters, 0, sizeof(*k->clusters) * KERNEL_CLUSTERS);
    k->clusters[0].len = 1;
    k->clusters[0].place[0] = balance_place(0, 1);
    memset(k->endpoint_state, 0, sizeof(*k->endpoint_state) * RUNTIME_ENDPOINTS_MAX);
    memset(k->endpoint_load, 0, sizeof(*k->endpoint_load) * RUNTIME_ENDPOINTS_MAX);
}

static void _listener(struct bench *b, uint32_t buffer, uint64_t body_bytes)
{
    uint32_t zero = 0;
    struct kernel_listener l = {.single = 1,
                                .header_bytes = HTTP1_WINDOW,
                                .header_count = HTTP1_WINDOW,
                                .target_bytes = HTTP1_WINDOW,
                                .body_bytes = body_bytes,
                                .buffer = buffer};
    assert_int_equal(kernel_put(b->k->skel->maps.listeners, &zero, &l), 0);
}

void bench_buffer(struct bench *b, uint32_t buffer)
{
    _listener(b, buffer, 0);
}

void bench_limit(struct bench *b, uint64_t body_bytes)
{
    _listener(b, BENCH_BUFFER, body_bytes);
}

void bench_redis(struct bench *b, uint32_t buffer)
{
    uint32_t zero = 0;
    struct kernel_listener l = {
        .single = 1, .header_count = 1024, .buffer = buffer, .body_bytes = RESP_FRAME_BULK_MAX};
    memset(&b->k->rings[0], 0, sizeof(b->k->rings[0]));
    assert_int_equal(kernel_put(b->k->skel->maps.listeners, &zero, &l), 0);
}

int bench_setup(void **state)
{
    struct kpath *k = _bench.k;
    memset(&_bench, 0, sizeof(_bench));
    _bench.k = k;
    _fill_tables(k);
    bench_buffer(&_bench, BENCH_BUFFER);
    kernel_listener_stats(k, 0, &_bench.base);
    *state = &_bench;
    return 0;
}

int bench_teardown(void **state)
{
    struct bench *b = *state;
    for (uint32_t i = 0; i < b->n_wires; i++) {
        bench_close(b, &b->wires[i]);
        if (b->wires[i].far >= 0)
            close(b->wires[i].far);
    }
    return 0;
}

/* Connections ------------------------------------------------------------------------- */

static void _buffers(int fd, int size)
{
    if (!size)
        return;
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
}

void wire_connect_over(int family, struct wire *w, int near_buf, int far_buf)
{
    struct sockaddr_in6 a6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr_in a4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *a = family == AF_INET6 ? (struct sockaddr *)&a6 : (struct sockaddr *)&a4;
    socklen_t len = family == AF_INET6 ? sizeof(a6) : sizeof(a4);
    int one = 1, l = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    w->near = -1;
    w->far = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(l >= 0 && w->far >= 0);
    /* Accepted sockets inherit buffers and so the window that is announced. */
    _buffers(l, near_buf);
    _buffers(w->far, far_buf);
    bool ok = !bind(l, a, len) && !listen(l, 1) && !getsockname(l, a, &len) && !connect(w->far, a, len);
    if (ok)
        w->near = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    close(l);
    assert_true(w->near >= 0);
    setsockopt(w->far, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(w->near, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

void wire_renew(struct bench *b, struct wire *w)
{
    free(w->stash);
    w->stash = NULL;
    w->stash_len = w->received = 0;
    w->left = false;
    w->cookie = kernel_cookie(w->near);
    w->ref = kernel_init_slot(b->k, w->slot, w->upstream);
}

struct wire *bench_new_wire(struct bench *b, bool upstream)
{
    assert_true(b->n_wires < BENCH_SLOTS);
    struct wire *w = &b->wires[b->n_wires];
    memset(w, 0, sizeof(*w));
    w->slot = b->n_wires;
    w->upstream = upstream;
    w->far = w->near = -1;
    b->n_wires++;
    return w;
}

struct wire *bench_pair(struct bench *b, bool upstream, int near_buf, int far_buf)
{
    struct wire *w = bench_new_wire(b, upstream);
    wire_connect(w, near_buf, far_buf);
    wire_renew(b, w);
    return w;
}

void bench_insert(struct bench *b, struct wire *w)
{
    if (w->upstream) {
        struct slot *s = bench_slot(b, w);
        s->pool_index = w->slot;
        b->k->pools[0].ref[w->slot] = w->ref;
    }
    assert_int_equal(kernel_insert(b->k, w->slot, w->near), 0);
    if (w->upstream)
        __atomic_fetch_or(&b->k->pools[0].idle[0], 1ULL << w->slot, __ATOMIC_ACQ_REL);
}

struct wire *bench_down(struct bench *b)
{
    struct wire *w = bench_pair(b, false, 0, 0);
    bench_insert(b, w);
    return w;
}

struct wire *bench_up(struct bench *b)
{
    struct wire *w = bench_pair(b, true, 0, 0);
    bench_insert(b, w);
    return w;
}

/* Before the first byte comes. */
static struct wire *_speaks_redis(struct bench *b, struct wire *w)
{
    bench_slot(b, w)->protocol = SLOT_REDIS;
    bench_insert(b, w);
    return w;
}

struct wire *bench_redis_down(struct bench *b)
{
    return _speaks_redis(b, bench_pair(b, false, 0, 0));
}

struct wire *bench_redis_up(struct bench *b)
{
    return _speaks_redis(b, bench_pair(b, true, 0, 0));
}

void bench_close(struct bench *b, struct wire *w)
{
    free(w->stash);
    w->stash = NULL;
    if (w->near < 0)
        return;
    bench_take(b, w);
    if (w->upstream) {
        __atomic_fetch_and(&b->k->pools[0].idle[0], ~(1ULL << w->slot), __ATOMIC_ACQ_REL);
        b->k->pools[0].ref[w->slot] = 0;
    }
    close(w->near);
    w->near = -1;
    if (!w->left)
        kernel_forget(b->k, w->slot, w->cookie);
}

/* What the programs did --------------------------------------------------------------- */

uint64_t bench_reason(struct bench *b, unsigned reason)
{
    struct kernel_listener_stats now;
    kernel_listener_stats(b->k, 0, &now);
    return now.fallback[reason] - b->base.fallback[reason];
}

uint64_t bench_requests(struct bench *b)
{
    struct kernel_listener_stats now;
    kernel_listener_stats(b->k, 0, &now);
    return now.requests - b->base.requests;
}

uint64_t bench_responses(struct bench *b)
{
    struct kernel_listener_stats now;
    kernel_listener_stats(b->k, 0, &now);
    return now.responses - b->base.responses;
}

bool bench_is_idle(struct bench *b, const struct wire *up)
{
    uint64_t w = bench_owner(b, up);
    return !(w & (OWNER_USER | OWNER_BUSY)) && !owner_lease(w) &&
           (bench_load(&b->k->pools[0].idle[0]) >> up->slot & 1);
}

bool bench_in_socks(struct bench *b, uint32_t slot)
{
    uint64_t cookie;
    return bpf_map_lookup_elem(b->k->socks_fd, &slot, &cookie) == 0;
}

bool bench_in_cookies(struct bench *b, uint64_t cookie)
{
    uint32_t ref;
    return bpf_map_lookup_elem(b->k->cookies_fd, &cookie, &ref) == 0;
}

void bench_exchange(struct bench *b, struct wire *down, struct wire *up)
{
    uint64_t requests = bench_requests(b), responses = bench_responses(b);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
    assert_int_equal(bench_requests(b), requests + 1);
    assert_int_equal(bench_responses(b), responses + 1);
}

/* The daemon's part ------------------------------------------------------------------- */

uint64_t bench_take(struct bench *b, struct wire *w)
{
    struct slot *s = bench_slot(b, w);
    uint64_t word = slot_owner(s), end = bench_now() + BENCH_WAIT_NS;
    while (bench_now() < end) {
        if (word & OWNER_BUSY)
            word = slot_owner(s);
        else if ((word & OWNER_USER) || slot_cas(s, &word, word | OWNER_USER))
            break;
    }
    return word;
}

void bench_end_lease(struct bench *b, struct wire *w)
{
    uint32_t ref = owner_lease(bench_take(b, w));
    if (ref)
        __atomic_fetch_and(&b->k->slots[ref_index(ref)].owner, ~OWNER_LEASE_MASK, __ATOMIC_ACQ_REL);
    __atomic_fetch_and(&bench_slot(b, w)->owner, ~OWNER_LEASE_MASK, __ATOMIC_ACQ_REL);
}

/* Copies what was passed up. Consuming it would move TCP's reader, but not strparser's. */
static bool _stash(struct wire *w, uint64_t passed)
{
    free(w->stash);
    w->stash = malloc(passed + 1);
    assert_non_null(w->stash);
    w->stash_len = passed;
    return !passed || recv(w->near, w->stash, passed, MSG_PEEK | MSG_DONTWAIT) == (ssize_t)passed;
}

bool bench_leave(struct bench *b, struct wire *w)
{
    struct slot *s = bench_slot(b, w);
    uint64_t passed = bench_load(&s->passed);
    int one = 1;
    if (w->left)
        return true;
    int r = kernel_inspect(b->k, w->slot);
    /* A reset removes a socket by itself, with what it held. */
    bool gone = r == -ENOENT;
    if (!gone && (r || !slot_settled(s) || !_stash(w, passed)))
        return false;
    if (!gone && s->copied_seq != s->parsed_seq) {
        setsockopt(w->near, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one));
        return false;
    }
    if (!gone && s->held) {
        assert_int_equal(w->stash_len, 0);
        free(w->stash);
        w->stash = malloc(s->held);
        assert_non_null(w->stash);
        memcpy(w->stash, slot_held(s), s->held);
        w->stash_len = s->held;
    }
    kernel_remove(b->k, w->slot);
    if (w->upstream) {
        __atomic_fetch_and(&b->k->pools[0].idle[0], ~(1ULL << w->slot), __ATOMIC_ACQ_REL);
        b->k->pools[0].ref[w->slot] = 0;
    }
    kernel_forget(b->k, w->slot, w->cookie);
    w->left = true;
    socket_error(w->near);
    return true;
}

bool bench_give_back(struct bench *b, struct wire *w)
{
    bench_end_lease(b, w);
    if (!bench_leave(b, w) || w->received < w->stash_len)
        return false;
    uint8_t protocol = bench_slot(b, w)->protocol;
    wire_renew(b, w);
    bench_slot(b, w)->protocol = protocol;
    bench_insert(b, w);
    return true;
}

bool bench_passed(struct bench *b, const struct wire *w)
{
    uint64_t word = bench_owner(b, w);
    return (word & OWNER_USER) && !(word & OWNER_BUSY);
}

static bool _gave_up(int fd)
{
    struct pollfd p = {.fd = fd};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLERR);
}

/* What was passed up is there, or the rest is TCP's. */
static bool _may_read(struct bench *b, struct wire *w, size_t len)
{
    if (w->left || bench_load(&bench_slot(b, w)->passed) >= w->received + len)
        return true;
    if (!bench_passed(b, w) || (owner_lease(bench_owner(b, w)) && !_gave_up(w->near)))
        return false;
    bench_end_lease(b, w);
    return bench_leave(b, w);
}

void bench_expect_passed_at(struct bench *b, struct wire *w, const void *data, size_t len, const char *file,
                            int line)
{
    if (!eventually(_may_read(b, w, len))) {
        print_error("%s:%d: nothing was passed up: owner %llx, %llu passed, error %d\n", file, line,
                    (unsigned long long)bench_owner(b, w), (unsigned long long)bench_slot(b, w)->passed,
                    socket_error(w->near));
        _fail(file, line);
    }
    if (!w->left && !eventually(_stash(w, w->received + len))) {
        print_error("%s:%d: what was passed up can not be read\n", file, line);
        _fail(file, line);
    }
    uint64_t copied = w->stash_len - w->received < len ? w->stash_len - w->received : len;
    if (memcmp(w->stash + w->received, data, copied)) {
        print_error("%s:%d: other bytes were passed up\n", file, line);
        _fail(file, line);
    }
    w->received += copied;
    expect_bytes_at(w->near, (const char *)data + copied, len - copied, file, line);
}

void bench_expect_held_at(struct bench *b, struct wire *w, const void *data, size_t len, const char *file,
                          int line)
{
    const struct slot *s = bench_slot(b, w);
    if (!eventually(__atomic_load_n(&s->held, __ATOMIC_ACQUIRE) == len && !(slot_owner(s) & OWNER_BUSY))) {
        print_error("%s:%d: %u bytes are held, not %zu; owner %llx\n", file, line, s->held, len,
                    (unsigned long long)slot_owner(s));
        _fail(file, line);
    }
    if (memcmp(slot_held(s), data, len)) {
        print_error("%s:%d: other bytes are held\n", file, line);
        _fail(file, line);
    }
}

bool bench_drained(struct bench *b, const struct wire *w)
{
    return w->left || (!kernel_inspect(b->k, w->slot) && slot_settled(bench_slot(b, w)));
}
