/* The BPF object and its mapped memory, shared by kernel.c, publish.c, selftest*.c and kpath.c. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime.h"
#include "skein/slot.h"
#include "skein/tables.h"

struct conn;
struct probe;
struct skein_bpf;
struct bypass_bpf;
struct bpf_link;

/** Listener and cluster table sizes. Indexes go round: a reload uses new ones, and what an
 * older configuration still names stays valid for many reloads. */
#define KERNEL_LISTENERS 256
#define KERNEL_CLUSTERS  256
#define KERNEL_RINGS     64

/** Maglev tables, of 128 KiB each, are twice as many as the configuration needs at start, and at least
 * this many. */
#define KERNEL_MAGLEVS_MIN 4

/** Keys written for one configuration, removed when the next but one arrives. */
struct published {
    struct host_key *hosts;
    size_t n_hosts;
    struct route_key *routes;
    size_t n_routes;
    size_t cap_routes;
};

struct kpath {
    struct skein_bpf *skel;
    struct bypass_bpf *bypass; /**< NULL without the bypass path. */
    struct bpf_link *sockops;
    struct bypass_except *except;
    struct bpf_link *no_memory; /**< skein_no_memory. */
    struct slot *slots;
    struct pool *pools;
    struct kernel_cluster *clusters;
    struct kernel_ring *rings;
    struct kernel_maglev *maglevs;
    uint64_t *endpoint_state;            /**< By endpoint id: enum endpoint_state_bits. */
    struct endpoint_load *endpoint_load; /**< By endpoint id. */
    uint32_t n_slots;
    uint32_t n_workers;
    uint32_t n_endpoints; /**< Endpoint ids below this have pools. */
    uint32_t next_listener;
    uint32_t next_cluster;
    uint32_t next_ring;
    uint32_t n_rings; /**< Of the configuration published last. */
    uint32_t next_maglev;
    uint32_t n_maglevs;   /**< Of the configuration published last. */
    uint32_t max_maglevs; /**< Tables that there are. */
    uint32_t next_vhost;
    struct published published[2];
    struct conn **conns; /**< By slot; an entry is used by its slot's worker only. */
    uint32_t *gens;      /**< By slot: generation to use next. */
    atomic_uint in_use;
    bool *remote_endpoint; /**< By endpoint id: its connections end on another host, as far as is known. */
    bool remote;           /**< Connections to other hosts take the kernel path. */
    uint32_t unsafe;       /**< Bits by enum probe_guard: what the self-test has switched off. */
    int socks_fd;
    int cookies_fd;
};

static inline uint64_t slot_owner(const struct slot *s)
{
    return __atomic_load_n(&s->owner, __ATOMIC_ACQUIRE);
}

static inline bool slot_cas(struct slot *s, uint64_t *expected, uint64_t desired)
{
    return __atomic_compare_exchange_n(&s->owner, expected, desired, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

/** The owner word once no program is at work. That lasts for one run of a program; should BUSY
 * stay set for a second all the same, it is cleared, with a log line, rather than waited for. */
uint64_t slot_wait(struct slot *s);

/** Puts a socket into the maps; the slot is initialised and its programs may run when this
 * returns. Bytes that came before are handed to the programs (a peek does that).
 * @return 0 or -errno, with nothing left behind. */
int kernel_insert(struct kpath *k, uint32_t slot, int fd);

/** Takes a slot's socket out of the SOCKMAP. */
void kernel_remove(struct kpath *k, uint32_t slot);

/** Makes a slot show how far its socket is: write_seq, copied_seq, parsed_seq.
 * @return 0, -ENOENT if the connection was reset or is not in the map, or another -errno. */
int kernel_inspect(struct kpath *k, uint32_t slot);

/** After kernel_inspect(): whether everything redirected into the socket is in TCP's queue. */
static inline bool slot_settled(const struct slot *s)
{
    return s->app ? s->quiet : !s->tx_valid || s->tx_seq == s->write_seq;
}

/** Prepares a slot's memory for a connection that the kernel path owns. @return its ref. */
uint32_t kernel_init_slot(struct kpath *k, uint32_t slot, bool upstream);

/** Forgets the socket of a slot after it was closed, and makes older references stale. */
void kernel_forget(struct kpath *k, uint32_t slot, uint64_t cookie);

/** Cookie of a socket (SO_COOKIE). */
uint64_t kernel_cookie(int fd);

/** Runs the hazards that matter over loopback, adds their verdicts, and marks what is `unsafe`.
 * @return 0, or -ENOTRECOVERABLE if the kernel path can not be used at all. */
int kernel_selftest(struct kpath *k, struct probe *p);

/** The same for the bypass path, when it is loaded and attached. @return 0 or -ENOTRECOVERABLE. */
int bypass_selftest(struct kpath *k, struct probe *p);

/** What can be said before the bypass path's programs are loaded: whether GUARD_AUTO allows it. */
void bypass_foretest(struct kpath *k, struct probe *p);

/** Has what TCP brings to registered sockets counted by FIONREAD; for those registered afterwards. */
int bypass_collect(struct kpath *k);

/** Says how many references a connected socket has that nobody is at work with. */
void bypass_refs(struct kpath *k, uint32_t refs);

/** Whether the self-test has found the kernel path safe for such a connection. */
bool kernel_trusts(const struct kpath *k, enum slot_protocol protocol, int fd);

/** Fills the table of Redis commands that the kernel path takes. */
int kernel_publish_commands(struct kpath *k);

/** Publishes the clusters for HTTP; what does not fit stays in userspace, with a log line. */
void kernel_publish_clusters(struct kpath *k, struct runtime *rt);

/** Publishes a Redis listener and the ring of its cluster.
 * @return 0; -ENOTSUP if the kernel path does not know the cluster's distribution; -ENOSPC. */
int kernel_publish_redis(struct kpath *k, struct runtime *rt, struct rt_listener *l);

struct bpf_map;
int kernel_put(struct bpf_map *map, const void *key, const void *value);
