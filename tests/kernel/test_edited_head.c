/*
 * Hazard: a verdict writes into a head on its way: the bytes may lie anywhere in an skb, in fragments, shared
 * with messages before and behind. Exactly the Keep-Alive line becomes whitespace before the next value, and
 * exactly the version's digit becomes ours; not a byte else changes.
 */
#include "kernel_helper.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define KEEP_ALIVE "\r\nKeep-Alive: timeout=5, max=99"

/* The message as it is forwarded: the line blanked, the version 1.1. */
static size_t _edited(char *out, const char *message)
{
    size_t len = strlen(message), line_len = strlen(KEEP_ALIVE);
    memcpy(out, message, len + 1);
    char *line = strstr(out, KEEP_ALIVE);
    if (line && !strncmp(line + line_len, "\r\n\r\n", 4)) {
        memset(line, ' ', line_len);
    } else if (line) {
        size_t name = (size_t)(strchr(line + line_len, ':') + 1 - (line + line_len));
        memmove(line, line + line_len, name);
        memset(line + name, ' ', line_len);
    }
    if (!strncmp(out, "HTTP/1.0", 8))
        out[7] = '1';
    return len;
}

static void _expect_edited(int fd, const char *message)
{
    char expected[70000];
    expect_bytes(fd, expected, _edited(expected, message));
}

static const char *const requests[] = {
    "GET / HTTP/1.1" KEEP_ALIVE "\r\nHost: bench\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: bench" KEEP_ALIVE "\r\nConnection: keep-alive\r\nA: b\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 41" KEEP_ALIVE
    "\r\nA:\r\n\r\nKeep-Alive: timeout=5, max=99 is my body.",
    "POST / HTTP/1.1\r\nHost: bench\r\nTransfer-Encoding: chunked" KEEP_ALIVE
    "\r\nA: b\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
};

static const char *const responses[] = {
    "HTTP/1.1 200 OK" KEEP_ALIVE "\r\nContent-Length: 5\r\n\r\nplain",
    "HTTP/1.1 200 OK\r\nServer: s" KEEP_ALIVE "\r\nContent-Length: 5\r\n\r\nplain",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive" KEEP_ALIVE "\r\n\r\nplain",
    "HTTP/1.1 200 " KEEP_ALIVE "\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 8\r\n\r\nHTTP/1.0",
    "HTTP/1.0 200 OK\r\nConnection: Keep-Alive" KEEP_ALIVE "\r\nContent-Length: 5\r\n\r\nplain",
};

#define N(array) (sizeof(array) / sizeof(*(array)))

static void test_requests(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (size_t i = 0; i < 5 * N(requests); i++) {
        send_text(down->far, requests[i % N(requests)]);
        _expect_edited(up->far, requests[i % N(requests)]);
        carry_text(up->far, down->far, PLAIN_RESPONSE);
        await(bench_is_idle(b, up));
    }
    assert_int_equal(bench_requests(b), 5 * N(requests));
}

static void test_responses(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (size_t i = 0; i < 5 * N(responses); i++) {
        carry_text(down->far, up->far, PLAIN_REQUEST);
        send_text(up->far, responses[i % N(responses)]);
        _expect_edited(down->far, responses[i % N(responses)]);
        await(bench_is_idle(b, up));
    }
    assert_int_equal(bench_responses(b), 5 * N(responses));
}

/* The head was put together of pieces, cut anywhere, in the middle of the line too. */
static void test_in_pieces(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    const char *q = requests[1], *r = responses[5];
    for (size_t cut = 1; cut < strlen(q); cut++) {
        send_bytes(down->far, q, cut);
        bench_expect_held(b, down, q, cut);
        send_text(down->far, q + cut);
        _expect_edited(up->far, q);
        carry_text(up->far, down->far, PLAIN_RESPONSE);
        await(bench_is_idle(b, up));
    }
    size_t head = (size_t)(strstr(r, "\r\n\r\n") + 4 - r);
    for (size_t cut = 1; cut < head; cut++) {
        carry_text(down->far, up->far, PLAIN_REQUEST);
        send_bytes(up->far, r, cut);
        bench_expect_held(b, up, r, cut);
        send_text(up->far, r + cut);
        _expect_edited(down->far, r);
        await(bench_is_idle(b, up));
    }
}

/* In many pieces of a few bytes. */
static void test_in_many_pieces(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    const char *q = requests[1];
    size_t len = strlen(q), step = len / (HELD_PIECES_MAX - 2) + 1;
    for (size_t at = 0; at < len; at += step) {
        size_t n = len - at < step ? len - at : step;
        send_bytes(down->far, q + at, n);
        if (at + n < len)
            bench_expect_held(b, down, q, at + n);
    }
    _expect_edited(up->far, q);
    carry_text(up->far, down->far, PLAIN_RESPONSE);
    assert_int_equal(bench_slot(b, down)->passed, 0);
}

/* Behind other bytes of its segment: interim responses of all lengths, so that it lies at any offset. */
static void test_behind_another_message(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    char message[4096], expected[4096];
    for (size_t filler = 1; filler < 1500; filler += 47) {
        const char *r = responses[filler % N(responses)];
        int n =
            snprintf(message, sizeof(message), "HTTP/1.1 103 Early Hints\r\nX: %0*d\r\n\r\n", (int)filler, 1);
        memcpy(expected, message, (size_t)n);
        strcpy(message + n, r);
        size_t len = (size_t)n + _edited(expected + n, r);
        carry_text(down->far, up->far, PLAIN_REQUEST);
        send_bytes(up->far, message, len);
        expect_bytes(down->far, expected, len);
        await(bench_is_idle(b, up));
    }
    assert_int_equal(bench_slot(b, up)->passed, 0);
}

/* A head in the segment of its large body: what is written is a few bytes at the start of 60 KiB. */
static void test_before_a_large_body(void **state)
{
    enum { BODY = 60000 };
    static char message[70000], expected[70000];
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    bench_buffer(b, 1U << 30);
    int n = snprintf(message, sizeof(message),
                     "HTTP/1.0 200 OK\r\nConnection: keep-alive" KEEP_ALIVE "\r\nContent-Length: %d\r\n\r\n",
                     BODY);
    _edited(expected, message);
    for (uint32_t i = 0; i < 10; i++) {
        pattern_fill((uint8_t *)message + n, BODY, i, 0);
        memcpy(expected + n, message + n, BODY);
        carry_text(down->far, up->far, PLAIN_REQUEST);
        send_bytes(up->far, message, (size_t)n + BODY);
        expect_bytes(down->far, expected, (size_t)n + BODY);
        await(bench_is_idle(b, up));
    }
}

/* What can not be blanked is userspace's: last behind another field than Connection, twice, too long. */
static void test_not_blanked(void **state)
{
    static const char *const refused[] = {
        "GET / HTTP/1.1\r\nHost: bench" KEEP_ALIVE "\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: bench" KEEP_ALIVE KEEP_ALIVE "\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: bench\r\nKeep-Alive: "
        "23456789.123456789.123456789.123456789.123456789.12\r\nA: b\r\n\r\n",
    };
    struct bench *b = *state;
    struct wire *up = bench_up(b);
    for (size_t i = 0; i < N(refused); i++) {
        struct wire *down = bench_down(b);
        send_text(down->far, refused[i]);
        bench_expect_passed(b, down, refused[i], strlen(refused[i]));
        assert_int_equal(bench_reason(b, HTTP1_HOP_FIELD), i + 1);
    }
    expect_silence(up->far);
}

/* The longest that is blanked, before the longest name. */
static void test_longest(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    char name[HTTP1_BLANK_NAME], message[512];
    memset(name, 'n', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    snprintf(message, sizeof(message), "GET / HTTP/1.1\r\nHost: bench\r\nKeep-Alive: %0*d\r\n%s: b\r\n\r\n",
             HTTP1_BLANK_MAX - 14, 7, name);
    send_text(down->far, message);
    snprintf(message, sizeof(message), "GET / HTTP/1.1\r\nHost: bench\r\n%s:%*s b\r\n\r\n", name,
             HTTP1_BLANK_MAX, "");
    expect_text(up->far, message);
}

/* An HTTP/1.0 server ends its connection unless it says otherwise: then the end is the response's, too. */
static void test_http10_until_close(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    carry_text(down->far, up->far, PLAIN_REQUEST);
    send_text(up->far, "HTTP/1.0 200 OK\r\nServer: s\r\n\r\nsome HTTP/1.0");
    expect_text(down->far, "HTTP/1.1 200 OK\r\nServer: s\r\n\r\nsome HTTP/1.0");
    carry_text(up->far, down->far, "HTTP/1.0 200 OK\r\n\r\n");
    shutdown(up->far, SHUT_WR);
    expect_eof(up->near);
    assert_int_equal(bench_slot(b, up)->framing, HTTP1_FRAMED_CLOSE);
}

static void test_http10_not_carried(void **state)
{
    static const char *const refused[] = {
        "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.0 304 Not Modified\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 103 Early Hints\r\n\r\n",
    };
    struct bench *b = *state;
    for (size_t i = 0; i < N(refused); i++) {
        struct wire *up = bench_up(b), *down = bench_down(b);
        carry_text(down->far, up->far, PLAIN_REQUEST);
        send_text(up->far, refused[i]);
        bench_expect_passed(b, up, refused[i], strlen(refused[i]));
        expect_silence(down->far);
    }
    assert_int_equal(bench_reason(b, HTTP1_CONNECTION), 2);
    assert_int_equal(bench_reason(b, HTTP1_VERSION), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_requests),
        BENCH_TEST(test_responses),
        BENCH_TEST(test_in_pieces),
        BENCH_TEST(test_in_many_pieces),
        BENCH_TEST(test_behind_another_message),
        BENCH_TEST(test_before_a_large_body),
        BENCH_TEST(test_not_blanked),
        BENCH_TEST(test_longest),
        BENCH_TEST(test_http10_until_close),
        BENCH_TEST(test_http10_not_carried),
    };
    return BENCH_MAIN("edited_head", tests);
}
