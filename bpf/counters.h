/* Per-CPU counters. */
#pragma once

#include "maps.h"

static __always_inline struct listener_counters *counters_of_listener(__u32 stats_id)
{
    return bpf_map_lookup_elem(&listener_stats, &stats_id);
}

static __always_inline struct endpoint_counters *counters_of_endpoint(__u32 stats_id)
{
    return bpf_map_lookup_elem(&endpoint_stats, &stats_id);
}

/** Which of a message's two ends are on this host and past TCP. */
static __always_inline __u32 quadrant(const struct slot *d, const struct slot *u)
{
    return (d->app ? QUADRANT_LOCAL_REMOTE : 0) | (u->app ? QUADRANT_REMOTE_LOCAL : 0);
}

static __always_inline void count_requests(struct listener_counters *c, const struct slot *d,
                                           const struct slot *u)
{
    c->requests[quadrant(d, u) % QUADRANTS] += d->run;
}

static __always_inline void count_responses(struct listener_counters *c, const struct slot *d,
                                            const struct slot *u, __u32 n)
{
    c->responses[quadrant(d, u) % QUADRANTS] += n;
}
