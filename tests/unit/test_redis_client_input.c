/*
 * What a client sends: pipelines cut anywhere, limits, and long commands.
 */
#include "redis_bench.h"

#include <stdio.h>

static void test_cut_anywhere(void **state)
{
    static const char text[] =
        "*2\r\n$3\r\nGET\r\n$1\r\nb\r\nPING\r\n*0\r\n\r\n*2\r\n$4\r\nECHO\r\n$4\r\na\r\nb\r\nget  b \r\n";
    bench_begin(NULL);
    int client = bench_client();
    int s0 = -1;
    for (size_t cut = 1; cut < sizeof(text) - 1; cut++) {
        bench_send_bytes(client, text, cut);
        bench_settle();
        bench_send(client, text + cut);
        if (s0 < 0)
            s0 = bench_shard(0);
        bench_expect_said(s0, "GET b; get b");
        bench_send(s0, ":1\r\n:2\r\n");
        bench_expect(client, ":1\r\n+PONG\r\n$4\r\na\r\nb\r\n:2\r\n");
    }
}

static void test_protocol_errors(void **state)
{
    static const struct {
        const char *text, *error;
    } rows[] = {
        {"*x\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
        {"*1048577\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
        {"*1\r\n!", "-ERR Protocol error: expected '$', got '!'\r\n"},
        {"*1\r\n$04\r\nPING\r\n", "-ERR Protocol error: invalid bulk length\r\n"},
        {"GET \"b\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"},
    };
    bench_begin(NULL);
    int s0 = -1;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int client = bench_client();
        bench_say(client, "GET b; PING");
        bench_send(client, rows[i].text);
        bench_send(client, "PING\r\n");
        if (s0 < 0)
            s0 = bench_shard(0);
        bench_expect_said(s0, "GET b");
        bench_nothing(client);
        bench_send(s0, ":1\r\n"); /* What came before is answered first. */
        bench_expect(client, ":1\r\n+PONG\r\n");
        bench_expect(client, rows[i].error);
        bench_expect_end(client);
    }
    bench_nothing(s0);
}

static void test_limits(void **state)
{
    bench_begin(&(struct bench_conf){.listener = "max_multibulk: 3, max_bulk: 64"});
    int client = bench_client();
    bench_send(client, "*4\r\n");
    bench_expect(client, "-ERR Protocol error: invalid multibulk length\r\n");
    bench_expect_end(client);
    client = bench_client();
    bench_send(client, "*2\r\n$3\r\nGET\r\n$65\r\n");
    bench_expect(client, "-ERR Protocol error: invalid bulk length\r\n");
    bench_expect_end(client);
}

static void test_http(void **state)
{
    bench_begin(NULL);
    for (int i = 0; i < 2; i++) {
        int client = bench_client();
        bench_send(client, i ? "Host: x\r\n\r\nPING\r\n" : "POST / HTTP/1.1\r\nPING\r\n");
        bench_expect_end(client);
    }
}

/* Long commands ------------------------------------------------------------------------- */

static char value[300000];

/* The beginning of a SET that is streamed: 100000 of its value's 300000 bytes. */
static void _long_set(int client, const char *key)
{
    char head[64];
    memset(value, 'v', sizeof(value));
    snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$1\r\n%s\r\n$300000\r\n", key);
    bench_send(client, head);
    bench_send_bytes(client, value, 100000);
}

static void test_long_command(void **state)
{
    bench_begin(NULL);
    int client = bench_client(), other = bench_client();
    bench_say(other, "GET b");
    int shared = bench_shard(0);
    bench_expect_said(shared, "GET b");
    _long_set(client, "b");
    int own = bench_shard(0);
    bench_expect(own, "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$300000\r\n");
    bench_expect_bytes(own, value, 100000); /* Before the rest is there. */
    bench_say(other, "GET f");              /* Nobody waits for it. */
    bench_expect_said(shared, "GET f");
    bench_send(shared, ":1\r\n:2\r\n");
    bench_expect(other, ":1\r\n:2\r\n");
    bench_send_bytes(client, value, 200000);
    bench_send(client, "\r\n");
    bench_say(client, "PING");
    bench_expect_bytes(own, value, 200000);
    bench_expect(own, "\r\n");
    bench_nothing(client);
    bench_send(own, "+OK\r\n");
    bench_expect(client, "+OK\r\n+PONG\r\n");
    bench_say(client, "BLPOP b 0"); /* The connection is whole. */
    bench_expect_said(own, "BLPOP b 0");
}

static void test_long_command_to_a_slow_shard(void **state)
{
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 64KiB }"});
    int client = bench_small_client();
    bench_send(client, "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$100000000\r\n");
    size_t sent = 0, n;
    do {
        n = bench_push(client, value, sizeof(value));
        sent += n;
    } while (n == sizeof(value) && sent < 100000000);
    assert_true(sent < 100000000);
    int own = bench_shard(0);
    bench_expect(own, "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$100000000\r\n");
    assert_int_equal(bench_swallow(own, sent), sent);
    n = bench_push(client, value, sizeof(value)); /* And on it goes. */
    assert_int_equal(n, sizeof(value));
    assert_int_equal(bench_swallow(own, n), n);
}

static void test_long_command_waits_for_auth(void **state)
{
    bench_begin(
        &(struct bench_conf){.globals = "limits: { buffer: 64KiB }", .cluster = "auth: { password: p }"});
    int client = bench_small_client();
    bench_send(client, "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$100000000\r\n");
    size_t sent = 0, n;
    do {
        n = bench_push(client, value, sizeof(value));
        sent += n;
    } while (n == sizeof(value) && sent < 100000000);
    assert_true(sent < 100000000); /* Not all of it is kept here. */
    int own = bench_shard(0);
    bench_expect_said(own, "AUTH p");
    bench_send(own, "+OK\r\n");
    bench_expect(own, "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$100000000\r\n");
    assert_int_equal(bench_swallow(own, sent), sent);
}

static void test_long_command_is_cut_off(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    _long_set(client, "b");
    int own = bench_shard(0);
    bench_expect(own, "*3\r\n");
    bench_half_close(client);
    assert_true(bench_swallow(own, 1 << 20) < 110000);
    bench_expect_end(client);
}

/* The rest of a command whose shard died is dropped; then it goes on. */
static void test_shard_dies_under_a_long_command(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    _long_set(client, "b");
    int own = bench_shard(0);
    bench_reset(own);
    bench_expect(client, "-ERR shard ");
    bench_send_bytes(client, value, 200000);
    bench_send(client, "\r\n");
    bench_say(client, "ECHO x");
    BENCH_UNTIL(!bench_last_client()->in_stream);
    bench_settle();
    assert_int_equal(bench_last_client()->outstanding, 0);
    bench_say(client, "GET c");
    bench_expect_said(bench_shard(1), "GET c");
}

/* The shard answers before the command has ended: the rest goes nowhere. */
static void test_early_reply_to_a_long_command(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    _long_set(client, "b");
    int own = bench_shard(0);
    bench_expect(own, "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$300000\r\n");
    bench_expect_bytes(own, value, 100000);
    bench_send(own, "-NOAUTH x\r\n");
    bench_expect(client, "-NOAUTH x\r\n");
    bench_expect_end(own);
    bench_settle();
    bench_send_bytes(client, value, 200000);
    bench_send(client, "\r\n");
    bench_say(client, "PING");
    bench_expect(client, "+PONG\r\n");
}

static void test_malformed_long_command(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    _long_set(client, "b");
    int own = bench_shard(0);
    bench_expect(own, "*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$300000\r\n");
    bench_send_bytes(client, value, 200000);
    bench_expect_bytes(own, value, 300000); /* Before the connection ends, with what it has not sent. */
    bench_send(client, "xx");
    bench_expect_end(own);
    bench_expect(client, "-ERR Protocol error: expected CRLF after bulk string\r\n");
    BENCH_UNTIL(atomic_load(&bench_worker.connections) == 0 || bench_last_client()->c.closing);
    client = bench_client();
    bench_shard_down(1);
    bench_say(client, "GET c; GET c; GET c"); /* Ejects it. */
    for (int i = 0; i < 3; i++)
        bench_say(client, "GET c");
    bench_settle();
    bench_swallow(client, 6 * strlen("-ERR shard 127.1.0.1:12345: Connection refused\r\n"));
    _long_set(client, "c");
    bench_send_bytes(client, value, 200000);
    bench_send(client, "xx");
    BENCH_UNTIL(bench_last_client()->c.closing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_cut_anywhere),
        BENCH_TEST(test_protocol_errors),
        BENCH_TEST(test_limits),
        BENCH_TEST(test_http),
        BENCH_TEST(test_long_command),
        BENCH_TEST(test_long_command_to_a_slow_shard),
        BENCH_TEST(test_long_command_waits_for_auth),
        BENCH_TEST(test_long_command_is_cut_off),
        BENCH_TEST(test_shard_dies_under_a_long_command),
        BENCH_TEST(test_early_reply_to_a_long_command),
        BENCH_TEST(test_malformed_long_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
