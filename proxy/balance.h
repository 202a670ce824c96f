/*
 * Which endpoint of a cluster gets a request, decided exactly: the programs try a few places only
 * (bpf/balance.h) and leave the rest to this.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime.h"

struct conn;
struct http1_message;

/** Endpoints that a request may have been tried on. */
#define BALANCE_TRIED_MAX 4

/** What of a request its endpoint depends on. */
struct balance_request {
    uint32_t hash;   /**< lb_policy maglev: of what is hashed... */
    bool has_hash;   /**< ...if the request has it; otherwise an endpoint is chosen by chance. */
    uint8_t n_tried; /**< Endpoints that refused it: used again only if there are no others. */
    uint32_t tried[BALANCE_TRIED_MAX];
};

/** Chooses an endpoint by the cluster's policy among those that are in use. If none is: among those that
 * are only suspected not to work; then among all that are not draining.
 * @return NULL: all are draining. */
const struct rt_endpoint *balance_pick(struct rt_cluster *c, const struct balance_request *r);

/** Whether an endpoint may get a new request without a new choice. */
bool balance_in_use(const struct rt_endpoint *e);

/** Fills `hash` for a cluster whose policy needs it.
 *
 * @param c     The client's connection.
 * @param head  What `m` was parsed from.
 */
void balance_hash_request(const struct rt_cluster *cluster, struct conn *c, const char *head,
                          const struct http1_message *m, struct balance_request *r);

/** Hash of the client's address, without its port; 0 if it has none. */
uint32_t balance_hash_source(struct conn *c);
