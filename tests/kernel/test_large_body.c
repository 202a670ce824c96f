/*
 * Hazard: strparser refuses a message larger than sk_rcvbuf and stalls on one that nearly fills it.
 * Bodies travel as slices, so their length is no matter of buffers.
 */
#include "kernel_helper.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BODY  (8ULL << 20)
#define SMALL 16384

struct sender {
    int fd;
    uint32_t stream;
    uint64_t len;
    bool ok;
};

static void *_send_body(void *arg)
{
    struct sender *s = arg;
    uint8_t buf[16384];
    for (uint64_t at = 0; at < s->len;) {
        /* Odd sizes, so that slices end anywhere. */
        size_t n = 1 + (at * 2654435761U) % sizeof(buf);
        if (n > s->len - at)
            n = (size_t)(s->len - at);
        pattern_fill(buf, n, s->stream, at);
        for (size_t done = 0; done < n;) {
            struct pollfd p = {.fd = s->fd, .events = POLLOUT};
            if (poll(&p, 1, (int)(BENCH_WAIT_NS / 1000000)) != 1)
                return NULL;
            ssize_t r = send(s->fd, buf + done, n - done, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (r > 0)
                done += (size_t)r;
        }
        at += n;
    }
    s->ok = true;
    return NULL;
}

/* Reads a body of the pattern. @return Bytes that were as expected. */
static uint64_t _recv_body(int fd, uint32_t stream, uint64_t len)
{
    uint8_t buf[32768];
    uint64_t at = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (at < len && poll(&p, 1, (int)(BENCH_WAIT_NS / 1000000)) == 1) {
        ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n <= 0)
            break;
        size_t good = pattern_check(buf, (size_t)n, stream, at);
        at += good;
        if (good < (size_t)n)
            break;
    }
    return at;
}

static void _stream(int from, int to, const char *head, uint32_t stream)
{
    struct sender s = {.fd = from, .stream = stream, .len = BODY};
    pthread_t thread;
    send_text(from, head);
    expect_text(to, head);
    assert_int_equal(pthread_create(&thread, NULL, _send_body, &s), 0);
    uint64_t got = _recv_body(to, stream, BODY);
    if (got < BODY)
        shutdown(from, SHUT_RDWR);
    pthread_join(thread, NULL);
    assert_int_equal(got, BODY);
    assert_true(s.ok);
}

static void _both_directions(struct bench *b, int near_buf)
{
    char head[128];
    struct wire *up = bench_pair(b, true, near_buf, 0), *down = bench_pair(b, false, near_buf, 0);
    bench_insert(b, up);
    bench_insert(b, down);
    /* The limit for slow readers is another test's. */
    bench_buffer(b, 1U << 30);
    for (uint32_t i = 0; i < 2; i++) {
        snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: %llu\r\n\r\n", BODY);
        _stream(down->far, up->far, head, 2 * i);
        snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", BODY);
        _stream(up->far, down->far, head, 2 * i + 1);
        await(bench_is_idle(b, up));
    }
    assert_int_equal(bench_slot(b, down)->passed, 0);
    assert_int_equal(bench_slot(b, up)->passed, 0);
    assert_int_equal(bench_requests(b), 2);
    assert_int_equal(bench_responses(b), 2);
    bench_exchange(b, down, up);
}

static void test_small_buffers(void **state)
{
    _both_directions(*state, SMALL);
}

static void test_default_buffers(void **state)
{
    _both_directions(*state, 0);
}

/* Longer than any buffer can be announced; the count of remaining bytes has 64 bits. */
static void test_huge_length(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    static const char head[] = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 999999999999999999\r\n\r\nabc";
    send_text(down->far, head);
    expect_text(up->far, head);
    send_text(down->far, "def");
    expect_text(up->far, "def");
    await(!(bench_owner(b, down) & OWNER_BUSY));
    assert_true(bench_slot(b, down)->remaining == 999999999999999999ULL - 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_small_buffers),
        BENCH_TEST(test_default_buffers),
        BENCH_TEST(test_huge_length),
    };
    return BENCH_MAIN("large_body", tests);
}
