#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger.h"
#include "message.h"
#include "peer.h"
#include "request.h"
#include "response.h"

/** Requests behind each other without waiting. */
#define PIPELINE_MAX 5

struct client {
    struct peer p;
    uint64_t number;
    unsigned slot, seq;
    struct persona who;
    struct rng rng;
    struct message in;
    TAILQ_HEAD(, record) queue; /**< Outstanding requests. */
    unsigned left;              /**< Requests still to be made. */
    struct response expected;   /**< To the first of the queue, once its head is here. */
    unsigned arrival;           /**< That the answer names; 0: it is skein's own. */
    bool head_seen, damaged;
    uint64_t shut_at;  /**< Half-close then. */
    uint64_t reset_at; /**< Reset when so many bytes of responses are read. */
    struct event think;
    struct history *history;
    TAILQ_ENTRY(client) link;
};

static TAILQ_HEAD(, client) _clients = TAILQ_HEAD_INITIALIZER(_clients);
static unsigned *_generations;

static void _open(unsigned slot);

static struct client *_client(struct peer *p)
{
    return (struct client *)((char *)p - offsetof(struct client, p));
}

/* The end of a connection ------------------------------------------------------------- */

static void _on_reopen(evutil_socket_t fd, short what, void *arg)
{
    _open((unsigned)(uintptr_t)arg);
}

/* The connection is over; what is outstanding ends as `o`. */
static void _over(struct client *c, enum outcome o)
{
    struct record *r;
    while ((r = TAILQ_FIRST(&c->queue))) {
        TAILQ_REMOVE(&c->queue, r, link);
        ledger_done(&r, o, 0, 0, 0);
    }
    event_del(&c->think);
    TAILQ_REMOVE(&_clients, c, link);
    if (chaos.ending)
        return;
    struct timeval tv = {.tv_usec = rng_below(&c->rng, 60000)};
    event_base_once(chaos.base, -1, EV_TIMEOUT, _on_reopen, (void *)(uintptr_t)c->slot, &tv);
}

static void _close(struct client *c, bool reset, enum outcome o)
{
    peer_close(&c->p, reset);
    _over(c, o);
}

static void _acted(struct peer *p, enum peer_act act)
{
    struct client *c = _client(p);
    history_add(c->history, "%s after %llu bytes",
                (const char *[]){"pauses", "closes", "resets", "half-closes"}[act],
                (unsigned long long)p->sent);
    if (p->dead)
        _over(c, OUTCOME_ABANDONED);
}

/* Requests ---------------------------------------------------------------------------- */

static struct record *_new_record(struct client *c)
{
    struct record *r = ledger_new(c->number, c->seq++, c->history);
    TAILQ_INSERT_TAIL(&c->queue, r, link);
    return r;
}

static void _request(struct client *c)
{
    bool last = --c->left == 0;
    struct record *r = _new_record(c);
    request_plan(r, &c->who, &c->rng, last);
    request_put(r, &c->rng, &c->p);
    if (r->fault == CLIENT_READ_RESET)
        c->reset_at = c->p.received + 1 + rng_below(&c->rng, 3000);
    if (r->fault == CLIENT_READ_SHUT)
        c->shut_at = c->p.received + 1 + rng_below(&c->rng, rng_chance(&c->rng, 50) ? 300 : 200000);
    if (last && !r->fault && !r->http10 && c->who.rude && rng_chance(&c->rng, 40)) {
        struct record *g = _new_record(c);
        g->fault = CLIENT_GARBAGE;
        g->cluster = r->cluster;
        request_put_garbage(g, &c->rng, &c->p);
    }
}

static void _requests(struct client *c)
{
    unsigned n = 1;
    if (rng_chance(&c->rng, c->who.friendly ? 3 : 12))
        n = 2 + rng_below(&c->rng, PIPELINE_MAX - 1);
    for (; n && c->left; n--)
        _request(c);
    peer_read_slowly(&c->p, rng_chance(&c->rng, c->shut_at ? 60 : 5));
    peer_go(&c->p);
}

static void _on_think(evutil_socket_t fd, short what, void *arg)
{
    struct client *c = arg;
    if (c->left && !chaos.ending)
        _requests(c);
    else
        _close(c, rng_chance(&c->rng, 20), OUTCOME_ABANDONED);
}

/* All is answered: thinks about the next request. */
static void _think(struct client *c)
{
    struct timeval tv = {.tv_usec = rng_chance(&c->rng, 30) ? 0 : rng_below(&c->rng, 60000)};
    event_add(&c->think, &tv);
}

/* Responses --------------------------------------------------------------------------- */

static void _begin_response(struct client *c)
{
    message_init(&c->in, true);
    c->head_seen = c->damaged = false;
}

/* Whose answer is it, and is the head as the server sent it? */
static void _on_head(struct client *c, struct record *r)
{
    char text[64];
    unsigned long long token;
    c->head_seen = true;
    c->arrival = 0;
    if (!message_field(&c->in, "X-Chaos", text, sizeof(text))) {
        if (c->in.status < 400)
            chaos_fail(c->history, "answer %d to %u is neither a server's nor an error: %.300s", c->in.status,
                       r->seq, c->in.head);
        return;
    }
    if (sscanf(text, "%llx.%u", &token, &c->arrival) != 2 || token != r->token) {
        chaos_fail(c->history, "request %llu/%u (%016llx) got the answer to another: %.300s",
                   (unsigned long long)r->number, r->seq, (unsigned long long)r->token, c->in.head);
        c->damaged = true;
        return;
    }
    response_plan(&c->expected, r, c->arrival);
    if (c->in.status != c->expected.status)
        chaos_fail(c->history, "%u was answered with %d, got %d", r->seq, c->expected.status, c->in.status);
}

static void _on_body(void *arg, const uint8_t *data, size_t len)
{
    struct client *c = arg;
    if (!c->arrival || c->damaged)
        return;
    size_t good = content_check(data, len, c->expected.token, c->in.body);
    if (good == len)
        return;
    c->damaged = true;
    chaos_fail(c->history, "the body of response %u is damaged at %llu of %zu", TAILQ_FIRST(&c->queue)->seq,
               (unsigned long long)(c->in.body + good), c->expected.body);
}

/* What an answer that looks complete must be. */
static void _check_answer(struct client *c, const struct record *r)
{
    const struct response *e = &c->expected;
    char value[64];
    if (!e->bodyless && c->in.body != e->body)
        chaos_fail(c->history, "response %u looks complete with %llu of %zu bytes", r->seq,
                   (unsigned long long)c->in.body, e->body);
    if (e->fault && e->fault < _SERVER_BROKEN && e->fault != SERVER_EARLY_CLOSE)
        chaos_fail(c->history, "response %u looks complete, but the server's fault was %u", r->seq, e->fault);
    if (e->trailer && r->te_trailers && c->in.chunked && !e->bodyless) {
        snprintf(value, sizeof(value), "X-Trailer: %016llx", (unsigned long long)e->token);
        if (strcasecmp(value, c->in.trailer))
            chaos_fail(c->history, "response %u should end with %s, not \"%s\"", r->seq, value,
                       c->in.trailer);
    }
}

static void _on_response(struct client *c)
{
    struct record *r = TAILQ_FIRST(&c->queue);
    bool close = c->in.close || r->http10, half = r->fault == CLIENT_HALF_CLOSE;
    enum outcome o = c->arrival ? OUTCOME_ANSWER : OUTCOME_ERROR;
    if (c->arrival && !c->damaged)
        _check_answer(c, r);
    TAILQ_REMOVE(&c->queue, r, link);
    ledger_done(&r, o, c->in.status, c->arrival, 0);
    if (close || half || (TAILQ_EMPTY(&c->queue) && !c->left)) {
        _close(c, rng_chance(&c->rng, 10), OUTCOME_UNANSWERED);
        return;
    }
    _begin_response(c);
    if (TAILQ_EMPTY(&c->queue))
        _think(c);
}

static void _input(struct peer *p, const uint8_t *data, size_t len)
{
    struct client *c = _client(p);
    while (len && !p->dead) {
        struct record *r = TAILQ_FIRST(&c->queue);
        if (!r) {
            chaos_fail(c->history, "%zu bytes that nobody asked for: %.*s", len, (int)(len < 200 ? len : 200),
                       data);
            _close(c, true, OUTCOME_ABANDONED);
            return;
        }
        c->in.to_head = r->method == METHOD_HEAD;
        size_t n = message_feed(&c->in, data, len, _on_body, c);
        data += n;
        len -= n;
        if (c->in.state == MESSAGE_BAD) {
            chaos_fail(c->history, "skein sent a malformed response to %u: %s: %.300s", r->seq, c->in.why,
                       c->in.head);
            _close(c, true, OUTCOME_ABANDONED);
            return;
        }
        if (c->in.state == MESSAGE_HEAD)
            return;
        if (c->in.status < 200) {
            if (c->in.status == 100)
                peer_go(p);
            _begin_response(c);
            continue;
        }
        if (!c->head_seen)
            _on_head(c, r);
        if (c->in.state == MESSAGE_DONE)
            _on_response(c);
    }
    if (!p->dead && c->shut_at && p->received >= c->shut_at) {
        c->shut_at = 0;
        peer_mark(p, p->queued, PEER_SHUT, 0);
        peer_go(p);
    }
    if (!p->dead && c->reset_at && p->received >= c->reset_at) {
        history_add(c->history, "resets inside a response");
        _close(c, true, OUTCOME_ABANDONED);
    }
}

static void _ended(struct peer *p, int err)
{
    struct client *c = _client(p);
    struct record *r = TAILQ_FIRST(&c->queue);
    history_add(c->history, "the connection ends: %s", err ? strerror(err) : "FIN");
    if (p->connecting)
        chaos_fail(c->history, "skein does not accept: %s", strerror(err));
    else if (!r && c->left)
        chaos_fail(c->history, "skein closed an idle connection: %s", err ? strerror(err) : "FIN");
    if (r && !err && c->in.by_close && c->in.state == MESSAGE_BODY) {
        _on_response(c);
        return;
    }
    if (r) {
        TAILQ_REMOVE(&c->queue, r, link);
        ledger_done(&r, OUTCOME_ENDED, 0, 0, err);
    }
    _close(c, false, OUTCOME_UNANSWERED);
}

/* Connections ------------------------------------------------------------------------- */

static void _release(struct peer *p)
{
    struct client *c = _client(p);
    history_unref(&c->history);
    free(c);
}

static const struct peer_ops _ops = {.input = _input, .ended = _ended, .acted = _acted, .release = _release};

static struct persona _persona(unsigned slot, struct rng *rng)
{
    static const struct persona kinds[] = {
        {CLUSTER_CALM, true, false},   {CLUSTER_CALM, true, false}, {CLUSTER_CALM, false, false},
        {CLUSTER_FICKLE, true, false}, {CLUSTER_WILD, true, false}, {CLUSTER_FICKLE, false, false},
        {CLUSTER_WILD, false, false},  {CLUSTER_WILD, false, true}, {CLUSTER_WILD, true, true},
    };
    const unsigned n = sizeof(kinds) / sizeof(kinds[0]);
    if (slot % 10 < n)
        return kinds[slot % 10];
    /* A rude client harms nobody but itself. */
    return (struct persona){rng_below(rng, _CLUSTER_MAX), rng_chance(rng, 50), true};
}

static void _open(unsigned slot)
{
    if (chaos.ending)
        return;
    struct client *c = calloc(1, sizeof(*c));
    if (!c)
        abort();
    c->history = history_new();
    c->slot = slot;
    c->number = (uint64_t)++_generations[slot] * 1000 + slot;
    c->rng = rng_stream(chaos.opt.seed, 'c', c->number);
    c->who = _persona(slot, &c->rng);
    c->left = 1 + rng_below(&c->rng, c->who.rude ? 12 : rng_chance(&c->rng, 30) ? 300 : 40);
    TAILQ_INIT(&c->queue);
    TAILQ_INSERT_TAIL(&_clients, c, link);
    event_assign(&c->think, chaos.base, -1, 0, _on_think, c);
    peer_connect(&c->p, chaos.port, &_ops, rng_stream(chaos.opt.seed, 'p', c->number));
    history_add(c->history, "client %llu connects", (unsigned long long)c->number);
    _requests(c);
    _begin_response(c);
}

void clients_open(unsigned n)
{
    _generations = calloc(n, sizeof(*_generations));
    if (!_generations)
        abort();
    for (unsigned i = 0; i < n; i++)
        _open(i);
}

bool clients_done(void)
{
    return TAILQ_EMPTY(&_clients);
}

void clients_check(void)
{
    struct client *c;
    TAILQ_FOREACH (c, &_clients, link) {
        if (!TAILQ_EMPTY(&c->queue))
            ledger_overdue(TAILQ_FIRST(&c->queue), c->p.received);
    }
}
