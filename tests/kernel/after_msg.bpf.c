/*
 * skein_msg as it is shipped, and a wait behind it: before the kernel takes hold of the target of what the
 * program has redirected. What another CPU sees then it may see in earnest, if rarely.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* It is a part of the program below: neither global nor kept by itself. */
#undef SEC
#define SEC(name) __attribute__((section(name)))
static __attribute__((always_inline)) int skein_msg(struct sk_msg_md *ctx);
#include "bypass.bpf.c"

#include "after_msg.h"

/** Rounds of waiting at most: some seconds. */
#define ROUNDS (1U << 23)

struct after_plan plan;

static int wait_round(__u32 i, void *arg)
{
    return *(volatile __u32 *)&plan.thread == 0;
}

SEC("sk_msg")
int after_msg(struct sk_msg_md *ctx)
{
    int verdict = skein_msg(ctx);
    if (!plan.thread || (__u32)bpf_get_current_pid_tgid() != plan.thread)
        return verdict;
    *(volatile __u32 *)&plan.stopped = 1;
    for (int i = 0; i < 64 && *(volatile __u32 *)&plan.thread; i++)
        bpf_loop(ROUNDS, wait_round, NULL, 0);
    return verdict;
}
