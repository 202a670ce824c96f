/*
 * twemproxy's ketama continuum (nc_ketama.c): 160 points per server on average, by weight, four from
 * each MD5 of "NAME-INDEX".
 */
#include "parsers/redis_hash.h"
#include "parsers/redis_ring_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define POINTS_PER_SERVER 160
#define POINTS_PER_DIGEST 4
#define LABEL_SIZE        273 /* What is longer is cut. */

/* In `float`, rounded after each operation as twemproxy does: how many digests a server gets depends
 * on it. */
static uint32_t _digests_of(uint32_t weight, uint32_t total, uint32_t n_servers)
{
    float share = (float)weight / (float)total;
    float digests = share * POINTS_PER_SERVER / POINTS_PER_DIGEST * (float)n_servers;

    return (uint32_t)(float)((double)digests + 0.0000000001);
}

/* Of points with equal values the first server's comes first; `endpoint` is still a rank here. */
static int _compare(const void *a, const void *b)
{
    const struct redis_ketama_point *x = a, *y = b;
    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;

    return (x->endpoint > y->endpoint) - (x->endpoint < y->endpoint);
}

int redis_ketama_new(const struct redis_ring_endpoint *endpoints, const uint32_t *order, uint32_t n_endpoints,
                     struct redis_ketama_point **out, uint32_t *n_points)
{
    uint32_t total = 0, n = 0;
    for (uint32_t i = 0; i < n_endpoints; ++i)
        total += endpoints[i].weight;
    for (uint32_t i = 0; i < n_endpoints; ++i)
        n += _digests_of(endpoints[i].weight, total, n_endpoints) * POINTS_PER_DIGEST;

    struct redis_ketama_point *points = calloc(n, sizeof(*points));
    if (!points)
        return -ENOMEM;

    uint32_t at = 0;
    for (uint32_t rank = 0; rank < n_endpoints; ++rank) {
        const struct redis_ring_endpoint *endpoint = &endpoints[order[rank]];
        uint32_t n_digests = _digests_of(endpoint->weight, total, n_endpoints);
        for (uint32_t i = 0; i < n_digests; ++i) {
            char label[LABEL_SIZE];
            uint8_t digest[16];
            int len = snprintf(label, sizeof(label), "%s-%u", endpoint->name, i);
            redis_md5(label, len < LABEL_SIZE ? (size_t)len : LABEL_SIZE - 1, digest);
            for (unsigned part = 0; part < POINTS_PER_DIGEST; ++part)
                points[at++] = (struct redis_ketama_point){redis_md5_part(digest, part), rank};
        }
    }
    qsort(points, n, sizeof(*points), _compare);
    for (uint32_t i = 0; i < n; ++i)
        points[i].endpoint = order[points[i].endpoint];

    *out = points;
    *n_points = n;

    return 0;
}

uint32_t redis_ketama_find(const struct redis_ketama_point *points, uint32_t n_points, uint32_t hash)
{
    /* Without a branch on what is compared: hashes are random, so it would be predicted wrong. */
    const struct redis_ketama_point *base = points;
    for (uint32_t n = n_points; n > 1;) {
        uint32_t half = n / 2;
        base = base[half - 1].value < hash ? base + half : base;
        n -= half;
    }
    uint32_t at = (uint32_t)(base - points) + (base->value < hash);

    return at < n_points ? at : 0;
}
