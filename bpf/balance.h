/* From a cluster to one of its endpoints, by the cluster's policy; skein/balance.h has the rules. */
#pragma once

#include "pool.h"

static __always_inline int in_use(__u32 endpoint)
{
    __u64 *state = bpf_map_lookup_elem(&endpoint_state, &endpoint);
    return state && !*(volatile __u64 *)state;
}

/** Draws places, in turn or by chance, until one is in use. A function of its own for the verifier.
 * @return A place; 0 if none was found. */
__attribute__((noinline)) __u32 balance_draw(__u32 cluster, __u32 by_chance)
{
    struct kernel_cluster *c = bpf_map_lookup_elem(&clusters, &cluster);
    if (!c || !c->len)
        return 0;
    /* Where there is nothing to choose, no memory is shared between CPUs for it. */
    if (c->len == 1)
        return in_use(place_endpoint(c->place[0])) ? c->place[0] : 0;
    for (int i = 0; i < BALANCE_TRIES; i++) {
        __u32 at = by_chance ? bpf_get_prandom_u32() : __sync_fetch_and_add(&c->position, 1);
        at %= c->len;
        if (at >= SCHEDULE_MAX)
            return 0;
        __u32 place = c->place[at];
        if (in_use(place_endpoint(place)))
            return place;
    }
    return 0;
}

/** The lighter of two different endpoints drawn by chance. A function of its own for the verifier.
 * @return A place; 0 if none was found. */
__attribute__((noinline)) __u32 balance_least(__u32 cluster)
{
    struct kernel_cluster *c = bpf_map_lookup_elem(&clusters, &cluster);
    __u32 first = 0, from = 0, others;
    __u64 first_load = 0;
    if (!c || !c->len)
        return 0;
    others = c->len;
    for (int i = 0; i < BALANCE_TRIES; i++) {
        __u32 at = (from + bpf_get_prandom_u32() % others) % c->len;
        if (at >= SCHEDULE_MAX)
            return 0;
        __u32 place = c->place[at], endpoint = place_endpoint(place);
        struct endpoint_load *l = bpf_map_lookup_elem(&endpoint_load, &endpoint);
        if (!l || !in_use(endpoint))
            continue;
        __u64 load = *(volatile __u64 *)&l->outstanding;
        if (first)
            return balance_lighter(load, place_weight(place), first_load, place_weight(first)) ? place
                                                                                               : first;
        first = place;
        first_load = load;
        from = at + 1;
        others = c->len - 1;
        if (!others)
            break;
    }
    return first;
}

/** The endpoint that a hash leads to. A function of its own for the verifier.
 * @return A place without weight, + 1; 0 if none was found. */
__attribute__((noinline)) __u32 balance_maglev(__u32 table, __u32 hash)
{
    struct kernel_maglev *m = bpf_map_lookup_elem(&maglevs, &table);
    if (!m)
        return 0;
    for (__u32 i = 0; i < BALANCE_TRIES; i++) {
        __u32 at = (hash % BALANCE_MAGLEV_SIZE + i) % BALANCE_MAGLEV_SIZE;
        HTTP1_OPAQUE(at);
        if (at >= BALANCE_MAGLEV_SIZE)
            return 0;
        __u32 endpoint = m->endpoint[at];
        if (in_use(endpoint))
            return endpoint + 1;
    }
    return 0;
}

/** Finds what the request is hashed by. @return Whether it has it; `hash` is set then. */
static __always_inline int balance_hash(struct slot *s, const struct kernel_cluster *c, __u32 *hash)
{
    if (c->hash_on == BALANCE_HASH_SOURCE) {
        *hash = s->source;
        return 1;
    }
    http1_find_field(&s->window, s->head.head_len, &c->field, &s->find);
    if (s->find.off && c->cookie.len)
        http1_find_cookie(&s->window, &c->cookie, &s->find);
    if (!s->find.off)
        return 0;
    http1_hash_found(&s->window, c->cookie.len ? ';' : '\r', &s->find);
    *hash = http1_hash_fold(s->find.hash);
    return s->find.any;
}

/** Whether a request's own fields decide where it goes: then each one has to be asked for itself. */
static __always_inline int balance_by_content(__u32 cluster)
{
    struct kernel_cluster *c = bpf_map_lookup_elem(&clusters, &cluster);
    return !c || (c->policy == BALANCE_MAGLEV && c->hash_on != BALANCE_HASH_SOURCE);
}

/** Chooses an endpoint for the framed request: endpoint + 1 in `picked`, whether it is to be counted in
 * `counted`. @return HTTP1_OK or why not. */
static __always_inline int balance(struct slot *s, __u32 cluster)
{
    struct kernel_cluster *c = bpf_map_lookup_elem(&clusters, &cluster);
    __u32 hash, picked;
    if (!c || !c->len)
        return FALLBACK_NO_ROUTE;
    s->counted = c->policy == BALANCE_LEAST_REQUEST;
    if (c->policy == BALANCE_MAGLEV && balance_hash(s, c, &hash)) {
        picked = balance_maglev(c->maglev, hash);
    } else {
        __u32 place = s->counted ? balance_least(cluster) : balance_draw(cluster, c->policy);
        picked = place ? place_endpoint(place) + 1 : 0;
    }
    if (!picked)
        return FALLBACK_EJECTED;
    s->picked = picked;
    return pool_has_idle(pool_of(s, picked - 1)) ? HTTP1_OK : FALLBACK_NO_UPSTREAM;
}
