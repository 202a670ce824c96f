#include "endpoint.h"

#include <errno.h>
#include <event2/event.h>
#include <stdatomic.h>
#include <time.h>

#include "log.h"
#include "runtime.h"

/* Where state and load are without programs. */
static uint64_t _own_state[RUNTIME_ENDPOINTS_MAX];
static struct endpoint_load _own_load[RUNTIME_ENDPOINTS_MAX];

static uint64_t *_state = _own_state;
static struct endpoint_load *_load = _own_load;

static struct failures {
    atomic_uint in_a_row; /**< None of them longer than `retry_after` before the next. */
    _Atomic uint64_t failed_at;
    _Atomic uint64_t ejected_until; /**< Monotonic ns; 0: not ejected. */
} _failures[RUNTIME_ENDPOINTS_MAX];

/** Endpoints with an `ejected_until`: most of the time none. */
static atomic_uint _n_ejected;

static struct event *_retry;

static uint64_t _now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

/* State and load ---------------------------------------------------------------------- */

void endpoint_share(uint64_t *state, struct endpoint_load *load)
{
    _state = state ? state : _own_state;
    _load = load ? load : _own_load;
}

uint64_t endpoint_state(uint32_t id)
{
    return __atomic_load_n(&_state[id], __ATOMIC_RELAXED);
}

void endpoint_set(uint32_t id, uint64_t bits, bool on)
{
    if (on)
        __atomic_fetch_or(&_state[id], bits, __ATOMIC_SEQ_CST);
    else
        __atomic_fetch_and(&_state[id], ~bits, __ATOMIC_SEQ_CST);
}

/* Adds what the configuration says of an address, which several clusters may have. */
static void _mark(const struct rt_cluster *c, uint8_t *found)
{
    for (size_t i = 0; i < c->conf->n_endpoints; i++)
        found[c->endpoints[i].id] |= c->conf->endpoints[i].drain ? 3 : 1;
}

void endpoint_configure(const struct runtime *rt)
{
    uint8_t found[RUNTIME_ENDPOINTS_MAX] = {0};
    for (size_t i = 0; i < rt->conf->n_clusters; i++)
        _mark(&rt->clusters[i], found);
    for (uint32_t id = 0; runtime_endpoint_name(id); id++) {
        endpoint_set(id, ENDPOINT_DRAIN_CONF, found[id] & 2);
        endpoint_set(id, ENDPOINT_REMOVED, !found[id]);
    }
}

void endpoint_count(uint32_t id)
{
    __atomic_fetch_add(&_load[id].outstanding, 1, __ATOMIC_RELAXED);
}

void endpoint_uncount(uint32_t id)
{
    __atomic_fetch_sub(&_load[id].outstanding, 1, __ATOMIC_RELAXED);
}

uint64_t endpoint_outstanding(uint32_t id)
{
    return __atomic_load_n(&_load[id].outstanding, __ATOMIC_RELAXED);
}

/* Failures ---------------------------------------------------------------------------- */

bool endpoint_ejected(uint32_t id)
{
    if (!atomic_load_explicit(&_n_ejected, memory_order_relaxed))
        return false;
    return atomic_load_explicit(&_failures[id].ejected_until, memory_order_relaxed) > _now();
}

bool endpoint_failed(uint32_t id, const struct conf_ejection *ejection, const char *why)
{
    struct failures *f = &_failures[id];
    if (!ejection->max_failures)
        return false;
    uint64_t now = _now();
    if (now - atomic_exchange(&f->failed_at, now) > ejection->retry_after && !atomic_load(&f->ejected_until))
        atomic_store(&f->in_a_row, 0); /* The kernel path may have had answers meanwhile. */
    unsigned n = atomic_fetch_add(&f->in_a_row, 1) + 1;
    if (n < ejection->max_failures || endpoint_ejected(id))
        return false;
    /* Once its time is over one more failure ejects it again. */
    if (!atomic_exchange(&f->ejected_until, now + ejection->retry_after))
        atomic_fetch_add(&_n_ejected, 1);
    endpoint_set(id, ENDPOINT_EJECTED, true);
    if (_retry)
        event_active(_retry, EV_TIMEOUT, 0);
    log_warn("endpoint %s: ejected after %u failures: %s", runtime_endpoint_name(id), n, why);
    return true;
}

void endpoint_answered(uint32_t id)
{
    struct failures *f = &_failures[id];
    if (!atomic_load_explicit(&f->in_a_row, memory_order_relaxed))
        return;
    atomic_store(&f->in_a_row, 0);
    if (atomic_exchange(&f->ejected_until, 0)) {
        atomic_fetch_sub(&_n_ejected, 1);
        endpoint_set(id, ENDPOINT_EJECTED, false);
        log_info("endpoint %s: answers again", runtime_endpoint_name(id));
    }
}

/* Trying again ------------------------------------------------------------------------ */

/* Ends the ejections whose time is over. @return When the next one is, 0 if there is none. */
static uint64_t _end_ejections(uint64_t now)
{
    uint64_t next = 0;
    for (uint32_t id = 0; runtime_endpoint_name(id); id++) {
        uint64_t until = atomic_load(&_failures[id].ejected_until);
        if (!(endpoint_state(id) & ENDPOINT_EJECTED))
            continue;
        if (until <= now)
            endpoint_set(id, ENDPOINT_EJECTED, false);
        else if (!next || until < next)
            next = until;
    }
    return next;
}

static void _on_retry(evutil_socket_t fd, short what, void *arg)
{
    uint64_t now = _now(), next = _end_ejections(now);
    (void)fd, (void)what, (void)arg;
    if (!next)
        return;
    uint64_t us = (next - now) / 1000 + 1;
    struct timeval tv = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
    event_add(_retry, &tv);
}

int endpoint_start(struct event_base *base)
{
    if (_retry)
        event_free(_retry);
    _retry = base ? evtimer_new(base, _on_retry, NULL) : NULL;
    return base && !_retry ? -ENOMEM : 0;
}
