/*
 * Replies of shards: readers that are slow, and replies that make no sense.
 */
#include "redis_bench.h"

static char value[1 << 20];

/* Slow readers -------------------------------------------------------------------------- */

/* Answers a GET with so much that the shard's connection is paused. @return Bytes sent. */
static size_t _overfeed(int shard)
{
    size_t sent = 0;
    bench_send(shard, "$33554432\r\n");
    while (sent < 33554432) {
        size_t n = bench_push(shard, value, sizeof(value));
        sent += n;
        if (n < sizeof(value))
            break;
    }
    assert_true(sent < 33554432);
    assert_true(bench_shared(2)->paused);
    return sent;
}

static void test_slow_reader(void **state)
{
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 64KiB }"});
    int client = bench_small_client();
    bench_say(client, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    size_t sent = _overfeed(s0);
    /* Half the limit, and what one recv() brought behind it. */
    assert_true(conn_backlog(&bench_last_client()->c) <= 65536 / 2 + WORKER_RBUF);
    bench_run_for(400 * MS); /* Nobody waits behind it: it may take its time. */
    assert_true(bench_shared(2)->paused);
    assert_int_equal(bench_swallow(client, sent), sent);
    assert_false(bench_shared(2)->paused);
    while (sent < 33554432) {
        size_t n = 33554432 - sent < sizeof(value) ? 33554432 - sent : sizeof(value);
        n = bench_push(s0, value, n);
        sent += n;
        assert_int_equal(bench_swallow(client, n), n);
    }
    bench_send(s0, "\r\n");
    size_t tail = strlen("$33554432\r\n") + 2;
    assert_int_equal(bench_swallow(client, tail), tail);
    bench_say(client, "GET f");
    bench_expect_said(s0, "GET f");
    bench_send(s0, ":1\r\n");
    bench_expect(client, ":1\r\n");
}

/* The rest of the reply, and one for the next client. */
static void _feed_rest(int shard, size_t sent)
{
    while (sent < 33554432) {
        size_t n = 33554432 - sent < sizeof(value) ? 33554432 - sent : sizeof(value);
        bench_send_bytes(shard, value, n);
        sent += n;
    }
    bench_send(shard, "\r\n:2\r\n");
}

/* Others wait behind it: after some time its replies are kept, and they go on. */
static void test_slow_reader_in_the_way(void **state)
{
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 1MiB }"});
    int slow = bench_small_client(), other = bench_client();
    bench_say(slow, "GET b");
    int s0 = bench_shard(0);
    bench_say(other, "GET f");
    bench_expect_said(s0, "GET b; GET f");
    size_t sent = _overfeed(s0), all = strlen("$33554432\r\n") + 33554432 + 2;
    _feed_rest(s0, sent);
    bench_expect(other, ":2\r\n");
    assert_int_equal(bench_swallow(slow, all), all);
    bench_nothing(slow);
}

/* Too much to be kept: it is closed. */
static void test_slow_reader_is_closed(void **state)
{
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 64KiB }"});
    int slow = bench_small_client(), other = bench_client();
    bench_say(slow, "GET b");
    int s0 = bench_shard(0);
    bench_say(other, "GET f");
    bench_expect_said(s0, "GET b; GET f");
    _feed_rest(s0, _overfeed(s0));
    bench_expect(other, ":2\r\n");
    assert_int_equal(atomic_load(&bench_worker.connections), 1);
}

/* It leaves by itself while its shard's connection is paused for it. */
static void test_slow_reader_leaves(void **state)
{
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 64KiB }"});
    int slow = bench_small_client(), other = bench_client();
    bench_say(slow, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    size_t sent = _overfeed(s0);
    bench_reset(slow);
    BENCH_UNTIL(atomic_load(&bench_worker.connections) == 1);
    bench_say(other, "GET f");
    bench_expect_said(s0, "GET f");
    _feed_rest(s0, sent);
    bench_expect(other, ":2\r\n");
}

/* Replies that make no sense ------------------------------------------------------------ */

static void test_malformed_reply(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    bench_send(s0, "hello\r\n");
    bench_expect_end(s0);
    assert_int_equal(bench_swallow(client, 10), 10);
}

static void test_unasked_reply(void **state)
{
    bench_begin(NULL);
    int client = bench_client();
    bench_say(client, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    bench_send(s0, ":1\r\n:2\r\n");
    bench_expect(client, ":1\r\n");
    bench_expect_end(s0);
    bench_nothing(client);
    bench_say(client, "GET b");
    bench_expect_said(bench_shard(0), "GET b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_slow_reader),           BENCH_TEST(test_slow_reader_in_the_way),
        BENCH_TEST(test_slow_reader_is_closed), BENCH_TEST(test_slow_reader_leaves),
        BENCH_TEST(test_malformed_reply),       BENCH_TEST(test_unasked_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
