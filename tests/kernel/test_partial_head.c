/*
 * Hazard: what strparser waits for is nobody's: a FIN there loses it, and the daemon's header
 * timeout never sees it. So a head that is not complete is passed up at once, as it is.
 */
#include "kernel_helper.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char _request[] = "GET /cut?x=1 HTTP/1.1\r\nHost: bench\r\nContent-Length: 3\r\n\r\nabc";
static const char _response[] = "HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 3\r\n\r\nabc";

static size_t _head_len(const char *message)
{
    return (size_t)(strstr(message, "\r\n\r\n") + 4 - message);
}

/* Both ends are closed, and the slot serves the next round. */
static void _drop(struct bench *b, struct wire *w)
{
    bench_close(b, w);
    close(w->far);
    w->far = -1;
    b->n_wires--;
}

static void test_request_cut_anywhere(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b);
    size_t head = _head_len(_request), len = strlen(_request);
    for (size_t cut = 1; cut < head; cut++) {
        struct wire *down = bench_down(b);
        send_bytes(down->far, _request, cut);
        bench_expect_passed(b, down, _request, cut);
        send_bytes(down->far, _request + cut, len - cut);
        bench_expect_passed(b, down, _request + cut, len - cut);
        _drop(b, down);
    }
    assert_int_equal(bench_reason(b, HTTP1_MORE), head - 1);
    expect_silence(up->far);
    assert_true(bench_is_idle(b, up));
}

static void test_body_cut_anywhere(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    size_t len = strlen(_request);
    for (size_t cut = _head_len(_request); cut < len; cut++) {
        send_bytes(down->far, _request, cut);
        expect_bytes(up->far, _request, cut);
        send_bytes(down->far, _request + cut, len - cut);
        expect_bytes(up->far, _request + cut, len - cut);
        send_text(up->far, PLAIN_RESPONSE);
        expect_text(down->far, PLAIN_RESPONSE);
        await(bench_is_idle(b, up));
    }
}

static void test_response_cut_anywhere(void **state)
{
    struct bench *b = *state;
    size_t head = _head_len(_response), len = strlen(_response);
    for (size_t cut = 1; cut < len; cut++) {
        struct wire *down = bench_down(b), *up = bench_up(b);
        send_text(down->far, PLAIN_REQUEST);
        expect_text(up->far, PLAIN_REQUEST);
        send_bytes(up->far, _response, cut);
        if (cut < head)
            bench_expect_passed(b, up, _response, cut);
        else
            expect_bytes(down->far, _response, cut);
        send_bytes(up->far, _response + cut, len - cut);
        if (cut < head)
            bench_expect_passed(b, up, _response + cut, len - cut);
        else
            expect_bytes(down->far, _response + cut, len - cut);
        assert_int_equal(bench_passed(b, up), cut < head);
        expect_silence(down->far);
        _drop(b, up);
        _drop(b, down);
    }
    assert_int_equal(bench_reason(b, HTTP1_MORE), head - 1);
}

static void test_fin_inside_head(void **state)
{
    struct bench *b = *state;
    size_t head = _head_len(_request);
    bench_up(b);
    for (size_t cut = 1; cut < head; cut++) {
        struct wire *down = bench_down(b);
        send_bytes(down->far, _request, cut);
        shutdown(down->far, SHUT_WR);
        bench_expect_passed(b, down, _request, cut);
        expect_eof(down->near);
        _drop(b, down);
    }
}

static void test_fin_inside_response_head(void **state)
{
    struct bench *b = *state;
    size_t head = _head_len(_response);
    for (size_t cut = 1; cut < head; cut++) {
        struct wire *down = bench_down(b), *up = bench_up(b);
        send_text(down->far, PLAIN_REQUEST);
        expect_text(up->far, PLAIN_REQUEST);
        send_bytes(up->far, _response, cut);
        close(up->far);
        up->far = -1;
        bench_expect_passed(b, up, _response, cut);
        expect_eof(up->near);
        expect_silence(down->far);
        bench_close(b, up);
        b->n_wires--;
        _drop(b, down);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_request_cut_anywhere),     BENCH_TEST(test_body_cut_anywhere),
        BENCH_TEST(test_response_cut_anywhere),    BENCH_TEST(test_fin_inside_head),
        BENCH_TEST(test_fin_inside_response_head),
    };
    return BENCH_MAIN("partial_head", tests);
}
