/* Text in RESP that is put together in pieces: a reply of skein's own, or a part of a command. */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** Zero it to begin with; free `data` at the end. */
struct redis_text {
    char *data;
    size_t len;
    size_t cap;
};

static inline void redis_text_add(struct redis_text *t, const char *data, size_t len)
{
    if (t->len + len > t->cap) {
        t->cap = (t->len + len) * 2;
        t->data = realloc(t->data, t->cap);
        if (!t->data)
            abort(); /* Out of memory: nothing sensible can be promised any more. */
    }
    memcpy(t->data + t->len, data, len);
    t->len += len;
}

/** Adds at most 255 bytes. */
static inline void __attribute__((format(printf, 2, 3)))
redis_text_addf(struct redis_text *t, const char *format, ...)
{
    char line[256];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(line, sizeof(line), format, ap);
    va_end(ap);
    redis_text_add(t, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

/** Adds a bulk string. */
static inline void redis_text_bulk(struct redis_text *t, const char *data, size_t len)
{
    redis_text_addf(t, "$%zu\r\n", len);
    redis_text_add(t, data, len);
    redis_text_add(t, "\r\n", 2);
}
