/* One request and its response: routing, the request's way upstream, retries, the end. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "head_edit.h"
#include "http.h"
#include "kpath.h"
#include "log.h"
#include "worker.h"

/** Request bytes (head and body as sent) kept for a retry. */
#define REPLAY_MAX 65536

/** Request bodies up to this size are read before a direct answer, so that the
 * connection can go on. */
#define DISCARD_MAX 65536

/** Endpoints tried when connections are refused. */
#define CONNECTS_MAX 3

static const struct conf_respond _not_found = {.status = 404, .body = NULL};
static char _no_body[] = "";
static const struct conf_respond _options = {.status = 200, .body = _no_body};

struct exchange *exchange_new(struct worker *w)
{
    struct exchange *x = w->free_exchanges;
    if (x) {
        char *replay = x->replay;
        size_t cap = x->replay_cap;
        w->free_exchanges = x->next;
        memset(x, 0, sizeof(*x));
        x->replay = replay;
        x->replay_cap = cap;
    } else {
        x = calloc(1, sizeof(*x));
        if (!x)
            abort();
    }
    return x;
}

void exchange_free(struct worker *w, struct exchange *x)
{
    runtime_unref(&x->runtime);
    free(x->trailers);
    x->trailers = NULL;
    if (x->replay_cap > 4096) {
        free(x->replay);
        x->replay = NULL;
        x->replay_cap = 0;
    }
    x->next = w->free_exchanges;
    w->free_exchanges = x;
}

void exchange_free_list(struct worker *w)
{
    struct exchange *x;
    while ((x = w->free_exchanges)) {
        w->free_exchanges = x->next;
        free(x->replay);
        free(x);
    }
}

/* Ends -------------------------------------------------------------------------------- */

/* Detaches the exchange from its client and hands the client on. */
static void _leave(struct exchange *x, bool close, bool linger)
{
    struct downstream *d = x->d;
    exchange_free(d->c.worker, x);
    downstream_next(d, close, linger);
}

static void _respond(struct exchange *x)
{
    struct downstream *d = x->d;
    bool rest = x->state == EXCHANGE_REQUEST;
    bool close = rest || x->http10 || x->downstream_close || d->c.worker->draining;
    if (x->respond == &_not_found) {
        downstream_fault(d, FAULT_NO_ROUTE, "no route");
        stat_add(&d->c.worker->stats.listeners[d->c.listener_id].errors, 1);
    }
    reply(d, x->respond->status, x->respond->body, close, x->is_head);
    _leave(x, close, true);
}

void exchange_fail(struct exchange *x, enum fault f, const char *why)
{
    struct downstream *d = x->d;
    downstream_fault(d, f, why);
    upstream_drop(x);
    stat_add(&d->c.worker->stats.listeners[d->c.listener_id].errors, 1);
    if (!x->started) {
        bool rest = x->state == EXCHANGE_REQUEST;
        bool close = rest || x->http10 || x->downstream_close || d->c.worker->draining;
        reply(d, fault_status(f), NULL, close, x->is_head);
        _leave(x, close, true);
        return;
    }
    /* A client that counts bytes or chunks sees what is missing; one that waits for the
     * end of the connection must not take FIN for it. */
    bool by_close = x->resp_body != HTTP1_BODY_LENGTH && !x->resp_encode;
    exchange_free(d->c.worker, x);
    d->x = NULL;
    if (by_close)
        conn_close(&d->c, true);
    else
        conn_finish(&d->c, false);
}

void exchange_cancel(struct exchange *x, enum fault f)
{
    struct downstream *d = x->d;
    downstream_fault(d, f, "connection aborted");
    upstream_drop(x);
    exchange_free(d->c.worker, x);
    d->x = NULL;
    conn_close(&d->c, true);
}

void exchange_truncated(struct exchange *x)
{
    struct downstream *d = x->d;
    if (x->started) {
        exchange_cancel(x, FAULT_CLIENT_CLOSED);
        return;
    }
    downstream_fault(d, FAULT_CLIENT_CLOSED, "truncated request");
    upstream_drop(x);
    exchange_free(d->c.worker, x);
    d->x = NULL;
    conn_finish(&d->c, false);
}

void exchange_done(struct exchange *x)
{
    bool rest = x->state == EXCHANGE_REQUEST;
    bool close = rest || x->downstream_close;
    bool keep = x->upstream_keep && !x->upstream_spent && !rest;
    if (keep && x->pin && !close)
        upstream_pin(x);
    else if (keep && !x->pin)
        upstream_release(x);
    else
        upstream_drop(x);
    _leave(x, close, true);
}

/* The request's way upstream ---------------------------------------------------------- */

static void _remember(struct exchange *x, const char *data, size_t len)
{
    if (!x->replayable)
        return;
    if (x->replay_len + len > REPLAY_MAX && x->replay_len) {
        x->replayable = false;
        return;
    }
    if (x->replay_len + len > x->replay_cap) {
        size_t cap = x->replay_len + len + 1024;
        char *p = realloc(x->replay, cap);
        if (!p)
            abort();
        x->replay = p;
        x->replay_cap = cap;
    }
    memcpy(x->replay + x->replay_len, data, len);
    x->replay_len += len;
}

static void _send(struct exchange *x, const char *data, size_t len)
{
    _remember(x, data, len);
    if (x->u)
        conn_put(&x->u->c, data, len);
}

/* Connects, or takes an idle connection, and sends what has come so far. */
static int _dispatch(struct exchange *x, bool fresh)
{
    int r = upstream_get(x, fresh);
    if (r == 0)
        conn_put(&x->u->c, x->replay, x->replay_len);
    return r;
}

static void _connect_failed(struct exchange *x, int err)
{
    struct worker *w = x->d->c.worker;
    stat_add(&w->stats.endpoints[x->endpoint->id].connect_failures, 1);
    exchange_endpoint_failed(x, strerror(err));
    upstream_drop(x);
    while (++x->connects < CONNECTS_MAX && x->replayable && err != ETIMEDOUT && exchange_next_endpoint(x)) {
        err = -_dispatch(x, true);
        if (!err) {
            downstream_clock(x->d);
            upstream_clock(x);
            return;
        }
        exchange_endpoint_failed(x, strerror(err));
    }
    exchange_fail(x, err == ETIMEDOUT ? FAULT_CONNECT_TIMEOUT : FAULT_CONNECT_FAILED, strerror(err));
}

/* Whether the request goes out again after its connection ended. Not if a byte of the response came, nor if
 * the server may have acted on it and would do so twice (RFC 9110 9.2.2). */
static bool _may_retry(const struct exchange *x)
{
    bool unsent = x->u->c.sent == x->sent_before;
    return !x->resp_bytes && x->replayable && (x->idempotent || unsent) &&
           x->retries < x->cluster->conf->retries;
}

static const char *_why(int err)
{
    return err ? strerror(err) : "upstream closed before its response";
}

/* A server may close an idle connection at any moment: that says nothing about it. After a fresh connection
 * that ended without an answer another server is asked, if there is one. @return false if there is none in
 * use. */
static bool _retry(struct exchange *x)
{
    struct worker *w = x->d->c.worker;
    uint32_t met = x->endpoint->id;
    if (!(x->u->reused && balance_in_use(x->endpoint)) && !exchange_next_endpoint(x))
        return false;
    x->retries++;
    x->upstream_spent = false;
    stat_add(&w->stats.endpoints[met].retries, 1);
    upstream_drop(x);
    int r = _dispatch(x, true);
    if (r)
        _connect_failed(x, -r);
    return true;
}

void exchange_upstream_failed(struct exchange *x, int err, bool connecting)
{
    if (connecting) {
        _connect_failed(x, err);
        return;
    }
    if (!x->u->reused)
        exchange_endpoint_failed(x, _why(err));
    if (_may_retry(x) && _retry(x))
        return;
    if (x->u->reused)
        exchange_endpoint_failed(x, _why(err));
    exchange_fail(x, err ? FAULT_UPSTREAM_RESET : FAULT_UPSTREAM_CLOSED, _why(err));
}

static void _request_complete(struct exchange *x)
{
    x->state = EXCHANGE_RESPONSE;
    if (x->respond) {
        _respond(x);
        return;
    }
    downstream_clock(x->d);
    upstream_clock(x);
}

static void _too_large(struct exchange *x)
{
    exchange_fail(x, FAULT_BODY_TOO_LARGE, "request body over limits.body_bytes");
}

static size_t _chunked_body(struct exchange *x, const char *data, size_t len)
{
    uint64_t limit = x->runtime->conf->limits.body_bytes;
    size_t used = 0;
    for (;;) {
        const char *piece;
        size_t piece_len, n = 0;
        char line[24];
        enum http1_chunked_event e =
            http1_chunked_next(&x->chunked, data + used, len - used, &n, &piece, &piece_len);
        used += n;
        switch (e) {
        case HTTP1_CHUNKED_DATA:
            x->body_seen += piece_len;
            if (limit && x->body_seen > limit) {
                _too_large(x);
                return len;
            }
            if (x->respond)
                break;
            if (x->open_chunk) {
                x->open_chunk = x->chunked.remaining > 0;
                _send(x, piece, piece_len);
                _send(x, "\r\n", x->open_chunk ? 0 : 2);
                break;
            }
            snprintf(line, sizeof(line), "%zx\r\n", piece_len);
            _send(x, line, strlen(line));
            _send(x, piece, piece_len);
            _send(x, "\r\n", 2);
            break;
        case HTTP1_CHUNKED_TRAILER:
            break; /* Dropped: RFC 9110 6.5.1 allows it for every recipient. */
        case HTTP1_CHUNKED_MORE:
            return used;
        case HTTP1_CHUNKED_END:
            if (!x->respond)
                _send(x, "0\r\n\r\n", 5);
            _request_complete(x);
            return used;
        case HTTP1_CHUNKED_ERROR:
            exchange_fail(x, FAULT_BAD_CHUNK, "malformed chunk");
            return len;
        }
    }
}

size_t exchange_request_body(struct exchange *x, const char *data, size_t len)
{
    if (!x->respond)
        downstream_clock(x->d);
    if (x->body == HTTP1_BODY_CHUNKED)
        return _chunked_body(x, data, len);
    size_t n = len < x->remaining ? len : (size_t)x->remaining;
    x->remaining -= n;
    x->body_seen += n;
    if (!x->respond)
        _send(x, data, n);
    if (!x->remaining)
        _request_complete(x);
    return n;
}

/* Beginning --------------------------------------------------------------------------- */

static void _begin_respond(struct exchange *x, const struct http1_message *m)
{
    bool small = x->body == HTTP1_BODY_CHUNKED || x->remaining <= DISCARD_MAX;
    if (x->body == HTTP1_BODY_NONE || m->expect_100 || !small)
        _respond(x);
}

/* Max-Forwards is used up: the request ends here (RFC 9110 7.6.2). */
static void _end_of_hops(struct exchange *x, const char *head, const struct http1_message *m)
{
    if (m->is_trace) {
        bool close = x->http10 || x->downstream_close || x->d->c.worker->draining;
        reply_trace(x->d, head, m, close);
        _leave(x, close, true);
        return;
    }
    x->respond = &_options;
    _begin_respond(x, m);
}

/* Writes the head as it goes upstream where a retry finds it. @return false if it does not
 * fit. */
static bool _write_head(struct exchange *x, const char *head, struct http1_message *m)
{
    struct downstream *d = x->d;
    size_t cap = m->head_len + m->n_fields + 512 + head_edit_room(x->route, HTTP1_REQUEST);
    if (x->replay_cap < cap) {
        char *p = realloc(x->replay, cap);
        if (!p)
            abort();
        x->replay = p;
        x->replay_cap = cap;
    }
    if (x->route)
        peer_ask(&d->peer, d->c.fd);
    x->replay_len = head_edit_request(x->replay, x->replay_cap, head, m, x->endpoint->conf->address.text,
                                      x->route, x->route ? d->c.listener->rt->conf : NULL, &d->peer);
    x->replayable = x->replay_len > 0;
    return x->replayable;
}

static void _begin_proxy(struct exchange *x, const char *head, struct http1_message *m, uint32_t picked)
{
    struct upstream *own = x->d->pinned;
    balance_hash_request(x->cluster, &x->d->c, head, m, &x->balance);
    x->endpoint = exchange_choose_endpoint(x, own ? own->c.endpoint + 1 : picked);
    x->want_donate = picked != 0;
    if (!x->endpoint) {
        exchange_fail(x, FAULT_NO_ENDPOINT, "all endpoints are draining");
        return;
    }
    if (!_write_head(x, head, m)) {
        exchange_fail(x, FAULT_HEAD_TOO_LARGE, "request head grew over the limit");
        return;
    }
    int r = _dispatch(x, false);
    if (r) {
        _connect_failed(x, -r);
        return;
    }
    downstream_clock(x->d);
    upstream_clock(x);
}

static struct exchange *_new(struct downstream *d)
{
    struct worker *w = d->c.worker;
    struct exchange *x = exchange_new(w);
    d->x = x;
    x->d = d;
    x->runtime = runtime_ref(d->c.listener ? d->c.listener->rt->runtime : w->runtime);
    return x;
}

static void _describe(struct exchange *x, const struct http1_message *m)
{
    x->body = m->body;
    x->remaining = m->body == HTTP1_BODY_LENGTH ? m->content_length : 0;
    if (x->body == HTTP1_BODY_LENGTH && !x->remaining)
        x->body = HTTP1_BODY_NONE;
    x->state = x->body == HTTP1_BODY_NONE ? EXCHANGE_RESPONSE : EXCHANGE_REQUEST;
    x->is_head = m->is_head;
    x->idempotent = m->idempotent;
    x->http10 = m->minor == 0;
    x->upgrade = m->upgrade;
    x->te_trailers = m->te_trailers;
    x->pin = m->connection_auth;
    x->downstream_close = m->close;
    if (x->body == HTTP1_BODY_CHUNKED)
        http1_chunked_init(&x->chunked);
}

struct exchange *exchange_adopt(struct downstream *d, struct upstream *u, const char *head,
                                struct http1_message *m, const char *body, size_t body_len)
{
    struct exchange *x = _new(d);
    bool known = exchange_find_endpoint(x, u->c.endpoint, head, m) || (m && exchange_find_route(x, head, m));
    if (m)
        _describe(x, m);
    if (m && known)
        balance_hash_request(x->cluster, &d->c, head, m, &x->balance);
    if (m && known && body && _write_head(x, head, m))
        _remember(x, body, body_len);
    x->want_donate = true;
    u->reused = true;
    u->scanned = 0;
    upstream_bind(x, u);
    x->sent_before = UINT64_MAX; /* The kernel path has sent it. */
    return x;
}

void exchange_begin(struct downstream *d, const char *head, struct http1_message *m)
{
    bool ambiguous;
    const struct conf_route *route = route_request(d, head, m, &ambiguous);
    struct exchange *x = _new(d);
    uint32_t picked = d->c.picked;
    d->c.picked = 0;
    _describe(x, m);
    uint64_t limit = x->runtime->conf->limits.body_bytes;
    if (limit && x->remaining > limit) {
        _too_large(x);
    } else if (ambiguous) {
        exchange_fail(x, FAULT_AMBIGUOUS_PATH, "path has forms that belong to other routes");
    } else if (m->limited && m->max_forwards == 0) {
        _end_of_hops(x, head, m);
    } else if (!route) {
        x->respond = &_not_found;
        _begin_respond(x, m);
    } else if (route->respond) {
        x->respond = route->respond;
        _begin_respond(x, m);
    } else {
        x->cluster = &x->runtime->clusters[route->cluster];
        x->route = conf_route_edits(route) ? route : NULL;
        _begin_proxy(x, head, m, picked);
    }
}
