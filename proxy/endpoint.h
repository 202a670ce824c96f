/*
 * What the whole process knows of an endpoint, by its id: whether it gets new requests, how many are
 * outstanding, and how often it failed. Shared by all workers, and by the programs if there are any.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "skein/balance.h"

struct event_base;
struct runtime;

/** Keeps state and load in the programs' maps, of RUNTIME_ENDPOINTS_MAX elements each, before the first
 * worker starts; NULL: in memory of its own again, after the last has ended. */
void endpoint_share(uint64_t *state, struct endpoint_load *load);

/** Lets ejected endpoints be tried again when their time has come, from the loop of `base`; NULL: no more.
 * @return 0 or -ENOMEM. */
int endpoint_start(struct event_base *base);

/** enum endpoint_state_bits. */
uint64_t endpoint_state(uint32_t id);

/** Sets or clears bits of the state. Takes effect with the next request, on every path. */
void endpoint_set(uint32_t id, uint64_t bits, bool on);

/** Sets what a configuration says of endpoints: which are draining, and which are there at all. */
void endpoint_configure(const struct runtime *rt);

/** Counts a request of a least_request cluster that begins or ends. */
void endpoint_count(uint32_t id);
void endpoint_uncount(uint32_t id);
uint64_t endpoint_outstanding(uint32_t id);

/** It could not be reached, did not answer in time, or broke the connection. After
 * `ejection->max_failures` in a row, none of them longer than `retry_after` before the next, it is ejected.
 * @return Whether that has just happened. */
bool endpoint_failed(uint32_t id, const struct conf_ejection *ejection, const char *why);

/** It answered: failures are counted from the beginning, and an ejection ends. */
void endpoint_answered(uint32_t id);

/** Whether an ejection lasts. */
bool endpoint_ejected(uint32_t id);
