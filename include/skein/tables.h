/* Tables that the daemon fills and the BPF programs read, and the counters the other way. */
#pragma once

#include <linux/types.h>

#include "parsers/redis_crc16.h"
#include "skein/balance.h"
#include "skein/fallback.h"

/** Route result for requests that userspace answers. */
#define CLUSTER_USERSPACE 0xffffffffU

/** Places of a cluster's round robin; a longer schedule stays in userspace. */
#define SCHEDULE_MAX 512

/** Downstream settings, by listener index. An index is not reused while a connection may
 * still hold it; a reload writes new ones. */
struct kernel_listener {
    __u32 any_vhost;    /**< vhost of routes without a host. */
    __u32 has_hosts;    /**< Look the Host up. */
    __u32 single;       /**< Without hosts: every path goes to `cluster`. Redis: one endpoint. */
    __u32 cluster;      /**< Redis: the ring. */
    __u32 header_bytes; /**< Limits; larger messages belong to userspace. */
    __u32 header_count; /**< Redis: arguments of a command. */
    __u32 target_bytes;
    __u32 buffer;     /**< Bytes queued for a slow reader before userspace takes over. */
    __u64 body_bytes; /**< 0: no limit. Redis: of a command, never 0. */
};

/** `flags` of a command in the table. */
#define KERNEL_COMMAND_KEY 1U /**< It has exactly one key, its first argument. */

struct kernel_command {
    __s32 arity; /**< As in parsers/redis_commands.h. */
    __u16 flags;
    __u16 name_len; /**< A name may end with zeros, as the key's padding does. */
};

/** Endpoint ids by hash slot; a listener whose cluster has one endpoint looks at the first only. */
struct kernel_ring {
    __u16 endpoint[REDIS_SLOTS];
};

/** For HTTP. With BALANCE_LEAST_REQUEST each endpoint has one place, otherwise as many as its weight
 * demands. */
struct kernel_cluster {
    __u32 position; /**< Of round robin; shared with userspace. */
    __u32 len;
    __u32 policy;             /**< enum balance_policy */
    __u32 hash_on;            /**< enum balance_hash_on, for BALANCE_MAGLEV */
    __u32 maglev;             /**< Its table. */
    struct http1_name field;  /**< The header field that is hashed, */
    struct http1_name cookie; /**< and the cookie in it; `len` 0: the whole value. */
    __u32 place[SCHEDULE_MAX];
} __attribute__((aligned(8))); /* As far apart as elements of a mapped array are. */

/** Endpoint ids by hash. */
struct kernel_maglev {
    __u16 endpoint[BALANCE_MAGLEV_SIZE];
} __attribute__((aligned(8)));

/** Where the client and the server of a message are; the bits of local ends (docs/architecture.md). */
enum quadrant {
    QUADRANT_REMOTE, /**< Both are remote: the kernel path. */
    QUADRANT_LOCAL_REMOTE = 1,
    QUADRANT_REMOTE_LOCAL = 2,
    QUADRANT_LOCAL = QUADRANT_LOCAL_REMOTE | QUADRANT_REMOTE_LOCAL,
    QUADRANTS,
};

struct listener_counters {
    __u64 requests[QUADRANTS];
    __u64 responses[QUADRANTS];
    __u64 request_bytes;
    __u64 response_bytes;
    __u64 fallback[_FALLBACK_MAX];
};

struct endpoint_counters {
    __u64 requests[QUADRANTS];
    __u64 responses;
};
