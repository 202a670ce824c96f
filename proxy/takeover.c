#include "takeover.h"

#include <errno.h>

#include "http.h"
#include "kernel_internal.h"
#include "worker.h"

/** What the kernel path says of a chunked body: where userspace goes on, and in which words.
 *
 * Userspace writes chunks of its own. The one at hand was announced by the kernel path: it is brought to
 * its end as announced. @return Whether its data goes on. */
static bool _resume_chunks(const struct http1_chunks *k, struct http1_chunked *c, struct conn *to)
{
    http1_chunked_resume(c, k->begun, k->left);
    if (k->begun && !k->left)
        conn_put(to, "\r\n", 2);
    return k->left > 0;
}

static void _request(struct exchange *x, const struct slot *ds)
{
    bool chunked = ds->framing == HTTP1_FRAMED_CHUNKED;
    x->body = chunked ? HTTP1_BODY_CHUNKED : ds->head.content_length ? HTTP1_BODY_LENGTH : HTTP1_BODY_NONE;
    x->state = ds->remaining ? EXCHANGE_REQUEST : EXCHANGE_RESPONSE;
    if (!chunked) {
        x->remaining = ds->remaining;
        x->body_seen = ds->head.content_length - ds->remaining;
        return;
    }
    x->body_seen = ds->chunks.seen - ds->chunks.left;
    if (ds->remaining)
        x->open_chunk = _resume_chunks(&ds->chunks, &x->chunked, &x->u->c);
}

static void _response(struct exchange *x, const struct slot *us)
{
    x->head_done = true;
    x->started = true;
    x->resp_bytes = true;
    x->upstream_keep = us->framing != HTTP1_FRAMED_CLOSE;
    switch (us->framing) {
    case HTTP1_FRAMED_CHUNKED:
        x->resp_body = HTTP1_BODY_CHUNKED;
        x->resp_encode = true;
        x->resp_open_chunk = _resume_chunks(&us->chunks, &x->resp_chunked, &x->d->c);
        break;
    case HTTP1_FRAMED_CLOSE:
        /* Its head went out without framing fields: the client's connection ends with it too. */
        x->resp_body = HTTP1_BODY_CLOSE;
        x->downstream_close = true;
        break;
    default:
        x->resp_body = HTTP1_BODY_LENGTH;
        x->resp_remaining = us->remaining;
        break;
    }
}

/* Where the outstanding request begins in the window: of a run, behind those that were answered. */
static size_t _answered(const struct slot *ds, const struct slot *us)
{
    size_t at = 0;
    for (unsigned i = us->run; i < ds->run; i++)
        at += http1_head_end((const char *)ds->window.bytes + at, ds->total - at, 0);
    return at;
}

/* Whether anything of the response came: a part that strparser holds, what was passed up, or an interim
 * response (a final one overwrites its head). */
static bool _response_came(const struct slot *us)
{
    return us->held || us->passed || (us->head.flags & HTTP1_F_INTERIM);
}

/* The body of the outstanding request if all of it is in the window, for a retry; requests of a run have
 * none. @return NULL if not. */
static const char *_body(const struct slot *ds, size_t *len)
{
    const char *body = (const char *)ds->window.bytes + ds->head.head_len, *data;
    size_t there = ds->window_len - ds->head.head_len, data_len, n;
    struct http1_chunked c;
    *len = 0;
    if (ds->run > 1)
        return body;
    if (ds->framing == HTTP1_FRAMED_LENGTH) {
        *len = ds->head.content_length;
        return ds->total <= ds->window_len ? body : NULL;
    }
    http1_chunked_init(&c);
    for (;;) {
        enum http1_chunked_event e = http1_chunked_next(&c, body + *len, there - *len, &n, &data, &data_len);
        *len += n;
        if (e == HTTP1_CHUNKED_END)
            return body;
        if (e != HTTP1_CHUNKED_DATA)
            return NULL;
    }
}

void takeover(struct conn *down, struct conn *up, const struct slot *ds, const struct slot *us)
{
    static _Thread_local struct http1_message m;
    struct downstream *d = downstream_of(down);
    const struct http1_limits limits = {
        .header_bytes = HTTP1_WINDOW, .header_count = HTTP1_FIELDS_MAX, .target_bytes = HTTP1_WINDOW};
    /* The window holds the outstanding request's head, and as much of its body as came with it:
     * programs frame no other while the lease lasts. */
    size_t at = _answered(ds, us), body_len;
    const char *head = (const char *)ds->window.bytes + at, *body = _body(ds, &body_len);
    size_t head_len = http1_head_end(head, ds->window_len - at, 0);
    bool known = !http1_parse_request(head, head_len, &limits, &m);
    struct exchange *x = exchange_adopt(d, upstream_of(up), head, known ? &m : NULL, body, body_len);
    x->is_head = us->heads & 1;
    _request(x, ds);
    if (us->run > 1) {
        /* Those behind it are sent again, one by one; they are safe to repeat. */
        conn_keep(down, head + head_len, ds->total - at - head_len);
        x->upstream_spent = true;
    }
    if (us->responding)
        _response(x, us);
    if (!us->responding && us->early && x->body == HTTP1_BODY_NONE) {
        /* It sent something before it had the request: no answer to it. */
        exchange_upstream_failed(x, EPROTO, false);
        return;
    }
    x->resp_bytes |= _response_came(us);
    downstream_clock(d);
    upstream_clock(x);
}
