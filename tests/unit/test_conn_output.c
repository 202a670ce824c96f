/*
 * Buffered sockets on an event loop: output, and whoever does not take it.
 */
#include "conn_helper.h"

/* Staging ------------------------------------------------------------------------------- */

static void _answer_in_pieces(struct owner *o)
{
    conn_puts(&o->c, "a");
    conn_puts(&o->c, "");
    conn_puts(&o->c, "bc");
    conn_put(&o->c, "d", 1);
    _expect_nothing(peer);
}

static void test_one_write_per_callback(void **state)
{
    peer = _packets(&one);
    one.on_input = _answer_in_pieces;
    _offer("?");
    _expect_packet(peer, "abcd");
    _expect_nothing(peer);
    assert_int_equal(one.c.sent, 4);
    assert_int_equal(one.congestions, 0);
    assert_int_equal(conn_backlog(&one.c), 0);
}

static void test_stage_changes_hands(void **state)
{
    peer = _packets(&one);
    peer_two = _packets(&two);
    conn_puts(&one.c, "a");
    conn_puts(&one.c, "b");
    _expect_nothing(peer);
    conn_puts(&two.c, "c");
    _expect_packet(peer, "ab");
    _expect_nothing(peer_two);
    conn_puts(&one.c, "d");
    _expect_packet(peer_two, "c");
    conn_flush(&worker);
    _expect_packet(peer, "d");
    conn_flush(&worker);
    _expect_nothing(peer);
    _expect_nothing(peer_two);
}

static void test_large_pieces_are_not_staged(void **state)
{
    peer = _packets(&one);
    _put_pattern(&one.c, 0, 100);
    _expect_nothing(peer);
    _put_pattern(&one.c, 100, 20000);
    assert_int_equal(_receive(peer), 20100);
    for (size_t i = 0; i < 20100; i++)
        assert_int_equal(bytes[i], _pattern(i));
    _expect_nothing(peer);
}

/* The stage is as large as it is: what does not fit leaves with it. */
static void test_full_stage(void **state)
{
    size_t at = 0;
    peer = _packets(&one);
    for (; at + 8000 <= WORKER_STAGE; at += 8000)
        _put_pattern(&one.c, at, 8000);
    _expect_nothing(peer);
    _put_pattern(&one.c, at, 8000);
    assert_int_equal(_receive(peer), at + 8000);
    for (size_t i = 0; i < at + 8000; i++)
        assert_int_equal(bytes[i], _pattern(i));
}

static void test_discard_output(void **state)
{
    peer = _packets(&one);
    conn_puts(&one.c, "gone");
    conn_discard_output(&one.c);
    conn_flush(&worker);
    conn_puts(&one.c, "here");
    conn_flush(&worker);
    _expect_packet(peer, "here");
    _expect_nothing(peer);
}

/* Back-pressure ------------------------------------------------------------------------- */

static void test_reader_that_does_not_read(void **state)
{
    bool end;
    peer = _tcp(&one);
    _put_pattern(&one.c, 0, 1 << 20);
    assert_int_equal(one.congestions, 1);
    size_t backlog = conn_backlog(&one.c);
    assert_true(backlog > 0);
    assert_int_equal(one.c.sent + backlog, 1 << 20);
    _run_for(20 * MS);
    assert_int_equal(one.drains, 0);
    _put_pattern(&one.c, 1 << 20, 1000);
    conn_flush(&worker);
    assert_int_equal(one.congestions, 1); /* Said already. */
    assert_int_equal(_drain_pattern(peer, 0, (1 << 20) + 1000, &end), (1 << 20) + 1000);
    RUN_UNTIL(one.drains);
    assert_int_equal(one.drains, 1);
    assert_int_equal(conn_backlog(&one.c), 0);
    assert_int_equal(one.c.sent, (1 << 20) + 1000);
    _put_pattern(&one.c, 0, 1 << 20);
    assert_int_equal(one.congestions, 2);
}

/* Failures ------------------------------------------------------------------------------ */

/* What a server sent before the failure may be a whole response: it is delivered, then the end
 * is told. */
static void test_write_failure_after_input(void **state)
{
    peer = _tcp(&one);
    one.c.upstream = true;
    conn_read(&one.c, true);
    _send(peer, "abc");
    _reset_peer();
    conn_puts(&one.c, "x");
    conn_flush(&worker);
    assert_true(one.c.write_failed);
    RUN_UNTIL(one.err || one.eofs);
    assert_memory_equal(one.got, "abc", 3);
    assert_int_equal(conn_backlog(&one.c), 0);
    assert_int_equal(one.congestions, 0);
    conn_puts(&one.c, "y"); /* Goes nowhere. */
    conn_flush(&worker);
    assert_int_equal(conn_backlog(&one.c), 0);
}

/* A client that can not be written to is gone, also while nobody reads from it. */
static void test_write_failure_of_a_client(void **state)
{
    peer = _tcp(&one);
    conn_read(&one.c, true);
    conn_read(&one.c, false);
    _send(peer, "abc");
    _reset_peer();
    conn_puts(&one.c, "x");
    conn_flush(&worker);
    assert_true(one.c.write_failed);
    RUN_UNTIL(one.err);
    assert_int_equal(one.err, EPIPE);
    assert_int_equal((int)one.n_got, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_one_write_per_callback),
        TEST(test_stage_changes_hands),
        TEST(test_large_pieces_are_not_staged),
        TEST(test_full_stage),
        TEST(test_discard_output),
        TEST(test_reader_that_does_not_read),
        TEST(test_write_failure_after_input),
        TEST(test_write_failure_of_a_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
