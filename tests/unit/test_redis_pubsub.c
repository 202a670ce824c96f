/*
 * Subscriptions and MONITOR: connections of their own, whose messages are no replies.
 */
#include "redis_bench.h"

#include <stdio.h>

static char value[1 << 16];

#define CONFIRM(kind, len, channel, n) "*3\r\n$" #len "\r\n" kind "\r\n$1\r\n" channel "\r\n:" #n "\r\n"
#define SUBSCRIBED(channel, n)         CONFIRM("subscribe", 9, channel, n)
#define UNSUBSCRIBED(channel, n)       CONFIRM("unsubscribe", 11, channel, n)
#define MESSAGE                        "*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$2\r\nhi\r\n"

static void test_confirmations_are_counted(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "SUBSCRIBE x y; PING");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "SUBSCRIBE x y");
    bench_nothing(client);
    bench_send(s0, SUBSCRIBED("x", 1));
    bench_expect(client, SUBSCRIBED("x", 1));
    bench_nothing(client); /* PING waits for y. */
    bench_send(s0, SUBSCRIBED("y", 2));
    bench_expect(client, SUBSCRIBED("y", 2) "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    bench_send(s0, MESSAGE MESSAGE);
    bench_expect(client, MESSAGE MESSAGE);
    bench_say(client, "GET b");
    bench_expect(client,
                 "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
                 "allowed in this context\r\n");
}

static void test_unsubscribe_to_zero(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "SUBSCRIBE x; PSUBSCRIBE p");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "SUBSCRIBE x");
    bench_send(s0, SUBSCRIBED("x", 1));
    bench_expect_said(s0, "PSUBSCRIBE p");
    bench_send(s0, CONFIRM("psubscribe", 10, "p", 2));
    bench_expect(client, SUBSCRIBED("x", 1) CONFIRM("psubscribe", 10, "p", 2));
    bench_say(client, "UNSUBSCRIBE; PUNSUBSCRIBE; GET b");
    bench_expect_said(s0, "UNSUBSCRIBE");
    bench_send(s0, UNSUBSCRIBED("x", 1));
    bench_expect_said(s0, "PUNSUBSCRIBE");
    bench_nothing(s0);
    bench_send(s0, CONFIRM("punsubscribe", 12, "p", 0));
    bench_expect_end(s0);
    bench_expect(client, UNSUBSCRIBED("x", 1) CONFIRM("punsubscribe", 12, "p", 0));
    bench_expect_said(bench_shard(0), "GET b"); /* The shared one: it is an ordinary client again. */
}

static void test_unsubscribe_without_subscription(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "UNSUBSCRIBE; UNSUBSCRIBE x y; PING");
    bench_expect(client, "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n" UNSUBSCRIBED("x", 0)
                             UNSUBSCRIBED("y", 0) "+PONG\r\n");
    bench_no_shard(0);
}

static void test_refused_subscription(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "SUBSCRIBE x y; GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "SUBSCRIBE x y");
    bench_send(s0, "-NOPERM no\r\n"); /* One for all channels. */
    bench_expect(client, "-NOPERM no\r\n");
    bench_expect_end(s0);
    bench_expect_said(bench_shard(0), "GET b");
}

static void test_subscription_behind_auth(void **state)
{
    bench_begin(&(struct bench_conf){.cluster = "auth: { password: p }"});
    int client = bench_client();
    bench_say(client, "SUBSCRIBE x");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "AUTH p");
    bench_send(s0, "+OK\r\n");
    bench_expect_said(s0, "SUBSCRIBE x");
    bench_send(s0, SUBSCRIBED("x", 1) MESSAGE);
    bench_expect(client, SUBSCRIBED("x", 1) MESSAGE);
}

/* A client with RESP 3 that is subscribed to x. @return Its subscription's connection. */
static int _subscribed3(int client)
{
    char hello[512];
    bench_say(client, "HELLO 3");
    bench_settle();
    snprintf(
        hello, sizeof(hello),
        "%%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n$"
        "2\r\nid\r\n"
        ":%llu\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n",
        (unsigned long long)bench_last_client()->id);
    bench_expect(client, hello);
    bench_say(client, "SUBSCRIBE x");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "HELLO 3");
    bench_send(s0, "%1\r\n+proto\r\n:3\r\n");
    bench_expect_said(s0, "SUBSCRIBE x");
    bench_send(s0, ">3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n");
    bench_expect(client, ">3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n");
    return s0;
}

#define PUSH ">3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$2\r\nhi\r\n"

/* With RESP 3 messages come between replies, never inside. */
static void test_messages_between_replies(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    int subs = _subscribed3(client);
    bench_say(client, "GET c; GET g");
    int s1 = bench_shard(1);
    bench_expect_said(s1, "HELLO 3");
    bench_send(s1, "%0\r\n");
    bench_expect_said(s1, "GET c; GET g");
    bench_send(subs, PUSH); /* No reply has begun. */
    bench_expect(client, PUSH);
    bench_send(s1, "$4\r\nab");
    bench_expect(client, "$4\r\nab");
    bench_send(subs, PUSH PUSH);
    bench_nothing(client);
    bench_send(s1, "cd\r\n");
    bench_expect(client, "cd\r\n" PUSH PUSH);
    bench_send(s1, ":1\r\n");
    bench_expect(client, ":1\r\n");
    bench_send(subs, PUSH);
    bench_expect(client, PUSH);
}

static void test_connection_of_subscriptions_ends(void **state)
{
    bench_begin(NULL);
    int client = bench_client(), other = bench_client();
    bench_say(client, "SUBSCRIBE x");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "SUBSCRIBE x");
    bench_send(s0, SUBSCRIBED("x", 1));
    bench_expect(client, SUBSCRIBED("x", 1));
    bench_close(s0);
    bench_expect_end(client);
    bench_say(other, "PING");
    bench_expect(other, "+PONG\r\n");
}

static void test_subscriber_leaves(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "SUBSCRIBE x");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "SUBSCRIBE x");
    bench_send(s0, SUBSCRIBED("x", 1));
    bench_expect(client, SUBSCRIBED("x", 1));
    bench_half_close(client);
    bench_expect_end(s0);
    bench_expect_end(client);
}

/* A subscriber that does not read: its connection waits, nobody else does. */
static void test_slow_subscriber(void **state)
{
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 64KiB }"});
    int client = bench_small_client();
    bench_say(client, "SUBSCRIBE x");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "SUBSCRIBE x");
    bench_send(s0, SUBSCRIBED("x", 1));
    bench_expect(client, SUBSCRIBED("x", 1));
    struct redis_client *cl = bench_last_client();
    const char *head = "*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$1000\r\n";
    size_t len = strlen(head) + 1002, all = sizeof(value) / len * len;
    for (size_t i = 0; i < all; i += len) {
        memcpy(value + i, head, strlen(head));
        memset(value + i + strlen(head), 'm', 1000);
        memcpy(value + i + len - 2, "\r\n", 2);
    }
    size_t sent = 0, n;
    do {
        n = bench_push(s0, value, all);
        sent += n;
    } while (n == all && sent < 64 << 20);
    assert_true(sent < 64 << 20);
    int other = bench_client();
    for (int i = 0; i < 200; i++) {
        bench_say(other, "PUBLISH x 1");
        if (!i)
            n = (size_t)bench_shard(0);
        bench_expect_said((int)n, "PUBLISH x 1");
        bench_send((int)n, ":1\r\n");
        bench_expect(other, ":1\r\n");
    }
    assert_true(conn_backlog(&cl->c) < 65536 + 65536);
    size_t whole = sent / len * len, rest = (len - sent % len) % len;
    assert_int_equal(bench_swallow(client, whole), whole);
    bench_send_bytes(s0, value + sent % all, rest); /* The rest of the message that did not go. */
    whole = rest ? len : 0;
    assert_int_equal(bench_swallow(client, whole), whole);
    bench_send(s0, MESSAGE);
    bench_expect(client, MESSAGE);
}

/* Sharded ------------------------------------------------------------------------------- */

static void test_sharded(void **state)
{
    bench_begin(NULL);
    int client = bench_client(), other = bench_client();
    bench_say(client, "SSUBSCRIBE c g");
    bench_expect(client, "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
    bench_say(client, "SSUBSCRIBE c");
    int s1 = bench_shard(1);
    bench_expect_said(s1, "SSUBSCRIBE c");
    bench_send(s1, CONFIRM("ssubscribe", 10, "c", 1));
    bench_expect(client, CONFIRM("ssubscribe", 10, "c", 1));
    bench_say(other, "SPUBLISH c m; PUBLISH c m");
    bench_expect_said(bench_shard(1), "SPUBLISH c m");
    bench_expect_said(bench_shard(0), "PUBLISH c m");
    bench_say(client, "SUNSUBSCRIBE");
    bench_expect_said(s1, "SUNSUBSCRIBE");
    bench_send(s1, CONFIRM("sunsubscribe", 12, "c", 0));
    bench_expect(client, CONFIRM("sunsubscribe", 12, "c", 0));
    bench_expect_end(s1);
}

/* All at once: none of their connections is kept, and the client may do anything again. */
static void test_sharded_on_several_shards(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "SSUBSCRIBE c");
    int s1 = bench_shard(1);
    bench_expect_said(s1, "SSUBSCRIBE c");
    bench_send(s1, CONFIRM("ssubscribe", 10, "c", 1));
    bench_expect(client, CONFIRM("ssubscribe", 10, "c", 1));
    bench_say(client, "SSUBSCRIBE a");
    int s2 = bench_shard(2);
    bench_expect_said(s2, "SSUBSCRIBE a");
    bench_send(s2, CONFIRM("ssubscribe", 10, "a", 1));
    bench_expect(client, CONFIRM("ssubscribe", 10, "a", 1));
    bench_say(client, "SUNSUBSCRIBE; GET b");
    bench_expect_said(s1, "SUNSUBSCRIBE");
    bench_expect_said(s2, "SUNSUBSCRIBE");
    bench_send(s1, CONFIRM("sunsubscribe", 12, "c", 0));
    bench_expect(client, CONFIRM("sunsubscribe", 12, "c", 0));
    bench_send(s2, CONFIRM("sunsubscribe", 12, "a", 0));
    bench_expect(client, CONFIRM("sunsubscribe", 12, "a", 0));
    bench_expect_end(s1);
    bench_expect_end(s2);
    bench_expect_said(bench_shard(0), "GET b");
}

/* A shard that takes the command and says nothing: the client does not wait for ever. */
static void test_no_confirmation(void **state)
{
    bench_begin(&(struct bench_conf){.globals = "timeouts: { response: 100ms }\n"});
    int client = bench_client(), other = bench_client();
    bench_say(client, "SUBSCRIBE x; PING");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "SUBSCRIBE x");
    bench_expect_end(client);
    bench_expect_end(s0);
    bench_say(other, "SUBSCRIBE x");
    s0 = bench_shard(0);
    bench_expect_said(s0, "SUBSCRIBE x");
    bench_send(s0, CONFIRM("subscribe", 9, "x", 1));
    bench_expect(other, CONFIRM("subscribe", 9, "x", 1));
    bench_run_for(250 * MS); /* No message is due. */
    bench_send(s0, MESSAGE);
    bench_expect(other, MESSAGE);
}

/* MONITOR ------------------------------------------------------------------------------- */

static void test_monitor(void **state)
{
    bench_begin(NULL);
    int client = bench_client(), s[3];
    bench_say(client, "MONITOR");
    for (unsigned i = 0; i < 3; i++) {
        s[i] = bench_shard(i);
        bench_expect_said(s[i], "MONITOR");
    }
    bench_expect(client, "+OK\r\n");
    bench_send(s[1], "+OK\r\n+line 1\r\n");
    bench_expect(client, "+line 1\r\n");
    bench_send(s[0], "+OK\r\n");
    bench_send(s[2], "+OK\r\n+line");
    bench_nothing(client);
    bench_send(s[2], " 2\r\n");
    bench_expect(client, "+line 2\r\n");
    bench_say(client, "PING; QUIT");
    bench_expect(client, "+PONG\r\n+OK\r\n");
    bench_expect_end(client);
    for (unsigned i = 0; i < 3; i++)
        bench_expect_end(s[i]);
}

static void test_monitor_leaves(void **state)
{
    bench_begin(NULL);
    int client = bench_client(), s[3];
    bench_say(client, "MONITOR");
    bench_expect(client, "+OK\r\n");
    for (unsigned i = 0; i < 3; i++) {
        s[i] = bench_shard(i);
        bench_expect_said(s[i], "MONITOR");
    }
    bench_close(client);
    for (unsigned i = 0; i < 3; i++)
        bench_expect_end(s[i]);
}

static void test_monitor_refused(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "MONITOR");
    bench_expect(client, "+OK\r\n");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "MONITOR");
    bench_send(s0, "-NOPERM\r\n");
    bench_expect_end(client);
    bench_expect_end(s0);
}

/* What is watched stays so when MONITOR finds a shard out of use. */
static void test_monitor_and_watch(void **state)
{
    bench_begin(&(struct bench_conf){.cluster = "max_failures: 1"});
    int client = bench_client();
    bench_say(client, "WATCH b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "WATCH b");
    bench_send(s0, "+OK\r\n");
    bench_expect(client, "+OK\r\n");
    bench_shard_down(1);
    bench_say(client, "GET c");
    bench_expect_shard_error(client, 1, "Connection refused");
    bench_say(client, "MONITOR; GET b");
    bench_expect_shard_error(client, 1, "Connection refused");
    bench_expect_said(s0, "GET b");
    bench_send(s0, "$-1\r\n");
    bench_expect(client, "$-1\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_confirmations_are_counted),
        BENCH_TEST(test_unsubscribe_to_zero),
        BENCH_TEST(test_unsubscribe_without_subscription),
        BENCH_TEST(test_refused_subscription),
        BENCH_TEST(test_subscription_behind_auth),
        BENCH_TEST(test_messages_between_replies),
        BENCH_TEST(test_connection_of_subscriptions_ends),
        BENCH_TEST(test_subscriber_leaves),
        BENCH_TEST(test_slow_subscriber),
        BENCH_TEST(test_sharded),
        BENCH_TEST(test_monitor),
        BENCH_TEST(test_monitor_leaves),
        BENCH_TEST(test_monitor_refused),
        BENCH_TEST(test_sharded_on_several_shards),
        BENCH_TEST(test_monitor_and_watch),
        BENCH_TEST(test_no_confirmation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
