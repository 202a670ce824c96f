/*
 * The BPF side as the daemon sees it: loading and attaching the programs, the maps, the
 * tables of routes and endpoints, and the counters. Per-connection work is in kpath.h.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"
#include "runtime.h"
#include "skein/tables.h"

struct kpath;
struct probe;

/** Loads the programs and runs the self-test.
 *
 * @param p  Receives the verdicts; zeroed by the caller. It says what must stay in userspace, too,
 *           when the kernel path can be used otherwise.
 * @return 0, -ENOTRECOVERABLE if the programs load and do not work, or another -errno.
 */
int kernel_open(const struct conf *conf, struct kpath **out, struct probe *p);

/** Detaches and frees; accepts NULL. No worker may be running. */
void kernel_close(struct kpath **k);

/** Writes a configuration's listeners, routes and clusters into the maps, and their ids
 * into the runtime. What the tables can not express stays in userspace, with a log line.
 * `k` may be NULL. */
void kernel_publish(struct kpath *k, struct runtime *rt);

/** Makes the programs' maps the place of all endpoints' state and load; `k` may be NULL. */
void kernel_share_endpoints(struct kpath *k);

/** The same without a configuration, to see what this kernel offers, and closes it again. */
void kernel_probe(struct probe *p);

/** Sums the kernel path's counters over all CPUs. */
struct kernel_listener_stats {
    uint64_t requests, responses;  /**< On the kernel path, */
    uint64_t bypass[2][QUADRANTS]; /**< on the bypass path: requests and responses by enum quadrant, */
    uint64_t bypassed[2];          /**< and all of them. */
    uint64_t request_bytes, response_bytes;
    uint64_t fallback[64]; /**< By enum fallback_reason. */
};
void kernel_listener_stats(struct kpath *k, uint32_t listener_id, struct kernel_listener_stats *out);

struct kernel_endpoint_stats {
    uint64_t requests;  /**< On the kernel path, */
    uint64_t bypassed;  /**< and on the bypass path. */
    uint64_t responses; /**< On both. */
};
void kernel_endpoint_stats(struct kpath *k, uint32_t endpoint_id, struct kernel_endpoint_stats *out);

/** Adds to each endpoint, by id, the requests that the programs have outstanding there. */
void kernel_outstanding(struct kpath *k, uint64_t by_endpoint[RUNTIME_ENDPOINTS_MAX]);

/** Whether connections to other hosts take the kernel path; `k` may be NULL. */
bool kernel_is_on(const struct kpath *k);

/** Slots in use now. */
uint32_t kernel_slots(struct kpath *k);
