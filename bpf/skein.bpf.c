/*
 * The kernel path: both programs run on every socket of the daemon that has a slot.
 *
 * The parser cuts the stream into slices (a head with the body bytes that came with it, or
 * body bytes) and never waits for more, so that nothing stays inside strparser. The verdict
 * decides who gets the slice: the leased socket on the other side, or userspace.
 */
#include "response.h"

char LICENSE[] SEC("license") = "GPL";

SEC("sk_skb/stream_parser")
int skein_parser(struct __sk_buff *ctx)
{
    __u32 offset, ref;
    if (message_offset(ctx, &offset) || offset >= ctx->len)
        return ctx->len;
    __u32 avail = ctx->len - offset;
    struct slot *s = own_slot(ctx, &ref);
    if (!s)
        return avail;
    if (owner_load(s) & OWNER_UP)
        s->slice_len = response_slice(ctx, s, offset, avail);
    else
        s->slice_len = request_slice(ctx, s, offset, avail);
    return s->slice_len;
}

SEC("sk_skb/stream_verdict")
int skein_verdict(struct __sk_buff *ctx)
{
    __u32 ref;
    __u64 old;
    struct slot *s = own_slot(ctx, &ref);
    if (!s || owner_enter(s, ref, &old))
        return SK_PASS;
    if (old & OWNER_UP)
        return response_verdict(ctx, s, ref, old);
    return request_verdict(ctx, s, ref, old);
}
