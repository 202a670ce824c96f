/*
 * Endpoints' state, what a configuration says of it, ejection and its end, the count of requests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <event2/event.h>
#include <stdlib.h>
#include <time.h>

#include "conf_helper.h"
#include "proxy/endpoint.h"
#include "proxy/log.h"
#include "proxy/runtime.h"

#define MS 1000000ULL

static struct runtime *_runtime(const char *endpoints)
{
    char text[1024];
    struct runtime *rt = NULL;
    snprintf(text, sizeof(text),
             "listeners:\n  - name: web\n    address: \"127.0.0.1:8080\"\n"
             "    routes: [ { match: { path_prefix: / }, cluster: c } ]\n"
             "clusters:\n  - name: c\n    endpoints: [ %s ]\n"
             "  - { name: d, lb_policy: ketama, endpoints: [ { address: \"127.0.0.1:9999\" } ] }\n",
             endpoints);
    struct loaded l = conf_load_text(text);
    if (l.r)
        fail_msg("%s", l.errors);
    assert_int_equal(runtime_new(l.conf, &rt), 0);
    free(l.errors);
    return rt;
}

#define A "{ address: \"127.0.0.1:9001\" }"
#define B "{ address: \"127.0.0.1:9002\" }"

static void test_configuration(void **state)
{
    struct runtime *both = _runtime(A ", " B),
                   *one = _runtime("{ address: \"127.0.0.1:9001\", drain: true }");
    uint32_t a = both->clusters[0].endpoints[0].id, b = both->clusters[0].endpoints[1].id;
    endpoint_configure(both);
    assert_int_equal(endpoint_state(a) | endpoint_state(b), 0);
    endpoint_set(b, ENDPOINT_DRAIN, true);
    endpoint_configure(one);
    assert_int_equal(endpoint_state(a), ENDPOINT_DRAIN_CONF);
    assert_int_equal(endpoint_state(b), ENDPOINT_DRAIN | ENDPOINT_REMOVED);
    endpoint_configure(both);
    assert_int_equal(endpoint_state(a), 0);
    assert_int_equal(endpoint_state(b), ENDPOINT_DRAIN); /* Said by somebody else. */
    endpoint_set(b, ENDPOINT_DRAIN, false);
    assert_int_equal(endpoint_state(b), 0);
    assert_int_equal(runtime_find_http_endpoint(both, "127.0.0.1:9002"), b);
    assert_int_equal(runtime_find_http_endpoint(one, "127.0.0.1:9002"), -1);
    assert_int_equal(runtime_find_http_endpoint(both, "127.0.0.1:9999"), -1); /* A Redis server. */
    runtime_unref(&both);
    runtime_unref(&one);
}

static void test_count(void **state)
{
    uint64_t shared_state[RUNTIME_ENDPOINTS_MAX] = {0};
    static struct endpoint_load shared[RUNTIME_ENDPOINTS_MAX];
    endpoint_count(3);
    endpoint_count(3);
    assert_int_equal(endpoint_outstanding(3), 2);
    endpoint_uncount(3);
    endpoint_uncount(3);
    assert_int_equal(endpoint_outstanding(3), 0);
    endpoint_share(shared_state, shared);
    endpoint_count(3);
    endpoint_set(3, ENDPOINT_EJECTED, true);
    assert_int_equal(shared[3].outstanding, 1);
    assert_int_equal(shared_state[3], ENDPOINT_EJECTED);
    endpoint_share(NULL, NULL);
    assert_int_equal(endpoint_outstanding(3), 0);
    assert_int_equal(endpoint_state(3), 0);
}

static uint64_t _now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

/* Turns the loop until the endpoint's state is this. @return When it was. */
static uint64_t _await_state(struct event_base *base, uint32_t id, uint64_t bits)
{
    uint64_t end = _now() + 10000 * MS;
    while (endpoint_state(id) != bits && _now() < end)
        event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(endpoint_state(id), bits);
    return _now();
}

static void test_ejection(void **state)
{
    struct conf_ejection e = {.max_failures = 3, .retry_after = 200 * MS};
    struct event_base *base = event_base_new();
    struct runtime *rt = _runtime(A ", " B);
    uint32_t id = rt->clusters[0].endpoints[0].id, other = rt->clusters[0].endpoints[1].id;
    log_set_level(LOG_LEVEL_ERROR);
    assert_int_equal(endpoint_start(base), 0);
    /* Three in a row. */
    assert_false(endpoint_failed(id, &e, "x"));
    assert_false(endpoint_failed(id, &e, "x"));
    endpoint_answered(id);
    assert_false(endpoint_failed(id, &e, "x"));
    assert_false(endpoint_failed(id, &e, "x"));
    assert_int_equal(endpoint_state(id), 0);
    uint64_t since = _now();
    assert_true(endpoint_failed(id, &e, "x"));
    assert_false(endpoint_failed(id, &e, "x")); /* It is ejected already. */
    assert_int_equal(endpoint_state(id), ENDPOINT_EJECTED);
    assert_true(endpoint_ejected(id));
    assert_int_equal(endpoint_state(other), 0);
    /* It is tried again after its time, and one more failure is enough. */
    assert_true(_await_state(base, id, 0) - since >= e.retry_after);
    assert_false(endpoint_ejected(id));
    since = _now();
    assert_true(endpoint_failed(id, &e, "x"));
    assert_true(_await_state(base, id, 0) - since >= e.retry_after);
    /* An answer ends the ejection, and failures begin anew. */
    assert_true(endpoint_failed(id, &e, "x"));
    endpoint_answered(id);
    assert_int_equal(endpoint_state(id), 0);
    assert_false(endpoint_failed(id, &e, "x"));
    assert_int_equal(endpoint_start(NULL), 0);
    event_base_free(base);
    runtime_unref(&rt);
}

/* Failures that are far apart are not in a row: the kernel path's answers are not seen. */
static void test_far_apart(void **state)
{
    struct conf_ejection e = {.max_failures = 2, .retry_after = 1}, never = {.max_failures = 0};
    struct runtime *rt = _runtime("{ address: \"127.0.0.1:9003\" }");
    uint32_t id = rt->clusters[0].endpoints[0].id;
    for (int i = 0; i < 5; i++) {
        uint64_t at = _now();
        assert_false(endpoint_failed(id, &e, "x"));
        while (_now() <= at + 1000)
            ;
    }
    for (int i = 0; i < 10; i++)
        assert_false(endpoint_failed(id, &never, "x"));
    assert_int_equal(endpoint_state(id), 0);
    runtime_unref(&rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_configuration), cmocka_unit_test(test_count),
                                       cmocka_unit_test(test_ejection), cmocka_unit_test(test_far_apart)};
    return cmocka_run_group_tests_name("endpoint", tests, conf_enter_dir, conf_leave_dir);
}
