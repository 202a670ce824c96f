/*
 * Hazard: requests that a client pipelines reach two upstream connections, or one connection with a
 * second request under way when the first response comes: then nobody knows whose response is whose.
 * So what goes on together goes as one slice on one lease, which lasts for as many responses.
 */
#include "kernel_helper.h"

#include <stdio.h>
#include <string.h>

#define GET(path)  "GET " path " HTTP/1.1\r\nHost: bench\r\n\r\n"
#define HEAD(path) "HEAD " path " HTTP/1.1\r\nHost: bench\r\n\r\n"
#define POST       "POST /p HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n"
#define OK(body)   "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" body

static void test_responses_in_order(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (int round = 0; round < 20; round++) {
        send_text(down->far, GET("/a") HEAD("/b") GET("/c"));
        expect_text(up->far, GET("/a") HEAD("/b") GET("/c"));
        send_text(up->far, OK("aaa"));
        expect_text(down->far, OK("aaa"));
        assert_false(bench_is_idle(b, up));
        /* The second answers HEAD: its length announces no body. In one segment with the third. */
        send_text(up->far, OK("") OK("ccc"));
        expect_text(down->far, OK("") OK("ccc"));
        await(bench_is_idle(b, up));
        assert_int_equal(owner_lease(bench_owner(b, down)), 0);
    }
    assert_int_equal(bench_requests(b), 60);
    assert_int_equal(bench_responses(b), 60);
    assert_false(bench_passed(b, down));
}

/* All of these end a run; what follows is userspace's, as it came. */
static void test_what_ends_a_run(void **state)
{
    struct bench *b = *state;
    static const char *const after[] = {
        POST,
        "GET /x HTTP/1.1\r\nHost: bench\r\nContent-Length: 2\r\n\r\nxx",
        "GET /x HTTP/1.1\r\nHost: bench\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: bench\r\nExpect: 100-continue\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: bench\r\nKeep-Alive: 5\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n",
        "GET /x HTTP/1.0\r\nHost: bench\r\n\r\n",
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: be",
        "\r\n" GET("/x"),
        "garbage",
    };
    struct wire *up = bench_up(b);
    for (size_t i = 0; i < sizeof(after) / sizeof(after[0]); i++) {
        char text[512];
        struct wire *down = bench_down(b);
        snprintf(text, sizeof(text), "%s%s", GET("/a") GET("/b"), after[i]);
        send_text(down->far, text);
        expect_text(up->far, GET("/a") GET("/b"));
        bench_expect_passed(b, down, after[i], strlen(after[i]));
        expect_silence(up->far);
        bench_end_lease(b, down);
        /* Userspace owns the lease's connection now; the next round has one of its own. */
        bench_take(b, up);
        up = bench_up(b);
    }
    assert_int_equal(bench_reason(b, FALLBACK_PIPELINED), sizeof(after) / sizeof(after[0]));
}

static void test_at_most_so_many(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    char all[(RUN_MAX + 1) * sizeof(GET("/a"))] = "";
    const size_t one = strlen(GET("/a"));
    for (int i = 0; i <= RUN_MAX; i++)
        strcat(all, GET("/a"));
    send_text(down->far, all);
    expect_bytes(up->far, all, one * RUN_MAX);
    bench_expect_passed(b, down, GET("/a"), one);
    assert_int_equal(bench_slot(b, up)->run, RUN_MAX);
}

/* The window bounds it: a retry needs every head. */
static void test_inside_the_window(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    char head[HTTP1_WINDOW / 2 + 1], all[2 * HTTP1_WINDOW];
    memset(head, 'x', sizeof(head));
    memcpy(head, "GET / HTTP/1.1\r\nHost: bench\r\nX: ", 32);
    memcpy(head + sizeof(head) - 4, "\r\n\r\n", 4);
    memcpy(all, head, sizeof(head));
    memcpy(all + sizeof(head), head, sizeof(head));
    send_bytes(down->far, all, 2 * sizeof(head));
    expect_bytes(up->far, head, sizeof(head));
    bench_expect_passed(b, down, head, sizeof(head));
}

/* Window and head are the first one's again, for a retry. */
static void test_what_the_slots_say(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    const struct slot *d = bench_slot(b, down), *u = bench_slot(b, up);
    send_text(down->far, GET("/first") HEAD("/second") HEAD("/third"));
    expect_text(up->far, GET("/first") HEAD("/second") HEAD("/third"));
    await(!(bench_owner(b, down) & OWNER_BUSY));
    assert_int_equal(d->head.head_len, strlen(GET("/first")));
    assert_int_equal(d->run, 3);
    assert_int_equal(d->total, strlen(GET("/first") HEAD("/second") HEAD("/third")));
    assert_memory_equal(d->window.bytes, GET("/first") HEAD("/second") HEAD("/third"), d->total);
    assert_int_equal(u->run, 3);
    assert_int_equal(u->heads, 6);
    send_text(up->far, OK("abc"));
    expect_text(down->far, OK("abc"));
    await(!(bench_owner(b, up) & OWNER_BUSY) && u->run == 2);
    assert_int_equal(u->heads, 3);
    assert_int_equal(u->responding, 0);
}

/* More responses than requests: nobody gets what is too much. */
static void test_one_response_too_many(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    send_text(down->far, GET("/a") GET("/b"));
    expect_text(up->far, GET("/a") GET("/b"));
    send_text(up->far, OK("aaa") OK("bbb") OK("ccc"));
    expect_text(down->far, OK("aaa") OK("bbb"));
    bench_expect_passed(b, up, OK("ccc"), strlen(OK("ccc")));
    expect_silence(down->far);
    assert_false(bench_is_idle(b, up));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_responses_in_order), BENCH_TEST(test_what_ends_a_run),
        BENCH_TEST(test_at_most_so_many),    BENCH_TEST(test_inside_the_window),
        BENCH_TEST(test_what_the_slots_say), BENCH_TEST(test_one_response_too_many),
    };
    return BENCH_MAIN("run", tests);
}
