/*
 * Commands that are answered without a shard: redis' replies, and what they change for the client.
 */
#include "redis_bench.h"

#include <stdio.h>
#include <sys/socket.h>

static void _row(int client, const char *command, const char *reply)
{
    bench_say(client, command);
    bench_expect(client, reply);
}

static void test_small_ones(void **state)
{
    bench_begin(NULL);
    int c = bench_client();
    _row(c, "PING", "+PONG\r\n");
    _row(c, "ping x", "$1\r\nx\r\n");
    _row(c, "PING x y", "-ERR wrong number of arguments for 'ping' command\r\n");
    _row(c, "ECHO hello", "$5\r\nhello\r\n");
    _row(c, "SELECT 0", "+OK\r\n");
    _row(c, "SELECT 1", "-ERR SELECT is not allowed in cluster mode\r\n");
    _row(c, "SELECT x", "-ERR value is not an integer or out of range\r\n");
    _row(c, "CLIENT GETNAME", "$-1\r\n");
    _row(c, "CLIENT SETNAME me", "+OK\r\n");
    _row(c, "CLIENT GETNAME", "$2\r\nme\r\n");
    bench_send(c, "CLIENT SETNAME \"a b\"\r\n");
    bench_expect(c, "-ERR Client names cannot contain spaces, newlines or special characters.\r\n");
    _row(c, "CLIENT GETNAME", "$2\r\nme\r\n");
    bench_send(c, "CLIENT SETNAME \"\"\r\nCLIENT GETNAME\r\n");
    bench_expect(c, "+OK\r\n$-1\r\n");
    _row(c, "COMMAND GETKEYS MSET a 1 b 2", "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    _row(c, "COMMAND GETKEYS PING x", "-ERR The command has no key arguments\r\n");
    _row(c, "COMMAND GETKEYS NOSUCH x", "-ERR Invalid command specified\r\n");
    _row(c, "COMMAND GETKEYS GET a b", "-ERR Invalid number of arguments specified for command\r\n");
    _row(c, "COMMAND INFO nosuch", "*1\r\n*-1\r\n");
    _row(c, "COMMAND DOCS", "*0\r\n");
    bench_nothing(c);
    for (unsigned i = 0; i < 3; i++)
        bench_no_shard(i);
}

static void test_ids(void **state)
{
    char reply[40];
    uint64_t ids[2];
    bench_begin(NULL);
    for (int i = 0; i < 2; i++) {
        int c = bench_client();
        ids[i] = bench_last_client()->id;
        snprintf(reply, sizeof(reply), ":%llu\r\n", (unsigned long long)ids[i]);
        _row(c, "CLIENT ID", reply);
    }
    assert_true(ids[0] != ids[1]);
}

static void test_auth(void **state)
{
    bench_begin(&(struct bench_conf){.listener = "auth: { user: app, password: secret }"});
    int c = bench_client();
    _row(c, "AUTH secret", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    _row(c, "AUTH default secret", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    _row(c, "AUTH app secre", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    _row(c, "AUTH app secret2", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    _row(c, "AUTH a b c", "-ERR syntax error\r\n");
    _row(c, "PING", "-NOAUTH Authentication required.\r\n");
    _row(c, "AUTH app secret", "+OK\r\n");
    _row(c, "PING", "+PONG\r\n");
    _row(c, "AUTH app wrong", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    _row(c, "PING", "+PONG\r\n"); /* As redis has it. */
    _row(c, "RESET", "+RESET\r\n");
    _row(c, "PING", "-NOAUTH Authentication required.\r\n");
    for (unsigned i = 0; i < 3; i++)
        bench_no_shard(i);
}

static void test_auth_without_password(void **state)
{
    bench_begin(NULL);
    int c = bench_client();
    _row(c, "AUTH x",
         "-ERR AUTH <password> called without any password configured for the default user. Are you "
         "sure your configuration is correct?\r\n");
    _row(c, "AUTH default x", "+OK\r\n");
    _row(c, "AUTH other x", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
}

static void test_hello_errors(void **state)
{
    bench_begin(&(struct bench_conf){.listener = "auth: { password: secret }"});
    int c = bench_client();
    _row(c, "HELLO x", "-ERR Protocol version is not an integer or out of range\r\n");
    _row(c, "HELLO 1", "-NOPROTO unsupported protocol version\r\n");
    _row(c, "HELLO 4", "-NOPROTO unsupported protocol version\r\n");
    _row(c, "HELLO 3 AUTH default", "-ERR Syntax error in HELLO option 'AUTH'\r\n");
    _row(c, "HELLO 3 AUTH default wrong",
         "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    _row(c, "HELLO 3 BAD", "-ERR Syntax error in HELLO option 'BAD'\r\n");
    _row(c, "HELLO 3",
         "-NOAUTH HELLO must be called with the client already authenticated, otherwise the "
         "HELLO AUTH <user> <pass> option can be used to authenticate the client and "
         "select the RESP protocol version at the same time\r\n");
    assert_int_equal(bench_last_client()->resp, 2);
    bench_say(c, "HELLO 3 AUTH default secret SETNAME me");
    bench_expect(
        c, "%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n:3\r\n");
    assert_int_equal(bench_last_client()->resp, 3);
    assert_string_equal(bench_last_client()->name, "me");
}

/* Null has another form in RESP 3. */
static void test_hello(void **state)
{
    char rest[200];
    bench_begin(NULL);
    int c = bench_client();
    snprintf(rest, sizeof(rest),
             "$2\r\nid\r\n:%llu\r\n$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$"
             "7\r\nmodules\r\n"
             "*0\r\n",
             (unsigned long long)bench_last_client()->id);
    static const char *const versions[] = {"HELLO", "HELLO 3", "HELLO", "HELLO 2"};
    for (int i = 0; i < 4; i++) {
        bool three = i == 1 || i == 2;
        bench_say(c, versions[i]);
        bench_expect(c, three ? "%7\r\n" : "*14\r\n");
        bench_expect(c, "$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nversion\r\n$6\r\n7.0.15\r\n$5\r\nproto\r\n");
        bench_expect(c, three ? ":3\r\n" : ":2\r\n");
        bench_expect(c, rest);
        _row(c, "CLIENT GETNAME", three ? "_\r\n" : "$-1\r\n");
        _row(c, "COMMAND INFO nosuch", three ? "*1\r\n_\r\n" : "*1\r\n*-1\r\n");
    }
}

/* CLIENT REPLY ---------------------------------------------------------------------------- */

static void test_reply_off(void **state)
{
    bench_begin(NULL);
    int c = bench_client();
    bench_say(c, "GET b; CLIENT REPLY OFF; GET b; PING; NOSUCH; MGET b c; SCAN 0; CLIENT REPLY SKIP; GET b; "
                 "CLIENT REPLY ON; GET b");
    int s0 = bench_shard(0), s1 = bench_shard(1);
    bench_expect_said(s0, "GET b; GET b; MGET b; SCAN 0; GET b; GET b");
    bench_expect_said(s1, "MGET c");
    bench_send(s0, ":1\r\n:2\r\n*1\r\n:3\r\n*2\r\n$1\r\n7\r\n*0\r\n-ERR 5\r\n:6\r\n");
    bench_expect(c, ":1\r\n");
    bench_nothing(c); /* MGET is not complete. */
    bench_send(s1, "*1\r\n:4\r\n");
    bench_expect(c, "+OK\r\n:6\r\n");
    bench_nothing(c);
    _row(c, "CLIENT REPLY x", "-ERR syntax error\r\n");
}

static void test_reply_skip(void **state)
{
    bench_begin(NULL);
    int c = bench_client();
    bench_say(c, "CLIENT REPLY SKIP; PING; PING x; CLIENT REPLY SKIP; GET b; GET c; CLIENT REPLY SKIP; "
                 "NOSUCH; ECHO y");
    int s0 = bench_shard(0), s1 = bench_shard(1);
    bench_expect_said(s0, "GET b");
    bench_expect(c, "$1\r\nx\r\n");
    bench_send(s1, ":2\r\n");
    bench_nothing(c);
    bench_send(s0, ":1\r\n");
    bench_expect(c, ":2\r\n$1\r\ny\r\n");
    bench_nothing(c);
}

/* A shard's end is no reply either. */
static void test_reply_off_and_a_dead_shard(void **state)
{
    bench_begin(NULL);
    int c = bench_client();
    bench_say(c, "CLIENT REPLY OFF; GET b; GET b; CLIENT REPLY ON");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b; GET b");
    bench_send(s0, "$10\r\n012");
    bench_settle();
    bench_close(s0);
    bench_expect(c, "+OK\r\n");
    bench_nothing(c);
}

/* RESET --------------------------------------------------------------------------------- */

static void test_reset(void **state)
{
    bench_begin(NULL);
    int c = bench_client();
    bench_say(c, "CLIENT SETNAME me; WATCH b; MULTI");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "WATCH b");
    bench_send(s0, "+OK\r\n");
    bench_expect(c, "+OK\r\n+OK\r\n+OK\r\n");
    _row(c, "RESET", "+RESET\r\n");
    bench_expect_end(s0);
    _row(c, "EXEC", "-ERR EXEC without MULTI\r\n");
    _row(c, "CLIENT GETNAME", "$-1\r\n");
    bench_say(c, "SUBSCRIBE x");
    s0 = bench_shard(0);
    bench_expect_said(s0, "SUBSCRIBE x");
    bench_send(s0, "*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n");
    bench_expect(c, "*3\r\n$9\r\nsubscribe\r\n$1\r\nx\r\n:1\r\n");
    _row(c, "RESET", "+RESET\r\n");
    bench_expect_end(s0);
    _row(c, "PING", "+PONG\r\n");
}

/* What was sent before RESET is answered as it would be without. */
static void test_reset_behind_a_transaction(void **state)
{
    bench_begin(NULL);
    int c = bench_client();
    bench_say(c, "MULTI; SET b 1; RESET; PING");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "MULTI; SET b 1");
    bench_send(s0, "+OK\r\n+QUEUED\r\n");
    bench_expect(c, "+OK\r\n+QUEUED\r\n+RESET\r\n+PONG\r\n");
    bench_expect_end(s0);
}

static void test_info(void **state)
{
    char text[4096] = "";
    bench_begin(&(struct bench_conf){.shards = 2, .cluster = "max_failures: 1"});
    int c = bench_client();
    bench_shard_down(1);
    bench_say(c, "GET a");
    bench_expect_shard_error(c, 1, "Connection refused");
    bench_say(c, "INFO; PING");
    size_t n = 0;
    char line[100];
    BENCH_UNTIL((n = (size_t)recv(c, text, sizeof(text) - 1, MSG_DONTWAIT | MSG_PEEK)) != SIZE_MAX && n > 7 &&
                memcmp(text + n - 7, "+PONG\r\n", 7) == 0);
    text[n] = 0;
    assert_non_null(strstr(text, "redis_version:7.0.15\r\n"));
    assert_non_null(strstr(text, "connected_clients:1\r\n"));
    snprintf(line, sizeof(line), "shard0:address=%s,state=up\r\n", bench_address(0));
    assert_non_null(strstr(text, line));
    snprintf(line, sizeof(line), "shard1:address=%s,state=ejected\r\n", bench_address(1));
    assert_non_null(strstr(text, line));
}

/* Each version has its connections: a command on the new one does not overtake what was sent before. */
static void test_hello_behind_a_command(void **state)
{
    bench_begin(NULL);
    int c = bench_client();
    bench_say(c, "SET c 1; HELLO 3; GET c");
    int s1 = bench_shard(1);
    bench_expect_said(s1, "SET c 1");
    bench_no_shard(1);
    bench_send(s1, "+OK\r\n");
    bench_expect(c, "+OK\r\n%7\r\n");
    bench_expect_said(bench_shard(1), "HELLO 3");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_small_ones),
        BENCH_TEST(test_ids),
        BENCH_TEST(test_auth),
        BENCH_TEST(test_auth_without_password),
        BENCH_TEST(test_hello_errors),
        BENCH_TEST(test_hello),
        BENCH_TEST(test_reply_off),
        BENCH_TEST(test_reply_skip),
        BENCH_TEST(test_reply_off_and_a_dead_shard),
        BENCH_TEST(test_reset),
        BENCH_TEST(test_reset_behind_a_transaction),
        BENCH_TEST(test_info),
        BENCH_TEST(test_hello_behind_a_command),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
