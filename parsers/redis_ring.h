/*
 * Which endpoint a Redis key belongs to.
 *
 *  - crc16_slots: Redis Cluster's 16384 hash slots, in consecutive ranges over the endpoints by
 *    weight (for equal weights the ranges that `redis-cli --cluster create` makes), `{tag}` rules
 *    exactly redis' own (cluster.c, keyHashSlot).
 *  - ketama, modula: twemproxy 0.5's (nc_ketama.c, nc_modula.c), with its hash functions
 *    (hashkit/): a cluster moved from there finds its keys where they were.
 *  - maglev: Google's Maglev (NSDI 2016, section 3.4), table size 65537.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum redis_distribution { REDIS_CRC16_SLOTS, REDIS_KETAMA, REDIS_MODULA, REDIS_MAGLEV };

/** twemproxy's hash functions, by its names. */
enum redis_hash {
    REDIS_HASH_FNV1A_64, /**< The default. */
    REDIS_HASH_ONE_AT_A_TIME,
    REDIS_HASH_MD5,
    REDIS_HASH_CRC16,
    REDIS_HASH_CRC32,
    REDIS_HASH_CRC32A,
    REDIS_HASH_FNV1_64,
    REDIS_HASH_FNV1_32,
    REDIS_HASH_FNV1A_32,
    REDIS_HASH_HSIEH,
    REDIS_HASH_MURMUR,
    REDIS_HASH_JENKINS,
    _REDIS_HASH_MAX,
};

struct redis_ring_endpoint {
    const char *name; /**< What twemproxy hashes: the server's name, else "host:port". */
    uint32_t weight;
};

struct redis_ring_conf {
    enum redis_distribution distribution;
    enum redis_hash hash; /**< Not used by crc16_slots. */
    char tag[2];          /**< Opening and closing character of a hash tag; 0: none. Not used by
                           * crc16_slots, whose tag is always "{}". */
    const struct redis_ring_endpoint *endpoints;
    uint32_t n_endpoints; /**< 1 to 1024. */
};

struct redis_ring;

/** Builds a ring; immutable afterwards, so threads may share it. Nothing of `conf` is kept.
 * @return 0, -ENOMEM, or -ENOTSUP: libcrypto has no MD5 (never with crc16_slots). */
int redis_ring_new(const struct redis_ring_conf *conf, struct redis_ring **out);
void redis_ring_free(struct redis_ring **ring);

/** How much of an endpoint's address, "host:port", is its name unless it has one: twemproxy leaves the
 * port away if it is 11211, as libmemcached does. */
size_t redis_ring_default_name_len(const char *address);

/** Where a key lies: a hash slot (crc16_slots, 0 to 16383) or a place on the ring. Keys with the
 * same place are always on the same endpoint. */
uint32_t redis_ring_place(const struct redis_ring *ring, const char *key, size_t len);

/** The endpoint of a place, as an index into the configuration's endpoints. A place of another ring
 * (before a reload) gives some endpoint.
 *
 * @param ejected  One bool per endpoint, true: its keys move to others; NULL: none. With all
 *                 ejected, the endpoint that it would be without ejection.
 */
uint32_t redis_ring_endpoint(const struct redis_ring *ring, uint32_t place, const bool *ejected);

/** Whether two places may take part in one multi-key command: the same slot (crc16_slots), the
 * same endpoint otherwise. */
bool redis_ring_same(const struct redis_ring *ring, uint32_t a, uint32_t b);

/** The key's part that is hashed, by the ring's tag rules. */
const char *redis_ring_tagged(const struct redis_ring *ring, const char *key, size_t *len);

/** CRC16-CCITT (XMODEM), redis' crc16.c. */
uint16_t redis_crc16(const char *data, size_t len);

/** Redis Cluster's slot of a key, `{tag}` rules included. */
uint32_t redis_key_slot(const char *key, size_t len);
