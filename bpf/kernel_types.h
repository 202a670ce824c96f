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

/* include/net/sock.h, include/linux/tcp.h */
struct sock_common {
    volatile unsigned char skc_state;
} CORE;

struct sock {
    struct sock_common __sk_common;
    int sk_wmem_queued;
    int sk_rcvbuf;
    void *sk_user_data;
} CORE;

/* include/net/strparser.h */
struct strparser {
    __u32 stopped : 1;
} CORE;

/* include/linux/skmsg.h; copied_seq came with 6.14, 6.12.17 and 6.1.130. */
struct sk_psock {
    struct strparser strp;
    __u32 copied_seq;
} CORE;

struct inet_sock {
    struct sock sk;
} CORE;

struct inet_connection_sock {
    struct inet_sock icsk_inet;
} CORE;

struct tcp_sock {
    struct inet_connection_sock inet_conn;
    __u32 write_seq;
    __u32 copied_seq;
    __u32 rcv_nxt;
    __u16 urg_data;
} CORE;

#define TCP_STATE_ESTABLISHED 1
#define TCP_STATE_CLOSE       7
#define TCP_STATE_CLOSE_WAIT  8
