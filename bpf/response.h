/* Responses: upstream socket -> the downstream socket that holds its lease. */
#pragma once

#include "request.h"

/** Loads and frames the response that begins with `n` bytes. A server that answers with the same head again
 * is recognised by that. @return HTTP1_OK, with `total` and `framing` set, or why it does not take this path.
 */
static __always_inline int http_response(CTX *ctx, struct slot *s, __u32 offset, __u32 n)
{
    int reason = HTTP1_OK;
    if (!same_head(ctx, s)) {
        s->framed = 0;
        if (load_bytes(ctx, offset, &s->window, sizeof(s->window), n))
            return FALLBACK_INTERNAL;
        reason = http1_frame(&s->window, n, HTTP1_RESPONSE, &s->scan, &s->head);
    }
    if (reason == HTTP1_OK)
        reason = http1_response_body(&s->head, s->heads & 1, &s->framing);
    /* What answers HEAD says nothing about the body of the next. */
    s->framed = IS_MSG && reason == HTTP1_OK && !(s->heads & 1);
    s->total = s->head.head_len + s->head.content_length;
    return reason;
}

static __always_inline int load_reply(CTX *ctx, struct slot *s, __u32 offset, __u32 n)
{
    if (load_bytes(ctx, offset, &s->window, sizeof(s->window), n))
        return FALLBACK_INTERNAL;
    return redis_reply(s, 0, n);
}

/** Why `len` bytes can not be redirected to the client now: its socket is gone, or it does not take what it
 * gets and userspace has to wait for it. 0: go on. */
static __always_inline __u32 client_refuses(struct slot *d, __u32 dref, __u32 len)
{
    struct socket_view v;
    struct kernel_listener *l = bpf_map_lookup_elem(&listeners, &d->listener);
    if (!l || view_target(d, dref, &v))
        return FALLBACK_TARGET_GONE;
    if (!is_local(d) && !d->tx_valid) {
        d->tx_seq = v.write_seq;
        d->tx_valid = 1;
    }
    return target_full(d, &v, len, l->buffer) ? FALLBACK_DOWNSTREAM_SLOW : 0;
}

#ifdef SKEIN_MSG

/** Frames the reply `at` bytes after the first, of which the window begins `base` bytes after it; moves the
 * window there if it does not hold enough of it. @return HTTP1_OK, with `total` set, or why it does not go on
 * with the others. */
static __always_inline int redis_next_reply(CTX *ctx, struct slot *s, __u32 *base, __u32 at, __u32 avail)
{
    __u32 n = avail - *base < HTTP1_WINDOW ? avail - *base : HTTP1_WINDOW;
    if (at - *base < n && redis_reply(s, at - *base, n) == HTTP1_OK)
        return HTTP1_OK;
    *base = at;
    n = avail - at < HTTP1_WINDOW ? avail - at : HTTP1_WINDOW;
    return load_bytes(ctx, at, &s->window, sizeof(s->window), n) ? FALLBACK_INTERNAL : redis_reply(s, 0, n);
}

/** Replies that the server has written together go on together with the first, which is framed; of the last
 * one its end may be missing. `total` and `replies` are those of all. A function of its own for the verifier.
 */
__attribute__((noinline)) int redis_replies_walk(CTX *ctx, struct slot *s, __u32 avail)
{
    __u32 base = 0, at, i;
    if (!s)
        return -1;
    at = (__u32)s->total;
    for (i = 1; i < RUN_MAX; i++) {
        /* What ends inside of the window was seen to end well. */
        if (i >= s->run || at >= avail || (at - base > HTTP1_WINDOW && !ends_well(ctx, at)) ||
            redis_next_reply(ctx, s, &base, at, avail) != HTTP1_OK)
            break;
        if (s->total > avail - at) {
            s->total += at;
            s->replies = (__u8)(i + 1);
            return 0;
        }
        at += (__u32)s->total;
    }
    s->total = at;
    s->replies = (__u8)i;
    return 0;
}

static __always_inline void redis_replies(CTX *ctx, struct slot *s, __u32 avail)
{
    if (s->protocol == SLOT_REDIS && s->run > 1 && s->total < avail)
        redis_replies_walk(ctx, s, at_most(avail, avail));
}

#else

static __always_inline void redis_replies(CTX *ctx, struct slot *s, __u32 avail)
{
}

#endif

/** The head of a response in `avail` bytes at `offset`, and what comes with it. While the request is not
 * complete (`waiting`), only interim responses are taken, and giving up could destroy what is still to
 * come: anything else is passed. */
static __always_inline int response_head(CTX *ctx, struct slot *s, __u64 owner, __u32 offset, __u32 avail,
                                         int waiting, struct listener_counters *c)
{
    __u32 n = avail < HTTP1_WINDOW ? avail : HTTP1_WINDOW;
    s->framing = HTTP1_FRAMED_LENGTH;
    s->replies = 1;
    int reason = s->protocol == SLOT_REDIS ? load_reply(ctx, s, offset, n) : http_response(ctx, s, offset, n);
    if (waiting && (reason != HTTP1_OK || !(s->head.flags & HTTP1_F_INTERIM))) {
        s->held = 0;
        return at_most(avail, avail);
    }
    if (reason == HTTP1_MORE && s->protocol == SLOT_HTTP && !hold(s, avail))
        return 0;
    if (reason != HTTP1_OK)
        return refuse(s, owner, avail, reason, c);
    redis_replies(ctx, s, avail);
    n = slice_of(ctx, s, offset, avail, message_head(s));
    if (!n)
        return refuse(s, owner, avail, FALLBACK_RESP + RESP_FRAME_SYNTAX, c);
    s->held = 0;
    s->slice_kind = SLICE_HEAD;
    return (int)n;
}

/** Body bytes of a response. What can not go on stays in TCP's queue if it may: there it outlives a reset
 * that comes behind it, passed up it does not. */
static __always_inline int response_body(CTX *ctx, struct slot *s, __u64 owner, __u32 offset, __u32 avail,
                                         struct listener_counters *c)
{
    __u32 held = s->held;
    int n = body_slice(ctx, s, offset, avail, 0);
    if (!IS_MSG && n > 0 && !held && s->slice_kind == SLICE_PASS)
        return give_up(s, owner, s->slice_reason, c);
    return n;
}

/** How many bytes belong together, and what they are; negative to give up. */
static __always_inline int response_slice(CTX *ctx, struct slot *s, __u64 owner, __u32 offset, __u32 avail)
{
    __u32 dref = owner_lease(owner);
    struct slot *d = dref ? slot_at(dref) : NULL;
    struct listener_counters *c = d ? counters_of_listener(d->stats_id) : NULL;
    int waiting = d && d->remaining;
    __u32 reason;
    s->slice_kind = SLICE_PASS;
    s->slice_reason = FALLBACK_EARLY_RESPONSE;
    /* The request must have left completely, or the next one would follow its rest. */
    if ((owner & OWNER_USER) ||
        (!s->responding && ((waiting && s->protocol != SLOT_HTTP) || !own_settled(ctx, s)))) {
        s->held = 0;
        return pass_on(ctx, s, avail);
    }
    if (!d)
        return refuse(s, owner, avail, FALLBACK_UNSOLICITED, c);
    reason = client_refuses(d, dref, at_most(avail, avail));
    if (reason && !waiting)
        return refuse(s, owner, avail, reason, c);
    if (reason) {
        /* The request's body may be on its way into this socket: giving up would stop it. */
        s->held = 0;
        s->slice_reason = (__u8)reason;
        return at_most(avail, avail);
    }
    if (s->remaining)
        return response_body(ctx, s, owner, offset, avail, c);
    return response_head(ctx, s, owner, offset, avail, waiting, c);
}

/** Looks at a client's word before its programs are taken for busy. */
#ifndef LEASE_LOOKS
#define LEASE_LOOKS 512
#endif

/** Whether the two sides of the lease name each other. While the client's own programs are at
 * work the answer is no: a response that comes before its request has been redirected is none.
 * On another CPU they may be about to end: a fast server's answer finds them there. */
static __always_inline int lease_holds(struct slot *d, __u32 dref, __u32 ref)
{
    __u64 w = 0;
    for (int i = 0; i < LEASE_LOOKS; i++) {
        w = owner_load(d);
        if (!(w & OWNER_BUSY))
            break;
    }
    return owner_gen(w) == ref_gen(dref) && !(w & (OWNER_UP | OWNER_BUSY)) && owner_lease(w) == ref;
}

/** Whether the server has sent more than its response, of which the slice at hand was the end. */
static __always_inline int sent_more(CTX *ctx, const struct slot *s)
{
#ifdef SKEIN_MSG
    return 0; /* Nothing of what is more was redirected. */
#else
    struct socket_view v;
    return view_own(ctx, &v) || v.rcv_nxt != s->expect_seq;
#endif
}

/** The response is complete: the client may ask again, and the connection is idle, unless the
 * server has sent more than the response: then it is nobody's any more. */
static __always_inline void response_complete(CTX *ctx, struct slot *s, struct slot *d)
{
    int more = sent_more(ctx, s);
    forget_pusher(s);
    s->responding = 0;
    uncount(s);
    if (more)
        __sync_fetch_and_or(&s->owner, OWNER_USER);
    lease_clear(d);
    __sync_fetch_and_and(&s->owner, ~(OWNER_LEASE_MASK | OWNER_BUSY));
    if (!more)
        pool_push(s);
}

/** The head of a response was redirected. @return 0 if it is an interim response. */
static __always_inline int response_begins(struct slot *s, const struct slot *d, struct listener_counters *c)
{
    if (s->protocol == SLOT_HTTP && (s->head.flags & HTTP1_F_INTERIM))
        return 0;
    s->responding = 1;
    if (c)
        count_responses(c, d, s, s->replies);
    struct endpoint_counters *e = counters_of_endpoint(s->stats_id);
    if (e)
        e->responses += s->replies;
    return 1;
}

/** Verdict for a slice of an upstream socket. */
static __always_inline int response_verdict(CTX *ctx, struct slot *s, __u32 ref, __u64 old)
{
    __u32 dref = owner_lease(old), len = s->slice_len;
    struct slot *d = dref ? slot_at(dref) : NULL;
    struct listener_counters *c = d ? counters_of_listener(d->stats_id) : NULL;
    if (!d || s->slice_kind == SLICE_PASS) {
        s->early |= !(old & OWNER_USER) && s->slice_reason == FALLBACK_EARLY_RESPONSE;
        return pass(s, old, s->slice_reason, c);
    }
    if (!lease_holds(d, dref, ref))
        return pass(s, old, FALLBACK_STALE_LEASE, c);
    if (s->slice_kind == SLICE_HEAD && edit_head(ctx, s))
        return pass(s, old, FALLBACK_REDIRECT_FAILED, c);
    count_tx(s, d, len);
    if (send_to(ctx, d, dref, len) != SK_PASS) {
        uncount_tx(d, len);
        return pass(s, old, FALLBACK_REDIRECT_FAILED, c);
    }
    slice_gone(s);
    s->expect_seq += len;
    if (c)
        c->response_bytes += len;
    if (s->slice_kind == SLICE_HEAD && !response_begins(s, d, c)) {
        owner_leave(s); /* Interim: another head follows. */
        return SK_PASS;
    }
    if (s->remaining && s->replies > 1) {
        s->run -= s->replies - 1;
        s->replies = 1;
    }
    if (!s->remaining && s->run > s->replies) {
        s->run -= s->replies;
        s->heads >>= 1;
        s->responding = 0;
    } else if (!s->remaining) {
        response_complete(ctx, s, d);
        return SK_PASS;
    }
    owner_leave(s);
    return SK_PASS;
}
