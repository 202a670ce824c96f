/*
 * What is known of each request: what the client meant, what servers saw of it and did to it, and
 * how it ended. The rules of what is allowed are here.
 */
#pragma once

#include <stddef.h>
#include <sys/queue.h>

#include "chaos.h"

enum client_fault {
    CLIENT_NONE,
    CLIENT_CUT_CLOSE,   /**< Closes inside its request. */
    CLIENT_CUT_RESET,   /**< Resets inside its request. */
    CLIENT_CUT_SHUT,    /**< Half-closes inside its request. */
    CLIENT_BAD_CHUNK,   /**< A malformed chunk in the body. */
    CLIENT_GARBAGE,     /**< No request: bytes behind valid ones. */
    _CLIENT_BROKEN,     /**< Up to here: no complete request. */
    CLIENT_LEAVE_CLOSE, /**< Closes behind its request, without reading. */
    CLIENT_LEAVE_RESET,
    CLIENT_READ_RESET, /**< Resets inside the response. */
    CLIENT_HALF_CLOSE, /**< Legal: half-closes behind its request, and gets its response. */
    CLIENT_READ_SHUT,  /**< Legal: half-closes inside the response, and gets the rest. */
    _CLIENT_FAULT_MAX,
};

enum server_fault {
    SERVER_NONE,
    SERVER_CUT_CLOSE, /**< Closes inside its response, or before it. */
    SERVER_CUT_RESET,
    SERVER_HANG,        /**< Never answers. */
    SERVER_MALFORMED,   /**< A response that must not be forwarded. */
    SERVER_EARLY_CLOSE, /**< Answers before it has read the body, and closes. */
    _SERVER_BROKEN,     /**< Up to here: the client need not, and often must not, get an answer. */
    SERVER_GARBAGE,     /**< Bytes behind a complete response. */
    SERVER_EXTRA,       /**< A whole second response behind it. */
    _SERVER_FAULT_MAX,
};

enum method {
    METHOD_GET,
    METHOD_HEAD,
    METHOD_POST,
    METHOD_PUT,
    METHOD_DELETE,
    _METHOD_MAX,
};

extern const char *const method_names[_METHOD_MAX];
extern const char *const cluster_names[_CLUSTER_MAX];

/** What a request may end as. */
enum outcome {
    OUTCOME_NONE,       /**< It is outstanding. */
    OUTCOME_ANSWER,     /**< A complete and correct response of a server's. */
    OUTCOME_ERROR,      /**< An answer of skein's own. */
    OUTCOME_ENDED,      /**< The connection ended before the response was complete. */
    OUTCOME_UNANSWERED, /**< An earlier response ended the connection. */
    OUTCOME_ABANDONED,  /**< The client itself went away. */
    _OUTCOME_MAX,
};

struct record {
    uint64_t token;
    uint64_t number; /**< Of the connection. */
    unsigned seq;
    enum cluster cluster;
    enum method method;
    bool friendly; /**< Both sides send what the kernel path takes. */
    bool http10, chunked, expect, te_trailers;
    size_t body;
    enum client_fault fault;
    uint64_t begun; /**< clock_ms() */
    enum outcome outcome;
    struct history *history; /**< Of the client's connection. */
    /* What servers saw and did. */
    unsigned heads, bodies; /**< Times that the head, the whole request arrived. */
    unsigned server_faults; /**< Bits of enum server_fault, of all arrivals. */
    bool early;             /**< Answered before its body was there. */
    unsigned refs;
    LIST_ENTRY(record) same;
    TAILQ_ENTRY(record) link; /**< In the client's queue, then among the done ones. */
};

/** Enters a new request; its token follows from `number` and `seq`. One reference is the client's. */
struct record *ledger_new(uint64_t number, unsigned seq, struct history *h);

/** @return The request with this token; NULL if there is none. */
struct record *ledger_find(uint64_t token);

struct record *record_ref(struct record *r);
void record_unref(struct record **r);

/** Judges how a request ended, and drops the client's reference.
 * @param status Of an answer.
 * @param arrival That the answer names, from 1.
 * @param err errno of the connection's end, 0 for FIN. */
void ledger_done(struct record **r, enum outcome o, int status, unsigned arrival, int err);

/** Judges what a server has seen: a head, and a complete request. */
void ledger_head(struct record *r);
void ledger_body(struct record *r);

/** A server's connection ended inside the request. */
void ledger_truncated(struct record *r);

/** @return Requests of that outcome so far. */
uint64_t ledger_count(enum cluster c, enum outcome o);

/** Fails if the request's outcome takes too long. @param received Bytes that its client has read. */
void ledger_overdue(const struct record *r, uint64_t received);
