/* Redis: from a framed command to the shard of its key. */
#pragma once

#include "parsers/redis_crc16.h"
#include "parsers/resp_scan.h"
#include "pool.h"

/** Fills the slot's name with the command's, in lower case. A function of its own for the verifier.
 * @return 0; -1 if no published name is so long. */
__attribute__((noinline)) int redis_name(struct slot *s)
{
    if (!s)
        return -1;
    __u32 off = s->frame.name_off, len = s->frame.name_len;
    HTTP1_OPAQUE(off);
    HTTP1_OPAQUE(len);
    if (off > HTTP1_WINDOW - REDIS_NAME_MAX || len > REDIS_NAME_MAX)
        return -1;
    __builtin_memset(s->name.text, 0, sizeof(s->name.text));
    if (bpf_probe_read_kernel(s->name.text, len, &s->window.bytes[off]))
        return -1;
    for (__u32 i = 0; i < REDIS_NAME_MAX; i++) {
        __u8 c = s->name.text[i];
        s->name.text[i] = c | (((__u8)(c - 'A') < 26) << 5);
    }
    return 0;
}

/** Looks the command's name up. Not in a function of its own: in 6.1 a function's argument
 * is no key for a map.
 * @return Its entry's flags; 0: not a command for the kernel path. */
static __always_inline __u32 redis_command(struct slot *s)
{
    if (redis_name(s))
        return 0;
    struct kernel_command *c = bpf_map_lookup_elem(&redis_commands, &s->name);
    if (!c || c->name_len != s->frame.name_len)
        return 0;
    __s32 argc = s->frame.argc;
    return (c->arity >= 0 ? argc == c->arity : argc >= -c->arity) ? c->flags : 0;
}

/** What of the key is hashed, by Redis Cluster's rule: the bytes between the first `{` and the first
 * `}` after it, unless there are none. A function of its own for the verifier, with everything
 * that varies in memory: so it sees one path per byte. Sets `tag`. */
__attribute__((noinline)) int redis_hash_tag(struct slot *s)
{
    if (!s)
        return -1;
    __u32 off = s->frame.key_off, len = s->frame.key_len, i;
    HTTP1_OPAQUE(off);
    HTTP1_OPAQUE(len);
    s->tag.off = off;
    s->tag.len = len;
    s->tag.open = 0;
    for (i = 0; i < REDIS_KEY_MAX; i++) {
        __u32 at = off + i;
        HTTP1_OPAQUE(at);
        if (i >= len || at >= HTTP1_WINDOW)
            return 0;
        __u8 c = s->window.bytes[at];
        if (c != '{' && c != '}')
            continue;
        if (c == '{') {
            if (!s->tag.open)
                s->tag.open = i + 1; /* Where the tag begins. */
        } else if (s->tag.open) {
            break;
        }
    }
    /* At the first `}` behind a `{`. */
    if (i > s->tag.open) {
        s->tag.off = off + s->tag.open;
        s->tag.len = i - s->tag.open;
    }
    return 0;
}

/** Hash slot of the bytes that `tag` names. A function of its own for the verifier. */
__attribute__((noinline)) __u32 redis_slot(const struct slot *s)
{
    __u32 crc = 0;
    if (!s)
        return 0;
    __u32 off = s->tag.off, len = s->tag.len;
    HTTP1_OPAQUE(off);
    HTTP1_OPAQUE(len);
    for (__u32 i = 0; i < REDIS_KEY_MAX; i++) {
        __u32 at = off + i;
        HTTP1_OPAQUE(at);
        if (i >= len || at >= HTTP1_WINDOW)
            break;
        crc = redis_crc16_step((__u16)crc, s->window.bytes[at]);
    }
    return crc % REDIS_SLOTS;
}

/** Which of the ring's places has the command's key. */
static __always_inline __u32 redis_place(struct slot *s, const struct kernel_listener *l)
{
    if (l->single)
        return 0;
    redis_hash_tag(s);
    return redis_slot(s);
}

/** Where a framed command goes: endpoint + 1 in `picked`. @return HTTP1_OK or why not. */
static __always_inline int redis_destination(struct slot *s)
{
    struct kernel_listener *l = bpf_map_lookup_elem(&listeners, &s->listener);
    if (!l)
        return FALLBACK_INTERNAL;
    if (s->frame.argc > l->header_count || s->frame.len > l->body_bytes)
        return FALLBACK_LIMIT;
    if (!(redis_command(s) & KERNEL_COMMAND_KEY) || s->frame.key_len > REDIS_KEY_MAX)
        return FALLBACK_COMMAND;
    __u32 ring = l->cluster, at = redis_place(s, l);
    struct kernel_ring *r = bpf_map_lookup_elem(&rings, &ring);
    HTTP1_OPAQUE(at);
    if (!r || at >= REDIS_SLOTS)
        return FALLBACK_INTERNAL;
    __u32 endpoint = r->endpoint[at];
    __u64 *state = bpf_map_lookup_elem(&endpoint_state, &endpoint);
    if (!state || *(volatile __u64 *)state)
        return FALLBACK_EJECTED;
    s->picked = endpoint + 1;
    return HTTP1_OK;
}

/** Frames the command in the window's first `n` bytes, of `avail` that are there.
 * @return HTTP1_OK, with `total` and `picked` set, or why not. */
static __always_inline int redis_request(struct slot *s, __u32 n, __u32 avail)
{
    int reason = resp_frame_command(&s->window, 0, n, &s->resp, &s->frame);
    if (reason != RESP_FRAME_OK)
        return FALLBACK_RESP + reason;
    s->total = s->frame.len;
    /* Replies in order, from one connection to the shard: userspace sends pipelines together. An application
     * that sends them past TCP needs nobody who does. */
    if (!IS_MSG && avail > s->total)
        return FALLBACK_PIPELINED;
    reason = redis_destination(s);
    if (reason == HTTP1_OK && !pool_has_idle(pool_of(s, s->picked - 1)))
        return FALLBACK_NO_UPSTREAM;
    return reason;
}

#ifdef SKEIN_MSG

/** Frames the command at `at` in the window, of which `n` bytes are there: all of it. A function of its own
 * for the verifier, which looks the slot up because an older verifier takes no argument as a map's key.
 * @return HTTP1_OK, with `picked` set, or why it is not part of a run. */
__attribute__((noinline)) int redis_next(__u32 index, __u32 at, __u32 n)
{
    struct slot *s = bpf_map_lookup_elem(&slots, &index);
    if (!s)
        return FALLBACK_INTERNAL;
    int reason = resp_frame_command(&s->window, at, n, &s->resp, &s->frame);
    if (reason != RESP_FRAME_OK)
        return FALLBACK_RESP + reason;
    return s->frame.len > n - at ? FALLBACK_PIPELINED : redis_destination(s);
}

/** Commands that a client has pipelined go on together with the first, which is framed, if all are there, in
 * the window, and of the same shard. The frame is the first one's again afterwards; `total` and `run` are
 * those of all. A function of its own for the verifier. @return HTTP1_OK, or why they do not take this path.
 */
__attribute__((noinline)) int redis_run_walk(__u32 index, __u32 avail)
{
    struct slot *s = bpf_map_lookup_elem(&slots, &index);
    if (!s)
        return FALLBACK_INTERNAL;
    struct resp_frame first = s->frame;
    __u32 at = (__u32)s->total, picked = s->picked;
    int i, reason;
    if (avail > HTTP1_WINDOW)
        return FALLBACK_PIPELINED;
    for (i = 1; i < RUN_MAX; i++) {
        if (at >= avail)
            break;
        reason = redis_next(index, at, avail);
        if (reason != HTTP1_OK)
            return reason;
        if (s->picked != picked)
            return FALLBACK_PIPELINED;
        at += (__u32)s->frame.len;
    }
    if (at != avail)
        return FALLBACK_PIPELINED;
    s->frame = first;
    s->total = at;
    s->run = (__u8)i;
    return HTTP1_OK;
}

/** The framed command, and what goes on with it. @return HTTP1_OK or why it does not take this path. */
static __always_inline int redis_run(struct slot *s, __u32 ref, __u32 avail)
{
    return avail > s->total ? redis_run_walk(ref_index(ref), avail) : HTTP1_OK;
}

#else

static __always_inline int redis_run(struct slot *s, __u32 ref, __u32 avail)
{
    return HTTP1_OK;
}

#endif

/** Frames the reply at `at` in the window, of which `n` bytes are there. @return HTTP1_OK, with `total` set,
 * or why it does not take this path. */
static __always_inline int redis_reply(struct slot *s, __u32 at, __u32 n)
{
    int reason = resp_frame_reply(&s->window, at, n, &s->resp, &s->frame);
    if (reason != RESP_FRAME_OK)
        return FALLBACK_RESP + reason;
    s->total = s->frame.len;
    return HTTP1_OK;
}
