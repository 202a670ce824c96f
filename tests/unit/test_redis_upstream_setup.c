/*
 * What a connection to a shard begins with: AUTH, HELLO, and commands that wait for the answers.
 */
#include "redis_bench.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_commands_wait_for_auth), BENCH_TEST(test_commands_wait_for_hello),
        BENCH_TEST(test_refused_auth_fails_all), BENCH_TEST(test_shard_dies_during_setup),
        BENCH_TEST(test_connection_per_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
