#include "bypass.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bypass.skel.h"
#include "bypass_except.h"
#include "cgroup.h"
#include "kernel_internal.h"
#include "log.h"
#include "probe.h"
#include "selftest.h"
#include "skein.skel.h"

static const char *const _reasons[_BYPASS_MAX] = {
    [BYPASS_OK] = "bypassed",       [BYPASS_REMOTE] = "remote",       [BYPASS_GONE] = "closing",
    [BYPASS_BUSY] = "unread",       [BYPASS_LOW_WATER] = "low_water", [BYPASS_ZEROCOPY] = "zerocopy",
    [BYPASS_EXCEPTED] = "excepted", [BYPASS_NO_MEMORY] = "no_memory", [BYPASS_OFF] = "off",
};

const char *bypass_reason_name(enum bypass_reason r)
{
    return _reasons[r];
}

/* Loading ----------------------------------------------------------------------------- */

/* The tables are the kernel path's own. */
static int _share_maps(struct kpath *k, struct bypass_bpf *b)
{
    struct bpf_map *map;
    bpf_object__for_each_map(map, b->obj)
    {
        const struct bpf_map *shared = bpf_object__find_map_by_name(k->skel->obj, bpf_map__name(map));
        if (!shared || bpf_map__is_internal(map))
            continue;
        int r = bpf_map__reuse_fd(map, bpf_map__fd(shared));
        if (r)
            return r;
    }
    return bpf_map__set_max_entries(b->maps.links, k->n_slots * 4);
}

static int _load(struct kpath *k)
{
    struct bypass_bpf *b = bypass_bpf__open();
    if (!b)
        return -errno;
    b->rodata->workers = k->n_workers;
    int r = _share_maps(k, b);
    if (!r)
        r = bypass_bpf__load(b);
    if (!r && bpf_prog_attach(bpf_program__fd(b->progs.skein_msg), bpf_map__fd(b->maps.apps),
                              BPF_SK_MSG_VERDICT, 0))
        r = -errno;
    if (r) {
        bypass_bpf__destroy(b);
        return r;
    }
    k->bypass = b;
    return 0;
}

/* A link: it goes with the process, however that ends. */
static int _attach(struct kpath *k, const char *cgroup)
{
    int fd = cgroup_open(cgroup);
    if (fd < 0)
        return fd;
    k->sockops = bpf_program__attach_cgroup(k->bypass->progs.skein_sockops, fd);
    int r = k->sockops ? 0 : -errno;
    close(fd);
    if (r)
        return r;
    k->no_memory = bpf_program__attach(k->bypass->progs.skein_no_memory);
    return k->no_memory ? 0 : -errno;
}

int bypass_collect(struct kpath *k)
{
    int prog = bpf_program__fd(k->bypass->progs.skein_collect), map = bpf_map__fd(k->bypass->maps.apps);
    return bpf_prog_attach(prog, map, BPF_SK_SKB_STREAM_VERDICT, 0) ? -errno : 0;
}

void bypass_refs(struct kpath *k, uint32_t refs)
{
    k->skel->bss->app_refs = refs;
    k->bypass->bss->app_refs = refs;
}

static int _open(struct kpath *k, const struct conf *conf, struct probe *p)
{
    char why[PROBE_WHY];
    const char *cgroup = conf ? conf->datapath.cgroup : NULL;
    const struct conf_bypass *except = conf ? &conf->bypass : NULL;
    const char *what = "loading the BPF programs";
    bypass_foretest(k, p);
    if (conf && conf->datapath.bypass == CONF_AUTO && probe_culprit(p, GUARD_AUTO))
        return -ENOTRECOVERABLE;
    uint64_t start = probe_now();
    int r = _load(k);
    if (!r) {
        what = "attaching to the cgroup";
        r = _attach(k, cgroup);
    }
    if (!r) {
        what = "excepting cgroups";
        r = bypass_configure(k, except, NULL);
    }
    if (r)
        snprintf(why, sizeof(why), "%s: %s", what, strerror(-r));
    probe_add(p, "bypass_load", GUARD_BYPASS, r ? PROBE_FAILED : PROBE_OK, r ? why : NULL,
              probe_now() - start);
    return r ? r : bypass_selftest(k, p);
}

int bypass_configure(struct kpath *k, const struct conf_bypass *conf, struct event_base *base)
{
    struct bypass_except *next;
    if (!bypass_is_on(k))
        return 0;
    int r = bypass_except_new(bpf_map__fd(k->bypass->maps.excepted), conf, k->except, &next);
    if (r)
        return r;
    r = base ? bypass_except_watch(next, base) : 0;
    if (r)
        log_warn("bypass.except.cgroups: those that are made later, or again, are not noticed: %s",
                 strerror(-r));
    k->bypass->bss->exceptions = conf ? conf->n_cgroups : 0;
    bypass_except_free(k->except, next);
    k->except = next;
    return 0;
}

int bypass_open(struct kpath *k, const struct conf *conf, struct probe *p)
{
    int r = _open(k, conf, p);
    if (r)
        bypass_close(k);
    return r;
}

void bypass_probe(struct kpath *k, struct probe *p)
{
    _open(k, NULL, p);
    bypass_close(k);
}

void bypass_close(struct kpath *k)
{
    bypass_except_free(k->except, NULL);
    k->except = NULL;
    bpf_link__destroy(k->sockops);
    k->sockops = NULL;
    bpf_link__destroy(k->no_memory);
    k->no_memory = NULL;
    bypass_bpf__destroy(k->bypass);
    k->bypass = NULL;
}

bool bypass_is_on(const struct kpath *k)
{
    return k && k->bypass;
}

/* Connections ------------------------------------------------------------------------- */

void bypass_listen(struct kpath *k, int fd)
{
    uint64_t cookie = kernel_cookie(fd);
    uint32_t one = 1;
    if (k && k->bypass && kernel_put(k->bypass->maps.our_listeners, &cookie, &one))
        log_warn("bypass: a listening socket has no place in the table");
}

void bypass_unlisten(struct kpath *k, int fd)
{
    uint64_t cookie = kernel_cookie(fd);
    if (k && k->bypass)
        bpf_map_delete_elem(bpf_map__fd(k->bypass->maps.our_listeners), &cookie);
}

void bypass_connecting(struct kpath *k, int fd, bool wanted)
{
    if (!k || !k->bypass)
        return;
    uint64_t cookie = kernel_cookie(fd);
    uint32_t value = wanted;
    /* Without it the connection is not bypassed, that is all. */
    int ignored = kernel_put(k->bypass->maps.our_connects, &cookie, &value);
    (void)ignored;
}

static enum bypass_reason _bind(struct kpath *k, const struct bypass_ask *ask)
{
    char packet[64] = {0};
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));
    _Static_assert(sizeof(*ask) <= sizeof(packet), "a question fits");
    memcpy(packet, ask, sizeof(*ask));
    if (!k->bypass || bpf_prog_test_run_opts(bpf_program__fd(k->bypass->progs.skein_bind), &opts) ||
        opts.retval >= _BYPASS_MAX)
        return BYPASS_OFF;
    return (enum bypass_reason)opts.retval;
}

enum bypass_reason bypass_bind(struct kpath *k, uint32_t slot, uint64_t cookie)
{
    struct bypass_ask ask = {.own = cookie, .slot = slot, .ref = slot_ref(slot, k->gens[slot])};
    return _bind(k, &ask);
}

/* What skein_bind says of a connection that has no slot. */
static enum bypass_reason _look(struct kpath *k, uint64_t cookie)
{
    struct bypass_ask ask = {.own = cookie, .slot = UINT32_MAX};
    return _bind(k, &ask);
}

bool bypass_is_remote(struct kpath *k, uint64_t cookie)
{
    return _look(k, cookie) == BYPASS_REMOTE;
}

bool bypass_is_closed(struct kpath *k, uint64_t cookie)
{
    return _look(k, cookie) == BYPASS_GONE;
}
