/*
 * Hazard: what is redirected into an application's queue has no limit, and a redirect into a full send queue
 * fails in the sender's send(), or is cut short there. So a reader that does not read gets at most the
 * listener's buffer and one send(), whatever the sends' size; then the rest goes by TCP, and nothing is lost.
 */
#include "bypass_helper.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BODY 1000000000

/** A piece of memory in a send queue, or in an application's, besides the bytes. */
#define SEND_MAX (1U << 20)

static void _head(char *head, size_t len, bool request)
{
    snprintf(head, len, "%s\r\nContent-Length: %d\r\n\r\n",
             request ? "POST / HTTP/1.1\r\nHost: bench" : "HTTP/1.1 200 OK", BODY);
}

/* What was sent: a head, then the pattern of a stream. */
struct stream {
    char head[128];
    uint64_t at; /* Bytes of the body that were sent, */
    uint64_t n;  /* and sends. */
};

static void _begin(struct stream *st, int fd, bool request)
{
    memset(st, 0, sizeof(*st));
    _head(st->head, sizeof(st->head), request);
    send_text(fd, st->head);
}

/* Sends pieces until the programs give way. No send() may fail or be cut short: that is what a redirect's
 * failure would look like. */
static void _fill(struct bench *b, struct stream *st, struct wire *from, size_t piece)
{
    static uint8_t buf[SEND_MAX];
    while (!bench_passed(b, from)) {
        pattern_fill(buf, piece, 1, st->at);
        ssize_t n = send(from->far, buf, piece, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n != (ssize_t)piece)
            print_error("send %llu of %zu bytes: %zd, %s\n", (unsigned long long)st->n, piece, n,
                        n < 0 ? strerror(errno) : "cut short");
        assert_int_equal(n, piece);
        st->at += piece;
        st->n++;
        assert_true(st->at < BODY);
    }
}

static void _expect_stream(int fd, uint64_t from, uint64_t to)
{
    uint8_t *want = malloc(to - from + 1);
    assert_non_null(want);
    pattern_fill(want, to - from, 1, from);
    expect_bytes(fd, want, to - from);
    expect_silence(fd);
    free(want);
}

/* What was redirected is what the reader has got, the rest is the daemon's. */
static void _check_split(struct bench *b, struct stream *st, struct wire *from, struct wire *to)
{
    uint64_t past = bench_load(&bench_slot(b, to)->redirected) - strlen(st->head);
    expect_text(to->far, st->head);
    _expect_stream(to->far, 0, past);
    _expect_stream(from->near, past, st->at);
}

/* Nobody reads; the head was not read either. */
static void _check_reader(struct bench *b, bool response, size_t piece, uint32_t buffer)
{
    struct stream st;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    struct wire *from = response ? up : down, *to = response ? down : up;
    bench_buffer(b, buffer);
    if (response)
        bypass_ask(b, down, up);
    _begin(&st, from->far, !response);
    _fill(b, &st, from, piece);
    int unread = bypass_readable(to->far);
    print_message("%llu sends of %zu bytes, %d bytes unread\n", (unsigned long long)st.n, piece, unread);
    assert_true((size_t)unread <= buffer + piece);
    assert_true(st.n <= buffer / PUSH_BYTES + 4);
    assert_int_equal(bench_reason(b, response ? FALLBACK_DOWNSTREAM_SLOW : FALLBACK_UPSTREAM_SLOW), 1);
    assert_int_equal(bench_load(&bench_slot(b, to)->redirected), unread);
    _check_split(b, &st, from, to);
}

static void test_client(void **state)
{
    _check_reader(*state, true, 4096, BENCH_BUFFER);
}

static void test_client_one_byte(void **state)
{
    _check_reader(*state, true, 1, BENCH_BUFFER);
}

static void test_client_large(void **state)
{
    _check_reader(*state, true, 200000, 1U << 20);
}

static void test_server(void **state)
{
    _check_reader(*state, false, 4096, BENCH_BUFFER);
}

static void test_server_one_byte(void **state)
{
    _check_reader(*state, false, 1, BENCH_BUFFER);
}

/* A reader that reads now and then, but never everything, is slow; one that reads everything is not. */
static void test_one_byte_sends_that_are_read(void **state)
{
    struct bench *b = *state;
    struct stream st;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    uint8_t byte;
    bypass_ask(b, down, up);
    _begin(&st, up->far, false);
    expect_text(down->far, st.head);
    for (; st.at < 4 * BENCH_BUFFER / PUSH_BYTES; st.at++) {
        byte = pattern_byte(1, st.at);
        send_bytes(up->far, &byte, 1);
        _expect_stream(down->far, st.at, st.at + 1);
    }
    assert_false(bench_passed(b, up));
}

/* The spill goes on in userspace: first what was pushed, then what TCP brings. */
static void test_spill(void **state)
{
    struct bench *b = *state;
    struct stream st;
    static uint8_t buf[65536];
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    bypass_ask(b, down, up);
    _begin(&st, up->far, false);
    _fill(b, &st, up, 4096);
    uint64_t end = st.at + 200000;
    bypass_take(b, up);
    for (uint64_t at = st.at; at < end; at += 1000) {
        pattern_fill(buf, 1000, 1, at);
        send_bytes(up->far, buf, 1000);
    }
    uint64_t at = bench_load(&bench_slot(b, down)->redirected) - strlen(st.head);
    while (at < end) {
        ssize_t n = recv(up->near, buf, sizeof(buf), 0);
        assert_true(n > 0);
        send_bytes(down->near, buf, (size_t)n);
        at += (uint64_t)n;
    }
    expect_text(down->far, st.head);
    _expect_stream(down->far, 0, end);
}

/* Into the send queue of a socket of the daemon: what does not fit goes by TCP, before it would be cut. */
static void _check_remote(struct bench *b, bool response, size_t piece, int near_buf, int far_buf)
{
    struct stream st;
    struct wire *up = response ? bypass_up(b) : bypass_remote(b, true, near_buf, far_buf);
    struct wire *down = response ? bypass_remote(b, false, near_buf, far_buf) : bypass_down(b);
    struct wire *from = response ? up : down, *to = response ? down : up;
    bench_buffer(b, 1U << 30);
    if (response) {
        send_text(down->far, PLAIN_REQUEST);
        expect_text(up->far, PLAIN_REQUEST);
    }
    _begin(&st, from->far, !response);
    _fill(b, &st, from, piece);
    print_message("%llu sends of %zu bytes into %d, %d\n", (unsigned long long)st.n, piece, near_buf,
                  far_buf);
    assert_int_equal(bench_reason(b, response ? FALLBACK_DOWNSTREAM_SLOW : FALLBACK_UPSTREAM_SLOW), 1);
    await(bench_drained(b, to));
    _check_split(b, &st, from, to);
}

static const size_t pieces[] = {1, 100, 1400, 4096, 16384, 65536, 120000, 300000, 600000};

static void _check_remote_all(struct bench *b, bool response, int near_buf, int far_buf)
{
    void *again = b;
    for (size_t i = 0; i < sizeof(pieces) / sizeof(*pieces); i++) {
        _check_remote(b, response, pieces[i], near_buf, far_buf);
        bench_teardown(&again);
        bench_setup(&again);
    }
}

static void test_remote_server(void **state)
{
    _check_remote_all(*state, false, 0, 0);
}

static void test_remote_client(void **state)
{
    _check_remote_all(*state, true, 0, 0);
}

/* A small window at the other end makes small segments, which take more memory than their bytes. */
static void test_remote_small_window(void **state)
{
    _check_remote_all(*state, false, 1 << 20, 4096);
    _check_remote_all(*state, true, 1 << 20, 4096);
    _check_remote_all(*state, false, 1 << 20, 1);
    _check_remote_all(*state, true, 1 << 20, 1);
}

static void test_remote_small_queue(void **state)
{
    _check_remote_all(*state, false, 16384, 0);
    _check_remote_all(*state, true, 16384, 4096);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_client),
        BENCH_TEST(test_client_one_byte),
        BENCH_TEST(test_client_large),
        BENCH_TEST(test_server),
        BENCH_TEST(test_server_one_byte),
        BENCH_TEST(test_one_byte_sends_that_are_read),
        BENCH_TEST(test_spill),
        BENCH_TEST(test_remote_server),
        BENCH_TEST(test_remote_client),
        BENCH_TEST(test_remote_small_window),
        BENCH_TEST(test_remote_small_queue),
    };
    return BYPASS_MAIN("bypass_backlog", tests);
}
