/* The counters in Prometheus' text exposition format. */
#include "metrics.h"

#include <event2/buffer.h>
#include <stddef.h>

#include "bypass.h"
#include "kernel.h"
#include "metrics_view.h"
#include "probe.h"
#include "server.h"
#include "skein/fallback.h"

static void _type(struct evbuffer *out, const char *name, const char *type, const char *help)
{
    evbuffer_add_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void _messages(struct evbuffer *out, const struct metrics_listener *v, const char *direction,
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

/* Of listeners that have seen Redis commands. */
static void _prometheus_redis(struct server *s, struct evbuffer *out)
{
    struct metrics_listener v;
    _type(out, "skein_redis_commands_total", "counter", "Redis commands on the userspace path, by class.");
    for (uint32_t id = 0; metrics_listener(s, id, &v); id++) {
        for (unsigned p = 0; p <= _REDIS_POLICY_MAX; p++) {
            if (v.commands[p])
                evbuffer_add_printf(out, "skein_redis_commands_total{listener=\"%s\",class=\"%s\"} %llu\n",
                                    v.name, metrics_command_class(p), (unsigned long long)v.commands[p]);
        }
    }
    _type(out, "skein_redis_kept_total", "counter",
          "Times that a Redis client was kept off the kernel path by kernel: auto, by reason.");
    for (uint32_t id = 0; metrics_listener(s, id, &v); id++) {
        static const char format[] = "skein_redis_kept_total{listener=\"%s\",reason=\"%s\"} %llu\n";
        evbuffer_add_printf(out, format, v.name, "many_clients", (unsigned long long)v.kept_many);
        evbuffer_add_printf(out, format, v.name, "pipelines", (unsigned long long)v.kept_pipelined);
    }
}

static void _prometheus_spills(struct server *s, struct evbuffer *out)
{
    static const char format[] = "skein_spills_total{listener=\"%s\",direction=\"%s\"} %llu\n";
    struct metrics_listener v;
    _type(out, "skein_spills_total", "counter",
          "Messages that began on the kernel path and went on in userspace.");
    for (uint32_t id = 0; metrics_listener(s, id, &v); id++) {
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
    struct metrics_listener v;
    _type(out, "skein_bypass_messages_total", "counter",
          "Messages on the bypass path, by where their client and their server are.");
    for (uint32_t id = 0; metrics_listener(s, id, &v); id++) {
        for (enum quadrant q = QUADRANT_LOCAL_REMOTE; q < QUADRANTS; q++) {
            evbuffer_add_printf(out, format, v.name, "request", _quadrants[q],
                                (unsigned long long)v.kernel.bypass[0][q]);
            evbuffer_add_printf(out, format, v.name, "response", _quadrants[q],
                                (unsigned long long)v.kernel.bypass[1][q]);
        }
    }
}

static void _prometheus_bypass(struct server *s, struct evbuffer *out)
{
    static const char format[] = "skein_bypass_connections_total{side=\"%s\",outcome=\"%s\"} %llu\n";
    _type(out, "skein_bypass_connections_total", "counter",
          "Times a connection was bypassed when it was given to the programs, or why it was not.");
    for (enum bypass_reason r = 0; r < _BYPASS_MAX; r++) {
        evbuffer_add_printf(out, format, "downstream", bypass_reason_name(r),
                            (unsigned long long)metrics_bypass_count(s, false, r));
        evbuffer_add_printf(out, format, "upstream", bypass_reason_name(r),
                            (unsigned long long)metrics_bypass_count(s, true, r));
    }
}

static void _prometheus_listeners(struct server *s, struct evbuffer *out)
{
    struct metrics_listener v;
    _type(out, "skein_messages_total", "counter", "Messages by the path that carried them.");
    for (uint32_t id = 0; metrics_listener(s, id, &v); id++) {
        _messages(out, &v, "request", v.kernel.requests, v.kernel.bypassed[0], v.requests);
        _messages(out, &v, "response", v.kernel.responses, v.kernel.bypassed[1], v.responses);
    }
    _prometheus_quadrants(s, out);
    _type(out, "skein_fallback_total", "counter", "Messages that left the kernel path, by reason.");
    for (uint32_t id = 0; metrics_listener(s, id, &v); id++) {
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
         offsetof(struct metrics_listener, active)},
        {"skein_downstream_accepted_total", "counter", "Client connections accepted.",
         offsetof(struct metrics_listener, accepted)},
        {"skein_error_responses_total", "counter", "Error answers of skein's own.",
         offsetof(struct metrics_listener, errors)},
        {"skein_promoted_total", "counter", "Client connections given to the kernel path.",
         offsetof(struct metrics_listener, promoted)},
        {"skein_returned_total", "counter", "Client connections given back to it after a fallback.",
         offsetof(struct metrics_listener, returned)},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        _type(out, rows[i].metric, rows[i].type, rows[i].help);
        for (uint32_t id = 0; metrics_listener(s, id, &v); id++)
            _listener_value(out, rows[i].metric, v.name, *(uint64_t *)((char *)&v + rows[i].offset));
    }
}

static void _prometheus_faults(struct server *s, struct evbuffer *out)
{
    struct metrics_listener v;
    _type(out, "skein_errors_total", "counter",
          "HTTP requests that were not answered as their client hoped, by reason.");
    for (uint32_t id = 0; metrics_listener(s, id, &v); id++) {
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
    struct metrics_endpoint v;
    _type(out, "skein_endpoint_requests_total", "counter", "Requests sent to an endpoint, by path.");
    for (uint32_t id = 0; metrics_endpoint(s, id, leases, &v); id++) {
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
         offsetof(struct metrics_endpoint, active)},
        {"skein_upstream_connects_total", "counter", "Upstream connections begun.",
         offsetof(struct metrics_endpoint, connects)},
        {"skein_upstream_connect_failures_total", "counter", "Upstream connections refused or timed out.",
         offsetof(struct metrics_endpoint, connect_failures)},
        {"skein_upstream_retries_total", "counter", "Requests sent again on another connection.",
         offsetof(struct metrics_endpoint, retries)},
        {"skein_upstream_error_replies_total", "counter", "Error replies of a Redis server.",
         offsetof(struct metrics_endpoint, errors)},
        {"skein_upstream_ejections_total", "counter",
         "Times that an endpoint was taken out of use for its failures.",
         offsetof(struct metrics_endpoint, ejections)},
        {"skein_endpoint_outstanding", "gauge", "HTTP requests that an endpoint has not answered completely.",
         offsetof(struct metrics_endpoint, outstanding)},
        {"skein_endpoint_load", "gauge", "Those of clusters with lb_policy least_request, as it counts them.",
         offsetof(struct metrics_endpoint, load)},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        _type(out, rows[i].metric, rows[i].type, rows[i].help);
        for (uint32_t id = 0; metrics_endpoint(s, id, leases, &v); id++)
            evbuffer_add_printf(out, "%s{endpoint=\"%s\"} %llu\n", rows[i].metric, v.name,
                                (unsigned long long)*(uint64_t *)((char *)&v + rows[i].offset));
    }
}

static void _prometheus_states(struct server *s, struct evbuffer *out, const uint64_t *leases)
{
    struct metrics_endpoint v;
    _type(out, "skein_endpoint_state", "gauge", "1 if an endpoint gets no new requests for this reason.");
    for (uint32_t id = 0; metrics_endpoint(s, id, leases, &v); id++) {
        for (size_t i = 0; i < METRICS_STATES; i++)
            evbuffer_add_printf(out, "skein_endpoint_state{endpoint=\"%s\",reason=\"%s\"} %d\n", v.name,
                                metrics_states[i].name, (v.state & metrics_states[i].bits) != 0);
    }
}

/* A cluster's counters are its endpoints': an endpoint shared by two clusters counts in both. */
static void _prometheus_clusters(struct server *s, struct evbuffer *out, const uint64_t *leases)
{
    struct runtime *rt = server_runtime(s);
    struct metrics_endpoint v;
    _type(out, "skein_cluster_requests_total", "counter", "Requests sent to a cluster's endpoints, by path.");
    for (size_t i = 0; i < rt->conf->n_clusters; i++) {
        const struct rt_cluster *c = &rt->clusters[i];
        uint64_t kernel = 0, bypassed = 0, userspace = 0;
        for (size_t e = 0; e < c->conf->n_endpoints; e++) {
            if (!metrics_endpoint(s, c->endpoints[e].id, leases, &v))
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
    evbuffer_add_printf(out, "skein_accept_failures_total %llu\n",
                        (unsigned long long)metrics_accept_failures(s));
    _type(out, "skein_open_fds", "gauge", "File descriptors of the process.");
    evbuffer_add_printf(out, "skein_open_fds %u\n", metrics_open_fds());
}
