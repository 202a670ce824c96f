/* What test programs and after_msg.bpf.c share. */
#pragma once

#include <linux/types.h>

/** Whom to stop, and who is. */
struct after_plan {
    __u32 thread; /**< Thread id of the sender; 0: nobody. */
    __u32 stopped;
};
