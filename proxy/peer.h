/*
 * Who is at the other end of a downstream connection.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Longest text of an address, with its zero byte. */
#define PEER_TEXT_MAX 46

struct peer {
    uint8_t address[16]; /**< IPv6, or IPv4 mapped into it. */
    bool asked;          /**< Zeroed to begin with. */
    bool known;          /**< `address` is valid. */
};

/** Asks the socket once, and remembers the answer: a connection that was reset has none. */
void peer_ask(struct peer *p, int fd);

/** Whether the address is IPv4, mapped or not. */
bool peer_is_v4(const struct peer *p);

/** Writes the address without port, brackets and zone; "unknown" (RFC 7239, 6.2) if it is not known.
 * @return `buf`. */
const char *peer_text(const struct peer *p, char buf[PEER_TEXT_MAX]);
