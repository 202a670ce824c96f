/*
 * What the parts of the chaos test share: options, the run's state, failures, and the history of
 * actions that a failure is explained by.
 *
 * Clients and servers live in one process and one event loop, so that a client's checker knows what
 * the servers did to its request, and a server knows what the client meant to send.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/** Servers by how they behave; each cluster's strictness follows from it. */
enum cluster {
    CLUSTER_CALM,   /**< Legal messages of all kinds, never a fault: no error is allowed. */
    CLUSTER_FICKLE, /**< As calm, but closes idle connections: GET and HEAD must succeed all the same. */
    CLUSTER_WILD,   /**< Faults of all kinds, killed and restarted. */
    _CLUSTER_MAX,
};

#define HISTORY_EVENTS 32

/** The last events of one connection, or of the run. */
struct history {
    unsigned refs, n;
    struct {
        uint64_t ms;
        char text[88];
    } event[HISTORY_EVENTS];
};

struct options {
    const char *binary;
    const char *kernel; /**< datapath.kernel. */
    const char *bypass; /**< datapath.bypass. */
    uint64_t seed;
    unsigned seconds;
    unsigned connections;
    bool http, redis;
};

/** The run. */
struct chaos {
    struct options opt;
    struct event_base *base;
    uint64_t started; /**< clock_ms() at the start. */
    bool ending;      /**< Clients begin nothing new. */
    unsigned failures;
    unsigned down;                /**< Servers of the wild cluster that are closed at the moment. */
    uint64_t trouble;             /**< When the wild cluster was last troubled, clock_ms(). */
    uint16_t port, redis_port[2]; /**< skein's listeners. */
    struct history history;
};

extern struct chaos chaos;

/** Milliseconds of a monotonic clock. */
uint64_t clock_ms(void);

/** @return A history with one reference. */
struct history *history_new(void);
struct history *history_ref(struct history *h);
void history_unref(struct history **h);

/** Appends an event to `h`, which may be NULL. */
void history_add(struct history *h, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Reports a failure, with the run's seed, the history `h` (may be NULL) and the run's own. The first
 * five are reported, all are counted. */
void chaos_fail(const struct history *h, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Notes that the wild cluster's servers were disturbed now. */
void chaos_trouble(const char *what);

/** Whether the wild cluster was disturbed since `ms`, or shortly before. */
bool chaos_troubled(uint64_t ms);

/** Binds a free port on 127.0.0.1 that no outgoing connection will take. @return The port. */
uint16_t chaos_port(void);
