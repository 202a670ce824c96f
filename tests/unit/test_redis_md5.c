/*
 * MD5: RFC 1321's test suite.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "parsers/redis_hash.h"

static void _check(const char *text, const char *expected)
{
    uint8_t digest[16];
    char hex[33];
    redis_md5(text, strlen(text), digest);
    for (unsigned i = 0; i < 16; ++i)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    assert_string_equal(hex, expected);
}

static void test_rfc_1321(void **state)
{
    _check("", "d41d8cd98f00b204e9800998ecf8427e");
    _check("a", "0cc175b9c0f1b6a831c399e269772661");
    _check("abc", "900150983cd24fb0d6963f7d28e17f72");
    _check("message digest", "f96b697d7cb7938d525a2f31aaf161d0");
    _check("12345678901234567890123456789012345678901234567890123456789012345678901234567890",
           "57edf4a22be3c955ac49da2e2107b67a");
}

static void test_parts(void **state)
{
    uint8_t digest[16];
    for (uint8_t i = 0; i < 16; ++i)
        digest[i] = (uint8_t)(0xf0 + i);
    assert_int_equal(redis_md5_part(digest, 0), 0xf3f2f1f0);
    assert_int_equal(redis_md5_part(digest, 3), 0xfffefdfc);
}

static void test_init_again(void **state)
{
    assert_int_equal(redis_md5_init(), 0);
    test_rfc_1321(state);
}

static int _setup(void **state)
{
    return redis_md5_init();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc_1321),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_init_again),
    };

    return cmocka_run_group_tests(tests, _setup, NULL);
}
