/*
 * The Maglev table: complete, even, by weight, and little disturbed by a change.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parsers/redis_hash.h"
#include "parsers/redis_ring_internal.h"

#define N_MAX 1024

static char names[N_MAX][24];
static struct redis_ring_endpoint endpoints[N_MAX];
static uint32_t counts[N_MAX];

static uint16_t *_table(uint32_t n)
{
    uint16_t *table;
    assert_int_equal(redis_maglev_new(endpoints, n, &table), 0);
    memset(counts, 0, sizeof(counts));
    for (uint32_t i = 0; i < REDIS_MAGLEV_SIZE; ++i) {
        assert_true(table[i] < n);
        ++counts[table[i]];
    }

    return table;
}

/* Turns are taken in order, so shares differ by one entry at most. */
static void test_even(void **state)
{
    static const uint32_t sizes[] = {1, 2, 3, 7, 64, N_MAX};
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); ++s) {
        free(_table(sizes[s]));
        for (uint32_t i = 0; i < sizes[s]; ++i) {
            assert_true(counts[i] >= REDIS_MAGLEV_SIZE / sizes[s]);
            assert_true(counts[i] <= REDIS_MAGLEV_SIZE / sizes[s] + 1);
        }
    }
}

static void test_weights(void **state)
{
    static const uint32_t weights[4] = {1, 2, 3, 10};
    for (uint32_t i = 0; i < 4; ++i)
        endpoints[i].weight = weights[i];
    free(_table(4));
    for (uint32_t i = 0; i < 4; ++i) {
        assert_in_range(counts[i], REDIS_MAGLEV_SIZE * weights[i] / 16 - 2,
                        REDIS_MAGLEV_SIZE * weights[i] / 16 + 2);
        endpoints[i].weight = 1;
    }
}

static void test_same_each_time(void **state)
{
    uint16_t *a = _table(9), *b = _table(9);
    assert_memory_equal(a, b, REDIS_MAGLEV_SIZE * sizeof(*a));
    free(a);
    free(b);
}

/* One of ten goes: of the entries of the others few change (the paper: about 3 % at this size). */
static void test_little_disturbed(void **state)
{
    uint16_t *before = _table(10), *after = _table(9);
    uint32_t moved = 0;
    for (uint32_t i = 0; i < REDIS_MAGLEV_SIZE; ++i)
        moved += before[i] != 9 && before[i] != after[i];
    assert_true(moved < REDIS_MAGLEV_SIZE / 20);
    free(before);
    free(after);
}

static int _setup(void **state)
{
    for (unsigned i = 0; i < N_MAX; ++i) {
        snprintf(names[i], sizeof(names[i]), "10.0.%u.%u:6379", i / 256, i % 256);
        endpoints[i] = (struct redis_ring_endpoint){names[i], 1};
    }

    return redis_md5_init();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_even),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_same_each_time),
        cmocka_unit_test(test_little_disturbed),
    };

    return cmocka_run_group_tests(tests, _setup, NULL);
}
