/* How many bytes go on together: slices of a message, by the framing of its body. */
#pragma once

#include "owner.h"
#include "send.h"

/** Bytes that may wait, unaccounted, behind what is redirected into the same socket. */
#define UNACCOUNTED_MAX (1U << 20)

/** Chunks that one slice goes through at most. */
#define SLICE_CHUNKS (IS_MSG ? 384 : 64)

/** Bytes of a slice. strparser sets a limit; SK_MSG has all that one send() brings. */
static __always_inline __u32 at_most(__u32 avail, __u64 len)
{
    __u32 n = IS_MSG || avail < SLICE_MAX ? avail : SLICE_MAX;
    return n < len ? n : (__u32)len;
}

/** Parser: passes up what comes to a connection that is userspace's, or is going to be. While something that
 * was redirected into the socket is still queued it waits behind that, and nobody accounts for it: a peer
 * that takes nothing and sends on and on is cut off. Gives BUSY up then. @return What the parser returns. */
static __always_inline int pass_on(CTX *ctx, struct slot *s, __u32 avail)
{
    struct socket_view v;
    if (IS_MSG || s->passed <= UNACCOUNTED_MAX || view_own(ctx, &v) || settled(s, s, &v) ||
        s->passed <= UNACCOUNTED_MAX + (__u64)v.rcvbuf)
        return at_most(avail, avail);
    abandon(s);
    owner_leave(s);
    return -PARSER_GAVE_UP;
}

/** Parser: waits for the rest of what begins here (a head or a chunk line, of which `avail` bytes are in
 * the slot). Gives BUSY up. What an application sends nobody could hold: its rest may never come.
 * @return What the parser returns, -1 if enough was waited for. */
static __always_inline int hold(struct slot *s, __u32 avail)
{
    if (IS_MSG || s->pieces >= HELD_PIECES_MAX)
        return -1;
    s->pieces++;
    s->held = avail;
    owner_leave(s);
    return 0;
}

/** Whether a message that ends at `end` does so with CRLF. */
static __always_inline int ends_well(CTX *ctx, __u32 end)
{
    __u8 last[2];
    return end >= 2 && !load_bytes(ctx, end - 2, last, sizeof(last), sizeof(last)) && last[0] == '\r' &&
           last[1] == '\n';
}

/** Walks through a chunked body from where `chunks_next` is; leaves `chunks_next` where it stops. A
 * function of its own for the verifier.
 * @return How many bytes at `offset` are understood; if not all are, `stop` says why. */
__attribute__((noinline)) __u32 chunks_walk(CTX *ctx, struct slot *s, __u32 offset, __u32 avail)
{
    __u32 at = 0;
    if (!s)
        return 0;
    s->stop = HTTP1_CHUNK_MORE;
    for (int i = 0; i < SLICE_CHUNKS; i++) {
        struct http1_chunks *c = &s->chunks_next;
        if (at >= avail || c->done)
            break;
        __u32 rest = avail - at;
        if (c->left) {
            __u32 n = rest < c->left ? rest : (__u32)c->left;
            c->left -= n;
            at += n;
            continue;
        }
        if (rest > sizeof(s->line))
            rest = sizeof(s->line);
        if (load_bytes(ctx, offset + at, &s->line, sizeof(s->line), rest)) {
            s->stop = HTTP1_CHUNK_REFUSED;
            break;
        }
        /* A send() mostly ends with its chunk. The next line is like the first one then. */
        if (IS_MSG && c->begun && rest == 2 && s->line.bytes[0] == '\r' && s->line.bytes[1] == '\n') {
            c->begun = 0;
            at += 2;
            break;
        }
        int n = http1_chunk_line(&s->line, rest, c);
        if (n <= 0) {
            s->stop = (__s8)n;
            break;
        }
        at += n;
    }
    return at;
}

/** Cuts what goes on together of the message at hand: `head` bytes that are framed already (0 inside of
 * the body) and body bytes, of `avail` bytes at `offset`. Sets what is left after it. A RESP message ends
 * with CRLF: that stays together, so that it can be looked at.
 * @return Bytes; 0 if nothing can go on: `stop` says why. */
static __always_inline __u32 slice_of(CTX *ctx, struct slot *s, __u32 offset, __u32 avail, __u32 head)
{
    avail = at_most(avail, avail);
    s->stop = HTTP1_CHUNK_REFUSED;
    if (s->framing == HTTP1_FRAMED_CHUNKED) {
        if (head)
            __builtin_memset(&s->chunks_next, 0, sizeof(s->chunks_next));
        else
            s->chunks_next = s->chunks;
        __u32 n = head + chunks_walk(ctx, s, offset + head, avail - head);
        s->remaining_next = s->chunks_next.done ? 0 : BODY_UNKNOWN;
        return n;
    }
    if (s->framing == HTTP1_FRAMED_CLOSE) {
        s->remaining_next = BODY_UNKNOWN;
        return avail;
    }
    __u64 left = head ? s->total : s->remaining;
    __u32 n = at_most(avail, left);
    if (s->protocol == SLOT_REDIS) {
        if (left - n == 1)
            n -= 1;
        else if (n == left && (n < 2 || !ends_well(ctx, offset + n)))
            return 0;
    }
    s->remaining_next = left - n;
    return n;
}

/** How many bytes of a framed message belong to its head, for slice_of(): never 0. */
static __always_inline __u32 message_head(const struct slot *s)
{
    return s->protocol == SLOT_REDIS ? 1 : s->head.head_len;
}

/** Whether a chunked body is above a limit, as far as its chunks say. */
static __always_inline int chunks_over(const struct slot *s, __u64 limit)
{
    return limit && s->framing == HTTP1_FRAMED_CHUNKED && s->chunks_next.seen > limit;
}

/** Why nothing of a body's `avail` bytes could go on. */
static __always_inline __u32 body_reason(const struct slot *s, __u32 avail)
{
    if (s->protocol != SLOT_REDIS)
        return HTTP1_CHUNK;
    return FALLBACK_RESP + (avail < 2 ? RESP_FRAME_PARTIAL : RESP_FRAME_SYNTAX);
}

/** Body bytes of the message at hand: redirected, waited for, or passed if they can not be. */
static __always_inline int body_slice(CTX *ctx, struct slot *s, __u32 offset, __u32 avail, __u64 limit)
{
    __u32 n = slice_of(ctx, s, offset, avail, 0);
    if (!n && s->framing == HTTP1_FRAMED_CHUNKED && s->stop == HTTP1_CHUNK_MORE && avail < HTTP1_CHUNK_LINE &&
        !hold(s, avail))
        return 0;
    s->held = 0;
    if (n && !chunks_over(s, limit)) {
        s->slice_kind = SLICE_BODY;
        return (int)n;
    }
    s->slice_kind = SLICE_PASS;
    s->slice_reason = (__u8)(n ? FALLBACK_LIMIT : body_reason(s, avail));
    return at_most(avail, avail);
}

/** Verdict: the slice that was cut is on its way. */
static __always_inline void slice_gone(struct slot *s)
{
    s->remaining = s->remaining_next;
    if (s->framing == HTTP1_FRAMED_CHUNKED)
        s->chunks = s->chunks_next;
    s->pieces = 0;
    s->activity++;
}
