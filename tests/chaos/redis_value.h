/*
 * Keys and values of the Redis part. A key names its client and its number; a value names its key and
 * its version, and its content follows from both: one that is damaged, or another key's, is found.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** A key's name: `buf` of 48 bytes. @return Its length. */
int redis_key_name(char *buf, uint64_t client, unsigned key);

/** Writes a value of `len` bytes (at least 64). */
void redis_value_fill(char *buf, size_t len, const char *key, unsigned version);

/** @return The version of a value of this key; -1 if it is none. */
int redis_value_check(const char *data, size_t len, const char *key, size_t key_len);
