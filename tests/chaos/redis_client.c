#include "redis_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ledger.h"
#include "peer.h"
#include "redis_command.h"
#include "redis_server.h"

#define PIPELINE_MAX 20

/** Longest time that any reply may take. */
#define OVERDUE_MS 40000

struct redis_client {
    struct peer p;
    uint64_t number;
    unsigned slot;
    enum cluster cluster;
    bool single, rude; /**< Sends one command at a time; leaves without a word. */
    struct rng rng;
    struct resp_reader in;
    struct redis_keys keys;
    unsigned left;
    struct redis_command queue[PIPELINE_MAX + 1];
    unsigned n_queue;
    struct event think;
    struct history *history;
    TAILQ_ENTRY(redis_client) link;
};

static TAILQ_HEAD(, redis_client) _clients = TAILQ_HEAD_INITIALIZER(_clients);
static unsigned *_generations;
static uint64_t _answers[REDIS_CLUSTERS], _errors[REDIS_CLUSTERS], _ended[REDIS_CLUSTERS];

static void _open(unsigned slot);

static struct redis_client *_client(struct peer *p)
{
    return (struct redis_client *)((char *)p - offsetof(struct redis_client, p));
}

static unsigned _index(const struct redis_client *c)
{
    return c->cluster == CLUSTER_WILD;
}

static bool _troubled(const struct redis_client *c)
{
    return c->cluster == CLUSTER_WILD && chaos_troubled(c->n_queue ? c->queue[0].begun : clock_ms());
}

/* The end ----------------------------------------------------------------------------- */

static void _on_reopen(evutil_socket_t fd, short what, void *arg)
{
    _open((unsigned)(uintptr_t)arg);
}

static void _over(struct redis_client *c)
{
    event_del(&c->think);
    TAILQ_REMOVE(&_clients, c, link);
    struct timeval tv = {.tv_usec = rng_below(&c->rng, 60000)};
    if (!chaos.ending)
        event_base_once(chaos.base, -1, EV_TIMEOUT, _on_reopen, (void *)(uintptr_t)c->slot, &tv);
}

static void _close(struct redis_client *c, bool reset)
{
    peer_close(&c->p, reset);
    _over(c);
}

static void _acted(struct peer *p, enum peer_act act)
{
    struct redis_client *c = _client(p);
    history_add(c->history, "%s after %llu bytes",
                (const char *[]){"pauses", "closes", "resets", "half-closes"}[act],
                (unsigned long long)p->sent);
    if (p->dead)
        _over(c);
}

/* Commands ---------------------------------------------------------------------------- */

static void _commands(struct redis_client *c)
{
    unsigned n = c->single ? 1 : 1 + rng_below(&c->rng, PIPELINE_MAX);
    uint64_t begin = c->p.queued;
    peer_pace(&c->p, rng_chance(&c->rng, 80)   ? PEER_WHOLE
                     : rng_chance(&c->rng, 50) ? PEER_PIECES
                                               : PEER_BYTES);
    for (; n && c->left; n--, c->left--)
        redis_command_put(&c->queue[c->n_queue++], &c->keys, &c->p);
    if (c->rude && rng_chance(&c->rng, 10)) {
        redis_garbage_put(&c->queue[c->n_queue++], &c->keys, &c->p);
        c->left = 0;
    }
    uint64_t at = begin + 1 + rng_below(&c->rng, (uint32_t)(c->p.queued - begin));
    if (c->rude && rng_chance(&c->rng, 10))
        peer_mark(&c->p, at, rng_chance(&c->rng, 50) ? PEER_CLOSE : PEER_RESET, 0);
    else if (rng_chance(&c->rng, c->keys.friendly ? 2 : 10))
        peer_mark(&c->p, at, PEER_PAUSE, 1 + rng_below(&c->rng, 100));
    if (!c->left && rng_chance(&c->rng, 30))
        peer_mark(&c->p, c->p.queued, PEER_SHUT, 0); /* Everything is answered all the same. */
    peer_read_slowly(&c->p, rng_chance(&c->rng, 4));
    peer_go(&c->p);
}

static void _on_think(evutil_socket_t fd, short what, void *arg)
{
    struct redis_client *c = arg;
    if (c->left && !chaos.ending)
        _commands(c);
    else
        _close(c, rng_chance(&c->rng, 20));
}

/* Replies ----------------------------------------------------------------------------- */

static void _input(struct peer *p, const uint8_t *data, size_t len)
{
    struct redis_client *c = _client(p);
    struct resp_value v;
    int r;
    resp_put(&c->in, data, len);
    while ((r = resp_take(&c->in, &v)) > 0) {
        if (!c->n_queue) {
            chaos_fail(c->history, "redis: a reply that nobody asked for: %c%.*s", v.item[0].type,
                       (int)(v.item[0].len < 80 ? v.item[0].len : 80), v.item[0].text);
            break;
        }
        struct redis_command m = c->queue[0];
        _answers[_index(c)]++;
        _errors[_index(c)] += redis_command_check(&m, &c->keys, &v, _troubled(c));
        memmove(c->queue, c->queue + 1, --c->n_queue * sizeof(m));
    }
    if (r)
        chaos_fail(c->history, "redis: a malformed reply: %.100s", c->in.data + c->in.off);
    if (r || (!c->n_queue && !c->left)) {
        _close(c, rng_chance(&c->rng, 10));
    } else if (!c->n_queue) {
        struct timeval tv = {.tv_usec = rng_chance(&c->rng, 50) ? 0 : rng_below(&c->rng, 30000)};
        event_add(&c->think, &tv);
    }
}

static void _on_end(struct peer *p, int err)
{
    struct redis_client *c = _client(p);
    const char *how = err ? strerror(err) : "FIN";
    bool garbage = c->n_queue && c->queue[c->n_queue - 1].verb == VERB_GARBAGE;
    history_add(c->history, "the connection ends: %s", how);
    _ended[_index(c)]++;
    if (p->connecting)
        chaos_fail(c->history, "redis: skein does not accept: %s", how);
    else if (c->n_queue > garbage &&
             !_troubled(c)) /* A server may leave half of a reply, which has no other end. */
        chaos_fail(c->history, "redis: client %llu was closed with %u replies outstanding: %s",
                   (unsigned long long)c->number, c->n_queue, how);
    else if (!c->n_queue && c->left)
        chaos_fail(c->history, "redis: an idle client was closed: %s", how);
    _close(c, false);
}

/* Connections ------------------------------------------------------------------------- */

static void _release(struct peer *p)
{
    struct redis_client *c = _client(p);
    resp_free(&c->in);
    history_unref(&c->history);
    free(c);
}

static const struct peer_ops _ops = {.input = _input, .ended = _on_end, .acted = _acted, .release = _release};

static void _open(unsigned slot)
{
    if (chaos.ending)
        return;
    struct redis_client *c = calloc(1, sizeof(*c));
    if (!c)
        abort();
    c->slot = slot;
    c->number = (uint64_t)++_generations[slot] * 1000 + slot;
    c->rng = rng_stream(chaos.opt.seed, 'R', c->number);
    c->cluster = slot % 5 < 2 ? CLUSTER_CALM : CLUSTER_WILD;
    c->single = slot % 2;
    c->rude = slot % 5 == 4 || (slot % 5 == 0 && rng_chance(&c->rng, 20));
    c->left = 1 + rng_below(&c->rng, 400);
    c->history = history_new();
    c->keys.client = c->number;
    c->keys.friendly = slot % 4 == 1;
    c->keys.rng = &c->rng;
    c->keys.history = c->history;
    for (unsigned i = 0; i < REDIS_KEYS; i++)
        c->keys.key[i].number = i;
    TAILQ_INSERT_TAIL(&_clients, c, link);
    event_assign(&c->think, chaos.base, -1, 0, _on_think, c);
    peer_connect(&c->p, chaos.redis_port[_index(c)], &_ops, c->rng);
    history_add(c->history, "client %llu of the %s cluster connects", (unsigned long long)c->number,
                cluster_names[c->cluster]);
    _commands(c);
}

void redis_clients_open(unsigned n)
{
    _generations = calloc(n, sizeof(*_generations));
    if (!_generations)
        abort();
    for (unsigned i = 0; i < n; i++)
        _open(i);
}

bool redis_clients_done(void)
{
    return TAILQ_EMPTY(&_clients);
}

void redis_clients_check(void)
{
    struct redis_client *c;
    TAILQ_FOREACH (c, &_clients, link) {
        if (c->n_queue && clock_ms() - c->queue[0].begun > OVERDUE_MS)
            chaos_fail(c->history, "redis: client %llu waits for a reply without end",
                       (unsigned long long)c->number);
    }
}

void redis_clients_print(void)
{
    for (unsigned i = 0; i < REDIS_CLUSTERS; i++)
        printf("redis %-6s  %llu replies, %llu of them errors, %llu connections ended by skein\n",
               cluster_names[redis_clusters[i]], (unsigned long long)_answers[i],
               (unsigned long long)_errors[i], (unsigned long long)_ended[i]);
}
