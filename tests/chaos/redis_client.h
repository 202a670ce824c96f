/* The Redis clients. Each connection has keys of its own, so that it knows what every reply must be. */
#pragma once

#include <stdbool.h>

/** As those for HTTP. */
void redis_clients_open(unsigned n);
bool redis_clients_done(void);
void redis_clients_check(void);

/** Prints how the commands ended. */
void redis_clients_print(void);
