/*
 * Hazard: kernels differ. The start-up self-test runs the programs over loopback, is quick enough
 * for every start, and leaves nothing behind.
 */
#include "kernel_helper.h"

#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/probe.h"

#define SELFTEST_NS_MAX 300000000ULL

/* A run may be held up by what else the machine does. */
#define DELAYED_NS_MAX 2000000000ULL
#define RUNS           10

static void _run(struct bench *b, struct probe *p)
{
    memset(p, 0, sizeof(*p));
    int r = kernel_selftest(b->k, p);
    for (size_t i = 0; i < p->n; i++) {
        if (p->checks[i].verdict == PROBE_FAILED)
            print_error("%s: %s\n", p->checks[i].name, p->checks[i].why);
    }
    assert_int_equal(r, 0);
    assert_int_equal(b->k->unsafe, 0);
}

static void test_passes_quickly(void **state)
{
    struct bench *b = *state;
    struct probe p;
    uint64_t fastest = UINT64_MAX;
    for (int i = 0; i < RUNS; i++) {
        uint64_t start = bench_now();
        _run(b, &p);
        uint64_t took = bench_now() - start;
        assert_true(took < DELAYED_NS_MAX);
        /* What it says of its time is the time it takes. */
        assert_true(p.loopback_ns <= took && p.loopback_ns == p.ns);
        fastest = took < fastest ? took : fastest;
    }
    assert_true(fastest < SELFTEST_NS_MAX);
}

static void test_leaves_nothing(void **state)
{
    struct bench *b = *state;
    struct probe p;
    struct kernel_listener_stats stats;
    struct kernel_endpoint_stats endpoint;
    static const struct pool empty;
    _run(b, &p);
    kernel_listener_stats(b->k, 0, &stats);
    kernel_endpoint_stats(b->k, 0, &endpoint);
    assert_int_equal(stats.requests + stats.responses + stats.request_bytes + stats.response_bytes, 0);
    assert_int_equal(endpoint.requests + endpoint.responses, 0);
    for (size_t i = 0; i < _FALLBACK_MAX; i++)
        assert_int_equal(stats.fallback[i], 0);
    assert_memory_equal(&b->k->pools[0], &empty, sizeof(empty));
    for (uint32_t slot = 0; slot < b->k->n_slots; slot++)
        assert_false(bench_in_socks(b, slot));
    for (uint32_t i = 0; i < REDIS_SLOTS; i++)
        assert_int_equal(b->k->rings[0].endpoint[i], 0);
}

/* Every check has a name of its own, and a verdict; what can not be tried says why. */
static void test_verdicts(void **state)
{
    struct bench *b = *state;
    struct probe p;
    _run(b, &p);
    assert_true(p.n > 0);
    for (size_t i = 0; i < p.n; i++) {
        const struct probe_check *c = &p.checks[i];
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(c->name, p.checks[j].name);
        /* Nothing but IPv6 may be missing. */
        assert_true(c->verdict == PROBE_OK || (c->guards == GUARD_IPV6 && c->verdict == PROBE_SKIPPED));
        assert_int_equal(c->verdict == PROBE_SKIPPED, c->why[0] != 0);
        assert_true(c->ns > 0);
    }
}

static void test_report(void **state)
{
    char *text = NULL;
    size_t len = 0;
    struct probe p = {0};
    (void)state;
    FILE *out = open_memstream(&text, &len);
    assert_non_null(out);
    kernel_probe(&p);
    probe_print(&p, out);
    fclose(out);
    for (enum probe_guard g = 0; g < _GUARD_MAX; g++)
        assert_true(g >= GUARD_BYPASS || probe_available(&p, g)); /* The bypass path depends on the kernel. */
    assert_non_null(strstr(text, "kernel path (http): available\n"));
    assert_non_null(strstr(text, "kernel path (redis): available\n"));
    assert_non_null(strstr(text, "\nbypass path: "));
    for (size_t i = 0; i < p.n; i++)
        assert_non_null(strstr(text, p.checks[i].name));
    free(text);
}

/* Reasons hold whatever libbpf and the kernel say. */
static void test_json_of_any_reason(void **state)
{
    struct probe p = {0};
    (void)state;
    struct evbuffer *out = evbuffer_new();
    assert_non_null(out);
    probe_add(&p, "load", GUARD_KERNEL, PROBE_FAILED, "a \"quote\", a \\ and\na line", 1000);
    probe_json(&p, out);
    evbuffer_add(out, "", 1);
    const char *text = (const char *)evbuffer_pullup(out, -1);
    assert_non_null(strstr(text, "\"why\":\"a \\\"quote\\\", a \\\\ and\\u000aa line\""));
    assert_non_null(strstr(text, "\"http\":false,\"redis\":false,\"ipv6\":false"));
    evbuffer_free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_passes_quickly), BENCH_TEST(test_leaves_nothing),     BENCH_TEST(test_verdicts),
        BENCH_TEST(test_report),         BENCH_TEST(test_json_of_any_reason),
    };
    return BENCH_MAIN("probe", tests);
}
