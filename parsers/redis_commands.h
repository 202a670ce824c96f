/*
 * The Redis command table: names, arity, flags and key positions as a real redis-server reports
 * them (`redis_commands.json`, made by gen_redis_commands.py --dump and checked in with the
 * server's version), and how skein treats each command (redis_policy.py).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "parsers/resp.h"

/** What skein does with a command. */
enum redis_policy {
    REDIS_UNSUPPORTED,  /**< Answered with an error that names it. Containers too: the policy that
                         * counts is the subcommand's (COMMAND is both). */
    REDIS_FORWARD,      /**< To the shard of its keys, which share a slot. XREAD and XREADGROUP
                         * are blocking if redis_keys.blocks says so. */
    REDIS_SPLIT_MGET,   /**< By key; the replies' elements in the keys' order. */
    REDIS_SPLIT_MSET,   /**< By key and value; OK if all are. */
    REDIS_SPLIT_SUM,    /**< By key; integers add up (DEL UNLINK EXISTS TOUCH). */
    REDIS_ALL_SUM,      /**< To all shards; integers add up (DBSIZE). */
    REDIS_ALL_OK,       /**< To all shards; the first reply if none is an error (FLUSHALL, SCRIPT LOAD). */
    REDIS_ALL_CONCAT,   /**< To all shards; arrays are joined (KEYS). */
    REDIS_ALL_AND,      /**< To all shards; arrays of integers, the smaller one (SCRIPT EXISTS). */
    REDIS_SCAN,         /**< SCAN: shard after shard. */
    REDIS_LOCAL,        /**< Answered by skein itself. */
    REDIS_TRANSACTION,  /**< MULTI EXEC DISCARD WATCH UNWATCH. */
    REDIS_BLOCKING,     /**< Forwarded on a connection of its own. */
    REDIS_PUBSUB,       /**< SUBSCRIBE family, PUBLISH, PUBSUB: the cluster's pub/sub shard. */
    REDIS_SHARD_PUBSUB, /**< SSUBSCRIBE, SUNSUBSCRIBE, SPUBLISH: the channel's shard. */
    REDIS_MONITOR,
    _REDIS_POLICY_MAX,
};

/** Command flags, as COMMAND names them; `1 << n`. */
enum redis_flag {
    REDIS_WRITE = 1 << 0,
    REDIS_READONLY = 1 << 1,
    REDIS_DENYOOM = 1 << 2,
    REDIS_ADMIN = 1 << 3,
    REDIS_PUBSUB_FLAG = 1 << 4,
    REDIS_NOSCRIPT = 1 << 5,
    REDIS_BLOCKING_FLAG = 1 << 6,
    REDIS_LOADING = 1 << 7,
    REDIS_STALE = 1 << 8,
    REDIS_SKIP_MONITOR = 1 << 9,
    REDIS_FAST = 1 << 10,
    REDIS_NO_AUTH = 1 << 11,
    REDIS_NO_MULTI = 1 << 12,
    REDIS_MOVABLEKEYS = 1 << 13,
    REDIS_NO_MANDATORY_KEYS = 1 << 14, /**< May have no key at all (EVAL ... 0). */
    REDIS_ONE_KEY = 1 << 30,           /**< Exactly one key, always at argument `first_key`. */
};

struct redis_key_spec;

struct redis_command {
    const char *name;  /**< Lower case; subcommands "container|sub". */
    int16_t arity;     /**< Arguments with the name; negative: at least. */
    int16_t first_key; /**< As COMMAND says; 0: none. */
    int16_t last_key;
    int16_t key_step;
    uint32_t flags; /**< enum redis_flag */
    uint8_t policy; /**< enum redis_policy */
    uint8_t n_specs;
    uint16_t n_subs;
    uint16_t id; /**< Dense, from 0: an index for counters. */
    uint8_t name_len;
    uint8_t key_finder; /**< Private. */
    const struct redis_key_spec *specs;
    const struct redis_command *subs; /**< Subcommands, NULL without. */
};

/** Version of the server that the table was taken from, "7.0.15". */
const char *redis_commands_version(void);

/** Number of commands, subcommands included; ids are below it. */
size_t redis_commands_count(void);

/** Finds a command by name, in any case. @return NULL if redis does not know it. */
const struct redis_command *redis_command_find(const char *name, size_t len);

/** Finds a command by its whole name, in any case, as COMMAND INFO takes it: "get" or
 * "object|encoding". @return NULL if redis does not know it. */
const struct redis_command *redis_command_find_path(const char *name, size_t len);

/** Finds a container's subcommand. @return NULL if there is none of that name. */
const struct redis_command *redis_subcommand_find(const struct redis_command *container, const char *name,
                                                  size_t len);

/** Whether `argc` arguments (with the name, and the subcommand's name) are right. */
static inline bool redis_arity_ok(const struct redis_command *c, uint32_t argc)
{
    return c->arity >= 0 ? argc == (uint32_t)c->arity : argc >= (uint32_t)-c->arity;
}

/** Positions of a command's keys, in the order of its arguments. Not to be copied: `at` may point
 * into it. */
struct redis_keys {
    uint32_t n;
    uint32_t cap;
    uint32_t *at;    /**< Argument numbers; owned. A container's name is number 0. */
    bool by_pattern; /**< SORT with a pattern in BY or GET: it reads keys that no argument names. */
    bool blocks;     /**< XREAD, XREADGROUP: BLOCK is given. */
    uint32_t few[16];
};

/** Finds the keys by the command's key specs (redis: db.c, getKeysUsingKeySpecs) and, for the few
 * commands whose specs do not tell all, by functions of their own: SORT, SORT_RO, GEORADIUS,
 * GEORADIUSBYMEMBER, XREAD, XREADGROUP, MIGRATE. Channels are no keys.
 *
 * @param args  Of a complete command; offsets into `text`.
 * @param keys  Zeroed, or used before; free with redis_keys_free().
 * @return 0, with `n` 0 if the command has no keys or needs none (EVAL ... 0); -EINVAL if the
 *         arguments do not say where the keys are (redis would answer with a syntax error: the
 *         caller lets any shard's redis say so, or refuses), `n` is 0 then; -ENOMEM.
 */
int redis_command_keys(const struct redis_command *c, const char *text, const struct resp_arg *args,
                       uint32_t argc, struct redis_keys *keys);
void redis_keys_free(struct redis_keys *keys);

/** A command's entry of COMMAND's reply (10 elements, with subcommands), handed to `put` piece by
 * piece. Flags are in the server's order, subcommands in alphabetical order (redis' own is that
 * of a hash table with a random seed).
 * @param resp3  Sets and maps as RESP3 has them. */
void redis_command_describe(const struct redis_command *c, bool resp3,
                            void (*put)(void *arg, const char *data, size_t len), void *arg);

/** The i-th top-level command, NULL behind the last. */
const struct redis_command *redis_command_at(size_t i);
