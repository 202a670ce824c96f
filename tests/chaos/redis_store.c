#include "redis_store.h"

#include <stdlib.h>
#include <string.h>

#include "rng.h"

#define BUCKETS 65536

static struct redis_entry *_buckets[BUCKETS];

struct redis_entry *redis_store(const char *key, size_t len)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < len; i++)
        hash = rng_mix(hash * 257 + (uint8_t)key[i]);
    struct redis_entry **bucket = &_buckets[hash % BUCKETS], *e;
    for (e = *bucket; e; e = e->next) {
        if (strlen(e->key) == len && memcmp(e->key, key, len) == 0)
            return e;
    }
    e = calloc(1, sizeof(*e));
    if (!e || len >= sizeof(e->key))
        abort();
    memcpy(e->key, key, len);
    e->next = *bucket;
    *bucket = e;
    return e;
}

void redis_store_free(void)
{
    struct redis_entry *e;
    for (unsigned i = 0; i < BUCKETS; i++) {
        while ((e = _buckets[i])) {
            _buckets[i] = e->next;
            free(e);
        }
    }
}
