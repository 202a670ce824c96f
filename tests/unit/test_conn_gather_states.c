/*
 * Gathered output of connections that end, or that may not be written to yet.
 */
#include "gather_helper.h"

/* Ends ---------------------------------------------------------------------------------- */

static void test_close(void **state)
{
    peer = _tcp(&one);
    conn_gather(&one.c, 1);
    conn_puts(&one.c, "never");
    conn_close(&one.c, false);
    conn_puts(&one.c, "never");
    assert_int_equal(worker.gathers.n_used, 0);
    RUN_UNTIL(one.releases);
    assert_int_equal(calls, 0);
    assert_int_equal(_receive(peer), 0);
}

static void test_discard(void **state)
{
    _two_packets();
    conn_puts(&one.c, "gone");
    conn_discard_output(&one.c);
    assert_int_equal(conn_gathered(&one.c), 0);
    _turn();
    assert_int_equal(calls, 0);
    conn_puts(&one.c, "gone");
    conn_discard_output(&one.c);
    conn_puts(&one.c, "here");
    _turn();
    _expect_packet(peer, "here");
    assert_int_equal(calls, 1);
}

static void _finish(bool linger)
{
    peer = _tcp(&one);
    conn_gather(&one.c, 1);
    conn_puts(&one.c, "b");
    conn_puts(&one.c, "ye");
    conn_finish(&one.c, linger);
    assert_int_equal(calls, 1);
    assert_int_equal(worker.gathers.n_used, 0);
    RUN_UNTIL(recv(peer, bytes, 4, MSG_PEEK | MSG_DONTWAIT) == 3);
    _expect_packet(peer, "bye");
    RUN_UNTIL(_receive(peer) == 0);
    shutdown(peer, SHUT_WR);
    RUN_UNTIL(one.releases);
    assert_int_equal(one.err, 0);
}

static void test_finish(void **state)
{
    _finish(false);
}

static void test_linger(void **state)
{
    _finish(true);
}

static void test_finish_of_more_than_the_socket_takes(void **state)
{
    bool end;
    peer = _tcp(&one);
    conn_gather(&one.c, 1);
    _put_pattern(&one.c, 0, 500000);
    _put_pattern(&one.c, 500000, 7);
    conn_finish(&one.c, false);
    assert_int_equal(_drain_pattern(peer, 0, SIZE_MAX, &end), 500007);
    assert_true(end);
    RUN_UNTIL(one.releases);
}

static void test_write_failure(void **state)
{
    peer = _tcp(&one);
    conn_gather(&one.c, 1);
    conn_puts(&one.c, "x");
    _reset_peer();
    RUN_UNTIL(one.err);
    assert_int_equal(one.err, EPIPE);
    assert_true(one.c.write_failed);
    assert_int_equal(calls, 1);
    conn_puts(&one.c, "y"); /* Goes nowhere. */
    assert_int_equal(worker.gathers.n_used, 0);
}

/* While the socket may not be written to ------------------------------------------------ */

static void test_suspended(void **state)
{
    peer = _tcp(&one);
    conn_gather(&one.c, 1);
    conn_puts(&one.c, "a");
    conn_suspend(&one.c);
    conn_puts(&one.c, "b");
    _turn();
    assert_int_equal(conn_backlog(&one.c), 2);
    assert_int_equal(one.congestions, 1);
    conn_puts(&one.c, "c");
    assert_int_equal(conn_backlog(&one.c), 3);
    _turn();
    assert_int_equal(calls, 0);
    conn_resume(&one.c, NULL, 0, 0);
    assert_int_equal(one.drains, 1);
    conn_puts(&one.c, "d");
    _turn();
    assert_int_equal(calls, 1);
    RUN_UNTIL(recv(peer, bytes, 5, MSG_PEEK | MSG_DONTWAIT) == 4);
    _expect_packet(peer, "abcd");
}

static void test_suspended_within_a_round(void **state)
{
    peer = _tcp(&one);
    conn_gather(&one.c, 1);
    conn_puts(&one.c, "a");
    conn_suspend(&one.c);
    conn_puts(&one.c, "b");
    conn_resume(&one.c, NULL, 0, 0);
    conn_puts(&one.c, "c");
    _turn();
    RUN_UNTIL(recv(peer, bytes, 4, MSG_PEEK | MSG_DONTWAIT) == 3);
    _expect_packet(peer, "abc");
    assert_int_equal(calls, 1);
    assert_int_equal(one.congestions, 0);
}

static void test_connecting(void **state)
{
    struct sockaddr_in sin;
    int listener = _listener(&sin);
    _begin_connect(&one, &sin);
    conn_gather(&one.c, 1);
    conn_puts(&one.c, "hel");
    conn_puts(&one.c, "lo");
    assert_int_equal(conn_backlog(&one.c), 5);
    assert_int_equal(conn_gathered(&one.c), 0);
    peer = accept(listener, NULL, NULL);
    RUN_UNTIL(one.drains);
    assert_int_equal(one.connects, 1);
    conn_puts(&one.c, " again");
    assert_int_equal(conn_gathered(&one.c), 6);
    _turn();
    RUN_UNTIL(recv(peer, bytes, 12, MSG_PEEK | MSG_DONTWAIT) == 11);
    _expect_packet(peer, "hello again");
    close(listener);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATHER_TEST(test_close),
        GATHER_TEST(test_discard),
        GATHER_TEST(test_finish),
        GATHER_TEST(test_linger),
        GATHER_TEST(test_finish_of_more_than_the_socket_takes),
        GATHER_TEST(test_write_failure),
        GATHER_TEST(test_suspended),
        GATHER_TEST(test_suspended_within_a_round),
        GATHER_TEST(test_connecting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
