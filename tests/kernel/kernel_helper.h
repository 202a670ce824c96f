/*
 * A bench for the kernel path without the daemon: the real programs, loaded and filled by
 * proxy/kernel.c, between loopback connections whose inner ends the test owns. The test
 * plays the daemon: it takes connections, reads what was passed up and gives them back.
 *
 *   client -- far | near (slot, programs) ... near (slot, programs) | far -- server
 *
 * Programs run in softirq context and redirected bytes travel by a workqueue, so whatever a
 * test expects it waits for, with a deadline.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <cmocka.h>

#include "proxy/kernel.h"
#include "proxy/kernel_internal.h"

/** Exit code by which ctest knows a skipped program. */
#define BENCH_SKIPPED 77

/** Slots of the bench, so connections of one test at most. */
#define BENCH_SLOTS 64

/** Bytes queued for a slow reader in the listener that a test starts with. */
#define BENCH_BUFFER 65536

/** How long anything may take. */
#define BENCH_WAIT_NS (5000000000ULL * bench_slow())

struct wire {
    int far;  /**< The client's or server's end; -1 when closed. */
    int near; /**< The end with a slot; -1 when closed. */
    uint32_t slot;
    uint32_t ref; /**< slot_ref() of the connection. */
    uint64_t cookie;
    uint64_t received; /**< Bytes that userspace has read of what was passed up. */
    uint8_t *stash;    /**< What was passed up when the connection left the map. */
    uint64_t stash_len;
    bool left; /**< Not in the map any more. */
    bool upstream;
};

struct bench {
    struct kpath *k;
    struct wire wires[BENCH_SLOTS]; /**< wires[i] has slot i. */
    uint32_t n_wires;
    struct kernel_listener_stats base; /**< Listener 0's counters when the test began. */
};

/* Life -------------------------------------------------------------------------------- */

/** Opens the kernel path with a small configuration, runs the tests, closes it.
 * @return For main(): 0, failures, or BENCH_SKIPPED after a line about what is missing. */
int bench_run(const char *name, const struct CMUnitTest *tests, size_t n);

/** The same with something more that must be there: `prepare` returns 0, or says why not. */
int bench_run_with(const char *name, const struct CMUnitTest *tests, size_t n,
                   int (*prepare)(struct kpath *k, char *why, size_t len));

#define BENCH_MAIN(name, tests) bench_run(name, tests, sizeof(tests) / sizeof((tests)[0]))
#define BENCH_TEST(f)           cmocka_unit_test_setup_teardown(f, bench_setup, bench_teardown)

/** Empties all tables but one listener that sends everything to one cluster with endpoint 0. */
int bench_setup(void **state);

/** Closes every socket and frees every slot, whatever the test left. */
int bench_teardown(void **state);

/** Opens a second, independent kernel path. @return NULL if that fails. */
struct kpath *bench_open_kpath(char *why, size_t len);

/* Connections ------------------------------------------------------------------------- */

/** Connects a loopback pair.
 * @param family    AF_INET or AF_INET6.
 * @param near_buf  SO_RCVBUF and SO_SNDBUF of the inner end; 0: the system's.
 * @param far_buf   The same for the outer end. */
void wire_connect_over(int family, struct wire *w, int near_buf, int far_buf);

static inline void wire_connect(struct wire *w, int near_buf, int far_buf)
{
    wire_connect_over(AF_INET, w, near_buf, far_buf);
}

/** A wire's place and slot, without connections. */
struct wire *bench_new_wire(struct bench *b, bool upstream);

/** A connection with an initialised slot that is not in the map yet. */
struct wire *bench_pair(struct bench *b, bool upstream, int near_buf, int far_buf);

/** Prepares the slot for the connection's life on the kernel path that is about to begin. */
void wire_renew(struct bench *b, struct wire *w);

/** Puts it into the map; an upstream connection also into endpoint 0's pool, idle. */
void bench_insert(struct bench *b, struct wire *w);

/** A connected, inserted downstream connection / idle upstream connection. */
struct wire *bench_down(struct bench *b);
struct wire *bench_up(struct bench *b);

/** Closes the inner end as the daemon does: take, leave the pool, close, free the slot. */
void bench_close(struct bench *b, struct wire *w);

/** Makes listener 0 queue `buffer` bytes at most. */
void bench_buffer(struct bench *b, uint32_t buffer);

/** Makes listener 0 refuse longer request bodies; 0: none is. */
void bench_limit(struct bench *b, uint64_t body_bytes);

/** Makes listener 0 one for Redis, over one shard with endpoint 0. */
void bench_redis(struct bench *b, uint32_t buffer);

/** The same two with the protocol Redis. */
struct wire *bench_redis_down(struct bench *b);
struct wire *bench_redis_up(struct bench *b);

/* What the programs did --------------------------------------------------------------- */

static inline struct slot *bench_slot(struct bench *b, const struct wire *w)
{
    return &b->k->slots[w->slot];
}

static inline uint64_t bench_owner(struct bench *b, const struct wire *w)
{
    return slot_owner(bench_slot(b, w));
}

static inline uint64_t bench_load(const __u64 *p)
{
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

/** Since the test began: how often a reason was counted, and messages by the kernel path. */
uint64_t bench_reason(struct bench *b, unsigned reason);
uint64_t bench_requests(struct bench *b);
uint64_t bench_responses(struct bench *b);

/** Whether an upstream connection may be leased: kernel-owned, no lease, its bit set. */
bool bench_is_idle(struct bench *b, const struct wire *up);

/** Whether the maps know the slot's socket. */
bool bench_in_socks(struct bench *b, uint32_t slot);
bool bench_in_cookies(struct bench *b, uint64_t cookie);

/* The daemon's part ------------------------------------------------------------------- */

/** Makes userspace the owner. @return The owner word before a lease is looked at. */
uint64_t bench_take(struct bench *b, struct wire *w);

/** Ends the lease of a connection that userspace took, on both sides. */
void bench_end_lease(struct bench *b, struct wire *w);

/** Takes the connection out of the map as soon as that loses nothing: TCP has what was
 * redirected, what was passed up is copied, and strparser has no other idea than TCP of where
 * the reader is. The connection must be taken and without a lease. @return Whether it left. */
bool bench_leave(struct bench *b, struct wire *w);

/** Lets it leave if it has not, and puts it into the map again as a new connection of the kernel
 * path; an upstream connection is idle then. @return false if it can not leave yet, or if
 * something passed up was not read. */
bool bench_give_back(struct bench *b, struct wire *w);

/** Whether all redirected bytes are in TCP's send queue. */
bool bench_drained(struct bench *b, const struct wire *w);

/** Whether userspace owns the connection. */
bool bench_passed(struct bench *b, const struct wire *w);

/** Userspace owns the connection, and exactly these bytes are what it can read next: a copy of
 * what was passed up while a lease lasts, otherwise after leaving the map. */
#define bench_expect_passed(b, w, data, len) bench_expect_passed_at(b, w, data, len, __FILE__, __LINE__)
void bench_expect_passed_at(struct bench *b, struct wire *w, const void *data, size_t len, const char *file,
                            int line);

/** strparser holds exactly these bytes, and the slot shows them. */
#define bench_expect_held(b, w, data, len) bench_expect_held_at(b, w, data, len, __FILE__, __LINE__)
void bench_expect_held_at(struct bench *b, struct wire *w, const void *data, size_t len, const char *file,
                          int line);

/* Bytes ------------------------------------------------------------------------------- */

/** Sends everything, waiting for room. */
void send_bytes(int fd, const void *data, size_t len);
void send_text(int fd, const char *text);

/** Exactly these bytes are what can be read next. */
#define expect_bytes(fd, data, len) expect_bytes_at(fd, data, len, __FILE__, __LINE__)
#define expect_text(fd, text)       expect_bytes_at(fd, text, strlen(text), __FILE__, __LINE__)
void expect_bytes_at(int fd, const void *data, size_t len, const char *file, int line);

/** Sends bytes in pieces of `step` (0: of changing size) by a thread of its own, and expects them, and
 * nothing else, on the other side. A text goes in one piece. */
#define carry_bytes(from, to, data, len, step) carry_bytes_at(from, to, data, len, step, __FILE__, __LINE__)
#define carry_text(from, to, text)                                                                           \
    carry_bytes_at(from, to, text, strlen(text), strlen(text), __FILE__, __LINE__)
void carry_bytes_at(int from, int to, const void *data, size_t len, size_t step, const char *file, int line);

/** The end of the stream is what can be read next. */
#define expect_eof(fd) expect_eof_at(fd, __FILE__, __LINE__)
void expect_eof_at(int fd, const char *file, int line);

/** Nothing can be read now. Only after something that would have come later was seen. */
#define expect_silence(fd) expect_silence_at(fd, __FILE__, __LINE__)
void expect_silence_at(int fd, const char *file, int line);

/** The socket's error, which is gone then. */
int socket_error(int fd);

/** Byte `at` of the stream with this number: no two streams look alike for long. */
uint8_t pattern_byte(uint32_t stream, uint64_t at);
void pattern_fill(uint8_t *buf, size_t len, uint32_t stream, uint64_t at);

/** @return Index of the first byte that differs, `len` if none does. */
size_t pattern_check(const uint8_t *buf, size_t len, uint32_t stream, uint64_t at);

/** The request and response that tests use when the content does not matter. */
#define PLAIN_REQUEST  "GET /plain HTTP/1.1\r\nHost: bench\r\n\r\n"
#define PLAIN_RESPONSE "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain"

/** Sends PLAIN_REQUEST and PLAIN_RESPONSE through the kernel path. */
void bench_exchange(struct bench *b, struct wire *down, struct wire *up);

/* Time -------------------------------------------------------------------------------- */

uint64_t bench_now(void);

/** How many times longer than usual to wait: SKEIN_SLOW, 1 without it. */
unsigned bench_slow(void);

/** Lets other threads and the workqueue run between two looks at a condition. */
void bench_pause(void);

/** Looks again until the condition holds. @return Whether it did before the deadline. */
#define eventually(condition)                                                                                \
    ({                                                                                                       \
        uint64_t end_ = bench_now() + BENCH_WAIT_NS;                                                         \
        bool ok_;                                                                                            \
        while (!(ok_ = (condition)) && bench_now() < end_)                                                   \
            bench_pause();                                                                                   \
        ok_;                                                                                                 \
    })

#define await(condition) assert_true(eventually(condition))
