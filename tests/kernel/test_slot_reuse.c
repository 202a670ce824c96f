/*
 * Hazard: a slot outlives its connection, and programs are inherited when a socket is added. A
 * new connection in an old slot gets the programs and a new generation; nothing of the old one
 * leads to it.
 */
#include "kernel_helper.h"

#include <string.h>
#include <unistd.h>

#define ROUNDS 200

/* A new connection in the slot of one that was closed. */
static void _replace(struct bench *b, struct wire *w)
{
    uint64_t cookie = w->cookie;
    uint32_t ref = w->ref;
    bench_close(b, w);
    close(w->far);
    assert_false(bench_in_cookies(b, cookie));
    assert_false(bench_in_socks(b, w->slot));
    wire_connect(w, 0, 0);
    wire_renew(b, w);
    assert_int_equal(ref_index(w->ref), ref_index(ref));
    assert_int_not_equal(ref_gen(w->ref), ref_gen(ref));
    bench_insert(b, w);
    assert_true(bench_in_cookies(b, w->cookie));
    assert_true(bench_in_socks(b, w->slot));
}

static void test_both_sides(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (int i = 0; i < ROUNDS; i++) {
        bench_exchange(b, down, up);
        await(bench_is_idle(b, up));
        _replace(b, i % 3 ? up : down);
    }
    bench_exchange(b, down, up);
}

/* Nothing of the last connection's state may show in the next. */
static void test_in_the_middle_of_messages(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    static const char request[] = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc";
    for (int i = 0; i < ROUNDS; i++) {
        send_text(down->far, request);
        expect_text(up->far, request);
        _replace(b, down);
        _replace(b, up);
        bench_exchange(b, down, up);
        await(bench_is_idle(b, up));
    }
}

static void test_old_reference(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    uint32_t old = up->ref;
    _replace(b, up);
    b->k->pools[0].ref[up->slot] = old;
    send_text(down->far, PLAIN_REQUEST);
    bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    assert_int_equal(bench_reason(b, FALLBACK_NO_UPSTREAM), 1);
    expect_silence(up->far);
}

static void test_generation_wraps(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (uint32_t i = 0; i < 4; i++) {
        b->k->gens[down->slot] = (1U << OWNER_GEN_BITS) - 2 + i;
        _replace(b, down);
        bench_exchange(b, down, up);
        await(bench_is_idle(b, up));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_both_sides),
        BENCH_TEST(test_in_the_middle_of_messages),
        BENCH_TEST(test_old_reference),
        BENCH_TEST(test_generation_wraps),
    };
    return BENCH_MAIN("slot_reuse", tests);
}
