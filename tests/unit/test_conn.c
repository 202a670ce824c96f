/*
 * Buffered sockets on an event loop: input, deadlines, connecting.
 */
#include "conn_helper.h"

/* Input --------------------------------------------------------------------------------- */

static void test_kept_input_comes_again(void **state)
{
    peer = _packets(&one);
    one.step = 4;
    _offer("abcdef");
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
    _offer("abcdefgh");
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

/* Connecting ---------------------------------------------------------------------------- */

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
        TEST(test_kept_input_comes_again),
        TEST(test_pump_inside_of_input),
        TEST(test_not_reading),
        TEST(test_eof_once_and_last),
        TEST(test_close_inside_of_input),
        TEST(test_deadline),
        TEST(test_deadline_moves_on),
        TEST(test_deadline_moves_back),
        TEST(test_deadline_removed),
        TEST(test_deadline_at_random),
        TEST(test_output_waits_for_the_connect),
        TEST(test_connect_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
