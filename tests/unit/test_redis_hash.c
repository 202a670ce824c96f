/*
 * twemproxy's hash functions: published vectors where it follows them, else values that a real
 * nutcracker's distribution was compared with.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parsers/redis_crc16.h"
#include "parsers/redis_hash.h"

struct row {
    enum redis_hash hash;
    const char *key;
    uint32_t expected;
};

static uint32_t _hash(enum redis_hash hash, const char *key)
{
    return redis_hash_function(hash)(key, strlen(key));
}

static void _check(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        uint32_t actual = _hash(rows[i].hash, rows[i].key);
        if (actual != rows[i].expected)
            fail_msg("hash %d of row %zu: 0x%08x, expected 0x%08x", rows[i].hash, i, actual,
                     rows[i].expected);
    }
}

#define CHECK(rows) _check(rows, sizeof(rows) / sizeof(rows[0]))

static void test_published(void **state)
{
    static const struct row rows[] = {
        {REDIS_HASH_FNV1_32, "a", 0x050c5d7e},
        {REDIS_HASH_FNV1_32, "foobar", 0x31f0b262},
        {REDIS_HASH_FNV1A_32, "a", 0xe40c292c},
        {REDIS_HASH_FNV1A_32, "foobar", 0xbf9cf968},
        /* 0x340d8765a4dda9c2 and 0x85944171f73967e8: the low halves. */
        {REDIS_HASH_FNV1_64, "foobar", 0xa4dda9c2},
        {REDIS_HASH_FNV1A_64, "foobar", 0xf73967e8},
        {REDIS_HASH_CRC32A, "123456789", 0xcbf43926},
        {REDIS_HASH_CRC32, "123456789", 0x4bf4},
        {REDIS_HASH_CRC16, "1", 0x2672},
        {REDIS_HASH_MD5, "123456789", 0x94e7f925},
        {REDIS_HASH_ONE_AT_A_TIME, "a", 0xca2e9442},
        {REDIS_HASH_ONE_AT_A_TIME, "The quick brown fox jumps over the lazy dog", 0x519e91f5},
    };
    CHECK(rows);
}

static void test_twemproxys(void **state)
{
    static const struct row rows[] = {
        {REDIS_HASH_HSIEH, "a", 0x93642e87},
        {REDIS_HASH_HSIEH, "foobar", 0x07a5862c},
        {REDIS_HASH_HSIEH, "0123456789abcdef!", 0x55e63cdb},
        {REDIS_HASH_MURMUR, "a", 0x4b41757c},
        {REDIS_HASH_MURMUR, "foobar", 0xabecff17},
        {REDIS_HASH_MURMUR, "0123456789abcdef!", 0x475dcb69},
        {REDIS_HASH_JENKINS, "a", 0xe0a38690},
        {REDIS_HASH_JENKINS, "foobar", 0x0fdd8b60},
        {REDIS_HASH_JENKINS, "0123456789abcdef!", 0xdc0a5e4f},
    };
    CHECK(rows);
}

static void test_bytes_above_127(void **state)
{
    static const struct row rows[] = {
        {REDIS_HASH_FNV1_32, "\x80\xff", 0x5376ffb2},
        {REDIS_HASH_FNV1A_32, "\x80\xff", 0x945dce20},
        {REDIS_HASH_FNV1_64, "\x80\xff", 0xb4eb0692},
        {REDIS_HASH_FNV1A_64, "\x80\xff", 0xb58758e0},
        {REDIS_HASH_ONE_AT_A_TIME, "\x80\xff\x81", 0x7d34a97d},
        {REDIS_HASH_HSIEH, "\x80\xff\x81", 0x3aa2d80c},
        {REDIS_HASH_MURMUR, "\x80\xff\x81", 0x89b26d61},
        {REDIS_HASH_JENKINS, "\x80\xff\x81", 0x8bc1c299},
    };
    CHECK(rows);
}

static void test_crc16_keeps_what_was_shifted_out(void **state)
{
    static const char *const keys[] = {"a", "foobar", "0123456789abcdef!", "\x80\xff\x81"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); ++i)
        assert_int_equal(_hash(REDIS_HASH_CRC16, keys[i]) & 0xffff, redis_crc16(keys[i], strlen(keys[i])));
    assert_int_equal(_hash(REDIS_HASH_CRC16, "foobar"), 0x9effb025);
}

/* Each function of each length, from an exact allocation (so that a sanitizer sees an overrun) and at
 * each alignment: always the same, and different from that of the neighbours. */
static void test_lengths_and_alignments(void **state)
{
    char key[48];
    for (size_t i = 0; i < sizeof(key); ++i)
        key[i] = (char)(i * 37 + 101);
    for (int hash = 0; hash < _REDIS_HASH_MAX; ++hash) {
        redis_hash_fn function = redis_hash_function((enum redis_hash)hash);
        assert_non_null(function);
        for (size_t len = 1; len <= sizeof(key); ++len) {
            uint32_t expected = function(key, len);
            for (size_t shift = 0; shift < 4; ++shift) {
                char *copy = malloc(shift + len);
                memcpy(copy + shift, key, len);
                assert_int_equal(function(copy + shift, len), expected);
                copy[shift + len - 1] ^= 1;
                assert_int_not_equal(function(copy + shift, len), expected);
                free(copy);
            }
        }
    }
}

static int _setup(void **state)
{
    return redis_md5_init();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published),
        cmocka_unit_test(test_twemproxys),
        cmocka_unit_test(test_bytes_above_127),
        cmocka_unit_test(test_crc16_keeps_what_was_shifted_out),
        cmocka_unit_test(test_lengths_and_alignments),
    };

    return cmocka_run_group_tests(tests, _setup, NULL);
}
