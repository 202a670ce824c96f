/*
 * The client's side: how many commands may be outstanding, and how a connection comes to its end.
 */
#include "redis_bench.h"

#include <stdio.h>

/* More commands than one client may have outstanding. */
static void test_long_pipeline(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    for (int i = 0; i < 3000; i++)
        bench_say(client, "GET b");
    int s0 = bench_shard(0);
    bench_settle();
    assert_int_equal(bench_last_client()->outstanding, 1024);
    for (int i = 0; i < 3000; i++) {
        char reply[16];
        snprintf(reply, sizeof(reply), ":%d\r\n", i);
        bench_expect_said(s0, "GET b");
        bench_send(s0, reply);
    }
    for (int i = 0; i < 3000; i++) {
        char reply[16];
        snprintf(reply, sizeof(reply), ":%d\r\n", i);
        bench_expect(client, reply);
    }
    bench_nothing(client);
}

/* Over several shards fewer, at first: replies that overtake others are kept. */
static void test_window(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    for (int i = 0; i < 100; i++)
        bench_say(client, i % 2 ? "GET b" : "GET c");
    int s1 = bench_shard(1), s0 = bench_shard(0);
    bench_settle();
    assert_int_equal(bench_last_client()->outstanding, 16);
    for (int i = 0; i < 50; i++) {
        bench_expect_said(s1, "GET c");
        bench_send(s1, ":1\r\n");
        bench_expect_said(s0, "GET b");
        bench_send(s0, ":0\r\n");
        bench_expect(client, ":1\r\n:0\r\n");
    }
    assert_true(bench_last_client()->window > 16);
}

static void test_quit(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "GET b; QUIT; GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    bench_nothing(client);
    bench_send(s0, ":1\r\n");
    bench_expect(client, ":1\r\n+OK\r\n");
    bench_expect_end(client);
    bench_nothing(s0);
}

static void test_half_close(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "GET b; PING; GET c");
    bench_send(client, "*2\r\n$3\r\nGE");
    bench_half_close(client);
    int s0 = bench_shard(0), s1 = bench_shard(1);
    bench_send(s1, ":2\r\n");
    bench_nothing(client);
    bench_send(s0, ":1\r\n");
    bench_expect(client, ":1\r\n+PONG\r\n:2\r\n");
    bench_expect_end(client);
    client = bench_client();
    bench_half_close(client);
    bench_expect_end(client);
}

static void test_idle_timeout(void **state)
{
    bench_begin(&(struct bench_conf){.listener = "idle_timeout: 150ms"});
    int idle = bench_client(), waiting = bench_client();
    bench_say(waiting, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    bench_expect_end(idle);
    bench_run_for(200 * MS);
    bench_send(s0, ":1\r\n"); /* It is not idle. */
    bench_expect(waiting, ":1\r\n");
}

/* Draining ------------------------------------------------------------------------------ */

static void test_drain(void **state)
{
    bench_begin(NULL);
    int idle = bench_client(), busy = bench_client(), blocked = bench_client(), subscribed = bench_client();
    bench_say(busy, "GET b; MGET b c");
    int s0 = bench_shard(0), s1 = bench_shard(1);
    bench_say(blocked, "BLPOP b 0");
    int own = bench_shard(0);
    bench_say(subscribed, "SUBSCRIBE x");
    int subs = bench_shard(0);
    bench_expect_said(own, "BLPOP b 0");
    bench_expect_said(subs, "SUBSCRIBE x");
    bench_send(subs, "*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n");
    bench_settle();
    bench_drain();
    bench_expect_end(idle);
    bench_expect_end(blocked);
    bench_expect_end(own);
    bench_expect_end(subs);
    bench_say(busy, "PING"); /* Too late. */
    bench_send(s0, ":1\r\n*1\r\n:2\r\n");
    bench_expect(busy, ":1\r\n");
    bench_send(s1, "*1\r\n:3\r\n");
    bench_expect(busy, "*2\r\n:2\r\n:3\r\n");
    bench_expect_end(busy);
    bench_swallow(subscribed, 1 << 10);
    bench_close(busy), bench_close(idle), bench_close(subscribed), bench_close(blocked);
    BENCH_UNTIL(TAILQ_EMPTY(&bench_worker.conns)); /* The shards' connections go with the last client. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_long_pipeline), BENCH_TEST(test_window),       BENCH_TEST(test_quit),
        BENCH_TEST(test_half_close),    BENCH_TEST(test_idle_timeout), BENCH_TEST(test_drain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
