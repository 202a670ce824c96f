/*
 * Hazard: removing a socket from the map loses what it has not delivered. So userspace gets a
 * connection by the verdict passing everything, and gives it back by one bit; the socket stays
 * in the map until it closes.
 */
#include "kernel_helper.h"

#include <string.h>
#include <unistd.h>

static const char _chunked[] = "POST /c HTTP/1.1\r\nHost: bench\r\nTransfer-Encoding: chunked\r\n\r\n";

static void test_later_bytes_stay_in_order(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    uint8_t buf[8192];
    uint64_t at = 0;
    send_text(down->far, _chunked);
    /* Many segments before the first read, of all sizes; some of them look like requests. */
    for (size_t i = 1; i <= 64; i++) {
        size_t n = i * 127;
        pattern_fill(buf, n, 1, at);
        send_bytes(down->far, buf, n);
        send_text(down->far, PLAIN_REQUEST);
        at += n;
    }
    bench_expect_passed(b, down, _chunked, strlen(_chunked));
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
    assert_int_equal(bench_reason(b, HTTP1_TRANSFER_ENCODING), 1);
    assert_true(bench_is_idle(b, up));
}

static void test_give_back(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (int i = 0; i < 50; i++) {
        send_text(down->far, _chunked);
        bench_expect_passed(b, down, _chunked, strlen(_chunked));
        assert_true(bench_in_socks(b, down->slot));
        bench_write(down, PLAIN_RESPONSE, strlen(PLAIN_RESPONSE));
        expect_text(down->far, PLAIN_RESPONSE);
        await(bench_give_back(b, down));
        bench_exchange(b, down, up);
        await(bench_is_idle(b, up));
    }
    assert_int_equal(bench_reason(b, HTTP1_TRANSFER_ENCODING), 50);
    assert_int_equal(bench_requests(b), 50);
}

static void test_no_give_back_with_unread_bytes(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    send_text(down->far, _chunked);
    bench_expect_passed(b, down, _chunked, strlen(_chunked));
    send_text(down->far, PLAIN_REQUEST);
    await(bench_load(&bench_slot(b, down)->passed) > down->received);
    assert_false(bench_give_back(b, down));
    bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    await(bench_give_back(b, down));
    bench_exchange(b, down, up);
}

/* A byte that is passed between the look at `passed` and the swap makes the swap fail. */
static void test_give_back_notices_late_bytes(void **state)
{
    struct bench *b = *state;
    struct wire *down = bench_down(b);
    struct slot *s = bench_slot(b, down);
    bench_take(b, down);
    uint64_t before = slot_owner(s);
    send_text(down->far, "x");
    bench_expect_passed(b, down, "x", 1);
    await(!(slot_owner(s) & OWNER_BUSY));
    assert_false(slot_cas(s, &before, before & ~OWNER_USER));
    assert_int_equal(before >> OWNER_SEQ_SHIFT, 1);
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

static void test_only_close_removes(void **state)
{
    struct bench *b = *state;
    struct wire *down = bench_down(b);
    send_text(down->far, _chunked);
    bench_expect_passed(b, down, _chunked, strlen(_chunked));
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
        BENCH_TEST(test_later_bytes_stay_in_order),      BENCH_TEST(test_give_back),
        BENCH_TEST(test_no_give_back_with_unread_bytes), BENCH_TEST(test_give_back_notices_late_bytes),
        BENCH_TEST(test_take_then_give_back_unused),     BENCH_TEST(test_only_close_removes),
    };
    return BENCH_MAIN("fall_back_is_a_mode", tests);
}
