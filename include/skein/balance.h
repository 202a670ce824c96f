/*
 * Which endpoint of a cluster gets a request: what the daemon and the programs must decide alike.
 */
#pragma once

#include <linux/types.h>

#include "parsers/http1_find.h"

/** Why an endpoint gets no new requests: bits of its state; 0 = it is in use. */
enum endpoint_state_bits {
    ENDPOINT_EJECTED = 1 << 0,    /**< Failed too often, for a while. */
    ENDPOINT_UNHEALTHY = 1 << 1,  /**< Active checks fail. */
    ENDPOINT_DRAIN_CONF = 1 << 2, /**< Draining by configuration, */
    ENDPOINT_DRAIN = 1 << 3,      /**< or by the admin listener. */
    ENDPOINT_REMOVED = 1 << 4,    /**< No cluster has it any more. */
};

/** These are a guess about the endpoint; when all endpoints of a cluster are out of use, those whose
 * state has nothing else are used all the same. */
#define ENDPOINT_SUSPECTED ((__u64)(ENDPOINT_EJECTED | ENDPOINT_UNHEALTHY))

enum balance_policy { BALANCE_ROUND_ROBIN, BALANCE_RANDOM, BALANCE_LEAST_REQUEST, BALANCE_MAGLEV };

enum balance_hash_on { BALANCE_HASH_SOURCE, BALANCE_HASH_FIELD };

/** Draws, or places of a table, that the programs try before userspace decides. */
#define BALANCE_TRIES 8

/** Endpoints of a Maglev table: parsers/redis_ring_internal.h. */
#define BALANCE_MAGLEV_SIZE 65537

/** Requests of least_request clusters that are outstanding at an endpoint, on all paths and workers. A
 * cache line each. */
struct endpoint_load {
    __u64 outstanding;
} __attribute__((aligned(64)));

/** A place of a schedule, as the programs have it: never 0. */
static inline __u32 balance_place(__u32 endpoint, __u32 weight)
{
    return endpoint | weight << 16;
}

static inline __u32 place_endpoint(__u32 place)
{
    return place & 0xffff;
}

static inline __u32 place_weight(__u32 place)
{
    return place >> 16;
}

/** Whether an endpoint with `load` outstanding requests is to be preferred to one with `other`:
 * (load + 1) / weight is smaller. */
static inline int balance_lighter(__u64 load, __u32 weight, __u64 other, __u32 other_weight)
{
    return (load + 1) * other_weight < (other + 1) * weight;
}
