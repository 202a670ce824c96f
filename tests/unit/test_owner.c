/*
 * The owner word and what it is packed from, at the bounds of its fields.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "skein/slot.h"

#define FLAGS     (OWNER_USER | OWNER_BUSY | OWNER_UP | OWNER_FROZEN)
#define GEN_MAX   ((1U << OWNER_GEN_BITS) - 1)
#define INDEX_MAX (SLOTS_MAX - 1)

static const __u32 indexes[] = {0, 1, 2, 4094, 4095, 4096, 16383, 131071, 131072, INDEX_MAX - 1, INDEX_MAX};
static const __u32 gens[] = {0, 1, 2, 2047, 2048, GEN_MAX - 1, GEN_MAX};

#define N(table) (sizeof(table) / sizeof((table)[0]))

static void test_ref_round_trip(void **state)
{
    for (size_t i = 0; i < N(indexes); i++) {
        for (size_t g = 0; g < N(gens); g++) {
            __u32 ref = slot_ref(indexes[i], gens[g]);
            assert_int_not_equal(ref, 0);
            assert_int_equal(ref_index(ref), indexes[i]);
            assert_int_equal(ref_gen(ref), gens[g]);
            assert_int_equal(ref >> OWNER_LEASE_BITS, 0);
        }
    }
}

static void test_refs_differ(void **state)
{
    for (size_t a = 0; a < N(indexes) * N(gens); a++) {
        for (size_t b = 0; b < a; b++)
            assert_int_not_equal(slot_ref(indexes[a / N(gens)], gens[a % N(gens)]),
                                 slot_ref(indexes[b / N(gens)], gens[b % N(gens)]));
    }
}

/* The daemon counts generations in 32 bits; only the low ones get into a ref. */
static void test_generation_wraps(void **state)
{
    assert_int_equal(slot_ref(5, GEN_MAX + 1), slot_ref(5, 0));
    assert_int_equal(slot_ref(5, UINT32_MAX), slot_ref(5, GEN_MAX));
    assert_int_equal(ref_index(slot_ref(INDEX_MAX, UINT32_MAX)), INDEX_MAX);
}

/* "No connection" in a pool or a lease names no slot. */
static void test_zero_is_no_slot(void **state)
{
    assert_int_equal(ref_index(0), UINT32_MAX);
    assert_int_equal(owner_lease(0), 0);
    assert_int_equal(owner_lease(FLAGS | OWNER_GEN_MASK | -OWNER_SEQ_ONE), 0);
}

static void test_fields_do_not_overlap(void **state)
{
    const __u64 fields[] = {OWNER_USER,     OWNER_BUSY,       OWNER_UP,      OWNER_FROZEN,
                            OWNER_GEN_MASK, OWNER_LEASE_MASK, -OWNER_SEQ_ONE};
    __u64 all = 0;
    for (size_t i = 0; i < N(fields); i++) {
        assert_int_equal(all & fields[i], 0);
        all |= fields[i];
    }
    assert_true(all == UINT64_MAX);
}

static void test_owner_word(void **state)
{
    for (size_t i = 0; i < N(indexes); i++) {
        for (size_t g = 0; g < N(gens); g++) {
            __u32 ref = slot_ref(indexes[i], gens[g]), own = gens[N(gens) - 1 - g];
            __u64 plain = (__u64)own << OWNER_GEN_SHIFT;
            __u64 word = plain | lease_bits(ref);
            assert_int_equal(lease_bits(ref) & ~OWNER_LEASE_MASK, 0);
            assert_int_equal(owner_lease(word), ref);
            assert_int_equal(owner_gen(word), own);
            assert_int_equal(owner_lease(word | FLAGS | -OWNER_SEQ_ONE), ref);
            assert_int_equal(owner_gen(word | FLAGS | -OWNER_SEQ_ONE), own);
            assert_true((word & ~OWNER_LEASE_MASK) == plain);
            assert_int_equal(word & FLAGS, 0);
        }
    }
}

/* The sequence runs over at the word's end: nothing else changes. */
static void test_sequence_wraps(void **state)
{
    __u64 rest = FLAGS | OWNER_GEN_MASK | lease_bits(slot_ref(INDEX_MAX, GEN_MAX));
    __u64 word = rest | -OWNER_SEQ_ONE;
    assert_true(word == UINT64_MAX);
    word += OWNER_SEQ_ONE - OWNER_BUSY;
    assert_true(word == (rest & ~OWNER_BUSY));
}

/* The array map's elements are shared by address: neighbours must not share a cache line, and
 * programs and daemon both count on the atomics' alignment. */
static void test_layout(void **state)
{
    assert_int_equal(sizeof(struct slot) % 64, 0);
    assert_int_equal(offsetof(struct slot, owner), 0);
    assert_int_equal(offsetof(struct slot, window) % 8, 0);
    assert_int_equal(offsetof(struct pool, idle), 0);
    assert_int_equal(sizeof(((struct pool *)0)->idle) * 8, POOL_SIZE);
    assert_true(SLICE_MAX > HTTP1_WINDOW);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ref_round_trip),        cmocka_unit_test(test_refs_differ),
        cmocka_unit_test(test_generation_wraps),      cmocka_unit_test(test_zero_is_no_slot),
        cmocka_unit_test(test_fields_do_not_overlap), cmocka_unit_test(test_owner_word),
        cmocka_unit_test(test_sequence_wraps),        cmocka_unit_test(test_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
