/*
 * The file as libcyaml reads it: strings for what has units or a grammar of its own, pointers for
 * what is optional (NULL = not in the file).
 */
#pragma once

#include <cyaml/cyaml.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/conf.h"
#include "conf/errors.h"

struct raw_datapath {
    enum conf_switch kernel;
    enum conf_switch bypass;
    char *cgroup;
    uint64_t *promote_after;
    uint64_t *connections;
};

struct raw_except {
    char **listeners;
    uint32_t listeners_count;
    char **clusters;
    uint32_t clusters_count;
    char **cgroups;
    uint32_t cgroups_count;
};

struct raw_bypass {
    struct raw_except except;
};

struct raw_admin {
    char *address; /**< Required in the section, so NULL = no section. */
};

struct raw_limits {
    char *header_bytes;
    char *target_bytes;
    uint64_t *header_count;
    char *body_bytes;
    char *buffer;
    uint64_t *connections;
    uint64_t *idle_upstreams;
};

struct raw_timeouts {
    char *connect;
    char *header;
    char *body;
    char *idle;
    char *response;
    char *write;
    char *tunnel;
    char *drain;
};

struct raw_match {
    char *host;
    char *path;
    char *path_prefix;
};

struct raw_respond {
    uint64_t *status;
    char *body;
};

struct raw_field {
    char *name;
    char *value;
};

struct raw_head_edits {
    struct raw_field *set;
    uint32_t set_count;
    struct raw_field *add;
    uint32_t add_count;
    char **remove;
    uint32_t remove_count;
};

/** In the file: `true` or `false`. */
enum raw_bool { RAW_FALSE, RAW_TRUE };

struct raw_route {
    struct raw_match match;
    char *cluster;
    struct raw_respond *respond;
    enum conf_forwarded *forwarded;
    enum raw_bool *request_id;
    struct raw_head_edits *request_headers;
    struct raw_head_edits *response_headers;
};

struct raw_auth {
    char *user;
    char *password;
    char *password_file;
};

struct raw_redis_listener {
    struct raw_auth *auth;
    enum conf_on_ejected on_ejected;
    char *idle_timeout;
    uint64_t *max_multibulk;
    char *max_bulk;
};

struct raw_redis_cluster {
    struct raw_auth *auth;
    uint64_t *connections;
    uint64_t *max_failures;
    char *retry_after;
};

struct raw_hash_on {
    char *header;
    char *cookie;
    enum raw_bool source_address;
};

struct raw_ejection {
    uint64_t *max_failures;
    char *retry_after;
};

struct raw_health_check {
    char *path;
    char *interval;
    char *timeout;
    uint64_t *unhealthy_threshold;
    uint64_t *healthy_threshold;
};

struct raw_listener {
    char *name;
    char *address;
    enum conf_protocol protocol;
    struct raw_route *routes;
    uint32_t routes_count;
    char *cluster;
    struct raw_redis_listener *redis;
    enum conf_forwarded *forwarded;
    enum raw_bool *request_id;
    char **trusted_proxies;
    uint32_t trusted_proxies_count;
};

struct raw_endpoint {
    char *address;
    uint64_t *weight;
    char *name;
    enum raw_bool drain;
};

struct raw_cluster {
    char *name;
    enum conf_lb_policy lb_policy;
    enum conf_hash *hash;
    char *hash_tag;
    struct raw_redis_cluster *redis;
    struct raw_hash_on *hash_on;
    struct raw_ejection *ejection;
    struct raw_health_check *health_check;
    uint64_t *retries;
    struct raw_endpoint *endpoints;
    uint32_t endpoints_count;
};

struct raw_conf {
    uint64_t *workers;
    struct raw_datapath datapath;
    struct raw_bypass bypass;
    struct raw_admin admin;
    struct raw_limits limits;
    struct raw_timeouts timeouts;
    struct raw_listener *listeners;
    uint32_t listeners_count;
    struct raw_cluster *clusters;
    uint32_t clusters_count;
};

/** The schema of the whole file: the one place that lists the keys. */
extern const cyaml_schema_value_t conf_schema;

/** Reads a document into raw structs with libcyaml.
 *
 * @param buf     The file's bytes.
 * @param len     In bytes.
 * @param errors  libcyaml's own complaints are turned into errors here; nothing else is printed.
 * @param out     The caller frees it with conf_raw_free(). Untouched on failure.
 * @return 0, -EINVAL (reported) or -ENOMEM.
 */
int conf_raw_load(const char *buf, size_t len, struct conf_errors *errors, struct raw_conf **out);

/** Frees raw structs and sets the pointer to NULL; accepts NULL. */
void conf_raw_free(struct raw_conf **raw);
