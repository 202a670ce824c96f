/*
 * The chunked framer: rules 32 to 37, every body also cut at every byte and fed byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "parsers/http1_chunked.h"

struct outcome {
    enum http1_chunked_event event;
    size_t consumed;
    char data[512];
    size_t data_len;
    char trailer[512];
    size_t trailer_len;
};

/* Feeds `len` bytes; appends to what `o` holds. */
static void _feed(struct http1_chunked *c, const char *buf, size_t len, struct outcome *o)
{
    size_t at = 0;
    for (;;) {
        const char *data;
        size_t data_len, n;
        o->event = http1_chunked_next(c, buf + at, len - at, &n, &data, &data_len);
        assert_true(n <= len - at);
        at += n;
        o->consumed += n;
        if (o->event == HTTP1_CHUNKED_DATA) {
            memcpy(o->data + o->data_len, data, data_len);
            o->data_len += data_len;
        } else if (o->event == HTTP1_CHUNKED_TRAILER) {
            memcpy(o->trailer + o->trailer_len, data, data_len);
            o->trailer_len += data_len;
        } else {
            return;
        }
    }
}

static void _feed_cut(const char *body, size_t len, size_t cut, struct outcome *o)
{
    struct http1_chunked c;
    *o = (struct outcome){0};
    http1_chunked_init(&c);
    _feed(&c, body, cut, o);
    if (o->event == HTTP1_CHUNKED_MORE) {
        assert_int_equal(o->consumed, cut);
        _feed(&c, body + cut, len - cut, o);
    }
}

static struct outcome result;

static enum http1_chunked_event _run(const char *body)
{
    struct outcome other;
    size_t len = strlen(body);
    _feed_cut(body, len, len, &result);
    for (size_t cut = 0; cut < len; cut++) {
        _feed_cut(body, len, cut, &other);
        assert_int_equal(other.event, result.event);
        assert_int_equal(other.consumed, result.consumed);
        if (result.event == HTTP1_CHUNKED_ERROR)
            continue;
        assert_int_equal(other.data_len, result.data_len);
        assert_memory_equal(other.data, result.data, result.data_len);
        assert_int_equal(other.trailer_len, result.trailer_len);
        assert_memory_equal(other.trailer, result.trailer, result.trailer_len);
    }
    return result.event;
}

static void _accepts(const char *body, const char *data, const char *trailer)
{
    assert_int_equal(_run(body), HTTP1_CHUNKED_END);
    assert_int_equal(result.data_len, strlen(data));
    assert_memory_equal(result.data, data, strlen(data));
    assert_int_equal(result.trailer_len, strlen(trailer));
    assert_memory_equal(result.trailer, trailer, strlen(trailer));
}

static void test_accepts(void **state)
{
    _accepts("0\r\n\r\n", "", "");
    _accepts("000\r\n\r\n", "", "");
    _accepts("5\r\nhello\r\n0\r\n\r\n", "hello", "");
    _accepts("a\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n\r\n", "01234567890123456789", "");
    _accepts("0000000000000003\r\nabc\r\n0\r\n\r\n", "abc", "");
    _accepts("2\r\n\r\n\r\n0\r\n\r\n", "\r\n", "");
    _accepts("1;a\r\nx\r\n1;a=b;c=\"d e\"\r\ny\r\n0;z\r\n\r\n", "xy", "");
    _accepts("0\r\nA: b\r\n\r\n", "", "A: b\r\n");
    _accepts("1\r\nx\r\n0\r\nA:\r\nB:\tc\r\n\r\n", "x", "A:\r\nB:\tc\r\n");
}

static void test_rejects(void **state)
{
    static const char *const bodies[] = {
        /* 32 */ "0x5\r\n",
        "+5\r\n",
        "-5\r\n",
        "5_0\r\n",
        " 5\r\n",
        "\t5\r\n",
        "5 \r\n",
        "5\t\r\n",
        "\r\n",
        "g\r\n",
        ";a\r\n",
        "00000000000000005\r\n",
        "8000000000000000\r\n",
        "FFFFFFFFFFFFFFFF\r\n",
        /* 33 */ "5\nhello",
        "5\rhello",
        "5\r\r\n",
        "0\n\n",
        "0\r\n\n",
        "0\r\n\r\r",
        /* 34 */ "1\r\nxy",
        "1\r\nx\n",
        "1\r\nx\rz",
        "1\r\nx0",
        /* 35 */ "1;\r\n",
        "1; a\r\n",
        "1 ;a\r\n",
        "1;a=\r\n",
        "1;a =b\r\n",
        "1;a=b c\r\n",
        "1;a\n",
        "1;a\x01\r\n",
        "1;a=\"b\r\n",
        "1;a=\"b\"c\r\n",
        "1;a=\"\x01\"\r\n",
        "1;a;;b\r\n",
        "1;a(\r\n",
        /* 36 */ "0\r\n A: b\r\n",
        "0\r\nA : b\r\n",
        "0\r\nA\r\n",
        "0\r\n: b\r\n",
        "0\r\nA: b\n",
        "0\r\nA: \x01\r\n",
        "0\r\nA: b\r\n c\r\n",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        if (_run(bodies[i]) != HTTP1_CHUNKED_ERROR)
            fail_msg("accepted: %s", bodies[i]);
    }
}

/* After an error nothing is ever delivered again. */
static void test_error_is_final(void **state)
{
    struct http1_chunked c;
    struct outcome o = {0};
    http1_chunked_init(&c);
    _feed(&c, "x", 1, &o);
    assert_int_equal(o.event, HTTP1_CHUNKED_ERROR);
    _feed(&c, "5\r\nhello", 8, &o);
    assert_int_equal(o.event, HTTP1_CHUNKED_ERROR);
    assert_int_equal(o.data_len, 0);
}

static void test_rule_31_bytes_after_the_end(void **state)
{
    assert_int_equal(_run("0\r\n\r\nGET /"), HTTP1_CHUNKED_END);
    assert_int_equal(result.consumed, 5);
}

static void test_rule_30_incomplete(void **state)
{
    static const char body[] = "3;a=\"b\"\r\nabc\r\n0\r\nA: b\r\n\r\n";
    struct outcome o;
    for (size_t n = 0; n < sizeof(body) - 1; n++) {
        _feed_cut(body, n, n, &o);
        assert_int_equal(o.event, HTTP1_CHUNKED_MORE);
    }
}

static void test_largest_chunk(void **state)
{
    struct http1_chunked c;
    struct outcome o = {0};
    http1_chunked_init(&c);
    _feed(&c, "7fffffffffffffff\r\nabc", 21, &o);
    assert_int_equal(o.event, HTTP1_CHUNKED_MORE);
    assert_int_equal(c.remaining, INT64_MAX - 3);
}

static enum http1_chunked_event _ext_of(size_t len)
{
    static char buf[1024];
    struct http1_chunked c;
    struct outcome o = {0};
    size_t n = (size_t)sprintf(buf, "1;");
    memset(buf + n, 'a', len - 1);
    n += len - 1;
    n += (size_t)sprintf(buf + n, "\r\nx\r\n0\r\n\r\n");
    http1_chunked_init(&c);
    _feed(&c, buf, n, &o);
    return o.event;
}

static void test_rule_35_bound(void **state)
{
    assert_int_equal(_ext_of(HTTP1_CHUNK_EXT_MAX), HTTP1_CHUNKED_END);
    assert_int_equal(_ext_of(HTTP1_CHUNK_EXT_MAX + 1), HTTP1_CHUNKED_ERROR);
}

static enum http1_chunked_event _trailer_of(size_t len)
{
    static char buf[HTTP1_TRAILER_MAX + 64];
    struct http1_chunked c;
    const char *data;
    size_t data_len, n, at = 0;
    enum http1_chunked_event event;
    size_t total = (size_t)sprintf(buf, "0\r\nA:");
    memset(buf + total, 'b', len - 4);
    total += len - 4;
    total += (size_t)sprintf(buf + total, "\r\n\r\n");
    http1_chunked_init(&c);
    do {
        event = http1_chunked_next(&c, buf + at, total - at, &n, &data, &data_len);
        at += n;
    } while (event == HTTP1_CHUNKED_TRAILER);
    return event;
}

static void test_rule_36_bound(void **state)
{
    assert_int_equal(_trailer_of(HTTP1_TRAILER_MAX), HTTP1_CHUNKED_END);
    assert_int_equal(_trailer_of(HTTP1_TRAILER_MAX + 1), HTTP1_CHUNKED_ERROR);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts),
        cmocka_unit_test(test_rejects),
        cmocka_unit_test(test_error_is_final),
        cmocka_unit_test(test_rule_31_bytes_after_the_end),
        cmocka_unit_test(test_rule_30_incomplete),
        cmocka_unit_test(test_largest_chunk),
        cmocka_unit_test(test_rule_35_bound),
        cmocka_unit_test(test_rule_36_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
