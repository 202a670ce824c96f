/*
 * Hazard: redirecting has no back-pressure, a fast source fills memory for a reader that does
 * not read. Above the listener's limit the kernel path stops; the rest stays readable on the
 * source, whose own buffers then stop its sender.
 */
#include "kernel_helper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ANNOUNCED (1ULL << 30)
#define SOCKBUF   65536

/* Everything that can hold bytes: four socket buffers (the kernel doubles them and may go a
 * segment over), the limit, a slice. */
#define ACCEPTED_MAX (4ULL << 20)

/* Sends the pattern until nothing is accepted for a while. @return Bytes accepted. */
static uint64_t _push(int fd, uint32_t stream)
{
    uint8_t buf[16384];
    uint64_t at = 0, quiet = bench_now();
    while (at < ANNOUNCED && bench_now() - quiet < 300000000) {
        pattern_fill(buf, sizeof(buf), stream, at);
        ssize_t n = send(fd, buf, sizeof(buf), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            bench_pause();
            continue;
        }
        at += (uint64_t)n;
        quiet = bench_now();
    }
    return at;
}

/* After the latch: what was redirected reaches the slow reader, what follows is the source's. */
static void _check_rest(struct bench *b, struct wire *from, struct wire *to, const char *head,
                        uint32_t stream, uint64_t accepted)
{
    uint64_t redirected = bench_load(&bench_slot(b, to)->redirected) - strlen(head);
    uint8_t *all = malloc(accepted);
    assert_non_null(all);
    pattern_fill(all, accepted, stream, 0);
    expect_text(to->far, head);
    expect_bytes(to->far, all, redirected);
    await(bench_drained(b, to));
    bench_end_lease(b, from);
    await(bench_leave(b, from));
    bench_expect_passed(b, from, all + redirected, accepted - redirected);
    free(all);
}

static void _stall(struct bench *b, struct wire *from, struct wire *to, const char *head, uint32_t stream,
                   unsigned reason)
{
    send_text(from->far, head);
    uint64_t accepted = _push(from->far, stream);
    uint64_t redirected = bench_load(&bench_slot(b, to)->redirected), unsent;
    assert_int_equal(kernel_inspect(b->k, to->slot), 0);
    unsent = bench_slot(b, to)->tx_seq - bench_slot(b, to)->write_seq;
    print_message("%llu bytes accepted, %llu redirected, %llu of them not yet in TCP's queue\n",
                  (unsigned long long)accepted, (unsigned long long)redirected, (unsigned long long)unsent);
    assert_true(accepted < ACCEPTED_MAX);
    assert_true(bench_passed(b, from));
    assert_int_equal(bench_reason(b, reason), 1);
    assert_true(unsent <= BENCH_BUFFER + SLICE_MAX);
    _check_rest(b, from, to, head, stream, accepted);
}

static void test_slow_downstream(void **state)
{
    struct bench *b = *state;
    char head[96];
    struct wire *up = bench_pair(b, true, SOCKBUF, SOCKBUF), *down = bench_pair(b, false, SOCKBUF, SOCKBUF);
    bench_insert(b, up);
    bench_insert(b, down);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", ANNOUNCED);
    _stall(b, up, down, head, 1, FALLBACK_DOWNSTREAM_SLOW);
}

static void test_slow_upstream(void **state)
{
    struct bench *b = *state;
    char head[96];
    struct wire *up = bench_pair(b, true, SOCKBUF, SOCKBUF), *down = bench_pair(b, false, SOCKBUF, SOCKBUF);
    bench_insert(b, up);
    bench_insert(b, down);
    snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %llu\r\n\r\n", ANNOUNCED);
    _stall(b, down, up, head, 2, FALLBACK_UPSTREAM_SLOW);
}

/* One slow client does not slow another: its bytes wait in its own queues. */
static void test_others_are_served(void **state)
{
    struct bench *b = *state;
    char head[96];
    struct wire *up = bench_pair(b, true, SOCKBUF, SOCKBUF), *down = bench_pair(b, false, SOCKBUF, SOCKBUF);
    bench_insert(b, up);
    bench_insert(b, down);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", ANNOUNCED);
    send_text(up->far, head);
    _push(up->far, 5);
    struct wire *other_up = bench_up(b), *other = bench_down(b);
    for (int i = 0; i < 20; i++) {
        bench_exchange(b, other, other_up);
        await(bench_is_idle(b, other_up));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_slow_downstream),
        BENCH_TEST(test_slow_upstream),
        BENCH_TEST(test_others_are_served),
    };
    return BENCH_MAIN("slow_reader", tests);
}
