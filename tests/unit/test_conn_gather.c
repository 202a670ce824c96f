/*
 * Gathered output: what leaves with which system call, and when.
 */
#include "conn_helper.h"

/* Every sendmsg() of the code under test. */
#define CALLS_MAX 1024

static int called_fd[CALLS_MAX];
static unsigned calls;

ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
    assert_true(calls < CALLS_MAX);
    called_fd[calls++] = fd;
    return __real_sendmsg(fd, m, flags);
}

static int _begin(void **state)
{
    calls = 0;
    return _setup(state);
}

#define GATHER_TEST(name) cmocka_unit_test_setup_teardown(name, _begin, _teardown)

/* Two gathering connections whose peers see the borders of writes. */
static void _two_packets(void)
{
    peer = _packets(&one);
    peer_two = _packets(&two);
    conn_gather(&one.c, 1);
    conn_gather(&two.c, 1);
}

static void _expect_pattern(int fd, size_t from, size_t len)
{
    assert_int_equal(_receive(fd), len);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(bytes[i], _pattern(from + i));
}

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
    struct linger l = {.l_onoff = 1};
    peer = _tcp(&one);
    conn_gather(&one.c, 1);
    conn_puts(&one.c, "x");
    setsockopt(peer, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    close(peer);
    peer = -1;
    RUN_UNTIL(one.err);
    assert_int_equal(one.err, EPIPE);
    assert_true(one.c.write_failed);
    assert_int_equal(calls, 1);
    conn_puts(&one.c, "y"); /* Goes nowhere. */
    assert_int_equal(worker.gathers.n_used, 0);
}

/* While the socket may not be written to ------------------------------------------------- */

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
    int listener = _listener(&sin), fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    int r = connect(fd, (struct sockaddr *)&sin, sizeof(sin));
    assert_true(r == 0 || errno == EINPROGRESS);
    _init(&one, fd);
    conn_await_connect(&one.c);
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
        GATHER_TEST(test_one_write_per_round),
        GATHER_TEST(test_many_callbacks_one_write),
        GATHER_TEST(test_only_those_that_asked),
        GATHER_TEST(test_push),
        GATHER_TEST(test_small_and_large_pieces),
        GATHER_TEST(test_exactly_full),
        GATHER_TEST(test_many_buffers),
        GATHER_TEST(test_random_pieces),
        GATHER_TEST(test_congestion),
        GATHER_TEST(test_closed_by_a_callback_of_the_round),
        GATHER_TEST(test_put_by_a_callback_of_the_round),
        GATHER_TEST(test_closed_while_waiting_for_a_buffer),
        GATHER_TEST(test_more_connections_than_buffers),
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
