/* Responses: upstream socket -> the downstream socket that holds its lease. */
#pragma once

#include "request.h"

/** Whether nothing is on its way into an upstream socket: then giving up on it loses nothing. */
static __always_inline int request_sent(struct __sk_buff *ctx, struct slot *s, __u64 owner)
{
    struct socket_view v;
    __u32 dref = owner_lease(owner);
    struct slot *d = dref ? slot_at(dref) : NULL;
    return !(d && d->remaining) && !view_own(ctx, &v) && settled(s, &v);
}

/** Why the response in the window does not take the kernel path. Sets `total`. */
static __always_inline int http_response(struct slot *s, __u32 n)
{
    int reason = http1_frame(&s->window, n, HTTP1_RESPONSE, &s->scan, &s->head);
    __u8 flags = s->head.flags;
    if (reason != HTTP1_OK)
        return reason;
    if (s->to_head || (flags & HTTP1_F_NO_BODY))
        s->head.content_length = 0;
    else if (!(flags & HTTP1_F_HAS_LENGTH))
        return HTTP1_UNTIL_CLOSE;
    s->total = s->head.head_len + s->head.content_length;
    return HTTP1_OK;
}

/** Whether the client takes what it gets; userspace has to wait for it otherwise. */
static __always_inline int client_slow(struct slot *d, __u32 dref)
{
    struct socket_view v;
    struct kernel_listener *l = bpf_map_lookup_elem(&listeners, &d->listener);
    if (!l || view_target(dref, &v))
        return 0; /* The verdict finds out more. */
    return d->tx_valid && d->tx_seq - v.write_seq > l->buffer;
}

/** Parser: how many bytes belong together, and what they are; negative to give up. */
static __always_inline int response_slice(struct __sk_buff *ctx, struct slot *s, __u64 owner, __u32 offset,
                                          __u32 avail)
{
    __u32 dref = owner_lease(owner);
    struct slot *d = dref ? slot_at(dref) : NULL;
    struct listener_counters *c = d ? counters_of_listener(d->stats_id) : NULL;
    s->slice_kind = SLICE_PASS;
    s->slice_reason = FALLBACK_EARLY_RESPONSE;
    /* The request must have left completely, or the next one would follow its rest. */
    if ((owner & OWNER_USER) || (!s->responding && !request_sent(ctx, s, owner)))
        return at_most(avail, avail);
    if (!d)
        return give_up(s, owner, FALLBACK_UNSOLICITED, c);
    if (client_slow(d, dref))
        return give_up(s, owner, FALLBACK_DOWNSTREAM_SLOW, c);
    if (s->remaining)
        return body_slice(ctx, s, offset, avail);
    __u32 n = avail < HTTP1_WINDOW ? avail : HTTP1_WINDOW;
    if (n < 1 || bpf_skb_load_bytes(ctx, offset, s->window.bytes, n))
        return give_up(s, owner, FALLBACK_INTERNAL, c);
    int reason = s->protocol == SLOT_REDIS ? redis_reply(s, n) : http_response(s, n);
    if (reason != HTTP1_OK)
        return give_up(s, owner, reason, c);
    n = slice_of(ctx, s, offset, avail, s->total);
    if (!n)
        return give_up(s, owner, FALLBACK_RESP + RESP_FRAME_SYNTAX, c);
    s->slice_kind = SLICE_HEAD;
    return (int)n;
}

/** Whether the two sides of the lease name each other. While the client's own programs are at
 * work the answer is no: a response that comes before its request has been redirected is none. */
static __always_inline int lease_holds(struct slot *d, __u32 dref, __u32 ref)
{
    __u64 w = owner_load(d);
    return owner_gen(w) == ref_gen(dref) && !(w & (OWNER_UP | OWNER_BUSY)) && owner_lease(w) == ref;
}

/** The response is complete: the client may ask again, and the connection is idle, unless the
 * server has sent more than the response: then it is nobody's any more. */
static __always_inline void response_complete(struct __sk_buff *ctx, struct slot *s, struct slot *d)
{
    struct socket_view v;
    int more = view_own(ctx, &v) || v.rcv_nxt != s->expect_seq;
    s->responding = 0;
    uncount(s);
    if (more)
        __sync_fetch_and_or(&s->owner, OWNER_USER);
    lease_clear(d);
    __sync_fetch_and_and(&s->owner, ~(OWNER_LEASE_MASK | OWNER_BUSY));
    if (!more)
        pool_push(s);
}

/** Verdict for a slice of an upstream socket. */
static __always_inline int response_verdict(struct __sk_buff *ctx, struct slot *s, __u32 ref, __u64 old)
{
    struct socket_view v;
    __u32 dref = owner_lease(old);
    struct slot *d = dref ? slot_at(dref) : NULL;
    struct listener_counters *c = d ? counters_of_listener(d->stats_id) : NULL;
    if (!d || s->slice_kind == SLICE_PASS) {
        s->early |= !(old & OWNER_USER);
        return pass(s, old, s->slice_reason, c);
    }
    if (!lease_holds(d, dref, ref))
        return pass(s, old, FALLBACK_STALE_LEASE, c);
    if (view_target(dref, &v))
        return pass(s, old, FALLBACK_TARGET_GONE, c);
    if (!d->tx_valid) {
        d->tx_seq = v.write_seq;
        d->tx_valid = 1;
    }
    __u32 len = s->slice_len, key = ref_index(dref);
    count_tx(d, len);
    if (bpf_sk_redirect_map(ctx, &socks, key, 0) != SK_PASS) {
        uncount_tx(d, len);
        return pass(s, old, FALLBACK_REDIRECT_FAILED, c);
    }
    s->activity++;
    if (s->slice_kind == SLICE_HEAD) {
        s->remaining = s->total;
        s->expect_seq += (__u32)s->remaining;
        s->responding = 1;
        if (c)
            c->responses++;
        struct endpoint_counters *e = counters_of_endpoint(s->stats_id);
        if (e)
            e->responses++;
    }
    if (c)
        c->response_bytes += len;
    s->remaining -= len;
    if (s->remaining)
        owner_leave(s);
    else
        response_complete(ctx, s, d);
    return SK_PASS;
}
