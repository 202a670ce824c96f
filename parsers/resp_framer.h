/*
 * RESP2 framer: says where a command or a reply ends and where a command has its name and its
 * first key, so that a message can be forwarded without being understood any further.
 *
 * The very same code (resp_scan.h) compiles for BPF and for the host. It looks at the window
 * that HTTP heads are framed in. Only length lines and short texts are read; bulk strings are
 * skipped, and the last one of a message may reach far beyond the window.
 *
 * It accepts a strict subset of what resp.h accepts, with the same end and the same arguments:
 * whatever is rare, long or malformed yields a reason, and the message belongs to the
 * userspace path. Lengths are canonical, as redis' string2ll takes them.
 */
#pragma once

#include "http1_framer.h"

/** Arguments of a command, its name among them. */
#define RESP_FRAME_ARGS_MAX 32

/** Bytes of a command's name. */
#define RESP_FRAME_NAME_MAX 32

/** Bytes of a bulk string (redis: proto-max-bulk-len's default). */
#define RESP_FRAME_BULK_MAX 536870912

/** Elements of a reply's arrays, taken together; a nested array is an element. */
#define RESP_FRAME_ELEMENTS_MAX 256

/** Arrays of a reply, empty and null ones too. */
#define RESP_FRAME_ARRAYS_MAX 8

/** Outcome of framing; everything above RESP_FRAME_PARTIAL is a reason why the kernel path does
 * not take the message. */
enum resp_frame_reason {
    RESP_FRAME_OK,       /**< Every rule satisfied as far as the bytes are there; the end is known. */
    RESP_FRAME_PARTIAL,  /**< No violation so far, and a line or an argument that is needed is not there. */
    RESP_FRAME_INLINE,   /**< A command that is no multibulk. */
    RESP_FRAME_TOO_LONG, /**< What has to lie inside the window does not. */
    RESP_FRAME_SYNTAX,   /**< A length that is not canonical or not allowed, a wrong type, no CRLF. */
    RESP_FRAME_COUNT,    /**< No arguments, or more arguments or elements than allowed. */
    RESP_FRAME_NAME,     /**< A command's name is empty or too long. */
    RESP_FRAME_TYPE,     /**< A reply of another type than + - : $ *. */
    RESP_FRAME_DEPTH,    /**< A reply of more arrays than allowed. */
    _RESP_FRAME_REASON_MAX,
};

enum resp_frame_flags {
    RESP_F_KEY = 1 << 0, /**< Command: there is a second argument, possibly an empty one. */
};

/** What framing found. Offsets count from the first byte of the window. */
struct resp_frame {
    unsigned long long len;  /**< Bytes of the whole message, possibly beyond the window. */
    unsigned short head_len; /**< Bytes before the last bulk string's text; `len` if the message
                              * does not end with one. All of them were there and are valid. */
    unsigned short argc;     /**< Command: arguments. */
    unsigned short name_off; /**< Command: first argument, all there. */
    unsigned short name_len;
    unsigned short key_off; /**< Command: second argument, all there; 0 without. */
    unsigned short key_len;
    unsigned char type;   /**< Reply: first byte. */
    unsigned char flags;  /**< enum resp_frame_flags */
    unsigned char reason; /**< enum resp_frame_reason, same as returned. */
    unsigned char _pad;
};
