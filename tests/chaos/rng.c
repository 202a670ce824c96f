#include "rng.h"

uint64_t rng_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

struct rng rng_stream(uint64_t seed, uint64_t kind, uint64_t number)
{
    return (struct rng){.state = rng_mix(rng_mix(seed + 1) ^ rng_mix((kind << 48) + number + 1))};
}

uint64_t rng_next(struct rng *r)
{
    r->state += 0x9e3779b97f4a7c15ULL;
    return rng_mix(r->state);
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
    return (uint32_t)((rng_next(r) >> 32) * n >> 32);
}

bool rng_chance(struct rng *r, uint32_t percent)
{
    return rng_below(r, 100) < percent;
}

unsigned rng_pick(struct rng *r, const uint8_t *weights, unsigned n)
{
    uint32_t sum = 0;
    for (unsigned i = 0; i < n; i++)
        sum += weights[i];
    uint32_t at = rng_below(r, sum);
    unsigned i = 0;
    while (at >= weights[i])
        at -= weights[i++];
    return i;
}

size_t rng_size(struct rng *r)
{
    static const uint32_t max[] = {1, 200, 2000, 20000, 200000, (1 << 20) + 1};
    static const uint8_t weights[] = {8, 50, 25, 10, 5, 2};
    return rng_below(r, max[rng_pick(r, weights, sizeof(weights))]);
}

/* Eight bytes of content are one number. */
static uint64_t _word(uint64_t token, uint64_t off)
{
    return rng_mix(token + off / 8);
}

void content_fill(uint8_t *buf, size_t len, uint64_t token, uint64_t off)
{
    uint64_t word = _word(token, off);
    for (size_t i = 0; i < len; i++) {
        if ((off + i) % 8 == 0)
            word = _word(token, off + i);
        buf[i] = (uint8_t)(word >> ((off + i) % 8 * 8));
    }
}

size_t content_check(const uint8_t *buf, size_t len, uint64_t token, uint64_t off)
{
    uint64_t word = _word(token, off);
    for (size_t i = 0; i < len; i++) {
        if ((off + i) % 8 == 0)
            word = _word(token, off + i);
        if (buf[i] != (uint8_t)(word >> ((off + i) % 8 * 8)))
            return i;
    }
    return len;
}
