/* What the programs read from their context and from sockets.
 *
 * The headers above this one are compiled twice: for sk_skb programs, which see what has arrived at a socket
 * of the daemon, and with SKEIN_MSG for SK_MSG programs, which see what an application sends. What differs
 * between the two is here, in send.h and in hold(), pass() and refuse(). */
#pragma once

#include "maps.h"
#include "sockets.h"

#ifdef SKEIN_MSG
#define CTX    struct sk_msg_md
#define IS_MSG 1
#else
#define CTX    struct __sk_buff
#define IS_MSG 0
#endif

#ifdef SKEIN_MSG

/** Copies `n` bytes at `offset`, 1 to `max` of them, for a look, wherever the program has looked before.
 * @return 0 or an error. */
static __always_inline int load_again(CTX *ctx, __u32 offset, void *to, __u32 max, __u32 n)
{
    __u64 first;
    n -= 1;
    HTTP1_OPAQUE(n);
    if (n >= max || bpf_msg_pull_data(ctx, offset, offset + n + 1, 0))
        return -1;
    first = (__u64)ctx->data_end - (__u64)ctx->data;
    return first > n ? bpf_probe_read_kernel(to, n + 1, (void *)(long)ctx->data) : -1;
}

/** The same; bytes at 0 for a first look: the program sees the first piece of what is sent until it asks for
 * more, and then that alone. @return 0 or an error. */
static __always_inline int load_bytes(CTX *ctx, __u32 offset, void *to, __u32 max, __u32 n)
{
    __u64 first = (__u64)ctx->data_end - (__u64)ctx->data;
    __u32 last = n - 1;
    HTTP1_OPAQUE(last);
    if (!offset && last < max && first > last)
        return bpf_probe_read_kernel(to, last + 1, (void *)(long)ctx->data);
    return load_again(ctx, offset, to, max, n);
}

/** Whether what is sent begins with the head that the slot knows already, byte by byte. A function of its own
 * for the verifier. */
__attribute__((noinline)) int same_head(CTX *ctx, const struct slot *s)
{
    if (!s)
        return 0;
    const __u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    __u32 len = s->head.head_len;
    if (!s->framed || len < sizeof(__u64) || len > HTTP1_WINDOW)
        return 0;
    for (__u32 i = 0; i < HTTP1_WINDOW / sizeof(__u64); i++) {
        const __u8 *at = data + i * sizeof(__u64);
        if ((i + 1) * sizeof(__u64) > len)
            break;
        if (at + sizeof(__u64) > end ||
            *(const __u64 *)at != *(const __u64 *)&s->window.bytes[i * sizeof(__u64)])
            return 0;
    }
    __u32 last = len - sizeof(__u64);
    HTTP1_OPAQUE(last);
    if (last > HTTP1_WINDOW - sizeof(__u64))
        return 0;
    data += last;
    return data + sizeof(__u64) <= end && *(const __u64 *)data == *(const __u64 *)&s->window.bytes[last];
}

#else

static __always_inline int same_head(CTX *ctx, const struct slot *s)
{
    return 0;
}

/** Where the strparser message starts inside the skb (net/strparser/strparser.c keeps it in
 * the control block, out of the reach of the context's own fields). */
static __always_inline int message_offset(CTX *ctx, __u32 *offset)
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
static __always_inline int load_bytes(CTX *ctx, __u32 offset, void *to, __u32 max, __u32 n)
{
    n -= 1;
    HTTP1_OPAQUE(n);
    if (n >= max)
        return -1;
    return bpf_skb_load_bytes(ctx, offset, to, n + 1);
}

static __always_inline int load_again(CTX *ctx, __u32 offset, void *to, __u32 max, __u32 n)
{
    return load_bytes(ctx, offset, to, max, n);
}

/** The slot of the program's own socket, NULL if it has none (any more). */
static __always_inline struct slot *own_slot(CTX *ctx, __u32 *ref)
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
static __always_inline struct slot *parsed_slot(CTX *ctx, __u32 *ref)
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

#endif

static __always_inline struct slot *slot_at(__u32 ref)
{
    __u32 index = ref_index(ref);
    return bpf_map_lookup_elem(&slots, &index);
}

static __always_inline int view_own(CTX *ctx, struct socket_view *v)
{
    return ctx->sk ? view(ctx->sk, v) : -1;
}

/** Whether the socket where what is redirected to the connection ends is an application's, past TCP. */
static __always_inline int is_local(const struct slot *s)
{
    return s->app != 0;
}

/** The socket that may still be in the send() with which it redirected to the connection last; 0: none is. */
static __always_inline __u64 pusher_of(const struct slot *s)
{
    return s->pusher_left ? 0 : s->pusher;
}

/** The answer to what was redirected to the connection last has come: most likely its sender has left the
 * send(), and when it is at work with something else later need not be waited for. */
static __always_inline void forget_pusher(struct slot *s)
{
    if (is_local(s))
        s->pusher_left = !is_locked(s->pusher, s->pusher_cookie);
}

/** The socket that gets what is redirected to the connection: the application's, or the daemon's own, which
 * sends it. @return -1 if it is not there or can not be written to any more. */
static __always_inline int view_target(struct slot *t, __u32 ref, struct socket_view *v)
{
    int r;
    if (is_local(t)) {
        /* By connect() the same socket may have become the end of another connection. */
        if (peek_reader(t->app_sock, t->app, v) || v->ports != t->app_ports)
            return -1;
        return v->state == TCP_STATE_ESTABLISHED || v->state == TCP_STATE_FIN_WAIT1 ||
                       v->state == TCP_STATE_FIN_WAIT2
                   ? 0
                   : -1;
    }
#ifdef SKEIN_MSG
    r = peek(t->sock, t->cookie, v);
#else
    __u32 index = ref_index(ref);
    struct bpf_sock *sk = bpf_map_lookup_elem(&socks, &index);
    if (!sk)
        return -1;
    r = view(sk, v);
    bpf_sk_release(sk);
#endif
    if (r || (v->state != TCP_STATE_ESTABLISHED && v->state != TCP_STATE_CLOSE_WAIT))
        return -1;
    return 0;
}

/** Address of the socket whose program runs for the connection. */
static __always_inline __u64 socket_of(const struct slot *s)
{
    return s->app ? s->app_sock : s->sock;
}

/** Whether everything that was redirected to the connection is in its socket's queue. The program that asks
 * runs for `by`, and has redirected nothing that is still under way itself. Where that sends it on, the first
 * look after userspace has written takes TCP's word for it: userspace hands a connection over only when its
 * own bytes are there. */
static __always_inline int settled(const struct slot *by, struct slot *s, const struct socket_view *v)
{
    if (is_local(s))
        return quiet(s->app_sock, s->pusher == socket_of(by) ? 0 : pusher_of(s), s->pusher_cookie);
    if (!s->tx_valid) {
        s->tx_seq = v->write_seq;
        s->tx_valid = 1;
    }
    return s->tx_seq == v->write_seq;
}

#ifdef SKEIN_MSG

/** The process in whose system call, or interrupted by what, a program runs; 0: none. */
static __always_inline __u32 this_process(void)
{
    return (__u32)(bpf_get_current_pid_tgid() >> 32);
}

/** Until then (bpf_ktime_get_ns()) nothing is redirected past TCP: there was no memory for it. */
volatile __u64 no_memory_until;

static __always_inline int short_of_memory(void)
{
    return no_memory_until && bpf_ktime_get_ns() < no_memory_until;
}

#else

/** What an sk_skb program does is no process's. */
static __always_inline __u32 this_process(void)
{
    return 0;
}

static __always_inline int short_of_memory(void)
{
    return 0;
}

#endif

/** Whether the target's reader is so slow, for `len` bytes more, that userspace has to wait for it. */
static __always_inline int target_full(struct slot *t, const struct socket_view *v, __u32 len, __u32 limit)
{
    if (short_of_memory())
        return 1;
    if (is_local(t)) {
        /* TCP throws away what it brings to a socket whose queues hold more than its receive buffer, and
         * sends it again later and later: so what comes by TCP when the path has given way must find room
         * soon. */
        __u32 most = limit < v->rcvbuf ? limit : v->rcvbuf;
        if (v->unread)
            return v->unread + len > most || t->pushes > limit / PUSH_BYTES;
        t->pushes = 0;
        return 0;
    }
    /* The peer's window makes segments small, which take more memory than their bytes. */
    if (IS_MSG && v->room < len + SEND_ROOM + len / v->segment * SEND_SEGMENT)
        return 1; /* A sender that does not wait would be told to, and nobody wakes it. */
    return t->tx_seq - v->write_seq > limit;
}

/** Looks at a socket before it is taken for one that somebody redirects into; on another CPU that may be
 * about to end. */
#define QUIET_LOOKS 128

/** settled(), after a few looks at an application's. */
static __always_inline int settled_soon(const struct slot *by, struct slot *s, const struct socket_view *v)
{
    if (!is_local(s))
        return settled(by, s, v);
    for (int i = 0; i < QUIET_LOOKS; i++) {
        if (settled(by, s, v))
            return 1;
    }
    return 0;
}

#ifdef SKEIN_MSG

/** A client's own socket, in its send(): whether it has read everything that came by TCP, has nothing under
 * way by TCP, and nobody redirects into it. TCP is asked once: afterwards nothing goes by TCP. */
static __always_inline int own_settled(CTX *ctx, struct slot *s)
{
    struct tcp_sock *tp = ctx->sk ? bpf_skc_to_tcp_sock(ctx->sk) : NULL;
    if (*(volatile __u64 *)&s->owner & OWNER_UP)
        return 1; /* Looked at when it is leased. */
    if (!tp)
        return 0;
    if (!s->clean) {
        if (tp->write_seq != s->app_snd || tp->rcv_nxt != s->app_rcv || tp->copied_seq != tp->rcv_nxt)
            return 0;
        s->clean = 1;
    }
    if (tp->inet_conn.icsk_inet.sk.__sk_common.skc_state != TCP_STATE_ESTABLISHED)
        return 0;
    for (int i = 0; i < QUIET_LOOKS; i++) {
        if (quiet(s->app_sock, pusher_of(s), s->pusher_cookie))
            return 1;
    }
    return 0;
}

#else

/** Whether nothing is on its way into the program's own socket. */
static __always_inline int own_settled(CTX *ctx, struct slot *s)
{
    struct socket_view v;
    return !view_own(ctx, &v) && settled(s, s, &v);
}

#endif
