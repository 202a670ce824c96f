/*
 * Hazard: a program sees the skb, and the message at hand begins somewhere inside of it. Several
 * messages in one segment must be cut at their own ends, whatever their lengths.
 */
#include "kernel_helper.h"

#include <stdio.h>
#include <string.h>

/* Writes a DELETE (it goes on alone) whose path is `path_len` bytes long. @return Its length. */
static size_t _delete(char *out, size_t cap, unsigned id, unsigned path_len)
{
    int n = snprintf(out, cap, "DELETE /%0*u HTTP/1.1\r\nHost: bench\r\n\r\n", (int)path_len, id);
    assert_in_range(n, 1, cap - 1);
    return (size_t)n;
}

/* Ends an exchange in which more was passed up: userspace reads it and gives both back. */
static void _finish(struct bench *b, struct wire *down, struct wire *up)
{
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
    await(bench_is_idle(b, up));
    await(bench_drained(b, down));
    await(bench_give_back(b, down));
}

static void test_requests_in_one_segment(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    char all[4096];
    for (unsigned len = 1; len <= 300; len += 13) {
        size_t first = _delete(all, sizeof(all), 1, len);
        size_t second = _delete(all + first, sizeof(all) - first, 2, 301 - len);
        size_t third = _delete(all + first + second, sizeof(all) - first - second, 3, len % 7 + 1);
        send_bytes(down->far, all, first + second + third);
        expect_bytes(up->far, all, first);
        bench_expect_passed(b, down, all + first, second + third);
        expect_silence(up->far);
        _finish(b, down, up);
    }
    assert_int_equal(bench_reason(b, FALLBACK_PIPELINED), 24);
}

static void test_body_then_head_in_one_segment(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    char all[4096];
    for (int body = 0; body <= 700; body += 100) {
        int head =
            snprintf(all, sizeof(all), "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", body);
        memset(all + head, 'b', (size_t)body);
        size_t first = (size_t)(head + body);
        size_t next = _delete(all + first, sizeof(all) - first, 9, 30);
        send_bytes(down->far, all, first + next);
        expect_bytes(up->far, all, first);
        bench_expect_passed(b, down, all + first, next);
        _finish(b, down, up);
    }
}

static void test_end_of_body_and_head_in_one_segment(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    static const char head[] = "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n";
    for (size_t early = 0; early < 10; early++) {
        send_text(down->far, head);
        send_bytes(down->far, "0123456789", early);
        expect_text(up->far, head);
        expect_bytes(up->far, "0123456789", early);
        char rest[128];
        int n = snprintf(rest, sizeof(rest), "%s%s", &"0123456789"[early], PLAIN_REQUEST);
        send_bytes(down->far, rest, (size_t)n);
        expect_bytes(up->far, rest, 10 - early);
        bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
        _finish(b, down, up);
    }
}

static void test_responses_in_one_segment(void **state)
{
    struct bench *b = *state;
    struct wire *down = bench_down(b), *up = bench_up(b);
    for (int len = 0; len < 400; len += 37) {
        char all[1024];
        send_text(down->far, PLAIN_REQUEST);
        expect_text(up->far, PLAIN_REQUEST);
        int first = snprintf(all, sizeof(all), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%0*d", len + 1,
                             len + 1, 7);
        int second = snprintf(all + first, sizeof(all) - (size_t)first, "%s", PLAIN_RESPONSE);
        send_bytes(up->far, all, (size_t)(first + second));
        expect_bytes(down->far, all, (size_t)first);
        bench_expect_passed(b, up, all + first, (size_t)second);
        expect_silence(down->far);
        /* The daemon would close it; the test goes on with the same connection. */
        await(bench_give_back(b, up));
        assert_true(bench_is_idle(b, up));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_requests_in_one_segment),
        BENCH_TEST(test_body_then_head_in_one_segment),
        BENCH_TEST(test_end_of_body_and_head_in_one_segment),
        BENCH_TEST(test_responses_in_one_segment),
    };
    return BENCH_MAIN("message_offset", tests);
}
