/*
 * The bench with the bypass path: the outer ends are applications' sockets, registered by the programs.
 *
 *   client -- far | near (slot) ... near (slot) | far -- server
 *      |  SK_MSG: past TCP, into the other one's queue    |
 *      +--------------------------------------------------+
 *
 * What does not go past TCP arrives at `near` as at any socket.
 */
#pragma once

#include "kernel_helper.h"

#include "proxy/bypass.h"

/** As BENCH_MAIN(). */
int bypass_run(const char *name, const struct CMUnitTest *tests, size_t n);

/** The same with a configuration, which may except something. */
int bypass_run_with(const char *name, const struct CMUnitTest *tests, size_t n, const struct conf *conf);

#define BYPASS_MAIN(name, tests) bypass_run(name, tests, sizeof(tests) / sizeof((tests)[0]))

/* Connections ------------------------------------------------------------------------- */

/** Where a connection is made, and with which buffers (0: the system's). */
struct bypass_place {
    int client_family; /**< AF_INET or AF_INET6; 0: AF_INET, on both sides. */
    int server_family; /**< AF_INET6 with a client of AF_INET: a listener for both. */
    bool mapped;       /**< The client is an IPv6 socket that speaks IPv4. */
    int near_buf;
    int far_buf;
};

/** A connection with an initialised slot, whose outer end is registered, but not yet tied to the slot. */
struct wire *bypass_pair(struct bench *b, bool upstream, const struct bypass_place *where);

/** The same of two ends that the test has connected. */
struct wire *bypass_adopt(struct bench *b, bool upstream, int near, int far);

/** Ties the outer end to the slot; an upstream connection is idle in endpoint 0's pool then. */
enum bypass_reason bypass_tie(struct bench *b, struct wire *w);

/** At either side, an application that has set an option (of SOL_SOCKET) is not tied, for the reason `why`:
 * TCP carries what it sends. */
void bypass_left_alone(struct bench *b, int option, int value, enum bypass_reason why);

/** A connected and tied downstream connection / idle upstream connection. */
struct wire *bypass_down(struct bench *b);
struct wire *bypass_up(struct bench *b);

/** The same with Redis. */
struct wire *bypass_redis_down(struct bench *b);
struct wire *bypass_redis_up(struct bench *b);

/** Connections of which the other end is on another host, as far as the programs know: on the kernel path. */
struct wire *bypass_remote(struct bench *b, bool upstream, int near_buf, int far_buf);

/** Whether the programs have registered the socket. */
bool bypass_knows(struct bench *b, int fd);

/** Whether TCP's bytes are taken into the queue of the others, as some kernels need it. */
bool bypass_collects(struct bench *b);

/* What the programs did --------------------------------------------------------------- */

/** Messages that went past TCP at either end, since the test began. */
uint64_t bypass_requests(struct bench *b);
uint64_t bypass_responses(struct bench *b);

/** Sends PLAIN_REQUEST and PLAIN_RESPONSE past TCP. */
void bypass_exchange(struct bench *b, struct wire *down, struct wire *up);

/** The client's request is outstanding at the server. */
void bypass_ask(struct bench *b, struct wire *down, struct wire *up);

/** Bytes that FIONREAD counts. */
int bypass_readable(int fd);

/* The daemon's part ------------------------------------------------------------------- */

/** Whether nothing is on its way to the outer end past TCP; then TCP's bytes are the next. */
bool bypass_settled(struct bench *b, const struct wire *w);

/** Takes both sides of the connection's lease, as soon as nothing is on its way to them. */
void bypass_take(struct bench *b, struct wire *w);

/** Ends the stay of a connection that was taken, and begins another.
 * @return As bypass_tie(). */
enum bypass_reason bypass_give_back(struct bench *b, struct wire *w);
