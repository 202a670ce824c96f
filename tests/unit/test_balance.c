/*
 * The exact choice of an endpoint: every policy with every state, tried endpoints, the last resort.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "conf_helper.h"
#include "proxy/balance.h"
#include "proxy/endpoint.h"

#define N 4

/** How far counts of DRAWS draws may be off: more than six standard deviations. */
#define DRAWS  20000
#define OFF_BY 450

static const char *const _policies[] = {"round_robin", "random", "least_request",
                                        "maglev, hash_on: { source_address: true }"};
#define POLICIES 4

static struct runtime *_runtime(const char *policy, const unsigned weights[N])
{
    char text[1024];
    struct runtime *rt = NULL;
    int n = snprintf(text, sizeof(text),
                     "listeners:\n  - name: web\n    address: \"127.0.0.1:8080\"\n"
                     "    routes: [ { match: { path_prefix: / }, cluster: c } ]\n"
                     "clusters:\n  - { name: c, lb_policy: %s, endpoints: [",
                     policy);
    for (int i = 0; i < N; i++)
        n += snprintf(text + n, sizeof(text) - (size_t)n, "%s { address: \"127.0.0.1:%d\", weight: %u }",
                      i ? "," : "", 9001 + i, weights[i]);
    snprintf(text + n, sizeof(text) - (size_t)n, " ] }\n");
    struct loaded l = conf_load_text(text);
    if (l.r)
        fail_msg("%s", l.errors);
    assert_int_equal(runtime_new(l.conf, &rt), 0);
    free(l.errors);
    for (int i = 0; i < N; i++)
        endpoint_set(rt->clusters[0].endpoints[i].id, ~0ULL, false);
    return rt;
}

static void _set(struct runtime *rt, int i, uint64_t bits)
{
    uint32_t id = rt->clusters[0].endpoints[i].id;
    endpoint_set(id, ~0ULL, false);
    endpoint_set(id, bits, true);
}

/* Index of the endpoint that a request with this hash gets, -1 for none. */
static int _pick(struct runtime *rt, uint32_t hash, const struct balance_request *more)
{
    struct balance_request r = more ? *more : (struct balance_request){0};
    r.hash = hash;
    r.has_hash = true;
    const struct rt_endpoint *e = balance_pick(&rt->clusters[0], &r);
    return e ? (int)(e - rt->clusters[0].endpoints) : -1;
}

static void _count(struct runtime *rt, unsigned chosen[N], unsigned n, const struct balance_request *more)
{
    memset(chosen, 0, N * sizeof(*chosen));
    for (unsigned i = 0; i < n; i++) {
        int e = _pick(rt, i * 2654435761U, more);
        assert_true(e >= 0);
        chosen[e]++;
    }
}

static void _about(unsigned n, unsigned expected)
{
    assert_in_range(n, expected - OFF_BY, expected + OFF_BY);
}

static const unsigned _equal[N] = {1, 1, 1, 1};

/* Whatever is not in use gets nothing while there is anything else, by every policy. */
static void test_states(void **state)
{
    static const uint64_t bits[] = {ENDPOINT_EJECTED, ENDPOINT_UNHEALTHY, ENDPOINT_DRAIN, ENDPOINT_DRAIN_CONF,
                                    ENDPOINT_REMOVED};
    unsigned chosen[N];
    for (int p = 0; p < POLICIES; p++) {
        struct runtime *rt = _runtime(_policies[p], _equal);
        for (size_t b = 0; b < 5; b++) {
            for (int out = 1; out < 15; out++) { /* Every set but none and all. */
                for (int i = 0; i < N; i++)
                    _set(rt, i, out >> i & 1 ? bits[b] : 0);
                _count(rt, chosen, 400, NULL);
                for (int i = 0; i < N; i++) {
                    assert_int_equal(chosen[i] == 0, out >> i & 1);
                    assert_int_equal(balance_in_use(&rt->clusters[0].endpoints[i]), !(out >> i & 1));
                }
            }
        }
        runtime_unref(&rt);
    }
}

/* With nobody in use: those that are only suspected; then removed ones; never those that drain. */
static void test_last_resort(void **state)
{
    unsigned chosen[N];
    for (int p = 0; p < POLICIES; p++) {
        struct runtime *rt = _runtime(_policies[p], _equal);
        _set(rt, 0, ENDPOINT_EJECTED);
        _set(rt, 1, ENDPOINT_UNHEALTHY | ENDPOINT_EJECTED);
        _set(rt, 2, ENDPOINT_EJECTED | ENDPOINT_DRAIN);
        _set(rt, 3, ENDPOINT_REMOVED);
        _count(rt, chosen, 400, NULL);
        assert_true(chosen[0] && chosen[1] && !chosen[2] && !chosen[3]);
        for (int i = 0; i < 3; i++)
            _set(rt, i, ENDPOINT_DRAIN_CONF);
        _count(rt, chosen, 100, NULL);
        assert_int_equal(chosen[3], 100);
        _set(rt, 3, ENDPOINT_DRAIN | ENDPOINT_REMOVED);
        assert_int_equal(_pick(rt, 7, NULL), -1);
        runtime_unref(&rt);
    }
}

static void test_tried(void **state)
{
    unsigned chosen[N];
    for (int p = 0; p < POLICIES; p++) {
        struct runtime *rt = _runtime(_policies[p], _equal);
        const struct rt_endpoint *e = rt->clusters[0].endpoints;
        struct balance_request r = {.n_tried = 2, .tried = {e[0].id, e[2].id}};
        _count(rt, chosen, 400, &r);
        assert_true(!chosen[0] && chosen[1] && !chosen[2] && chosen[3]);
        /* A suspect that was not tried is better than one that has just refused. */
        _set(rt, 1, ENDPOINT_EJECTED);
        _set(rt, 3, ENDPOINT_DRAIN);
        _count(rt, chosen, 100, &r);
        assert_int_equal(chosen[1], 100);
        _set(rt, 1, ENDPOINT_DRAIN);
        _count(rt, chosen, 400, &r);
        assert_true(chosen[0] && chosen[2]);
        runtime_unref(&rt);
    }
}

static void test_random(void **state)
{
    static const unsigned weights[N] = {4, 1, 3, 2};
    struct runtime *rt = _runtime("random", weights);
    unsigned chosen[N];
    _count(rt, chosen, DRAWS, NULL);
    for (int i = 0; i < N; i++)
        _about(chosen[i], weights[i] * DRAWS / 10);
    _set(rt, 3, ENDPOINT_EJECTED);
    _count(rt, chosen, DRAWS, NULL);
    for (int i = 0; i < 3; i++)
        _about(chosen[i], weights[i] * DRAWS / 8);
    runtime_unref(&rt);
}

/* Without a hash maglev chooses by chance. */
static void test_maglev_without_hash(void **state)
{
    static const unsigned weights[N] = {2, 1, 1, 1};
    struct runtime *rt = _runtime(_policies[3], weights);
    unsigned chosen[N] = {0};
    struct balance_request r = {0};
    for (unsigned i = 0; i < DRAWS; i++)
        chosen[balance_pick(&rt->clusters[0], &r) - rt->clusters[0].endpoints]++;
    for (int i = 0; i < N; i++)
        _about(chosen[i], weights[i] * DRAWS / 5);
    runtime_unref(&rt);
}

/* Keys follow the weights; those of an endpoint that is out of use move, the others stay. */
static void test_maglev(void **state)
{
    static const unsigned weights[N] = {1, 2, 3, 4};
    struct runtime *rt = _runtime(_policies[3], weights);
    unsigned chosen[N];
    _count(rt, chosen, DRAWS, NULL);
    for (int i = 0; i < N; i++)
        _about(chosen[i], weights[i] * DRAWS / 10);
    for (uint32_t key = 0; key < 5000; key++) {
        uint32_t hash = key * 2654435761U;
        _set(rt, 2, 0);
        int before = _pick(rt, hash, NULL);
        _set(rt, 2, ENDPOINT_UNHEALTHY);
        int after = _pick(rt, hash, NULL);
        assert_int_equal(after, _pick(rt, hash, NULL));
        assert_int_not_equal(after, 2);
        if (before != 2)
            assert_int_equal(after, before);
    }
    runtime_unref(&rt);
}

/* Requests that last: the outstanding ones are spread as the weights say, to within one or two, and
 * each new one goes to the lighter of two. */
static void test_least_request(void **state)
{
    static const unsigned weights[N] = {1, 2, 3, 4};
    struct runtime *rt = _runtime("least_request", weights);
    const struct rt_endpoint *e = rt->clusters[0].endpoints;
    for (int i = 0; i < 400; i++)
        endpoint_count(e[_pick(rt, 0, NULL)].id);
    for (int i = 0; i < N; i++)
        assert_in_range(endpoint_outstanding(e[i].id), weights[i] * 40 - 12, weights[i] * 40 + 12);
    for (int i = 0; i < N; i++) {
        while (endpoint_outstanding(e[i].id))
            endpoint_uncount(e[i].id);
    }
    /* With two left nothing is up to chance. */
    _set(rt, 0, ENDPOINT_EJECTED);
    _set(rt, 1, ENDPOINT_EJECTED);
    for (int i = 0; i < 700; i++) {
        int at = _pick(rt, 0, NULL);
        uint64_t a = endpoint_outstanding(e[2].id) + 1, b = endpoint_outstanding(e[3].id) + 1;
        assert_true(at == 2 ? a * 4 <= b * 3 : b * 3 <= a * 4);
        endpoint_count(e[at].id);
    }
    assert_in_range(endpoint_outstanding(e[2].id), 299, 301);
    for (int i = 0; i < N; i++) {
        while (endpoint_outstanding(e[i].id))
            endpoint_uncount(e[i].id);
    }
    runtime_unref(&rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),        cmocka_unit_test(test_last_resort),
        cmocka_unit_test(test_tried),         cmocka_unit_test(test_random),
        cmocka_unit_test(test_maglev),        cmocka_unit_test(test_maglev_without_hash),
        cmocka_unit_test(test_least_request),
    };
    return cmocka_run_group_tests_name("balance", tests, conf_enter_dir, conf_leave_dir);
}
