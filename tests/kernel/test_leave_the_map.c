/*
 * Hazard: removing a socket from the map loses what strparser or its queue holds. A parser that
 * gives up consumes nothing, and what was passed up is copied before the socket leaves; then it
 * is an ordinary socket, which can come back.
 */
#include "kernel_helper.h"

#include <string.h>
#include <unistd.h>

static const char _refused[] = "GET /c HTTP/1.1\r\nHost: bench\r\nTE: trailers\r\n\r\n";

static void test_later_bytes_stay_in_order(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    uint8_t buf[8192];
    uint64_t at = 0;
    send_text(down->far, _refused);
    /* Many segments before the first read, of all sizes; some of them look like requests. */
    for (size_t i = 1; i <= 64; i++) {
        size_t n = i * 127;
        pattern_fill(buf, n, 1, at);
        send_bytes(down->far, buf, n);
        send_text(down->far, PLAIN_REQUEST);
        at += n;
    }
    bench_expect_passed(b, down, _refused, strlen(_refused));
    at = 0;
    for (size_t i = 1; i <= 64; i++) {
        size_t n = i * 127;
        pattern_fill(buf, n, 1, at);
        bench_expect_passed(b, down, buf, n);
        bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
        at += n;
    }
    expect_silence(down->near);
    expect_silence(up->far);
    assert_int_equal(bench_reason(b, HTTP1_HOP_FIELD), 1);
    assert_true(bench_is_idle(b, up));
}

static void test_give_back(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (int i = 0; i < 50; i++) {
        send_text(down->far, _refused);
        bench_expect_passed(b, down, _refused, strlen(_refused));
        send_text(down->near, PLAIN_RESPONSE);
        expect_text(down->far, PLAIN_RESPONSE);
        await(bench_give_back(b, down));
        bench_exchange(b, down, up);
        await(bench_is_idle(b, up));
    }
    assert_int_equal(bench_reason(b, HTTP1_HOP_FIELD), 50);
    assert_int_equal(bench_requests(b), 50);
}

/* What userspace has not read when it gives the connection back is the programs' to frame. */
static void test_unread_bytes_go_back(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (int i = 0; i < 50; i++) {
        send_text(down->far, _refused);
        bench_expect_passed(b, down, _refused, strlen(_refused));
        send_text(down->far, PLAIN_REQUEST);
        await(bench_give_back(b, down));
        expect_text(up->far, PLAIN_REQUEST);
        send_text(up->far, PLAIN_RESPONSE);
        expect_text(down->far, PLAIN_RESPONSE);
        await(bench_is_idle(b, up));
    }
}

/* While a request is outstanding more are passed up, some before and some after the response;
 * then the connection leaves: every byte is read once. */
static void _pipelined(struct bench *b, struct wire *down, struct wire *up, size_t before, size_t after)
{
    uint8_t buf[4096];
    pattern_fill(buf, sizeof(buf), 2, 0);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    send_bytes(down->far, buf, before);
    await(bench_load(&bench_slot(b, down)->passed) == before);
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
    send_bytes(down->far, buf + before, after);
    bench_end_lease(b, down);
    await(bench_leave(b, down));
    bench_expect_passed(b, down, buf, before + after);
    expect_silence(down->near);
    await(bench_is_idle(b, up));
    await(bench_give_back(b, down));
}

static void test_passed_and_unparsed(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (size_t before = 1; before < 2000; before += 97)
        _pipelined(b, down, up, before, 2048 - before);
    _pipelined(b, down, up, 100, 0);
    bench_exchange(b, down, up);
}

/* The daemon takes an idle connection and writes first: what comes then is passed up. */
static void test_take_then_give_back_unused(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (int i = 0; i < 50; i++) {
        bench_take(b, down);
        bench_take(b, up);
        assert_false(bench_is_idle(b, up));
        await(bench_give_back(b, up));
        await(bench_give_back(b, down));
        bench_exchange(b, down, up);
        await(bench_is_idle(b, up));
    }
}

static void test_nothing_stays_in_the_maps(void **state)
{
    struct bench *b = *state;
    struct wire *down = bench_down(b);
    send_text(down->far, _refused);
    bench_expect_passed(b, down, _refused, strlen(_refused));
    assert_false(bench_in_socks(b, down->slot));
    assert_false(bench_in_cookies(b, down->cookie));
    /* Sending works: the error that the parser left is gone. */
    send_text(down->near, "x");
    expect_text(down->far, "x");
    await(bench_give_back(b, down));
    assert_true(bench_in_socks(b, down->slot) && bench_in_cookies(b, down->cookie));
    bench_close(b, down);
    assert_false(bench_in_socks(b, down->slot));
    assert_false(bench_in_cookies(b, down->cookie));
    expect_eof(down->far);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_later_bytes_stay_in_order),  BENCH_TEST(test_give_back),
        BENCH_TEST(test_unread_bytes_go_back),       BENCH_TEST(test_passed_and_unparsed),
        BENCH_TEST(test_take_then_give_back_unused), BENCH_TEST(test_nothing_stays_in_the_maps),
    };
    return BENCH_MAIN("leave_the_map", tests);
}
