/*
 * The bypass path: an application of this host and skein's other peers talk past TCP.
 *
 * SOCK_OPS registers the applications' own ends of connections to and from skein (skein/bypass.h). SK_MSG
 * runs in an application's send(), frames and routes what it sends by the same headers as the kernel path,
 * and redirects it into the queue of the application at the other end, or into the send queue of the daemon's
 * socket if the other end is remote. What it does not take goes on by TCP, to the daemon.
 */
#define SKEIN_MSG
#include "response.h"

#include "redirect.h"
#include "register.h"

char LICENSE[] SEC("license") = "GPL";

/** Whether a part of this send() was redirected already (net/core/skmsg.c, sk_psock_msg_verdict(): a target
 * stays until the end of the sk_msg, which is what one round of a send() brings). */
static __always_inline int redirected_before(struct sk_msg_md *ctx)
{
    return READ(KERNEL_AT(struct sk_msg, ctx), sk_redir) != NULL;
}

/** Whether TCP takes something to send. A send() after shutdown() gets here all the same: only TCP refuses
 * it. */
static __always_inline int may_send(struct sk_msg_md *ctx)
{
    __u32 state = ctx->sk ? ctx->sk->state : 0;
    return state == TCP_STATE_ESTABLISHED || state == TCP_STATE_CLOSE_WAIT;
}

SEC("sk_msg")
int skein_msg(struct sk_msg_md *ctx)
{
    struct bypass_end *e = ctx->sk ? bpf_sk_storage_get(&ends, ctx->sk, 0, 0) : NULL;
    __u32 ref = e ? *(volatile __u32 *)&e->ref : 0;
    struct slot *s = ref ? slot_at(ref) : NULL;
    __u64 owner;
    int len;
    /* The kernel asks again for what it could not redirect at once: it goes where the rest went, for
     * SK_PASS means that until the end of a send(), and it is counted already. */
    if (redirected_before(ctx))
        return SK_PASS;
    /* The slot may be another connection's by now, even with the same generation, which goes round: that one
     * has another application. Should it change hands behind this look, the generation tells. */
    if (!s || s->app != e->cookie || !ctx->size || !may_send(ctx) || owner_enter(s, ref, &owner))
        return SK_PASS;
    if (owner & OWNER_UP)
        len = response_slice(ctx, s, owner, 0, ctx->size);
    else
        len = request_slice(ctx, s, ref, owner, 0, ctx->size);
    s->slice_len = len;
    /* A part of a send() can not be redirected and the rest passed: all of it, or nothing. */
    if (s->slice_kind != SLICE_PASS && (__u32)len != ctx->size) {
        int cut = s->framing == HTTP1_FRAMED_CHUNKED && !s->chunks_next.done;
        s->slice_kind = SLICE_PASS;
        s->slice_reason = cut ? HTTP1_CHUNK : owner & OWNER_UP ? FALLBACK_UNSOLICITED : FALLBACK_PIPELINED;
    }
    if (owner & OWNER_UP)
        return response_verdict(ctx, s, ref, owner);
    return request_verdict(ctx, s, ref, owner);
}

/* Hardly ever: when a socket may have no more memory. */
SEC("tp_btf/sock_exceed_buf_limit")
int BPF_PROG(skein_no_memory, struct sock *sk)
{
    no_memory(sk);
    return 0;
}

SEC("sockops")
int skein_sockops(struct bpf_sock_ops *ctx)
{
    switch (ctx->op) {
    case BPF_SOCK_OPS_TIMEOUT_INIT:
        if (!ctx->is_fullsock)
            note_syn(ctx);
        break;
    case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
        active_established(ctx);
        break;
    case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
        passive_established(ctx);
        break;
    }
    return 1;
}

/* Where FIONREAD does not count what TCP has received for a socket that is in a map, this takes it out of
 * TCP's queue at once, into the one that is counted. */
SEC("sk_skb/stream_verdict")
int skein_collect(struct __sk_buff *ctx)
{
    return SK_PASS;
}

/* Not a hook: the daemon runs it (BPF_PROG_TEST_RUN) to tie an application's socket to a slot. */
SEC("tc")
int skein_bind(struct __sk_buff *ctx)
{
    struct bypass_ask ask;
    struct bypass_link *l;
    if (bpf_skb_load_bytes(ctx, 0, &ask, sizeof(ask)))
        return BYPASS_OFF;
    l = bpf_map_lookup_elem(&links, &ask.own);
    if (!l)
        return BYPASS_REMOTE;
    return bind(&ask, l);
}
