/*
 * A configuration in use: listeners, routes and clusters with what changes at run time
 * (round-robin position, ids of the kernel path). Immutable but for counters, shared by
 * all workers, reference-counted: a reload makes a new one, exchanges keep theirs.
 */
#pragma once

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"
#include "parsers/redis_ring.h"

/** An endpoint address, known by a small id that survives reloads. */
struct rt_endpoint {
    const struct conf_endpoint *conf;
    uint32_t id;
};

struct rt_cluster {
    const struct conf_cluster *conf;
    struct rt_endpoint *endpoints;
    uint16_t *schedule; /**< Indexes into endpoints: smooth weighted round robin. */
    uint32_t schedule_len;
    struct redis_ring *ring;  /**< For Redis, and with lb_policy maglev; NULL otherwise. */
    uint32_t kernel_id;       /**< In the kernel path's cluster table, UINT32_MAX without. */
    atomic_uint *position;    /**< Next place in the schedule; shared with the kernel path. */
    atomic_uint own_position; /**< `position` points here without a kernel path. */
};

struct rt_listener {
    const struct conf_listener *conf;
    struct runtime *runtime;
    uint32_t id;        /**< Index for counters; stable for an address. */
    uint32_t kernel_id; /**< In the kernel path's listener table, UINT32_MAX without. */
};

struct runtime {
    atomic_uint refs;
    struct conf *conf; /**< Owned. */
    struct rt_listener *listeners;
    struct rt_cluster *clusters;
};

/** Endpoints and listeners that all configurations of this process may name together. */
#define RUNTIME_ENDPOINTS_MAX 1024
#define RUNTIME_LISTENERS_MAX 64

/** Builds a runtime from a configuration, which it owns on success.
 * @return 0, -ENOSPC when the process has seen too many addresses, -ENOMEM. */
int runtime_new(struct conf *conf, struct runtime **out);
struct runtime *runtime_ref(struct runtime *rt);
void runtime_unref(struct runtime **rt);

/** First route of the listener that matches, NULL without.
 *
 * @param host  Host of the request in any case, without port; may be empty.
 * @param path  Path without query.
 */
const struct conf_route *runtime_route(const struct rt_listener *l, const char *host, size_t host_len,
                                       const char *path, size_t path_len);

/** Id of the endpoint with an address, as it is written in a cluster for HTTP; -1 without. */
int runtime_find_http_endpoint(const struct runtime *rt, const char *address);

/** Endpoint and listener addresses by id, for statistics; NULL for an unused id. */
const char *runtime_endpoint_name(uint32_t id);
const char *runtime_listener_name(uint32_t id);
