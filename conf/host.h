/*
 * The hosts that a route can match: what a Host field may say, without its port.
 */
#pragma once

/** Checks a host and lower-cases it in place.
 *
 * @param host  A host name, an IPv4 address, or an IPv6 address in brackets; NUL-terminated.
 * @return NULL, or what is wrong and what is expected: a static string.
 */
const char *conf_host_normalize(char *host);
