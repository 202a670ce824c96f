/* What becomes of a command: checked in redis' order and words, then routed by its policy. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "redis.h"
#include "redis_worker.h"
#include "worker.h"

bool redis_arg_is(const struct redis_call *call, uint32_t i, const char *word)
{
    size_t len;
    const char *arg = redis_arg(call, i, &len);
    return len == strlen(word) && strncasecmp(arg, word, len) == 0;
}

/* Checks (redis: server.c, processCommand) -------------------------------------------- */

static void _unknown_command(const struct redis_call *call)
{
    char args[160];
    size_t used = 0, len;
    const char *name = redis_arg(call, 0, &len);
    args[0] = 0;
    for (uint32_t i = 1; i < call->in->argc && used < 128; i++) {
        size_t n;
        const char *arg = redis_arg(call, i, &n);
        int room = (int)(128 - used);
        used +=
            (size_t)snprintf(args + used, sizeof(args) - used, "'%.*s' ", (int)n < room ? (int)n : room, arg);
    }
    redis_client_error(call->client, "ERR unknown command '%.*s', with args beginning with: %s",
                       (int)(len < 128 ? len : 128), name, args);
}

static void _unknown_subcommand(const struct redis_call *call, const struct redis_command *container)
{
    char upper[40];
    size_t len, i;
    const char *sub = redis_arg(call, 1, &len);
    for (i = 0; container->name[i] && i < sizeof(upper) - 1; i++)
        upper[i] = (char)toupper((unsigned char)container->name[i]);
    upper[i] = 0;
    redis_client_error(call->client, "ERR unknown subcommand '%.*s'. Try %s HELP.",
                       (int)(len < 128 ? len : 128), sub, upper);
}

/* CLIENT SETINFO came with redis 7.2, later than the table; clients send it unasked.
 * @return Whether it was that, and answered. */
static bool _setinfo(const struct redis_call *call, const struct redis_command *container)
{
    size_t len;
    if (strcmp(container->name, "client") != 0 || !redis_arg_is(call, 1, "setinfo") || call->in->argc != 4 ||
        !call->client->authenticated)
        return false;
    const char *option = redis_arg(call, 2, &len);
    if (redis_arg_is(call, 2, "lib-name") || redis_arg_is(call, 2, "lib-ver"))
        redis_client_ok(call->client);
    else
        redis_client_error(call->client, "ERR Unrecognized option '%.*s'", (int)(len < 128 ? len : 128),
                           option);
    return true;
}

/* A command that may not run. In EXEC that ends the transaction (redis: multi.c, execCommandAbort). */
static void _reject(const struct redis_call *call, const char *code, const char *text)
{
    struct redis_client *cl = call->client;
    if (strcmp(call->command->name, "exec") == 0) {
        redis_client_error(cl, "EXECABORT Transaction discarded because of: %s%s", code, text);
        redis_transaction_abort(cl);
    } else {
        redis_client_error(cl, "%s%s", *code ? code : "ERR ", text);
    }
}

/* Finds the command. @return false if it was answered with an error. */
static bool _look_up(struct redis_call *call)
{
    size_t len;
    const char *name = redis_arg(call, 0, &len);
    const struct redis_command *c = redis_command_find(name, len);
    if (!c) {
        _unknown_command(call);
        return false;
    }
    call->command = c;
    if (c->subs && call->in->argc > 1) {
        name = redis_arg(call, 1, &len);
        call->command = redis_subcommand_find(c, name, len);
        if (!call->command && _setinfo(call, c))
            return false;
        if (!call->command) {
            _unknown_subcommand(call, c);
            return false;
        }
    }
    if (!redis_arity_ok(call->command, call->in->argc)) {
        char text[100];
        snprintf(text, sizeof(text), "wrong number of arguments for '%s' command", call->command->name);
        _reject(call, "", text);
        return false;
    }
    if (!call->client->authenticated && !(call->command->flags & REDIS_NO_AUTH)) {
        _reject(call, "NOAUTH ", "Authentication required.");
        return false;
    }
    return true;
}

/* Places ------------------------------------------------------------------------------ */

static uint32_t _place(const struct redis_call *call, uint32_t arg)
{
    size_t len;
    const char *key = redis_arg(call, arg, &len);
    return redis_ring_place(redis_cluster(call->client)->ring, key, len);
}

static bool _place_of_keys(const struct redis_call *call, uint32_t *place)
{
    struct redis_client *cl = call->client;
    const struct redis_ring *ring = redis_cluster(cl)->ring;
    struct redis_keys keys = {0};
    bool found = false;
    int r = redis_command_keys(call->command, call->in->text, call->in->args, call->in->argc, &keys);
    if (r) {
        redis_client_error(cl, "ERR syntax error");
    } else if (keys.by_pattern && redis_cluster(cl)->conf->n_endpoints > 1) {
        redis_client_error(cl, "ERR BY or GET option of SORT denied: its keys may lie on other shards");
    } else if (!keys.n) {
        redis_client_error(cl, "ERR %s without a key is not supported: no shard is named",
                           call->command->name);
    } else {
        found = true;
        *place = _place(call, keys.at[0]);
        for (uint32_t i = 1; i < keys.n && found; i++)
            found = redis_ring_same(ring, *place, _place(call, keys.at[i]));
        if (!found)
            redis_client_error(cl, "CROSSSLOT Keys in request don't hash to the same slot");
    }
    redis_keys_free(&keys);
    return found;
}

bool redis_call_place(const struct redis_call *call, uint32_t *place)
{
    if (!(call->command->flags & REDIS_ONE_KEY))
        return _place_of_keys(call, place);
    *place = _place(call, (uint32_t)call->command->first_key);
    return true;
}

/* Forwarding -------------------------------------------------------------------------- */

void redis_send(const struct redis_call *call, struct redis_upstream *u)
{
    struct redis_client *cl = call->client;
    struct redis_request *r = redis_request_new(cl, call->command);
    cl->bytes += call->in->text_len;
    if (call->in->is_inline)
        redis_upstream_send(u, r, call->in->text, call->in->text_len);
    else
        redis_upstream_send_run(u, r, call->in->text, call->in->text_len);
}

void redis_unavailable(const struct redis_call *call, const struct rt_endpoint *e, const char *why)
{
    struct redis_client *cl = call->client;
    if (cl->tx.open)
        cl->tx.dirty = true;
    redis_client_error(cl, "ERR shard %s: %s", runtime_endpoint_name(e->id), why);
}

enum redis_taken redis_forward(const struct redis_call *call, const struct rt_endpoint *e)
{
    struct redis_client *cl = call->client;
    const char *why;
    struct redis_upstream *u = redis_shard_shared(redis_shard_get(cl, e), cl, &why);
    if (!u) {
        redis_unavailable(call, e, why);
        return REDIS_TAKEN;
    }
    if (!redis_upstream_takes(u, cl))
        return REDIS_WAIT;
    if (cl->head && cl->last_endpoint != e->id)
        cl->spread = true;
    cl->last_endpoint = e->id;
    redis_send(call, u);
    return REDIS_TAKEN;
}

/* XREAD and XREADGROUP block if they say so before STREAMS. */
static bool _blocks(const struct redis_call *call)
{
    if (strncmp(call->command->name, "xread", 5) != 0)
        return false;
    for (uint32_t i = 1; i < call->in->argc && !redis_arg_is(call, i, "streams"); i++) {
        if (redis_arg_is(call, i, "block"))
            return true;
    }
    return false;
}

static enum redis_taken _forward(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    uint32_t place;
    if (!redis_call_place(call, &place))
        return REDIS_TAKEN;
    if (cl->tx.watching && redis_ring_same(redis_cluster(cl)->ring, cl->tx.place, place)) {
        return redis_send_pinned(call);
    }
    const struct rt_endpoint *e = redis_place_endpoint(cl, place);
    uint32_t picked = cl->c.picked;
    cl->c.picked = 0;
    if (picked == e->id + 1 && !cl->head)
        return redis_forward_donated(call, e);
    if (!(call->command->flags & REDIS_ONE_KEY) && _blocks(call))
        return redis_forward_alone(call, e, true);
    return redis_forward(call, e);
}

static enum redis_taken _blocking(const struct redis_call *call)
{
    uint32_t place;
    if (!redis_call_place(call, &place))
        return REDIS_TAKEN;
    return redis_forward_alone(call, redis_place_endpoint(call->client, place), true);
}

static enum redis_taken _unsupported(const struct redis_call *call)
{
    redis_client_error(call->client, "ERR command '%s' is not supported by this proxy", call->command->name);
    return REDIS_TAKEN;
}

static enum redis_taken (*const _handlers[_REDIS_POLICY_MAX])(const struct redis_call *call) = {
    [REDIS_UNSUPPORTED] = _unsupported,  [REDIS_FORWARD] = _forward,
    [REDIS_SPLIT_MGET] = redis_split,    [REDIS_SPLIT_MSET] = redis_split,
    [REDIS_SPLIT_SUM] = redis_split,     [REDIS_ALL_SUM] = redis_all,
    [REDIS_ALL_OK] = redis_all,          [REDIS_ALL_CONCAT] = redis_all,
    [REDIS_ALL_AND] = redis_all,         [REDIS_SCAN] = redis_scan,
    [REDIS_LOCAL] = redis_local,         [REDIS_TRANSACTION] = redis_transaction,
    [REDIS_BLOCKING] = _blocking,        [REDIS_PUBSUB] = redis_pubsub,
    [REDIS_SHARD_PUBSUB] = redis_pubsub, [REDIS_MONITOR] = redis_monitor,
};

static void _count(struct redis_client *cl, const struct redis_command *c)
{
    struct listener_stats *stats = redis_client_stats(cl);
    stat_add(&stats->requests, 1);
    if (c)
        stat_add(&stats->commands[c->policy == REDIS_FORWARD && (c->flags & REDIS_WRITE) ? _REDIS_POLICY_MAX
                                                                                         : c->policy],
                 1);
}

/* Whether the command ends or goes around a transaction instead of being queued in it. */
static bool _beside_transaction(const struct redis_command *c)
{
    return c->policy == REDIS_TRANSACTION || strcmp(c->name, "quit") == 0 || strcmp(c->name, "reset") == 0;
}

/* Watched keys have a connection of their own. Commands on many keys take the shared ones: what comes
 * before them is answered first, and they are before what comes next. */
static enum redis_taken _past_watched(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    if (cl->head)
        return REDIS_WAIT;
    enum redis_taken taken = _handlers[call->command->policy](call);
    cl->alone = cl->head != NULL;
    return taken;
}

static bool _many_keys(const struct redis_command *c)
{
    return c->policy >= REDIS_SPLIT_MGET && c->policy <= REDIS_SCAN;
}

enum redis_taken redis_command_take(struct redis_client *cl)
{
    struct redis_call call = {.client = cl, .in = &cl->in};
    enum redis_taken taken = REDIS_TAKEN;
    if ((cl->alone && cl->head) || cl->subs.awaited)
        return REDIS_WAIT;
    cl->c.requests++;
    redis_path_seen(cl);
    if (!_look_up(&call) || !redis_pubsub_allows(&call)) {
        _count(cl, NULL);
        return taken;
    }
    if (cl->tx.open && !_beside_transaction(call.command))
        taken = redis_transaction_queue(&call);
    else if (cl->tx.watching && _many_keys(call.command))
        taken = _past_watched(&call);
    else
        taken = _handlers[call.command->policy](&call);
    if (taken == REDIS_TAKEN)
        _count(cl, call.command);
    return taken;
}

/* Long commands ----------------------------------------------------------------------- */

static size_t _give_up(struct redis_client *cl)
{
    redis_client_error(cl, "ERR a command of more than %u bytes needs its only key in front",
                       REDIS_ASSEMBLE_MAX);
    redis_client_quit(cl);
    return cl->in.pos;
}

size_t redis_command_stream(struct redis_client *cl, const char *data, enum redis_taken *taken)
{
    struct resp_request *in = &cl->in;
    struct redis_call call = {.client = cl, .in = in};
    const struct redis_command *c =
        in->whole ? redis_command_find(data + in->args[0].off, in->args[0].len) : NULL;
    bool routable = c && (c->flags & REDIS_ONE_KEY) && c->policy == REDIS_FORWARD &&
                    redis_arity_ok(c, in->argc) && in->whole > (uint32_t)c->first_key && cl->authenticated &&
                    !cl->tx.open && !cl->tx.watching;
    if (!routable)
        return in->pos > REDIS_ASSEMBLE_MAX ? _give_up(cl) : 0;
    in->text = data;
    call.command = c;
    if (cl->subs.awaited || cl->head) {
        *taken = REDIS_WAIT;
        return 0;
    }
    if (!redis_pubsub_allows(&call))
        return _give_up(cl);
    const struct rt_endpoint *e = redis_place_endpoint(cl, _place(&call, (uint32_t)c->first_key));
    const char *why;
    struct redis_upstream *u = redis_shard_pin(redis_shard_get(cl, e), cl, REDIS_PIN_ONCE, &why);
    size_t part = resp_stream_begin(&cl->stream, in);
    _count(cl, c);
    cl->in_stream = true;
    cl->streaming = u;
    if (!u) {
        redis_unavailable(&call, e, why);
        return part;
    }
    cl->alone = true;
    redis_upstream_send(u, redis_request_new(cl, c), data, part);
    return part;
}
