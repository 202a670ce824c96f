/*
 * Hazard: an application's socket can go at any time, and nobody asks. What is redirected to it then has to
 * go by TCP instead, to the daemon, which sees that it has gone; and the memory of the socket, and its
 * address, are soon another one's, who must not get it.
 */
#include "bypass_helper.h"

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void _close(struct wire *w)
{
    close(w->far);
    w->far = -1;
}

static void _reset(struct wire *w)
{
    struct linger l = {.l_onoff = 1};
    assert_int_equal(setsockopt(w->far, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), 0);
    _close(w);
}

/* The socket's only owner is a process that is killed. */
static void _kill(struct wire *w)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        pause();
        _exit(0);
    }
    _close(w);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void (*const ways[])(struct wire *w) = {_close, _reset, _kill};

#define WAYS (sizeof(ways) / sizeof(*ways))

/* A closed socket is in no map, before its connection has ended. */
static uint64_t _gone(struct bench *b)
{
    return bench_reason(b, FALLBACK_TARGET_GONE) + bench_reason(b, FALLBACK_REDIRECT_FAILED);
}

static void test_seen(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < 2 * WAYS; i++) {
        struct wire *w = i % 2 ? bypass_up(b) : bypass_down(b);
        assert_int_equal(kernel_inspect(b->k, w->slot), 0);
        ways[i / 2](w);
        /* Even while TCP waits for the other end's goodbye. */
        await(kernel_inspect(b->k, w->slot) == -ENOENT);
    }
}

/* Its request was answered too late. */
static void test_client(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < WAYS; i++) {
        struct wire *up = bypass_up(b), *down = bypass_down(b);
        bypass_ask(b, down, up);
        ways[i](down);
        send_text(up->far, PLAIN_RESPONSE);
        expect_text(up->near, PLAIN_RESPONSE);
        assert_true(bench_passed(b, up));
        assert_int_equal(bench_slot(b, down)->redirected, 0);
        assert_int_equal(_gone(b), i + 1);
        bypass_take(b, up);
        bench_close(b, up);
    }
}

/* The client's socket is another connection's end by the time of the response. */
static void test_connected_anew(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    struct sockaddr none = {.sa_family = AF_UNSPEC};
    struct sockaddr_in other = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(other);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&other, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&other, &len), 0);
    bypass_ask(b, down, up);
    assert_int_equal(connect(down->far, &none, sizeof(none)), 0);
    assert_int_equal(connect(down->far, (struct sockaddr *)&other, len), 0);
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(up->near, PLAIN_RESPONSE);
    assert_int_equal(_gone(b), 1);
    int far = accept(listener, NULL, NULL);
    send_text(far, "from another");
    expect_text(down->far, "from another");
    close(far);
    close(listener);
}

/* What it was sent is unread, of a response that has a length or ends with its connection: the daemon is told
 * that nobody waits for the rest. */
static void test_client_in_the_middle(void **state)
{
    static const char *const begins[] = {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
                                         "HTTP/1.1 200 OK\r\n\r\nabc"};
    struct bench *b = *state;
    for (size_t i = 0; i < 2 * WAYS; i++) {
        struct wire *up = bypass_up(b), *down = bypass_down(b);
        bypass_ask(b, down, up);
        send_text(up->far, begins[i % 2]);
        assert_int_equal(kernel_inspect(b->k, down->slot), 0);
        ways[i / 2](down);
        await(kernel_inspect(b->k, down->slot) == -ENOENT);
        send_text(up->far, "def");
        send_text(up->far, "ghi");
        expect_text(up->near, "defghi");
    }
}

/* A server that is gone is not leased; one that goes gets no more of its request. */
static void test_server(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < WAYS; i++) {
        struct wire *up = bypass_up(b), *down = bypass_down(b);
        ways[i](up);
        send_text(down->far, PLAIN_REQUEST);
        expect_text(down->near, PLAIN_REQUEST);
        assert_int_equal(owner_lease(bench_owner(b, down)), 0);
        assert_int_equal(_gone(b), i + 1);
        bench_close(b, up);
    }
}

static void test_server_in_the_middle(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < WAYS; i++) {
        struct wire *up = bypass_up(b), *down = bypass_down(b);
        send_text(down->far, "POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 9\r\n\r\nabc");
        ways[i](up);
        send_text(down->far, "defghi");
        expect_text(down->near, "defghi");
        assert_int_equal(bench_slot(b, down)->remaining, 6);
    }
}

/* The daemon's own end is gone first: the application talks to nobody, not past TCP either. */
static void test_daemons_end(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    bypass_ask(b, down, up);
    bench_take(b, up);
    bench_close(b, down);
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(up->near, PLAIN_RESPONSE);
    expect_eof(down->far);
    send(down->far, PLAIN_REQUEST, strlen(PLAIN_REQUEST), MSG_NOSIGNAL);
    expect_silence(up->far);
}

/* A half-closed client still gets its response. */
static void test_half_closed(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    bypass_ask(b, down, up);
    shutdown(down->far, SHUT_WR);
    expect_eof(down->near);
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
    assert_true(bench_is_idle(b, up));
    assert_int_equal(send(down->far, "x", 1, MSG_NOSIGNAL), -1);
    assert_int_equal(errno, EPIPE);
}

/* Clients come and go until one has the memory of one that was asked for; the answer is not for it. */
static void test_memory_used_again(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *old = bypass_down(b), *w = NULL;
    bypass_ask(b, old, up);
    uint64_t memory = bench_slot(b, old)->app_sock;
    _reset(old);
    uint64_t end = bench_now() + BENCH_WAIT_NS;
    bool again = false;
    while (!again && bench_now() < end) {
        if (b->n_wires == BENCH_SLOTS - 1) { /* One is for the server at the end. */
            while (b->n_wires > 2) {
                w = &b->wires[--b->n_wires];
                _reset(w);
                bench_close(b, w);
            }
        }
        w = bypass_down(b);
        again = bench_slot(b, w)->app_sock == memory;
    }
    print_message("%s\n", again ? "its memory is used again" : "its memory was not seen again");
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(up->near, PLAIN_RESPONSE);
    expect_silence(w->far);
    assert_int_equal(bypass_readable(w->far), 0);
    assert_int_equal(bench_slot(b, old)->redirected, 0);
    bypass_exchange(b, w, bypass_up(b));
}

/* The slot, too, is another one's. */
static void test_slot_used_again(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *old = bypass_down(b);
    int far = old->far;
    bypass_ask(b, old, up);
    bench_close(b, old);
    b->n_wires--;
    struct wire *w = bypass_down(b);
    assert_int_equal(w->slot, old->slot);
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(up->near, PLAIN_RESPONSE);
    assert_int_equal(bench_reason(b, FALLBACK_STALE_LEASE), 1);
    expect_silence(w->far);
    /* And who was in it before finds the way by TCP closed, not the new one's place. */
    send(far, PLAIN_REQUEST, strlen(PLAIN_REQUEST), MSG_NOSIGNAL);
    struct wire *other = bypass_up(b);
    expect_silence(other->far);
    bypass_exchange(b, w, other);
    close(far);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_seen),
        BENCH_TEST(test_client),
        BENCH_TEST(test_connected_anew),
        BENCH_TEST(test_client_in_the_middle),
        BENCH_TEST(test_server),
        BENCH_TEST(test_server_in_the_middle),
        BENCH_TEST(test_daemons_end),
        BENCH_TEST(test_half_closed),
        BENCH_TEST(test_memory_used_again),
        BENCH_TEST(test_slot_used_again),
    };
    return BYPASS_MAIN("bypass_gone", tests);
}
