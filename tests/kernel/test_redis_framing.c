/*
 * Hazard: a RESP message's last bulk string goes on before all of it is there, and its CRLF may come in
 * two segments, or not be one. Whatever is cut, wherever: the server gets the command as it was sent and
 * the client the reply, or userspace gets exactly what was not forwarded.
 */
#include "kernel_helper.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEED  20241121U
#define LARGE (1U << 20)

static const char _set[] = "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n";
static const char _get[] = "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";
static const char _bulk[] = "$5\r\nvalue\r\n";

static uint32_t _state = SEED;

static uint32_t _random(uint32_t below)
{
    _state = _state * 1664525U + 1013904223U;
    return (uint32_t)(((uint64_t)(_state >> 8) * below) >> 24);
}

static int _setup(void **state)
{
    bench_setup(state);
    bench_redis(*state, BENCH_BUFFER);
    return 0;
}

/* Both ends are closed, and the slot serves the next round. */
static void _drop(struct bench *b, struct wire *w)
{
    bench_close(b, w);
    if (w->far >= 0)
        close(w->far);
    w->far = -1;
    b->n_wires--;
}

/* Bytes that the kernel path does not wait for: those before the last bulk string's text. */
static size_t _head_len(const char *message)
{
    return (size_t)(strrchr(message, '$') + 4 - message);
}

static void test_command_cut_anywhere(void **state)
{
    struct bench *b = *state;
    size_t len = strlen(_set), head = _head_len(_set);
    for (size_t cut = 1; cut < len; cut++) {
        struct wire *up = bench_redis_up(b), *down = bench_redis_down(b);
        uint64_t partial = bench_reason(b, FALLBACK_RESP + RESP_FRAME_PARTIAL);
        send_bytes(down->far, _set, cut);
        if (cut < head)
            bench_expect_passed(b, down, _set, cut);
        else if (cut == len - 1)
            expect_bytes(up->far, _set, len - 2); /* The CR waits for its LF, */
        else
            expect_bytes(up->far, _set, cut);
        send_bytes(down->far, _set + cut, len - cut);
        if (cut < head)
            bench_expect_passed(b, down, _set + cut, len - cut);
        else if (cut == len - 1)
            bench_expect_passed(b, down, "\r\n", 2); /* which userspace sees to. */
        else
            expect_bytes(up->far, _set + cut, len - cut);
        bool passed = cut < head || cut == len - 1;
        assert_int_equal(bench_passed(b, down), passed);
        assert_int_equal(bench_reason(b, FALLBACK_RESP + RESP_FRAME_PARTIAL), partial + passed);
        expect_silence(up->far);
        _drop(b, down);
        _drop(b, up);
    }
}

static void test_reply_cut_anywhere(void **state)
{
    static const char *const replies[] = {_bulk, "$0\r\n\r\n", "*2\r\n:1\r\n$5\r\nvalue\r\n", "+fine\r\n",
                                          ":1234\r\n"};
    struct bench *b = *state;
    for (size_t r = 0; r < sizeof(replies) / sizeof(replies[0]); r++) {
        const char *reply = replies[r];
        bool bulk = strchr(reply, '$') != NULL;
        size_t len = strlen(reply), head = bulk ? _head_len(reply) : len;
        for (size_t cut = 1; cut < len; cut++) {
            struct wire *up = bench_redis_up(b), *down = bench_redis_down(b);
            send_text(down->far, _get);
            expect_text(up->far, _get);
            send_bytes(up->far, reply, cut);
            size_t there = cut < head ? 0 : cut == len - 1 ? len - 2 : cut;
            expect_bytes(down->far, reply, there);
            if (there < cut)
                bench_expect_passed(b, up, reply + there, cut - there);
            send_bytes(up->far, reply + cut, len - cut);
            if (there < cut)
                bench_expect_passed(b, up, reply + cut, len - cut);
            else
                expect_bytes(down->far, reply + cut, len - cut);
            assert_int_equal(bench_passed(b, up), there < cut);
            expect_silence(down->far);
            _drop(b, down);
            _drop(b, up);
        }
    }
}

/* Every CRLF but the last is checked before anything is forwarded; the last one is held back. */
static void test_wrong_end_of_a_command(void **state)
{
    static const char *const ends[] = {"xx", "\rx", "x\n", "\n\r", "\r\r", "\0\n"};
    struct bench *b = *state;
    char text[100];
    size_t len = strlen(_set), head = _head_len(_set);
    memcpy(text, _set, len);
    for (size_t e = 0; e < sizeof(ends) / sizeof(ends[0]); e++) {
        memcpy(text + len - 2, ends[e], 2);
        for (size_t cut = head; cut <= len; cut++) {
            struct wire *up = bench_redis_up(b), *down = bench_redis_down(b);
            /* A first byte that is wrong is seen while the head is framed. */
            bool seen = cut == len || (cut == len - 1 && ends[e][0] != '\r');
            size_t there = seen ? 0 : cut == len - 1 ? len - 2 : cut;
            send_bytes(down->far, text, cut);
            expect_bytes(up->far, text, there);
            send_bytes(down->far, text + cut, len - cut);
            bench_expect_passed(b, down, text + there, len - there);
            expect_silence(up->far);
            _drop(b, down);
            _drop(b, up);
        }
    }
    assert_int_equal(bench_responses(b), 0);
}

static void test_wrong_end_of_a_reply(void **state)
{
    struct bench *b = *state;
    static const char text[] = "$5\r\nvalue\rx";
    size_t len = strlen(text), head = _head_len(text);
    for (size_t cut = head; cut <= len; cut++) {
        struct wire *up = bench_redis_up(b), *down = bench_redis_down(b);
        size_t there = cut == len ? 0 : cut == len - 1 ? len - 2 : cut;
        send_text(down->far, _get);
        expect_text(up->far, _get);
        send_bytes(up->far, text, cut);
        expect_bytes(down->far, text, there);
        send_bytes(up->far, text + cut, len - cut);
        bench_expect_passed(b, up, text + there, len - there);
        expect_silence(down->far);
        _drop(b, down);
        _drop(b, up);
    }
}

/* Replies ----------------------------------------------------------------------------- */

static void test_replies_that_fit(void **state)
{
    static const char *const replies[] = {
        "+OK\r\n",
        "+\r\n",
        "-ERR no\r\n",
        ":0\r\n",
        ":-9223372036854775808\r\n",
        "$0\r\n\r\n",
        "$-1\r\n",
        "*-1\r\n",
        "*0\r\n",
        "$4\r\n\r\n\r\n\r\n",
        "*3\r\n$1\r\na\r\n$-1\r\n:5\r\n",
        "*2\r\n*2\r\n:1\r\n*0\r\n*2\r\n-ERR inside\r\n$3\r\nend\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n$1\r\nx\r\n",
    };
    struct bench *b = *state;
    struct wire *up = bench_redis_up(b), *down = bench_redis_down(b);
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        send_text(down->far, _get);
        expect_text(up->far, _get);
        send_text(up->far, replies[i]);
        expect_text(down->far, replies[i]);
        await(bench_is_idle(b, up));
    }
    assert_int_equal(bench_responses(b), sizeof(replies) / sizeof(replies[0]));
}

static void _reply_refused(struct bench *b, const char *text, size_t len, enum resp_frame_reason reason)
{
    struct wire *up = bench_redis_up(b), *down = bench_redis_down(b);
    uint64_t before = bench_reason(b, FALLBACK_RESP + reason);
    send_text(down->far, _get);
    expect_text(up->far, _get);
    send_bytes(up->far, text, len);
    bench_expect_passed(b, up, text, len);
    if (bench_reason(b, FALLBACK_RESP + reason) != before + 1)
        fail_msg("%.40s: not '%s'", text, fallback_name(FALLBACK_RESP + reason));
    expect_silence(down->far);
    _drop(b, down);
    _drop(b, up);
}

static void test_replies_that_do_not(void **state)
{
    static char text[8192];
    struct bench *b = *state;
    static const struct {
        const char *text;
        enum resp_frame_reason reason;
    } replies[] = {
        {"%1\r\n+a\r\n+b\r\n", RESP_FRAME_TYPE},
        {"_\r\n", RESP_FRAME_TYPE},
        {"*1\r\n#t\r\n", RESP_FRAME_TYPE},
        {">2\r\n+message\r\n+x\r\n", RESP_FRAME_TYPE},
        {"garbage\r\n", RESP_FRAME_TYPE},
        {"$03\r\nabc\r\n", RESP_FRAME_SYNTAX},
        {"$-2\r\n", RESP_FRAME_SYNTAX},
        {"+OK\rx", RESP_FRAME_SYNTAX},
        {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", RESP_FRAME_DEPTH},
        {"*257\r\n:1\r\n", RESP_FRAME_COUNT},
        {"*2\r\n:1\r\n", RESP_FRAME_PARTIAL},
    };
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++)
        _reply_refused(b, replies[i].text, strlen(replies[i].text), replies[i].reason);
    /* All but the last element have to lie inside the window. */
    size_t n = (size_t)sprintf(text, "*2\r\n$%u\r\n", HTTP1_WINDOW);
    memset(text + n, 'v', HTTP1_WINDOW);
    n += HTTP1_WINDOW;
    n += (size_t)sprintf(text + n, "\r\n:1\r\n");
    _reply_refused(b, text, n, RESP_FRAME_TOO_LONG);
    text[0] = '+';
    memset(text + 1, 'e', HTTP1_WINDOW + 10);
    memcpy(text + HTTP1_WINDOW + 11, "\r\n", 2);
    _reply_refused(b, text, HTTP1_WINDOW + 13, RESP_FRAME_TOO_LONG);
}

/* Nothing after a reply becomes the next one's. */
static void test_bytes_behind_a_reply(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_redis_up(b), *down = bench_redis_down(b);
    send_text(down->far, _get);
    expect_text(up->far, _get);
    send_text(up->far, "$5\r\nvalue\r\n+unasked\r\n");
    expect_text(down->far, _bulk);
    await(bench_passed(b, up));
    assert_false(bench_is_idle(b, up));
    send_text(down->far, _get);
    bench_expect_passed(b, down, _get, strlen(_get));
    expect_silence(down->far);
}

/* A server that answers before it has the whole command, and one that answers too soon. */
static void test_early_reply_is_marked(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_redis_up(b), *down = bench_redis_down(b);
    send_bytes(down->far, _set, strlen(_set) - 4);
    expect_bytes(up->far, _set, strlen(_set) - 4);
    send_text(up->far, "-ERR early\r\n");
    bench_expect_passed(b, up, "-ERR early\r\n", 12);
    assert_int_equal(bench_slot(b, up)->early, 1);
    expect_silence(down->far);
    /* One that comes when userspace has taken the connection, but not yet read, is none. */
    struct wire *up2 = bench_redis_up(b), *down2 = bench_redis_down(b);
    send_text(down2->far, _get);
    expect_text(up2->far, _get);
    bench_take(b, up2);
    send_text(up2->far, _bulk);
    await(bench_load(&bench_slot(b, up2)->passed) == strlen(_bulk));
    assert_int_equal(bench_slot(b, up2)->early, 0);
    /* Nor is one that comes while the client's own programs are at work, with its next command. */
    struct wire *up3 = bench_redis_up(b), *down3 = bench_redis_down(b);
    send_text(down3->far, _get);
    expect_text(up3->far, _get);
    __atomic_fetch_or(&bench_slot(b, down3)->owner, OWNER_BUSY, __ATOMIC_ACQ_REL);
    send_text(up3->far, _bulk);
    await(bench_load(&bench_slot(b, up3)->passed) == strlen(_bulk));
    __atomic_fetch_and(&bench_slot(b, down3)->owner, ~OWNER_BUSY, __ATOMIC_ACQ_REL);
    assert_int_equal(bench_reason(b, FALLBACK_STALE_LEASE), 1);
    assert_int_equal(bench_slot(b, up3)->early, 0);
}

/* A connection that the server has closed is not given a command. */
static void test_closed_while_idle(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_redis_up(b), *down = bench_redis_down(b);
    struct pollfd p = {.fd = up->near, .events = POLLRDHUP};
    shutdown(up->far, SHUT_WR);
    await(poll(&p, 1, 0) == 1 && (p.revents & POLLRDHUP));
    send_text(down->far, _get);
    bench_expect_passed(b, down, _get, strlen(_get));
    assert_int_equal(bench_reason(b, FALLBACK_TARGET_GONE), 1);
    expect_silence(up->far);
}

/* Large values ------------------------------------------------------------------------ */

/* Sends in random slices, now and then one byte, while the other side reads everything. */
static void _carry(int from, int to, const uint8_t *data, size_t len)
{
    size_t sent = 0, got = 0;
    uint8_t *copy = malloc(len);
    uint64_t end = bench_now() + BENCH_WAIT_NS * 4;
    assert_non_null(copy);
    while (got < len && bench_now() < end) {
        size_t want = _random(6) ? 1 + _random(40000) : 1 + _random(3);
        if (!sent)
            want += 64; /* All of the head. */
        if (want > len - sent)
            want = len - sent;
        /* The last three bytes together: a CRLF in two pieces is another test's. */
        if (len - sent - want < 3)
            want = len - sent;
        ssize_t n = want ? send(from, data + sent, want, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        sent += n > 0 ? (size_t)n : 0;
        ssize_t r = recv(to, copy + got, len - got, MSG_DONTWAIT);
        if (r > 0)
            got += (size_t)r;
        else if (n <= 0)
            bench_pause();
    }
    assert_int_equal(got, len);
    assert_memory_equal(copy, data, len);
    free(copy);
}

static void test_large_values(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_redis_up(b), *down = bench_redis_down(b);
    uint8_t *text = malloc(LARGE + 200);
    bench_redis(b, 64U << 20);
    assert_non_null(text);
    for (uint32_t round = 0; round < 12; round++) {
        size_t size = round < 6 ? LARGE : _random(LARGE);
        size_t n = (size_t)sprintf((char *)text, "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$%zu\r\n", size);
        pattern_fill(text + n, size, round, 0);
        memcpy(text + n + size, "\r\n", 2);
        _carry(down->far, up->far, text, n + size + 2);
        n = (size_t)sprintf((char *)text, "*2\r\n:1\r\n$%zu\r\n", size);
        pattern_fill(text + n, size, round + 100, 0);
        memcpy(text + n + size, "\r\n", 2);
        _carry(up->far, down->far, text, n + size + 2);
        await(bench_is_idle(b, up));
    }
    assert_int_equal(bench_responses(b), 12);
    assert_false(bench_passed(b, down));
    free(text);
}

#define REDIS_TEST(f) cmocka_unit_test_setup_teardown(f, _setup, bench_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        REDIS_TEST(test_command_cut_anywhere),   REDIS_TEST(test_reply_cut_anywhere),
        REDIS_TEST(test_wrong_end_of_a_command), REDIS_TEST(test_wrong_end_of_a_reply),
        REDIS_TEST(test_replies_that_fit),       REDIS_TEST(test_replies_that_do_not),
        REDIS_TEST(test_bytes_behind_a_reply),   REDIS_TEST(test_early_reply_is_marked),
        REDIS_TEST(test_closed_while_idle),      REDIS_TEST(test_large_values),
    };
    return BENCH_MAIN("redis_framing", tests);
}
