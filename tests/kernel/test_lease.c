/*
 * Hazard: two clients on one upstream connection get each other's responses. A lease, named on
 * both sides by slot and generation, lets exactly one response go to exactly one client.
 */
#include "kernel_helper.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void _send_request(struct wire *down, struct wire *up)
{
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
}

static void test_second_client_gets_none(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *first = bench_down(b), *second = bench_down(b);
    _send_request(first, up);
    send_text(second->far, PLAIN_REQUEST);
    bench_expect_passed(b, second, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    assert_int_equal(bench_reason(b, FALLBACK_NO_UPSTREAM), 1);
    assert_int_equal(bench_slot(b, second)->picked, 1);
    assert_int_equal(owner_lease(bench_owner(b, second)), 0);
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(first->far, PLAIN_RESPONSE);
    expect_silence(second->far);
    await(bench_is_idle(b, up));
    assert_int_equal(owner_lease(bench_owner(b, first)), 0);
}

static void test_lease_names_both_sides(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    _send_request(down, up);
    await(!(bench_owner(b, down) & OWNER_BUSY));
    assert_int_equal(owner_lease(bench_owner(b, down)), up->ref);
    assert_int_equal(owner_lease(bench_owner(b, up)), down->ref);
    assert_false(bench_is_idle(b, up));
    /* The lease lasts as long as the response. */
    send_text(up->far, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    expect_text(down->far, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    assert_int_equal(owner_lease(bench_owner(b, up)), down->ref);
    send_text(up->far, "def");
    expect_text(down->far, "def");
    await(bench_is_idle(b, up));
}

static void test_connection_goes_round(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down[8];
    for (int i = 0; i < 8; i++)
        down[i] = bench_down(b);
    for (int i = 0; i < 200; i++) {
        bench_exchange(b, down[(i * 5) % 8], up);
        await(bench_is_idle(b, up));
    }
    for (int i = 0; i < 8; i++)
        expect_silence(down[i]->far);
}

/* A client gets the connection that it had last if that is idle, and another one if it is not, although the
 * pool may still say so of both. */
static void test_last_connection_first(void **state)
{
    enum { N = 3 };
    struct bench *b = *state;
    struct wire *up[N], *down[N];
    for (int i = 0; i < N; i++) {
        up[i] = bench_up(b);
        down[i] = bench_down(b);
    }
    for (int i = 0; i < N; i++)
        _send_request(down[i], up[i]);
    for (int i = 0; i < N; i++) {
        send_text(up[i]->far, PLAIN_RESPONSE);
        expect_text(down[i]->far, PLAIN_RESPONSE);
        await(bench_is_idle(b, up[i]));
    }
    for (int i = 0; i < 20 * N; i++)
        bench_exchange(b, down[i * 2 % N], up[i * 2 % N]);
    bench_slot(b, down[0])->place = up[1]->slot;
    _send_request(down[0], up[1]);
    assert_true(bench_load(&b->k->pools[0].idle[0]) >> up[1]->slot & 1);
    _send_request(down[1], up[2]);
    _send_request(down[2], up[0]);
    for (int i = 0; i < N; i++) {
        send_text(up[(i + 1) % N]->far, PLAIN_RESPONSE);
        expect_text(down[i]->far, PLAIN_RESPONSE);
        await(bench_is_idle(b, up[(i + 1) % N]));
    }
}

/* A connection that looks idle to whoever searches the pool, and is not to be had. */
static void _decoy(struct bench *b)
{
    struct wire *w = bench_down(b);
    b->k->pools[0].ref[w->slot] = w->ref;
    __atomic_fetch_or(&b->k->pools[0].idle[0], 1ULL << w->slot, __ATOMIC_ACQ_REL);
}

/* A search ends: after the last connection and so many others, idle or not, userspace serves the request. The
 * next search begins where that one ended. */
static void test_search_is_bounded(void **state)
{
    enum { LOOKS = 1 + 32 };
    struct bench *b = *state;
    for (int i = 0; i < LOOKS; i++)
        _decoy(b);
    struct wire *up = bench_up(b), *far = bench_down(b), *near = bench_down(b);
    send_text(far->far, PLAIN_REQUEST);
    bench_expect_passed(b, far, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    assert_int_equal(bench_reason(b, FALLBACK_NO_UPSTREAM), 1);
    assert_int_equal(bench_slot(b, far)->place, LOOKS - 1);
    expect_silence(up->far);
    bench_slot(b, near)->place = 1;
    bench_exchange(b, near, up);
    assert_int_equal(bench_slot(b, near)->place, up->slot);
}

/* Between a byte's way into TCP's queue and the parser that sees it a request may come: the connection is not
 * used for it, nor found again. */
static void test_unsolicited_before_its_parser(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b), *next = bench_down(b);
    bench_exchange(b, down, up);
    await(bench_is_idle(b, up));
    bench_slot(b, up)->expect_seq--;
    send_text(down->far, PLAIN_REQUEST);
    bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    assert_int_equal(bench_reason(b, FALLBACK_UNSOLICITED), 1);
    assert_int_equal(owner_lease(bench_owner(b, up)), 0);
    assert_false(bench_load(&b->k->pools[0].idle[0]) >> up->slot & 1);
    assert_int_equal(bench_slot(b, up)->counted, 0);
    send_text(next->far, PLAIN_REQUEST);
    bench_expect_passed(b, next, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    assert_int_equal(bench_reason(b, FALLBACK_NO_UPSTREAM), 1);
    expect_silence(up->far);
}

static void test_head_has_no_body(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    static const char head[] = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
                      answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
    send_text(down->far, head);
    expect_text(up->far, head);
    send_text(up->far, answer);
    expect_text(down->far, answer);
    await(bench_is_idle(b, up));
    bench_exchange(b, down, up);
}

/* Refused references: the request is passed up, and the connection named is not touched. */
static void _check_refused(struct bench *b, struct wire *up)
{
    struct wire *down = bench_down(b);
    send_text(down->far, PLAIN_REQUEST);
    bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    assert_int_equal(bench_reason(b, FALLBACK_NO_UPSTREAM), 1);
    assert_int_equal(bench_slot(b, up)->redirected, 0);
    assert_int_equal(owner_lease(bench_owner(b, up)), 0);
    expect_silence(up->far);
}

static void test_other_generation_in_pool(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b);
    b->k->pools[0].ref[up->slot] = slot_ref(up->slot, ref_gen(up->ref) + 1);
    _check_refused(b, up);
}

static void test_freed_slot_in_pool(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b);
    kernel_forget(b->k, up->slot, up->cookie);
    _check_refused(b, up);
}

static void test_downstream_in_pool(void **state)
{
    struct bench *b = *state;
    struct wire *not_up = bench_down(b);
    b->k->pools[0].ref[not_up->slot] = not_up->ref;
    __atomic_fetch_or(&b->k->pools[0].idle[0], 1ULL << not_up->slot, __ATOMIC_ACQ_REL);
    _check_refused(b, not_up);
}

static void test_taken_connection_in_pool(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b);
    bench_take(b, up);
    _check_refused(b, up);
}

/* The client is gone and its slot has a new connection, which must not get the response. */
static void test_stale_lease(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    _send_request(down, up);
    bench_close(b, down);
    close(down->far);
    wire_connect(down, 0, 0);
    wire_renew(b, down);
    bench_insert(b, down);
    send_text(up->far, PLAIN_RESPONSE);
    bench_expect_passed(b, up, PLAIN_RESPONSE, strlen(PLAIN_RESPONSE));
    assert_int_equal(bench_reason(b, FALLBACK_STALE_LEASE), 1);
    expect_silence(down->far);
    assert_int_equal(bench_slot(b, down)->redirected, 0);
    /* The newcomer is served as usual. */
    bench_exchange(b, down, bench_up(b));
}

static void test_unsolicited(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    send_text(up->far, PLAIN_RESPONSE);
    bench_expect_passed(b, up, PLAIN_RESPONSE, strlen(PLAIN_RESPONSE));
    send_text(down->far, PLAIN_REQUEST);
    bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    expect_silence(down->far);
    expect_silence(up->far);
    assert_int_equal(bench_requests(b), 0);
}

static void test_early_response(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    static const char part[] = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc";
    send_text(down->far, part);
    expect_text(up->far, part);
    send_text(up->far, PLAIN_RESPONSE);
    bench_expect_passed(b, up, PLAIN_RESPONSE, strlen(PLAIN_RESPONSE));
    assert_int_equal(bench_reason(b, FALLBACK_EARLY_RESPONSE), 1);
    expect_silence(down->far);
}

static void test_bytes_after_response(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b), *next = bench_down(b);
    _send_request(down, up);
    send_text(up->far, PLAIN_RESPONSE PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
    bench_expect_passed(b, up, PLAIN_RESPONSE, strlen(PLAIN_RESPONSE));
    send_text(next->far, PLAIN_REQUEST);
    bench_expect_passed(b, next, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    assert_int_equal(bench_responses(b), 1);
    expect_silence(down->far);
    expect_silence(next->far);
}

/* A pipelined request waits in userspace; the response under way still arrives. */
static void test_pipelined(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    _send_request(down, up);
    send_text(down->far, PLAIN_REQUEST);
    bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    assert_int_equal(bench_reason(b, FALLBACK_PIPELINED), 1);
    expect_silence(up->far);
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
    await(bench_is_idle(b, up));
    await(bench_drained(b, down));
    await(bench_give_back(b, down));
    bench_exchange(b, down, up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_second_client_gets_none),
        BENCH_TEST(test_lease_names_both_sides),
        BENCH_TEST(test_last_connection_first),
        BENCH_TEST(test_connection_goes_round),
        BENCH_TEST(test_search_is_bounded),
        BENCH_TEST(test_unsolicited_before_its_parser),
        BENCH_TEST(test_head_has_no_body),
        BENCH_TEST(test_other_generation_in_pool),
        BENCH_TEST(test_freed_slot_in_pool),
        BENCH_TEST(test_downstream_in_pool),
        BENCH_TEST(test_taken_connection_in_pool),
        BENCH_TEST(test_stale_lease),
        BENCH_TEST(test_unsolicited),
        BENCH_TEST(test_early_response),
        BENCH_TEST(test_bytes_after_response),
        BENCH_TEST(test_pipelined),
    };
    return BENCH_MAIN("lease", tests);
}
