/*
 * Shared by the RESP parsers: the one digit loop for all lengths, inline because it is on the way
 * of every argument and every reply; and what resp_request.c asks of resp_inline.c.
 */
#pragma once

#include "parsers/resp.h"

/** Reads the canonical decimal number at the beginning of `p`.
 * @return Bytes of the number as far as it is there; 0 if not even one digit is; -1 if it is none. */
static inline int resp_digits(const char *p, size_t len, int64_t *out)
{
    size_t minus = len > 0 && *p == '-';
    if (len <= minus)
        return 0;
    uint64_t value = (uint64_t)(unsigned char)p[minus] - '0';
    if (value > 9 || (minus && value == 0))
        return -1;
    size_t i = minus + 1;
    while (i < len && value > 0) { /* nothing follows a leading zero */
        unsigned digit = (unsigned)(unsigned char)p[i] - '0';
        if (digit > 9)
            break;
        if (value > INT64_MAX / 10)
            return -1;
        value = value * 10 + digit;
        i++;
    }
    if (value > (uint64_t)INT64_MAX + minus)
        return -1;
    *out = (int64_t)(minus ? 0 - value : value);
    return (int)i;
}

/** resp_header() without the type. */
static inline int resp_header_value(const char *data, size_t len, int64_t *value)
{
    int64_t number = 0;
    if (len == 0)
        return 0;
    int digits = resp_digits(data + 1, len - 1, &number);
    if (digits <= 0)
        return digits;
    size_t cr = 1 + (size_t)digits;
    if (len == cr)
        return 0;
    if (data[cr] != '\r')
        return -1;
    if (len == cr + 1)
        return 0;
    if (data[cr + 1] != '\n')
        return -1;
    *value = number;
    return (int)cr + 2;
}

/** Takes what is there of a bulk string and its CRLF.
 * @param remaining  Bytes still to come, CRLF included.
 * @param used       Bytes taken. @return false if the CRLF is none. */
static inline bool resp_skip_bulk(uint64_t *remaining, const char *data, size_t len, size_t *used)
{
    size_t n = 0;
    if (*remaining > 2) {
        n = len < *remaining - 2 ? len : (size_t)(*remaining - 2);
        *remaining -= n;
    }
    while (n<len && * remaining> 0 && data[n] == (*remaining == 2 ? '\r' : '\n')) {
        (*remaining)--;
        n++;
    }
    *used = n;
    return n == len || *remaining == 0;
}

/** Makes room for one more argument than `r->cap`. @return false without memory; `error` is set. */
bool resp_args_grow(struct resp_request *r);

/** The part of resp_request_parse() for a command that does not begin with `*`. */
enum resp_result resp_inline_parse(struct resp_request *r, const char *data, size_t len,
                                   const struct resp_limits *limits);
