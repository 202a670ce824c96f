/*
 * What the sources behind redis_ring.h share.
 */
#pragma once

#include "parsers/redis_ring.h"

/** The part between the first opening character and the first closing one after it, if it is not
 * empty, else the whole key: the rule of redis and of twemproxy. */
const char *redis_tagged(const char tag[2], const char *key, size_t *len);

/** A point of the continuum: it owns the hashes up to `value` from the point before. */
struct redis_ketama_point {
    uint32_t value;
    uint32_t endpoint;
};

/** Builds the continuum, ascending.
 *
 * @param order  Endpoint indices in the order in which twemproxy has its servers.
 * @param out    The caller's to free.
 * @return 0 or -ENOMEM.
 */
int redis_ketama_new(const struct redis_ring_endpoint *endpoints, const uint32_t *order, uint32_t n_endpoints,
                     struct redis_ketama_point **out, uint32_t *n_points);

/** The index of the first point that is not below `hash`; the first one behind the last. */
uint32_t redis_ketama_find(const struct redis_ketama_point *points, uint32_t n_points, uint32_t hash);

/** Entries of a Maglev table; a prime. */
#define REDIS_MAGLEV_SIZE 65537

/** Builds the lookup table: REDIS_MAGLEV_SIZE endpoint indices, the caller's to free.
 * @return 0 or -ENOMEM. */
int redis_maglev_new(const struct redis_ring_endpoint *endpoints, uint32_t n_endpoints, uint16_t **out);
