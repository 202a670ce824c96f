/*
 * One TCP socket of the daemon: buffered, non-blocking input and output on a worker's
 * event loop, and a deadline. While the kernel path has the socket in its maps (kpath.h),
 * userspace neither reads nor writes it: output is queued, as it is during a connect.
 *
 * Output of one event callback is staged and leaves with one system call when the
 * callback ends (or, gathered, when the loop's round ends); what the socket does not take is queued and tells
 * the owner, who stops reading from the other side. Input that the owner does not consume is kept and offered
 * again, together with what comes next.
 */
#pragma once

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

struct conn;
struct evbuffer;
struct kept;
struct gather;
struct slot;
struct worker;
struct worker_listener;

/** What a connection's owner does; all run on the worker's thread. */
struct conn_ops {
    uint8_t protocol; /**< enum slot_protocol, for the kernel path. */
    /** Consumes input. @return Bytes consumed, at most `len`; the rest is offered again. */
    size_t (*input)(struct conn *c, const char *data, size_t len);
    /** The peer will send nothing more. Kept input was offered before. */
    void (*eof)(struct conn *c);
    /** The socket failed (`err` is an errno); the owner destroys or abandons it. */
    void (*broken)(struct conn *c, int err);
    /** A non-blocking connect succeeded. */
    void (*connected)(struct conn *c);
    /** Output is queued because the socket takes no more: stop producing. */
    void (*congested)(struct conn *c);
    /** Some queued output left, the rest waits on. NULL: of no interest. */
    void (*progress)(struct conn *c);
    /** All queued output left: produce again. */
    void (*drained)(struct conn *c);
    /** The deadline passed. */
    void (*expired)(struct conn *c);

    /** Whether nothing is outstanding on it: it may go to the kernel path, or come to an end. */
    bool (*idle)(const struct conn *c);
    /** How long it may be idle, in ns; 0: for ever. NULL: timeouts.idle. */
    uint64_t (*idle_limit)(const struct conn *c);
    /** Starts the clock of the phase it is in. */
    void (*clock)(struct conn *c);
    /** Gives up what is outstanding, if anything, and closes it with a reset. */
    void (*cancel)(struct conn *c);
    /** Downstream: its listener goes away or the worker drains. Ends now if it is idle, otherwise
     * after what it is doing. */
    void (*drain)(struct conn *c);
    /** Downstream: both connections of a lease were taken from the kernel path; what their slots
     * say about the messages at hand goes on in userspace. */
    void (*takeover)(struct conn *d, struct conn *u, const struct slot *ds, const struct slot *us);
    /** Downstream: hash of the client's address, for clusters that go by it. NULL: none does. */
    uint32_t (*source)(struct conn *c);
    /** Upstream: an idle connection came back from the kernel path and is the worker's again. */
    void (*park)(struct conn *u);
};

struct conn {
    int fd;
    struct worker *worker;
    const struct conn_ops *ops;
    struct event rev;
    struct event wev;
    struct event timer;
    struct kept *in;       /**< Input not yet consumed; NULL when empty. */
    struct evbuffer *out;  /**< Output not yet taken by the socket; NULL when empty. */
    struct gather *gather; /**< Output gathered in this round; NULL without. */
    uint64_t deadline;     /**< Monotonic ns; 0: none. */
    uint64_t timer_at;     /**< When `timer` fires; 0: not pending. */
    uint64_t sent;         /**< Bytes written by userspace since the socket exists. */
    uint64_t cookie;       /**< SO_COOKIE; 0: was not asked for yet. */
    char *passed;          /**< What the programs passed up, copied while leaving; NULL without. */
    size_t passed_len;
    uint32_t rcvbuf;    /**< What the receive buffer was before it grew in leaving; 0 if it did not. */
    uint32_t slot;      /**< Kernel-path slot, SLOT_NONE without. */
    uint32_t activity;  /**< The slot's count when last looked at... */
    uint64_t active_at; /**< ...and when it was last seen to have changed. */
    bool kernel : 1;    /**< The kernel path owns the connection, as far as we know. */
    bool leaving : 1;   /**< Taken from the kernel path, not out of its maps yet: neither
                         * read nor written to. */
    bool leave_listed : 1;
    bool local : 1;    /**< It has a slot, and an application of this host is at its other end, past TCP. */
    bool remote : 1;   /**< The other end was found not to be on this host, or is excepted. */
    bool quiet : 1;    /**< Nothing was on its way to that when it was last looked at, while leaving. */
    bool excepted : 1; /**< Never so, by the configuration. */
    bool held : 1;     /**< strparser held a part of a message when the slot was last looked at. */
    bool connecting : 1;
    bool reading : 1; /**< Read events wanted. */
    bool writing : 1; /**< Write event armed. */
    bool eof_seen : 1;
    bool write_failed : 1;
    bool was_reset : 1; /**< Writing met a reset, which reading then sees as an end. */
    bool broken : 1;    /**< The owner is still to be told that writing failed. */
    bool pumping : 1;   /**< The input callback is on the stack. */
    bool pump_again : 1;
    bool closing : 1;   /**< Ends when the output has left. */
    bool lingering : 1; /**< Before the end, wait for the peer's FIN. */
    bool shut : 1;      /**< Our FIN was sent. */
    bool dead : 1;      /**< Closed; freed when the loop comes round. */
    bool upstream : 1;
    bool gathering : 1; /**< Output is gathered, not staged, */
    uint8_t unread;     /**< Times in a row that it could have been bypassed but for what was to be read. */
    uint8_t gather_max; /**< in this many buffers at most. */

    /* Downstream, for the kernel path. */
    struct worker_listener *listener; /**< NULL when it is gone. */
    uint32_t listener_id;             /**< For the counters, also after the listener is gone. */
    uint32_t requests;                /**< Messages that userspace took. */
    uint32_t picked;     /**< Endpoint id + 1 that the kernel path chose but had no idle connection
                          * to; 0 without. */
    uint32_t place;      /**< Where in its pool the connection is that served it last. */
    uint32_t promotions; /**< Times it was given to the kernel path. */
    uint32_t promote_at; /**< Not again before this many requests... */
    uint32_t penalty;    /**< ...after a fallback, and the wait that led to it. */
    bool kernel_refused; /**< Can not be promoted (socket refused by the map). */

    /* Upstream. */
    uint32_t endpoint;   /**< Endpoint id. */
    bool counted;        /**< The outstanding request counts in the endpoint's load. */
    uint32_t pool_index; /**< Place in the kernel path's pool; UINT32_MAX without. */

    TAILQ_ENTRY(conn) link;          /**< In the worker's list of live or dead connections. */
    TAILQ_ENTRY(conn) leave;         /**< In the worker's list of connections that are leaving. */
    void (*release)(struct conn *c); /**< Frees the memory around the connection. */
};

#define SLOT_NONE UINT32_MAX

/** Prepares a connection around a non-blocking socket, which it owns from now on.
 *
 * @param release  Frees the object that embeds `c`; called once, after conn_close(),
 *                 outside of any callback.
 */
void conn_init(struct conn *c, struct worker *w, int fd, const struct conn_ops *ops,
               void (*release)(struct conn *c));

/** Starts or stops delivering input (and EOF). Kept input is offered on a start. */
void conn_read(struct conn *c, bool on);

/** Waits for a non-blocking connect; output is queued meanwhile. */
void conn_await_connect(struct conn *c);

/** Keeps input that came another way, as though the socket had brought it now. Not inside of `input`. */
void conn_keep(struct conn *c, const char *data, size_t len);

/** Offers kept input to the owner again. Safe inside of callbacks. */
void conn_pump(struct conn *c);

/** Queues bytes for sending; they leave when the callback ends, or at once if large. */
void conn_put(struct conn *c, const void *data, size_t len);
void conn_puts(struct conn *c, const char *text);

/** From now on output of this connection is gathered until the worker's loop has gone through the
 * events at hand, or until `buffers` (1 to GATHER_MANY) times GATHER_SIZE bytes (gather.h) are there. */
void conn_gather(struct conn *c, unsigned buffers);

/** Bytes gathered and waiting for the end of the round; not part of conn_backlog(). */
size_t conn_gathered(const struct conn *c);

/** Sends what is staged or gathered for this connection now. */
void conn_push(struct conn *c);

/** Sends what is staged on this worker now. Called at the end of each event callback. */
void conn_flush(struct worker *w);

/** Bytes queued that the socket has not taken. */
size_t conn_backlog(const struct conn *c);

/** Bytes kept that the owner has not consumed. */
size_t conn_pending(const struct conn *c);

/** Discards queued output that was not sent. */
void conn_discard_output(struct conn *c);

/** Sets the deadline to `ns` from now; 0 removes it. */
void conn_deadline(struct conn *c, uint64_t ns);

/** For kpath.c: from now on the socket is not read or written (`leaving` is set)... */
void conn_suspend(struct conn *c);

/** ...until now; `data` was read meanwhile and comes first. @param err The socket's error. */
void conn_resume(struct conn *c, const char *data, size_t len, int err);

/** Closes when all output has left.
 *
 * @param linger  Shut the write side, then read and discard until the peer closes too or
 *                a bound passes, so that unread input does not destroy what was sent
 *                (RFC 9112 9.6).
 */
void conn_finish(struct conn *c, bool linger);

/** Tells the owner, from the loop, that the connection is broken. */
void conn_break(struct conn *c);

/** Closes now, dropping queued output. @param reset Send RST instead of FIN. */
void conn_close(struct conn *c, bool reset);

/** Bounds what the kernel queues for a socket, in both directions together with its
 * partner, by `limit` bytes. On a listening socket it holds for what it accepts. */
void conn_bound_buffers(int fd, uint64_t limit);

/** Monotonic time in ns, as coarse as a scheduler tick. */
uint64_t conn_now(void);
