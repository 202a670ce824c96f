/* Requests: downstream socket -> leased upstream socket. */
#pragma once

#include "balance.h"
#include "redis.h"
#include "route.h"

static __always_inline int over_limit(const struct slot *s, const struct kernel_listener *l)
{
    return s->head.head_len > l->header_bytes || s->head.fields > l->header_count ||
           s->head.target_len > l->target_bytes || (l->body_bytes && s->head.content_length > l->body_bytes);
}

/** Frames the HTTP request in the window's first `n` bytes.
 * @return HTTP1_OK, with `total` set and endpoint + 1 in `picked`, or why not. */
static __always_inline int http_request(struct slot *s, __u32 n)
{
    int reason = http1_frame(&s->window, n, HTTP1_REQUEST, &s->scan, &s->head);
    if (reason != HTTP1_OK)
        return reason;
    s->total = s->head.head_len + s->head.content_length;
    struct kernel_listener *l = bpf_map_lookup_elem(&listeners, &s->listener);
    if (!l)
        return FALLBACK_INTERNAL;
    if (over_limit(s, l))
        return FALLBACK_LIMIT;
    __u32 cluster = route(s, l);
    return cluster == CLUSTER_USERSPACE ? FALLBACK_NO_ROUTE : balance(s, cluster);
}

static __always_inline __u32 at_most(__u32 avail, __u64 len)
{
    __u32 n = avail < SLICE_MAX ? avail : SLICE_MAX;
    return n < len ? n : (__u32)len;
}

/** How many of `avail` bytes at `offset` go on together, of a message of which `left` bytes are still
 * to come. A RESP message ends with CRLF: that stays together, so that it can be looked at; 0 if it
 * is not there. */
static __always_inline __u32 slice_of(struct __sk_buff *ctx, const struct slot *s, __u32 offset, __u32 avail,
                                      __u64 left)
{
    __u32 n = at_most(avail, left);
    __u8 end[2];
    if (s->protocol != SLOT_REDIS)
        return n;
    if (left - n == 1)
        return n - 1;
    if (n < left)
        return n;
    if (n < 2 || bpf_skb_load_bytes(ctx, offset + n - 2, end, sizeof(end)) || end[0] != '\r' ||
        end[1] != '\n')
        return 0;
    return n;
}

/** Body bytes of the message at hand: redirected, or passed if they can not be. */
static __always_inline int body_slice(struct __sk_buff *ctx, struct slot *s, __u32 offset, __u32 avail)
{
    __u32 n = slice_of(ctx, s, offset, avail, s->remaining);
    if (!n) {
        s->slice_kind = SLICE_PASS;
        s->slice_reason = FALLBACK_RESP + (avail < 2 ? RESP_FRAME_PARTIAL : RESP_FRAME_SYNTAX);
        return at_most(avail, avail);
    }
    s->slice_kind = SLICE_BODY;
    return (int)n;
}

/** Parser: how many bytes belong together, and what they are; negative to give up.
 *
 * While a response is outstanding, or not yet sent completely, giving up would destroy it:
 * then bytes that nobody expects are passed up instead. */
static __always_inline int request_slice(struct __sk_buff *ctx, struct slot *s, __u64 owner, __u32 offset,
                                         __u32 avail)
{
    struct socket_view v;
    struct listener_counters *c = counters_of_listener(s->stats_id);
    s->slice_kind = SLICE_PASS;
    s->slice_reason = FALLBACK_PIPELINED;
    if (owner & OWNER_USER)
        return at_most(avail, avail);
    if (s->remaining)
        return body_slice(ctx, s, offset, avail);
    /* While a request is outstanding its head stays in the window, for a retry. */
    if (owner_lease(owner) || view_own(ctx, &v) || !settled(s, &v))
        return at_most(avail, avail);
    __u32 n = avail < HTTP1_WINDOW ? avail : HTTP1_WINDOW;
    s->picked = 0;
    if (n < 1 || bpf_skb_load_bytes(ctx, offset, s->window.bytes, n))
        return give_up(s, owner, FALLBACK_INTERNAL, c);
    int reason = s->protocol == SLOT_REDIS ? redis_request(s, n, avail) : http_request(s, n);
    if (reason != HTTP1_OK)
        return give_up(s, owner, reason, c);
    n = slice_of(ctx, s, offset, avail, s->total);
    if (!n)
        return give_up(s, owner, FALLBACK_RESP + RESP_FRAME_SYNTAX, c);
    s->window_len = n < HTTP1_WINDOW ? n : HTTP1_WINDOW;
    s->slice_kind = SLICE_HEAD;
    return (int)n;
}

/** Counts bytes on their way into a socket. Before the redirect, so that whoever waits for
 * the count never sees less than what is under way. */
static __always_inline void count_tx(struct slot *target, __u32 len)
{
    target->redirected += len;
    target->tx_seq += len;
    target->activity++;
}

static __always_inline void uncount_tx(struct slot *target, __u32 len)
{
    target->redirected -= len;
    target->tx_seq -= len;
}

static __always_inline int request_body(struct __sk_buff *ctx, struct slot *s, __u64 old,
                                        const struct kernel_listener *l, struct listener_counters *c)
{
    struct socket_view v;
    __u32 uref = owner_lease(old);
    struct slot *u = uref ? slot_at(uref) : NULL;
    if (!u)
        return pass(s, old, FALLBACK_STALE_LEASE, c);
    if (view_target(uref, &v))
        return pass(s, old, FALLBACK_TARGET_GONE, c);
    if (u->tx_seq - v.write_seq > l->buffer)
        return pass(s, old, FALLBACK_UPSTREAM_SLOW, c);
    __u32 len = s->slice_len, key = ref_index(uref);
    count_tx(u, len);
    if (bpf_sk_redirect_map(ctx, &socks, key, 0) != SK_PASS) {
        uncount_tx(u, len);
        return pass(s, old, FALLBACK_REDIRECT_FAILED, c);
    }
    s->remaining -= len;
    s->activity++;
    if (c)
        c->request_bytes += len;
    owner_leave(s);
    return SK_PASS;
}

/** Undoes a lease that nothing was sent on, and gives the request to userspace. */
static __always_inline int request_give_back(struct slot *s, struct slot *u, __u64 old, __u32 reason,
                                             struct listener_counters *c)
{
    uncount(u);
    lease_clear(u);
    pool_push(u);
    return pass(s, old, reason, c);
}

static __always_inline int request_head(struct __sk_buff *ctx, struct slot *s, __u32 ref, __u64 old,
                                        struct listener_counters *c)
{
    struct socket_view v;
    __u32 endpoint = s->picked - 1;
    __u32 uref = pool_lease(endpoint, s->pool, ref, s->counted);
    if (!uref)
        return pass(s, old, FALLBACK_NO_UPSTREAM, c);
    struct slot *u = slot_at(uref);
    if (!u)
        return pass(s, old, FALLBACK_INTERNAL, c);
    /* A connection that is not settled although idle is broken, and one whose server has closed its
     * side gives no response: the daemon hears of it by its own event, and here it is not used. */
    if (view_target(uref, &v) || v.state != TCP_STATE_ESTABLISHED || !settled(u, &v))
        return request_give_back(s, u, old, FALLBACK_TARGET_GONE, c);
    __u32 len = s->slice_len, key = ref_index(uref);
    u->to_head = s->protocol == SLOT_HTTP && (s->head.flags & HTTP1_F_HEAD);
    u->responding = 0;
    u->remaining = 0;
    u->expect_seq = v.rcv_nxt;
    count_tx(u, len);
    s->remaining = s->total - len;
    __sync_fetch_and_or(&s->owner, lease_bits(uref));
    if (bpf_sk_redirect_map(ctx, &socks, key, 0) != SK_PASS) {
        uncount_tx(u, len);
        s->remaining = 0;
        lease_clear(s);
        return request_give_back(s, u, old, FALLBACK_REDIRECT_FAILED, c);
    }
    s->activity++;
    s->picked = 0;
    if (c) {
        c->requests++;
        c->request_bytes += len;
    }
    struct endpoint_counters *e = counters_of_endpoint(endpoint);
    if (e)
        e->requests++;
    owner_leave(s);
    return SK_PASS;
}

/** Verdict for a slice of a downstream socket. */
static __always_inline int request_verdict(struct __sk_buff *ctx, struct slot *s, __u32 ref, __u64 old)
{
    struct listener_counters *c = counters_of_listener(s->stats_id);
    if (s->slice_kind == SLICE_PASS)
        return pass(s, old, s->slice_reason, c);
    if (s->slice_kind == SLICE_HEAD)
        return request_head(ctx, s, ref, old, c);
    struct kernel_listener *l = bpf_map_lookup_elem(&listeners, &s->listener);
    if (!l)
        return pass(s, old, FALLBACK_INTERNAL, c);
    return request_body(ctx, s, old, l, c);
}
