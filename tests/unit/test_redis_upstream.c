/*
 * Connections to shards: their setup, back-pressure in both directions, and their end.
 */
#include "redis_bench.h"

#include <stdio.h>

static char value[1 << 20];

/* Setup --------------------------------------------------------------------------------- */

static void test_commands_wait_for_auth(void **state)
{
    bench_begin(&(struct bench_conf){.cluster = "auth: { user: app, password: secret }"});
    int client = bench_client();
    bench_say(client, "GET b; GET f");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "AUTH app secret");
    bench_nothing(s0);
    bench_send(s0, "+O");
    bench_nothing(s0);
    bench_send(s0, "K\r\n");
    bench_expect_said(s0, "GET b; GET f");
    bench_nothing(client);
    bench_send(s0, "+1\r\n+2\r\n");
    bench_expect(client, "+1\r\n+2\r\n");
    bench_say(client, "GET b");
    bench_expect_said(s0, "GET b");
}

static void test_commands_wait_for_hello(void **state)
{
    bench_begin(&(struct bench_conf){.cluster = "auth: { password: secret }"});
    int client = bench_client();
    bench_say(client, "HELLO 3 SETNAME x; CLIENT GETNAME; GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "AUTH secret; HELLO 3");
    bench_send(s0, "+OK\r\n");
    bench_nothing(s0);
    bench_send(s0, "%1\r\n$5\r\nproto\r\n:3\r\n");
    bench_expect_said(s0, "GET b");
    bench_send(s0, "_\r\n");
    bench_swallow(client, 1);
    bench_settle();
    assert_int_equal(bench_last_client()->outstanding, 0);
}

static void _refused(int client, const char *why)
{
    int s0 = bench_shard(0);
    bench_expect_said(s0, "AUTH secret");
    bench_send(s0, why);
    bench_expect_end(s0);
    bench_close(s0);
    (void)client;
}

static void test_refused_auth_fails_all(void **state)
{
    bench_begin(&(struct bench_conf){.cluster = "auth: { password: secret }, max_failures: 0"});
    int one = bench_client(), two = bench_client();
    bench_say(one, "GET b; PING; GET f");
    bench_say(two, "GET b");
    _refused(one, "-WRONGPASS no\r\n");
    bench_expect_shard_error(one, 0, "WRONGPASS no");
    bench_expect(one, "+PONG\r\n");
    bench_expect_shard_error(one, 0, "WRONGPASS no");
    bench_expect_shard_error(two, 0, "WRONGPASS no");
    bench_no_shard(0);
    bench_say(two, "GET b"); /* The next one tries again. */
    _refused(two, "-ERR again\r\n");
    bench_expect_shard_error(two, 0, "ERR again");
}

static void test_shard_dies_during_setup(void **state)
{
    bench_begin(&(struct bench_conf){.cluster = "auth: { password: secret }"});
    int client = bench_client();
    bench_say(client, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "AUTH secret");
    bench_close(s0);
    bench_expect_shard_error(client, 0, "connection closed by the server");
}

/* One connection per RESP version: the replies' types differ. */
static void test_connection_per_version(void **state)
{
    bench_begin(NULL);
    int two = bench_client(), three = bench_client();
    bench_say(three, "HELLO 3");
    bench_say(two, "GET b");
    int s2 = bench_shard(0);
    bench_expect_said(s2, "GET b");
    bench_say(three, "GET b");
    int s3 = bench_shard(0);
    bench_expect_said(s3, "HELLO 3");
    bench_send(s3, "%0\r\n");
    bench_expect_said(s3, "GET b");
    bench_send(s2, "$-1\r\n");
    bench_expect(two, "$-1\r\n");
}

/* Back-pressure ------------------------------------------------------------------------- */

static struct redis_upstream *_shared(unsigned version)
{
    for (unsigned i = 0; i < RUNTIME_ENDPOINTS_MAX; i++) {
        struct redis_shard *s = bench_worker.redis->shards[i];
        if (s && s->shared[version - 2][0])
            return s->shared[version - 2][0];
    }
    return NULL;
}

/* A SET of a key and 50000 bytes. */
static const char *_set(const char *key, size_t *len)
{
    static char text[50100];
    int head = snprintf(text, sizeof(text), "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$50000\r\n", strlen(key), key);
    memset(text + head, 'v', 50000);
    memcpy(text + head + 50000, "\r\n", 2);
    *len = (size_t)head + 50002;
    return text;
}

/* Sends SETs until no more of them are taken. @return How many were sent. */
static size_t _fill(int client, size_t *rest)
{
    size_t n, len;
    const char *text = _set("b", &len);
    for (n = 0; n < 1000; n++) {
        size_t sent = bench_push(client, text, len);
        if (sent < len) {
            *rest = sent;
            return n;
        }
    }
    fail_msg("a shard that does not read does not stop its client");
    return 0;
}

static void test_slow_shard(void **state)
{
    size_t rest, len;
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 64KiB }"});
    int client = bench_small_client(), other = bench_client();
    bench_say(other, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    size_t n = _fill(client, &rest);
    struct redis_upstream *u = _shared(2);
    assert_true(conn_backlog(&u->c) > 65536);
    assert_true(conn_backlog(&u->c) < 65536 + 2 * 50100);
    bench_say(other, "GET f"); /* Waits with it, */
    bench_settle();
    assert_non_null(TAILQ_FIRST(&u->waiters));
    bench_say(other, "GET c"); /* and others behind it; */
    bench_no_shard(1);
    int third = bench_client();
    bench_say(third, "GET c"); /* not those of others. */
    int s1 = bench_shard(1);
    bench_expect_said(s1, "GET c");
    /* It reads again: all arrives, in whatever order of the clients. */
    _set("b", &len);
    size_t all = n * len;
    assert_int_equal(bench_swallow(s0, all), all);
    bench_send_bytes(client, _set("b", &len) + rest, len - rest);
    all = len + strlen("*2\r\n$3\r\nGET\r\n$1\r\nf\r\n");
    assert_int_equal(bench_swallow(s0, all), all);
    assert_true(TAILQ_EMPTY(&u->waiters));
    bench_nothing(s0);
    for (size_t i = 0; i < n + 3; i++)
        bench_send(s0, "+OK\r\n");
    for (size_t i = 0; i < n + 1; i++)
        bench_expect(client, "+OK\r\n");
    bench_expect(other, "+OK\r\n+OK\r\n");
    bench_nothing(client);
    bench_expect_said(s1, "GET c");
}

/* Those that wait for a slow shard go on when it dies. */
static void test_slow_shard_dies(void **state)
{
    size_t rest;
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 64KiB }"});
    int client = bench_small_client();
    bench_say(client, "GET b");
    int s0 = bench_shard(0);
    _fill(client, &rest);
    struct redis_upstream *u = _shared(2);
    int other = bench_client();
    bench_say(other, "GET b");
    BENCH_UNTIL(!TAILQ_EMPTY(&u->waiters));
    bench_shard_down(0);
    bench_reset(s0);
    bench_expect(client, "-ERR shard ");
    bench_expect_shard_error(other, 0, "Connection refused"); /* Its command was not sent before. */
    bench_nothing(other);
}

/* Commands that wait for the setup are bounded too, and go on after it. */
static void test_too_much_for_the_setup(void **state)
{
    size_t len;
    bench_begin(
        &(struct bench_conf){.globals = "limits: { buffer: 64KiB }", .cluster = "auth: { password: p }"});
    int one = bench_client(), two = bench_client();
    const char *text = _set("b", &len);
    bench_send_bytes(one, text, len);
    bench_send_bytes(one, text, len);
    int s0 = bench_shard(0);
    bench_expect_said(s0, "AUTH p");
    bench_say(two, "GET b");
    BENCH_UNTIL(_shared(2) && !TAILQ_EMPTY(&_shared(2)->waiters));
    bench_nothing(s0);
    bench_send(s0, "+OK\r\n");
    bench_expect_bytes(s0, text, len);
    bench_expect_bytes(s0, text, len);
    bench_expect_said(s0, "GET b");
    bench_send(s0, ":1\r\n:2\r\n:3\r\n");
    bench_expect(one, ":1\r\n:2\r\n");
    bench_expect(two, ":3\r\n");
}

/* Slow readers -------------------------------------------------------------------------- */

/* Answers a GET with so much that the shard's connection is paused. @return Bytes sent. */
static size_t _overfeed(int shard)
{
    size_t sent = 0;
    bench_send(shard, "$33554432\r\n");
    while (sent < 33554432) {
        size_t n = bench_push(shard, value, sizeof(value));
        sent += n;
        if (n < sizeof(value))
            break;
    }
    assert_true(sent < 33554432);
    assert_true(_shared(2)->paused);
    return sent;
}

static void test_slow_reader(void **state)
{
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 64KiB }"});
    int client = bench_small_client();
    bench_say(client, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    size_t sent = _overfeed(s0);
    /* Half the limit, and what one recv() brought behind it. */
    assert_true(conn_backlog(&bench_last_client()->c) <= 65536 / 2 + WORKER_RBUF);
    bench_run_for(400 * MS); /* Nobody waits behind it: it may take its time. */
    assert_true(_shared(2)->paused);
    assert_int_equal(bench_swallow(client, sent), sent);
    assert_false(_shared(2)->paused);
    while (sent < 33554432) {
        size_t n = 33554432 - sent < sizeof(value) ? 33554432 - sent : sizeof(value);
        n = bench_push(s0, value, n);
        sent += n;
        assert_int_equal(bench_swallow(client, n), n);
    }
    bench_send(s0, "\r\n");
    size_t tail = strlen("$33554432\r\n") + 2;
    assert_int_equal(bench_swallow(client, tail), tail);
    bench_say(client, "GET f");
    bench_expect_said(s0, "GET f");
    bench_send(s0, ":1\r\n");
    bench_expect(client, ":1\r\n");
}

/* The rest of the reply, and one for the next client. */
static void _feed_rest(int shard, size_t sent)
{
    while (sent < 33554432) {
        size_t n = 33554432 - sent < sizeof(value) ? 33554432 - sent : sizeof(value);
        bench_send_bytes(shard, value, n);
        sent += n;
    }
    bench_send(shard, "\r\n:2\r\n");
}

/* Others wait behind it: after some time its replies are kept, and they go on. */
static void test_slow_reader_in_the_way(void **state)
{
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 1MiB }"});
    int slow = bench_small_client(), other = bench_client();
    bench_say(slow, "GET b");
    int s0 = bench_shard(0);
    bench_say(other, "GET f");
    bench_expect_said(s0, "GET b; GET f");
    size_t sent = _overfeed(s0), all = strlen("$33554432\r\n") + 33554432 + 2;
    _feed_rest(s0, sent);
    bench_expect(other, ":2\r\n");
    assert_int_equal(bench_swallow(slow, all), all);
    bench_nothing(slow);
}

/* Too much to be kept: it is closed. */
static void test_slow_reader_is_closed(void **state)
{
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 64KiB }"});
    int slow = bench_small_client(), other = bench_client();
    bench_say(slow, "GET b");
    int s0 = bench_shard(0);
    bench_say(other, "GET f");
    bench_expect_said(s0, "GET b; GET f");
    _feed_rest(s0, _overfeed(s0));
    bench_expect(other, ":2\r\n");
    assert_int_equal(atomic_load(&bench_worker.connections), 1);
}

/* It leaves by itself while its shard's connection is paused for it. */
static void test_slow_reader_leaves(void **state)
{
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 64KiB }"});
    int slow = bench_small_client(), other = bench_client();
    bench_say(slow, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    size_t sent = _overfeed(s0);
    bench_reset(slow);
    BENCH_UNTIL(atomic_load(&bench_worker.connections) == 1);
    bench_say(other, "GET f");
    bench_expect_said(s0, "GET f");
    _feed_rest(s0, sent);
    bench_expect(other, ":2\r\n");
}

/* Ends ---------------------------------------------------------------------------------- */

static void test_malformed_reply(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    bench_send(s0, "hello\r\n");
    bench_expect_end(s0);
    assert_int_equal(bench_swallow(client, 10), 10);
}

static void test_unasked_reply(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    bench_send(s0, ":1\r\n:2\r\n");
    bench_expect(client, ":1\r\n");
    bench_expect_end(s0);
    bench_nothing(client);
    bench_say(client, "GET b");
    bench_expect_said(bench_shard(0), "GET b");
}

static void test_response_timeout(void **state)
{
    bench_begin(&(struct bench_conf){.globals = "timeouts: { response: 100ms }"});
    int client = bench_client();
    bench_say(client, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    bench_expect_shard_error(client, 0, "timeout");
    bench_expect_end(s0);
    bench_say(client, "GET c");
    int s1 = bench_shard(1);
    bench_expect_said(s1, "GET c");
    bench_send(s1, ":1\r\n");
    bench_expect(client, ":1\r\n");
    bench_run_for(200 * MS); /* Nothing outstanding: no clock. */
    bench_say(client, "GET c");
    bench_expect_said(s1, "GET c");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_commands_wait_for_auth),
        BENCH_TEST(test_commands_wait_for_hello),
        BENCH_TEST(test_refused_auth_fails_all),
        BENCH_TEST(test_shard_dies_during_setup),
        BENCH_TEST(test_connection_per_version),
        BENCH_TEST(test_slow_shard),
        BENCH_TEST(test_slow_shard_dies),
        BENCH_TEST(test_too_much_for_the_setup),
        BENCH_TEST(test_slow_reader),
        BENCH_TEST(test_slow_reader_in_the_way),
        BENCH_TEST(test_slow_reader_is_closed),
        BENCH_TEST(test_slow_reader_leaves),
        BENCH_TEST(test_malformed_reply),
        BENCH_TEST(test_unasked_reply),
        BENCH_TEST(test_response_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
