/* What the programs read from their context and from sockets. */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "kernel_types.h"
#include "maps.h"

/** Where the strparser message starts inside the skb (net/strparser/strparser.c keeps it in
 * the control block, out of the reach of the context's own fields). */
static __always_inline int message_offset(struct __sk_buff *ctx, __u32 *offset)
{
    __u32 at =
        bpf_core_field_offset(struct sk_buff, cb) + bpf_core_field_offset(struct sk_skb_cb, strp.strp.offset);
    return bpf_probe_read_kernel(offset, sizeof(*offset), (void *)ctx + at);
}

/** Copies `n` bytes at `offset`, 1 to `max` of them, for a look.
 *
 * An older verifier does not see that a checked length and the one that is used are the same
 * value, and takes lengths that may be 0 for none: so one opaque value is checked and used.
 * @return 0 or an error. */
static __always_inline int load_bytes(struct __sk_buff *ctx, __u32 offset, void *to, __u32 max, __u32 n)
{
    n -= 1;
    HTTP1_OPAQUE(n);
    if (n >= max)
        return -1;
    return bpf_skb_load_bytes(ctx, offset, to, n + 1);
}

/** The slot of the program's own socket, NULL if it has none (any more). */
static __always_inline struct slot *own_slot(struct __sk_buff *ctx, __u32 *ref)
{
    __u32 zero = 0;
    struct at_work *w = bpf_map_lookup_elem(&at_work, &zero);
    __u64 cookie = bpf_get_socket_cookie(ctx);
    __u32 *found = bpf_map_lookup_elem(&cookies, &cookie);
    if (!found || !w)
        return NULL;
    *ref = *found;
    w->cookie = cookie;
    w->ref = *found;
    __u32 index = ref_index(*ref);
    return bpf_map_lookup_elem(&slots, &index);
}

/** The same in a verdict, which mostly runs right behind its socket's parser: that has left it where it
 * need not be looked up again. Not if another parser ran in between, or if the verdict was moved to a CPU
 * where the socket was seen last in an earlier life. */
static __always_inline struct slot *parsed_slot(struct __sk_buff *ctx, __u32 *ref)
{
    __u32 zero = 0;
    struct at_work *w = bpf_map_lookup_elem(&at_work, &zero);
    __u64 cookie = bpf_get_socket_cookie(ctx);
    if (!w || w->cookie != cookie)
        return own_slot(ctx, ref);
    *ref = w->ref;
    __u32 index = ref_index(*ref);
    struct slot *s = bpf_map_lookup_elem(&slots, &index);
    if (!s || s->cookie != cookie || owner_gen(*(volatile __u64 *)&s->owner) != ref_gen(*ref))
        return own_slot(ctx, ref);
    return s;
}

static __always_inline struct slot *slot_at(__u32 ref)
{
    __u32 index = ref_index(ref);
    return bpf_map_lookup_elem(&slots, &index);
}

/** What a verdict needs to know of a socket before it writes there, or claims to have. */
struct socket_view {
    __u32 write_seq; /**< TCP sequence number after the last byte in TCP's send queue. */
    __u32 rcv_nxt;   /**< TCP sequence number after the last byte received. */
    __u32 queued;    /**< Memory held by the send queue. */
    __u32 rcvbuf;    /**< Memory that may be held by the receive queue. */
    __u32 state;
    __u32 urgent; /**< Not 0 while urgent data is around. */
};

static __always_inline int view(void *sk, struct socket_view *v)
{
    struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
    if (!tp)
        return -1;
    v->write_seq = tp->write_seq;
    v->rcv_nxt = tp->rcv_nxt;
    v->urgent = tp->urg_data;
    v->queued = (__u32)tp->inet_conn.icsk_inet.sk.sk_wmem_queued;
    v->rcvbuf = (__u32)tp->inet_conn.icsk_inet.sk.sk_rcvbuf;
    v->state = tp->inet_conn.icsk_inet.sk.__sk_common.skc_state;
    return 0;
}

static __always_inline int view_own(struct __sk_buff *ctx, struct socket_view *v)
{
    return ctx->sk ? view(ctx->sk, v) : -1;
}

/** @return -1 if no socket is there or it can not be written to any more. */
static __always_inline int view_target(__u32 ref, struct socket_view *v)
{
    __u32 index = ref_index(ref);
    struct bpf_sock *sk = bpf_map_lookup_elem(&socks, &index);
    if (!sk)
        return -1;
    int r = view(sk, v);
    bpf_sk_release(sk);
    if (r || (v->state != TCP_STATE_ESTABLISHED && v->state != TCP_STATE_CLOSE_WAIT))
        return -1;
    return 0;
}

/** Whether everything that was redirected into the socket is in TCP's send queue. The first
 * look after userspace has written takes TCP's word for it: userspace hands a connection
 * over only when its own bytes are there. */
static __always_inline int settled(struct slot *s, const struct socket_view *v)
{
    if (!s->tx_valid) {
        s->tx_seq = v->write_seq;
        s->tx_valid = 1;
    }
    return s->tx_seq == v->write_seq;
}
