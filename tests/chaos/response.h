/* What a server answers: a function of the request and of the number of its arrival. */
#pragma once

#include "ledger.h"
#include "peer.h"

struct response {
    int status;
    size_t body;
    uint64_t token; /**< Of the body. */
    bool bodyless;  /**< To HEAD, 204, 304: `body` is what the head says. */
    bool by_close, chunked, http10, close, trailer, hints, proceed;
    bool early;
    enum server_fault fault;
    enum peer_pace pace;
    struct rng rng; /**< For the details. */
};

/** Plans the response to the request's arrival, from 1. */
void response_plan(struct response *s, const struct record *r, unsigned arrival);

/** Appends the response, and marks of the fault. */
void response_put(struct response *s, const struct record *r, unsigned arrival, struct peer *p);
