/*
 * Redis listeners and clusters: valid ones, every value checked, and what the rules refuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "conf/units.h"
#include "conf_rows.h"

static const char _full[] =
    "listeners:\n"
    "  - name: cache\n"
    "    address: \"127.0.0.1:6380\"\n"
    "    protocol: redis\n"
    "    cluster: ring\n"
    "    redis:\n"
    "      auth: { user: app, password: \"pass word\" }\n"
    "      on_ejected: move\n"
    "      idle_timeout: 5m\n"
    "      max_multibulk: 1000\n"
    "      max_bulk: 16MiB\n"
    "  - { name: plain, address: \"127.0.0.1:6379\", protocol: redis, cluster: slots }\n"
    "  - { name: same, address: \"127.0.0.1:6378\", protocol: redis, cluster: slots,\n"
    "      redis: { auth: { password: p } } }\n"
    "  - { name: web, address: \"127.0.0.1:80\",\n"
    "      routes: [ { match: { path: / }, cluster: web } ] }\n"
    "clusters:\n"
    "  - name: web\n"
    "    endpoints: [ { address: \"127.0.0.1:8000\" }, { address: \"127.0.0.1:8000\" } ]\n"
    "  - name: slots\n"
    "    lb_policy: crc16_slots\n"
    "    endpoints: [ { address: \"127.0.0.1:7000\", weight: 7 } ]\n"
    "  - name: ring\n"
    "    lb_policy: ketama\n"
    "    hash: one_at_a_time\n"
    "    hash_tag: \"<>\"\n"
    "    redis:\n"
    "      auth: { user: proxy, password: up }\n"
    "      connections: 64\n"
    "      max_failures: 0\n"
    "      retry_after: 1m\n"
    "    endpoints:\n"
    "      - { address: \"127.0.0.1:7001\", name: \"shard:a/1\" }\n"
    "      - { address: \"127.0.0.1:7001\", name: b }\n"
    "      - { address: \"localhost:7001\", weight: 2 }\n"
    "  - name: unused\n"
    "    lb_policy: modula\n"
    "    redis: { auth: { password: q } }\n"
    "    endpoints: [ { address: \"127.0.0.1:7002\" } ]\n";

static struct loaded _load_good(const char *text)
{
    struct loaded l = conf_load_text(text);

    if (l.r || *l.errors)
        fail_msg("%d: %s", l.r, l.errors);

    return l;
}

static void _listeners(void **state)
{
    struct loaded l = _load_good(_full);
    const struct conf_listener *listeners = l.conf->listeners;
    const struct conf_redis_listener *redis = &listeners[0].redis;

    assert_int_equal(listeners[0].protocol, CONF_REDIS);
    assert_int_equal(listeners[0].line, 3);
    assert_int_equal(listeners[0].cluster, 2);
    assert_int_equal(listeners[0].n_routes, 0);
    assert_null(listeners[0].routes);
    assert_string_equal(redis->user, "app");
    assert_string_equal(redis->password, "pass word");
    assert_int_equal(redis->on_ejected, CONF_EJECTED_MOVE);
    assert_int_equal(redis->idle_timeout, 5 * CONF_NS_PER_M);
    assert_int_equal(redis->max_multibulk, 1000);
    assert_int_equal(redis->max_bulk, 16 * CONF_MIB);

    redis = &listeners[1].redis;
    assert_int_equal(listeners[1].cluster, 1);
    assert_null(redis->user);
    assert_null(redis->password);
    assert_int_equal(redis->on_ejected, CONF_EJECTED_FAIL);
    assert_int_equal(redis->idle_timeout, 0);
    assert_int_equal(redis->max_multibulk, 1048576);
    assert_int_equal(redis->max_bulk, 512 * CONF_MIB);

    assert_int_equal(listeners[2].cluster, 1);
    assert_string_equal(listeners[2].redis.user, "default");
    assert_string_equal(listeners[2].redis.password, "p");
    assert_int_equal(listeners[2].redis.max_bulk, 512 * CONF_MIB);

    assert_int_equal(listeners[3].protocol, CONF_HTTP);
    assert_int_equal(listeners[3].cluster, -1);
    assert_int_equal(listeners[3].routes[0].cluster, 0);

    conf_unload(&l);
}

static void _clusters(void **state)
{
    struct loaded l = _load_good(_full);
    const struct conf_cluster *clusters = l.conf->clusters;
    const struct conf_cluster *ring = &clusters[2];

    assert_int_equal(clusters[0].lb_policy, CONF_ROUND_ROBIN);
    assert_memory_equal(clusters[0].hash_tag, "\0\0", 2);

    assert_int_equal(clusters[1].lb_policy, CONF_CRC16_SLOTS);
    assert_memory_equal(clusters[1].hash_tag, "{}", 2);
    assert_null(clusters[1].redis.user);
    assert_null(clusters[1].redis.password);
    assert_int_equal(clusters[1].redis.connections, 1);
    assert_int_equal(clusters[1].ejection.max_failures, 3);
    assert_int_equal(clusters[1].ejection.retry_after, 10 * CONF_NS_PER_S);
    assert_null(clusters[1].endpoints[0].name);
    assert_int_equal(clusters[1].endpoints[0].weight, 7);

    assert_int_equal(ring->lb_policy, CONF_KETAMA);
    assert_int_equal(ring->hash, CONF_HASH_ONE_AT_A_TIME);
    assert_memory_equal(ring->hash_tag, "<>", 2);
    assert_string_equal(ring->redis.user, "proxy");
    assert_string_equal(ring->redis.password, "up");
    assert_int_equal(ring->redis.connections, 64);
    assert_int_equal(ring->ejection.max_failures, 0);
    assert_int_equal(ring->ejection.retry_after, CONF_NS_PER_M);
    assert_string_equal(ring->endpoints[0].name, "shard:a/1");
    assert_string_equal(ring->endpoints[1].name, "b");
    assert_null(ring->endpoints[2].name);
    assert_string_equal(ring->endpoints[2].address.text, "localhost:7001");

    assert_int_equal(clusters[3].lb_policy, CONF_MODULA);
    assert_int_equal(clusters[3].hash, CONF_HASH_FNV1A_64);
    assert_memory_equal(clusters[3].hash_tag, "\0\0", 2);
    assert_null(clusters[3].redis.user);
    assert_string_equal(clusters[3].redis.password, "q");

    conf_unload(&l);
}

/** Every policy with every hash. */
static void _hashes(void **state)
{
    static const struct {
        const char *name;
        enum conf_hash hash;
    } hashes[] = {
        {"fnv1a_64", CONF_HASH_FNV1A_64}, {"one_at_a_time", CONF_HASH_ONE_AT_A_TIME},
        {"md5", CONF_HASH_MD5},           {"crc16", CONF_HASH_CRC16},
        {"crc32", CONF_HASH_CRC32},       {"crc32a", CONF_HASH_CRC32A},
        {"fnv1_64", CONF_HASH_FNV1_64},   {"fnv1_32", CONF_HASH_FNV1_32},
        {"fnv1a_32", CONF_HASH_FNV1A_32}, {"hsieh", CONF_HASH_HSIEH},
        {"murmur", CONF_HASH_MURMUR},     {"jenkins", CONF_HASH_JENKINS},
    };
    static const struct {
        const char *name;
        enum conf_lb_policy policy;
    } policies[] = {{"ketama", CONF_KETAMA}, {"modula", CONF_MODULA}, {"maglev", CONF_MAGLEV}};

    assert_int_equal(sizeof(hashes) / sizeof(hashes[0]), _CONF_HASH_MAX);
    for (size_t i = 0; i < 3 * (size_t)_CONF_HASH_MAX; ++i) {
        char text[512];
        struct loaded l;

        snprintf(text, sizeof(text),
                 "listeners: [ { name: r, address: \"127.0.0.1:1\", protocol: redis, cluster: c } ]\n"
                 "clusters: [ { name: c, lb_policy: %s, hash: %s, endpoints: [ { address: \"127.0.0.1:2\" } "
                 "] } ]\n",
                 policies[i % 3].name, hashes[i / 3].name);
        l = _load_good(text);
        assert_int_equal(l.conf->clusters[0].lb_policy, policies[i % 3].policy);
        assert_int_equal(l.conf->clusters[0].hash, hashes[i / 3].hash);
        conf_unload(&l);
    }
}

#define ENDPOINTS "endpoints: [ { address: \"127.0.0.1:2\" } ]"

/* A redis listener with more keys from line 5 on, and clusters that begin two lines later. */
#define REDIS(more)                                                                                          \
    "listeners:\n  - name: r\n    address: \"127.0.0.1:1\"\n    protocol: redis\n" more "clusters:\n"        \
    "  - { name: s, lb_policy: crc16_slots, " ENDPOINTS " }\n"                                               \
    "  - { name: web, " ENDPOINTS " }\n"                                                                     \
    "  - { name: k, lb_policy: ketama, " ENDPOINTS " }\n"
#define SECTION(section) REDIS("    cluster: s\n    redis:\n      " section "\n")

#define BOTH_USES                                                                                            \
    ", which is only for redis listeners, expected one with round_robin, random, least_request or maglev "   \
    "with hash_on"

static void _bad_listeners(void **state)
{
    static const struct row rows[] = {
        {REDIS(""), "2: listeners[0].cluster: missing, expected the name of a cluster"},
        {REDIS("    cluster: x\n"),
         "5: listeners[0].cluster: no cluster named \"x\", expected one of: s, web, k"},
        {REDIS("    cluster: web\n"), "5: listeners[0].cluster: cluster \"web\" has lb_policy round_robin, "
                                      "expected one with crc16_slots, ketama, modula or maglev"},
        {REDIS("    cluster: s\n    routes: [ { match: { path: / }, cluster: s } ]\n"),
         "6: listeners[0].routes: only for the protocol http, expected a cluster instead"},
        {"listeners:\n  - { name: r, address: \"127.0.0.1:1\", protocol: redis, cluster: c }\n",
         "2: listeners[0].cluster: no cluster named \"c\", expected a section clusters that has it"},
        {WEB "    redis: {}\n",
         "7: listeners[0].redis: only for the protocol redis, expected no such section with http"},
        {"listeners:\n" LISTENER("a", "127.0.0.1:8", "k")
             LISTENER("b", "127.0.0.1:9", "s") "clusters:\n"
                                               "  - { name: k, lb_policy: ketama, " ENDPOINTS " }\n"
                                               "  - { name: s, lb_policy: crc16_slots, " ENDPOINTS " }\n",
         "2: listeners[0].routes[0].cluster: cluster \"k\" has lb_policy ketama" BOTH_USES "\n"
         "3: listeners[1].routes[0].cluster: cluster \"s\" has lb_policy crc16_slots" BOTH_USES},
        {"listeners:\n" LISTENER("a", "127.0.0.1:8", "k")
             LISTENER("b", "127.0.0.1:9", "s") "clusters:\n"
                                               "  - { name: k, lb_policy: modula, " ENDPOINTS " }\n"
                                               "  - { name: s, lb_policy: maglev, " ENDPOINTS " }\n",
         "2: listeners[0].routes[0].cluster: cluster \"k\" has lb_policy modula" BOTH_USES "\n"
         "3: listeners[1].routes[0].cluster: cluster \"s\" has lb_policy maglev without hash_on" BOTH_USES},
        {"listeners:\n" LISTENER(
             "a", "127.0.0.1:8",
             "k") "  - { name: r, address: \"127.0.0.1:1\", protocol: redis, cluster: k }\n"
                  "clusters:\n  - { name: k, lb_policy: maglev, hash_on: { header: a }, " ENDPOINTS " }\n",
         "3: listeners[1].cluster: cluster \"k\" has lb_policy maglev with hash_on, expected one with "
         "crc16_slots, ketama, modula or maglev"},
    };

    RUN(rows);
}

static void _bad_sections(void **state)
{
    static const struct row rows[] = {
        {SECTION("timeout: 1s"), "7: listeners[0].redis.timeout: unknown key, expected one of: auth, "
                                 "on_ejected, idle_timeout, max_multibulk, max_bulk"},
        {SECTION("on_ejected: rehash"),
         "7: listeners[0].redis.on_ejected: \"rehash\" is not known, expected one of: fail, move"},
        {SECTION("idle_timeout: 25h"),
         "7: listeners[0].redis.idle_timeout: \"25h\" is out of range, expected 0s (never) to 24h"},
        {SECTION("idle_timeout: 0"),
         "7: listeners[0].redis.idle_timeout: \"0\" is not a duration, expected an integer with a unit us, "
         "ms, s, m or h, such as 250ms"},
        {SECTION("max_multibulk: 0"),
         "7: listeners[0].redis.max_multibulk: 0 is out of range, expected 1 to 1048576"},
        {SECTION("max_multibulk: 1048577"),
         "7: listeners[0].redis.max_multibulk: 1048577 is out of range, expected 1 to 1048576"},
        {SECTION("max_bulk: 63"),
         "7: listeners[0].redis.max_bulk: \"63\" is out of range, expected 64B to 512MiB"},
        {SECTION("max_bulk: 536870913"),
         "7: listeners[0].redis.max_bulk: \"536870913\" is out of range, expected 64B to 512MiB"},
        {SECTION("max_bulk: 1MB"),
         "7: listeners[0].redis.max_bulk: \"1MB\" is not a size, expected an integer with an optional unit "
         "B, KiB, MiB or GiB, such as 16KiB"},
    };

    RUN(rows);
}

/* A cluster with its keys from line 9 on. */
#define KEYS(policy, keys) CLUSTERS("  - name: c\n" keys "    lb_policy: " policy "\n    " ENDPOINTS "\n")
#define ONLY_REDIS                                                                                           \
    ": only for clusters of redis listeners, expected lb_policy crc16_slots, ketama, modula or maglev"

static void _bad_clusters(void **state)
{
    static const struct row rows[] = {
        {KEYS("round_robin", "    hash: md5\n    hash_tag: \"{}\"\n    redis: {}\n"),
         "9: clusters[0].hash" ONLY_REDIS "\n"
         "10: clusters[0].hash_tag" ONLY_REDIS "\n"
         "11: clusters[0].redis" ONLY_REDIS},
        {CLUSTERS("  - name: c\n    endpoints:\n      - address: \"127.0.0.1:2\"\n        name: a\n"),
         "11: clusters[0].endpoints[0].name" ONLY_REDIS},
        {KEYS("ketama", "    hash: sha1\n"),
         "9: clusters[0].hash: \"sha1\" is not known, expected one of: fnv1a_64, one_at_a_time, md5, crc16, "
         "crc32, crc32a, fnv1_64, fnv1_32, fnv1a_32, hsieh, murmur, jenkins"},
        {KEYS("crc16_slots", "    hash: crc16\n"),
         "9: clusters[0].hash: lb_policy crc16_slots has a hash of its own, expected no hash with it"},
        {KEYS("crc16_slots", "    hash_tag: \"[]\"\n"),
         "9: clusters[0].hash_tag: \"[]\" is not the hash tag of lb_policy crc16_slots, expected \"{}\""},
        {KEYS("modula", "    hash_tag: \"\"\n"), "9: clusters[0].hash_tag: \"\" is not a hash tag, expected "
                                                 "two printable ASCII characters such as \"{}\""},
        {KEYS("maglev", "    hash_tag: \"{ }\"\n"),
         "9: clusters[0].hash_tag: \"{ }\" is not a hash tag, expected two printable ASCII characters such "
         "as \"{}\""},
        {KEYS("ketama", "    hash_tag: \"\\u00e9\"\n"),
         "9: clusters[0].hash_tag: \"\\xc3\\xa9\" is not a hash tag, expected two printable ASCII "
         "characters such as \"{}\""},
        {KEYS("ketama", "    redis:\n      connections: 0\n      max_failures: 1000001\n"
                        "      retry_after: 0s\n"),
         "10: clusters[0].redis.connections: 0 is out of range, expected 1 to 64\n"
         "11: clusters[0].redis.max_failures: 1000001 is out of range, expected 0 to 1000000\n"
         "12: clusters[0].redis.retry_after: \"0s\" is out of range, expected 1us to 24h"},
        {KEYS("crc16_slots", "    redis:\n      connections: 65\n      retry_after: 10\n"),
         "10: clusters[0].redis.connections: 65 is out of range, expected 1 to 64\n"
         "11: clusters[0].redis.retry_after: \"10\" is not a duration, expected an integer with a unit us, "
         "ms, s, m or h, such as 250ms"},
        {KEYS("ketama", "    redis: { pool: 1 }\n"), "9: clusters[0].redis.pool: unknown key, expected one "
                                                     "of: auth, connections, max_failures, retry_after"},
    };

    RUN(rows);
}

#define KETAMA(endpoints) CLUSTERS("  - name: c\n    lb_policy: ketama\n    endpoints:\n" endpoints)
#define NO_NAME           " is not the name of an endpoint, expected 1 to 255 printable ASCII characters without space"

static void _bad_endpoints(void **state)
{
    static const struct row rows[] = {
        {KETAMA("      - { address: \"127.0.0.1:2\", name: \"\" }\n"),
         "11: clusters[0].endpoints[0].name: \"\"" NO_NAME},
        {KETAMA("      - address: \"127.0.0.1:2\"\n        name: \"a b\"\n"),
         "12: clusters[0].endpoints[0].name: \"a b\"" NO_NAME},
        {KETAMA("      - { address: \"127.0.0.1:2\", name: \"\\u00e9\" }\n"),
         "11: clusters[0].endpoints[0].name: \"\\xc3\\xa9\"" NO_NAME},
        {KETAMA(
             "      - { address: \"127.0.0.1:2\", name: a }\n      - { address: \"127.0.0.1:3\", name: b }\n"
             "      - { address: \"127.0.0.1:4\", name: a }\n"),
         "13: clusters[0].endpoints[2].name: endpoints[0] is called \"a\" too, expected a unique name"},
        {KETAMA("      - { address: \"127.0.0.1:2\" }\n      - { address: \"127.0.0.1:2\" }\n"
                "      - { address: \"127.0.0.1:3\", name: \"127.0.0.1:2\" }\n"),
         "12: clusters[0].endpoints[1].address: endpoints[0] is called \"127.0.0.1:2\" too, expected a "
         "unique name\n"
         "13: clusters[0].endpoints[2].name: endpoints[0] is called \"127.0.0.1:2\" too, expected a unique "
         "name"},
        /* Two addresses that are not valid are not two of one name. */
        {KETAMA("      - { address: a }\n      - { address: b }\n"),
         "11: clusters[0].endpoints[0].address: \"a\": no port, expected IPv4:port, [IPv6]:port or "
         "localhost:port\n"
         "12: clusters[0].endpoints[1].address: \"b\": no port, expected IPv4:port, [IPv6]:port or "
         "localhost:port"},
    };

    RUN(rows);
}

/* Connections are shared by address: two clusters must log in alike. */
static void _logins(void **state)
{
#define LISTENER_FOR(name, port)                                                                             \
    "  - { name: " name ", address: \"127.0.0.1:" port "\", protocol: redis, cluster: " name " }\n"
    static const struct row rows[] = {
        {"listeners:\n" LISTENER_FOR("a", "1") LISTENER_FOR(
             "b", "3") "clusters:\n"
                       "  - { name: a, lb_policy: ketama, redis: { auth: { password: x } }, " ENDPOINTS " }\n"
                       "  - { name: b, lb_policy: maglev, redis: { auth: { password: y } }, " ENDPOINTS
                       " }\n",
         "6: clusters[1].endpoints[0].address: 127.0.0.1:2 is in clusters[0] too, with another redis.auth, "
         "expected the same"},
        {"listeners:\n" LISTENER_FOR("a", "1") LISTENER_FOR(
             "b",
             "3") "clusters:\n"
                  "  - { name: a, lb_policy: ketama, " ENDPOINTS " }\n"
                  "  - { name: b, lb_policy: maglev, redis: { auth: { user: u, password: y } }, " ENDPOINTS
                  " }\n",
         "6: clusters[1].endpoints[0].address: 127.0.0.1:2 is in clusters[0] too, with another redis.auth, "
         "expected the same"},
    };

    RUN(rows);

    struct loaded same = _load_good("listeners:\n" LISTENER_FOR("a", "1") LISTENER_FOR(
        "b", "3") "clusters:\n"
                  "  - { name: a, lb_policy: ketama, redis: { auth: { password: y } }, " ENDPOINTS " }\n"
                  "  - { name: b, lb_policy: maglev, redis: { auth: { password: y } }, " ENDPOINTS " }\n");
    conf_unload(&same);
}

static void _loops(void **state)
{
    static const struct row rows[] = {
        {"listeners:\n  - name: r\n    address: \"0.0.0.0:2\"\n    protocol: redis\n    cluster: c\n"
         "clusters: [ { name: c, lb_policy: ketama, " ENDPOINTS " } ]\n",
         "5: listeners[0].cluster: endpoint 127.0.0.1:2 makes a loop of listeners, r -> r, expected an "
         "endpoint that ends it"},
        {"listeners:\n"
         "  - { name: a, address: \"127.0.0.1:1\", protocol: redis, cluster: b }\n"
         "  - { name: b, address: \"127.0.0.1:2\", protocol: redis, cluster: a }\n"
         "clusters:\n"
         "  - { name: b, lb_policy: crc16_slots, " ENDPOINTS " }\n"
         "  - { name: a, lb_policy: crc16_slots, endpoints: [ { address: \"127.0.0.1:1\" } ] }\n",
         "3: listeners[1].cluster: endpoint 127.0.0.1:1 makes a loop of listeners, a -> b -> a, expected an "
         "endpoint that ends it"},
    };

    RUN(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(_listeners),     cmocka_unit_test(_clusters),     cmocka_unit_test(_hashes),
        cmocka_unit_test(_bad_listeners), cmocka_unit_test(_bad_sections), cmocka_unit_test(_bad_clusters),
        cmocka_unit_test(_bad_endpoints), cmocka_unit_test(_logins),       cmocka_unit_test(_loops),
    };

    return cmocka_run_group_tests(tests, conf_enter_dir, conf_leave_dir);
}
