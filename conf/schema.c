#include "conf/raw.h"

/* Bounds on lists: far above what a file needs, low enough that checks of pairs stay quick. */
#define LISTENERS_MAX 256
#define ROUTES_MAX    4096
#define CLUSTERS_MAX  4096
#define ENDPOINTS_MAX 1024
#define FIELDS_MAX    64
#define NETWORKS_MAX  256
#define CGROUPS_MAX   64

#define REQUIRED CYAML_FLAG_POINTER
#define OPTIONAL (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)
#define INLINE   CYAML_FLAG_DEFAULT
#define SECTION  CYAML_FLAG_OPTIONAL
#define CHOICE   (CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT)

#define STRING(flags, type, key) CYAML_FIELD_STRING_PTR(#key, flags, struct type, key, 0, CYAML_UNLIMITED)
#define UINT(flags, type, key)   CYAML_FIELD_UINT_PTR(#key, flags, struct type, key)
#define ENUM(type, key, strings)                                                                             \
    CYAML_FIELD_ENUM(#key, CHOICE, struct type, key, strings, CYAML_ARRAY_LEN(strings))
#define ENUM_PTR(type, key, strings)                                                                         \
    CYAML_FIELD_ENUM_PTR(#key, OPTIONAL | CYAML_FLAG_STRICT, struct type, key, strings,                      \
                         CYAML_ARRAY_LEN(strings))
#define SEQUENCE(type, key, entry, max)                                                                      \
    CYAML_FIELD_SEQUENCE(#key, OPTIONAL, struct type, key, &(entry), 1, max)

static const cyaml_strval_t _switches[] = {{"auto", CONF_AUTO}, {"on", CONF_ON}, {"off", CONF_OFF}};

static const cyaml_strval_t _bools[] = {{"true", RAW_TRUE}, {"false", RAW_FALSE}};

static const cyaml_strval_t _protocols[] = {{"http", CONF_HTTP}, {"redis", CONF_REDIS}, {"tcp", CONF_TCP}};

static const cyaml_strval_t _lb_policies[] = {
    {"round_robin", CONF_ROUND_ROBIN},
    {"random", CONF_RANDOM},
    {"least_request", CONF_LEAST_REQUEST},
    {"maglev", CONF_MAGLEV},
    {"crc16_slots", CONF_CRC16_SLOTS},
    {"ketama", CONF_KETAMA},
    {"modula", CONF_MODULA},
};

static const cyaml_strval_t _hashes[] = {
    {"fnv1a_64", CONF_HASH_FNV1A_64}, {"one_at_a_time", CONF_HASH_ONE_AT_A_TIME},
    {"md5", CONF_HASH_MD5},           {"crc16", CONF_HASH_CRC16},
    {"crc32", CONF_HASH_CRC32},       {"crc32a", CONF_HASH_CRC32A},
    {"fnv1_64", CONF_HASH_FNV1_64},   {"fnv1_32", CONF_HASH_FNV1_32},
    {"fnv1a_32", CONF_HASH_FNV1A_32}, {"hsieh", CONF_HASH_HSIEH},
    {"murmur", CONF_HASH_MURMUR},     {"jenkins", CONF_HASH_JENKINS},
};

static const cyaml_strval_t _on_ejected[] = {{"fail", CONF_EJECTED_FAIL}, {"move", CONF_EJECTED_MOVE}};

static const cyaml_strval_t _forwarded[] = {{"off", CONF_FORWARDED_OFF},
                                            {"x_forwarded_for", CONF_X_FORWARDED_FOR},
                                            {"forwarded", CONF_FORWARDED},
                                            {"both", CONF_FORWARDED_BOTH}};

static const cyaml_schema_value_t _string_value = {
    CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, CYAML_UNLIMITED),
};

static const cyaml_schema_field_t _datapath[] = {
    ENUM(raw_datapath, kernel, _switches),     ENUM(raw_datapath, bypass, _switches),
    STRING(OPTIONAL, raw_datapath, cgroup),    UINT(OPTIONAL, raw_datapath, promote_after),
    UINT(OPTIONAL, raw_datapath, connections), CYAML_FIELD_END,
};

static const cyaml_schema_field_t _except[] = {
    SEQUENCE(raw_except, listeners, _string_value, LISTENERS_MAX),
    SEQUENCE(raw_except, clusters, _string_value, CLUSTERS_MAX),
    SEQUENCE(raw_except, cgroups, _string_value, CGROUPS_MAX),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t _bypass[] = {
    CYAML_FIELD_MAPPING("except", SECTION, struct raw_bypass, except, _except),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t _admin[] = {
    STRING(REQUIRED, raw_admin, address),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t _limits[] = {
    STRING(OPTIONAL, raw_limits, header_bytes), STRING(OPTIONAL, raw_limits, target_bytes),
    UINT(OPTIONAL, raw_limits, header_count),   STRING(OPTIONAL, raw_limits, body_bytes),
    STRING(OPTIONAL, raw_limits, buffer),       UINT(OPTIONAL, raw_limits, connections),
    UINT(OPTIONAL, raw_limits, idle_upstreams), CYAML_FIELD_END,
};

static const cyaml_schema_field_t _timeouts[] = {
    STRING(OPTIONAL, raw_timeouts, connect),
    STRING(OPTIONAL, raw_timeouts, header),
    STRING(OPTIONAL, raw_timeouts, body),
    STRING(OPTIONAL, raw_timeouts, idle),
    STRING(OPTIONAL, raw_timeouts, response),
    STRING(OPTIONAL, raw_timeouts, write),
    STRING(OPTIONAL, raw_timeouts, tunnel),
    STRING(OPTIONAL, raw_timeouts, drain),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t _match[] = {
    STRING(OPTIONAL, raw_match, host),
    STRING(OPTIONAL, raw_match, path),
    STRING(OPTIONAL, raw_match, path_prefix),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t _respond[] = {
    UINT(REQUIRED, raw_respond, status),
    STRING(OPTIONAL, raw_respond, body),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t _field[] = {
    STRING(REQUIRED, raw_field, name),
    STRING(REQUIRED, raw_field, value),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t _field_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_field, _field),
};

static const cyaml_schema_field_t _head_edits[] = {
    SEQUENCE(raw_head_edits, set, _field_value, FIELDS_MAX),
    SEQUENCE(raw_head_edits, add, _field_value, FIELDS_MAX),
    SEQUENCE(raw_head_edits, remove, _string_value, FIELDS_MAX),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t _route[] = {
    CYAML_FIELD_MAPPING("match", INLINE, struct raw_route, match, _match),
    STRING(OPTIONAL, raw_route, cluster),
    CYAML_FIELD_MAPPING_PTR("respond", OPTIONAL, struct raw_route, respond, _respond),
    ENUM_PTR(raw_route, forwarded, _forwarded),
    ENUM_PTR(raw_route, request_id, _bools),
    CYAML_FIELD_MAPPING_PTR("request_headers", OPTIONAL, struct raw_route, request_headers, _head_edits),
    CYAML_FIELD_MAPPING_PTR("response_headers", OPTIONAL, struct raw_route, response_headers, _head_edits),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t _route_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_route, _route),
};

static const cyaml_schema_field_t _auth[] = {
    STRING(OPTIONAL, raw_auth, user),
    STRING(OPTIONAL, raw_auth, password),
    STRING(OPTIONAL, raw_auth, password_file),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t _redis_listener[] = {
    CYAML_FIELD_MAPPING_PTR("auth", OPTIONAL, struct raw_redis_listener, auth, _auth),
    ENUM(raw_redis_listener, on_ejected, _on_ejected),
    STRING(OPTIONAL, raw_redis_listener, idle_timeout),
    UINT(OPTIONAL, raw_redis_listener, max_multibulk),
    STRING(OPTIONAL, raw_redis_listener, max_bulk),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t _redis_cluster[] = {
    CYAML_FIELD_MAPPING_PTR("auth", OPTIONAL, struct raw_redis_cluster, auth, _auth),
    UINT(OPTIONAL, raw_redis_cluster, connections),
    UINT(OPTIONAL, raw_redis_cluster, max_failures),
    STRING(OPTIONAL, raw_redis_cluster, retry_after),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t _hash_on[] = {
    STRING(OPTIONAL, raw_hash_on, header),
    STRING(OPTIONAL, raw_hash_on, cookie),
    ENUM(raw_hash_on, source_address, _bools),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t _ejection[] = {
    UINT(OPTIONAL, raw_ejection, max_failures),
    STRING(OPTIONAL, raw_ejection, retry_after),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t _health_check[] = {
    STRING(REQUIRED, raw_health_check, path),
    STRING(OPTIONAL, raw_health_check, interval),
    STRING(OPTIONAL, raw_health_check, timeout),
    UINT(OPTIONAL, raw_health_check, unhealthy_threshold),
    UINT(OPTIONAL, raw_health_check, healthy_threshold),
    CYAML_FIELD_END,
};

static const cyaml_schema_field_t _listener[] = {
    STRING(REQUIRED, raw_listener, name),
    STRING(REQUIRED, raw_listener, address),
    ENUM(raw_listener, protocol, _protocols),
    CYAML_FIELD_SEQUENCE("routes", OPTIONAL, struct raw_listener, routes, &_route_value, 1, ROUTES_MAX),
    STRING(OPTIONAL, raw_listener, cluster),
    CYAML_FIELD_MAPPING_PTR("redis", OPTIONAL, struct raw_listener, redis, _redis_listener),
    ENUM_PTR(raw_listener, forwarded, _forwarded),
    ENUM_PTR(raw_listener, request_id, _bools),
    SEQUENCE(raw_listener, trusted_proxies, _string_value, NETWORKS_MAX),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t _listener_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_listener, _listener),
};

static const cyaml_schema_field_t _endpoint[] = {
    STRING(REQUIRED, raw_endpoint, address),
    UINT(OPTIONAL, raw_endpoint, weight),
    STRING(OPTIONAL, raw_endpoint, name),
    ENUM(raw_endpoint, drain, _bools),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t _endpoint_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_endpoint, _endpoint),
};

static const cyaml_schema_field_t _cluster[] = {
    STRING(REQUIRED, raw_cluster, name),
    ENUM(raw_cluster, lb_policy, _lb_policies),
    CYAML_FIELD_ENUM_PTR("hash", OPTIONAL | CYAML_FLAG_STRICT, struct raw_cluster, hash, _hashes,
                         CYAML_ARRAY_LEN(_hashes)),
    STRING(OPTIONAL, raw_cluster, hash_tag),
    CYAML_FIELD_MAPPING_PTR("redis", OPTIONAL, struct raw_cluster, redis, _redis_cluster),
    UINT(OPTIONAL, raw_cluster, retries),
    CYAML_FIELD_MAPPING_PTR("hash_on", OPTIONAL, struct raw_cluster, hash_on, _hash_on),
    CYAML_FIELD_MAPPING_PTR("ejection", OPTIONAL, struct raw_cluster, ejection, _ejection),
    CYAML_FIELD_MAPPING_PTR("health_check", OPTIONAL, struct raw_cluster, health_check, _health_check),
    CYAML_FIELD_SEQUENCE("endpoints", REQUIRED, struct raw_cluster, endpoints, &_endpoint_value, 1,
                         ENDPOINTS_MAX),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t _cluster_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_cluster, _cluster),
};

static const cyaml_schema_field_t _conf[] = {
    UINT(OPTIONAL, raw_conf, workers),
    CYAML_FIELD_MAPPING("datapath", SECTION, struct raw_conf, datapath, _datapath),
    CYAML_FIELD_MAPPING("bypass", SECTION, struct raw_conf, bypass, _bypass),
    CYAML_FIELD_MAPPING("admin", SECTION, struct raw_conf, admin, _admin),
    CYAML_FIELD_MAPPING("limits", SECTION, struct raw_conf, limits, _limits),
    CYAML_FIELD_MAPPING("timeouts", SECTION, struct raw_conf, timeouts, _timeouts),
    CYAML_FIELD_SEQUENCE("listeners", REQUIRED, struct raw_conf, listeners, &_listener_value, 1,
                         LISTENERS_MAX),
    CYAML_FIELD_SEQUENCE("clusters", OPTIONAL, struct raw_conf, clusters, &_cluster_value, 0, CLUSTERS_MAX),
    CYAML_FIELD_END,
};

const cyaml_schema_value_t conf_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_conf, _conf)};
