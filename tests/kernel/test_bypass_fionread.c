/*
 * Hazard: an application does not see what came past TCP as it sees TCP's bytes: FIONREAD, poll(), MSG_PEEK,
 * short reads and the end of the stream have to tell the same of both.
 */
#include "bypass_helper.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static short _events(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT | POLLRDHUP};
    poll(&p, 1, 0);
    return p.revents;
}

/* Text that has come is seen by everything, of which the first `shown` bytes by one look, and is then read
 * byte by byte. */
static void _check_shown(int fd, const char *text, size_t shown)
{
    char got[256];
    size_t len = strlen(text);
    assert_int_equal(bypass_readable(fd), len);
    assert_true(_events(fd) & POLLIN);
    for (size_t n = 1; n <= len; n++) {
        assert_int_equal(recv(fd, got, n, MSG_PEEK | MSG_DONTWAIT), n < shown ? n : shown);
        assert_memory_equal(got, text, n < shown ? n : shown);
    }
    assert_int_equal(recv(fd, got, sizeof(got), MSG_PEEK | MSG_DONTWAIT), shown);
    for (size_t at = 0; at < len; at++) {
        assert_int_equal(bypass_readable(fd), len - at);
        assert_true(_events(fd) & POLLIN);
        assert_int_equal(recv(fd, got, 1, MSG_DONTWAIT), 1);
        assert_int_equal(got[0], text[at]);
    }
    assert_int_equal(bypass_readable(fd), 0);
    assert_false(_events(fd) & POLLIN);
    assert_int_equal(recv(fd, got, 1, MSG_DONTWAIT), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(recv(fd, got, 1, MSG_DONTWAIT | MSG_PEEK), -1);
    assert_int_equal(errno, EAGAIN);
}

static void _check_seen(int fd, const char *text)
{
    _check_shown(fd, text, strlen(text));
}

static void test_past_tcp(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    assert_int_equal(bypass_readable(down->far), 0);
    for (int i = 0; i < 3; i++) {
        send_text(down->far, PLAIN_REQUEST);
        _check_seen(up->far, PLAIN_REQUEST);
        send_text(up->far, PLAIN_RESPONSE);
        _check_seen(down->far, PLAIN_RESPONSE);
    }
    assert_int_equal(bypass_responses(b), 3);
}

/* Of one that is tied, and of one that is registered alone. */
static void test_by_tcp(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_pair(b, false, NULL);
    const struct wire *w[] = {up, down};
    for (int i = 0; i < 2; i++) {
        send_text(w[i]->near, "some text");
        await(bypass_readable(w[i]->far) == 9);
        _check_seen(w[i]->far, "some text");
    }
}

static void test_both(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    bypass_ask(b, down, up);
    send_text(up->far, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    bypass_take(b, up);
    send_text(down->near, "def");
    await(bypass_readable(down->far) == (int)strlen("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef"));
    expect_text(down->far, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab");
    assert_int_equal(bypass_readable(down->far), 4);
    /* One look ends where TCP's queue begins. */
    _check_shown(down->far, "cdef", bypass_collects(b) ? 4 : 1);
}

/* Many pieces are one stream: a read takes of as many as it has room for. */
static void test_pieces(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
    char body[101], got[101];
    bypass_ask(b, down, up);
    send_text(up->far, head);
    expect_text(down->far, head);
    pattern_fill((uint8_t *)body, 100, 1, 0);
    for (int i = 0; i < 20; i++)
        send_bytes(up->far, body + 5 * i, 5);
    assert_int_equal(bypass_readable(down->far), 100);
    for (size_t at = 0, n = 7; at < 100; at += n) {
        size_t rest = 100 - at < n ? 100 - at : n;
        assert_int_equal(recv(down->far, got, n, 0), rest);
        assert_memory_equal(got, body + at, rest);
    }
}

/* An edge for each piece. */
static void test_epoll_edges(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    struct epoll_event e = {.events = EPOLLIN | EPOLLET};
    int ep = epoll_create1(EPOLL_CLOEXEC);
    assert_int_equal(epoll_ctl(ep, EPOLL_CTL_ADD, down->far, &e), 0);
    bypass_ask(b, down, up);
    send_text(up->far, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    for (int i = 0; i < 5; i++) {
        assert_int_equal(epoll_wait(ep, &e, 1, 1000), 1);
        assert_true(e.events & EPOLLIN);
        assert_int_equal(epoll_wait(ep, &e, 1, 0), 0);
        send_text(up->far, "x");
    }
    close(ep);
}

/* A reader that waits for many bytes at once would be woken too early: it is left alone. */
static void test_low_water(void **state)
{
    bypass_left_alone(*state, SO_RCVLOWAT, 100, BYPASS_LOW_WATER);
}

struct blocked {
    pthread_t thread;
    int fd;
    int flags;
    size_t len;
    pid_t tid;
    ssize_t n;
    int err;
    char got[256];
};

static void *_block(void *arg)
{
    struct blocked *r = arg;
    __atomic_store_n(&r->tid, gettid(), __ATOMIC_RELEASE);
    r->n = recv(r->fd, r->got, r->len, r->flags);
    r->err = errno;
    return NULL;
}

/* Whether the thread sleeps in its recv(): its state in /proc. */
static bool _sleeps(pid_t tid)
{
    char path[64], line[512], *state;
    snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(line, sizeof(line), f) && (state = strrchr(line, ')')) && state[2] == 'S';
    if (f)
        fclose(f);
    return ok;
}

static void _start(struct blocked *r, int fd, size_t len, int flags)
{
    *r = (struct blocked){.fd = fd, .len = len, .flags = flags};
    assert_int_equal(pthread_create(&r->thread, NULL, _block, r), 0);
    await(__atomic_load_n(&r->tid, __ATOMIC_ACQUIRE) && _sleeps(r->tid));
}

static void _expect_blocked(struct blocked *r, ssize_t n, const char *text)
{
    pthread_join(r->thread, NULL);
    if (r->n != n)
        print_error("recv(): %zd, %s\n", r->n, strerror(r->err));
    assert_int_equal(r->n, n);
    assert_memory_equal(r->got, text, strlen(text));
}

static void test_blocked_reader(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    struct blocked r;
    for (int i = 0; i < 10; i++) {
        _start(&r, up->far, sizeof(r.got), 0);
        send_text(down->far, PLAIN_REQUEST);
        _expect_blocked(&r, strlen(PLAIN_REQUEST), PLAIN_REQUEST);
        _start(&r, down->far, sizeof(r.got), 0);
        send_text(up->far, PLAIN_RESPONSE);
        _expect_blocked(&r, strlen(PLAIN_RESPONSE), PLAIN_RESPONSE);
    }
}

/* TCP's bytes and its end. */
static void test_blocked_reader_of_tcp(void **state)
{
    struct bench *b = *state;
    struct wire *down = bypass_down(b);
    struct blocked r;
    _start(&r, down->far, sizeof(r.got), 0);
    send_text(down->near, "some text");
    _expect_blocked(&r, 9, "some text");
    _start(&r, down->far, sizeof(r.got), 0);
    shutdown(down->near, SHUT_WR);
    _expect_blocked(&r, 0, "");
    assert_true(_events(down->far) & POLLRDHUP);
}

/* The end comes behind what was pushed. */
static void test_end_behind_pushed(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    bypass_ask(b, down, up);
    send_text(up->far, PLAIN_RESPONSE);
    bypass_take(b, down);
    shutdown(down->near, SHUT_WR);
    await(_events(down->far) & POLLRDHUP);
    expect_text(down->far, PLAIN_RESPONSE);
    expect_eof(down->far);
}

/* A reader that asks for all of many bytes gets what is there: the kernel knows no MSG_WAITALL for a socket
 * in a map (net/ipv4/tcp_bpf.c, tcp_bpf_recvmsg()). What it did not wait for is next. */
static void test_waitall(void **state)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n";
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    struct blocked r;
    bypass_ask(b, down, up);
    _start(&r, down->far, strlen(head) + 12, MSG_WAITALL);
    send_text(up->far, head);
    send_text(up->far, "abcdefghijkl");
    pthread_join(r.thread, NULL);
    assert_true(r.n >= (ssize_t)strlen(head));
    assert_memory_equal(r.got, head, strlen(head));
    expect_text(down->far, "abcdefghijkl" + (r.n - (ssize_t)strlen(head)));
}

/* What wakes a writer of the socket ends its reader's recv() with EAGAIN, sometimes: tcp_bpf_recvmsg() sleeps
 * once. Nothing is lost by that. */
static void test_blocked_reader_beside_a_writer(void **state)
{
    struct bench *b = *state;
    struct bypass_place place = {.near_buf = 4096, .far_buf = 65536};
    struct wire *down = bypass_pair(b, false, &place);
    static char much[1 << 20];
    struct blocked r;
    assert_int_equal(bypass_tie(b, down), BYPASS_OK);
    _start(&r, down->far, sizeof(r.got), 0);
    ssize_t sent = send(down->far, much, sizeof(much), MSG_DONTWAIT | MSG_NOSIGNAL), read = 0;
    assert_true(sent > 0 && sent < (ssize_t)sizeof(much));
    while (read < sent) {
        ssize_t n = recv(down->near, much, sizeof(much), 0);
        assert_true(n > 0);
        read += n;
    }
    await(_events(down->far) & POLLOUT);
    send_text(down->near, "some text");
    pthread_join(r.thread, NULL);
    if (r.n < 0) {
        assert_int_equal(r.err, EAGAIN);
        expect_text(down->far, "some text");
    } else {
        assert_int_equal(r.n, 9);
        assert_memory_equal(r.got, "some text", 9);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_past_tcp),
        BENCH_TEST(test_by_tcp),
        BENCH_TEST(test_both),
        BENCH_TEST(test_pieces),
        BENCH_TEST(test_epoll_edges),
        BENCH_TEST(test_low_water),
        BENCH_TEST(test_blocked_reader),
        BENCH_TEST(test_blocked_reader_of_tcp),
        BENCH_TEST(test_end_behind_pushed),
        BENCH_TEST(test_waitall),
        BENCH_TEST(test_blocked_reader_beside_a_writer),
    };
    return BYPASS_MAIN("bypass_fionread", tests);
}
