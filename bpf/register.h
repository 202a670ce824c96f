/* Which sockets of this host are the other ends of skein's connections; skein/bypass.h says how that is
 * found. */
#pragma once

#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

#include "access.h"
#include "skein/bypass.h"

/* Connections that are being established. */
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 16384);
    __type(key, struct bypass_tuple);
    __type(value, struct bypass_note);
} notes SEC(".maps");

/* By the cookie of the daemon's socket. */
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1);
    __type(key, __u64);
    __type(value, struct bypass_link);
} links SEC(".maps");

/* Listening sockets of the daemon, and sockets that it is about to connect (1: a server that accepts them is
 * to be registered, 0: it is not), by cookie. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, __u64);
    __type(value, __u32);
} our_listeners SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 4096);
    __type(key, __u64);
    __type(value, __u32);
} our_connects SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_SK_STORAGE);
    __uint(map_flags, BPF_F_NO_PREALLOC);
    __type(key, int);
    __type(value, struct bypass_end);
} ends SEC(".maps");

/* Cgroups whose processes are left alone, by id: twice as many as can be configured, for a change. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 128);
    __type(key, __u64);
    __type(value, __u32);
} excepted SEC(".maps");

/* Set by the daemon: not 0 if there may be cgroups in `excepted`. */
volatile __u32 exceptions;

/** Levels of a cgroup's ancestors that are looked at; deeper ones are left alone where others are excepted.
 */
#define CGROUP_LEVELS 16

#define FAMILY_INET6 10

/* Keeps the compiler from computing an address inside of the context, which the verifier refuses. */
#define FIELD(value)                                                                                         \
    ({                                                                                                       \
        __u32 _field = (value);                                                                              \
        HTTP1_OPAQUE(_field);                                                                                \
        _field;                                                                                              \
    })

/** The connection as its tuple, of which the context's socket is the client or the server. */
static __always_inline void tuple_of(struct bpf_sock_ops *ctx, int client, struct bypass_tuple *t)
{
    __u32 local[4] = {}, remote[4] = {};
    __u32 local_port = FIELD(ctx->local_port), remote_port = bpf_ntohl(FIELD(ctx->remote_port));
    if (ctx->family == FAMILY_INET6) {
        local[0] = FIELD(ctx->local_ip6[0]);
        local[1] = FIELD(ctx->local_ip6[1]);
        local[2] = FIELD(ctx->local_ip6[2]);
        local[3] = FIELD(ctx->local_ip6[3]);
        remote[0] = FIELD(ctx->remote_ip6[0]);
        remote[1] = FIELD(ctx->remote_ip6[1]);
        remote[2] = FIELD(ctx->remote_ip6[2]);
        remote[3] = FIELD(ctx->remote_ip6[3]);
    } else {
        local[3] = FIELD(ctx->local_ip4);
        remote[3] = FIELD(ctx->remote_ip4);
    }
    /* One end may be an IPv6 socket that speaks IPv4. */
    if (!local[0] && !local[1] && local[2] == bpf_htonl(0xffff))
        local[2] = 0;
    if (!remote[0] && !remote[1] && remote[2] == bpf_htonl(0xffff))
        remote[2] = 0;
    for (int i = 0; i < 4; i++) {
        t->client[i] = client ? local[i] : remote[i];
        t->server[i] = client ? remote[i] : local[i];
    }
    t->client_port = client ? local_port : remote_port;
    t->server_port = client ? remote_port : local_port;
}

/** SYN at a listening socket: if it is the daemon's, whoever sent it on this host is to be registered. */
static __always_inline void note_syn(struct bpf_sock_ops *ctx)
{
    struct bypass_tuple t = {};
    struct bypass_note note = {};
    struct tcp_request_sock *req = NULL;
    struct sock *listener = NULL;
    __u64 cookie = 0;
    bpf_probe_read_kernel(&req, sizeof(req),
                          (void *)ctx + bpf_core_field_offset(struct bpf_sock_ops_kern, sk));
    bpf_core_read(&listener, sizeof(listener), &req->req.req.__req_common.skc_listener);
    bpf_core_read(&cookie, sizeof(cookie), &listener->__sk_common.skc_cookie.counter);
    if (!cookie || !bpf_map_lookup_elem(&our_listeners, &cookie))
        return;
    tuple_of(ctx, 0, &t);
    bpf_core_read(&t.client_seq, sizeof(t.client_seq), &req->rcv_isn);
    bpf_core_read(&t.server_seq, sizeof(t.server_seq), &req->snt_isn);
    t.client_seq++;
    t.server_seq++;
    bpf_map_update_elem(&notes, &t, &note, BPF_ANY);
}

/** Whether the socket's process is in a cgroup that is left alone. */
static __always_inline int is_excepted(struct tcp_sock *tp)
{
    struct cgroup *g = NULL;
    if (!exceptions)
        return 0;
    bpf_core_read(&g, sizeof(g), &tp->inet_conn.icsk_inet.sk.sk_cgrp_data.cgroup);
    for (int i = 0; i < CGROUP_LEVELS && g; i++) {
        struct kernfs_node *kn = NULL;
        __u64 id = 0;
        bpf_core_read(&kn, sizeof(kn), &g->kn);
        bpf_core_read(&id, sizeof(id), &kn->id);
        if (bpf_map_lookup_elem(&excepted, &id))
            return 1;
        struct cgroup_subsys_state *parent = NULL;
        bpf_core_read(&parent, sizeof(parent), &g->self.parent);
        g = (struct cgroup *)parent;
    }
    return g != NULL;
}

/** Registers an application's socket, before the application can use it.
 * @return Its cookie; 0 if it is left alone: it has MPTCP, is excepted, or somebody else's map has it. */
static __always_inline __u64 register_app(struct bpf_sock_ops *ctx, struct bpf_sock *sk, struct tcp_sock *tp)
{
    __u64 cookie = bpf_get_socket_cookie(ctx);
    struct bypass_end *e;
    if ((bpf_core_field_exists(tp->is_mptcp) && tp->is_mptcp) || is_excepted(tp))
        return 0;
    e = bpf_sk_storage_get(&ends, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
    if (!e)
        return 0;
    /* A socket may have been connected before. */
    e->ref = 0;
    e->cookie = cookie;
    if (bpf_sock_hash_update(ctx, &apps, &cookie, BPF_NOEXIST)) {
        bpf_sk_storage_delete(&ends, sk);
        return 0;
    }
    return cookie;
}

/** A connection is established at the side that has asked for it: a client of skein, or skein itself. */
static __always_inline void active_established(struct bpf_sock_ops *ctx)
{
    struct bypass_tuple t = {};
    struct bpf_sock *sk = ctx->sk;
    struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
    __u64 cookie = bpf_get_socket_cookie(ctx);
    if (!tp)
        return;
    tuple_of(ctx, 1, &t);
    t.client_seq = ctx->snd_nxt;
    t.server_seq = ctx->rcv_nxt;
    struct bypass_note *note = bpf_map_lookup_elem(&notes, &t);
    __u32 *connecting = bpf_map_lookup_elem(&our_connects, &cookie);
    if (!connecting) {
        if (!note)
            return;
        note->cookie = register_app(ctx, sk, tp);
        note->sock = note->cookie ? (__u64)tp : 0;
        return;
    }
    __u32 wanted = *connecting;
    bpf_map_delete_elem(&our_connects, &cookie);
    if (note) {
        /* The daemon is its own server: neither end is an application's. */
        bpf_map_delete_elem(&notes, &t);
    } else if (wanted) {
        struct bypass_note ours = {.sock = (__u64)tp, .cookie = cookie, .ours = 1};
        bpf_map_update_elem(&notes, &t, &ours, BPF_ANY);
    }
}

/** And at the side that was asked: skein, or a server of its. */
static __always_inline void passive_established(struct bpf_sock_ops *ctx)
{
    struct bypass_tuple t = {};
    struct bypass_link l = {};
    struct bpf_sock *sk = ctx->sk;
    struct tcp_sock *tp = sk ? bpf_skc_to_tcp_sock(sk) : NULL;
    __u64 own;
    if (!tp)
        return;
    tuple_of(ctx, 0, &t);
    t.client_seq = ctx->rcv_nxt;
    t.server_seq = ctx->snd_nxt;
    struct bypass_note *note = bpf_map_lookup_elem(&notes, &t);
    if (!note)
        return;
    if (note->ours) {
        own = note->cookie;
        l.own_sock = note->sock;
        l.app = register_app(ctx, sk, tp);
        l.app_sock = (__u64)tp;
    } else {
        own = bpf_get_socket_cookie(ctx);
        l.own_sock = (__u64)tp;
        l.app = note->cookie;
        l.app_sock = note->sock;
    }
    bpf_map_delete_elem(&notes, &t);
    if (l.app)
        bpf_map_update_elem(&links, &own, &l, BPF_ANY);
}

/** What TCP says of one end of a connection. */
struct end_view {
    __u32 write_seq;
    __u32 rcv_nxt;
    __u32 copied_seq;
};

static __always_inline int view_end(__u64 address, __u64 cookie, struct end_view *v)
{
    struct tcp_sock *tp = KERNEL_AT(struct tcp_sock, address);
    v->write_seq = READ(tp, write_seq);
    v->rcv_nxt = READ(tp, rcv_nxt);
    v->copied_seq = READ(tp, copied_seq);
    __u32 state = READ_AS(__u8, tp, inet_conn.icsk_inet.sk.__sk_common.skc_state);
    return cookie_of(tp) == cookie && state == TCP_STATE_ESTABLISHED ? 0 : -1;
}

/** Ties a registered socket, of which a reference is held, to the slot. @return enum bypass_reason */
static __always_inline int bind_app(const struct bypass_ask *ask, const struct bypass_link *l, struct slot *s,
                                    struct bypass_end *e)
{
    struct end_view own, app;
    struct sock *sk = KERNEL_AT(struct sock, l->app_sock);
    if (READ(sk, sk_rcvlowat) > 1)
        return BYPASS_LOW_WATER;
    /* What it sends by TCP may hold references to it, and quiet() counts them. */
    if (bpf_core_enum_value_exists(enum sock_flags, SOCK_ZEROCOPY) &&
        READ(sk, __sk_common.skc_flags) >> bpf_core_enum_value(enum sock_flags, SOCK_ZEROCOPY) & 1)
        return BYPASS_ZEROCOPY;
    if (view_end(l->own_sock, ask->own, &own) || view_end(l->app_sock, l->app, &app))
        return BYPASS_GONE;
    /* Nothing of what the application has sent is under way, or in the daemon's socket. */
    if (own.copied_seq != own.rcv_nxt || app.write_seq != own.rcv_nxt)
        return BYPASS_BUSY;
    /* A server has read everything. A client is asked when it sends something next. */
    if ((s->owner & OWNER_UP) && (app.rcv_nxt != own.write_seq || app.copied_seq != app.rcv_nxt))
        return BYPASS_BUSY;
    __u64 app_cookie = l->app;
    if (bpf_map_update_elem(&cookies, &app_cookie, &ask->ref, BPF_ANY))
        return BYPASS_OFF;
    s->app_snd = own.rcv_nxt;
    s->app_rcv = own.write_seq;
    s->app_sock = l->app_sock;
    s->app_ports = READ(sk, __sk_common.skc_portpair);
    s->app = l->app;
    *(volatile __u32 *)&e->ref = ask->ref;
    /* What it has sent meanwhile was not looked at. */
    if (!view_end(l->app_sock, l->app, &app) && app.write_seq == own.rcv_nxt)
        return BYPASS_OK;
    *(volatile __u32 *)&e->ref = 0;
    s->app = 0;
    bpf_map_delete_elem(&cookies, &app_cookie);
    return BYPASS_BUSY;
}

/** Ties the application's socket at the other end of a link to a slot. Without one (an index out of range)
 * the answer is BYPASS_GONE if the application has closed it, otherwise BYPASS_BUSY. @return enum
 * bypass_reason */
static __always_inline int bind(const struct bypass_ask *ask, const struct bypass_link *l)
{
    __u32 index = ask->slot;
    __u64 app = l->app;
    struct slot *s = bpf_map_lookup_elem(&slots, &index);
    struct bpf_sock *sk = bpf_map_lookup_elem(&apps, &app);
    if (!sk)
        return BYPASS_GONE;
    struct bypass_end *e = bpf_sk_storage_get(&ends, sk, 0, 0);
    int r = BYPASS_BUSY;
    if (s)
        r = !e ? BYPASS_GONE : short_of_memory() ? BYPASS_NO_MEMORY : bind_app(ask, l, s, e);
    bpf_sk_release(sk);
    return r;
}
