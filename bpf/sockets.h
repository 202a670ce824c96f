/* Looking at sockets by their address, from another's program: SK_MSG programs can look none up. What is
 * there may be another one by now, or none: a socket's cookie, read last, tells whose the other fields were.
 */
#pragma once

#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "kernel_types.h"
#include "skein/slot.h"

#ifdef SKEIN_MSG

/* Makes an address one that is read from by plain loads, which give 0 where there is no memory. Since Linux
 * 6.2; these programs need more than 6.1 anyway. */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym;

/** A kernel's structure of that type at an address, for READ(). */
#define KERNEL_AT(type, address) ((type *)bpf_rdonly_cast((void *)(address), bpf_core_type_id_kernel(type)))

/** A field of the structure at `at`, of KERNEL_AT(). */
#define READ_AS(type, at, field) (*(volatile type *)&(at)->field)

#else

#define KERNEL_AT(type, address) ((type *)(address))

#define READ_AS(type, at, field)                                                                             \
    ({                                                                                                       \
        type _value = 0;                                                                                     \
        bpf_core_read(&_value, sizeof(_value), &(at)->field);                                                \
        _value;                                                                                              \
    })

#endif

#define READ(at, field) READ_AS(typeof((at)->field), at, field)

/** What is read before is read before what follows. An x86 keeps loads in their order by itself. */
static __always_inline void read_in_order(void)
{
#ifdef __TARGET_ARCH_x86
    asm volatile("" ::: "memory");
#else
    __u64 here = 0, before = __sync_fetch_and_add(&here, 1);
    HTTP1_OPAQUE(before);
#endif
}

/** What a program needs to know of a socket before it writes there, or claims to have: of one that sends on
 * what it is given, or of an application's, whose reader gets it. */
struct socket_view {
    __u32 state;
    __u32 write_seq; /**< TCP sequence number after the last byte in TCP's send queue. */
    __u32 rcv_nxt;   /**< TCP sequence number after the last byte received. */
    __u32 room;      /**< What the send queue takes before a sender has to wait, */
    __u32 segment;   /**< in segments of that many bytes or more. */
    __u32 urgent;    /**< Not 0 while urgent data is around: view() alone tells. */
    __u32 rcvbuf;    /**< Memory that may be held by the receive queue; of an application, if `unread`. */
    __u32 unread;    /**< Application: bytes in the queues of its reader, and on their way there past TCP. */
    __u32 ports;     /**< Application: as the slot's `app_ports`. */
};

static __always_inline int view(void *sk, struct socket_view *v)
{
    struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
    if (!tp)
        return -1;
    v->write_seq = tp->write_seq;
    v->rcv_nxt = tp->rcv_nxt;
    v->urgent = tp->urg_data;
    v->rcvbuf = (__u32)tp->inet_conn.icsk_inet.sk.sk_rcvbuf;
    v->state = tp->inet_conn.icsk_inet.sk.__sk_common.skc_state;
    return 0;
}

/** References to a connected socket that nobody is at work with; the daemon measures it. */
volatile __u32 app_refs;

/** Skbs that wait for the work queue to put them into the socket's queue. */
static __always_inline __u32 waiting_skbs(struct tcp_sock *tp)
{
    __u64 address = (__u64)READ(tp, inet_conn.icsk_inet.sk.sk_user_data);
    struct sk_psock *psock = KERNEL_AT(struct sk_psock, address & ~7ULL); /* The rest are flags. */
    return READ(psock, ingress_skb.qlen);
}

static __always_inline __u64 cookie_of(struct tcp_sock *tp)
{
    return READ(tp, inet_conn.icsk_inet.sk.__sk_common.skc_cookie.counter);
}

/** Looks at the socket that sends on what is redirected to it. A function of its own for the verifier.
 * @return 0, or -1 if the socket at that address is not the one with that cookie. */
__attribute__((noinline)) int peek(__u64 address, __u64 cookie, struct socket_view *v)
{
    struct tcp_sock *tp = KERNEL_AT(struct tcp_sock, address);
    if (!v || !address)
        return -1;
    v->write_seq = READ(tp, write_seq);
    v->rcv_nxt = READ(tp, rcv_nxt);
    v->segment = READ(tp, mss_cache);
    int room = READ(tp, inet_conn.icsk_inet.sk.sk_sndbuf) - READ(tp, inet_conn.icsk_inet.sk.sk_wmem_queued);
    v->room = room > 0 ? room : 0;
    v->state = READ_AS(__u8, tp, inet_conn.icsk_inet.sk.__sk_common.skc_state);
    return cookie_of(tp) == cookie ? 0 : -1;
}

/** The same for an application's socket, whose reader gets what is redirected to it: only what that takes,
 * for each look at a socket that is in use elsewhere costs that other CPU time. */
__attribute__((noinline)) int peek_reader(__u64 address, __u64 cookie, struct socket_view *v)
{
    struct tcp_sock *tp = KERNEL_AT(struct tcp_sock, address);
    if (!v || !address)
        return -1;
    v->unread = READ(tp, inet_conn.icsk_inet.sk.sk_backlog.rmem_alloc.counter) + waiting_skbs(tp) * SLICE_MAX;
    v->rcvbuf = v->unread ? READ(tp, inet_conn.icsk_inet.sk.sk_rcvbuf) : 0;
    v->ports = READ(tp, inet_conn.icsk_inet.sk.__sk_common.skc_portpair);
    v->state = READ_AS(__u8, tp, inet_conn.icsk_inet.sk.__sk_common.skc_state);
    return cookie_of(tp) == cookie ? 0 : -1;
}

/* The timers that have had two names, by either. Not inlined: what a kernel does not have must not be looked
 * at before it is asked whether it has it. */
static __attribute__((noinline)) int new_retransmit_ref(__u64 address)
{
    struct sock___renamed *sk = KERNEL_AT(struct sock___renamed, address);
    return !!READ(sk, tcp_retransmit_timer.entry.pprev);
}

static __attribute__((noinline)) int old_retransmit_ref(__u64 address)
{
    struct inet_connection_sock *icsk = KERNEL_AT(struct inet_connection_sock, address);
    return !!READ(icsk, icsk_retransmit_timer.entry.pprev);
}

static __attribute__((noinline)) int new_keepalive_ref(__u64 address)
{
    struct inet_connection_sock___renamed *icsk = KERNEL_AT(struct inet_connection_sock___renamed, address);
    return !!READ(icsk, icsk_keepalive_timer.entry.pprev);
}

static __attribute__((noinline)) int old_keepalive_ref(__u64 address)
{
    struct inet_connection_sock *icsk = KERNEL_AT(struct inet_connection_sock, address);
    return !!READ(icsk, icsk_inet.sk.sk_timer.entry.pprev);
}

/** References that the socket's timers hold (sk_reset_timer()). */
static __always_inline int timer_refs(struct tcp_sock *tp)
{
    struct inet_connection_sock___renamed *renamed = NULL;
    __u64 address = (__u64)tp;
    int n = !!READ(tp, inet_conn.icsk_delack_timer.entry.pprev);
    n += bpf_core_field_exists(tp->inet_conn.icsk_retransmit_timer) ? old_retransmit_ref(address)
                                                                    : new_retransmit_ref(address);
    n += bpf_core_field_exists(renamed->icsk_keepalive_timer) ? new_keepalive_ref(address)
                                                              : old_keepalive_ref(address);
    return n;
}

static __always_inline int refs_of(struct tcp_sock *tp)
{
    return READ_AS(int, tp, inet_conn.icsk_inet.sk.__sk_common.skc_refcnt.refs.counter);
}

/** Whether somebody is at work with a socket, if it is still there: a program that it runs has not ended
 * before. */
static __always_inline int is_locked(__u64 address, __u64 cookie)
{
    struct tcp_sock *tp = KERNEL_AT(struct tcp_sock, address);
    int owned = READ(tp, inet_conn.icsk_inet.sk.sk_lock.owned);
    __u32 spinning = READ_AS(__u32, tp, inet_conn.icsk_inet.sk.sk_lock.slock);
    return (owned || spinning) && cookie_of(tp) == cookie;
}

/** Whether nothing is on its way past TCP into the queue of a socket, from the one (`pusher`; 0: none) that
 * has redirected into it last. That one's lock is held from before its program until the kernel has taken a
 * reference to the target, which is kept until what was redirected is there (net/core/skmsg.c,
 * sk_psock_msg_verdict(); net/ipv4/tcp_bpf.c, tcp_bpf_send_verdict()). A function of its own for the
 * verifier. */
__attribute__((noinline)) int quiet(__u64 address, __u64 pusher, __u64 cookie)
{
    struct tcp_sock *tp = KERNEL_AT(struct tcp_sock, address);
    if (pusher && is_locked(pusher, cookie))
        return 0;
    read_in_order();
    int refs = refs_of(tp);
    return refs == (int)app_refs + timer_refs(tp) && !waiting_skbs(tp) && refs == refs_of(tp);
}
