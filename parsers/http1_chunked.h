/*
 * Chunked transfer coding, framed strictly and incrementally (RFC 9112 section 7.1):
 * 1*16 hexadecimal digits, CRLF only, extensions checked against their grammar and
 * bounded, trailer section bounded. Pure: no allocation, no I/O.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Bytes of chunk extensions per chunk line, and of the whole trailer section. */
#define HTTP1_CHUNK_EXT_MAX 256
#define HTTP1_TRAILER_MAX   8192

struct http1_chunked {
    uint64_t remaining; /**< Data bytes of the current chunk still to come. */
    uint32_t line;      /**< Bytes of the current chunk extensions, for the bound. */
    uint32_t trailer;   /**< Bytes of the trailer section seen. */
    uint8_t state;
    uint8_t digits;
};

enum http1_chunked_event {
    HTTP1_CHUNKED_MORE,    /**< All input consumed, the body goes on. */
    HTTP1_CHUNKED_DATA,    /**< `*data`, `*data_len`: body bytes inside the input. */
    HTTP1_CHUNKED_TRAILER, /**< `*data`, `*data_len`: bytes of the trailer section's field
                            * lines (with their CRLF, without the final empty line), in
                            * order, in pieces as they arrive. */
    HTTP1_CHUNKED_END,     /**< The body is complete; later bytes are not its. */
    HTTP1_CHUNKED_ERROR,   /**< Malformed or over a bound; the state is dead. */
};

void http1_chunked_init(struct http1_chunked *c);

/** Begins in the middle of a body, where the kernel path left off: before its first chunk line, or with
 * `left` bytes of a chunk's data (then CRLF) still to come.
 *
 * @param begun  A chunk line was seen.
 */
void http1_chunked_resume(struct http1_chunked *c, bool begun, uint64_t left);

/** Consumes input up to the next event.
 *
 * @param buf       Input; `*consumed` of its bytes are used up on return (data bytes
 *                  of a DATA or TRAILER event included).
 * @return The event. Call again with the rest until MORE, END or ERROR.
 */
enum http1_chunked_event http1_chunked_next(struct http1_chunked *c, const char *buf, size_t len,
                                            size_t *consumed, const char **data, size_t *data_len);
