/*
 * twemproxy's hash functions (hashkit/), bit for bit: where its code differs from the published
 * algorithm of the same name, so does this.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "parsers/redis_ring.h"

typedef uint32_t (*redis_hash_fn)(const char *key, size_t len);

/** The function called `hash`. REDIS_HASH_MD5's needs redis_md5_init(). */
redis_hash_fn redis_hash_function(enum redis_hash hash);

/** Finds libcrypto's MD5; may be called again, and by several threads.
 * @return 0 or -ENOTSUP: libcrypto is configured to have no MD5. */
int redis_md5_init(void);

/** MD5 (RFC 1321); after redis_md5_init(). */
void redis_md5(const void *data, size_t len, uint8_t digest[16]);

/** Bytes 4 * part to 4 * part + 3 of a digest as a little-endian number; part 0 to 3. */
static inline uint32_t redis_md5_part(const uint8_t digest[16], unsigned part)
{
    const uint8_t *at = digest + 4 * part;

    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}
