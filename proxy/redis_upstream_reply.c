/* Replies of a shard: each is the first request's of its connection's queue. They are read no faster than
 * their clients take them: otherwise the connection is paused. */
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "redis.h"
#include "redis_upstream_internal.h"
#include "redis_worker.h"
#include "worker.h"

/* Replies that say something about the shard or about skein itself. */
static void _look_at_error(struct redis_upstream *u, const struct redis_request *r, const char *data,
                           size_t len)
{
    static const char protocol[] = "-ERR Protocol error";
    const char *name = runtime_endpoint_name(u->c.endpoint);
    if (len >= sizeof(protocol) - 1 && memcmp(data, protocol, sizeof(protocol) - 1) == 0)
        log_error("endpoint %s: %.*s after command %s", name, (int)(len < 80 ? len : 80), data,
                  r->command ? r->command->name : "of skein's own");
    stat_add(&u->c.worker->stats.endpoints[u->c.endpoint].errors, 1);
}

void redis_upstream_pause(struct redis_upstream *u)
{
    if (u->paused)
        return;
    u->paused = true;
    TAILQ_INSERT_TAIL(&u->c.worker->redis->paused, u, pause);
    conn_read(&u->c, false);
}

void redis_upstream_unpause(struct redis_upstream *u)
{
    if (u->paused)
        TAILQ_REMOVE(&u->c.worker->redis->paused, u, pause);
    u->paused = false;
}

/* Whether what comes next on a paused connection may come now. */
static bool _may_go_on(const struct redis_upstream *u, const struct redis_client *cl)
{
    if (!u->head)
        return !u->owner ||
               (u->owner == cl && conn_backlog(&cl->c) <= redis_upstream_conf(u)->limits.buffer / 2);
    return !u->head->client || (u->head->client == cl && redis_request_takes(u->head));
}

void redis_paused_resume(struct redis_client *cl)
{
    struct redis_upstream *u, *next;
    for (u = TAILQ_FIRST(&cl->c.worker->redis->paused); u; u = next) {
        next = TAILQ_NEXT(u, pause);
        if (!_may_go_on(u, cl))
            continue;
        redis_upstream_unpause(u);
        redis_upstream_clock(&u->c);
        conn_read(&u->c, true);
        next = TAILQ_FIRST(&cl->c.worker->redis->paused); /* Reading may have changed the list. */
        if (next == u)
            break;
    }
}

struct redis_request *redis_upstream_detach(struct redis_upstream *u)
{
    struct redis_request *r = u->head;
    if (!r)
        return NULL;
    u->head = r->next_up;
    if (!u->head)
        u->tail = &u->head;
    return r;
}

/* The reply of the first request is complete. */
static void _pop(struct redis_upstream *u)
{
    struct redis_request *r = redis_upstream_detach(u);
    resp_reply_reset(&u->reply);
    free(u->again);
    u->again = NULL;
    if (!u->head && (u->pin == REDIS_PIN_ONCE || u->pin == REDIS_PIN_ADOPTED)) {
        bool early = u->owner->streaming == u;
        if (early)
            u->owner->streaming = NULL; /* The rest of the command is dropped. */
        redis_shard_unpin(u, !early);
    } else if (!u->head && !u->owner && !u->shared && !u->setup) {
        redis_shard_unpin(u, true); /* Its owner has left meanwhile. */
    }
    redis_request_done(u->c.worker, r);
}

/* Consumes one reply or a part of it. @return Bytes; 0: not now. */
static size_t _reply(struct redis_upstream *u, const char *data, size_t len)
{
    size_t used = 0;
    bool begins = !u->reply.type;
    enum resp_result result = resp_reply_feed(&u->reply, data, len, &used);
    if (result == RESP_ERROR) {
        redis_upstream_fail(u, true, u->reply.error);
        return len;
    }
    bool messages = !u->setup && (u->pin == REDIS_PIN_MESSAGES || u->pin == REDIS_PIN_MONITOR);
    if (messages || u->reply.push) {
        if (used && evbuffer_add(u->message, data, used))
            abort();
        if (evbuffer_get_length(u->message) > REDIS_BUFFERED_MAX * redis_upstream_conf(u)->limits.buffer) {
            redis_upstream_fail(u, false, "a message is too large");
            return len;
        }
        if (result == RESP_DONE) {
            resp_reply_reset(&u->reply);
            redis_pubsub_message(u);
        }
        return used;
    }
    struct redis_request *r = u->head;
    if (!r) {
        redis_upstream_fail(u, true, "a reply that nobody asked for");
        return len;
    }
    if (begins && u->reply.type == '-')
        _look_at_error(u, r, data, used);
    if (used)
        redis_request_bytes(r, data, used);
    if (r->client)
        r->client->bytes += used;
    if (result == RESP_DONE)
        _pop(u);
    else if (!redis_request_takes(r))
        redis_upstream_pause(u);
    return used;
}

size_t redis_upstream_input(struct conn *c, const char *data, size_t len)
{
    struct redis_upstream *u = redis_upstream_of(c);
    size_t used = 0;
    if (u->head && !u->setup)
        redis_shard_answered(u->shard);
    while (used < len && !c->dead && c->reading) {
        size_t n = _reply(u, data + used, len - used);
        used += n;
        if (!n)
            break;
    }
    if (!c->dead && !c->kernel)
        redis_upstream_clock(c);
    return c->dead ? len : used;
}
