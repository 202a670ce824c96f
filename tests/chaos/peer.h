/*
 * One socket that plays a script: bytes to send, and marks between them at which it pauses, closes,
 * resets or half-closes. How it cuts its writes and how fast it reads can be chosen.
 */
#pragma once

#include <event2/event_struct.h>
#include <sys/queue.h>

#include "chaos.h"
#include "rng.h"

enum peer_act {
    PEER_PAUSE,
    PEER_CLOSE,
    PEER_RESET,
    PEER_SHUT, /**< Half-close. */
};

enum peer_pace {
    PEER_WHOLE,
    PEER_PIECES, /**< Random pieces, with short waits between some of them. */
    PEER_BYTES,  /**< The first bytes one by one, the rest in pieces. */
};

#define PEER_MARKS 24

struct peer;

struct peer_ops {
    /** Bytes have come. */
    void (*input)(struct peer *p, const uint8_t *data, size_t len);
    /** The other side has closed (`err` 0) or reset; nothing more will come. */
    void (*ended)(struct peer *p, int err);
    /** A mark was reached. After PEER_CLOSE and PEER_RESET the peer is dead. */
    void (*acted)(struct peer *p, enum peer_act act);
    /** Everything has been given to the kernel. May be NULL. */
    void (*drained)(struct peer *p);
    /** Frees the owner; called some time after the peer died. */
    void (*release)(struct peer *p);
};

struct peer {
    int fd;
    const struct peer_ops *ops;
    struct event rev, wev, wtimer, rtimer;
    struct evbuffer *out;
    uint64_t queued, sent, received;
    struct {
        uint64_t at;
        enum peer_act act;
        uint32_t ms;
    } marks[PEER_MARKS];
    unsigned n_marks;
    struct rng rng;
    enum peer_pace pace;
    uint64_t pace_from;  /**< Where the present message begins. */
    uint32_t read_piece; /**< Bytes read at a time; 0: as many as there are. */
    uint32_t read_wait;  /**< Milliseconds between two such reads. */
    uint64_t read_fast;  /**< From so many bytes received on it reads fast again. */
    bool connecting, waiting, dead, write_failed, shut;
    TAILQ_ENTRY(peer) grave;
};

/** Takes over `fd`, a connected non-blocking socket. */
void peer_init(struct peer *p, int fd, const struct peer_ops *ops, struct rng rng);

/** Connects to a port on 127.0.0.1; a failure comes as the connection's end, with `connecting` set. */
void peer_connect(struct peer *p, uint16_t port, const struct peer_ops *ops, struct rng rng);

/** Appends bytes. */
void peer_put(struct peer *p, const void *data, size_t len);
void peer_puts(struct peer *p, const char *text);

/** Puts a mark at the stream offset `at`, which lies behind all earlier marks. */
void peer_mark(struct peer *p, uint64_t at, enum peer_act act, uint32_t ms);

/** From here on a new message, sent at this pace. */
void peer_pace(struct peer *p, enum peer_pace pace);

/** Reads a while slowly, or as fast as it can. */
void peer_read_slowly(struct peer *p, bool slowly);

/** Sends what can be sent; ends a pause. */
void peer_go(struct peer *p);

/** Closes or resets now. The owner is released later. */
void peer_close(struct peer *p, bool reset);

/** Releases the dead; at the end of the run too. */
void peer_reap(void);
