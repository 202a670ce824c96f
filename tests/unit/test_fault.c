/*
 * Names and statuses of what can go wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "proxy/fault.h"

static void test_names(void **state)
{
    for (unsigned f = 0; f < _FAULT_MAX; f++) {
        assert_non_null(fault_name(f));
        assert_int_equal(strspn(fault_name(f), "abcdefghijklmnopqrstuvwxyz_"), strlen(fault_name(f)));
        assert_in_range(fault_status(f), 400, 599);
        for (unsigned other = 0; other < f; other++)
            assert_string_not_equal(fault_name(f), fault_name(other));
    }
}

static void test_of_status(void **state)
{
    static const int verdicts[] = {400, 414, 417, 431, 501};
    for (size_t i = 0; i < sizeof(verdicts) / sizeof(verdicts[0]); i++)
        assert_int_equal(fault_status(fault_of_status(verdicts[i])), verdicts[i]);
    assert_int_equal(fault_of_status(400), FAULT_BAD_REQUEST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_of_status)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
