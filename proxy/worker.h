/*
 * A worker: one thread, one event loop, its own listening sockets (SO_REUSEPORT), its
 * own connections and idle upstream connections. Workers share nothing that changes per
 * message, except the kernel path's maps.
 */
#pragma once

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "conn.h"
#include "gather.h"
#include "stats.h"

#define WORKER_RBUF  262144 /* Of one recv(). */
#define WORKER_STAGE 65536

struct exchange;
struct kpath_worker;
struct redis_worker;
struct runtime;
struct server;
struct upstream_pool;

TAILQ_HEAD(conn_list, conn);

/** A bound listener of this worker; outlives a reload that keeps its address. */
struct worker_listener {
    struct worker *worker;
    struct rt_listener *rt; /**< Current configuration. */
    int fd;
    struct event ev;
    TAILQ_ENTRY(worker_listener) link;
};

struct worker {
    unsigned id;
    struct server *server;
    pthread_t thread;
    struct event_base *base;
    struct runtime *runtime; /**< Current configuration; one reference held. */
    TAILQ_HEAD(, worker_listener) listeners;
    struct conn_list conns;
    struct conn_list graves;
    struct event reap;
    struct event notify; /**< Woken by other threads: look at `command`. */
    struct event accept_retry;
    struct event drain_timer;
    bool draining;
    _Atomic(struct runtime *) next_runtime;
    atomic_bool stop_requested;
    atomic_uint reloads;     /**< Configurations switched to. */
    atomic_uint connections; /**< Downstream, live. */

    struct exchange *free_exchanges; /**< HTTP's (http.h). */
    struct upstream_pool *pools;     /**< HTTP's, by endpoint id. */
    struct kpath_worker *kpath;      /**< NULL without a kernel path. */
    struct redis_worker *redis;      /**< See redis_worker.h. */
    struct stats stats;

    char *rbuf; /**< 2 * WORKER_RBUF: what the last recv() brought is in the second half, with room
                 * before it for what was kept; valid during one callback. */
    char *stage;
    size_t stage_len;
    struct conn *stage_owner;
    struct gathers gathers;
};

/** Starts a worker's thread. @return 0 or -errno. */
int worker_start(struct worker *w, struct server *s, unsigned id, struct runtime *rt);

/** Thread-safe: makes the worker switch to a new configuration; takes a reference. */
void worker_reload(struct worker *w, struct runtime *rt);

/** Thread-safe: stop accepting, finish what is in flight, then return from the thread. */
void worker_drain(struct worker *w);

/** Waits for the thread and frees everything. */
void worker_join(struct worker *w);

/** Called when a connection ends; a draining worker stops when the last is gone. */
void worker_conn_gone(struct worker *w);

/* conn.c, for the worker's loop only. */
void conn_reap(struct worker *w);
