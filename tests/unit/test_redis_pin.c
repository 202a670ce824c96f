/*
 * Connections of a client's own: blocking commands.
 */
#include "redis_bench.h"

static void test_blocking(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "GET c; BLPOP c 0; GET b; PING");
    int shared = bench_shard(1);
    bench_expect_said(shared, "GET c");
    bench_no_shard(1); /* It waits for what was sent before. */
    bench_send(shared, ":1\r\n");
    bench_expect(client, ":1\r\n");
    int own = bench_shard(1);
    bench_expect_said(own, "BLPOP c 0");
    bench_no_shard(0); /* Nothing else is taken before the reply. */
    bench_nothing(client);
    int other = bench_client();
    bench_say(other, "GET c"); /* Others go on. */
    bench_expect_said(shared, "GET c");
    bench_send(shared, ":2\r\n");
    bench_expect(other, ":2\r\n");
    bench_send(own, "*2\r\n$1\r\nc\r\n$1\r\nx\r\n");
    bench_expect(client, "*2\r\n$1\r\nc\r\n$1\r\nx\r\n");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    bench_send(s0, ":3\r\n");
    bench_expect(client, ":3\r\n+PONG\r\n");
    bench_say(other, "BRPOP c 1"); /* The connection serves the next one. */
    bench_expect_said(own, "BRPOP c 1");
}

static void test_no_clock(void **state)
{
    bench_begin(&(struct bench_conf){
        .globals = "timeouts: { response: 50ms, connect: 50ms, idle: 50ms, write: 50ms }"});
    int client = bench_client();
    bench_say(client, "BLPOP c 0");
    int own = bench_shard(1);
    bench_expect_said(own, "BLPOP c 0");
    bench_run_for(200 * MS);
    bench_send(own, "*-1\r\n");
    bench_expect(client, "*-1\r\n");
    bench_expect_end(own); /* Idle for as long as it may be. */
    bench_say(client, "PING");
    bench_expect(client, "+PONG\r\n");
}

static void test_client_leaves(void **state)
{
    bench_begin(NULL);
    for (int i = 0; i < 3; i++) {
        int client = bench_client();
        bench_say(client, "BLPOP c 0");
        int own = bench_shard(1);
        bench_expect_said(own, "BLPOP c 0");
        if (i == 0)
            bench_close(client);
        else if (i == 1)
            bench_reset(client);
        else
            bench_half_close(client);
        bench_expect_end(own);
        if (i == 2)
            bench_expect_end(client);
    }
}

static void test_shard_dies(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "BLPOP c 0; PING");
    int own = bench_shard(1);
    bench_expect_said(own, "BLPOP c 0");
    bench_close(own);
    bench_expect_shard_error(client, 1, "connection closed by the server");
    bench_expect(client, "+PONG\r\n");
    bench_shard_down(1);
    bench_say(client, "BLPOP c 0");
    bench_expect_shard_error(client, 1, "Connection refused");
}

/* XREAD blocks only if it says so, and before STREAMS. */
static void test_xread(void **state)
{
    bench_begin(NULL);
    int client = bench_client(), other = bench_client();
    bench_say(client, "XREAD COUNT 1 STREAMS c 0");
    int shared = bench_shard(1);
    bench_expect_said(shared, "XREAD COUNT 1 STREAMS c 0");
    bench_say(other, "XREAD BLOCK 0 STREAMS c $");
    int own = bench_shard(1);
    bench_expect_said(own, "XREAD BLOCK 0 STREAMS c $");
}

static void test_cross_slot(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "BLPOP c g 0; BLPOP {c}1 {c}2 0");
    bench_expect(client, "-CROSSSLOT Keys in request don't hash to the same slot\r\n");
    bench_expect_said(bench_shard(1), "BLPOP {c}1 {c}2 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_blocking),   BENCH_TEST(test_no_clock), BENCH_TEST(test_client_leaves),
        BENCH_TEST(test_shard_dies), BENCH_TEST(test_xread),    BENCH_TEST(test_cross_slot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
