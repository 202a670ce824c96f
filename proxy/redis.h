/*
 * The userspace path for Redis: clients, the shards behind a listener's cluster, and the
 * requests between them.
 *
 * Every command of a client becomes a request in the client's queue; replies leave in the
 * queue's order. A request for a shard also stands in the queue of the upstream connection that
 * it was sent on, which answers in that order. Most commands of all clients of a worker share
 * one connection per shard; what needs state or a long transfer gets a connection of its own
 * (a *pin*). A command for several shards is a group: one request in the client's queue, a part
 * in each upstream queue, a merge at the end.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conn.h"
#include "parsers/redis_commands.h"
#include "parsers/redis_ring.h"
#include "parsers/resp.h"
#include "runtime.h"

struct redis_group;
struct redis_shard;
struct redis_upstream;
struct worker;
struct worker_listener;

/** Replies up to this size are kept inside the request while they wait for their turn. */
#define REDIS_REPLY_SMALL 48

/** Commands above this size are sent on a connection of their own while they still come in. */
#define REDIS_STREAM_MIN 65536

/** A command that must be there completely before it can be routed may have this many bytes. */
#define REDIS_ASSEMBLE_MAX (64U << 20)

/** Replies that wait for others (behind a slower shard's, or to be merged with them), or for a client
 * that does not read, may take this many times limits.buffer; a client with more is closed. They
 * are not refused one by one: the shard's connection is shared, and others wait behind them. */
#define REDIS_BUFFERED_MAX 64

struct redis_request {
    struct redis_client *client;   /**< NULL: it has left, the reply is dropped. */
    struct redis_request *next;    /**< In the client's queue, or in the worker's free list. */
    struct redis_request *next_up; /**< In the upstream connection's queue. */
    struct redis_group *group;     /**< The command's group: of a part, and of its request. */
    const struct redis_command *command;
    /** Takes the complete reply instead of the client; then the request is not passed on. */
    void (*complete)(struct redis_request *r);
    uint64_t tag; /**< For `complete`, */
    void *arg;    /**< as is this. */
    char *reply;  /**< Bytes that wait: `small`, or allocated. */
    uint32_t reply_len;
    uint32_t reply_cap;
    bool done;    /**< The reply is complete. */
    bool started; /**< Some of the reply went to the client. */
    bool muted;   /**< CLIENT REPLY OFF or SKIP: no reply. */
    bool failed;  /**< The reply is skein's own error: no shard answered. */
    bool collect; /**< Keep the reply here until it is complete. */
    bool queued;  /**< Stands in the client's queue, */
    bool sent;    /**< and in an upstream connection's: it lives as long as one of them names it. */
    char small[REDIS_REPLY_SMALL];
};

/** What a pinned connection is for. */
enum redis_pin {
    REDIS_PIN_NONE,
    REDIS_PIN_ONCE,        /**< One command: blocking, or long. */
    REDIS_PIN_TRANSACTION, /**< WATCH to EXEC. */
    REDIS_PIN_MESSAGES,    /**< Subscriptions: what comes is no reply. */
    REDIS_PIN_MONITOR,     /**< The same, after the first OK. */
    REDIS_PIN_ADOPTED,     /**< Came from the kernel path with a reply outstanding. */
};

TAILQ_HEAD(redis_upstream_list, redis_upstream);
LIST_HEAD(redis_pin_list, redis_upstream);
TAILQ_HEAD(redis_client_list, redis_client);

/** A copy of a command that only reads: it may be sent twice. */
struct redis_again {
    const struct redis_command *command;
    uint32_t len;
    uint32_t key_off;
    uint32_t key_len;
    char text[];
};

struct redis_upstream {
    struct conn c;
    struct redis_shard *shard;
    struct redis_request *head; /**< Sent, in the order of the replies. */
    struct redis_request **tail;
    struct redis_client *owner; /**< Of a pinned connection; NULL if shared or idle. */
    struct evbuffer *held;      /**< Commands that wait for the end of the setup. */
    struct redis_again *again;  /**< Pinned: the one command on it, should the connection turn out to be
                                 * closed; NULL: it may not be sent again. Owned. */
    struct resp_reply reply;    /**< Of the reply that is coming in. */
    uint8_t resp;               /**< Protocol version, 2 or 3. */
    uint8_t pin;                /**< enum redis_pin */
    uint8_t setup;              /**< Replies to AUTH and HELLO still to come. */
    bool shared;
    bool donate;                      /**< To the kernel path, when its owner needs it no more. */
    bool listed;                      /**< Stands in its shard's idle list. */
    bool paused;                      /**< Not read, because the client of the reply at hand does not read. */
    struct redis_client_list waiters; /**< Clients that wait for it to take commands again. */
    bool classic;                     /**< It has the SUBSCRIBEd and PSUBSCRIBEd, not the SSUBSCRIBEd. */
    uint32_t shard_subs;              /**< SSUBSCRIBEd on it. */
    bool monitoring;                  /**< MONITOR was confirmed. */
    struct evbuffer *message;         /**< A push or subscription's message that is coming in. */
    TAILQ_ENTRY(redis_upstream) pause; /**< In the worker's list of paused connections. */
    TAILQ_ENTRY(redis_upstream) idle;  /**< In its shard's list of connections without owner... */
    LIST_ENTRY(redis_upstream) pins;   /**< ...or in its owner's. */
};

/** Subscriptions of a client. */
struct redis_subs {
    uint32_t channels, patterns, shard_channels;
    uint32_t awaited;      /**< Confirmations still to come; the next command waits for them. */
    struct evbuffer *held; /**< Messages that wait for the end of a reply. */
};

/** A transaction between MULTI and EXEC. */
struct redis_tx {
    bool open;             /**< MULTI was said. */
    bool dirty;            /**< A command was refused: EXEC fails. */
    bool watching;         /**< Keys are watched. */
    bool begun;            /**< The shard was told MULTI. */
    bool lost;             /**< The connection that watched is gone: EXEC finds the keys changed. */
    bool placed;           /**< `place` is known. */
    uint32_t place;        /**< Of its keys. */
    struct evbuffer *held; /**< Commands without keys, before the shard is known. */
};

struct redis_client {
    struct conn c;
    struct resp_limits limits; /**< As configured when it connected. */
    struct resp_request in;
    struct resp_stream stream;
    struct redis_request *head; /**< Commands not answered yet, in their order. */
    struct redis_request **tail;
    struct redis_pin_list pins;
    struct redis_upstream *streaming;  /**< Takes the rest of a long command; NULL: dropped. */
    struct redis_upstream *blocked_on; /**< Takes no commands at the moment. */
    struct redis_tx tx;
    struct redis_subs subs;
    char *name; /**< CLIENT SETNAME; owned. */
    uint64_t id;
    uint64_t buffered;      /**< Bytes of replies that wait for their turn. */
    uint32_t outstanding;   /**< Length of the queue. */
    uint32_t window;        /**< Commands over several shards that may be outstanding. */
    uint64_t buffered_most; /**< `buffered` at its highest since the queue was empty. */
    uint32_t last_endpoint; /**< Of the last command sent. */
    uint32_t messages;      /**< Commands answered, and */
    uint64_t bytes;         /**< their bytes and their replies', since `bulky` was decided. */
    uint32_t deepest;       /**< Most commands outstanding at once since it was last looked at. */
    uint32_t depth;         /**< `deepest` at its highest since the last tick, */
    uint32_t depth_before;  /**< and in the time before that. */
    uint32_t seen;          /**< Tick at which it was counted as busy, */
    uint32_t deep_seen;     /**< and so many of its commands as those of a deep pipeline: */
    uint32_t deep_counted;
    uint32_t activity; /**< Its slot's count at the last tick. */
    uint8_t resp;      /**< 2 or 3 */
    bool authenticated : 1;
    bool in_stream : 1; /**< In the middle of a long command. */
    bool spread : 1;    /**< The queue goes to more than one shard. */
    bool bulky : 1;     /**< Its messages are large: it shares connections with others of its kind. */
    bool slow : 1;      /**< It does not read: what others wait behind is kept for it. */
    bool overflown : 1; /**< Too much waits for its turn: to be closed. */
    bool quit : 1;      /**< Ends when the queue is empty; no command is taken any more. */
    bool waiting : 1;   /**< The command at hand waits for the queue to be empty. */
    bool mute : 1;      /**< CLIENT REPLY OFF */
    bool mute_next : 1; /**< CLIENT REPLY SKIP */
    bool alone : 1;     /**< No other command is taken before the queue is empty. */
    bool blocked : 1;   /**< A blocking command is outstanding. */
    bool advancing : 1; /**< Replies are leaving: on the stack. */
    TAILQ_ENTRY(redis_client) blocked_link; /**< In the upstream connection's list of waiters. */
};

/** What became of a command that was looked at. */
enum redis_taken {
    REDIS_TAKEN, /**< It is in the queue, or answered. */
    REDIS_WAIT,  /**< Not yet: looked at again when something has changed. */
};

/** A command at hand: `in` is complete. */
struct redis_call {
    struct redis_client *client;
    const struct redis_command *command; /**< Or its subcommand. */
    const struct resp_request *in;
};

static inline const char *redis_arg(const struct redis_call *call, uint32_t i, size_t *len)
{
    *len = call->in->args[i].len;
    return call->in->text + call->in->args[i].off;
}

/** Whether argument i is `word`, in any case. */
bool redis_arg_is(const struct redis_call *call, uint32_t i, const char *word);

/* redis_client.c ---------------------------------------------------------------------- */

/** Takes an accepted, non-blocking socket. */
void redis_client_new(struct worker_listener *l, int fd);

struct redis_client *redis_client_of(struct conn *c);

/** What is counted of its listener, by its worker. */
struct listener_stats *redis_client_stats(const struct redis_client *cl);
/** Whether a downstream connection is a Redis client. */
bool redis_is_client(const struct conn *c);
const struct conf_redis_listener *redis_listener_conf(const struct redis_client *cl);

/** The cluster behind the client's listener. */
struct rt_cluster *redis_cluster(const struct redis_client *cl);

/** Ends the connection now, with all that it has outstanding. */
void redis_client_close(struct redis_client *cl, bool reset);

/** Lets go of everything that names the client. */
void redis_client_leave(struct redis_client *cl);

/** Looks at kept input again, and reads, if nothing stands against it. */
void redis_client_resume(struct redis_client *cl);

/** Ends the connection when all replies have left; what comes in is ignored. */
void redis_client_quit(struct redis_client *cl);

/** Sends replies at the head of the queue as far as they are there. */
void redis_client_advance(struct redis_client *cl);

/** Answers a command at once, in its order. */
void redis_client_reply(struct redis_client *cl, const char *data, size_t len);
void redis_client_replyf(struct redis_client *cl, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** Answers with an error: `text` without "-" and CRLF; line ends in it become spaces. In a
 * transaction it is marked as failed. */
void redis_client_error(struct redis_client *cl, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/** A reply that belongs to the request's place in the queue ("OK", errors, ...). */
void redis_client_ok(struct redis_client *cl);

/* redis_request.c --------------------------------------------------------------------- */

/** A request at the end of the client's queue. */
struct redis_request *redis_request_new(struct redis_client *cl, const struct redis_command *command);

/** A request outside of the client's queue: a part of a group, or skein's own (`cl` NULL). */
struct redis_request *redis_request_new_part(struct worker *w, struct redis_client *cl,
                                             const struct redis_command *command);

/** Bytes of the reply. */
void redis_request_bytes(struct redis_request *r, const char *data, size_t len);

/** The reply is complete, and no upstream connection names the request any more. May free it. */
void redis_request_done(struct worker *w, struct redis_request *r);

/** No shard answers: an error reply, or, if some of the reply is out, the client's end. Like
 * redis_request_done() otherwise.
 * @param text  Without "-ERR " and CRLF. */
void redis_request_fail(struct worker *w, struct redis_request *r, const char *text);

/** Replaces what is kept of the reply. */
void redis_request_set(struct redis_request *r, const char *data, size_t len);

/** What was kept of the reply has been sent. */
void redis_request_reply_taken(struct redis_request *r);

/** Whether the client takes more; if not, whoever brings the reply stops. */
bool redis_request_takes(const struct redis_request *r);

/** The client goes: its requests lose it. */
void redis_requests_abandon(struct redis_client *cl);

/** Frees a request that nobody names any more. */
void redis_request_free(struct worker *w, struct redis_request *r);

/* redis_upstream.c -------------------------------------------------------------------- */

/** Connects. @param shared  By all clients, which userspace serves. @return NULL when no connection could
 * even be begun; `*err` is an errno then. */
struct redis_upstream *redis_upstream_new(struct redis_shard *s, uint8_t resp, bool shared, int *err);
struct redis_upstream *redis_upstream_of(struct conn *c);

/** The same for a command of the client's input: sent together with those before and behind it
 * there, at the end of the client's callback. */
void redis_upstream_send_run(struct redis_upstream *u, struct redis_request *r, const char *data, size_t len);

/** Sends the run of commands that is at hand. */
void redis_upstream_flush_run(struct worker *w);

/** Sends a command (or its first part); the reply goes to `r`. */
void redis_upstream_send(struct redis_upstream *u, struct redis_request *r, const char *data, size_t len);

/** The connection came from the kernel path with `r` outstanding. */
void redis_upstream_adopt(struct redis_upstream *u, struct redis_request *r);

/** Sends more bytes of the last command. */
void redis_upstream_more(struct redis_upstream *u, const char *data, size_t len);

/** Whether it takes more commands now; if not, `cl` is resumed when it does. */
bool redis_upstream_takes(struct redis_upstream *u, struct redis_client *cl);

/** Ends the connection; all that is outstanding on it fails with `why`.
 * @param failure  Counts against the shard. */
void redis_upstream_fail(struct redis_upstream *u, bool failure, const char *why);

/* redis_upstream_reply.c -------------------------------------------------------------- */

/** Takes the first request back; the connection must not be used any more. */
struct redis_request *redis_upstream_detach(struct redis_upstream *u);

/** Stops reading: the client that gets what comes next takes no more. */
void redis_upstream_pause(struct redis_upstream *u);

/** Reads again what is not read because this client did not read, if it does now. */
void redis_paused_resume(struct redis_client *cl);

/* redis_shard.c ----------------------------------------------------------------------- */

/** Shared connections that a worker may have to an endpoint, by RESP version: those configured
 * (at most 64, conf.h), and those for clients whose messages are large. Redis writes at most
 * 64 KiB to a connection before it looks at the next: one connection would hold such replies up. */
#define REDIS_SHARED_BULKY 8
#define REDIS_SHARED_MAX   (64 + REDIS_SHARED_BULKY)

/** Mean size of a command and its reply from which on a client is bulky, and commands after which
 * that is decided. */
#define REDIS_BULKY_BYTES    4096
#define REDIS_BULKY_MESSAGES 16

/** One endpoint as one worker sees it. */
struct redis_shard {
    struct worker *worker;
    uint32_t endpoint;
    unsigned version;                      /**< The configuration's, */
    const struct rt_endpoint *source;      /**< and where in it the following is from. The */
    const struct conf_redis_cluster *conf; /**< credentials: valid while a command is taken. */
    bool bypass_except;
    struct conf_address address;
    uint32_t connections;
    struct conf_ejection ejection;
    struct redis_upstream *shared[2][REDIS_SHARED_MAX]; /**< By RESP version - 2 and number. */
    struct redis_upstream_list idle[2];                 /**< Without owner, by RESP version - 2. */
    uint32_t n_idle;
    char error[96]; /**< Why it failed last. */
};

/** The shard of an endpoint of the client's cluster. */
struct redis_shard *redis_shard_get(struct redis_client *cl, const struct rt_endpoint *e);

/** The shared connection that the client uses for the shard; begun if need be.
 * @return NULL with `*why` set if the shard can not be used. */
struct redis_upstream *redis_shard_shared(struct redis_shard *s, struct redis_client *cl, const char **why);

/** A connection of the client's own. @return As redis_shard_shared(). */
struct redis_upstream *redis_shard_pin(struct redis_shard *s, struct redis_client *cl, enum redis_pin pin,
                                       const char **why);

/** The same, never one that was used before. */
struct redis_upstream *redis_shard_pin_fresh(struct redis_shard *s, struct redis_client *cl,
                                             enum redis_pin pin, const char **why);

/** Makes a connection without owner the client's. */
void redis_shard_own(struct redis_upstream *u, struct redis_client *cl, enum redis_pin pin);

/** The client needs the pinned connection no more.
 * @param clean  It holds no state: it may serve others. Otherwise it is closed. */
void redis_shard_unpin(struct redis_upstream *u, bool clean);

/** The connection is closing: nobody finds it any more. */
void redis_shard_forget(struct redis_upstream *u);

/** The shard failed, or answered. */
void redis_shard_failed(struct redis_shard *s, const char *why);
void redis_shard_answered(struct redis_shard *s);

/** The endpoint that has the place, by the listener's rule for ejected ones. */
const struct rt_endpoint *redis_place_endpoint(struct redis_client *cl, uint32_t place);

int redis_worker_init(struct worker *w);
void redis_worker_free(struct worker *w);

/* redis_path.c ------------------------------------------------------------------------ */

/** The client has sent a command: it is busy. */
void redis_path_seen(struct redis_client *cl);

/** The client has nothing outstanding: gives it to the kernel path, if that is the better one. */
void redis_path_promote(struct redis_client *cl);

/** The client ends: it is not counted any more. */
void redis_path_left(struct redis_client *cl);

/** Whether too many clients of the worker are busy for the kernel path. */
bool redis_path_many(struct worker *w);

/** A command of the kernel path goes on in userspace; see struct conn_ops. */
void redis_takeover(struct conn *d, struct conn *up, const struct slot *ds, const struct slot *us);

void redis_path_free(struct worker *w);

/* redis_command.c --------------------------------------------------------------------- */

/** Takes the complete command in `cl->in`. */
enum redis_taken redis_command_take(struct redis_client *cl);

/** Takes the beginning of a long command (`cl->in` is in its middle), if what is there says where
 * it goes; the rest is passed on as it comes.
 * @param data   What was parsed.
 * @param taken  REDIS_WAIT: not yet.
 * @return Bytes taken, 0 if it waits or has to be there completely. */
size_t redis_command_stream(struct redis_client *cl, const char *data, enum redis_taken *taken);

/** Sends the command on the shared connection of an endpoint. */
enum redis_taken redis_forward(const struct redis_call *call, const struct rt_endpoint *e);

/** Finds the one place of all keys. @return false if there is none: it was answered with an error. */
bool redis_call_place(const struct redis_call *call, uint32_t *place);

/** Sends the command on a connection. */
void redis_send(const struct redis_call *call, struct redis_upstream *u);

/** Sends the command on the connection of the client's transaction, if it takes commands now. */
enum redis_taken redis_send_pinned(const struct redis_call *call);

/** Answers a command whose shard can not be used. */
void redis_unavailable(const struct redis_call *call, const struct rt_endpoint *e, const char *why);

/* redis_pin.c ------------------------------------------------------------------------- */

/** Sends the command on a connection of its own, once the client has nothing else outstanding;
 * no other command is taken before the reply.
 * @param blocking  No clock runs for the reply. */
enum redis_taken redis_forward_alone(const struct redis_call *call, const struct rt_endpoint *e,
                                     bool blocking);

/** Sends the command on a connection that becomes the kernel path's afterwards, which lacked one. */
enum redis_taken redis_forward_donated(const struct redis_call *call, const struct rt_endpoint *e);

/** Keeps a copy of the command just sent on a connection of the client's own, if it only reads. */
void redis_again_keep(struct redis_upstream *u, const struct redis_command *command, const char *text,
                      size_t len, size_t key_off, size_t key_len);

/** The connection has ended, as those do that a server closes while they are idle. Sends its command on a
 * fresh one, if there is a copy and not one byte of a reply has come. @return false if nothing was done. */
bool redis_again_send(struct redis_upstream *u);

/** The client's pinned connection of a kind; NULL without. */
struct redis_upstream *redis_pinned(const struct redis_client *cl, enum redis_pin pin);

/** All of the client's pinned connections end. */
void redis_unpin_all(struct redis_client *cl);

/* redis_split.c ----------------------------------------------------------------------- */
enum redis_taken redis_split(const struct redis_call *call);
enum redis_taken redis_all(const struct redis_call *call);
enum redis_taken redis_scan(const struct redis_call *call);
/** The client is gone. */
void redis_group_abandon(struct redis_group *g);
/** The reply of a part is complete. */
void redis_group_part_done(struct redis_request *part);

/* redis_local.c ----------------------------------------------------------------------- */
enum redis_taken redis_local(const struct redis_call *call);
/** AUTH and HELLO AUTH. @return Whether the pair is right. */
bool redis_authenticate(struct redis_client *cl, const char *user, size_t user_len, const char *password,
                        size_t password_len);

/* redis_transaction.c ----------------------------------------------------------------- */
enum redis_taken redis_transaction(const struct redis_call *call);
/** A command between MULTI and EXEC. */
enum redis_taken redis_transaction_queue(const struct redis_call *call);
void redis_transaction_reset(struct redis_client *cl);
/** Ends the transaction and its connection. */
void redis_transaction_abort(struct redis_client *cl);
/** The connection of the transaction is gone. */
void redis_transaction_lost(struct redis_client *cl);

/* redis_pubsub.c ---------------------------------------------------------------------- */
enum redis_taken redis_pubsub(const struct redis_call *call);
enum redis_taken redis_monitor(const struct redis_call *call);
/** Whether the client's state allows the command; answers with redis' error if not. */
bool redis_pubsub_allows(const struct redis_call *call);
/** A message or a push is complete in `u->message`. */
void redis_pubsub_message(struct redis_upstream *u);
/** Sends messages that waited for the end of a reply. */
void redis_pubsub_flush(struct redis_client *cl);
void redis_pubsub_reset(struct redis_client *cl);
