/* Requests: a command's place in its client's queue, and the reply that fills it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "redis.h"
#include "redis_worker.h"
#include "worker.h"

/** Requests that a worker keeps for later. */
#define FREE_MAX 4096

struct redis_request *redis_request_new_part(struct worker *w, struct redis_client *cl,
                                             const struct redis_command *command)
{
    struct redis_worker *rw = w->redis;
    struct redis_request *r = rw->free_requests;
    if (r) {
        rw->free_requests = r->next;
        rw->n_free--;
    } else {
        r = malloc(sizeof(*r));
        if (!r)
            abort(); /* Out of memory: nothing sensible can be promised any more. */
    }
    memset(r, 0, offsetof(struct redis_request, small));
    r->client = cl;
    r->command = command;
    r->reply = r->small;
    r->reply_cap = sizeof(r->small);
    return r;
}

struct redis_request *redis_request_new(struct redis_client *cl, const struct redis_command *command)
{
    struct redis_request *r = redis_request_new_part(cl->c.worker, cl, command);
    r->muted = cl->mute || cl->mute_next;
    cl->mute_next = false;
    r->queued = true;
    *cl->tail = r;
    cl->tail = &r->next;
    cl->outstanding++;
    if (cl->outstanding > cl->deepest)
        cl->deepest = cl->outstanding;
    return r;
}

/* Drops what is kept of the reply. */
static void _free_reply(struct redis_request *r)
{
    if (r->client)
        r->client->buffered -= r->reply_len;
    if (r->reply != r->small)
        free(r->reply);
    r->reply = r->small;
    r->reply_len = 0;
    r->reply_cap = sizeof(r->small);
}

void redis_request_reply_taken(struct redis_request *r)
{
    _free_reply(r);
}

void redis_request_free(struct worker *w, struct redis_request *r)
{
    struct redis_worker *rw = w->redis;
    _free_reply(r);
    if (rw->n_free >= FREE_MAX) {
        free(r);
        return;
    }
    r->next = rw->free_requests;
    rw->free_requests = r;
    rw->n_free++;
}

static void _store(struct redis_request *r, const char *data, size_t len)
{
    size_t need = r->reply_len + len;
    if (need > r->reply_cap) {
        size_t cap = need < 512 ? 512 : need + need / 2;
        char *grown = realloc(r->reply == r->small ? NULL : r->reply, cap);
        if (!grown)
            abort();
        if (r->reply == r->small)
            memcpy(grown, r->small, r->reply_len);
        r->reply = grown;
        r->reply_cap = (uint32_t)cap;
    }
    memcpy(r->reply + r->reply_len, data, len);
    r->reply_len = (uint32_t)need;
    struct redis_client *cl = r->client;
    if (!cl)
        return;
    cl->buffered += len;
    if (cl->buffered > cl->buffered_most)
        cl->buffered_most = cl->buffered;
    if (cl->buffered > REDIS_BUFFERED_MAX * cl->c.worker->runtime->conf->limits.buffer && !cl->overflown) {
        cl->overflown = true;
        log_warn("%s: client closed: replies of %llu bytes wait for their turn",
                 runtime_listener_name(cl->c.listener_id), (unsigned long long)cl->buffered);
        conn_break(&cl->c); /* Not at once: its requests are at work. */
    }
}

void redis_request_bytes(struct redis_request *r, const char *data, size_t len)
{
    struct redis_client *cl = r->client;
    if (r->muted || (!cl && !r->collect))
        return;
    if (r->collect || !r->queued || r != cl->head) {
        _store(r, data, len);
        return;
    }
    r->started = true;
    conn_put(&cl->c, data, len);
}

void redis_request_done(struct worker *w, struct redis_request *r)
{
    r->done = true;
    r->sent = false;
    if (r->complete)
        r->complete(r);
    if (r->queued) {
        if (r == r->client->head)
            redis_client_advance(r->client);
    } else if (r->group) {
        redis_group_part_done(r);
    } else {
        redis_request_free(w, r);
    }
}

void redis_request_set(struct redis_request *r, const char *data, size_t len)
{
    _free_reply(r);
    if (!r->muted)
        _store(r, data, len);
}

void redis_request_fail(struct worker *w, struct redis_request *r, const char *text)
{
    char line[256];
    if (r->started && r->client) {
        /* Half of a reply is out: only the end of the connection says so. */
        redis_client_close(r->client, true);
    } else {
        int n = snprintf(line, sizeof(line), "-ERR %.200s\r\n", text);
        r->failed = true;
        redis_request_set(r, line, (size_t)n);
    }
    redis_request_done(w, r);
}

bool redis_request_takes(const struct redis_request *r)
{
    const struct redis_client *cl = r->client;
    if (!cl || !r->started)
        return true; /* It is kept until its turn has come. */
    uint64_t limit = cl->c.worker->runtime->conf->limits.buffer;
    return conn_backlog(&cl->c) <= (cl->slow ? REDIS_BUFFERED_MAX * limit : limit / 2);
}

void redis_requests_abandon(struct redis_client *cl)
{
    struct worker *w = cl->c.worker;
    struct redis_request *r;
    while ((r = cl->head)) {
        cl->head = r->next;
        if (r->group)
            redis_group_abandon(r->group);
        _free_reply(r);
        r->queued = false;
        r->collect = false;
        r->client = NULL;
        if (!r->sent)
            redis_request_free(w, r); /* Otherwise its upstream connection still names it. */
    }
    cl->tail = &cl->head;
    cl->outstanding = 0;
}
