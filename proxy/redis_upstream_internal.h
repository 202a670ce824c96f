/* The parts of a connection to a shard, shared by redis_upstream*.c. */
#pragma once

#include <stddef.h>

#include "redis.h"
#include "worker.h"

/** The configuration in use. */
static inline const struct conf *redis_upstream_conf(const struct redis_upstream *u)
{
    return u->c.worker->runtime->conf;
}

/* redis_upstream.c -------------------------------------------------------------------- */

/** Puts `r` at the end of the connection's queue: it gets the reply behind those that are awaited. */
void redis_upstream_enqueue(struct redis_upstream *u, struct redis_request *r);

/** Sets the deadline of what the connection waits for now; see struct conn_ops. */
void redis_upstream_clock(struct conn *c);

/** All is sent: who waited for that goes on; see struct conn_ops. May close the connection. */
void redis_upstream_drained(struct conn *c);

/* redis_upstream_setup.c -------------------------------------------------------------- */

/** Sends a new connection's AUTH and HELLO, if it needs them. Commands are held until they are answered;
 * should they be refused, the connection fails. */
void redis_upstream_setup(struct redis_upstream *u, const struct conf_redis_cluster *conf);

/* redis_upstream_reply.c -------------------------------------------------------------- */

/** Takes replies; see struct conn_ops. */
size_t redis_upstream_input(struct conn *c, const char *data, size_t len);

/** It is no more paused; does not start to read. */
void redis_upstream_unpause(struct redis_upstream *u);
