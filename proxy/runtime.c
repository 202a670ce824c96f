#include "runtime.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Ids are never given back: a process sees few addresses, and ids index arrays. */
static struct registry {
    pthread_mutex_t lock;
    char *endpoints[RUNTIME_ENDPOINTS_MAX];
    char *listeners[RUNTIME_LISTENERS_MAX];
} _registry = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int _register(char **table, size_t max, const char *text, uint32_t *id)
{
    int r = -ENOSPC;
    pthread_mutex_lock(&_registry.lock);
    for (size_t i = 0; i < max; i++) {
        if (!table[i])
            table[i] = strdup(text);
        if (!table[i]) {
            r = -ENOMEM;
            break;
        }
        if (strcmp(table[i], text) == 0) {
            *id = (uint32_t)i;
            r = 0;
            break;
        }
    }
    pthread_mutex_unlock(&_registry.lock);
    return r;
}

const char *runtime_endpoint_name(uint32_t id)
{
    return id < RUNTIME_ENDPOINTS_MAX ? _registry.endpoints[id] : NULL;
}

const char *runtime_listener_name(uint32_t id)
{
    return id < RUNTIME_LISTENERS_MAX ? _registry.listeners[id] : NULL;
}

static uint32_t _gcd(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

/* Smooth weighted round robin, unrolled into one period: at each step every endpoint
 * gains its weight, the richest is chosen and pays the total. */
static int _schedule(struct rt_cluster *c)
{
    size_t n = c->conf->n_endpoints;
    uint32_t div = 0, total = 0;
    for (size_t i = 0; i < n; i++)
        div = _gcd(c->conf->endpoints[i].weight, div);
    for (size_t i = 0; i < n; i++)
        total += c->conf->endpoints[i].weight / div;
    int64_t *credit = calloc(n, sizeof(*credit));
    c->schedule = calloc(total, sizeof(*c->schedule));
    if (!credit || !c->schedule) {
        free(credit);
        return -ENOMEM;
    }
    for (uint32_t step = 0; step < total; step++) {
        size_t best = 0;
        for (size_t i = 0; i < n; i++) {
            credit[i] += c->conf->endpoints[i].weight / div;
            if (credit[i] > credit[best])
                best = i;
        }
        credit[best] -= total;
        c->schedule[step] = (uint16_t)best;
    }
    c->schedule_len = total;
    free(credit);
    return 0;
}

_Static_assert((int)CONF_HASH_JENKINS == (int)REDIS_HASH_JENKINS &&
                   (int)_CONF_HASH_MAX == (int)_REDIS_HASH_MAX,
               "both name the same hash functions");

/* Which endpoint has which keys or hashes. */
static int _build_ring(struct rt_cluster *c)
{
    struct redis_ring_conf conf = {.hash = (enum redis_hash)c->conf->hash,
                                   .tag = {c->conf->hash_tag[0], c->conf->hash_tag[1]},
                                   .n_endpoints = (uint32_t)c->conf->n_endpoints};
    switch (c->conf->lb_policy) {
    case CONF_CRC16_SLOTS:
        conf.distribution = REDIS_CRC16_SLOTS;
        break;
    case CONF_KETAMA:
        conf.distribution = REDIS_KETAMA;
        break;
    case CONF_MODULA:
        conf.distribution = REDIS_MODULA;
        break;
    case CONF_MAGLEV:
        conf.distribution = REDIS_MAGLEV;
        break;
    default:
        return 0;
    }
    struct redis_ring_endpoint *endpoints = calloc(conf.n_endpoints, sizeof(*endpoints));
    char(*names)[sizeof(c->conf->endpoints->address.text)] = calloc(conf.n_endpoints, sizeof(*names));
    int r = endpoints && names ? 0 : -ENOMEM;
    for (uint32_t i = 0; !r && i < conf.n_endpoints; i++) {
        const struct conf_endpoint *e = &c->conf->endpoints[i];
        memcpy(names[i], e->address.text, redis_ring_default_name_len(e->address.text));
        endpoints[i].name = e->name ? e->name : names[i];
        endpoints[i].weight = e->weight;
    }
    conf.endpoints = endpoints;
    if (!r)
        r = redis_ring_new(&conf, &c->ring);
    free(endpoints);
    free(names);
    return r;
}

static int _build_cluster(struct rt_cluster *c, const struct conf_cluster *conf)
{
    c->conf = conf;
    c->kernel_id = UINT32_MAX;
    c->position = &c->own_position;
    c->endpoints = calloc(conf->n_endpoints, sizeof(*c->endpoints));
    if (!c->endpoints)
        return -ENOMEM;
    for (size_t i = 0; i < conf->n_endpoints; i++) {
        c->endpoints[i].conf = &conf->endpoints[i];
        int r = _register(_registry.endpoints, RUNTIME_ENDPOINTS_MAX, conf->endpoints[i].address.text,
                          &c->endpoints[i].id);
        if (r)
            return r;
    }
    int r = _build_ring(c);
    return r ? r : _schedule(c);
}

static void _free(struct runtime *rt)
{
    for (size_t i = 0; rt->clusters && i < rt->conf->n_clusters; i++) {
        free(rt->clusters[i].endpoints);
        free(rt->clusters[i].schedule);
        redis_ring_free(&rt->clusters[i].ring);
    }
    free(rt->clusters);
    free(rt->listeners);
}

int runtime_new(struct conf *conf, struct runtime **out)
{
    int r = -ENOMEM;
    struct runtime *rt = calloc(1, sizeof(*rt));
    if (!rt)
        return -ENOMEM;
    rt->conf = conf;
    atomic_init(&rt->refs, 1);
    rt->listeners = calloc(conf->n_listeners, sizeof(*rt->listeners));
    rt->clusters = calloc(conf->n_clusters + 1, sizeof(*rt->clusters));
    if (!rt->listeners || !rt->clusters)
        goto fail;
    for (size_t i = 0; i < conf->n_clusters; i++) {
        r = _build_cluster(&rt->clusters[i], &conf->clusters[i]);
        if (r)
            goto fail;
    }
    for (size_t i = 0; i < conf->n_listeners; i++) {
        struct rt_listener *l = &rt->listeners[i];
        l->conf = &conf->listeners[i];
        l->runtime = rt;
        l->kernel_id = UINT32_MAX;
        r = _register(_registry.listeners, RUNTIME_LISTENERS_MAX, l->conf->name, &l->id);
        if (r)
            goto fail;
    }
    *out = rt;
    return 0;
fail:
    _free(rt);
    free(rt);
    return r;
}

int runtime_find_http_endpoint(const struct runtime *rt, const char *address)
{
    for (size_t i = 0; i < rt->conf->n_clusters; i++) {
        const struct rt_cluster *c = &rt->clusters[i];
        for (size_t e = 0; !conf_is_for_redis(c->conf) && e < c->conf->n_endpoints; e++) {
            if (strcmp(c->conf->endpoints[e].address.text, address) == 0)
                return (int)c->endpoints[e].id;
        }
    }
    return -1;
}

struct runtime *runtime_ref(struct runtime *rt)
{
    atomic_fetch_add_explicit(&rt->refs, 1, memory_order_relaxed);
    return rt;
}

void runtime_unref(struct runtime **rt)
{
    struct runtime *r = *rt;
    *rt = NULL;
    if (!r || atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) != 1)
        return;
    _free(r);
    conf_free(&r->conf);
    free(r);
}

static bool _matches(const struct conf_route *r, const char *host, size_t host_len, const char *path,
                     size_t path_len)
{
    if (r->host && (strlen(r->host) != host_len || strncasecmp(r->host, host, host_len) != 0))
        return false;
    if (r->path)
        return strlen(r->path) == path_len && memcmp(r->path, path, path_len) == 0;
    size_t n = strlen(r->path_prefix);
    return n <= path_len && memcmp(r->path_prefix, path, n) == 0;
}

const struct conf_route *runtime_route(const struct rt_listener *l, const char *host, size_t host_len,
                                       const char *path, size_t path_len)
{
    for (size_t i = 0; i < l->conf->n_routes; i++) {
        const struct conf_route *r = &l->conf->routes[i];
        if (_matches(r, host, host_len, path, path_len))
            return r;
    }
    return NULL;
}
