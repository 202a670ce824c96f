/* What a client sends. */
#pragma once

#include "ledger.h"
#include "peer.h"

/** What kind of client it is, for the life of its connection. */
struct persona {
    enum cluster cluster;
    bool friendly; /**< Sends what the kernel path takes, and so do its servers. */
    bool rude;     /**< Has faults of its own. */
};

/** Plans a request. @param last Whether it is the connection's last one, which may have a fault. */
void request_plan(struct record *r, const struct persona *who, struct rng *rng, bool last);

/** Appends the request, and marks of what the client does in it and behind it. */
void request_put(const struct record *r, struct rng *rng, struct peer *p);

/** Appends bytes that are no request: `r` is their entry. */
void request_put_garbage(const struct record *r, struct rng *rng, struct peer *p);
