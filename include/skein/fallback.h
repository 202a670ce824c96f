/*
 * Why a message left the kernel path. The reasons of the head framer come first, with
 * the framer's own numbers; those of the RESP framer come last.
 */
#pragma once

#include "parsers/http1_framer.h"
#include "parsers/resp_framer.h"

enum fallback_reason {
    FALLBACK_HEAD = HTTP1_OK, /**< Not used: 0 to _HTTP1_REASON_MAX - 1 are enum http1_reason. */
    FALLBACK_PIPELINED = _HTTP1_REASON_MAX, /**< A request while one is outstanding. */
    FALLBACK_LIMIT,                         /**< Over a configured limit. */
    FALLBACK_NO_ROUTE,                      /**< No route, or one that userspace answers. */
    FALLBACK_NO_UPSTREAM,                   /**< No idle upstream connection. */
    FALLBACK_UPSTREAM_SLOW,                 /**< The server does not take the request's body fast enough. */
    FALLBACK_DOWNSTREAM_SLOW,               /**< The client does not take the response fast enough. */
    FALLBACK_EARLY_RESPONSE,                /**< A response before the request was sent completely. */
    FALLBACK_UNSOLICITED,                   /**< Bytes from upstream that nobody asked for. */
    FALLBACK_STALE_LEASE,                   /**< The two sides of a lease do not name each other. */
    FALLBACK_TARGET_GONE,                   /**< The other socket is closing or closed. */
    FALLBACK_REDIRECT_FAILED,               /**< The kernel refused the redirect. */
    FALLBACK_INTERNAL,                      /**< A look-up failed that never should. */
    FALLBACK_COMMAND, /**< Redis: not a command with one short key, or a wrong number of arguments. */
    FALLBACK_EJECTED, /**< The shard is not in use; for HTTP, no endpoint that was looked at is. */
    FALLBACK_RESP,    /**< Not used: from here on FALLBACK_RESP + enum resp_frame_reason. */
    _FALLBACK_RESP_LAST = FALLBACK_RESP + _RESP_FRAME_REASON_MAX - 1,
    _FALLBACK_MAX,
};

#ifndef __bpf__
/** Name of a reason as the metrics show it. */
const char *fallback_name(unsigned reason);
#endif
