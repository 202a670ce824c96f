/*
 * The process: bound sockets, workers, signals, reload and drain, the admin listener.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "runtime.h"

struct kpath;
struct probe;
struct server;
struct worker;

/** Runs until SIGTERM or SIGINT, then drains. Owns `conf`.
 * @return The process' exit status: 0, 1 for a failure, 2 for a configuration that can
 *         not be served (an address in use, `kernel: on` without the kernel path). */
int server_run(struct conf *conf);

/** Used by workers: the listening socket opened for this worker, or -1 if the worker has
 * it already. Ownership moves to the caller. */
int server_take_socket(struct server *s, unsigned worker, const struct rt_listener *l);

/** Downstream connections of all workers. */
unsigned server_connections(struct server *s);

struct kpath *server_kpath(struct server *s);

/** What the self-test has found; not `ran` with `kernel: off`. */
const struct probe *server_probe(struct server *s);

struct worker *server_worker(struct server *s, unsigned id);
unsigned server_workers(struct server *s);
struct runtime *server_runtime(struct server *s);
bool server_draining(struct server *s);
