/*
 * RESP, the Redis protocol, versions 2 and 3: where a request or a reply ends, incrementally,
 * over whatever the caller has buffered. Nothing is copied; a bulk string is never assembled
 * unless the caller wants to.
 *
 * Lengths are canonical, exactly as redis' string2ll takes them: an optional minus sign, no
 * leading zero, no plus, no space, no overflow; exact CRLF after them and after bulk strings.
 * Source: redis 7.0 networking.c (processMultibulkBuffer, processInlineBuffer), sds.c
 * (sdssplitargs), and the RESP3 specification.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** Longest inline command and longest length line, in bytes (redis: PROTO_INLINE_MAX_SIZE). */
#define RESP_INLINE_MAX 65536

/** Aggregates in aggregates that a reply may have. */
#define RESP_DEPTH_MAX 64

struct resp_limits {
    uint32_t multibulk;   /**< Arguments of a command. */
    uint32_t bulk;        /**< Bytes of one argument. */
    bool unauthenticated; /**< Redis' narrow limits before AUTH: 10 arguments, 16384 bytes. */
};

enum resp_result {
    RESP_MORE = 0, /**< Well-formed so far, incomplete. */
    RESP_DONE = 1,
    RESP_ERROR = -1, /**< `error` says why. */
};

/** An argument: offset from the first byte of the command's text, length in bytes. */
struct resp_arg {
    uint32_t off;
    uint32_t len;
};

#define RESP_ARGS_INLINE 8

/** A request being parsed. Zero it to begin with; resp_request_reset() between commands. */
struct resp_request {
    const char *text;      /**< RESP_DONE: the command as a canonical multibulk: the caller's own
                            * bytes, or `rewritten` for an inline command. */
    size_t text_len;       /**< RESP_DONE: its length. */
    size_t size;           /**< RESP_DONE: bytes of input that the command took. */
    uint32_t argc;         /**< Arguments declared; 0 until known, and for an empty command. */
    uint32_t argn;         /**< Arguments whose length is known: args[0 .. argn-1] are set. */
    uint32_t whole;        /**< Arguments that are there completely. */
    size_t pos;            /**< Input taken so far; an incomplete length line is not. */
    uint32_t scan;         /**< Bytes of that line which were searched for its end. */
    struct resp_arg *args; /**< `few`, or owned. */
    uint32_t cap;
    bool in_bulk; /**< The last known argument's bytes are not all there. */
    bool is_inline;
    char *rewritten; /**< Owned. */
    uint32_t rewritten_cap;
    const char *error; /**< RESP_ERROR: redis' own words, without "-ERR " and CRLF, static or
                        * valid until the next call, or "out of memory". */
    char error_text[64];
    struct resp_arg few[RESP_ARGS_INLINE];
};

/** Goes on with a command.
 *
 * @param data  From the command's first byte on: all that was given before, and what came since.
 * @return RESP_MORE; RESP_DONE with `text`, `size`, `args` set (argc 0: an empty command, which
 *         has no reply); RESP_ERROR, after which the connection has to be closed.
 */
enum resp_result resp_request_parse(struct resp_request *r, const char *data, size_t len,
                                    const struct resp_limits *limits);

/** Begins with the next command; keeps memory, but not that of an unusually long command. */
void resp_request_reset(struct resp_request *r);

/** Frees what the request holds. */
void resp_request_free(struct resp_request *r);

/** A long command whose bytes are passed on while they come. */
struct resp_stream {
    uint32_t left;      /**< Arguments of which the length is still to come. */
    uint64_t remaining; /**< Bytes of the argument at hand with its CRLF still to come. */
    uint32_t scan;      /**< Bytes left over by the last call that need not be searched again. */
    const char *error;  /**< RESP_ERROR: as in struct resp_request. */
    char error_text[64];
};

/** Turns a parse that is in its middle into a stream: after RESP_MORE, with argc known, and not of
 * an inline command, which is never streamed (it has RESP_INLINE_MAX bytes at most). @return How many of the
 * bytes given to resp_request_parse() so far belong to what was parsed (r->pos): pass them on; the stream
 * goes on with the byte after them. */
size_t resp_stream_begin(struct resp_stream *s, const struct resp_request *r);

/** Consumes bytes of the command, checking them like resp_request_parse().
 * @param used  Bytes that may be passed on; what is left over (less than a length line) comes
 *              again, with more behind it. On RESP_ERROR: well-formed bytes before the error.
 * @return RESP_MORE, RESP_DONE (`used` ends with the command) or RESP_ERROR. */
enum resp_result resp_stream_feed(struct resp_stream *s, const char *data, size_t len,
                                  const struct resp_limits *limits, size_t *used);

/** A reply being passed on. Zero it to begin with, and between replies. */
struct resp_reply {
    char type;                     /**< First byte of the reply itself, after attributes; 0 until known. */
    bool push;                     /**< It is a push (`>`): no answer to anything. */
    bool in_attribute;             /**< An attribute before the reply is open. */
    uint8_t depth;                 /**< Aggregates open. */
    uint64_t remaining;            /**< Bytes of the bulk at hand with its CRLF still to come. */
    bool in_line;                  /**< Inside a line whose type needs no look at its rest (`+`, `-`, ...). */
    bool seen_cr;                  /**< The last byte of that line so far was CR. */
    const char *error;             /**< RESP_ERROR: why, static. */
    uint64_t left[RESP_DEPTH_MAX]; /**< Elements still to come, by depth; only `depth` of them
                                    * mean something, so it comes last and needs no reset. */
};

/** Zeroes what has to be zero before the next reply. */
static inline void resp_reply_reset(struct resp_reply *r)
{
    memset(r, 0, offsetof(struct resp_reply, left));
}

/** Consumes bytes of one reply (with attributes before it), RESP2 or RESP3, checking its form:
 * types + - : $ * _ , # ( ! = % ~ > |, null forms, nesting up to RESP_DEPTH_MAX. Streamed types
 * (`$?`, `*?`, ...) are an error.
 *
 * @param used  Bytes that belong to the reply; what is left over on RESP_MORE (less than a
 *              length line) comes again.
 * @return RESP_MORE, RESP_DONE (`used` ends with the reply), RESP_ERROR.
 */
enum resp_result resp_reply_feed(struct resp_reply *r, const char *data, size_t len, size_t *used);

/** Parses a canonical decimal number, all of it. @return false if it is none. */
bool resp_number(const char *text, size_t len, int64_t *out);

/** Parses one header line (`*3`, `$-1`, `:42`, ...) at the beginning of `data`.
 * @return Bytes of the line with its CRLF; 0 if it is not complete; -1 if it is malformed. */
int resp_header(const char *data, size_t len, char *type, int64_t *value);
