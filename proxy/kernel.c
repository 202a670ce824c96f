#include "kernel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bypass.h"
#include "endpoint.h"
#include "kernel_internal.h"
#include "log.h"
#include "probe.h"
#include "skein.skel.h"

/* Endpoints that get pools: what is configured, with room for reloads. */
#define ENDPOINTS_MIN 64

/* libbpf ------------------------------------------------------------------------------ */

/* libbpf explains failures on its own; the last warning is the most telling line. */
static _Thread_local char _last_warning[256];

static int __attribute__((format(printf, 2, 0)))
_on_libbpf(enum libbpf_print_level level, const char *format, va_list ap)
{
    char line[256];
    if (level != LIBBPF_WARN)
        return 0;
    int n = vsnprintf(line, sizeof(line), format, ap);
    if (n > 0 && line[strcspn(line, "\n")] == '\n')
        line[strcspn(line, "\n")] = 0;
    log_debug("%s", line);
    /* What only repeats that something failed says least. */
    if (!strstr(line, "failed to load object") && !strstr(line, "failed to load BPF skeleton") &&
        !strstr(line, "BEGIN PROG"))
        memcpy(_last_warning, line, sizeof(line));
    return 0;
}

static int _fail(int err, char *why, size_t len, const char *what)
{
    if (_last_warning[0])
        snprintf(why, len, "%s: %s (%s)", what, strerror(-err), _last_warning);
    else
        snprintf(why, len, "%s: %s", what, strerror(-err));
    return err;
}

/* Opening ----------------------------------------------------------------------------- */

static size_t _map_bytes(struct bpf_map *map)
{
    size_t value = (bpf_map__value_size(map) + 7) & ~7UL;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (value * bpf_map__max_entries(map) + page - 1) & ~(page - 1);
}

/* Elements of a mapped array are multiples of 8 bytes apart. */
_Static_assert(sizeof(struct kernel_cluster) % 8 == 0 && sizeof(struct kernel_maglev) % 8 == 0 &&
                   sizeof(struct kernel_ring) % 8 == 0 && sizeof(struct pool) % 8 == 0,
               "they are arrays here");

static int _mmap(struct bpf_map *map, void **out)
{
    void *p = mmap(NULL, _map_bytes(map), PROT_READ | PROT_WRITE, MAP_SHARED, bpf_map__fd(map), 0);
    if (p == MAP_FAILED)
        return -errno;
    *out = p;
    return 0;
}

static int _size_maps(struct kpath *k)
{
    struct skein_bpf *s = k->skel;
    int r = bpf_map__set_max_entries(s->maps.slots, k->n_slots);
    r |= bpf_map__set_max_entries(s->maps.socks, k->n_slots);
    r |= bpf_map__set_max_entries(s->maps.cookies, k->n_slots);
    r |= bpf_map__set_max_entries(s->maps.apps, k->n_slots * 2);
    r |= bpf_map__set_max_entries(s->maps.pools, k->n_endpoints * k->n_workers);
    r |= bpf_map__set_max_entries(s->maps.listeners, KERNEL_LISTENERS);
    r |= bpf_map__set_max_entries(s->maps.clusters, KERNEL_CLUSTERS);
    r |= bpf_map__set_max_entries(s->maps.rings, KERNEL_RINGS);
    r |= bpf_map__set_max_entries(s->maps.maglevs, k->max_maglevs);
    r |= bpf_map__set_max_entries(s->maps.endpoint_state, RUNTIME_ENDPOINTS_MAX);
    r |= bpf_map__set_max_entries(s->maps.endpoint_load, RUNTIME_ENDPOINTS_MAX);
    r |= bpf_map__set_max_entries(s->maps.listener_stats, RUNTIME_LISTENERS_MAX);
    r |= bpf_map__set_max_entries(s->maps.endpoint_stats, k->n_endpoints);
    return r ? -EINVAL : 0;
}

static int _attach(struct kpath *k)
{
    struct skein_bpf *s = k->skel;
    if (bpf_prog_attach(bpf_program__fd(s->progs.skein_parser), k->socks_fd, BPF_SK_SKB_STREAM_PARSER, 0))
        return -errno;
    if (bpf_prog_attach(bpf_program__fd(s->progs.skein_verdict), k->socks_fd, BPF_SK_SKB_STREAM_VERDICT, 0))
        return -errno;
    return 0;
}

static const char *const _programs[] = {"skein_parser", "skein_verdict", "skein_inspect"};

#define PROGRAMS (sizeof(_programs) / sizeof(_programs[0]))

/* Loads one program of the object without the others. */
static int _load_alone(struct kpath *k, const char *name)
{
    struct bpf_program *prog;
    k->skel = skein_bpf__open();
    if (!k->skel)
        return -errno;
    bpf_object__for_each_program(prog, k->skel->obj)
        bpf_program__set_autoload(prog, strcmp(bpf_program__name(prog), name) == 0);
    int r = _size_maps(k);
    if (!r)
        r = skein_bpf__load(k->skel);
    skein_bpf__destroy(k->skel);
    k->skel = NULL;
    return r;
}

/* The verdict on each program: after the object could not be loaded each is tried alone. */
static void _judge_programs(struct kpath *k, bool loaded, struct probe *p)
{
    char why[PROBE_WHY];
    if (!loaded)
        skein_bpf__destroy(k->skel);
    for (size_t i = 0; i < PROGRAMS; i++) {
        uint64_t start = probe_now();
        _last_warning[0] = 0;
        int r = loaded ? 0 : _load_alone(k, _programs[i]);
        if (r)
            _fail(r, why, sizeof(why), "loading it alone");
        probe_add(p, _programs[i], GUARD_KERNEL, r ? PROBE_FAILED : PROBE_OK, r ? why : NULL,
                  probe_now() - start);
    }
}

static int _load(struct kpath *k, char *why, size_t why_len)
{
    k->conns = calloc(k->n_slots, sizeof(*k->conns));
    k->gens = calloc(k->n_slots, sizeof(*k->gens));
    k->remote_endpoint = calloc(k->n_endpoints, sizeof(*k->remote_endpoint));
    if (!k->conns || !k->gens || !k->remote_endpoint)
        return _fail(-ENOMEM, why, why_len, "kernel path");
    k->skel = skein_bpf__open();
    if (!k->skel)
        return _fail(-errno, why, why_len, "opening the BPF object");
    k->skel->rodata->workers = k->n_workers;
    int r = _size_maps(k);
    if (!r)
        r = skein_bpf__load(k->skel);
    if (r)
        return _fail(r, why, why_len, "loading the BPF programs");
    k->socks_fd = bpf_map__fd(k->skel->maps.socks);
    k->cookies_fd = bpf_map__fd(k->skel->maps.cookies);
    r = _attach(k);
    if (r)
        return _fail(r, why, why_len, "attaching the BPF programs");
    r = _mmap(k->skel->maps.slots, (void **)&k->slots);
    if (!r)
        r = _mmap(k->skel->maps.pools, (void **)&k->pools);
    if (!r)
        r = _mmap(k->skel->maps.clusters, (void **)&k->clusters);
    if (!r)
        r = _mmap(k->skel->maps.rings, (void **)&k->rings);
    if (!r)
        r = _mmap(k->skel->maps.maglevs, (void **)&k->maglevs);
    if (!r)
        r = _mmap(k->skel->maps.endpoint_state, (void **)&k->endpoint_state);
    if (!r)
        r = _mmap(k->skel->maps.endpoint_load, (void **)&k->endpoint_load);
    if (r)
        return _fail(r, why, why_len, "mapping BPF memory");
    r = kernel_publish_commands(k);
    if (r)
        return _fail(r, why, why_len, "filling the command table");
    for (uint32_t i = 0; i < k->n_slots; i++)
        k->slots[i].owner = OWNER_USER;
    return 0;
}

/* Before 5.11 BPF memory counted against this limit. */
static void _raise_memlock(void)
{
    struct rlimit l = {RLIM_INFINITY, RLIM_INFINITY};
    setrlimit(RLIMIT_MEMLOCK, &l);
}

static int _load_and_judge(struct kpath *k, struct probe *p)
{
    char why[PROBE_WHY];
    uint64_t start = probe_now();
    int r = _load(k, why, sizeof(why));
    probe_add(p, "load", GUARD_KERNEL, r ? PROBE_FAILED : PROBE_OK, r ? why : NULL, probe_now() - start);
    _judge_programs(k, k->socks_fd > 0, p);
    return r;
}

static int _open(uint32_t slots, uint32_t workers, uint32_t endpoints, uint32_t maglevs, struct kpath **out,
                 struct probe *p)
{
    struct kpath *k = calloc(1, sizeof(*k));
    if (!k)
        abort();
    _last_warning[0] = 0;
    libbpf_set_print(_on_libbpf);
    _raise_memlock();
    k->n_slots = slots < SLOTS_MAX ? slots : SLOTS_MAX;
    k->n_workers = workers;
    k->n_endpoints = endpoints;
    k->max_maglevs = maglevs;
    k->remote = true;
    int r = _load_and_judge(k, p);
    if (!r)
        r = kernel_selftest(k, p);
    if (r) {
        kernel_close(&k);
        return r;
    }
    *out = k;
    return 0;
}

int kernel_open(const struct conf *conf, struct kpath **out, struct probe *p)
{
    size_t endpoints = 0, maglevs = 0;
    for (size_t i = 0; i < conf->n_clusters; i++) {
        endpoints += conf->clusters[i].n_endpoints;
        maglevs += conf->clusters[i].http.hash_on != CONF_HASH_ON_NOTHING;
    }
    maglevs = maglevs > KERNEL_CLUSTERS ? KERNEL_CLUSTERS : maglevs * 2;
    if (maglevs < KERNEL_MAGLEVS_MIN)
        maglevs = KERNEL_MAGLEVS_MIN;
    endpoints = endpoints * 2 < ENDPOINTS_MIN ? ENDPOINTS_MIN : endpoints * 2;
    if (endpoints > RUNTIME_ENDPOINTS_MAX)
        endpoints = RUNTIME_ENDPOINTS_MAX;
    return _open(conf->datapath.connections, conf->workers, (uint32_t)endpoints, (uint32_t)maglevs, out, p);
}

void kernel_share_endpoints(struct kpath *k)
{
    if (k)
        endpoint_share(k->endpoint_state, k->endpoint_load);
}

static void _free_published(struct published *p)
{
    free(p->hosts);
    free(p->routes);
}

void kernel_close(struct kpath **kp)
{
    struct kpath *k = *kp;
    *kp = NULL;
    if (!k)
        return;
    if (k->slots)
        munmap(k->slots, _map_bytes(k->skel->maps.slots));
    if (k->pools)
        munmap(k->pools, _map_bytes(k->skel->maps.pools));
    if (k->clusters)
        munmap(k->clusters, _map_bytes(k->skel->maps.clusters));
    if (k->rings)
        munmap(k->rings, _map_bytes(k->skel->maps.rings));
    if (k->maglevs)
        munmap(k->maglevs, _map_bytes(k->skel->maps.maglevs));
    if (k->endpoint_load)
        munmap(k->endpoint_load, _map_bytes(k->skel->maps.endpoint_load));
    if (k->endpoint_state)
        munmap(k->endpoint_state, _map_bytes(k->skel->maps.endpoint_state));
    bypass_close(k);
    skein_bpf__destroy(k->skel);
    _free_published(&k->published[0]);
    _free_published(&k->published[1]);
    free(k->conns);
    free(k->gens);
    free(k->remote_endpoint);
    free(k);
}

void kernel_probe(struct probe *p)
{
    struct kpath *k = NULL;
    if (!_open(ENDPOINTS_MIN, 1, ENDPOINTS_MIN, 1, &k, p))
        bypass_probe(k, p);
    kernel_close(&k);
}

uint64_t slot_wait(struct slot *s)
{
    struct timespec start = {0}, now;
    for (unsigned spins = 0;; spins++) {
        uint64_t w = slot_owner(s);
        if (!(w & OWNER_BUSY))
            return w;
        if (spins < 1000)
            continue;
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (!start.tv_sec)
            start = now;
        /* One that runs in an application's system call may have lost its CPU. */
        if (now.tv_sec - start.tv_sec > 1 && !s->app) {
            log_error("a program does not give its connection up");
            __atomic_fetch_and(&s->owner, ~OWNER_BUSY, __ATOMIC_ACQ_REL);
        }
        sched_yield();
    }
}

/* Slots ------------------------------------------------------------------------------- */

uint64_t kernel_cookie(int fd)
{
    uint64_t cookie = 0;
    socklen_t len = sizeof(cookie);
    getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len);
    return cookie;
}

uint32_t kernel_init_slot(struct kpath *k, uint32_t slot, bool upstream)
{
    struct slot *s = &k->slots[slot];
    uint32_t gen = k->gens[slot] & ((1U << OWNER_GEN_BITS) - 1);
    memset((char *)s + sizeof(s->owner), 0, offsetof(struct slot, window) - sizeof(s->owner));
    __atomic_store_n(&s->owner, ((uint64_t)gen << OWNER_GEN_SHIFT) | (upstream ? OWNER_UP : 0),
                     __ATOMIC_RELEASE);
    return slot_ref(slot, gen);
}

void kernel_forget(struct kpath *k, uint32_t slot, uint64_t cookie)
{
    k->gens[slot]++;
    uint64_t gen = k->gens[slot] & ((1U << OWNER_GEN_BITS) - 1);
    uint64_t w = slot_wait(&k->slots[slot]), app = k->slots[slot].app;
    while (!slot_cas(&k->slots[slot], &w, OWNER_USER | gen << OWNER_GEN_SHIFT))
        w = slot_wait(&k->slots[slot]);
    bpf_map_delete_elem(k->cookies_fd, app ? &app : &cookie);
}

int kernel_insert(struct kpath *k, uint32_t slot, int fd)
{
    uint64_t cookie = kernel_cookie(fd), value = (uint64_t)fd;
    uint32_t ref = slot_ref(slot, k->gens[slot]);
    char byte;
    k->slots[slot].cookie = cookie;
    if (bpf_map_update_elem(k->cookies_fd, &cookie, &ref, BPF_ANY))
        return -errno;
    if (bpf_map_update_elem(k->socks_fd, &slot, &value, BPF_NOEXIST)) {
        int err = errno;
        bpf_map_delete_elem(k->cookies_fd, &cookie);
        return -err;
    }
    /* What came before is parsed only when somebody reads. Data, end and error stay where
     * they are, so the result does not matter here. */
    ssize_t ignored = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    (void)ignored;
    return 0;
}

void kernel_remove(struct kpath *k, uint32_t slot)
{
    /* Nothing is there any more after a reset, which removes the socket by itself. */
    bpf_map_delete_elem(k->socks_fd, &slot);
}

int kernel_inspect(struct kpath *k, uint32_t slot)
{
    char packet[64] = {0};
    LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet, .data_size_in = sizeof(packet));
    memcpy(packet, &slot, sizeof(slot));
    int r = bpf_prog_test_run_opts(bpf_program__fd(k->skel->progs.skein_inspect), &opts);
    if (r)
        return r;
    if (opts.retval == INSPECT_OK)
        return 0;
    return opts.retval == INSPECT_GONE ? -ENOENT : -EIO;
}

/* Counters ---------------------------------------------------------------------------- */

/* Adds up the per-CPU values of one element, 64 bits at a time. */
static void _sum(struct bpf_map *map, uint32_t key, uint64_t *out, size_t words)
{
    int cpus = libbpf_num_possible_cpus();
    size_t stride = (bpf_map__value_size(map) + 7) & ~7UL;
    uint64_t *values = cpus > 0 ? calloc((size_t)cpus, stride) : NULL;
    memset(out, 0, words * sizeof(*out));
    if (values && !bpf_map_lookup_elem(bpf_map__fd(map), &key, values)) {
        for (int cpu = 0; cpu < cpus; cpu++) {
            for (size_t i = 0; i < words; i++)
                out[i] += values[(size_t)cpu * stride / 8 + i];
        }
    }
    free(values);
}

void kernel_listener_stats(struct kpath *k, uint32_t id, struct kernel_listener_stats *out)
{
    struct listener_counters c = {0};
    if (k)
        _sum(k->skel->maps.listener_stats, id, (uint64_t *)&c, sizeof(c) / 8);
    memset(out, 0, sizeof(*out));
    out->requests = c.requests[QUADRANT_REMOTE];
    out->responses = c.responses[QUADRANT_REMOTE];
    for (enum quadrant q = QUADRANT_LOCAL_REMOTE; q < QUADRANTS; q++) {
        out->bypassed[0] += out->bypass[0][q] = c.requests[q];
        out->bypassed[1] += out->bypass[1][q] = c.responses[q];
    }
    out->request_bytes = c.request_bytes;
    out->response_bytes = c.response_bytes;
    memcpy(out->fallback, c.fallback, sizeof(c.fallback));
}

void kernel_endpoint_stats(struct kpath *k, uint32_t id, struct kernel_endpoint_stats *out)
{
    struct endpoint_counters c = {0};
    memset(out, 0, sizeof(*out));
    if (k && id < k->n_endpoints)
        _sum(k->skel->maps.endpoint_stats, id, (uint64_t *)&c, sizeof(c) / 8);
    out->requests = c.requests[QUADRANT_REMOTE];
    for (enum quadrant q = QUADRANT_LOCAL_REMOTE; q < QUADRANTS; q++)
        out->bypassed += c.requests[q];
    out->responses = c.responses;
}

void kernel_outstanding(struct kpath *k, uint64_t by_endpoint[RUNTIME_ENDPOINTS_MAX])
{
    for (uint32_t i = 0; k && i < k->n_slots; i++) {
        const struct slot *s = &k->slots[i];
        uint64_t w = slot_owner(s);
        uint32_t id = __atomic_load_n(&s->stats_id, __ATOMIC_RELAXED);
        if ((w & OWNER_UP) && !(w & OWNER_USER) && owner_lease(w) && id < RUNTIME_ENDPOINTS_MAX)
            by_endpoint[id]++;
    }
}

bool kernel_is_on(const struct kpath *k)
{
    return k && k->remote;
}

uint32_t kernel_slots(struct kpath *k)
{
    return k ? atomic_load_explicit(&k->in_use, memory_order_relaxed) : 0;
}

int kernel_put(struct bpf_map *map, const void *key, const void *value)
{
    return bpf_map_update_elem(bpf_map__fd(map), key, value, BPF_ANY) ? -errno : 0;
}
