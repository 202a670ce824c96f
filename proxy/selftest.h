/*
 * The self-test's own parts, shared by selftest.c (the runner), selftest_wires.c (connections and bytes)
 * and selftest_checks.c (the checks).
 *
 *   far[DOWN] -- near[DOWN] (slot, programs) ... near[UP] (slot, programs) -- far[UP]
 *
 * The outer ends play client and server, the inner ones are as the daemon's.
 */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "kernel_internal.h"
#include "probe.h"

/** How long anything may take before its check has failed. */
#define SELFTEST_WAIT_NS 1000000000ULL

/** The sides; the numbers of their slots too. */
enum { DOWN, UP };

/** The messages of one protocol. */
struct selftest_dialect {
    enum slot_protocol protocol;
    const char *request;
    const char *response;
    const char *long_request; /**< Heads up to the number of bytes that follow... */
    const char *long_response;
    const char *long_body; /**< ...from there to those bytes... */
    const char *long_end;  /**< ...and what follows them. */
};

struct selftest {
    struct kpath *k;
    const struct selftest_dialect *say;
    int far[2];
    int near[2];
    uint64_t cookies[2];
    uint32_t buffer; /**< Bytes queued for a slow reader. */
    bool bypass;     /**< The outer ends are an application's, past TCP. */
    bool skip;       /**< The check can not be made here; it says why. */
    char text[128];  /**< What a check says is often put together here. */
};

struct selftest_check {
    const char *name;
    enum probe_guard guards;
    /** @return NULL if the hazard is under control; otherwise what goes wrong. */
    const char *(*run)(struct selftest *t);
};

/** Runs checks in their order and adds their verdicts. @param bypass  On the bypass path. */
void selftest_run(struct kpath *k, const struct selftest_check *checks, size_t n, bool bypass,
                  struct probe *p);

extern const struct selftest_check selftest_checks[];
extern const size_t selftest_checks_len;

/* Connections ------------------------------------------------------------------------- */

union selftest_address {
    struct sockaddr sa;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

/** Fills the loopback address of a family in, port 0. @return Its length. */
socklen_t selftest_loopback(union selftest_address *a, int family);

/** Connects both pairs and prepares their slots; nothing is inserted yet.
 * @param family   AF_INET or AF_INET6.
 * @param buffers  SO_SNDBUF and SO_RCVBUF of the downstream pair; 0: the system's.
 * @return NULL or what goes wrong. */
const char *selftest_connect(struct selftest *t, int family, int buffers);

/** Inserts one side; the upstream one is idle in the pool then. @return NULL or what goes wrong. */
const char *selftest_insert(struct selftest *t, int side);

/** Publishes the listener: one route or the ring, and `buffer`. @return NULL or what goes wrong. */
const char *selftest_listener(struct selftest *t);

/** Prepares a side's slot for a new life on the kernel path. */
void selftest_renew(struct selftest *t, int side);

/** Closes everything and frees the slots, whatever the state. */
void selftest_close(struct selftest *t);

/** Ends a connection with a reset. */
void selftest_reset(int *fd);

static inline struct slot *selftest_slot(struct selftest *t, int side)
{
    return &t->k->slots[side];
}

static inline bool selftest_owner_is(struct selftest *t, int side, uint64_t bits)
{
    uint64_t w = slot_owner(selftest_slot(t, side));
    return (w & bits) == bits && !(w & OWNER_BUSY);
}

/** Has the programs show how far a side's socket is. @return Whether they do. */
static inline bool selftest_inspect(struct selftest *t, int side)
{
    return kernel_inspect(t->k, (uint32_t)side) == 0;
}

/** Takes a connection out of the map as the daemon does. @return Whether it left. */
bool selftest_leave(struct selftest *t, int side);

/* Bytes ------------------------------------------------------------------------------- */

bool selftest_send(int fd, const char *text);

/** Whether exactly these bytes are what can be read next. */
bool selftest_arrives(int fd, const char *want);

/** The same, without consuming them. */
bool selftest_peeks(int fd, const char *want);

/** Sends a long message on one end while reading it on another; `from` may be -1: then it was sent
 * already. @return Whether all of it arrived. */
bool selftest_carries(int from, int to, const char *message, size_t len);

/** Lets other threads and the work queue run between two looks at a condition. */
void selftest_pause(void);

/** Looks a few times whether the condition holds. */
#define SELFTEST_LOOKS(condition)                                                                            \
    ({                                                                                                       \
        bool seen_ = false;                                                                                  \
        for (int looks_ = 0; looks_ < 16 && !(seen_ = (condition)); looks_++)                                \
            selftest_pause();                                                                                \
        seen_;                                                                                               \
    })

/** Looks again until the condition holds. @return Whether it did in time. */
#define SELFTEST_UNTIL(condition)                                                                            \
    ({                                                                                                       \
        uint64_t end_ = probe_now() + SELFTEST_WAIT_NS;                                                      \
        bool ok_;                                                                                            \
        while (!(ok_ = (condition)) && probe_now() < end_)                                                   \
            selftest_pause();                                                                                \
        ok_;                                                                                                 \
    })
