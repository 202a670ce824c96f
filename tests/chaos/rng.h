/*
 * Randomness from one seed. Every connection and every message has a stream of its own, so that what
 * it does depends on the seed and its number, not on the order of events.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng {
    uint64_t state;
};

/** A bijection of 64-bit numbers that mixes well (the finalizer of SplitMix64). */
uint64_t rng_mix(uint64_t x);

/** The stream of `seed` for the entity of this kind and number. */
struct rng rng_stream(uint64_t seed, uint64_t kind, uint64_t number);

uint64_t rng_next(struct rng *r);

/** @return A number from 0 to n - 1; n > 0. */
uint32_t rng_below(struct rng *r, uint32_t n);

/** @return true in `percent` of 100 cases. */
bool rng_chance(struct rng *r, uint32_t percent);

/** @return An index of `weights`, as often as its weight says; their sum must not be 0. */
unsigned rng_pick(struct rng *r, const uint8_t *weights, unsigned n);

/** @return A size from 0 to 1 MiB: small most of the time. */
size_t rng_size(struct rng *r);

/** Fills `buf` with the bytes at offset `off` of the content that `token` names. */
void content_fill(uint8_t *buf, size_t len, uint64_t token, uint64_t off);

/** @return How many bytes are as content_fill() makes them, `len` if all are. */
size_t content_check(const uint8_t *buf, size_t len, uint64_t token, uint64_t off);
