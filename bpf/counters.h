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
