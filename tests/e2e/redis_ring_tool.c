/*
 * Prints where keys lie: redis_ring_tool DISTRIBUTION HASH TAG NAME=WEIGHT[!]...
 *
 * TAG is two characters or empty; an endpoint with `!` is ejected. Keys come on the standard input,
 * each as its length (32 bits, little-endian) and its bytes. One line per key: place and endpoint.
 */
#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parsers/redis_ring.h"

#define ENDPOINTS_MAX 1024
#define KEY_MAX       65536

static const char *const distributions[] = {"crc16_slots", "ketama", "modula", "maglev", NULL};
static const char *const hashes[] = {
    [REDIS_HASH_FNV1A_64] = "fnv1a_64", [REDIS_HASH_ONE_AT_A_TIME] = "one_at_a_time",
    [REDIS_HASH_MD5] = "md5",           [REDIS_HASH_CRC16] = "crc16",
    [REDIS_HASH_CRC32] = "crc32",       [REDIS_HASH_CRC32A] = "crc32a",
    [REDIS_HASH_FNV1_64] = "fnv1_64",   [REDIS_HASH_FNV1_32] = "fnv1_32",
    [REDIS_HASH_FNV1A_32] = "fnv1a_32", [REDIS_HASH_HSIEH] = "hsieh",
    [REDIS_HASH_MURMUR] = "murmur",     [REDIS_HASH_JENKINS] = "jenkins",
    [_REDIS_HASH_MAX] = NULL,
};

static void _die(const char *what)
{
    fprintf(stderr, "redis_ring_tool: %s\n", what);
    exit(2);
}

static unsigned _index_of(const char *const *names, const char *name)
{
    for (unsigned i = 0; names[i]; ++i) {
        if (!strcmp(names[i], name))
            return i;
    }
    _die(name);

    return 0;
}

static bool _parse_endpoint(char *text, struct redis_ring_endpoint *out)
{
    char *weight = strrchr(text, '='), *end;
    if (!weight)
        _die(text);
    *weight++ = '\0';
    out->name = text;
    out->weight = (uint32_t)strtoul(weight, &end, 10);

    return *end == '!';
}

static void _answer(const struct redis_ring *ring, const bool *ejected)
{
    static char key[KEY_MAX];
    uint32_t len;
    while (fread(&len, sizeof(len), 1, stdin) == 1) {
        len = le32toh(len);
        if (len > KEY_MAX || fread(key, 1, len, stdin) != len)
            _die("a key is cut or too long");
        uint32_t place = redis_ring_place(ring, key, len);
        printf("%u %u\n", place, redis_ring_endpoint(ring, place, ejected));
    }
}

int main(int argc, char **argv)
{
    static struct redis_ring_endpoint endpoints[ENDPOINTS_MAX];
    static bool ejected[ENDPOINTS_MAX];
    struct redis_ring_conf conf = {.endpoints = endpoints};
    struct redis_ring *ring;

    if (argc < 5 || argc > 4 + ENDPOINTS_MAX)
        _die("DISTRIBUTION HASH TAG NAME=WEIGHT[!]...");
    conf.distribution = (enum redis_distribution)_index_of(distributions, argv[1]);
    conf.hash = (enum redis_hash)_index_of(hashes, argv[2]);
    if (strlen(argv[3]) == 2)
        memcpy(conf.tag, argv[3], 2);
    for (int i = 4; i < argc; ++i)
        ejected[conf.n_endpoints++] = _parse_endpoint(argv[i], &endpoints[i - 4]);

    if (redis_ring_new(&conf, &ring))
        _die("no ring");
    _answer(ring, ejected);
    redis_ring_free(&ring);

    return 0;
}
