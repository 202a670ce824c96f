/* What a worker keeps for the Redis protocol. */
#pragma once

#include "redis.h"

/** Low bits of a client's id: its worker. */
#define REDIS_ID_SHIFT 10

struct redis_worker {
    struct redis_shard *shards[RUNTIME_ENDPOINTS_MAX]; /**< By endpoint id. */
    struct redis_upstream_list paused;
    struct redis_request *free_requests;
    unsigned n_free;
    uint64_t next_id; /**< Of a client, without its worker's. */
};
