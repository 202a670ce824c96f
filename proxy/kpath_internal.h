/* A worker's part of the kernel path, shared by kpath.c and leave.c. */
#pragma once

#include <event2/event_struct.h>
#include <stdint.h>

#include "kernel_internal.h"
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
