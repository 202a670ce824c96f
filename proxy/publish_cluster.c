/* Clusters for HTTP as tables for the kernel path: places of a schedule, and Maglev tables. */
#include <errno.h>
#include <string.h>

#include "kernel_internal.h"
#include "log.h"

static const uint32_t _policies[] = {
    [CONF_ROUND_ROBIN] = BALANCE_ROUND_ROBIN,
    [CONF_RANDOM] = BALANCE_RANDOM,
    [CONF_LEAST_REQUEST] = BALANCE_LEAST_REQUEST,
    [CONF_MAGLEV] = BALANCE_MAGLEV,
};

static int _fits(const struct kpath *k, const struct rt_cluster *c)
{
    size_t places = c->conf->lb_policy == CONF_LEAST_REQUEST ? c->conf->n_endpoints : c->schedule_len;
    if (places > SCHEDULE_MAX)
        return -E2BIG;
    for (size_t i = 0; i < c->conf->n_endpoints; i++) {
        if (c->endpoints[i].id >= k->n_endpoints)
            return -ENOSPC;
    }
    return 0;
}

static int _publish_maglev(struct kpath *k, const struct rt_cluster *c, struct kernel_cluster *kc)
{
    const struct conf_http_cluster *conf = &c->conf->http;
    if (k->n_maglevs >= k->max_maglevs / 2) /* Those of the configuration before must stay valid. */
        return -ENOSPC;
    k->n_maglevs++;
    kc->maglev = k->next_maglev++ % k->max_maglevs;
    for (uint32_t i = 0; i < BALANCE_MAGLEV_SIZE; i++)
        k->maglevs[kc->maglev].endpoint[i] = (uint16_t)c->endpoints[redis_ring_endpoint(c->ring, i, NULL)].id;
    kc->hash_on = conf->hash_on == CONF_HASH_ON_SOURCE ? BALANCE_HASH_SOURCE : BALANCE_HASH_FIELD;
    kc->cookie.len = 0;
    if (conf->hash_on == CONF_HASH_ON_COOKIE)
        http1_name_set(&kc->cookie, conf->hash_name, '=');
    http1_name_set(&kc->field, conf->hash_on == CONF_HASH_ON_HEADER ? conf->hash_name : "cookie", ':');
    return 0;
}

static uint32_t _fill_places(const struct rt_cluster *c, struct kernel_cluster *kc)
{
    if (c->conf->lb_policy == CONF_LEAST_REQUEST) {
        for (size_t i = 0; i < c->conf->n_endpoints; i++)
            kc->place[i] = balance_place(c->endpoints[i].id, c->conf->endpoints[i].weight);
        return (uint32_t)c->conf->n_endpoints;
    }
    for (uint32_t i = 0; i < c->schedule_len; i++) {
        uint32_t e = c->schedule[i];
        kc->place[i] = balance_place(c->endpoints[e].id, c->conf->endpoints[e].weight);
    }
    return c->schedule_len;
}

static int _publish(struct kpath *k, struct rt_cluster *c)
{
    uint32_t id = k->next_cluster % KERNEL_CLUSTERS;
    struct kernel_cluster *kc = &k->clusters[id];
    int r = _fits(k, c);
    if (r)
        return r;
    kc->len = 0;
    kc->position = 0;
    kc->policy = _policies[c->conf->lb_policy];
    if (kc->policy == BALANCE_MAGLEV)
        r = _publish_maglev(k, c, kc);
    if (r)
        return r;
    __atomic_store_n(&kc->len, _fill_places(c, kc), __ATOMIC_RELEASE);
    k->next_cluster++;
    c->kernel_id = id;
    c->position = (atomic_uint *)&kc->position;
    return 0;
}

void kernel_publish_clusters(struct kpath *k, struct runtime *rt)
{
    k->n_maglevs = 0;
    for (size_t i = 0; i < rt->conf->n_clusters; i++) {
        if (conf_is_for_redis(&rt->conf->clusters[i]))
            continue;
        /* Those of the configuration before must stay valid. */
        int r = i < KERNEL_CLUSTERS / 2 ? _publish(k, &rt->clusters[i]) : -ENOSPC;
        if (r)
            log_warn("cluster %s: userspace path only: %s", rt->clusters[i].conf->name, strerror(-r));
    }
}
