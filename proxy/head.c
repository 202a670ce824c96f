/* Heads as they are forwarded: hop-by-hop fields out (RFC 9110 7.6.1), framing right. */
#include <stdio.h>
#include <string.h>

#include "date.h"
#include "head_writer.h"
#include "http.h"

static void _field(struct writer *w, const char *head, const struct http1_field *f)
{
    _put(w, head + f->name.off, f->name.len);
    _put(w, ": ", 2);
    _put(w, head + f->value.off, f->value.len);
    _put(w, "\r\n", 2);
}

static void _line(struct writer *w, const char *name, const char *value)
{
    _puts(w, name);
    _puts(w, ": ");
    _puts(w, value);
    _puts(w, "\r\n");
}

static bool _is_options(const char *head, const struct http1_message *m)
{
    return m->method.len == 7 && memcmp(head + m->method.off, "OPTIONS", 7) == 0;
}

size_t head_request(char *out, size_t cap, const char *head, const struct http1_message *m,
                    const char *endpoint)
{
    struct writer w = {.at = out, .end = out + cap};
    bool host = false;
    _put(&w, head + m->method.off, m->method.len);
    _put(&w, " ", 1);
    /* RFC 9112 3.2.1 and 3.2.4: a target without a path. */
    if (m->form == HTTP1_TARGET_ABSOLUTE && (m->path.len == 0 || head[m->path.off] != '/'))
        _puts(&w, m->path.len == 0 && _is_options(head, m) ? "*" : "/");
    _put(&w, head + m->path.off, m->path.len);
    _puts(&w, " HTTP/1.1\r\n");
    for (uint32_t i = 0; i < m->n_fields; i++) {
        const struct http1_field *f = &m->fields[i];
        if (f->hop_by_hop && !(m->upgrade && f->id == HTTP1_FIELD_UPGRADE))
            continue;
        if (f->id == HTTP1_FIELD_TRAILER) /* The trailers themselves are dropped too. */
            continue;
        host |= f->id == HTTP1_FIELD_HOST;
        if (m->limited && f->id == HTTP1_FIELD_MAX_FORWARDS) { /* RFC 9110 7.6.2 */
            char hops[16];
            snprintf(hops, sizeof(hops), "%u", m->max_forwards - 1);
            _line(&w, "Max-Forwards", hops);
            continue;
        }
        _field(&w, head, f);
    }
    if (!host) { /* An HTTP/1.0 client may omit it, HTTP/1.1 may not. */
        _puts(&w, "Host: ");
        if (m->authority.len)
            _put(&w, head + m->authority.off, m->authority.len);
        else
            _puts(&w, endpoint);
        _put(&w, "\r\n", 2);
    }
    if (m->upgrade)
        _puts(&w, "Connection: upgrade\r\n");
    else if (m->te_trailers)
        _puts(&w, "TE: trailers\r\nConnection: TE\r\n");
    return _finish(&w, out);
}

size_t head_response(char *out, size_t cap, const char *head, const struct http1_message *m, bool close,
                     int framing)
{
    struct writer w = {.at = out, .end = out + cap};
    char line[32];
    bool bodyless = m->status < 200 || m->status == 204;
    bool date = m->status < 200;
    snprintf(line, sizeof(line), "HTTP/1.1 %03u ", m->status);
    _puts(&w, line);
    _put(&w, head + m->reason.off, m->reason.len);
    _put(&w, "\r\n", 2);
    for (uint32_t i = 0; i < m->n_fields; i++) {
        const struct http1_field *f = &m->fields[i];
        date |= f->id == HTTP1_FIELD_DATE;
        if (f->hop_by_hop && !(m->status == 101 && f->id == HTTP1_FIELD_UPGRADE))
            continue;
        /* RFC 9112 6.1, RFC 9110 8.6: neither belongs on 1xx and 204. */
        if (bodyless && (f->id == HTTP1_FIELD_CONTENT_LENGTH || f->id == HTTP1_FIELD_TRANSFER_ENCODING))
            continue;
        if (framing < 0 && f->id == HTTP1_FIELD_TRANSFER_ENCODING)
            continue;
        _field(&w, head, f);
    }
    if (!date) /* RFC 9110 6.6.1 */
        _line(&w, "Date", date_now());
    if (m->status == 101)
        _puts(&w, "Connection: upgrade\r\n");
    else if (close)
        _puts(&w, "Connection: close\r\n");
    if (framing > 0)
        _puts(&w, "Transfer-Encoding: chunked\r\n");
    return _finish(&w, out);
}
