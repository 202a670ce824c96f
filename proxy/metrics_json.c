/* The counters as the JSON object of /stats. */
#include "metrics.h"

#include <event2/buffer.h>

#include "bypass.h"
#include "kernel.h"
#include "metrics_view.h"
#include "probe.h"
#include "server.h"
#include "skein/fallback.h"

static void _json_bypass(struct server *s, struct evbuffer *out)
{
    static const char *const sides[] = {"downstream", "upstream"};
    for (int upstream = 0; upstream < 2; upstream++) {
        evbuffer_add_printf(out, "%s\"%s\":{", upstream ? "," : "", sides[upstream]);
        for (enum bypass_reason r = 0; r < _BYPASS_MAX; r++)
            evbuffer_add_printf(out, "%s\"%s\":%llu", r ? "," : "", bypass_reason_name(r),
                                (unsigned long long)metrics_bypass_count(s, upstream, r));
        evbuffer_add_printf(out, "}");
    }
}

static void _json_states(struct evbuffer *out, uint64_t state)
{
    const char *comma = "";
    for (size_t i = 0; i < METRICS_STATES; i++) {
        if (!(state & metrics_states[i].bits))
            continue;
        evbuffer_add_printf(out, "%s\"%s\"", comma, metrics_states[i].name);
        comma = ",";
    }
}

static void _json_listener(struct evbuffer *out, const struct metrics_listener *v)
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
        evbuffer_add_printf(out, "%s\"%s\":%llu", comma, metrics_command_class(p),
                            (unsigned long long)v->commands[p]);
        comma = ",";
    }
    evbuffer_add_printf(out, "},\"kept_in_userspace\":{\"many_clients\":%llu,\"pipelines\":%llu}}",
                        (unsigned long long)v->kept_many, (unsigned long long)v->kept_pipelined);
}

static void _json_endpoint(struct evbuffer *out, const struct metrics_endpoint *v)
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
    struct metrics_listener l;
    struct metrics_endpoint e;
    uint64_t leases[RUNTIME_ENDPOINTS_MAX] = {0};
    kernel_outstanding(server_kpath(s), leases);
    struct kpath *k = server_kpath(s);
    evbuffer_add_printf(out,
                        "{\"version\":\"%s\",\"workers\":%u,\"kernel_path\":%s,\"bypass_path\":%s,"
                        "\"slots_in_use\":%u,\"open_fds\":%u,\"bypass\":{",
                        SKEIN_VERSION, server_workers(s), kernel_is_on(k) ? "true" : "false",
                        bypass_is_on(k) ? "true" : "false", kernel_slots(k), metrics_open_fds());
    _json_bypass(s, out);
    evbuffer_add_printf(out, "},\"listeners\":[");
    for (uint32_t id = 0; metrics_listener(s, id, &l); id++) {
        evbuffer_add_printf(out, "%s", id ? "," : "");
        _json_listener(out, &l);
    }
    evbuffer_add_printf(out, "],\"endpoints\":[");
    for (uint32_t id = 0; metrics_endpoint(s, id, leases, &e); id++) {
        evbuffer_add_printf(out, "%s", id ? "," : "");
        _json_endpoint(out, &e);
    }
    evbuffer_add_printf(out, "],\"probe\":");
    probe_json(server_probe(s), out);
    evbuffer_add_printf(out, "}\n");
}
