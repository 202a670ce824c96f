/* Sums of all workers' counters and the kernel path's, and the names that both formats give them. */
#include "metrics_view.h"

#include <dirent.h>
#include <string.h>

#include "endpoint.h"
#include "server.h"
#include "stats.h"
#include "worker.h"

bool metrics_listener(struct server *s, uint32_t id, struct metrics_listener *v)
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

bool metrics_endpoint(struct server *s, uint32_t id, const uint64_t leases[RUNTIME_ENDPOINTS_MAX],
                      struct metrics_endpoint *v)
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

uint64_t metrics_bypass_count(struct server *s, bool upstream, enum bypass_reason r)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < server_workers(s); i++)
        n += stat_get(&server_worker(s, i)->stats.bypass[upstream][r]);
    return n;
}

uint64_t metrics_accept_failures(struct server *s)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < server_workers(s); i++)
        n += stat_get(&server_worker(s, i)->stats.accept_failures);
    return n;
}

unsigned metrics_open_fds(void)
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

const char *metrics_command_class(unsigned policy)
{
    static const char *const names[_REDIS_POLICY_MAX + 1] = {
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
    return names[policy];
}

const struct metrics_state metrics_states[METRICS_STATES] = {
    {"ejected", ENDPOINT_EJECTED},
    {"unhealthy", ENDPOINT_UNHEALTHY},
    {"draining", ENDPOINT_DRAIN | ENDPOINT_DRAIN_CONF},
    {"removed", ENDPOINT_REMOVED},
};
