/*
 * Buffered sockets on an event loop: while the kernel path owns them, or lets go.
 */
#include "conn_helper.h"

static void test_suspended(void **state)
{
    peer = _tcp(&one);
    conn_read(&one.c, true);
    conn_suspend(&one.c);
    _send(peer, "third");
    conn_puts(&one.c, "a");
    conn_puts(&one.c, "b");
    conn_flush(&worker);
    assert_int_equal(one.congestions, 1);
    conn_puts(&one.c, "c");
    conn_flush(&worker);
    _run_for(20 * MS);
    assert_int_equal(one.offers, 0);
    assert_int_equal(one.drains, 0);
    assert_int_equal(conn_backlog(&one.c), 3);
    _expect_nothing(peer);
    conn_resume(&one.c, "first second ", 13, 0);
    assert_int_equal(one.drains, 1);
    RUN_UNTIL(one.n_got == 18);
    assert_memory_equal(one.got, "first second third", 18);
    _expect_packet(peer, "abc");
    assert_int_equal(conn_backlog(&one.c), 0);
    assert_int_equal(one.congestions, 1);
}

static void test_suspended_with_a_backlog(void **state)
{
    bool end;
    peer = _tcp(&one);
    _put_pattern(&one.c, 0, 500000);
    conn_suspend(&one.c);
    uint64_t sent = one.c.sent;
    _put_pattern(&one.c, 500000, 300000);
    assert_int_equal(_drain_pattern(peer, 0, sent, &end), sent);
    _run_for(10 * MS); /* There is space again, but nobody may use it. */
    assert_int_equal(one.c.sent, sent);
    assert_int_equal(one.congestions, 1);
    conn_resume(&one.c, NULL, 0, 0);
    assert_int_equal(_drain_pattern(peer, sent, 800000, &end), 800000);
    RUN_UNTIL(one.drains);
}

static void test_finished_while_suspended(void **state)
{
    peer = _tcp(&one);
    conn_read(&one.c, true);
    conn_suspend(&one.c);
    conn_puts(&one.c, "bye");
    conn_finish(&one.c, false);
    _run_for(10 * MS);
    assert_false(one.c.dead);
    _expect_nothing(peer);
    conn_resume(&one.c, "nobody's", 8, 0);
    RUN_UNTIL(one.releases);
    _expect_packet(peer, "bye");
    assert_int_equal(_receive(peer), 0);
    assert_int_equal(one.offers, 0);
}

static void test_nothing_to_finish_while_suspended(void **state)
{
    peer = _tcp(&one);
    conn_suspend(&one.c);
    conn_finish(&one.c, false);
    assert_false(one.c.dead);
    conn_resume(&one.c, NULL, 0, 0);
    RUN_UNTIL(one.releases);
    assert_int_equal(_receive(peer), 0);
}

static void test_broken_while_suspended(void **state)
{
    peer = _tcp(&one);
    conn_suspend(&one.c);
    conn_resume(&one.c, NULL, 0, ECONNRESET);
    assert_int_equal(one.err, ECONNRESET);
    peer_two = _tcp(&two);
    conn_suspend(&two.c);
    conn_finish(&two.c, true);
    conn_resume(&two.c, NULL, 0, ECONNRESET);
    assert_true(two.c.dead);
    assert_int_equal(two.err, 0); /* The owner had let go of it. */
}

static void test_resumed_without_reading(void **state)
{
    peer = _tcp(&one);
    conn_suspend(&one.c);
    _send(peer, "def");
    conn_resume(&one.c, "abc", 3, 0);
    _run_for(5 * MS);
    assert_int_equal(one.offers, 0);
    assert_int_equal(conn_pending(&one.c), 3);
    conn_read(&one.c, true);
    assert_int_equal(one.n_got, 3);
    RUN_UNTIL(one.n_got == 6);
    assert_memory_equal(one.got, "abcdef", 6);
}

/* An event of a connection that the kernel path owns is kpath.c's first. */
static void test_kernel_path_is_woken(void **state)
{
    peer = _tcp(&one);
    one.c.kernel = true;
    conn_read(&one.c, true);
    _send(peer, "x");
    RUN_UNTIL(woken);
    assert_ptr_equal(woken, &one.c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_suspended),
        TEST(test_suspended_with_a_backlog),
        TEST(test_finished_while_suspended),
        TEST(test_nothing_to_finish_while_suspended),
        TEST(test_broken_while_suspended),
        TEST(test_resumed_without_reading),
        TEST(test_kernel_path_is_woken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
