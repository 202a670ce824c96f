/*
 * A reader of RESP2, replies and commands alike (a command is an array of bulk strings). It shares
 * nothing with skein's parsers.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESP_ITEMS 32

/** A simple value; bulk strings point into the reader's bytes. */
struct resp_item {
    char type; /**< + - : $ and N for a null bulk string. */
    const char *text;
    size_t len;
};

/** One message: a value, or an array of such. */
struct resp_value {
    bool array;
    unsigned n;
    struct resp_item item[RESP_ITEMS];
};

struct resp_reader {
    char *data;
    size_t off, len, cap; /**< Unread bytes are data[off .. len). */
};

/** Appends bytes. */
void resp_put(struct resp_reader *r, const void *data, size_t len);

/** Takes the next message. It is valid until the next call.
 * @return 1; 0: not complete; -1: malformed. */
int resp_take(struct resp_reader *r, struct resp_value *v);

void resp_free(struct resp_reader *r);
