/*
 * The second opinion: llhttp, strict, reads the same head and must have seen the same
 * fields, framing and end. Methods are a closed list to llhttp, so it is fed `POST` in
 * place of the method, which the raw pass has validated.
 */
#include <llhttp/llhttp.h>
#include <stddef.h>
#include <string.h>

#include "http1_internal.h"

struct _check {
    llhttp_t parser;
    const char *buf;
    const struct http1_message *msg;
    const char *name;
    const char *value;
    size_t name_len;
    size_t value_len;
    uint32_t fields;
    bool complete;
};

static int _on_name(llhttp_t *p, const char *at, size_t len)
{
    struct _check *c = p->data;
    if (c->name_len == 0)
        c->name = at;
    c->name_len += len;
    return 0;
}

static int _on_value(llhttp_t *p, const char *at, size_t len)
{
    struct _check *c = p->data;
    if (c->value_len == 0)
        c->value = at;
    c->value_len += len;
    return 0;
}

static int _on_field(llhttp_t *p)
{
    struct _check *c = p->data;
    if (c->fields >= c->msg->n_fields)
        return -1;
    const struct http1_field *f = &c->msg->fields[c->fields++];
    while (c->value_len && (c->value[c->value_len - 1] == ' ' || c->value[c->value_len - 1] == '\t'))
        c->value_len--;
    bool same = c->name == c->buf + f->name.off && c->name_len == f->name.len &&
                c->value_len == f->value.len && (c->value_len == 0 || c->value == c->buf + f->value.off);
    c->name_len = 0;
    c->value_len = 0;
    return same ? 0 : -1;
}

static int _on_head(llhttp_t *p)
{
    struct _check *c = p->data;
    c->complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t _settings = {
    .on_header_field = _on_name,
    .on_header_value = _on_value,
    .on_header_value_complete = _on_field,
    .on_headers_complete = _on_head,
};

/* Feeds the head without optional whitespace: llhttp takes no tab around a Content-Length, which is
 * legal (RFC 9112 section 5), and none before a colon, which only a response may have and which is
 * removed when the response is forwarded (section 5.1). The raw pass has seen that it is nothing else. */
static llhttp_errno_t _feed(struct _check *c, size_t from, size_t len)
{
    const struct http1_message *msg = c->msg;
    llhttp_errno_t err = HPE_OK;
    for (uint32_t i = 0; i < msg->n_fields && err == HPE_OK; i++) {
        const struct http1_field *f = &msg->fields[i];
        size_t name_end = f->name.off + f->name.len, value_end = f->value.off + f->value.len;
        if (c->buf[name_end] == ':' && f->value.off <= name_end + 2 && c->buf[value_end] == '\r')
            continue;
        err = llhttp_execute(&c->parser, c->buf + from, name_end - from);
        if (err == HPE_OK)
            err = llhttp_execute(&c->parser, ":", 1);
        if (err == HPE_OK)
            err = llhttp_execute(&c->parser, c->buf + f->value.off, f->value.len);
        from = value_end + strspn(c->buf + value_end, " \t");
    }
    return err == HPE_OK ? llhttp_execute(&c->parser, c->buf + from, len - from) : err;
}

/* Whether llhttp would delimit the body as `msg` says. */
static bool _same_framing(const struct _check *c)
{
    const llhttp_t *p = &c->parser;
    bool chunked = false;
    bool length = false;
    for (uint32_t i = 0; i < c->msg->n_fields; i++) {
        chunked |= c->msg->fields[i].id == HTTP1_FIELD_TRANSFER_ENCODING;
        length |= c->msg->fields[i].id == HTTP1_FIELD_CONTENT_LENGTH;
    }
    return chunked == !!(p->flags & F_CHUNKED) && length == !!(p->flags & F_CONTENT_LENGTH) &&
           (!length || p->content_length == c->msg->content_length) && p->http_major == 1 &&
           p->http_minor == c->msg->minor &&
           (c->msg->kind == HTTP1_REQUEST || p->status_code == c->msg->status);
}

int http1_cross_check(const char *buf, size_t len, const struct http1_message *msg)
{
    struct _check c = {.buf = buf, .msg = msg};
    bool request = msg->kind == HTTP1_REQUEST;
    llhttp_init(&c.parser, request ? HTTP_REQUEST : HTTP_RESPONSE, &_settings);
    c.parser.data = &c;
    llhttp_errno_t err = request ? llhttp_execute(&c.parser, "POST", 4) : HPE_OK;
    if (err == HPE_OK)
        err = _feed(&c, request ? msg->method.len : 0, len);
    if (err != HPE_PAUSED || !c.complete || c.fields != msg->n_fields)
        return http1_fail(400, "the second parser refuses the head");
    if (llhttp_get_error_pos(&c.parser) != buf + len || !_same_framing(&c))
        return http1_fail(400, "two parsers read the head differently");
    return 0;
}
