/*
 * What becomes of a redirect. An SK_MSG program says where a message goes and counts it as gone; only
 * afterwards the kernel moves it (net/ipv4/tcp_bpf.c, tcp_bpf_sendmsg_redir()). Without memory for the target
 * it moves a part, or nothing. Then neither side of the lease knows any more where a message ends: both
 * connections are to be reset.
 */
#pragma once

#include <bpf/bpf_tracing.h>

#include "owner.h"

/** The connection of a socket, the daemon's or an application's; 0 without. */
static __always_inline __u32 ref_of_cookie(__u64 cookie)
{
    __u32 *ref = bpf_map_lookup_elem(&cookies, &cookie);
    return ref ? *(volatile __u32 *)ref : 0;
}

/** The daemon resets the connection when it looks at it next; the programs do not redirect from or to it any
 * more. */
static __always_inline void break_connection(__u32 ref)
{
    struct slot *s = ref ? slot_at(ref) : NULL;
    if (!s || owner_gen(owner_load(s)) != ref_gen(ref))
        return;
    *(volatile __u8 *)&s->aborted = 1;
    __sync_fetch_and_or(&s->owner, OWNER_USER);
}

/** How long TCP, where a sender waits for memory, serves all afterwards. */
#define NO_MEMORY_NS (10ULL * 1000 * 1000 * 1000)

/** There was no memory for something: if that is what the process at work is redirecting, which it does with
 * the target locked, both sides are broken. What arrives for a locked socket waits, and needs memory later.
 */
static __always_inline void no_memory(const struct sock *sk)
{
    __u32 ref = ref_of_cookie(sk->__sk_common.skc_cookie.counter);
    struct slot *target = ref ? slot_at(ref) : NULL;
    __u32 process = this_process();
    if (!target || !process || target->pusher_process != process || !sk->sk_lock.owned)
        return;
    no_memory_until = bpf_ktime_get_ns() + NO_MEMORY_NS;
    break_connection(ref_of_cookie(target->pusher_cookie));
    break_connection(ref);
}
