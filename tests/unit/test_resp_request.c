/*
 * Multibulk requests: the rules with redis' own words, every input also cut at every byte and
 * turned into a stream at every byte.
 */
#include "resp_transcript.h"

#define MULTIBULK "!Protocol error: invalid multibulk length"
#define BULK      "!Protocol error: invalid bulk length"
#define NO_CRLF   "!Protocol error: expected CRLF after bulk string"
#define GOT(c)    "!Protocol error: expected '$', got '" c "'"

static void test_commands(void **state)
{
    TRANSCRIPT_IS("*1\r\n$4\r\nPING\r\n", "[PING]");
    TRANSCRIPT_IS("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\nvv\r\n", "[SET|k|vv]");
    TRANSCRIPT_IS("*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "[GET|]");
    TRANSCRIPT_IS("*2\r\n$3\r\nGET\r\n$4\r\n\r\n\0$\r\n", "[GET|\\x0d\\x0a\\x00$]");
    TRANSCRIPT_IS("*1\r\n$10\r\n0123456789\r\n*1\r\n$1\r\na\r\n*1\r\n$1\r\nb\r\n*1\r\n",
                  "[0123456789][a][b]...");
}

static void test_empty_commands(void **state)
{
    TRANSCRIPT_IS("*0\r\n", "[]");
    TRANSCRIPT_IS("*-1\r\n*-5\r\n*-9223372036854775808\r\n*1\r\n$1\r\na\r\n", "[][][][a]");
}

static void test_many_arguments(void **state)
{
    TRANSCRIPT_IS("*9\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$1\r\n4\r\n$1\r\n5\r\n$1\r\n6\r\n$1\r\n7\r\n"
                  "$1\r\n8\r\n$1\r\n9\r\n*1\r\n$1\r\na\r\n",
                  "[1|2|3|4|5|6|7|8|9][a]");
}

static void test_multibulk_length(void **state)
{
    TRANSCRIPT_IS("*\r\n", MULTIBULK);
    TRANSCRIPT_IS("*-\r\n", MULTIBULK);
    TRANSCRIPT_IS("*-0\r\n", MULTIBULK);
    TRANSCRIPT_IS("*00\r\n", MULTIBULK);
    TRANSCRIPT_IS("*02\r\n", MULTIBULK);
    TRANSCRIPT_IS("*+2\r\n", MULTIBULK);
    TRANSCRIPT_IS("* 2\r\n", MULTIBULK);
    TRANSCRIPT_IS("*2 \r\n", MULTIBULK);
    TRANSCRIPT_IS("*2\rx", MULTIBULK);
    TRANSCRIPT_IS("*2\n\r\n", MULTIBULK);
    TRANSCRIPT_IS("*2\n", "...");
    TRANSCRIPT_IS("*x", "...");
    TRANSCRIPT_IS("*x\r\n", MULTIBULK);
    TRANSCRIPT_IS("*?\r\n", MULTIBULK);
    TRANSCRIPT_IS("*1048577\r\n", MULTIBULK);
    TRANSCRIPT_IS("*2147483648\r\n", MULTIBULK);
    TRANSCRIPT_IS("*4294967297\r\n", MULTIBULK);
    TRANSCRIPT_IS("*18446744073709551617\r\n", MULTIBULK);
    TRANSCRIPT_IS("*1\r\n$1\r\na\r\n*a\r\n", "[a]" MULTIBULK);
}

static void test_bulk_length(void **state)
{
    TRANSCRIPT_IS("*1\r\n$\r\n", BULK);
    TRANSCRIPT_IS("*1\r\n$-1\r\n", BULK);
    TRANSCRIPT_IS("*1\r\n$-0\r\n", BULK);
    TRANSCRIPT_IS("*1\r\n$04\r\nPING\r\n", BULK);
    TRANSCRIPT_IS("*1\r\n$+4\r\nPING\r\n", BULK);
    TRANSCRIPT_IS("*1\r\n$ 4\r\nPING\r\n", BULK);
    TRANSCRIPT_IS("*1\r\n$4 \r\nPING\r\n", BULK);
    TRANSCRIPT_IS("*1\r\n$4\rxPING\r\n", BULK);
    TRANSCRIPT_IS("*1\r\n$4x\r\nPING\r\n", BULK);
    TRANSCRIPT_IS("*1\r\n$?\r\n", BULK);
    TRANSCRIPT_IS("*1\r\n$536870913\r\n", BULK);
    TRANSCRIPT_IS("*1\r\n$536870912\r\n", "...");
    TRANSCRIPT_IS("*1\r\n$4294967300\r\nPING\r\n", BULK);
    TRANSCRIPT_IS("*2\r\n$1\r\na\r\n$18446744073709551620\r\n", BULK);
}

static void test_expected_dollar(void **state)
{
    TRANSCRIPT_IS("*1\r\nPING\r\n", GOT("P"));
    TRANSCRIPT_IS("*2\r\n$1\r\na\r\n:1\r\n", GOT(":"));
    TRANSCRIPT_IS("*1\r\n:1\r", "...");
    TRANSCRIPT_IS("*1\r\n\r\n", GOT(" "));
    TRANSCRIPT_IS("*1\r\n\n1\r\n", GOT(" "));
    TRANSCRIPT_IS("*1\r\n\0001\r\n", GOT(" "));
    TRANSCRIPT_IS("*1\r\n\xff\r\n", GOT("\\xff"));
    TRANSCRIPT_IS("*2\r\n*1\r\n$1\r\na\r\n", GOT("*"));
}

static void test_crlf_after_bulk(void **state)
{
    TRANSCRIPT_IS("*1\r\n$4\r\nPINGPONG\r\n", NO_CRLF);
    TRANSCRIPT_IS("*1\r\n$4\r\nPING\n", NO_CRLF);
    TRANSCRIPT_IS("*1\r\n$4\r\nPING\r\r", NO_CRLF);
    TRANSCRIPT_IS("*1\r\n$4\r\nPING\r", "...");
    TRANSCRIPT_IS("*2\r\n$0\r\n$1\r\na\r\n", NO_CRLF);
    TRANSCRIPT_IS("*2\r\n$5\r\nPING\r\n$1\r\na\r\n", NO_CRLF);
}

static void test_limits(void **state)
{
    static const struct resp_limits narrow = {.multibulk = 2, .bulk = 3};
    TRANSCRIPT_WITH(&narrow, "*2\r\n$3\r\nGET\r\n$3\r\nabc\r\n", "[GET|abc]");
    TRANSCRIPT_WITH(&narrow, "*3\r\n", MULTIBULK);
    TRANSCRIPT_WITH(&narrow, "*1\r\n$4\r\n", BULK);
}

static void test_unauthenticated(void **state)
{
    static const struct resp_limits before = {
        .multibulk = 1024 * 1024, .bulk = 512 * 1024 * 1024, .unauthenticated = true};
    static const struct resp_limits narrow = {.multibulk = 2, .bulk = 3, .unauthenticated = true};
    TRANSCRIPT_WITH(&before, "*10\r\n$16384\r\n", "...");
    TRANSCRIPT_WITH(&before, "*11\r\n", "!Protocol error: unauthenticated multibulk length");
    TRANSCRIPT_WITH(&before, "*1048577\r\n", MULTIBULK);
    TRANSCRIPT_WITH(&before, "*1\r\n$16385\r\n", "!Protocol error: unauthenticated bulk length");
    TRANSCRIPT_WITH(&before, "*1\r\n$536870913\r\n", BULK);
    TRANSCRIPT_WITH(&before, "*1\r\n$-1\r\n", BULK);
    TRANSCRIPT_WITH(&narrow, "*3\r\n", MULTIBULK);
    TRANSCRIPT_WITH(&narrow, "*1\r\n$4\r\n", BULK);
}

static char big[4 * 1024 * 1024];

/* Byte by byte, too: a length line is not searched again and again. */
static void _too_long(const char *head, const char *error)
{
    size_t n = strlen(head);
    struct resp_request r = {0};
    memset(big, '0', sizeof(big));
    memcpy(big, head, n);
    size_t line = (size_t)(strrchr(head, '\n') ? strrchr(head, '\n') + 1 - head : 0);
    for (size_t have = 1; have <= line + RESP_INLINE_MAX; have++) {
        assert_int_equal(resp_request_parse(&r, big, have, &resp_defaults), RESP_MORE);
        if (have > line + 32)
            assert_int_equal(r.scan, have - line);
    }
    struct resp_request early = r;
    assert_int_equal(resp_request_parse(&r, big, line + RESP_INLINE_MAX + 1, &resp_defaults), RESP_ERROR);
    assert_string_equal(r.error, error);
    struct resp_stream s;
    size_t used;
    if (early.argc > 0) {
        size_t at = resp_stream_begin(&s, &early);
        assert_int_equal(at, line);
        for (size_t have = 0; have <= RESP_INLINE_MAX; have++) {
            assert_int_equal(resp_stream_feed(&s, big + at, have, &resp_defaults, &used), RESP_MORE);
            assert_int_equal(used, 0);
            assert_int_equal(s.scan, have);
        }
        assert_int_equal(resp_stream_feed(&s, big + at, RESP_INLINE_MAX + 1, &resp_defaults, &used),
                         RESP_ERROR);
        assert_string_equal(s.error, error);
    }
    resp_request_reset(&r);
    assert_int_equal(resp_request_parse(&r, big, sizeof(big), &resp_defaults), RESP_ERROR);
    assert_string_equal(r.error, error);
    memcpy(big + line + RESP_INLINE_MAX, "\r\n", 2); /* the longest line that is looked at */
    resp_request_reset(&r);
    assert_int_equal(resp_request_parse(&r, big, sizeof(big), &resp_defaults), RESP_ERROR);
    assert_non_null(strstr(r.error, "invalid"));
    resp_request_free(&r);
}

static void test_too_long_lines(void **state)
{
    _too_long("*", "Protocol error: too big mbulk count string");
    _too_long("*2\r\n$", "Protocol error: too big bulk count string");
    _too_long("*2\r\n$1\r\na\r\n$", "Protocol error: too big bulk count string");
}

/* Memory follows what came, not what was declared; a long command's is given back. */
static void test_memory(void **state)
{
    static const char declared[] = "*1000000\r\n$1\r\na\r\n";
    struct resp_request r = {0};
    assert_int_equal(resp_request_parse(&r, declared, sizeof(declared) - 1, &resp_defaults), RESP_MORE);
    assert_int_equal(r.argc, 1000000);
    assert_int_equal(r.whole, 1);
    assert_int_equal(r.cap, RESP_ARGS_INLINE);
    assert_ptr_equal(r.args, r.few);
    resp_request_reset(&r);

    size_t n = (size_t)sprintf(big, "*5000\r\n");
    for (int i = 0; i < 5000; i++)
        n += (size_t)sprintf(big + n, "$4\r\n%04d\r\n", i);
    assert_int_equal(resp_request_parse(&r, big, n, &resp_defaults), RESP_DONE);
    assert_true(r.cap >= 5000 && r.cap < 10000);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(atoi(r.text + r.args[i].off), i);
    resp_request_reset(&r);
    assert_int_equal(r.cap, RESP_ARGS_INLINE);
    assert_int_equal(resp_request_parse(&r, "*1\r\n$1\r\na\r\n", 11, &resp_defaults), RESP_DONE);
    assert_ptr_equal(r.args, r.few);
    resp_request_free(&r);
    resp_request_free(&r);
}

/* What a caller sees of a command that is not complete. */
static void test_progress(void **state)
{
    static const char command[] = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nabc";
    struct resp_request r = {0};
    assert_int_equal(resp_request_parse(&r, command, 0, &resp_defaults), RESP_MORE);
    assert_int_equal(resp_request_parse(&r, command, 3, &resp_defaults), RESP_MORE);
    assert_int_equal(r.argc, 0);
    assert_int_equal(resp_request_parse(&r, command, 6, &resp_defaults), RESP_MORE);
    assert_int_equal(r.argc, 3);
    assert_int_equal(r.pos, 4);
    assert_int_equal(resp_request_parse(&r, command, 9, &resp_defaults), RESP_MORE);
    assert_int_equal(r.argn, 1);
    assert_int_equal(r.whole, 0);
    assert_true(r.in_bulk);
    assert_int_equal(resp_request_parse(&r, command, sizeof(command) - 1, &resp_defaults), RESP_MORE);
    assert_int_equal(r.argn, 3);
    assert_int_equal(r.whole, 2);
    assert_int_equal(r.args[2].len, 100);
    assert_int_equal(r.pos, sizeof(command) - 1);
    resp_request_free(&r);
}

/* A value far above any buffer, in pieces of all sizes; its bytes look like protocol. */
static void test_large_bulk(void **state)
{
    const size_t body = 3 * 1024 * 1024 + 17;
    struct resp_request r = {0};
    struct resp_stream s;
    size_t head = (size_t)sprintf(big, "*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$%zu\r\n", body);
    for (size_t i = 0; i < body; i++)
        big[head + i] = "\r\n$1*"[i % 5];
    size_t len = head + body;
    len += (size_t)sprintf(big + len, "\r\n$2\r\nNX\r\n");
    size_t have = head + 1000, seed = 1;
    assert_int_equal(resp_request_parse(&r, big, have, &resp_defaults), RESP_MORE);
    assert_int_equal(r.whole, 2);
    size_t at = resp_stream_begin(&s, &r);
    assert_int_equal(at, have);
    enum resp_result result;
    do {
        size_t used;
        seed = seed * 1103515245 + 12345;
        size_t more = (seed >> 16) % (have < len - 4000 ? 20000 : 3);
        have = len - have < more ? len : have + more;
        result = resp_stream_feed(&s, big + at, have - at, &resp_defaults, &used);
        at += used;
        assert_true(have - at < 32);
    } while (result == RESP_MORE && have < len);
    assert_int_equal(result, RESP_DONE);
    assert_int_equal(at, len);
    resp_request_free(&r);
}

/* A request may be parsed on from another place, with its text there too. */
static void test_moved(void **state)
{
    static const char command[] = "*2\r\n$3\r\nGET\r\n$3\r\nkey\r\n";
    struct resp_request r = {0};
    assert_int_equal(resp_request_parse(&r, command, 15, &resp_defaults), RESP_MORE);
    struct resp_request moved = r;
    memset(&r, 0xaa, sizeof(r));
    assert_int_equal(resp_request_parse(&moved, command, sizeof(command) - 1, &resp_defaults), RESP_DONE);
    assert_memory_equal(moved.text + moved.args[0].off, "GET", 3);
    assert_memory_equal(moved.text + moved.args[1].off, "key", 3);
    resp_request_free(&moved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),        cmocka_unit_test(test_empty_commands),
        cmocka_unit_test(test_many_arguments),  cmocka_unit_test(test_multibulk_length),
        cmocka_unit_test(test_bulk_length),     cmocka_unit_test(test_expected_dollar),
        cmocka_unit_test(test_crlf_after_bulk), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_unauthenticated), cmocka_unit_test(test_too_long_lines),
        cmocka_unit_test(test_memory),          cmocka_unit_test(test_progress),
        cmocka_unit_test(test_large_bulk),      cmocka_unit_test(test_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
