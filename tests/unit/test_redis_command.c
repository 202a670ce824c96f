/*
 * Commands: looked at in redis' order and words, then sent where they belong.
 */
#include "redis_bench.h"

#include <stdio.h>

/* What is answered without any shard. */
static void test_refused(void **state)
{
    static const struct {
        const char *command, *error;
    } rows[] = {
        {"NoSuch", "-ERR unknown command 'NoSuch', with args beginning with: \r\n"},
        {"nosuch a bc", "-ERR unknown command 'nosuch', with args beginning with: 'a' 'bc' \r\n"},
        {"get", "-ERR wrong number of arguments for 'get' command\r\n"},
        {"GET a b", "-ERR wrong number of arguments for 'get' command\r\n"},
        {"object nosuch", "-ERR unknown subcommand 'nosuch'. Try OBJECT HELP.\r\n"},
        {"OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command\r\n"},
        {"RENAME b c", "-CROSSSLOT Keys in request don't hash to the same slot\r\n"},
        {"SINTERSTORE {b} {b}1 f", "-CROSSSLOT Keys in request don't hash to the same slot\r\n"},
        {"EVAL x 0", "-ERR eval without a key is not supported: no shard is named\r\n"},
        {"EVAL x 2 b c", "-CROSSSLOT Keys in request don't hash to the same slot\r\n"},
        {"SORT b BY w_*", "-ERR BY or GET option of SORT denied: its keys may lie on other shards\r\n"},
        {"PSYNC a 0", "-ERR command 'psync' is not supported by this proxy\r\n"},
        {"SHUTDOWN", "-ERR command 'shutdown' is not supported by this proxy\r\n"},
        {"CONFIG GET x", "-ERR command 'config|get' is not supported by this proxy\r\n"},
    };
    bench_begin(NULL);
    int client = bench_client();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bench_say(client, rows[i].command);
        bench_expect(client, rows[i].error);
    }
    bench_nothing(client);
    for (unsigned i = 0; i < 3; i++)
        bench_no_shard(i);
}

/* Line ends of a client's in an error become spaces: no reply can be forged with them. */
static void test_errors_are_one_line(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_send(client, "*2\r\n$6\r\nx\r\n+OK\r\n$4\r\n\r\n:1\r\n");
    bench_expect(client, "-ERR unknown command 'x  +OK', with args beginning with: '  :1' \r\n");
    char name[400];
    memset(name, 'n', sizeof(name));
    bench_send(client, "*2\r\n$400\r\n");
    bench_send_bytes(client, name, sizeof(name));
    bench_send(client, "\r\n$400\r\n");
    bench_send_bytes(client, name, sizeof(name));
    bench_send(client, "\r\n");
    bench_expect(client, "-ERR unknown command '");
    bench_expect_bytes(client, name, 128);
    bench_expect(client, "', with args beginning with: '");
    bench_expect_bytes(client, name, 128);
    bench_expect(client, "' \r\n");
}

static void test_routes(void **state)
{
    static const struct {
        const char *command;
        unsigned shard;
    } rows[] = {
        {"SET b 1", 0},          {"set c 1", 1},           {"SET {a}b 1", 2},        {"RENAME {c}b {c}a", 1},
        {"EVAL x 1 c a b", 1},   {"BITOP AND a {a}2", 2},  {"OBJECT ENCODING c", 1}, {"ZUNION 2 a {a}", 2},
        {"SORT c LIMIT 0 1", 1}, {"XREAD STREAMS a 0", 2}, {"PUBLISH a x", 0},       {"SPUBLISH a x", 2},
        {"PUBSUB CHANNELS", 0},
    };
    bench_begin(NULL);
    int client = bench_client(), s[3] = {-1, -1, -1};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        unsigned to = rows[i].shard;
        bench_say(client, rows[i].command);
        if (s[to] < 0)
            s[to] = bench_shard(to);
        bench_expect_said(s[to], rows[i].command);
        bench_send(s[to], ":1\r\n");
        bench_expect(client, ":1\r\n");
    }
}

/* With one shard nothing is taken apart, and all keys may stand together by the ring's rule. */
static void test_one_shard(void **state)
{
    static const char all[] = "MGET b c a; DEL b c; DBSIZE; KEYS *; SCAN 7; SORT b BY w_*; FLUSHALL";
    bench_begin(&(struct bench_conf){.shards = 1, .policy = "ketama"});
    int client = bench_client();
    bench_say(client, all);
    int s0 = bench_shard(0);
    bench_expect_said(s0, all);
    bench_say(client, "RENAME b c; EVAL x 2 b c");
    bench_expect_said(s0, "RENAME b c; EVAL x 2 b c");
}

static void test_noauth(void **state)
{
    bench_begin(&(struct bench_conf){.listener = "auth: { password: p }"});
    int client = bench_client();
    bench_say(client, "GET b; PING; NOSUCH; GET; MULTI; HELLO; AUTH x; AUTH p; GET b");
    bench_expect(client,
                 "-NOAUTH Authentication required.\r\n-NOAUTH Authentication required.\r\n"
                 "-ERR unknown command 'NOSUCH', with args beginning with: \r\n"
                 "-ERR wrong number of arguments for 'get' command\r\n-NOAUTH Authentication required.\r\n"
                 "-NOAUTH HELLO must be called with the client already authenticated, otherwise the "
                 "HELLO AUTH <user> <pass> option can be used to authenticate the client and "
                 "select the RESP protocol version at the same time\r\n"
                 "-WRONGPASS invalid username-password pair or user is disabled.\r\n+OK\r\n");
    bench_expect_said(bench_shard(0), "GET b");
}

/* Before AUTH a client may send little; afterwards as much as all others. */
static void test_limits_before_auth(void **state)
{
    static char value[17000];
    bench_begin(&(struct bench_conf){.listener = "auth: { password: p }"});
    int client = bench_client();
    bench_send(client, "*11\r\n");
    bench_expect(client, "-ERR Protocol error: unauthenticated multibulk length\r\n");
    bench_expect_end(client);
    client = bench_client();
    bench_send(client, "*2\r\n$4\r\nAUTH\r\n$16385\r\n");
    bench_expect(client, "-ERR Protocol error: unauthenticated bulk length\r\n");
    bench_expect_end(client);
    client = bench_client();
    bench_say(client, "AUTH p; MGET b b b b b b b b b b b b");
    bench_expect(client, "+OK\r\n");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "MGET b b b b b b b b b b b b");
    memset(value, 'v', sizeof(value));
    bench_send(client, "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$17000\r\n");
    bench_send_bytes(client, value, sizeof(value));
    bench_send(client, "\r\n");
    bench_expect(s0, "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$17000\r\n");
    bench_expect_bytes(s0, value, sizeof(value));
}

/* A long command that can not be streamed is put together first. */
static void test_long_split(void **state)
{
    static char value[100000];
    memset(value, 'v', sizeof(value));
    bench_begin(NULL);
    int client = bench_client();
    bench_send(client, "*5\r\n$4\r\nMSET\r\n$1\r\nb\r\n$100000\r\n");
    bench_send_bytes(client, value, sizeof(value));
    bench_send(client, "\r\n$1\r\nc\r\n");
    bench_no_shard(0);
    bench_send(client, "$1\r\n1\r\n");
    int s0 = bench_shard(0), s1 = bench_shard(1);
    bench_expect(s0, "*3\r\n$4\r\nMSET\r\n$1\r\nb\r\n$100000\r\n");
    bench_expect_bytes(s0, value, sizeof(value));
    bench_expect(s0, "\r\n");
    bench_expect_said(s1, "MSET c 1");
    bench_send(s0, "+OK\r\n");
    bench_send(s1, "+OK\r\n");
    bench_expect(client, "+OK\r\n");
}

/* Streamed commands wait for what was sent before. */
static void test_long_command_keeps_the_order(void **state)
{
    static char value[100000];
    memset(value, 'v', sizeof(value));
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "GET b");
    int shared = bench_shard(0);
    bench_expect_said(shared, "GET b");
    bench_send(client, "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$200000\r\n");
    bench_send_bytes(client, value, sizeof(value));
    bench_no_shard(0);
    bench_send(shared, ":1\r\n");
    bench_expect(client, ":1\r\n");
    int own = bench_shard(0);
    bench_expect(own, "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$200000\r\n");
    bench_expect_bytes(own, value, sizeof(value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_refused),    BENCH_TEST(test_errors_are_one_line),
        BENCH_TEST(test_routes),     BENCH_TEST(test_one_shard),
        BENCH_TEST(test_noauth),     BENCH_TEST(test_limits_before_auth),
        BENCH_TEST(test_long_split), BENCH_TEST(test_long_command_keeps_the_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
