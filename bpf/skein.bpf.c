/*
 * The kernel path: parser and verdict run on every socket of the daemon that has a slot.
 *
 * The parser cuts the stream into slices (a head with the body bytes that came with it, or
 * body bytes). It waits for more inside of a head or a chunk line alone, and shows the bytes that
 * strparser holds meanwhile. What the kernel path does not take it leaves where it is: the parser
 * gives up, strparser stops, and the daemon finds the bytes in TCP's receive queue as soon as it
 * has removed the socket from the map. The verdict redirects a slice to the leased socket on the
 * other side.
 */
#include "response.h"

char LICENSE[] SEC("license") = "GPL";

SEC("sk_skb/stream_parser")
int skein_parser(struct __sk_buff *ctx)
{
    __u32 offset, ref;
    __u64 owner;
    int len;
    if (message_offset(ctx, &offset) || offset >= ctx->len)
        return ctx->len;
    __u32 avail = ctx->len - offset;
    struct slot *s = own_slot(ctx, &ref);
    struct bpf_sock *sk = ctx->sk;
    struct socket_view v;
    if (!s || !sk || view(sk, &v))
        return -PARSER_GAVE_UP;
    if (v.urgent)
        return abandon(s);
    /* The daemon says it only after the socket is in the map: what is redirected before has a sender too. */
    if (app_refs && !s->sock)
        s->sock = (__u64)bpf_skc_to_tcp_sock(sk);
    if (owner_enter(s, ref, &owner))
        return -PARSER_GAVE_UP;
    if (owner & OWNER_FROZEN)
        return give_up(s, owner, FALLBACK_UNSOLICITED, NULL);
    if (owner & OWNER_UP)
        len = response_slice(ctx, s, owner, offset, avail);
    else
        len = request_slice(ctx, s, ref, owner, offset, avail);
    if (len > 0)
        s->slice_len = len;
    return len;
}

/* Runs right after the parser, which has set BUSY: strparser hands over every slice at once,
 * for it is never longer than what is there. */
SEC("sk_skb/stream_verdict")
int skein_verdict(struct __sk_buff *ctx)
{
    __u32 ref;
    struct slot *s = parsed_slot(ctx, &ref);
    __u64 owner = s ? owner_load(s) : 0;
    if (!(owner & OWNER_BUSY) || owner_gen(owner) != ref_gen(ref))
        return SK_PASS;
    if (owner & OWNER_UP)
        return response_verdict(ctx, s, ref, owner);
    return request_verdict(ctx, s, ref, owner);
}

/** skein_inspect for an application's socket: whether nothing is on its way there. */
static __always_inline int inspect_app(struct slot *s)
{
    struct tcp_sock *tp = KERNEL_AT(struct tcp_sock, s->app_sock);
    unsigned long flags = READ(tp, inet_conn.icsk_inet.sk.__sk_common.skc_flags);
    struct socket_view v;
    if (peek_reader(s->app_sock, s->app, &v) || v.state == TCP_STATE_CLOSE || (flags & SOCK_FLAG_DEAD))
        return INSPECT_GONE;
    s->quiet = (__u8)quiet(s->app_sock, pusher_of(s), s->pusher_cookie);
    return INSPECT_OK;
}

/* Not a hook: the daemon runs it (BPF_PROG_TEST_RUN) to see what no system call shows: how far
 * a socket's writer is (TCP_INFO's byte counts go wrong with window probes), and how far its
 * reader, by TCP's and by strparser's account. The first four bytes of the "packet" are a
 * slot's index. */
SEC("tc")
int skein_inspect(struct __sk_buff *ctx)
{
    __u32 index;
    int r = INSPECT_GONE;
    if (bpf_skb_load_bytes(ctx, 0, &index, sizeof(index)))
        return INSPECT_FAILED;
    struct slot *s = bpf_map_lookup_elem(&slots, &index);
    if (s && is_local(s))
        return inspect_app(s);
    struct bpf_sock *sk = bpf_map_lookup_elem(&socks, &index);
    if (!sk)
        return INSPECT_GONE;
    struct tcp_sock *tp = bpf_skc_to_tcp_sock(sk);
    if (s && tp && tp->inet_conn.icsk_inet.sk.__sk_common.skc_state != TCP_STATE_CLOSE) {
        /* The pointer's low bits are flags (include/net/sock.h). */
        struct sk_psock *psock = (void *)((__u64)tp->inet_conn.icsk_inet.sk.sk_user_data & ~7ULL);
        s->sock = (__u64)tp;
        s->write_seq = tp->write_seq;
        s->rcv_nxt = tp->rcv_nxt;
        s->copied_seq = tp->copied_seq;
        s->parsed_seq = s->copied_seq;
        if (bpf_core_field_exists(psock->copied_seq))
            bpf_core_read(&s->parsed_seq, sizeof(s->parsed_seq), &psock->copied_seq);
        s->stopped = (__u32)BPF_CORE_READ_BITFIELD_PROBED(psock, strp.stopped);
        r = INSPECT_OK;
    }
    bpf_sk_release(sk);
    return r;
}
