/* The HTTP clients. */
#pragma once

#include <stdbool.h>

/** Opens `n` connections; each one that ends is followed by another. */
void clients_open(unsigned n);

/** Once chaos.ending is set: whether all requests have ended and all connections are closed. */
bool clients_done(void);

/** Fails for requests that take too long. */
void clients_check(void);
