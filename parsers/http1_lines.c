/*
 * The strict raw-line pass: CRLF only, one SP, tchar names, no controls, no folding.
 * Every scan stops at LF at the latest, and a head's last byte is LF, so no loop needs
 * a second bound.
 */
#include <string.h>

#include "http1_internal.h"

#define T HTTP1_C_TOKEN
#define V HTTP1_C_VALUE
#define G HTTP1_C_TARGET
#define H HTTP1_C_HOST
#define D (HTTP1_C_DIGIT | HTTP1_C_HEX)
#define X HTTP1_C_HEX

const uint8_t http1_char_class[256] = {
    ['\t'] = V,
    [' '] = V,
    ['!'] = T | V | G | H,
    ['"'] = V | G,
    ['#'] = T | V,
    ['$'] = T | V | G | H,
    ['%'] = T | V | G,
    ['&' ... '\''] = T | V | G | H,
    ['(' ... ')'] = V | G | H,
    ['*' ... '+'] = T | V | G | H,
    [','] = V | G,
    ['-' ... '.'] = T | V | G | H,
    ['/'] = V | G,
    ['0' ... '9'] = T | V | G | H | D,
    [':'] = V | G,
    [';'] = V | G | H,
    ['<'] = V | G,
    ['='] = V | G | H,
    ['>' ... '@'] = V | G,
    ['A' ... 'F'] = T | V | G | H | X,
    ['G' ... 'Z'] = T | V | G | H,
    ['[' ... ']'] = V | G,
    ['^'] = T | V | G,
    ['_'] = T | V | G | H | HTTP1_C_UNDERSCORE,
    ['`'] = T | V | G,
    ['a' ... 'f'] = T | V | G | H | X,
    ['g' ... 'z'] = T | V | G | H,
    ['{'] = V | G,
    ['|'] = T | V | G,
    ['}'] = V | G,
    ['~'] = T | V | G | H,
    [0x80 ... 0xff] = V,
};

#undef T
#undef V
#undef G
#undef H
#undef D
#undef X

/** Empty lines before a request line that are tolerated at a time. */
#define EMPTY_LINES_MAX 4

static bool _is_ows(char c)
{
    return c == ' ' || c == '\t';
}

size_t http1_head_end(const char *buf, size_t len, size_t from)
{
    while (from < len) {
        const char *lf = memchr(buf + from, '\n', len - from);
        if (!lf)
            return 0;
        size_t at = (size_t)(lf - buf);
        if (at >= 1 && buf[at - 1] == '\n')
            return at + 1;
        if (at >= 2 && buf[at - 1] == '\r' && buf[at - 2] == '\n')
            return at + 1;
        from = at + 1;
    }
    return 0;
}

size_t http1_skip_empty_lines(const char *buf, size_t len)
{
    size_t n = 0;
    while (n < 2 * EMPTY_LINES_MAX && n + 2 <= len && buf[n] == '\r' && buf[n + 1] == '\n')
        n += 2;
    return n;
}

/* Length of the method if it is followed by SP, 0 if more is needed, or minus the status. */
static int _partial_method(const char *buf, size_t len)
{
    size_t n = 0;
    while (n < len && n <= HTTP1_METHOD_MAX && http1_is(buf[n], HTTP1_C_TOKEN))
        n++;
    if (n > HTTP1_METHOD_MAX)
        return -501;
    if (n == len)
        return 0;
    return n > 0 && buf[n] == ' ' ? (int)n : -400;
}

int http1_request_partial(const char *buf, size_t len, const struct http1_limits *limits)
{
    static const char preface[] = "PRI * HTTP/2";
    if (len == 0 || (len == 1 && buf[0] == '\r'))
        return 0;
    if (len >= sizeof(preface) - 1 && memcmp(buf, preface, sizeof(preface) - 1) == 0)
        return http1_fail(400, "HTTP/2 preface on an HTTP/1.1 listener");

    int method = _partial_method(buf, len);
    if (method < 0)
        return http1_fail(-method, "bytes that can not begin a request");
    if (method > 0) {
        const char *target = buf + method + 1;
        size_t rest = len - (size_t)method - 1;
        size_t window = rest > limits->target_bytes ? (size_t)limits->target_bytes + 1 : rest;
        if (window > limits->target_bytes && !memchr(target, ' ', window) && !memchr(target, '\n', window))
            return http1_fail(414, "request target over the limit");
    }
    if (len > limits->header_bytes)
        return http1_fail(431, "head over the limit");
    return 0;
}

/* Reads `HTTP/1.0` or `HTTP/1.1`; RFC 9112 section 2.3. */
static bool _read_version(const char *p, const char *end, uint8_t *minor)
{
    if (end - p < 8 || memcmp(p, "HTTP/1.", 7) != 0 || (p[7] != '0' && p[7] != '1'))
        return false;
    *minor = (uint8_t)(p[7] - '0');
    return true;
}

int http1_read_request_line(const char *buf, size_t len, struct http1_message *msg, size_t *off)
{
    const char *end = buf + len;
    const char *p = buf;
    while (http1_is(*p, HTTP1_C_TOKEN))
        p++;
    msg->method = (struct http1_span){0, (uint32_t)(p - buf)};
    if (p == buf || *p != ' ')
        return http1_fail(400, "method is not a token followed by one space");
    if (msg->method.len > HTTP1_METHOD_MAX)
        return http1_fail(501, "method too long");

    const char *target = ++p;
    while (http1_is(*p, HTTP1_C_TARGET))
        p++;
    msg->target = (struct http1_span){(uint32_t)(target - buf), (uint32_t)(p - target)};
    if (p == target || *p != ' ')
        return http1_fail(400, "target empty, or holds a character that must be encoded, or no version");
    p++;
    if (!_read_version(p, end, &msg->minor))
        return http1_fail(400, "version is neither HTTP/1.1 nor HTTP/1.0");
    p += 8;
    if (end - p < 2 || p[0] != '\r' || p[1] != '\n')
        return http1_fail(400, "request line does not end with CRLF");
    *off = (size_t)(p + 2 - buf);
    return 0;
}

int http1_read_status_line(const char *buf, size_t len, struct http1_message *msg, size_t *off)
{
    const char *end = buf + len;
    const char *p = buf;
    if (len < 15 || !_read_version(p, end, &msg->minor) || p[8] != ' ')
        return http1_fail(502, "status line without a version");
    p += 9;
    if (p[0] < '1' || p[0] > '5' || !http1_is(p[1], HTTP1_C_DIGIT) || !http1_is(p[2], HTTP1_C_DIGIT))
        return http1_fail(502, "status is not between 100 and 599");
    if (p[3] != ' ')
        return http1_fail(502, "status without a space after it");
    msg->status = (uint16_t)((p[0] - '0') * 100 + (p[1] - '0') * 10 + (p[2] - '0'));
    p += 4;

    const char *reason = p;
    while (http1_is(*p, HTTP1_C_VALUE))
        p++;
    msg->reason = (struct http1_span){(uint32_t)(reason - buf), (uint32_t)(p - reason)};
    if (end - p < 2 || p[0] != '\r' || p[1] != '\n')
        return http1_fail(502, "control character in the reason, or no CRLF after it");
    *off = (size_t)(p + 2 - buf);
    return 0;
}

int http1_read_field(const char *buf, size_t *off, bool lenient_colon, struct http1_line *line)
{
    const char *name = buf + *off;
    const char *p = name;
    uint8_t classes = 0;
    uint8_t cls;
    while ((cls = http1_char_class[(uint8_t)*p]) & HTTP1_C_TOKEN) {
        classes |= cls;
        p++;
    }
    const char *name_end = p;
    if (p == name)
        return http1_fail(400, "field line folded, or field name empty");
    while (lenient_colon && _is_ows(*p))
        p++;
    if (*p != ':')
        return http1_fail(400, "field name is not a token followed by a colon");

    do {
        p++;
    } while (_is_ows(*p));
    const char *value = p;
    while (http1_is(*p, HTTP1_C_VALUE))
        p++;
    if (p[0] != '\r' || p[1] != '\n')
        return http1_fail(400, "control character in a field value, or no CRLF after it");
    *off = (size_t)(p + 2 - buf);
    while (p > value && _is_ows(p[-1]))
        p--;

    line->name_classes = classes;
    line->field = (struct http1_field){
        .name = {(uint32_t)(name - buf), (uint32_t)(name_end - name)},
        .value = {(uint32_t)(value - buf), (uint32_t)(p - value)},
        .id = http1_field_id(name, (size_t)(name_end - name)),
    };
    return 0;
}
