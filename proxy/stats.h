/*
 * Counters of one worker's userspace path. Each is written by its worker only and read
 * by the admin thread, so relaxed atomic loads and stores suffice.
 */
#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "fault.h"
#include "parsers/redis_commands.h"
#include "runtime.h"
#include "skein/bypass.h"

typedef _Atomic uint64_t stat_t;

struct listener_stats {
    stat_t accepted;
    stat_t active;   /**< Gauge: downstream connections. */
    stat_t requests; /**< Messages on the userspace path. */
    stat_t responses;
    stat_t errors;             /**< Own error answers. */
    stat_t faults[_FAULT_MAX]; /**< HTTP: requests that were not answered as hoped, by reason. */
    stat_t promoted;           /**< Connections given to the kernel path for the first time. */
    stat_t returned;           /**< Connections given back to it after a fallback. */
    stat_t spilled_requests;   /**< Messages that began in the kernel and went on in userspace. */
    stat_t spilled_responses;
    stat_t kept_many;      /**< Redis: times a client was kept in userspace because many are busy... */
    stat_t kept_pipelined; /**< ...or because it sends pipelines. */
    stat_t commands[_REDIS_POLICY_MAX + 1]; /**< Redis: by policy; the last: forwarded writes. */
};

struct endpoint_stats {
    stat_t connects;
    stat_t connect_failures;
    stat_t requests;
    stat_t active;      /**< Gauge: upstream connections. */
    stat_t outstanding; /**< Gauge: HTTP exchanges that have one. */
    stat_t retries;
    stat_t errors;    /**< Redis: error replies. */
    stat_t ejections; /**< Times it was taken out of use for its failures. */
};

struct stats {
    struct listener_stats listeners[RUNTIME_LISTENERS_MAX];
    struct endpoint_stats endpoints[RUNTIME_ENDPOINTS_MAX];
    stat_t bypass[2][_BYPASS_MAX]; /**< Downstream and upstream connections given to the programs, by where
                                    * their other ends were. */
    stat_t accept_failures;
};

static inline void stat_add(stat_t *s, int64_t n)
{
    uint64_t v = atomic_load_explicit(s, memory_order_relaxed);
    atomic_store_explicit(s, v + (uint64_t)n, memory_order_relaxed);
}

static inline uint64_t stat_get(const stat_t *s)
{
    return atomic_load_explicit(s, memory_order_relaxed);
}
