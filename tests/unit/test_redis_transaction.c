/*
 * MULTI to EXEC and WATCH: one shard, a connection of its own, and what becomes of it.
 */
#include "redis_bench.h"

#include <sys/socket.h>

/* A client in a transaction with one command. @param s1  Its connection to shard 1. */
static int _queueing_client(int *s1)
{
    int client = bench_client();
    bench_say(client, "MULTI; SET c 1");
    *s1 = bench_shard(1);
    bench_expect_said(*s1, "MULTI; SET c 1");
    bench_send(*s1, "+OK\r\n+QUEUED\r\n");
    bench_expect(client, "+OK\r\n+QUEUED\r\n");
    return client;
}

/* A client that watches c. */
static int _watching_client(int *s1)
{
    int client = bench_client();
    bench_say(client, "WATCH c");
    *s1 = bench_shard(1);
    bench_expect_said(*s1, "WATCH c");
    bench_send(*s1, "+OK\r\n");
    bench_expect(client, "+OK\r\n");
    return client;
}

static void test_keyless_first(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "MULTI; PING; ECHO x");
    bench_expect(client, "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    bench_no_shard(0);
    bench_say(client, "SET c 1; GET {c}x");
    int s1 = bench_shard(1);
    bench_expect_said(s1, "MULTI; PING; ECHO x; SET c 1; GET {c}x");
    bench_send(s1, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
    bench_expect(client, "+QUEUED\r\n");
    bench_send(s1, "+QUEUED\r\n");
    bench_expect(client, "+QUEUED\r\n");
    bench_say(client, "TIME; EXEC; GET c");
    bench_expect_said(s1, "TIME");
    bench_nothing(s1); /* EXEC waits for what was queued. */
    bench_send(s1, "+QUEUED\r\n");
    bench_expect_said(s1, "EXEC");
    bench_no_shard(1); /* And the next command for EXEC. */
    bench_send(s1, "*1\r\n+OK\r\n");
    bench_expect(client, "+QUEUED\r\n*1\r\n+OK\r\n");
    int shared = bench_shard(1);
    bench_expect_said(shared, "GET c");
    bench_say(client, "MULTI; SET c 1"); /* The connection serves again. */
    bench_send(shared, ":1\r\n");
    bench_expect(client, ":1\r\n+OK\r\n");
    bench_expect_said(s1, "MULTI; SET c 1");
}

static void test_nothing_queued(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "MULTI; EXEC; MULTI; DISCARD; EXEC; DISCARD");
    bench_expect(client,
                 "+OK\r\n*0\r\n+OK\r\n+OK\r\n-ERR EXEC without MULTI\r\n-ERR DISCARD without MULTI\r\n");
    bench_no_shard(0);
}

static void test_only_keyless(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "MULTI; PING; EXEC");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "MULTI; PING; EXEC");
    bench_send(s0, "+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n");
    bench_expect(client, "+OK\r\n+QUEUED\r\n*1\r\n+PONG\r\n");
}

static void test_cross_slot(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "MULTI; SET c 1; SET g 1; MGET c a; EXEC; PING");
    int s1 = bench_shard(1);
    bench_expect_said(s1, "MULTI; SET c 1");
    bench_nothing(s1);
    bench_send(s1, "+OK\r\n+QUEUED\r\n");
    bench_expect(client, "+OK\r\n+QUEUED\r\n-CROSSSLOT Keys in request don't hash to the same slot\r\n"
                         "-CROSSSLOT Keys in request don't hash to the same slot\r\n"
                         "-EXECABORT Transaction discarded because of previous errors.\r\n+PONG\r\n");
    bench_expect_end(s1);
}

static void test_errors_abort(void **state)
{
    static const char *const bad[] = {"GET", "NOSUCH", "SUBSCRIBE x", "KEYS *", "OBJECT FOO"};
    bench_begin(NULL);
    int client = bench_client();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        bench_say(client, "MULTI");
        bench_say(client, bad[i]);
        bench_expect(client, "+OK\r\n-ERR ");
        char byte = 0;
        while (byte != '\n') {
            bench_settle();
            assert_int_equal(recv(client, &byte, 1, MSG_DONTWAIT), 1);
        }
        bench_say(client, "EXEC");
        bench_expect(client, "-EXECABORT Transaction discarded because of previous errors.\r\n");
    }
    /* These do not count. */
    bench_say(client, "MULTI; MULTI; WATCH b; EXEC");
    bench_expect(client,
                 "+OK\r\n-ERR MULTI calls can not be nested\r\n-ERR WATCH inside MULTI is not allowed\r\n"
                 "*0\r\n");
}

/* A shard that refuses a command answered here already. */
static void test_keyless_refused(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "MULTI; PING; SET c 1");
    int s1 = bench_shard(1);
    bench_expect_said(s1, "MULTI; PING; SET c 1");
    bench_send(s1, "+OK\r\n-NOPERM\r\n+QUEUED\r\n");
    bench_expect(client, "+OK\r\n+QUEUED\r\n+QUEUED\r\n");
    bench_say(client, "EXEC");
    bench_expect(client, "-EXECABORT Transaction discarded because of previous errors.\r\n");
    bench_expect_end(s1);
}

static void test_connection_lost(void **state)
{
    bench_begin(NULL);
    int s1, client = _queueing_client(&s1);
    bench_close(s1);
    bench_say(client, "EXEC; PING");
    bench_expect(client, "-EXECABORT Transaction discarded because of previous errors.\r\n+PONG\r\n");
    bench_no_shard(1);
}

static void test_connection_lost_at_exec(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "MULTI; SET c 1; EXEC");
    int s1 = bench_shard(1);
    bench_expect_said(s1, "MULTI; SET c 1");
    bench_send(s1, "+OK\r\n+QUEUED\r\n");
    bench_expect_said(s1, "EXEC");
    bench_close(s1);
    bench_expect(client, "+OK\r\n+QUEUED\r\n");
    bench_expect_shard_error(client, 1, "connection closed by the server");
    bench_say(client, "MULTI; EXEC");
    bench_expect(client, "+OK\r\n*0\r\n");
}

static void test_shard_down(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_shard_down(1);
    bench_say(client, "MULTI; SET c 1; EXEC");
    bench_expect(client, "+OK\r\n");
    bench_expect_shard_error(client, 1, "Connection refused");
    bench_expect(client, "-EXECABORT Transaction discarded because of previous errors.\r\n");
}

/* WATCH --------------------------------------------------------------------------------- */

static void test_watch(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "WATCH c; GET c; GET b; WATCH a");
    int s1 = bench_shard(1), s0 = bench_shard(0);
    bench_expect_said(s1, "WATCH c; GET c");
    bench_expect_said(s0, "GET b");
    bench_send(s0, ":0\r\n");
    bench_send(s1, "+OK\r\n:1\r\n");
    bench_expect(client, "+OK\r\n:1\r\n:0\r\n-CROSSSLOT Keys in request don't hash to the same slot\r\n");
    bench_say(client, "MULTI; SET c 2; EXEC");
    bench_expect_said(s1, "MULTI; SET c 2");
    bench_send(s1, "+OK\r\n+QUEUED\r\n");
    bench_expect_said(s1, "EXEC");
    bench_send(s1, "*-1\r\n");
    bench_expect(client, "+OK\r\n+QUEUED\r\n*-1\r\n");
    int other = bench_client(); /* Gets the connection that is idle now. */
    bench_say(other, "WATCH c");
    bench_expect_said(s1, "WATCH c");
    bench_no_shard(1);
}

/* The same key on the connection that watches and on the shared one, in the order of the commands. */
static void test_many_keys_beside_watch(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "WATCH c; SET c 1; DEL c; SET c 2");
    int s1 = bench_shard(1);
    bench_expect_said(s1, "WATCH c; SET c 1");
    bench_no_shard(1);
    bench_send(s1, "+OK\r\n+OK\r\n");
    bench_expect(client, "+OK\r\n+OK\r\n");
    int shared = bench_shard(1);
    bench_expect_said(shared, "DEL c");
    bench_nothing(s1);
    bench_send(shared, ":1\r\n");
    bench_expect(client, ":1\r\n");
    bench_expect_said(s1, "SET c 2");
}

static void test_watch_and_lost(void **state)
{
    bench_begin(NULL);
    int s1, client = _watching_client(&s1);
    bench_close(s1);
    bench_say(client, "MULTI; SET c 1; EXEC; MULTI; EXEC");
    s1 = bench_shard(1);
    bench_expect_said(s1, "MULTI; SET c 1");
    bench_send(s1, "+OK\r\n+QUEUED\r\n");
    bench_expect(client, "+OK\r\n+QUEUED\r\n*-1\r\n+OK\r\n*0\r\n");
    bench_expect_end(s1);
}

/* The queue is full and more waits behind it: that is taken while the connection's requests fail. */
static void test_lost_under_a_full_queue(void **state)
{
    bench_begin(NULL);
    int s1, client = _watching_client(&s1);
    for (int i = 0; i < 1100; i++)
        bench_say(client, "GET c");
    bench_settle();
    bench_half_close(s1);
    for (int i = 0; i < 1024; i++)
        bench_expect_shard_error(client, 1, "connection closed by the server");
    s1 = bench_shard(1);
    for (int i = 1024; i < 1100; i++) {
        bench_expect_said(s1, "GET c");
        bench_send(s1, "$-1\r\n");
        bench_expect(client, "$-1\r\n");
    }
}

/* What is behind in a transaction does not run outside of it. */
static void test_lost_in_a_full_transaction(void **state)
{
    bench_begin(NULL);
    int s1, client = _queueing_client(&s1);
    for (int i = 0; i < 1100; i++)
        bench_say(client, "SET c 2");
    bench_settle();
    bench_half_close(s1);
    for (int i = 0; i < 1024; i++)
        bench_expect_shard_error(client, 1, "connection closed by the server");
    s1 = bench_shard(1);
    bench_expect_said(s1, "MULTI");
    bench_send(s1, "+OK\r\n");
    for (int i = 1024; i < 1100; i++) {
        bench_expect_said(s1, "SET c 2");
        bench_send(s1, "+QUEUED\r\n");
        bench_expect(client, "+QUEUED\r\n");
    }
    bench_say(client, "EXEC");
    bench_expect(client, "-EXECABORT Transaction discarded because of previous errors.\r\n");
    bench_expect_end(s1);
}

static void test_unwatch(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "UNWATCH; WATCH c");
    int s1 = bench_shard(1);
    bench_expect_said(s1, "WATCH c");
    bench_send(s1, "+OK\r\n");
    bench_expect(client, "+OK\r\n+OK\r\n");
    bench_say(client, "UNWATCH; GET c");
    bench_expect_said(s1, "UNWATCH");
    bench_nothing(s1);
    bench_send(s1, "+OK\r\n");
    bench_expect(client, "+OK\r\n");
    bench_expect_said(bench_shard(1), "GET c");
    bench_say(client, "DISCARD");
    bench_nothing(s1);
}

static void test_discard(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "WATCH c; MULTI; DISCARD");
    int s1 = bench_shard(1);
    bench_expect_said(s1, "WATCH c");
    bench_send(s1, "+OK\r\n");
    bench_expect_said(s1, "MULTI; DISCARD");
    bench_send(s1, "+OK\r\n+OK\r\n");
    bench_expect(client, "+OK\r\n+OK\r\n+OK\r\n");
    bench_say(client, "MULTI; SET c 1; DISCARD");
    bench_expect_said(s1, "MULTI; SET c 1; DISCARD");
    bench_send(s1, "+OK\r\n+QUEUED\r\n+OK\r\n");
    bench_expect(client, "+OK\r\n+QUEUED\r\n+OK\r\n");
}

static void test_client_leaves(void **state)
{
    bench_begin(NULL);
    int s1, client = _queueing_client(&s1);
    bench_close(client);
    bench_expect_end(s1);
}

/* It ends with the replies that are outstanding, not before. */
static void test_half_closed(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "MULTI; SET c 1; EXEC");
    bench_half_close(client);
    int s1 = bench_shard(1);
    bench_expect_said(s1, "MULTI; SET c 1");
    bench_send(s1, "+OK\r\n+QUEUED\r\n");
    bench_expect_said(s1, "EXEC");
    bench_send(s1, "*1\r\n+OK\r\n");
    bench_expect(client, "+OK\r\n+QUEUED\r\n*1\r\n+OK\r\n");
    bench_expect_end(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_keyless_first),
        BENCH_TEST(test_nothing_queued),
        BENCH_TEST(test_only_keyless),
        BENCH_TEST(test_cross_slot),
        BENCH_TEST(test_errors_abort),
        BENCH_TEST(test_keyless_refused),
        BENCH_TEST(test_connection_lost),
        BENCH_TEST(test_connection_lost_at_exec),
        BENCH_TEST(test_shard_down),
        BENCH_TEST(test_watch),
        BENCH_TEST(test_watch_and_lost),
        BENCH_TEST(test_unwatch),
        BENCH_TEST(test_discard),
        BENCH_TEST(test_client_leaves),
        BENCH_TEST(test_half_closed),
        BENCH_TEST(test_lost_under_a_full_queue),
        BENCH_TEST(test_many_keys_beside_watch),
        BENCH_TEST(test_lost_in_a_full_transaction),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
