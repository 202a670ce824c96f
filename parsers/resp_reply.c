/*
 * The reply scanner. It knows three kinds of bytes: header lines, which have to be there whole;
 * text lines, searched for their CR; and bulk strings, skipped. Aggregates are a stack of counts.
 *
 * A CR inside of a text line is refused: clients disagree on whether the line ends there.
 */
#include "parsers/resp.h"

#include <string.h>

#include "parsers/resp_internal.h"

/** Longest bulk string that a server may send (redis: proto-max-bulk-len's default). */
#define BULK_MAX 536870912

/** Marks the frame of an attribute, which is no element of what it is in. */
#define ATTRIBUTE (UINT64_C(1) << 63)

static enum resp_result _fail(struct resp_reply *r, const char *error)
{
    r->error = error;
    return RESP_ERROR;
}

/* An element is complete: closes the aggregates that end with it. @return RESP_DONE if the reply
 * does, RESP_MORE if something follows. */
static enum resp_result _element_done(struct resp_reply *r)
{
    while (r->depth > 0) {
        uint64_t *left = &r->left[r->depth - 1];
        (*left)--;
        if (*left & ~ATTRIBUTE)
            return RESP_MORE;
        r->depth--;
        if (*left & ATTRIBUTE) {
            if (r->depth == 0)
                r->in_attribute = false;
            return RESP_MORE;
        }
    }
    return RESP_DONE;
}

static enum resp_result _aggregate(struct resp_reply *r, char type, int64_t count)
{
    if (count == -1 && type == '*')
        return _element_done(r);
    if (count < 0 || count > INT32_MAX)
        return _fail(r, "invalid number of elements");
    uint64_t elements = (uint64_t)count << (type == '%' || type == '|');
    if (elements == 0)
        return type == '|' ? RESP_MORE : _element_done(r);
    if (r->depth == RESP_DEPTH_MAX)
        return _fail(r, "aggregates nested too deeply");
    if (type == '|') {
        elements |= ATTRIBUTE;
        r->in_attribute |= r->depth == 0;
    }
    r->left[r->depth++] = elements;
    return RESP_MORE;
}

static enum resp_result _bulk(struct resp_reply *r, char type, int64_t length)
{
    if (length == -1 && type == '$')
        return _element_done(r);
    if (length < (type == '=' ? 4 : 0) || length > BULK_MAX)
        return _fail(r, "invalid bulk length");
    r->remaining = (uint64_t)length + 2;
    return RESP_MORE;
}

/* A line that begins with a type and has a number. */
static inline enum resp_result _number_line(struct resp_reply *r, const char *line, size_t len, size_t *used)
{
    int64_t value = 0;
    int n = resp_header_value(line, len, &value);
    if (n <= 0) {
        if (n == 0)
            return RESP_MORE;
        return _fail(r, line[1] == '?' && *line != ':' ? "streamed type" : "invalid number");
    }
    char type = *line;
    if (type == '>') {
        if (r->depth > 0)
            return _fail(r, "push inside of a reply");
        r->push = true;
    }
    if (r->depth == 0 && type != '|')
        r->type = type;
    *used = (size_t)n;
    switch (type) {
    case ':':
        return _element_done(r);
    case '$':
    case '=':
    case '!':
        return _bulk(r, type, value);
    default:
        return _aggregate(r, type, value);
    }
}

/* `_`, `#t`, `#f`: lines of a fixed text. */
static enum resp_result _fixed_line(struct resp_reply *r, const char *line, size_t len, size_t *used)
{
    size_t cr = 1;
    if (*line == '#') {
        if (len > 1 && line[1] != 't' && line[1] != 'f')
            return _fail(r, "invalid boolean");
        cr = 2;
    }
    if ((len > cr && line[cr] != '\r') || (len > cr + 1 && line[cr + 1] != '\n'))
        return _fail(r, "expected CRLF");
    if (len < cr + 2)
        return RESP_MORE;
    if (r->depth == 0)
        r->type = *line;
    *used = cr + 2;
    return _element_done(r);
}

/* Goes on with a text line. */
static enum resp_result _text_line(struct resp_reply *r, const char *data, size_t len, size_t *used)
{
    size_t at = 0;
    if (!r->seen_cr) {
        const char *cr = memchr(data, '\r', len);
        at = cr ? (size_t)(cr - data) + 1 : len;
        r->seen_cr = cr != NULL;
    }
    *used = at;
    if (at == len)
        return RESP_MORE;
    if (data[at] != '\n')
        return _fail(r, "CR inside of a line");
    *used = at + 1;
    r->in_line = r->seen_cr = false;
    return _element_done(r);
}

static enum resp_result _text_begin(struct resp_reply *r, const char *line, size_t len, size_t *used)
{
    if (r->depth == 0)
        r->type = *line;
    if (len >= 5 && memcmp(line, "+OK\r\n", 5) == 0) {
        *used = 5;
        return _element_done(r);
    }
    r->in_line = true;
    enum resp_result result = RESP_MORE;
    size_t n = 0;
    if (len > 1)
        result = _text_line(r, line + 1, len - 1, &n);
    *used = 1 + n;
    return result;
}

static enum resp_result _bulk_body(struct resp_reply *r, const char *data, size_t len, size_t *used)
{
    if (!resp_skip_bulk(&r->remaining, data, len, used))
        return _fail(r, "expected CRLF after bulk string");
    return r->remaining ? RESP_MORE : _element_done(r);
}

static inline enum resp_result _begin(struct resp_reply *r, const char *line, size_t len, size_t *used)
{
    switch (*line) {
    case '$':
    case ':':
    case '*':
    case '%':
    case '~':
    case '=':
    case '!':
    case '>':
    case '|':
        return _number_line(r, line, len, used);
    case '+':
    case '-':
    case ',':
    case '(':
        return _text_begin(r, line, len, used);
    case '_':
    case '#':
        return _fixed_line(r, line, len, used);
    default:
        return _fail(r, "unknown type");
    }
}

enum resp_result resp_reply_feed(struct resp_reply *r, const char *data, size_t len, size_t *used)
{
    size_t at = 0;
    enum resp_result result = RESP_MORE;
    while (at < len && result == RESP_MORE) {
        size_t n = 0;
        if (r->remaining > 0)
            result = _bulk_body(r, data + at, len - at, &n);
        else if (r->in_line)
            result = _text_line(r, data + at, len - at, &n);
        else
            result = _begin(r, data + at, len - at, &n);
        at += n;
        if (n == 0)
            break;
    }
    *used = at;
    return result;
}
