/*
 * The daemon's half of the kernel path: giving connections to the BPF programs, taking
 * them back when something needs userspace, and knowing when redirected bytes have left.
 *
 * Every connection that was ever given away keeps its slot and its place in the SOCKMAP
 * until it closes; giving back and taking are changes of the slot's owner word
 * (include/skein/slot.h) and cost no system call.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "runtime.h"

struct conn;
struct downstream;
struct kpath;
struct upstream;
struct worker;

/** Prepares a worker for the kernel path; `k` may be NULL (then everything below is a no-op). */
int kpath_worker_init(struct worker *w, struct kpath *k);
void kpath_worker_free(struct worker *w);

/** Called at every event of a connection that has a slot: if the kernel path owns it, takes
 * it (and the connection leased to it) over into userspace. */
void kpath_wake(struct conn *c);

/** Offers an idle downstream connection to the kernel path, after an exchange. */
void kpath_promote(struct downstream *d);

/** Offers an idle, reusable upstream connection to the kernel path's pool.
 * @return false if it was not taken and stays the caller's. */
bool kpath_donate(struct upstream *u);

/** Before close(): takes the connection and ends what it shares with the kernel path. */
void kpath_detach(struct conn *c);

/** After close(), when no program can run for the socket any more: frees its slot. */
void kpath_free_slot(struct conn *c);

/** Whether every byte redirected into the connection's socket is in TCP's hands. */
bool kpath_drained(struct conn *c);

/** Polls kpath_drained() until the gate of the connection opens. */
void kpath_gate(struct conn *c);

/** Whether the kernel path has forwarded anything for the connection since last asked
 * (idle and response timeouts ask before they act). */
bool kpath_active(struct conn *c);

/** Points all of a worker's promoted connections to the listeners of a new configuration. */
void kpath_reload(struct worker *w);
