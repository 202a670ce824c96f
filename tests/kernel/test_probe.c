/*
 * Hazard: kernels differ. The start-up self-test runs the programs over loopback, is quick enough
 * for every start, and leaves nothing behind.
 */
#include "kernel_helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SELFTEST_NS_MAX 300000000ULL

static void test_passes_quickly(void **state)
{
    struct bench *b = *state;
    char why[256] = "";
    for (int i = 0; i < 10; i++) {
        uint64_t start = bench_now();
        int r = kernel_selftest(b->k, why, sizeof(why));
        uint64_t took = bench_now() - start;
        if (r)
            fail_msg("%s", why);
        assert_true(took < SELFTEST_NS_MAX);
    }
}

static void test_leaves_nothing(void **state)
{
    struct bench *b = *state;
    char why[256];
    struct kernel_listener_stats stats;
    struct kernel_endpoint_stats endpoint;
    static const struct pool empty;
    assert_int_equal(kernel_selftest(b->k, why, sizeof(why)), 0);
    kernel_listener_stats(b->k, 0, &stats);
    kernel_endpoint_stats(b->k, 0, &endpoint);
    assert_int_equal(stats.requests + stats.responses + stats.request_bytes + stats.response_bytes, 0);
    assert_int_equal(endpoint.requests + endpoint.responses, 0);
    for (size_t i = 0; i < _FALLBACK_MAX; i++)
        assert_int_equal(stats.fallback[i], 0);
    assert_memory_equal(&b->k->pools[0], &empty, sizeof(empty));
    for (uint32_t slot = 0; slot < b->k->n_slots; slot++)
        assert_false(bench_in_socks(b, slot));
}

static void test_report(void **state)
{
    char *text = NULL;
    size_t len = 0;
    (void)state;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    int r = kernel_probe(out);
    fclose(out);
    bool available = strstr(text, "kernel path: available") != NULL;
    free(text);
    assert_int_equal(r, 0);
    assert_true(available);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_passes_quickly),
        BENCH_TEST(test_leaves_nothing),
        BENCH_TEST(test_report),
    };
    return BENCH_MAIN("probe", tests);
}
