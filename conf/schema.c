#include "conf/raw.h"

/* Bounds on lists: far above what a file needs, low enough that checks of pairs stay quick. */
#define LISTENERS_MAX 256
#define ROUTES_MAX    4096
#define CLUSTERS_MAX  4096
#define ENDPOINTS_MAX 1024

#define REQUIRED CYAML_FLAG_POINTER
#define OPTIONAL (CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL)
#define INLINE   CYAML_FLAG_DEFAULT
#define SECTION  CYAML_FLAG_OPTIONAL
#define CHOICE   (CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT)

#define STRING(flags, type, key) CYAML_FIELD_STRING_PTR(#key, flags, struct type, key, 0, CYAML_UNLIMITED)
#define UINT(flags, type, key)   CYAML_FIELD_UINT_PTR(#key, flags, struct type, key)
#define ENUM(type, key, strings)                                                                             \
    CYAML_FIELD_ENUM(#key, CHOICE, struct type, key, strings, CYAML_ARRAY_LEN(strings))

static const cyaml_strval_t _switches[] = {{"auto", CONF_AUTO}, {"on", CONF_ON}, {"off", CONF_OFF}};

static const cyaml_strval_t _protocols[] = {{"http", CONF_HTTP}, {"redis", CONF_REDIS}, {"tcp", CONF_TCP}};

static const cyaml_strval_t _lb_policies[] = {
    {"round_robin", CONF_ROUND_ROBIN},     {"random", CONF_RANDOM},
    {"least_request", CONF_LEAST_REQUEST}, {"maglev", CONF_MAGLEV},
    {"crc16_slots", CONF_CRC16_SLOTS},
};

static const cyaml_schema_field_t _datapath[] = {
    ENUM(raw_datapath, kernel, _switches),     ENUM(raw_datapath, bypass, _switches),
    STRING(OPTIONAL, raw_datapath, cgroup),    UINT(OPTIONAL, raw_datapath, promote_after),
    UINT(OPTIONAL, raw_datapath, connections), CYAML_FIELD_END,
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

static const cyaml_schema_field_t _route[] = {
    CYAML_FIELD_MAPPING("match", INLINE, struct raw_route, match, _match),
    STRING(OPTIONAL, raw_route, cluster),
    CYAML_FIELD_MAPPING_PTR("respond", OPTIONAL, struct raw_route, respond, _respond),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t _route_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_route, _route),
};

static const cyaml_schema_field_t _listener[] = {
    STRING(REQUIRED, raw_listener, name),
    STRING(REQUIRED, raw_listener, address),
    ENUM(raw_listener, protocol, _protocols),
    CYAML_FIELD_SEQUENCE("routes", OPTIONAL, struct raw_listener, routes, &_route_value, 1, ROUTES_MAX),
    STRING(OPTIONAL, raw_listener, cluster),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t _listener_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_listener, _listener),
};

static const cyaml_schema_field_t _endpoint[] = {
    STRING(REQUIRED, raw_endpoint, address),
    UINT(OPTIONAL, raw_endpoint, weight),
    CYAML_FIELD_END,
};

static const cyaml_schema_value_t _endpoint_value = {
    CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct raw_endpoint, _endpoint),
};

static const cyaml_schema_field_t _cluster[] = {
    STRING(REQUIRED, raw_cluster, name),
    ENUM(raw_cluster, lb_policy, _lb_policies),
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
    CYAML_FIELD_MAPPING("admin", SECTION, struct raw_conf, admin, _admin),
    CYAML_FIELD_MAPPING("limits", SECTION, struct raw_conf, limits, _limits),
    CYAML_FIELD_MAPPING("timeouts", SECTION, struct raw_conf, timeouts, _timeouts),
    CYAML_FIELD_SEQUENCE("listeners", REQUIRED, struct raw_conf, listeners, &_listener_value, 1,
                         LISTENERS_MAX),
    CYAML_FIELD_SEQUENCE("clusters", OPTIONAL, struct raw_conf, clusters, &_cluster_value, 0, CLUSTERS_MAX),
    CYAML_FIELD_END,
};

const cyaml_schema_value_t conf_schema = {CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct raw_conf, _conf)};
