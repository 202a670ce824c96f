/*
 * Chunk lines for the kernel path: each number of digits, cut at every byte, what is refused, and the same
 * boundaries as the userspace framer, which goes on wherever this one leaves off.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "http1_chunk_walk.h"
#include "parsers/http1_chunked.h"

static struct http1_chunks chunks;

static int _line(const char *text, size_t len, bool begun)
{
    struct http1_chunk_window w;
    memset(&w, 'f', sizeof(w));
    memcpy(w.bytes, text, len < sizeof(w) ? len : sizeof(w));
    chunks = (struct http1_chunks){.seen = 1000, .begun = begun};
    return http1_chunk_line(&w, (unsigned)(len < sizeof(w) ? len : sizeof(w)), &chunks);
}

static void _unchanged(bool begun)
{
    assert_true(chunks.left == 0 && chunks.seen == 1000 && chunks.begun == begun && !chunks.done);
}

/* The line is complete, and not earlier: cut at every byte it asks for more and says nothing. */
static void _complete(const char *text, bool begun, unsigned long long size)
{
    size_t len = strlen(text);
    for (size_t cut = 0; cut < len; cut++) {
        assert_int_equal(_line(text, cut, begun), HTTP1_CHUNK_MORE);
        _unchanged(begun);
    }
    assert_int_equal(_line(text, len, begun), len);
    assert_true(chunks.left == size && chunks.seen == 1000 + size && chunks.begun && chunks.done == !size);
}

static void test_every_number_of_digits(void **state)
{
    char text[64];
    unsigned long long size = 0;
    for (int digits = 1; digits <= HTTP1_CHUNK_DIGITS; digits++) {
        size = size << 4 | (unsigned)digits;
        for (int begun = 0; begun < 2; begun++) {
            const char *before = begun ? "\r\n" : "";
            snprintf(text, sizeof(text), "%s%llx\r\n", before, size);
            _complete(text, begun, size);
            snprintf(text, sizeof(text), "%s%llX\r\n", before, size);
            _complete(text, begun, size);
            snprintf(text, sizeof(text), "%s%0*d\r\n", before, digits, 7);
            _complete(text, begun, 7);
            snprintf(text, sizeof(text), "%s%0*d\r\n\r\n", before, digits, 0);
            assert_true(strlen(text) <= HTTP1_CHUNK_LINE);
            _complete(text, begun, 0);
        }
    }
}

/* Bytes behind the line are not its. */
static void test_following_bytes_are_not_read(void **state)
{
    assert_int_equal(_line("3\r\nabc\r\n", 8, false), 3);
    assert_int_equal(chunks.left, 3);
    assert_int_equal(_line("\r\n0\r\n\r\nHTTP/1.1", 15, true), 7);
    assert_true(chunks.done);
}

struct refused {
    const char *text;
    bool begun;
    size_t at; /**< Bytes up to the one that shows it, that one included. */
};

static const struct refused refused[] = {
    {"\r\n", false, 1},
    {"x\r\n", false, 1},
    {" 3\r\n", false, 1},
    {"3 \r\n", false, 2},
    {"3\t\r\n", false, 2},
    {"-1\r\n", false, 1},
    {"+1\r\n", false, 1},
    {"0x3\r\n", false, 2},
    {"3;a=b\r\n", false, 2},
    {"3\n", false, 2},
    {"3\rx", false, 3},
    {"3\r\r\n", false, 3},
    {"0\r\nX: y\r\n\r\n", false, 4},
    {"0;x\r\n\r\n", false, 2},
    {"0\r\n\rx", false, 5},
    {"0\r\n\n", false, 4},
    {"1000000000000000\r\n", false, 16},
    {"0000000000000003\r\n", false, 16},
    {"3\r\n", true, 1},
    {"x3\r\n", true, 1},
    {"\n3\r\n", true, 1},
    {"\rx3\r\n", true, 2},
    {"\r\n\r\n", true, 3},
    {"\r\n3;x\r\n", true, 4},
    {"\r\n0000000000000003\r\n", true, 18},
    {"\r\n0\r\nX: y\r\n\r\n", true, 6},
};

/* Refused as soon as it shows, whatever comes behind, and without a trace in the state. */
static void test_refused(void **state)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        const struct refused *r = &refused[i];
        for (size_t n = 0; n <= strlen(r->text); n++) {
            int expected = n < r->at ? HTTP1_CHUNK_MORE : HTTP1_CHUNK_REFUSED;
            if (_line(r->text, n, r->begun) != expected)
                fail_msg("case %zu, %zu bytes: not %d", i, n, expected);
            _unchanged(r->begun);
        }
    }
}

/* Only hexadecimal digits are digits, and CR alone ends a line, on every place. */
static void test_every_byte(void **state)
{
    for (int c = 0; c < 256; c++) {
        char text[] = {(char)c, '1', '\r', '\n'};
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        assert_int_equal(_line(text, sizeof(text), false), hex ? 4 : HTTP1_CHUNK_REFUSED);
        char end[] = {'1', (char)c, '\n', 'x'};
        int r = _line(end, sizeof(end), false);
        assert_int_equal(r, c == '\r' ? 3 : HTTP1_CHUNK_REFUSED);
    }
}

/* With as many bytes as the longest line has, the answer is never that more are needed. */
static void test_never_more_than_a_line(void **state)
{
    static const char alphabet[] = "0f\r\n;";
    char text[HTTP1_CHUNK_LINE];
    uint32_t random = 1;
    for (int i = 0; i < 200000; i++) {
        for (size_t k = 0; k < sizeof(text); k++) {
            random = random * 1664525U + 1013904223U;
            text[k] = alphabet[(random >> 24) % (sizeof(alphabet) - 1)];
        }
        bool begun = i & 1;
        if (begun && i & 2)
            memcpy(text, "\r\n", 2);
        assert_int_not_equal(_line(text, sizeof(text), begun), HTTP1_CHUNK_MORE);
    }
}

static void test_null_is_refused(void **state)
{
    struct http1_chunk_window w = {{'1', '\r', '\n'}};
    assert_int_equal(http1_chunk_line(NULL, 3, &chunks), HTTP1_CHUNK_REFUSED);
    assert_int_equal(http1_chunk_line(&w, 3, NULL), HTTP1_CHUNK_REFUSED);
}

/* The rest of a body as the userspace framer decodes it. */
static enum http1_chunked_event _decode(struct http1_chunked *c, const char *buf, size_t len, char *data,
                                        size_t *data_len, size_t *used)
{
    enum http1_chunked_event e = HTTP1_CHUNKED_DATA;
    *used = 0;
    while (e == HTTP1_CHUNKED_DATA || e == HTTP1_CHUNKED_TRAILER) {
        const char *piece;
        size_t piece_len, n;
        e = http1_chunked_next(c, buf + *used, len - *used, &n, &piece, &piece_len);
        *used += n;
        if (e != HTTP1_CHUNKED_DATA)
            continue;
        memcpy(data + *data_len, piece, piece_len);
        *data_len += piece_len;
    }
    return e;
}

struct body {
    const char *text;
    const char *data;
    size_t walked; /**< Bytes that the kernel path goes through. */
};

static const struct body bodies[] = {
    {"0\r\n\r\n", "", 5},
    {"5\r\nhello\r\n0\r\n\r\n", "hello", 15},
    {"1\r\na\r\n02\r\nbc\r\n003\r\ndef\r\n0000\r\n\r\n", "abcdef", 32},
    {"3\r\n\r\n0\r\n2\r\n\r\n\r\n0\r\n\r\n", "\r\n0\r\n", 20},
    {"5\r\nhello\r\n3;x=y\r\nabc\r\n0\r\n\r\n", "helloabc", 8},
    {"3;x\r\nabc\r\n0\r\n\r\n", "abc", 0},
    {"5\r\nhello\r\n0\r\nX: y\r\n\r\n", "hello", 8},
    {"5\r\nhello\r\n0000000000000003\r\nabc\r\n0\r\n\r\n", "helloabc", 8},
};

/* A body goes through the walk up to every byte, one slice or two, then userspace goes on: as in one go. */
static void test_resume(void **state)
{
    for (size_t i = 0; i < sizeof(bodies) / sizeof(*bodies); i++) {
        const struct body *b = &bodies[i];
        size_t len = strlen(b->text);
        for (size_t cut = 0; cut <= len; cut++) {
            struct http1_walk w = {0};
            struct http1_chunked c;
            char data[64];
            size_t data_len = 0, used = 0;
            size_t at = http1_walk(&w, b->text, cut, data, &data_len);
            assert_true(at <= cut && at <= b->walked);
            assert_int_equal(w.chunks.seen - w.chunks.left, data_len);
            if (cut == len)
                assert_int_equal(at, b->walked);
            assert_int_equal(w.chunks.done, at == len);
            if (!w.chunks.done) {
                http1_chunked_resume(&c, w.chunks.begun, w.chunks.left);
                assert_int_equal(_decode(&c, b->text + at, len - at, data, &data_len, &used),
                                 HTTP1_CHUNKED_END);
            }
            assert_int_equal(at + used, len);
            assert_int_equal(data_len, strlen(b->data));
            assert_memory_equal(data, b->data, data_len);
        }
    }
}

/* Where the walk stops for a malformed line, userspace finds the error. */
static void test_malformed_after_resume(void **state)
{
    static const char *const texts[] = {"3\r\nabcd\r\n", "3\r\nabc\r\nx", "3\r\nabc\r\n\r\n", "3\r\nabc\n",
                                        "3 \r\nabc"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
        struct http1_walk w = {0};
        struct http1_chunked c;
        char data[64];
        size_t data_len = 0, used, len = strlen(texts[i]);
        size_t at = http1_walk(&w, texts[i], len, data, &data_len);
        assert_int_equal(w.stop, HTTP1_CHUNK_REFUSED);
        http1_chunked_resume(&c, w.chunks.begun, w.chunks.left);
        assert_int_equal(_decode(&c, texts[i] + at, len - at, data, &data_len, &used), HTTP1_CHUNKED_ERROR);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_number_of_digits),
        cmocka_unit_test(test_following_bytes_are_not_read),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_never_more_than_a_line),
        cmocka_unit_test(test_null_is_refused),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_malformed_after_resume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
