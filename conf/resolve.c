/*
 * Helpers that the sections share.
 */
#include "conf/resolve.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "conf/address.h"
#include "conf/units.h"

#define NAME_CHARS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"
#define NAME_LEN   63

/** Names that an error lists. */
#define LISTED_MAX 8

void conf_check_name(struct conf_build *build, const char *path, const char *name)
{
    size_t len = strlen(name);

    if (!len || len > NAME_LEN || strspn(name, NAME_CHARS) != len)
        conf_error(build->errors, path,
                   "%s is not a name, expected 1 to %d of the characters A-Z a-z 0-9 _ . -",
                   conf_quote(name).text, NAME_LEN);
}

bool conf_list_name(struct conf_text *list, size_t index, const char *name)
{
    size_t n = strlen(list->text);

    snprintf(list->text + n, sizeof(list->text) - n, "%s%s", index ? ", " : "",
             index < LISTED_MAX ? conf_printable(name, strlen(name)).text : "...");

    return index < LISTED_MAX;
}

void conf_resolve_address(struct conf_build *build, const char *path, const char *text,
                          struct conf_address *address)
{
    const char *problem = conf_address_parse(text, address);

    if (problem)
        conf_error(build->errors, path, "%s: %s", conf_quote(text).text, problem);
}

uint32_t conf_resolve_uint(struct conf_build *build, const char *path, const uint64_t *raw, uint32_t min,
                           uint32_t max, uint32_t fallback)
{
    if (!raw)
        return fallback;
    if (*raw < min || *raw > max) {
        conf_error(build->errors, path, "%" PRIu64 " is out of range, expected %" PRIu32 " to %" PRIu32, *raw,
                   min, max);
        return fallback;
    }

    return (uint32_t)*raw;
}

/** Reports what a parser returned, or a value out of the range; otherwise keeps the value. */
static void _keep(struct conf_build *build, const struct conf_unit_rule *rule, int r, uint64_t value,
                  const char *grammar)
{
    if (r == -EINVAL)
        conf_error(build->errors, rule->path, "%s is not %s", conf_quote(rule->text).text, grammar);
    else if (r || value < rule->min || value > rule->max)
        conf_error(build->errors, rule->path, "%s is out of range, expected %s", conf_quote(rule->text).text,
                   rule->expected);
    else
        *rule->out = value;
}

void conf_resolve_size(struct conf_build *build, const struct conf_unit_rule *rule)
{
    uint64_t bytes = 0;
    int r = rule->text ? conf_parse_size(rule->text, &bytes) : 0;

    if (rule->text)
        _keep(build, rule, r, bytes,
              "a size, expected an integer with an optional unit B, KiB, MiB or GiB, such as 16KiB");
}

void conf_resolve_duration(struct conf_build *build, const struct conf_unit_rule *rule)
{
    uint64_t ns = 0;
    int r = rule->text ? conf_parse_duration(rule->text, &ns) : 0;

    if (rule->text)
        _keep(build, rule, r, ns,
              "a duration, expected an integer with a unit us, ms, s, m or h, such as 250ms");
}
