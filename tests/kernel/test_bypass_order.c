/*
 * Hazard: what goes past TCP and what comes by TCP are queued apart, and reach the application in any order.
 * So a connection takes the bypass only while nothing is under way by TCP in either direction, nor unread,
 * and what was pushed is there before TCP brings the next byte.
 */
#include "bypass_helper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define NOT_ROUTED "GET / HTTP/1.1\r\nHost: bench\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"

/* A client that was sent something by TCP, and asks. */
static void _check_unread(struct bench *b, size_t reads)
{
    char early[] = "early", byte[sizeof(early)];
    struct wire *up = bypass_up(b), *down = bypass_pair(b, false, NULL);
    send_text(down->near, early);
    assert_int_equal(recv(down->far, byte, 1, MSG_PEEK), 1);
    assert_int_equal(bypass_tie(b, down), BYPASS_OK);
    if (reads)
        assert_int_equal(recv(down->far, byte, reads, 0), reads);
    send_text(down->far, PLAIN_REQUEST);
    if (reads == strlen(early)) {
        expect_text(up->far, PLAIN_REQUEST);
        return;
    }
    expect_text(down->near, PLAIN_REQUEST);
    assert_int_equal(bench_slot(b, up)->redirected, 0);
    send_text(down->near, "late");
    expect_text(down->far, &early[reads]);
    expect_text(down->far, "late");
    assert_int_equal(bypass_give_back(b, down), BYPASS_OK);
    bypass_exchange(b, down, up);
}

static void test_client_has_not_read(void **state)
{
    _check_unread(*state, 0);
}

static void test_client_has_read_a_part(void **state)
{
    _check_unread(*state, 4);
}

static void test_client_has_read(void **state)
{
    _check_unread(*state, 5);
}

/* A server reads everything before it is tied. */
static void test_server_has_not_read(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_pair(b, true, NULL), *down = bypass_down(b);
    char byte;
    send_text(up->near, "ab");
    assert_int_equal(recv(up->far, &byte, 1, 0), 1);
    assert_int_equal(bypass_tie(b, up), BYPASS_BUSY);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(down->near, PLAIN_REQUEST);
    assert_int_equal(recv(up->far, &byte, 1, 0), 1);
    await(bypass_tie(b, up) == BYPASS_OK);
    assert_int_equal(bypass_give_back(b, down), BYPASS_OK);
    bypass_exchange(b, down, up);
}

/* What an application has sent by TCP lies in the daemon's socket, or waits for room there. */
static void _check_under_way(struct bench *b, bool upstream)
{
    static char much[1 << 20], got[65536];
    struct bypass_place place = {.near_buf = 4096, .far_buf = 1 << 20};
    struct wire *w = bypass_pair(b, upstream, &place);
    ssize_t sent = send(w->far, much, sizeof(much), MSG_DONTWAIT | MSG_NOSIGNAL), read = 0, n;
    assert_true(sent > 65536);
    while (bypass_tie(b, w) != BYPASS_OK) {
        assert_true(read < sent);
        assert_int_equal(bypass_tie(b, w), BYPASS_BUSY);
        n = recv(w->near, got, sizeof(got), 0);
        assert_true(n > 0);
        read += n;
        if (read == sent)
            await(bypass_tie(b, w) != BYPASS_BUSY);
    }
    assert_int_equal(read, sent);
}

static void test_client_has_sent(void **state)
{
    _check_under_way(*state, false);
}

static void test_server_has_sent(void **state)
{
    _check_under_way(*state, true);
}

/* Sent after it was looked at, before it was tied: the first send() by TCP counts, too. */
static void test_client_sends_after_the_tie(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    send_text(down->far, NOT_ROUTED);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(down->near, NOT_ROUTED PLAIN_REQUEST);
    expect_silence(up->far);
}

static void _answer(struct wire *up, int i)
{
    char text[128];
    snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nX: %d\r\nContent-Length: %d\r\n\r\n%0*d", i, i % 9 + 1,
             i % 9 + 1, i % 10);
    send_text(up->far, text);
}

static void _expect_answer(struct wire *down, int i)
{
    char text[128];
    snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nX: %d\r\nContent-Length: %d\r\n\r\n%0*d", i, i % 9 + 1,
             i % 9 + 1, i % 10);
    expect_text(down->far, text);
}

/* A client that reads when it has asked for everything, of several servers in turn. */
static void test_reads_late(void **state)
{
    enum { N = 60 };
    struct bench *b = *state;
    struct wire *up[3] = {bypass_up(b), bypass_up(b), bypass_up(b)}, *down = bypass_down(b);
    bench_slot(b, down)->place = up[0]->slot;
    for (int i = 0; i < N; i++) {
        struct wire *leased = NULL;
        send_text(down->far, PLAIN_REQUEST);
        for (int j = 0; j < 3; j++) {
            if (owner_lease(bench_owner(b, up[j])))
                leased = up[j];
        }
        assert_non_null(leased);
        expect_text(leased->far, PLAIN_REQUEST);
        _answer(leased, i);
        /* Another one serves the next. */
        assert_ptr_equal(leased, up[i % 3]);
        bench_slot(b, down)->place = up[(i + 1) % 3]->slot;
    }
    assert_int_equal(bypass_responses(b), N);
    for (int i = 0; i < N; i++)
        _expect_answer(down, i);
    expect_silence(down->far);
}

/* In between requests that userspace answers by TCP, when what was pushed is there. */
static void test_reads_late_of_both(void **state)
{
    enum { N = 20 };
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    for (int i = 0; i < N; i++) {
        bypass_ask(b, down, up);
        _answer(up, 3 * i);
        await(bench_is_idle(b, up));
        send_text(down->far, NOT_ROUTED);
        expect_text(down->near, NOT_ROUTED);
        bypass_take(b, down);
        send_text(down->near, "HTTP/1.1 200 OK\r\n");
        assert_int_equal(bypass_give_back(b, down), BYPASS_OK);
        /* It has not read that: the next goes by TCP as well. */
        send_text(down->far, PLAIN_REQUEST);
        expect_text(down->near, PLAIN_REQUEST);
        send_text(down->near, "Content-Length: 0\r\n\r\n");
        _expect_answer(down, 3 * i);
        expect_text(down->far, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        assert_int_equal(bypass_give_back(b, down), BYPASS_OK);
    }
    expect_silence(down->far);
}

/* The rest of a response goes by TCP: behind what was pushed, of which the client has read nothing. */
static void test_spill(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    for (int i = 0; i < 20; i++) {
        bypass_ask(b, down, up);
        send_text(up->far, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
        send_text(up->far, "def");
        bypass_take(b, up);
        send_text(up->far, "ghi");
        expect_text(up->near, "ghi");
        send_text(down->near, "ghi");
        if (i % 2)
            bypass_readable(down->far);
        expect_text(down->far, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcdefghi");
        await(bypass_give_back(b, up) == BYPASS_OK);
        await(bypass_give_back(b, down) == BYPASS_OK);
    }
}

/* The same for the rest of a request. */
static void test_request_spills(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    for (int i = 0; i < 20; i++) {
        send_text(down->far, "POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 9\r\n\r\nabc");
        send_text(down->far, "def");
        bypass_take(b, down);
        send_text(down->far, "ghi");
        expect_text(down->near, "ghi");
        send_text(up->near, "ghi");
        expect_text(up->far, "POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 9\r\n\r\nabcdefghi");
        await(bypass_give_back(b, up) == BYPASS_OK);
        await(bypass_give_back(b, down) == BYPASS_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_client_has_not_read),
        BENCH_TEST(test_client_has_read_a_part),
        BENCH_TEST(test_client_has_read),
        BENCH_TEST(test_server_has_not_read),
        BENCH_TEST(test_client_has_sent),
        BENCH_TEST(test_server_has_sent),
        BENCH_TEST(test_client_sends_after_the_tie),
        BENCH_TEST(test_reads_late),
        BENCH_TEST(test_reads_late_of_both),
        BENCH_TEST(test_spill),
        BENCH_TEST(test_request_spills),
    };
    return BYPASS_MAIN("bypass_order", tests);
}
