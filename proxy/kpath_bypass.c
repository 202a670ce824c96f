/* Which connections may take the bypass path. */
#include "bypass.h"
#include "kernel_internal.h"
#include "kpath.h"
#include "kpath_internal.h"
#include "worker.h"

enum bypass_reason kpath_bypass(struct conn *c)
{
    struct kpath *k = c->worker->kpath->k;
    struct stats *stats = &c->worker->stats;
    enum bypass_reason r = !k->bypass ? BYPASS_OFF : c->excepted ? BYPASS_EXCEPTED : BYPASS_OK;
    if (r == BYPASS_OK)
        r = bypass_bind(k, c->slot, c->cookie);
    c->remote = r == BYPASS_REMOTE || r == BYPASS_EXCEPTED || r == BYPASS_OFF;
    if (c->upstream && r != BYPASS_EXCEPTED)
        k->remote_endpoint[c->endpoint] = c->remote;
    c->local = r == BYPASS_OK;
    c->quiet = false;
    c->unread = r == BYPASS_BUSY ? c->unread + 1 : 0;
    stat_add(&stats->bypass[c->upstream][r], 1);
    return r;
}

bool kpath_may_bypass(struct conn *c)
{
    struct kpath *k = c->worker->kpath ? c->worker->kpath->k : NULL;
    if (!k || !k->bypass || !c->listener || c->listener->rt->kernel_id == UINT32_MAX || c->kernel_refused ||
        c->listener->rt->conf->bypass_except)
        return false;
    if (!c->cookie) {
        c->cookie = kernel_cookie(c->fd);
        c->remote = bypass_is_remote(k, c->cookie);
    }
    return !c->remote;
}

bool kpath_is_abandoned(const struct conn *c)
{
    return c->worker->kpath && c->cookie && bypass_is_closed(c->worker->kpath->k, c->cookie);
}

bool kpath_is_remote(struct worker *w, uint32_t endpoint)
{
    const struct kpath *k = w->kpath ? w->kpath->k : NULL;
    return k && endpoint < k->n_endpoints && k->remote_endpoint[endpoint];
}

void kpath_connecting(struct conn *c, bool excepted)
{
    c->excepted = excepted;
    if (c->worker->kpath)
        bypass_connecting(c->worker->kpath->k, c->fd, !excepted);
}
