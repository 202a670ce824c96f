#include "balance.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/random.h>

#include "endpoint.h"

/* States that keep an endpoint from being chosen, from the strictest to what is never given up. A
 * removed one is chosen only by a configuration that has nothing else and is about to go. */
static const uint64_t _refused[] = {
    ~0ULL,
    ~ENDPOINT_SUSPECTED,
    ENDPOINT_DRAIN | ENDPOINT_DRAIN_CONF,
};

/** Those that a choice is made among. */
struct choice {
    const struct rt_cluster *cluster;
    const struct balance_request *request;
    uint64_t refused;
    bool again; /**< Endpoints that were tried count too. */
};

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016). */
static uint32_t _random(void)
{
    static _Thread_local uint64_t state;
    while (!state) {
        if (getrandom(&state, sizeof(state), 0) != (ssize_t)sizeof(state))
            state = 0;
    }
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 0x2545f4914f6cdd1dULL) >> 32);
}

static bool _was_tried(const struct balance_request *r, uint32_t id)
{
    for (uint8_t i = 0; i < r->n_tried; i++) {
        if (r->tried[i] == id)
            return true;
    }
    return false;
}

static bool _may(const struct choice *ch, size_t i)
{
    uint32_t id = ch->cluster->endpoints[i].id;
    return !(endpoint_state(id) & ch->refused) && (ch->again || !_was_tried(ch->request, id));
}

/* Fills in the endpoints that may be chosen. @return How many. */
static size_t _collect(const struct choice *ch, uint16_t *out)
{
    size_t n = 0;
    for (size_t i = 0; i < ch->cluster->conf->n_endpoints; i++) {
        if (_may(ch, i))
            out[n++] = (uint16_t)i;
    }
    return n;
}

/* Policies: an index into the cluster's endpoints, -1 if none may be chosen ------------------------- */

static uint32_t _weight(const struct choice *ch, size_t i)
{
    return ch->cluster->conf->endpoints[i].weight;
}

/* Each try takes a place of its own, so that those in use share what the others leave. */
static int _round_robin(const struct choice *ch)
{
    const struct rt_cluster *c = ch->cluster;
    uint32_t at = 0;
    for (uint32_t i = 0; i < BALANCE_TRIES; i++) {
        at = atomic_fetch_add_explicit(c->position, 1, memory_order_relaxed) % c->schedule_len;
        if (_may(ch, c->schedule[at]))
            return c->schedule[at];
    }
    for (uint32_t i = 1; i < c->schedule_len; i++) {
        uint32_t next = (at + i) % c->schedule_len;
        if (_may(ch, c->schedule[next]))
            return c->schedule[next];
    }
    return -1;
}

static int _by_chance(const struct choice *ch)
{
    const struct rt_cluster *c = ch->cluster;
    uint16_t may[RUNTIME_ENDPOINTS_MAX];
    uint32_t total = 0, first = c->schedule[_random() % c->schedule_len];
    if (_may(ch, first))
        return (int)first;
    size_t n = _collect(ch, may);
    for (size_t i = 0; i < n; i++)
        total += _weight(ch, may[i]);
    if (!n)
        return -1;
    uint32_t at = _random() % total;
    size_t i = 0;
    for (; at >= _weight(ch, may[i]); i++)
        at -= _weight(ch, may[i]);
    return may[i];
}

static int _least_request(const struct choice *ch)
{
    uint16_t may[RUNTIME_ENDPOINTS_MAX];
    size_t n = _collect(ch, may);
    if (!n)
        return -1;
    size_t at = _random() % n;
    size_t a = may[at], b = n > 1 ? may[(at + 1 + _random() % (n - 1)) % n] : a;
    const struct rt_endpoint *e = ch->cluster->endpoints;
    return (int)(balance_lighter(endpoint_outstanding(e[b].id), _weight(ch, b), endpoint_outstanding(e[a].id),
                                 _weight(ch, a))
                     ? b
                     : a);
}

static int _maglev(const struct choice *ch)
{
    bool out[RUNTIME_ENDPOINTS_MAX], any = false;
    uint32_t first = redis_ring_endpoint(ch->cluster->ring, ch->request->hash, NULL);
    if (_may(ch, first))
        return (int)first;
    for (size_t i = 0; i < ch->cluster->conf->n_endpoints; i++) {
        out[i] = !_may(ch, i);
        any |= !out[i];
    }
    return any ? (int)redis_ring_endpoint(ch->cluster->ring, ch->request->hash, out) : -1;
}

static int _choose(const struct choice *ch)
{
    switch (ch->cluster->conf->lb_policy) {
    case CONF_LEAST_REQUEST:
        return _least_request(ch);
    case CONF_RANDOM:
        return _by_chance(ch);
    case CONF_MAGLEV:
        return ch->request->has_hash ? _maglev(ch) : _by_chance(ch);
    default:
        return _round_robin(ch);
    }
}

const struct rt_endpoint *balance_pick(struct rt_cluster *c, const struct balance_request *r)
{
    for (int again = 0; again <= (r->n_tried != 0); again++) {
        for (size_t i = 0; i < sizeof(_refused) / sizeof(_refused[0]); i++) {
            int e = _choose(&(struct choice){c, r, _refused[i], again});
            if (e >= 0)
                return &c->endpoints[e];
        }
    }
    return NULL;
}

bool balance_in_use(const struct rt_endpoint *e)
{
    return !endpoint_state(e->id);
}
