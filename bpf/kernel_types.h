/*
 * The few kernel structures the programs look into, relocated at load time (CO-RE), so
 * that building needs no kernel headers and no BTF of the build machine.
 */
#pragma once

#include <linux/types.h>

#define CORE __attribute__((preserve_access_index))

/* include/net/strparser.h */
struct strp_msg {
    int full_len;
    int offset;
} CORE;

struct _strp_msg {
    struct strp_msg strp;
} CORE;

struct sk_skb_cb {
    struct _strp_msg strp;
} CORE;

/* include/linux/skbuff.h */
struct sk_buff {
    char cb[48];
} CORE;

struct sk_buff_head {
    __u32 qlen;
} CORE;

typedef struct {
    int counter;
} atomic_t;

/* include/linux/timer.h */
struct hlist_node {
    struct hlist_node **pprev;
} CORE;

struct timer_list {
    struct hlist_node entry;
} CORE;

/* include/linux/cgroup-defs.h */
struct kernfs_node {
    __u64 id;
} CORE;

struct cgroup_subsys_state {
    struct cgroup_subsys_state *parent;
} CORE;

struct cgroup {
    struct cgroup_subsys_state self; /* First: a css of the cgroup itself is the cgroup. */
    struct kernfs_node *kn;
} CORE;

struct sock_cgroup_data {
    struct cgroup *cgroup;
} CORE;

/* include/net/sock.h, include/linux/tcp.h */
struct sock_common {
    __u32 skc_portpair;
    volatile unsigned char skc_state;
    struct {
        struct {
            volatile int counter;
        } refs;
    } skc_refcnt;
    struct {
        __u64 counter;
    } skc_cookie;
    struct sock *skc_listener;
    unsigned long skc_flags;
} CORE;

/* What a caller in a system call and one in a softirq hold. */
typedef struct {
    struct {
        __u32 word; /* 0 while it is free. */
    } slock;
    int owned;
} CORE socket_lock_t;

struct sock {
    struct sock_common __sk_common;
    socket_lock_t sk_lock;
    struct {
        atomic_t rmem_alloc;
    } sk_backlog;
    int sk_wmem_queued;
    int sk_rcvbuf;
    int sk_sndbuf;
    int sk_rcvlowat;
    struct timer_list sk_timer;
    struct sock_cgroup_data sk_cgrp_data;
    void *sk_user_data;
} CORE;

/* include/net/request_sock.h, include/net/inet_sock.h, include/linux/tcp.h: a connection that is not yet
 * established. */
struct request_sock {
    struct sock_common __req_common;
} CORE;

struct inet_request_sock {
    struct request_sock req;
} CORE;

struct tcp_request_sock {
    struct inet_request_sock req;
    __u32 rcv_isn;
    __u32 snt_isn;
} CORE;

/* include/linux/filter.h */
struct bpf_sock_ops_kern {
    struct sock *sk;
} CORE;

/* include/net/strparser.h */
struct strparser {
    __u32 stopped : 1;
} CORE;

/* include/linux/skmsg.h; copied_seq came with 6.14, 6.12.17 and 6.1.130. */
struct sk_psock {
    struct strparser strp;
    __u32 copied_seq;
    struct sk_buff_head ingress_skb;
} CORE;

/* include/linux/net.h */
struct socket {
    struct sock *sk;
} CORE;

/* include/linux/skmsg.h: what struct sk_msg_md is. */
struct sk_msg {
    struct sock *sk_redir;
} CORE;

struct inet_sock {
    struct sock sk;
} CORE;

struct inet_connection_sock {
    struct inet_sock icsk_inet;
    struct timer_list icsk_retransmit_timer;
    struct timer_list icsk_delack_timer;
} CORE;

/* After 6.18 the timers have other names; in 6.12.117 one of them has. */
struct sock___renamed {
    struct timer_list tcp_retransmit_timer;
} CORE;

struct inet_connection_sock___renamed {
    struct timer_list icsk_keepalive_timer;
} CORE;

struct tcp_sock {
    struct inet_connection_sock inet_conn;
    __u32 write_seq;
    __u32 copied_seq;
    __u32 rcv_nxt;
    __u32 mss_cache;
    __u16 urg_data;
    __u8 is_mptcp;
} CORE;

/* include/linux/sched.h */
struct task_struct {
    unsigned int flags;
    void *io_uring; /**< Not NULL once it has used that. */
} CORE;

#define PF_IO_WORKER 0x10

/* arch/x86/include/asm/ptrace.h: a system call's number and arguments. */
struct pt_regs {
    unsigned long r10;
    unsigned long dx;
    unsigned long orig_ax;
} CORE;

#define TCP_STATE_ESTABLISHED 1
#define TCP_STATE_FIN_WAIT1   4
#define TCP_STATE_FIN_WAIT2   5
#define TCP_STATE_CLOSE       7
#define TCP_STATE_CLOSE_WAIT  8

/* Of skc_flags; its number is the kernel's. */
enum sock_flags {
    SOCK_ZEROCOPY,
};

/* enum sock_flags: the application has closed it. */
#define SOCK_FLAG_DEAD (1UL << 0)
