/* Idle upstream connections as the programs find them: the pools' places. */
#include "kpath.h"
#include "kpath_internal.h"

static struct pool *_pool(const struct conn *u)
{
    struct kpath *k = u->worker->kpath->k;
    return &k->pools[u->endpoint * k->n_workers + u->worker->id];
}

bool kpath_pool_place(struct conn *u)
{
    const struct pool *p = _pool(u);
    for (uint32_t i = 0; i < POOL_SIZE; i++) {
        if (p->ref[i])
            continue;
        u->pool_index = i;
        return true;
    }
    return false;
}

void kpath_pool_unplace(struct conn *u)
{
    u->pool_index = UINT32_MAX;
}

void kpath_pool_put(struct conn *u)
{
    uint32_t i = u->pool_index;
    uint32_t ref = slot_ref(u->slot, u->worker->kpath->k->gens[u->slot]);
    __atomic_store_n(&_pool(u)->ref[i], ref, __ATOMIC_RELEASE);
    __atomic_fetch_or(&_pool(u)->idle[i / 64], 1ULL << (i % 64), __ATOMIC_ACQ_REL);
}

void kpath_pool_hide(struct conn *u)
{
    uint32_t i = u->pool_index;
    __atomic_fetch_and(&_pool(u)->idle[i / 64], ~(1ULL << (i % 64)), __ATOMIC_ACQ_REL);
}

void kpath_pool_leave(struct conn *u)
{
    if (u->pool_index == UINT32_MAX)
        return;
    kpath_pool_hide(u);
    _pool(u)->ref[u->pool_index] = 0;
    u->pool_index = UINT32_MAX;
}

uint32_t kpath_pooled(struct worker *w, uint32_t endpoint)
{
    uint32_t n = 0;
    if (!w->kpath || endpoint >= w->kpath->k->n_endpoints)
        return 0;
    const struct kpath *k = w->kpath->k;
    const struct pool *p = &k->pools[endpoint * k->n_workers + w->id];
    for (uint32_t i = 0; i < POOL_SIZE; i++) {
        /* A connection that is leased may have its bit (bpf/pool.h). */
        if (p->ref[i] && (__atomic_load_n(&p->idle[i / 64], __ATOMIC_RELAXED) >> i % 64 & 1))
            n += !owner_lease(slot_owner(&k->slots[ref_index(p->ref[i])]));
    }
    return n;
}
