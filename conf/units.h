/*
 * Durations and sizes as people write them: `250ms`, `16KiB`.
 */
#pragma once

#include <stdint.h>

#define CONF_NS_PER_US UINT64_C(1000)
#define CONF_NS_PER_MS (1000 * CONF_NS_PER_US)
#define CONF_NS_PER_S  (1000 * CONF_NS_PER_MS)
#define CONF_NS_PER_M  (60 * CONF_NS_PER_S)
#define CONF_NS_PER_H  (60 * CONF_NS_PER_M)

#define CONF_KIB UINT64_C(1024)
#define CONF_MIB (1024 * CONF_KIB)
#define CONF_GIB (1024 * CONF_MIB)

/** Parses a duration: a decimal integer and a unit, one of us, ms, s, m, h, nothing between them.
 *
 * @param text  NUL-terminated.
 * @param ns    Nanoseconds; untouched on failure.
 * @return 0, -EINVAL if it is not such a text, -ERANGE if it does not fit.
 */
int conf_parse_duration(const char *text, uint64_t *ns);

/** Parses a size: a decimal integer and an optional unit, one of B, KiB, MiB, GiB.
 *
 * @param text   NUL-terminated.
 * @param bytes  Untouched on failure.
 * @return 0, -EINVAL if it is not such a text, -ERANGE if it does not fit.
 */
int conf_parse_size(const char *text, uint64_t *bytes);
