/*
 * Addresses: a numeric host and a port. Names other than `localhost` are not resolved: what a
 * configuration means must not depend on a name server.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"

/** Parses `IPv4:port`, `[IPv6]:port` or `localhost:port` (127.0.0.1), port 1 to 65535.
 *
 * @param text     NUL-terminated.
 * @param address  Untouched on failure.
 * @return NULL, or what is wrong and what is expected: a static string.
 */
const char *conf_address_parse(const char *text, struct conf_address *address);

/** Writes `IPv4:port` or `[IPv6]:port`.
 *
 * @param address  Of family AF_INET or AF_INET6.
 * @param buf      At least 64 bytes hold any of them.
 * @param len      Of `buf`, in bytes.
 * @return `buf`.
 */
const char *conf_address_format(const struct conf_address *address, char *buf, size_t len);

/** In host byte order. */
uint16_t conf_address_port(const struct conf_address *address);

/** Whether it is 0.0.0.0 or [::], at any port. */
bool conf_address_is_any(const struct conf_address *address);

/** Whether two bound addresses collide: same family and port, and the same host or one is "any". */
bool conf_address_overlaps(const struct conf_address *a, const struct conf_address *b);

/** Whether connecting to `to` certainly reaches `listener`.
 *
 * For a listener on "any" that is so with loopback addresses; the other addresses of this host are
 * not looked up, so that a file means the same on every host.
 */
bool conf_address_reaches(const struct conf_address *to, const struct conf_address *listener);
