/*
 * Hazard: an application's pipelined commands, and what its server answers to them together, are framed one
 * behind the other where they lie. A wrong end of one would hand the rest to the wrong request: what is
 * redirected is whole messages, byte by byte as they came, and what does not end as it should goes by TCP.
 */
#include "bypass_helper.h"

#include <stdio.h>
#include <string.h>

#define GET_K "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"

enum { COMMANDS = 20, TEXT = 16384 };

static char *_append_bulk(char *to, size_t len, const char *end)
{
    to += sprintf(to, "$%zu\r\n", len);
    for (size_t i = 0; i < len; i++)
        *to++ = (char)('a' + i % 26);
    return to + sprintf(to, "%s", end);
}

static void _ask(struct bench *b, struct wire **up, struct wire **down)
{
    char commands[TEXT] = "";
    bench_redis(b, BENCH_BUFFER);
    *up = bypass_redis_up(b);
    *down = bypass_redis_down(b);
    for (int i = 0; i < COMMANDS; i++)
        strcat(commands, GET_K);
    send_text((*down)->far, commands);
    expect_text((*up)->far, commands);
    assert_int_equal(bench_slot(b, *up)->run, COMMANDS);
}

/* One reply of `len` bytes at each place: together they are longer than the window, or one alone is. */
static void _check_replies(struct bench *b, size_t len, size_t len_in_the_middle)
{
    char replies[TEXT], *to = replies;
    struct wire *up, *down;
    _ask(b, &up, &down);
    for (int i = 0; i < COMMANDS; i++)
        to = _append_bulk(to, i == COMMANDS / 2 ? len_in_the_middle : len, "\r\n");
    send_text(up->far, replies);
    expect_text(down->far, replies);
    assert_true(bench_is_idle(b, up));
    assert_int_equal(bypass_responses(b), COMMANDS);
    assert_int_equal(owner_lease(bench_owner(b, down)), 0);
}

static void test_short_replies(void **state)
{
    _check_replies(*state, 3, 0);
}

static void test_replies_beyond_the_window(void **state)
{
    _check_replies(*state, 150, 150);
}

static void test_reply_longer_than_the_window(void **state)
{
    _check_replies(*state, 3, 5000);
}

/* Its CRLF is not in the window, and is none. */
static void test_long_reply_without_its_end(void **state)
{
    struct bench *b = *state;
    char replies[TEXT], *to = replies;
    struct wire *up, *down;
    _ask(b, &up, &down);
    to = _append_bulk(to, 5000, "xx");
    for (int i = 1; i < COMMANDS; i++)
        to = _append_bulk(to, 3, "\r\n");
    send_text(up->far, replies);
    expect_text(up->near, replies);
    expect_silence(down->far);
    assert_int_equal(bench_slot(b, down)->redirected, 0);
    assert_int_equal(bypass_responses(b), 0);
}

/* Whatever ends a run of commands ends it for all of the send(). */
static void test_what_ends_a_run(void **state)
{
    static const char *const last[] = {
        "PING\r\n", "*2\r\n$3\r\nGET\r\n$1\r\nk", "*2\r\n$3\r\nGET\r\n$1\r\nkxx", "*1\r\n$4\r\nKEYS\r\n",
        "*2\r\n$3",
    };
    struct bench *b = *state;
    bench_redis(b, BENCH_BUFFER);
    struct wire *up = bypass_redis_up(b);
    for (size_t i = 0; i < sizeof(last) / sizeof(*last); i++) {
        struct wire *down = bypass_redis_down(b);
        char text[256];
        snprintf(text, sizeof(text), "%s%s%s", GET_K, GET_K, last[i]);
        send_text(down->far, text);
        expect_text(down->near, text);
        expect_silence(up->far);
        assert_true(bench_passed(b, down));
        assert_true(bench_is_idle(b, up));
    }
    assert_int_equal(bench_slot(b, up)->redirected, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_short_replies),
        BENCH_TEST(test_replies_beyond_the_window),
        BENCH_TEST(test_reply_longer_than_the_window),
        BENCH_TEST(test_long_reply_without_its_end),
        BENCH_TEST(test_what_ends_a_run),
    };
    return BYPASS_MAIN("bypass_run", tests);
}
