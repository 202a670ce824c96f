/*
 * Whole heads: limits, then the raw pass, then what the fields mean, then llhttp's
 * agreement. Everything a message holds are offsets into the caller's buffer.
 */
#include "http1_message.h"

#include <string.h>

#include "http1_internal.h"

static _Thread_local const char *_error = "";

int http1_fail(int status, const char *why)
{
    _error = why;
    return status;
}

const char *http1_error(void)
{
    return _error;
}

static bool _method_is(const char *buf, const struct http1_message *msg, const char *name)
{
    return msg->method.len == strlen(name) && memcmp(buf, name, msg->method.len) == 0;
}

static int _read_fields(const char *buf, size_t len, size_t off, const struct http1_limits *limits,
                        struct http1_message *msg)
{
    uint32_t max = limits->header_count < HTTP1_FIELDS_MAX ? limits->header_count : HTTP1_FIELDS_MAX;
    struct http1_line line;
    while (off + 2 != len || buf[off] != '\r') {
        if (off >= len)
            return http1_fail(400, "head does not end with an empty line");
        int status = http1_read_field(buf, &off, msg->kind == HTTP1_RESPONSE, &line);
        if (status)
            return status;
        if (msg->n_fields >= max)
            return http1_fail(431, "too many field lines");
        if (msg->kind == HTTP1_REQUEST && (line.name_classes & HTTP1_C_UNDERSCORE) &&
            http1_is_disguised(buf + line.field.name.off, line.field.name.len))
            return http1_fail(400, "underscore variant of a framing or forwarding field");
        msg->fields[msg->n_fields++] = line.field;
    }
    return 0;
}

static void _classify_method(const char *buf, struct http1_message *msg)
{
    static const char *const idempotent[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};
    msg->is_head = _method_is(buf, msg, "HEAD");
    msg->is_trace = _method_is(buf, msg, "TRACE");
    for (size_t i = 0; i < sizeof(idempotent) / sizeof(*idempotent) && !msg->idempotent; i++)
        msg->idempotent = _method_is(buf, msg, idempotent[i]);
}

static void _init(struct http1_message *msg, enum http1_kind kind, size_t len)
{
    memset(msg, 0, offsetof(struct http1_message, fields));
    msg->kind = kind;
    msg->head_len = (uint32_t)len;
    _error = "";
}

/* RFC 9110 section 9.3.8: a TRACE request has no content. */
static int _check_trace(const struct http1_message *msg)
{
    if (!msg->is_trace)
        return 0;
    if (msg->body == HTTP1_BODY_CHUNKED || (msg->body == HTTP1_BODY_LENGTH && msg->content_length > 0))
        return http1_fail(400, "TRACE with a body");
    return 0;
}

int http1_parse_request(const char *buf, size_t len, const struct http1_limits *limits,
                        struct http1_message *msg)
{
    size_t off;
    int status;
    _init(msg, HTTP1_REQUEST, len);
    if (len < 4 || buf[len - 1] != '\n')
        return http1_fail(400, "incomplete head");
    if ((status = http1_read_request_line(buf, len, msg, &off)))
        return status;
    if (_method_is(buf, msg, "CONNECT"))
        return http1_fail(501, "CONNECT is not served");
    if (msg->target.len > limits->target_bytes)
        return http1_fail(414, "request target over the limit");
    if (len > limits->header_bytes)
        return http1_fail(431, "head over the limit");
    if ((status = http1_read_target(buf, msg)))
        return status;
    _classify_method(buf, msg);
    if ((status = _read_fields(buf, len, off, limits, msg)))
        return status;
    if ((status = http1_apply_fields(buf, msg)))
        return status;
    if ((status = _check_trace(msg)))
        return status;
    return http1_cross_check(buf, len, msg);
}

/* Removes a field that this kind of response must not carry: RFC 9110 section 8.6. */
static void _drop_length(struct http1_message *msg)
{
    for (uint32_t i = 0; i < msg->n_fields; i++) {
        if (msg->fields[i].id == HTTP1_FIELD_CONTENT_LENGTH)
            msg->fields[i].hop_by_hop = true;
    }
}

/* RFC 9112 section 6.3, items 1, 2 and 8; section 6.1 for the forbidden combination. */
static int _delimit_response(struct http1_message *msg, bool to_head)
{
    bool bodiless = msg->status < 200 || msg->status == 204;
    if (bodiless && msg->body == HTTP1_BODY_CHUNKED)
        return http1_fail(502, "Transfer-Encoding in a 1xx or 204 response");
    if (bodiless)
        _drop_length(msg);
    if (bodiless || to_head || msg->status == 304)
        msg->body = HTTP1_BODY_NONE;
    else if (msg->body == HTTP1_BODY_NONE)
        msg->body = HTTP1_BODY_CLOSE;
    return 0;
}

int http1_parse_response(const char *buf, size_t len, const struct http1_limits *limits, bool to_head,
                         struct http1_message *msg)
{
    size_t off;
    _init(msg, HTTP1_RESPONSE, len);
    if (len < 4 || buf[len - 1] != '\n')
        return http1_fail(502, "incomplete head");
    if (len > limits->header_bytes)
        return http1_fail(502, "head over the limit");
    if (http1_read_status_line(buf, len, msg, &off) || _read_fields(buf, len, off, limits, msg) ||
        http1_apply_fields(buf, msg) || http1_cross_check(buf, len, msg))
        return 502;
    return _delimit_response(msg, to_head);
}

int http1_parse_trailers(const char *buf, size_t len, struct http1_field *fields, uint32_t max)
{
    size_t off = 0;
    uint32_t n = 0;
    struct http1_line line;
    if (len > 0 && buf[len - 1] != '\n')
        return -1;
    while (off < len) {
        if (n >= max || http1_read_field(buf, &off, false, &line))
            return -1;
        fields[n++] = line.field;
    }
    return (int)n;
}
