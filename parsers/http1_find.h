/*
 * Hashes what a header field or a cookie of a framed head says, for consistent hashing: the first field
 * line of a name; for cookies the first cookie of a name in the first Cookie line (RFC 6265 section 5.4: a
 * client sends one). Compiles into BPF programs and into host programs.
 *
 * The verifier follows every branch, and keeps the untaken ones of all rounds of a loop in mind at once
 * (8192 at most). So a round has two or three branches, which end the loop; the rest is arithmetic.
 *
 * The hash is FNV-1a with 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/), folded to 32.
 */
#pragma once

#ifndef __bpf__
#include <string.h>
#endif

#include "http1_scan.h"

/** Longest name. */
#define HTTP1_NAME_MAX 64

/** Room for a name: a power of two. */
#define HTTP1_NAME_ROOM 128

/** A field's name in lower case with `:` behind it, or a cookie's as it is with `=`, then zeros. */
struct http1_name {
    unsigned char text[HTTP1_NAME_ROOM];
    unsigned int len; /**< With `:` or `=`; 0: none. */
};

#ifndef __bpf__
/** @param text  At most HTTP1_NAME_MAX bytes.  @param end  `:` or `=`. */
static inline void http1_name_set(struct http1_name *name, const char *text, char end)
{
    *name = (struct http1_name){.len = (unsigned int)strlen(text) + 1};
    memcpy(name->text, text, name->len - 1);
    name->text[name->len - 1] = (unsigned char)end;
}
#endif

/** The result; in BPF it lives in a map, contents before a call do not matter. */
struct http1_find {
    unsigned long long hash;
    unsigned int off; /**< Where the value begins, spaces before it included; 0: it is not there. */
    unsigned int any; /**< Whether the value is more than spaces. */
};

#define HTTP1_HASH_BASIS 0xcbf29ce484222325ULL
#define HTTP1_HASH_PRIME 0x100000001b3ULL

static inline unsigned long long http1_hash_step(unsigned long long hash, unsigned char byte)
{
    return (hash ^ byte) * HTTP1_HASH_PRIME;
}

static inline unsigned int http1_hash_fold(unsigned long long hash)
{
    return (unsigned int)(hash ^ hash >> 32);
}

/* Bytes as masks: all ones if it is so, else 0. */

static inline unsigned int _http1_same(unsigned int a, unsigned int b)
{
    unsigned int rest = (a ^ b) - 1;
    HTTP1_OPAQUE(rest);
    unsigned int mask = 0 - (rest >> 31);
    HTTP1_OPAQUE(mask);
    return mask;
}

static inline unsigned int _http1_visible(unsigned int c)
{
    unsigned int rest = ' ' - c;
    HTTP1_OPAQUE(rest);
    return 0 - (rest >> 31);
}

static inline unsigned int _http1_lower(unsigned int c)
{
    unsigned int letter = (c - 'A') & 0xff;
    HTTP1_OPAQUE(letter);
    return c | ((letter - 26) >> 31) << 5;
}

/* How much of the name is matched after one more byte; HTTP1_NAME_ROOM - 1: it is another name. No byte
 * of a head is zero, so nothing is equal to what is behind the name. */
static inline unsigned int _http1_match(const struct http1_name *name, unsigned int matched, unsigned int c)
{
    unsigned int right = _http1_same(c, name->text[matched & (HTTP1_NAME_ROOM - 1)]);
    return ((matched + 1) | ~right) & (HTTP1_NAME_ROOM - 1);
}

/** One more byte of a head. @param matched  Begins with HTTP1_NAME_ROOM - 1. @return `name->len`: the value
 * begins behind the byte. */
static inline unsigned int http1_field_step(const struct http1_name *name, unsigned int matched,
                                            unsigned int c)
{
    return _http1_match(name, matched, _http1_lower(c)) & ~_http1_same(c, '\n');
}

/** One more byte of a Cookie field's value. @param matched  Begins with 0. @return As above. */
static inline unsigned int http1_cookie_step(const struct http1_name *name, unsigned int matched,
                                             unsigned int c)
{
    unsigned int between = _http1_same(c, ';') | (_http1_same(c, ' ') & _http1_same(matched, 0));
    return _http1_match(name, matched, c) & ~between;
}

/** One more byte of the value that is hashed: spaces around it do not count. */
static inline void http1_value_step(unsigned long long *all, struct http1_find *f, unsigned int c)
{
    unsigned int visible = _http1_visible(c);
    unsigned long long here = 0ULL - (visible & 1), wanted;
    f->any |= visible & 1;
    wanted = 0ULL - f->any;
    HTTP1_OPAQUE(here);
    HTTP1_OPAQUE(wanted);
    *all = (http1_hash_step(*all, (unsigned char)c) & wanted) | (HTTP1_HASH_BASIS & ~wanted);
    f->hash = (*all & here) | (f->hash & ~here);
}

/** Looks for the first field line of a name.
 *
 * @param w     A head that was framed.
 * @param n     Its length.
 * @param name  Not empty.
 * @param f     `off` is set: where its value begins, 0 without.
 * @return 0; -1 for a null pointer.
 */
HTTP1_GLOBAL int http1_find_field(const struct http1_window *w, unsigned int n, const struct http1_name *name,
                                  struct http1_find *f)
{
    unsigned int matched = HTTP1_NAME_ROOM - 1; /* The start line. */
    if (!w || !name || !f)
        return -1;
    f->off = 0;
    for (unsigned int i = 0; i < HTTP1_WINDOW; i++) {
        if (i >= n)
            break;
        matched = http1_field_step(name, matched, w->bytes[i]);
        if (matched == name->len) {
            f->off = i + 1;
            break;
        }
    }
    return 0;
}

/** Looks for a cookie in the value at `f->off`, which is moved to the cookie's value, or set to 0. The line
 * ends inside the window, as those of a head do. @return 0; -1 for a null pointer. */
HTTP1_GLOBAL int http1_find_cookie(const struct http1_window *w, const struct http1_name *name,
                                   struct http1_find *f)
{
    unsigned int matched = 0;
    if (!w || !name || !f)
        return -1;
    unsigned int at = f->off;
    f->off = 0;
    for (unsigned int i = 0; i < HTTP1_WINDOW; i++, at++) {
        HTTP1_OPAQUE(at);
        if (at >= HTTP1_WINDOW || w->bytes[at] == '\r')
            break;
        matched = http1_cookie_step(name, matched, w->bytes[at]);
        if (matched == name->len) {
            f->off = at + 1;
            break;
        }
    }
    return 0;
}

/** Hashes the value at `f->off`, up to the end of the line or to the byte `stop`. Sets `hash` and `any`.
 * @return 0; -1 for a null pointer. */
HTTP1_GLOBAL int http1_hash_found(const struct http1_window *w, unsigned int stop, struct http1_find *f)
{
    struct http1_find found = {.hash = HTTP1_HASH_BASIS};
    unsigned long long all = HTTP1_HASH_BASIS;
    if (!w || !f)
        return -1;
    unsigned int at = f->off;
    for (unsigned int i = 0; i < HTTP1_WINDOW; i++, at++) {
        HTTP1_OPAQUE(at);
        if (at >= HTTP1_WINDOW)
            break;
        unsigned int c = w->bytes[at];
        if (_http1_same(c, '\r') | _http1_same(c, stop))
            break;
        http1_value_step(&all, &found, c);
    }
    f->hash = found.hash;
    f->any = found.any;
    return 0;
}
