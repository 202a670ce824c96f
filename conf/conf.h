/*
 * The configuration: what a YAML file says, checked and resolved, immutable once
 * loaded, so that threads may read it without a lock. A reload loads a new one; whoever holds
 * the old one frees it when the last worker has let go of it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

/** A bound or connected address; `text` is as the user wrote it. */
struct conf_address {
    struct sockaddr_storage sa;
    socklen_t len;
    char text[64];
};

enum conf_switch { CONF_AUTO, CONF_ON, CONF_OFF };

enum conf_protocol { CONF_HTTP, CONF_REDIS, CONF_TCP };

enum conf_lb_policy {
    CONF_ROUND_ROBIN,
    CONF_RANDOM,
    CONF_LEAST_REQUEST,
    CONF_MAGLEV,
    CONF_CRC16_SLOTS,
    CONF_KETAMA,
    CONF_MODULA,
};

/** What a Redis key is hashed with. */
enum conf_hash {
    CONF_HASH_FNV1A_64, /**< The default. */
    CONF_HASH_ONE_AT_A_TIME,
    CONF_HASH_MD5,
    CONF_HASH_CRC16,
    CONF_HASH_CRC32,
    CONF_HASH_CRC32A,
    CONF_HASH_FNV1_64,
    CONF_HASH_FNV1_32,
    CONF_HASH_FNV1A_32,
    CONF_HASH_HSIEH,
    CONF_HASH_MURMUR,
    CONF_HASH_JENKINS,
    _CONF_HASH_MAX,
};

/** What of a request lb_policy maglev hashes, in a cluster for HTTP. */
enum conf_hash_on { CONF_HASH_ON_NOTHING, CONF_HASH_ON_SOURCE, CONF_HASH_ON_HEADER, CONF_HASH_ON_COOKIE };

/** Longest name of a header field or a cookie that is hashed. */
#define CONF_HASH_NAME_MAX 64

/** What becomes of the keys of an ejected endpoint: error replies, or they move to the others. */
enum conf_on_ejected { CONF_EJECTED_FAIL, CONF_EJECTED_MOVE };

struct conf_datapath {
    enum conf_switch kernel;
    enum conf_switch bypass; /**< CONF_ON: refuse to start without it. */
    char *cgroup;            /**< Where SOCK_OPS attaches; default: found by itself. NULL then. */
    uint32_t promote_after;  /**< Requests in userspace before a connection is promoted; 1. */
    uint32_t connections;    /**< Slots for connections on the kernel path; 16384. */
};

/** What is excepted from the bypass, beside listeners and clusters, which have a mark of their own. */
struct conf_bypass {
    char **cgroups;     /**< Paths, relative to the root of cgroup v2 or absolute; with all below. */
    uint32_t n_cgroups; /**< 0 to 64. */
};

/** Bytes and counts. */
struct conf_limits {
    uint64_t header_bytes;   /**< Head of a message; 16 KiB. */
    uint64_t target_bytes;   /**< Request target; 8 KiB. */
    uint32_t header_count;   /**< Field lines of a message; 100, at most 256. */
    uint64_t body_bytes;     /**< Request body; 0 = no limit, the default. */
    uint64_t buffer;         /**< Held for one slow reader, kernel queues included; 1 MiB. */
    uint32_t connections;    /**< Downstream connections per process; 0 = as fds allow. */
    uint32_t idle_upstreams; /**< Idle upstream connections per endpoint and worker; 128. */
};

/** Durations in nanoseconds. */
struct conf_timeouts {
    uint64_t connect;  /**< To an endpoint; 5 s. */
    uint64_t header;   /**< From a request's first byte to the end of its head; 10 s. */
    uint64_t body;     /**< Between two reads of a request body; 30 s. */
    uint64_t idle;     /**< Keep-alive connection between messages, either side; 60 s. */
    uint64_t response; /**< From the end of the request to the response's head, and between two
                        * reads of its body; 60 s. */
    uint64_t write;    /**< A peer that accepts no byte; 60 s. */
    uint64_t tunnel;   /**< An upgraded connection without a byte in either direction; 1 h. */
    uint64_t drain;    /**< After SIGTERM or a reload, until what is left is closed; 10 s. */
};

/** A direct answer. */
struct conf_respond {
    uint32_t status;
    char *body; /**< NUL-terminated, never NULL. */
};

/** In which form servers are told who asks: bits. */
enum conf_forwarded {
    CONF_FORWARDED_OFF = 0,
    CONF_X_FORWARDED_FOR = 1, /**< X-Forwarded-For and X-Forwarded-Proto. */
    CONF_FORWARDED = 2,       /**< RFC 7239. */
    CONF_FORWARDED_BOTH = CONF_X_FORWARDED_FOR | CONF_FORWARDED,
};

/** A header field: a token, and a value without controls and without whitespace around it. */
struct conf_field {
    char *name;
    char *value;
};

/** Edits of a head, in the order in which they take place. */
struct conf_head_edits {
    char **remove;
    size_t n_remove;
    struct conf_field *set; /**< Instead of all fields with that name. */
    size_t n_set;
    struct conf_field *add; /**< One more line each. */
    size_t n_add;
};

struct conf_route {
    char *host;                   /**< Lower case, without port; NULL = any. */
    char *path;                   /**< Exact path; NULL if path_prefix is used. */
    char *path_prefix;            /**< NULL if path is used; at least one of the two is given. */
    int cluster;                  /**< Index into conf.clusters, -1 with `respond`. */
    struct conf_respond *respond; /**< NULL with `cluster`. */

    /* Only with `cluster`; the listener's defaults are in the first two. */
    enum conf_forwarded forwarded; /**< CONF_FORWARDED_OFF. */
    bool request_id;               /**< False. */
    struct conf_head_edits request_headers;
    struct conf_head_edits response_headers;
};

/** Addresses with the same first bits; IPv4 is inside of ::ffff:0:0/96. */
struct conf_network {
    uint8_t address[16]; /**< In network byte order, the bits behind the prefix zero. */
    unsigned bits;       /**< 0 to 128. */
};

/** Towards Redis clients; zeroed in listeners of other protocols. */
struct conf_redis_listener {
    char *user;     /**< "default" unless given; NULL = clients need no AUTH. */
    char *password; /**< 1 to 4096 bytes; NULL with `user`. */
    enum conf_on_ejected on_ejected;
    uint64_t idle_timeout;  /**< ns without a command or a reply; 0 = never, the default. */
    uint32_t max_multibulk; /**< Arguments of a command; 1048576, at least 1. */
    uint32_t max_bulk;      /**< Bytes of one argument; 512 MiB, at most that. */
};

struct conf_listener {
    char *name;
    struct conf_address address;
    enum conf_protocol protocol;
    unsigned line;             /**< Of its `address` in the file, for bind errors. */
    struct conf_route *routes; /**< First match wins; CONF_HTTP only, NULL otherwise. */
    size_t n_routes;
    struct conf_network *trusted_proxies; /**< Peers whose word on the client counts; CONF_HTTP only. */
    size_t n_trusted_proxies;
    int cluster;        /**< Index into conf.clusters; -1 with CONF_HTTP. */
    bool bypass_except; /**< Connections of its clients are never bypassed. */
    struct conf_redis_listener redis;
};

struct conf_endpoint {
    struct conf_address address;
    uint32_t weight; /**< 1 to 1000; 1. */
    char *name;      /**< Hashed instead of the address; NULL = not given. */
    bool drain;      /**< Gets no new requests. */
};

/** When an endpoint is out of use for its failures. */
struct conf_ejection {
    uint32_t max_failures; /**< In a row until an endpoint is ejected; 3; 0 = it never is. */
    uint64_t retry_after;  /**< ns until an ejected endpoint is tried again; 10 s. */
};

/** Active checks of a cluster's endpoints, over HTTP. */
struct conf_health_check {
    char *path;
    uint64_t interval;            /**< ns from one check to the next; 5 s. */
    uint64_t timeout;             /**< ns for one check, at most `interval`; 1 s. */
    uint32_t unhealthy_threshold; /**< Failed ones in a row until it is out of use; 3. */
    uint32_t healthy_threshold;   /**< Good ones in a row until it is in use again; 2. */
};

/** Towards HTTP servers; zeroed in clusters for Redis. */
struct conf_http_cluster {
    enum conf_hash_on hash_on; /**< Nothing unless lb_policy is CONF_MAGLEV. */
    char *hash_name;           /**< Of the header field (lower case) or the cookie; NULL without. */
    struct conf_health_check *health_check; /**< NULL = none. */
};

/** Towards Redis servers; zeroed in clusters for HTTP. */
struct conf_redis_cluster {
    char *user;           /**< NULL = AUTH with the password alone. */
    char *password;       /**< 1 to 4096 bytes; NULL = no AUTH. */
    uint32_t connections; /**< Shared ones per worker and endpoint, 1 to 64; 1. */
};

/** Its policy tells what it is for: HTTP (CONF_ROUND_ROBIN, CONF_RANDOM, CONF_LEAST_REQUEST, CONF_MAGLEV
 * with http.hash_on) or Redis (CONF_CRC16_SLOTS, CONF_KETAMA, CONF_MODULA, CONF_MAGLEV without). */
struct conf_cluster {
    char *name;
    enum conf_lb_policy lb_policy;
    enum conf_hash hash; /**< Without a meaning for CONF_CRC16_SLOTS. */
    char hash_tag[2];    /**< Opening and closing character; zeroes = none. */
    struct conf_redis_cluster redis;
    struct conf_http_cluster http;
    struct conf_ejection ejection;
    bool bypass_except; /**< Connections to its servers are never bypassed. */
    uint32_t retries;   /**< Times that an HTTP request is sent again, 0 to 10; 1. */
    struct conf_endpoint *endpoints;
    size_t n_endpoints;
};

struct conf {
    char *file;
    uint32_t workers; /**< Resolved: never 0. */
    struct conf_datapath datapath;
    struct conf_bypass bypass;
    struct conf_limits limits;
    struct conf_timeouts timeouts;
    struct conf_address admin; /**< len 0: no admin listener. */
    unsigned admin_line;
    struct conf_listener *listeners;
    size_t n_listeners;
    struct conf_cluster *clusters;
    size_t n_clusters;
};

/** Loads and checks a configuration file.
 *
 * Every error goes to `err` as one line, `FILE:LINE: path.to.key: what is wrong,
 * what is expected`.
 *
 * @param file  Path.
 * @param err   Stream for errors; NULL = none are printed.
 * @param out   The configuration; the caller frees it with conf_free(). Untouched
 *              on failure.
 * @return 0, -ENOENT or another -errno if the file can not be read (-EFBIG: it has 4 MiB or
 *         more), -EINVAL if it is not valid, -ENOMEM.
 */
int conf_load(const char *file, FILE *err, struct conf **out);

/** Whether the cluster is for Redis. */
bool conf_is_for_redis(const struct conf_cluster *cluster);

/** Frees a configuration and sets the pointer to NULL; accepts NULL. */
void conf_free(struct conf **conf);

/** Whether requests of a route, or their responses, do not go on as they came. */
bool conf_route_edits(const struct conf_route *route);

/** Whether one of the listener's trusted proxies has this address.
 *
 * @param address  16 bytes: IPv6, or IPv4 mapped into it.
 */
bool conf_trusts(const struct conf_listener *listener, const uint8_t *address);

/** Whether `len` bytes are a token, as field names are (RFC 9110, 5.6.2). */
bool conf_is_token(const char *text, size_t len);
