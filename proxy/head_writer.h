/* Writing a head into a buffer that may be too small; shared by the files that make heads. */
#pragma once

#include <stdbool.h>
#include <string.h>

struct writer {
    char *at;
    char *end;
    bool overflow;
};

static inline void _put(struct writer *w, const char *data, size_t len)
{
    if ((size_t)(w->end - w->at) < len) {
        w->overflow = true;
        return;
    }
    memcpy(w->at, data, len);
    w->at += len;
}

static inline void _puts(struct writer *w, const char *text)
{
    _put(w, text, strlen(text));
}

/** Ends the head. @return Its length, or 0 if it did not fit. */
static inline size_t _finish(struct writer *w, const char *out)
{
    _put(w, "\r\n", 2);
    return w->overflow ? 0 : (size_t)(w->at - out);
}
