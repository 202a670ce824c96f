/* Redirecting: the only place where bytes leave a program, and what may be changed in them before. */
#pragma once

#include "access.h"

/** Notes who redirects to a connection past TCP. */
static __always_inline void note_pusher(const struct slot *by, struct slot *target)
{
    __u64 cookie = by->app ? by->app : by->cookie;
    __u32 process = this_process();
    if (target->pusher_cookie != cookie || target->pusher != socket_of(by)) {
        target->pusher = socket_of(by);
        target->pusher_cookie = cookie;
    }
    if (target->pusher_process != process)
        target->pusher_process = process;
}

/** Counts bytes on their way to a connection. Before the redirect, so that whoever waits for
 * the count never sees less than what is under way. */
static __always_inline void count_tx(const struct slot *by, struct slot *target, __u32 len)
{
    target->redirected += len;
    target->tx_seq += len;
    target->activity++;
    if (IS_MSG || is_local(target))
        note_pusher(by, target);
    if (is_local(target)) {
        target->pusher_left = 0;
        target->pushes++;
    }
}

static __always_inline void uncount_tx(struct slot *target, __u32 len)
{
    target->redirected -= len;
    target->tx_seq -= len;
    if (is_local(target))
        target->pushes--;
}

#ifdef SKEIN_MSG

/* include/linux/socket.h */
#define MSG_OOB 1

/* System calls that send, by their numbers on x86-64; what has none of these flags in its arguments, and the
 * flags of those that have. */
#define NR_WRITE    1
#define NR_WRITEV   20
#define NR_SENDFILE 40
#define NR_SENDTO   44
#define NR_SENDMSG  46
#define NR_SPLICE   275
#define NR_SENDMMSG 307

/** Whether the send() at hand has no urgent byte: the kernel sends on what is redirected out of another
 * socket with the flags of the send() that brought it, and then the last byte would not be in the stream. The
 * program is not told of flags; it sees the arguments of the system call. What may have come another way (a
 * thread that uses io_uring sends what that has queued at the end of any system call), or where system calls
 * have other numbers, may have one. A function of its own for the verifier. */
__attribute__((noinline)) int has_no_urgent_byte(void)
{
#ifdef __TARGET_ARCH_x86
    struct task_struct *task = bpf_get_current_task_btf();
    struct pt_regs *regs = (struct pt_regs *)bpf_task_pt_regs(task);
    if ((task->flags & PF_IO_WORKER) || (bpf_core_field_exists(task->io_uring) && task->io_uring))
        return 0;
    switch (regs->orig_ax) {
    case NR_WRITE:
    case NR_WRITEV:
    case NR_SENDFILE:
    case NR_SPLICE:
        return 1;
    case NR_SENDTO:
    case NR_SENDMMSG:
        return !(regs->r10 & MSG_OOB);
    case NR_SENDMSG:
        return !(regs->dx & MSG_OOB);
    }
#endif
    return 0;
}

#endif

/** Redirects `len` bytes to a connection: the slice at hand.
 * @return SK_PASS, or SK_DROP if nothing was redirected. */
static __always_inline int send_to(CTX *ctx, struct slot *t, __u32 ref, __u32 len)
{
    __u64 app = t->app;
#ifdef SKEIN_MSG
    if (app)
        return (int)bpf_msg_redirect_hash(ctx, &apps, &app, BPF_F_INGRESS);
    if (!has_no_urgent_byte())
        return SK_DROP;
    return (int)bpf_msg_redirect_map(ctx, &socks, ref_index(ref), 0);
#else
    if (app)
        return (int)bpf_sk_redirect_hash(ctx, &apps, &app, BPF_F_INGRESS);
    return (int)bpf_sk_redirect_map(ctx, &socks, ref_index(ref), 0);
#endif
}

#ifdef SKEIN_MSG

/** Writes over bytes of the head, which load_bytes() has left in one piece: `len` of `from`, 1 to `max`.
 * @return 0 or an error. */
static __always_inline int overwrite(CTX *ctx, __u32 offset, const __u8 *from, __u32 len, __u32 max)
{
    if (bpf_msg_pull_data(ctx, offset, offset + len, 0))
        return -1;
    for (__u32 i = 0; i < max; i++) {
        __u8 *at = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
        if (i >= len)
            break;
        at += i;
        if (at + 1 > end)
            return -1;
        *at = from[i];
    }
    return 0;
}

#else

static __always_inline int overwrite(CTX *ctx, __u32 offset, const __u8 *from, __u32 len, __u32 max)
{
    len -= 1;
    HTTP1_OPAQUE(len);
    return len < max ? (int)bpf_skb_store_bytes(ctx, offset, from, len + 1, 0) : -1;
}

#endif

static const __u8 blank_spaces[HTTP1_BLANK_MAX] = {[0 ... HTTP1_BLANK_MAX - 1] = ' '};

/** Overwrites a field that is for this connection alone (struct http1_head). @return 0 or an error. */
static __always_inline int blank(CTX *ctx, struct slot *s, __u32 offset)
{
    __u32 at = s->head.blank_off + s->head.blank_len, name = s->head.blank_name, len = s->head.blank_len;
    offset += s->head.blank_off;
    if (name) {
        HTTP1_OPAQUE(at);
        if (at > HTTP1_WINDOW - HTTP1_BLANK_NAME ||
            overwrite(ctx, offset, &s->window.bytes[at], name, HTTP1_BLANK_NAME))
            return -1;
    }
    return overwrite(ctx, offset + name, blank_spaces, len, HTTP1_BLANK_MAX);
}

/** Makes the framed head what the other side is to get: the version is ours (RFC 9112 section 2.3).
 * Only overwriting is possible: what strparser has cut keeps its length. @return 0 or an error. */
static __always_inline int edit_head(CTX *ctx, struct slot *s)
{
    __u32 offset = 0;
    if (s->protocol != SLOT_HTTP || (!s->head.blank_len && !(s->head.flags & HTTP1_F_MINOR_0)))
        return 0;
#ifndef SKEIN_MSG
    if (message_offset(ctx, &offset))
        return -1;
#endif
    if ((s->head.flags & HTTP1_F_MINOR_0) && overwrite(ctx, offset + HTTP1_MINOR_AT, (const __u8 *)"1", 1, 1))
        return -1;
    return s->head.blank_len ? blank(ctx, s, offset) : 0;
}
