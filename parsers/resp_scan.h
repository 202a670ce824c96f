/*
 * The RESP framer itself, compiled into BPF programs and into host programs from this one
 * source: no libc, and all that lasts longer than one element lives in memory.
 *
 * The unit is an element: a line, and after `$N` the bulk string. resp_scan_element() is a
 * function that the verifier checks on its own, once; framing a command or a reply is a bounded
 * loop around calls of it. As the verifier knows nothing about what is in memory, every round of
 * that loop looks the same to it.
 */
#pragma once

#include "resp_framer.h"

#ifdef __bpf__
#define RESP_GLOBAL __attribute__((noinline))
#else
#define RESP_GLOBAL static inline
#endif

/** Keeps the compiler from checking one copy of a value and using another: the verifier does
 * not know that they are equal. */
#define RESP_OPAQUE(value) __asm__ volatile("" : "+r"(value))

/** Digits of the largest number, 2^63. */
#define RESP_SCAN_DIGITS 19

/** Working memory of one framing; in BPF it lives in a map, contents before a call do not matter. */
struct resp_scan_state {
    long long value;       /**< Number of the last element's line. */
    unsigned int pos;      /**< Where the next element begins, possibly beyond the window. */
    unsigned int text;     /**< Where the last element's line ended. */
    unsigned int left;     /**< Reply: elements still to come. */
    unsigned int elements; /**< Reply: elements that arrays announced. */
    unsigned int arrays;   /**< Reply: arrays so far. */
    unsigned char only;    /**< The one type that is allowed; 0: all. */
    unsigned char type;    /**< First byte of the last element. */
    unsigned char _pad[2];
};

/* The byte at `at`, or the negative reason why it can not be had. */
static inline int _resp_byte(const struct http1_window *w, unsigned int n, unsigned int at)
{
    RESP_OPAQUE(at);
    if (at >= HTTP1_WINDOW)
        return -RESP_FRAME_TOO_LONG;
    if (at >= n)
        return -RESP_FRAME_PARTIAL;
    return w->bytes[at];
}

/* Demands CRLF at `at`. */
static inline int _resp_crlf(const struct http1_window *w, unsigned int n, unsigned int at)
{
    int c = _resp_byte(w, n, at);
    if (c < 0)
        return -c;
    if (c != '\r')
        return RESP_FRAME_SYNTAX;
    c = _resp_byte(w, n, at + 1);
    if (c < 0)
        return -c;
    return c == '\n' ? RESP_FRAME_OK : RESP_FRAME_SYNTAX;
}

/* A canonical number and CRLF. 19 digits do not overflow an unsigned 64-bit number. */
static inline int _resp_scan_number(const struct http1_window *w, unsigned int n, struct resp_scan_state *s)
{
    unsigned int at = s->pos;
    int c = _resp_byte(w, n, at);
    unsigned int minus = c == '-';
    if (minus)
        c = _resp_byte(w, n, ++at);
    if (c < 0)
        return -c;
    unsigned long long value = (unsigned int)c - '0';
    if (value > 9 || (minus && value == 0))
        return RESP_FRAME_SYNTAX;
    for (unsigned int i = 1; i < RESP_SCAN_DIGITS; i++) {
        c = _resp_byte(w, n, at + i);
        unsigned int digit = (unsigned int)c - '0';
        if (digit > 9 || value == 0) { /* nothing follows a leading zero */
            at += i;
            goto end;
        }
        value = value * 10 + digit;
    }
    at += RESP_SCAN_DIGITS;
end:
    if (value > 0x7fffffffffffffffULL + minus)
        return RESP_FRAME_SYNTAX;
    s->value = (long long)(minus ? 0 - value : value);
    s->text = s->pos = at + 2;
    return _resp_crlf(w, n, at);
}

/* A text and CRLF; no CR inside. What follows the loop takes the place from memory: the verifier
 * would look at it once for each place otherwise. */
static inline int _resp_scan_text(const struct http1_window *w, unsigned int n, struct resp_scan_state *s)
{
    unsigned int start = s->pos;
    for (unsigned int i = 0; i < HTTP1_WINDOW; i++) {
        int c = _resp_byte(w, n, start + i);
        if (c < 0)
            return -c;
        if (c == '\r') {
            s->text = start + i;
            break;
        }
    }
    __asm__ volatile("" ::: "memory");
    s->pos = s->text + 2;
    int reason = _resp_crlf(w, n, s->text);
    s->text = s->pos;
    return reason;
}

/* Skips a bulk string; of its CRLF, what is there has to be right. */
static inline int _resp_scan_bulk(const struct http1_window *w, unsigned int n, struct resp_scan_state *s)
{
    long long len = s->value;
    if (len < 0 || len > RESP_FRAME_BULK_MAX)
        return RESP_FRAME_SYNTAX;
    unsigned int end = s->text + (unsigned int)len;
    s->pos = end + 2;
    return _resp_crlf(w, n, end) == RESP_FRAME_SYNTAX ? RESP_FRAME_SYNTAX : RESP_FRAME_OK;
}

/** Takes the element at `s->pos`: sets type, value, text and pos. An array is taken up to its
 * first element. Its lines have to be there, the text of a bulk string and its CRLF do not.
 *
 * @return enum resp_frame_reason
 */
RESP_GLOBAL int resp_scan_element(const struct http1_window *w, unsigned int n, struct resp_scan_state *s)
{
    if (!w || !s)
        return RESP_FRAME_SYNTAX;
    int type = _resp_byte(w, n, s->pos);
    if (type < 0)
        return -type;
    if (s->only && type != s->only)
        return RESP_FRAME_SYNTAX;
    s->type = (unsigned char)type;
    s->pos++;
    if (type == '+' || type == '-')
        return _resp_scan_text(w, n, s);
    if (type != '$' && type != '*' && type != ':')
        return RESP_FRAME_TYPE;
    int reason = _resp_scan_number(w, n, s);
    if (reason != RESP_FRAME_OK || type != '$' || s->value == -1)
        return reason;
    return _resp_scan_bulk(w, n, s);
}

/* An argument that is never null. */
static inline int _resp_argument(const struct http1_window *w, unsigned int n, struct resp_scan_state *s)
{
    int reason = resp_scan_element(w, n, s);
    return reason == RESP_FRAME_OK && s->value < 0 ? RESP_FRAME_SYNTAX : reason;
}

/* Demands that the text of the last bulk string is there. */
static inline int _resp_inside(unsigned int n, const struct resp_scan_state *s)
{
    unsigned int end = s->pos - 2;
    if (end > HTTP1_WINDOW)
        return RESP_FRAME_TOO_LONG;
    return end > n ? RESP_FRAME_PARTIAL : RESP_FRAME_OK;
}

static inline int _resp_name(const struct http1_window *w, unsigned int n, struct resp_scan_state *s,
                             struct resp_frame *f)
{
    int reason = _resp_argument(w, n, s);
    if (reason != RESP_FRAME_OK)
        return reason;
    if (s->value == 0 || s->value > RESP_FRAME_NAME_MAX)
        return RESP_FRAME_NAME;
    f->name_off = (unsigned short)s->text;
    f->name_len = (unsigned short)s->value;
    return _resp_inside(n, s);
}

static inline int _resp_key(const struct http1_window *w, unsigned int n, struct resp_scan_state *s,
                            struct resp_frame *f)
{
    int reason = _resp_argument(w, n, s);
    if (reason != RESP_FRAME_OK)
        return reason;
    f->key_off = (unsigned short)s->text;
    f->key_len = (unsigned short)s->value;
    f->flags |= RESP_F_KEY;
    return _resp_inside(n, s);
}

static inline int _resp_command(const struct http1_window *w, unsigned int n, struct resp_scan_state *s,
                                struct resp_frame *f)
{
    int first = _resp_byte(w, n, s->pos);
    s->only = '*';
    int reason = resp_scan_element(w, n, s);
    if (reason != RESP_FRAME_OK)
        return reason == RESP_FRAME_SYNTAX && first != '*' ? RESP_FRAME_INLINE : reason;
    if (s->value < 1 || s->value > RESP_FRAME_ARGS_MAX)
        return RESP_FRAME_COUNT;
    f->argc = (unsigned short)s->value;
    s->only = '$';
    reason = _resp_name(w, n, s, f);
    if (reason == RESP_FRAME_OK && f->argc > 1)
        reason = _resp_key(w, n, s, f);
    for (unsigned int i = 2; i < RESP_FRAME_ARGS_MAX; i++) {
        if (reason != RESP_FRAME_OK || i >= f->argc)
            break;
        reason = _resp_argument(w, n, s);
    }
    return reason;
}

/** Frames the command at `from` in a window: a multibulk of 1 to RESP_FRAME_ARGS_MAX arguments.
 * The name, the second argument and all arguments but the last have to be there; the last one
 * may reach beyond `n` and beyond the window. Whoever forwards what was not there has to see that it
 * ends with CRLF.
 *
 * It begins anew with every call.
 *
 * @param w  The bytes; those from `n` on are not looked at.
 * @param from  Where the message begins.
 * @param n  Bytes available, from the start of the window; more than HTTP1_WINDOW counts as HTTP1_WINDOW.
 * @param s  Working memory.
 * @param f  With RESP_FRAME_OK everything is set; otherwise only `reason` is meaningful.
 * @return enum resp_frame_reason. RESP_FRAME_PARTIAL for n < HTTP1_WINDOW only, and then it is
 *         no error for resp_request_parse() either.
 */
RESP_GLOBAL int resp_frame_command(const struct http1_window *w, unsigned int from, unsigned int n,
                                   struct resp_scan_state *s, struct resp_frame *f)
{
    if (!w || !s || !f)
        return RESP_FRAME_SYNTAX;
    *f = (struct resp_frame){0};
    s->pos = from;
    int reason = _resp_command(w, n, s, f);
    f->head_len = (unsigned short)(s->text - from);
    f->len = s->pos - from;
    f->reason = (unsigned char)reason;
    return reason;
}

/* The last element is an array: its elements are to come. */
static inline int _resp_array(struct resp_scan_state *s)
{
    if (++s->arrays > RESP_FRAME_ARRAYS_MAX)
        return RESP_FRAME_DEPTH;
    if (s->value == -1)
        return RESP_FRAME_OK;
    if (s->value < 0)
        return RESP_FRAME_SYNTAX;
    if (s->value > RESP_FRAME_ELEMENTS_MAX - (long long)s->elements)
        return RESP_FRAME_COUNT;
    s->elements += (unsigned int)s->value;
    s->left += (unsigned int)s->value;
    return RESP_FRAME_OK;
}

static inline int _resp_reply(const struct http1_window *w, unsigned int n, struct resp_scan_state *s)
{
    s->elements = s->arrays = 0;
    s->left = 1;
    s->only = 0;
    for (unsigned int i = 0; i <= RESP_FRAME_ELEMENTS_MAX; i++) {
        if (s->left == 0)
            break;
        int reason = resp_scan_element(w, n, s);
        s->left--;
        if (reason == RESP_FRAME_OK && s->type == '*')
            reason = _resp_array(s);
        if (reason != RESP_FRAME_OK)
            return reason;
    }
    return RESP_FRAME_OK;
}

/** Frames the reply at `from` in a window: RESP2, arrays of at most RESP_FRAME_ELEMENTS_MAX
 * elements. All elements but the last have to be there, and the last one too unless it is a
 * bulk string, which may reach beyond `n` and beyond the window.
 *
 * Parameters as for resp_frame_command().
 * @return enum resp_frame_reason. RESP_FRAME_PARTIAL for n < HTTP1_WINDOW only, and then it is
 *         no error for resp_reply_feed() either.
 */
RESP_GLOBAL int resp_frame_reply(const struct http1_window *w, unsigned int from, unsigned int n,
                                 struct resp_scan_state *s, struct resp_frame *f)
{
    if (!w || !s || !f)
        return RESP_FRAME_SYNTAX;
    *f = (struct resp_frame){0};
    s->pos = from;
    int reason = _resp_reply(w, n, s), type = _resp_byte(w, n, from);
    f->type = (unsigned char)(type < 0 ? 0 : type);
    f->head_len = (unsigned short)(s->text - from);
    f->len = s->pos - from;
    f->reason = (unsigned char)reason;
    return reason;
}
