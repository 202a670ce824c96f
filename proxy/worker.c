#include "worker.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http.h"
#include "redis.h"
#include "bypass.h"
#include "kpath.h"
#include "log.h"
#include "runtime.h"
#include "server.h"

/* Takes an accepted, non-blocking socket, by the listener's protocol. */
static void (*const _accepted[])(struct worker_listener *l, int fd) = {
    [CONF_HTTP] = downstream_new,
    [CONF_REDIS] = redis_client_new,
};

/** Connections accepted in one go before the loop looks at the others. */
#define ACCEPT_BATCH 64

static void _listen_all(struct worker *w, bool on)
{
    struct worker_listener *l;
    TAILQ_FOREACH (l, &w->listeners, link) {
        if (on)
            event_add(&l->ev, NULL);
        else
            event_del(&l->ev);
    }
}

static void _on_accept_retry(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    (void)fd;
    (void)what;
    if (!w->draining)
        _listen_all(w, true);
}

static void _on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct worker_listener *l = arg;
    struct worker *w = l->worker;
    (void)what;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        uint32_t max = w->runtime->conf->limits.connections;
        if (max && server_connections(w->server) >= max)
            errno = EMFILE;
        else {
            int c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (c >= 0) {
                _accepted[l->rt->conf->protocol](l, c);
                continue;
            }
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            /* Clients wait in the backlog until something is free again. */
            struct timeval tv = {.tv_usec = 50000};
            stat_add(&w->stats.accept_failures, 1);
            _listen_all(w, false);
            event_add(&w->accept_retry, &tv);
        }
        return;
    }
}

/* The listener's connections end after what they are doing. */
static void _drain_connections(struct worker *w, struct worker_listener *l)
{
    struct conn *c = TAILQ_FIRST(&w->conns);
    while (c) {
        if (c->upstream || c->listener != l) {
            c = TAILQ_NEXT(c, link);
            continue;
        }
        c->ops->drain(c);
        c->listener = NULL;
        c = TAILQ_FIRST(&w->conns); /* Ending one may end others: start over. */
    }
}

static void _close_listener(struct worker *w, struct worker_listener *l)
{
    event_del(&l->ev);
    bypass_unlisten(server_kpath(w->server), l->fd);
    close(l->fd);
    TAILQ_REMOVE(&w->listeners, l, link);
    _drain_connections(w, l);
    free(l);
}

/* Clients of this host that connect from now on are reached past TCP, or not. */
static void _bypass_listener(struct worker_listener *l)
{
    struct kpath *k = server_kpath(l->worker->server);
    if (l->rt->conf->bypass_except)
        bypass_unlisten(k, l->fd);
    else
        bypass_listen(k, l->fd);
}

/* The listener goes on with a new configuration. */
static void _renew_listener(struct worker *w, struct worker_listener *l, struct rt_listener *rt)
{
    if (l->rt->conf->protocol != rt->conf->protocol)
        _drain_connections(w, l);
    l->rt = rt;
    _bypass_listener(l);
}

/* Takes over the sockets that the server opened for this worker. */
static void _open_listeners(struct worker *w)
{
    for (size_t i = 0; i < w->runtime->conf->n_listeners; i++) {
        struct rt_listener *rt = &w->runtime->listeners[i];
        struct worker_listener *l, *found = NULL;
        TAILQ_FOREACH (l, &w->listeners, link) {
            if (strcmp(l->rt->conf->address.text, rt->conf->address.text) == 0)
                found = l;
        }
        int fd = server_take_socket(w->server, w->id, rt);
        if (fd < 0) { /* Kept from the configuration before. */
            if (found)
                _renew_listener(w, found, rt);
            continue;
        }
        l = calloc(1, sizeof(*l));
        if (!l)
            abort();
        l->worker = w;
        l->rt = rt;
        l->fd = fd;
        _bypass_listener(l);
        event_assign(&l->ev, w->base, fd, EV_READ | EV_PERSIST, _on_accept, l);
        event_add(&l->ev, NULL);
        TAILQ_INSERT_TAIL(&w->listeners, l, link);
    }
}

static void _drain_timeout(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    (void)fd;
    (void)what;
    struct conn *c;
    while ((c = TAILQ_FIRST(&w->conns)))
        c->ops->cancel(c);
}

static void _begin_drain(struct worker *w)
{
    if (w->draining)
        return;
    w->draining = true;
    while (!TAILQ_EMPTY(&w->listeners))
        _close_listener(w, TAILQ_FIRST(&w->listeners));
    uint64_t ns = w->runtime->conf->timeouts.drain;
    struct timeval tv = {.tv_sec = (time_t)(ns / 1000000000ULL),
                         .tv_usec = (suseconds_t)(ns % 1000000000ULL / 1000)};
    event_add(&w->drain_timer, &tv);
    worker_conn_gone(w);
}

void worker_conn_gone(struct worker *w)
{
    struct conn *c, *next;
    if (!w->draining)
        return;
    if (atomic_load(&w->connections))
        return;
    for (c = TAILQ_FIRST(&w->conns); c; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->closing && c->out)
            continue;         /* The last bytes of a tunnel. */
        conn_close(c, false); /* Only idle upstream connections are left. */
    }
    if (TAILQ_EMPTY(&w->graves))
        event_base_loopbreak(w->base);
}

/* Replaces the runtime: same listeners keep their sockets, gone ones are closed. */
static void _switch_runtime(struct worker *w, struct runtime *rt)
{
    struct runtime *old = w->runtime;
    struct worker_listener *l, *next;
    w->runtime = rt;
    for (l = TAILQ_FIRST(&w->listeners); l; l = next) {
        next = TAILQ_NEXT(l, link);
        bool kept = false;
        for (size_t i = 0; i < rt->conf->n_listeners; i++) {
            kept |= strcmp(rt->conf->listeners[i].address.text, l->rt->conf->address.text) == 0;
        }
        if (!kept)
            _close_listener(w, l);
    }
    _open_listeners(w);
    kpath_reload(w);
    runtime_unref(&old);
    atomic_fetch_add(&w->reloads, 1);
}

static void _on_notify(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    (void)fd;
    (void)what;
    struct runtime *rt = atomic_exchange(&w->next_runtime, NULL);
    if (rt)
        _switch_runtime(w, rt);
    if (atomic_load(&w->stop_requested))
        _begin_drain(w);
    conn_flush(w);
}

static void _on_reap(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    conn_reap(arg);
}

static void *_main(void *arg)
{
    struct worker *w = arg;
    event_base_loop(w->base, EVLOOP_NO_EXIT_ON_EMPTY);
    return NULL;
}

static int _init(struct worker *w)
{
    struct event_config *ec = event_config_new();
    if (!ec)
        return -ENOMEM;
    w->base = event_base_new_with_config(ec);
    event_config_free(ec);
    w->rbuf = malloc(2 * WORKER_RBUF);
    w->stage = malloc(WORKER_STAGE);
    if (!w->base || !w->rbuf || !w->stage)
        return -ENOMEM;
    TAILQ_INIT(&w->listeners);
    TAILQ_INIT(&w->conns);
    TAILQ_INIT(&w->graves);
    gather_worker_init(w);
    event_assign(&w->reap, w->base, -1, 0, _on_reap, w);
    event_assign(&w->notify, w->base, -1, 0, _on_notify, w);
    event_assign(&w->accept_retry, w->base, -1, 0, _on_accept_retry, w);
    event_assign(&w->drain_timer, w->base, -1, 0, _drain_timeout, w);
    int r = http_worker_init(w);
    return r ? r : redis_worker_init(w);
}

int worker_start(struct worker *w, struct server *s, unsigned id, struct runtime *rt)
{
    w->id = id;
    w->server = s;
    w->runtime = runtime_ref(rt);
    int r = _init(w);
    if (!r)
        r = kpath_worker_init(w, server_kpath(s));
    if (r)
        return r;
    _open_listeners(w);
    return -pthread_create(&w->thread, NULL, _main, w);
}

void worker_reload(struct worker *w, struct runtime *rt)
{
    struct runtime *skipped = atomic_exchange(&w->next_runtime, runtime_ref(rt));
    runtime_unref(&skipped);
    event_active(&w->notify, EV_READ, 0);
}

void worker_drain(struct worker *w)
{
    atomic_store(&w->stop_requested, true);
    event_active(&w->notify, EV_READ, 0);
}

void worker_join(struct worker *w)
{
    pthread_join(w->thread, NULL);
    conn_reap(w);
    kpath_worker_free(w);
    http_worker_free(w);
    redis_worker_free(w);
    gather_worker_free(w);
    event_base_free(w->base);
    free(w->rbuf);
    free(w->stage);
    runtime_unref(&w->runtime);
}
