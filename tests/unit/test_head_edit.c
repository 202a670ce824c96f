/*
 * Heads with a route's edits: what is dropped, what is added, whose word counts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/head_edit.h"
#include "proxy/request_id.h"

#define ENDPOINT "10.0.0.1:80"

static const struct http1_limits limits = {8192, 100, 4096};
static struct http1_message msg;

/* 10.0.0.0/8 and 2001:db8::/32. */
static struct conf_network networks[] = {
    {.address = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10}, .bits = 104},
    {.address = {0x20, 0x01, 0x0d, 0xb8}, .bits = 32},
};
static const struct conf_listener listener = {.trusted_proxies = networks, .n_trusted_proxies = 2};

#define SET(...) .set = (struct conf_field[]){__VA_ARGS__}, .n_set = COUNT(__VA_ARGS__)
#define ADD(...) .add = (struct conf_field[]){__VA_ARGS__}, .n_add = COUNT(__VA_ARGS__)
#define REMOVE(...)                                                                                          \
    .remove = (char *[]){__VA_ARGS__}, .n_remove = sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)
#define COUNT(...) (sizeof((struct conf_field[]){__VA_ARGS__}) / sizeof(struct conf_field))

static struct peer _peer(const char *text)
{
    struct peer p = {.asked = true, .known = true};
    char mapped[64] = "::ffff:";
    strcat(mapped, text);
    assert_int_equal(inet_pton(AF_INET6, strchr(text, ':') ? text : mapped, p.address), 1);
    return p;
}

/* The result; it must be the same in every larger buffer, and 0 in every smaller one. The buffers are
 * as large as they claim to be, so that the sanitizer sees a byte too many. */
static char *_request(const char *in, const struct conf_route *route, const struct peer *peer)
{
    static char first[4096];
    size_t len = 0;
    for (size_t cap = sizeof(first) - 1; cap > 0; cap = cap > len + 2 ? len + 2 : cap - 1) {
        char *out = malloc(cap);
        int status = http1_parse_request(in, strlen(in), &limits, &msg);
        if (status)
            fail_msg("%d (%s): %s", status, http1_error(), in);
        size_t n = head_edit_request(out, cap, in, &msg, ENDPOINT, route, &listener, peer);
        if (cap == sizeof(first) - 1) {
            len = n;
            memcpy(first, out, n);
            first[n] = 0;
            assert_true(n <= msg.head_len + msg.n_fields + 512 + head_edit_room(route, HTTP1_REQUEST));
        }
        assert_int_equal(n, cap < len ? 0 : len);
        if (!(route && route->request_id)) /* Each call makes another. */
            assert_memory_equal(out, first, n);
        free(out);
    }
    return first;
}

static char *_response(const char *in, bool close, int framing, const struct conf_route *route)
{
    static char first[4096];
    size_t len = 0;
    for (size_t cap = sizeof(first) - 1; cap > 0; cap = cap > len + 2 ? len + 2 : cap - 1) {
        char *out = malloc(cap);
        if (http1_parse_response(in, strlen(in), &limits, false, &msg))
            fail_msg("%s: %s", http1_error(), in);
        size_t n = head_edit_response(out, cap, in, &msg, close, framing, route);
        if (cap == sizeof(first) - 1) {
            len = n;
            memcpy(first, out, n);
            first[n] = 0;
            assert_true(n <= msg.head_len + msg.n_fields + 128 + head_edit_room(route, HTTP1_RESPONSE));
        }
        assert_int_equal(n, cap < len ? 0 : len);
        assert_memory_equal(out, first, n);
        free(out);
    }
    return first;
}

#define GET(fields)  "GET /a HTTP/1.1\r\nHost: h\r\n" fields "\r\n"
#define RESP(fields) "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: d\r\n" fields "\r\n"

static void test_without_edits(void **state)
{
    static const struct conf_route none = {};
    struct peer peer = _peer("192.0.2.1");
    static const char in[] = GET("X-Forwarded-For: 1.1.1.1\r\nX-Request-Id: x\r\nForwarded: for=1.1.1.1\r\n");
    assert_string_equal(_request(in, &none, &peer), in);
    assert_string_equal(_request(in, NULL, &peer), in);
    assert_string_equal(_response(RESP("Server: s\r\n"), false, 0, &none), RESP("Server: s\r\n"));
    assert_string_equal(_response(RESP("Server: s\r\n"), false, 0, NULL), RESP("Server: s\r\n"));
}

static void test_request_edits(void **state)
{
    const struct conf_route route = {.request_headers = {SET({"X-Env", "prod"}, {"X-Empty", ""}),
                                                         ADD({"Via", "1.1 a"}, {"Via", "1.1 b"}),
                                                         REMOVE("X-Debug", "Cookie")}};
    struct peer peer = _peer("192.0.2.1");
    /* Every line with the name goes, however it is written; names that only begin alike stay. */
    assert_string_equal(
        _request(GET("x-env: a\r\nX-ENV: b\r\nx-debug:\r\nX-Debugger: c\r\nX-Debu: d\r\nVia: 1.0 x\r\n"),
                 &route, &peer),
        GET("X-Debugger: c\r\nX-Debu: d\r\nVia: 1.0 x\r\nX-Env: prod\r\nX-Empty: \r\nVia: 1.1 a\r\n"
            "Via: 1.1 b\r\n"));
    /* A client can not have it removed by naming it in Connection. */
    assert_string_equal(_request(GET("Connection: X-Env, close\r\n"), &route, &peer),
                        GET("X-Env: prod\r\nX-Empty: \r\nVia: 1.1 a\r\nVia: 1.1 b\r\n"));
    /* Framing and Upgrade stay what they are. */
    assert_string_equal(
        _request("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: w\r\n\r\n", &route, &peer),
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: w\r\nConnection: upgrade\r\nX-Env: prod\r\n"
        "X-Empty: \r\nVia: 1.1 a\r\nVia: 1.1 b\r\n\r\n");
    assert_string_equal(_request("GET / HTTP/1.0\r\nCookie: c\r\n\r\n", &route, &peer),
                        "GET / HTTP/1.1\r\nHost: " ENDPOINT "\r\nX-Env: prod\r\nX-Empty: \r\nVia: 1.1 a\r\n"
                        "Via: 1.1 b\r\n\r\n");
}

static void test_response_edits(void **state)
{
    const struct conf_route route = {
        .response_headers = {SET({"Server", "skein"}), ADD({"X-A", "1"}), REMOVE("X-Powered-By")}};
    assert_string_equal(_response(RESP("server: s\r\nX-Powered-By: p\r\nx-a: 0\r\n"), false, 0, &route),
                        RESP("x-a: 0\r\nServer: skein\r\nX-A: 1\r\n"));
    assert_string_equal(
        _response("HTTP/1.1 200 OK\r\nDate: d\r\nServer: s\r\n\r\n", true, 1, &route),
        "HTTP/1.1 200 OK\r\nDate: d\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nServer: skein\r\n"
        "X-A: 1\r\n\r\n");
    assert_string_equal(
        _response("HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: w\r\nServer: s\r\n\r\n", false, 0,
                  &route),
        "HTTP/1.1 101 S\r\nUpgrade: w\r\nConnection: upgrade\r\nServer: skein\r\nX-A: 1\r\n\r\n");
    /* Interim responses are not the route's. */
    assert_string_equal(_response("HTTP/1.1 103 E\r\nServer: s\r\n\r\n", false, 0, &route),
                        "HTTP/1.1 103 E\r\nServer: s\r\n\r\n");
}

static void test_trailers(void **state)
{
    const struct conf_route route = {
        .request_headers = {REMOVE("X-Request")},
        .response_headers = {SET({"X-Set", "a"}), ADD({"X-Added", "1"}), REMOVE("X-Removed")}};
    assert_false(head_edit_keeps_trailer(&route, "x-removed", 9));
    assert_false(head_edit_keeps_trailer(&route, "X-SET", 5));
    assert_true(head_edit_keeps_trailer(&route, "X-Added", 7));
    assert_true(head_edit_keeps_trailer(&route, "X-Request", 9));
    assert_true(head_edit_keeps_trailer(NULL, "X-Removed", 9));
}

/* RFC 7239 and the older fields, from somebody who is not trusted: all that was said is gone. */
static void test_forwarded_untrusted(void **state)
{
    static const struct conf_route xff = {.forwarded = CONF_X_FORWARDED_FOR},
                                   rfc = {.forwarded = CONF_FORWARDED},
                                   both = {.forwarded = CONF_FORWARDED_BOTH};
    static const char lies[] = GET("X-Forwarded-For: 1.1.1.1\r\nx-forwarded-proto: https\r\n"
                                   "X-FORWARDED-HOST: evil\r\nX-Forwarded-: a\r\nX-Forwarded-Anything: b\r\n"
                                   "Forwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\nX-Request-Id: id\r\n"
                                   "X-Forwarder: kept\r\n");
    struct peer v4 = _peer("192.0.2.1"), v6 = _peer("2001:db9::1"), gone = {.asked = true};
#define KEPT "X-Request-Id: id\r\nX-Forwarder: kept\r\n"
    assert_string_equal(_request(lies, &xff, &v4), GET(KEPT "X-Forwarded-For: 192.0.2.1\r\n"
                                                            "X-Forwarded-Proto: http\r\n"));
    assert_string_equal(_request(lies, &rfc, &v4), GET(KEPT "Forwarded: for=192.0.2.1;proto=http\r\n"));
    assert_string_equal(_request(lies, &both, &v6),
                        GET(KEPT "X-Forwarded-For: 2001:db9::1\r\nX-Forwarded-Proto: http\r\n"
                                 "Forwarded: for=\"[2001:db9::1]\";proto=http\r\n"));
    assert_string_equal(_request(GET(""), &both, &gone),
                        GET("X-Forwarded-For: unknown\r\nX-Forwarded-Proto: http\r\n"
                            "Forwarded: for=unknown;proto=http\r\n"));
}

/* A trusted proxy's lists are continued, and what it said beside them stays. */
static void test_forwarded_trusted(void **state)
{
    static const struct conf_route xff = {.forwarded = CONF_X_FORWARDED_FOR},
                                   both = {.forwarded = CONF_FORWARDED_BOTH};
    struct peer v4 = _peer("10.1.2.3"), v6 = _peer("2001:db8::9");
    assert_string_equal(
        _request(GET("X-Forwarded-For: 1.1.1.1\r\nA: b\r\nx-forwarded-for: \r\nX-Forwarded-For: "
                     "2.2.2.2,3.3.3.3\r\n"
                     "X-Forwarded-Proto: https\r\nX-Real-IP: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n"),
                 &xff, &v4),
        GET("A: b\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\n"
            "X-Forwarded-For: 1.1.1.1, 2.2.2.2,3.3.3.3, 10.1.2.3\r\n"));
    assert_string_equal(_request(GET("Forwarded: for=_a;by=\"b,c\"\r\nForwarded: for=d\r\n"), &both, &v6),
                        GET("X-Forwarded-For: 2001:db8::9\r\nX-Forwarded-Proto: http\r\n"
                            "Forwarded: for=_a;by=\"b,c\", for=d, for=\"[2001:db8::9]\";proto=http\r\n"));
}

/* The configuration has the last word on these fields too. */
static void test_edits_of_own_fields(void **state)
{
    const struct conf_route route = {.forwarded = CONF_FORWARDED_BOTH,
                                     .request_id = true,
                                     .request_headers = {SET({"x-forwarded-proto", "https"}),
                                                         REMOVE("Forwarded", "X-Request-Id"),
                                                         ADD({"X-Forwarded-For", "9.9.9.9"})}};
    struct peer peer = _peer("10.1.2.3");
    assert_string_equal(
        _request(GET("X-Request-Id: a\r\nX-Forwarded-Proto: a\r\nForwarded: for=a\r\n"), &route, &peer),
        GET("X-Forwarded-For: 10.1.2.3\r\nx-forwarded-proto: https\r\nX-Forwarded-For: 9.9.9.9\r\n"));
}

/* Version 4, variant 10. */
static void _check_uuid(const char *id)
{
    static const char form[] = "xxxxxxxx-xxxx-4xxx-Vxxx-xxxxxxxxxxxx";
    for (size_t i = 0; i < REQUEST_ID_LEN; i++) {
        const char *set = form[i] == 'x' ? "0123456789abcdef" : form[i] == 'V' ? "89ab" : NULL;
        assert_true(set ? id[i] && strchr(set, id[i]) : id[i] == form[i]);
    }
}

static const char *_only_id(const char *head)
{
    static const char name[] = "X-Request-Id: ";
    const char *at = strstr(head, name);
    assert_non_null(at);
    assert_null(strstr(at + 1, name));
    assert_null(strcasestr(at + 1, "x-request-id"));
    return at + strlen(name);
}

static void _expect_new_id(const char *in, const struct peer *peer)
{
    const struct conf_route route = {.request_id = true};
    const char *id = _only_id(_request(in, &route, peer));
    _check_uuid(id);
    assert_memory_equal(id + REQUEST_ID_LEN, "\r\n\r\n", 5);
}

static void test_request_id(void **state)
{
    const struct conf_route route = {.request_id = true};
    struct peer trusted = _peer("10.1.2.3"), other = _peer("192.0.2.1");
    char longest[256], expected[256];
    static const char id128[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
                                "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde.";
    _expect_new_id(GET(""), &other);
    _expect_new_id(GET("X-Request-Id: mine\r\n"), &other);
    _expect_new_id(GET(""), &trusted);
    _expect_new_id(GET("X-Request-Id:\r\n"), &trusted);
    _expect_new_id(GET("X-Request-Id: a b\r\n"), &trusted);
    _expect_new_id(GET("X-Request-Id: a,b\r\n"), &trusted);
    _expect_new_id(GET("X-Request-Id: a\r\nX-Request-Id: a\r\n"), &trusted);
    assert_string_equal(_request(GET("x-request-ID: From-LB_1\r\nA: b\r\n"), &route, &trusted),
                        GET("A: b\r\nX-Request-Id: From-LB_1\r\n"));
    snprintf(longest, sizeof(longest), GET("X-Request-Id: %s\r\n"), id128);
    assert_string_equal(_request(longest, &route, &trusted), longest);
    snprintf(expected, sizeof(expected), GET("X-Request-Id: %sx\r\n"), id128);
    _expect_new_id(expected, &trusted);
}

static int _compare(const void *a, const void *b)
{
    return memcmp(a, b, REQUEST_ID_LEN);
}

/* More than one batch, no two alike, and no bit that is always the same but those of the version. */
static void test_ids_differ(void **state)
{
    enum { N = 5000 };
    static char ids[N][REQUEST_ID_LEN];
    unsigned seen[REQUEST_ID_LEN] = {0};
    for (int i = 0; i < N; i++) {
        request_id_make(ids[i]);
        _check_uuid(ids[i]);
        for (int c = 0; c < REQUEST_ID_LEN; c++)
            seen[c] |= ids[i][c] == '-' ? 0 : 1U << strtoul((char[]){ids[i][c], 0}, NULL, 16);
    }
    for (int c = 0; c < REQUEST_ID_LEN; c++) {
        unsigned all = c == 14 ? 1U << 4 : c == 19 ? 0xf00 : ids[0][c] == '-' ? 0 : 0xffff;
        assert_int_equal(seen[c], all);
    }
    qsort(ids, N, sizeof(ids[0]), _compare);
    for (int i = 1; i < N; i++)
        assert_int_not_equal(memcmp(ids[i - 1], ids[i], REQUEST_ID_LEN), 0);
}

/* A connection to itself: the socket knows its peer. @return The text of it. */
static void _expect_peer(int family, const struct sockaddr *a, socklen_t len, const char *text, bool v4)
{
    struct sockaddr_storage bound;
    socklen_t bound_len = sizeof(bound);
    struct peer p = {};
    char buf[PEER_TEXT_MAX];
    int l = socket(family, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), fd;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(bind(l, a, len), 0);
    assert_int_equal(listen(l, 1), 0);
    assert_int_equal(getsockname(l, (struct sockaddr *)&bound, &bound_len), 0);
    to.sin_port = ((struct sockaddr_in *)&bound)->sin_port;
    assert_int_equal(connect(c, (struct sockaddr *)&to, sizeof(to)), 0);
    fd = accept(l, NULL, NULL);
    peer_ask(&p, fd);
    assert_true(p.known);
    assert_int_equal(peer_is_v4(&p), v4);
    assert_string_equal(peer_text(&p, buf), text);
    close(fd);
    close(c);
    close(l);
    peer_ask(&p, -1); /* The answer is remembered. */
    assert_string_equal(peer_text(&p, buf), text);
}

/* An IPv4 client of a socket for both families is an IPv4 client. */
static void test_peer(void **state)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
    struct peer gone = {};
    char buf[PEER_TEXT_MAX];
    _expect_peer(AF_INET, (struct sockaddr *)&v4, sizeof(v4), "127.0.0.1", true);
    _expect_peer(AF_INET6, (struct sockaddr *)&v6, sizeof(v6), "127.0.0.1", true);
    peer_ask(&gone, -1);
    assert_false(gone.known);
    assert_false(peer_is_v4(&gone));
    assert_string_equal(peer_text(&gone, buf), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_edits),       cmocka_unit_test(test_request_edits),
        cmocka_unit_test(test_response_edits),      cmocka_unit_test(test_trailers),
        cmocka_unit_test(test_forwarded_untrusted), cmocka_unit_test(test_forwarded_trusted),
        cmocka_unit_test(test_edits_of_own_fields), cmocka_unit_test(test_request_id),
        cmocka_unit_test(test_ids_differ),          cmocka_unit_test(test_peer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
