/*
 * Buffered sockets on an event loop: how they end.
 */
#include "conn_helper.h"

static void test_reset(void **state)
{
    peer = _tcp(&one);
    conn_close(&one.c, true);
    assert_int_equal(_receive(peer), -1);
    assert_int_equal(errno, ECONNRESET);
}

static void _finish(bool linger)
{
    bool end;
    peer = _tcp(&one);
    _put_pattern(&one.c, 0, 500000);
    _put_pattern(&one.c, 500000, 7); /* Staged. */
    conn_finish(&one.c, linger);
    conn_puts(&one.c, ""); /* Nothing to add. */
    assert_false(one.c.dead);
    _run_for(5 * MS);
    assert_int_equal(_drain_pattern(peer, 0, SIZE_MAX, &end), 500007);
    assert_true(end);
    assert_int_equal(one.drains, 0);
    assert_int_equal(one.err, 0);
}

static void test_finish_sends_everything_first(void **state)
{
    _finish(false);
    RUN_UNTIL(one.releases);
    assert_int_equal(one.releases, 1);
}

static void test_finish_without_output(void **state)
{
    peer = _tcp(&one);
    conn_finish(&one.c, false);
    assert_true(one.c.dead);
    conn_finish(&one.c, false);
    RUN_UNTIL(one.releases);
    assert_int_equal(_receive(peer), 0);
}

/* RFC 9112 9.6: input that nobody reads must not turn the end into a reset. */
static void test_linger(void **state)
{
    _finish(true);
    assert_false(one.c.dead);
    assert_true(one.c.shut);
    for (int i = 0; i < 10; i++) {
        _send(peer, "too late");
        _run_for(2 * MS);
    }
    assert_false(one.c.dead);
    assert_int_equal(one.offers, 0);
    assert_int_equal(_receive(peer), 0);
    close(peer);
    peer = -1;
    RUN_UNTIL(one.releases);
    assert_int_equal(one.eofs, 0);
    assert_int_equal(one.expiries, 0);
}

static void test_linger_discards_what_was_kept(void **state)
{
    peer = _tcp(&one);
    one.take = 0;
    _offer("abc");
    conn_puts(&one.c, "bye");
    conn_finish(&one.c, true);
    _send(peer, "def");
    _run_for(5 * MS);
    assert_int_equal(one.offers, 1);
    assert_int_equal(conn_pending(&one.c), 0);
    shutdown(peer, SHUT_WR);
    RUN_UNTIL(one.releases);
    _expect_packet(peer, "bye");
    assert_int_equal(_receive(peer), 0);
}

static void test_linger_after_eof(void **state)
{
    peer = _tcp(&one);
    conn_read(&one.c, true);
    shutdown(peer, SHUT_WR);
    RUN_UNTIL(one.eofs);
    conn_puts(&one.c, "bye");
    conn_finish(&one.c, true);
    RUN_UNTIL(one.releases);
    _expect_packet(peer, "bye");
    assert_int_equal(_receive(peer), 0);
}

/* A peer that never closes is not waited for longer than two seconds. */
static void test_linger_is_bounded(void **state)
{
    peer = _tcp(&one);
    conn_finish(&one.c, true);
    uint64_t start = conn_now();
    RUN_UNTIL(one.releases);
    assert_in_range(conn_now() - start, 1990 * MS, 2000 * MS + 2 * SLACK);
    assert_int_equal(one.expiries, 0);
}

/* A peer that takes no byte holds a finished connection for the write timeout only. */
static void test_finish_is_bounded(void **state)
{
    conf.timeouts.write = 50 * MS;
    peer = _tcp(&one);
    _put_pattern(&one.c, 0, 1 << 20);
    uint64_t start = conn_now();
    conn_finish(&one.c, true);
    RUN_UNTIL(one.releases);
    assert_in_range(conn_now() - start, 50 * MS, 50 * MS + SLACK);
    while (_receive(peer) > 0)
        ;
    assert_int_equal(errno, ECONNRESET); /* Never to be taken for a whole message. */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_reset),
        TEST(test_finish_sends_everything_first),
        TEST(test_finish_without_output),
        TEST(test_linger),
        TEST(test_linger_discards_what_was_kept),
        TEST(test_linger_after_eof),
        TEST(test_linger_is_bounded),
        TEST(test_finish_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
