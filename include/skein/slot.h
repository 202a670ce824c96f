/*
 * A connection as the BPF programs and the daemon share it: one element of an mmapped
 * array map.
 *
 * Who may change what is settled by the owner word, changed only by atomic operations:
 *
 *   bit 0       USER    userspace owns the connection: programs redirect nothing more
 *   bit 1       BUSY    the programs are at work with this connection and its lease
 *   bit 2       UP      role: upstream connection
 *   bit 3       FROZEN  what comes now stays in TCP's receive queue
 *   bits 4-15   own generation (12 bits)
 *   bits 16-27  lease: generation of the other side (12 bits)
 *   bits 28-45  lease: slot of the other side, plus 1; 0 = no lease (18 bits)
 *   bits 46-63  sequence: number of slices passed to userspace (18 bits)
 *
 * - BUSY is set by the connection's own parser, by a compare-and-swap that names the
 *   generation, and cleared by the verdict that follows it, or by the parser itself if it
 *   gives up; on the bypass path by SK_MSG, which does both parts. A socket's programs run one
 *   at a time. Nothing preempts a parser and its verdict; SK_MSG may lose its CPU where the kernel is
 *   preemptible, and the daemon waits.
 * - The daemon changes a word only while BUSY is clear, by compare-and-swap. It takes a
 *   connection by setting USER. Nobody clears USER: a connection that goes back to the
 *   kernel path gets a new generation.
 * - Programs pass to userspace what comes in while USER is set, each time counting the
 *   sequence up, until FROZEN is set. The daemon sets FROZEN when it has seen everything
 *   that was passed: the compare-and-swap fails if one more slice was. Then the parser gives
 *   up, strparser stops, and the socket can leave the map without losing a byte.
 * - A parser that does not take a message, on a socket into which nobody redirects, sets both
 *   itself and gives up at once.
 * - What is not complete (a head, a chunk line) the parser leaves with strparser, and says so in
 *   `held`: at most a window, which shows the same bytes. A program never gives up on a socket
 *   of which something is held, but passes it; the daemon reads `held` when it has set FROZEN.
 * - A lease is written on the upstream word first (by the downstream connection's verdict,
 *   with a compare-and-swap that demands an idle, not BUSY, not USER word of the expected
 *   generation), then on the downstream word. It is cleared by the upstream connection's
 *   verdict when the response is complete, downstream word first, or by the daemon when it
 *   has taken both sides.
 * - Programs touch the other side's slot only while they hold their own BUSY and have seen
 *   the lease; the daemon frees a slot only after it has taken both sides. So a slot is never
 *   reused under a program's hands.
 */
#pragma once

#ifdef __bpf__
#include <linux/types.h>
#else
#include <linux/types.h>
#include <stddef.h>
#endif

#include "parsers/http1_chunk_scan.h"
#include "parsers/http1_find.h"
#include "parsers/http1_framer.h"
#include "parsers/http1_scan.h"
#include "parsers/resp_scan.h"

#define OWNER_USER        (1ULL << 0)
#define OWNER_BUSY        (1ULL << 1)
#define OWNER_UP          (1ULL << 2)
#define OWNER_FROZEN      (1ULL << 3)
#define OWNER_GEN_SHIFT   4
#define OWNER_GEN_BITS    12
#define OWNER_GEN_MASK    (((1ULL << OWNER_GEN_BITS) - 1) << OWNER_GEN_SHIFT)
#define OWNER_LEASE_SHIFT 16
#define OWNER_LEASE_BITS  30
#define OWNER_LEASE_MASK  (((1ULL << OWNER_LEASE_BITS) - 1) << OWNER_LEASE_SHIFT)
#define OWNER_SEQ_SHIFT   46
#define OWNER_SEQ_ONE     (1ULL << OWNER_SEQ_SHIFT)

/** errno that the parser leaves on a socket when it gives up on it: strparser stops, and what
 * it has not consumed stays in TCP's receive queue. */
#define PARSER_GAVE_UP 125 /* ECANCELED */

/** Longest slice: below any receive buffer, which strparser demands of a message. */
#define SLICE_MAX 65536

/** `remaining` of a body that ends with a last chunk, or with the connection. */
#define BODY_UNKNOWN (~0ULL)

/** Times that something may be held for one message: each costs memory that nobody accounts for. */
#define HELD_PIECES_MAX 32

/** What a piece in an application's queue takes besides its bytes, for the limit on a slow reader; and room
 * that a send queue must have besides what is sent, at all and for each segment of it. */
#define PUSH_BYTES   1024
#define SEND_ROOM    4096
#define SEND_SEGMENT 2048

/** Requests that a client pipelined and that go on together, as one slice. */
#define RUN_MAX 32

/** Slots that the lease field can name. */
#define SLOTS_MAX ((1U << 18) - 1)

/** Slot and generation of a connection, as the lease field and the pools hold it: never 0. */
static inline __u32 slot_ref(__u32 index, __u32 gen)
{
    return ((index + 1) << OWNER_GEN_BITS) | (gen & ((1U << OWNER_GEN_BITS) - 1));
}

static inline __u32 ref_index(__u32 ref)
{
    return (ref >> OWNER_GEN_BITS) - 1;
}

static inline __u32 ref_gen(__u32 ref)
{
    return ref & ((1U << OWNER_GEN_BITS) - 1);
}

static inline __u32 owner_lease(__u64 owner)
{
    return (__u32)((owner & OWNER_LEASE_MASK) >> OWNER_LEASE_SHIFT);
}

static inline __u32 owner_gen(__u64 owner)
{
    return (__u32)((owner & OWNER_GEN_MASK) >> OWNER_GEN_SHIFT);
}

static inline __u64 lease_bits(__u32 ref)
{
    return (__u64)ref << OWNER_LEASE_SHIFT;
}

/** Longest path and host that the kernel path routes by; longer prefixes and hosts in a
 * configuration stay in userspace. */
#define ROUTE_PATH_MAX 120
#define ROUTE_HOST_MAX 60

/** Key of the route trie: `bits` of (vhost, path) are significant. */
struct route_key {
    __u32 bits;
    __u32 vhost;
    __u8 path[ROUTE_PATH_MAX];
};

/** Key of the host table; host in lower case, padded with zeros. */
struct host_key {
    __u32 listener;
    __u8 host[ROUTE_HOST_MAX];
};

/** Longest command name, and longest key, that the kernel path looks at. */
#define REDIS_NAME_MAX 16
#define REDIS_KEY_MAX  256

/** Key of the command table: in lower case, padded with zeros. */
struct redis_name {
    __u8 text[REDIS_NAME_MAX];
};

/** What of a key is hashed, in the window. */
struct redis_tag {
    __u32 off;
    __u32 len;
    __u32 open; /**< Working memory. */
};

enum slot_protocol { SLOT_HTTP, SLOT_REDIS };

/** What the parser found out for the verdict about the bytes it has cut off. */
enum slice_kind {
    SLICE_PASS, /**< Into the socket's own queue, for userspace; `slice_reason` says why. */
    SLICE_HEAD, /**< A head and as much of the body as is there; or a run of requests without bodies. */
    SLICE_BODY, /**< Body bytes of the message at hand. */
};

/* By cache line, as the two sides of a lease mostly run on different CPUs: what the other side, and the
 * daemon, look at or change; what the connection's own programs need for each message; what hardly changes;
 * what only some messages need. */
struct slot {
    __u64 owner;
    __u64 redirected; /**< Bytes redirected into this connection's socket. */
    __u64 remaining;  /**< Body bytes of the message at hand that this socket still has to bring... */
    __u32 tx_seq;     /**< TCP sequence number after the last redirected byte. */
    __u32 tx_valid;   /**< tx_seq counts; cleared when userspace has written. */
    __u32 activity;   /**< Counts slices; the daemon's timeouts look at it. */
    __u32 listener;   /**< Downstream: index into the listener table. */
    __u32 stats_id;   /**< Listener's (downstream) or endpoint's (upstream) counters. */
    __u32 expect_seq; /**< Upstream: TCP sequence number after the response, as far as is known. */
    __u32 heads;      /**< Of a run: bit i says that request i (upstream: of those outstanding) is HEAD. */
    __u32 pushes;     /**< Pieces redirected to an application since its queue was last seen empty. */
    __u8 run;        /**< Downstream: requests in the run redirected last. Upstream: responses outstanding. */
    __u8 responding; /**< Upstream: the response's head was redirected. */
    __u8 early;      /**< Upstream: it sent something before it had the request. */
    __u8 aborted;    /**< Beyond help: to be reset. */
    __u8 pusher_left; /**< `pusher` is not in the send() any more with which it redirected last. */

    __u64 total __attribute__((aligned(64))); /**< Bytes of the message whose head was framed last. */
    __u64 remaining_next; /**< `remaining` after the slice that was cut last; BODY_UNKNOWN if only an end
                             tells. */
    __u64 cookie;         /**< Of its socket. */
    __u32 slice_len;
    __u32 held;       /**< Bytes that strparser holds, because a head or a chunk line is not complete. */
    __u32 cluster;    /**< Downstream: where the request at hand goes. */
    __u32 picked;     /**< Downstream: endpoint id chosen for the request at hand, + 1. */
    __u32 place;      /**< Downstream: place in its pool of the upstream connection it had last. */
    __u32 window_len; /**< Downstream: bytes of the last head's message in the window. */
    __u32 source;     /**< Downstream: hash of the client's address. */
    __u8 slice_kind;
    __u8 slice_reason;
    __u8 left_for; /**< enum fallback_reason with which the programs ended this stay; 0 if they did not. */
    __u8 counted;  /**< Downstream: the request at hand counts in the load of its endpoint. Upstream: the
                      outstanding one. */
    __u8 framing;  /**< enum http1_framing of the message at hand. */
    __s8 stop;     /**< enum http1_chunk_result: why a chunked body could not be walked further. */
    __u8 pieces;   /**< Times that something was held for the message at hand. */
    __u8 replies;  /**< Upstream: responses in the slice that was cut last. */
    __u8 framed;   /**< The window begins with the head that `head` describes, which says all of it. */

    /* Of a connection whose other end is an application of this host, reached past TCP (skein/bypass.h). */
    __u64 app __attribute__((aligned(64))); /**< Cookie of the application's socket; 0: none, the socket is in
                                               the SOCKMAP. */
    __u64 app_sock;                         /**< Its address in the kernel. */
    __u64 sock;          /**< Address of the connection's own socket, for programs that can look none up. */
    __u64 pusher;        /**< The socket that redirected here past TCP last: its address (0: none has) */
    __u64 pusher_cookie; /**< and cookie. */
    __u32 app_ports; /**< The application's, of both ends, as the kernel has them: what it is connected by. */
    __u32 pusher_process; /**< Where its last send() was; 0: in none. */
    __u32 pool;           /**< Downstream: number of its worker. Upstream: index of its pool. */
    __u32 pool_index;     /**< Upstream: place in its pool. */
    __u8 protocol;        /**< enum slot_protocol */
    __u8 clean;           /**< Downstream: TCP was seen to be at both. */
    __u8 quiet;           /**< skein_inspect: nothing is on its way to the application past TCP. */

    __u64 passed __attribute__((aligned(64))); /**< Bytes put into the socket's own queue for userspace. */
    struct http1_chunks chunks;                /**< Of a chunked body, how far it is... */
    struct http1_chunks chunks_next;           /**< ...and after the slice that was cut last. */
    __u32 write_seq;  /**< skein_inspect: TCP sequence number after the last byte queued, */
    __u32 copied_seq; /**< where TCP believes the reader to be, */
    __u32 parsed_seq; /**< where strparser is, */
    __u32 rcv_nxt;    /**< after the last byte received, */
    __u32 stopped;    /**< and whether strparser has stopped for good. */
    __u32 app_snd; /**< Downstream: TCP sequence number after the last byte that the application has sent, */
    __u32 app_rcv; /**< and after the last one that it was sent, by TCP. */
    union {
        struct http1_head head; /**< Of the last head framed. */
        struct resp_frame frame;
    };
    union {
        struct http1_scan scan;
        struct http1_find find;
        struct resp_scan_state resp;
        struct redis_name name;
        struct redis_tag tag;
        struct route_key route;
        struct host_key host;
    };
    struct http1_chunk_window line; /**< A chunk line. */
    struct http1_window window __attribute__((aligned(8)));
} __attribute__((aligned(64)));

/** Where the bytes that strparser holds can be read (`held` of them). */
static inline const unsigned char *slot_held(const struct slot *s)
{
    return s->remaining ? s->line.bytes : s->window.bytes;
}

/** What skein_inspect answers. */
enum inspect_result {
    INSPECT_OK,
    INSPECT_GONE, /**< The slot has no socket, or it was reset. */
    INSPECT_FAILED,
};

/** Idle upstream connections of one worker to one endpoint: bit i of `idle` says that
 * `ref[i]` may be leased. Bits are hints, the owner word decides. */
#define POOL_WORDS 16
#define POOL_SIZE  (POOL_WORDS * 64)

struct pool {
    __u64 idle[POOL_WORDS];
    __u32 ref[POOL_SIZE];
};
