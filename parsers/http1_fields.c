/*
 * Interprets the fields of a head: message framing (RFC 9112 section 6), Host (section
 * 3.2), persistence (section 9.3), hop-by-hop fields (RFC 9110 section 7.6.1), Expect
 * (section 10.1.1).
 */
#include <string.h>
#include <strings.h>

#include "http1_internal.h"

/* What occurred, before it is judged as a whole. */
struct _seen {
    unsigned host;
    unsigned length;
    unsigned coding;
    unsigned options;
    unsigned max_forwards;
    struct http1_span host_value;
    struct http1_span max_forwards_value;
    bool persistent;
    bool connection_te;
    bool connection_upgrade;
    bool upgrade;
    bool h2c;
    bool trailers;
};

static bool _span_is(const char *buf, struct http1_span s, const char *lower, size_t len)
{
    return s.len == len && strncasecmp(buf + s.off, lower, len) == 0;
}

/* Case-sensitive: methods. */
#define SPAN_IS_EXACTLY(buf, span, literal)                                                                  \
    ((span).len == sizeof(literal) - 1 && memcmp((buf) + (span).off, literal, sizeof(literal) - 1) == 0)

#define SPAN_IS(buf, span, literal) _span_is(buf, span, literal, sizeof(literal) - 1)

static bool _is_token(const char *buf, struct http1_span s)
{
    for (uint32_t i = 0; i < s.len; i++) {
        if (!http1_is(buf[s.off + i], HTTP1_C_TOKEN))
            return false;
    }
    return s.len > 0;
}

bool http1_list_next(const char *buf, struct http1_span *rest, struct http1_span *item)
{
    if (rest->len == 0)
        return false;
    const char *p = buf + rest->off;
    const char *comma = memchr(p, ',', rest->len);
    uint32_t n = comma ? (uint32_t)(comma - p) : rest->len;
    uint32_t skip = comma ? n + 1 : n;
    *item = (struct http1_span){rest->off, n};
    *rest = (struct http1_span){rest->off + skip, rest->len - skip};
    while (item->len && (buf[item->off] == ' ' || buf[item->off] == '\t'))
        *item = (struct http1_span){item->off + 1, item->len - 1};
    while (item->len && (buf[item->off + item->len - 1] == ' ' || buf[item->off + item->len - 1] == '\t'))
        item->len--;
    return true;
}

/* 1*DIGIT up to 2^63 - 1: RFC 9110 section 8.6. */
static int _read_length(const char *buf, struct http1_span value, uint64_t *length)
{
    uint64_t n = 0;
    if (value.len == 0 || value.len > 19)
        return http1_fail(400, "Content-Length empty or too long");
    for (uint32_t i = 0; i < value.len; i++) {
        char c = buf[value.off + i];
        if (!http1_is(c, HTTP1_C_DIGIT))
            return http1_fail(400, "Content-Length is not a number");
        n = n * 10 + (uint64_t)(c - '0');
    }
    if (n > INT64_MAX)
        return http1_fail(400, "Content-Length too large");
    *length = n;
    return 0;
}

static bool _is_known_coding(const char *buf, struct http1_span s)
{
    return SPAN_IS(buf, s, "gzip") || SPAN_IS(buf, s, "deflate") || SPAN_IS(buf, s, "compress") ||
           SPAN_IS(buf, s, "x-gzip") || SPAN_IS(buf, s, "x-compress");
}

/* Codings in order, `chunked` exactly once and last: RFC 9112 section 6.1. */
static int _read_coding(const char *buf, struct http1_span value)
{
    struct http1_span rest = value;
    struct http1_span item;
    bool chunked = false;
    bool unknown = false;
    if (value.len == 0 || buf[value.off + value.len - 1] == ',')
        return http1_fail(400, "Transfer-Encoding empty or with a trailing comma");
    while (http1_list_next(buf, &rest, &item)) {
        if (chunked)
            return http1_fail(400, "Transfer-Encoding: chunked is not the final coding");
        if (!_is_token(buf, item) || SPAN_IS(buf, item, "identity"))
            return http1_fail(400, "Transfer-Encoding is not a list of plain codings");
        chunked = SPAN_IS(buf, item, "chunked");
        unknown |= !chunked && !_is_known_coding(buf, item);
    }
    if (unknown)
        return http1_fail(501, "unknown transfer coding");
    return chunked ? 0 : http1_fail(400, "Transfer-Encoding does not end with chunked");
}

static void _mark_hop(const char *buf, struct http1_message *msg, struct http1_span option)
{
    if (http1_is_protected(buf + option.off, option.len))
        return;
    for (uint32_t i = 0; i < msg->n_fields; i++) {
        struct http1_field *f = &msg->fields[i];
        if (f->name.len == option.len && strncasecmp(buf + f->name.off, buf + option.off, option.len) == 0)
            f->hop_by_hop = true;
    }
}

static int _read_connection(const char *buf, struct http1_message *msg, struct http1_span value,
                            struct _seen *seen)
{
    struct http1_span item;
    while (http1_list_next(buf, &value, &item)) {
        if (++seen->options > HTTP1_CONNECTION_OPTIONS_MAX)
            return http1_fail(400, "too many Connection options");
        if (item.len == 0)
            continue;
        if (!_is_token(buf, item))
            return http1_fail(400, "Connection option is not a token");
        if (SPAN_IS(buf, item, "keep-alive")) {
            seen->persistent = true;
        } else if (SPAN_IS(buf, item, "close")) {
            msg->close = true;
        } else if (SPAN_IS(buf, item, "upgrade")) {
            seen->connection_upgrade = true;
        } else if (SPAN_IS(buf, item, "te")) {
            seen->connection_te = true;
        } else {
            _mark_hop(buf, msg, item);
        }
    }
    return 0;
}

static bool _list_has(const char *buf, struct http1_span list, const char *lower)
{
    struct http1_span item;
    while (http1_list_next(buf, &list, &item)) {
        if (_span_is(buf, item, lower, strlen(lower)))
            return true;
    }
    return false;
}

static int _read_expect(const char *buf, struct http1_message *msg, struct http1_field *f)
{
    if (msg->kind != HTTP1_REQUEST)
        return 0;
    if (!SPAN_IS(buf, f->value, "100-continue"))
        return http1_fail(417, "unknown expectation");
    msg->expect_100 = msg->minor == 1;
    f->hop_by_hop = !msg->expect_100; /* RFC 9110 10.1.1: not for HTTP/1.0 clients. */
    return 0;
}

/* Whether one of the challenges, or the credentials, are of a scheme that authenticates the
 * connection. A quoted comma may make it see one that is not there, which costs nothing. */
static bool _is_connection_auth(const char *buf, struct http1_span value)
{
    struct http1_span item;
    while (http1_list_next(buf, &value, &item)) {
        const char *space = memchr(buf + item.off, ' ', item.len);
        if (space)
            item.len = (uint32_t)(space - (buf + item.off));
        if (SPAN_IS(buf, item, "ntlm") || SPAN_IS(buf, item, "negotiate"))
            return true;
    }
    return false;
}

/* Max-Forwards = 1*DIGIT, for TRACE and OPTIONS: RFC 9110 section 7.6.2. */
static int _apply_max_forwards(const char *buf, struct http1_message *msg, const struct _seen *seen)
{
    struct http1_span value = seen->max_forwards_value;
    uint64_t n = 0;
    if (!seen->max_forwards || !(msg->is_trace || SPAN_IS_EXACTLY(buf, msg->method, "OPTIONS")))
        return 0;
    if (seen->max_forwards > 1 || value.len == 0)
        return http1_fail(400, "Max-Forwards repeated or empty");
    for (uint32_t i = 0; i < value.len; i++) {
        if (!http1_is(buf[value.off + i], HTTP1_C_DIGIT))
            return http1_fail(400, "Max-Forwards is not a number");
        n = n * 10 + (uint64_t)(buf[value.off + i] - '0');
        n = n > INT32_MAX ? INT32_MAX : n;
    }
    msg->limited = true;
    msg->max_forwards = (uint32_t)n;
    return 0;
}

/* Fields of proxy authentication: RFC 9110 section 11.7. */
static bool _is_proxy_auth(const char *name, size_t len)
{
    return HTTP1_NAME_IS(name, len, "proxy-authenticate") ||
           HTTP1_NAME_IS(name, len, "proxy-authorization") ||
           HTTP1_NAME_IS(name, len, "proxy-authentication-info");
}

static bool _is_auth(enum http1_kind kind, const char *name, size_t len)
{
    return kind == HTTP1_REQUEST ? HTTP1_NAME_IS(name, len, "authorization")
                                 : HTTP1_NAME_IS(name, len, "www-authenticate");
}

static int _apply_field(const char *buf, struct http1_message *msg, struct http1_field *f, struct _seen *seen)
{
    switch (f->id) {
    case HTTP1_FIELD_HOST:
        seen->host++;
        seen->host_value = f->value;
        return 0;
    case HTTP1_FIELD_CONTENT_LENGTH:
        seen->length++;
        return _read_length(buf, f->value, &msg->content_length);
    case HTTP1_FIELD_TRANSFER_ENCODING:
        seen->coding++;
        return _read_coding(buf, f->value);
    case HTTP1_FIELD_CONNECTION:
        f->hop_by_hop = true;
        return _read_connection(buf, msg, f->value, seen);
    case HTTP1_FIELD_KEEP_ALIVE:
    case HTTP1_FIELD_PROXY_CONNECTION:
    case HTTP1_FIELD_HTTP2_SETTINGS:
        f->hop_by_hop = true;
        return 0;
    case HTTP1_FIELD_TE:
        f->hop_by_hop = true;
        seen->trailers |= _list_has(buf, f->value, "trailers");
        return 0;
    case HTTP1_FIELD_UPGRADE:
        f->hop_by_hop = true;
        seen->upgrade |= f->value.len > 0;
        seen->h2c |= _list_has(buf, f->value, "h2c");
        return 0;
    case HTTP1_FIELD_EXPECT:
        return _read_expect(buf, msg, f);
    case HTTP1_FIELD_MAX_FORWARDS:
        seen->max_forwards++;
        seen->max_forwards_value = f->value;
        return 0;
    default:
        if (_is_proxy_auth(buf + f->name.off, f->name.len))
            f->hop_by_hop = true;
        if (_is_auth(msg->kind, buf + f->name.off, f->name.len))
            msg->connection_auth |= _is_connection_auth(buf, f->value);
        return 0;
    }
}

/* The port without leading colon; empty if it is the scheme's default. */
static struct http1_span _port(const char *buf, struct http1_span authority, uint32_t host_len, bool https)
{
    struct http1_span port = {authority.off + host_len, authority.len - host_len};
    if (port.len > 0)
        port = (struct http1_span){port.off + 1, port.len - 1};
    if (https ? SPAN_IS(buf, port, "443") : SPAN_IS(buf, port, "80"))
        port.len = 0;
    return port;
}

/* Host and the authority of an absolute-form target must be one: RFC 9112 section 3.2.2. */
static int _match_authority(const char *buf, const struct http1_message *msg, struct http1_span value,
                            struct http1_span host)
{
    bool https = buf[msg->target.off + 4] != ':';
    struct http1_span a = _port(buf, msg->authority, msg->host.len, https);
    struct http1_span b = _port(buf, value, host.len, https);
    if (msg->host.len != host.len || strncasecmp(buf + msg->host.off, buf + host.off, host.len) != 0 ||
        a.len != b.len || memcmp(buf + a.off, buf + b.off, a.len) != 0)
        return http1_fail(400, "Host differs from the authority of the target");
    return 0;
}

static int _apply_host(const char *buf, struct http1_message *msg, const struct _seen *seen)
{
    struct http1_span host;
    if (seen->host > 1)
        return http1_fail(400, "more than one Host");
    if (seen->host == 0)
        return msg->minor == 0 ? 0 : http1_fail(400, "Host missing");
    if (!http1_read_authority(buf, seen->host_value, &host))
        return http1_fail(400, "Host is not a valid authority");
    if (msg->form == HTTP1_TARGET_ABSOLUTE)
        return _match_authority(buf, msg, seen->host_value, host);
    msg->host = host;
    msg->authority = seen->host_value;
    return 0;
}

/* Rules that hold for requests and responses alike: RFC 9112 sections 6.1 and 6.3. */
static int _apply_framing(const char *buf, struct http1_message *msg, const struct _seen *seen)
{
    if (seen->length > 1)
        return http1_fail(400, "more than one Content-Length");
    if (seen->coding > 1)
        return http1_fail(400, "more than one Transfer-Encoding");
    if (seen->length && seen->coding)
        return http1_fail(400, "Content-Length together with Transfer-Encoding");
    if (seen->coding && msg->minor == 0)
        return http1_fail(400, "Transfer-Encoding in HTTP/1.0");
    msg->body = seen->coding ? HTTP1_BODY_CHUNKED : seen->length ? HTTP1_BODY_LENGTH : HTTP1_BODY_NONE;
    return 0;
}

int http1_apply_fields(const char *buf, struct http1_message *msg)
{
    struct _seen seen = {0};
    int status = 0;
    for (uint32_t i = 0; i < msg->n_fields && !status; i++)
        status = _apply_field(buf, msg, &msg->fields[i], &seen);
    if (!status)
        status = _apply_framing(buf, msg, &seen);
    if (!status && msg->kind == HTTP1_REQUEST)
        status = _apply_host(buf, msg, &seen);
    if (!status && msg->kind == HTTP1_REQUEST)
        status = _apply_max_forwards(buf, msg, &seen);
    /* A server of HTTP/1.0 may keep the connection; for a client it is not kept: RFC 9112 section 9.3. */
    msg->close |= msg->minor == 0 && (msg->kind == HTTP1_REQUEST || !seen.persistent);
    msg->te_trailers = seen.connection_te && seen.trailers;
    msg->upgrade = msg->minor == 1 && seen.connection_upgrade && seen.upgrade && !seen.h2c;
    return status;
}
