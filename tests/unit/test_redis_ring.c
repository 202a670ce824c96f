/*
 * Keys to endpoints: ranges of slots, twemproxy's order, tags, evenness and ejection.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "parsers/redis_crc16.h"
#include "parsers/redis_ring.h"

#define N_KEYS 20000
#define N_MAX  1024

static char names[N_MAX][24];
static struct redis_ring_endpoint endpoints[N_MAX];

static struct redis_ring *_ring(enum redis_distribution distribution, uint32_t n)
{
    const struct redis_ring_conf conf = {
        .distribution = distribution, .hash = REDIS_HASH_MURMUR, .endpoints = endpoints, .n_endpoints = n};
    struct redis_ring *ring = NULL;
    assert_int_equal(redis_ring_new(&conf, &ring), 0);

    return ring;
}

static uint32_t _place(const struct redis_ring *ring, const char *key)
{
    return redis_ring_place(ring, key, strlen(key));
}

static uint32_t _place_of_number(const struct redis_ring *ring, unsigned number)
{
    char key[24];
    snprintf(key, sizeof(key), "key:%010u", number);

    return _place(ring, key);
}

static void _check_last_slots(uint32_t n, const uint32_t *last)
{
    struct redis_ring *ring = _ring(REDIS_CRC16_SLOTS, n);
    uint32_t at = 0;
    for (uint32_t slot = 0; slot < REDIS_SLOTS; ++slot) {
        assert_int_equal(redis_ring_endpoint(ring, slot, NULL), at);
        at += slot == last[at];
    }
    assert_int_equal(at, n);
    redis_ring_free(&ring);
    assert_null(ring);
    redis_ring_free(&ring);
}

static void test_ranges_of_slots(void **state)
{
    /* What redis-cli --cluster create prints. */
    _check_last_slots(1, (const uint32_t[]){16383});
    _check_last_slots(2, (const uint32_t[]){8191, 16383});
    _check_last_slots(3, (const uint32_t[]){5460, 10922, 16383});
    _check_last_slots(6, (const uint32_t[]){2730, 5460, 8191, 10922, 13652, 16383});
    for (uint32_t i = 0; i < 3; ++i)
        endpoints[i].weight = 7;
    _check_last_slots(3, (const uint32_t[]){5460, 10922, 16383});
    endpoints[0].weight = 10;
    endpoints[1].weight = 20;
    endpoints[2].weight = 10;
    _check_last_slots(3, (const uint32_t[]){4095, 12287, 16383});
}

static void test_every_slot_has_an_endpoint(void **state)
{
    for (uint32_t n = 1; n <= N_MAX; n += n < 20 ? 1 : 83) {
        struct redis_ring *ring = _ring(REDIS_CRC16_SLOTS, n);
        uint32_t before = 0;
        for (uint32_t slot = 0; slot < REDIS_SLOTS; ++slot) {
            uint32_t endpoint = redis_ring_endpoint(ring, slot, NULL);
            assert_true(endpoint == before || endpoint == before + 1);
            before = endpoint;
        }
        assert_int_equal(before, n - 1);
        redis_ring_free(&ring);
    }
}

static void test_slots_use_redis_tags_only(void **state)
{
    const struct redis_ring_conf conf = {
        .distribution = REDIS_CRC16_SLOTS, .tag = "[]", .endpoints = endpoints, .n_endpoints = 1};
    struct redis_ring *ring;
    assert_int_equal(redis_ring_new(&conf, &ring), 0);
    assert_int_equal(_place(ring, "foo"), 12182);
    assert_int_equal(_place(ring, "{foo}[bar]"), 12182);
    assert_false(redis_ring_same(ring, 1, 2));
    assert_true(redis_ring_same(ring, 2, 2));
    redis_ring_free(&ring);
}

static void _check_tag(const struct redis_ring *ring, const char *key, const char *expected)
{
    size_t len = strlen(key);
    const char *tagged = redis_ring_tagged(ring, key, &len);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(tagged, expected, len);
    assert_int_equal(_place(ring, key), _place(ring, expected));
}

static void test_tags(void **state)
{
    struct redis_ring_conf conf = {
        .distribution = REDIS_KETAMA, .tag = "$$", .endpoints = endpoints, .n_endpoints = 3};
    struct redis_ring *ring;
    assert_int_equal(redis_ring_new(&conf, &ring), 0);
    _check_tag(ring, "a$bc$d", "bc");
    _check_tag(ring, "a$$d$e$", "a$$d$e$");
    _check_tag(ring, "a$bc", "a$bc");
    _check_tag(ring, "{bc}", "{bc}");
    redis_ring_free(&ring);
    conf.tag[0] = conf.tag[1] = '\0';
    assert_int_equal(redis_ring_new(&conf, &ring), 0);
    _check_tag(ring, "{bc}", "{bc}");
    redis_ring_free(&ring);
}

static void test_one_endpoint_and_empty_keys(void **state)
{
    for (int distribution = 0; distribution <= REDIS_MAGLEV; ++distribution) {
        struct redis_ring *ring = _ring((enum redis_distribution)distribution, 1);
        for (unsigned i = 0; i < 100; ++i)
            assert_int_equal(redis_ring_endpoint(ring, _place_of_number(ring, i), NULL), 0);
        redis_ring_free(&ring);
        ring = _ring((enum redis_distribution)distribution, 5);
        assert_int_equal(redis_ring_place(ring, "", 0), 0);
        assert_int_equal(redis_ring_place(ring, NULL, 0), 0);
        assert_true(redis_ring_endpoint(ring, 0, NULL) < 5);
        redis_ring_free(&ring);
    }
}

/* Shorter names first, then by bytes; with each as often as its weight says. */
static void test_modula_order(void **state)
{
    static const struct redis_ring_endpoint servers[4] = {{"bb", 2}, {"c", 1}, {"aa", 1}, {"aaa", 1}};
    static const uint32_t expected[5] = {1, 2, 0, 0, 3}, without_aa[4] = {1, 0, 0, 3};
    static const bool ejected[4] = {false, false, true, false};
    const struct redis_ring_conf conf = {
        .distribution = REDIS_MODULA, .endpoints = servers, .n_endpoints = 4};
    struct redis_ring *ring;
    assert_int_equal(redis_ring_new(&conf, &ring), 0);
    for (uint32_t hash = 0; hash < 100; ++hash) {
        assert_int_equal(redis_ring_endpoint(ring, hash, NULL), expected[hash % 5]);
        assert_int_equal(redis_ring_endpoint(ring, hash, ejected), without_aa[hash % 4]);
    }
    assert_int_equal(redis_ring_endpoint(ring, UINT32_MAX, NULL), expected[UINT32_MAX % 5]);
    assert_true(redis_ring_same(ring, 2, 3));
    assert_false(redis_ring_same(ring, 1, 2));
    redis_ring_free(&ring);
}

static void test_default_names(void **state)
{
    assert_int_equal(redis_ring_default_name_len("10.0.0.1:6379"), 13);
    assert_int_equal(redis_ring_default_name_len("10.0.0.1:11211"), 8);
    assert_int_equal(redis_ring_default_name_len("10.0.0.1:1121"), 13);
    assert_int_equal(redis_ring_default_name_len("h:11211"), 1);
    assert_int_equal(redis_ring_default_name_len(":11211"), 6);
    assert_int_equal(redis_ring_default_name_len(""), 0);
}

/* Within a quarter of the fair share: ketama's 160 points deviate by 8 % on average. */
static void test_even(void **state)
{
    for (int distribution = 0; distribution <= REDIS_MAGLEV; ++distribution) {
        struct redis_ring *ring = _ring((enum redis_distribution)distribution, 5);
        uint32_t counts[5] = {0};
        for (unsigned i = 0; i < N_KEYS; ++i)
            ++counts[redis_ring_endpoint(ring, _place_of_number(ring, i), NULL)];
        for (unsigned i = 0; i < 5; ++i)
            assert_in_range(counts[i], N_KEYS / 5 * 3 / 4, N_KEYS / 5 * 5 / 4);
        redis_ring_free(&ring);
    }
}

/* Only the ejected endpoint's keys move, to more than one other where the ring is a mixture. */
static void test_ejection_moves_no_others(void **state)
{
    static const enum redis_distribution distributions[] = {REDIS_CRC16_SLOTS, REDIS_KETAMA, REDIS_MAGLEV};
    static const bool ejected[5] = {false, true, false, false, true};
    for (unsigned d = 0; d < 3; ++d) {
        struct redis_ring *ring = _ring(distributions[d], 5);
        uint32_t moved_to[5] = {0};
        for (unsigned i = 0; i < N_KEYS; ++i) {
            uint32_t place = _place_of_number(ring, i);
            uint32_t before = redis_ring_endpoint(ring, place, NULL);
            uint32_t after = redis_ring_endpoint(ring, place, ejected);
            if (!ejected[before])
                assert_int_equal(after, before);
            else
                ++moved_to[after];
        }
        assert_int_equal(moved_to[1] + moved_to[4], 0);
        if (distributions[d] == REDIS_CRC16_SLOTS) { /* 1 to 2, 4 to 0. */
            assert_true(moved_to[0] && moved_to[2]);
            assert_int_equal(moved_to[3], 0);
        } else {
            assert_true(moved_to[0] > N_KEYS / 20 && moved_to[2] > N_KEYS / 20 && moved_to[3] > N_KEYS / 20);
        }
        redis_ring_free(&ring);
    }
}

static void test_all_or_none_ejected(void **state)
{
    static const bool none[5] = {false}, all[5] = {true, true, true, true, true};
    for (int distribution = 0; distribution <= REDIS_MAGLEV; ++distribution) {
        struct redis_ring *ring = _ring((enum redis_distribution)distribution, 5);
        for (unsigned i = 0; i < 500; ++i) {
            uint32_t place = _place_of_number(ring, i), home = redis_ring_endpoint(ring, place, NULL);
            assert_int_equal(redis_ring_endpoint(ring, place, none), home);
            assert_int_equal(redis_ring_endpoint(ring, place, all), home);
        }
        redis_ring_free(&ring);
    }
}

/* The only live endpoint has no point of the continuum. */
static void test_live_without_a_point(void **state)
{
    static const bool ejected[2] = {false, true};
    endpoints[1].weight = 1000;
    struct redis_ring *ring = _ring(REDIS_KETAMA, 2);
    for (unsigned i = 0; i < 1000; ++i) {
        uint32_t place = _place_of_number(ring, i);
        assert_int_equal(redis_ring_endpoint(ring, place, NULL), 1);
        assert_int_equal(redis_ring_endpoint(ring, place, ejected), 0);
    }
    redis_ring_free(&ring);
}

static int _setup(void **state)
{
    for (unsigned i = 0; i < N_MAX; ++i) {
        snprintf(names[i], sizeof(names[i]), "10.0.%u.%u:6379", i / 256, i % 256);
        endpoints[i] = (struct redis_ring_endpoint){names[i], 1};
    }

    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_ranges_of_slots, _setup),
        cmocka_unit_test_setup(test_every_slot_has_an_endpoint, _setup),
        cmocka_unit_test_setup(test_slots_use_redis_tags_only, _setup),
        cmocka_unit_test_setup(test_tags, _setup),
        cmocka_unit_test_setup(test_one_endpoint_and_empty_keys, _setup),
        cmocka_unit_test_setup(test_modula_order, _setup),
        cmocka_unit_test_setup(test_default_names, _setup),
        cmocka_unit_test_setup(test_even, _setup),
        cmocka_unit_test_setup(test_ejection_moves_no_others, _setup),
        cmocka_unit_test_setup(test_all_or_none_ejected, _setup),
        cmocka_unit_test_setup(test_live_without_a_point, _setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
