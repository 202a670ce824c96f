/*
 * Hazard: redirected bytes wait in a queue of their own, and closing the target when the source
 * ends drops them. The daemon waits until all of them are in TCP's send queue.
 */
#include "kernel_helper.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RUNS   200
#define PIECES 64
#define PIECE  1000

static void _drop(struct bench *b, struct wire *w)
{
    bench_close(b, w);
    if (w->far >= 0)
        close(w->far);
    w->far = -1;
    b->n_wires--;
}

/* Sends a message of many segments and ends the stream. @return Bytes. */
static size_t _send_and_end(int fd, const char *head, uint8_t *all)
{
    size_t len = strlen(head);
    memcpy(all, head, len);
    pattern_fill(all + len, PIECES * PIECE, 7, 0);
    send_bytes(fd, all, len);
    for (size_t i = 0; i < PIECES; i++)
        send_bytes(fd, all + len + i * PIECE, PIECE);
    shutdown(fd, SHUT_WR);
    return len + PIECES * PIECE;
}

/* What the daemon does when it reads the end of one side: the other side's end follows, after
 * everything that was redirected there. */
static void _forward_end(struct bench *b, struct wire *from, struct wire *to, bool whole)
{
    expect_eof(from->near);
    bench_end_lease(b, from);
    bench_end_lease(b, to);
    await(bench_leave(b, to));
    if (whole)
        bench_close(b, to);
    else
        shutdown(to->near, SHUT_WR);
}

static void _run_responses(struct bench *b, bool whole)
{
    static uint8_t all[PIECES * PIECE + 128];
    char head[96];
    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", PIECES * PIECE);
    bench_buffer(b, 1U << 30);
    for (int i = 0; i < RUNS / 2; i++) {
        struct wire *down = bench_down(b), *up = bench_up(b);
        send_text(down->far, PLAIN_REQUEST);
        expect_text(up->far, PLAIN_REQUEST);
        size_t len = _send_and_end(up->far, head, all);
        _forward_end(b, up, down, whole);
        expect_bytes(down->far, all, len);
        expect_eof(down->far);
        _drop(b, up);
        _drop(b, down);
    }
    assert_int_equal(bench_responses(b), RUNS / 2);
}

static void test_response_then_shutdown(void **state)
{
    _run_responses(*state, false);
}

static void test_response_then_close(void **state)
{
    _run_responses(*state, true);
}

static void test_request_then_shutdown(void **state)
{
    static uint8_t all[PIECES * PIECE + 128];
    struct bench *b = *state;
    char head[96];
    snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", PIECES * PIECE);
    bench_buffer(b, 1U << 30);
    for (int i = 0; i < RUNS; i++) {
        struct wire *down = bench_down(b), *up = bench_up(b);
        size_t len = _send_and_end(down->far, head, all);
        _forward_end(b, down, up, false);
        expect_bytes(up->far, all, len);
        expect_eof(up->far);
        _drop(b, up);
        _drop(b, down);
    }
}

/* The end shows in poll() before the programs have seen all bytes; recv() says EAGAIN then, and
 * never the end. A socket that is busy sending is where segments wait. */
static void test_end_is_read_after_all_bytes(void **state)
{
    struct bench *b = *state;
    for (int i = 0; i < RUNS; i++) {
        struct wire *down = bench_down(b), *up = bench_up(b);
        char byte;
        ssize_t n;
        send_text(down->far, PLAIN_REQUEST);
        expect_text(up->far, PLAIN_REQUEST);
        send_text(up->far, PLAIN_RESPONSE);
        close(up->far);
        up->far = -1;
        uint64_t end = bench_now() + BENCH_WAIT_NS;
        while ((n = recv(up->near, &byte, 1, MSG_DONTWAIT)) < 0 && bench_now() < end)
            ;
        assert_int_equal(n, 0);
        assert_int_equal(bench_slot(b, down)->redirected, strlen(PLAIN_RESPONSE));
        expect_text(down->far, PLAIN_RESPONSE);
        _drop(b, up);
        _drop(b, down);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_response_then_shutdown),
        BENCH_TEST(test_response_then_close),
        BENCH_TEST(test_request_then_shutdown),
        BENCH_TEST(test_end_is_read_after_all_bytes),
    };
    return BENCH_MAIN("eof_does_not_overtake", tests);
}
