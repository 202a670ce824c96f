/* What the programs' side of the model shares with the rest, whose names the programs use themselves. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "skein/slot.h"

enum { SLOTS = 5, NO_SOCKET = 0xff };

/** What a coroutine does next. */
enum op { REST, BEGIN, READ, WRITE, CAS, AND, OR, ADD, SOCKET, REDIRECT, APPLY, SYSCALL, INSERT, END };

extern struct slot model_slots[SLOTS];
extern struct pool model_pool;

/** Hands over to the search before an operation on `address`. */
void point(enum op op, const void *address);

/** Adds to what the running coroutine has seen. */
void remember(uint64_t value);

/** What the programs can see of a connection's socket. */
struct seen {
    uint32_t write_seq, rcv_nxt, parsed;
    bool stopped;
};
struct seen socket_seen(unsigned c);
unsigned socket_in_slot(uint32_t slot);
void socket_load(unsigned c, uint32_t offset, void *to, uint32_t len);
bool socket_redirect(unsigned c, uint32_t slot);
uint32_t *socket_ref(unsigned c);

/* The hooks, as the kernel calls them. */
int run_parser(unsigned c, uint32_t avail);
int run_verdict(unsigned c, uint32_t avail);
uint32_t run_inspect(uint32_t slot);
