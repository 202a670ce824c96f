/*
 * Maglev's lookup table (Eisenbud et al., NSDI 2016, section 3.4): the endpoints take turns, each
 * takes the next free entry of its own permutation of the table. Weights scale how often an endpoint
 * has a turn.
 */
#include "parsers/redis_hash.h"
#include "parsers/redis_ring_internal.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY UINT16_MAX

/* Entries next, next + skip, next + 2 * skip... modulo the table's size, which is prime: each entry
 * comes once. */
struct permutation {
    uint32_t next;
    uint32_t skip;
    uint64_t credit; /* Turns saved up, in units of 1 / heaviest weight. */
};

static void _permute(const char *name, struct permutation *p)
{
    uint8_t digest[16];
    redis_md5(name, strlen(name), digest);
    p->next = redis_md5_part(digest, 0) % REDIS_MAGLEV_SIZE;
    p->skip = redis_md5_part(digest, 1) % (REDIS_MAGLEV_SIZE - 1) + 1;
    p->credit = 0;
}

static void _take_next(struct permutation *p, uint16_t *table, uint16_t endpoint)
{
    while (table[p->next] != NOBODY)
        p->next = (p->next + p->skip) % REDIS_MAGLEV_SIZE;
    table[p->next] = endpoint;
}

static void _fill(const struct redis_ring_endpoint *endpoints, uint32_t n_endpoints, struct permutation *p,
                  uint16_t *table)
{
    uint32_t heaviest = 0, filled = 0;
    for (uint32_t i = 0; i < n_endpoints; ++i)
        heaviest = endpoints[i].weight > heaviest ? endpoints[i].weight : heaviest;

    for (;;) {
        for (uint32_t i = 0; i < n_endpoints; ++i) {
            p[i].credit += endpoints[i].weight;
            if (p[i].credit < heaviest)
                continue;
            p[i].credit -= heaviest;
            _take_next(&p[i], table, (uint16_t)i);
            if (++filled == REDIS_MAGLEV_SIZE)
                return;
        }
    }
}

int redis_maglev_new(const struct redis_ring_endpoint *endpoints, uint32_t n_endpoints, uint16_t **out)
{
    struct permutation *permutations = calloc(n_endpoints, sizeof(*permutations));
    uint16_t *table = malloc(REDIS_MAGLEV_SIZE * sizeof(*table));
    if (!permutations || !table) {
        free(permutations);
        free(table);
        return -ENOMEM;
    }

    for (uint32_t i = 0; i < n_endpoints; ++i)
        _permute(endpoints[i].name, &permutations[i]);
    for (uint32_t i = 0; i < REDIS_MAGLEV_SIZE; ++i)
        table[i] = NOBODY;
    _fill(endpoints, n_endpoints, permutations, table);
    free(permutations);

    *out = table;

    return 0;
}
