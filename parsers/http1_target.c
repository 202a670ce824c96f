/*
 * Request target and authority: RFC 9112 section 3.2, RFC 9110 section 4.2 and 7.2,
 * RFC 3986 section 3.2.2.
 */
#include <string.h>
#include <strings.h>

#include "http1_internal.h"

/** Digits of a port. */
#define PORT_DIGITS_MAX 5

static bool _span_is(const char *buf, struct http1_span s, const char *text)
{
    return s.len == strlen(text) && memcmp(buf + s.off, text, s.len) == 0;
}

/* `[` hexadecimal digits, colons and dots, at least two colons `]`; returns its length. */
static size_t _ip_literal(const char *p, size_t len)
{
    unsigned colons = 0;
    size_t n = 1;
    while (n < len && (http1_is(p[n], HTTP1_C_HEX) || p[n] == ':' || p[n] == '.')) {
        colons += p[n] == ':';
        n++;
    }
    return n < len && p[n] == ']' && colons >= 2 ? n + 1 : 0;
}

/* reg-name or IPv4, not empty; returns its length. */
static size_t _reg_name(const char *p, size_t len)
{
    size_t n = 0;
    while (n < len) {
        if (http1_is(p[n], HTTP1_C_HOST)) {
            n++;
        } else if (p[n] == '%' && len - n >= 3 && http1_is(p[n + 1], HTTP1_C_HEX) &&
                   http1_is(p[n + 2], HTTP1_C_HEX)) {
            n += 3;
        } else {
            break;
        }
    }
    return n;
}

bool http1_read_authority(const char *buf, struct http1_span authority, struct http1_span *host)
{
    const char *p = buf + authority.off;
    size_t len = authority.len;
    if (len == 0)
        return false;
    size_t n = p[0] == '[' ? _ip_literal(p, len) : _reg_name(p, len);
    if (n == 0)
        return false;
    *host = (struct http1_span){authority.off, (uint32_t)n};
    if (n == len)
        return true;
    if (p[n] != ':' || len - n - 1 > PORT_DIGITS_MAX)
        return false;
    while (++n < len) {
        if (!http1_is(p[n], HTTP1_C_DIGIT))
            return false;
    }
    return true;
}

/* Splits off `http://` or `https://`; returns its length. */
static size_t _scheme(const char *p, size_t len)
{
    if (len > 7 && strncasecmp(p, "http://", 7) == 0)
        return 7;
    return len > 8 && strncasecmp(p, "https://", 8) == 0 ? 8 : 0;
}

static void _set_path(const char *buf, struct http1_message *msg, uint32_t off)
{
    uint32_t end = msg->target.off + msg->target.len;
    msg->path = (struct http1_span){off, end - off};
    const char *query = memchr(buf + off, '?', msg->path.len);
    msg->path_len = query ? (uint32_t)(query - buf) - off : msg->path.len;
}

static int _read_absolute(const char *buf, struct http1_message *msg)
{
    const char *p = buf + msg->target.off;
    size_t skip = _scheme(p, msg->target.len);
    if (!skip)
        return http1_fail(400, "target is not origin-form, nor absolute-form with http or https");
    size_t n = skip;
    while (n < msg->target.len && p[n] != '/' && p[n] != '?')
        n++;
    msg->form = HTTP1_TARGET_ABSOLUTE;
    msg->authority = (struct http1_span){msg->target.off + (uint32_t)skip, (uint32_t)(n - skip)};
    if (!http1_read_authority(buf, msg->authority, &msg->host))
        return http1_fail(400, "invalid authority in the target");
    _set_path(buf, msg, msg->target.off + (uint32_t)n);
    return 0;
}

int http1_read_target(const char *buf, struct http1_message *msg)
{
    const char *p = buf + msg->target.off;
    if (p[0] == '/') {
        msg->form = HTTP1_TARGET_ORIGIN;
        _set_path(buf, msg, msg->target.off);
        return 0;
    }
    if (p[0] == '*' && msg->target.len == 1) {
        if (!_span_is(buf, msg->method, "OPTIONS"))
            return http1_fail(400, "asterisk-form is for OPTIONS only");
        msg->form = HTTP1_TARGET_ASTERISK;
        _set_path(buf, msg, msg->target.off);
        return 0;
    }
    return _read_absolute(buf, msg);
}
