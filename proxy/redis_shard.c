/* Shards: which connections a worker has to an endpoint, and whether the endpoint is used. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "endpoint.h"
#include "kpath.h"
#include "redis.h"
#include "redis_worker.h"
#include "worker.h"

/* Health ------------------------------------------------------------------------------ */

void redis_shard_failed(struct redis_shard *s, const char *why)
{
    snprintf(s->error, sizeof(s->error), "%s", why);
    if (endpoint_failed(s->endpoint, &s->ejection, why))
        stat_add(&s->worker->stats.endpoints[s->endpoint].ejections, 1);
}

void redis_shard_answered(struct redis_shard *s)
{
    endpoint_answered(s->endpoint);
}

static const struct rt_endpoint *_moved(const struct rt_cluster *cluster, uint32_t place)
{
    bool ejected[RUNTIME_ENDPOINTS_MAX];
    for (size_t i = 0; i < cluster->conf->n_endpoints; i++)
        ejected[i] = endpoint_ejected(cluster->endpoints[i].id);
    return &cluster->endpoints[redis_ring_endpoint(cluster->ring, place, ejected)];
}

const struct rt_endpoint *redis_place_endpoint(struct redis_client *cl, uint32_t place)
{
    const struct rt_cluster *cluster = redis_cluster(cl);
    const struct rt_endpoint *e = &cluster->endpoints[redis_ring_endpoint(cluster->ring, place, NULL)];
    if (redis_listener_conf(cl)->on_ejected == CONF_EJECTED_MOVE && endpoint_ejected(e->id))
        return _moved(cluster, place);
    return e;
}

/* Connections ------------------------------------------------------------------------- */

struct redis_shard *redis_shard_get(struct redis_client *cl, const struct rt_endpoint *e)
{
    struct worker *w = cl->c.worker;
    struct redis_shard *s = w->redis->shards[e->id];
    if (!s) {
        s = calloc(1, sizeof(*s));
        if (!s)
            abort();
        s->worker = w;
        s->endpoint = e->id;
        TAILQ_INIT(&s->idle[0]);
        TAILQ_INIT(&s->idle[1]);
        w->redis->shards[e->id] = s;
    }
    unsigned version = atomic_load_explicit(&w->reloads, memory_order_relaxed);
    if (s->source == e && s->version == version)
        return s;
    /* As the configuration in use says, which may be newer than the shard. */
    s->source = e;
    s->version = version;
    s->conf = &redis_cluster(cl)->conf->redis;
    s->bypass_except = redis_cluster(cl)->conf->bypass_except;
    s->address = e->conf->address;
    s->connections = s->conf->connections;
    s->ejection = redis_cluster(cl)->conf->ejection;
    return s;
}

static struct redis_upstream *_connect(struct redis_shard *s, uint8_t resp, bool shared, const char **why)
{
    int err;
    if (endpoint_ejected(s->endpoint)) {
        *why = s->error[0] ? s->error : "ejected";
        return NULL;
    }
    struct redis_upstream *u = redis_upstream_new(s, resp, shared, &err);
    if (!u) {
        stat_add(&s->worker->stats.endpoints[s->endpoint].connect_failures, 1);
        redis_shard_failed(s, strerror(err));
        *why = s->error;
    }
    return u;
}

struct redis_upstream *redis_shard_shared(struct redis_shard *s, struct redis_client *cl, const char **why)
{
    uint64_t id = cl->id >> REDIS_ID_SHIFT;
    uint64_t i = cl->bulky ? s->connections + id % REDIS_SHARED_BULKY : id % s->connections;
    struct redis_upstream **u = &s->shared[cl->resp - 2][i];
    if (!*u)
        *u = _connect(s, cl->resp, true, why);
    return *u;
}

static void _unlist(struct redis_upstream *u)
{
    if (u->listed) {
        TAILQ_REMOVE(&u->shard->idle[u->resp - 2], u, idle);
        u->shard->n_idle--;
    }
    u->listed = false;
}

static void _disown(struct redis_upstream *u)
{
    if (u->owner)
        LIST_REMOVE(u, pins);
    u->owner = NULL;
    u->pin = REDIS_PIN_NONE;
}

void redis_shard_own(struct redis_upstream *u, struct redis_client *cl, enum redis_pin pin)
{
    _unlist(u);
    u->owner = cl;
    u->pin = pin;
    LIST_INSERT_HEAD(&cl->pins, u, pins);
}

struct redis_upstream *redis_shard_pin(struct redis_shard *s, struct redis_client *cl, enum redis_pin pin,
                                       const char **why)
{
    struct redis_upstream *u = TAILQ_FIRST(&s->idle[cl->resp - 2]);
    if (!u)
        u = _connect(s, cl->resp, false, why);
    if (u)
        redis_shard_own(u, cl, pin);
    return u;
}

struct redis_upstream *redis_shard_pin_fresh(struct redis_shard *s, struct redis_client *cl,
                                             enum redis_pin pin, const char **why)
{
    struct redis_upstream *u = _connect(s, cl->resp, false, why);
    if (u)
        redis_shard_own(u, cl, pin);
    return u;
}

void redis_shard_unpin(struct redis_upstream *u, bool clean)
{
    struct redis_shard *s = u->shard;
    struct redis_client *cl = u->owner;
    _disown(u);
    if (u->c.dead || u->listed || u->c.kernel || (u->c.leaving && clean && !u->head))
        return; /* What leaves the kernel path comes here again when it has left. */
    bool donate =
        clean && u->donate && !u->head && u->resp == 2 && !u->c.worker->draining &&
        kpath_pooled(u->c.worker, u->c.endpoint) < u->c.worker->runtime->conf->limits.idle_upstreams;
    u->donate = false;
    if (donate && kpath_donate(&u->c)) {
        if (cl)
            kpath_remember(&cl->c, &u->c);
        return;
    }
    if (!clean || u->head || u->c.eof_seen || u->c.write_failed || u->c.out || u->c.worker->draining ||
        s->n_idle >= u->c.worker->runtime->conf->limits.idle_upstreams) {
        redis_upstream_fail(u, false, "no longer needed");
        return;
    }
    TAILQ_INSERT_HEAD(&s->idle[u->resp - 2], u, idle);
    u->listed = true;
    s->n_idle++;
    u->c.ops->clock(&u->c);
    conn_read(&u->c, true);
}

void redis_shard_forget(struct redis_upstream *u)
{
    struct redis_shard *s = u->shard;
    _unlist(u);
    _disown(u);
    for (unsigned i = 0; u->shared && i < REDIS_SHARED_MAX; i++) {
        if (s->shared[u->resp - 2][i] == u)
            s->shared[u->resp - 2][i] = NULL;
    }
}

int redis_worker_init(struct worker *w)
{
    w->redis = calloc(1, sizeof(*w->redis));
    if (!w->redis)
        return -ENOMEM;
    TAILQ_INIT(&w->redis->paused);
    return 0;
}

void redis_worker_free(struct worker *w)
{
    struct redis_request *r;
    if (!w->redis)
        return;
    redis_path_free(w);
    while ((r = w->redis->free_requests)) {
        w->redis->free_requests = r->next;
        free(r);
    }
    for (size_t i = 0; i < RUNTIME_ENDPOINTS_MAX; i++)
        free(w->redis->shards[i]);
    free(w->redis);
    w->redis = NULL;
}
