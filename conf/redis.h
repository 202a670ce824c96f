/*
 * Redis' part of listeners and clusters.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "conf/resolve.h"

/** The policies of clusters for Redis, for errors. */
#define CONF_REDIS_POLICIES "crc16_slots, ketama, modula or maglev"

/** Fills cluster and redis of a listener with CONF_REDIS. @return 0 or -ENOMEM. */
int conf_resolve_redis_listener(struct conf_build *build, size_t index);

/** Fills hash, hash_tag, redis and the endpoints' names of a cluster for Redis; its endpoints come
 * first. @return 0 or -ENOMEM. */
int conf_resolve_redis_cluster(struct conf_build *build, size_t index);

/** Reports what a cluster that is not for Redis has of those. */
void conf_refuse_redis_keys(struct conf_build *build, size_t index);
