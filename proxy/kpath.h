/*
 * The daemon's half of the kernel path: giving connections to the BPF programs and taking
 * them back when something needs userspace.
 *
 * A connection is on the kernel path as long as it is in the SOCKMAP, and on the bypass path as long as its
 * slot names the application at its other end. It leaves for good (and may be promoted again later): taken by
 * its owner word (skein/slot.h), then removed from the maps as soon as everything redirected into it is in
 * TCP's hands. From then on it is an ordinary socket.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "runtime.h"

struct conn;
struct kpath;
struct worker;

/** Prepares a worker for the kernel path; `k` may be NULL (then everything below is a no-op). */
int kpath_worker_init(struct worker *w, struct kpath *k);
void kpath_worker_free(struct worker *w);

/** Takes a connection that the kernel path owns, together with the connection leased to it:
 * what they were doing goes on in userspace. Called at every event of such a
 * connection. Until it has left the maps the connection is `leaving`. */
void kpath_wake(struct conn *c);

/** Offers an idle downstream connection to the programs, between messages: to the bypass path if its client
 * is on this host, otherwise to the kernel path. */
void kpath_promote(struct conn *c);

/** The same for the bypass path alone. @return Whether it took the connection. */
bool kpath_promote_local(struct conn *c);

/** Whether a client's connection could take the bypass path: it is in use there, and an application of this
 * host is at the other end. Programs are asked once. */
bool kpath_may_bypass(struct conn *c);

/** Whether an endpoint's connections were found to end on another host. */
bool kpath_is_remote(struct worker *w, uint32_t endpoint);

/** An upstream socket is about to be connected: a server of this host may be reached past TCP then, unless
 * the connection is `excepted`. */
void kpath_connecting(struct conn *c, bool excepted);

/** Offers an idle, reusable upstream connection to the kernel path's pool.
 * @return false if it was not taken and stays the caller's. */
bool kpath_donate(struct conn *c);

/** The client `d` will look first at the upstream connection that was just donated after serving it. */
void kpath_remember(struct conn *d, const struct conn *u);

/** Idle connections that the kernel path's pool holds for a worker and an endpoint. */
uint32_t kpath_pooled(struct worker *w, uint32_t endpoint);

/** Whether a connection's other end, which has sent its FIN, is an application of this host that has closed
 * it: it reads nothing any more. */
bool kpath_is_abandoned(const struct conn *c);

/** Before close(): takes the connection and ends what it shares with the kernel path. */
void kpath_detach(struct conn *c);

/** After close(), when no program of the socket's own can run any more: frees its slot. An application's is
 * told by the slot's generation that it is not meant. */
void kpath_free_slot(struct conn *c);

/** The deadline of a connection that the kernel path owns has passed: takes it over if it
 * waits for a response (userspace has the precise clocks), otherwise looks again later.
 * @return true if it has been idle for as long as it may: the caller closes it. */
bool kpath_expired(struct conn *c);

/** Points all of a worker's promoted connections to the listeners of a new configuration. */
void kpath_reload(struct worker *w);
