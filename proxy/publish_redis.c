/* Redis clusters and commands as tables for the kernel path. */
#include <errno.h>
#include <string.h>

#include "kernel_internal.h"
#include "parsers/redis_commands.h"
#include "skein.skel.h"

/* A command that needs one connection to one shard for one reply, and says so by its first argument. */
static bool _fits(const struct redis_command *c)
{
    return (c->flags & REDIS_ONE_KEY) && c->first_key == 1 && c->policy == REDIS_FORWARD && !c->subs &&
           !(c->flags & REDIS_BLOCKING_FLAG) && strlen(c->name) <= REDIS_NAME_MAX;
}

int kernel_publish_commands(struct kpath *k)
{
    const struct redis_command *c;
    for (size_t i = 0; (c = redis_command_at(i)); i++) {
        struct redis_name name = {0};
        struct kernel_command v = {.arity = c->arity, .flags = KERNEL_COMMAND_KEY};
        v.name_len = (uint16_t)strlen(c->name);
        if (!_fits(c))
            continue;
        memcpy(name.text, c->name, strlen(c->name));
        int r = kernel_put(k->skel->maps.redis_commands, &name, &v);
        if (r)
            return r;
    }
    return 0;
}

/* The programs know Redis Cluster's slots, and clusters of one. */
static int _publish_ring(struct kpath *k, struct rt_cluster *c)
{
    const struct conf_cluster *conf = c->conf;
    if (conf->lb_policy != CONF_CRC16_SLOTS && conf->n_endpoints > 1)
        return -ENOTSUP;
    for (size_t i = 0; i < conf->n_endpoints; i++) {
        if (c->endpoints[i].id >= k->n_endpoints)
            return -ENOSPC;
    }
    if (k->n_rings >= KERNEL_RINGS / 2) /* Those of the configuration before must stay valid. */
        return -ENOSPC;
    k->n_rings++;
    uint32_t id = k->next_ring++ % KERNEL_RINGS;
    for (uint32_t slot = 0; slot < REDIS_SLOTS; slot++) {
        uint32_t i = conf->n_endpoints > 1 ? redis_ring_endpoint(c->ring, slot, NULL) : 0;
        k->rings[id].endpoint[slot] = (uint16_t)c->endpoints[i].id;
    }
    c->kernel_id = id;
    return 0;
}

int kernel_publish_redis(struct kpath *k, struct runtime *rt, struct rt_listener *l)
{
    struct rt_cluster *c = &rt->clusters[l->conf->cluster];
    int r = c->kernel_id == UINT32_MAX ? _publish_ring(k, c) : 0;
    if (r)
        return r;
    uint32_t id = k->next_listener++ % KERNEL_LISTENERS;
    struct kernel_listener v = {
        .single = c->conf->n_endpoints == 1,
        .cluster = c->kernel_id,
        .header_count = l->conf->redis.max_multibulk,
        .buffer = (uint32_t)(rt->conf->limits.buffer / 16 * 3),
        .body_bytes = l->conf->redis.max_bulk,
    };
    r = kernel_put(k->skel->maps.listeners, &id, &v);
    if (!r)
        l->kernel_id = id;
    return r;
}
