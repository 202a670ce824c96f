/* The response's way downstream. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint.h"
#include "head_edit.h"
#include "http.h"
#include "worker.h"

/* Puts a head downstream as it is forwarded. @return false if it does not fit. */
static bool _put_head(struct exchange *x, const char *head, struct http1_message *m, bool close, int framing)
{
    char small[4096];
    size_t cap = m->head_len + m->n_fields + 128 + head_edit_room(x->route, HTTP1_RESPONSE);
    char *out = cap <= sizeof(small) ? small : malloc(cap);
    if (!out)
        abort();
    size_t n = head_edit_response(out, cap, head, m, close, framing, x->route);
    conn_put(&x->d->c, out, n);
    if (out != small)
        free(out);
    return n > 0;
}

/* A coding besides chunked can not be undone for a client that knows neither. */
static bool _only_chunked(const struct http1_message *m)
{
    for (uint32_t i = 0; i < m->n_fields; i++) {
        if (m->fields[i].id == HTTP1_FIELD_TRANSFER_ENCODING && m->fields[i].value.len != strlen("chunked"))
            return false;
    }
    return true;
}

/* Without trailers there is nothing to announce. */
static void _drop_trailer_field(struct http1_message *m)
{
    for (uint32_t i = 0; i < m->n_fields; i++)
        m->fields[i].hop_by_hop |= m->fields[i].id == HTTP1_FIELD_TRAILER;
}

static bool _final_head(struct exchange *x, const char *head, struct http1_message *m)
{
    struct worker *w = x->d->c.worker;
    int framing = x->http10 ? -1 : 0;
    x->head_done = true;
    x->resp_body = m->body;
    x->resp_remaining = m->content_length;
    if (m->connection_auth || x->pin) {
        /* Others may not use it, and the kernel path would not know. */
        x->pin = true;
        x->d->c.kernel_refused = true;
    }
    x->upstream_keep = !m->close && m->body != HTTP1_BODY_CLOSE;
    if (x->http10 || x->state == EXCHANGE_REQUEST || w->draining)
        x->downstream_close = true;
    if (m->body == HTTP1_BODY_CHUNKED) {
        http1_chunked_init(&x->resp_chunked);
        x->resp_encode = !x->http10;
        if (x->http10 && !_only_chunked(m)) {
            exchange_fail(x, FAULT_BAD_RESPONSE, "transfer coding unknown to an HTTP/1.0 client");
            return false;
        }
    } else if (m->body == HTTP1_BODY_CLOSE && !x->http10) {
        x->resp_encode = true;
        framing = 1;
    }
    if (!x->te_trailers || !x->resp_encode)
        _drop_trailer_field(m);
    if (!_put_head(x, head, m, x->downstream_close, framing)) {
        exchange_fail(x, FAULT_BAD_RESPONSE, "response head does not fit");
        return false;
    }
    x->started = true;
    stat_add(&w->stats.listeners[x->d->c.listener_id].responses, 1);
    endpoint_answered(x->u->c.endpoint);
    return true;
}

/* Handles one head. @return Bytes consumed; 0 if it is not complete. */
static size_t _head(struct exchange *x, const char *data, size_t len)
{
    const struct conf_limits *cl = &x->runtime->conf->limits;
    struct http1_limits limits = {.header_bytes = (uint32_t)cl->header_bytes,
                                  .header_count = cl->header_count,
                                  .target_bytes = (uint32_t)cl->target_bytes};
    static _Thread_local struct http1_message m;
    size_t end = http1_head_end(data, len, x->u->scanned);
    if (!end) {
        x->u->scanned = (uint32_t)len;
        if (len > cl->header_bytes) {
            exchange_fail(x, FAULT_BAD_RESPONSE, "response head too large");
            return len;
        }
        return 0;
    }
    x->u->scanned = 0;
    if (http1_parse_response(data, end, &limits, x->is_head, &m)) {
        exchange_fail(x, FAULT_BAD_RESPONSE, http1_error());
        return len;
    }
    if (m.status == 101) {
        if (!x->upgrade || x->state != EXCHANGE_RESPONSE) {
            exchange_fail(x, FAULT_BAD_RESPONSE, "101 without Upgrade");
            return len;
        }
        x->started = true;
        stat_add(&x->d->c.worker->stats.listeners[x->d->c.listener_id].responses, 1);
        _put_head(x, data, &m, false, 0);
        tunnel_begin(x);
    } else if (m.status < 200) {
        if (!x->http10)
            _put_head(x, data, &m, false, 0);
    } else if (!_final_head(x, data, &m)) {
        return len;
    }
    return end;
}

/* Puts body bytes downstream, as a chunk where the client needs one. */
static void _put_body(struct exchange *x, const char *data, size_t len)
{
    char line[24];
    if (x->resp_encode) {
        snprintf(line, sizeof(line), "%zx\r\n", len);
        conn_puts(&x->d->c, line);
    }
    conn_put(&x->d->c, data, len);
    if (x->resp_encode)
        conn_put(&x->d->c, "\r\n", 2);
}

static void _keep_trailer(struct exchange *x, const char *data, size_t len)
{
    if (!x->te_trailers || !x->resp_encode || x->trailers_len + len > HTTP1_TRAILER_MAX)
        return;
    if (!x->trailers)
        x->trailers = malloc(HTTP1_TRAILER_MAX);
    if (!x->trailers)
        abort();
    memcpy(x->trailers + x->trailers_len, data, len);
    x->trailers_len += len;
}

static void _put_last_chunk(struct exchange *x)
{
    struct http1_field fields[32];
    int n = x->trailers ? http1_parse_trailers(x->trailers, x->trailers_len, fields, 32) : 0;
    conn_puts(&x->d->c, "0\r\n");
    for (int i = 0; i < n; i++) {
        const char *name = x->trailers + fields[i].name.off;
        if (!http1_trailer_allowed(name, fields[i].name.len) ||
            !head_edit_keeps_trailer(x->route, name, fields[i].name.len))
            continue;
        conn_put(&x->d->c, name, fields[i].name.len);
        conn_puts(&x->d->c, ": ");
        conn_put(&x->d->c, x->trailers + fields[i].value.off, fields[i].value.len);
        conn_puts(&x->d->c, "\r\n");
    }
    conn_puts(&x->d->c, "\r\n");
}

/* @return Bytes consumed; `*end` is set when the body is complete, `*failed` when the
 * exchange is gone. */
static size_t _chunked(struct exchange *x, const char *data, size_t len, bool *end, bool *failed)
{
    size_t used = 0;
    for (;;) {
        const char *piece;
        size_t piece_len, n = 0;
        enum http1_chunked_event e =
            http1_chunked_next(&x->resp_chunked, data + used, len - used, &n, &piece, &piece_len);
        used += n;
        switch (e) {
        case HTTP1_CHUNKED_DATA:
            if (x->resp_open_chunk) {
                x->resp_open_chunk = x->resp_chunked.remaining > 0;
                conn_put(&x->d->c, piece, piece_len);
                conn_put(&x->d->c, "\r\n", x->resp_open_chunk ? 0 : 2);
                break;
            }
            _put_body(x, piece, piece_len);
            break;
        case HTTP1_CHUNKED_TRAILER:
            _keep_trailer(x, piece, piece_len);
            break;
        case HTTP1_CHUNKED_MORE:
            return used;
        case HTTP1_CHUNKED_END:
            if (x->resp_encode)
                _put_last_chunk(x);
            *end = true;
            return used;
        case HTTP1_CHUNKED_ERROR:
            exchange_fail(x, FAULT_BAD_RESPONSE, "malformed chunk in response");
            *failed = true;
            return len;
        }
    }
}

/* @return Bytes consumed of a body. */
static size_t _body(struct exchange *x, const char *data, size_t len, bool *end, bool *failed)
{
    size_t n = len;
    switch (x->resp_body) {
    case HTTP1_BODY_CHUNKED:
        return _chunked(x, data, len, end, failed);
    case HTTP1_BODY_LENGTH:
        if (n > x->resp_remaining)
            n = (size_t)x->resp_remaining;
        x->resp_remaining -= n;
        if (n)
            _put_body(x, data, n);
        *end = !x->resp_remaining;
        return n;
    case HTTP1_BODY_CLOSE:
        if (n)
            _put_body(x, data, n);
        return n;
    case HTTP1_BODY_NONE:
        break;
    }
    *end = true;
    return 0;
}

size_t response_input(struct exchange *x, const char *data, size_t len)
{
    struct upstream *u = x->u;
    size_t used = 0;
    bool end = false, failed = false;
    x->resp_bytes = true;
    upstream_clock(x);
    while (!x->head_done) {
        size_t n = _head(x, data + used, len - used);
        if (!n)
            return used;
        used += n;
        if (u->x != x) /* The exchange ended inside. */
            return len;
        if (x->state == EXCHANGE_TUNNEL)
            return used + tunnel_input(x, true, data + used, len - used);
    }
    used += _body(x, data + used, len - used, &end, &failed);
    if (failed)
        return len;
    if (end) {
        /* Bytes after a complete response are never delivered: RFC 9112 9.2. */
        if (used < len)
            x->upstream_keep = false;
        exchange_done(x);
        return len;
    }
    return used;
}

void response_eof(struct exchange *x, int err)
{
    if (!x->head_done) {
        exchange_upstream_failed(x, err, false);
        return;
    }
    if (x->resp_body != HTTP1_BODY_CLOSE || err) {
        exchange_fail(x, err ? FAULT_UPSTREAM_RESET : FAULT_UPSTREAM_CLOSED,
                      "upstream ended inside its response");
        return;
    }
    if (x->resp_encode)
        conn_puts(&x->d->c, "0\r\n\r\n");
    else
        x->downstream_close = true;
    exchange_done(x);
}
