/*
 * For tests of the userspace Redis path: a real worker whose loop runs in the test's thread, clients
 * that connect to its listener, and shards that the test plays itself. What happens is up to the test:
 * it sends bytes on one end and says which bytes have to arrive at the other.
 *
 * Three shards with crc16_slots by default. Of the keys used here b, f and hello lie on shard 0, c and
 * g on shard 1, a and d on shard 2; no two share a slot.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <string.h>

#include "proxy/redis.h"
#include "proxy/redis_worker.h"
#include "proxy/worker.h"

#define BENCH_SHARDS_MAX 4
#define MS               1000000ULL

/** Pieces of the configuration, in YAML; NULL: the defaults. */
struct bench_conf {
    unsigned shards;
    const char *policy;   /**< lb_policy */
    const char *listener; /**< Of the listener's mapping `redis`, without braces. */
    const char *cluster;  /**< Of the cluster's. */
    const char *globals;  /**< Whole sections. */
};

extern struct worker bench_worker;

/** Starts the worker with its listener and the shards. */
void bench_begin(const struct bench_conf *conf);

/** Ends all; checks that nobody is left. A teardown. */
int bench_end(void **state);

#define BENCH_TEST(name) cmocka_unit_test_teardown(name, bench_end)

/** Another configuration for the same listener and shards. */
void bench_reload(const struct bench_conf *conf);

/** What SIGTERM does. */
void bench_drain(void);

/** Runs the events that are there now. */
void bench_turn(void);

/** Runs events until nothing happens any more. */
void bench_settle(void);

void bench_run_for(uint64_t ns);

#define BENCH_UNTIL(condition)                                                                               \
    do {                                                                                                     \
        uint64_t _late = conn_now() + 5000 * MS;                                                             \
        while (!(condition)) {                                                                               \
            if (conn_now() > _late)                                                                          \
                fail_msg("waited in vain for: %s", #condition);                                              \
            bench_turn();                                                                                    \
        }                                                                                                    \
    } while (0)

/** A new client. */
int bench_client(void);

/** The same, with a receive buffer of a few KiB. */
int bench_small_client(void);

/** The worker's side of the client that came last. */
struct redis_client *bench_last_client(void);

/** The worker's first shared connection of a RESP version, to whichever shard has one; NULL without. */
struct redis_upstream *bench_shared(unsigned version);

/** The next connection that the worker makes to a shard. */
int bench_shard(unsigned i);

/** Nobody connects to the shard. */
void bench_no_shard(unsigned i);

/** The shard refuses connections from now on, or takes them again. */
void bench_shard_down(unsigned i);
void bench_shard_up(unsigned i);

/** Address of a shard, "127.x.y.z:port". */
const char *bench_address(unsigned i);

/** Sends bytes. */
void bench_send(int fd, const char *text);
void bench_send_bytes(int fd, const char *data, size_t len);

/** Sends as much as is taken. @return Bytes. */
size_t bench_push(int fd, const char *data, size_t len);

/** Sends commands: words between spaces, commands between "; ". */
void bench_say(int fd, const char *words);

/** The next bytes that arrive are these. */
void bench_expect(int fd, const char *text);
void bench_expect_bytes(int fd, const char *data, size_t len);
void bench_expect_said(int fd, const char *words);

/** An error of skein's own about a shard: "-ERR shard ADDRESS: WHY". */
void bench_expect_shard_error(int fd, unsigned shard, const char *why);

/** Nothing arrives. */
void bench_nothing(int fd);

/** The connection has ended. */
void bench_expect_end(int fd);

/** Ends the test's side, with FIN or RST. */
void bench_close(int fd);
void bench_reset(int fd);
void bench_half_close(int fd);

/** Reads and drops what arrives, until `len` bytes came or the end. @return Bytes. */
size_t bench_swallow(int fd, size_t len);
