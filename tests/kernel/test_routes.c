/*
 * The kernel's tables against the ordered list they were made from: for generated configurations
 * and requests, the real programs pick the cluster that runtime_route() picks, or leave the
 * request to userspace where that is the answer.
 */
#include "kernel_helper.h"
#include "parsers/http1_path.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/log.h"
#include "skein.skel.h"

#define SEED        20240611U
#define CONFIGS     300
#define REQUESTS    25
#define CLUSTERS    5
#define LISTENERS   2
#define UNPUBLISHED (CLUSTERS - 1) /**< A cluster whose schedule is too long for the tables. */

static uint32_t _state;

static uint32_t _random(uint32_t below)
{
    _state = _state * 1664525U + 1013904223U;
    return (uint32_t)(((uint64_t)(_state >> 8) * below) >> 24);
}

/* Generating -------------------------------------------------------------------------- */

static const char *const _hosts[] = {"a.example", "b.example", "api.b.example", "10.0.0.1", "xn--a"};
static const char *const _segments[] = {"/", "/a", "/ab", "/a/", "/v1", "/v1/", "/%41", "b", "c", "a", "/."};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* A path made of few pieces, so that one is often the prefix of another. Sometimes about as long
 * as the longest that tables can have. */
static void _path(char *out, size_t max)
{
    size_t n = 0;
    out[n++] = '/';
    out[n] = 0;
    if (_random(12) == 0) {
        size_t len = ROUTE_PATH_MAX - 4 + _random(8);
        while (n < len && n < max)
            out[n++] = 'l';
        out[n] = 0;
    }
    for (uint32_t i = _random(4); i > 0; i--) {
        const char *s = _segments[_random(COUNT(_segments))];
        /* Empty segments now and then only: userspace has those. */
        if (out[n - 1] == '/' && *s == '/' && _random(16))
            s++;
        if (n + strlen(s) > max)
            break;
        n += (size_t)sprintf(out + n, "%s", s);
    }
}

static void _host(char *out)
{
    strcpy(out, _hosts[_random(COUNT(_hosts))]);
    if (_random(10) == 0) {
        memset(out, 'h', ROUTE_HOST_MAX);
        out[ROUTE_HOST_MAX - _random(2)] = 0;
        out[ROUTE_HOST_MAX] = 0;
    }
}

static void _route(struct conf_route *r)
{
    char path[512], host[128];
    /* Mostly what fits: one route that does not fit keeps its listener out of the tables. */
    _path(path, _random(40) ? ROUTE_PATH_MAX - 1 : 300);
    _host(host);
    if (_random(3))
        r->host = strdup(host);
    if (_random(3))
        r->path_prefix = strdup(path);
    else
        r->path = strdup(path);
    r->cluster = _random(8) ? (int)_random(CLUSTERS) : -1;
    r->request_id = r->cluster >= 0 && _random(8) == 0;
    if (r->cluster < 0) {
        r->respond = calloc(1, sizeof(*r->respond));
        r->respond->status = 200;
        r->respond->body = strdup("");
    }
}

static void _cluster(struct conf_cluster *c, uint32_t i)
{
    char name[16];
    snprintf(name, sizeof(name), "c%u", i);
    c->name = strdup(name);
    c->n_endpoints = i == UNPUBLISHED ? 2 : 1;
    c->endpoints = calloc(c->n_endpoints, sizeof(*c->endpoints));
    for (size_t e = 0; e < c->n_endpoints; e++) {
        c->endpoints[e].weight = e ? 997 : 1;
        snprintf(c->endpoints[e].address.text, sizeof(c->endpoints[e].address.text), "127.0.0.%zu:%u", e + 1,
                 9000 + i);
    }
}

static struct runtime *_generate(void)
{
    struct conf *conf = calloc(1, sizeof(*conf));
    conf->workers = 1;
    conf->limits = (struct conf_limits){
        .header_bytes = 16384, .header_count = 100, .target_bytes = 8192, .buffer = 1 << 20};
    conf->n_clusters = CLUSTERS;
    conf->clusters = calloc(CLUSTERS, sizeof(*conf->clusters));
    for (uint32_t i = 0; i < CLUSTERS; i++)
        _cluster(&conf->clusters[i], i);
    conf->n_listeners = LISTENERS;
    conf->listeners = calloc(LISTENERS, sizeof(*conf->listeners));
    for (uint32_t i = 0; i < LISTENERS; i++) {
        struct conf_listener *l = &conf->listeners[i];
        char name[16];
        snprintf(name, sizeof(name), "l%u", i);
        l->name = strdup(name);
        l->n_routes = 1 + _random(10);
        l->routes = calloc(l->n_routes, sizeof(*l->routes));
        for (size_t r = 0; r < l->n_routes; r++)
            _route(&l->routes[r]);
    }
    struct runtime *rt = NULL;
    assert_int_equal(runtime_new(conf, &rt), 0);
    return rt;
}

/* Asking ------------------------------------------------------------------------------ */

/* Endpoint id + 1 that the ordered list leads to; 0: userspace answers. */
static uint32_t _expected(struct runtime *rt, const struct rt_listener *l, const char *host, const char *path)
{
    size_t path_len = strcspn(path, "?");
    const struct conf_route *r = runtime_route(l, host, strcspn(host, ":"), path, path_len);
    /* Paths that others may read differently are userspace's, unless all paths have one route. */
    const struct conf_route *first = &l->conf->routes[0];
    bool single = !first->host && first->path_prefix && strcmp(first->path_prefix, "/") == 0;
    if (!r || (!single && !http1_path_is_plain(path, path_len)))
        return 0;
    if (r->cluster < 0 || conf_route_edits(r) || rt->clusters[r->cluster].kernel_id == UINT32_MAX)
        return 0;
    return rt->clusters[r->cluster].endpoints[0].id + 1;
}

/* Sends a request through the programs. No endpoint has an idle connection, so it comes back up,
 * and the slot says which endpoint was picked. */
static uint32_t _asked(struct bench *b, struct wire *down, const char *host, const char *path)
{
    char text[2048];
    uint64_t none = bench_reason(b, FALLBACK_NO_ROUTE), busy = bench_reason(b, FALLBACK_NO_UPSTREAM);
    int n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host);
    bench_slot(b, down)->picked = 0;
    send_bytes(down->far, text, (size_t)n);
    bench_expect_passed(b, down, text, (size_t)n);
    uint32_t picked = bench_slot(b, down)->picked;
    assert_int_equal(bench_reason(b, FALLBACK_NO_ROUTE), none + (picked ? 0 : 1));
    assert_int_equal(bench_reason(b, FALLBACK_NO_UPSTREAM), busy + (picked ? 1 : 0));
    await(bench_give_back(b, down));
    return picked;
}

/* A request that is likely to meet a route: often one of its own host and path, altered. */
static void _request(const struct conf_listener *l, char *host, char *path)
{
    const struct conf_route *r = &l->routes[_random((uint32_t)l->n_routes)];
    _host(host);
    _path(path, 200);
    if (_random(2) && r->host)
        strcpy(host, r->host);
    if (_random(2))
        strcpy(path, r->path ? r->path : r->path_prefix);
    if (_random(4) == 0)
        strcat(path, _segments[_random(COUNT(_segments))]);
    if (_random(8) == 0)
        path[strlen(path) - (strlen(path) > 1)] = 0;
    if (_random(4) == 0)
        strcat(path, _random(2) ? "?" : "?q=/v1/?");
    for (char *p = host; _random(3) == 0 && *p; p++)
        *p = (char)toupper((unsigned char)*p);
    if (_random(4) == 0)
        strcat(host, ":8080");
}

static void _check_listener(struct bench *b, struct wire *down, struct runtime *rt, struct rt_listener *l,
                            size_t *userspace)
{
    if (l->kernel_id == UINT32_MAX)
        return;
    for (int i = 0; i < REQUESTS; i++) {
        char host[256], path[1024];
        _request(l->conf, host, path);
        bench_slot(b, down)->listener = l->kernel_id;
        uint32_t want = _expected(rt, l, host, path), got = _asked(b, down, host, path);
        *userspace += !want;
        if (want != got)
            fail_msg("seed %u: GET %s, Host: %s: endpoint %u in the list, %u in the tables", SEED, path, host,
                     want, got);
    }
}

static size_t _count(struct bpf_map *map, size_t key_size)
{
    uint8_t key[256], *previous = NULL;
    size_t n = 0;
    assert_true(key_size <= sizeof(key));
    while (n < 1000000 && !bpf_map_get_next_key(bpf_map__fd(map), previous, key)) {
        previous = key;
        n++;
    }
    return n;
}

static void test_tables_equal_list(void **state)
{
    struct bench *b = *state;
    struct wire *down = bench_down(b);
    size_t userspace = 0, published = 0;
    _state = SEED;
    log_set_level(LOG_LEVEL_ERROR);
    for (int i = 0; i < CONFIGS; i++) {
        struct runtime *rt = _generate();
        kernel_publish(b->k, rt);
        for (size_t l = 0; l < LISTENERS; l++) {
            published += rt->listeners[l].kernel_id != UINT32_MAX;
            _check_listener(b, down, rt, &rt->listeners[l], &userspace);
        }
        runtime_unref(&rt);
    }
    print_message("%zu listeners, %zu requests, %zu of them userspace's\n", published, published * REQUESTS,
                  userspace);
    assert_true(published > CONFIGS && userspace < published * REQUESTS * 3 / 4);
    /* What older configurations wrote is gone: at most two are left. */
    assert_true(_count(b->k->skel->maps.hosts, sizeof(struct host_key)) <= 2 * LISTENERS * 10);
    assert_true(_count(b->k->skel->maps.routes, sizeof(struct route_key)) <= 2 * LISTENERS * 10 * 11);
}

/* Publishes a Redis listener over cluster 0. @return Whether the tables know it. */
static bool _redis_published(struct bench *b, enum conf_lb_policy policy, size_t endpoints)
{
    struct runtime *rt = _generate();
    struct conf_listener *l = &rt->conf->listeners[1];
    struct conf_cluster *c = &rt->conf->clusters[0];
    struct redis_ring_endpoint names[2] = {{.name = "a", .weight = 1}, {.name = "b", .weight = 1}};
    struct redis_ring_conf ring = {.endpoints = names, .n_endpoints = 2};
    struct conf_endpoint two[2] = {c->endpoints[0], c->endpoints[0]}, *own = c->endpoints;
    struct rt_endpoint ids[2] = {rt->clusters[0].endpoints[0], rt->clusters[0].endpoints[0]},
                       *own_ids = rt->clusters[0].endpoints;
    c->lb_policy = policy;
    c->endpoints = two;
    c->n_endpoints = endpoints;
    rt->clusters[0].endpoints = ids;
    assert_int_equal(redis_ring_new(&ring, &rt->clusters[0].ring), 0);
    for (size_t i = 1; i < rt->conf->n_clusters; i++)
        rt->conf->clusters[i].lb_policy = CONF_ROUND_ROBIN;
    l->protocol = CONF_REDIS;
    l->cluster = 0;
    kernel_publish(b->k, rt);
    bool published = rt->listeners[1].kernel_id != UINT32_MAX;
    /* Both or neither; and the clusters of HTTP listeners are not touched by it. */
    assert_int_equal(rt->clusters[0].kernel_id != UINT32_MAX, published);
    assert_int_not_equal(rt->clusters[1].kernel_id, UINT32_MAX);
    l->protocol = CONF_HTTP;
    c->endpoints = own;
    c->n_endpoints = 1;
    rt->clusters[0].endpoints = own_ids;
    runtime_unref(&rt);
    return published;
}

/* The programs know Redis Cluster's slots, and one endpoint by any rule. */
static void test_redis_clusters(void **state)
{
    static const enum conf_lb_policy others[] = {CONF_KETAMA, CONF_MODULA, CONF_MAGLEV};
    _state = SEED;
    log_set_level(LOG_LEVEL_ERROR);
    assert_true(_redis_published(*state, CONF_CRC16_SLOTS, 1));
    assert_true(_redis_published(*state, CONF_CRC16_SLOTS, 2));
    for (size_t i = 0; i < COUNT(others); i++) {
        assert_true(_redis_published(*state, others[i], 1));
        assert_false(_redis_published(*state, others[i], 2));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {BENCH_TEST(test_tables_equal_list), BENCH_TEST(test_redis_clusters)};
    return BENCH_MAIN("routes", tests);
}
