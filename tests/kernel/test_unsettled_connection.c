/*
 * Hazard: a request that comes before the previous response is in TCP's hands may make userspace
 * or the next response write before it. While redirected bytes are still queued, the kernel path
 * accepts nothing new for that connection.
 */
#include "kernel_helper.h"

#include <string.h>

/* The programs' account of what was redirected runs ahead of TCP's, as it does while the
 * workqueue has not come round. */
static void _unsettle(struct bench *b, const struct wire *w, uint32_t by)
{
    struct slot *s = bench_slot(b, w);
    assert_true(s->tx_valid);
    __atomic_fetch_add(&s->tx_seq, by, __ATOMIC_ACQ_REL);
}

static void test_downstream(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    bench_exchange(b, down, up);
    await(bench_is_idle(b, up));
    _unsettle(b, down, 1);
    send_text(down->far, PLAIN_REQUEST);
    bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    assert_int_equal(bench_reason(b, FALLBACK_PIPELINED), 1);
    assert_true(bench_is_idle(b, up));
    expect_silence(up->far);
    /* Once settled the connection goes on. */
    _unsettle(b, down, -1U);
    await(bench_give_back(b, down));
    bench_exchange(b, down, up);
}

static void test_upstream(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    bench_exchange(b, down, up);
    await(bench_is_idle(b, up));
    _unsettle(b, up, 1);
    send_text(down->far, PLAIN_REQUEST);
    bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    assert_int_equal(bench_reason(b, FALLBACK_TARGET_GONE), 1);
    assert_int_equal(owner_lease(bench_owner(b, up)) | owner_lease(bench_owner(b, down)), 0);
    expect_silence(up->far);
}

static void test_response_before_request_left(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    _unsettle(b, up, 1);
    send_text(up->far, PLAIN_RESPONSE);
    bench_expect_passed(b, up, PLAIN_RESPONSE, strlen(PLAIN_RESPONSE));
    assert_int_equal(bench_reason(b, FALLBACK_EARLY_RESPONSE), 1);
    expect_silence(down->far);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_downstream),
        BENCH_TEST(test_upstream),
        BENCH_TEST(test_response_before_request_left),
    };
    return BENCH_MAIN("unsettled_connection", tests);
}
