/*
 * Shared by the files that make up the userspace HTTP/1.1 parser; not for its callers.
 */
#pragma once

#include "http1_message.h"

/** Options a Connection field may list, all lines together. */
#define HTTP1_CONNECTION_OPTIONS_MAX 32

/** Character classes, as bits of http1_char_class[]. */
enum http1_char {
    HTTP1_C_TOKEN = 1 << 0,      /**< tchar, RFC 9110 section 5.6.2 */
    HTTP1_C_VALUE = 1 << 1,      /**< field-content, SP and HTAB, RFC 9110 section 5.5 */
    HTTP1_C_TARGET = 1 << 2,     /**< Printable ASCII without SP and `#`. */
    HTTP1_C_HOST = 1 << 3,       /**< unreserved and sub-delims without the comma, RFC 3986 */
    HTTP1_C_DIGIT = 1 << 4,      /**< 0-9 */
    HTTP1_C_HEX = 1 << 5,        /**< 0-9, A-F, a-f */
    HTTP1_C_UNDERSCORE = 1 << 6, /**< `_` alone */
};

extern const uint8_t http1_char_class[256];

static inline bool http1_is(char c, uint8_t classes)
{
    return (http1_char_class[(uint8_t)c] & classes) != 0;
}

/** One parsed field line, and what became of the line. */
struct http1_line {
    struct http1_field field;
    uint8_t name_classes; /**< All class bits that occurred in the name. */
};

/** Records why a head is refused (see http1_error()) and returns `status`. */
int http1_fail(int status, const char *why);

/** Compares a name that consists of tchars with one in lower case. */
bool http1_name_is(const char *name, size_t len, const char *lower, size_t lower_len);

/** Same for a string literal. */
#define HTTP1_NAME_IS(name, len, literal) http1_name_is(name, len, literal, sizeof(literal) - 1)

/** Field id by name. */
uint8_t http1_field_id(const char *name, size_t len);

/** Whether the name with `_` read as `-` is a framing or forwarding field. */
bool http1_is_disguised(const char *name, size_t len);

/** Whether a Connection option may not remove this field: RFC 9110 section 7.6.1. */
bool http1_is_protected(const char *name, size_t len);

/** Iterates over a comma-separated list (RFC 9110 section 5.6.1).
 *
 * @param item  Set to the next element, OWS trimmed; may be empty.
 * @return False at the end.
 */
bool http1_list_next(const char *buf, struct http1_span *rest, struct http1_span *item);

/** Reads the request or status line.
 *
 * @param buf  A head; its last byte is LF, which ends every scan.
 * @param off  Set to the first byte after the line.
 * @return 0 or a status.
 */
int http1_read_request_line(const char *buf, size_t len, struct http1_message *msg, size_t *off);
int http1_read_status_line(const char *buf, size_t len, struct http1_message *msg, size_t *off);

/** Reads one field line at `*off`, strictly (RFC 9112 section 5).
 *
 * @param lenient_colon  Accept whitespace before the colon (responses, section 5.1).
 * @return 0 or 400; `*off` then is the first byte after the line.
 */
int http1_read_field(const char *buf, size_t *off, bool lenient_colon, struct http1_line *line);

/** Decides the target's form and sets form, path, host and authority from it. */
int http1_read_target(const char *buf, struct http1_message *msg);

/** Validates `uri-host [ ":" port ]`, without userinfo.
 *
 * @param host  Set to the part before the port.
 */
bool http1_read_authority(const char *buf, struct http1_span authority, struct http1_span *host);

/** Interprets the fields of `msg`: framing, hop-by-hop marks, connection persistence. */
int http1_apply_fields(const char *buf, struct http1_message *msg);

/** Feeds the head to llhttp and compares what it understood with `msg`.
 *
 * @return 0 or 400.
 */
int http1_cross_check(const char *buf, size_t len, const struct http1_message *msg);
