/* Binding: one listening socket per worker and address. */
#pragma once

#include "conf/conf.h"

/** Opens `n` listening sockets that share an address (SO_REUSEPORT); the kernel spreads
 * connections over them.
 *
 * @param fds  Receives the sockets; untouched on failure.
 * @return 0 or -errno: -EADDRINUSE also when another process of the same user listens
 *         there with SO_REUSEPORT, which bind() alone would accept.
 */
int listen_open(const struct conf_address *address, unsigned n, uint64_t buffer_limit, int *fds);
