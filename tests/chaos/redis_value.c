#include "redis_value.h"

#include <stdio.h>
#include <string.h>

#include "rng.h"

#define PREFIX 64

int redis_key_name(char *buf, uint64_t client, unsigned key)
{
    return snprintf(buf, 48, "c%llu:%u", (unsigned long long)client, key);
}

static uint64_t _token(const char *key, size_t key_len, unsigned version)
{
    uint64_t token = version;
    for (size_t i = 0; i < key_len; i++)
        token = rng_mix(token * 257 + (uint8_t)key[i]);
    return token;
}

void redis_value_fill(char *buf, size_t len, const char *key, unsigned version)
{
    char prefix[PREFIX + 1];
    snprintf(prefix, sizeof(prefix), "%-40.40s %10u %11u ", key, version, (unsigned)len);
    memcpy(buf, prefix, PREFIX);
    content_fill((uint8_t *)buf + PREFIX, len - PREFIX, _token(key, strlen(key), version), 0);
}

int redis_value_check(const char *data, size_t len, const char *key, size_t key_len)
{
    char prefix[PREFIX + 1], name[41];
    unsigned version, said;
    if (len < PREFIX)
        return -1;
    memcpy(prefix, data, PREFIX);
    prefix[PREFIX] = 0;
    if (sscanf(prefix, "%40s %u %u", name, &version, &said) != 3 || said != len || strlen(name) != key_len ||
        memcmp(name, key, key_len))
        return -1;
    size_t body = len - PREFIX;
    if (content_check((const uint8_t *)data + PREFIX, body, _token(key, key_len, version), 0) != body)
        return -1;
    return (int)version;
}
