/*
 * Inline commands: a line of words, quoted as redis' sdssplitargs takes them. They become a
 * multibulk here, so that nothing behind the parser has to know them.
 *
 * The line is split twice: once to count and measure, once to write into exactly as much memory.
 */
#include "parsers/resp_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** Bytes that `*N\r\n` or `$N\r\n` takes at most here. */
#define LENGTH_LINE_MAX 16

/* isspace() of the C locale: what separates words. */
static bool _is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* What ends a word outside of quotes; vertical tab and form feed do not. */
static bool _ends_word(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int _hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char _escaped(char c)
{
    switch (c) {
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    case 'b':
        return '\b';
    case 'a':
        return '\a';
    default:
        return c;
    }
}

/* Takes one byte of a quoted string, escapes resolved. @return Bytes of input. */
static size_t _quoted_byte(const char *p, const char *end, char quote, char *byte)
{
    *byte = *p;
    if (*p != '\\' || end - p < 2)
        return 1;
    if (quote == '\'') {
        if (p[1] != '\'')
            return 1;
        *byte = '\'';
        return 2;
    }
    if (end - p >= 4 && p[1] == 'x' && _hex(p[2]) >= 0 && _hex(p[3]) >= 0) {
        *byte = (char)(_hex(p[2]) << 4 | _hex(p[3]));
        return 4;
    }
    *byte = _escaped(p[1]);
    return 2;
}

/* Takes the word at `*at`. A quote may open inside of a word, and its end is the word's end.
 * @param out  Receives the word, unless NULL. @return Its length, -1 if quotes do not balance. */
static int64_t _word(const char **at, const char *end, char *out)
{
    const char *p = *at;
    int64_t n = 0;
    while (p < end && !_ends_word(*p) && *p != '"' && *p != '\'') {
        if (out)
            out[n] = *p;
        n++;
        p++;
    }
    if (p < end && !_ends_word(*p)) {
        char quote = *p++;
        while (p < end && *p != quote) {
            char byte;
            p += _quoted_byte(p, end, quote, &byte);
            if (out)
                out[n] = byte;
            n++;
        }
        if (p == end || (p + 1 < end && !_is_space(p[1])))
            return -1;
        p++;
    }
    *at = p;
    return n;
}

static const char *_next_word(const char *p, const char *end)
{
    while (p < end && _is_space(*p))
        p++;
    return p;
}

/* Counts and measures the words: argn and args[].len. */
static const char *_measure(struct resp_request *r, const char *p, const char *end,
                            const struct resp_limits *limits)
{
    r->argn = 0;
    while ((p = _next_word(p, end)) < end) {
        int64_t n = _word(&p, end, NULL);
        if (n < 0)
            return "Protocol error: unbalanced quotes in request";
        if (n > limits->bulk)
            return "Protocol error: invalid bulk length";
        if (r->argn == limits->multibulk)
            return "Protocol error: invalid multibulk length";
        if (r->argn == r->cap && !resp_args_grow(r))
            return r->error;
        r->args[r->argn++] = (struct resp_arg){.len = (uint32_t)n};
    }
    return NULL;
}

static const char *_reserve(struct resp_request *r)
{
    size_t need = LENGTH_LINE_MAX;
    for (uint32_t i = 0; i < r->argn; i++)
        need += LENGTH_LINE_MAX + r->args[i].len + 2;
    if (need <= r->rewritten_cap)
        return NULL;
    char *memory = realloc(r->rewritten, need);
    if (!memory)
        return "out of memory";
    r->rewritten = memory;
    r->rewritten_cap = (uint32_t)need;
    return NULL;
}

static void _write(struct resp_request *r, const char *p, const char *end)
{
    char *out = r->rewritten;
    out += snprintf(out, LENGTH_LINE_MAX, "*%u\r\n", r->argn);
    for (uint32_t i = 0; i < r->argn; i++) {
        struct resp_arg *arg = &r->args[i];
        out += snprintf(out, LENGTH_LINE_MAX, "$%u\r\n", arg->len);
        arg->off = (uint32_t)(out - r->rewritten);
        p = _next_word(p, end);
        out += _word(&p, end, out);
        *out++ = '\r';
        *out++ = '\n';
    }
    r->text = r->rewritten;
    r->text_len = (size_t)(out - r->rewritten);
}

static const char *_rewrite(struct resp_request *r, const char *line, const char *end,
                            const struct resp_limits *limits)
{
    /* A server would wait behind it for a line end that it does not see. */
    if (memchr(line, '\0', (size_t)(end - line)))
        return "Protocol error: NUL in inline request";
    const char *error = _measure(r, line, end, limits);
    if (!error)
        error = _reserve(r);
    if (!error)
        _write(r, line, end);
    return error;
}

enum resp_result resp_inline_parse(struct resp_request *r, const char *data, size_t len,
                                   const struct resp_limits *limits)
{
    size_t window = len < RESP_INLINE_MAX + 1 ? len : RESP_INLINE_MAX + 1;
    const char *lf = r->pos < window ? memchr(data + r->pos, '\n', window - r->pos) : NULL;
    r->is_inline = true;
    r->pos = window;
    if (!lf) {
        if (window <= RESP_INLINE_MAX)
            return RESP_MORE;
        r->error = "Protocol error: too big inline request";
        return RESP_ERROR;
    }
    r->size = (size_t)(lf - data) + 1;
    const char *end = lf > data && lf[-1] == '\r' ? lf - 1 : lf;
    r->error = _rewrite(r, data, end, limits);
    if (r->error)
        return RESP_ERROR;
    r->pos = r->size;
    r->argc = r->whole = r->argn;
    return RESP_DONE;
}
