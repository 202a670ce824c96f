/*
 * Gathered output: what leaves with which system call, and when.
 */
#include "gather_helper.h"

/* Rounds -------------------------------------------------------------------------------- */

static void _answer_to_both(struct owner *o)
{
    conn_put(&one.c, o->got, o->n_got);
    conn_puts(&one.c, ";");
    conn_put(&two.c, o->got, o->n_got);
    assert_int_equal(calls, 0);
}

/* Two callbacks of one round write to both connections: one system call for each of them. */
static void test_one_write_per_round(void **state)
{
    _two_packets();
    one.on_input = two.on_input = _answer_to_both;
    conn_read(&one.c, true);
    conn_read(&two.c, true);
    _send(peer, "a");
    _send(peer_two, "a");
    _turn();
    assert_int_equal(one.offers, 1);
    assert_int_equal(two.offers, 1);
    assert_int_equal(calls, 2);
    assert_int_equal(called_fd[0], one.c.fd);
    assert_int_equal(called_fd[1], two.c.fd);
    _expect_packet(peer, "a;a;");
    _expect_packet(peer_two, "aa");
    assert_int_equal(one.c.sent, 4);
    assert_int_equal(conn_gathered(&one.c), 0);
    assert_int_equal(worker.gathers.n_used, 0);
    _run_for(5 * MS);
    assert_int_equal(calls, 2);
    calls = 0;
    _send(peer, "b"); /* The next round is like the first. */
    _turn();
    assert_int_equal(calls, 2);
    _expect_packet(peer, "ab;");
}

/* Fewer than libevent asks the kernel for at once. */
#define CLIENTS 30

static struct owner crowd[GATHERS_MAX + 100];
static int far[GATHERS_MAX + 100];

static void _crowd(size_t n)
{
    for (size_t i = 0; i < n; i++)
        far[i] = _packets(&crowd[i]);
}

static void _disperse(size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(far[i]);
}

static void _forward(struct owner *o)
{
    conn_put(&one.c, o->got, o->n_got);
}

/* What many clients send in one round goes to their server as one write. */
static void test_many_callbacks_one_write(void **state)
{
    peer = _packets(&one);
    conn_gather(&one.c, 1);
    _crowd(CLIENTS);
    for (size_t i = 0; i < CLIENTS; i++) {
        crowd[i].on_input = _forward;
        conn_read(&crowd[i].c, true);
        _send(far[i], "request ");
    }
    _turn();
    for (size_t i = 0; i < CLIENTS; i++)
        assert_int_equal(crowd[i].offers, 1);
    assert_int_equal(calls, 1);
    assert_int_equal(_receive(peer), CLIENTS * strlen("request "));
    for (size_t i = 0; i < CLIENTS; i++)
        assert_memory_equal(bytes + i * 8, "request ", 8);
    _disperse(CLIENTS);
}

/* Other connections keep to the end of the callback. */
static void test_only_those_that_asked(void **state)
{
    peer = _packets(&one);
    peer_two = _packets(&two);
    conn_puts(&one.c, "staged");
    conn_gather(&one.c, 1); /* What came before does not wait. */
    _expect_packet(peer, "staged");
    conn_puts(&one.c, "a");
    conn_puts(&two.c, "b");
    conn_puts(&one.c, "c");
    conn_flush(&worker);
    _expect_packet(peer_two, "b");
    _expect_nothing(peer);
    _turn();
    _expect_packet(peer, "ac");
}

static void test_push(void **state)
{
    _two_packets();
    conn_puts(&one.c, "a");
    conn_puts(&two.c, "b");
    conn_push(&one.c);
    conn_push(&one.c);
    _expect_packet(peer, "a");
    _expect_nothing(peer_two);
    assert_int_equal(calls, 1);
    conn_puts(&one.c, "c");
    _turn();
    _expect_packet(peer_two, "b");
    _expect_packet(peer, "c");
    assert_int_equal(calls, 3);
}

/* Owners that do something when they are told ------------------------------------------- */

static struct conn_ops told;

static void _close_two(struct conn *c)
{
    one.congestions++;
    conn_close(&two.c, false);
}

static void _put_two(struct conn *c)
{
    one.congestions++;
    conn_puts(&two.c, "congested");
}

/* A gathering connection whose socket takes nothing more: its next write is what tells. */
static void _full(void (*congested)(struct conn *c))
{
    static const char much[4096];
    _two_packets();
    while (send(one.c.fd, much, sizeof(much), 0) > 0)
        ;
    while (send(one.c.fd, much, 1, 0) > 0)
        ;
    assert_int_equal(errno, EAGAIN);
    told = ops;
    told.congested = congested;
    one.c.ops = &told;
    conn_puts(&one.c, "x");
    assert_int_equal(one.congestions, 0);
}

static void test_closed_by_a_callback_of_the_round(void **state)
{
    _full(_close_two);
    conn_puts(&two.c, "never");
    _turn();
    assert_int_equal(one.congestions, 1);
    assert_true(two.c.dead);
    assert_null(two.c.gather);
    assert_int_equal(calls, 1);
    assert_int_equal(worker.gathers.n_used, 0);
    RUN_UNTIL(two.releases);
    assert_int_equal(_receive(peer_two), 0);
}

static void test_put_by_a_callback_of_the_round(void **state)
{
    _full(_put_two);
    _turn();
    assert_int_equal(one.congestions, 1);
    _expect_packet(peer_two, "congested");
    assert_int_equal(calls, 2);
    assert_int_equal(worker.gathers.n_used, 0);
}

/* The oldest buffer is written for want of another, and its owner then closes the connection
 * that wanted one. */
static void test_closed_while_waiting_for_a_buffer(void **state)
{
    _full(_close_two);
    _crowd(GATHERS_MAX - 1);
    for (size_t i = 0; i + 1 < GATHERS_MAX; i++) {
        conn_gather(&crowd[i].c, 1);
        conn_puts(&crowd[i].c, "x");
    }
    assert_int_equal(worker.gathers.n_used, GATHERS_MAX);
    assert_int_equal(one.congestions, 0);
    conn_puts(&two.c, "never");
    assert_int_equal(one.congestions, 1);
    assert_true(two.c.dead);
    assert_null(two.c.gather);
    assert_int_equal(worker.gathers.n_used, GATHERS_MAX - 1);
    _turn();
    assert_int_equal(_receive(peer_two), 0);
    _disperse(GATHERS_MAX - 1);
}

/* The bound ----------------------------------------------------------------------------- */

static void test_more_connections_than_buffers(void **state)
{
    size_t n = GATHERS_MAX + 100;
    _crowd(n);
    for (size_t i = 0; i < n; i++) {
        conn_gather(&crowd[i].c, 1);
        _put_pattern(&crowd[i].c, i, 3);
        assert_true(worker.gathers.n_used <= GATHERS_MAX);
        assert_int_equal(calls, i < GATHERS_MAX ? 0 : i + 1 - GATHERS_MAX);
    }
    _expect_pattern(far[0], 0, 3); /* Early: there was no buffer for the last. */
    _put_pattern(&crowd[n - 1].c, n + 2, 3);
    assert_int_equal(calls, n - GATHERS_MAX);
    _turn();
    assert_int_equal(calls, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(called_fd[i], crowd[i].c.fd);
    for (size_t i = 1; i < n; i++)
        _expect_pattern(far[i], i, i == n - 1 ? 6 : 3);
    assert_int_equal(worker.gathers.n_used, 0);
    assert_int_equal(worker.gathers.n_kept, GATHERS_KEPT);
    _disperse(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATHER_TEST(test_one_write_per_round),
        GATHER_TEST(test_many_callbacks_one_write),
        GATHER_TEST(test_only_those_that_asked),
        GATHER_TEST(test_push),
        GATHER_TEST(test_closed_by_a_callback_of_the_round),
        GATHER_TEST(test_put_by_a_callback_of_the_round),
        GATHER_TEST(test_closed_while_waiting_for_a_buffer),
        GATHER_TEST(test_more_connections_than_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
