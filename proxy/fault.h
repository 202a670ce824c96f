/*
 * Why a request was not answered as its client hoped: one word and one status each, for the log and
 * for the metrics.
 */
#pragma once

#include <stdint.h>

enum fault {
    FAULT_BAD_REQUEST,      /**< Malformed or ambiguous head. */
    FAULT_BAD_CHUNK,        /**< Malformed chunked body. */
    FAULT_AMBIGUOUS_PATH,   /**< Routed differently than its normalised form. */
    FAULT_NO_ROUTE,         /**< No route matches. */
    FAULT_HEADER_TIMEOUT,   /**< The client did not complete a head in time... */
    FAULT_BODY_TIMEOUT,     /**< ...or a body... */
    FAULT_WRITE_TIMEOUT,    /**< ...or does not read. */
    FAULT_BODY_TOO_LARGE,   /**< limits.body_bytes */
    FAULT_TARGET_TOO_LONG,  /**< limits.target_bytes */
    FAULT_EXPECTATION,      /**< Unknown expectation. */
    FAULT_HEAD_TOO_LARGE,   /**< limits.header_bytes, limits.header_count */
    FAULT_CLIENT_CLOSED,    /**< The client left before it was answered. */
    FAULT_NOT_IMPLEMENTED,  /**< Unknown transfer coding, CONNECT, method too long. */
    FAULT_BAD_RESPONSE,     /**< The server's response is malformed. */
    FAULT_UPSTREAM_CLOSED,  /**< The server closed before or inside its response... */
    FAULT_UPSTREAM_RESET,   /**< ...or reset the connection. */
    FAULT_NO_ENDPOINT,      /**< All endpoints are draining. */
    FAULT_CONNECT_FAILED,   /**< No endpoint could be connected to. */
    FAULT_CONNECT_TIMEOUT,  /**< timeouts.connect */
    FAULT_RESPONSE_TIMEOUT, /**< timeouts.response, or the server does not read: timeouts.write */
    FAULT_TUNNEL_TIMEOUT,   /**< timeouts.tunnel */
    FAULT_DRAIN_TIMEOUT,    /**< Still at work when timeouts.drain was over. */
    _FAULT_MAX,
};

/** Its name in logs and metrics. */
const char *fault_name(enum fault f);

/** The HTTP status that stands for it; it is answered with if nothing was sent yet. */
unsigned fault_status(enum fault f);

/** What a parser's verdict on a request head is: 400, 414, 417, 431 or 501. */
enum fault fault_of_status(int status);
