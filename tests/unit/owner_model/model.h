/*
 * The owner word's protocol (skein/slot.h), explored by running the code itself.
 *
 * The programs (bpf/skein.bpf.c) and the daemon's side (proxy/kpath.c, kpath_pool.c, leave.c, takeover.c,
 * kernel.c) are compiled for the host with the compiler's thread instrumentation, so that each access to a
 * slot or a pool calls accesses.c. Every connection's programs, and the daemon, are a coroutine each; before
 * an access that another can notice a coroutine hands over to the search, which tries all orders from all
 * states.
 *
 *   accesses.c    which accesses count, and which are points where another may go first
 *   coroutines.c  running, saving and restoring them
 *   programs.c    the programs and their maps
 *   sockets.c     what the kernel does around them: strparser, queues, redirects
 *   peers.c       clients and servers: what they send, and what they have to get
 *   daemon.c      what the daemon's code needs around it, and what it is asked to do
 *   syscalls.c    what it calls
 *   moves.c       what can happen next in a state
 *   properties.c  what has to hold in every state, and at every end
 *   search.c      all states
 */
#pragma once

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bridge.h"
#include "http.h"
#include "kpath_internal.h"
#include "skein/slot.h"

enum { D1, D2, U1, U2, CONNS, DAEMON = CONNS, ACTORS };
enum { PIECES = 6, REQUESTS = 4, UNDERWAY = 6, QUEUE = 6, FIELDS = 64 };
#define NONE NO_SOCKET

/** What is explored: the peers' behaviour, and how much of what has no bound may happen. */
struct scenario {
    const char *name;
    const char *client[2][PIECES]; /**< What each client sends, cut into segments. */
    const char *response[PIECES];  /**< Every response, cut into segments... */
    uint8_t early;                 /**< ...so many of which may come before the request's body. */
    uint8_t upstreams;
    uint8_t wakes;   /**< The daemon takes connections for no reason of the protocol's. */
    uint8_t inserts; /**< Promotions and donations. */
    uint8_t closes;  /**< Connections that the daemon closes. */
    bool refusals;   /**< Redirects and insertions may fail. */
    bool pipelining; /**< Clients do not wait for responses. */
};

/** Bytes on their way into a socket: of a client's stream, or of the response to its request. */
struct bytes {
    uint8_t client, message;
    uint16_t from, to;
};

struct socket_model {
    uint16_t arrived; /**< Of what the peer sends: bytes that TCP has... */
    uint16_t parsed;  /**< ...that strparser has taken... */
    uint16_t gone;    /**< ...and where its message at hand begins: before it all was redirected or passed. */
    uint16_t passed;  /**< Bytes of those that are in the socket's own queue. */
    uint32_t base;    /**< Upstream: bytes of responses that are over. */
    uint32_t written; /**< Redirected bytes that TCP has. */
    uint16_t slice;   /**< What its verdict is at: that many bytes... */
    uint8_t target;   /**< ...for this connection, NONE if they are passed: */
    struct bytes out; /**< these. */
    struct bytes underway[UNDERWAY]; /**< Redirected into it, not sent yet. */
    uint8_t n_underway;
    uint8_t next; /**< Client: segments it has sent. */
    bool in_map, stopped, failed, kick, user, closed;
    bool frozen; /**< By the daemon. */
    /* Client: what it has got. */
    uint8_t answered;
    uint16_t answer_at;
    uint8_t redirected; /**< Responses of which the last byte was redirected. */
    uint8_t partner;    /**< Upstream connection of the exchange in userspace. */
    bool spent;         /**< It can not be used again. */
    /* Server: requests it has, in order; the last may be incomplete: it goes on at `at`. */
    struct {
        uint8_t client, message;
        bool complete;
    } queue[QUEUE];
    uint8_t n_queue;
    uint16_t at;
};

struct actor {
    jmp_buf at;
    char *sp;
    uint64_t history; /**< Of what it has seen since it began: with it its state is determined. */
    uint64_t before;  /**< `history` before the last read... */
    const void *last; /**< ...of this: reading it again brings nothing... */
    uint64_t value;   /**< ...while it is this. */
    uint64_t reads[SLOTS + 1], writes[SLOTS + 1]; /**< Fields, since its last point. */
    const void *address;
    uint8_t op, lock, field, slot;
};

enum task { TASK_NONE, TASK_WAKE, TASK_LEAVE, TASK_PROMOTE, TASK_DONATE, TASK_CLOSE };

/** Everything that the search saves and restores, besides slots, pool and stacks. */
struct world {
    struct actor actors[ACTORS];
    struct socket_model socks[CONNS];
    uint32_t cookies[CONNS];
    struct downstream down[2];
    struct upstream up[2];
    struct kpath_worker kw;
    struct kpath k;
    struct conn *conns[SLOTS];
    uint32_t gens[SLOTS], free[SLOTS];
    struct {
        char bytes[256];
        bool used;
    } memory[CONNS];
    uint8_t task, task_conn, wakes, inserts, closes;
};

extern struct world world;
extern const struct scenario *scenario;
extern const char *violation;

/** Notes what is wrong; the search stops at the first. */
#define DEMAND(condition, text)                                                                              \
    do {                                                                                                     \
        if (!(condition) && !violation)                                                                      \
            violation = text;                                                                                \
    } while (0)

static inline bool is_up(unsigned c)
{
    return c >= U1;
}

static inline struct conn *conn_of(unsigned c)
{
    return is_up(c) ? &world.up[c - U1].c : &world.down[c].c;
}

/** The ref of the slot that a connection has now. */
static inline uint32_t ref_of(unsigned c)
{
    return slot_ref(conn_of(c)->slot, world.gens[conn_of(c)->slot]);
}

/* accesses.c */
extern uint64_t points;  /**< Fields whose accesses are points. */
extern bool points_grew; /**< The search has to begin again. */
const char *field_name(unsigned field);
const char *field_of(const void *address);
void accessed_all(unsigned slot);

/* coroutines.c */
extern unsigned running; /**< Actor, NONE in the search. */
extern unsigned chosen;  /**< What the search decided for the step. */
void coroutines_init(void);
void forget(void); /**< The running coroutine is where all that counts is in the world. */
void step(unsigned actor, unsigned choice);
void start(unsigned actor);
bool resting(unsigned actor);
bool blocked(unsigned actor);
bool spins(const struct actor *a);
size_t save(char *to);
void restore(const char *from);
uint64_t fingerprint(void);

/* sockets.c */
void socket_run(unsigned c);
void socket_deliver(unsigned c);

/* peers.c */
void peers_init(void);
unsigned requests_of(unsigned client);
unsigned request_begin(unsigned client, unsigned message);
unsigned request_at(unsigned client, unsigned position);
unsigned response_len(unsigned client, unsigned message);
unsigned interim_len(void);
char stream_byte(unsigned c, unsigned position);
const char *client_text(unsigned client);
unsigned next_segment(unsigned c);
void server_gets(unsigned u, const struct bytes *b);
void client_gets(unsigned d, const struct bytes *b);
void response_over(unsigned u);

/* daemon.c */
void daemon_init(void);
void daemon_run(void);
void daemon_froze(const uint64_t *owner);
bool daemon_bound(unsigned u);
void userspace_serves(unsigned d);
void userspace_finishes(unsigned d);
bool userspace_can_finish(unsigned d);

/* syscalls.c */
enum { FD = 100, SOCKS_FD = 1000, COOKIES_FD };
struct socket_model *model_call(unsigned c);
void model_fire(void *arg);

/* moves.c */
enum { MOVES = 64 };
enum move_kind { MOVE_STEP, MOVE_ARRIVE, MOVE_KICK, MOVE_DELIVER, MOVE_TASK, MOVE_FINISH };
struct move {
    uint8_t kind, actor, choice;
    bool forced;
};
unsigned moves(struct move *to);
void play(const struct move *m);
void describe(const struct move *m, char *to, size_t len);

/* properties.c */
void check_state(void);
void check_end(void);
void check_redirect(unsigned c, unsigned target, uint32_t slot);
void check_idle(unsigned c);
void check_takeover(unsigned d, unsigned u, const struct exchange *x, const char *head);
void check_kept(unsigned d, const char *kept, size_t len);
void check_resume(unsigned c, const char *data, size_t len);

/* search.c */
struct result {
    const char *violation;
    size_t states, steps;
};
struct result explore(const struct scenario *s);
void print_trace(void);

/* scenarios.c */
extern const struct scenario scenarios[]; /**< Up to one without a name. */
