/*
 * Heads as they are forwarded: what is left out, what is added, and where the space ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/date.h"
#include "proxy/http.h"

#define ENDPOINT "10.0.0.1:80"
#define DATE     "Fri, 02 Jan 1970 00:00:00 GMT"

const char *date_now(void)
{
    return DATE;
}

static const struct http1_limits limits = {8192, 100, 4096};
static struct http1_message msg;

/* The result must be the same for every capacity that suffices, and 0 for all others. The
 * buffer is as large as the capacity, so that the sanitizer sees a byte too many. */
#define CHECK_CAPS(expected, call)                                                                           \
    do {                                                                                                     \
        size_t need = strlen(expected);                                                                      \
        for (size_t cap = 0; cap <= need + 2; cap++) {                                                       \
            char *out = malloc(cap ? cap : 1);                                                               \
            assert_non_null(out);                                                                            \
            size_t n = call;                                                                                 \
            assert_int_equal(n, cap < need ? 0 : need);                                                      \
            if (n)                                                                                           \
                assert_memory_equal(out, expected, need);                                                    \
            free(out);                                                                                       \
        }                                                                                                    \
    } while (0)

static void _request(const char *in, const char *expected)
{
    int status = http1_parse_request(in, strlen(in), &limits, &msg);
    if (status)
        fail_msg("%d (%s): %s", status, http1_error(), in);
    char first[1024];
    size_t len = head_request(first, sizeof(first) - 1, in, &msg, ENDPOINT);
    first[len] = 0;
    assert_string_equal(first, expected);
    CHECK_CAPS(expected, head_request(out, cap, in, &msg, ENDPOINT));
}

/* `expected` is without the Date that is added to every final response. */
static void _response(const char *in, bool close, int framing, const char *expected)
{
    static const char date[] = "Date: " DATE "\r\n";
    int status = http1_parse_response(in, strlen(in), &limits, false, &msg);
    if (status)
        fail_msg("%d (%s): %s", status, http1_error(), in);
    char first[1024], bare[1024];
    size_t len = head_response(first, sizeof(first) - 1, in, &msg, close, framing);
    first[len] = 0;
    strcpy(bare, first);
    char *at = strstr(bare, date);
    assert_int_equal(at != NULL, msg.status >= 200);
    if (at)
        memmove(at, at + strlen(date), strlen(at + strlen(date)) + 1);
    assert_string_equal(bare, expected);
    CHECK_CAPS(first, head_response(out, cap, in, &msg, close, framing));
}

static void test_request_goes_as_it_is(void **state)
{
    _request("GET /a?b=c HTTP/1.1\r\nHost: h:8080\r\nX-a:  b  c \r\nx-A: d\r\nEmpty:\r\n\r\n",
             "GET /a?b=c HTTP/1.1\r\nHost: h:8080\r\nX-a: b  c\r\nx-A: d\r\nEmpty: \r\n\r\n");
    _request("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
             "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    _request("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-sum\r\n\r\n",
             "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    _request("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
}

/* RFC 9110 7.6.1 and 11.7. */
static void test_request_hop_by_hop(void **state)
{
    _request("GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\n"
             "Proxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTE: trailers\r\n"
             "HTTP2-Settings: x\r\nX-end: to-end\r\n\r\n",
             "GET / HTTP/1.1\r\nHost: h\r\nX-end: to-end\r\n\r\n");
    _request("GET / HTTP/1.1\r\nX-One: 1\r\nHost: h\r\nConnection: x-one, close ,X-THREE\r\nX-Two: 2\r\n"
             "x-three: 3\r\nX-One: again\r\nX-On: kept\r\n\r\n",
             "GET / HTTP/1.1\r\nHost: h\r\nX-Two: 2\r\nX-On: kept\r\n\r\n");
    /* Naming Host does not make the proxy forget where the request goes. */
    _request("GET / HTTP/1.1\r\nHost: h\r\nConnection: host, content-length\r\nContent-Length: 0\r\n\r\n",
             "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
}

/* RFC 9110 10.1.4: the proxy says for itself that it takes trailers. */
static void test_request_te(void **state)
{
    _request("GET / HTTP/1.1\r\nHost: h\r\nTE: trailers, deflate;q=0.5\r\nConnection: TE\r\n\r\n",
             "GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE\r\n\r\n");
    _request("GET / HTTP/1.1\r\nHost: h\r\nTE: deflate\r\nConnection: TE\r\n\r\n",
             "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    _request("GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
}

static void test_request_host_is_added(void **state)
{
    _request("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nHost: " ENDPOINT "\r\n\r\n");
    _request("GET / HTTP/1.0\r\nHost: h\r\nA: b\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\nA: b\r\n\r\n");
    _request("GET http://h:81/x HTTP/1.0\r\nA: b\r\n\r\n", "GET /x HTTP/1.1\r\nA: b\r\nHost: h:81\r\n\r\n");
}

/* RFC 9110 10.1.1. */
static void test_request_expect_of_old_clients(void **state)
{
    _request("POST / HTTP/1.0\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
             "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n");
}

/* RFC 9112 3.2.2. */
static void test_request_absolute_form(void **state)
{
    _request("OPTIONS http://h HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    _request("GET http://h/a?b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a?b HTTP/1.1\r\nHost: h\r\n\r\n");
    _request("GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    _request("GET http://h?b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /?b HTTP/1.1\r\nHost: h\r\n\r\n");
    _request("GET https://h:8/ HTTP/1.1\r\nHost: h:8\r\n\r\n", "GET / HTTP/1.1\r\nHost: h:8\r\n\r\n");
}

static void test_request_upgrade(void **state)
{
    _request("GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
             "Sec-WebSocket-Key: k\r\n\r\n",
             "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nConnection: "
             "upgrade\r\n\r\n");
    /* Not asked for by Connection, or in HTTP/1.0, or to h2c: no upgrade. */
    _request("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    _request("GET / HTTP/1.0\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
             "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    _request("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\n"
             "HTTP2-Settings: x\r\n\r\n",
             "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
}

static void test_response_goes_as_it_is(void **state)
{
    _response("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nA:  b \r\n\r\n", false, 0,
              "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nA: b\r\n\r\n");
    _response("HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n", false, 0,
              "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n");
    _response("HTTP/1.0 200 Fine by me\r\nContent-Length: 0\r\n\r\n", false, 0,
              "HTTP/1.1 200 Fine by me\r\nContent-Length: 0\r\n\r\n");
    _response("HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", false, 0,
              "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n");
}

static void test_response_hop_by_hop(void **state)
{
    _response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive, x-hop\r\nKeep-Alive: max=3\r\n"
              "X-Hop: 1\r\nProxy-Authenticate: Basic\r\nUpgrade: h2\r\nB: c\r\n\r\n",
              false, 0, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nB: c\r\n\r\n");
}

static void test_response_close(void **state)
{
    _response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, 0,
              "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    _response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false, 0,
              "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

static void test_response_framing(void **state)
{
    static const char chunked[] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n";
    static const char until_close[] = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    _response(chunked, false, 0, chunked);
    _response(chunked, true, -1, "HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\n\r\n");
    _response(until_close, false, 1, "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n");
    _response(until_close, true, 1,
              "HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    _response(until_close, true, -1, "HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\n\r\n");
}

/* RFC 9110 8.6, RFC 9112 6.1. */
static void test_response_without_content(void **state)
{
    _response("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nA: b\r\n\r\n", false, 0,
              "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n");
    _response("HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n", false, 0,
              "HTTP/1.1 100 Continue\r\n\r\n");
    _response("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 0\r\n\r\n", false, 0,
              "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
}

/* RFC 9110 6.6.1: a Date that is there stays, whatever it says. */
static void test_response_date(void **state)
{
    static const char in[] = "HTTP/1.1 200 OK\r\ndATE: x\r\nContent-Length: 0\r\n\r\n";
    static const char expected[] = "HTTP/1.1 200 OK\r\ndATE: x\r\nContent-Length: 0\r\n\r\n";
    char out[256] = {0};
    assert_int_equal(http1_parse_response(in, strlen(in), &limits, false, &msg), 0);
    assert_int_equal(head_response(out, sizeof(out), in, &msg, false, 0), strlen(expected));
    assert_string_equal(out, expected);
}

/* RFC 9110 7.6.2, for TRACE and OPTIONS only. */
static void test_request_max_forwards(void **state)
{
    _request("OPTIONS / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 7\r\nA: b\r\n\r\n",
             "OPTIONS / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 6\r\nA: b\r\n\r\n");
    _request("TRACE / HTTP/1.1\r\nHost: h\r\nmax-forwards: 010\r\n\r\n",
             "TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 9\r\n\r\n");
    _request("TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 99999999999999999999999\r\n\r\n",
             "TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 2147483646\r\n\r\n");
    _request("GET / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n",
             "GET / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n");
}

static void test_response_switching(void **state)
{
    _response("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade, x\r\nUpgrade: websocket\r\nX: y\r\n"
              "Keep-Alive: max=3\r\n\r\n",
              false, 0,
              "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
    /* The one Connection field of a 101 says upgrade, whatever comes later. */
    _response("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", true,
              0, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_goes_as_it_is),
        cmocka_unit_test(test_request_hop_by_hop),
        cmocka_unit_test(test_request_te),
        cmocka_unit_test(test_request_host_is_added),
        cmocka_unit_test(test_request_expect_of_old_clients),
        cmocka_unit_test(test_request_absolute_form),
        cmocka_unit_test(test_request_upgrade),
        cmocka_unit_test(test_response_goes_as_it_is),
        cmocka_unit_test(test_response_hop_by_hop),
        cmocka_unit_test(test_response_close),
        cmocka_unit_test(test_response_framing),
        cmocka_unit_test(test_response_without_content),
        cmocka_unit_test(test_response_date),
        cmocka_unit_test(test_request_max_forwards),
        cmocka_unit_test(test_response_switching),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
