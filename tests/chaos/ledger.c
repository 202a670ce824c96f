#include "ledger.h"

#include <stdlib.h>
#include <string.h>

#include "rng.h"

#define BUCKETS 16384

/** Requests that are remembered after their end: what arrives late is known. */
#define DONE_MAX 32768

/** Longest time that any request may take: above all of skein's timeouts, and retries. */
#define OVERDUE_MS 40000

const char *const method_names[_METHOD_MAX] = {"GET", "HEAD", "POST", "PUT", "DELETE"};
const char *const cluster_names[_CLUSTER_MAX] = {"calm", "fickle", "wild"};

static LIST_HEAD(, record) _buckets[BUCKETS];
static TAILQ_HEAD(, record) _done = TAILQ_HEAD_INITIALIZER(_done);
static unsigned _n_done;
static uint64_t _counts[_CLUSTER_MAX][_OUTCOME_MAX];

struct record *ledger_new(uint64_t number, unsigned seq, struct history *h)
{
    struct record *r = calloc(1, sizeof(*r));
    if (!r)
        abort();
    r->history = history_ref(h);
    r->number = number;
    r->seq = seq;
    r->token = rng_mix(rng_mix(chaos.opt.seed ^ number << 20) + seq);
    r->begun = clock_ms();
    r->refs = 1;
    LIST_INSERT_HEAD(&_buckets[r->token % BUCKETS], r, same);
    return r;
}

struct record *ledger_find(uint64_t token)
{
    struct record *r;
    LIST_FOREACH (r, &_buckets[token % BUCKETS], same) {
        if (r->token == token)
            return r;
    }
    return NULL;
}

struct record *record_ref(struct record *r)
{
    r->refs++;
    return r;
}

void record_unref(struct record **record)
{
    struct record *r = *record;
    *record = NULL;
    if (!r || --r->refs)
        return;
    LIST_REMOVE(r, same);
    history_unref(&r->history);
    free(r);
}

uint64_t ledger_count(enum cluster c, enum outcome o)
{
    return _counts[c][o];
}

/* The rules --------------------------------------------------------------------------- */

static void _fail(const struct record *r, const char *what, int detail)
{
    chaos_fail(
        r->history,
        "%s %llu/%u to the %s cluster%s: %s (%d); client fault %u, server faults %#x, %u heads, %u bodies",
        method_names[r->method], (unsigned long long)r->number, r->seq, cluster_names[r->cluster],
        r->friendly ? ", friendly" : "", what, detail, r->fault, r->server_faults, r->heads, r->bodies);
}

static bool _is_idempotent(const struct record *r)
{
    return r->method != METHOD_POST;
}

static bool _is_broken(const struct record *r)
{
    return r->fault != CLIENT_NONE && r->fault < _CLIENT_BROKEN;
}

/* Whether servers did something because of which skein can not deliver an answer. */
static bool _is_troubled(const struct record *r)
{
    unsigned broken = (1U << _SERVER_BROKEN) - 2;
    return (r->server_faults & broken) || (r->cluster == CLUSTER_WILD && chaos_troubled(r->begun));
}

/* Whether the request may be lost to a server that closed the idle connection it was sent on: what is
 * sent again without asking is what changes nothing, and has nothing but a head. */
static bool _may_miss(const struct record *r)
{
    return r->cluster != CLUSTER_CALM && (!_is_idempotent(r) || r->body || r->chunked);
}

static bool _may_fail(const struct record *r, int status)
{
    if (_is_broken(r) && (status == 400 || status == 408))
        return true;
    if (status != 502 && status != 503 && status != 504)
        return false;
    return _is_troubled(r) || (status == 502 && _may_miss(r));
}

/* The client got a response that is complete and its own. */
static void _judge_answer(const struct record *r, unsigned arrival)
{
    if (_is_broken(r) && !r->early)
        _fail(r, "an answer to a request that is not complete", (int)arrival);
    if (!arrival || arrival > r->heads)
        _fail(r, "the answer names an arrival that was not", (int)arrival);
}

void ledger_done(struct record **record, enum outcome o, int status, unsigned arrival, int err)
{
    struct record *r = *record;
    history_add(r->history, "%u ends: %s %d", r->seq,
                (const char *[]){"", "answer", "error", "ended", "unanswered", "abandoned"}[o],
                o == OUTCOME_ENDED ? err : status);
    if (o == OUTCOME_ANSWER)
        _judge_answer(r, arrival);
    else if (o == OUTCOME_ERROR && !_may_fail(r, status))
        _fail(r, "an error", status);
    else if (o == OUTCOME_ENDED && !_is_broken(r) && !_is_troubled(r))
        _fail(r, "the connection ended without an answer", err);
    _counts[r->cluster][o]++;
    r->outcome = o;
    *record = NULL;
    TAILQ_INSERT_TAIL(&_done, r, link);
    if (++_n_done > DONE_MAX) {
        struct record *old = TAILQ_FIRST(&_done);
        TAILQ_REMOVE(&_done, old, link);
        _n_done--;
        record_unref(&old);
    }
}

void ledger_head(struct record *r)
{
    if (++r->heads > 1 && !_is_idempotent(r))
        _fail(r, "a request that is not idempotent arrived again", (int)r->heads);
    history_add(r->history, "server: head of %u, arrival %u", r->seq, r->heads);
}

void ledger_body(struct record *r)
{
    r->bodies++;
    if (_is_broken(r))
        _fail(r, "a request that was never complete arrived complete", (int)r->bodies);
}

void ledger_truncated(struct record *r)
{
    history_add(r->history, "server: %u ends inside the request", r->seq);
    if (!r->fault && r->outcome != OUTCOME_ABANDONED && !r->early && !_is_troubled(r) && !(r->heads > 1))
        _fail(r, "skein cut a request short", 0);
}

void ledger_overdue(const struct record *r, uint64_t received)
{
    if (clock_ms() - r->begun < OVERDUE_MS)
        return;
    history_add(r->history, "%llu bytes received", (unsigned long long)received);
    _fail(r, "no end in sight", (int)(clock_ms() - r->begun));
}
