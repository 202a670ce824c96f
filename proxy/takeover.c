#include "takeover.h"

#include <errno.h>

#include "http.h"
#include "kernel_internal.h"
#include "worker.h"

void takeover(struct conn *down, struct conn *up, const struct slot *ds, const struct slot *us)
{
    static _Thread_local struct http1_message m;
    struct downstream *d = downstream_of(down);
    const struct http1_limits limits = {
        .header_bytes = HTTP1_WINDOW, .header_count = HTTP1_FIELDS_MAX, .target_bytes = HTTP1_WINDOW};
    /* The window holds the outstanding request's head: programs frame no other while the
     * lease lasts. */
    const char *head = (const char *)ds->window.bytes;
    bool known = !http1_parse_request(head, ds->head.head_len, &limits, &m);
    struct exchange *x = exchange_adopt(d, upstream_of(up), head, known ? &m : NULL);
    x->is_head = us->to_head;
    x->body = ds->head.content_length ? HTTP1_BODY_LENGTH : HTTP1_BODY_NONE;
    x->remaining = ds->remaining;
    x->body_seen = ds->head.content_length - ds->remaining;
    x->state = ds->remaining ? EXCHANGE_REQUEST : EXCHANGE_RESPONSE;
    if (us->responding) {
        x->head_done = true;
        x->started = true;
        x->resp_bytes = true;
        x->resp_body = HTTP1_BODY_LENGTH;
        x->resp_remaining = us->remaining;
        x->upstream_keep = true;
    }
    if (!us->responding && us->early && x->body == HTTP1_BODY_NONE) {
        /* It sent something before it had the request: no answer to it. */
        exchange_upstream_failed(x, EPROTO, false);
        return;
    }
    downstream_clock(d);
    upstream_clock(x);
}
