#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/address.h"
#include "conf/http.h"
#include "conf/redis.h"
#include "conf/resolve.h"

#define RETRIES_MAX 10

const char *conf_lb_policy_name(enum conf_lb_policy policy)
{
    static const char *const names[] = {
        [CONF_ROUND_ROBIN] = "round_robin",
        [CONF_RANDOM] = "random",
        [CONF_LEAST_REQUEST] = "least_request",
        [CONF_MAGLEV] = "maglev",
        [CONF_CRC16_SLOTS] = "crc16_slots",
        [CONF_KETAMA] = "ketama",
        [CONF_MODULA] = "modula",
    };

    return names[policy];
}

bool conf_is_for_redis(const struct conf_cluster *cluster)
{
    switch (cluster->lb_policy) {
    case CONF_CRC16_SLOTS:
    case CONF_KETAMA:
    case CONF_MODULA:
        return true;
    case CONF_MAGLEV:
        return cluster->http.hash_on == CONF_HASH_ON_NOTHING;
    default:
        return false;
    }
}

/** The policy, with hash_on, tells what the cluster is for. */
static int _resolve_policy(struct conf_build *b, size_t index)
{
    conf_resolve_hash_on(b, index);
    if (conf_is_for_redis(&b->conf->clusters[index])) {
        conf_refuse_http_keys(b, index);
        return conf_resolve_redis_cluster(b, index);
    }
    conf_refuse_redis_keys(b, index);

    return conf_resolve_http_cluster(b, index);
}

static struct conf_text _names(const struct conf *conf)
{
    struct conf_text list = {};

    for (size_t i = 0; i < conf->n_clusters && conf_list_name(&list, i, conf->clusters[i].name); ++i)
        ;

    return list;
}

int conf_find_cluster(struct conf_build *b, const char *path, const char *name)
{
    const struct conf *conf = b->conf;

    for (size_t i = 0; i < conf->n_clusters; ++i) {
        if (!strcmp(conf->clusters[i].name, name))
            return (int)i;
    }
    if (conf->n_clusters)
        conf_error(b->errors, path, "no cluster named %s, expected one of: %s", conf_quote(name).text,
                   _names(conf).text);
    else
        conf_error(b->errors, path, "no cluster named %s, expected a section clusters that has it",
                   conf_quote(name).text);

    return -1;
}

static void _check_unique(struct conf_build *b, size_t index)
{
    const struct conf_cluster *clusters = b->conf->clusters;

    for (size_t i = 0; i < index; ++i) {
        if (strcmp(clusters[i].name, clusters[index].name))
            continue;
        conf_error(b->errors, conf_path("clusters[%zu].name", index).text,
                   "clusters[%zu] has the name %s too, expected a unique name", i,
                   conf_quote(clusters[i].name).text);
        return;
    }
}

static void _resolve_endpoint(struct conf_build *b, size_t cluster, size_t index)
{
    const struct raw_endpoint *raw = &b->raw->clusters[cluster].endpoints[index];
    struct conf_endpoint *out = &b->conf->clusters[cluster].endpoints[index];
    struct conf_text at = conf_path("clusters[%zu].endpoints[%zu].address", cluster, index);

    conf_resolve_address(b, at.text, raw->address, &out->address);
    if (out->address.len && conf_address_is_any(&out->address))
        conf_error(b->errors, at.text, "%s is not one server, expected an address to connect to",
                   conf_quote(raw->address).text);

    at = conf_path("clusters[%zu].endpoints[%zu].weight", cluster, index);
    out->weight = conf_resolve_uint(b, at.text, raw->weight, 1, 1000, 1);
}

static void _resolve_retries(struct conf_build *b, size_t index)
{
    struct conf_cluster *out = &b->conf->clusters[index];
    const uint64_t *raw = b->raw->clusters[index].retries;
    struct conf_text at = conf_path("clusters[%zu].retries", index);

    if (!conf_is_for_redis(out))
        out->retries = conf_resolve_uint(b, at.text, raw, 0, RETRIES_MAX, 1);
    else if (raw)
        conf_error(b->errors, at.text, "only for clusters of http listeners, expected none with lb_policy %s",
                   conf_lb_policy_name(out->lb_policy));
}

static int _resolve_cluster(struct conf_build *b, size_t index)
{
    struct raw_cluster *raw = &b->raw->clusters[index];
    struct conf_cluster *out = &b->conf->clusters[index];

    out->name = CONF_TAKE(raw->name);
    out->lb_policy = raw->lb_policy;
    out->endpoints = calloc(raw->endpoints_count, sizeof(*out->endpoints));
    if (!out->endpoints)
        return -ENOMEM;
    out->n_endpoints = raw->endpoints_count;

    conf_check_name(b, conf_path("clusters[%zu].name", index).text, out->name);
    _check_unique(b, index);
    for (size_t i = 0; i < out->n_endpoints; ++i)
        _resolve_endpoint(b, index, i);

    int r = _resolve_policy(b, index);
    _resolve_retries(b, index);
    return r;
}

int conf_resolve_clusters(struct conf_build *b)
{
    int r = 0;

    if (!b->raw->clusters_count)
        return 0;
    b->conf->clusters = calloc(b->raw->clusters_count, sizeof(*b->conf->clusters));
    if (!b->conf->clusters)
        return -ENOMEM;
    b->conf->n_clusters = b->raw->clusters_count;

    for (size_t i = 0; i < b->conf->n_clusters && !r; ++i)
        r = _resolve_cluster(b, i);

    return r;
}
