/*
 * Hazard: what strparser waits for is nobody's: a FIN there loses it, and nothing bounds it. So a head that
 * is not complete is held for a number of pieces only, and the slot shows the same bytes: whoever takes the
 * connection inside a head finds them there.
 */
#include "kernel_helper.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char _request[] = "GET /cut?x=1 HTTP/1.1\r\nHost: bench\r\nContent-Length: 3\r\n\r\nabc";
static const char _response[] = "HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 3\r\n\r\nabc";
static const char _short[] = "GET / HTTP/1.1\r\nHost: b\r\n\r\n";

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

/* A message in two pieces, of which the first is held if the head ends in the second. */
static void _send_in_two(struct bench *b, struct wire *from, struct wire *to, const char *message, size_t cut)
{
    size_t len = strlen(message), arrived = 0;
    send_bytes(from->far, message, cut);
    if (cut < _head_len(message)) {
        bench_expect_held(b, from, message, cut);
        expect_silence(to->far);
    } else {
        expect_bytes(to->far, message, cut);
        arrived = cut;
    }
    send_bytes(from->far, message + cut, len - cut);
    expect_bytes(to->far, message + arrived, len - arrived);
}

static void _answer(struct bench *b, struct wire *down, struct wire *up)
{
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
    await(bench_is_idle(b, up));
}

static bool _has_fin(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLRDHUP);
}

/* The daemon takes a connection of which something is held, and finds it. */
static void _take_held(struct bench *b, struct wire *w, const char *bytes, size_t len)
{
    bench_end_lease(b, w);
    await(bench_leave(b, w));
    bench_expect_passed(b, w, bytes, len);
    assert_int_equal(bench_reason(b, HTTP1_MORE), 0);
}

static void test_request_cut_anywhere(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    size_t len = strlen(_request);
    for (size_t cut = 1; cut < len; cut++) {
        _send_in_two(b, down, up, _request, cut);
        _answer(b, down, up);
        bench_expect_held(b, down, "", 0);
    }
    assert_int_equal(bench_requests(b), len - 1);
    assert_int_equal(bench_slot(b, down)->passed, 0);
}

static void test_response_cut_anywhere(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    size_t len = strlen(_response);
    for (size_t cut = 1; cut < len; cut++) {
        send_text(down->far, PLAIN_REQUEST);
        expect_text(up->far, PLAIN_REQUEST);
        _send_in_two(b, up, down, _response, cut);
        await(bench_is_idle(b, up));
        bench_expect_held(b, up, "", 0);
    }
    assert_int_equal(bench_responses(b), len - 1);
    assert_int_equal(bench_slot(b, up)->passed, 0);
}

/* A short head byte by byte: as many pieces as are allowed, and each message may have as many. */
static void test_single_bytes(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    size_t len = strlen(_short);
    assert_true(len <= HELD_PIECES_MAX);
    for (int i = 0; i < 5; i++) {
        for (size_t at = 0; at < len; at++) {
            send_bytes(down->far, _short + at, 1);
            if (at + 1 < len)
                bench_expect_held(b, down, _short, at + 1);
        }
        expect_text(up->far, _short);
        _answer(b, down, up);
    }
    assert_int_equal(bench_requests(b), 5);
}

/* One piece more than is held: all of it is userspace's, and so is what follows. */
static void _too_many_pieces(struct bench *b, struct wire *w, const char *message)
{
    size_t len = strlen(message);
    for (size_t n = 1; n <= HELD_PIECES_MAX; n++) {
        send_bytes(w->far, message + n - 1, 1);
        bench_expect_held(b, w, message, n);
    }
    send_bytes(w->far, message + HELD_PIECES_MAX, 1);
    bench_expect_passed(b, w, message, HELD_PIECES_MAX + 1);
    assert_int_equal(bench_slot(b, w)->held, 0);
    send_bytes(w->far, message + HELD_PIECES_MAX + 1, len - HELD_PIECES_MAX - 1);
    bench_expect_passed(b, w, message + HELD_PIECES_MAX + 1, len - HELD_PIECES_MAX - 1);
    assert_int_equal(bench_reason(b, HTTP1_MORE), 1);
}

static void test_too_many_pieces_of_a_request(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    _too_many_pieces(b, down, _request);
    expect_silence(up->far);
    assert_true(bench_is_idle(b, up));
}

static void test_too_many_pieces_of_a_response(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    _too_many_pieces(b, up, _response);
    expect_silence(down->far);
}

/* What turns out not to be the kernel path's after a part of it was held is passed up whole, not given up:
 * what strparser holds could not be read any more. */
static void test_refused_after_held(void **state)
{
    static const struct {
        const char *first, *rest;
        unsigned reason;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHo", "st : b\r\n\r\n", HTTP1_SYNTAX},
        {"GET / HTTP/1.1\r\nHost: b\r\nCon", "nection: close\r\n\r\n", HTTP1_CONNECTION},
        {"GET / HTTP/1.1\r\nHost: b\r\n", "TE: trailers\r\n\r\n", HTTP1_HOP_FIELD},
        {"POST / HTTP/1.1\r\nHost: b\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 3\r\n\r\nabc",
         HTTP1_TRANSFER_ENCODING},
    };
    struct bench *b = *state;
    struct wire *up = bench_up(b);
    char all[256];
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct wire *down = bench_down(b);
        strcat(strcpy(all, cases[i].first), cases[i].rest);
        send_text(down->far, cases[i].first);
        bench_expect_held(b, down, cases[i].first, strlen(cases[i].first));
        send_text(down->far, cases[i].rest);
        bench_expect_passed(b, down, all, strlen(all));
        assert_int_equal(bench_reason(b, cases[i].reason), 1);
        /* Sending works: nothing was given up. */
        assert_int_equal(socket_error(down->near), 0);
        _drop(b, down);
    }
    expect_silence(up->far);
}

static void test_no_upstream_after_held(void **state)
{
    struct bench *b = *state;
    struct wire *down = bench_down(b);
    send_bytes(down->far, PLAIN_REQUEST, 9);
    bench_expect_held(b, down, PLAIN_REQUEST, 9);
    send_text(down->far, PLAIN_REQUEST + 9);
    bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    assert_int_equal(bench_reason(b, FALLBACK_NO_UPSTREAM), 1);
}

/* A response that userspace has to finish, of which a part was held. */
static void test_response_refused_after_held(void **state)
{
    static const char response[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc";
    struct bench *b = *state;
    size_t head = _head_len(response);
    for (size_t cut = 1; cut < head; cut++) {
        struct wire *down = bench_down(b), *up = bench_up(b);
        send_text(down->far, PLAIN_REQUEST);
        expect_text(up->far, PLAIN_REQUEST);
        send_bytes(up->far, response, cut);
        bench_expect_held(b, up, response, cut);
        send_text(up->far, response + cut);
        bench_expect_passed(b, up, response, strlen(response));
        expect_silence(down->far);
        _drop(b, up);
        _drop(b, down);
    }
    assert_int_equal(bench_reason(b, HTTP1_CONNECTION), head - 1);
}

/* The end of one message and the beginning of the next one in one segment. */
static void test_next_head_behind(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    size_t len = strlen(_request);
    char both[256];
    send_bytes(down->far, _request, 20);
    bench_expect_held(b, down, _request, 20);
    strcat(strcpy(both, _request + 20), "GET /next");
    send_text(down->far, both);
    expect_bytes(up->far, _request, len);
    bench_expect_passed(b, down, "GET /next", 9);
    assert_int_equal(bench_reason(b, FALLBACK_PIPELINED), 1);
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
}

static void test_taken_inside_head(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b);
    size_t head = _head_len(_request), len = strlen(_request);
    for (size_t cut = 1; cut < head; cut++) {
        struct wire *down = bench_down(b);
        send_bytes(down->far, _request, cut);
        bench_expect_held(b, down, _request, cut);
        _take_held(b, down, _request, cut);
        send_bytes(down->far, _request + cut, len - cut);
        expect_bytes(down->near, _request + cut, len - cut);
        /* And back again. */
        await(bench_give_back(b, down));
        bench_exchange(b, down, up);
        await(bench_is_idle(b, up));
        _drop(b, down);
    }
}

/* Taken, but not out of the map yet: what is held is passed with what follows. */
static void test_more_after_taking(void **state)
{
    struct bench *b = *state;
    struct wire *down = bench_down(b);
    bench_up(b);
    send_bytes(down->far, _request, 20);
    bench_expect_held(b, down, _request, 20);
    bench_take(b, down);
    send_bytes(down->far, _request + 20, 10);
    await(bench_load(&bench_slot(b, down)->passed) == 30);
    assert_int_equal(bench_slot(b, down)->held, 0);
    bench_expect_passed(b, down, _request, 30);
    send_bytes(down->far, _request + 30, strlen(_request) - 30);
    bench_expect_passed(b, down, _request + 30, strlen(_request) - 30);
}

static void test_taken_inside_response_head(void **state)
{
    struct bench *b = *state;
    size_t head = _head_len(_response);
    for (size_t cut = 1; cut < head; cut++) {
        struct wire *down = bench_down(b), *up = bench_up(b);
        send_text(down->far, PLAIN_REQUEST);
        expect_text(up->far, PLAIN_REQUEST);
        send_bytes(up->far, _response, cut);
        bench_expect_held(b, up, _response, cut);
        _take_held(b, up, _response, cut);
        send_text(up->far, _response + cut);
        expect_text(up->near, _response + cut);
        expect_silence(down->far);
        _drop(b, up);
        _drop(b, down);
    }
}

static void test_fin_inside_head(void **state)
{
    struct bench *b = *state;
    size_t head = _head_len(_request);
    bench_up(b);
    for (size_t cut = 1; cut < head; cut++) {
        struct wire *down = bench_down(b);
        send_bytes(down->far, _request, cut);
        if (cut % 2) /* Both orders: the FIN with the bytes, and after them. */
            bench_expect_held(b, down, _request, cut);
        shutdown(down->far, SHUT_WR);
        await(_has_fin(down->near));
        bench_expect_held(b, down, _request, cut);
        _take_held(b, down, _request, cut);
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
        await(_has_fin(up->near));
        bench_expect_held(b, up, _response, cut);
        _take_held(b, up, _response, cut);
        expect_eof(up->near);
        expect_silence(down->far);
        bench_close(b, up);
        b->n_wires--;
        _drop(b, down);
    }
}

/* A reset removes the socket by itself; its slot serves another connection. */
static void test_reset_inside_head(void **state)
{
    struct bench *b = *state;
    struct linger now = {.l_onoff = 1};
    struct wire *up = bench_up(b);
    for (int i = 0; i < 20; i++) {
        struct wire *down = bench_down(b);
        send_bytes(down->far, _request, 20);
        bench_expect_held(b, down, _request, 20);
        assert_int_equal(setsockopt(down->far, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
        close(down->far);
        down->far = -1;
        await(kernel_inspect(b->k, down->slot) == -ENOENT);
        bench_close(b, down);
        b->n_wires--;
    }
    struct wire *down = bench_down(b);
    bench_exchange(b, down, up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_request_cut_anywhere),
        BENCH_TEST(test_response_cut_anywhere),
        BENCH_TEST(test_single_bytes),
        BENCH_TEST(test_too_many_pieces_of_a_request),
        BENCH_TEST(test_too_many_pieces_of_a_response),
        BENCH_TEST(test_refused_after_held),
        BENCH_TEST(test_no_upstream_after_held),
        BENCH_TEST(test_response_refused_after_held),
        BENCH_TEST(test_next_head_behind),
        BENCH_TEST(test_taken_inside_head),
        BENCH_TEST(test_more_after_taking),
        BENCH_TEST(test_taken_inside_response_head),
        BENCH_TEST(test_fin_inside_head),
        BENCH_TEST(test_fin_inside_response_head),
        BENCH_TEST(test_reset_inside_head),
    };
    return BENCH_MAIN("partial_head", tests);
}
