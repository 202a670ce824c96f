/*
 * How the daemon and the programs find out that the other end of a connection is a socket of this
 * host, and what they say to each other about it.
 *
 * An application's socket is registered when its connection is established, before the application can read
 * or write. SOCK_OPS runs for both ends of it, in this order:
 *
 *   client -> a listener of skein:   SYN at the listener     its tuple and numbers are noted (bypass_tuple)
 *                                    established, client     a tuple that was noted: registered
 *                                    established, skein      the tuple's client is known (bypass_link)
 *   skein -> a server:               established, skein      the tuple is noted
 *                                    established, server     a tuple that was noted: registered, and known
 *
 * Both ends name both sequence numbers, so that ends in two network namespaces which have the same addresses
 * are never taken for each other's.
 */
#pragma once

#include <linux/types.h>

/** One connection as both of its ends see it: the side that connected first. IPv4 is in the last word. */
struct bypass_tuple {
    __u32 client[4];
    __u32 server[4];
    __u32 client_port; /**< In host order, */
    __u32 server_port;
    __u32 client_seq; /**< as are the first sequence numbers after SYN. */
    __u32 server_seq;
};

/** By the cookie of the daemon's socket: both ends' sockets, by their addresses in the kernel. */
struct bypass_link {
    __u64 own_sock;
    __u64 app_sock;
    __u64 app; /**< Cookie of the application's. */
};

/** What SOCK_OPS notes of a tuple until both ends are established. */
struct bypass_note {
    __u64 sock; /**< Of the end that was established first; 0: none yet. */
    __u64 cookie;
    __u64 ours; /**< That end is the daemon's. */
};

/** In the application's socket (BPF_MAP_TYPE_SK_STORAGE). */
struct bypass_end {
    __u64 cookie; /**< Of the socket itself: a slot that `ref` names may be another connection's by now. */
    __u32 ref;    /**< slot_ref() of the connection whose other end this is; 0: none. */
    __u32 _pad;
};

/** What the daemon asks skein_bind, at the beginning of the "packet". */
struct bypass_ask {
    __u64 own; /**< Cookie of the daemon's socket. */
    __u32 slot;
    __u32 ref;
};

/** Why a connection takes the bypass path, or does not; BYPASS_OK is skein_bind's success. */
enum bypass_reason {
    BYPASS_OK,
    BYPASS_REMOTE,    /**< Nobody on this host was seen at its other end. */
    BYPASS_GONE,      /**< The other end is closing, or not in the map (any more). */
    BYPASS_BUSY,      /**< Something is still under way by TCP, or was not read. */
    BYPASS_LOW_WATER, /**< The application has set SO_RCVLOWAT, */
    BYPASS_ZEROCOPY,  /**< or SO_ZEROCOPY. */
    BYPASS_EXCEPTED,  /**< By the configuration: listener or cluster. */
    BYPASS_NO_MEMORY, /**< A redirect has met a lack of memory a moment ago. */
    BYPASS_OFF,       /**< The path is off. */
    _BYPASS_MAX,
};
