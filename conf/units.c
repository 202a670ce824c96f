#include "conf/units.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit _duration_units[] = {
    {"us", CONF_NS_PER_US}, {"ms", CONF_NS_PER_MS}, {"s", CONF_NS_PER_S},
    {"m", CONF_NS_PER_M},   {"h", CONF_NS_PER_H},   {NULL, 0},
};

static const struct unit _size_units[] = {
    {"", 1}, {"B", 1}, {"KiB", CONF_KIB}, {"MiB", CONF_MIB}, {"GiB", CONF_GIB}, {NULL, 0},
};

static int _parse(const char *text, const struct unit *units, uint64_t *out)
{
    size_t digits = strspn(text, "0123456789");
    uint64_t value = 0;

    if (!digits)
        return -EINVAL;
    while (units->name && strcmp(units->name, text + digits))
        units++;
    if (!units->name)
        return -EINVAL;

    for (size_t i = 0; i < digits; ++i) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
            return -ERANGE;
    }
    if (__builtin_mul_overflow(value, units->factor, &value))
        return -ERANGE;
    *out = value;

    return 0;
}

int conf_parse_duration(const char *text, uint64_t *ns)
{
    return _parse(text, _duration_units, ns);
}

int conf_parse_size(const char *text, uint64_t *bytes)
{
    return _parse(text, _size_units, bytes);
}
