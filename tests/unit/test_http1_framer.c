/*
 * The head framer against the case table, cut at every byte, and against the userspace parser:
 * what it accepts is a subset, understood in the same way.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http1_blank.h"
#include "http1_cases.h"
#include "parsers/http1_path.h"
#include "parsers/http1_scan.h"

static const struct http1_limits limits = {65536, HTTP1_FIELDS_MAX, 65536};

static struct http1_window window;
static struct http1_scan scan;
static struct http1_head head;
static struct http1_message msg;

static int _frame(const char *text, size_t len, unsigned kind)
{
    memset(&window, 0xaa, sizeof(window));
    memcpy(window.bytes, text, len < sizeof(window) ? len : sizeof(window));
    memset(&scan, 0x55, sizeof(scan));
    int reason = http1_frame(&window, (unsigned)len, kind, &scan, &head);
    assert_int_equal(reason, head.reason);
    return reason;
}

static void _compare_request(const char *text, size_t len)
{
    bool chunked = head.flags & HTTP1_F_CHUNKED, length = head.flags & HTTP1_F_HAS_LENGTH;
    assert_int_equal(http1_parse_request(text, len, &limits, &msg), 0);
    assert_int_equal(head.target_off, msg.target.off);
    assert_int_equal(head.target_len, msg.target.len);
    assert_int_equal(head.path_len, msg.path_len);
    assert_int_equal(head.host_off, msg.host.off);
    assert_int_equal(head.host_len, msg.host.len);
    assert_int_equal(!!(head.flags & HTTP1_F_HEAD), msg.is_head);
    assert_int_equal(!!(head.flags & HTTP1_F_EXPECT), msg.expect_100);
    assert_int_equal(msg.body, chunked ? HTTP1_BODY_CHUNKED : length ? HTTP1_BODY_LENGTH : HTTP1_BODY_NONE);
    assert_false(msg.close);
}

/* What the kernel path makes of a response is what userspace makes of it. */
static void _compare_response(const char *text, size_t len, bool to_head)
{
    struct http1_head h = head;
    unsigned char framing;
    int reason = http1_response_body(&h, to_head, &framing);
    assert_int_equal(http1_parse_response(text, len, &limits, to_head, &msg), 0);
    assert_int_equal(head.status, msg.status);
    assert_int_equal(!!(head.flags & HTTP1_F_MINOR_0), msg.minor == 0);
    assert_int_equal(framing == HTTP1_FRAMED_CHUNKED, msg.body == HTTP1_BODY_CHUNKED);
    assert_int_equal(framing == HTTP1_FRAMED_CLOSE, msg.body == HTTP1_BODY_CLOSE);
    if (framing == HTTP1_FRAMED_LENGTH)
        assert_int_equal(h.content_length, msg.body == HTTP1_BODY_LENGTH ? msg.content_length : 0);
    /* A head whose connection ends goes out as it is only if that end frames the body. */
    assert_true(reason == HTTP1_OK || reason == HTTP1_CONNECTION);
    assert_int_equal(!!(head.flags & HTTP1_F_CLOSE), msg.close);
    assert_int_equal(reason != HTTP1_OK, msg.close && msg.body != HTTP1_BODY_CLOSE);
}

/* Both parsers on one head that the framer accepts. */
static void _compare(const char *text, size_t len, unsigned kind)
{
    assert_int_equal(head.head_len, len);
    if (kind == HTTP1_REQUEST) {
        _compare_request(text, len);
    } else {
        _compare_response(text, len, true);
        _compare_response(text, len, false);
    }
    assert_int_equal(head.fields, msg.n_fields);
    assert_int_equal(head.content_length, msg.content_length);
}

static void _run_cases(const struct http1_case *cases, size_t n, unsigned kind)
{
    for (size_t i = 0; i < n; i++) {
        const struct http1_case *c = &cases[i];
        int reason = _frame(c->text, c->len, kind);
        if (reason != c->reason)
            fail_msg("rule %d, case %zu: reason %d, not %d: %s", c->rule, i, reason, c->reason, c->text);
        if (reason == HTTP1_OK)
            _compare(c->text, c->len, kind);
    }
}

static void test_requests(void **state)
{
    _run_cases(http1_request_cases, HTTP1_N_REQUEST_CASES, HTTP1_REQUEST);
}

static void test_responses(void **state)
{
    _run_cases(http1_response_cases, HTTP1_N_RESPONSE_CASES, HTTP1_RESPONSE);
}

/* A cut head is MORE until the violation shows, never OK, and never changes its mind. */
static void _cut(const struct http1_case *c, unsigned kind)
{
    int last = HTTP1_MORE;
    for (size_t n = 0; n < c->len; n++) {
        int reason = _frame(c->text, n, kind);
        assert_int_not_equal(reason, HTTP1_OK);
        if (last != HTTP1_MORE)
            assert_int_equal(reason, last);
        else
            assert_true(reason == HTTP1_MORE || reason == c->reason);
        last = reason;
    }
}

static void test_cut_at_every_byte(void **state)
{
    for (size_t i = 0; i < HTTP1_N_REQUEST_CASES; i++)
        _cut(&http1_request_cases[i], HTTP1_REQUEST);
    for (size_t i = 0; i < HTTP1_N_RESPONSE_CASES; i++)
        _cut(&http1_response_cases[i], HTTP1_RESPONSE);
}

static void test_following_bytes_are_not_read(void **state)
{
    static const char two[] = "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_int_equal(_frame(two, sizeof(two) - 1, HTTP1_REQUEST), HTTP1_OK);
    assert_int_equal(head.head_len, (sizeof(two) - 1) / 2);
    assert_int_equal(head.fields, 1);
}

static void test_spans(void **state)
{
    static const char text[] =
        "HEAD /a/b?c?d HTTP/1.1\r\nX: y\r\nHost:  h.example:80 \r\nContent-Length: 12\r\n\r\n";
    assert_int_equal(_frame(text, sizeof(text) - 1, HTTP1_REQUEST), HTTP1_OK);
    assert_memory_equal(text + head.target_off, "/a/b?c?d ", 9);
    assert_int_equal(head.target_len, 8);
    assert_int_equal(head.path_len, 4);
    assert_memory_equal(text + head.host_off, "h.example:", 10);
    assert_int_equal(head.host_len, 9);
    assert_int_equal(head.content_length, 12);
    assert_int_equal(head.flags, HTTP1_F_HEAD | HTTP1_F_SAFE | HTTP1_F_HAS_LENGTH);
}

static void test_status_flags(void **state)
{
    static const char not_modified[] = "HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n";
    static const char until_close[] = "HTTP/1.1 200 x\r\n\r\n";
    assert_int_equal(_frame(not_modified, sizeof(not_modified) - 1, HTTP1_RESPONSE), HTTP1_OK);
    assert_int_equal(head.flags, HTTP1_F_NO_BODY | HTTP1_F_HAS_LENGTH);
    assert_int_equal(_frame(until_close, sizeof(until_close) - 1, HTTP1_RESPONSE), HTTP1_OK);
    assert_int_equal(head.flags, 0);
}

struct body_case {
    const char *text;
    bool to_head;
    int reason;
    unsigned char framing;
    unsigned content_length;
};

static const struct body_case body_cases[] = {
    {"HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\n", false, HTTP1_OK, HTTP1_FRAMED_LENGTH, 5},
    {"HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\n", true, HTTP1_OK, HTTP1_FRAMED_LENGTH, 0},
    {"HTTP/1.1 304 x\r\nContent-Length: 5\r\n\r\n", false, HTTP1_OK, HTTP1_FRAMED_LENGTH, 0},
    {"HTTP/1.1 304 x\r\nTransfer-Encoding: chunked\r\n\r\n", false, HTTP1_OK, HTTP1_FRAMED_LENGTH, 0},
    {"HTTP/1.1 204 x\r\n\r\n", false, HTTP1_OK, HTTP1_FRAMED_LENGTH, 0},
    {"HTTP/1.1 100 x\r\n\r\n", false, HTTP1_OK, HTTP1_FRAMED_LENGTH, 0},
    {"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", false, HTTP1_OK, HTTP1_FRAMED_CHUNKED, 0},
    {"HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", true, HTTP1_OK, HTTP1_FRAMED_LENGTH, 0},
    {"HTTP/1.1 200 x\r\n\r\n", false, HTTP1_OK, HTTP1_FRAMED_CLOSE, 0},
    {"HTTP/1.1 200 x\r\n\r\n", true, HTTP1_OK, HTTP1_FRAMED_LENGTH, 0},
    {"HTTP/1.1 200 x\r\nConnection: close\r\n\r\n", false, HTTP1_OK, HTTP1_FRAMED_CLOSE, 0},
    {"HTTP/1.1 200 x\r\nConnection: close\r\n\r\n", true, HTTP1_CONNECTION, HTTP1_FRAMED_LENGTH, 0},
    {"HTTP/1.1 204 x\r\nConnection: close\r\n\r\n", false, HTTP1_CONNECTION, HTTP1_FRAMED_LENGTH, 0},
    {"HTTP/1.1 200 x\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", false, HTTP1_CONNECTION,
     HTTP1_FRAMED_LENGTH, 5},
    {"HTTP/1.1 200 x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n", false, HTTP1_CONNECTION,
     HTTP1_FRAMED_CHUNKED, 0},
    /* An HTTP/1.0 server keeps the connection only if it says so. */
    {"HTTP/1.0 200 x\r\n\r\n", false, HTTP1_OK, HTTP1_FRAMED_CLOSE, 0},
    {"HTTP/1.0 200 x\r\nContent-Length: 5\r\n\r\n", false, HTTP1_CONNECTION, HTTP1_FRAMED_LENGTH, 5},
    {"HTTP/1.0 200 x\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", false, HTTP1_OK,
     HTTP1_FRAMED_LENGTH, 5},
    {"HTTP/1.0 200 x\r\nConnection: keep-alive, close\r\nContent-Length: 5\r\n\r\n", false, HTTP1_CONNECTION,
     HTTP1_FRAMED_LENGTH, 5},
    {"HTTP/1.0 304 x\r\n\r\n", false, HTTP1_CONNECTION, HTTP1_FRAMED_LENGTH, 0},
};

static void test_response_body(void **state)
{
    for (size_t i = 0; i < sizeof(body_cases) / sizeof(*body_cases); i++) {
        const struct body_case *c = &body_cases[i];
        unsigned char framing = 0xff;
        assert_int_equal(_frame(c->text, strlen(c->text), HTTP1_RESPONSE), HTTP1_OK);
        _compare(c->text, strlen(c->text), HTTP1_RESPONSE);
        int reason = http1_response_body(&head, c->to_head, &framing);
        if (reason != c->reason || framing != c->framing || head.content_length != c->content_length)
            fail_msg("case %zu: reason %d, framing %d, length %llu: %s", i, reason, framing,
                     head.content_length, c->text);
    }
}

/* Blanks what the framer says and compares with what should be left. */
static void _blank(const char *text, unsigned kind, const char *expected)
{
    char buf[512];
    size_t len = strlen(text);
    assert_int_equal(_frame(text, len, kind), HTTP1_OK);
    memcpy(buf, text, len + 1);
    http1_blank(buf, &head);
    assert_string_equal(buf, expected);
}

static void test_blank_spans(void **state)
{
#define Q "GET / HTTP/1.1\r\nHost: h"
    _blank(Q "\r\nA: b\r\n\r\n", HTTP1_REQUEST, Q "\r\nA: b\r\n\r\n");
    assert_int_equal(head.blank_len, 0);
    _blank(Q "\r\nkeep-alive:\r\nA: b\r\n\r\n", HTTP1_REQUEST, Q "\r\nA:              b\r\n\r\n");
    _blank(Q "\r\nKeep-Alive: 5\r\nA:\r\n\r\n", HTTP1_REQUEST, Q "\r\nA:               \r\n\r\n");
#undef Q
    _blank("GET / HTTP/1.1\r\nKeep-Alive: 5\r\nHost: h\r\n\r\n", HTTP1_REQUEST,
           "GET / HTTP/1.1\r\nHost:                h\r\n\r\n");
    _blank("HTTP/1.1 200 OK\r\nKeep-Alive: 5\r\nA: b\r\nB: c\r\n\r\n", HTTP1_RESPONSE,
           "HTTP/1.1 200 OK\r\nA:                b\r\nB: c\r\n\r\n");
    _blank("HTTP/1.1 304 \r\nConnection: keep-alive\r\nKeep-Alive: 5\r\n\r\n", HTTP1_RESPONSE,
           "HTTP/1.1 304 \r\nConnection: keep-alive               \r\n\r\n");
}

/* A request of exactly `total` bytes. */
static size_t _padded(char *buf, size_t total)
{
    size_t n = (size_t)sprintf(buf, "GET / HTTP/1.1\r\nHost: h\r\nA: ");
    memset(buf + n, 'x', total - n - 4);
    memcpy(buf + total - 4, "\r\n\r\n", 4);
    return total;
}

static void test_window(void **state)
{
    static char buf[HTTP1_WINDOW + 64];
    size_t len = _padded(buf, HTTP1_WINDOW);
    assert_int_equal(_frame(buf, len, HTTP1_REQUEST), HTTP1_OK);
    _compare(buf, len, HTTP1_REQUEST);
    assert_int_equal(_frame(buf, len - 1, HTTP1_REQUEST), HTTP1_MORE);
    len = _padded(buf, HTTP1_WINDOW + 1);
    assert_int_equal(_frame(buf, len - 2, HTTP1_REQUEST), HTTP1_MORE + (len - 2 >= HTTP1_WINDOW));
    assert_int_equal(_frame(buf, HTTP1_WINDOW, HTTP1_REQUEST), HTTP1_TOO_LONG);
    assert_int_equal(_frame(buf, len, HTTP1_REQUEST), HTTP1_TOO_LONG);
}

/* Repeats a field line until the window is nearly full: counters must not wrap into another's. */
static int _flood(const char *line)
{
    static char buf[HTTP1_WINDOW];
    size_t n = (size_t)sprintf(buf, "GET / HTTP/1.1\r\nHost: h\r\n");
    while (n + strlen(line) + 2 <= sizeof(buf))
        n += (size_t)sprintf(buf + n, "%s", line);
    memcpy(buf + n, "\r\n", 2);
    return _frame(buf, n + 2, HTTP1_REQUEST);
}

static void test_counters_do_not_overflow(void **state)
{
    assert_int_equal(_flood("a:\r\n"), HTTP1_FIELD_COUNT);
    assert_int_equal(_flood("host:a\r\n"), HTTP1_FIELD_COUNT);
    assert_int_equal(_flood("content-length:1\r\n"), HTTP1_CONTENT_LENGTH);
    assert_int_equal(_flood("connection:keep-alive\r\n"), HTTP1_CONNECTION);
    assert_int_equal(_flood("transfer-encoding:chunked\r\n"), HTTP1_TRANSFER_ENCODING);
    assert_int_equal(_flood("keep-alive:\r\n"), HTTP1_HOP_FIELD);
    assert_int_equal(_flood("expect:100-continue\r\n"), HTTP1_EXPECT);
}

/* As many Connection options as the userspace parser takes, on one line or several. */
static void test_option_limit(void **state)
{
    char buf[HTTP1_WINDOW];
    for (int extra = 0; extra < 2; extra++) {
        size_t n = (size_t)sprintf(buf, "GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive");
        for (int i = 1; i < HTTP1_FRAMER_OPTIONS + extra; i++)
            n += (size_t)sprintf(buf + n, i % 3 ? ",keep-alive" : "\r\nConnection: keep-alive");
        n += (size_t)sprintf(buf + n, "\r\n\r\n");
        assert_int_equal(_frame(buf, n, HTTP1_REQUEST), extra ? HTTP1_CONNECTION : HTTP1_OK);
        if (!extra)
            _compare(buf, n, HTTP1_REQUEST);
    }
}

/* A full window of options in one list: its counter must not wrap into another's. */
static void test_option_counters(void **state)
{
    static const char *const options[] = {"close", "keep-alive"};
    char buf[HTTP1_WINDOW];
    for (size_t k = 0; k < 2; k++) {
        size_t n = (size_t)sprintf(buf, "HTTP/1.1 200 x\r\nConnection:%s", options[k]);
        while (n + 16 < sizeof(buf))
            n += (size_t)sprintf(buf + n, ",%s", options[k]);
        n += (size_t)sprintf(buf + n, "\r\n\r\n");
        assert_int_equal(_frame(buf, n, HTTP1_RESPONSE), HTTP1_CONNECTION);
    }
}

static void test_field_limit(void **state)
{
    char buf[HTTP1_WINDOW];
    for (int extra = 0; extra < 2; extra++) {
        size_t n = (size_t)sprintf(buf, "GET / HTTP/1.1\r\nHost: h\r\n");
        for (int i = 1; i < HTTP1_FRAMER_FIELDS + extra; i++)
            n += (size_t)sprintf(buf + n, "a:b\r\n");
        n += (size_t)sprintf(buf + n, "\r\n");
        assert_int_equal(_frame(buf, n, HTTP1_REQUEST), extra ? HTTP1_FIELD_COUNT : HTTP1_OK);
    }
}

static void test_null_is_refused(void **state)
{
    assert_int_equal(http1_frame(NULL, 1, HTTP1_REQUEST, &scan, &head), HTTP1_SYNTAX);
    assert_int_equal(http1_frame(&window, 1, HTTP1_REQUEST, NULL, &head), HTTP1_SYNTAX);
    assert_int_equal(http1_scan_head(&window, 1, HTTP1_REQUEST, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_following_bytes_are_not_read),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_status_flags),
        cmocka_unit_test(test_response_body),
        cmocka_unit_test(test_blank_spans),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_counters_do_not_overflow),
        cmocka_unit_test(test_option_limit),
        cmocka_unit_test(test_option_counters),
        cmocka_unit_test(test_field_limit),
        cmocka_unit_test(test_null_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
