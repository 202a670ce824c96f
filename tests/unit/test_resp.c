/*
 * Numbers and header lines of RESP: what string2ll takes, and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "parsers/resp.h"

static const struct {
    const char *text;
    int64_t value;
} numbers[] = {
    {"0", 0},
    {"1", 1},
    {"-1", -1},
    {"10", 10},
    {"42", 42},
    {"536870912", 536870912},
    {"4294967296", 4294967296},
    {"9223372036854775807", INT64_MAX},
    {"-9223372036854775807", INT64_MIN + 1},
    {"-9223372036854775808", INT64_MIN},
    {"999999999999999999", 999999999999999999},
};

static const char *const not_numbers[] = {
    "",
    "-",
    "+",
    "+1",
    "-0",
    "00",
    "01",
    "-01",
    "--1",
    " 1",
    "1 ",
    "1a",
    "a",
    "0x1",
    "1.0",
    "1e3",
    "?",
    "9223372036854775808",
    "-9223372036854775809",
    "9300000000000000000",
    "18446744073709551615",
    "18446744073709551616",
    "18446744073709551617",
    "92233720368547758070",
    "100000000000000000000000000000",
};

static void test_numbers(void **state)
{
    for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
        int64_t value = 7;
        assert_true(resp_number(numbers[i].text, strlen(numbers[i].text), &value));
        assert_true(value == numbers[i].value);
    }
}

static void test_not_numbers(void **state)
{
    for (size_t i = 0; i < sizeof(not_numbers) / sizeof(*not_numbers); i++) {
        int64_t value = 7;
        if (resp_number(not_numbers[i], strlen(not_numbers[i]), &value))
            fail_msg("accepted: %s", not_numbers[i]);
        assert_int_equal(value, 7);
    }
    int64_t value;
    assert_false(resp_number("1\0", 2, &value));
    assert_true(resp_number("12", 1, &value));
    assert_int_equal(value, 1);
}

static void test_header(void **state)
{
    static const char types[] = "*$:%~>|=!";
    for (size_t t = 0; t < sizeof(types) - 1; t++) {
        for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++) {
            char line[64] = {types[t]};
            strcat(strcat(line, numbers[i].text), "\r\n");
            size_t len = strlen(line);
            char type = 0;
            int64_t value = 7;
            for (size_t cut = 0; cut < len; cut++)
                assert_int_equal(resp_header(line, cut, &type, &value), 0);
            assert_int_equal(type, 0);
            assert_int_equal(value, 7);
            assert_int_equal(resp_header(line, len, &type, &value), len);
            assert_int_equal(type, types[t]);
            assert_true(value == numbers[i].value);
            assert_int_equal(resp_header(strcat(line, "$1"), len + 2, &type, &value), len);
        }
    }
}

static void test_malformed_header(void **state)
{
    char type;
    int64_t value;
    for (size_t i = 0; i < sizeof(not_numbers) / sizeof(*not_numbers); i++) {
        char line[64] = "$";
        strcat(strcat(line, not_numbers[i]), "\r\n");
        assert_int_equal(resp_header(line, strlen(line), &type, &value), -1);
    }
    static const char *const lines[] = {"$1\n", "$1\rx", "$1\r\r\n", "$1\n\r", "*1 \r\n", "$\r\n", "$1$"};
    for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++)
        assert_int_equal(resp_header(lines[i], strlen(lines[i]), &type, &value), -1);
}

/* A line that never ends is given up on before it is long. */
static void test_endless_header(void **state)
{
    char line[64], type;
    int64_t value;
    memset(line, '1', sizeof(line));
    assert_int_equal(resp_header(line, sizeof(line), &type, &value), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),        cmocka_unit_test(test_not_numbers),
        cmocka_unit_test(test_header),         cmocka_unit_test(test_malformed_header),
        cmocka_unit_test(test_endless_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
