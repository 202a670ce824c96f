/*
 * The kernel path's way through a chunked body (chunks_walk() in bpf/body.h), for the host: what goes on
 * together of some bytes, and what of it is data.
 */
#pragma once

#include <stddef.h>
#include <string.h>

#include "parsers/http1_chunk_scan.h"

struct http1_walk {
    struct http1_chunks chunks; /**< Zero before a body. */
    int stop;                   /**< enum http1_chunk_result: why it went no further. */
};

/** Goes through one slice.
 * @param data  Gets the data bytes, at most `len`; `*data_len` counts on.
 * @return Bytes of `buf` that are understood; all of them, or `stop` says why not. */
static inline size_t http1_walk(struct http1_walk *w, const char *buf, size_t len, char *data,
                                size_t *data_len)
{
    struct http1_chunks *c = &w->chunks;
    struct http1_chunk_window line;
    size_t at = 0;
    w->stop = HTTP1_CHUNK_MORE;
    while (at < len && !c->done) {
        size_t rest = len - at;
        if (c->left) {
            size_t n = rest < c->left ? rest : (size_t)c->left;
            memcpy(data + *data_len, buf + at, n);
            *data_len += n;
            c->left -= n;
            at += n;
            continue;
        }
        if (rest > sizeof(line))
            rest = sizeof(line);
        memset(&line, 0xaa, sizeof(line));
        memcpy(line.bytes, buf + at, rest);
        w->stop = http1_chunk_line(&line, (unsigned)rest, c);
        if (w->stop <= 0)
            break;
        at += (size_t)w->stop;
        w->stop = HTTP1_CHUNK_MORE;
    }
    return at;
}
