/*
 * Where a Redis command goes: for generated clusters and keys it arrives, through the real programs, at
 * the endpoint that parsers/redis_ring.h names. And what the kernel path does not take comes back up, whole,
 * with its reason.
 */
#include "kernel_helper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/log.h"
#include "skein.skel.h"

#define SEED      20241120U
#define ENDPOINTS 7
#define COMMANDS  400 /**< For each cluster. */
#define MESSAGE   8192

static uint32_t _state = SEED;

static uint32_t _random(uint32_t below)
{
    _state = _state * 1664525U + 1013904223U;
    return (uint32_t)(((uint64_t)(_state >> 8) * below) >> 24);
}

/* Clusters ---------------------------------------------------------------------------- */

static struct runtime *_publish(struct bench *b, uint32_t endpoints, bool weights)
{
    struct conf *conf = calloc(1, sizeof(*conf));
    conf->workers = 1;
    conf->limits.buffer = 1 << 20;
    conf->n_clusters = conf->n_listeners = 1;
    struct conf_cluster *c = conf->clusters = calloc(1, sizeof(*c));
    struct conf_listener *l = conf->listeners = calloc(1, sizeof(*l));
    c->name = strdup("shards");
    c->lb_policy = CONF_CRC16_SLOTS;
    c->n_endpoints = endpoints;
    c->endpoints = calloc(endpoints, sizeof(*c->endpoints));
    for (uint32_t i = 0; i < endpoints; i++) {
        c->endpoints[i].weight = weights ? 1 + _random(9) : 1;
        snprintf(c->endpoints[i].address.text, sizeof(c->endpoints[i].address.text), "127.0.0.1:%u",
                 7000 + i);
    }
    l->name = strdup("cache");
    l->protocol = CONF_REDIS;
    l->redis.max_multibulk = 12;
    l->redis.max_bulk = 4000;
    struct runtime *rt = NULL;
    assert_int_equal(runtime_new(conf, &rt), 0);
    kernel_publish(b->k, rt);
    assert_int_not_equal(rt->listeners[0].kernel_id, UINT32_MAX);
    return rt;
}

/* A connection that has to go back into the pool of its own endpoint. */
static struct wire *_up(struct bench *b, uint32_t endpoint)
{
    struct wire *w = bench_pair(b, true, 0, 0);
    struct pool *p = &b->k->pools[endpoint];
    struct slot *s = bench_slot(b, w);
    s->protocol = SLOT_REDIS;
    s->stats_id = s->pool = endpoint;
    p->ref[0] = w->ref;
    assert_int_equal(kernel_insert(b->k, w->slot, w->near), 0);
    __atomic_fetch_or(&p->idle[0], 1ULL, __ATOMIC_ACQ_REL);
    return w;
}

static bool _is_idle(struct bench *b, uint32_t endpoint)
{
    return bench_load(&b->k->pools[endpoint].idle[0]) & 1;
}

/* Commands ---------------------------------------------------------------------------- */

/* Mostly what is hard on the rule for braces. */
static size_t _key(char *key, size_t max)
{
    static const char few[] = "{}{}{}ab";
    size_t len = _random(4) ? _random(24) : _random((uint32_t)max + 1);
    uint32_t kind = _random(4);
    for (size_t i = 0; i < len; i++)
        key[i] = kind == 0 ? (char)_random(256) : kind == 1 ? (char)('a' + _random(26)) : few[_random(8)];
    if (kind == 3 && len > 8)
        memcpy(key + _random((uint32_t)len - 3), _random(2) ? "{}{" : "{x}", 3);
    return len;
}

static size_t _add(char *out, const char *arg, size_t len)
{
    int n = sprintf(out, "$%zu\r\n", len);
    memcpy(out + n, arg, len);
    memcpy(out + n + len, "\r\n", 2);
    return (size_t)n + len + 2;
}

/* @return Bytes of a command on the key. */
static size_t _command(char *out, const char *key, size_t len)
{
    char value[600];
    static const struct {
        const char *name;
        uint32_t values;
    } commands[] = {{"GET", 0},  {"get", 0},    {"SET", 1},  {"sEt", 1},    {"HSET", 2},
                    {"INCR", 0}, {"EXPIRE", 1}, {"ZADD", 4}, {"STRLEN", 0}, {"zrangebyscore", 2}};
    uint32_t c = _random(sizeof(commands) / sizeof(commands[0]));
    size_t n = (size_t)sprintf(out, "*%u\r\n", 2 + commands[c].values);
    n += _add(out + n, commands[c].name, strlen(commands[c].name));
    n += _add(out + n, key, len);
    for (uint32_t i = 0; i < commands[c].values; i++) {
        uint32_t size = _random(i + 1 == commands[c].values ? sizeof(value) : 50);
        pattern_fill((uint8_t *)value, size, c, 0);
        n += _add(out + n, value, size);
    }
    return n;
}

static void _check_cluster(struct bench *b, struct wire *down, struct wire **ups, uint32_t endpoints,
                           bool weights)
{
    struct runtime *rt = _publish(b, endpoints, weights);
    const struct rt_cluster *c = &rt->clusters[0];
    uint32_t seen[ENDPOINTS] = {0};
    bench_slot(b, down)->listener = rt->listeners[0].kernel_id;
    for (int i = 0; i < COMMANDS; i++) {
        char key[REDIS_KEY_MAX], text[MESSAGE];
        size_t len = _key(key, sizeof(key));
        size_t n = _command(text, key, len);
        uint32_t place = redis_ring_place(c->ring, key, len);
        uint32_t id = c->endpoints[redis_ring_endpoint(c->ring, place, NULL)].id;
        assert_true(id < ENDPOINTS);
        send_bytes(down->far, text, n);
        expect_bytes(ups[id]->far, text, n);
        send_text(ups[id]->far, "+OK\r\n");
        expect_text(down->far, "+OK\r\n");
        await(_is_idle(b, id));
        seen[id]++;
    }
    for (uint32_t id = 0; id < ENDPOINTS; id++) {
        expect_silence(ups[id]->far);
        assert_true(id >= endpoints || seen[id]);
    }
    assert_false(bench_passed(b, down));
    runtime_unref(&rt);
}

static void test_keys_go_where_they_belong(void **state)
{
    struct bench *b = *state;
    struct wire *down = bench_redis_down(b), *ups[ENDPOINTS];
    for (uint32_t i = 0; i < ENDPOINTS; i++)
        ups[i] = _up(b, i);
    for (uint32_t n = 1; n <= ENDPOINTS; n++)
        _check_cluster(b, down, ups, n, false);
    for (uint32_t n = 2; n <= ENDPOINTS; n++)
        _check_cluster(b, down, ups, n, true);
    assert_int_equal(bench_requests(b), COMMANDS * (2 * ENDPOINTS - 1));
}

/* What stays out ---------------------------------------------------------------------- */

struct refused {
    struct bench *b;
    struct wire *down;
    uint32_t listener;
};

/* The whole of it comes up, for this reason, and nothing else does. */
static void _refused(struct refused *r, const void *data, size_t len, unsigned reason)
{
    uint64_t before = bench_reason(r->b, reason), requests = bench_requests(r->b);
    send_bytes(r->down->far, data, len);
    bench_expect_passed(r->b, r->down, data, len);
    if (bench_reason(r->b, reason) != before + 1)
        fail_msg("%.60s: no '%s'", (const char *)data, fallback_name(reason));
    assert_int_equal(bench_requests(r->b), requests);
    await(bench_give_back(r->b, r->down));
    bench_slot(r->b, r->down)->listener = r->listener;
}

static void _refused_text(struct refused *r, const char *text, unsigned reason)
{
    _refused(r, text, strlen(text), reason);
}

static void _refused_key(struct refused *r, size_t key_len, unsigned reason)
{
    char key[2500], text[MESSAGE];
    memset(key, 'k', sizeof(key));
    size_t n = (size_t)sprintf(text, "*2\r\n");
    n += _add(text + n, "GET", 3);
    n += _add(text + n, key, key_len);
    _refused(r, text, n, reason);
}

static void _refused_arguments(struct refused *r, uint32_t argc, unsigned reason)
{
    char text[MESSAGE];
    size_t n = (size_t)sprintf(text, "*%u\r\n", argc);
    n += _add(text + n, "SADD", 4);
    for (uint32_t i = 1; i < argc; i++)
        n += _add(text + n, "x", 1);
    _refused(r, text, n, reason);
}

static void _setup_refused(struct bench *b, struct refused *r, struct runtime **rt)
{
    *r = (struct refused){.b = b, .down = bench_redis_down(b)};
    for (uint32_t i = 0; i < 3; i++)
        _up(b, i);
    *rt = _publish(b, 3, false);
    r->listener = (*rt)->listeners[0].kernel_id;
    bench_slot(b, r->down)->listener = r->listener;
}

static void test_other_commands(void **state)
{
    struct refused r;
    struct runtime *rt;
    _setup_refused(*state, &r, &rt);
    static const char *const commands[] = {
        "*1\r\n$4\r\nPING\r\n",
        "*2\r\n$4\r\nAUTH\r\n$1\r\nx\r\n",
        "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n",
        "*1\r\n$5\r\nMULTI\r\n",
        "*2\r\n$9\r\nSUBSCRIBE\r\n$1\r\nc\r\n",
        "*3\r\n$4\r\nMGET\r\n$1\r\na\r\n$1\r\nb\r\n",
        "*3\r\n$3\r\nDEL\r\n$1\r\na\r\n$1\r\nb\r\n",
        "*3\r\n$6\r\nRENAME\r\n$1\r\na\r\n$1\r\nb\r\n",
        "*3\r\n$5\r\nBLPOP\r\n$1\r\na\r\n$1\r\n0\r\n",
        "*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$3\r\nOFF\r\n",
        "*3\r\n$6\r\nOBJECT\r\n$8\r\nENCODING\r\n$1\r\na\r\n",
        "*4\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$1\r\na\r\n",
        "*2\r\n$7\r\nNOTHING\r\n$1\r\na\r\n",
        "*2\r\n$16\r\nSIXTEENLETTERSXX\r\n$1\r\na\r\n",
        "*2\r\n$17\r\nSEVENTEENLETTERSX\r\n$1\r\na\r\n",
        "*2\r\n$4\r\nGET\0\r\n$1\r\na\r\n",
        /* Known, with a wrong number of arguments. */
        "*1\r\n$3\r\nGET\r\n",
        "*3\r\n$3\r\nGET\r\n$1\r\na\r\n$1\r\nb\r\n",
        "*2\r\n$3\r\nSET\r\n$1\r\na\r\n",
        "*3\r\n$4\r\nHSET\r\n$1\r\na\r\n$1\r\nf\r\n",
    };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (memcmp(commands[i] + 4, "$4\r\nGET", 7) == 0)
            _refused(&r, commands[i], 21, FALLBACK_COMMAND); /* A zero byte inside. */
        else
            _refused_text(&r, commands[i], FALLBACK_COMMAND);
    }
    runtime_unref(&rt);
}

static void test_other_forms(void **state)
{
    struct refused r;
    struct runtime *rt;
    _setup_refused(*state, &r, &rt);
    static const struct {
        const char *text;
        enum resp_frame_reason reason;
    } forms[] = {
        {"GET a\r\n", RESP_FRAME_INLINE},
        {"\r\n", RESP_FRAME_INLINE},
        {"GET", RESP_FRAME_INLINE},
        {"*", RESP_FRAME_PARTIAL},
        {"*2\r\n$3\r\nGET\r\n$1\r\n", RESP_FRAME_PARTIAL},
        {"*2\r\n$3\r\nGE", RESP_FRAME_PARTIAL},
        {"*0\r\n", RESP_FRAME_COUNT},
        {"*-1\r\n", RESP_FRAME_COUNT},
        {"*33\r\n$3\r\nGET\r\n", RESP_FRAME_COUNT},
        {"*02\r\n$3\r\nGET\r\n$1\r\na\r\n", RESP_FRAME_SYNTAX},
        {"*2\r\n$03\r\nGET\r\n$1\r\na\r\n", RESP_FRAME_SYNTAX},
        {"*2\r\n$3\r\nGETxx$1\r\na\r\n", RESP_FRAME_SYNTAX},
        {"*2\r\n:3\r\nGET\r\n$1\r\na\r\n", RESP_FRAME_SYNTAX},
        {"*2\r\n$3\r\nGET\r\n$-1\r\n", RESP_FRAME_SYNTAX},
        {"*2\r\n$3\r\nGET\r\n$1\r\na\rx", RESP_FRAME_SYNTAX},
        {"*2\r\n$3\r\nGET\r\n$536870913\r\n", RESP_FRAME_SYNTAX},
        {"*1\r\n$0\r\n\r\n", RESP_FRAME_NAME},
        {"*1\r\n$33\r\nx", RESP_FRAME_NAME},
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        _refused_text(&r, forms[i].text, FALLBACK_RESP + forms[i].reason);
    runtime_unref(&rt);
}

static void test_limits(void **state)
{
    struct refused r;
    struct runtime *rt;
    char text[MESSAGE], value[4000] = {0};
    _setup_refused(*state, &r, &rt);
    _refused_key(&r, REDIS_KEY_MAX + 1, FALLBACK_COMMAND);
    _refused_key(&r, 1700, FALLBACK_COMMAND);
    _refused_key(&r, HTTP1_WINDOW, FALLBACK_RESP + RESP_FRAME_TOO_LONG);
    _refused_key(&r, 2500, FALLBACK_RESP + RESP_FRAME_TOO_LONG);
    _refused_arguments(&r, 13, FALLBACK_LIMIT);
    _refused_arguments(&r, 33, FALLBACK_RESP + RESP_FRAME_COUNT);
    /* The head reaches beyond the window. */
    size_t n = (size_t)sprintf(text, "*4\r\n");
    n += _add(text + n, "HSET", 4);
    n += _add(text + n, "h", 1);
    n += _add(text + n, value, HTTP1_WINDOW);
    n += _add(text + n, "v", 1);
    _refused(&r, text, n, FALLBACK_RESP + RESP_FRAME_TOO_LONG);
    /* Over max_bulk, with all of it. */
    n = (size_t)sprintf(text, "*3\r\n");
    n += _add(text + n, "SET", 3);
    n += _add(text + n, "k", 1);
    n += _add(text + n, value, sizeof(value));
    _refused(&r, text, n, FALLBACK_LIMIT);
    runtime_unref(&rt);
}

static void test_ejected(void **state)
{
    static const char text[] = "*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n";
    struct refused r;
    struct runtime *rt;
    _setup_refused(*state, &r, &rt);
    const struct rt_cluster *c = &rt->clusters[0];
    uint32_t id = c->endpoints[redis_ring_endpoint(c->ring, redis_ring_place(c->ring, "foo", 3), NULL)].id;
    __atomic_store_n(&r.b->k->endpoint_state[id], 1, __ATOMIC_RELEASE);
    _refused_text(&r, text, FALLBACK_EJECTED);
    __atomic_store_n(&r.b->k->endpoint_state[id], 0, __ATOMIC_RELEASE);
    struct wire *up = &r.b->wires[1 + id];
    send_text(r.down->far, text);
    expect_text(up->far, text);
    send_text(up->far, "$3\r\nbar\r\n");
    expect_text(r.down->far, "$3\r\nbar\r\n");
    await(_is_idle(r.b, id));
    /* The others do not mind. */
    __atomic_store_n(&r.b->k->endpoint_state[(id + 1) % 3], 1, __ATOMIC_RELEASE);
    send_text(r.down->far, text);
    expect_text(up->far, text);
    __atomic_store_n(&r.b->k->endpoint_state[(id + 1) % 3], 0, __ATOMIC_RELEASE);
    runtime_unref(&rt);
}

static void test_pipelined(void **state)
{
    static const char one[] = "*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n";
    struct refused r;
    struct runtime *rt;
    char two[100];
    _setup_refused(*state, &r, &rt);
    snprintf(two, sizeof(two), "%s%s", one, one);
    _refused_text(&r, two, FALLBACK_PIPELINED);
    two[strlen(two) - 10] = 0;
    _refused_text(&r, two, FALLBACK_PIPELINED);
    _refused_text(&r, "*2\r\n$3\r\nGET\r\n$3\r\nfoo\r\n*", FALLBACK_PIPELINED);
    /* While one is outstanding: its reply still comes, the rest is userspace's. */
    send_text(r.down->far, one);
    const struct rt_cluster *c = &rt->clusters[0];
    uint32_t id = c->endpoints[redis_ring_endpoint(c->ring, redis_ring_place(c->ring, "foo", 3), NULL)].id;
    struct wire *up = &r.b->wires[1 + id];
    expect_text(up->far, one);
    uint64_t before = bench_reason(r.b, FALLBACK_PIPELINED);
    send_text(r.down->far, one);
    bench_expect_passed(r.b, r.down, one, strlen(one));
    assert_int_equal(bench_reason(r.b, FALLBACK_PIPELINED), before + 1);
    runtime_unref(&rt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {BENCH_TEST(test_keys_go_where_they_belong),
                                       BENCH_TEST(test_other_commands),
                                       BENCH_TEST(test_other_forms),
                                       BENCH_TEST(test_limits),
                                       BENCH_TEST(test_ejected),
                                       BENCH_TEST(test_pipelined)};
    log_set_level(LOG_LEVEL_ERROR);
    return BENCH_MAIN("redis_routes", tests);
}
