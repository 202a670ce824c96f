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
#include "redis_server.h"
#include "redis_value.h"
#include "resp_reader.h"

#define KEYS         8
#define COUNTERS     2 /**< The last of the keys. */
#define PIPELINE_MAX 20
#define MGET_MAX     5

/** Longest time that any reply may take. */
#define OVERDUE_MS 40000

enum verb {
    VERB_GET,
    VERB_SET,
    VERB_MGET,
    VERB_INCR,
    VERB_DEL,
    VERB_GARBAGE,
    _VERB_MAX,
};

/** What a key must hold once all that was sent is done. */
struct key {
    unsigned number;  /**< In its name; a key that got an uncertain write is given up for another. */
    unsigned version; /**< 0: no value. */
    long long count;
};

/** A command that waits for its reply, and what that must be. */
struct command {
    enum verb verb;
    uint64_t begun;
    unsigned n;
    struct {
        unsigned slot;    /**< Of the key. */
        struct key after; /**< As it is to be after the command. */
    } of[MGET_MAX];
    bool had; /**< DEL: there was a value. */
};

struct redis_client {
    struct peer p;
    uint64_t number;
    unsigned slot;
    enum cluster cluster;
    bool single, friendly; /**< One command at a time; such as the kernel path takes. */
    bool rude;             /**< Leaves without a word. */
    struct rng rng;
    struct resp_reader in;
    struct key keys[KEYS];
    unsigned next_key, left;
    struct command queue[PIPELINE_MAX + 1];
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

static void _put_bulk(struct redis_client *c, const void *data, size_t len)
{
    char line[32];
    snprintf(line, sizeof(line), "$%zu\r\n", len);
    peer_puts(&c->p, line);
    peer_put(&c->p, data, len);
    peer_puts(&c->p, "\r\n");
}

static void _put_key(struct redis_client *c, unsigned slot)
{
    char name[48];
    int len = redis_key_name(name, c->number, c->keys[slot].number);
    _put_bulk(c, name, (size_t)len);
}

static void _put_value(struct redis_client *c, unsigned slot)
{
    char name[48];
    size_t len = 64 + rng_size(&c->rng) / 4;
    char *value = malloc(len);
    if (!value)
        abort();
    redis_key_name(name, c->number, c->keys[slot].number);
    redis_value_fill(value, len, name, c->keys[slot].version);
    _put_bulk(c, value, len);
    free(value);
}

static void _command(struct redis_client *c)
{
    static const char *const names[_VERB_MAX] = {"GET", "SET", "MGET", "INCR", "DEL"};
    static const uint8_t often[2][_VERB_MAX] = {{35, 30, 12, 15, 5}, {40, 35, 1, 15, 5}};
    struct command *m = &c->queue[c->n_queue++];
    char line[32];
    memset(m, 0, sizeof(*m));
    m->begun = clock_ms();
    m->verb = rng_pick(&c->rng, often[c->friendly], _VERB_MAX);
    m->n = m->verb == VERB_MGET ? 1 + rng_below(&c->rng, MGET_MAX) : 1;
    snprintf(line, sizeof(line), "*%u\r\n", 1 + m->n + (m->verb == VERB_SET));
    peer_puts(&c->p, line);
    _put_bulk(c, names[m->verb], strlen(names[m->verb]));
    for (unsigned i = 0; i < m->n; i++) {
        unsigned slot = m->verb == VERB_INCR ? KEYS - 1 - rng_below(&c->rng, COUNTERS)
                                             : rng_below(&c->rng, KEYS - COUNTERS);
        struct key *k = &c->keys[slot];
        _put_key(c, slot);
        m->had = k->version;
        if (m->verb == VERB_SET) {
            k->version = ++c->next_key;
            _put_value(c, slot);
        } else if (m->verb == VERB_INCR) {
            k->count++;
        } else if (m->verb == VERB_DEL) {
            k->version = 0;
        }
        m->of[i].slot = slot;
        m->of[i].after = *k;
    }
    history_add(c->history, "sends %s key %u (%u), to offset %llu", names[m->verb], m->of[0].after.number,
                m->of[0].after.version, (unsigned long long)c->p.queued);
}

static void _garbage(struct redis_client *c)
{
    static const char *const lines[] = {"*1\r\n+GET\r\n", "*2\r\n$3\r\nGET\r\n$01\r\na\r\n", "*x\r\n",
                                        "*1\r\n$-5\r\n", "*2\r\n$3\r\nGET\r\n$9999999999999\r\n"};
    struct command *m = &c->queue[c->n_queue++];
    memset(m, 0, sizeof(*m));
    m->begun = clock_ms();
    m->verb = VERB_GARBAGE;
    c->left = 0;
    peer_puts(&c->p, lines[rng_below(&c->rng, sizeof(lines) / sizeof(lines[0]))]);
    history_add(c->history, "sends garbage");
}

static void _commands(struct redis_client *c)
{
    unsigned n = c->single ? 1 : 1 + rng_below(&c->rng, PIPELINE_MAX);
    uint64_t begin = c->p.queued;
    peer_pace(&c->p, rng_chance(&c->rng, 80)   ? PEER_WHOLE
                     : rng_chance(&c->rng, 50) ? PEER_PIECES
                                               : PEER_BYTES);
    for (; n && c->left; n--, c->left--)
        _command(c);
    if (c->rude && rng_chance(&c->rng, 10))
        _garbage(c);
    uint64_t at = begin + 1 + rng_below(&c->rng, (uint32_t)(c->p.queued - begin));
    if (c->rude && rng_chance(&c->rng, 10))
        peer_mark(&c->p, at, rng_chance(&c->rng, 50) ? PEER_CLOSE : PEER_RESET, 0);
    else if (rng_chance(&c->rng, c->friendly ? 2 : 10))
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

/* Nobody knows whether the write was done: the key is given up, and another one takes its place. */
static void _give_up(struct redis_client *c, unsigned slot, unsigned number)
{
    if (c->keys[slot].number != number)
        return;
    memset(&c->keys[slot], 0, sizeof(c->keys[slot]));
    c->keys[slot].number = KEYS + c->next_key++;
}

static void _wrong(struct redis_client *c, const struct command *m, const struct resp_item *i,
                   const char *why)
{
    chaos_fail(c->history, "redis: client %llu: %s: key %u, version %u, count %lld, got %c %.*s",
               (unsigned long long)c->number, why, m->of[0].after.number, m->of[0].after.version,
               m->of[0].after.count, i->type, (int)(i->len < 80 ? i->len : 80), i->text);
}

static void _check_value(struct redis_client *c, const struct command *m, unsigned which,
                         const struct resp_item *i)
{
    const struct key *k = &m->of[which].after;
    bool sure = c->keys[m->of[which].slot].number == k->number;
    char name[48];
    int len = redis_key_name(name, c->number, k->number), version = 0;
    if (i->type != 'N' && i->type != '$')
        _wrong(c, m, i, "neither a value nor null");
    else if (i->type == '$' && (version = redis_value_check(i->text, i->len, name, (size_t)len)) < 0)
        _wrong(c, m, i, "another key's value, or a damaged one");
    else if (sure && (unsigned)version != k->version)
        _wrong(c, m, i, "a value of another time");
}

static bool _is_error(struct redis_client *c, const struct command *m, const struct resp_item *i)
{
    if (i->type != '-')
        return false;
    history_add(c->history, "error %.*s", (int)(i->len < 70 ? i->len : 70), i->text);
    _errors[_index(c)]++;
    if (m->verb != VERB_GARBAGE && !_troubled(c))
        _wrong(c, m, i, "an error");
    return true;
}

static void _check_number(struct redis_client *c, const struct command *m, const struct resp_item *i)
{
    bool sure = c->keys[m->of[0].slot].number == m->of[0].after.number;
    long long expected = m->verb == VERB_INCR ? m->of[0].after.count : m->had;
    if (i->type != ':')
        _wrong(c, m, i, "not a number");
    else if (sure && strtoll(i->text, NULL, 10) != expected)
        _wrong(c, m, i, m->verb == VERB_INCR ? "a count that is not right" : "DEL of another state");
}

static void _reply(struct redis_client *c, const struct command *m, const struct resp_value *v)
{
    const struct resp_item *i = &v->item[0];
    _answers[_index(c)]++;
    if (!v->array && _is_error(c, m, i)) {
        bool writes = m->verb == VERB_SET || m->verb == VERB_INCR || m->verb == VERB_DEL;
        if (writes)
            _give_up(c, m->of[0].slot, m->of[0].after.number);
        return;
    }
    if (v->array != (m->verb == VERB_MGET) || (v->array && v->n != m->n)) {
        _wrong(c, m, i, "a reply of another form");
        return;
    }
    switch (m->verb) {
    case VERB_GET:
        _check_value(c, m, 0, i);
        break;
    case VERB_MGET:
        for (unsigned k = 0; k < m->n; k++) {
            if (!_is_error(c, m, &v->item[k]))
                _check_value(c, m, k, &v->item[k]);
        }
        break;
    case VERB_SET:
        if (i->type != '+' || i->len != 2 || memcmp(i->text, "OK", 2))
            _wrong(c, m, i, "not OK");
        break;
    case VERB_INCR:
    case VERB_DEL:
        _check_number(c, m, i);
        break;
    default:
        _wrong(c, m, i, "garbage is not an error");
        break;
    }
}

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
        struct command m = c->queue[0];
        _reply(c, &m, &v);
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
    c->friendly = slot % 4 == 1;
    c->rude = slot % 5 == 4 || (slot % 5 == 0 && rng_chance(&c->rng, 20));
    c->left = 1 + rng_below(&c->rng, 400);
    for (unsigned i = 0; i < KEYS; i++)
        c->keys[i].number = i;
    c->history = history_new();
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
