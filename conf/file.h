#pragma once

#include <stddef.h>

/** A configuration is smaller than this, in bytes; anything larger is another kind of file. */
#define CONF_FILE_MAX (4 << 20)

/** Reads a file whole; pipes too.
 *
 * @param file  Path.
 * @param buf   The bytes, not NUL-terminated; the caller frees them. Untouched on failure.
 * @param len   Their count. Untouched on failure.
 * @return 0, -EFBIG, -ENOMEM, or the -errno of open() or read().
 */
int conf_file_read(const char *file, char **buf, size_t *len);
