/* What both formats of the metrics are made of, shared by metrics_prometheus.c and metrics_json.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fault.h"
#include "kernel.h"
#include "parsers/redis_commands.h"
#include "runtime.h"
#include "skein/bypass.h"

struct server;

/** One listener, summed over workers and both paths. */
struct metrics_listener {
    const char *name;
    uint64_t accepted, active, requests, responses, errors, promoted, returned;
    uint64_t spilled_requests, spilled_responses, kept_many, kept_pipelined;
    uint64_t faults[_FAULT_MAX];
    uint64_t commands[_REDIS_POLICY_MAX + 1];
    struct kernel_listener_stats kernel;
};

/** The same of one endpoint. */
struct metrics_endpoint {
    const char *name;
    uint64_t connects, connect_failures, requests, active, retries, errors, ejections, outstanding, load;
    uint64_t state; /**< ENDPOINT_* bits. */
    struct kernel_endpoint_stats kernel;
};

/** Sums a listener's counters; `v->name` is the runtime's. @return false: there is no listener of that id,
 * nor of a higher one. */
bool metrics_listener(struct server *s, uint32_t id, struct metrics_listener *v);

/** The same for an endpoint.
 * @param leases  By endpoint id, as kernel_outstanding() counts them. */
bool metrics_endpoint(struct server *s, uint32_t id, const uint64_t leases[RUNTIME_ENDPOINTS_MAX],
                      struct metrics_endpoint *v);

/** Connections given to the programs that were bypassed, or were not for that reason, on all workers. */
uint64_t metrics_bypass_count(struct server *s, bool upstream, enum bypass_reason r);

/** Times that accepting paused for want of descriptors, on all workers. */
uint64_t metrics_accept_failures(struct server *s);

/** File descriptors of the process; 0 if they can not be counted. */
unsigned metrics_open_fds(void);

/** Name of a class of Redis commands: an enum redis_policy, or _REDIS_POLICY_MAX for writes that are
 * forwarded. */
const char *metrics_command_class(unsigned policy);

#define METRICS_STATES 4

/** Why an endpoint gets no new requests. */
struct metrics_state {
    const char *name;
    uint64_t bits; /**< ENDPOINT_*; any of them. */
};
extern const struct metrics_state metrics_states[METRICS_STATES];
