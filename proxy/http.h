/*
 * The userspace path for HTTP/1.1: downstream and upstream connections and the exchange
 * (one request and its response) between them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "balance.h"
#include "conn.h"
#include "fault.h"
#include "parsers/http1_chunked.h"
#include "parsers/http1_message.h"
#include "peer.h"
#include "runtime.h"

struct worker;
struct worker_listener;

struct downstream {
    struct conn c;
    struct exchange *x;      /**< NULL between messages. */
    uint32_t scanned;        /**< Bytes of the head at hand already searched for its end. */
    struct upstream *pinned; /**< Idle, and for this client alone; NULL without. */
    struct peer peer;        /**< Asked for when a request needs it. */
};

struct upstream {
    struct conn c;
    struct exchange *x; /**< NULL while idle. */
    uint32_t scanned;
    bool reused;                  /**< Has served an exchange before the current one. */
    struct downstream *pinned_by; /**< While it is idle: the only client that it may serve; NULL: any. */
    TAILQ_ENTRY(upstream) idle;
};

TAILQ_HEAD(upstream_pool_list, upstream);

/** Idle upstream connections of one worker to one endpoint, most recently used first. */
struct upstream_pool {
    struct upstream_pool_list idle;
    uint32_t n_idle;
};

enum exchange_state {
    EXCHANGE_REQUEST,  /**< Request body goes on; a response may have begun. */
    EXCHANGE_RESPONSE, /**< Request complete, response outstanding. */
    EXCHANGE_TUNNEL,   /**< 101: both directions are bytes. */
};

struct exchange {
    struct downstream *d;
    struct upstream *u; /**< NULL for direct answers and between two tries. */
    struct runtime *runtime;
    struct rt_cluster *cluster;
    const struct rt_endpoint *endpoint;
    const struct conf_respond *respond;
    const struct conf_route *route; /**< Its edits apply; NULL without, and for what began in the kernel. */
    enum exchange_state state;

    /* Request, as received. */
    enum http1_body body;
    uint64_t remaining;
    struct http1_chunked chunked;
    bool open_chunk; /**< The kernel path has sent the line of the chunk at hand. */
    uint64_t body_seen;
    bool is_head;
    bool idempotent;
    bool http10;
    bool upgrade;
    bool te_trailers;
    bool pin; /**< The connection is being authenticated: it is for this client alone. */

    /* What was sent upstream, kept for a retry while that is possible. */
    char *replay;
    size_t replay_len;
    size_t replay_cap;
    bool replayable;
    uint8_t retries;                /**< Times that it was sent again. */
    uint8_t connects;               /**< Connections tried. */
    uint64_t sent_before;           /**< Bytes that the upstream connection had sent before this request. */
    struct balance_request balance; /**< What its endpoint depends on. */

    /* Response. */
    bool head_done;
    bool started; /**< Bytes of the final response went downstream. */
    enum http1_body resp_body;
    uint64_t resp_remaining;
    struct http1_chunked resp_chunked;
    bool resp_encode;     /**< Chunk-encode what goes downstream. */
    bool resp_open_chunk; /**< As `open_chunk`, downstream. */
    bool upstream_keep;   /**< The upstream connection survives this response... */
    bool upstream_spent;  /**< ...but not if more requests were sent behind this one. */
    bool downstream_close;
    bool resp_bytes;    /**< Any byte came from the upstream connection. */
    bool want_donate;   /**< The kernel path lacked an idle upstream connection. */
    bool tunnel_eof[2]; /**< [0] downstream, [1] upstream has sent FIN. */
    char *trailers;     /**< Trailer section collected for the client. */
    size_t trailers_len;

    struct exchange *next; /**< In the worker's free list. */
};

/* http.c ------------------------------------------------------------------------------ */

/** What HTTP keeps per worker: pools of idle upstream connections, exchanges for reuse.
 * @return 0 or -ENOMEM. */
int http_worker_init(struct worker *w);
void http_worker_free(struct worker *w);

/* downstream.c ------------------------------------------------------------------------ */

/** Takes an accepted, non-blocking socket. */
void downstream_new(struct worker_listener *l, int fd);

/** The exchange of this connection is over; the next request may begin.
 * @param close  Finish the connection.  @param linger  See conn_finish(). */
void downstream_next(struct downstream *d, bool close, bool linger);

/** Reads request bytes again after back-pressure. */
void downstream_resume(struct downstream *d);

/** Starts the clock for the phase the connection is in. */
void downstream_clock(struct downstream *d);

struct downstream *downstream_of(const struct conn *c);

/** Counts and logs why a request was not answered as its client hoped. */
void downstream_fault(struct downstream *d, enum fault f, const char *why);

/* exchange.c -------------------------------------------------------------------------- */

/** Begins an exchange with a parsed request, in which fields may be marked; `head` stays valid
 * during the call only. */
void exchange_begin(struct downstream *d, const char *head, struct http1_message *m);

/** Makes an exchange out of one that began on the kernel path: both connections are bound. The caller sets
 * how far the body and the response are.
 *
 * @param head  The request's head; `m` NULL if it is not known.
 * @param body  The whole body for a retry, `body_len` bytes; NULL if there is one and it is not known.
 */
struct exchange *exchange_adopt(struct downstream *d, struct upstream *u, const char *head,
                                struct http1_message *m, const char *body, size_t body_len);

/** Feeds request body bytes. @return Bytes consumed. */
size_t exchange_request_body(struct exchange *x, const char *data, size_t len);

/** An upstream connection for the exchange is connected / has failed. */
void exchange_upstream_failed(struct exchange *x, int err, bool connecting);

/** Ends the exchange with an own error answer, or, when the response has begun, by
 * aborting the client. Destroys the upstream connection. */
void exchange_fail(struct exchange *x, enum fault f, const char *why);

/** The client is gone, or nothing more can be delivered to it: ends both connections. */
void exchange_cancel(struct exchange *x, enum fault f);

/** The client has ended inside its request, which is never completed upstream. What is left of earlier
 * responses is still sent. */
void exchange_truncated(struct exchange *x);

/** The response is complete. */
void exchange_done(struct exchange *x);

struct exchange *exchange_new(struct worker *w);
void exchange_free(struct worker *w, struct exchange *x);
void exchange_free_list(struct worker *w);

/* route.c ----------------------------------------------------------------------------- */

/** The route of a request: the first that matches its path as it came.
 * @param ambiguous  Set if a server may read the path as one that belongs to another route.
 * @return NULL if none does. */
const struct conf_route *route_request(struct downstream *d, const char *head, const struct http1_message *m,
                                       bool *ambiguous);

/* exchange_endpoint.c ----------------------------------------------------------------- */

/** The endpoint for a new request.
 *
 * @param picked  Id + 1 of the one that the kernel path chose, which is kept if the cluster has it and it
 *                is in use; 0 without.
 * @return NULL: all endpoints are draining.
 */
const struct rt_endpoint *exchange_choose_endpoint(const struct exchange *x, uint32_t picked);

/** Goes on to an endpoint that was not tried, or to one that was if there is no other.
 * @return false: all are draining. */
bool exchange_next_endpoint(struct exchange *x);

/** Sets cluster and endpoint by the endpoint's id, in the cluster of the request's route if that has it.
 * @param m  NULL if the request is not known.  @return false: a reload removed it. */
bool exchange_find_endpoint(struct exchange *x, uint32_t endpoint, const char *head,
                            const struct http1_message *m);

/** Sets them as they are for such a request now. @return false if it has no endpoint. */
bool exchange_find_route(struct exchange *x, const char *head, const struct http1_message *m);

/** The exchange's endpoint could not be reached, did not answer in time, or broke the connection. */
void exchange_endpoint_failed(struct exchange *x, const char *why);

/* response.c -------------------------------------------------------------------------- */

/** Feeds bytes from upstream. @return Bytes consumed. */
size_t response_input(struct exchange *x, const char *data, size_t len);

/** The upstream connection ended after `err` (0: FIN). */
void response_eof(struct exchange *x, int err);

/* head.c ------------------------------------------------------------------------------ */

/** Writes the request head as it goes upstream into `out` (capacity `cap`).
 * @return Length, or 0 if it does not fit. */
size_t head_request(char *out, size_t cap, const char *head, const struct http1_message *m,
                    const char *endpoint);

/** Writes the response head as it goes downstream.
 * @param close  Add `Connection: close`.  @param framing  Add `Transfer-Encoding: chunked`
 * (> 0), keep framing fields as they are (0), or drop Transfer-Encoding (< 0). */
size_t head_response(char *out, size_t cap, const char *head, const struct http1_message *m, bool close,
                     int framing);

/* reply.c ----------------------------------------------------------------------------- */

/** Puts a complete answer of skein's own.
 * @param body  NULL: the status' reason phrase and a line feed. */
void reply(struct downstream *d, unsigned status, const char *body, bool close, bool to_head);

/** Puts the answer to a TRACE request that ends here: the request as it came (RFC 9110 9.3.8). */
void reply_trace(struct downstream *d, const char *head, const struct http1_message *m, bool close);

const char *reply_reason(unsigned status);

/* upstream.c -------------------------------------------------------------------------- */

/** Gets an idle connection, or begins a new one (`fresh`: never an idle one), and binds
 * it to the exchange. @return 0 or -errno when no connection could even be begun. */
int upstream_get(struct exchange *x, bool fresh);

/** Unbinds and destroys the exchange's upstream connection. */
void upstream_drop(struct exchange *x);

/** Unbinds a connection that stays usable; it becomes idle or the kernel path's. */
void upstream_release(struct exchange *x);

/** Unbinds a connection that stays usable, but for this client alone: its server may have authenticated
 * the connection, not the requests (NTLM, Negotiate). Neither goes to the kernel path any more. */
void upstream_pin(struct exchange *x);

/** Closes the connection that is kept for a client, if there is one. */
void upstream_unpin(struct downstream *d);

/** Binds a connection that was idle. */
void upstream_bind(struct exchange *x, struct upstream *u);

/** Separates the exchange from its upstream connection, which it has. */
struct upstream *upstream_unbind(struct exchange *x);

/** Puts an unbound, open connection into the worker's idle list (or closes it). */
void upstream_park(struct upstream *u);

/** Starts the clock for what the exchange's upstream connection is to do next. */
void upstream_clock(struct exchange *x);

struct upstream *upstream_of(const struct conn *c);

/* tunnel.c ---------------------------------------------------------------------------- */

/** Switches both connections of an exchange to bytes, after a 101. */
void tunnel_begin(struct exchange *x);

/** How long it may be silent, in ns. */
uint64_t tunnel_limit(const struct exchange *x);

size_t tunnel_input(struct exchange *x, bool from_upstream, const char *data, size_t len);
void tunnel_eof(struct exchange *x, bool from_upstream);
/** Queued output of one side has left. */
void tunnel_drained(struct exchange *x, bool upstream_side);
