/* The client's side: commands in (redis_client_input.c), replies out in their order. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kpath.h"
#include "redis.h"
#include "redis_client_internal.h"
#include "redis_worker.h"
#include "skein/slot.h"
#include "worker.h"

/** Commands that one client may have outstanding. */
#define OUTSTANDING_MAX 1024

/** The same, over several shards, to begin with: replies that overtake others are kept. */
#define WINDOW_MIN 16

struct redis_client *redis_client_of(struct conn *c)
{
    return (struct redis_client *)((char *)c - offsetof(struct redis_client, c));
}

const struct conf_redis_listener *redis_listener_conf(const struct redis_client *cl)
{
    return &cl->c.listener->rt->conf->redis;
}

struct rt_cluster *redis_cluster(const struct redis_client *cl)
{
    struct rt_listener *l = cl->c.listener->rt;
    return &l->runtime->clusters[l->conf->cluster];
}

struct listener_stats *redis_client_stats(const struct redis_client *cl)
{
    return &cl->c.worker->stats.listeners[cl->c.listener_id];
}

/* Replies ----------------------------------------------------------------------------- */

void redis_client_settle(struct redis_client *cl)
{
    struct conn *c = &cl->c;
    if (c->dead || c->closing || cl->head || cl->advancing)
        return;
    if (!cl->quit && c->listener && !(c->eof_seen && !cl->waiting))
        return;
    redis_unpin_all(cl);
    conn_finish(c, true);
}

/* A queue that became empty tells whether its replies, while they waited, took little memory or much,
 * and may go to other connections from now on. */
static void _adapt_window(struct redis_client *cl)
{
    uint64_t limit = cl->c.worker->runtime->conf->limits.buffer;
    if (cl->buffered_most > limit / 2)
        cl->window = cl->window > 1 ? cl->window / 2 : 1;
    else if (cl->buffered_most < limit / 8 && cl->window < OUTSTANDING_MAX)
        cl->window *= 2;
    cl->buffered_most = 0;
    cl->spread = false;
    if (cl->messages < REDIS_BULKY_MESSAGES)
        return;
    cl->bulky = cl->bytes / cl->messages >= REDIS_BULKY_BYTES;
    cl->messages = 0;
    cl->bytes = 0;
}

bool redis_client_full(const struct redis_client *cl)
{
    return cl->outstanding >= OUTSTANDING_MAX || (cl->spread && cl->outstanding >= cl->window);
}

/* Reading goes on only now: not for each command by itself. */
static bool _half_empty(const struct redis_client *cl)
{
    return cl->outstanding <= (cl->spread ? cl->window / 2 : OUTSTANDING_MAX / 2);
}

void redis_client_advance(struct redis_client *cl)
{
    struct worker *w = cl->c.worker;
    struct redis_request *r;
    if (cl->advancing)
        return;
    cl->advancing = true;
    while ((r = cl->head) && (r->done || !r->collect)) {
        if (r->reply_len) {
            r->started = true;
            conn_put(&cl->c, r->reply, r->reply_len);
            redis_request_reply_taken(r);
        }
        if (!r->done)
            break;
        cl->head = r->next;
        if (!cl->head)
            cl->tail = &cl->head;
        cl->outstanding--;
        cl->messages++;
        stat_add(&redis_client_stats(cl)->responses, 1);
        redis_request_free(w, r);
    }
    cl->advancing = false;
    if (cl->subs.held)
        redis_pubsub_flush(cl);
    redis_paused_resume(cl);
    if (!cl->head) {
        _adapt_window(cl);
        cl->alone = false;
        cl->blocked = false;
        if ((cl->waiting || !cl->c.reading) && !cl->blocked_on)
            redis_client_resume(cl);
        else
            redis_client_settle(cl);
        if (!cl->head && !cl->c.dead)
            redis_path_promote(cl);
    } else if (!cl->c.reading && !cl->waiting && !cl->c.out && _half_empty(cl)) {
        redis_client_resume(cl);
    }
}

void redis_client_reply(struct redis_client *cl, const char *data, size_t len)
{
    if (!cl->head) {
        if (!cl->mute && !cl->mute_next)
            conn_put(&cl->c, data, len);
        cl->mute_next = false;
        stat_add(&redis_client_stats(cl)->responses, 1);
        return;
    }
    struct redis_request *r = redis_request_new(cl, NULL);
    redis_request_bytes(r, data, len);
    r->done = true;
}

void redis_client_replyf(struct redis_client *cl, const char *format, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    redis_client_reply(cl, text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1);
}

void redis_client_error(struct redis_client *cl, const char *format, ...)
{
    char text[512] = "-";
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(text + 1, sizeof(text) - 3, format, ap);
    va_end(ap);
    size_t len = 1 + ((size_t)n < sizeof(text) - 3 ? (size_t)n : sizeof(text) - 4);
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\r' || text[i] == '\n')
            text[i] = ' ';
    }
    memcpy(text + len, "\r\n", 2);
    if (cl->tx.open)
        cl->tx.dirty = true;
    stat_add(&redis_client_stats(cl)->errors, 1);
    redis_client_reply(cl, text, len + 2);
}

void redis_client_ok(struct redis_client *cl)
{
    redis_client_reply(cl, "+OK\r\n", 5);
}

/* Going on and leaving ---------------------------------------------------------------- */

void redis_client_resume(struct redis_client *cl)
{
    struct conn *c = &cl->c;
    if (c->dead || c->closing)
        return;
    cl->waiting = false;
    conn_read(c, true);
    conn_pump(c);
    if (!c->dead)
        redis_client_settle(cl);
}

void redis_client_quit(struct redis_client *cl)
{
    cl->quit = true;
    redis_client_settle(cl);
}

void redis_client_close(struct redis_client *cl, bool reset)
{
    if (cl->c.dead)
        return;
    redis_client_leave(cl);
    conn_close(&cl->c, reset);
    redis_paused_resume(cl); /* What is left of its replies is dropped. */
}

/* Lets go of everything that names the client. */
void redis_client_leave(struct redis_client *cl)
{
    if (cl->blocked_on) {
        TAILQ_REMOVE(&cl->blocked_on->waiters, cl, blocked_link);
        cl->blocked_on = NULL;
    }
    struct redis_upstream *half = cl->streaming;
    cl->streaming = NULL;
    redis_requests_abandon(cl);
    redis_paused_resume(cl);
    redis_unpin_all(cl);
    /* On its way out of the kernel path it would be kept: for a command that never ends. */
    if (half)
        redis_upstream_fail(half, false, "command cut off");
    redis_pubsub_reset(cl);
    redis_transaction_reset(cl);
}

/* Events ------------------------------------------------------------------------------ */

static void _eof(struct conn *c)
{
    struct redis_client *cl = redis_client_of(c);
    /* Whoever waits for messages or for a list's next element, or is in the middle of a command, has
     * left; whoever waits for replies may have closed one half only. */
    if (cl->blocked || cl->in_stream || redis_pinned(cl, REDIS_PIN_MESSAGES)) {
        redis_client_close(cl, false);
        return;
    }
    if (!cl->head && !cl->waiting)
        redis_unpin_all(cl);
    redis_client_settle(cl);
}

static void _broken(struct conn *c, int err)
{
    (void)err;
    redis_client_close(redis_client_of(c), true);
}

static void _congested(struct conn *c)
{
    conn_deadline(c, c->worker->runtime->conf->timeouts.write);
}

static void _drained(struct conn *c)
{
    struct redis_client *cl = redis_client_of(c);
    cl->slow = false;
    conn_deadline(c, c->listener ? redis_listener_conf(cl)->idle_timeout : 0);
    redis_paused_resume(cl);
    if (!c->dead && !cl->waiting)
        redis_client_resume(cl);
}

static void _expired(struct conn *c)
{
    struct redis_client *cl = redis_client_of(c);
    if (c->kernel && !kpath_expired(c))
        return;
    if (c->out) {
        redis_client_close(cl, true); /* It has not read for as long as it may. */
    } else if (!cl->head && LIST_EMPTY(&cl->pins)) {
        kpath_wake(c);
        if (!c->dead && !cl->head && !conn_pending(c))
            conn_finish(c, true);
    }
}

static bool _idle(const struct conn *c)
{
    const struct redis_client *cl =
        (const struct redis_client *)((const char *)c - offsetof(struct redis_client, c));
    return !cl->head && LIST_EMPTY(&cl->pins) && !cl->in_stream && !cl->waiting && !cl->quit &&
           !cl->tx.open && !cl->tx.lost && !cl->mute && !cl->mute_next && cl->authenticated && cl->resp == 2;
}

static void _drain(struct conn *c)
{
    struct redis_client *cl = redis_client_of(c);
    kpath_wake(c);
    if (c->dead)
        return;
    /* What waits for messages or blocks has nothing to finish; half a command is none. */
    if (cl->blocked || cl->in_stream) {
        redis_client_close(cl, false);
        return;
    }
    redis_client_quit(cl);
}

static void _cancel(struct conn *c)
{
    redis_client_close(redis_client_of(c), true);
}

static uint64_t _idle_limit(const struct conn *c)
{
    return c->listener ? c->listener->rt->conf->redis.idle_timeout : 0;
}

static void _clock(struct conn *c)
{
    conn_deadline(c, _idle_limit(c));
}

static void _release(struct conn *c)
{
    struct redis_client *cl = redis_client_of(c);
    struct worker *w = c->worker;
    redis_client_leave(cl);
    redis_path_left(cl);
    resp_request_free(&cl->in);
    stat_add(&redis_client_stats(cl)->active, -1);
    atomic_fetch_sub_explicit(&w->connections, 1, memory_order_relaxed);
    free(cl->name);
    free(cl);
    worker_conn_gone(w);
}

static const struct conn_ops _ops = {
    .protocol = SLOT_REDIS,
    .takeover = redis_takeover,
    .input = redis_client_input,
    .eof = _eof,
    .broken = _broken,
    .congested = _congested,
    .drained = _drained,
    .expired = _expired,
    .idle = _idle,
    .drain = _drain,
    .cancel = _cancel,
    .idle_limit = _idle_limit,
    .clock = _clock,
};

bool redis_is_client(const struct conn *c)
{
    return c->ops == &_ops;
}

void redis_client_new(struct worker_listener *l, int fd)
{
    struct worker *w = l->worker;
    struct redis_client *cl = calloc(1, sizeof(*cl));
    if (!cl) {
        close(fd);
        return;
    }
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    conn_init(&cl->c, w, fd, &_ops, _release);
    conn_gather(&cl->c, 1);
    cl->c.listener = l;
    cl->c.listener_id = l->rt->id;
    cl->tail = &cl->head;
    LIST_INIT(&cl->pins);
    cl->resp = 2;
    cl->window = WINDOW_MIN;
    cl->id = ++w->redis->next_id << REDIS_ID_SHIFT | w->id;
    const struct conf_redis_listener *conf = redis_listener_conf(cl);
    cl->authenticated = !conf->password;
    cl->limits = (struct resp_limits){
        .multibulk = conf->max_multibulk, .bulk = conf->max_bulk, .unauthenticated = !cl->authenticated};
    stat_add(&redis_client_stats(cl)->accepted, 1);
    stat_add(&redis_client_stats(cl)->active, 1);
    atomic_fetch_add_explicit(&w->connections, 1, memory_order_relaxed);
    _clock(&cl->c);
    conn_read(&cl->c, true);
}
