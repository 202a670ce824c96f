/*
 * Requests: each reply has its place and its owner, also when shards overtake each other, clients leave
 * and shards die.
 */
#include "redis_bench.h"

static void test_replies_in_order(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "GET b; GET c; GET a; GET f");
    int s0 = bench_shard(0), s1 = bench_shard(1), s2 = bench_shard(2);
    bench_expect_said(s0, "GET b; GET f");
    bench_expect_said(s1, "GET c");
    bench_expect_said(s2, "GET a");
    bench_send(s2, "$1\r\nA\r\n");
    bench_nothing(client);
    bench_send(s1, "$-1\r\n");
    bench_nothing(client);
    bench_send(s0, "+B\r\n+F");
    bench_expect(client, "+B\r\n$-1\r\n$1\r\nA\r\n+F");
    bench_send(s0, "\r\n");
    bench_expect(client, "\r\n");
    assert_int_equal(bench_last_client()->outstanding, 0);
    assert_int_equal(bench_last_client()->buffered, 0);
}

/* Parts of a reply wait for their turn too, in whatever pieces they come. */
static void test_long_reply_waits(void **state)
{
    static char value[20000];
    memset(value, 'v', sizeof(value));
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "GET b; GET c");
    int s0 = bench_shard(0), s1 = bench_shard(1);
    bench_send(s1, "$20000\r\n");
    bench_send_bytes(s1, value, 15000);
    bench_nothing(client);
    bench_send(s0, ":1\r\n");
    bench_expect(client, ":1\r\n$20000\r\n");
    bench_expect_bytes(client, value, 15000);
    bench_send_bytes(s1, value, 5000);
    bench_expect_bytes(client, value, 5000);
    bench_send(s1, "\r\n");
    bench_expect(client, "\r\n");
    bench_nothing(client);
}

static void test_client_leaves(void **state)
{
    bench_begin(NULL);
    int one = bench_client(), two = bench_client();
    bench_say(one, "GET b; GET f");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b; GET f");
    bench_say(two, "GET hello");
    bench_expect_said(s0, "GET hello");
    bench_reset(one);
    assert_int_equal(atomic_load(&bench_worker.connections), 1);
    bench_send(s0, "+one\r\n+on");
    bench_nothing(two);
    bench_send(s0, "e\r\n+two\r\n");
    bench_expect(two, "+two\r\n");
    bench_nothing(two);
    bench_say(two, "GET b");
    bench_expect_said(s0, "GET b");
    bench_no_shard(0);
}

static void test_client_leaves_in_the_middle_of_its_reply(void **state)
{
    bench_begin(NULL);
    int one = bench_client(), two = bench_client();
    bench_say(one, "GET b");
    int s0 = bench_shard(0);
    bench_say(two, "GET f");
    bench_expect_said(s0, "GET b; GET f");
    bench_send(s0, "$10\r\n01234");
    bench_expect(one, "$10\r\n01234");
    bench_reset(one);
    bench_send(s0, "56789\r\n:2\r\n");
    bench_expect(two, ":2\r\n");
}

static void test_client_leaves_a_group(void **state)
{
    bench_begin(NULL);
    int one = bench_client(), two = bench_client();
    bench_say(one, "MGET b c");
    int s0 = bench_shard(0), s1 = bench_shard(1);
    bench_say(two, "MGET f g");
    bench_expect_said(s0, "MGET b; MGET f");
    bench_expect_said(s1, "MGET c; MGET g");
    bench_send(s0, "*1\r\n:1\r\n");
    bench_settle();
    bench_reset(one);
    bench_send(s1, "*1\r\n:2\r\n*1\r\n:4\r\n");
    bench_send(s0, "*1\r\n:3\r\n");
    bench_expect(two, "*2\r\n:3\r\n:4\r\n");
    bench_nothing(two);
}

/* Half of a reply is out, the other will never come: no error in the middle of it. */
static void test_shard_dies_in_the_middle_of_a_reply(void **state)
{
    bench_begin(NULL);
    int one = bench_client(), two = bench_client();
    bench_say(one, "GET b; GET f");
    int s0 = bench_shard(0);
    bench_say(two, "GET b");
    bench_expect_said(s0, "GET b; GET f; GET b");
    bench_send(s0, "$10\r\n01234");
    bench_expect(one, "$10\r\n01234");
    bench_close(s0);
    bench_expect_end(one);
    bench_expect_shard_error(two, 0, "connection closed by the server");
    bench_say(two, "GET b");
    bench_expect_said(bench_shard(0), "GET b");
}

/* What nobody has seen yet of a reply is replaced by the error. */
static void test_shard_dies_in_the_middle_of_a_waiting_reply(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "GET b; GET c");
    int s0 = bench_shard(0), s1 = bench_shard(1);
    bench_expect_said(s1, "GET c");
    bench_send(s1, "$10\r\n01234");
    bench_settle();
    bench_close(s1);
    bench_nothing(client);
    bench_send(s0, ":1\r\n");
    bench_expect(client, ":1\r\n");
    bench_expect_shard_error(client, 1, "connection closed by the server");
    bench_nothing(client);
}

static void test_shard_dies_with_many_outstanding(void **state)
{
    bench_begin(NULL);
    int clients[5];
    int s0 = -1;
    for (int i = 0; i < 5; i++) {
        clients[i] = bench_client();
        bench_say(clients[i], i % 2 ? "GET b" : "GET b; GET f");
        if (!i)
            s0 = bench_shard(0);
    }
    bench_expect_said(s0, "GET b; GET f; GET b; GET b; GET f; GET b; GET b; GET f");
    bench_reset(s0);
    for (int i = 0; i < 5; i++) {
        bench_expect_shard_error(clients[i], 0, "Connection reset by peer");
        if (i % 2 == 0)
            bench_expect_shard_error(clients[i], 0, "Connection reset by peer");
        bench_nothing(clients[i]);
    }
    bench_say(clients[0], "GET b");
    s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    bench_send(s0, ":7\r\n");
    bench_expect(clients[0], ":7\r\n");
}

/* Other shards' replies that fill the buffer must not hold up the one they wait for. */
static void test_reply_at_the_head_is_never_held_up(void **state)
{
    static char value[70000];
    memset(value, 'v', sizeof(value));
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 64KiB }"});
    int client = bench_client();
    bench_say(client, "GET b; GET c; GET g");
    int s0 = bench_shard(0), s1 = bench_shard(1);
    bench_expect_said(s1, "GET c; GET g");
    bench_send(s1, "$70000\r\n");
    bench_send_bytes(s1, value, 70000);
    bench_send(s1, "\r\n");
    BENCH_UNTIL(bench_last_client()->buffered > 65536);
    bench_send(s0, "$10\r\n01234");
    bench_expect(client, "$10\r\n01234");
    bench_send(s0, "56789\r\n");
    bench_expect(client, "56789\r\n$70000\r\n");
    bench_expect_bytes(client, value, 70000);
    bench_send(s1, ":1\r\n");
    bench_expect(client, "\r\n:1\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_replies_in_order),
        BENCH_TEST(test_long_reply_waits),
        BENCH_TEST(test_client_leaves),
        BENCH_TEST(test_client_leaves_in_the_middle_of_its_reply),
        BENCH_TEST(test_client_leaves_a_group),
        BENCH_TEST(test_shard_dies_in_the_middle_of_a_reply),
        BENCH_TEST(test_shard_dies_in_the_middle_of_a_waiting_reply),
        BENCH_TEST(test_shard_dies_with_many_outstanding),
        BENCH_TEST(test_reply_at_the_head_is_never_held_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
