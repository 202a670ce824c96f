/*
 * Routes, weighted round robin, ids and references of a configuration in use.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>

#include "conf_helper.h"
#include "proxy/balance.h"
#include "proxy/runtime.h"

#define CLUSTER "clusters:\n  - name: a\n    endpoints: [ { address: \"127.0.0.1:9001\" } ]\n"

static struct runtime *_runtime(const char *text)
{
    struct loaded l = conf_load_text(text);
    struct runtime *rt = NULL;
    if (l.r)
        fail_msg("%s", l.errors);
    assert_int_equal(runtime_new(l.conf, &rt), 0);
    free(l.errors);
    return rt;
}

static const struct balance_request _anyone;

/* Number of the first route that matches, -1 without. */
static int _route(const struct runtime *rt, const char *host, const char *path)
{
    const struct rt_listener *l = &rt->listeners[0];
    const struct conf_route *r = runtime_route(l, host, strlen(host), path, strlen(path));
    return r ? (int)(r - l->conf->routes) : -1;
}

static void test_first_route_wins(void **state)
{
    struct runtime *rt = _runtime("listeners:\n"
                                  "  - name: web\n"
                                  "    address: \"127.0.0.1:8080\"\n"
                                  "    routes:\n"
                                  "      - { match: { host: a.example, path: /x }, cluster: a }\n"
                                  "      - { match: { host: a.example, path_prefix: /x }, cluster: a }\n"
                                  "      - { match: { path_prefix: /x/y }, cluster: a }\n"
                                  "      - { match: { path: /z }, cluster: a }\n"
                                  "      - { match: { host: b.example, path_prefix: / }, cluster: a }\n"
                                  "      - { match: { path_prefix: /x/y/z }, cluster: a }\n" CLUSTER);
    assert_int_equal(_route(rt, "a.example", "/x"), 0);
    assert_int_equal(_route(rt, "a.example", "/x/"), 1);
    assert_int_equal(_route(rt, "a.example", "/xy"), 1);
    assert_int_equal(_route(rt, "a.example", "/x/y/z"), 1);
    assert_int_equal(_route(rt, "b.example", "/x/y/z"), 2);
    assert_int_equal(_route(rt, "b.example", "/x"), 4);
    assert_int_equal(_route(rt, "", "/x/y"), 2);
    assert_int_equal(_route(rt, "", "/x/"), -1);
    assert_int_equal(_route(rt, "c.example", "/z"), 3);
    assert_int_equal(_route(rt, "c.example", "/z/"), -1);
    assert_int_equal(_route(rt, "c.example", "/Z"), -1);
    assert_int_equal(_route(rt, "a.example", "/"), -1);
    assert_int_equal(_route(rt, "a.example", "/X"), -1);
    assert_int_equal(_route(rt, "a.example", ""), -1);
    runtime_unref(&rt);
}

static void test_host_in_any_case(void **state)
{
    struct runtime *rt =
        _runtime("listeners:\n"
                 "  - name: web\n"
                 "    address: \"127.0.0.1:8080\"\n"
                 "    routes:\n"
                 "      - { match: { host: \"API.Example\", path_prefix: / }, cluster: a }\n" CLUSTER);
    assert_int_equal(_route(rt, "api.example", "/"), 0);
    assert_int_equal(_route(rt, "API.EXAMPLE", "/"), 0);
    assert_int_equal(_route(rt, "aPi.eXample", "/"), 0);
    assert_int_equal(_route(rt, "api.example.", "/"), -1);
    assert_int_equal(_route(rt, "api.exampl", "/"), -1);
    assert_int_equal(_route(rt, "api.examples", "/"), -1);
    assert_int_equal(_route(rt, "", "/"), -1);
    /* The request's host is no C string: what follows it does not matter. */
    assert_non_null(runtime_route(&rt->listeners[0], "api.example:80", 11, "/?q", 1));
    runtime_unref(&rt);
}

/* The addresses differ by port: 9100 and up. */
static struct runtime *_weighted(const uint32_t *weights, size_t n)
{
    char text[4096];
    int at = snprintf(text, sizeof(text),
                      "listeners:\n  - name: web\n    address: \"127.0.0.1:8080\"\n"
                      "    routes: [ { match: { path_prefix: / }, cluster: w } ]\n"
                      "clusters:\n  - name: w\n    endpoints:\n");
    for (size_t i = 0; i < n; i++)
        at += snprintf(text + at, sizeof(text) - (size_t)at,
                       "      - { address: \"127.0.0.1:%zu\", weight: %u }\n", 9100 + i, weights[i]);
    return _runtime(text);
}

/* Every period has each endpoint exactly as often as its weight says, and at any time none is
 * a whole turn or more away from its share: that is what "smooth" promises for two endpoints;
 * for more, the bound is the number of endpoints less one. */
static void _check_weights(const uint32_t *weights, size_t n, uint32_t period)
{
    struct runtime *rt = _weighted(weights, n);
    struct rt_cluster *c = &rt->clusters[0];
    uint32_t seen[16] = {0}, total = 0;
    for (size_t i = 0; i < n; i++)
        total += weights[i];
    assert_int_equal(c->schedule_len, period);
    for (uint32_t step = 1; step <= 3 * period; step++) {
        const struct rt_endpoint *e = balance_pick(c, &_anyone);
        seen[e - c->endpoints]++;
        for (size_t i = 0; i < n; i++) {
            int64_t off = (int64_t)seen[i] * total - (int64_t)step * weights[i];
            assert_true(off < (int64_t)total * (int64_t)(n > 1 ? n - 1 : 1));
            assert_true(-off < (int64_t)total * (int64_t)(n > 1 ? n - 1 : 1));
        }
        for (size_t i = 0; i < n && step % period == 0; i++)
            assert_int_equal((uint64_t)seen[i] * total, (uint64_t)step * weights[i]);
    }
    runtime_unref(&rt);
}

#define CHECK_WEIGHTS(period, ...)                                                                           \
    do {                                                                                                     \
        const uint32_t weights[] = {__VA_ARGS__};                                                            \
        _check_weights(weights, sizeof(weights) / sizeof(weights[0]), period);                               \
    } while (0)

static void test_weights(void **state)
{
    CHECK_WEIGHTS(1, 1);
    CHECK_WEIGHTS(1, 1000);
    CHECK_WEIGHTS(2, 1, 1);
    CHECK_WEIGHTS(3, 7, 7, 7);
    CHECK_WEIGHTS(3, 200, 100);
    CHECK_WEIGHTS(7, 5, 1, 1);
    CHECK_WEIGHTS(10, 1, 2, 3, 4);
    CHECK_WEIGHTS(10, 40, 30, 20, 10);
    CHECK_WEIGHTS(1999, 1000, 999);
    CHECK_WEIGHTS(1001, 1000, 1);
    CHECK_WEIGHTS(31, 1, 2, 4, 8, 16);
    CHECK_WEIGHTS(8, 1, 1, 1, 1, 1, 1, 1, 1);
}

/* The order that nginx' algorithm is known by: a heavy endpoint is spread, not sent in a row. */
static void test_order_is_smooth(void **state)
{
    const uint32_t weights[] = {5, 1, 1};
    const char expected[] = "0010200";
    struct runtime *rt = _weighted(weights, 3);
    struct rt_cluster *c = &rt->clusters[0];
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(balance_pick(c, &_anyone) - c->endpoints, expected[i] - '0');
    runtime_unref(&rt);
}

static void test_position_may_be_elsewhere(void **state)
{
    const uint32_t weights[] = {1, 1};
    struct runtime *rt = _weighted(weights, 2);
    struct rt_cluster *c = &rt->clusters[0];
    atomic_uint elsewhere = 7;
    c->position = &elsewhere;
    assert_int_equal(balance_pick(c, &_anyone)->id, c->endpoints[1].id);
    assert_int_equal(balance_pick(c, &_anyone)->id, c->endpoints[0].id);
    assert_int_equal(elsewhere, 9);
    assert_int_equal(c->own_position, 0);
    runtime_unref(&rt);
}

static const char _two[] =
    "listeners:\n"
    "  - name: web\n"
    "    address: \"127.0.0.1:8080\"\n"
    "    routes: [ { match: { path_prefix: / }, cluster: a } ]\n"
    "  - name: api\n"
    "    address: \"127.0.0.1:8081\"\n"
    "    routes: [ { match: { path_prefix: / }, cluster: b } ]\n"
    "clusters:\n"
    "  - name: a\n"
    "    endpoints: [ { address: \"127.0.0.1:9201\" }, { address: \"127.0.0.1:9202\" } ]\n"
    "  - name: b\n"
    "    endpoints: [ { address: \"127.0.0.1:9202\" }, { address: \"[::1]:9202\" } ]\n";

/* The same listeners and addresses in another order, and one that is new. */
static const char _reordered[] =
    "listeners:\n"
    "  - name: api\n"
    "    address: \"127.0.0.1:8081\"\n"
    "    routes: [ { match: { path_prefix: / }, cluster: b } ]\n"
    "  - name: web\n"
    "    address: \"127.0.0.1:8080\"\n"
    "    routes: [ { match: { path_prefix: / }, cluster: a } ]\n"
    "clusters:\n"
    "  - name: b\n"
    "    endpoints: [ { address: \"[::1]:9202\" }, { address: \"127.0.0.1:9202\", weight: 7 } ]\n"
    "  - name: a\n"
    "    endpoints: [ { address: \"127.0.0.1:9203\" }, { address: \"127.0.0.1:9201\" } ]\n";

static void test_ids_survive_reloads(void **state)
{
    struct runtime *old = _runtime(_two), *new = _runtime(_reordered);
    const struct rt_cluster *a = &old->clusters[0], *b = &old->clusters[1];
    assert_int_equal(a->endpoints[1].id, b->endpoints[0].id);
    assert_int_not_equal(a->endpoints[0].id, a->endpoints[1].id);
    assert_int_not_equal(b->endpoints[0].id, b->endpoints[1].id);
    assert_int_equal(new->clusters[0].endpoints[0].id, b->endpoints[1].id);
    assert_int_equal(new->clusters[0].endpoints[1].id, b->endpoints[0].id);
    assert_int_equal(new->clusters[1].endpoints[1].id, a->endpoints[0].id);
    for (size_t i = 0; i < 2; i++) {
        assert_int_not_equal(new->clusters[1].endpoints[0].id, a->endpoints[i].id);
        assert_int_not_equal(new->clusters[1].endpoints[0].id, b->endpoints[i].id);
    }
    assert_int_equal(old->listeners[0].id, new->listeners[1].id);
    assert_int_equal(old->listeners[1].id, new->listeners[0].id);
    assert_int_not_equal(old->listeners[0].id, old->listeners[1].id);
    assert_ptr_equal(new->listeners[0].runtime, new);
    uint32_t id = a->endpoints[0].id;
    assert_string_equal(runtime_endpoint_name(id), "127.0.0.1:9201");
    assert_string_equal(runtime_listener_name(old->listeners[0].id), "web");
    runtime_unref(&old);
    runtime_unref(&new);
    assert_string_equal(runtime_endpoint_name(id), "127.0.0.1:9201");
    assert_null(runtime_endpoint_name(RUNTIME_ENDPOINTS_MAX - 1));
    assert_null(runtime_endpoint_name(RUNTIME_ENDPOINTS_MAX));
    assert_null(runtime_listener_name(RUNTIME_LISTENERS_MAX));
    assert_null(runtime_endpoint_name(UINT32_MAX));
}

static void test_kernel_ids_are_unset(void **state)
{
    struct runtime *rt = _runtime(_two);
    assert_int_equal(rt->listeners[0].kernel_id, UINT32_MAX);
    assert_int_equal(rt->clusters[0].kernel_id, UINT32_MAX);
    assert_ptr_equal(rt->clusters[0].position, &rt->clusters[0].own_position);
    runtime_unref(&rt);
}

static void test_references(void **state)
{
    struct runtime *rt = _runtime(_two), *second = runtime_ref(rt), *third = runtime_ref(rt);
    assert_ptr_equal(second, rt);
    assert_int_equal(rt->refs, 3);
    runtime_unref(&rt);
    assert_null(rt);
    assert_int_equal(second->refs, 2);
    runtime_unref(&second);
    assert_string_equal(third->conf->listeners[0].name, "web");
    runtime_unref(&third);
    assert_null(third);
    runtime_unref(&third);
}

/* Runs last: afterwards no new listener name can be registered in this process. */
static void test_too_many_listeners(void **state)
{
    char text[256];
    int r = 0;
    for (int i = 0; i <= RUNTIME_LISTENERS_MAX && !r; i++) {
        snprintf(text, sizeof(text),
                 "listeners:\n  - name: n%d\n    address: \"127.0.0.1:8080\"\n    routes: [ { match: { "
                 "path_prefix: / }, "
                 "respond: { status: 200 } } ]\n",
                 i);
        struct loaded l = conf_load_text(text);
        struct runtime *rt = NULL;
        assert_int_equal(l.r, 0);
        r = runtime_new(l.conf, &rt);
        assert_int_equal(!r, rt != NULL);
        if (!r)
            l.conf = NULL;
        runtime_unref(&rt);
        conf_unload(&l);
    }
    assert_int_equal(r, -ENOSPC);
    struct runtime *rt = _runtime(_two); /* Known names still work. */
    runtime_unref(&rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_route_wins),
        cmocka_unit_test(test_host_in_any_case),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_order_is_smooth),
        cmocka_unit_test(test_position_may_be_elsewhere),
        cmocka_unit_test(test_ids_survive_reloads),
        cmocka_unit_test(test_kernel_ids_are_unset),
        cmocka_unit_test(test_references),
        cmocka_unit_test(test_too_many_listeners),
    };
    return cmocka_run_group_tests(tests, conf_enter_dir, conf_leave_dir);
}
