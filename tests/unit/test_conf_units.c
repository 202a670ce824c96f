#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "conf/units.h"

#define UNTOUCHED 4711

struct row {
    const char *text;
    int r;
    uint64_t value;
};

static void _run(int (*parse)(const char *, uint64_t *), const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        uint64_t value = UNTOUCHED;
        int r = parse(rows[i].text, &value);

        if (r != rows[i].r || value != (r ? UNTOUCHED : rows[i].value))
            fail_msg("\"%s\": got %d, %llu", rows[i].text, r, (unsigned long long)value);
    }
}

static void _durations(void **state)
{
    static const struct row rows[] = {
        {"1us", 0, 1000},
        {"250ms", 0, 250000000},
        {"10s", 0, 10 * CONF_NS_PER_S},
        {"5m", 0, 300 * CONF_NS_PER_S},
        {"1h", 0, 3600 * CONF_NS_PER_S},
        {"24h", 0, 86400 * CONF_NS_PER_S},
        {"0s", 0, 0},
        {"007ms", 0, 7 * CONF_NS_PER_MS},
        {"18446744073709551us", 0, UINT64_C(18446744073709551000)},
        {"18446744073709552us", -ERANGE, 0},
        {"18446744073709551616us", -ERANGE, 0},
        {"99999999999999999999999999999999h", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"10", -EINVAL, 0},
        {"s", -EINVAL, 0},
        {"10 s", -EINVAL, 0},
        {" 10s", -EINVAL, 0},
        {"10s ", -EINVAL, 0},
        {"-1s", -EINVAL, 0},
        {"+1s", -EINVAL, 0},
        {"1.5s", -EINVAL, 0},
        {"10S", -EINVAL, 0},
        {"10sec", -EINVAL, 0},
        {"1m30s", -EINVAL, 0},
        {"1d", -EINVAL, 0},
        {"10ns", -EINVAL, 0},
        {"0x10s", -EINVAL, 0},
        {"10KiB", -EINVAL, 0},
    };

    _run(conf_parse_duration, rows, sizeof(rows) / sizeof(rows[0]));
}

static void _sizes(void **state)
{
    static const struct row rows[] = {
        {"0", 0, 0},
        {"1", 0, 1},
        {"512B", 0, 512},
        {"16KiB", 0, 16384},
        {"1MiB", 0, 1048576},
        {"2GiB", 0, UINT64_C(2147483648)},
        {"18446744073709551615", 0, UINT64_MAX},
        {"17179869183GiB", 0, UINT64_C(17179869183) << 30},
        {"18446744073709551616", -ERANGE, 0},
        {"17179869184GiB", -ERANGE, 0},
        {"", -EINVAL, 0},
        {"KiB", -EINVAL, 0},
        {"16KB", -EINVAL, 0},
        {"16K", -EINVAL, 0},
        {"16kib", -EINVAL, 0},
        {"16 KiB", -EINVAL, 0},
        {"16TiB", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"1.5MiB", -EINVAL, 0},
        {"10s", -EINVAL, 0},
    };

    _run(conf_parse_size, rows, sizeof(rows) / sizeof(rows[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(_durations),
        cmocka_unit_test(_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
