/*
 * Which endpoint the programs choose, by each policy and by the endpoints' state; what consistent hashing
 * answers on both paths; and the count of outstanding requests.
 */
#include "kernel_helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "parsers/http1_message.h"
#include "proxy/balance.h"
#include "proxy/conn.h"
#include "proxy/endpoint.h"
#include "proxy/log.h"

#define ENDPOINTS 4

/** Draws that a statistical test makes, and how far its counts may be off: more than six standard
 * deviations of a binomial distribution (at most sqrt(DRAWS) / 2 = 23). */
#define DRAWS  2000
#define OFF_BY 140

/** One cluster behind one listener. */
struct fixture {
    struct bench *b;
    struct runtime *rt;
    struct rt_cluster *cluster;
    struct wire *down;
    uint32_t chosen[ENDPOINTS]; /**< How often, by index in the cluster. */
};

static void _begin(struct fixture *f, struct bench *b, enum conf_lb_policy policy,
                   struct conf_http_cluster http, const uint32_t weights[ENDPOINTS])
{
    struct conf *conf = calloc(1, sizeof(*conf));
    struct conf_cluster *c = calloc(1, sizeof(*c));
    struct conf_listener *l = calloc(1, sizeof(*l));
    log_set_level(LOG_LEVEL_ERROR);
    conf->workers = 1;
    conf->limits = (struct conf_limits){
        .header_bytes = 16384, .header_count = 100, .target_bytes = 8192, .buffer = 1 << 20};
    conf->n_clusters = conf->n_listeners = 1;
    conf->clusters = c;
    conf->listeners = l;
    c->name = strdup("c");
    c->lb_policy = policy;
    c->http = http;
    if (http.hash_name)
        c->http.hash_name = strdup(http.hash_name);
    c->n_endpoints = ENDPOINTS;
    c->endpoints = calloc(ENDPOINTS, sizeof(*c->endpoints));
    for (size_t i = 0; i < ENDPOINTS; i++) {
        c->endpoints[i].weight = weights[i];
        snprintf(c->endpoints[i].address.text, sizeof(c->endpoints[i].address.text), "127.0.0.%zu:9000",
                 i + 1);
    }
    l->name = strdup("l");
    l->n_routes = 1;
    l->routes = calloc(1, sizeof(*l->routes));
    l->routes[0].path_prefix = strdup("/");
    *f = (struct fixture){.b = b};
    assert_int_equal(runtime_new(conf, &f->rt), 0);
    kernel_publish(b->k, f->rt);
    kernel_share_endpoints(b->k);
    f->cluster = &f->rt->clusters[0];
    assert_int_not_equal(f->cluster->kernel_id, UINT32_MAX);
    f->down = bench_down(b);
    bench_slot(b, f->down)->listener = f->rt->listeners[0].kernel_id;
}

static void _end(struct fixture *f)
{
    endpoint_share(NULL, NULL);
    runtime_unref(&f->rt);
}

static uint32_t _id(const struct fixture *f, size_t i)
{
    return f->cluster->endpoints[i].id;
}

static size_t _index(const struct fixture *f, uint32_t id)
{
    for (size_t i = 0; i < ENDPOINTS; i++) {
        if (_id(f, i) == id)
            return i;
    }
    fail_msg("no endpoint of the cluster: %u", id);
    return 0;
}

/* The endpoint that the programs choose for a request with these field lines; -1 if they leave that to
 * userspace. Nobody is connected, so the request comes back up. */
static int _ask(struct fixture *f, const char *fields)
{
    char text[HTTP1_WINDOW + 1];
    uint64_t none = bench_reason(f->b, FALLBACK_EJECTED), busy = bench_reason(f->b, FALLBACK_NO_UPSTREAM);
    int n = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", fields);
    assert_true(n < (int)sizeof(text));
    send_bytes(f->down->far, text, (size_t)n);
    bench_expect_passed(f->b, f->down, text, (size_t)n);
    uint32_t picked = bench_slot(f->b, f->down)->picked, listener = f->rt->listeners[0].kernel_id;
    assert_int_equal(bench_reason(f->b, FALLBACK_EJECTED), none + (picked ? 0 : 1));
    assert_int_equal(bench_reason(f->b, FALLBACK_NO_UPSTREAM), busy + (picked ? 1 : 0));
    await(bench_give_back(f->b, f->down));
    bench_slot(f->b, f->down)->listener = listener;
    return picked ? (int)_index(f, picked - 1) : -1;
}

/* Asks `n` times and counts the answers. */
static void _count(struct fixture *f, unsigned n)
{
    memset(f->chosen, 0, sizeof(f->chosen));
    for (unsigned i = 0; i < n; i++) {
        int e = _ask(f, "");
        assert_true(e >= 0);
        f->chosen[e]++;
    }
}

static void _expect_about(uint32_t n, uint32_t expected)
{
    assert_in_range(n, expected > OFF_BY ? expected - OFF_BY : 0, expected + OFF_BY);
}

static const struct conf_http_cluster _nothing;
static const uint32_t _equal[ENDPOINTS] = {1, 1, 1, 1};

/* Policies ---------------------------------------------------------------------------- */

static void test_round_robin(void **state)
{
    static const uint32_t weights[ENDPOINTS] = {4, 1, 3, 2};
    struct fixture f;
    _begin(&f, *state, CONF_ROUND_ROBIN, _nothing, weights);
    _count(&f, 10 * 20);
    for (size_t i = 0; i < ENDPOINTS; i++)
        assert_int_equal(f.chosen[i], weights[i] * 20);
    /* The others share what one leaves, as their weights say. */
    endpoint_set(_id(&f, 2), ENDPOINT_UNHEALTHY, true);
    _count(&f, 7 * 20);
    for (size_t i = 0; i < ENDPOINTS; i++)
        assert_int_equal(f.chosen[i], i == 2 ? 0 : weights[i] * 20);
    _end(&f);
}

static void test_random(void **state)
{
    static const uint32_t weights[ENDPOINTS] = {5, 1, 3, 1};
    struct fixture f;
    _begin(&f, *state, CONF_RANDOM, _nothing, weights);
    _count(&f, DRAWS);
    for (size_t i = 0; i < ENDPOINTS; i++)
        _expect_about(f.chosen[i], weights[i] * DRAWS / 10);
    _end(&f);
}

/* One that is out of use is not drawn; its share goes to the others, as their weights say. Userspace
 * decides when eight draws found nobody: here, one request in 256. */
static void test_random_of_the_rest(void **state)
{
    static const uint32_t weights[ENDPOINTS] = {4, 1, 2, 1};
    struct fixture f;
    uint32_t left = 0;
    _begin(&f, *state, CONF_RANDOM, _nothing, weights);
    endpoint_set(_id(&f, 0), ENDPOINT_DRAIN, true);
    for (unsigned i = 0; i < DRAWS; i++) {
        int e = _ask(&f, "");
        if (e >= 0)
            f.chosen[e]++;
        else
            left++;
    }
    assert_int_equal(f.chosen[0], 0);
    assert_in_range(left, 0, DRAWS / 20);
    for (size_t i = 1; i < ENDPOINTS; i++)
        _expect_about(f.chosen[i], weights[i] * DRAWS / 4);
    _end(&f);
}

static void _set_load(struct fixture *f, size_t i, uint64_t load)
{
    f->b->k->endpoint_load[_id(f, i)].outstanding = load;
}

static void test_least_request(void **state)
{
    struct fixture f;
    _begin(&f, *state, CONF_LEAST_REQUEST, _nothing, _equal);
    _count(&f, DRAWS);
    for (size_t i = 0; i < ENDPOINTS; i++)
        _expect_about(f.chosen[i], DRAWS / ENDPOINTS);
    /* The busiest never wins against another; the idlest always does, and one of two draws in
     * four is its own. */
    for (size_t i = 0; i < ENDPOINTS; i++)
        _set_load(&f, i, i * 5);
    _count(&f, DRAWS);
    assert_int_equal(f.chosen[3], 0);
    _expect_about(f.chosen[0], DRAWS / 2);
    _expect_about(f.chosen[1], DRAWS / 3);
    /* The busier of two gets a request only if eight draws did not find the other. */
    endpoint_set(_id(&f, 0), ENDPOINT_EJECTED, true);
    endpoint_set(_id(&f, 1), ENDPOINT_EJECTED, true);
    for (unsigned i = 0; i < 200; i++) {
        int e = _ask(&f, "");
        f.chosen[e < 0 ? 0 : e] += e >= 0;
    }
    assert_true(f.chosen[2] > 8 * f.chosen[3]);
    _end(&f);
}

/* (outstanding + 1) / weight is compared. */
static void test_least_request_by_weight(void **state)
{
    static const uint32_t weights[ENDPOINTS] = {4, 1, 4, 4};
    struct fixture f;
    _begin(&f, *state, CONF_LEAST_REQUEST, _nothing, weights);
    for (size_t i = 0; i < ENDPOINTS; i++)
        _set_load(&f, i, i == 1 ? 0 : 2);
    _count(&f, 300); /* 3/4 against 1. */
    assert_int_equal(f.chosen[1], 0);
    for (size_t i = 0; i < ENDPOINTS; i++)
        _set_load(&f, i, i == 1 ? 0 : 4);
    _count(&f, DRAWS); /* 5/4 against 1. */
    _expect_about(f.chosen[1], DRAWS / 2);
    _end(&f);
}

/* Hashing ----------------------------------------------------------------------------- */

/* What userspace chooses for the same request. */
static int _userspace(struct fixture *f, const char *fields)
{
    static struct http1_message m;
    static const struct http1_limits limits = {
        .header_bytes = 16384, .header_count = 100, .target_bytes = 99};
    char text[HTTP1_WINDOW + 1];
    struct conn c = {.fd = f->down->near};
    struct balance_request r = {0};
    int n = snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", fields);
    assert_int_equal(http1_parse_request(text, (size_t)n, &limits, &m), 0);
    balance_hash_request(f->cluster, &c, text, &m, &r);
    assert_true(r.has_hash);
    return (int)(balance_pick(f->cluster, &r) - f->cluster->endpoints);
}

/* Both paths give the same key to the same endpoint, and each endpoint has its share of the keys. */
static void _check_keys(struct fixture *f, const char *before, const char *behind)
{
    enum { KEYS = 400 };
    uint32_t chosen[ENDPOINTS] = {0};
    char fields[512];
    for (int i = 0; i < KEYS; i++) {
        snprintf(fields, sizeof(fields), "%s%d%s", before, i, behind);
        int kernel = _ask(f, fields), userspace = _userspace(f, fields);
        if (kernel != userspace)
            fail_msg("%s: endpoint %d in the kernel, %d in userspace", fields, kernel, userspace);
        chosen[kernel]++;
    }
    for (size_t i = 0; i < ENDPOINTS; i++)
        assert_in_range(chosen[i], KEYS / ENDPOINTS / 2, KEYS / ENDPOINTS * 2);
}

static void test_maglev_header(void **state)
{
    struct conf_http_cluster http = {.hash_on = CONF_HASH_ON_HEADER, .hash_name = "x-user"};
    struct fixture f;
    _begin(&f, *state, CONF_MAGLEV, http, _equal);
    _check_keys(&f, "X-Other: 1\r\nx-uSER: user-", "\r\nX-User: other\r\nX-User-2: 7\r\n");
    _check_keys(&f, "X-User:\t a ", " b \r\n");
    _end(&f);
}

static void test_maglev_cookie(void **state)
{
    struct conf_http_cluster http = {.hash_on = CONF_HASH_ON_COOKIE, .hash_name = "Sid"};
    struct fixture f;
    _begin(&f, *state, CONF_MAGLEV, http, _equal);
    _check_keys(&f, "Accept: */*\r\nCookie: sid=1; Sida=2; a=Sid=3; Sid=key",
                "; Sid=other\r\nSid: Sid=1\r\n");
    _check_keys(&f, "cookie:Sid=", "\r\n");
    _end(&f);
}

/* All clients here have one address: they have one endpoint, the same on both paths. */
static void test_maglev_source(void **state)
{
    struct conf_http_cluster http = {.hash_on = CONF_HASH_ON_SOURCE};
    struct fixture f;
    _begin(&f, *state, CONF_MAGLEV, http, _equal);
    int expected = _userspace(&f, "");
    for (int i = 0; i < 8; i++) {
        struct conn c = {.fd = f.down->near};
        bench_slot(f.b, f.down)->source = balance_hash_source(&c);
        assert_int_not_equal(balance_hash_source(&c), 0);
        assert_int_equal(_ask(&f, ""), expected);
    }
    _end(&f);
}

/* Keys of an endpoint that is out of use move, those of the others stay. Both paths agree. */
static void test_maglev_moves_keys(void **state)
{
    struct conf_http_cluster http = {.hash_on = CONF_HASH_ON_HEADER, .hash_name = "k"};
    struct fixture f;
    char fields[32];
    int before[200];
    unsigned moved = 0;
    _begin(&f, *state, CONF_MAGLEV, http, _equal);
    for (int i = 0; i < 200; i++) {
        snprintf(fields, sizeof(fields), "K: %d\r\n", i);
        before[i] = _ask(&f, fields);
    }
    endpoint_set(_id(&f, 1), ENDPOINT_REMOVED, true);
    for (int i = 0; i < 200; i++) {
        snprintf(fields, sizeof(fields), "K: %d\r\n", i);
        int now = _ask(&f, fields);
        /* Eight places of the table in a row may all be the endpoint's: then userspace decides. */
        if (now >= 0)
            assert_int_equal(now, _userspace(&f, fields));
        assert_int_not_equal(now, 1);
        if (before[i] != 1)
            assert_int_equal(now, before[i]);
        else
            moved++;
    }
    assert_in_range(moved, 20, 90);
    _end(&f);
}

/* Without the field, without the cookie, and with nothing in it: by chance. */
static void test_maglev_without_a_key(void **state)
{
    static const char *const header[] = {"", "K:\r\n", "K:  \t \r\n", "X: K: 1\r\n", "XK: 1\r\n"};
    static const char *const cookie[] = {"",
                                         "Cookie: a=1\r\n",
                                         "Cookie: K=\r\n",
                                         "Cookie: K= ; a=1\r\n",
                                         "Cookie: K\r\n",
                                         "K: K=1\r\n",
                                         "Cookie: a=1\r\nCookie: K=1\r\n"};
    struct conf_http_cluster http = {.hash_on = CONF_HASH_ON_HEADER, .hash_name = "k"};
    for (int pass = 0; pass < 2; pass++) {
        struct fixture f;
        _begin(&f, *state, CONF_MAGLEV, http, _equal);
        for (size_t i = 0; i < (pass ? 7 : 5); i++) {
            memset(f.chosen, 0, sizeof(f.chosen));
            for (int n = 0; n < 100; n++)
                f.chosen[_ask(&f, pass ? cookie[i] : header[i])]++;
            for (size_t e = 0; e < ENDPOINTS; e++)
                assert_true(f.chosen[e]); /* All of one hundred elsewhere: 3e-13. */
        }
        _end(&f);
        http = (struct conf_http_cluster){.hash_on = CONF_HASH_ON_COOKIE, .hash_name = "K"};
    }
}

/* State ------------------------------------------------------------------------------- */

static void test_nobody_in_use(void **state)
{
    static const enum conf_lb_policy policies[] = {CONF_ROUND_ROBIN, CONF_RANDOM, CONF_LEAST_REQUEST,
                                                   CONF_MAGLEV};
    static const uint64_t bits[ENDPOINTS] = {ENDPOINT_EJECTED, ENDPOINT_UNHEALTHY, ENDPOINT_DRAIN_CONF,
                                             ENDPOINT_DRAIN | ENDPOINT_EJECTED};
    for (size_t p = 0; p < 4; p++) {
        struct conf_http_cluster http = {.hash_on = policies[p] == CONF_MAGLEV ? CONF_HASH_ON_SOURCE : 0};
        struct fixture f;
        _begin(&f, *state, policies[p], http, _equal);
        for (size_t i = 0; i < ENDPOINTS; i++)
            endpoint_set(_id(&f, i), bits[i], true);
        for (int i = 0; i < 5; i++)
            assert_int_equal(_ask(&f, ""), -1);
        for (size_t i = 0; i < ENDPOINTS; i++)
            endpoint_set(_id(&f, i), bits[i], false);
        assert_true(_ask(&f, "") >= 0);
        _end(&f);
    }
}

/* Counting ---------------------------------------------------------------------------- */

static uint64_t _load(struct bench *b)
{
    return __atomic_load_n(&b->k->endpoint_load[0].outstanding, __ATOMIC_ACQUIRE);
}

static void _count_cluster_0(struct bench *b)
{
    b->k->clusters[0].policy = BALANCE_LEAST_REQUEST;
}

static void test_count(void **state)
{
    struct bench *b = *state;
    struct wire *down[3], *up[3];
    _count_cluster_0(b);
    for (int i = 0; i < 3; i++) {
        down[i] = bench_down(b);
        up[i] = bench_up(b);
    }
    for (int i = 0; i < 3; i++) {
        send_text(down[i]->far, PLAIN_REQUEST);
        await(_load(b) == (uint64_t)i + 1);
    }
    uint64_t leases[RUNTIME_ENDPOINTS_MAX] = {0};
    kernel_outstanding(b->k, leases);
    assert_int_equal(leases[0], 3);
    for (int i = 0; i < 3; i++) {
        expect_text(up[i]->far, PLAIN_REQUEST);
        assert_int_equal(_load(b), 3 - i);
        send_text(up[i]->far, PLAIN_RESPONSE);
        await(_load(b) == 2 - (uint64_t)i);
    }
    for (int i = 0; i < 3; i++)
        expect_text(down[i]->far, PLAIN_RESPONSE);
    for (int i = 0; i < 200; i++)
        bench_exchange(b, down[i % 3], up[i % 3]);
    assert_int_equal(_load(b), 0);
}

/* A response with bytes behind it is complete all the same. */
static void test_count_with_more(void **state)
{
    struct bench *b = *state;
    struct wire *down, *up;
    _count_cluster_0(b);
    down = bench_down(b);
    up = bench_up(b);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    assert_int_equal(_load(b), 1);
    send_text(up->far, PLAIN_RESPONSE "more");
    expect_text(down->far, PLAIN_RESPONSE);
    await(_load(b) == 0);
}

/* A lease that nothing was sent on is not counted. */
static void test_count_given_back(void **state)
{
    struct bench *b = *state;
    _count_cluster_0(b);
    struct wire *down = bench_down(b), *up = bench_up(b);
    close(up->far);
    up->far = -1;
    char byte;
    await(recv(up->near, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0);
    send_text(down->far, PLAIN_REQUEST);
    bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    assert_int_equal(_load(b), 0);
    assert_int_equal(bench_slot(b, up)->counted, 0);
}

/* Other policies touch no shared counter. */
static void test_not_counted(void **state)
{
    struct bench *b = *state;
    struct wire *down = bench_down(b), *up = bench_up(b);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    assert_int_equal(_load(b), 0);
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
    assert_int_equal(_load(b), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_round_robin),
        BENCH_TEST(test_random),
        BENCH_TEST(test_random_of_the_rest),
        BENCH_TEST(test_least_request),
        BENCH_TEST(test_least_request_by_weight),
        BENCH_TEST(test_maglev_header),
        BENCH_TEST(test_maglev_cookie),
        BENCH_TEST(test_maglev_source),
        BENCH_TEST(test_maglev_moves_keys),
        BENCH_TEST(test_maglev_without_a_key),
        BENCH_TEST(test_nobody_in_use),
        BENCH_TEST(test_count),
        BENCH_TEST(test_count_with_more),
        BENCH_TEST(test_count_given_back),
        BENCH_TEST(test_not_counted),
    };
    return BENCH_MAIN("balance", tests);
}
