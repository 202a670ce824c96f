/* The parts of a client, shared by redis_client*.c. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "redis.h"

/* redis_client.c ---------------------------------------------------------------------- */

/** Ends the connection if nothing more will come and nothing is outstanding. */
void redis_client_settle(struct redis_client *cl);

/** Whether no more commands may be outstanding. */
bool redis_client_full(const struct redis_client *cl);

/* redis_client_input.c ---------------------------------------------------------------- */

/** Takes commands; see struct conn_ops. */
size_t redis_client_input(struct conn *c, const char *data, size_t len);
