/*
 * Buffered sockets on an event loop.
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
    conn_read(&one.c, true);
    _send(peer, "?");
    RUN_UNTIL(one.offers);
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

/* Back-pressure --------------------------------------------------------------------------- */

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

/* Input --------------------------------------------------------------------------------- */

static void test_kept_input_comes_again(void **state)
{
    peer = _packets(&one);
    one.step = 4;
    conn_read(&one.c, true);
    _send(peer, "abcdef");
    RUN_UNTIL(one.offers == 1);
    assert_int_equal(one.n_got, 4);
    assert_int_equal(conn_pending(&one.c), 2);
    _turn();
    assert_int_equal(one.offers, 1); /* Not without more bytes. */
    _send(peer, "gh");
    RUN_UNTIL(one.offers == 2);
    assert_int_equal(one.last_offer, 4);
    assert_int_equal(conn_pending(&one.c), 0);
    assert_memory_equal(one.got, "abcdefgh", 8);
}

static void _pump_again(struct owner *o)
{
    o->take = 2;
    if (o->offers < 3)
        conn_pump(&o->c);
}

static void test_pump_inside_of_input(void **state)
{
    peer = _packets(&one);
    one.take = 2;
    one.on_input = _pump_again;
    conn_read(&one.c, true);
    _send(peer, "abcdefgh");
    RUN_UNTIL(one.offers);
    assert_int_equal(one.offers, 3);
    assert_int_equal(one.n_got, 6);
    assert_int_equal(conn_pending(&one.c), 2);
    one.on_input = NULL;
    conn_pump(&one.c);
    assert_memory_equal(one.got, "abcdefgh", 8);
}

static void _stop_reading(struct owner *o)
{
    conn_read(&o->c, false);
}

static void test_not_reading(void **state)
{
    peer = _packets(&one);
    one.take = 1;
    one.on_input = _stop_reading;
    conn_read(&one.c, true);
    _send(peer, "abc");
    _send(peer, "def");
    RUN_UNTIL(one.offers);
    _run_for(10 * MS);
    assert_int_equal(one.offers, 1);
    conn_pump(&one.c);
    assert_int_equal(one.offers, 1);
    one.take = SIZE_MAX;
    one.on_input = NULL;
    conn_read(&one.c, true);
    assert_int_equal(one.n_got, 3);
    RUN_UNTIL(one.n_got == 6);
    assert_memory_equal(one.got, "abcdef", 6);
}

static void test_eof_once_and_last(void **state)
{
    peer = _tcp(&one);
    one.take = 0;
    conn_read(&one.c, true);
    _send(peer, "abc");
    shutdown(peer, SHUT_WR);
    RUN_UNTIL(one.eofs);
    _run_for(10 * MS);
    assert_int_equal(one.eofs, 1);
    assert_int_equal(conn_pending(&one.c), 3);
    /* Half-closed: output still goes. */
    conn_puts(&one.c, "still");
    conn_flush(&worker);
    RUN_UNTIL(recv(peer, bytes, 5, MSG_PEEK | MSG_DONTWAIT) == 5);
    one.take = 3;
    conn_pump(&one.c);
    assert_int_equal(one.n_got, 3);
}

static void _close_now(struct owner *o)
{
    conn_puts(&o->c, "never sent");
    conn_close(&o->c, false);
    assert_int_equal(o->releases, 0);
}

static void test_close_inside_of_input(void **state)
{
    peer = _tcp(&one);
    one.on_input = _close_now;
    conn_read(&one.c, true);
    _send(peer, "abc");
    RUN_UNTIL(one.releases);
    assert_int_equal(one.offers, 1);
    assert_int_equal(one.releases, 1);
    assert_int_equal(_receive(peer), 0);
    conn_puts(&one.c, "x"); /* Harmless until it is released. */
    conn_close(&one.c, true);
    _turn();
    assert_int_equal(one.releases, 1);
}

/* Ends ---------------------------------------------------------------------------------- */

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
    conn_read(&one.c, true);
    _send(peer, "abc");
    RUN_UNTIL(one.offers == 1);
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

/* What a server sent before the failure may be a whole response: it is delivered, then the end
 * is told. */
static void test_write_failure_after_input(void **state)
{
    struct linger l = {.l_onoff = 1};
    peer = _tcp(&one);
    one.c.upstream = true;
    conn_read(&one.c, true);
    _send(peer, "abc");
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    close(peer);
    peer = -1;
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
    struct linger l = {.l_onoff = 1};
    peer = _tcp(&one);
    conn_read(&one.c, true);
    conn_read(&one.c, false);
    _send(peer, "abc");
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    close(peer);
    peer = -1;
    conn_puts(&one.c, "x");
    conn_flush(&worker);
    assert_true(one.c.write_failed);
    RUN_UNTIL(one.err);
    assert_int_equal(one.err, EPIPE);
    assert_int_equal((int)one.n_got, 0);
}

/* Deadlines ----------------------------------------------------------------------------- */

static void test_deadline(void **state)
{
    peer = _tcp(&one);
    uint64_t start = conn_now();
    conn_deadline(&one.c, 40 * MS);
    RUN_UNTIL(one.expiries);
    assert_in_range(one.expired_at - start, 40 * MS, 40 * MS + SLACK);
    _run_for(60 * MS);
    assert_int_equal(one.expiries, 1);
}

/* The timer of an earlier deadline is kept: it must not end the later one. */
static void test_deadline_moves_on(void **state)
{
    peer = _tcp(&one);
    uint64_t start = conn_now();
    for (int i = 0; i < 20; i++) {
        conn_deadline(&one.c, 40 * MS);
        _run_for(8 * MS);
    }
    assert_int_equal(one.expiries, 0);
    uint64_t last = conn_now();
    conn_deadline(&one.c, 40 * MS);
    RUN_UNTIL(one.expiries);
    assert_in_range(one.expired_at - last, 40 * MS, 40 * MS + SLACK);
    assert_true(one.expired_at - start > 190 * MS);
}

static void test_deadline_moves_back(void **state)
{
    peer = _tcp(&one);
    uint64_t start = conn_now();
    conn_deadline(&one.c, 60000 * MS);
    conn_deadline(&one.c, 40 * MS);
    RUN_UNTIL(one.expiries);
    assert_in_range(one.expired_at - start, 40 * MS, 40 * MS + SLACK);
}

static void test_deadline_removed(void **state)
{
    peer = _tcp(&one);
    conn_deadline(&one.c, 20 * MS);
    conn_deadline(&one.c, 0);
    _run_for(60 * MS);
    assert_int_equal(one.expiries, 0);
    /* Removed and set again, before and after the old timer has fired. */
    uint64_t start = conn_now();
    conn_deadline(&one.c, 40 * MS);
    conn_deadline(&one.c, 0);
    conn_deadline(&one.c, 20 * MS);
    RUN_UNTIL(one.expiries);
    assert_in_range(one.expired_at - start, 20 * MS, 20 * MS + SLACK);
    _run_for(60 * MS);
    assert_int_equal(one.expiries, 1);
}

/* Whatever the order of settings, the last one counts, and it is never late. */
static void test_deadline_at_random(void **state)
{
    peer = _tcp(&one);
    srand(1);
    for (int round = 0; round < 20; round++) {
        uint64_t ns = 0, set = 0;
        one.expiries = 0;
        if (round % 2)
            conn_deadline(&one.c, 10000 * MS);
        for (int i = 0; i < 6 && !one.expiries; i++) {
            ns = (uint64_t)(rand() % 30 + 1) * MS;
            set = conn_now();
            conn_deadline(&one.c, ns);
            if (rand() % 2)
                _run_for((uint64_t)(rand() % 12) * MS);
        }
        RUN_UNTIL(one.expiries);
        assert_in_range(one.expired_at - set, ns, ns + SLACK);
    }
}

/* While the kernel path lets go ----------------------------------------------------------- */

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

/* Connecting ---------------------------------------------------------------------------- */

static int _begin_connect(struct owner *o, const struct sockaddr_in *sin)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int r = connect(fd, (const struct sockaddr *)sin, sizeof(*sin));
    _init(o, fd);
    if (r && errno != EINPROGRESS)
        fail_msg("connect: %s", strerror(errno));
    conn_await_connect(&o->c);
    return fd;
}

static void test_output_waits_for_the_connect(void **state)
{
    struct sockaddr_in sin;
    int listener = _listener(&sin);
    _begin_connect(&one, &sin);
    conn_read(&one.c, true);
    conn_puts(&one.c, "hello");
    conn_flush(&worker);
    assert_int_equal(conn_backlog(&one.c), 5);
    peer = accept(listener, NULL, NULL);
    _expect_nothing(peer);
    _send(peer, "hi");
    RUN_UNTIL(one.n_got == 2);
    assert_int_equal(one.connects, 1);
    assert_int_equal(one.drains, 1);
    _expect_packet(peer, "hello");
    close(listener);
}

static void test_connect_refused(void **state)
{
    struct sockaddr_in sin;
    close(_listener(&sin));
    _begin_connect(&one, &sin);
    RUN_UNTIL(one.err);
    assert_int_equal(one.err, ECONNREFUSED);
    assert_int_equal(one.connects, 0);
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
        TEST(test_kept_input_comes_again),
        TEST(test_pump_inside_of_input),
        TEST(test_not_reading),
        TEST(test_eof_once_and_last),
        TEST(test_close_inside_of_input),
        TEST(test_reset),
        TEST(test_finish_sends_everything_first),
        TEST(test_finish_without_output),
        TEST(test_linger),
        TEST(test_linger_discards_what_was_kept),
        TEST(test_linger_after_eof),
        TEST(test_linger_is_bounded),
        TEST(test_finish_is_bounded),
        TEST(test_write_failure_after_input),
        TEST(test_write_failure_of_a_client),
        TEST(test_deadline),
        TEST(test_deadline_moves_on),
        TEST(test_deadline_moves_back),
        TEST(test_deadline_removed),
        TEST(test_deadline_at_random),
        TEST(test_suspended),
        TEST(test_suspended_with_a_backlog),
        TEST(test_finished_while_suspended),
        TEST(test_nothing_to_finish_while_suspended),
        TEST(test_broken_while_suspended),
        TEST(test_resumed_without_reading),
        TEST(test_kernel_path_is_woken),
        TEST(test_output_waits_for_the_connect),
        TEST(test_connect_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
