/* A worker's part of the kernel path, shared by kpath.c, kpath_bypass.c, kpath_pool.c and leave.c. */
#pragma once

#include <event2/event_struct.h>
#include <stdint.h>

#include "kernel_internal.h"
#include "skein/bypass.h"
#include "worker.h"

struct kpath_worker {
    struct kpath *k;
    uint32_t *free; /**< Slots of this worker that nobody uses. */
    uint32_t n_free;
    struct conn_list leaving;
    struct event leave_timer;
    unsigned leave_poll_us;
};

static inline struct slot *kpath_slot(const struct conn *c)
{
    return &c->worker->kpath->k->slots[c->slot];
}

/* Past TCP (kpath_bypass.c) ---------------------------------------------------------------- */

/** Ties a connection that has a slot to the application's socket at its other end, if that may be bypassed.
 * @return Why it is not, or that it is. */
enum bypass_reason kpath_bypass(struct conn *c);

/* Places in an endpoint's pool (kpath_pool.c) --------------------------------------------- */

/** Finds an upstream connection a place, which is taken when it is put there. @return Whether there is one.
 */
bool kpath_pool_place(struct conn *u);

/** It will not be put there. */
void kpath_pool_unplace(struct conn *u);

/** From here on it can be leased. Not before it is in the maps: a program that still has the place's bit in
 * hand from before would lease it, and could be at work with the slot when inserting fails. */
void kpath_pool_put(struct conn *u);

/** It is not found any more; whoever has its place in hand finds it userspace's. */
void kpath_pool_hide(struct conn *u);

/** Gives its place up, if it has one. */
void kpath_pool_leave(struct conn *u);
