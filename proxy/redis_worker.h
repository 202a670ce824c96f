/* What a worker keeps for the Redis protocol. */
#pragma once

#include <event2/event_struct.h>

#include "redis.h"

/** Low bits of a client's id: its worker. */
#define REDIS_ID_SHIFT 10

/** Which path is the better one. */
struct redis_path {
    struct event timer;
    struct event take_deep;
    uint32_t tick;
    uint32_t seen;      /**< Clients that sent a command to userspace since the last tick, */
    uint32_t deep_seen; /**< and commands of local ones in deep pipelines. */
    bool started;
    bool many;  /**< Too many are busy for the kernel path. */
    bool deep;  /**< Too many commands are in deep pipelines for the bypass path, */
    bool batch; /**< and the worker's thread has another scheduling policy meanwhile. */
};

struct redis_worker {
    struct redis_shard *shards[RUNTIME_ENDPOINTS_MAX]; /**< By endpoint id. */
    struct redis_upstream_list paused;
    struct redis_request *free_requests;
    unsigned n_free;
    struct redis_upstream *run_to; /**< Commands of one client's input, one behind the other, that */
    const char *run;               /**< are sent to this connection together; NULL: none. */
    size_t run_len;
    struct redis_path path;
    uint64_t next_id; /**< Of a client, without its worker's. */
};
