/* Connections of a client's own. */
#include "redis.h"

enum redis_taken redis_forward_alone(const struct redis_call *call, const struct rt_endpoint *e,
                                     bool blocking)
{
    struct redis_client *cl = call->client;
    const char *why;
    if (cl->head)
        return REDIS_WAIT;
    struct redis_upstream *u = redis_shard_pin(redis_shard_get(cl, e), cl, REDIS_PIN_ONCE, &why);
    if (!u) {
        redis_unavailable(call, e, why);
        return REDIS_TAKEN;
    }
    cl->alone = true;
    cl->blocked = blocking;
    redis_send(call, u);
    return REDIS_TAKEN;
}

enum redis_taken redis_forward_donated(const struct redis_call *call, const struct rt_endpoint *e)
{
    enum redis_taken taken = redis_forward_alone(call, e, false);
    struct redis_upstream *u = redis_pinned(call->client, REDIS_PIN_ONCE);
    if (u)
        u->donate = true;
    return taken;
}

enum redis_taken redis_send_pinned(const struct redis_call *call)
{
    struct redis_upstream *u = redis_pinned(call->client, REDIS_PIN_TRANSACTION);
    if (!redis_upstream_takes(u, call->client))
        return REDIS_WAIT;
    redis_send(call, u);
    return REDIS_TAKEN;
}

struct redis_upstream *redis_pinned(const struct redis_client *cl, enum redis_pin pin)
{
    struct redis_upstream *u;
    LIST_FOREACH (u, &cl->pins, pins) {
        if (u->pin == pin)
            return u;
    }
    return NULL;
}

void redis_unpin_all(struct redis_client *cl)
{
    struct redis_upstream *u;
    while ((u = LIST_FIRST(&cl->pins)))
        redis_shard_unpin(u, false);
}
