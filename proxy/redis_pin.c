/* Connections of a client's own. */
#include <stdlib.h>
#include <string.h>

#include "redis.h"
#include "worker.h"

/** Longer commands are not kept. */
#define AGAIN_MAX 4096

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
    if (u) {
        const struct resp_arg *key = &call->in->args[call->command->first_key];
        u->donate = true;
        if (call->command->flags & REDIS_ONE_KEY)
            redis_again_keep(u, call->command, call->in->text, call->in->text_len, key->off, key->len);
    }
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

/* Sending again ----------------------------------------------------------------------- */

void redis_again_keep(struct redis_upstream *u, const struct redis_command *command, const char *text,
                      size_t len, size_t key_off, size_t key_len)
{
    if (!command || !(command->flags & REDIS_READONLY) || len > AGAIN_MAX)
        return;
    struct redis_again *a = malloc(sizeof(*a) + len);
    if (!a)
        abort();
    *a = (struct redis_again){
        .command = command, .len = (uint32_t)len, .key_off = (uint32_t)key_off, .key_len = (uint32_t)key_len};
    memcpy(a->text, text, len);
    free(u->again);
    u->again = a;
}

bool redis_again_send(struct redis_upstream *u)
{
    struct redis_client *cl = u->owner;
    struct redis_again *a = u->again;
    const char *why;
    if (!a || !cl || !cl->c.listener || !u->head || u->reply.type || conn_pending(&u->c))
        return false;
    u->again = NULL;
    struct redis_request *r = redis_upstream_detach(u);
    redis_upstream_fail(u, false, "closed by the server");
    uint32_t place = redis_ring_place(redis_cluster(cl)->ring, a->text + a->key_off, a->key_len);
    struct redis_shard *s = redis_shard_get(cl, redis_place_endpoint(cl, place));
    struct redis_upstream *fresh = redis_shard_pin_fresh(s, cl, REDIS_PIN_ONCE, &why);
    if (fresh) {
        fresh->donate = true;
        stat_add(&cl->c.worker->stats.endpoints[s->endpoint].retries, 1);
        r->command = a->command;
        redis_upstream_send(fresh, r, a->text, a->len);
    } else {
        redis_request_fail(cl->c.worker, r, why);
    }
    free(a);
    return true;
}

/* Pins -------------------------------------------------------------------------------- */

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
