/*
 * Forms of a path. Routes match a path as it came, and it travels on as it came; but servers read
 * `/a/../b`, `/%62` or `/a//b` in different ways (RFC 3986 section 6.2.2, and what is common besides).
 * A proxy that routes by one reading while its server acts on another is a way around its routes,
 * so it has to know all of them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/** Number of forms that http1_path_form() knows. */
#define HTTP1_PATH_FORMS 24

/** Whether all forms of the path are the path itself: no percent-encoding, no empty segment, no
 * segment that begins with a dot, no backslash, no parameters.
 *
 * @param path  From its slash on, without query.
 */
bool http1_path_is_plain(const char *path, size_t len);

/** Writes one form of a path; dot segments are removed in all of them.
 *
 * @param form  0 to HTTP1_PATH_FORMS - 1: a combination of what is decoded (nothing, unreserved
 *              characters, everything), and of whether backslashes are slashes, empty segments are
 *              dropped, and `;` with what follows in its segment is.
 * @param out   At least `len` bytes; not `path` itself.
 * @return Its length, at most `len` and at least 1.
 */
size_t http1_path_form(unsigned form, const char *path, size_t len, char *out);
