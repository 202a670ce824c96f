/* The owner word's operations on the programs' side; its meaning is in skein/slot.h. */
#pragma once

#include "access.h"
#include "counters.h"

/** Times a compare-and-swap is tried against the daemon's before giving up. */
#define OWNER_TRIES 8

static __always_inline __u64 owner_load(struct slot *s)
{
    return *(volatile __u64 *)&s->owner;
}

/** Sets BUSY. @return 0, with the word as it was in `old`, or -1 if the slot is not this
 * connection's any more or the daemon would not let go of it. */
static __always_inline int owner_enter(struct slot *s, __u32 ref, __u64 *old)
{
    for (int i = 0; i < OWNER_TRIES; i++) {
        __u64 w = owner_load(s);
        if (owner_gen(w) != ref_gen(ref))
            return -1;
        if (__sync_val_compare_and_swap(&s->owner, w, w | OWNER_BUSY) == w) {
            *old = w;
            return 0;
        }
    }
    return -1;
}

/** Clears BUSY. */
static __always_inline void owner_leave(struct slot *s)
{
    __sync_fetch_and_and(&s->owner, ~OWNER_BUSY);
}

/** Once per stay on the kernel path: why it ends. */
static __always_inline void count_fallback(struct slot *s, __u64 old, __u32 reason,
                                           struct listener_counters *c)
{
    if (old & OWNER_USER)
        return;
    s->left_for = (__u8)reason;
    if (c && reason < _FALLBACK_MAX)
        c->fallback[reason]++;
}

/** Parser: gives up on the connection without consuming anything; gives BUSY up. Only for a
 * socket into which nobody redirects and that has sent everything (the error that strparser
 * leaves on it would make sending fail), and of which nothing was passed up (it could not be
 * read any more). @return What the parser returns. */
static __always_inline int give_up(struct slot *s, __u64 old, __u32 reason, struct listener_counters *c)
{
    count_fallback(s, old, reason, c);
    __sync_fetch_and_or(&s->owner, OWNER_USER | OWNER_FROZEN);
    owner_leave(s);
    return -PARSER_GAVE_UP;
}

/** Parser, before anything else: TCP holds urgent data back from strparser, which then waits for
 * bytes that never come. HTTP knows no urgent data: the connection is given up for good. */
static __always_inline int abandon(struct slot *s)
{
    s->aborted = 1;
    __sync_fetch_and_or(&s->owner, OWNER_USER | OWNER_FROZEN);
    return -PARSER_GAVE_UP;
}

/** Verdict: puts the slice into the socket's own queue, or lets TCP send it to the daemon's; userspace owns
 * the connection from now on. Gives BUSY up. @return SK_PASS */
static __always_inline int pass(struct slot *s, __u64 old, __u32 reason, struct listener_counters *c)
{
    if (!IS_MSG)
        s->passed += s->slice_len;
    count_fallback(s, old, reason, c);
    __sync_fetch_and_or(&s->owner, OWNER_USER);
    /* One operation: the sequence counts, BUSY goes. */
    __sync_fetch_and_add(&s->owner, OWNER_SEQ_ONE - OWNER_BUSY);
    return SK_PASS;
}

/** Takes an idle upstream connection for the downstream one. @return 0 or -1. */
static __always_inline int lease_take(struct slot *u, __u32 uref, __u32 dref)
{
    __u64 w = owner_load(u);
    if (owner_gen(w) != ref_gen(uref) || !(w & OWNER_UP) || (w & (OWNER_USER | OWNER_BUSY)) || owner_lease(w))
        return -1;
    return __sync_val_compare_and_swap(&u->owner, w, w | lease_bits(dref)) == w ? 0 : -1;
}

/** Clears a lease; only the side that holds the right to may call it (skein/slot.h). */
static __always_inline void lease_clear(struct slot *s)
{
    __sync_fetch_and_and(&s->owner, ~OWNER_LEASE_MASK);
}
