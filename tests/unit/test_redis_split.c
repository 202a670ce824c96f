/*
 * Commands for several shards: how they are taken apart, and what is made of the parts' replies.
 */
#include "redis_bench.h"

#include <stdio.h>

static int client, s[3];

/* A client, and a shared connection to each shard. */
static void _begin(void)
{
    bench_begin(NULL);
    client = bench_client();
    bench_say(client, "GET b; GET c; GET a");
    for (unsigned i = 0; i < 3; i++) {
        s[i] = bench_shard(i);
        bench_swallow(s[i], strlen("*2\r\n$3\r\nGET\r\n$1\r\nb\r\n"));
        bench_send(s[i], ":0\r\n");
    }
    bench_expect(client, ":0\r\n:0\r\n:0\r\n");
}

/* MGET ---------------------------------------------------------------------------------- */

static void test_mget(void **state)
{
    _begin();
    bench_say(client, "mget a b b c f nil{a} a");
    bench_expect_said(s[0], "mget b b f");
    bench_expect_said(s[1], "mget c");
    bench_expect_said(s[2], "mget a nil{a} a");
    bench_send(s[2], "*3\r\n$2\r\nAA\r\n$-1\r\n$2\r\nAA\r\n");
    bench_send(s[0], "*3\r\n$0\r\n\r\n$0\r\n\r\n$4\r\nf\r\nf\r\n");
    bench_nothing(client);
    bench_send(s[1], "*1\r\n$1\r\nC\r\n");
    bench_expect(client,
                 "*7\r\n$2\r\nAA\r\n$0\r\n\r\n$0\r\n\r\n$1\r\nC\r\n$4\r\nf\r\nf\r\n$-1\r\n$2\r\nAA\r\n");
    bench_nothing(client);
}

/* One shard's keys: the command as it is. */
static void test_mget_of_one_shard(void **state)
{
    _begin();
    bench_say(client, "MGET b f hello");
    bench_expect_said(s[0], "MGET b f hello");
    bench_send(s[0], "*3\r\n:1\r\n");
    bench_expect(client, "*3\r\n:1\r\n"); /* Passed on as it comes. */
    bench_send(s[0], ":2\r\n:3\r\n");
    bench_expect(client, ":2\r\n:3\r\n");
}

static void test_mget_with_an_error(void **state)
{
    _begin();
    bench_say(client, "MGET b c g a");
    bench_expect_said(s[1], "MGET c g");
    bench_send(s[0], "*1\r\n:1\r\n");
    bench_send(s[1], "-LOADING x\r\n");
    bench_send(s[2], "*1\r\n:3\r\n");
    bench_expect(client, "*4\r\n:1\r\n-LOADING x\r\n-LOADING x\r\n:3\r\n");
}

static void test_mget_with_a_dead_shard(void **state)
{
    _begin();
    bench_shard_down(1);
    bench_close(s[1]);
    bench_say(client, "MGET b c a");
    bench_send(s[0], "*1\r\n:1\r\n");
    bench_send(s[2], "*1\r\n:3\r\n");
    bench_expect(client, "*3\r\n:1\r\n");
    bench_expect_shard_error(client, 1, "Connection refused");
    bench_expect(client, ":3\r\n");
    bench_say(client, "MGET b c");
    bench_expect_said(s[2], "MGET a");
    bench_expect_said(s[0], "MGET b; MGET b");
    bench_close(s[0]); /* All of them. */
    bench_expect(client, "*2\r\n");
    bench_expect_shard_error(client, 0, "connection closed by the server");
    bench_expect_shard_error(client, 1, "Connection refused");
}

static void test_mget_with_odd_replies(void **state)
{
    static const char odd[] = "-ERR a shard's reply has an unexpected type\r\n";
    _begin();
    bench_say(client, "MGET b c g");
    bench_send(s[0], "+OK\r\n");
    bench_send(s[1], "*1\r\n:1\r\n"); /* One too few. */
    bench_expect(client, "*3\r\n");
    bench_expect(client, odd);
    bench_expect(client, ":1\r\n");
    bench_expect(client, odd);
    bench_say(client, "MGET b c");
    bench_send(s[0], "*-1\r\n");
    bench_send(s[1], "*1\r\n*2\r\n:1\r\n:2\r\n");
    bench_expect(client, "*2\r\n");
    bench_expect(client, odd);
    bench_expect(client, "*2\r\n:1\r\n:2\r\n");
}

/* Together more than a client may hold: nobody waits for it in vain. */
static void test_large_mget(void **state)
{
    static char value[200000];
    memset(value, 'v', sizeof(value));
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 64KiB }"});
    client = bench_client();
    bench_say(client, "MGET b c");
    for (unsigned i = 0; i < 2; i++) {
        s[i] = bench_shard(i);
        bench_send(s[i], "*1\r\n$200000\r\n");
        bench_send_bytes(s[i], value, sizeof(value));
        bench_send(s[i], "\r\n");
    }
    bench_expect(client, "*2\r\n$200000\r\n");
    bench_expect_bytes(client, value, sizeof(value));
    bench_expect(client, "\r\n$200000\r\n");
    bench_expect_bytes(client, value, sizeof(value));
    bench_expect(client, "\r\n");
}

/* MSET, DEL ----------------------------------------------------------------------------- */

static void test_mset(void **state)
{
    _begin();
    bench_say(client, "MSET b 1 c 2 f 3 b 4");
    bench_expect_said(s[0], "MSET b 1 f 3 b 4");
    bench_expect_said(s[1], "MSET c 2");
    bench_send(s[1], "+OK\r\n");
    bench_nothing(client);
    bench_send(s[0], "+OK\r\n");
    bench_expect(client, "+OK\r\n");
    bench_say(client, "MSET a 1 c 2 b 3"); /* The parts stand in the order of the keys. */
    bench_send(s[0], "-OOM b\r\n");
    bench_send(s[1], "-OOM c\r\n");
    bench_send(s[2], "+OK\r\n");
    bench_expect(client, "-OOM c\r\n");
    bench_say(client, "MSET a 1 c; PING");
    bench_expect(client, "-ERR wrong number of arguments for 'mset' command\r\n+PONG\r\n");
    bench_expect_said(s[2], "MSET a 1");
    bench_nothing(s[2]);
}

static void test_del(void **state)
{
    _begin();
    bench_say(client, "DEL a b c f; EXISTS a b; UNLINK c b; TOUCH a c");
    bench_expect_said(s[0], "DEL b f; EXISTS b; UNLINK b");
    bench_expect_said(s[1], "DEL c; UNLINK c; TOUCH c");
    bench_expect_said(s[2], "DEL a; EXISTS a; TOUCH a");
    bench_send(s[0], ":2\r\n:0\r\n-READONLY x\r\n");
    bench_send(s[1], ":0\r\n:1\r\n:9223372036854775800\r\n");
    bench_send(s[2], ":1\r\n:1\r\n:7\r\n");
    bench_expect(client, ":3\r\n:1\r\n-READONLY x\r\n:9223372036854775807\r\n");
    bench_say(client, "DEL a b");
    bench_send(s[0], "+1\r\n");
    bench_send(s[2], ":1\r\n");
    bench_expect(client, "-ERR a shard's reply has an unexpected type\r\n");
}

static void test_shard_dies_under_a_group(void **state)
{
    _begin();
    bench_say(client, "DEL b c; PING");
    bench_expect_said(s[0], "DEL b");
    bench_expect_said(s[1], "DEL c");
    bench_send(s[0], ":1\r\n");
    bench_close(s[1]);
    bench_expect_shard_error(client, 1, "connection closed by the server");
    bench_expect(client, "+PONG\r\n");
}

/* All shards ---------------------------------------------------------------------------- */

static void test_all(void **state)
{
    _begin();
    bench_say(client, "DBSIZE; KEYS *; FLUSHALL; SCRIPT EXISTS x y");
    for (unsigned i = 0; i < 3; i++)
        bench_expect_said(s[i], "DBSIZE; KEYS *; FLUSHALL; SCRIPT EXISTS x y");
    bench_send(s[0], ":1\r\n*2\r\n$1\r\nb\r\n$1\r\nf\r\n+OK\r\n*2\r\n:1\r\n:1\r\n");
    bench_send(s[1], ":20\r\n*0\r\n+OK\r\n*2\r\n:1\r\n:0\r\n");
    bench_send(s[2], ":300\r\n*1\r\n$1\r\na\r\n+OK\r\n*2\r\n:1\r\n:1\r\n");
    bench_expect(client, ":321\r\n*3\r\n$1\r\nb\r\n$1\r\nf\r\n$1\r\na\r\n+OK\r\n*2\r\n:1\r\n:0\r\n");
    bench_say(client, "FLUSHALL");
    bench_send(s[0], "+OK\r\n");
    bench_send(s[1], "-ERR 1\r\n");
    bench_send(s[2], "-ERR 2\r\n");
    bench_expect(client, "-ERR 1\r\n");
}

static void test_all_with_odd_replies(void **state)
{
    static const char odd[] = "-ERR a shard's reply has an unexpected type\r\n";
    _begin();
    bench_say(client, "SCRIPT EXISTS x y; SCRIPT EXISTS x; KEYS *");
    bench_send(s[0], "*2\r\n:1\r\n:1\r\n*1\r\n:1\r\n*0\r\n");
    bench_send(s[1], "*1\r\n:1\r\n*1\r\n:1\r\n*-1\r\n");
    bench_send(s[2], "*2\r\n:1\r\n:1\r\n*1\r\n:12\r\n*0\r\n");
    bench_expect(client, odd);
    bench_expect(client, odd);
    bench_expect(client, odd);
    bench_nothing(client);
}

/* SCAN ---------------------------------------------------------------------------------- */

static void _scan(const char *cursor, unsigned shard, const char *inner, const char *reply, const char *next)
{
    char text[200];
    snprintf(text, sizeof(text), "SCAN %s MATCH x", cursor);
    bench_say(client, text);
    snprintf(text, sizeof(text), "SCAN %s MATCH x", inner);
    bench_expect_said(s[shard], text);
    snprintf(text, sizeof(text), "*2\r\n$%zu\r\n%s\r\n*1\r\n$1\r\nk\r\n", strlen(reply), reply);
    bench_send(s[shard], text);
    snprintf(text, sizeof(text), "*2\r\n$%zu\r\n%s\r\n*1\r\n$1\r\nk\r\n", strlen(next), next);
    bench_expect(client, text);
}

static void test_scan(void **state)
{
    _begin();
    _scan("0", 0, "0", "17", "51");
    _scan("51", 0, "17", "0", "1");
    _scan("1", 1, "0", "5", "16");
    _scan("16", 1, "5", "0", "2");
    _scan("2", 2, "0", "1", "5");
    _scan("5", 2, "1", "0", "0");
    /* The largest that fit three times into 64 bits. */
    _scan("0", 0, "0", "6148914691236517204", "18446744073709551612");
    _scan("1", 1, "0", "6148914691236517200", "18446744073709551601");
    _scan("18446744073709551601", 1, "6148914691236517200", "0", "2");
}

static void test_scan_errors(void **state)
{
    _begin();
    bench_say(client, "SCAN x; SCAN -1; SCAN 18446744073709551616; SCAN 99999999999999999999");
    for (int i = 0; i < 4; i++)
        bench_expect(client, "-ERR invalid cursor\r\n");
    bench_say(client, "SCAN 0");
    bench_send(s[0], "*2\r\n$19\r\n6148914691236517206\r\n*0\r\n");
    bench_expect(client, "-ERR the shard's cursor is too large\r\n");
    bench_say(client, "SCAN 0 COUNT x");
    bench_send(s[0], "-ERR value is not an integer or out of range\r\n");
    bench_expect(client, "-ERR value is not an integer or out of range\r\n");
    bench_say(client, "SCAN 1");
    bench_expect_said(s[1], "SCAN 0");
    bench_shard_down(1);
    bench_close(s[1]);
    bench_expect_shard_error(client, 1, "connection closed by the server");
    bench_say(client, "SCAN 4");
    bench_expect_shard_error(client, 1, "Connection refused");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_mget),
        BENCH_TEST(test_mget_of_one_shard),
        BENCH_TEST(test_mget_with_an_error),
        BENCH_TEST(test_mget_with_a_dead_shard),
        BENCH_TEST(test_mget_with_odd_replies),
        BENCH_TEST(test_large_mget),
        BENCH_TEST(test_mset),
        BENCH_TEST(test_del),
        BENCH_TEST(test_shard_dies_under_a_group),
        BENCH_TEST(test_all),
        BENCH_TEST(test_all_with_odd_replies),
        BENCH_TEST(test_scan),
        BENCH_TEST(test_scan_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
