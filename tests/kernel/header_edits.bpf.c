/*
 * Programs that change messages on their way through a sockmap, to learn what a kernel makes of it:
 * with a stream parser, as the kernel path has one, and with a verdict alone.
 */
#include "access.h"

#include "header_edits.h"

struct {
    __uint(type, BPF_MAP_TYPE_SOCKMAP);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u64);
} parsed SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_SOCKMAP);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u64);
} unparsed SEC(".maps");

struct edit_plan plan;
struct edit_seen seen[EDIT_SEEN];
__u32 n_seen;
__u32 n_acted;
__u32 n_failed;
__u64 total_ns; /* In the helper, the clock included. */
__u8 blank[EDIT_BLANK_MAX];

SEC("sk_skb/stream_parser")
int edits_parser(struct __sk_buff *ctx)
{
    __u32 offset;
    if (message_offset(ctx, &offset) || offset > ctx->len)
        return -1;
    __u32 avail = ctx->len - offset;
    return (int)(plan.message && plan.message < avail ? plan.message : avail);
}

static __always_inline long act(struct __sk_buff *ctx, __u32 offset)
{
    __u32 len = plan.len;
    switch (plan.action) {
    case EDIT_ADJUST:
        return bpf_skb_adjust_room(ctx, plan.delta, 0, 0);
    case EDIT_TAIL:
        return bpf_skb_change_tail(ctx, ctx->len + (__u32)plan.delta, 0);
    case EDIT_BLANK:
        if (len < 1 || len > EDIT_BLANK_MAX)
            return -1;
        return bpf_skb_store_bytes(ctx, offset + plan.at, blank, len, 0);
    default:
        return 0;
    }
}

static __always_inline void edit(struct __sk_buff *ctx, __u32 offset)
{
    __u32 i = n_seen < EDIT_SEEN - 1 ? n_seen : EDIT_SEEN - 1;
    struct edit_seen *s = &seen[i & (EDIT_SEEN - 1)];
    s->offset = offset;
    s->before = ctx->len;
    if (plan.all || offset == plan.only) {
        __u64 start = bpf_ktime_get_ns();
        s->result = (__s32)act(ctx, offset);
        total_ns += bpf_ktime_get_ns() - start;
        n_acted++;
        n_failed += s->result != 0;
    }
    s->after = ctx->len;
    n_seen++;
}

SEC("sk_skb/stream_verdict")
int edits_verdict(struct __sk_buff *ctx)
{
    __u32 offset;
    if (message_offset(ctx, &offset))
        return SK_DROP;
    edit(ctx, offset);
    return (int)bpf_sk_redirect_map(ctx, &parsed, 1, 0);
}

SEC("sk_skb")
int edits_alone(struct __sk_buff *ctx)
{
    edit(ctx, 0);
    return (int)bpf_sk_redirect_map(ctx, &unparsed, 1, 0);
}

char LICENSE[] SEC("license") = "GPL";
