/*
 * The sections that there is one of: workers, datapath, admin, limits, timeouts.
 */
#include <sched.h>
#include <unistd.h>

#include "conf/address.h"
#include "conf/locate.h"
#include "conf/resolve.h"
#include "conf/units.h"

#define WORKERS_MAX     64
#define CONNECTIONS_MAX 16777216
#define TIMEOUT_MAX     (24 * CONF_NS_PER_H)

/** CPUs that this process may use, which in a container are fewer than there are. */
static uint32_t _available_cpus(void)
{
    cpu_set_t set;
    long n;

    if (!sched_getaffinity(0, sizeof(set), &set))
        n = CPU_COUNT(&set);
    else
        n = sysconf(_SC_NPROCESSORS_ONLN);

    return n < 1 ? 1 : n > WORKERS_MAX ? WORKERS_MAX : (uint32_t)n;
}

static void _resolve_datapath(struct conf_build *b)
{
    const struct raw_datapath *raw = &b->raw->datapath;
    struct conf_datapath *out = &b->conf->datapath;

    out->kernel = raw->kernel;
    out->bypass = raw->bypass;
    out->promote_after = conf_resolve_uint(b, "datapath.promote_after", raw->promote_after, 1, 1000000, 1);
    out->connections = conf_resolve_uint(b, "datapath.connections", raw->connections, 64, 262144, 16384);
    out->cgroup = CONF_TAKE(b->raw->datapath.cgroup);

    if (out->cgroup && out->cgroup[0] != '/')
        conf_error(b->errors, "datapath.cgroup", "%s is not absolute, expected a path such as /sys/fs/cgroup",
                   conf_quote(out->cgroup).text);
}

static void _resolve_admin(struct conf_build *b)
{
    if (!b->raw->admin.address)
        return;
    conf_resolve_address(b, "admin.address", b->raw->admin.address, &b->conf->admin);
    b->conf->admin_line = conf_locate(b->errors->doc, "admin.address");
}

static void _resolve_limits(struct conf_build *b)
{
    const struct raw_limits *raw = &b->raw->limits;
    struct conf_limits *out = &b->conf->limits;
    const struct conf_unit_rule rules[] = {
        {"limits.header_bytes", raw->header_bytes, &out->header_bytes, 64, CONF_MIB, "64B to 1MiB"},
        {"limits.target_bytes", raw->target_bytes, &out->target_bytes, 16, CONF_MIB, "16B to 1MiB"},
        {"limits.body_bytes", raw->body_bytes, &out->body_bytes, 0, INT64_MAX,
         "0 (no limit) to 2^63 - 1 bytes"},
        {"limits.buffer", raw->buffer, &out->buffer, 64 * CONF_KIB, CONF_GIB, "64KiB to 1GiB"},
    };

    out->header_bytes = 16 * CONF_KIB;
    out->target_bytes = 8 * CONF_KIB;
    out->buffer = CONF_MIB;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); ++i)
        conf_resolve_size(b, &rules[i]);

    out->header_count = conf_resolve_uint(b, "limits.header_count", raw->header_count, 1, 256, 100);
    out->connections = conf_resolve_uint(b, "limits.connections", raw->connections, 0, CONNECTIONS_MAX, 0);
    out->idle_upstreams = conf_resolve_uint(b, "limits.idle_upstreams", raw->idle_upstreams, 0, 65535, 128);
}

static void _resolve_timeouts(struct conf_build *b)
{
    const struct raw_timeouts *raw = &b->raw->timeouts;
    struct conf_timeouts *out = &b->conf->timeouts;
    const struct {
        const char *path;
        const char *text;
        uint64_t *out;
    } rules[] = {
        {"timeouts.connect", raw->connect, &out->connect},
        {"timeouts.header", raw->header, &out->header},
        {"timeouts.body", raw->body, &out->body},
        {"timeouts.idle", raw->idle, &out->idle},
        {"timeouts.response", raw->response, &out->response},
        {"timeouts.write", raw->write, &out->write},
        {"timeouts.tunnel", raw->tunnel, &out->tunnel},
        {"timeouts.drain", raw->drain, &out->drain},
    };

    *out = (struct conf_timeouts){
        .connect = 5 * CONF_NS_PER_S,
        .header = 10 * CONF_NS_PER_S,
        .body = 30 * CONF_NS_PER_S,
        .idle = 60 * CONF_NS_PER_S,
        .response = 60 * CONF_NS_PER_S,
        .write = 60 * CONF_NS_PER_S,
        .tunnel = CONF_NS_PER_H,
        .drain = 10 * CONF_NS_PER_S,
    };
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); ++i)
        conf_resolve_duration(b, &(struct conf_unit_rule){rules[i].path, rules[i].text, rules[i].out, 1,
                                                          TIMEOUT_MAX, "1us to 24h"});
}

void conf_resolve_globals(struct conf_build *b)
{
    b->conf->workers = conf_resolve_uint(b, "workers", b->raw->workers, 0, WORKERS_MAX, 0);
    if (!b->conf->workers)
        b->conf->workers = _available_cpus();

    _resolve_datapath(b);
    _resolve_admin(b);
    _resolve_limits(b);
    _resolve_timeouts(b);
}
