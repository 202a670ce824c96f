/*
 * Rules between the parts of a file: an address is bound once, and a request that enters at a
 * listener can not come back to it through listeners of this same file.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "conf/address.h"
#include "conf/resolve.h"

static void _check_addresses(struct conf_build *b)
{
    const struct conf *conf = b->conf;

    for (size_t i = 0; i < conf->n_listeners; ++i) {
        const struct conf_listener *a = &conf->listeners[i];

        if (!a->address.len)
            continue;
        if (conf->admin.len && conf_address_overlaps(&a->address, &conf->admin))
            conf_error(b->errors, conf_path("listeners[%zu].address", i).text,
                       "%s is taken by admin.address (%s), expected an address of its own", a->address.text,
                       conf->admin.text);
        for (size_t j = 0; j < i; ++j) {
            const struct conf_listener *other = &conf->listeners[j];

            if (!other->address.len || !conf_address_overlaps(&a->address, &other->address))
                continue;
            conf_error(b->errors, conf_path("listeners[%zu].address", i).text,
                       "%s is taken by listeners[%zu].address (%s), expected an address of its own",
                       a->address.text, j, other->address.text);
            break;
        }
    }
}

enum mark { NEW, OPEN, DONE };

/** A depth-first search along listener -> cluster -> endpoint -> listener. */
struct search {
    struct conf_build *build;
    enum mark *marks;
    size_t *chain; /**< Listeners from the start to the current one. */
    size_t depth;
};

/** The listener of this file that an address leads to; n_listeners if none. */
static size_t _find_listener(const struct conf *conf, const struct conf_address *to)
{
    size_t i = 0;

    while (i < conf->n_listeners && !(to->len && conf->listeners[i].address.len &&
                                      conf_address_reaches(to, &conf->listeners[i].address)))
        i++;

    return i;
}

/** `at` is the key that leads on from the last listener of the chain. */
static void _report_loop(const struct search *s, const char *at, const char *endpoint, size_t back_to)
{
    const struct conf *conf = s->build->conf;
    struct conf_text chain = {};
    size_t i = 0;
    size_t n = 0;

    while (s->chain[i] != back_to)
        i++;
    for (; i < s->depth && n < sizeof(chain.text); ++i)
        n += (size_t)snprintf(chain.text + n, sizeof(chain.text) - n, "%s -> ",
                              conf->listeners[s->chain[i]].name);
    conf_error(s->build->errors, at,
               "endpoint %s makes a loop of listeners, %s%s, expected an endpoint that ends it", endpoint,
               chain.text, conf->listeners[back_to].name);
}

static void _visit(struct search *s, size_t listener);

static void _follow(struct search *s, const char *at, const struct conf_cluster *cluster)
{
    const struct conf *conf = s->build->conf;

    for (size_t i = 0; i < cluster->n_endpoints; ++i) {
        size_t next = _find_listener(conf, &cluster->endpoints[i].address);

        if (next == conf->n_listeners)
            continue;
        if (s->marks[next] == OPEN)
            _report_loop(s, at, cluster->endpoints[i].address.text, next);
        else if (s->marks[next] == NEW)
            _visit(s, next);
    }
}

/** Follows each cluster once, from the first route that leads to it. */
static void _follow_routes(struct search *s, size_t listener)
{
    const struct conf *conf = s->build->conf;
    bool *followed = calloc(conf->n_clusters + 1, sizeof(*followed));

    for (size_t i = 0; followed && i < conf->listeners[listener].n_routes; ++i) {
        int cluster = conf->listeners[listener].routes[i].cluster;

        if (cluster < 0 || followed[cluster])
            continue;
        followed[cluster] = true;
        _follow(s, conf_path("listeners[%zu].routes[%zu].cluster", listener, i).text,
                &conf->clusters[cluster]);
    }
    free(followed);
}

static void _visit(struct search *s, size_t listener)
{
    const struct conf *conf = s->build->conf;
    int cluster = conf->listeners[listener].cluster;

    s->marks[listener] = OPEN;
    s->chain[s->depth++] = listener;
    if (cluster >= 0)
        _follow(s, conf_path("listeners[%zu].cluster", listener).text, &conf->clusters[cluster]);
    else
        _follow_routes(s, listener);
    s->depth--;
    s->marks[listener] = DONE;
}

static void _check_loops(struct conf_build *b)
{
    size_t n = b->conf->n_listeners;
    struct search s = {.build = b, .marks = calloc(n, sizeof(enum mark)), .chain = calloc(n, sizeof(size_t))};

    for (size_t i = 0; s.marks && s.chain && i < n; ++i) {
        if (s.marks[i] == NEW)
            _visit(&s, i);
    }
    free(s.marks);
    free(s.chain);
}

static bool _same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/** Whether connections to one address may serve both clusters. */
static bool _may_share(const struct conf_cluster *a, const struct conf_cluster *b)
{
    return !conf_is_for_redis(a) || !conf_is_for_redis(b) ||
           (_same_text(a->redis.user, b->redis.user) && _same_text(a->redis.password, b->redis.password));
}

/** Reports the first endpoint of cluster `i` that cluster `j` has too. */
static void _check_shared(struct conf_build *b, size_t i, size_t j)
{
    const struct conf_cluster *a = &b->conf->clusters[i], *other = &b->conf->clusters[j];

    for (size_t e = 0; e < a->n_endpoints; ++e) {
        for (size_t f = 0; f < other->n_endpoints; ++f) {
            if (strcmp(a->endpoints[e].address.text, other->endpoints[f].address.text) != 0)
                continue;
            conf_error(b->errors, conf_path("clusters[%zu].endpoints[%zu].address", i, e).text,
                       "%s is in clusters[%zu] too, with another redis.auth, expected the same",
                       a->endpoints[e].address.text, j);
            return;
        }
    }
}

/** Upstream connections are shared by address: Redis clusters with the same one must log in alike. */
static void _check_endpoints(struct conf_build *b)
{
    for (size_t i = 0; i < b->conf->n_clusters; ++i) {
        for (size_t j = 0; j < i; ++j) {
            if (!_may_share(&b->conf->clusters[i], &b->conf->clusters[j]))
                _check_shared(b, i, j);
        }
    }
}

void conf_check_relations(struct conf_build *b)
{
    _check_addresses(b);
    _check_endpoints(b);
    _check_loops(b);
}
