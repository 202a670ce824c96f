/* Which endpoint an exchange goes to, and what becomes of one that fails it. */
#include "endpoint.h"
#include "http.h"
#include "worker.h"

const struct rt_endpoint *exchange_choose_endpoint(const struct exchange *x, uint32_t picked)
{
    struct rt_cluster *c = x->cluster;
    for (size_t i = 0; picked && i < c->conf->n_endpoints; i++) {
        if (c->endpoints[i].id == picked - 1 && balance_in_use(&c->endpoints[i]))
            return &c->endpoints[i];
    }
    return balance_pick(c, &x->balance);
}

bool exchange_next_endpoint(struct exchange *x)
{
    struct balance_request *b = &x->balance;
    if (b->n_tried < BALANCE_TRIED_MAX)
        b->tried[b->n_tried++] = x->endpoint->id;
    const struct rt_endpoint *next = balance_pick(x->cluster, b);
    if (next)
        x->endpoint = next;
    return next;
}

static bool _find_in(struct exchange *x, struct rt_cluster *c, uint32_t endpoint)
{
    for (size_t j = 0; j < c->conf->n_endpoints; j++) {
        if (c->endpoints[j].id == endpoint) {
            x->cluster = c;
            x->endpoint = &c->endpoints[j];
            return true;
        }
    }
    return false;
}

bool exchange_find_endpoint(struct exchange *x, uint32_t endpoint, const char *head,
                            const struct http1_message *m)
{
    bool ambiguous = false;
    const struct conf_route *route = m && x->d->c.listener ? route_request(x->d, head, m, &ambiguous) : NULL;
    /* Clusters may share an address. */
    if (route && !ambiguous && !route->respond &&
        _find_in(x, &x->runtime->clusters[route->cluster], endpoint))
        return true;
    for (size_t i = 0; i < x->runtime->conf->n_clusters; i++) {
        if (_find_in(x, &x->runtime->clusters[i], endpoint))
            return true;
    }
    return false;
}

bool exchange_find_route(struct exchange *x, const char *head, const struct http1_message *m)
{
    bool ambiguous = false;
    const struct conf_route *route = x->d->c.listener ? route_request(x->d, head, m, &ambiguous) : NULL;
    if (!route || ambiguous || route->respond)
        return false;
    x->cluster = &x->runtime->clusters[route->cluster];
    balance_hash_request(x->cluster, &x->d->c, head, m, &x->balance);
    x->endpoint = balance_pick(x->cluster, &x->balance);
    return x->endpoint;
}

void exchange_endpoint_failed(struct exchange *x, const char *why)
{
    struct worker *w = x->d->c.worker;
    /* A reload may have removed the endpoint of this connection: then no other is to blame. */
    if (x->u && x->endpoint && x->u->c.endpoint != x->endpoint->id)
        return;
    if (x->endpoint && endpoint_failed(x->endpoint->id, &x->cluster->conf->ejection, why))
        stat_add(&w->stats.endpoints[x->endpoint->id].ejections, 1);
}
