/*
 * The daemon, small: the real proxy/kpath.c and proxy/leave.c with connections that are just buffers around
 * it. It takes connections, carries exchanges on in userspace where the kernel path left them, and gives
 * connections back. One thread; the message formats are those of test_stress.c.
 */
#pragma once

#include "kernel_helper.h"

#include "proxy/conn.h"
#include "proxy/kpath.h"

struct node {
    struct conn c; /**< First. */
    int far;       /**< The client's or server's end. */
    uint8_t *in;   /**< Read and not yet forwarded. */
    size_t in_len;
    struct node *partner; /**< Other side of an exchange in userspace. */
    uint64_t request;     /**< Downstream: request bytes to forward. */
    uint64_t response;    /**< Downstream: response bytes to forward, once `started`. */
    bool started;
    bool parked; /**< Upstream: idle in userspace. */
};

struct daemon_counts {
    uint64_t takes, takeovers, exchanges;
    uint64_t strays; /**< Bytes from an upstream connection that nobody waits for. */
    uint64_t lost;   /**< Connections that left the map without bytes that TCP still counts. */
};

/** Sets up the one worker. The kernel path's slots must all be free.
 * @param protocol  enum slot_protocol */
void daemon_open(struct kpath *k, uint8_t protocol);

/** Closes all connections, inner and outer ends. */
void daemon_close(void);

/** Makes a node of a connection and offers it to the kernel path, which need not take it. */
struct node *daemon_offer(const struct wire *w, bool upstream);

/** Connects a node and gives it to the kernel path. */
struct node *daemon_add(bool upstream);

size_t daemon_nodes(void);
struct node *daemon_node(size_t i);

/** Looks at every connection once, waiting up to 1 ms for something to happen.
 * @param take_one_in  Takes a random connection in one of so many calls; 0: never. */
void daemon_step(uint32_t *random_state, uint32_t take_one_in);

struct daemon_counts daemon_counts(void);

uint32_t daemon_random(uint32_t *state, uint32_t below);

/** Length of an HTTP head at the start of `in` with the body it announces, or of a Redis command or reply
 * as far as the kernel path knows them (replies: no arrays); 0 if its head is incomplete. */
uint64_t daemon_message_len(const uint8_t *in, size_t len);
