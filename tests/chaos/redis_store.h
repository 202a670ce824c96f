/* What the Redis servers keep: values by key, which shard a key belongs to. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct redis_entry {
    char key[48];
    uint16_t port;    /**< Of the server that the key first came to. */
    bool set;         /**< There is a value. */
    size_t len;       /**< Of the value; 0: it is the number. */
    unsigned version; /**< Of the value. */
    long long number;
    struct redis_entry *next;
};

/** @return The entry of a key, which is made if there is none. */
struct redis_entry *redis_store(const char *key, size_t len);

void redis_store_free(void);
