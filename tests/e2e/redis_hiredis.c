/*
 * hiredis as a client: `redis_hiredis PORT sync|async`. Exit status 0 if every reply was what
 * redis would have answered; otherwise a line on stderr says which was not.
 */
#include <event2/event.h>
#include <hiredis/adapters/libevent.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS        2000
#define ROUNDS      5
#define BINARY_SIZE 70000

static _Noreturn void _fail(const char *what, const redisReply *reply)
{
    fprintf(stderr, "%s: reply of type %d: %.200s\n", what, reply ? reply->type : -1,
            reply && reply->str ? reply->str : "");
    exit(1);
}

static void _expect_status(const redisReply *reply, const char *what)
{
    if (!reply || reply->type != REDIS_REPLY_STATUS || strcmp(reply->str, "OK") != 0)
        _fail(what, reply);
}

static void _expect_string(const redisReply *reply, const char *text, size_t len, const char *what)
{
    if (!reply || reply->type != REDIS_REPLY_STRING || (size_t)reply->len != len ||
        memcmp(reply->str, text, len) != 0)
        _fail(what, reply);
}

static redisReply *_next(redisContext *c, const char *what)
{
    void *reply = NULL;

    if (redisGetReply(c, &reply) != REDIS_OK) {
        fprintf(stderr, "%s: %s\n", what, c->errstr);
        exit(1);
    }
    return reply;
}

/* Sets and gets of keys on all shards, all sent before the first reply is read. */
static void _sync_pipeline(redisContext *c)
{
    char value[64];
    redisReply *reply;

    for (int i = 0; i < KEYS; i++) {
        redisAppendCommand(c, "SET hiredis:%d value:%d", i, i);
        redisAppendCommand(c, "GET hiredis:%d", i);
    }
    for (int i = 0; i < KEYS; i++) {
        reply = _next(c, "SET");
        _expect_status(reply, "SET");
        freeReplyObject(reply);
        reply = _next(c, "GET");
        snprintf(value, sizeof(value), "value:%d", i);
        _expect_string(reply, value, strlen(value), "GET");
        freeReplyObject(reply);
    }
}

/* A key and a value that are not text, and a command split over the shards. */
static void _sync_binary(redisContext *c)
{
    char *value = malloc(BINARY_SIZE);
    redisReply *reply;

    if (!value)
        _fail("malloc", NULL);
    for (size_t i = 0; i < BINARY_SIZE; i++)
        value[i] = (char)(i * 31 + i / 251);
    reply = redisCommand(c, "SET %b %b", "\r\n\0{key", (size_t)7, value, (size_t)BINARY_SIZE);
    _expect_status(reply, "binary SET");
    freeReplyObject(reply);
    reply = redisCommand(c, "MGET %b hiredis:0 hiredis:none hiredis:1", "\r\n\0{key", (size_t)7);
    if (!reply || reply->type != REDIS_REPLY_ARRAY || reply->elements != 4)
        _fail("MGET", reply);
    _expect_string(reply->element[0], value, BINARY_SIZE, "MGET, binary");
    _expect_string(reply->element[1], "value:0", 7, "MGET, first");
    if (reply->element[2]->type != REDIS_REPLY_NIL)
        _fail("MGET, none", reply->element[2]);
    _expect_string(reply->element[3], "value:1", 7, "MGET, last");
    freeReplyObject(reply);
    free(value);
}

static int _sync(int port)
{
    redisContext *c = redisConnectWithTimeout("127.0.0.1", port, (struct timeval){10, 0});

    if (!c || c->err)
        _fail("connect", NULL);
    redisSetTimeout(c, (struct timeval){10, 0});
    for (int i = 0; i < ROUNDS; i++)
        _sync_pipeline(c);
    _sync_binary(c);
    redisFree(c);
    return 0;
}

struct async_state {
    int answered;
    int next; /**< The reply that has to come next: hiredis hands them out in order. */
    bool disconnected;
};

static void _on_get(redisAsyncContext *c, void *r, void *arg)
{
    struct async_state *state = c->data;
    int number = (int)(intptr_t)arg;
    char value[64];

    snprintf(value, sizeof(value), "value:%d", number % KEYS);
    _expect_string(r, value, strlen(value), "asynchronous GET");
    if (number != state->next++)
        _fail("order", r);
    if (++state->answered == KEYS * ROUNDS)
        redisAsyncDisconnect(c);
}

static void _on_disconnect(const redisAsyncContext *c, int status)
{
    struct async_state *state = c->data;

    if (status != REDIS_OK) {
        fprintf(stderr, "disconnected: %s\n", c->errstr);
        exit(1);
    }
    state->disconnected = true;
}

static int _async(int port)
{
    struct event_base *base = event_base_new();
    redisAsyncContext *c = redisAsyncConnect("127.0.0.1", port);
    struct async_state state = {0};

    if (!base || !c || c->err)
        _fail("connect", NULL);
    c->data = &state;
    redisLibeventAttach(c, base);
    redisAsyncSetDisconnectCallback(c, _on_disconnect);
    for (int i = 0; i < KEYS; i++)
        redisAsyncCommand(c, NULL, NULL, "SET hiredis:%d value:%d", i, i);
    for (int i = 0; i < KEYS * ROUNDS; i++)
        redisAsyncCommand(c, _on_get, (void *)(intptr_t)i, "GET hiredis:%d", i % KEYS);
    event_base_dispatch(base);
    event_base_free(base);
    if (!state.disconnected || state.answered != KEYS * ROUNDS)
        _fail("replies are missing", NULL);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    return strcmp(argv[2], "async") == 0 ? _async(atoi(argv[1])) : _sync(atoi(argv[1]));
}
