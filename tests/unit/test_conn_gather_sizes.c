/*
 * Gathered output: pieces of all sizes, and peers that do not take them.
 */
#include "gather_helper.h"

/* Sizes --------------------------------------------------------------------------------- */

static void test_small_and_large_pieces(void **state)
{
    static const size_t pieces[] = {100, 60000, 10, 10000, 5, 70000, 80000, 1, 0, 2};
    size_t at = 0;
    _two_packets();
    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        _put_pattern(&one.c, at, pieces[i]);
        at += pieces[i];
    }
    assert_int_equal(calls, 3);
    assert_int_equal(conn_gathered(&one.c), 3);
    _turn();
    assert_int_equal(calls, 4);
    _expect_pattern(peer, 0, 70110);
    _expect_pattern(peer, 70110, 70005);
    _expect_pattern(peer, 140115, 80000);
    _expect_pattern(peer, 220115, 3);
    _expect_nothing(peer);
}

static void test_exactly_full(void **state)
{
    _two_packets();
    _put_pattern(&one.c, 0, 1);
    _put_pattern(&one.c, 1, GATHER_SIZE - 1);
    _put_pattern(&two.c, 0, GATHER_SIZE);
    assert_int_equal(calls, 0);
    assert_int_equal(conn_gathered(&one.c), GATHER_SIZE);
    assert_int_equal(conn_gathered(&two.c), GATHER_SIZE);
    _put_pattern(&one.c, GATHER_SIZE, 1);
    assert_int_equal(calls, 1);
    assert_int_equal(conn_gathered(&one.c), 0);
    _expect_pattern(peer, 0, GATHER_SIZE + 1);
    _turn();
    _expect_pattern(peer_two, 0, GATHER_SIZE);
    assert_int_equal(calls, 2);
}

/* A connection with many buffers: all of a round leaves with one call, in order. */
static void test_many_buffers(void **state)
{
    size_t put = 0, got;
    bool end;
    peer = _tcp(&one);
    conn_gather(&one.c, GATHER_MANY);
    while (put < 3 * GATHER_SIZE) {
        _put_pattern(&one.c, put, 10007);
        put += 10007;
    }
    _put_pattern(&one.c, put, 2 * GATHER_SIZE);
    put += 2 * GATHER_SIZE;
    assert_int_equal(calls, 0);
    assert_int_equal(conn_gathered(&one.c), put);
    assert_int_equal(worker.gathers.n_used, (put + GATHER_SIZE - 1) / GATHER_SIZE);
    _turn();
    assert_int_equal(calls, 1);
    assert_int_equal(conn_gathered(&one.c), 0);
    assert_int_equal(worker.gathers.n_used, 0);
    got = _drain_pattern(peer, 0, put, &end);
    assert_int_equal(got, put);
    RUN_UNTIL(!conn_backlog(&one.c));
    /* What is more than all of them hold leaves at once. */
    calls = 0;
    _put_pattern(&one.c, put, 1);
    _put_pattern(&one.c, put + 1, GATHER_MANY * GATHER_SIZE);
    put += 1 + GATHER_MANY * GATHER_SIZE;
    assert_int_equal(calls, 1);
    assert_int_equal(conn_gathered(&one.c), 0);
    assert_int_equal(_drain_pattern(peer, got, put, &end), put);
}

/* Bytes of random pieces over many rounds come once each and in order, also through a peer
 * that is slow. */
static void test_random_pieces(void **state)
{
    size_t put = 0, got = 0;
    bool end;
    peer = _tcp(&one);
    conn_gather(&one.c, 1);
    srand(1);
    while (put < 4 << 20) {
        for (int i = rand() % 20; i >= 0; i--) {
            size_t len = rand() % 8 ? (size_t)rand() % 300 : (size_t)rand() % 90000;
            _put_pattern(&one.c, put, len);
            put += len;
        }
        if (rand() % 3)
            got = _drain_pattern(peer, got, got + (put - got) / 2, &end);
        assert_true(got <= put);
    }
    assert_int_equal(_drain_pattern(peer, got, put, &end), put);
    RUN_UNTIL(!conn_backlog(&one.c));
    assert_int_equal(one.c.sent, put);
    assert_true(one.congestions > 0);
    assert_int_equal(one.drains, one.congestions);
    _expect_nothing(peer);
}

/* Back-pressure ------------------------------------------------------------------------- */

static void test_congestion(void **state)
{
    bool end;
    peer = _tcp(&one);
    conn_gather(&one.c, 1);
    size_t at = 0;
    while (!one.congestions) {
        assert_true(at < 64 << 20);
        _put_pattern(&one.c, at, 5000);
        at += 5000;
        _turn();
    }
    assert_true(conn_backlog(&one.c) > 0);
    assert_int_equal(one.c.sent + conn_backlog(&one.c), at);
    unsigned before = calls;
    _put_pattern(&one.c, at, 5000); /* Behind the queue, without a try. */
    at += 5000;
    assert_int_equal(conn_gathered(&one.c), 0);
    assert_int_equal(one.c.sent + conn_backlog(&one.c), at);
    _turn();
    assert_int_equal(calls, before);
    assert_int_equal(one.congestions, 1);
    assert_int_equal(one.drains, 0);
    assert_int_equal(_drain_pattern(peer, 0, at, &end), at);
    RUN_UNTIL(one.drains);
    assert_int_equal(one.drains, 1);
    assert_int_equal(one.c.sent, at);
    _put_pattern(&one.c, at, 1); /* Gathered again. */
    assert_int_equal(conn_gathered(&one.c), 1);
    _turn();
    _expect_pattern(peer, at, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GATHER_TEST(test_small_and_large_pieces),
        GATHER_TEST(test_exactly_full),
        GATHER_TEST(test_many_buffers),
        GATHER_TEST(test_random_pieces),
        GATHER_TEST(test_congestion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
