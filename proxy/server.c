#include "server.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "admin.h"
#include "bypass.h"
#include "endpoint.h"
#include "health.h"
#include "kernel.h"
#include "kernel_internal.h"
#include "listen.h"
#include "log.h"
#include "probe.h"
#include "worker.h"

struct server {
    struct event_base *base;
    struct runtime *runtime;
    struct worker *workers;
    unsigned n_workers;
    unsigned n_started;
    struct kpath *kpath;
    struct probe probe;
    struct admin *admin;
    struct event *signals[3];
    struct event *reload_retry;
    unsigned reloads;
    /** Sockets opened and not yet taken, by listener of the current runtime and worker. */
    _Atomic int *sockets;
    size_t n_sockets;
    atomic_bool draining;
};

unsigned server_connections(struct server *s)
{
    unsigned n = 0;
    for (unsigned i = 0; i < s->n_workers; i++)
        n += atomic_load_explicit(&s->workers[i].connections, memory_order_relaxed);
    return n;
}

struct kpath *server_kpath(struct server *s)
{
    return s->kpath;
}

const struct probe *server_probe(struct server *s)
{
    return &s->probe;
}

struct worker *server_worker(struct server *s, unsigned id)
{
    return &s->workers[id];
}

unsigned server_workers(struct server *s)
{
    return s->n_workers;
}

struct runtime *server_runtime(struct server *s)
{
    return s->runtime;
}

bool server_draining(struct server *s)
{
    return atomic_load(&s->draining);
}

/* Sockets ----------------------------------------------------------------------------- */

int server_take_socket(struct server *s, unsigned worker, const struct rt_listener *l)
{
    size_t i = (size_t)(l - l->runtime->listeners);
    return atomic_exchange(&s->sockets[i * s->n_workers + worker], -1);
}

static bool _listens_already(const struct runtime *old, const struct conf_listener *l)
{
    for (size_t i = 0; old && i < old->conf->n_listeners; i++) {
        if (strcmp(old->conf->listeners[i].address.text, l->address.text) == 0)
            return true;
    }
    return false;
}

static void _close_sockets(_Atomic int *sockets, size_t n)
{
    for (size_t i = 0; sockets && i < n; i++) {
        if (sockets[i] >= 0)
            close(sockets[i]);
    }
    free(sockets);
}

/* Binds what the configuration adds to the one before. */
static int _open_sockets(struct server *s, const struct conf *conf, const struct runtime *old,
                         _Atomic int **out)
{
    size_t n = conf->n_listeners * s->n_workers;
    _Atomic int *sockets = calloc(n, sizeof(*sockets));
    int fds[s->n_workers];
    if (!sockets)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++)
        sockets[i] = -1;
    for (size_t i = 0; i < conf->n_listeners; i++) {
        const struct conf_listener *l = &conf->listeners[i];
        if (_listens_already(old, l))
            continue;
        int r = listen_open(&l->address, s->n_workers, conf->limits.buffer, fds);
        if (r) {
            fprintf(
                stderr,
                "%s:%u: listeners[%zu].address: can not listen on %s: %s, expected a free local address\n",
                conf->file, l->line, i, l->address.text, strerror(-r));
            _close_sockets(sockets, n);
            return r;
        }
        for (unsigned w = 0; w < s->n_workers; w++)
            sockets[i * s->n_workers + w] = fds[w];
    }
    *out = sockets;
    return 0;
}

/* Reload and drain -------------------------------------------------------------------- */

/* Workers take their sockets from the last reload: the next one waits for all of them. */
static bool _reload_pending(const struct server *s)
{
    for (unsigned i = 0; i < s->n_workers; i++) {
        if (atomic_load(&s->workers[i].reloads) != s->reloads)
            return true;
    }
    return false;
}

static void _reload(struct server *s)
{
    if (_reload_pending(s)) {
        struct timeval tv = {.tv_usec = 10000};
        event_add(s->reload_retry, &tv);
        return;
    }
    struct conf *conf = NULL;
    struct runtime *rt = NULL;
    _Atomic int *sockets = NULL;
    if (conf_load(s->runtime->conf->file, stderr, &conf)) {
        log_error("reload refused: the configuration before stays in use");
        return;
    }
    conf->workers = s->n_workers; /* Threads, slots and the admin address need a restart. */
    if (_open_sockets(s, conf, s->runtime, &sockets) || runtime_new(conf, &rt)) {
        log_error("reload refused: the configuration before stays in use");
        if (sockets)
            _close_sockets(sockets, conf->n_listeners * s->n_workers);
        conf_free(&conf);
        return;
    }
    kernel_publish(s->kpath, rt);
    bypass_configure(s->kpath, &conf->bypass, s->base);
    endpoint_configure(rt);
    if (health_configure(s->base, rt))
        log_error("health checks: out of memory: those of the configuration before go on");
    _close_sockets(s->sockets, s->n_sockets);
    s->sockets = sockets;
    s->n_sockets = conf->n_listeners * s->n_workers;
    struct runtime *old = s->runtime;
    s->runtime = rt;
    s->reloads++;
    for (unsigned i = 0; i < s->n_workers; i++)
        worker_reload(&s->workers[i], rt);
    runtime_unref(&old);
    log_info("reloaded %s", rt->conf->file);
}

static void _on_signal(evutil_socket_t sig, short what, void *arg)
{
    struct server *s = arg;
    (void)what;
    if (sig == SIGHUP) {
        _reload(s);
        return;
    }
    log_info("draining");
    atomic_store(&s->draining, true);
    event_base_loopbreak(s->base);
}

static void _on_reload_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    _reload(arg);
}

static int _catch_signals(struct server *s)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    signal(SIGPIPE, SIG_IGN);
    s->reload_retry = evtimer_new(s->base, _on_reload_retry, s);
    if (!s->reload_retry)
        return -ENOMEM;
    for (size_t i = 0; i < 3; i++) {
        s->signals[i] = evsignal_new(s->base, numbers[i], _on_signal, s);
        if (!s->signals[i] || event_add(s->signals[i], NULL))
            return -ENOMEM;
    }
    return 0;
}

static void _raise_fd_limit(void)
{
    struct rlimit l;
    if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur == l.rlim_max)
        return;
    l.rlim_cur = l.rlim_max;
    setrlimit(RLIMIT_NOFILE, &l);
}

/* Life -------------------------------------------------------------------------------- */

static bool _configured(const struct conf *conf, int protocol)
{
    for (size_t i = 0; i < conf->n_listeners; i++) {
        if ((int)conf->listeners[i].protocol == protocol)
            return true;
    }
    return false;
}

/* Says what the self-test has switched off although the kernel path works otherwise.
 * @return 0, or an error if the configuration insists on it. */
static int _report_switched_off(struct server *s, const struct conf *conf)
{
    static const struct {
        enum probe_guard guard;
        int protocol; /**< -1: none of them, and nothing to insist on. */
    } features[] = {{GUARD_HTTP, CONF_HTTP}, {GUARD_REDIS, CONF_REDIS}, {GUARD_IPV6, -1}};
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
        const char *name = probe_guard_name(features[i].guard);
        const struct probe_check *c = probe_culprit(&s->probe, features[i].guard);
        if (!c)
            continue;
        if (conf->datapath.kernel == CONF_ON && _configured(conf, features[i].protocol))
            return log_error_r(-ENOTRECOVERABLE,
                               "kernel path (%s): off: check %s: %s; datapath.kernel is on, not starting",
                               name, c->name, c->why);
        log_warn("kernel path (%s): off: check %s: %s; userspace serves it", name, c->name, c->why);
    }
    return 0;
}

/* Opens the bypass path if the configuration wants it and this machine can: its programs use the kernel
 * path's tables. */
static int _open_bypass(struct server *s, const struct conf *conf)
{
    const struct probe_check *c;
    if (conf->datapath.bypass == CONF_OFF)
        return 0;
    int r = bypass_open(s->kpath, conf, &s->probe);
    if (conf->datapath.bypass == CONF_AUTO && (c = probe_culprit(&s->probe, GUARD_AUTO))) {
        log_warn("bypass path: off: check %s: %s; datapath.bypass: on tries it all the same", c->name,
                 c->why);
        return 0;
    }
    if (!r) {
        log_info("bypass path: on");
        return 0;
    }
    c = probe_culprit(&s->probe, GUARD_BYPASS);
    if (conf->datapath.bypass == CONF_ON)
        return log_error_r(r, "bypass path: off: check %s: %s; datapath.bypass is on, not starting", c->name,
                           c->why);
    log_warn("bypass path: off: check %s: %s", c->name, c->why);
    return 0;
}

/* Opens the kernel path if the configuration wants it and this machine can. */
static int _open_kernel(struct server *s, const struct conf *conf)
{
    if (conf->datapath.kernel == CONF_OFF && conf->datapath.bypass != CONF_ON)
        return 0;
    int r = kernel_open(conf, &s->kpath, &s->probe);
    if (!r && conf->datapath.kernel == CONF_OFF) {
        s->kpath->remote = false;
        return _open_bypass(s, conf);
    }
    if (!r) {
        log_info("kernel path: on");
        r = _report_switched_off(s, conf);
        return r ? r : _open_bypass(s, conf);
    }
    const struct probe_check *c = probe_culprit(&s->probe, GUARD_KERNEL);
    if (conf->datapath.kernel == CONF_ON)
        return log_error_r(r, "kernel path: off: check %s: %s; datapath.kernel is on, not starting", c->name,
                           c->why);
    if (conf->datapath.bypass == CONF_ON)
        return log_error_r(r, "bypass path: off: check %s: %s; datapath.bypass is on, not starting", c->name,
                           c->why);
    log_warn("kernel path: off: check %s: %s; serving in userspace", c->name, c->why);
    return 0;
}

static int _start(struct server *s, struct conf *conf)
{
    int r = _open_sockets(s, conf, NULL, &s->sockets);
    if (r)
        return 2;
    s->n_sockets = conf->n_listeners * s->n_workers;
    r = admin_bind(conf, &s->admin);
    if (r) {
        fprintf(stderr, "%s:%u: admin.address: can not listen on %s: %s, expected a free local address\n",
                conf->file, conf->admin_line, conf->admin.text, strerror(-r));
        return 2;
    }
    if (_open_kernel(s, conf))
        return 2;
    r = runtime_new(conf, &s->runtime);
    if (r) {
        log_error("configuration: %s", strerror(-r));
        return 1;
    }
    kernel_publish(s->kpath, s->runtime);
    kernel_share_endpoints(s->kpath);
    endpoint_configure(s->runtime);
    if (_catch_signals(s) || admin_start(s->admin, s, s->base) || endpoint_start(s->base) ||
        health_configure(s->base, s->runtime)) {
        log_error("out of memory");
        return 1;
    }
    if (bypass_configure(s->kpath, &conf->bypass, s->base))
        return 1;
    for (unsigned i = 0; i < s->n_workers; i++) {
        r = worker_start(&s->workers[i], s, i, s->runtime);
        if (r) {
            log_error("worker %u: %s", i, strerror(-r));
            return 1;
        }
        s->n_started++;
    }
    log_info("serving %zu listener%s with %u worker%s", conf->n_listeners, conf->n_listeners == 1 ? "" : "s",
             s->n_workers, s->n_workers == 1 ? "" : "s");
    return 0;
}

static void _free(struct server *s)
{
    admin_free(&s->admin);
    if (s->reload_retry)
        event_free(s->reload_retry);
    for (size_t i = 0; i < 3; i++) {
        if (s->signals[i])
            event_free(s->signals[i]);
    }
    _close_sockets(s->sockets, s->n_sockets);
    health_stop();
    endpoint_start(NULL);
    endpoint_share(NULL, NULL);
    kernel_close(&s->kpath);
    runtime_unref(&s->runtime);
    event_base_free(s->base);
    free(s->workers);
    libevent_global_shutdown();
}

int server_run(struct conf *conf)
{
    struct server s = {.n_workers = conf->workers};
    evthread_use_pthreads();
    _raise_fd_limit();
    s.base = event_base_new();
    s.workers = calloc(s.n_workers, sizeof(*s.workers));
    if (!s.base || !s.workers)
        return log_error_r(1, "out of memory");
    int status = _start(&s, conf);
    if (status && s.n_started)
        return status; /* A worker that runs can not be joined in the middle: the exit ends it. */
    if (status) {
        if (!s.runtime)
            conf_free(&conf);
        _free(&s);
        return status;
    }
    event_base_dispatch(s.base);
    for (unsigned i = 0; i < s.n_workers; i++)
        worker_drain(&s.workers[i]);
    for (unsigned i = 0; i < s.n_workers; i++)
        worker_join(&s.workers[i]);
    log_info("stopped");
    _free(&s);
    return 0;
}
