/*
 * For tests of buffered sockets on an event loop: a worker reduced to its loop, owners that note
 * what they are told, and peers that read when the test tells them to. One program each.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/conn.h"
#include "proxy/kpath.h"
#include "proxy/runtime.h"
#include "proxy/worker.h"

#define MS 1000000ULL

/* What a busy machine may add to a wait. */
#define SLACK (300 * MS)

/* Without a kernel path. */
static struct conn *woken;

void kpath_wake(struct conn *c)
{
    woken = c;
}

void kpath_detach(struct conn *c)
{
}

void kpath_free_slot(struct conn *c)
{
}

/* A connection under test and what its owner was told. */
struct owner {
    struct conn c;
    size_t take; /* Bytes consumed per offer at most... */
    size_t step; /* ...in units of. */
    char got[1 << 16];
    size_t n_got;
    size_t last_offer;
    unsigned offers, eofs, connects, congestions, drains, expiries, releases;
    int err;
    uint64_t expired_at;
    void (*on_input)(struct owner *o);
};

static struct worker worker;
static struct conf conf;
static struct runtime runtime = {.conf = &conf};
static struct owner one;
static struct owner two __attribute__((unused)); /* Most tests need one only. */
static int peer, peer_two;                       /* The other ends. */

static inline struct owner *_of(struct conn *c)
{
    return (struct owner *)((char *)c - offsetof(struct owner, c));
}

static inline size_t _input(struct conn *c, const char *data, size_t len)
{
    struct owner *o = _of(c);
    size_t n = len < o->take ? len : o->take;
    n -= n % o->step;
    o->offers++;
    o->last_offer = len;
    assert_true(o->n_got + n <= sizeof(o->got));
    memcpy(o->got + o->n_got, data, n);
    o->n_got += n;
    if (o->on_input)
        o->on_input(o);
    return n;
}

static inline void _eof(struct conn *c)
{
    _of(c)->eofs++;
}

static inline void _broken(struct conn *c, int err)
{
    _of(c)->err = err;
    conn_close(c, true);
}

static inline void _connected(struct conn *c)
{
    _of(c)->connects++;
}

static inline void _congested(struct conn *c)
{
    _of(c)->congestions++;
}

static inline void _drained(struct conn *c)
{
    _of(c)->drains++;
}

static inline void _expired(struct conn *c)
{
    _of(c)->expiries++;
    _of(c)->expired_at = conn_now();
}

static inline void _release(struct conn *c)
{
    assert_true(c->dead);
    _of(c)->releases++;
}

static const struct conn_ops ops = {
    .input = _input,
    .eof = _eof,
    .broken = _broken,
    .connected = _connected,
    .congested = _congested,
    .drained = _drained,
    .expired = _expired,
};

/* The worker ---------------------------------------------------------------------------- */

static inline void _on_reap(evutil_socket_t fd, short what, void *arg)
{
    conn_reap(arg);
}

static inline int _setup(void **state)
{
    memset(&worker, 0, sizeof(worker));
    conf.timeouts.write = 5000 * MS;
    worker.runtime = &runtime;
    worker.base = event_base_new();
    worker.rbuf = malloc(2 * WORKER_RBUF);
    worker.stage = malloc(WORKER_STAGE);
    TAILQ_INIT(&worker.conns);
    TAILQ_INIT(&worker.graves);
    gather_worker_init(&worker);
    event_assign(&worker.reap, worker.base, -1, 0, _on_reap, &worker);
    peer = peer_two = -1;
    woken = NULL;
    return worker.base && worker.rbuf && worker.stage ? 0 : -1;
}

static inline int _teardown(void **state)
{
    struct conn *c;
    while ((c = TAILQ_FIRST(&worker.conns)))
        conn_close(c, true);
    conn_reap(&worker);
    gather_worker_free(&worker);
    event_base_free(worker.base);
    free(worker.rbuf);
    free(worker.stage);
    if (peer >= 0)
        close(peer);
    if (peer_two >= 0)
        close(peer_two);
    return 0;
}

/* Runs the events that are there now. */
static inline void _turn(void)
{
    event_base_loop(worker.base, EVLOOP_NONBLOCK);
}

/* Runs events until the condition holds, for at most some seconds. */
#define RUN_UNTIL(condition)                                                                                 \
    do {                                                                                                     \
        uint64_t _late = conn_now() + 5000 * MS;                                                             \
        while (!(condition)) {                                                                               \
            assert_true(conn_now() < _late);                                                                 \
            _turn();                                                                                         \
            usleep(200);                                                                                     \
        }                                                                                                    \
    } while (0)

static inline void _run_for(uint64_t ns)
{
    uint64_t end = conn_now() + ns;
    while (conn_now() < end) {
        _turn();
        usleep(200);
    }
}

static inline void _init(struct owner *o, int fd)
{
    memset(o, 0, sizeof(*o));
    o->take = SIZE_MAX;
    o->step = 1;
    evutil_make_socket_nonblocking(fd);
    conn_init(&o->c, &worker, fd, &ops, _release);
}

static inline int _listener(struct sockaddr_in *sin)
{
    socklen_t len = sizeof(*sin);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    *sin = (struct sockaddr_in){AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(fd, (struct sockaddr *)sin, len), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)sin, &len), 0);
    return fd;
}

/* A TCP connection with small buffers between an owner and a peer. */
static inline int _tcp(struct owner *o)
{
    struct sockaddr_in sin;
    int small = 8192, listener = _listener(&sin), fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    int accepted = accept(listener, NULL, NULL);
    assert_true(accepted >= 0);
    setsockopt(accepted, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    close(listener);
    _init(o, accepted);
    return fd;
}

/* An owner's connection that may still be under way to a listener. */
static inline void _begin_connect(struct owner *o, const struct sockaddr_in *sin)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int r = connect(fd, (const struct sockaddr *)sin, sizeof(*sin));
    _init(o, fd);
    if (r && errno != EINPROGRESS)
        fail_msg("connect: %s", strerror(errno));
    conn_await_connect(&o->c);
}

/* A pair of sockets that shows where one write ends and the next begins. */
static inline int _packets(struct owner *o)
{
    int pair[2], large = 1 << 20;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
    _init(o, pair[0]);
    return pair[1];
}

/* The peer's side ----------------------------------------------------------------------- */

static char bytes[1 << 20];

static inline void _send(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Owner one reads, and is offered what its peer sends. */
static inline void _offer(const char *text)
{
    conn_read(&one.c, true);
    _send(peer, text);
    RUN_UNTIL(one.offers);
}

static inline void _reset_peer(void)
{
    struct linger l = {.l_onoff = 1};
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    close(peer);
    peer = -1;
}

/* What is there to read now. -1: nothing; 0: the end. */
static inline ssize_t _receive(int fd)
{
    return recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
}

static inline void _expect_packet(int fd, const char *text)
{
    ssize_t n = _receive(fd);
    assert_int_equal(n, strlen(text));
    assert_memory_equal(bytes, text, strlen(text));
}

static inline void _expect_nothing(int fd)
{
    assert_int_equal(_receive(fd), -1);
    assert_int_equal(errno, EAGAIN);
}

/* Byte number i of a stream that is easy to check. */
static inline char _pattern(size_t i)
{
    return (char)(i * 7 + i / 251);
}

static inline void _put_pattern(struct conn *c, size_t from, size_t len)
{
    static char text[1 << 20];
    assert_true(len <= sizeof(text));
    for (size_t i = 0; i < len; i++)
        text[i] = _pattern(from + i);
    conn_put(c, text, len);
}

/* Reads the pattern, running events meanwhile, until `len` bytes of it have come or the stream
 * ends. `got` came before. @return Bytes read so far. */
static inline size_t _drain_pattern(int fd, size_t got, size_t len, bool *end)
{
    uint64_t stop = conn_now() + 5000 * MS;
    *end = false;
    while (got < len && !*end && conn_now() < stop) {
        ssize_t n = _receive(fd);
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(bytes[i], _pattern(got + (size_t)i));
        got += n > 0 ? (size_t)n : 0;
        *end = n == 0;
        if (n < 0)
            assert_int_equal(errno, EAGAIN);
        _turn();
    }
    return got;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, _setup, _teardown)
