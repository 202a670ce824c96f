/*
 * Hazard: interim responses are heads before the response: they do not end the exchange, and 100 (Continue)
 * comes before the body that the client keeps back.
 */
#include "kernel_helper.h"

#include <string.h>
#include <sys/socket.h>

#define EXPECT_HEAD "PUT /e HTTP/1.1\r\nHost: bench\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
#define CONTINUE    "HTTP/1.1 100 Continue\r\n\r\n"
#define HINTS       "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"

static void test_continue(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (int i = 0; i < 20; i++) {
        carry_text(down->far, up->far, EXPECT_HEAD);
        carry_text(up->far, down->far, CONTINUE);
        assert_int_equal(bench_responses(b), i);
        carry_text(down->far, up->far, "hello");
        carry_text(up->far, down->far, PLAIN_RESPONSE);
        await(bench_is_idle(b, up));
    }
    assert_int_equal(bench_requests(b), 20);
    assert_int_equal(bench_responses(b), 20);
    assert_int_equal(bench_slot(b, down)->passed + bench_slot(b, up)->passed, 0);
}

/* The client does not wait: the interim response comes after the body. */
static void test_continue_after_the_body(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    carry_text(down->far, up->far, EXPECT_HEAD "hello");
    carry_text(up->far, down->far, CONTINUE);
    carry_text(up->far, down->far, PLAIN_RESPONSE);
    await(bench_is_idle(b, up));
    bench_exchange(b, down, up);
}

static void test_continue_before_chunks(void **state)
{
    static const char head[] =
        "PUT /e HTTP/1.1\r\nHost: bench\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    carry_text(down->far, up->far, head);
    carry_text(up->far, down->far, CONTINUE);
    carry_text(down->far, up->far, "5\r\nhello\r\n0\r\n\r\n");
    carry_text(up->far, down->far, PLAIN_RESPONSE);
    await(bench_is_idle(b, up));
    bench_exchange(b, down, up);
}

static void test_several(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (int i = 0; i < 10; i++) {
        carry_text(down->far, up->far, PLAIN_REQUEST);
        /* In segments of their own, and with the response in one. */
        carry_text(up->far, down->far, HINTS);
        carry_text(up->far, down->far, HINTS HINTS);
        carry_text(up->far, down->far, CONTINUE HINTS PLAIN_RESPONSE);
        await(bench_is_idle(b, up));
        assert_int_equal(bench_responses(b), i + 1);
    }
}

/* An interim response may come in pieces as any other: each may have as many. */
static void test_in_pieces(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    size_t len = strlen(CONTINUE);
    assert_true(len <= HELD_PIECES_MAX);
    carry_text(down->far, up->far, EXPECT_HEAD "hello");
    for (int i = 0; i < 3; i++) {
        for (size_t n = 1; n < len; n++) {
            send_bytes(up->far, &CONTINUE[n - 1], 1);
            bench_expect_held(b, up, CONTINUE, n);
        }
        send_text(up->far, &CONTINUE[len - 1]);
        expect_text(down->far, CONTINUE);
    }
    carry_text(up->far, down->far, PLAIN_RESPONSE);
    await(bench_is_idle(b, up));
    assert_int_equal(bench_slot(b, up)->passed, 0);
}

/* While the request is not complete, part of a head might be anything: userspace sorts it out. */
static void test_in_pieces_before_the_body(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    carry_text(down->far, up->far, EXPECT_HEAD);
    send_bytes(up->far, CONTINUE, 10);
    bench_expect_passed(b, up, CONTINUE, 10);
    send_text(up->far, &CONTINUE[10]);
    bench_expect_passed(b, up, &CONTINUE[10], strlen(CONTINUE) - 10);
    assert_int_equal(bench_reason(b, FALLBACK_EARLY_RESPONSE), 1);
    expect_silence(down->far);
}

/* The final response instead of 100: the client will not send its body. That is userspace's. */
static void test_final_response_early(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    carry_text(down->far, up->far, EXPECT_HEAD);
    send_text(up->far, PLAIN_RESPONSE);
    bench_expect_passed(b, up, PLAIN_RESPONSE, strlen(PLAIN_RESPONSE));
    assert_int_equal(bench_reason(b, FALLBACK_EARLY_RESPONSE), 1);
    assert_int_equal(bench_slot(b, down)->remaining, 5);
    expect_silence(down->far);
}

/* The same behind an interim response in its segment. */
static void test_final_response_early_behind_interim(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    carry_text(down->far, up->far, EXPECT_HEAD);
    send_text(up->far, CONTINUE PLAIN_RESPONSE);
    expect_text(down->far, CONTINUE);
    bench_expect_passed(b, up, PLAIN_RESPONSE, strlen(PLAIN_RESPONSE));
    expect_silence(down->far);
}

/* 101 ends HTTP, and what has a length it must not have is not forwarded. */
static void test_refused(void **state)
{
    static const char *const refused[] = {
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.0 100 Continue\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n",
    };
    struct bench *b = *state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        struct wire *up = bench_up(b), *down = bench_down(b);
        carry_text(down->far, up->far, PLAIN_REQUEST);
        send_text(up->far, refused[i]);
        bench_expect_passed(b, up, refused[i], strlen(refused[i]));
        expect_silence(down->far);
    }
}

/* Interim responses to HEAD have no body either, and do not change what the final one is. */
static void test_before_the_answer_to_head(void **state)
{
    static const char response[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    carry_text(down->far, up->far, "HEAD / HTTP/1.1\r\nHost: bench\r\n\r\n");
    carry_text(up->far, down->far, HINTS);
    carry_text(up->far, down->far, response);
    await(bench_is_idle(b, up));
    bench_exchange(b, down, up);
}

/* Taken between the interim and the final response: nothing of the final one is known yet. */
static void test_taken_in_between(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    carry_text(down->far, up->far, PLAIN_REQUEST);
    carry_text(up->far, down->far, HINTS);
    await(!(bench_owner(b, up) & OWNER_BUSY));
    bench_end_lease(b, up);
    assert_int_equal(bench_slot(b, up)->responding, 0);
    await(bench_leave(b, up));
    send_text(up->far, PLAIN_RESPONSE);
    bench_expect_passed(b, up, PLAIN_RESPONSE, strlen(PLAIN_RESPONSE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_continue),
        BENCH_TEST(test_continue_after_the_body),
        BENCH_TEST(test_continue_before_chunks),
        BENCH_TEST(test_several),
        BENCH_TEST(test_in_pieces),
        BENCH_TEST(test_in_pieces_before_the_body),
        BENCH_TEST(test_final_response_early),
        BENCH_TEST(test_final_response_early_behind_interim),
        BENCH_TEST(test_refused),
        BENCH_TEST(test_before_the_answer_to_head),
        BENCH_TEST(test_taken_in_between),
    };
    return BENCH_MAIN("interim_response", tests);
}
