/*
 * Gathered output: many small writes to many connections in one round of a worker's loop leave
 * with one system call per connection when the round ends, not one per callback. For protocols
 * where one event of one connection brings answers for many, or many events answers for one.
 *
 * A connection has a buffer only between its first write of a round and the end of the round.
 */
#pragma once

#include <event2/event_struct.h>
#include <stddef.h>
#include <sys/queue.h>

/** Capacity of a buffer, in bytes. */
#define GATHER_SIZE 65536

/** Buffers that one connection may fill: what many connections send to one leaves in one piece, and
 * its peer is woken once. */
#define GATHER_MANY 16

/** Buffers of a worker in use; beyond, the oldest is written early. */
#define GATHERS_MAX 256

/** Unused buffers that a worker keeps. */
#define GATHERS_KEPT 64

struct conn;
struct worker;

/** A buffer; the first one of a connection knows of those behind it. */
struct gather {
    struct conn *c;
    size_t len;          /**< Bytes in this one. */
    size_t total;        /**< Of the first: bytes in all. */
    struct gather *next; /**< Further buffers of the connection. */
    struct gather *last; /**< Of the first: the one that is being filled. */
    TAILQ_ENTRY(gather) link;
    char data[GATHER_SIZE];
};

TAILQ_HEAD(gather_list, gather);

/** A worker's buffers. */
struct gathers {
    struct gather_list used; /**< Oldest first. */
    struct gather_list kept; /**< Most recently used first: its memory is warm. */
    unsigned n_used;
    unsigned n_kept;
    struct event round; /**< Active while there is something to write. */
};

void gather_worker_init(struct worker *w);
void gather_worker_free(struct worker *w);

/** Adds output of a connection that gathers; a piece for which its buffers have no room leaves at once,
 * with one system call together with what came before it. May call owners back, of any connection. */
void gather_put(struct conn *c, const void *data, size_t len);

/** Writes what the connection has gathered now. May call its owner back. */
void gather_write(struct conn *c);

/** Forgets what the connection has gathered. */
void gather_drop(struct conn *c);
