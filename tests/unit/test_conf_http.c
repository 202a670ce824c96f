/*
 * What clusters for HTTP have: hashing, ejection, checks, draining.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "conf_rows.h"

#include "conf/units.h"

#define ENDPOINTS "endpoints: [ { address: \"127.0.0.1:2\" } ]"

static void _values(void **state)
{
    struct loaded l = conf_load_text(CLUSTERS(
        "  - { name: a, lb_policy: random, " ENDPOINTS " }\n"
        "  - name: b\n"
        "    lb_policy: maglev\n"
        "    hash_on: { header: X-User }\n"
        "    ejection: { max_failures: 0, retry_after: 250ms }\n"
        "    health_check: { path: \"/h?a=b\", interval: 2s, timeout: 500ms, unhealthy_threshold: 4,\n"
        "                    healthy_threshold: 1 }\n"
        "    endpoints:\n"
        "      - { address: \"127.0.0.1:3\", drain: true }\n"
        "      - { address: \"127.0.0.1:4\", drain: false }\n"
        "      - { address: \"127.0.0.1:5\" }\n"
        "  - { name: c, lb_policy: maglev, hash_on: { cookie: SID }, health_check: { path: / }, " ENDPOINTS
        " }\n"
        "  - { name: d, lb_policy: maglev, hash_on: { source_address: true }, "
        "health_check: { path: /, interval: 50ms }, " ENDPOINTS " }\n"
        "  - { name: e, lb_policy: least_request, " ENDPOINTS " }\n"
        "  - { name: f, lb_policy: maglev, " ENDPOINTS " }\n"));
    if (l.r)
        fail_msg("%s", l.errors);
    const struct conf_cluster *c = l.conf->clusters;
    assert_int_equal(c[0].lb_policy, CONF_RANDOM);
    assert_int_equal(c[0].ejection.max_failures, 3);
    assert_int_equal(c[0].ejection.retry_after, 10 * CONF_NS_PER_S);
    assert_null(c[0].http.health_check);
    assert_int_equal(c[1].http.hash_on, CONF_HASH_ON_HEADER);
    assert_string_equal(c[1].http.hash_name, "x-user");
    assert_int_equal(c[1].ejection.max_failures, 0);
    assert_int_equal(c[1].ejection.retry_after, 250 * CONF_NS_PER_MS);
    assert_string_equal(c[1].http.health_check->path, "/h?a=b");
    assert_int_equal(c[1].http.health_check->interval, 2 * CONF_NS_PER_S);
    assert_int_equal(c[1].http.health_check->timeout, 500 * CONF_NS_PER_MS);
    assert_int_equal(c[1].http.health_check->unhealthy_threshold, 4);
    assert_int_equal(c[1].http.health_check->healthy_threshold, 1);
    assert_true(c[1].endpoints[0].drain);
    assert_false(c[1].endpoints[1].drain);
    assert_false(c[1].endpoints[2].drain);
    assert_int_equal(c[2].http.hash_on, CONF_HASH_ON_COOKIE);
    assert_string_equal(c[2].http.hash_name, "SID");
    assert_int_equal(c[2].http.health_check->interval, 5 * CONF_NS_PER_S);
    assert_int_equal(c[2].http.health_check->timeout, CONF_NS_PER_S);
    assert_int_equal(c[2].http.health_check->unhealthy_threshold, 3);
    assert_int_equal(c[2].http.health_check->healthy_threshold, 2);
    assert_int_equal(c[3].http.hash_on, CONF_HASH_ON_SOURCE);
    assert_null(c[3].http.hash_name);
    assert_int_equal(c[3].http.health_check->timeout, 50 * CONF_NS_PER_MS);
    assert_int_equal(c[4].lb_policy, CONF_LEAST_REQUEST);
    for (size_t i = 0; i < 5; ++i)
        assert_false(conf_is_for_redis(&c[i]));
    assert_true(conf_is_for_redis(&c[5]));
    conf_unload(&l);
}

/* A cluster with its keys from line 9 on. */
#define KEYS(policy, keys) CLUSTERS("  - name: c\n" keys "    lb_policy: " policy "\n    " ENDPOINTS "\n")
#define ONE_SOURCE                                                                                           \
    "9: clusters[0].hash_on: not exactly one source, expected one of: header, cookie, source_address: true"
#define NAME_RULE " is not a name, expected 1 to 64 letters, digits or characters of !#$%&'*+-.^_`|~"
#define TEN       "aaaaaaaaaa"

static void _bad_hash_on(void **state)
{
    static const struct row rows[] = {
        {KEYS("round_robin", "    hash_on: { header: a }\n"),
         "9: clusters[0].hash_on: only with lb_policy maglev, expected no hash_on with lb_policy "
         "round_robin"},
        {KEYS("ketama", "    hash_on: { cookie: a }\n"),
         "9: clusters[0].hash_on: only with lb_policy maglev, expected no hash_on with lb_policy ketama"},
        {KEYS("maglev", "    hash_on: {}\n"), ONE_SOURCE},
        {KEYS("maglev", "    hash_on: { source_address: false }\n"), ONE_SOURCE},
        {KEYS("maglev", "    hash_on: { header: a, cookie: b }\n"), ONE_SOURCE},
        {KEYS("maglev", "    hash_on: { cookie: b, source_address: true }\n"), ONE_SOURCE},
        {KEYS("maglev", "    hash_on: { header: \"\" }\n"), "9: clusters[0].hash_on.header: \"\"" NAME_RULE},
        {KEYS("maglev", "    hash_on: { cookie: \"a=b\" }\n"),
         "9: clusters[0].hash_on.cookie: \"a=b\"" NAME_RULE},
        {KEYS("maglev", "    hash_on: { header: \"" TEN TEN TEN TEN TEN TEN "bbbbb\" }\n"),
         "9: clusters[0].hash_on.header: \"" TEN TEN TEN TEN "aaaaaaaa...\"" NAME_RULE},
        {KEYS("maglev", "    hash_on: { source_address: 1 }\n"),
         "9: clusters[0].hash_on.source_address: \"1\" is not known, expected one of: true, false"},
        {KEYS("maglev", "    hash_on: { header: a }\n    hash: md5\n"),
         "10: clusters[0].hash: only for clusters of redis listeners, expected lb_policy crc16_slots, "
         "ketama, "
         "modula or maglev"},
    };

    RUN(rows);
}

#define ONLY_HTTP                                                                                            \
    ": only for clusters of http listeners, expected lb_policy round_robin, random, least_request or "       \
    "maglev with hash_on"

static void _bad_health(void **state)
{
    static const struct row rows[] = {
        {KEYS("random", "    ejection: { max_failures: 1000001, retry_after: 0s }\n"),
         "9: clusters[0].ejection.max_failures: 1000001 is out of range, expected 0 to 1000000\n"
         "9: clusters[0].ejection.retry_after: \"0s\" is out of range, expected 1us to 24h"},
        {KEYS("random", "    health_check: { interval: 1s }\n"),
         "9: clusters[0].health_check.path: missing, expected a string"},
        {KEYS("random", "    health_check: { path: a, interval: 9ms }\n"),
         "9: clusters[0].health_check.path: \"a\" is not a request target, expected one that begins with / "
         "and has at most 1024 printable ASCII characters without space and #\n"
         "9: clusters[0].health_check.interval: \"9ms\" is out of range, expected 10ms to 24h"},
        {KEYS("random", "    health_check: { path: \"/a b\" }\n"),
         "9: clusters[0].health_check.path: \"/a b\" is not a request target, expected one that begins with "
         "/ and has at most 1024 printable ASCII characters without space and #"},
        {KEYS("random", "    health_check: { path: /, interval: 1s, timeout: 1001ms }\n"),
         "9: clusters[0].health_check.timeout: \"1001ms\" is out of range, expected 1ms to "
         "health_check.interval"},
        {KEYS("random", "    health_check: { path: /, unhealthy_threshold: 0, healthy_threshold: 1001 }\n"),
         "9: clusters[0].health_check.unhealthy_threshold: 0 is out of range, expected 1 to 1000\n"
         "9: clusters[0].health_check.healthy_threshold: 1001 is out of range, expected 1 to 1000"},
        {KEYS("ketama", "    ejection: {}\n    health_check: { path: / }\n"),
         "9: clusters[0].ejection" ONLY_HTTP "\n"
         "10: clusters[0].health_check" ONLY_HTTP},
        {CLUSTERS("  - name: c\n    lb_policy: maglev\n    endpoints:\n"
                  "      - { address: \"127.0.0.1:1\", drain: true }\n"),
         "11: clusters[0].endpoints[0].drain" ONLY_HTTP},
        {CLUSTERS("  - name: c\n    endpoints:\n      - { address: \"127.0.0.1:1\", drain: yes }\n"),
         "10: clusters[0].endpoints[0].drain: \"yes\" is not known, expected one of: true, false"},
    };

    RUN(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(_values), cmocka_unit_test(_bad_hash_on),
                                       cmocka_unit_test(_bad_health)};

    return cmocka_run_group_tests_name("conf_http", tests, conf_enter_dir, conf_leave_dir);
}
