/*
 * Hazard: bytes that came before a socket was put into the map are not parsed until more come;
 * kernel_insert() kicks the parser. A FIN that came before makes the insert impossible, and
 * then everything stays readable.
 */
#include "kernel_helper.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define RACES 200

static bool _has_bytes(int fd, size_t len)
{
    int n = 0;
    return !ioctl(fd, FIONREAD, &n) && (size_t)n >= len;
}

static bool _has_fin(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLRDHUP);
}

static void test_bytes_before_insert(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b);
    for (int i = 0; i < 20; i++) {
        struct wire *down = bench_pair(b, false, 0, 0);
        send_text(down->far, PLAIN_REQUEST);
        await(_has_bytes(down->near, strlen(PLAIN_REQUEST)));
        bench_insert(b, down);
        expect_text(up->far, PLAIN_REQUEST);
        send_text(up->far, PLAIN_RESPONSE);
        expect_text(down->far, PLAIN_RESPONSE);
        await(bench_is_idle(b, up));
    }
    assert_int_equal(bench_requests(b), 20);
}

/* One that does not go on together with others. */
#define POST_REQUEST "POST /p HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n"

static void test_several_segments_before_insert(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_pair(b, false, 0, 0);
    for (int i = 0; i < 3; i++)
        send_text(down->far, POST_REQUEST);
    await(_has_bytes(down->near, 3 * strlen(POST_REQUEST)));
    bench_insert(b, down);
    expect_text(up->far, POST_REQUEST);
    bench_expect_passed(b, down, POST_REQUEST POST_REQUEST, 2 * strlen(POST_REQUEST));
}

static void test_partial_head_before_insert(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_pair(b, false, 0, 0);
    send_bytes(down->far, PLAIN_REQUEST, 9);
    await(_has_bytes(down->near, 9));
    bench_insert(b, down);
    bench_expect_held(b, down, PLAIN_REQUEST, 9);
    send_text(down->far, PLAIN_REQUEST + 9);
    expect_text(up->far, PLAIN_REQUEST);
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
}

static void test_refused_head_before_insert(void **state)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: bench\r\nTE: trailers\r\n\r\n";
    struct bench *b = *state;
    struct wire *down = bench_pair(b, false, 0, 0);
    bench_up(b);
    send_text(down->far, request);
    await(_has_bytes(down->near, strlen(request)));
    bench_insert(b, down);
    bench_expect_passed(b, down, request, strlen(request));
    assert_int_equal(bench_reason(b, HTTP1_HOP_FIELD), 1);
}

static void test_unsolicited_bytes_before_insert(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_pair(b, true, 0, 0);
    send_text(up->far, PLAIN_RESPONSE);
    await(_has_bytes(up->near, strlen(PLAIN_RESPONSE)));
    bench_insert(b, up);
    bench_expect_passed(b, up, PLAIN_RESPONSE, strlen(PLAIN_RESPONSE));
    assert_true(bench_owner(b, up) & OWNER_USER);
}

/* With a FIN in it the socket stays out of the map, and nothing of it is lost. */
static void _check_refused(struct bench *b, struct wire *w, const char *bytes)
{
    assert_int_equal(kernel_insert(b->k, w->slot, w->near), -EOPNOTSUPP);
    assert_false(bench_in_socks(b, w->slot));
    assert_false(bench_in_cookies(b, w->cookie));
    expect_text(w->near, bytes);
    expect_eof(w->near);
}

static void test_fin_before_insert(void **state)
{
    struct bench *b = *state;
    struct wire *w = bench_pair(b, false, 0, 0);
    shutdown(w->far, SHUT_WR);
    await(_has_fin(w->near));
    _check_refused(b, w, "");
}

static void test_bytes_and_fin_before_insert(void **state)
{
    struct bench *b = *state;
    struct wire *w = bench_pair(b, false, 0, 0);
    send_text(w->far, PLAIN_REQUEST);
    shutdown(w->far, SHUT_WR);
    await(_has_fin(w->near));
    _check_refused(b, w, PLAIN_REQUEST);
}

static void *_request_and_fin(void *arg)
{
    const struct wire *w = arg;
    ssize_t n = send(w->far, PLAIN_REQUEST, strlen(PLAIN_REQUEST), MSG_NOSIGNAL);
    shutdown(w->far, SHUT_WR);
    return n == (ssize_t)strlen(PLAIN_REQUEST) ? NULL : arg;
}

/* Bytes and FIN come while the socket is put into the map: all goes one way or the other. */
static void test_fin_during_insert(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b);
    for (int i = 0; i < RACES; i++) {
        struct wire *down = bench_pair(b, false, 0, 0);
        pthread_t thread;
        void *failed;
        assert_int_equal(pthread_create(&thread, NULL, _request_and_fin, down), 0);
        int r = kernel_insert(b->k, down->slot, down->near);
        pthread_join(thread, &failed);
        assert_null(failed);
        if (r) {
            assert_int_equal(r, -EOPNOTSUPP);
            expect_text(down->near, PLAIN_REQUEST);
        } else {
            expect_text(up->far, PLAIN_REQUEST);
            send_text(up->far, PLAIN_RESPONSE);
            expect_text(down->far, PLAIN_RESPONSE);
            await(bench_is_idle(b, up));
        }
        expect_eof(down->near);
        bench_close(b, down);
        expect_eof(down->far);
        close(down->far);
        b->n_wires--;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_bytes_before_insert),
        BENCH_TEST(test_several_segments_before_insert),
        BENCH_TEST(test_partial_head_before_insert),
        BENCH_TEST(test_refused_head_before_insert),
        BENCH_TEST(test_unsolicited_bytes_before_insert),
        BENCH_TEST(test_fin_before_insert),
        BENCH_TEST(test_bytes_and_fin_before_insert),
        BENCH_TEST(test_fin_during_insert),
    };
    return BENCH_MAIN("kick_after_insert", tests);
}
