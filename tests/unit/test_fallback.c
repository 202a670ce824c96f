/*
 * Names of the reasons: metrics label counters with them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "skein/fallback.h"

static void test_names_are_unique(void **state)
{
    for (unsigned i = 0; i < _FALLBACK_MAX; i++) {
        const char *name = fallback_name(i);
        assert_non_null(name);
        assert_int_not_equal(strlen(name), 0);
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz_"), strlen(name));
        assert_string_not_equal(name, "unknown");
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(name, fallback_name(j));
    }
}

static void test_out_of_range(void **state)
{
    assert_string_equal(fallback_name(_FALLBACK_MAX), "unknown");
    assert_string_equal(fallback_name(UINT32_MAX), "unknown");
}

static void test_framer_reasons_keep_their_numbers(void **state)
{
    assert_int_equal(FALLBACK_HEAD, HTTP1_OK);
    assert_int_equal(FALLBACK_PIPELINED, _HTTP1_REASON_MAX);
    assert_string_equal(fallback_name(HTTP1_OK), "none");
    assert_string_equal(fallback_name(HTTP1_SYNTAX), "syntax");
    assert_string_equal(fallback_name(HTTP1_CONTENT_LENGTH), "content_length");
    assert_string_equal(fallback_name(_HTTP1_REASON_MAX - 1), "chunk");
    assert_string_equal(fallback_name(FALLBACK_PIPELINED), "pipelined");
    assert_string_equal(fallback_name(FALLBACK_INTERNAL), "internal");
    assert_string_equal(fallback_name(FALLBACK_RESP + RESP_FRAME_SYNTAX), "resp_syntax");
    assert_string_equal(fallback_name(_FALLBACK_MAX - 1), "resp_depth");
    /* struct slot keeps a reason in one byte. */
    assert_true(_FALLBACK_MAX <= UINT8_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_unique),
        cmocka_unit_test(test_out_of_range),
        cmocka_unit_test(test_framer_reasons_keep_their_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
