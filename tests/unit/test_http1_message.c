/*
 * The userspace parser against the case table, and what it tells about accepted heads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http1_cases.h"

static const struct http1_limits limits = {8192, 100, 4096};
static struct http1_message msg;

static int _request(const char *text)
{
    return http1_parse_request(text, strlen(text), &limits, &msg);
}

static int _response(const char *text, bool to_head)
{
    return http1_parse_response(text, strlen(text), &limits, to_head, &msg);
}

static void _assert_span(const char *text, struct http1_span s, const char *expected)
{
    assert_int_equal(s.len, strlen(expected));
    assert_memory_equal(text + s.off, expected, s.len);
}

static const struct http1_field *_field(const char *text, const char *name)
{
    for (uint32_t i = 0; i < msg.n_fields; i++) {
        const struct http1_field *f = &msg.fields[i];
        if (f->name.len == strlen(name) && memcmp(text + f->name.off, name, f->name.len) == 0)
            return f;
    }
    fail_msg("no field %s", name);
    return NULL;
}

static void test_requests(void **state)
{
    for (size_t i = 0; i < HTTP1_N_REQUEST_CASES; i++) {
        const struct http1_case *c = &http1_request_cases[i];
        int status = http1_parse_request(c->text, c->len, &limits, &msg);
        if (status != c->status)
            fail_msg("rule %d, case %zu: %d (%s), not %d: %s", c->rule, i, status, http1_error(), c->status,
                     c->text);
        assert_int_equal(status == 0, http1_error()[0] == '\0');
    }
}

static void test_responses(void **state)
{
    for (size_t i = 0; i < HTTP1_N_RESPONSE_CASES; i++) {
        const struct http1_case *c = &http1_response_cases[i];
        int status = http1_parse_response(c->text, c->len, &limits, false, &msg);
        if (status != c->status)
            fail_msg("rule %d, case %zu: %d (%s), not %d: %s", c->rule, i, status, http1_error(), c->status,
                     c->text);
    }
}

/* No proper prefix of a head is a head, and the search may be resumed anywhere. */
static void _cut(const struct http1_case *c, bool request)
{
    size_t end = http1_head_end(c->text, c->len, 0);
    assert_true(end > 0 && end <= c->len);
    for (size_t n = 0; n < c->len; n++) {
        if (n < end)
            assert_int_equal(http1_head_end(c->text, n, 0), 0);
        if (n < end)
            assert_int_equal(http1_head_end(c->text, c->len, n), end);
        int status = request ? http1_parse_request(c->text, n, &limits, &msg)
                             : http1_parse_response(c->text, n, &limits, false, &msg);
        assert_int_not_equal(status, 0);
        if (request && c->status == 0)
            assert_int_equal(http1_request_partial(c->text, n, &limits), 0);
    }
}

static void test_cut_at_every_byte(void **state)
{
    for (size_t i = 0; i < HTTP1_N_REQUEST_CASES; i++)
        _cut(&http1_request_cases[i], true);
    for (size_t i = 0; i < HTTP1_N_RESPONSE_CASES; i++)
        _cut(&http1_response_cases[i], false);
}

static void test_head_end(void **state)
{
    assert_int_equal(http1_head_end("a\r\n\r\nb", 6, 0), 5);
    assert_int_equal(http1_head_end("a\n\nb", 4, 0), 3);
    assert_int_equal(http1_head_end("a\n\r\nb", 5, 0), 4);
    assert_int_equal(http1_head_end("a\r\n\nb", 5, 0), 4);
    assert_int_equal(http1_head_end("a\r\nb\r\r\n", 7, 0), 0);
    assert_int_equal(http1_head_end("", 0, 0), 0);
}

static void test_rule_3_empty_lines(void **state)
{
    assert_int_equal(http1_skip_empty_lines("\r\n\r\nGET", 7), 4);
    assert_int_equal(http1_skip_empty_lines("\r", 1), 0);
    assert_int_equal(http1_skip_empty_lines("\nGET", 4), 0);
    assert_int_equal(http1_skip_empty_lines("\r\n\r\n\r\n\r\n\r\n\r\n", 12), 8);
    assert_int_equal(http1_request_partial("\r", 1, &limits), 0);
    assert_int_equal(http1_request_partial("\r\n", 2, &limits), 400);
}

static void test_partial(void **state)
{
    static char big[10000];
    assert_int_equal(http1_request_partial("\x16\x03\x01", 3, &limits), 400);
    assert_int_equal(http1_request_partial("\n", 1, &limits), 400);
    assert_int_equal(http1_request_partial("GET\r", 4, &limits), 400);
    assert_int_equal(http1_request_partial(" ", 1, &limits), 400);
    assert_int_equal(http1_request_partial("PRI * HTTP/2", 12, &limits), 400);
    assert_int_equal(http1_request_partial("PRI * HTTP", 10, &limits), 0);
    memset(big, 'A', sizeof(big));
    assert_int_equal(http1_request_partial(big, HTTP1_METHOD_MAX, &limits), 0);
    assert_int_equal(http1_request_partial(big, HTTP1_METHOD_MAX + 1, &limits), 501);
    memcpy(big, "GET /", 5);
    assert_int_equal(http1_request_partial(big, 4 + 4096, &limits), 0);
    assert_int_equal(http1_request_partial(big, 4 + 4097, &limits), 414);
    memcpy(big, "GET / HTTP/1.1\r\nA: ", 19);
    assert_int_equal(http1_request_partial(big, 8192, &limits), 0);
    assert_int_equal(http1_request_partial(big, 8193, &limits), 431);
}

static size_t _with_target(char *buf, size_t target)
{
    memcpy(buf, "GET /", 5);
    memset(buf + 5, 'a', target - 1);
    return 4 + target + (size_t)sprintf(buf + 4 + target, " HTTP/1.1\r\nHost: h\r\n\r\n");
}

static void test_rule_14_target_limit(void **state)
{
    static char buf[20000];
    size_t len = _with_target(buf, 4096);
    assert_int_equal(http1_parse_request(buf, len, &limits, &msg), 0);
    len = _with_target(buf, 4097);
    assert_int_equal(http1_parse_request(buf, len, &limits, &msg), 414);
    len = _with_target(buf, 9000);
    assert_int_equal(http1_parse_request(buf, len, &limits, &msg), 414);
    struct http1_limits rfc = {16384, 100, 8000}; /* RFC 9112 section 3 */
    len = _with_target(buf, 8000);
    assert_int_equal(http1_parse_request(buf, len, &rfc, &msg), 0);
}

static void test_rule_20_field_limits(void **state)
{
    static char buf[20000];
    for (int n = 99; n <= 101; n++) {
        size_t len = (size_t)sprintf(buf, "GET / HTTP/1.1\r\nHost: h\r\n");
        for (int i = 1; i < n; i++)
            len += (size_t)sprintf(buf + len, "a: b\r\n");
        len += (size_t)sprintf(buf + len, "\r\n");
        assert_int_equal(http1_parse_request(buf, len, &limits, &msg), n > 100 ? 431 : 0);
    }
    for (size_t total = 8191; total <= 8193; total++) {
        size_t n = (size_t)sprintf(buf, "GET / HTTP/1.1\r\nHost: h\r\nA: ");
        memset(buf + n, 'x', total - n - 4);
        memcpy(buf + total - 4, "\r\n\r\n", 4);
        assert_int_equal(http1_parse_request(buf, total, &limits, &msg), total > 8192 ? 431 : 0);
    }
}

static void test_spans(void **state)
{
    const char *text = "PUT /a?b HTTP/1.1\r\nhost: h:80\r\nA:  b c \r\nE:\r\nContent-Length: 5\r\n\r\n";
    assert_int_equal(_request(text), 0);
    _assert_span(text, msg.method, "PUT");
    _assert_span(text, msg.target, "/a?b");
    _assert_span(text, msg.path, "/a?b");
    assert_int_equal(msg.path_len, 2);
    _assert_span(text, msg.host, "h");
    _assert_span(text, msg.authority, "h:80");
    _assert_span(text, _field(text, "A")->value, "b c");
    _assert_span(text, _field(text, "E")->value, "");
    assert_int_equal(msg.n_fields, 4);
    assert_int_equal(msg.body, HTTP1_BODY_LENGTH);
    assert_int_equal(msg.content_length, 5);
    assert_true(msg.idempotent);
    assert_int_equal(msg.head_len, strlen(text));
}

static void test_target_forms(void **state)
{
    const char *text = "GET http://H:80/a?b HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_int_equal(_request(text), 0);
    assert_int_equal(msg.form, HTTP1_TARGET_ABSOLUTE);
    _assert_span(text, msg.path, "/a?b");
    _assert_span(text, msg.host, "H");
    text = "GET http://h?b HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_int_equal(_request(text), 0);
    _assert_span(text, msg.path, "?b");
    assert_int_equal(msg.path_len, 0);
    text = "GET http://h HTTP/1.0\r\n\r\n";
    assert_int_equal(_request(text), 0);
    assert_int_equal(msg.path.len, 0);
    assert_true(msg.close);
    text = "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_int_equal(_request(text), 0);
    assert_int_equal(msg.form, HTTP1_TARGET_ASTERISK);
}

static void test_request_flags(void **state)
{
    assert_int_equal(_request("HEAD / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), 0);
    assert_true(msg.is_head && msg.close && msg.idempotent);
    assert_int_equal(_request("POST / HTTP/1.1\r\nHost: h\r\nTE: deflate, trailers\r\nConnection: TE\r\n"
                              "Expect: 100-continue\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
                     0);
    assert_true(msg.te_trailers && msg.expect_100 && !msg.close && !msg.idempotent);
    assert_int_equal(msg.body, HTTP1_BODY_CHUNKED);
    assert_int_equal(_request("POST / HTTP/1.0\r\nTE: trailers\r\nExpect: 100-continue\r\n\r\n"), 0);
    assert_true(!msg.te_trailers && !msg.expect_100 && msg.close);
    assert_int_equal(msg.body, HTTP1_BODY_NONE);
}

static void test_max_forwards(void **state)
{
    assert_int_equal(_request("TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n"), 0);
    assert_true(msg.is_trace && msg.limited && msg.max_forwards == 0);
    assert_int_equal(_request("OPTIONS * HTTP/1.1\r\nHost: h\r\nMax-Forwards: 12\r\n\r\n"), 0);
    assert_true(!msg.is_trace && msg.limited && msg.max_forwards == 12);
    assert_int_equal(_request("GET / HTTP/1.1\r\nHost: h\r\nMax-Forwards: x\r\n\r\n"), 0);
    assert_false(msg.limited);
    assert_int_equal(_request("TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: -1\r\n\r\n"), 400);
    assert_int_equal(_request("TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards:\r\n\r\n"), 400);
    assert_int_equal(_request("OPTIONS / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 1\r\nMax-Forwards: 1\r\n\r\n"),
                     400);
}

static void test_connection_auth(void **state)
{
    static const char *const yes[] = {"NTLM", "ntlm TlRMTVNTUAAB", "Negotiate", "nEGOTIATE YII="};
    static const char *const no[] = {"Basic eA==", "Bearer ntlm", "NTLMx y", "", "Digest a=b"};
    char text[128];
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\n\r\n", yes[i]);
        assert_int_equal(_request(text), 0);
        assert_true(msg.connection_auth);
        snprintf(text, sizeof(text), "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"r\", %s\r\n\r\n",
                 yes[i]);
        assert_int_equal(_response(text, false), 0);
        assert_true(msg.connection_auth);
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\n\r\n", no[i]);
        assert_int_equal(_request(text), 0);
        assert_false(msg.connection_auth);
    }
}

static void test_upgrade(void **state)
{
    assert_int_equal(
        _request("GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), 0);
    assert_true(msg.upgrade);
    assert_int_equal(_request("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n"), 0);
    assert_false(msg.upgrade);
    assert_int_equal(_request("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x, H2C\r\n\r\n"),
                     0);
    assert_false(msg.upgrade);
    assert_int_equal(_request("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"), 0);
    assert_false(msg.upgrade);
}

static void test_rules_38_39_hop_by_hop(void **state)
{
    const char *text =
        "GET / HTTP/1.1\r\nHost: h\r\nX-Foo: a\r\nContent-Length: 0\r\nX-Forwarded-For: b\r\n"
        "Connection: x-foo, Host,, content-length\r\nConnection: X-FORWARDED-FOR, absent\r\n"
        "Keep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: y\r\nTE: z\r\nX-Bar: c\r\n"
        "X-Foo: d\r\n\r\n";
    static const char *const end_to_end[] = {"Host", "Content-Length", "X-Forwarded-For", "X-Bar"};
    static const char *const hop[] = {
        "X-Foo", "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authorization", "TE"};
    assert_int_equal(_request(text), 0);
    for (size_t i = 0; i < sizeof(end_to_end) / sizeof(*end_to_end); i++)
        assert_false(_field(text, end_to_end[i])->hop_by_hop);
    for (size_t i = 0; i < sizeof(hop) / sizeof(*hop); i++)
        assert_true(_field(text, hop[i])->hop_by_hop);
    assert_true(msg.fields[msg.n_fields - 1].hop_by_hop);
}

static void test_connection_options_are_bounded(void **state)
{
    char buf[512];
    size_t n = (size_t)sprintf(buf, "GET / HTTP/1.1\r\nHost: h\r\nConnection: a");
    for (int i = 0; i < 32; i++)
        n += (size_t)sprintf(buf + n, ",a");
    sprintf(buf + n, "\r\n\r\n");
    assert_int_equal(_request(buf), 400);
}

static void test_rules_49_50_52_bodies(void **state)
{
    assert_int_equal(_response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true), 0);
    assert_int_equal(msg.body, HTTP1_BODY_NONE);
    assert_false(msg.fields[0].hop_by_hop);
    assert_int_equal(_response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true), 0);
    assert_int_equal(msg.body, HTTP1_BODY_NONE);
    assert_int_equal(_response("HTTP/1.1 304 OK\r\nContent-Length: 5\r\n\r\n", false), 0);
    assert_int_equal(msg.body, HTTP1_BODY_NONE);
    assert_int_equal(_response("HTTP/1.1 204 OK\r\nContent-Length: 5\r\n\r\n", false), 0);
    assert_int_equal(msg.body, HTTP1_BODY_NONE);
    assert_true(msg.fields[0].hop_by_hop);
    assert_int_equal(_response("HTTP/1.1 200 OK\r\n\r\n", false), 0);
    assert_int_equal(msg.body, HTTP1_BODY_CLOSE);
    assert_int_equal(
        _response("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n", false), 0);
    assert_int_equal(msg.body, HTTP1_BODY_LENGTH);
}

/* RFC 9112 section 9.3: an HTTP/1.0 server's connection lasts if it says so, a client's does not with us. */
static void test_persistence(void **state)
{
    static const struct {
        const char *fields;
        bool close_10, close_11;
    } cases[] = {
        {"", true, false},
        {"Connection: keep-alive\r\n", false, false},
        {"Connection: x, Keep-Alive\r\n", false, false},
        {"Connection: close\r\n", true, true},
        {"Connection: keep-alive, close\r\n", true, true},
        {"Connection: close\r\nConnection: keep-alive\r\n", true, true},
        {"Keep-Alive: timeout=5\r\n", true, false},
    };
    char text[256];
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        snprintf(text, sizeof(text), "HTTP/1.0 200 OK\r\n%s\r\n", cases[i].fields);
        assert_int_equal(_response(text, false), 0);
        assert_int_equal(msg.close, cases[i].close_10);
        snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n%s\r\n", cases[i].fields);
        assert_int_equal(_response(text, false), 0);
        assert_int_equal(msg.close, cases[i].close_11);
        snprintf(text, sizeof(text), "GET / HTTP/1.0\r\nHost: h\r\n%s\r\n", cases[i].fields);
        assert_int_equal(http1_parse_request(text, strlen(text), &limits, &msg), 0);
        assert_true(msg.close);
    }
}

static void test_response_space_before_colon(void **state)
{
    const char *text = "HTTP/1.1 200 OK\r\nContent-Length \t: 5\r\n\r\n";
    assert_int_equal(_response(text, false), 0);
    _assert_span(text, msg.fields[0].name, "Content-Length");
    assert_int_equal(msg.content_length, 5);
}

static void test_trailers(void **state)
{
    struct http1_field fields[4];
    const char *text = "A: b\r\nDigest:c \r\n";
    assert_int_equal(http1_parse_trailers(text, strlen(text), fields, 4), 2);
    _assert_span(text, fields[1].name, "Digest");
    _assert_span(text, fields[1].value, "c");
    assert_int_equal(http1_parse_trailers(text, strlen(text), fields, 1), -1);
    assert_int_equal(http1_parse_trailers(text, strlen(text) - 1, fields, 4), -1);
    assert_int_equal(http1_parse_trailers(" A: b\r\n", 7, fields, 4), -1);
    assert_int_equal(http1_parse_trailers("", 0, fields, 4), 0);
}

static void test_rule_36_trailer_names(void **state)
{
    static const char *const refused[] = {
        "Content-Length", "transfer-encoding", "HOST", "Authorization",   "Set-Cookie",   "Proxy-Foo",
        "If-Match",       "Trailer",           "TE",   "X-Forwarded-For", "Content-Type", "x_y",
        "Connection"};
    static const char *const allowed[] = {"Digest", "X-Checksum", "Server-Timing", "grpc-status", "ETag"};
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++)
        assert_false(http1_trailer_allowed(refused[i], strlen(refused[i])));
    for (size_t i = 0; i < sizeof(allowed) / sizeof(*allowed); i++)
        assert_true(http1_trailer_allowed(allowed[i], strlen(allowed[i])));
    assert_false(http1_trailer_allowed("", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_head_end),
        cmocka_unit_test(test_rule_3_empty_lines),
        cmocka_unit_test(test_partial),
        cmocka_unit_test(test_rule_14_target_limit),
        cmocka_unit_test(test_rule_20_field_limits),
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_target_forms),
        cmocka_unit_test(test_request_flags),
        cmocka_unit_test(test_max_forwards),
        cmocka_unit_test(test_connection_auth),
        cmocka_unit_test(test_upgrade),
        cmocka_unit_test(test_rules_38_39_hop_by_hop),
        cmocka_unit_test(test_connection_options_are_bounded),
        cmocka_unit_test(test_rules_49_50_52_bodies),
        cmocka_unit_test(test_persistence),
        cmocka_unit_test(test_response_space_before_colon),
        cmocka_unit_test(test_trailers),
        cmocka_unit_test(test_rule_36_trailer_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
