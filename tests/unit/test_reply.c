/*
 * Answers of skein's own, as bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "proxy/date.h"
#include "proxy/http.h"
#include "proxy/worker.h"

#define DATE "Date: now\r\n"

static struct worker _worker;
static struct downstream _downstream = {.c = {.worker = &_worker, .listener_id = 3}};
static char _out[8192];
static size_t _len;

const char *date_now(void)
{
    return "now";
}

void conn_put(struct conn *c, const void *data, size_t len)
{
    assert_ptr_equal(c, &_downstream.c);
    assert_true(_len + len < sizeof(_out));
    memcpy(_out + _len, data, len);
    _len += len;
    _out[_len] = 0;
}

static const char *_reply(unsigned status, const char *body, bool close, bool to_head)
{
    _len = 0;
    _out[0] = 0;
    reply(&_downstream, status, body, close, to_head);
    return _out;
}

static void test_error(void **state)
{
    assert_string_equal(_reply(404, NULL, false, false),
                        "HTTP/1.1 404 Not Found\r\n" DATE "Content-Type: text/plain\r\n"
                        "Content-Length: 14\r\n\r\n404 Not Found\n");
    assert_string_equal(_reply(502, NULL, true, false), "HTTP/1.1 502 Bad Gateway\r\n" DATE
                                                        "Content-Type: text/plain\r\nContent-Length: 16\r\n"
                                                        "Connection: close\r\n\r\n502 Bad Gateway\n");
}

static void test_body(void **state)
{
    char body[3000], expected[4000];
    memset(body, 'x', sizeof(body));
    body[sizeof(body) - 1] = 0;
    snprintf(expected, sizeof(expected),
             "HTTP/1.1 200 OK\r\n" DATE "Content-Type: text/plain\r\nContent-Length: 2999\r\n\r\n%s", body);
    assert_string_equal(_reply(200, body, false, false), expected);
    assert_string_equal(_reply(200, "", false, false),
                        "HTTP/1.1 200 OK\r\n" DATE "Content-Type: text/plain\r\nContent-Length: 0\r\n\r\n");
}

/* A HEAD request is told the length of what it does not get: RFC 9110 9.3.2. */
static void test_to_head(void **state)
{
    assert_string_equal(_reply(200, "abc", false, true),
                        "HTTP/1.1 200 OK\r\n" DATE "Content-Type: text/plain\r\nContent-Length: 3\r\n\r\n");
}

/* RFC 9110 8.6, 15.4.5. */
static void test_without_content(void **state)
{
    assert_string_equal(_reply(204, "", false, false), "HTTP/1.1 204 No Content\r\n" DATE "\r\n");
    assert_string_equal(_reply(304, "", true, false),
                        "HTTP/1.1 304 Not Modified\r\n" DATE "Connection: close\r\n\r\n");
    assert_string_equal(_reply(204, "not sent", false, true), "HTTP/1.1 204 No Content\r\n" DATE "\r\n");
}

static void test_reasons(void **state)
{
    /* Every status that skein answers with by itself has a phrase. */
    static const unsigned own[] = {400, 404, 408, 413, 414, 417, 431, 501, 502, 503, 504};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        assert_int_not_equal(strlen(reply_reason(own[i])), 0);
    assert_string_equal(reply_reason(200), "OK");
    assert_string_equal(reply_reason(599), "");
    assert_string_equal(reply_reason(0), "");
    assert_string_equal(_reply(599, "x", false, false),
                        "HTTP/1.1 599 \r\n" DATE "Content-Type: text/plain\r\nContent-Length: 1\r\n\r\nx");
}

static const char *_trace(const char *head, bool close)
{
    static const struct http1_limits limits = {8192, 100, 4096};
    static struct http1_message msg;
    assert_int_equal(http1_parse_request(head, strlen(head), &limits, &msg), 0);
    _len = 0;
    reply_trace(&_downstream, head, &msg, close);
    return _out;
}

/* RFC 9110 9.3.8: the request comes back, secrets do not. */
static void test_trace(void **state)
{
    assert_string_equal(_trace("TRACE /x HTTP/1.1\r\nHost: h\r\nX:  y\r\n\r\n", false),
                        "HTTP/1.1 200 OK\r\n" DATE "Content-Type: message/http\r\nContent-Length: 37\r\n\r\n"
                        "TRACE /x HTTP/1.1\r\nHost: h\r\nX:  y\r\n\r\n");
    assert_string_equal(
        _trace("TRACE / HTTP/1.1\r\nCookie: a=b\r\nHost: h\r\nauthorization: x\r\nCOOKIE:\r\n\r\n", true),
        "HTTP/1.1 200 OK\r\n" DATE
        "Content-Type: message/http\r\nContent-Length: 29\r\nConnection: close\r\n\r\n"
        "TRACE / HTTP/1.1\r\nHost: h\r\n\r\n");
}

static void test_counted(void **state)
{
    uint64_t before = stat_get(&_worker.stats.listeners[3].responses);
    _reply(200, "x", false, false);
    _reply(500, NULL, true, true);
    assert_int_equal(stat_get(&_worker.stats.listeners[3].responses), before + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_error),   cmocka_unit_test(test_body),
        cmocka_unit_test(test_to_head), cmocka_unit_test(test_without_content),
        cmocka_unit_test(test_reasons), cmocka_unit_test(test_counted),
        cmocka_unit_test(test_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
