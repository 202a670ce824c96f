/* What the programs of header_edits.bpf.c are told, and what they saw. */
#pragma once

#include <linux/types.h>

enum edit_action {
    EDIT_NONE,
    EDIT_ADJUST, /**< bpf_skb_adjust_room() by `delta`. */
    EDIT_TAIL,   /**< bpf_skb_change_tail() by `delta`. */
    EDIT_BLANK,  /**< bpf_skb_store_bytes(): `len` spaces at `at`. */
};

/** Longest blank. */
#define EDIT_BLANK_MAX 64

struct edit_plan {
    __u32 message; /**< Messages have this many bytes; 0: whatever an skb has. */
    __u32 action;
    __s32 delta;
    __u32 at; /**< In the message. */
    __u32 len;
    __u32 only; /**< Messages that begin elsewhere in their skb are left alone, */
    __u32 all;  /**< unless this is set. */
};

/** Messages that are told of; the last one for all that come later. */
#define EDIT_SEEN 8

struct edit_seen {
    __u32 offset; /**< Of the message in its skb. */
    __u32 before; /**< Length of the skb before the action, */
    __u32 after;  /**< and after it. */
    __s32 result; /**< What the helper returned. */
};
