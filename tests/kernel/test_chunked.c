/*
 * Hazard: the end of a chunked body is in its bytes. The parser walks through chunk lines wherever segments
 * cut them, forwards what it has understood, and hands over exactly where it does not go on: the slot says
 * how far the body is, and the first byte that is passed up is the first that was not forwarded.
 */
#include "kernel_helper.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_HEAD  "POST /c HTTP/1.1\r\nHost: bench\r\nTransfer-Encoding: chunked\r\n\r\n"
#define RESPONSE_HEAD "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
#define BODY          "5\r\nhello\r\n0b\r\n, the world\r\n1\r\n\r\r\n000\r\n\r\n"

static void _drop(struct bench *b, struct wire *w)
{
    bench_close(b, w);
    close(w->far);
    w->far = -1;
    b->n_wires--;
}

static void _respond(struct bench *b, struct wire *down, struct wire *up)
{
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
    await(bench_is_idle(b, up));
}

static void test_whole(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (int i = 0; i < 10; i++) {
        send_text(down->far, REQUEST_HEAD BODY);
        expect_text(up->far, REQUEST_HEAD BODY);
        send_text(up->far, RESPONSE_HEAD BODY);
        expect_text(down->far, RESPONSE_HEAD BODY);
        await(bench_is_idle(b, up));
        bench_exchange(b, down, up);
        await(bench_is_idle(b, up));
    }
    assert_int_equal(bench_slot(b, down)->passed + bench_slot(b, up)->passed, 0);
    assert_int_equal(bench_requests(b), 20);
}

/* Sends a message in two parts: what can go on of the first goes on at once, the rest with the second. */
static void _cut(struct bench *b, struct wire *from, struct wire *to, const char *message, size_t head,
                 size_t cut)
{
    size_t len = strlen(message);
    uint64_t before = bench_load(&bench_slot(b, to)->redirected);
    send_bytes(from->far, message, cut);
    /* Up to here and not further: a chunk line's part is held. */
    const struct slot *s = bench_slot(b, from);
    await(bench_load(&bench_slot(b, to)->redirected) - before + s->held == cut &&
          !(bench_owner(b, from) & OWNER_BUSY));
    size_t gone = cut - s->held;
    assert_true(cut < head ? gone == 0 : gone >= head);
    expect_bytes(to->far, message, gone);
    if (s->held)
        assert_memory_equal(slot_held(s), message + gone, s->held);
    send_bytes(from->far, message + cut, len - cut);
    expect_bytes(to->far, message + gone, len - gone);
}

static void test_request_cut_anywhere(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (size_t cut = 1; cut < strlen(REQUEST_HEAD BODY); cut++) {
        _cut(b, down, up, REQUEST_HEAD BODY, strlen(REQUEST_HEAD), cut);
        _respond(b, down, up);
    }
    assert_int_equal(bench_slot(b, down)->passed, 0);
}

static void test_response_cut_anywhere(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    for (size_t cut = 1; cut < strlen(RESPONSE_HEAD BODY); cut++) {
        send_text(down->far, PLAIN_REQUEST);
        expect_text(up->far, PLAIN_REQUEST);
        _cut(b, up, down, RESPONSE_HEAD BODY, strlen(RESPONSE_HEAD), cut);
        await(bench_is_idle(b, up));
    }
    assert_int_equal(bench_slot(b, up)->passed, 0);
}

/* Every byte of the body a segment of its own, each read before the next one is sent. */
static void test_body_in_single_bytes(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    size_t len = strlen(BODY), gone = 0;
    send_text(down->far, REQUEST_HEAD);
    expect_text(up->far, REQUEST_HEAD);
    uint64_t before = bench_load(&bench_slot(b, up)->redirected);
    for (size_t at = 0; at < len; at++) {
        send_bytes(down->far, &BODY[at], 1);
        await(bench_load(&bench_slot(b, up)->redirected) - before + bench_slot(b, down)->held == at + 1 &&
              !(bench_owner(b, down) & OWNER_BUSY));
        size_t now = at + 1 - bench_slot(b, down)->held;
        expect_bytes(up->far, &BODY[gone], now - gone);
        gone = now;
    }
    assert_int_equal(gone, len);
    _respond(b, down, up);
}

/* A body of chunks of these sizes, without its head. @return Its length. */
static size_t _chunks(char *buf, size_t total, size_t smallest, size_t largest, uint32_t stream)
{
    size_t n = 0, at = 0;
    uint32_t random = stream + 1;
    while (at < total) {
        random = random * 1664525U + 1013904223U;
        size_t size = smallest + (size_t)(((uint64_t)random * (largest - smallest + 1)) >> 32);
        size = size < total - at ? size : total - at;
        n += (size_t)sprintf(buf + n, "%zx\r\n", size);
        pattern_fill((uint8_t *)buf + n, size, stream, at);
        memcpy(buf + n + size, "\r\n", 2);
        n += size + 2;
        at += size;
    }
    memcpy(buf + n, "0\r\n\r\n", 5);
    return n + 5;
}

/* Both directions, sent in pieces of changing size. */
static void _carry(struct bench *b, size_t total, size_t smallest, size_t largest, size_t step)
{
    char *buf = malloc(total * 8 + 64);
    struct wire *up = bench_up(b), *down = bench_down(b);
    assert_non_null(buf);
    bench_buffer(b, 1U << 30); /* The limit for slow readers is another test's. */
    for (uint32_t i = 0; i < 3; i++) {
        size_t len = _chunks(buf, total, smallest, largest, i);
        carry_text(down->far, up->far, REQUEST_HEAD);
        carry_bytes(down->far, up->far, buf, len, step);
        carry_text(up->far, down->far, RESPONSE_HEAD);
        carry_bytes(up->far, down->far, buf, len, step);
        await(bench_is_idle(b, up));
    }
    free(buf);
    assert_int_equal(bench_slot(b, down)->passed + bench_slot(b, up)->passed, 0);
    assert_int_equal(bench_responses(b), 3);
    bench_exchange(b, down, up);
}

static void test_many_tiny_chunks(void **state)
{
    _carry(*state, 20000, 1, 3, 0);
}

static void test_many_tiny_chunks_in_small_segments(void **state)
{
    _carry(*state, 3000, 1, 40, 7);
}

static void test_chunks_of_all_sizes(void **state)
{
    _carry(*state, 1 << 20, 1, 70000, 0);
}

static void test_large_chunks(void **state)
{
    _carry(*state, 4 << 20, 1 << 20, 1 << 20, 0);
}

/* A chunk may be announced to be longer than anything: what is left has 64 bits. */
static void test_huge_chunk(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    send_text(down->far, REQUEST_HEAD "fffffffffffffff\r\nabc");
    expect_text(up->far, REQUEST_HEAD "fffffffffffffff\r\nabc");
    await(!(bench_owner(b, down) & OWNER_BUSY));
    assert_true(bench_slot(b, down)->chunks.left == 0xfffffffffffffffULL - 3);
}

struct handed_over {
    const char *taken; /**< What goes on. */
    const char *rest;  /**< What is passed up, from its first byte. */
    unsigned left;
    bool begun;
};

static const struct handed_over handed_over[] = {
    {"", "3;x=y\r\nabc\r\n0\r\n\r\n", 0, false},
    {"", "xyz\r\n", 0, false},
    {"", "\r\n", 0, false},
    {"", "0\r\nX: y\r\n\r\n", 0, false},
    {"", "0000000000000003\r\nabc\r\n0\r\n\r\n", 0, false},
    {"3\r\nabc", "\r\n3;x\r\ndef\r\n0\r\n\r\n", 0, true},
    {"3\r\nabc", "\r\n0\r\nX: y\r\n\r\n", 0, true},
    {"3\r\nabc", "d\r\n", 0, true},
    {"3\r\nabc", "\n", 0, true},
    {"3\r\nabc\r\n00a\r\n0123456789", "\r\n-1\r\n", 0, true},
};

/* Something that the walk does not go through comes in the segment of the head, or in one of its own: what is
 * before it goes on, all else is userspace's, which finds where it goes on. */
static void _hand_over(struct bench *b, bool response, const char *head, bool apart)
{
    char all[256];
    for (size_t i = 0; i < sizeof(handed_over) / sizeof(*handed_over); i++) {
        const struct handed_over *h = &handed_over[i];
        struct wire *up = bench_up(b), *down = bench_down(b);
        struct wire *from = response ? up : down, *to = response ? down : up;
        uint64_t reasons = bench_reason(b, HTTP1_CHUNK);
        if (response) {
            send_text(down->far, PLAIN_REQUEST);
            expect_text(up->far, PLAIN_REQUEST);
        }
        snprintf(all, sizeof(all), "%s%s", head, h->taken);
        if (apart) {
            send_text(from->far, all);
            expect_text(to->far, all);
            send_text(from->far, h->rest);
        } else {
            strcat(all, h->rest);
            send_text(from->far, all);
            expect_bytes(to->far, all, strlen(all) - strlen(h->rest));
        }
        bench_expect_passed(b, from, h->rest, strlen(h->rest));
        const struct slot *s = bench_slot(b, from);
        assert_true(s->framing == HTTP1_FRAMED_CHUNKED && s->remaining == BODY_UNKNOWN);
        assert_true(s->chunks.left == h->left && s->chunks.begun == h->begun && !s->chunks.done);
        assert_int_equal(bench_reason(b, HTTP1_CHUNK), reasons + 1);
        expect_silence(to->far);
        _drop(b, down);
        _drop(b, up);
    }
}

static void test_request_handed_over(void **state)
{
    _hand_over(*state, false, REQUEST_HEAD, false);
    _hand_over(*state, false, REQUEST_HEAD, true);
}

static void test_response_handed_over(void **state)
{
    _hand_over(*state, true, RESPONSE_HEAD, false);
    _hand_over(*state, true, RESPONSE_HEAD, true);
}

/* The daemon takes a connection inside of a body, at every byte: slot and bytes say where it is. */
static void test_taken_anywhere(void **state)
{
    struct bench *b = *state;
    size_t head = strlen(REQUEST_HEAD), len = strlen(BODY);
    for (size_t cut = 1; cut < len; cut++) {
        struct wire *up = bench_up(b), *down = bench_down(b);
        send_bytes(down->far, REQUEST_HEAD BODY, head + cut);
        const struct slot *s = bench_slot(b, down);
        await(bench_load(&bench_slot(b, up)->redirected) + s->held == head + cut &&
              !(bench_owner(b, down) & OWNER_BUSY));
        size_t held = s->held, gone = cut - held;
        struct http1_chunks c = s->chunks;
        expect_bytes(up->far, REQUEST_HEAD BODY, head + gone);
        bench_end_lease(b, down);
        await(bench_leave(b, down));
        bench_expect_passed(b, down, &BODY[gone], held);
        send_text(down->far, &BODY[cut]);
        expect_text(down->near, &BODY[cut]);
        assert_true(!c.done && (c.begun || !gone));
        assert_true(!c.left || (!held && c.left <= 11));
        _drop(b, down);
        _drop(b, up);
    }
}

/* A FIN inside of a chunk line: its part is there for whoever looks. */
static void test_fin_inside_a_line(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    send_text(down->far, REQUEST_HEAD "3\r\nabc\r\n1");
    expect_text(up->far, REQUEST_HEAD "3\r\nabc");
    shutdown(down->far, SHUT_WR);
    bench_expect_held(b, down, "\r\n1", 3);
    bench_end_lease(b, down);
    await(bench_leave(b, down));
    bench_expect_passed(b, down, "\r\n1", 3);
    expect_eof(down->near);
    expect_silence(up->far);
}

/* More than a line has no reason to come in so many pieces: the last chunk's does, and is held. */
static void test_pieces_count_per_line(void **state)
{
    static const char line[] = "\r\n000000000000001\r\n";
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    size_t len = strlen(line);
    send_text(down->far, REQUEST_HEAD "1\r\nx");
    expect_text(up->far, REQUEST_HEAD "1\r\nx");
    for (int i = 0; i < 5; i++) {
        for (size_t n = 1; n < len; n++) {
            send_bytes(down->far, line + n - 1, 1);
            bench_expect_held(b, down, line, n);
        }
        send_text(down->far, "\ny");
        expect_text(up->far, line);
        expect_text(up->far, "y");
    }
    send_text(down->far, "\r\n0\r\n\r\n");
    expect_text(up->far, "\r\n0\r\n\r\n");
    _respond(b, down, up);
}

/* The chunk that exceeds the limit does not go on. */
static void test_limit_exceeded(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b);
    bench_limit(b, 10);
    struct wire *down = bench_down(b);
    send_text(down->far, REQUEST_HEAD "3\r\nabc\r\n7\r\n0123456\r\n0\r\n\r\n");
    expect_text(up->far, REQUEST_HEAD "3\r\nabc\r\n7\r\n0123456\r\n0\r\n\r\n");
    _respond(b, down, up);
    assert_int_equal(bench_reason(b, FALLBACK_LIMIT), 0);

    send_text(down->far, REQUEST_HEAD "3\r\nabc");
    expect_text(up->far, REQUEST_HEAD "3\r\nabc");
    send_text(down->far, "\r\n8\r\n01234567");
    bench_expect_passed(b, down, "\r\n8\r\n01234567", 13);
    assert_int_equal(bench_reason(b, FALLBACK_LIMIT), 1);
    assert_true(bench_slot(b, down)->chunks.seen == 3 && bench_slot(b, down)->chunks.begun);
    expect_silence(up->far);
}

/* Exceeded in the segment of the head: nothing goes on. */
static void test_limit_exceeded_at_once(void **state)
{
    static const char request[] = REQUEST_HEAD "b\r\n01234567890\r\n0\r\n\r\n";
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    bench_limit(b, 10);
    send_text(down->far, request);
    bench_expect_passed(b, down, request, strlen(request));
    assert_int_equal(bench_reason(b, FALLBACK_LIMIT), 1);
    expect_silence(up->far);
    assert_true(bench_is_idle(b, up));
}

/* What follows the last chunk in its segment is another message: pipelined, or nobody's. */
static void test_bytes_behind_the_end(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    send_text(down->far, REQUEST_HEAD BODY PLAIN_REQUEST);
    expect_text(up->far, REQUEST_HEAD BODY);
    bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    send_text(up->far, RESPONSE_HEAD BODY "stray");
    expect_text(down->far, RESPONSE_HEAD BODY);
    await(bench_passed(b, up));
    assert_false(bench_is_idle(b, up));
    expect_silence(down->far);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_whole),
        BENCH_TEST(test_request_cut_anywhere),
        BENCH_TEST(test_response_cut_anywhere),
        BENCH_TEST(test_body_in_single_bytes),
        BENCH_TEST(test_many_tiny_chunks),
        BENCH_TEST(test_many_tiny_chunks_in_small_segments),
        BENCH_TEST(test_chunks_of_all_sizes),
        BENCH_TEST(test_large_chunks),
        BENCH_TEST(test_huge_chunk),
        BENCH_TEST(test_request_handed_over),
        BENCH_TEST(test_response_handed_over),
        BENCH_TEST(test_taken_anywhere),
        BENCH_TEST(test_fin_inside_a_line),
        BENCH_TEST(test_pieces_count_per_line),
        BENCH_TEST(test_limit_exceeded),
        BENCH_TEST(test_limit_exceeded_at_once),
        BENCH_TEST(test_bytes_behind_the_end),
    };
    return BENCH_MAIN("chunked", tests);
}
