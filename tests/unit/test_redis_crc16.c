/*
 * CRC16 and Redis Cluster's slots: published vectors, and the table against the polynomial.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "parsers/redis_crc16.h"
#include "parsers/redis_ring.h"

static uint32_t _slot(const char *key)
{
    return redis_key_slot(key, strlen(key));
}

/* One bit at a time, from the definition. */
static uint16_t _by_definition(const uint8_t *data, size_t len)
{
    uint32_t crc = 0;
    for (size_t bit = 0; bit < 8 * len; ++bit) {
        uint32_t in = data[bit / 8] >> (7 - bit % 8) & 1, out = crc >> 15 & 1;
        crc = (crc << 1 & 0xffff) ^ (in ^ out ? 0x1021 : 0);
    }

    return (uint16_t)crc;
}

static void test_vectors(void **state)
{
    assert_int_equal(redis_crc16("123456789", 9), 0x31c3);
    assert_int_equal(redis_crc16("A", 1), 0x58e5);
    assert_int_equal(redis_crc16("", 0), 0);
    assert_int_equal(redis_crc16(NULL, 0), 0);
}

static void test_definition(void **state)
{
    uint8_t data[64];
    uint32_t seed = 1;
    for (size_t len = 0; len <= sizeof(data); ++len) {
        for (size_t i = 0; i < len; ++i) {
            seed = seed * 1664525 + 1013904223;
            data[i] = (uint8_t)(seed >> 24);
        }
        assert_int_equal(redis_crc16((const char *)data, len), _by_definition(data, len));
    }
    for (unsigned i = 0; i < 256; ++i) {
        uint8_t byte = (uint8_t)i;
        assert_int_equal(redis_crc16_step(0, byte), _by_definition(&byte, 1));
    }
}

static void test_steps_and_pieces(void **state)
{
    const char text[] = "in pieces, byte by byte";
    size_t len = sizeof(text) - 1;
    unsigned short crc = 0;
    for (size_t i = 0; i < len; ++i)
        crc = redis_crc16_step(crc, (unsigned char)text[i]);
    assert_int_equal(crc, redis_crc16(text, len));
    for (size_t cut = 0; cut <= len; ++cut)
        assert_int_equal(redis_crc16_update(redis_crc16_update(0, text, cut), text + cut, len - cut), crc);
}

static void test_slots(void **state)
{
    assert_int_equal(_slot("foo"), 12182);
    assert_int_equal(_slot("bar"), 5061);
    assert_int_equal(_slot("hello"), 866);
    assert_int_equal(_slot("123456789"), 0x31c3);
    assert_int_equal(_slot(""), 0);
}

static void test_tags(void **state)
{
    assert_int_equal(_slot("{user1000}.following"), _slot("user1000"));
    assert_int_equal(_slot("{user1000}.followers"), _slot("user1000"));
    assert_int_equal(_slot("foo{}{bar}"), redis_crc16("foo{}{bar}", 10) % REDIS_SLOTS);
    assert_int_equal(_slot("foo{{bar}}zap"), _slot("{bar"));
    assert_int_equal(_slot("foo{bar}{zap}"), _slot("bar"));
    assert_int_equal(_slot("}foo{bar"), redis_crc16("}foo{bar", 8) % REDIS_SLOTS);
    assert_int_equal(_slot("}{foo}"), _slot("foo"));
    assert_int_equal(_slot("{"), redis_crc16("{", 1) % REDIS_SLOTS);
    assert_int_equal(_slot("{}"), redis_crc16("{}", 2) % REDIS_SLOTS);
    assert_int_equal(redis_key_slot("a{\0b}\0", 6), redis_crc16("\0b", 2) % REDIS_SLOTS);
    /* What lies behind the key does not matter. */
    assert_int_equal(redis_key_slot("x{foo}", 5), redis_crc16("x{foo", 5) % REDIS_SLOTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_definition),
        cmocka_unit_test(test_steps_and_pieces),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_tags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
