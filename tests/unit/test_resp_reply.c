/*
 * The reply scanner: every type, every reply also cut at every byte and fed byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parsers/resp.h"

struct outcome {
    enum resp_result result;
    size_t used;
    char type;
    bool push;
    bool in_attribute;
    const char *error;
};

/* Feeds a reply that grows from `first` bytes on by `step`. */
static struct outcome _feed(const char *input, size_t len, size_t first, size_t step)
{
    struct resp_reply r;
    struct outcome o = {.result = RESP_MORE};
    memset(&r, 0xaa, sizeof(r));
    resp_reply_reset(&r); /* must be enough */
    for (size_t have = first; o.result == RESP_MORE; have = len - have < step ? len : have + step) {
        size_t used, given = have - o.used;
        char *copy = malloc(given ? given : 1);
        assert_non_null(copy);
        memcpy(copy, input + o.used, given);
        o.result = resp_reply_feed(&r, copy, given, &used);
        free(copy);
        assert_true(used <= given);
        o.used += used;
        if (o.result == RESP_MORE)
            assert_true(given - used < 32);
        if (have == len)
            break;
    }
    o.type = r.type;
    o.push = r.push;
    o.in_attribute = r.in_attribute;
    o.error = r.error;
    return o;
}

static struct outcome _run(const char *input, size_t len)
{
    struct outcome whole = _feed(input, len, len, len);
    for (size_t cut = 0; cut <= len; cut++) {
        struct outcome o = cut == len ? _feed(input, len, 0, 1) : _feed(input, len, cut, len);
        assert_int_equal(o.result, whole.result);
        assert_int_equal(o.used, whole.used);
        assert_int_equal(o.type, whole.type);
        assert_int_equal(o.push, whole.push);
        assert_int_equal(o.in_attribute, whole.in_attribute);
        if (whole.error)
            assert_string_equal(o.error, whole.error);
        else
            assert_null(o.error);
    }
    return whole;
}

static const char _behind[] = "+next\r\n";

/* One whole reply; also with another behind it; and no part of it is one. */
static struct outcome _is_reply(const char *input, size_t len, char type)
{
    char longer[1024];
    struct outcome o = _run(input, len);
    assert_int_equal(o.result, RESP_DONE);
    assert_int_equal(o.used, len);
    assert_int_equal(o.type, type);
    assert_false(o.in_attribute);
    memcpy(longer, input, len);
    memcpy(longer + len, _behind, sizeof(_behind));
    struct outcome followed = _run(longer, len + sizeof(_behind) - 1);
    assert_int_equal(followed.result, RESP_DONE);
    assert_int_equal(followed.used, len);
    for (size_t n = 0; n < len; n++)
        assert_int_equal(_feed(input, n, n, n).result, RESP_MORE);
    return o;
}

#define REPLY(input, type)  _is_reply(input, sizeof(input) - 1, type)
#define ERROR(input, words) _is_error(input, sizeof(input) - 1, words)

static void _is_error(const char *input, size_t len, const char *words)
{
    struct outcome o = _run(input, len);
    assert_int_equal(o.result, RESP_ERROR);
    assert_string_equal(o.error, words);
}

static void test_resp2(void **state)
{
    REPLY("+OK\r\n", '+');
    REPLY("+\r\n", '+');
    REPLY("+O\r\n", '+');
    REPLY("+OKAY\r\n", '+');
    REPLY("+a\nb\r\n", '+');
    REPLY("-ERR no\r\n", '-');
    REPLY(":1\r\n", ':');
    REPLY(":-9223372036854775808\r\n", ':');
    REPLY("$3\r\nabc\r\n", '$');
    REPLY("$0\r\n\r\n", '$');
    REPLY("$4\r\n\r\n\r\n\r\n", '$');
    REPLY("$-1\r\n", '$');
    REPLY("*-1\r\n", '*');
    REPLY("*0\r\n", '*');
    REPLY("*2\r\n$1\r\na\r\n$-1\r\n", '*');
    REPLY("*3\r\n+OK\r\n-ERR\r\n:1\r\n", '*');
    REPLY("*2\r\n*2\r\n:1\r\n*0\r\n*1\r\n*1\r\n*-1\r\n", '*');
}

static void test_resp3(void **state)
{
    REPLY("_\r\n", '_');
    REPLY("#t\r\n", '#');
    REPLY("#f\r\n", '#');
    REPLY(",3.14\r\n", ',');
    REPLY(",-inf\r\n", ',');
    REPLY("(3492890328409238509324850943850943825024385\r\n", '(');
    REPLY("!5\r\nERR x\r\n", '!');
    REPLY("=7\r\ntxt:abc\r\n", '=');
    REPLY("=4\r\ntxt:\r\n", '=');
    REPLY("%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n_\r\n", '%');
    REPLY("%0\r\n", '%');
    REPLY("~2\r\n:1\r\n#t\r\n", '~');
    REPLY("~0\r\n", '~');
    REPLY("*4\r\n%1\r\n+k\r\n~1\r\n,1\r\n!1\r\nx\r\n=5\r\nmkd:x\r\n_\r\n", '*');
}

static void test_attributes(void **state)
{
    REPLY("|1\r\n+ttl\r\n:3600\r\n$1\r\na\r\n", '$');
    REPLY("|0\r\n:1\r\n", ':');
    REPLY("|1\r\n+a\r\n:1\r\n|1\r\n+b\r\n:2\r\n*1\r\n:3\r\n", '*');
    REPLY("*2\r\n|1\r\n+a\r\n:1\r\n:2\r\n:3\r\n", '*');
    REPLY("*1\r\n|2\r\n+a\r\n*1\r\n:1\r\n+b\r\n:2\r\n*1\r\n:3\r\n", '*');
    REPLY("|1\r\n|1\r\n+x\r\n:0\r\n+a\r\n:1\r\n_\r\n", '_');
    REPLY("*1\r\n|0\r\n:1\r\n", '*');
    struct outcome o = _run("|1\r\n+a\r\n", 8);
    assert_int_equal(o.result, RESP_MORE);
    assert_true(o.in_attribute);
    assert_int_equal(o.type, 0);
    o = _run("|1\r\n+a\r\n+b\r\n", 12);
    assert_int_equal(o.result, RESP_MORE);
    assert_false(o.in_attribute);
    assert_int_equal(o.type, 0);
    o = _run("*1\r\n|1\r\n+a\r\n", 12);
    assert_false(o.in_attribute);
    assert_int_equal(o.type, '*');
}

static void test_push(void **state)
{
    assert_true(REPLY(">2\r\n+message\r\n$1\r\na\r\n", '>').push);
    assert_true(REPLY("|1\r\n+a\r\n:1\r\n>1\r\n*1\r\n:1\r\n", '>').push);
    assert_false(REPLY("*1\r\n+message\r\n", '*').push);
    ERROR("*1\r\n>1\r\n+a\r\n", "push inside of a reply");
    ERROR("|1\r\n+a\r\n>1\r\n+a\r\n", "push inside of a reply");
    ERROR(">-1\r\n", "invalid number of elements");
}

static void test_types(void **state)
{
    static const char known[] = "+-:$*_,#(!=%~>|";
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        struct outcome o = _run(&byte, 1);
        assert_int_equal(o.result, c && strchr(known, c) ? RESP_MORE : RESP_ERROR);
    }
    ERROR("x", "unknown type");
    ERROR("*1\r\nx", "unknown type");
    ERROR("*1\r\n\r\n", "unknown type");
    for (const char *type = "$*%~>|=!"; *type; type++) {
        char line[] = "t?\r\n";
        line[0] = *type;
        _is_error(line, 4, "streamed type");
    }
    ERROR(":?\r\n", "invalid number");
    ERROR(";4\r\n", "unknown type");
    ERROR(".\r\n", "unknown type");
}

static void test_numbers(void **state)
{
    ERROR(":\r\n", "invalid number");
    ERROR(":01\r\n", "invalid number");
    ERROR(":+1\r\n", "invalid number");
    ERROR(":1\n", "invalid number");
    ERROR(":1\rx", "invalid number");
    ERROR(":9223372036854775808\r\n", "invalid number");
    ERROR("$03\r\nabc\r\n", "invalid number");
    ERROR("$-0\r\n", "invalid number");
    ERROR("$11111111111111111111111111111", "invalid number");
    ERROR("$-2\r\n", "invalid bulk length");
    ERROR("=-1\r\n", "invalid bulk length");
    ERROR("!-1\r\n", "invalid bulk length");
    ERROR("=3\r\ntxt\r\n", "invalid bulk length");
    ERROR("$536870913\r\n", "invalid bulk length");
    assert_int_equal(_run("$536870912\r\n", 12).result, RESP_MORE);
    ERROR("*-2\r\n", "invalid number of elements");
    ERROR("%-1\r\n", "invalid number of elements");
    ERROR("~-1\r\n", "invalid number of elements");
    ERROR("|-1\r\n", "invalid number of elements");
    ERROR("*2147483648\r\n", "invalid number of elements");
    ERROR("*9223372036854775807\r\n", "invalid number of elements");
    assert_int_equal(_run("%2147483647\r\n", 13).result, RESP_MORE);
}

static void test_line_ends(void **state)
{
    ERROR("+a\rb\r\n", "CR inside of a line");
    ERROR("+a\r\r\n", "CR inside of a line");
    ERROR("-\rx", "CR inside of a line");
    ERROR("$1\r\nabc", "expected CRLF after bulk string");
    ERROR("$1\r\na\r\r", "expected CRLF after bulk string");
    ERROR("$0\r\n$1", "expected CRLF after bulk string");
    ERROR("_x", "expected CRLF");
    ERROR("_\n", "expected CRLF");
    ERROR("_\rx", "expected CRLF");
    ERROR("#t\n", "expected CRLF");
    ERROR("#true\r\n", "expected CRLF");
    ERROR("#x\r\n", "invalid boolean");
    ERROR("#\r\n", "invalid boolean");
}

/* RESP_DEPTH_MAX aggregates may be open, and no more. */
static void test_depth(void **state)
{
    char input[RESP_DEPTH_MAX * 4 + 16];
    for (size_t i = 0; i <= RESP_DEPTH_MAX; i++)
        memcpy(input + 4 * i, i % 2 ? "~1\r\n" : "*1\r\n", 4);
    _is_error(input, 4 * RESP_DEPTH_MAX + 4, "aggregates nested too deeply");
    memcpy(input + 4 * RESP_DEPTH_MAX, ":1\r\n", 4);
    _is_reply(input, 4 * RESP_DEPTH_MAX + 4, '*');
    memcpy(input + 4 * RESP_DEPTH_MAX, "*0\r\n", 4);
    _is_reply(input, 4 * RESP_DEPTH_MAX + 4, '*');
}

/* Several replies in one buffer, with a reset between them. */
static void test_pipeline(void **state)
{
    static const char input[] = "+OK\r\n$-1\r\n*1\r\n:1\r\n-ERR\r\n>1\r\n_\r\n%1\r\n:1\r\n:2\r\n";
    static const char types[] = "+$*->%";
    struct resp_reply r = {0};
    size_t at = 0;
    for (size_t i = 0; types[i]; i++) {
        size_t used;
        assert_int_equal(resp_reply_feed(&r, input + at, sizeof(input) - 1 - at, &used), RESP_DONE);
        assert_int_equal(r.type, types[i]);
        assert_int_equal(r.push, types[i] == '>');
        at += used;
        resp_reply_reset(&r);
    }
    assert_int_equal(at, sizeof(input) - 1);
}

/* A bulk string and a line far above any buffer: nothing of them is left over. */
static void test_large(void **state)
{
    static char piece[65536];
    struct resp_reply r = {0};
    size_t used;
    memset(piece, '\n', sizeof(piece));
    assert_int_equal(resp_reply_feed(&r, "*2\r\n$536870912\r\n", 16, &used), RESP_MORE);
    for (int i = 0; i < 8192; i++) {
        assert_int_equal(resp_reply_feed(&r, piece, sizeof(piece), &used), RESP_MORE);
        assert_int_equal(used, sizeof(piece));
    }
    assert_int_equal(resp_reply_feed(&r, "\r\n+", 3, &used), RESP_MORE);
    assert_int_equal(used, 3);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(resp_reply_feed(&r, piece, sizeof(piece), &used), RESP_MORE);
        assert_int_equal(used, sizeof(piece));
    }
    assert_int_equal(resp_reply_feed(&r, "x\r\n+", 4, &used), RESP_DONE);
    assert_int_equal(used, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resp2),     cmocka_unit_test(test_resp3), cmocka_unit_test(test_attributes),
        cmocka_unit_test(test_push),      cmocka_unit_test(test_types), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_line_ends), cmocka_unit_test(test_depth), cmocka_unit_test(test_pipeline),
        cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
