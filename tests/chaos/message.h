/*
 * A reader of HTTP/1.1 messages that shares nothing with skein's parsers: what they let pass by
 * mistake is not read the same wrong way here.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum message_state {
    MESSAGE_HEAD,
    MESSAGE_BODY, /**< By Content-Length, or to the end of the connection. */
    MESSAGE_CHUNK_SIZE,
    MESSAGE_CHUNK_DATA,
    MESSAGE_CHUNK_END,
    MESSAGE_TRAILER,
    MESSAGE_DONE,
    MESSAGE_BAD, /**< Not HTTP; `why` says what. */
};

struct message {
    enum message_state state;
    bool response;
    bool to_head;    /**< A response to HEAD; to be set before its head is complete. */
    char head[8192]; /**< With its terminating NUL. */
    size_t head_len;
    int minor, status;
    char method[12], target[256];
    bool chunked, by_close, close, expect;
    uint64_t left; /**< Of the body or the chunk. */
    uint64_t body; /**< Bytes of it so far. */
    char line[512];
    size_t line_len;
    char trailer[128]; /**< The last trailer line. */
    const char *why;
};

/** Called with body bytes; `m->body` is the offset of the first. */
typedef void message_body(void *arg, const uint8_t *data, size_t len);

/** Begins a message. */
void message_init(struct message *m, bool response);

/** Reads bytes until the end of the head, of the message, or of the data.
 * @return Bytes consumed. */
size_t message_feed(struct message *m, const uint8_t *data, size_t len, message_body *body, void *arg);

/** Copies the value of a field. @return false if there is none; more than one makes the message bad. */
bool message_field(struct message *m, const char *name, char *out, size_t cap);
