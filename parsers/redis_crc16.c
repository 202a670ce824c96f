/*
 * Redis Cluster's slot of a key.
 */
#include "parsers/redis_crc16.h"
#include "parsers/redis_ring.h"
#include "parsers/redis_ring_internal.h"

uint16_t redis_crc16(const char *data, size_t len)
{
    return redis_crc16_update(0, data, len);
}

uint32_t redis_key_slot(const char *key, size_t len)
{
    static const char braces[2] = {'{', '}'};
    const char *tagged = redis_tagged(braces, key, &len);

    return redis_crc16(tagged, len) % REDIS_SLOTS;
}
