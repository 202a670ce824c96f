/* Requests: downstream socket -> leased upstream socket. */
#pragma once

#include "balance.h"
#include "body.h"
#include "redis.h"
#include "route.h"

static __always_inline int over_limit(const struct slot *s, const struct kernel_listener *l)
{
    return s->head.head_len > l->header_bytes || s->head.fields > l->header_count ||
           s->head.target_len > l->target_bytes || (l->body_bytes && s->head.content_length > l->body_bytes);
}

/** Finds the cluster of the framed HTTP request.
 * @return HTTP1_OK, with `total`, `framing` and `cluster` set, or why not. */
static __always_inline int http_cluster(struct slot *s)
{
    s->total = s->head.head_len + s->head.content_length;
    s->framing = s->head.flags & HTTP1_F_CHUNKED ? HTTP1_FRAMED_CHUNKED : HTTP1_FRAMED_LENGTH;
    struct kernel_listener *l = bpf_map_lookup_elem(&listeners, &s->listener);
    if (!l)
        return FALLBACK_INTERNAL;
    if (over_limit(s, l))
        return FALLBACK_LIMIT;
    s->cluster = route(s, l);
    return s->cluster == CLUSTER_USERSPACE ? FALLBACK_NO_ROUTE : HTTP1_OK;
}

/** Frames the HTTP request in the window's first `n` bytes and finds its cluster, as http_cluster() does. */
static __always_inline int http_head(struct slot *s, __u32 n)
{
    int reason = http1_frame(&s->window, n, HTTP1_REQUEST, &s->scan, &s->head);
    return reason == HTTP1_OK ? http_cluster(s) : reason;
}

/** Loads and frames the HTTP request that begins with `n` bytes, and finds where it goes. A client that asks
 * for the same again is recognised by that.
 * @return HTTP1_OK, with endpoint + 1 in `picked`, or why not. */
static __always_inline int http_request(CTX *ctx, struct slot *s, __u32 offset, __u32 n)
{
    int reason;
    if (same_head(ctx, s)) {
        reason = http_cluster(s);
    } else {
        s->framed = 0;
        if (load_bytes(ctx, offset, &s->window, sizeof(s->window), n))
            return FALLBACK_INTERNAL;
        reason = http_head(s, n);
        s->framed =
            IS_MSG && reason == HTTP1_OK && s->total == s->head.head_len && s->framing == HTTP1_FRAMED_LENGTH;
    }
    return reason == HTTP1_OK ? balance(s, s->cluster) : reason;
}

static __always_inline int load_command(CTX *ctx, struct slot *s, __u32 offset, __u32 n, __u32 avail)
{
    if (load_bytes(ctx, offset, &s->window, sizeof(s->window), n))
        return FALLBACK_INTERNAL;
    return redis_request(s, n, avail);
}

/** Whether the framed request may be part of a run: should its connection die, it can be sent again without
 * harm, and nothing of it has to be changed on the way. */
static __always_inline int run_takes(const struct slot *s)
{
    return (s->head.flags & HTTP1_F_SAFE) && !(s->head.flags & (HTTP1_F_EXPECT | HTTP1_F_CHUNKED)) &&
           !s->head.content_length && !s->head.blank_len;
}

/** Requests that a client has pipelined go on together with the first, which is framed: as many as are
 * there, in the window and for the same cluster. The window and the head are the first one's again
 * afterwards; `total`, `run` and `heads` are those of all. A function of its own for the verifier, which
 * looks the slot up because an older verifier takes no argument as a map's key. */
__attribute__((noinline)) int run_walk(CTX *ctx, __u32 index, __u32 offset, __u32 avail)
{
    struct slot *s = bpf_map_lookup_elem(&slots, &index);
    if (!s)
        return -1;
    __u32 at = (__u32)s->total, cluster = s->cluster, heads = s->heads, n;
    int i;
    s->framed = 0;
    for (i = 1; i < RUN_MAX; i++) {
        if (at >= avail || at >= HTTP1_WINDOW)
            break;
        n = avail - at < HTTP1_WINDOW - at ? avail - at : HTTP1_WINDOW - at;
        if (load_bytes(ctx, offset + at, &s->window, sizeof(s->window), n) || http_head(s, n) != HTTP1_OK ||
            s->cluster != cluster || !run_takes(s))
            break;
        heads |= (__u32) !!(s->head.flags & HTTP1_F_HEAD) << i;
        at += s->head.head_len;
    }
    if (load_again(ctx, offset, &s->window, sizeof(s->window), at) ||
        http1_frame(&s->window, at, HTTP1_REQUEST, &s->scan, &s->head) != HTTP1_OK)
        return -1;
    s->framing = HTTP1_FRAMED_LENGTH;
    s->total = at;
    s->run = (__u8)i;
    s->heads = heads;
    return 0;
}

/** The framed request, and what goes on with it. @return HTTP1_OK or why it does not take the kernel path. */
static __always_inline int http_run(CTX *ctx, struct slot *s, __u32 ref, __u32 offset, __u32 avail)
{
    s->heads = !!(s->head.flags & HTTP1_F_HEAD);
    if (avail <= s->total || !run_takes(s) || balance_by_content(s->cluster))
        return HTTP1_OK;
    return run_walk(ctx, ref_index(ref), offset, avail) ? FALLBACK_INTERNAL : HTTP1_OK;
}

/** Parser: the message at hand does not take the kernel path. What strparser holds of it is passed up
 * with the rest; if it holds nothing, the connection is given up. */
static __always_inline int refuse(struct slot *s, __u64 owner, __u32 avail, __u32 reason,
                                  struct listener_counters *c)
{
    if (!IS_MSG && !s->held)
        return give_up(s, owner, reason, c);
    s->held = 0;
    s->slice_kind = SLICE_PASS;
    s->slice_reason = (__u8)reason;
    return at_most(avail, avail);
}

/** How many bytes belong together, and what they are; negative to give up.
 *
 * While a response is outstanding, or not yet sent completely, giving up would destroy it:
 * then bytes that nobody expects are passed up instead. */
static __always_inline int request_slice(CTX *ctx, struct slot *s, __u32 ref, __u64 owner, __u32 offset,
                                         __u32 avail)
{
    struct listener_counters *c = counters_of_listener(s->stats_id);
    struct kernel_listener *l = bpf_map_lookup_elem(&listeners, &s->listener);
    __u64 limit = l ? l->body_bytes : 0;
    s->slice_kind = SLICE_PASS;
    s->slice_reason = FALLBACK_PIPELINED;
    if (owner & OWNER_USER)
        goto pass;
    if (s->remaining)
        return body_slice(ctx, s, offset, avail, limit);
    /* While a request is outstanding its head stays in the window, for a retry. */
    if (owner_lease(owner) || !own_settled(ctx, s))
        goto pass;
    __u32 n = avail < HTTP1_WINDOW ? avail : HTTP1_WINDOW;
    s->picked = 0;
    s->framing = HTTP1_FRAMED_LENGTH;
    s->run = 1;
    int reason =
        s->protocol == SLOT_REDIS ? load_command(ctx, s, offset, n, avail) : http_request(ctx, s, offset, n);
    if (reason == HTTP1_MORE && s->protocol == SLOT_HTTP && !hold(s, avail))
        return 0;
    if (reason == HTTP1_OK)
        reason = s->protocol == SLOT_REDIS ? redis_run(s, ref, avail) : http_run(ctx, s, ref, offset, avail);
    if (reason != HTTP1_OK)
        return refuse(s, owner, avail, reason, c);
    n = slice_of(ctx, s, offset, avail, message_head(s));
    if (!n || chunks_over(s, limit))
        return refuse(s, owner, avail, n ? FALLBACK_LIMIT : FALLBACK_RESP + RESP_FRAME_SYNTAX, c);
    s->held = 0;
    s->window_len = n < HTTP1_WINDOW ? n : HTTP1_WINDOW;
    s->slice_kind = SLICE_HEAD;
    return (int)n;
pass:
    s->held = 0;
    return pass_on(ctx, s, avail);
}

static __always_inline int request_body(CTX *ctx, struct slot *s, __u64 old, const struct kernel_listener *l,
                                        struct listener_counters *c)
{
    struct socket_view v;
    __u32 uref = owner_lease(old), len = s->slice_len;
    struct slot *u = uref ? slot_at(uref) : NULL;
    if (!u)
        return pass(s, old, FALLBACK_STALE_LEASE, c);
    if (view_target(u, uref, &v))
        return pass(s, old, FALLBACK_TARGET_GONE, c);
    if (target_full(u, &v, len, l->buffer))
        return pass(s, old, FALLBACK_UPSTREAM_SLOW, c);
    count_tx(s, u, len);
    if (send_to(ctx, u, uref, len) != SK_PASS) {
        uncount_tx(u, len);
        return pass(s, old, FALLBACK_REDIRECT_FAILED, c);
    }
    slice_gone(s);
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

static __always_inline int request_head(CTX *ctx, struct slot *s, __u32 ref, __u64 old,
                                        struct listener_counters *c)
{
    struct socket_view v;
    __u32 endpoint = s->picked - 1;
    __u32 uref = pool_lease(pool_of(s, endpoint), ref);
    if (!uref)
        return pass(s, old, FALLBACK_NO_UPSTREAM, c);
    struct slot *u = slot_at(uref);
    if (!u)
        return pass(s, old, FALLBACK_INTERNAL, c);
    /* A connection that is not settled although idle is broken, and one whose server has closed its
     * side gives no response: the daemon hears of it by its own event, and here it is not used. */
    if (view_target(u, uref, &v) || v.state != TCP_STATE_ESTABLISHED || !settled_soon(s, u, &v))
        return request_give_back(s, u, old, FALLBACK_TARGET_GONE, c);
    __u32 len = s->slice_len;
    if (IS_MSG && target_full(u, &v, len, len))
        return request_give_back(s, u, old, FALLBACK_UPSTREAM_SLOW, c);
    /* Something came since it became idle, and its parser has not seen it yet: no answer to this request.
     * An application that sends something then is not leased any more. */
    if (!is_local(u) && u->redirected && v.rcv_nxt != u->expect_seq) {
        uncount(u);
        pool_hide(u);
        lease_clear(u);
        return pass(s, old, FALLBACK_UNSOLICITED, c);
    }
    if (edit_head(ctx, s))
        return request_give_back(s, u, old, FALLBACK_REDIRECT_FAILED, c);
    u->run = s->run;
    u->heads = s->heads;
    u->responding = 0;
    u->remaining = 0;
    if (!is_local(u))
        u->expect_seq = v.rcv_nxt;
    count_tx(s, u, len);
    slice_gone(s);
    __sync_fetch_and_or(&s->owner, lease_bits(uref));
    if (send_to(ctx, u, uref, len) != SK_PASS) {
        uncount_tx(u, len);
        s->remaining = 0;
        lease_clear(s);
        return request_give_back(s, u, old, FALLBACK_REDIRECT_FAILED, c);
    }
    s->picked = 0;
    if (c) {
        count_requests(c, s, u);
        c->request_bytes += len;
    }
    struct endpoint_counters *e = counters_of_endpoint(endpoint);
    if (e)
        e->requests[quadrant(s, u) % QUADRANTS] += s->run;
    owner_leave(s);
    return SK_PASS;
}

/** Verdict for a slice of a downstream socket. */
static __always_inline int request_verdict(CTX *ctx, struct slot *s, __u32 ref, __u64 old)
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
