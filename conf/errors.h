/*
 * Where errors in a configuration go: one line each, `FILE:LINE: path.to.key: text`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct conf_doc;

/** More errors than this are not printed: the rest follows from a file that is something else. */
#define CONF_ERRORS_MAX 100

/** Collects the errors of one load. */
struct conf_errors {
    const char *file;           /**< As the user named it; not owned. */
    FILE *stream;               /**< Not owned; NULL = only count. */
    const struct conf_doc *doc; /**< Knows the line of each path; NULL = line 1. Not owned. */
    unsigned count;
};

/** Text small enough to travel by value, so that callers may nest it in an argument list. */
struct conf_text {
    char text[256];
};

/** Reports an error at a key path; its line comes from the document.
 *
 * @param path  Such as `listeners[0].address`.
 * @param fmt   What is wrong, what is expected; no newline.
 */
void conf_error(struct conf_errors *errors, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/** Same, at a line that the caller knows (from 1). */
void conf_error_at(struct conf_errors *errors, unsigned line, const char *path, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/** Whether there are so many that it is pointless to look for more. */
bool conf_errors_full(const struct conf_errors *errors);

/** A string in double quotes, fit for one line: control and non-ASCII bytes escaped, long ones cut. */
struct conf_text conf_quote(const char *s);

/** Same, without the quotes and with an explicit length in bytes. */
struct conf_text conf_printable(const char *s, size_t len);

/** Formats a key path. */
struct conf_text conf_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
