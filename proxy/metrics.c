#include "metrics.h"

#include <dirent.h>
#include <event2/buffer.h>
#include <string.h>

#include "endpoint.h"
#include "bypass.h"
#include "kernel.h"
#include "probe.h"
#include "server.h"
#include "skein/fallback.h"
#include "stats.h"
#include "worker.h"

/* One listener, summed over workers and both paths. */
struct listener_view {
    const char *name;
    uint64_t accepted, active, requests, responses, errors, promoted, returned;
    uint64_t spilled_requests, spilled_responses, kept_many, kept_pipelined;
    uint64_t faults[_FAULT_MAX];
    uint64_t commands[_REDIS_POLICY_MAX + 1];
    struct kernel_listener_stats kernel;
};

struct endpoint_view {
    const char *name;
    uint64_t connects, connect_failures, requests, active, retries, errors, ejections, outstanding, load,
        state;
    struct kernel_endpoint_stats kernel;
};

static bool _listener(struct server *s, uint32_t id, struct listener_view *v)
{
    memset(v, 0, sizeof(*v));
    v->name = runtime_listener_name(id);
    if (!v->name)
        return false;
    for (unsigned i = 0; i < server_workers(s); i++) {
        struct listener_stats *l = &server_worker(s, i)->stats.listeners[id];
        v->accepted += stat_get(&l->accepted);
        v->active += stat_get(&l->active);
        v->requests += stat_get(&l->requests);
        v->responses += stat_get(&l->responses);
        v->errors += stat_get(&l->errors);
        v->promoted += stat_get(&l->promoted);
        v->returned += stat_get(&l->returned);
        v->spilled_requests += stat_get(&l->spilled_requests);
        v->spilled_responses += stat_get(&l->spilled_responses);
        v->kept_many += stat_get(&l->kept_many);
        v->kept_pipelined += stat_get(&l->kept_pipelined);
        for (unsigned f = 0; f < _FAULT_MAX; f++)
            v->faults[f] += stat_get(&l->faults[f]);
        for (unsigned p = 0; p <= _REDIS_POLICY_MAX; p++)
            v->commands[p] += stat_get(&l->commands[p]);
    }
    kernel_listener_stats(server_kpath(s), id, &v->kernel);
    return true;
}

static bool _endpoint(struct server *s, uint32_t id, const uint64_t *leases, struct endpoint_view *v)
{
    memset(v, 0, sizeof(*v));
    v->name = runtime_endpoint_name(id);
    if (!v->name)
        return false;
    for (unsigned i = 0; i < server_workers(s); i++) {
        struct endpoint_stats *e = &server_worker(s, i)->stats.endpoints[id];
        v->connects += stat_get(&e->connects);
        v->connect_failures += stat_get(&e->connect_failures);
        v->requests += stat_get(&e->requests);
        v->active += stat_get(&e->active);
        v->retries += stat_get(&e->retries);
        v->errors += stat_get(&e->errors);
        v->ejections += stat_get(&e->ejections);
        v->outstanding += stat_get(&e->outstanding);
    }
    kernel_endpoint_stats(server_kpath(s), id, &v->kernel);
    v->outstanding += leases[id];
    v->load = endpoint_outstanding(id);
    v->state = endpoint_state(id);
    return true;
}

static unsigned _open_fds(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/fd");
    if (!d)
        return 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n - 3; /* ".", ".." and the directory itself. */
}

static uint64_t _accept_failures(struct server *s)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < server_workers(s); i++)
        n += stat_get(&server_worker(s, i)->stats.accept_failures);
    return n;
}

static void _type(struct evbuffer *out, const char *name, const char *type, const char *help)
{
    evbuffer_add_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void _messages(struct evbuffer *out, const struct listener_view *v, const char *direction,
                      uint64_t kernel, uint64_t bypass, uint64_t userspace)
{
    static const char format[] = "skein_messages_total{listener=\"%s\",direction=\"%s\",path=\"%s\"} %llu\n";
    evbuffer_add_printf(out, format, v->name, direction, "kernel", (unsigned long long)kernel);
    evbuffer_add_printf(out, format, v->name, direction, "bypass", (unsigned long long)bypass);
    evbuffer_add_printf(out, format, v->name, direction, "userspace", (unsigned long long)userspace);
}

static void _listener_value(struct evbuffer *out, const char *metric, const char *name, uint64_t value)
{
    evbuffer_add_printf(out, "%s{listener=\"%s\"} %llu\n", metric, name, (unsigned long long)value);
}

/** Classes of Redis commands, by policy; the last: writes that are forwarded. */
static const char *const _classes[_REDIS_POLICY_MAX + 1] = {
    [REDIS_UNSUPPORTED] = "unsupported",
    [REDIS_FORWARD] = "read",
    [REDIS_SPLIT_MGET] = "mget",
    [REDIS_SPLIT_MSET] = "mset",
    [REDIS_SPLIT_SUM] = "split",
    [REDIS_ALL_SUM] = "all_sum",
    [REDIS_ALL_OK] = "all_ok",
    [REDIS_ALL_CONCAT] = "all_concat",
    [REDIS_ALL_AND] = "all_and",
    [REDIS_SCAN] = "scan",
    [REDIS_LOCAL] = "local",
    [REDIS_TRANSACTION] = "transaction",
    [REDIS_BLOCKING] = "blocking",
    [REDIS_PUBSUB] = "pubsub",
    [REDIS_SHARD_PUBSUB] = "sharded_pubsub",
    [REDIS_MONITOR] = "monitor",
    [_REDIS_POLICY_MAX] = "write",
};

/* Of listeners that have seen Redis commands. */
static void _prometheus_redis(struct server *s, struct evbuffer *out)
{
    struct listener_view v;
    _type(out, "skein_redis_commands_total", "counter", "Redis commands on the userspace path, by class.");
    for (uint32_t id = 0; _listener(s, id, &v); id++) {
        for (unsigned p = 0; p <= _REDIS_POLICY_MAX; p++) {
            if (v.commands[p])
                evbuffer_add_printf(out, "skein_redis_commands_total{listener=\"%s\",class=\"%s\"} %llu\n",
                                    v.name, _classes[p], (unsigned long long)v.commands[p]);
        }
    }
    _type(out, "skein_redis_kept_total", "counter",
          "Times that a Redis client was kept off the kernel path by kernel: auto, by reason.");
    for (uint32_t id = 0; _listener(s, id, &v); id++) {
        static const char format[] = "skein_redis_kept_total{listener=\"%s\",reason=\"%s\"} %llu\n";
        evbuffer_add_printf(out, format, v.name, "many_clients", (unsigned long long)v.kept_many);
        evbuffer_add_printf(out, format, v.name, "pipelines", (unsigned long long)v.kept_pipelined);
    }
}

static void _prometheus_spills(struct server *s, struct evbuffer *out)
{
    static const char format[] = "skein_spills_total{listener=\"%s\",direction=\"%s\"} %llu\n";
    struct listener_view v;
    _type(out, "skein_spills_total", "counter",
          "Messages that began on the kernel path and went on in userspace.");
    for (uint32_t id = 0; _listener(s, id, &v); id++) {
        evbuffer_add_printf(out, format, v.name, "request", (unsigned long long)v.spilled_requests);
        evbuffer_add_printf(out, format, v.name, "response", (unsigned long long)v.spilled_responses);
    }
}

/** Where the two ends of messages on the bypass path are: downstream, upstream. */
static const char *const _quadrants[QUADRANTS] = {
    [QUADRANT_LOCAL_REMOTE] = "local_remote",
    [QUADRANT_REMOTE_LOCAL] = "remote_local",
    [QUADRANT_LOCAL] = "local_local",
};

static void _prometheus_quadrants(struct server *s, struct evbuffer *out)
{
    static const char format[] =
        "skein_bypass_messages_total{listener=\"%s\",direction=\"%s\",quadrant=\"%s\"} %llu\n";
    struct listener_view v;
    _type(out, "skein_bypass_messages_total", "counter",
          "Messages on the bypass path, by where their client and their server are.");
    for (uint32_t id = 0; _listener(s, id, &v); id++) {
        for (enum quadrant q = QUADRANT_LOCAL_REMOTE; q < QUADRANTS; q++) {
            evbuffer_add_printf(out, format, v.name, "request", _quadrants[q],
                                (unsigned long long)v.kernel.bypass[0][q]);
            evbuffer_add_printf(out, format, v.name, "response", _quadrants[q],
                                (unsigned long long)v.kernel.bypass[1][q]);
        }
    }
}

static uint64_t _bypass_count(struct server *s, bool upstream, enum bypass_reason r)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < server_workers(s); i++)
        n += stat_get(&server_worker(s, i)->stats.bypass[upstream][r]);
    return n;
}

static void _prometheus_bypass(struct server *s, struct evbuffer *out)
{
    static const char format[] = "skein_bypass_connections_total{side=\"%s\",outcome=\"%s\"} %llu\n";
    _type(out, "skein_bypass_connections_total", "counter",
          "Times a connection was bypassed when it was given to the programs, or why it was not.");
    for (enum bypass_reason r = 0; r < _BYPASS_MAX; r++) {
        evbuffer_add_printf(out, format, "downstream", bypass_reason_name(r),
                            (unsigned long long)_bypass_count(s, false, r));
        evbuffer_add_printf(out, format, "upstream", bypass_reason_name(r),
                            (unsigned long long)_bypass_count(s, true, r));
    }
}

static void _json_bypass(struct server *s, struct evbuffer *out)
{
    static const char *const sides[] = {"downstream", "upstream"};
    for (int upstream = 0; upstream < 2; upstream++) {
        evbuffer_add_printf(out, "%s\"%s\":{", upstream ? "," : "", sides[upstream]);
        for (enum bypass_reason r = 0; r < _BYPASS_MAX; r++)
            evbuffer_add_printf(out, "%s\"%s\":%llu", r ? "," : "", bypass_reason_name(r),
                                (unsigned long long)_bypass_count(s, upstream, r));
        evbuffer_add_printf(out, "}");
    }
}

static void _prometheus_listeners(struct server *s, struct evbuffer *out)
{
    struct listener_view v;
    _type(out, "skein_messages_total", "counter", "Messages by the path that carried them.");
    for (uint32_t id = 0; _listener(s, id, &v); id++) {
        _messages(out, &v, "request", v.kernel.requests, v.kernel.bypassed[0], v.requests);
        _messages(out, &v, "response", v.kernel.responses, v.kernel.bypassed[1], v.responses);
    }
    _prometheus_quadrants(s, out);
    _type(out, "skein_fallback_total", "counter", "Messages that left the kernel path, by reason.");
    for (uint32_t id = 0; _listener(s, id, &v); id++) {
        for (unsigned r = 0; r < _FALLBACK_MAX; r++)
            evbuffer_add_printf(out, "skein_fallback_total{listener=\"%s\",reason=\"%s\"} %llu\n", v.name,
                                fallback_name(r), (unsigned long long)v.kernel.fallback[r]);
    }
    _prometheus_spills(s, out);
    static const struct {
        const char *metric, *type, *help;
        size_t offset;
    } rows[] = {
        {"skein_downstream_connections", "gauge", "Open client connections.",
         offsetof(struct listener_view, active)},
        {"skein_downstream_accepted_total", "counter", "Client connections accepted.",
         offsetof(struct listener_view, accepted)},
        {"skein_error_responses_total", "counter", "Error answers of skein's own.",
         offsetof(struct listener_view, errors)},
        {"skein_promoted_total", "counter", "Client connections given to the kernel path.",
         offsetof(struct listener_view, promoted)},
        {"skein_returned_total", "counter", "Client connections given back to it after a fallback.",
         offsetof(struct listener_view, returned)},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        _type(out, rows[i].metric, rows[i].type, rows[i].help);
        for (uint32_t id = 0; _listener(s, id, &v); id++)
            _listener_value(out, rows[i].metric, v.name, *(uint64_t *)((char *)&v + rows[i].offset));
    }
}

static void _prometheus_faults(struct server *s, struct evbuffer *out)
{
    struct listener_view v;
    _type(out, "skein_errors_total", "counter",
          "HTTP requests that were not answered as their client hoped, by reason.");
    for (uint32_t id = 0; _listener(s, id, &v); id++) {
        for (unsigned f = 0; f < _FAULT_MAX; f++) {
            if (v.faults[f])
                evbuffer_add_printf(out,
                                    "skein_errors_total{listener=\"%s\",status=\"%u\",reason=\"%s\"} %llu\n",
                                    v.name, fault_status(f), fault_name(f), (unsigned long long)v.faults[f]);
        }
    }
}

static void _prometheus_endpoints(struct server *s, struct evbuffer *out, const uint64_t *leases)
{
    struct endpoint_view v;
    _type(out, "skein_endpoint_requests_total", "counter", "Requests sent to an endpoint, by path.");
    for (uint32_t id = 0; _endpoint(s, id, leases, &v); id++) {
        static const char format[] = "skein_endpoint_requests_total{endpoint=\"%s\",path=\"%s\"} %llu\n";
        evbuffer_add_printf(out, format, v.name, "kernel", (unsigned long long)v.kernel.requests);
        evbuffer_add_printf(out, format, v.name, "bypass", (unsigned long long)v.kernel.bypassed);
        evbuffer_add_printf(out, format, v.name, "userspace", (unsigned long long)v.requests);
    }
    static const struct {
        const char *metric, *type, *help;
        size_t offset;
    } rows[] = {
        {"skein_upstream_connections", "gauge", "Open upstream connections.",
         offsetof(struct endpoint_view, active)},
        {"skein_upstream_connects_total", "counter", "Upstream connections begun.",
         offsetof(struct endpoint_view, connects)},
        {"skein_upstream_connect_failures_total", "counter", "Upstream connections refused or timed out.",
         offsetof(struct endpoint_view, connect_failures)},
        {"skein_upstream_retries_total", "counter", "Requests sent again on another connection.",
         offsetof(struct endpoint_view, retries)},
        {"skein_upstream_error_replies_total", "counter", "Error replies of a Redis server.",
         offsetof(struct endpoint_view, errors)},
        {"skein_upstream_ejections_total", "counter",
         "Times that an endpoint was taken out of use for its failures.",
         offsetof(struct endpoint_view, ejections)},
        {"skein_endpoint_outstanding", "gauge", "HTTP requests that an endpoint has not answered completely.",
         offsetof(struct endpoint_view, outstanding)},
        {"skein_endpoint_load", "gauge", "Those of clusters with lb_policy least_request, as it counts them.",
         offsetof(struct endpoint_view, load)},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        _type(out, rows[i].metric, rows[i].type, rows[i].help);
        for (uint32_t id = 0; _endpoint(s, id, leases, &v); id++)
            evbuffer_add_printf(out, "%s{endpoint=\"%s\"} %llu\n", rows[i].metric, v.name,
                                (unsigned long long)*(uint64_t *)((char *)&v + rows[i].offset));
    }
}

/** Why an endpoint gets no new requests. */
static const struct {
    const char *name;
    uint64_t bits;
} _states[] = {
    {"ejected", ENDPOINT_EJECTED},
    {"unhealthy", ENDPOINT_UNHEALTHY},
    {"draining", ENDPOINT_DRAIN | ENDPOINT_DRAIN_CONF},
    {"removed", ENDPOINT_REMOVED},
};

static const size_t _n_states = sizeof(_states) / sizeof(_states[0]);

static void _prometheus_states(struct server *s, struct evbuffer *out, const uint64_t *leases)
{
    struct endpoint_view v;
    _type(out, "skein_endpoint_state", "gauge", "1 if an endpoint gets no new requests for this reason.");
    for (uint32_t id = 0; _endpoint(s, id, leases, &v); id++) {
        for (size_t i = 0; i < _n_states; i++)
            evbuffer_add_printf(out, "skein_endpoint_state{endpoint=\"%s\",reason=\"%s\"} %d\n", v.name,
                                _states[i].name, (v.state & _states[i].bits) != 0);
    }
}

static void _json_states(struct evbuffer *out, uint64_t state)
{
    const char *comma = "";
    for (size_t i = 0; i < _n_states; i++) {
        if (!(state & _states[i].bits))
            continue;
        evbuffer_add_printf(out, "%s\"%s\"", comma, _states[i].name);
        comma = ",";
    }
}

/* A cluster's counters are its endpoints': an endpoint shared by two clusters counts in both. */
static void _prometheus_clusters(struct server *s, struct evbuffer *out, const uint64_t *leases)
{
    struct runtime *rt = server_runtime(s);
    struct endpoint_view v;
    _type(out, "skein_cluster_requests_total", "counter", "Requests sent to a cluster's endpoints, by path.");
    for (size_t i = 0; i < rt->conf->n_clusters; i++) {
        const struct rt_cluster *c = &rt->clusters[i];
        uint64_t kernel = 0, bypassed = 0, userspace = 0;
        for (size_t e = 0; e < c->conf->n_endpoints; e++) {
            if (!_endpoint(s, c->endpoints[e].id, leases, &v))
                continue;
            kernel += v.kernel.requests;
            bypassed += v.kernel.bypassed;
            userspace += v.requests;
        }
        static const char format[] = "skein_cluster_requests_total{cluster=\"%s\",path=\"%s\"} %llu\n";
        evbuffer_add_printf(out, format, c->conf->name, "kernel", (unsigned long long)kernel);
        evbuffer_add_printf(out, format, c->conf->name, "bypass", (unsigned long long)bypassed);
        evbuffer_add_printf(out, format, c->conf->name, "userspace", (unsigned long long)userspace);
    }
}

/* Verdicts of the self-test; a check that was skipped proves nothing, and is no failure. */
static void _prometheus_probe(const struct probe *p, struct evbuffer *out)
{
    static const enum probe_guard protocols[] = {GUARD_HTTP, GUARD_REDIS};
    _type(out, "skein_probe_check", "gauge", "1 if a check of the self-test at start held; not if skipped.");
    for (size_t i = 0; i < p->n; i++) {
        const struct probe_check *c = &p->checks[i];
        if (c->verdict != PROBE_SKIPPED)
            evbuffer_add_printf(out, "skein_probe_check{check=\"%s\",guards=\"%s\"} %d\n", c->name,
                                probe_guard_name(c->guards), c->verdict == PROBE_OK);
    }
    _type(out, "skein_path_available", "gauge", "1 if a path can carry a protocol's messages.");
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
        evbuffer_add_printf(out, "skein_path_available{path=\"kernel\",protocol=\"%s\"} %d\n",
                            probe_guard_name(protocols[i]), probe_available(p, protocols[i]));
}

void metrics_prometheus(struct server *s, struct evbuffer *out)
{
    uint64_t leases[RUNTIME_ENDPOINTS_MAX] = {0};
    kernel_outstanding(server_kpath(s), leases);
    _prometheus_listeners(s, out);
    _prometheus_faults(s, out);
    _prometheus_redis(s, out);
    _prometheus_endpoints(s, out, leases);
    _prometheus_states(s, out, leases);
    _prometheus_clusters(s, out, leases);
    _type(out, "skein_kernel_path", "gauge", "1 if the kernel path is in use.");
    evbuffer_add_printf(out, "skein_kernel_path %d\n", kernel_is_on(server_kpath(s)));
    _type(out, "skein_bypass_path", "gauge", "1 if the bypass path is in use.");
    evbuffer_add_printf(out, "skein_bypass_path %d\n", bypass_is_on(server_kpath(s)));
    _prometheus_bypass(s, out);
    _prometheus_probe(server_probe(s), out);
    _type(out, "skein_slots_in_use", "gauge", "Connections that have a slot on the kernel path.");
    evbuffer_add_printf(out, "skein_slots_in_use %u\n", kernel_slots(server_kpath(s)));
    _type(out, "skein_accept_failures_total", "counter", "Times that accepting paused for want of fds.");
    evbuffer_add_printf(out, "skein_accept_failures_total %llu\n", (unsigned long long)_accept_failures(s));
    _type(out, "skein_open_fds", "gauge", "File descriptors of the process.");
    evbuffer_add_printf(out, "skein_open_fds %u\n", _open_fds());
}

static void _json_listener(struct evbuffer *out, const struct listener_view *v)
{
    evbuffer_add_printf(out,
                        "{\"name\":\"%s\",\"connections\":%llu,\"accepted\":%llu,\"errors\":%llu,"
                        "\"promoted\":%llu,\"returned\":%llu,\"spills\":{\"request\":%llu,\"response\":%llu},"
                        "\"requests\":{\"kernel\":%llu,\"bypass\":%llu,\"userspace\":%llu},"
                        "\"responses\":{\"kernel\":%llu,\"bypass\":%llu,\"userspace\":%llu},\"fallback\":{",
                        v->name, (unsigned long long)v->active, (unsigned long long)v->accepted,
                        (unsigned long long)v->errors, (unsigned long long)v->promoted,
                        (unsigned long long)v->returned, (unsigned long long)v->spilled_requests,
                        (unsigned long long)v->spilled_responses, (unsigned long long)v->kernel.requests,
                        (unsigned long long)v->kernel.bypassed[0], (unsigned long long)v->requests,
                        (unsigned long long)v->kernel.responses, (unsigned long long)v->kernel.bypassed[1],
                        (unsigned long long)v->responses);
    const char *comma = "";
    for (unsigned r = 0; r < _FALLBACK_MAX; r++) {
        if (!v->kernel.fallback[r])
            continue;
        evbuffer_add_printf(out, "%s\"%s\":%llu", comma, fallback_name(r),
                            (unsigned long long)v->kernel.fallback[r]);
        comma = ",";
    }
    evbuffer_add_printf(out, "},\"commands\":{");
    comma = "";
    for (unsigned p = 0; p <= _REDIS_POLICY_MAX; p++) {
        if (!v->commands[p])
            continue;
        evbuffer_add_printf(out, "%s\"%s\":%llu", comma, _classes[p], (unsigned long long)v->commands[p]);
        comma = ",";
    }
    evbuffer_add_printf(out, "},\"kept_in_userspace\":{\"many_clients\":%llu,\"pipelines\":%llu}}",
                        (unsigned long long)v->kept_many, (unsigned long long)v->kept_pipelined);
}

static void _json_endpoint(struct evbuffer *out, const struct endpoint_view *v)
{
    evbuffer_add_printf(out,
                        "{\"address\":\"%s\",\"connections\":%llu,\"connects\":%llu,"
                        "\"connect_failures\":%llu,\"retries\":%llu,\"error_replies\":%llu,"
                        "\"ejections\":%llu,\"outstanding\":%llu,\"load\":%llu,"
                        "\"requests\":{\"kernel\":%llu,\"bypass\":%llu,\"userspace\":%llu},"
                        "\"out_of_use\":[",
                        v->name, (unsigned long long)v->active, (unsigned long long)v->connects,
                        (unsigned long long)v->connect_failures, (unsigned long long)v->retries,
                        (unsigned long long)v->errors, (unsigned long long)v->ejections,
                        (unsigned long long)v->outstanding, (unsigned long long)v->load,
                        (unsigned long long)v->kernel.requests, (unsigned long long)v->kernel.bypassed,
                        (unsigned long long)v->requests);
    _json_states(out, v->state);
    evbuffer_add_printf(out, "]}");
}

void metrics_json(struct server *s, struct evbuffer *out)
{
    struct listener_view l;
    struct endpoint_view e;
    uint64_t leases[RUNTIME_ENDPOINTS_MAX] = {0};
    kernel_outstanding(server_kpath(s), leases);
    struct kpath *k = server_kpath(s);
    evbuffer_add_printf(out,
                        "{\"version\":\"%s\",\"workers\":%u,\"kernel_path\":%s,\"bypass_path\":%s,"
                        "\"slots_in_use\":%u,\"open_fds\":%u,\"bypass\":{",
                        SKEIN_VERSION, server_workers(s), kernel_is_on(k) ? "true" : "false",
                        bypass_is_on(k) ? "true" : "false", kernel_slots(k), _open_fds());
    _json_bypass(s, out);
    evbuffer_add_printf(out, "},\"listeners\":[");
    for (uint32_t id = 0; _listener(s, id, &l); id++) {
        evbuffer_add_printf(out, "%s", id ? "," : "");
        _json_listener(out, &l);
    }
    evbuffer_add_printf(out, "],\"endpoints\":[");
    for (uint32_t id = 0; _endpoint(s, id, leases, &e); id++) {
        evbuffer_add_printf(out, "%s", id ? "," : "");
        _json_endpoint(out, &e);
    }
    evbuffer_add_printf(out, "],\"probe\":");
    probe_json(server_probe(s), out);
    evbuffer_add_printf(out, "}\n");
}
