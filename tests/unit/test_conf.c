/*
 * Valid configurations, every value of them checked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>

#include "conf/units.h"
#include "conf_helper.h"

static const char _full[] = "workers: 3\n"
                            "datapath:\n"
                            "  kernel: off\n"
                            "  bypass: off\n"
                            "  cgroup: /sys/fs/cgroup/x\n"
                            "  promote_after: 1000000\n"
                            "  connections: 262144\n"
                            "admin: { address: \"[::1]:9901\" }\n"
                            "limits:\n"
                            "  header_bytes: 1024\n"
                            "  target_bytes: 512B\n"
                            "  header_count: 256\n"
                            "  body_bytes: 10GiB\n"
                            "  buffer: 64KiB\n"
                            "  connections: 5000\n"
                            "  idle_upstreams: 0\n"
                            "timeouts:\n"
                            "  connect: 1us\n"
                            "  header: 250ms\n"
                            "  body: 3s\n"
                            "  idle: 4m\n"
                            "  response: 24h\n"
                            "  write: 6s\n"
                            "  tunnel: 7h\n"
                            "  drain: 8s\n"
                            "listeners:\n"
                            "  - name: web\n"
                            "    protocol: http\n"
                            "    address: \"0.0.0.0:8080\"\n"
                            "    routes:\n"
                            "      - match: { host: \"API.example.com\", path: \"/A%20b!\" }\n"
                            "        cluster: api\n"
                            "      - match: { host: \"[::1]\", path_prefix: /v1/ }\n"
                            "        respond: { status: 503, body: \"a\\nb\\xe9\\u00e9\" }\n"
                            "      - match:\n"
                            "          path_prefix: /\n"
                            "        respond:\n"
                            "          status: 304\n"
                            "  - { name: \"w.e_b-2\", address: \"localhost:81\",\n"
                            "      routes: [ { match: { path: / }, cluster: web } ] }\n"
                            "clusters:\n"
                            "  - name: web\n"
                            "    endpoints: [ { address: \"10.0.0.1:80\" } ]\n"
                            "  - name: api\n"
                            "    lb_policy: round_robin\n"
                            "    retries: 10\n"
                            "    endpoints:\n"
                            "      - { address: \"10.0.0.2:80\", weight: 1000 }\n"
                            "      - address: \"[2001:db8::1]:443\"\n"
                            "        weight: 1\n";

static struct loaded _load_good(const char *text)
{
    struct loaded l = conf_load_text(text);

    if (l.r || *l.errors)
        fail_msg("%d: %s", l.r, l.errors);
    assert_string_equal(l.conf->file, CONF_FILE);

    return l;
}

static void _full_globals(void **state)
{
    struct loaded l = _load_good(_full);
    const struct conf *c = l.conf;

    assert_int_equal(c->workers, 3);
    assert_int_equal(c->datapath.kernel, CONF_OFF);
    assert_int_equal(c->datapath.bypass, CONF_OFF);
    assert_string_equal(c->datapath.cgroup, "/sys/fs/cgroup/x");
    assert_int_equal(c->datapath.promote_after, 1000000);
    assert_int_equal(c->datapath.connections, 262144);
    assert_string_equal(c->admin.text, "[::1]:9901");
    assert_int_equal(c->admin.sa.ss_family, AF_INET6);
    assert_int_equal(c->admin_line, 8);

    assert_int_equal(c->limits.header_bytes, 1024);
    assert_int_equal(c->limits.target_bytes, 512);
    assert_int_equal(c->limits.header_count, 256);
    assert_int_equal(c->limits.body_bytes, 10 * CONF_GIB);
    assert_int_equal(c->limits.buffer, 65536);
    assert_int_equal(c->limits.connections, 5000);
    assert_int_equal(c->limits.idle_upstreams, 0);

    assert_int_equal(c->timeouts.connect, 1000);
    assert_int_equal(c->timeouts.header, 250 * CONF_NS_PER_MS);
    assert_int_equal(c->timeouts.body, 3 * CONF_NS_PER_S);
    assert_int_equal(c->timeouts.idle, 4 * CONF_NS_PER_M);
    assert_int_equal(c->timeouts.response, 24 * CONF_NS_PER_H);
    assert_int_equal(c->timeouts.write, 6 * CONF_NS_PER_S);
    assert_int_equal(c->timeouts.tunnel, 7 * CONF_NS_PER_H);
    assert_int_equal(c->timeouts.drain, 8 * CONF_NS_PER_S);

    conf_unload(&l);
}

static void _full_listeners(void **state)
{
    struct loaded l = _load_good(_full);
    const struct conf_listener *web = l.conf->listeners;
    const struct conf_route *routes = web->routes;

    assert_int_equal(l.conf->n_listeners, 2);
    assert_string_equal(web->name, "web");
    assert_string_equal(web->address.text, "0.0.0.0:8080");
    assert_int_equal(web->protocol, CONF_HTTP);
    assert_int_equal(web->line, 29);
    assert_int_equal(web->n_routes, 3);

    assert_string_equal(routes[0].host, "api.example.com");
    assert_string_equal(routes[0].path, "/A%20b!");
    assert_null(routes[0].path_prefix);
    assert_int_equal(routes[0].cluster, 1);
    assert_null(routes[0].respond);

    assert_string_equal(routes[1].host, "[::1]");
    assert_null(routes[1].path);
    assert_string_equal(routes[1].path_prefix, "/v1/");
    assert_int_equal(routes[1].cluster, -1);
    assert_int_equal(routes[1].respond->status, 503);
    assert_string_equal(routes[1].respond->body, "a\nb\xc3\xa9\xc3\xa9");

    assert_null(routes[2].host);
    assert_int_equal(routes[2].respond->status, 304);
    assert_string_equal(routes[2].respond->body, "");

    assert_string_equal(web[1].name, "w.e_b-2");
    assert_string_equal(web[1].address.text, "localhost:81");
    assert_int_equal(web[1].line, 39);
    assert_int_equal(web[1].n_routes, 1);
    assert_int_equal(web[1].routes[0].cluster, 0);

    conf_unload(&l);
}

static void _full_clusters(void **state)
{
    struct loaded l = _load_good(_full);
    const struct conf_cluster *clusters = l.conf->clusters;

    assert_int_equal(l.conf->n_clusters, 2);
    assert_string_equal(clusters[0].name, "web");
    assert_int_equal(clusters[0].lb_policy, CONF_ROUND_ROBIN);
    assert_int_equal(clusters[0].n_endpoints, 1);
    assert_int_equal(clusters[0].endpoints[0].weight, 1);
    assert_string_equal(clusters[1].name, "api");
    assert_int_equal(clusters[0].retries, 1);
    assert_int_equal(clusters[1].retries, 10);
    assert_int_equal(clusters[1].n_endpoints, 2);
    assert_string_equal(clusters[1].endpoints[0].address.text, "10.0.0.2:80");
    assert_int_equal(clusters[1].endpoints[0].weight, 1000);
    assert_string_equal(clusters[1].endpoints[1].address.text, "[2001:db8::1]:443");
    assert_int_equal(clusters[1].endpoints[1].weight, 1);

    conf_unload(&l);
}

static const char _minimal[] = "listeners:\n"
                               "  - name: web\n"
                               "    address: \"127.0.0.1:8080\"\n"
                               "    routes:\n"
                               "      - match: { path_prefix: / }\n"
                               "        respond: { status: 200 }\n";

static void _switches(void **state)
{
    static const struct {
        const char *word;
        enum conf_switch value;
    } rows[] = {{"auto", CONF_AUTO}, {"on", CONF_ON}, {"off", CONF_OFF}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); ++i) {
        char text[512];
        struct loaded l;

        snprintf(text, sizeof(text), "datapath: { bypass: %s }\n%s", rows[i].word, _minimal);
        l = _load_good(text);
        assert_int_equal(l.conf->datapath.bypass, rows[i].value);
        assert_int_equal(l.conf->datapath.kernel, CONF_AUTO);
        conf_unload(&l);
    }
}

static void _check_defaults(const struct conf *c)
{
    cpu_set_t set;
    uint32_t cpus;

    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    cpus = (uint32_t)CPU_COUNT(&set);
    assert_int_equal(c->workers, cpus > 64 ? 64 : cpus);
    assert_int_equal(c->datapath.kernel, CONF_AUTO);
    assert_int_equal(c->datapath.bypass, CONF_AUTO);
    assert_null(c->datapath.cgroup);
    assert_int_equal(c->bypass.n_cgroups, 0);
    assert_null(c->bypass.cgroups);
    assert_int_equal(c->datapath.promote_after, 1);
    assert_int_equal(c->datapath.connections, 16384);
    assert_int_equal(c->admin.len, 0);

    assert_int_equal(c->limits.header_bytes, 16384);
    assert_int_equal(c->limits.target_bytes, 8192);
    assert_int_equal(c->limits.header_count, 100);
    assert_int_equal(c->limits.body_bytes, 0);
    assert_int_equal(c->limits.buffer, 1048576);
    assert_int_equal(c->limits.connections, 0);
    assert_int_equal(c->limits.idle_upstreams, 128);

    assert_int_equal(c->timeouts.connect, 5 * CONF_NS_PER_S);
    assert_int_equal(c->timeouts.header, 10 * CONF_NS_PER_S);
    assert_int_equal(c->timeouts.body, 30 * CONF_NS_PER_S);
    assert_int_equal(c->timeouts.idle, 60 * CONF_NS_PER_S);
    assert_int_equal(c->timeouts.response, 60 * CONF_NS_PER_S);
    assert_int_equal(c->timeouts.write, 60 * CONF_NS_PER_S);
    assert_int_equal(c->timeouts.tunnel, 3600 * CONF_NS_PER_S);
    assert_int_equal(c->timeouts.drain, 10 * CONF_NS_PER_S);
}

static void _defaults(void **state)
{
    static const char *const prefixes[] = {
        "",
        "workers: 0\nlimits: {}\ntimeouts: {}\ndatapath: {}\nbypass: {}\nclusters: []\n",
        "%YAML 1.1\n---\n",
        "\xef\xbb\xbf",
    };

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); ++i) {
        char text[512];
        struct loaded l;

        snprintf(text, sizeof(text), "%s%s", prefixes[i], _minimal);
        l = _load_good(text);
        _check_defaults(l.conf);
        assert_int_equal(l.conf->n_listeners, 1);
        assert_int_equal(l.conf->n_clusters, 0);
        assert_false(l.conf->listeners[0].bypass_except);
        assert_null(l.conf->listeners[0].routes[0].host);
        conf_unload(&l);
    }
}

/** A chain of listeners, and two of them on one cluster, are no loop. */
static void _chain(void **state)
{
    struct loaded l = _load_good("listeners:\n"
                                 "  - { name: a, address: \"127.0.0.1:1\",\n"
                                 "      routes: [ { match: { path: / }, cluster: b },\n"
                                 "                { match: { path: /c }, cluster: c } ] }\n"
                                 "  - { name: b, address: \"127.0.0.1:2\",\n"
                                 "      routes: [ { match: { path: / }, cluster: c } ] }\n"
                                 "  - { name: c, address: \"127.0.0.1:3\",\n"
                                 "      routes: [ { match: { path: / }, respond: { status: 200 } } ] }\n"
                                 "clusters:\n"
                                 "  - { name: b, endpoints: [ { address: \"127.0.0.1:2\" } ] }\n"
                                 "  - { name: c, endpoints: [ { address: \"127.0.0.1:3\" } ] }\n"
                                 "  - { name: unused, endpoints: [ { address: \"127.0.0.1:1\" } ] }\n");

    conf_unload(&l);
}

static struct loaded _load_example(const char *name)
{
    const char *source = getenv("SKEIN_SOURCE_DIR");
    char file[4096];
    struct loaded l;

    if (!source)
        skip();
    snprintf(file, sizeof(file), "%s/conf/examples/%s", source, name);
    l = conf_load_file(file);
    if (l.r || *l.errors)
        fail_msg("%s: %d: %s", name, l.r, l.errors);

    return l;
}

static void _examples(void **state)
{
    struct loaded l = _load_example("minimal.yaml");

    assert_int_equal(l.conf->n_listeners, 1);
    assert_string_equal(l.conf->clusters[0].endpoints[0].address.text, "127.0.0.1:80");
    conf_unload(&l);

    l = _load_example("demo.yaml");
    assert_string_equal(l.conf->admin.text, "127.0.0.1:19901");
    assert_string_equal(l.conf->listeners[0].address.text, "127.0.0.1:18081");
    assert_string_equal(l.conf->listeners[1].address.text, "127.0.0.1:18080");
    conf_unload(&l);

    l = _load_example("reverse-proxy.yaml");
    assert_int_equal(l.conf->clusters[0].endpoints[0].weight, 3);
    assert_int_equal(l.conf->clusters[0].retries, l.conf->clusters[1].retries);
    l.conf->admin.len = 0;
    assert_int_equal(l.conf->limits.body_bytes, 64 * CONF_MIB);
    l.conf->limits.body_bytes = 0;
    _check_defaults(l.conf); /* What the comments call a default is one. */
    conf_unload(&l);
}

/** What the comments call a default is one: the second listener and cluster leave it out. */
static void _redis_example(void **state)
{
    struct loaded l = _load_example("redis-splitter.yaml");
    const struct conf_listener *listeners = l.conf->listeners;
    const struct conf_cluster *clusters = l.conf->clusters;

    assert_int_equal(listeners[0].protocol, CONF_REDIS);
    assert_int_equal(listeners[0].cluster, 0);
    assert_string_equal(listeners[0].redis.user, "app");
    assert_null(listeners[1].redis.user);
    assert_int_equal(listeners[0].redis.on_ejected, listeners[1].redis.on_ejected);
    assert_int_equal(listeners[0].redis.idle_timeout, listeners[1].redis.idle_timeout);
    assert_int_equal(listeners[0].redis.max_multibulk, listeners[1].redis.max_multibulk);
    assert_int_equal(listeners[0].redis.max_bulk, listeners[1].redis.max_bulk);

    assert_int_equal(clusters[0].lb_policy, CONF_CRC16_SLOTS);
    assert_int_equal(clusters[1].lb_policy, CONF_KETAMA);
    assert_int_equal(clusters[0].redis.connections, clusters[1].redis.connections);
    assert_int_equal(clusters[0].ejection.max_failures, clusters[1].ejection.max_failures);
    assert_int_equal(clusters[0].ejection.retry_after, clusters[1].ejection.retry_after);
    assert_int_equal(clusters[0].endpoints[0].weight, clusters[0].endpoints[1].weight);
    assert_int_equal(clusters[1].hash, CONF_HASH_FNV1A_64);
    assert_string_equal(clusters[1].endpoints[1].name, "pool-b");
    conf_unload(&l);
}

static void _frees(void **state)
{
    struct conf *conf = NULL;
    struct loaded l = _load_good(_minimal);

    conf_free(&conf);
    conf_free(&l.conf);
    assert_null(l.conf);
    conf_unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(_full_globals),  cmocka_unit_test(_full_listeners), cmocka_unit_test(_full_clusters),
        cmocka_unit_test(_defaults),      cmocka_unit_test(_chain),          cmocka_unit_test(_examples),
        cmocka_unit_test(_redis_example), cmocka_unit_test(_frees),          cmocka_unit_test(_switches),
    };

    return cmocka_run_group_tests(tests, conf_enter_dir, conf_leave_dir);
}
