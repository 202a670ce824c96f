#include "probe.h"

#include <errno.h>
#include <event2/buffer.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define BTF_FILE "/sys/kernel/btf/vmlinux"

static const char *const _guards[_GUARD_MAX] = {
    [GUARD_KERNEL] = "kernel", [GUARD_HTTP] = "http",     [GUARD_REDIS] = "redis",
    [GUARD_IPV6] = "ipv6",     [GUARD_BYPASS] = "bypass", [GUARD_AUTO] = "auto",
};

static const char *const _verdicts[_PROBE_VERDICT_MAX] = {
    [PROBE_OK] = "ok",
    [PROBE_FAILED] = "failed",
    [PROBE_SKIPPED] = "skipped",
};

/* What the kernel path is for, as far as it can be switched off alone. */
static const enum probe_guard _features[] = {GUARD_HTTP, GUARD_REDIS, GUARD_IPV6};

#define FEATURES (sizeof(_features) / sizeof(_features[0]))

const char *probe_guard_name(enum probe_guard guard)
{
    return _guards[guard];
}

const char *probe_verdict_name(enum probe_verdict verdict)
{
    return _verdicts[verdict];
}

uint64_t probe_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

/* Verdicts ---------------------------------------------------------------------------- */

void probe_add(struct probe *p, const char *name, enum probe_guard guards, enum probe_verdict verdict,
               const char *why, uint64_t ns)
{
    if (p->n == PROBE_CHECKS_MAX)
        abort();
    struct probe_check *c = &p->checks[p->n++];
    *c = (struct probe_check){.name = name, .guards = guards, .verdict = verdict, .ns = ns};
    snprintf(c->why, sizeof(c->why), "%s", why ? why : "");
    p->ran = true;
    p->ns += ns;
}

static const struct probe_check *_failed(const struct probe *p, enum probe_guard guard)
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->checks[i].guards == guard && p->checks[i].verdict == PROBE_FAILED)
            return &p->checks[i];
    }
    return NULL;
}

const struct probe_check *probe_culprit(const struct probe *p, enum probe_guard guard)
{
    const struct probe_check *all = _failed(p, GUARD_KERNEL), *http = _failed(p, GUARD_HTTP);
    if (!all && _failed(p, GUARD_REDIS))
        all = http;
    return all ? all : _failed(p, guard);
}

bool probe_holds(const struct probe *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++) {
        if (!strcmp(p->checks[i].name, name))
            return p->checks[i].verdict == PROBE_OK;
    }
    return false;
}

/* The machine ------------------------------------------------------------------------- */

static const struct {
    const char *name;
    unsigned bit;
} _capabilities[] = {
    {"CAP_BPF", CAP_BPF},
    {"CAP_NET_ADMIN", CAP_NET_ADMIN},
    {"CAP_PERFMON", CAP_PERFMON},
};

#define CAPABILITIES (sizeof(_capabilities) / sizeof(_capabilities[0]))

struct machine {
    struct utsname uts;
    bool btf;
    uint64_t effective; /**< Capabilities, with what CAP_SYS_ADMIN includes. */
};

static void _look(struct machine *m)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
    memset(m, 0, sizeof(*m));
    uname(&m->uts);
    m->btf = access(BTF_FILE, R_OK) == 0;
    if (!syscall(SYS_capget, &head, data))
        m->effective = data[0].effective | (uint64_t)data[1].effective << 32;
    if (m->effective >> CAP_SYS_ADMIN & 1)
        m->effective |= 1ULL << CAP_BPF | 1ULL << CAP_PERFMON;
}

/* For people -------------------------------------------------------------------------- */

static void _print_paths(const struct probe *p, FILE *out)
{
    for (size_t i = 0; i < FEATURES; i++) {
        const struct probe_check *c = probe_culprit(p, _features[i]);
        fprintf(out, "kernel path (%s): ", _guards[_features[i]]);
        if (c)
            fprintf(out, "unavailable: check %s: %s\n", c->name, c->why);
        else
            fprintf(out, "available\n");
    }
    const struct probe_check *off = probe_culprit(p, GUARD_BYPASS), *hazard = probe_culprit(p, GUARD_AUTO);
    if (off)
        fprintf(out, "bypass path: unavailable: check %s: %s\n", off->name, off->why);
    else if (hazard)
        fprintf(out, "bypass path: available with datapath.bypass: on, not with auto: check %s: %s\n",
                hazard->name, hazard->why);
    else
        fprintf(out, "bypass path: available\n");
    fprintf(out, "userspace path: available\n");
}

void probe_print(const struct probe *p, FILE *out)
{
    struct machine m;
    _look(&m);
    fprintf(out, "%-15s %s\n", "kernel", m.uts.release);
    fprintf(out, "%-15s %s\n", "BTF", m.btf ? BTF_FILE : "missing: " BTF_FILE);
    for (size_t i = 0; i < CAPABILITIES; i++)
        fprintf(out, "%-15s %s\n", _capabilities[i].name,
                m.effective >> _capabilities[i].bit & 1 ? "yes" : "missing");
    fprintf(out, "\n%-15s %-8s %8s  %s\n", "check", "guards", "ms", "verdict");
    for (size_t i = 0; i < p->n; i++) {
        const struct probe_check *c = &p->checks[i];
        fprintf(out, "%-15s %-8s %8.2f  %s%s%s\n", c->name, _guards[c->guards], (double)c->ns / 1e6,
                _verdicts[c->verdict], c->why[0] ? ": " : "", c->why);
    }
    fprintf(out, "%zu checks in %.1f ms, %.1f of them over loopback\n\n", p->n, (double)p->ns / 1e6,
            (double)p->loopback_ns / 1e6);
    _print_paths(p, out);
}

/* For programs ------------------------------------------------------------------------ */

/* The text comes from libbpf and strerror(): anything may be in it. */
static void _json_string(struct evbuffer *out, const char *text)
{
    evbuffer_add_printf(out, "\"");
    for (; *text; text++) {
        if ((unsigned char)*text < ' ')
            evbuffer_add_printf(out, "\\u%04x", (unsigned char)*text);
        else
            evbuffer_add_printf(out, "%s%c", *text == '"' || *text == '\\' ? "\\" : "", *text);
    }
    evbuffer_add_printf(out, "\"");
}

static void _json_check(struct evbuffer *out, const struct probe_check *c)
{
    evbuffer_add_printf(out,
                        "{\"name\":\"%s\",\"guards\":\"%s\",\"verdict\":\"%s\",\"us\":%llu,\"why\":", c->name,
                        _guards[c->guards], _verdicts[c->verdict], (unsigned long long)(c->ns / 1000));
    _json_string(out, c->why);
    evbuffer_add_printf(out, "}");
}

void probe_json(const struct probe *p, struct evbuffer *out)
{
    struct machine m;
    _look(&m);
    evbuffer_add_printf(out, "{\"kernel\":");
    _json_string(out, m.uts.release);
    evbuffer_add_printf(out, ",\"btf\":%s,\"capabilities\":{", m.btf ? "true" : "false");
    for (size_t i = 0; i < CAPABILITIES; i++)
        evbuffer_add_printf(out, "%s\"%s\":%s", i ? "," : "", _capabilities[i].name,
                            m.effective >> _capabilities[i].bit & 1 ? "true" : "false");
    evbuffer_add_printf(out, "},\"ran\":%s,\"us\":%llu,\"checks\":[", p->ran ? "true" : "false",
                        (unsigned long long)(p->ns / 1000));
    for (size_t i = 0; i < p->n; i++) {
        evbuffer_add_printf(out, "%s", i ? "," : "");
        _json_check(out, &p->checks[i]);
    }
    evbuffer_add_printf(out, "],\"paths\":{\"kernel\":{");
    for (size_t i = 0; i < FEATURES; i++)
        evbuffer_add_printf(out, "%s\"%s\":%s", i ? "," : "", _guards[_features[i]],
                            probe_available(p, _features[i]) ? "true" : "false");
    evbuffer_add_printf(out, "},\"bypass\":\"%s\",\"userspace\":true}}",
                        !probe_available(p, GUARD_BYPASS) ? "off"
                        : probe_culprit(p, GUARD_AUTO)    ? "on"
                                                          : "auto");
}
