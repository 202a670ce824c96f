/*
 * Connections to shards: back-pressure against clients, and the clock.
 */
#include "redis_bench.h"

#include <stdio.h>

/* Back-pressure ------------------------------------------------------------------------- */

/* A SET of a key and 50000 bytes. */
static const char *_set(const char *key, size_t *len)
{
    static char text[50100];
    int head = snprintf(text, sizeof(text), "*3\r\n$3\r\nSET\r\n$%zu\r\n%s\r\n$50000\r\n", strlen(key), key);
    memset(text + head, 'v', 50000);
    memcpy(text + head + 50000, "\r\n", 2);
    *len = (size_t)head + 50002;
    return text;
}

/* Sends SETs until no more of them are taken. @return How many were sent. */
static size_t _fill(int client, size_t *rest)
{
    size_t n, len;
    const char *text = _set("b", &len);
    for (n = 0; n < 1000; n++) {
        size_t sent = bench_push(client, text, len);
        if (sent < len) {
            *rest = sent;
            return n;
        }
    }
    fail_msg("a shard that does not read does not stop its client");
    return 0;
}

static void test_slow_shard(void **state)
{
    size_t rest, len;
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 64KiB }"});
    int client = bench_small_client(), other = bench_client();
    bench_say(other, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    size_t n = _fill(client, &rest);
    struct redis_upstream *u = bench_shared(2);
    assert_true(conn_backlog(&u->c) > 65536);
    assert_true(conn_backlog(&u->c) < 65536 + 2 * 50100);
    bench_say(other, "GET f"); /* Waits with it, */
    bench_settle();
    assert_non_null(TAILQ_FIRST(&u->waiters));
    bench_say(other, "GET c"); /* and others behind it; */
    bench_no_shard(1);
    int third = bench_client();
    bench_say(third, "GET c"); /* not those of others. */
    int s1 = bench_shard(1);
    bench_expect_said(s1, "GET c");
    /* It reads again: all arrives, in whatever order of the clients. */
    _set("b", &len);
    size_t all = n * len;
    assert_int_equal(bench_swallow(s0, all), all);
    bench_send_bytes(client, _set("b", &len) + rest, len - rest);
    all = len + strlen("*2\r\n$3\r\nGET\r\n$1\r\nf\r\n");
    assert_int_equal(bench_swallow(s0, all), all);
    assert_true(TAILQ_EMPTY(&u->waiters));
    bench_nothing(s0);
    for (size_t i = 0; i < n + 3; i++)
        bench_send(s0, "+OK\r\n");
    for (size_t i = 0; i < n + 1; i++)
        bench_expect(client, "+OK\r\n");
    bench_expect(other, "+OK\r\n+OK\r\n");
    bench_nothing(client);
    bench_expect_said(s1, "GET c");
}

/* Those that wait for a slow shard go on when it dies. */
static void test_slow_shard_dies(void **state)
{
    size_t rest;
    bench_begin(&(struct bench_conf){.globals = "limits: { buffer: 64KiB }"});
    int client = bench_small_client();
    bench_say(client, "GET b");
    int s0 = bench_shard(0);
    _fill(client, &rest);
    struct redis_upstream *u = bench_shared(2);
    int other = bench_client();
    bench_say(other, "GET b");
    BENCH_UNTIL(!TAILQ_EMPTY(&u->waiters));
    bench_shard_down(0);
    bench_reset(s0);
    bench_expect(client, "-ERR shard ");
    bench_expect_shard_error(other, 0, "Connection refused"); /* Its command was not sent before. */
    bench_nothing(other);
}

/* Commands that wait for the setup are bounded too, and go on after it. */
static void test_too_much_for_the_setup(void **state)
{
    size_t len;
    bench_begin(
        &(struct bench_conf){.globals = "limits: { buffer: 64KiB }", .cluster = "auth: { password: p }"});
    int one = bench_client(), two = bench_client();
    const char *text = _set("b", &len);
    bench_send_bytes(one, text, len);
    bench_send_bytes(one, text, len);
    int s0 = bench_shard(0);
    bench_expect_said(s0, "AUTH p");
    bench_say(two, "GET b");
    BENCH_UNTIL(bench_shared(2) && !TAILQ_EMPTY(&bench_shared(2)->waiters));
    bench_nothing(s0);
    bench_send(s0, "+OK\r\n");
    bench_expect_bytes(s0, text, len);
    bench_expect_bytes(s0, text, len);
    bench_expect_said(s0, "GET b");
    bench_send(s0, ":1\r\n:2\r\n:3\r\n");
    bench_expect(one, ":1\r\n:2\r\n");
    bench_expect(two, ":3\r\n");
}

/* The clock ----------------------------------------------------------------------------- */

static void test_response_timeout(void **state)
{
    bench_begin(&(struct bench_conf){.globals = "timeouts: { response: 100ms }"});
    int client = bench_client();
    bench_say(client, "GET b");
    int s0 = bench_shard(0);
    bench_expect_said(s0, "GET b");
    bench_expect_shard_error(client, 0, "timeout");
    bench_expect_end(s0);
    bench_say(client, "GET c");
    int s1 = bench_shard(1);
    bench_expect_said(s1, "GET c");
    bench_send(s1, ":1\r\n");
    bench_expect(client, ":1\r\n");
    bench_run_for(200 * MS); /* Nothing outstanding: no clock. */
    bench_say(client, "GET c");
    bench_expect_said(s1, "GET c");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_slow_shard),
        BENCH_TEST(test_slow_shard_dies),
        BENCH_TEST(test_too_much_for_the_setup),
        BENCH_TEST(test_response_timeout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
