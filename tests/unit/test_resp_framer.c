/*
 * The RESP framer: a table of commands and replies, cut at every byte, the window's end, and the
 * userspace parsers beside it: what the framer accepts is a subset, understood in the same way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parsers/resp.h"
#include "parsers/resp_scan.h"
#include "resp_cases.h"

static const struct resp_limits limits = {.multibulk = 1024 * 1024, .bulk = RESP_FRAME_BULK_MAX};

static struct http1_window window;
static struct resp_scan_state scan;
static struct resp_frame frame;

/* Somewhere else in a window nothing changes but offsets, and how much is out of its reach. */
static void _frame_further_on(const char *text, size_t len, bool is_reply)
{
    struct resp_frame moved;
    unsigned from = 1 + (unsigned)len % 97;
    if (from + len > sizeof(window))
        return;
    memset(&window, '*', sizeof(window));
    memcpy(window.bytes + from, text, len);
    int reason = is_reply ? resp_frame_reply(&window, from, from + (unsigned)len, &scan, &moved)
                          : resp_frame_command(&window, from, from + (unsigned)len, &scan, &moved);
    if (frame.reason == RESP_FRAME_PARTIAL && reason == RESP_FRAME_TOO_LONG)
        return;
    assert_int_equal(reason, frame.reason);
    if (reason != RESP_FRAME_OK)
        return;
    moved.name_off -= moved.name_len ? from : 0;
    moved.key_off -= moved.flags & RESP_F_KEY ? from : 0;
    assert_memory_equal(&moved, &frame, sizeof(frame));
}

static int _frame(const char *text, size_t len, bool is_reply)
{
    memset(&window, '1', sizeof(window));
    memcpy(window.bytes, text, len < sizeof(window) ? len : sizeof(window));
    memset(&scan, 0x55, sizeof(scan));
    memset(&frame, 0x55, sizeof(frame));
    int reason = is_reply ? resp_frame_reply(&window, 0, (unsigned)len, &scan, &frame)
                          : resp_frame_command(&window, 0, (unsigned)len, &scan, &frame);
    assert_int_equal(reason, frame.reason);
    _frame_further_on(text, len, is_reply);
    return reason;
}

/* The whole message: the bytes that are there, and what the framer let be missing. */
static char *_completed(const char *text, size_t len)
{
    char *whole = calloc(1, frame.len);
    assert_non_null(whole);
    memcpy(whole + frame.len - 2, "\r\n", 2);
    memcpy(whole, text, len < frame.len ? len : frame.len);
    return whole;
}

static void _compare_command(const char *whole)
{
    struct resp_request r = {0};
    assert_int_equal(resp_request_parse(&r, whole, frame.len, &limits), RESP_DONE);
    assert_int_equal(r.size, frame.len);
    assert_int_equal(r.argc, frame.argc);
    assert_int_equal(r.args[0].off, frame.name_off);
    assert_int_equal(r.args[0].len, frame.name_len);
    assert_int_equal(!!(frame.flags & RESP_F_KEY), r.argc > 1);
    assert_int_equal(r.argc > 1 ? r.args[1].off : 0, frame.key_off);
    assert_int_equal(r.argc > 1 ? r.args[1].len : 0, frame.key_len);
    assert_int_equal(r.args[r.argc - 1].off, frame.head_len);
    resp_request_free(&r);
}

static void _compare_reply(const char *whole)
{
    struct resp_reply r = {0};
    size_t used, at = 0;
    enum resp_result result = RESP_MORE;
    assert_true(frame.head_len > 0 && frame.head_len <= frame.len);
    while (result == RESP_MORE && at < frame.len) {
        result = resp_reply_feed(&r, whole + at, frame.len - at, &used);
        at += used;
    }
    assert_int_equal(result, RESP_DONE);
    assert_int_equal(at, frame.len);
    assert_int_equal(r.type, frame.type);
}

static void _compare(const char *text, size_t len, bool is_reply)
{
    char *whole = _completed(text, len);
    if (is_reply)
        _compare_reply(whole);
    else
        _compare_command(whole);
    free(whole);
}

/* What is only partial is no error for the userspace parser. */
static void _check_partial(const char *text, size_t len, bool is_reply)
{
    struct resp_request request = {0};
    struct resp_reply reply = {0};
    size_t used;
    if (is_reply)
        assert_int_equal(resp_reply_feed(&reply, text, len, &used), RESP_MORE);
    else
        assert_int_not_equal(resp_request_parse(&request, text, len, &limits), RESP_ERROR);
    resp_request_free(&request);
}

/* A cut message never turns from one reason into another, and its end is known or not, but is
 * never wrong. */
static void _cut(const struct resp_case *c, bool is_reply)
{
    for (size_t n = 0; n < c->len; n++) {
        int reason = _frame(c->text, n, is_reply);
        if (reason == RESP_FRAME_OK && c->reason == RESP_FRAME_OK)
            assert_int_equal(frame.len, c->size);
        else if (reason == RESP_FRAME_OK)
            assert_int_equal(c->reason, RESP_FRAME_SYNTAX);
        else
            assert_true(reason == RESP_FRAME_PARTIAL || reason == c->reason);
        if (reason == RESP_FRAME_OK)
            _compare(c->text, n, is_reply);
        if (reason == RESP_FRAME_PARTIAL)
            _check_partial(c->text, n, is_reply);
    }
}

static void _run(const struct resp_case *cases, size_t count, bool is_reply)
{
    for (size_t i = 0; i < count; i++) {
        const struct resp_case *c = &cases[i];
        int reason = _frame(c->text, c->len, is_reply);
        if (reason != c->reason)
            fail_msg("case %zu: reason %d, not %d: %s", i, reason, c->reason, c->text);
        if (reason == RESP_FRAME_OK) {
            assert_int_equal(frame.len, c->size);
            _compare(c->text, c->len, is_reply);
        }
        if (reason == RESP_FRAME_PARTIAL)
            _check_partial(c->text, c->len, is_reply);
        _cut(c, is_reply);
    }
}

static void test_commands(void **state)
{
    _run(resp_command_cases, RESP_N_COMMAND_CASES, false);
}

static void test_replies(void **state)
{
    _run(resp_reply_cases, RESP_N_REPLY_CASES, true);
}

/* A text of `len` bytes with the window's end in it: `head` and then only letters. */
static size_t _fill(char *text, size_t size, const char *head, size_t tail_at, const char *tail)
{
    memset(text, 'x', size);
    memcpy(text, head, strlen(head));
    memcpy(text + tail_at, tail, strlen(tail));
    return tail_at + strlen(tail);
}

static void test_last_argument_ends_anywhere(void **state)
{
    static char text[2 * HTTP1_WINDOW];
    for (unsigned value = HTTP1_WINDOW - 40; value < HTTP1_WINDOW + 8; value++) {
        char head[64];
        int at = snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%u\r\n", value);
        size_t size = _fill(text, sizeof(text), head, (size_t)at + value, "\r\n");
        assert_int_equal(_frame(text, size, false), RESP_FRAME_OK);
        assert_int_equal(frame.len, size);
        assert_int_equal(frame.head_len, at);
        _compare(text, size, false);
        bool cr = (size_t)at + value < HTTP1_WINDOW, lf = (size_t)at + value + 1 < HTTP1_WINDOW;
        text[size - 1] = 'x';
        assert_int_equal(_frame(text, size, false), lf ? RESP_FRAME_SYNTAX : RESP_FRAME_OK);
        text[size - 2] = 'x';
        assert_int_equal(_frame(text, size, false), cr ? RESP_FRAME_SYNTAX : RESP_FRAME_OK);
    }
}

static void test_last_length_line_at_the_window_end(void **state)
{
    static char text[2 * HTTP1_WINDOW];
    for (unsigned key = HTTP1_WINDOW - 40; key < HTTP1_WINDOW; key++) {
        char head[64];
        int at = snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$%u\r\n", key);
        size_t line = (size_t)at + key + 2, line_end = line + 4;
        size_t size = _fill(text, sizeof(text), head, (size_t)at + key, "\r\n$9\r\nabcdefghi\r\n");
        int whole = line_end <= HTTP1_WINDOW ? RESP_FRAME_OK : RESP_FRAME_TOO_LONG;
        assert_int_equal(_frame(text, size, false), whole);
        if (whole == RESP_FRAME_OK)
            _compare(text, size, false);
        if (line < HTTP1_WINDOW)
            assert_int_equal(_frame(text, line, false), RESP_FRAME_PARTIAL);
    }
}

static void test_key_at_the_window_end(void **state)
{
    static char text[2 * HTTP1_WINDOW];
    for (unsigned key = HTTP1_WINDOW - 32; key < HTTP1_WINDOW + 4; key++) {
        char head[64];
        int at = snprintf(head, sizeof(head), "*2\r\n$3\r\nGET\r\n$%u\r\n", key);
        size_t end = (size_t)at + key;
        size_t size = _fill(text, sizeof(text), head, end, "\r\n");
        int whole = end <= HTTP1_WINDOW ? RESP_FRAME_OK : RESP_FRAME_TOO_LONG;
        assert_int_equal(_frame(text, size, false), whole);
        if (whole == RESP_FRAME_OK) {
            assert_int_equal(frame.key_len, key);
            _compare(text, size, false);
            assert_int_equal(_frame(text, end, false), RESP_FRAME_OK);
            assert_int_equal(_frame(text, end - 1, false), RESP_FRAME_PARTIAL);
        } else {
            assert_int_equal(_frame(text, (size_t)at, false), RESP_FRAME_TOO_LONG);
        }
    }
}

static void test_text_at_the_window_end(void **state)
{
    static char text[2 * HTTP1_WINDOW];
    for (size_t size = HTTP1_WINDOW - 3; size <= HTTP1_WINDOW + 3; size++) {
        _fill(text, sizeof(text), "-", size - 2, "\r\n");
        assert_int_equal(_frame(text, size, true),
                         size <= HTTP1_WINDOW ? RESP_FRAME_OK : RESP_FRAME_TOO_LONG);
        if (size <= HTTP1_WINDOW) {
            assert_int_equal(frame.len, size);
            assert_int_equal(frame.head_len, size);
            _compare(text, size, true);
        }
        assert_int_equal(_frame(text, HTTP1_WINDOW - 4, true), RESP_FRAME_PARTIAL);
    }
}

static void test_elements_at_the_window_end(void **state)
{
    static char text[2 * HTTP1_WINDOW];
    for (unsigned value = HTTP1_WINDOW - 24; value < HTTP1_WINDOW + 2; value++) {
        char head[64];
        int at = snprintf(head, sizeof(head), "*2\r\n$%u\r\n", value);
        size_t size = _fill(text, sizeof(text), head, (size_t)at + value, "\r\n:1\r\n");
        int whole = size <= HTTP1_WINDOW ? RESP_FRAME_OK : RESP_FRAME_TOO_LONG;
        assert_int_equal(_frame(text, size, true), whole);
        assert_int_equal(_frame(text, (size_t)at, true),
                         size - 4 < HTTP1_WINDOW ? RESP_FRAME_PARTIAL : RESP_FRAME_TOO_LONG);
    }
}

/* PARTIAL would be waited for: it must not be said when the window is full. */
static void test_full_window_is_never_partial(void **state)
{
    static char text[HTTP1_WINDOW + 1];
    for (unsigned key = HTTP1_WINDOW - 60; key < HTTP1_WINDOW + 60; key++) {
        char head[64];
        int at = snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$%u\r\n", key);
        size_t line = (size_t)at + key + 2;
        memset(text, '1', sizeof(text));
        memcpy(text, head, (size_t)at);
        for (size_t i = line - 2; i < HTTP1_WINDOW && i <= line; i++)
            text[i] = "\r\n$"[i - (line - 2)];
        /* More than 19 digits are none. */
        int reason = line + 1 + RESP_SCAN_DIGITS < HTTP1_WINDOW ? RESP_FRAME_SYNTAX : RESP_FRAME_TOO_LONG;
        assert_int_equal(_frame(text, HTTP1_WINDOW, false), reason);
        assert_int_equal(_frame(text, HTTP1_WINDOW + 1, false), reason);
    }
}

static void test_spans(void **state)
{
    static const char text[] = "*3\r\n$4\r\nMGET\r\n$2\r\nk1\r\n$2\r\nk2\r\n*1\r\n";
    assert_int_equal(_frame(text, sizeof(text) - 1, false), RESP_FRAME_OK);
    assert_memory_equal(text + frame.name_off, "MGET\r\n", 6);
    assert_int_equal(frame.name_len, 4);
    assert_memory_equal(text + frame.key_off, "k1\r\n", 4);
    assert_int_equal(frame.key_len, 2);
    assert_int_equal(frame.head_len, 26);
    assert_int_equal(frame.len, 30);
    assert_int_equal(frame.flags, RESP_F_KEY);
}

static void test_empty_key_is_a_key(void **state)
{
    static const char without[] = "*1\r\n$4\r\nPING\r\n", with[] = "*2\r\n$4\r\nPING\r\n$0\r\n\r\n";
    assert_int_equal(_frame(without, sizeof(without) - 1, false), RESP_FRAME_OK);
    assert_int_equal(frame.flags, 0);
    assert_int_equal(frame.key_off, 0);
    assert_int_equal(_frame(with, sizeof(with) - 1, false), RESP_FRAME_OK);
    assert_int_equal(frame.flags, RESP_F_KEY);
    assert_int_equal(frame.key_len, 0);
    assert_int_equal(frame.key_off, sizeof(with) - 3);
}

/* The framer's memory comes from a map: whatever was in it does not count. */
static void test_used_memory(void **state)
{
    static const char command[] = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", reply[] = "*1\r\n+OK\r\n";
    memcpy(window.bytes, command, sizeof(command) - 1);
    assert_int_equal(resp_frame_command(&window, 0, sizeof(command) - 1, &scan, &frame), RESP_FRAME_OK);
    memcpy(window.bytes, reply, sizeof(reply) - 1);
    assert_int_equal(resp_frame_reply(&window, 0, sizeof(reply) - 1, &scan, &frame), RESP_FRAME_OK);
    assert_int_equal(frame.len, sizeof(reply) - 1);
    assert_int_equal(frame.type, '*');
    assert_int_equal(frame.argc, 0);
    memcpy(window.bytes, command, sizeof(command) - 1);
    assert_int_equal(resp_frame_command(&window, 0, sizeof(command) - 1, &scan, &frame), RESP_FRAME_OK);
    assert_int_equal(frame.len, sizeof(command) - 1);
    assert_int_equal(frame.type, 0);
}

static void test_null_pointers(void **state)
{
    assert_int_equal(resp_frame_command(NULL, 0, 1, &scan, &frame), RESP_FRAME_SYNTAX);
    assert_int_equal(resp_frame_command(&window, 0, 1, NULL, &frame), RESP_FRAME_SYNTAX);
    assert_int_equal(resp_frame_reply(&window, 0, 1, &scan, NULL), RESP_FRAME_SYNTAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_last_argument_ends_anywhere),
        cmocka_unit_test(test_last_length_line_at_the_window_end),
        cmocka_unit_test(test_key_at_the_window_end),
        cmocka_unit_test(test_text_at_the_window_end),
        cmocka_unit_test(test_elements_at_the_window_end),
        cmocka_unit_test(test_full_window_is_never_partial),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_empty_key_is_a_key),
        cmocka_unit_test(test_used_memory),
        cmocka_unit_test(test_null_pointers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
