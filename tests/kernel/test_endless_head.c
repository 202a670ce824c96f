/*
 * Hazard: a head that never ends would be assembled without a limit. Programs look at one window
 * and pass everything up; then the socket's own buffers bound it.
 */
#include "kernel_helper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ENDLESS (1 << 20)

static void _fill_head(char *buf, size_t len, const char *start)
{
    static const char line[] = "X-Filler: abcdefghijklmnopqrstuvwxyz\r\n";
    size_t n = strlen(start);
    memcpy(buf, start, n);
    for (size_t i = n; i < len; i++)
        buf[i] = line[(i - n) % (sizeof(line) - 1)];
}

/* Sends what the kernel takes without a reader. @return Bytes. */
static size_t _push(int fd, const char *buf, size_t len)
{
    size_t sent = 0;
    uint64_t quiet = bench_now();
    /* Room appears as the other side's programs run; without any for a while it is full. */
    while (sent < len && bench_now() - quiet < 200000000) {
        ssize_t n = send(fd, buf + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            bench_pause();
        if (n > 0) {
            sent += (size_t)n;
            quiet = bench_now();
        }
    }
    return sent;
}

static void _check_endless(struct bench *b, struct wire *from, const char *start, struct wire *other)
{
    const size_t len = 64UL << 20;
    char *buf = malloc(len);
    assert_non_null(buf);
    _fill_head(buf, len, start);
    size_t sent = _push(from->far, buf, len);
    print_message("%zu bytes accepted without a reader\n", sent);
    bool bounded = sent >= 65536 && sent < ENDLESS;
    if (bounded)
        bench_expect_passed(b, from, buf, sent);
    free(buf);
    assert_true(bounded);
    expect_silence(from->near);
    expect_silence(other->far);
}

static void test_request(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_pair(b, false, 65536, 65536);
    bench_insert(b, down);
    _check_endless(b, down, "GET / HTTP/1.1\r\nHost: bench\r\n", up);
    assert_int_equal(bench_reason(b, HTTP1_TOO_LONG) + bench_reason(b, HTTP1_MORE), 1);
    assert_true(bench_is_idle(b, up));
}

static void test_response(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_pair(b, true, 65536, 65536), *down = bench_down(b);
    bench_insert(b, up);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    _check_endless(b, up, "HTTP/1.1 200 OK\r\n", down);
    assert_int_equal(bench_reason(b, HTTP1_TOO_LONG) + bench_reason(b, HTTP1_MORE), 1);
}

/* The window's edge: a head of exactly that size is taken, one more byte is not. */
static void test_window_edge(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    char head[HTTP1_WINDOW + 1];
    for (size_t len = HTTP1_WINDOW - 1; len <= HTTP1_WINDOW + 1; len++) {
        memset(head, 'a', sizeof(head));
        memcpy(head, "GET / HTTP/1.1\r\nHost: bench\r\nX: ", 32);
        memcpy(head + len - 4, "\r\n\r\n", 4);
        send_bytes(down->far, head, len);
        if (len > HTTP1_WINDOW) {
            bench_expect_passed(b, down, head, len);
            break;
        }
        expect_bytes(up->far, head, len);
        send_text(up->far, PLAIN_RESPONSE);
        expect_text(down->far, PLAIN_RESPONSE);
        await(bench_is_idle(b, up));
    }
    assert_int_equal(bench_requests(b), 2);
    assert_int_equal(bench_reason(b, HTTP1_TOO_LONG), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_request),
        BENCH_TEST(test_response),
        BENCH_TEST(test_window_edge),
    };
    return BENCH_MAIN("endless_head", tests);
}
