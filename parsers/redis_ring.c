/*
 * From a key to its place and from a place to an endpoint.
 *
 * A place is what ejection does not change: the slot, the hash, or the entry of the Maglev table.
 * Ejection is applied when the endpoint is looked up.
 */
#include "parsers/redis_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "parsers/redis_crc16.h"
#include "parsers/redis_hash.h"
#include "parsers/redis_ring_internal.h"

struct redis_ring {
    enum redis_distribution distribution;
    redis_hash_fn hash;
    char tag[2];
    uint32_t n_endpoints;
    uint32_t *weights; /* By endpoint. */
    uint32_t *order;   /* Endpoints in twemproxy's order. */
    struct redis_ketama_point *points;
    uint32_t n_points;
    uint16_t *table; /* Endpoints by slot (crc16_slots) or by entry (maglev). */
};

/* Keys --------------------------------------------------------------------------------- */

const char *redis_tagged(const char tag[2], const char *key, size_t *len)
{
    const char *open = *len ? memchr(key, tag[0], *len) : NULL;
    if (!open)
        return key;

    const char *from = open + 1;
    const char *close = memchr(from, tag[1], *len - (size_t)(from - key));
    if (!close || close == from)
        return key;
    *len = (size_t)(close - from);

    return from;
}

const char *redis_ring_tagged(const struct redis_ring *ring, const char *key, size_t *len)
{
    return ring->tag[0] ? redis_tagged(ring->tag, key, len) : key;
}

uint32_t redis_ring_place(const struct redis_ring *ring, const char *key, size_t len)
{
    if (ring->distribution == REDIS_CRC16_SLOTS)
        return redis_key_slot(key, len);
    if (ring->n_endpoints == 1 || !len)
        return 0; /* twemproxy's answer, whatever the hash of nothing is. */

    const char *tagged = redis_ring_tagged(ring, key, &len);
    uint32_t hash = ring->hash(tagged, len);

    return ring->distribution == REDIS_MAGLEV ? hash % REDIS_MAGLEV_SIZE : hash;
}

size_t redis_ring_default_name_len(const char *address)
{
    static const char port[] = ":11211";
    size_t len = strlen(address), port_len = sizeof(port) - 1;

    return len > port_len && !strcmp(address + len - port_len, port) ? len - port_len : len;
}

/* Endpoints ---------------------------------------------------------------------------- */

static bool _any_live(const bool *ejected, uint32_t n)
{
    for (uint32_t i = 0; i < n; ++i) {
        if (!ejected[i])
            return true;
    }

    return false;
}

/* twemproxy's continuum is a list in which each live server stands `weight` times in a row. */
static uint32_t _modula(const struct redis_ring *ring, uint32_t hash, const bool *ejected)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < ring->n_endpoints; ++i)
        total += ejected && ejected[i] ? 0 : ring->weights[i];

    uint64_t at = hash % total;
    for (uint32_t rank = 0;; ++rank) {
        uint32_t endpoint = ring->order[rank];
        if (ejected && ejected[endpoint])
            continue;
        if (at < ring->weights[endpoint])
            return endpoint;
        at -= ring->weights[endpoint];
    }
}

/* The next endpoint by index that is not ejected; there is one. */
static uint32_t _next_live(const struct redis_ring *ring, uint32_t endpoint, const bool *ejected)
{
    while (ejected && ejected[endpoint])
        endpoint = endpoint + 1 < ring->n_endpoints ? endpoint + 1 : 0;

    return endpoint;
}

/* Endpoints of tiny weights may own no point of the continuum and no entry of the table. If nobody
 * else is live, a whole turn finds nobody, and they are chosen by index. */

static uint32_t _ketama(const struct redis_ring *ring, uint32_t hash, const bool *ejected)
{
    uint32_t home = redis_ketama_find(ring->points, ring->n_points, hash), at = home;
    while (ejected && ejected[ring->points[at].endpoint]) {
        at = at + 1 < ring->n_points ? at + 1 : 0;
        if (at == home)
            break;
    }

    return _next_live(ring, ring->points[at].endpoint, ejected);
}

static uint32_t _maglev(const struct redis_ring *ring, uint32_t entry, const bool *ejected)
{
    uint32_t at = entry;
    while (ejected && ejected[ring->table[at]]) {
        at = at + 1 < REDIS_MAGLEV_SIZE ? at + 1 : 0;
        if (at == entry)
            break;
    }

    return _next_live(ring, ring->table[at], ejected);
}

uint32_t redis_ring_endpoint(const struct redis_ring *ring, uint32_t place, const bool *ejected)
{
    if (ejected && !_any_live(ejected, ring->n_endpoints))
        ejected = NULL;

    switch (ring->distribution) {
    case REDIS_KETAMA:
        return _ketama(ring, place, ejected);
    case REDIS_MODULA:
        return _modula(ring, place, ejected);
    case REDIS_MAGLEV:
        return _maglev(ring, place % REDIS_MAGLEV_SIZE, ejected);
    case REDIS_CRC16_SLOTS:
    default:
        return _next_live(ring, ring->table[place % REDIS_SLOTS], ejected);
    }
}

bool redis_ring_same(const struct redis_ring *ring, uint32_t a, uint32_t b)
{
    if (a == b || ring->distribution == REDIS_CRC16_SLOTS)
        return a == b;

    return redis_ring_endpoint(ring, a, NULL) == redis_ring_endpoint(ring, b, NULL);
}

/* Building ----------------------------------------------------------------------------- */

static uint32_t _gcd(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }

    return a;
}

/* redis-cli's steps, in `float` too, with a share of slots per weight instead of per master. Equal
 * weights are all 1 after the division by what they have in common, as if there were none. */
static int _build_slots(struct redis_ring *ring)
{
    uint32_t unit = 0, total = 0, first = 0;
    for (uint32_t i = 0; i < ring->n_endpoints; ++i)
        unit = _gcd(ring->weights[i], unit);
    for (uint32_t i = 0; i < ring->n_endpoints; ++i)
        total += ring->weights[i] / unit;

    ring->table = calloc(REDIS_SLOTS, sizeof(*ring->table));
    if (!ring->table)
        return -ENOMEM;

    float per_weight = REDIS_SLOTS / (float)total, cursor = 0;
    for (uint32_t i = 0; i < ring->n_endpoints; ++i) {
        float share = per_weight * (float)(ring->weights[i] / unit);
        float last = cursor + share - 1;
        uint32_t end = (uint32_t)((double)last + 0.5 + 1); /* lround(last) + 1 */
        if (end > REDIS_SLOTS || i == ring->n_endpoints - 1)
            end = REDIS_SLOTS;
        for (; first < end; ++first)
            ring->table[first] = (uint16_t)i;
        cursor += share;
    }

    return 0;
}

/* twemproxy sorts its servers when it looks for duplicates, shorter names first, and leaves them so:
 * modula depends on it. */
static int _compare_names(const void *a, const void *b, void *context)
{
    const struct redis_ring_endpoint *endpoints = context;
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    size_t x_len = strlen(endpoints[x].name), y_len = strlen(endpoints[y].name);
    int r = x_len == y_len ? strcmp(endpoints[x].name, endpoints[y].name) : x_len < y_len ? -1 : 1;

    return r ? r : (x > y) - (x < y);
}

static int _copy_conf(struct redis_ring *ring, const struct redis_ring_conf *conf)
{
    ring->distribution = conf->distribution;
    ring->hash = redis_hash_function(conf->hash);
    memcpy(ring->tag, conf->distribution == REDIS_CRC16_SLOTS ? "{}" : conf->tag, 2);
    ring->n_endpoints = conf->n_endpoints;
    ring->weights = calloc(conf->n_endpoints, sizeof(*ring->weights));
    ring->order = calloc(conf->n_endpoints, sizeof(*ring->order));
    if (!ring->weights || !ring->order)
        return -ENOMEM;

    for (uint32_t i = 0; i < conf->n_endpoints; ++i) {
        ring->weights[i] = conf->endpoints[i].weight;
        ring->order[i] = i;
    }
    qsort_r(ring->order, conf->n_endpoints, sizeof(*ring->order), _compare_names, (void *)conf->endpoints);

    return 0;
}

static int _build(struct redis_ring *ring, const struct redis_ring_conf *conf)
{
    int r = conf->distribution == REDIS_CRC16_SLOTS ? 0 : redis_md5_init();
    if (!r)
        r = _copy_conf(ring, conf);
    if (r)
        return r;

    switch (conf->distribution) {
    case REDIS_CRC16_SLOTS:
        return _build_slots(ring);
    case REDIS_KETAMA:
        return redis_ketama_new(conf->endpoints, ring->order, conf->n_endpoints, &ring->points,
                                &ring->n_points);
    case REDIS_MAGLEV:
        return redis_maglev_new(conf->endpoints, conf->n_endpoints, &ring->table);
    case REDIS_MODULA:
    default:
        return 0;
    }
}

int redis_ring_new(const struct redis_ring_conf *conf, struct redis_ring **out)
{
    struct redis_ring *ring = calloc(1, sizeof(*ring));
    int r = ring ? _build(ring, conf) : -ENOMEM;
    if (r)
        redis_ring_free(&ring);
    else
        *out = ring;

    return r;
}

void redis_ring_free(struct redis_ring **ring)
{
    if (!*ring)
        return;

    free((*ring)->weights);
    free((*ring)->order);
    free((*ring)->points);
    free((*ring)->table);
    free(*ring);
    *ring = NULL;
}
