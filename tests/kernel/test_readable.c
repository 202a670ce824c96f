/*
 * Hazard: on some kernels FIONREAD answers 0 for a socket in a map, on others it counts the first
 * slice that was passed up and no more, and poll() and recv() go different ways. What was passed up
 * is announced by poll(), and recv() gives it all.
 */
#include "kernel_helper.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

static bool _polls_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

static int _inq(int fd)
{
    int n = -1;
    return ioctl(fd, FIONREAD, &n) ? -1 : n;
}

/* How many bytes a look at what was passed up finds. */
static ssize_t _peek(int fd)
{
    char buf[4096];
    return recv(fd, buf, sizeof(buf), MSG_PEEK | MSG_DONTWAIT);
}

/* A request that is passed because it is followed by another, while one is outstanding. */
static void test_passed_bytes(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    const int len = (int)strlen(PLAIN_REQUEST);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    assert_false(_polls_readable(down->near));
    assert_int_equal(_inq(down->near), 0);
    int counted = 0;
    for (int i = 1; i <= 10; i++) {
        send_text(down->far, PLAIN_REQUEST);
        await(_peek(down->near) == i * len);
        assert_true(_polls_readable(down->near));
        /* FIONREAD counts all slices or one, and always the same. */
        if (i == 2)
            counted = _inq(down->near) == len ? 1 : 2;
        assert_int_equal(_inq(down->near), counted == 1 ? len : i * len);
    }
    for (int i = 0; i < 10; i++)
        bench_expect_passed(b, down, PLAIN_REQUEST, (size_t)len);
    /* Looking does not consume: the socket can not leave the map otherwise. */
    assert_int_equal(_peek(down->near), 10 * len);
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
    await(bench_give_back(b, down));
    assert_false(_polls_readable(down->near));
    bench_exchange(b, down, up);
}

/* One wake-up by poll() for each passed segment, none for redirected ones. */
static void test_poll_wakes(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    struct pollfd p = {.fd = down->near, .events = POLLIN};
    for (int i = 0; i < 50; i++) {
        bench_exchange(b, down, up);
        await(bench_is_idle(b, up));
        assert_int_equal(poll(&p, 1, 0), 0);
    }
    send_text(down->far, "nonsense\r\n");
    assert_int_equal(poll(&p, 1, (int)(BENCH_WAIT_NS / 1000000)), 1);
    bench_expect_passed(b, down, "nonsense\r\n", 10);
}

/* Much more than the receive buffer, while nobody reads, then all of it. */
static void test_more_than_the_buffer(void **state)
{
    struct bench *b = *state;
    struct wire *down = bench_down(b);
    const size_t len = 256 << 10, piece = 512;
    uint8_t *all = malloc(len);
    size_t sent = 0;
    assert_non_null(all);
    pattern_fill(all, len, 1, 0);
    all[0] = '\n';
    uint64_t quiet = bench_now();
    while (sent < len && bench_now() - quiet < 200000000) {
        ssize_t n = send(down->far, all + sent, piece, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            sent += (size_t)n;
            quiet = bench_now();
        } else {
            bench_pause();
        }
    }
    bench_expect_passed(b, down, all, sent);
    free(all);
    expect_silence(down->near);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_passed_bytes),
        BENCH_TEST(test_poll_wakes),
        BENCH_TEST(test_more_than_the_buffer),
    };
    return BENCH_MAIN("readable", tests);
}
