/*
 * Routes as tables. First match wins in the configuration; in the kernel a
 * longest-prefix trie decides. So each prefix in the trie carries the answer that the
 * ordered list gives for every path for which that prefix is the longest in the trie: the
 * first route whose own prefix is a prefix of it.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"
#include "kernel_internal.h"
#include "log.h"
#include "skein.skel.h"

/* Whether the route applies to requests for `host` (NULL: a host that no route names). */
static bool _applies(const struct conf_route *r, const char *host)
{
    return !r->host || (host && strcmp(r->host, host) == 0);
}

/* Whether the route's messages go on byte for byte, which is all that the programs can do. */
static bool _is_forwarded_raw(const struct conf_route *r)
{
    return r->cluster >= 0 && !conf_route_edits(r);
}

/* What the ordered list says for paths that begin with `path` (or are it, if exact). */
static uint32_t _answer(const struct runtime *rt, const struct conf_listener *l, const char *host,
                        const char *path, bool exact)
{
    for (size_t i = 0; i < l->n_routes; i++) {
        const struct conf_route *r = &l->routes[i];
        if (!_applies(r, host))
            continue;
        bool match = r->path ? exact && strcmp(r->path, path) == 0
                             : strncmp(r->path_prefix, path, strlen(r->path_prefix)) == 0;
        if (match)
            return _is_forwarded_raw(r) ? rt->clusters[r->cluster].kernel_id : CLUSTER_USERSPACE;
    }
    return CLUSTER_USERSPACE;
}

static struct route_key *_new_route(struct published *p)
{
    if (p->n_routes == p->cap_routes) {
        size_t cap = p->cap_routes ? p->cap_routes * 2 : 64;
        struct route_key *grown = reallocarray(p->routes, cap, sizeof(*grown));
        if (!grown)
            abort();
        p->routes = grown;
        p->cap_routes = cap;
    }
    return memset(&p->routes[p->n_routes], 0, sizeof(struct route_key));
}

static int _publish_vhost(struct kpath *k, const struct runtime *rt, const struct conf_listener *l,
                          const char *host, uint32_t vhost, struct published *p)
{
    for (size_t i = 0; i < l->n_routes; i++) {
        const struct conf_route *r = &l->routes[i];
        const char *path = r->path ? r->path : r->path_prefix;
        if (!_applies(r, host))
            continue;
        struct route_key *key = _new_route(p);
        /* An exact route ends with the zero byte that follows every path in its key. */
        key->bits = (uint32_t)(32 + 8 * (strlen(path) + (r->path ? 1 : 0)));
        key->vhost = vhost;
        memcpy(key->path, path, strlen(path));
        uint32_t answer = _answer(rt, l, host, path, r->path != NULL);
        int e = kernel_put(k->skel->maps.routes, key, &answer);
        if (e)
            return e;
        p->n_routes++;
    }
    return 0;
}

static int _publish_hosts(struct kpath *k, const struct runtime *rt, const struct rt_listener *l,
                          struct published *p)
{
    for (size_t i = 0; i < l->conf->n_routes; i++) {
        const char *host = l->conf->routes[i].host;
        bool seen = !host;
        for (size_t j = 0; host && j < i && !seen; j++)
            seen = l->conf->routes[j].host && strcmp(l->conf->routes[j].host, host) == 0;
        if (seen)
            continue;
        uint32_t vhost = k->next_vhost++;
        struct host_key *key = &p->hosts[p->n_hosts];
        memset(key, 0, sizeof(*key));
        key->listener = l->kernel_id;
        memcpy(key->host, host, strlen(host));
        int e = _publish_vhost(k, rt, l->conf, host, vhost, p);
        if (!e)
            e = kernel_put(k->skel->maps.hosts, key, &vhost);
        if (e)
            return e;
        p->n_hosts++;
    }
    return 0;
}

static bool _fits(const struct conf_listener *l)
{
    for (size_t i = 0; i < l->n_routes; i++) {
        const struct conf_route *r = &l->routes[i];
        if (strlen(r->path ? r->path : r->path_prefix) >= ROUTE_PATH_MAX ||
            (r->host && strlen(r->host) > ROUTE_HOST_MAX))
            return false;
    }
    return true;
}

/* A listener that has nothing for the programs stays out of the tables, so that its connections are not
 * promoted in vain. */
static bool _has_work(const struct conf_listener *l)
{
    for (size_t i = 0; i < l->n_routes; i++) {
        if (_is_forwarded_raw(&l->routes[i]))
            return true;
    }
    return false;
}

static bool _has_hosts(const struct conf_listener *l)
{
    for (size_t i = 0; i < l->n_routes; i++) {
        if (l->routes[i].host)
            return true;
    }
    return false;
}

static int _publish_listener(struct kpath *k, struct runtime *rt, struct rt_listener *l, struct published *p)
{
    const struct conf_limits *limits = &rt->conf->limits;
    const struct conf_route *first = &l->conf->routes[0];
    uint32_t id = k->next_listener++ % KERNEL_LISTENERS;
    struct kernel_listener v = {
        .any_vhost = k->next_vhost++,
        .has_hosts = _has_hosts(l->conf),
        .header_bytes = (uint32_t)limits->header_bytes,
        .header_count = limits->header_count,
        .target_bytes = (uint32_t)limits->target_bytes,
        .buffer = (uint32_t)(limits->buffer / 16 * 3),
        .body_bytes = limits->body_bytes,
    };
    if (!first->host && first->path_prefix && strcmp(first->path_prefix, "/") == 0) {
        v.single = 1;
        v.cluster = _answer(rt, l->conf, NULL, "/", false);
    }
    l->kernel_id = id;
    int e = _publish_vhost(k, rt, l->conf, NULL, v.any_vhost, p);
    if (!e)
        e = _publish_hosts(k, rt, l, p);
    if (!e)
        e = kernel_put(k->skel->maps.listeners, &id, &v);
    if (e)
        l->kernel_id = UINT32_MAX;
    return e;
}

/* Removes what the configuration before the last wrote: nobody routes by it any more. */
static void _retire(struct kpath *k, struct published *p)
{
    for (size_t i = 0; i < p->n_hosts; i++)
        bpf_map_delete_elem(bpf_map__fd(k->skel->maps.hosts), &p->hosts[i]);
    for (size_t i = 0; i < p->n_routes; i++)
        bpf_map_delete_elem(bpf_map__fd(k->skel->maps.routes), &p->routes[i]);
    free(p->hosts);
    free(p->routes);
    memset(p, 0, sizeof(*p));
}

void kernel_publish(struct kpath *k, struct runtime *rt)
{
    size_t hosts = 1;
    if (!k)
        return;
    _retire(k, &k->published[1]);
    k->published[1] = k->published[0];
    k->n_rings = 0;
    struct published *p = &k->published[0];
    for (size_t i = 0; i < rt->conf->n_listeners; i++)
        hosts += rt->conf->listeners[i].n_routes;
    memset(p, 0, sizeof(*p));
    p->hosts = calloc(hosts, sizeof(*p->hosts));
    if (!p->hosts)
        abort();
    kernel_publish_clusters(k, rt);
    for (size_t i = 0; i < rt->conf->n_listeners; i++) {
        struct rt_listener *l = &rt->listeners[i];
        int r;
        if (l->conf->protocol == CONF_REDIS)
            r = kernel_publish_redis(k, rt, l);
        else if (!_has_work(l->conf))
            r = 0;
        else
            r = _fits(l->conf) ? _publish_listener(k, rt, l, p) : -ENAMETOOLONG;
        if (r)
            log_warn("listener %s: userspace path only: %s", l->conf->name, strerror(-r));
    }
}
