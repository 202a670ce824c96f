/*
 * Hazard: a client that has sent its request and its FIN still wants the response. A socket in
 * CLOSE_WAIT is a target like any other.
 */
#include "kernel_helper.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

static bool _has_fin(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLRDHUP};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLRDHUP);
}

static void test_fin_after_request(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    send_text(down->far, PLAIN_REQUEST);
    shutdown(down->far, SHUT_WR);
    expect_text(up->far, PLAIN_REQUEST);
    await(_has_fin(down->near));
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
    await(bench_is_idle(b, up));
    expect_eof(down->near);
}

static void test_fin_inside_response(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    static const char part[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc";
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    send_text(up->far, part);
    expect_text(down->far, part);
    shutdown(down->far, SHUT_WR);
    await(_has_fin(down->near));
    send_text(up->far, "def");
    expect_text(down->far, "def");
    await(bench_is_idle(b, up));
}

/* The server's FIN follows its response: both arrive, and the connection is not used again. */
static void test_fin_after_response(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    send_text(up->far, PLAIN_RESPONSE);
    shutdown(up->far, SHUT_WR);
    expect_text(down->far, PLAIN_RESPONSE);
    expect_eof(up->near);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_fin_after_request),
        BENCH_TEST(test_fin_inside_response),
        BENCH_TEST(test_fin_after_response),
    };
    return BENCH_MAIN("half_closed", tests);
}
