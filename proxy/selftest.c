/*
 * The start-up self-test: the very programs that will carry traffic carry a few messages
 * over loopback first. What a kernel does differently from what the kernel path relies on
 * shows here, by name, before a client can meet it.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kernel.h"
#include "kernel_internal.h"
#include "skein.skel.h"

#define WAIT_MS 1000

/* A loopback connection: `far` is the peer's end, `near` the proxy's. */
struct pair {
    int far;
    int near;
};

struct bench {
    struct kpath *k;
    struct pair down;
    struct pair up;
    uint64_t cookies[2];
};

enum { DOWN_SLOT = 0, UP_SLOT = 1 };

static const char _request[] = "GET /self HTTP/1.1\r\nHost: selftest\r\n\r\n";
static const char _response[] = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";

static int _connect_pair(struct pair *p)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    p->far = p->near = -1;
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (l < 0)
        return -errno;
    p->far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = p->far >= 0 && !bind(l, (struct sockaddr *)&a, sizeof(a)) && !listen(l, 1) &&
              !getsockname(l, (struct sockaddr *)&a, &len) && !connect(p->far, (struct sockaddr *)&a, len);
    if (ok)
        p->near = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    int err = errno;
    close(l);
    return p->near >= 0 ? 0 : -err;
}

/* Whether exactly `want` arrives. */
static bool _arrives(int fd, const char *want)
{
    char got[256];
    size_t len = strlen(want), n = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (n < len && poll(&p, 1, WAIT_MS) == 1) {
        ssize_t r = recv(fd, got + n, sizeof(got) - n, MSG_DONTWAIT);
        if (r <= 0)
            return false;
        n += (size_t)r;
    }
    return n == len && memcmp(got, want, len) == 0;
}

static bool _send(int fd, const char *text)
{
    return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

static int _put_routes(struct kpath *k)
{
    uint32_t zero = 0;
    struct kernel_listener l = {.single = 1,
                                .header_bytes = HTTP1_WINDOW,
                                .header_count = 100,
                                .target_bytes = HTTP1_WINDOW,
                                .buffer = 65536};
    k->clusters[0].place[0] = balance_place(0, 1);
    k->clusters[0].position = 0;
    k->clusters[0].len = 1;
    return kernel_put(k->skel->maps.listeners, &zero, &l);
}

static int _insert(struct bench *b, uint32_t slot, int fd)
{
    b->cookies[slot] = kernel_cookie(fd);
    return kernel_insert(b->k, slot, fd);
}

static int _setup(struct bench *b)
{
    struct kpath *k = b->k;
    int r = _connect_pair(&b->down);
    if (!r)
        r = _connect_pair(&b->up);
    if (!r)
        r = _put_routes(k);
    if (r)
        return r;
    kernel_init_slot(k, DOWN_SLOT, false);
    k->pools[0].ref[0] = kernel_init_slot(k, UP_SLOT, true);
    k->pools[0].idle[0] = 1;
    return _insert(b, UP_SLOT, b->up.near);
}

static void _teardown(struct bench *b)
{
    int fds[] = {b->down.far, b->down.near, b->up.far, b->up.near};
    for (size_t i = 0; i < 4; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    for (uint32_t s = 0; s < 2; s++)
        kernel_forget(b->k, s, b->cookies[s]);
    memset(b->k->pools, 0, sizeof(*b->k->pools));
    memset(b->k->clusters, 0, sizeof(*b->k->clusters));
}

/* Whether exactly `want` can be read, without consuming it. */
static bool _peeks(int fd, const char *want)
{
    char got[256];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    size_t len = strlen(want);
    return poll(&p, 1, WAIT_MS) == 1 && recv(fd, got, sizeof(got), MSG_PEEK | MSG_DONTWAIT) == (ssize_t)len &&
           memcmp(got, want, len) == 0;
}

/* What the parser does not take stays in TCP's queue, whole, once the socket is out of the
 * map: here a response that nobody asked for. */
static const char *_check_give_up(struct bench *b)
{
    struct pollfd p = {.fd = b->up.near, .events = POLLIN};
    int err = 0;
    socklen_t len = sizeof(err);
    __atomic_fetch_and(&b->k->slots[UP_SLOT].owner, ~OWNER_LEASE_MASK, __ATOMIC_ACQ_REL);
    if (!_send(b->up.far, _response) || poll(&p, 1, WAIT_MS) != 1)
        return "the parser can not give up";
    if (kernel_inspect(b->k, UP_SLOT))
        return "a socket can not be inspected";
    if (b->k->slots[UP_SLOT].copied_seq != b->k->slots[UP_SLOT].parsed_seq)
        return "giving up moves the reader";
    kernel_remove(b->k, UP_SLOT);
    getsockopt(b->up.near, SOL_SOCKET, SO_ERROR, &err, &len);
    if (err != PARSER_GAVE_UP || !_arrives(b->up.near, _response))
        return "bytes are lost when a socket leaves the map";
    return NULL;
}

/* Each check: NULL if it holds, otherwise the hazard's name. */
static const char *_check(struct bench *b)
{
    char two[512];
    struct kpath *k = b->k;
    const struct slot *d = &k->slots[DOWN_SLOT], *u = &k->slots[UP_SLOT];
    /* Bytes that came before the insert are parsed because of the peek. */
    if (!_send(b->down.far, _request) || _insert(b, DOWN_SLOT, b->down.near))
        return "a socket can not be inserted";
    if (!_arrives(b->up.far, _request))
        return "bytes from before the insert are not redirected";
    if (!_send(b->up.far, _response) || !_arrives(b->down.far, _response))
        return "a response is not redirected";
    if (owner_lease(slot_owner(d)) || owner_lease(slot_owner(u)) || k->pools[0].idle[0] != 1)
        return "a lease is not returned";
    if (kernel_inspect(k, DOWN_SLOT) || kernel_inspect(k, UP_SLOT))
        return "a socket can not be inspected";
    if (!d->tx_valid || !slot_settled(d) || !u->tx_valid || !slot_settled(u))
        return "redirected bytes can not be counted";
    /* Two messages in one segment: the second is found by its offset, and is passed up
     * because the first is outstanding. */
    snprintf(two, sizeof(two), "%s%s", _request, _request);
    if (!_send(b->down.far, two) || !_arrives(b->up.far, _request) || !_peeks(b->down.near, _request))
        return "message offsets are not what strparser says";
    if (!(slot_owner(d) & OWNER_USER) || d->passed != strlen(_request))
        return "passed bytes can not be counted";
    return _check_give_up(b);
}

static void _clear_counters(struct kpath *k)
{
    uint32_t zero = 0;
    int cpus = libbpf_num_possible_cpus();
    if (cpus <= 0)
        return;
    struct listener_counters *l = calloc((size_t)cpus, sizeof(*l));
    struct endpoint_counters *e = calloc((size_t)cpus, sizeof(*e));
    if (l && e) {
        kernel_put(k->skel->maps.listener_stats, &zero, l);
        kernel_put(k->skel->maps.endpoint_stats, &zero, e);
    }
    free(l);
    free(e);
}

int kernel_selftest(struct kpath *k, char *why, size_t why_len)
{
    struct bench b = {.k = k, .down = {-1, -1}, .up = {-1, -1}};
    int r = _setup(&b);
    const char *hazard = r ? NULL : _check(&b);
    _teardown(&b);
    _clear_counters(k);
    if (r) {
        snprintf(why, why_len, "self-test: %s", strerror(-r));
    } else if (hazard) {
        snprintf(why, why_len, "self-test: %s on this kernel", hazard);
        r = -ENOTRECOVERABLE;
    }
    return r;
}
