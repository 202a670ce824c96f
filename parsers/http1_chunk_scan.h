/*
 * Chunk lines for the kernel path, compiled into BPF programs and into host programs from this one
 * source: what stands between the data of two chunks, in one piece.
 *
 * It accepts a strict subset of RFC 9112 section 7.1: no extensions, no trailers. Whatever else comes
 * belongs to http1_chunked.h, which can go on wherever this leaves off.
 */
#pragma once

#include "http1_scan.h"

/** Digits of a chunk size that are taken. */
#define HTTP1_CHUNK_DIGITS 15

/** Longest chunk line: CRLF after the data before, size, CRLF, and the CRLF after the last chunk. */
#define HTTP1_CHUNK_LINE (2 + HTTP1_CHUNK_DIGITS + 2 + 2)

/** The bytes a chunk line is looked for in. */
struct http1_chunk_window {
    unsigned char bytes[24];
};

/** How far a chunked body is, between two bytes of data or before a chunk line. */
struct http1_chunks {
    unsigned long long left; /**< Data bytes of the chunk at hand that are still to come. */
    unsigned long long seen; /**< Data bytes announced so far. */
    unsigned int begun;      /**< A chunk line was seen: CRLF ends the data of its chunk. */
    unsigned int done;       /**< The last chunk was seen. */
};

enum http1_chunk_result {
    HTTP1_CHUNK_MORE = 0,     /**< The line is not complete. */
    HTTP1_CHUNK_REFUSED = -1, /**< Extensions, trailers, too many digits, or malformed. */
};

/** Value of a hexadecimal digit plus one; 0 for other bytes. */
static const unsigned char http1_hex_plus_one[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

/* Whether CRLF stands at `at`. @return 2, or enum http1_chunk_result. */
static inline int _http1_chunk_crlf(const struct http1_chunk_window *w, unsigned int n, unsigned int at)
{
    HTTP1_OPAQUE(at);
    if (at >= n || at + 1 >= sizeof(w->bytes))
        return HTTP1_CHUNK_MORE;
    if (w->bytes[at] != '\r')
        return HTTP1_CHUNK_REFUSED;
    if (at + 1 >= n)
        return HTTP1_CHUNK_MORE;
    return w->bytes[at + 1] == '\n' ? 2 : HTTP1_CHUNK_REFUSED;
}

/** Reads the chunk line at the start of a window (RFC 9112 section 7.1).
 *
 * @param w  The bytes.
 * @param n  Bytes available, at most the window.
 * @param c  Body without data left (`left` is 0) that is not done; brought up to date on success.
 * @return Bytes of the line, or enum http1_chunk_result. HTTP1_CHUNK_MORE for n < HTTP1_CHUNK_LINE only.
 */
HTTP1_GLOBAL int http1_chunk_line(const struct http1_chunk_window *w, unsigned int n, struct http1_chunks *c)
{
    unsigned long long size = 0;
    unsigned int at = 0, digits;
    int r;

    if (!w || !c)
        return HTTP1_CHUNK_REFUSED;
    if (c->begun) {
        r = _http1_chunk_crlf(w, n, at);
        if (r <= 0)
            return r;
        at = 2;
    }
    for (digits = 0; digits < HTTP1_CHUNK_DIGITS; digits++) {
        unsigned int i = at + digits;
        HTTP1_OPAQUE(i);
        if (i >= n || i >= sizeof(w->bytes))
            return HTTP1_CHUNK_MORE;
        unsigned int value = http1_hex_plus_one[w->bytes[i]];
        if (!value)
            break;
        size = size << 4 | (value - 1);
    }
    if (!digits)
        return HTTP1_CHUNK_REFUSED;
    at += digits;
    r = _http1_chunk_crlf(w, n, at);
    if (r <= 0)
        return r;
    at += 2;
    if (!size) {
        r = _http1_chunk_crlf(w, n, at);
        if (r <= 0)
            return r;
        at += 2;
        c->done = 1;
    }
    c->begun = 1;
    c->left = size;
    c->seen += size;
    return (int)at;
}
