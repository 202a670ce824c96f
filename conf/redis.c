/*
 * What listeners and clusters have for Redis alone.
 */
#include "conf/redis.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/units.h"

#define MULTIBULK_MAX   1048576
#define BULK_MAX        (512 * CONF_MIB)
#define NAME_MAX_LEN    255
#define DURATION_MAX    (24 * CONF_NS_PER_H)
#define CONNECTIONS_MAX 64

/* Listeners --------------------------------------------------------------------------- */

static int _resolve_clients_auth(struct conf_build *b, size_t index, struct raw_auth *raw)
{
    struct conf_redis_listener *out = &b->conf->listeners[index].redis;
    int r = conf_resolve_auth(b, conf_path("listeners[%zu].redis.auth", index).text, raw, &out->user,
                              &out->password);

    if (!r && !out->user) {
        out->user = strdup("default");
        r = out->user ? 0 : -ENOMEM;
    }

    return r;
}

static int _resolve_listener_section(struct conf_build *b, size_t index, struct raw_redis_listener *raw)
{
    struct conf_redis_listener *out = &b->conf->listeners[index].redis;
    struct conf_text at = conf_path("listeners[%zu].redis.idle_timeout", index);
    uint64_t bulk = BULK_MAX;

    out->on_ejected = raw->on_ejected;
    conf_resolve_duration(b, &(struct conf_unit_rule){at.text, raw->idle_timeout, &out->idle_timeout, 0,
                                                      DURATION_MAX, "0s (never) to 24h"});

    at = conf_path("listeners[%zu].redis.max_multibulk", index);
    out->max_multibulk = conf_resolve_uint(b, at.text, raw->max_multibulk, 1, MULTIBULK_MAX, MULTIBULK_MAX);

    at = conf_path("listeners[%zu].redis.max_bulk", index);
    conf_resolve_size(b,
                      &(struct conf_unit_rule){at.text, raw->max_bulk, &bulk, 64, BULK_MAX, "64B to 512MiB"});
    out->max_bulk = (uint32_t)bulk;

    return raw->auth ? _resolve_clients_auth(b, index, raw->auth) : 0;
}

static void _check_policy(struct conf_build *b, size_t index, const struct conf_cluster *cluster)
{
    if (!conf_is_for_redis(cluster))
        conf_error(b->errors, conf_path("listeners[%zu].cluster", index).text,
                   "cluster %s has lb_policy %s%s, expected one with " CONF_REDIS_POLICIES,
                   conf_quote(cluster->name).text, conf_lb_policy_name(cluster->lb_policy),
                   cluster->lb_policy == CONF_MAGLEV ? " with hash_on" : "");
}

int conf_resolve_redis_listener(struct conf_build *b, size_t index)
{
    const struct raw_listener *raw = &b->raw->listeners[index];
    struct conf_listener *out = &b->conf->listeners[index];
    struct conf_text at = conf_path("listeners[%zu].cluster", index);
    struct raw_redis_listener none = {};

    if (raw->routes_count)
        conf_error(b->errors, conf_path("listeners[%zu].routes", index).text,
                   "only for the protocol http, expected a cluster instead");
    if (raw->cluster)
        out->cluster = conf_find_cluster(b, at.text, raw->cluster);
    else
        conf_error(b->errors, at.text, "missing, expected the name of a cluster");
    if (out->cluster >= 0)
        _check_policy(b, index, &b->conf->clusters[out->cluster]);

    return _resolve_listener_section(b, index, raw->redis ? raw->redis : &none);
}

/* Clusters ---------------------------------------------------------------------------- */

static struct conf_text _at(size_t cluster, const char *key)
{
    return conf_path("clusters[%zu].%s", cluster, key);
}

static void _resolve_hash(struct conf_build *b, size_t index)
{
    const struct raw_cluster *raw = &b->raw->clusters[index];
    struct conf_cluster *out = &b->conf->clusters[index];

    out->hash = raw->hash ? *raw->hash : CONF_HASH_FNV1A_64;
    if (raw->hash && out->lb_policy == CONF_CRC16_SLOTS)
        conf_error(b->errors, _at(index, "hash").text,
                   "lb_policy crc16_slots has a hash of its own, expected no hash with it");
}

static bool _is_tag(const char *tag)
{
    return strlen(tag) == 2 && tag[0] > ' ' && tag[0] < 0x7f && tag[1] > ' ' && tag[1] < 0x7f;
}

static void _resolve_hash_tag(struct conf_build *b, size_t index)
{
    struct conf_cluster *out = &b->conf->clusters[index];
    const char *tag = b->raw->clusters[index].hash_tag;

    if (!tag && out->lb_policy != CONF_CRC16_SLOTS)
        return;
    if (!tag)
        tag = "{}";
    if (out->lb_policy == CONF_CRC16_SLOTS && strcmp(tag, "{}"))
        conf_error(b->errors, _at(index, "hash_tag").text,
                   "%s is not the hash tag of lb_policy crc16_slots, expected \"{}\"", conf_quote(tag).text);
    else if (!_is_tag(tag))
        conf_error(b->errors, _at(index, "hash_tag").text,
                   "%s is not a hash tag, expected two printable ASCII characters such as \"{}\"",
                   conf_quote(tag).text);
    else
        memcpy(out->hash_tag, tag, 2);
}

static int _resolve_cluster_section(struct conf_build *b, size_t index, struct raw_redis_cluster *raw)
{
    struct conf_redis_cluster *out = &b->conf->clusters[index].redis;

    out->connections =
        conf_resolve_uint(b, _at(index, "redis.connections").text, raw->connections, 1, CONNECTIONS_MAX, 1);
    conf_resolve_ejection(b, _at(index, "redis").text,
                          &(struct raw_ejection){raw->max_failures, raw->retry_after},
                          &b->conf->clusters[index].ejection);

    return raw->auth
               ? conf_resolve_auth(b, _at(index, "redis.auth").text, raw->auth, &out->user, &out->password)
               : 0;
}

static void _check_endpoint_name(struct conf_build *b, const char *at, const char *name)
{
    size_t len = strlen(name);

    for (const char *p = name; *p && len; ++p) {
        if (*p <= ' ' || *p >= 0x7f)
            len = 0;
    }
    if (!len || len > NAME_MAX_LEN)
        conf_error(b->errors, at,
                   "%s is not the name of an endpoint, expected 1 to %d printable ASCII characters without "
                   "space",
                   conf_quote(name).text, NAME_MAX_LEN);
}

static const char *_hashed_name(const struct conf_endpoint *endpoint)
{
    return endpoint->name ? endpoint->name : endpoint->address.text;
}

/** Two endpoints of one name would have one place on the ring. */
static void _check_unique(struct conf_build *b, size_t cluster, size_t index)
{
    const struct conf_endpoint *endpoints = b->conf->clusters[cluster].endpoints;
    const char *name = _hashed_name(&endpoints[index]);

    for (size_t i = 0; *name && i < index; ++i) {
        if (strcmp(_hashed_name(&endpoints[i]), name))
            continue;
        conf_error(b->errors,
                   conf_path("clusters[%zu].endpoints[%zu].%s", cluster, index,
                             endpoints[index].name ? "name" : "address")
                       .text,
                   "endpoints[%zu] is called %s too, expected a unique name", i, conf_quote(name).text);
        return;
    }
}

static void _resolve_endpoint_names(struct conf_build *b, size_t cluster)
{
    struct conf_cluster *out = &b->conf->clusters[cluster];

    for (size_t i = 0; i < out->n_endpoints; ++i) {
        struct conf_endpoint *endpoint = &out->endpoints[i];

        endpoint->name = CONF_TAKE(b->raw->clusters[cluster].endpoints[i].name);
        if (endpoint->name)
            _check_endpoint_name(b, conf_path("clusters[%zu].endpoints[%zu].name", cluster, i).text,
                                 endpoint->name);
        _check_unique(b, cluster, i);
    }
}

int conf_resolve_redis_cluster(struct conf_build *b, size_t index)
{
    struct raw_redis_cluster *raw = b->raw->clusters[index].redis;
    struct raw_redis_cluster none = {};

    _resolve_hash(b, index);
    _resolve_hash_tag(b, index);
    _resolve_endpoint_names(b, index);

    return _resolve_cluster_section(b, index, raw ? raw : &none);
}

static void _refuse(struct conf_build *b, const char *at)
{
    conf_error(b->errors, at,
               "only for clusters of redis listeners, expected lb_policy " CONF_REDIS_POLICIES);
}

void conf_refuse_redis_keys(struct conf_build *b, size_t index)
{
    const struct raw_cluster *raw = &b->raw->clusters[index];

    if (raw->hash)
        _refuse(b, _at(index, "hash").text);
    if (raw->hash_tag)
        _refuse(b, _at(index, "hash_tag").text);
    if (raw->redis)
        _refuse(b, _at(index, "redis").text);
    for (size_t i = 0; i < raw->endpoints_count; ++i) {
        if (raw->endpoints[i].name)
            _refuse(b, conf_path("clusters[%zu].endpoints[%zu].name", index, i).text);
    }
}
