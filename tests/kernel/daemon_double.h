/*
 * The daemon, small: the real proxy/kpath.c and proxy/leave.c with connections that are just buffers around
 * it. It takes connections, carries exchanges on in userspace where the kernel path left them, and gives
 * connections back. One thread; the message formats are those of test_stress.c.
 */
#pragma once

#include "kernel_helper.h"

#include "proxy/conn.h"
#include "proxy/kpath.h"

/** What of a message is still to be forwarded: so many bytes, then chunks up to the last one. */
struct flow {
    uint64_t left;
    bool chunked;
    struct http1_chunks chunks;
};

struct node {
    struct conn c; /**< First. */
    int far;       /**< The client's or server's end. */
    uint8_t *in;   /**< Read and not yet forwarded. */
    size_t in_len;
    struct node *partner; /**< Other side of an exchange in userspace. */
    struct flow request;  /**< Downstream: what is to be forwarded of the request, */
    struct flow response; /**< and of the response, once `started`. */
    bool started;
    bool interim; /**< Another response follows this one. */
    bool parked;  /**< Upstream: idle in userspace. */
};

struct daemon_counts {
    uint64_t takes, takeovers, exchanges;
    uint64_t chunked; /**< Takeovers in the middle of a chunked body, */
    uint64_t held;    /**< and while strparser held something. */
    uint64_t strays;  /**< Bytes from an upstream connection that nobody waits for. */
    uint64_t lost;    /**< Connections that left the map without bytes that TCP still counts. */
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

/** What the message at the start of `in` consists of: an HTTP head with the body it announces, or a Redis
 * command or reply as far as the kernel path knows them (replies: no arrays).
 * @return false if its head is incomplete. */
bool daemon_flow(const uint8_t *in, size_t len, struct flow *f);

/** Goes through bytes of a message. @return How many of `len` are its. */
size_t daemon_flow_on(struct flow *f, const uint8_t *in, size_t len);

/** Whether the message is complete. */
static inline bool daemon_flow_done(const struct flow *f)
{
    return !f->left && (!f->chunked || f->chunks.done);
}
