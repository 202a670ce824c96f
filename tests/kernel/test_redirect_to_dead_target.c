/*
 * Hazard: a redirect to an empty key or a dead socket silently drops bytes that were already
 * acknowledged. The verdict looks at its target first and passes the slice up instead.
 */
#include "kernel_helper.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define RACES 200

static void _reset(int *fd)
{
    struct linger l = {.l_onoff = 1};
    setsockopt(*fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    close(*fd);
    *fd = -1;
}

static bool _is_dead(int fd)
{
    struct pollfd p = {.fd = fd};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}

static void test_request_to_reset_upstream(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    _reset(&up->far);
    await(_is_dead(up->near));
    send_text(down->far, PLAIN_REQUEST);
    bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    assert_int_equal(bench_reason(b, FALLBACK_TARGET_GONE), 1);
    assert_int_equal(bench_slot(b, up)->redirected, 0);
    assert_int_equal(owner_lease(bench_owner(b, down)) | owner_lease(bench_owner(b, up)), 0);
}

/* Closed without the daemon's order: the slot still looks idle, the map has no socket. */
static void test_request_to_closed_upstream(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    int near = dup(up->far);
    close(up->near);
    up->near = near;
    await(!bench_in_socks(b, up->slot));
    send_text(down->far, PLAIN_REQUEST);
    bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    assert_int_equal(bench_reason(b, FALLBACK_TARGET_GONE), 1);
}

static void test_body_to_reset_upstream(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    static const char head[] = "POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 6\r\n\r\n";
    send_text(down->far, head);
    expect_text(up->far, head);
    send_text(down->far, "abc");
    expect_text(up->far, "abc");
    _reset(&up->far);
    await(_is_dead(up->near));
    send_text(down->far, "def");
    bench_expect_passed(b, down, "def", 3);
    assert_int_equal(bench_reason(b, FALLBACK_TARGET_GONE), 1);
    assert_int_equal(bench_slot(b, down)->remaining, 3);
    /* What a retry needs is still there. */
    assert_memory_equal(bench_slot(b, down)->window.bytes, head, strlen(head));
}

static void test_response_to_reset_downstream(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    _reset(&down->far);
    await(_is_dead(down->near));
    send_text(up->far, PLAIN_RESPONSE);
    bench_expect_passed(b, up, PLAIN_RESPONSE, strlen(PLAIN_RESPONSE));
    assert_int_equal(bench_reason(b, FALLBACK_TARGET_GONE), 1);
    assert_true(bench_owner(b, up) & OWNER_USER);
}

static void test_response_body_to_reset_downstream(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    static const char part[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc";
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    send_text(up->far, part);
    expect_text(down->far, part);
    _reset(&down->far);
    await(_is_dead(down->near));
    send_text(up->far, "def");
    bench_expect_passed(b, up, "def", 3);
    assert_int_equal(bench_reason(b, FALLBACK_TARGET_GONE), 1);
}

/* Closed as the daemon closes it, but with the other side left alone. */
static void test_response_to_closed_downstream(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    bench_close(b, down);
    send_text(up->far, PLAIN_RESPONSE);
    bench_expect_passed(b, up, PLAIN_RESPONSE, strlen(PLAIN_RESPONSE));
    assert_int_equal(bench_reason(b, FALLBACK_STALE_LEASE) + bench_reason(b, FALLBACK_TARGET_GONE), 1);
}

static void *_kill(void *arg)
{
    _reset(arg);
    return NULL;
}

/* The target dies while a request is on its way: it was redirected or passed, never neither. */
static void test_target_dies_during_redirect(void **state)
{
    struct bench *b = *state;
    struct wire *down = bench_down(b);
    uint64_t redirected = 0;
    for (int i = 0; i < RACES; i++) {
        struct wire *up = bench_up(b);
        struct slot *d = bench_slot(b, down), *u = bench_slot(b, up);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, _kill, &up->far), 0);
        send_text(down->far, PLAIN_REQUEST);
        pthread_join(thread, NULL);
        await(bench_load(&d->passed) + bench_load(&u->redirected) == strlen(PLAIN_REQUEST));
        redirected += u->redirected;
        if (d->passed)
            bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
        /* The daemon: both are taken, the lease ends, the dead one is closed. */
        bench_end_lease(b, down);
        bench_close(b, up);
        b->n_wires--;
        await(bench_give_back(b, down));
    }
    print_message("%llu of %d requests were redirected\n",
                  (unsigned long long)(redirected / strlen(PLAIN_REQUEST)), RACES);
    bench_exchange(b, down, bench_up(b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_request_to_reset_upstream),
        BENCH_TEST(test_request_to_closed_upstream),
        BENCH_TEST(test_body_to_reset_upstream),
        BENCH_TEST(test_response_to_reset_downstream),
        BENCH_TEST(test_response_body_to_reset_downstream),
        BENCH_TEST(test_response_to_closed_downstream),
        BENCH_TEST(test_target_dies_during_redirect),
    };
    return BENCH_MAIN("redirect_to_dead_target", tests);
}
