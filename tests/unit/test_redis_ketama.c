/*
 * The ketama continuum: its order, its size, what each point is made of, and the search.
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

static const struct redis_ring_endpoint servers[4] = {{"one", 1}, {"two", 1}, {"three", 1}, {"four", 1}};
static const uint32_t in_order[4] = {0, 1, 2, 3};

static uint32_t _count(const struct redis_ketama_point *points, uint32_t n, uint32_t endpoint)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; ++i)
        count += points[i].endpoint == endpoint;

    return count;
}

static void test_equal_weights(void **state)
{
    struct redis_ketama_point *points;
    uint32_t n;
    assert_int_equal(redis_ketama_new(servers, in_order, 4, &points, &n), 0);
    assert_int_equal(n, 4 * 160);
    for (uint32_t i = 0; i < 4; ++i)
        assert_int_equal(_count(points, n, i), 160);
    for (uint32_t i = 1; i < n; ++i)
        assert_true(points[i - 1].value <= points[i].value);
    free(points);
}

/* 40 digests per server, times the share, times the number of servers, rounded down. */
static void test_unequal_weights(void **state)
{
    const struct redis_ring_endpoint unequal[3] = {{"one", 1}, {"two", 5}, {"three", 2}};
    struct redis_ketama_point *points;
    uint32_t n;
    assert_int_equal(redis_ketama_new(unequal, in_order, 3, &points, &n), 0);
    assert_int_equal(_count(points, n, 0), 15 * 4);
    assert_int_equal(_count(points, n, 1), 75 * 4);
    assert_int_equal(_count(points, n, 2), 30 * 4);
    assert_int_equal(n, 120 * 4);
    free(points);
}

static void test_a_tiny_weight_has_no_point(void **state)
{
    const struct redis_ring_endpoint unequal[2] = {{"one", 1}, {"two", 1000}};
    struct redis_ketama_point *points;
    uint32_t n;
    assert_int_equal(redis_ketama_new(unequal, in_order, 2, &points, &n), 0);
    assert_int_equal(_count(points, n, 0), 0);
    assert_int_equal(_count(points, n, 1), 79 * 4);
    free(points);
}

static bool _has(const struct redis_ketama_point *points, uint32_t n, const char *label, uint32_t endpoint)
{
    uint8_t digest[16];
    unsigned found = 0;
    redis_md5(label, strlen(label), digest);
    for (uint32_t i = 0; i < n; ++i) {
        for (unsigned part = 0; part < 4; ++part)
            found += points[i].endpoint == endpoint && points[i].value == redis_md5_part(digest, part);
    }

    return found == 4;
}

static void test_labels(void **state)
{
    struct redis_ketama_point *points;
    char long_name[301], label[304];
    struct redis_ring_endpoint two[2] = {{"127.0.0.1:6379", 1}, {long_name, 1}};
    uint32_t n;

    memset(long_name, 'x', 300);
    long_name[270] = '\0';
    assert_int_equal(redis_ketama_new(two, in_order, 2, &points, &n), 0);
    assert_true(_has(points, n, "127.0.0.1:6379-0", 0));
    assert_true(_has(points, n, "127.0.0.1:6379-39", 0));
    assert_false(_has(points, n, "127.0.0.1:6379-40", 0));
    /* 272 characters are hashed: one digit of the index is. */
    snprintf(label, sizeof(label), "%s-9", long_name);
    assert_true(_has(points, n, label, 1));
    snprintf(label, sizeof(label), "%s-39", long_name);
    assert_false(_has(points, n, label, 1));
    free(points);
}

static void test_find(void **state)
{
    struct redis_ketama_point points[7];
    for (uint32_t n = 1; n <= 7; ++n) {
        for (uint32_t i = 0; i < n; ++i)
            points[i] = (struct redis_ketama_point){.value = 10 * (i + 1)};
        for (uint32_t hash = 0; hash < 10 * n + 5; ++hash) {
            uint32_t expected = 0;
            while (expected < n && points[expected].value < hash)
                ++expected;
            assert_int_equal(redis_ketama_find(points, n, hash), expected < n ? expected : 0);
        }
        assert_int_equal(redis_ketama_find(points, n, UINT32_MAX), 0);
    }
    for (uint32_t i = 2; i < 5; ++i)
        points[i].value = 30;
    assert_int_equal(redis_ketama_find(points, 7, 30), 2);
}

static int _setup(void **state)
{
    return redis_md5_init();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_equal_weights),
        cmocka_unit_test(test_unequal_weights),
        cmocka_unit_test(test_a_tiny_weight_has_no_point),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_find),
    };

    return cmocka_run_group_tests(tests, _setup, NULL);
}
