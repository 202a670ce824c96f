/*
 * Inline commands: line ends, words and quotes, each input also cut at every byte.
 */
#include "resp_transcript.h"

#define UNBALANCED "!Protocol error: unbalanced quotes in request"

static void test_lines(void **state)
{
    TRANSCRIPT_IS("PING\r\n", "[PING]");
    TRANSCRIPT_IS("PING\n", "[PING]");
    TRANSCRIPT_IS("PING", "...");
    TRANSCRIPT_IS("\r\n", "[]");
    TRANSCRIPT_IS("\n", "[]");
    TRANSCRIPT_IS("  \t \r\n", "[]");
    TRANSCRIPT_IS("\r\r\n", "[]");
    TRANSCRIPT_IS("set a 1\r\n", "[set|a|1]");
    TRANSCRIPT_IS("  set \t a\v  1  \r\n", "[set|a\\x0b|1]");
    TRANSCRIPT_IS("\v\fset\r\n", "[set]");
    TRANSCRIPT_IS("a\rb\r\n", "[a|b]");
    TRANSCRIPT_IS("a\r\r\n", "[a]");
    TRANSCRIPT_IS("$3\r\n+OK\r\n", "[$3][+OK]");
    TRANSCRIPT_IS("a b c d e f g h i j k\r\n", "[a|b|c|d|e|f|g|h|i|j|k]");
    TRANSCRIPT_IS("GET a\r\n*1\r\n$4\r\nPING\r\n\r\nGET b\nGE", "[GET|a][PING][][GET|b]...");
    TRANSCRIPT_IS("\xff\xfe \x80\n", "[\\xff\\xfe|\\x80]");
}

static void test_quotes(void **state)
{
    TRANSCRIPT_IS("a \"b c\" d\r\n", "[a|b c|d]");
    TRANSCRIPT_IS("a \"\" ''\r\n", "[a||]");
    TRANSCRIPT_IS("\"\"\r\n", "[]");
    TRANSCRIPT_IS("\"\\x41\\x7a\\xfF\\x00\"\n", "[Az\\xff\\x00]");
    TRANSCRIPT_IS("\"\\xg1\\x1\"\n", "[xg1x1]");
    TRANSCRIPT_IS("\"\\n\\r\\t\\b\\a\"\n", "[\\x0a\\x0d\\x09\\x08\\x07]");
    TRANSCRIPT_IS("\"\\\\\\\"\\q'\"\n", "[\\\"q']");
    TRANSCRIPT_IS("'a\\'b\\n\\x41\"'\n", "[a'b\\n\\x41\"]");
    TRANSCRIPT_IS("'\\\\a'\n", "[\\\\a]");
    TRANSCRIPT_IS("foo\"bar baz\" 'x'\n", "[foobar baz|x]");
    TRANSCRIPT_IS("foo'bar baz'\n", "[foobar baz]");
    TRANSCRIPT_IS("\"a\"\t\"b\"\v'c'\n", "[a|b|c]");
    TRANSCRIPT_IS("\"a\rb\"\n", "[a\\x0db]");
    TRANSCRIPT_IS("a\\nb \\x41\n", "[a\\nb|\\x41]");
}

static void test_unbalanced(void **state)
{
    TRANSCRIPT_IS("\"a\n", UNBALANCED);
    TRANSCRIPT_IS("'a\r\n", UNBALANCED);
    TRANSCRIPT_IS("\"\n", UNBALANCED);
    TRANSCRIPT_IS("a\"\n", UNBALANCED);
    TRANSCRIPT_IS("\"a\"b\n", UNBALANCED);
    TRANSCRIPT_IS("'a'b\n", UNBALANCED);
    TRANSCRIPT_IS("\"a\"\"b\"\n", UNBALANCED);
    TRANSCRIPT_IS("\"a\\\"\n", UNBALANCED);
    TRANSCRIPT_IS("\"a\\\n", UNBALANCED);
    TRANSCRIPT_IS("'a\\'\n", UNBALANCED);
    TRANSCRIPT_IS("'\\\\'\n", UNBALANCED);
    TRANSCRIPT_IS("PING\nset a 'b\n", "[PING]" UNBALANCED);
}

static void test_nul(void **state)
{
    TRANSCRIPT_IS("a\0b\n", "!Protocol error: NUL in inline request");
}

/* Limits of the configuration hold; those before AUTH are about multibulks only, as in redis. */
static void test_limits(void **state)
{
    static const struct resp_limits narrow = {.multibulk = 3, .bulk = 4};
    static const struct resp_limits before = {.multibulk = 1000, .bulk = 100000, .unauthenticated = true};
    TRANSCRIPT_WITH(&narrow, "abcd b c\n", "[abcd|b|c]");
    TRANSCRIPT_WITH(&narrow, "a b c d\n", "!Protocol error: invalid multibulk length");
    TRANSCRIPT_WITH(&narrow, "abcde\n", "!Protocol error: invalid bulk length");
    TRANSCRIPT_WITH(&before, "a b c d e f g h i j k\n", "[a|b|c|d|e|f|g|h|i|j|k]");
}

static char big[RESP_INLINE_MAX + 16];

/* Whole, and a byte at a time: no byte is searched twice for the line's end. */
static enum resp_result _parse_big(struct resp_request *r, size_t len)
{
    enum resp_result result = RESP_MORE;
    struct resp_request stepwise = {0};
    for (size_t n = 1; n <= len && result == RESP_MORE; n++) {
        result = resp_request_parse(&stepwise, big, n, &resp_defaults);
        assert_int_equal(stepwise.pos, n);
    }
    assert_int_equal(resp_request_parse(r, big, len, &resp_defaults), result);
    assert_int_equal(stepwise.size, r->size);
    assert_int_equal(stepwise.argc, r->argc);
    if (r->error)
        assert_string_equal(stepwise.error, r->error);
    resp_request_free(&stepwise);
    return result;
}

static void test_longest_line(void **state)
{
    struct resp_request r = {0};
    memset(big, 'a', sizeof(big));
    big[RESP_INLINE_MAX] = '\n';
    assert_int_equal(_parse_big(&r, RESP_INLINE_MAX), RESP_MORE);
    assert_int_equal(_parse_big(&r, RESP_INLINE_MAX + 1), RESP_DONE);
    assert_int_equal(r.args[0].len, RESP_INLINE_MAX);
    assert_int_equal(r.size, RESP_INLINE_MAX + 1);
    resp_request_reset(&r);
    assert_null(r.rewritten);
    big[RESP_INLINE_MAX] = 'a';
    big[RESP_INLINE_MAX + 1] = '\n';
    assert_int_equal(_parse_big(&r, RESP_INLINE_MAX + 2), RESP_ERROR);
    assert_string_equal(r.error, "Protocol error: too big inline request");
    resp_request_free(&r);
}

static void test_most_words(void **state)
{
    struct resp_request r = {0};
    for (size_t i = 0; i < RESP_INLINE_MAX; i += 2)
        memcpy(big + i, "a ", 2);
    big[RESP_INLINE_MAX] = '\n';
    assert_int_equal(_parse_big(&r, RESP_INLINE_MAX + 1), RESP_DONE);
    assert_int_equal(r.argc, RESP_INLINE_MAX / 2);
    assert_memory_equal(r.text, "*32768\r\n$1\r\na\r\n", 15);
    assert_int_equal(r.text_len, 8 + 7 * (RESP_INLINE_MAX / 2));
    assert_int_equal(r.text[r.args[r.argc - 1].off], 'a');
    resp_request_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),      cmocka_unit_test(test_quotes), cmocka_unit_test(test_unbalanced),
        cmocka_unit_test(test_nul),        cmocka_unit_test(test_limits), cmocka_unit_test(test_longest_line),
        cmocka_unit_test(test_most_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
