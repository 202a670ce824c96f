/*
 * Commands of a Redis client, and what their replies must be. Each client has keys of its own, so that it
 * knows.
 */
#pragma once

#include "peer.h"
#include "resp_reader.h"

#define REDIS_KEYS     8
#define REDIS_COUNTERS 2 /**< The last of the keys. */
#define REDIS_MGET_MAX 5

enum redis_verb {
    VERB_GET,
    VERB_SET,
    VERB_MGET,
    VERB_INCR,
    VERB_DEL,
    VERB_GARBAGE,
    _VERB_MAX,
};

/** What a key must hold once all that was sent is done. */
struct redis_key {
    unsigned number;  /**< In its name; a key that got an uncertain write is given up for another. */
    unsigned version; /**< 0: no value. */
    long long count;
};

/** A client's keys, and what it is. */
struct redis_keys {
    uint64_t client;
    struct redis_key key[REDIS_KEYS];
    unsigned next; /**< Version, or number of a new key. */
    bool friendly; /**< Commands that the kernel path takes. */
    struct rng *rng;
    struct history *history;
};

/** A command that waits for its reply, and what that must be. */
struct redis_command {
    enum redis_verb verb;
    uint64_t begun; /**< clock_ms() */
    unsigned n;
    struct {
        unsigned slot;          /**< Of the key. */
        struct redis_key after; /**< As it is to be after the command. */
    } of[REDIS_MGET_MAX];
    bool had; /**< DEL: there was a value. */
};

/** Appends a random command, and enters it in `m`. */
void redis_command_put(struct redis_command *m, struct redis_keys *keys, struct peer *p);

/** Appends what is no command, after which the connection ends. */
void redis_garbage_put(struct redis_command *m, struct redis_keys *keys, struct peer *p);

/** Judges a reply. @param troubled Whether errors are allowed. @return How many errors it holds. */
unsigned redis_command_check(const struct redis_command *m, struct redis_keys *keys,
                             const struct resp_value *v, bool troubled);
