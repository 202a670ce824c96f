/*
 * HTTP/1.1 head framer: says where a head ends, how many body bytes follow and
 * which spans of it routing needs.
 *
 * It is a table-driven automaton (byte -> class, state x class -> state, both in
 * read-only data) so that the very same code compiles for BPF, where a
 * hand-written branch machine exceeds the verifier's limits, and for the host,
 * where it is unit-tested, fuzzed and compared with llhttp.
 *
 * It accepts a strict subset of HTTP/1.1: whatever is rare, ambiguous or
 * malformed yields a reason, and the message belongs to the userspace path.
 * Grammar: RFC 9112 sections 2 to 7, RFC 9110 section 5.
 */
#pragma once

#ifdef __bpf__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

/** Bytes of a head that the framer looks at; longer heads go to userspace. */
#define HTTP1_WINDOW 1792

/** Longest method name; RFC 9112 section 3 wants 501 above what is implemented. */
#define HTTP1_METHOD_MAX 64

enum http1_kind {
    HTTP1_REQUEST,
    HTTP1_RESPONSE,
};

/** Outcome of framing a head; everything above HTTP1_MORE is a reason why the
 * kernel path does not take the message. */
enum http1_reason {
    HTTP1_OK,                /**< Complete head, every rule satisfied. */
    HTTP1_MORE,              /**< No violation so far, the head is not complete. */
    HTTP1_TOO_LONG,          /**< The head does not end inside the window. */
    HTTP1_SYNTAX,            /**< Violates the grammar, or an odd form of it. */
    HTTP1_VERSION,           /**< Not HTTP/1.1, nor an HTTP/1.0 response on a persistent connection. */
    HTTP1_TARGET,            /**< Not origin-form. */
    HTTP1_HOST,              /**< Host missing, repeated, empty or not a plain authority. */
    HTTP1_CONTENT_LENGTH,    /**< Repeated or not a plain number of at most 18 digits. */
    HTTP1_TRANSFER_ENCODING, /**< Transfer-Encoding other than one `chunked`, or beside a length. */
    HTTP1_CONNECTION,        /**< An option besides `keep-alive`, or `close` where the connection goes on. */
    HTTP1_HOP_FIELD,         /**< Proxy-*, TE, Trailer, HTTP2-Settings; Keep-Alive that can not be blanked. */
    HTTP1_UPGRADE,           /**< Any Upgrade field. */
    HTTP1_EXPECT,            /**< Expect other than one `100-continue`. */
    HTTP1_UNDERSCORE,        /**< A field name with an underscore (requests). */
    HTTP1_METHOD,            /**< CONNECT, or TRACE. */
    HTTP1_STATUS,            /**< 101, a status outside 100 to 599, or framing that it forbids. */
    HTTP1_FIELD_COUNT,       /**< More field lines than allowed. */
    HTTP1_AUTH,              /**< Authentication that may belong to the connection (NTLM, Negotiate). */
    HTTP1_CHUNK,             /**< Chunk extensions, trailers, or malformed chunks. */
    _HTTP1_REASON_MAX,
};

/** The bytes a head is framed in; the buffer is never modified. */
struct http1_window {
    unsigned char bytes[HTTP1_WINDOW];
};

enum http1_head_flags {
    HTTP1_F_HEAD = 1 << 0,       /**< Request method is exactly `HEAD`. */
    HTTP1_F_HAS_LENGTH = 1 << 1, /**< A Content-Length field was present. */
    HTTP1_F_NO_BODY = 1 << 2,    /**< Response status 204 or 304: never a body. */
    HTTP1_F_CHUNKED = 1 << 3,    /**< Transfer-Encoding is `chunked`. */
    HTTP1_F_CLOSE = 1 << 4,      /**< Response: the connection ends after it. */
    HTTP1_F_INTERIM = 1 << 5,    /**< Response status 1xx: another response follows. */
    HTTP1_F_MINOR_0 = 1 << 6,    /**< Response: HTTP/1.0. */
    HTTP1_F_EXPECT = 1 << 7,     /**< Request: the client waits for 100 (Continue). */
    HTTP1_F_SAFE = 1 << 8,       /**< Request: GET or HEAD. */
    HTTP1_F_ODD_PATH = 1 << 9,   /**< Request: another reader could take the path for another one. */
};

/** Longest field line that is blanked out of a head, and longest name of the field behind it. */
#define HTTP1_BLANK_MAX  64
#define HTTP1_BLANK_NAME 48

/** Where the minor version's digit is in a response. */
#define HTTP1_MINOR_AT 7

/** What framing found. Offsets count from the first byte of the head. */
struct http1_head {
    unsigned long long content_length; /**< Body bytes announced; 0 if none were. */
    unsigned short head_len;           /**< Bytes up to and including the empty line. */
    unsigned short target_off;         /**< Request: first byte of the target. */
    unsigned short target_len;         /**< Request: the target with its query. */
    unsigned short path_len;           /**< Request: the target up to `?`. */
    unsigned short host_off;           /**< Request: Host value, OWS trimmed. */
    unsigned short host_len;           /**< Request: without the port. */
    unsigned short status;             /**< Response: status code. */
    unsigned short fields;             /**< Field lines. */
    unsigned short flags;              /**< enum http1_head_flags */
    /** A field line that is to be gone before the head is forwarded, at the same length: the next field's
     * name and colon (`blank_name` bytes) move to its beginning, spaces for `blank_len` bytes follow. They
     * are whitespace before that field's value, which every reader skips (RFC 9112 section 5). Without a next
     * field
     * (`blank_name` is 0) they follow the Connection field, which is for the next reader alone as well. */
    unsigned short blank_off;
    unsigned char blank_len; /**< 0: none. */
    unsigned char blank_name;
    unsigned char reason; /**< enum http1_reason, same as returned. */
    unsigned char _pad;
};
