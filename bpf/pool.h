/* From a cluster to a leased upstream connection. */
#pragma once

#include "owner.h"

/** Connections looked at, besides a client's last one, before the request goes to userspace. */
#ifndef POOL_TRIES
#define POOL_TRIES 32
#endif

/** Which pool has the endpoint's connections that a client may lease: those of its worker. */
static __always_inline __u32 pool_of(const struct slot *s, __u32 endpoint)
{
    return endpoint * workers + s->pool;
}

/** Index of the lowest set bit, without branches for the verifier to explore and in a function
 * of its own; clang 14 can not compile __builtin_ctzll() for BPF. */
__attribute__((noinline)) __u32 lowest_bit(__u64 word)
{
    __u32 bit = 0;
    for (__u32 width = 32; width; width /= 2) {
        __u64 low = word & ((1ULL << width) - 1);
        __u64 some = (low | -low) >> 63;
        HTTP1_OPAQUE(some);
        __u32 skip = (__u32)(some ^ 1) * width;
        word >>= skip;
        bit += skip;
    }
    return bit;
}

/** Finds the first bit from place `from` on in a pool, all around. A function of its own for the verifier.
 * @return Its place, -1 if there is none. */
__attribute__((noinline)) int pool_next(__u32 index, __u32 from)
{
    struct pool *p = bpf_map_lookup_elem(&pools, &index);
    __u64 wanted = ~0ULL << (from & 63);
    if (!p)
        return -1;
    for (__u32 i = 0; i <= POOL_WORDS; i++) {
        __u32 at = (from / 64 + i) & (POOL_WORDS - 1);
        __u64 word = *(volatile __u64 *)&p->idle[at] & wanted;
        wanted = ~0ULL;
        if (word)
            return (int)(at * 64 + (lowest_bit(word) & 63));
    }
    return -1;
}

/** Whether a pool has an idle connection, as the bits say. A function of its own for the verifier. */
__attribute__((noinline)) int pool_has_idle(__u32 index)
{
    struct pool *p = bpf_map_lookup_elem(&pools, &index);
    if (!p)
        return 0;
    for (__u32 i = 0; i < POOL_WORDS; i++) {
        if (*(volatile __u64 *)&p->idle[i])
            return 1;
    }
    return 0;
}

/** Makes sure that an idle connection is found. The bit of one whose last client took it again at once, as it
 * mostly does, is still there: no memory is changed that all clients share. */
static __always_inline void pool_push(struct slot *u)
{
    struct pool *p = bpf_map_lookup_elem(&pools, &u->pool);
    __u32 i = u->pool_index, at = (i / 64) & (POOL_WORDS - 1);
    if (p && i < POOL_SIZE && !(*(volatile __u64 *)&p->idle[at] >> (i & 63) & 1))
        __sync_fetch_and_or(&p->idle[at], 1ULL << (i & 63));
}

/** The connection, which the caller has leased, is not to be found before it is idle again. */
static __always_inline void pool_hide(struct slot *u)
{
    struct pool *p = bpf_map_lookup_elem(&pools, &u->pool);
    __u32 i = u->pool_index, at = (i / 64) & (POOL_WORDS - 1);
    if (p && i < POOL_SIZE)
        __sync_fetch_and_and(&p->idle[at], ~(1ULL << (i & 63)));
}

/** Ends the counting of an upstream connection's outstanding request. */
static __always_inline void uncount(struct slot *u)
{
    __u32 endpoint = u->stats_id;
    struct endpoint_load *l = u->counted ? bpf_map_lookup_elem(&endpoint_load, &endpoint) : NULL;
    if (!l)
        return;
    u->counted = 0;
    __sync_fetch_and_add(&l->outstanding, -1);
}

/** Counts the request that an upstream connection was just leased for, until uncount() or until the
 * daemon takes the lease. */
static __always_inline void count(struct slot *u)
{
    __u32 endpoint = u->stats_id;
    struct endpoint_load *l = bpf_map_lookup_elem(&endpoint_load, &endpoint);
    if (!l)
        return;
    u->counted = 1;
    __sync_fetch_and_add(&l->outstanding, 1);
}

/** Leases an idle connection of a pool for a client: the one that it had last if that is idle, which is where
 * both programs have left their memory; in a cluster of several endpoints that place is only where the search
 * begins. A function of its own for the verifier. @return Its slot_ref(), 0 if there is none. */
__attribute__((noinline)) __u32 pool_lease(__u32 index, __u32 dref)
{
    struct pool *p = bpf_map_lookup_elem(&pools, &index);
    struct slot *d = slot_at(dref);
    if (!p || !d)
        return 0;
    for (int i = 0; i <= POOL_TRIES; i++) {
        int place = i ? pool_next(index, d->place + 1) : (int)d->place;
        if (place < 0)
            break;
        d->place = (__u32)place;
        __u32 uref = p->ref[d->place & (POOL_SIZE - 1)];
        struct slot *u = uref ? slot_at(uref) : NULL;
        if (u && !lease_take(u, uref, dref)) {
            if (i)
                pool_hide(u);
            if (d->counted)
                count(u);
            return uref;
        }
        /* Leased, taken by the daemon or gone. */
    }
    return 0;
}
