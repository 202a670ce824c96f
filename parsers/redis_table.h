/*
 * What the generated command table is made of: key specs (https://redis.io/topics/key-specs) and
 * the words that only COMMAND's reply needs. Private to redis_commands.c and redis_keys.c.
 */
#pragma once

#include "parsers/redis_commands.h"

/** How redis_command_keys() finds a command's keys. */
enum redis_key_finder {
    REDIS_KEYS_NONE,
    REDIS_KEYS_ONE,   /**< At `first_key`. */
    REDIS_KEYS_SPECS, /**< By its key specs, which all begin at a fixed argument. */
    REDIS_KEYS_SORT,  /**< The rest: functions of their own. */
    REDIS_KEYS_SORT_RO,
    REDIS_KEYS_GEORADIUS,
    REDIS_KEYS_STREAMS,
    REDIS_KEYS_MIGRATE,
};

enum redis_spec_begin { REDIS_BEGIN_INDEX, REDIS_BEGIN_KEYWORD, REDIS_BEGIN_UNKNOWN };
enum redis_spec_find { REDIS_FIND_RANGE, REDIS_FIND_KEYNUM, REDIS_FIND_UNKNOWN };

struct redis_key_spec {
    uint8_t begin;  /**< enum redis_spec_begin */
    uint8_t find;   /**< enum redis_spec_find */
    bool not_key;   /**< A channel: routed like a key, but none. */
    int16_t pos;    /**< INDEX: of the first argument; KEYWORD: where the search begins. */
    int16_t last;   /**< RANGE: last key, from the first; negative: from the end. */
    int16_t limit;  /**< RANGE: only this part of the arguments: 2 is half. */
    int16_t keynum; /**< KEYNUM: the number of keys, from `pos`. */
    int16_t first;  /**< KEYNUM: the first key, from `pos`. */
    int16_t step;
    const char *keyword; /**< KEYWORD */
    const char *notes;   /**< NULL without. */
    const char *const *flags;
};

/** Lists end with NULL; in the server's order. */
struct redis_description {
    const char *const *flags;
    const char *const *acl_categories;
    const char *const *tips;
};
