/*
 * Shards: shared connections, idle ones, and whether an endpoint is used at all.
 */
#include "redis_bench.h"

static uint64_t _ejections(unsigned shard)
{
    for (uint32_t i = 0; i < RUNTIME_ENDPOINTS_MAX && runtime_endpoint_name(i); i++) {
        if (strcmp(runtime_endpoint_name(i), bench_address(shard)) == 0)
            return stat_get(&bench_worker.stats.endpoints[i].ejections);
    }
    return UINT64_MAX;
}

static void test_ejection(void **state)
{
    bench_begin(&(struct bench_conf){.cluster = "max_failures: 2, retry_after: 300ms"});
    int client = bench_client();
    bench_shard_down(0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(_ejections(0), 0);
        bench_say(client, "GET b");
        bench_expect_shard_error(client, 0, "Connection refused");
    }
    assert_int_equal(_ejections(0), 1);
    bench_shard_up(0);
    uint64_t since = conn_now();
    bench_say(client, "GET b; GET c"); /* Not tried; others are. */
    bench_expect_shard_error(client, 0, "Connection refused");
    bench_expect_said(bench_shard(1), "GET c");
    bench_no_shard(0);
    bench_shard_down(0);
    BENCH_UNTIL(conn_now() > since + 320 * MS);
    int other = bench_client(); /* One more failure is enough now. */
    bench_say(other, "GET b");
    bench_expect_shard_error(other, 0, "Connection refused");
    assert_int_equal(_ejections(0), 2);
    bench_shard_up(0);
    since = conn_now();
    bench_say(other, "GET b");
    bench_expect_shard_error(other, 0, "Connection refused");
    bench_no_shard(0);
    BENCH_UNTIL(conn_now() > since + 320 * MS);
    bench_say(other, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    bench_send(s0, ":1\r\n");
    bench_expect(other, ":1\r\n");
    bench_close(s0); /* It answered: failures are counted from the beginning. */
    bench_shard_down(0);
    bench_say(other, "GET b");
    bench_expect_shard_error(other, 0, "Connection refused");
    assert_int_equal(_ejections(0), 2);
    bench_say(other, "GET b");
    bench_expect_shard_error(other, 0, "Connection refused");
    assert_int_equal(_ejections(0), 3);
}

static void test_never_ejected(void **state)
{
    bench_begin(&(struct bench_conf){.cluster = "max_failures: 0"});
    int client = bench_client();
    bench_shard_down(0);
    for (int i = 0; i < 5; i++) {
        bench_say(client, "GET b");
        bench_expect_shard_error(client, 0, "Connection refused");
    }
    bench_shard_up(0);
    bench_say(client, "GET b");
    bench_expect_said(bench_shard(0), "GET b");
}

/* A connection that ends with commands outstanding is one failure, however many they are. */
static void test_failures_are_connections(void **state)
{
    bench_begin(&(struct bench_conf){.cluster = "max_failures: 2"});
    int client = bench_client();
    bench_say(client, "GET b; GET b; GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b; GET b; GET b");
    bench_close(s0);
    for (int i = 0; i < 3; i++)
        bench_expect_shard_error(client, 0, "connection closed by the server");
    assert_int_equal(_ejections(0), 0);
    bench_say(client, "GET b");
    bench_expect_said(bench_shard(0), "GET b");
}

static void test_keys_move(void **state)
{
    bench_begin(&(struct bench_conf){
        .shards = 2, .listener = "on_ejected: move", .cluster = "max_failures: 1, retry_after: 300ms"});
    int client = bench_client();
    bench_shard_down(0);
    bench_say(client, "GET b");
    bench_expect_shard_error(client, 0, "Connection refused");
    uint64_t since = conn_now();
    bench_say(client, "GET b; MGET b a; GET a");
    int s1 = bench_shard(1);
    bench_expect_said(s1, "GET b; MGET b a; GET a");
    bench_send(s1, ":1\r\n*2\r\n:1\r\n:2\r\n:2\r\n");
    bench_expect(client, ":1\r\n*2\r\n:1\r\n:2\r\n:2\r\n");
    bench_shard_up(0);
    BENCH_UNTIL(conn_now() > since + 320 * MS);
    bench_say(client, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    bench_send(s0, ":1\r\n");
    bench_expect(client, ":1\r\n");
    bench_say(client, "GET b; GET a");
    bench_expect_said(s0, "GET b");
    bench_expect_said(s1, "GET a");
}

static void test_several_shared_connections(void **state)
{
    bench_begin(&(struct bench_conf){.cluster = "connections: 2"});
    int c[3];
    for (int i = 0; i < 3; i++) {
        c[i] = bench_client();
        bench_say(c[i], "GET b; GET f");
        bench_settle();
    }
    int x = bench_shard(0), y = bench_shard(0);
    bench_expect_said(x, "GET b; GET f; GET b; GET f");
    bench_expect_said(y, "GET b; GET f");
    bench_no_shard(0);
    bench_send(y, ":3\r\n:4\r\n");
    bench_expect(c[1], ":3\r\n:4\r\n");
    bench_send(x, ":1\r\n:2\r\n:5\r\n:6\r\n");
    bench_expect(c[0], ":1\r\n:2\r\n");
    bench_expect(c[2], ":5\r\n:6\r\n");
}

static void test_idle_connections(void **state)
{
    bench_begin(&(struct bench_conf){.globals = "limits: { idle_upstreams: 1 }\ntimeouts: { idle: 150ms }"});
    int one = bench_client(), two = bench_client();
    bench_say(one, "BLPOP b 0");
    bench_say(two, "BLPOP b 0");
    int x = bench_shard(0), y = bench_shard(0);
    bench_expect_said(x, "BLPOP b 0");
    bench_expect_said(y, "BLPOP b 0");
    bench_send(x, "*-1\r\n");
    bench_expect(one, "*-1\r\n");
    bench_send(y, "*-1\r\n");
    bench_expect(two, "*-1\r\n");
    bench_expect_end(y); /* One may be idle, */
    bench_expect_end(x); /* for some time. */
    bench_say(one, "BLPOP b 0");
    bench_expect_said(bench_shard(0), "BLPOP b 0");
}

static void test_idle_connection_ends(void **state)
{
    bench_begin(&(struct bench_conf){.cluster = "max_failures: 1"});
    int client = bench_client();
    bench_say(client, "BLPOP b 0");
    int x = bench_shard(0);
    bench_expect_said(x, "BLPOP b 0");
    bench_send(x, "*-1\r\n");
    bench_expect(client, "*-1\r\n");
    bench_close(x);
    assert_int_equal(_ejections(0), 0);
    bench_say(client, "BLPOP b 0");
    bench_expect_said(bench_shard(0), "BLPOP b 0");
}

static void test_closed_while_idle(void **state)
{
    bench_begin(&(struct bench_conf){.cluster = "max_failures: 1"});
    int client = bench_client();
    bench_say(client, "GET b");
    int s0 = bench_shard(0);
    bench_send(s0, ":1\r\n");
    bench_expect(client, ":1\r\n");
    bench_expect_said(s0, "GET b");
    bench_close(s0); /* No failure. */
    bench_say(client, "GET b");
    bench_expect_said(bench_shard(0), "GET b");
}

static void test_refused_connection(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_shard_down(0);
    bench_say(client, "GET b; GET c");
    bench_expect_shard_error(client, 0, "Connection refused");
    int s1 = bench_shard(1);
    bench_send(s1, ":1\r\n");
    bench_expect(client, ":1\r\n");
    bench_shard_up(0);
    bench_say(client, "GET b");
    bench_expect_said(bench_shard(0), "GET b");
}

/* Another configuration: what is outstanding ends as it began, what comes follows the new one. */
static void test_reload(void **state)
{
    bench_begin(NULL);
    int client = bench_client(), other = bench_client();
    bench_say(client, "GET b; MGET b c; MULTI");
    int s0 = bench_shard(0), s1 = bench_shard(1);
    bench_expect_said(s0, "GET b; MGET b");
    bench_expect_said(s1, "MGET c");
    bench_reload(&(struct bench_conf){.shards = 2, .cluster = "auth: { password: new }, max_failures: 1"});
    bench_send(s0, ":1\r\n*1\r\n:2\r\n");
    bench_send(s1, "*1\r\n:3\r\n");
    bench_expect(client, ":1\r\n*2\r\n:2\r\n:3\r\n+OK\r\n");
    bench_say(client, "SET a 1"); /* On shard 1 now, and with a password. */
    int own = bench_shard(1);
    bench_expect_said(own, "AUTH new");
    bench_send(own, "+OK\r\n");
    bench_expect_said(own, "MULTI; SET a 1");
    bench_say(other, "GET b; GET a"); /* Connections that are there are used further. */
    bench_expect_said(s0, "GET b");
    bench_expect_said(s1, "GET a");
    bench_close(s0);
    bench_expect_shard_error(other, 0, "connection closed by the server");
    bench_say(client, "EXEC");
    bench_nothing(own);
    assert_int_equal(_ejections(0), 1); /* max_failures is new too... */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_ejection),
        BENCH_TEST(test_never_ejected),
        BENCH_TEST(test_failures_are_connections),
        BENCH_TEST(test_keys_move),
        BENCH_TEST(test_several_shared_connections),
        BENCH_TEST(test_idle_connections),
        BENCH_TEST(test_idle_connection_ends),
        BENCH_TEST(test_closed_while_idle),
        BENCH_TEST(test_refused_connection),
        BENCH_TEST(test_reload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
