/*
 * One complete HTTP/1.1 head, understood: the userspace path's view of a request
 * or a response.
 *
 * llhttp (strict mode) parses the head; a second, independent pass checks the raw
 * bytes against the strict line grammar (CRLF only, no folding, token names, no
 * controls). Both must agree, so that a head which the two read differently is
 * refused instead of forwarded. Rules: RFC 9112 sections 2 to 7, RFC 9110 sections
 * 5 and 7.6.1.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http1_framer.h"

/** Field lines a message may have at most, whatever the configuration says. */
#define HTTP1_FIELDS_MAX 256

/** A piece of the head; `off` counts from the head's first byte. */
struct http1_span {
    uint32_t off;
    uint32_t len;
};

/** Fields that framing, routing or forwarding cares about. */
enum http1_field_id {
    HTTP1_FIELD_OTHER,
    HTTP1_FIELD_HOST,
    HTTP1_FIELD_CONTENT_LENGTH,
    HTTP1_FIELD_TRANSFER_ENCODING,
    HTTP1_FIELD_CONNECTION,
    HTTP1_FIELD_KEEP_ALIVE,
    HTTP1_FIELD_PROXY_CONNECTION,
    HTTP1_FIELD_TE,
    HTTP1_FIELD_TRAILER,
    HTTP1_FIELD_UPGRADE,
    HTTP1_FIELD_EXPECT,
    HTTP1_FIELD_HTTP2_SETTINGS,
    HTTP1_FIELD_DATE,
    HTTP1_FIELD_MAX_FORWARDS,
    _HTTP1_FIELD_ID_MAX,
};

struct http1_field {
    struct http1_span name;
    struct http1_span value; /**< OWS trimmed. */
    uint8_t id;              /**< enum http1_field_id */
    bool hop_by_hop;         /**< Must not be forwarded: RFC 9110 7.6.1, also when
                              * named by Connection (end-to-end fields that a proxy
                              * relies on, such as Host, are never marked); or a route
                              * takes it away. */
};

enum http1_body {
    HTTP1_BODY_NONE,
    HTTP1_BODY_LENGTH,
    HTTP1_BODY_CHUNKED,
    HTTP1_BODY_CLOSE, /**< Response only: delimited by the end of the connection. */
};

enum http1_target_form {
    HTTP1_TARGET_ORIGIN,
    HTTP1_TARGET_ABSOLUTE,
    HTTP1_TARGET_AUTHORITY, /**< CONNECT only. */
    HTTP1_TARGET_ASTERISK,  /**< OPTIONS only. */
};

struct http1_message {
    enum http1_kind kind;
    uint32_t head_len;
    uint8_t minor; /**< 0 or 1 */

    /* request */
    struct http1_span method;
    struct http1_span target; /**< As received. */
    struct http1_span path;   /**< What goes upstream as origin-form: path and query.
                               * Absolute-form without a path: len 0 or beginning with
                               * `?`, and "/" belongs in front ("*" for OPTIONS without
                               * query, RFC 9112 section 3.2.4). */
    uint32_t path_len;        /**< Of `path`, the bytes before `?`. */
    enum http1_target_form form;
    struct http1_span host;      /**< Authority without port; len 0 if there is none. */
    struct http1_span authority; /**< Host field value, or the absolute-form's authority. */
    bool is_head;
    bool is_connect;
    bool idempotent;  /**< RFC 9110 9.2.2, by method. */
    bool expect_100;  /**< Expect: 100-continue. */
    bool te_trailers; /**< TE: trailers, named by Connection. */
    bool is_trace;
    bool limited;          /**< TRACE or OPTIONS with Max-Forwards (RFC 9110 7.6.2): */
    uint32_t max_forwards; /**< how often it may be forwarded. */

    /* response */
    uint16_t status;
    struct http1_span reason; /**< May be empty. */

    /* both */
    enum http1_body body;
    uint64_t content_length; /**< With HTTP1_BODY_LENGTH. For a response to HEAD and a 304
                              * the body is NONE, and the field is forwarded as it is. */
    bool close;              /**< Connection: close, or HTTP/1.0 (of a response, without keep-alive). */
    bool connection_auth;    /**< Authorization or WWW-Authenticate names NTLM or Negotiate, which
                              * authenticate the connection instead of the request. */
    bool upgrade;            /**< HTTP/1.1, Connection names `upgrade` and Upgrade is there,
                              * and Upgrade is not h2c. */
    uint32_t n_fields;
    struct http1_field fields[HTTP1_FIELDS_MAX];
};

struct http1_limits {
    uint32_t header_bytes; /**< Whole head; above: 431. */
    uint32_t header_count; /**< Field lines; above: 431. At most HTTP1_FIELDS_MAX. */
    uint32_t target_bytes; /**< Request target; above: 414. */
};

/** Looks for the end of a head.
 *
 * @param buf   Bytes received, the head's first byte first. Empty lines before a
 *              request line are the caller's to skip (http1_skip_empty_lines()).
 * @param len   Number of bytes.
 * @param from  Where the last search over the same bytes stopped; 0 at first.
 * @return Length of the head including the empty line, or 0 if it is not complete.
 *         A head ends at the first CRLFCRLF, or, so that bare line feeds are refused
 *         at once instead of waited upon, at the first LFLF or LFCRLF.
 */
size_t http1_head_end(const char *buf, size_t len, size_t from);

/** Number of bytes of empty lines (CRLF) at the start: RFC 9112 2.2. */
size_t http1_skip_empty_lines(const char *buf, size_t len);

/** Early verdict on a request whose head is not complete yet.
 *
 * @return 0 if more bytes may make it a valid head, otherwise the status to answer
 *         with: 414 when the request line alone is over the limit, 431 when the head
 *         is, 501 when the method is longer than any, 400 when the first bytes can not begin a request (a TLS
 * hello, the HTTP/2 preface, a control character).
 */
int http1_request_partial(const char *buf, size_t len, const struct http1_limits *limits);

/** Parses a complete request head.
 *
 * @param buf     Head, exactly `len` bytes as http1_head_end() counted them.
 * @param limits  Sizes to enforce.
 * @param msg     Filled on success; unspecified otherwise.
 * @return 0, or the HTTP status to refuse the request with (400, 414, 417, 431, 501).
 *         http1_error() then names the rule.
 */
int http1_parse_request(const char *buf, size_t len, const struct http1_limits *limits,
                        struct http1_message *msg);

/** Parses a complete response head.
 *
 * @param to_head     The request was HEAD: there is no body.
 * @return 0, or 502.
 */
int http1_parse_response(const char *buf, size_t len, const struct http1_limits *limits, bool to_head,
                         struct http1_message *msg);

/** Short, static description of the calling thread's last parse error. */
const char *http1_error(void);

/** Whether a trailer field may be forwarded (RFC 9110 6.5.1: not framing, routing,
 * authentication, or hop-by-hop fields). */
bool http1_trailer_allowed(const char *name, size_t len);

/** Parses the field lines of a trailer section (RFC 9112 section 7.1.2).
 *
 * @param buf     Complete lines with their CRLF, without the final empty line: what the
 *                TRAILER events of http1_chunked_next() deliver, put together.
 * @param fields  Filled, at most `max`; spans count from `buf`.
 * @return Number of fields, or -1 if a line is malformed or there are more than `max`.
 */
int http1_parse_trailers(const char *buf, size_t len, struct http1_field *fields, uint32_t max);
