/*
 * Hazard: not every socket can be put into the map. What is refused leaves nothing behind and
 * stays usable.
 */
#include "kernel_helper.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool _has_event(int fd, short event)
{
    struct pollfd p = {.fd = fd, .events = event};
    return poll(&p, 1, 0) == 1 && (p.revents & event);
}

static void _check_nothing_left(struct bench *b, const struct wire *w)
{
    assert_false(bench_in_socks(b, w->slot));
    assert_false(bench_in_cookies(b, w->cookie));
}

static void test_close_wait(void **state)
{
    struct bench *b = *state;
    struct wire *w = bench_pair(b, false, 0, 0);
    shutdown(w->far, SHUT_WR);
    await(_has_event(w->near, POLLRDHUP));
    assert_int_equal(kernel_insert(b->k, w->slot, w->near), -EOPNOTSUPP);
    _check_nothing_left(b, w);
    send_text(w->near, "bye");
    expect_text(w->far, "bye");
}

static void test_fin_wait(void **state)
{
    struct bench *b = *state;
    struct wire *w = bench_pair(b, false, 0, 0);
    shutdown(w->near, SHUT_WR);
    expect_eof(w->far);
    assert_int_equal(kernel_insert(b->k, w->slot, w->near), -EOPNOTSUPP);
    _check_nothing_left(b, w);
    send_text(w->far, "still here");
    expect_text(w->near, "still here");
}

static void test_reset(void **state)
{
    struct bench *b = *state;
    struct wire *w = bench_pair(b, false, 0, 0);
    struct linger l = {.l_onoff = 1};
    setsockopt(w->far, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    close(w->far);
    w->far = -1;
    await(_has_event(w->near, POLLHUP));
    assert_int_equal(kernel_insert(b->k, w->slot, w->near), -EOPNOTSUPP);
    _check_nothing_left(b, w);
}

static void test_unconnected(void **state)
{
    struct bench *b = *state;
    struct wire *w = bench_pair(b, false, 0, 0);
    close(w->near);
    w->near = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    w->cookie = kernel_cookie(w->near);
    assert_int_equal(kernel_insert(b->k, w->slot, w->near), -EOPNOTSUPP);
    _check_nothing_left(b, w);
}

static void test_not_tcp(void **state)
{
    struct bench *b = *state;
    struct wire *w = bench_pair(b, false, 0, 0);
    close(w->near);
    w->near = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
    w->cookie = kernel_cookie(w->near);
    assert_true(kernel_insert(b->k, w->slot, w->near) < 0);
    _check_nothing_left(b, w);
}

static void test_not_a_socket(void **state)
{
    struct bench *b = *state;
    struct wire *w = bench_pair(b, false, 0, 0);
    close(w->near);
    w->near = dup(STDOUT_FILENO);
    w->cookie = kernel_cookie(w->near);
    assert_true(kernel_insert(b->k, w->slot, w->near) < 0);
    _check_nothing_left(b, w);
}

/* The kernel takes a listening socket. What it accepts must not inherit the programs. */
static void test_listening(void **state)
{
    struct bench *b = *state;
    struct wire *w = bench_pair(b, false, 0, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    close(w->near);
    close(w->far);
    w->far = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    w->near = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(w->near, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(w->near, 1), 0);
    assert_int_equal(getsockname(w->near, (struct sockaddr *)&a, &len), 0);
    w->cookie = kernel_cookie(w->near);
    int r = kernel_insert(b->k, w->slot, w->near);
    if (r)
        _check_nothing_left(b, w);
    assert_int_equal(connect(w->far, (struct sockaddr *)&a, len), 0);
    int child = accept4(w->near, NULL, NULL, SOCK_CLOEXEC);
    assert_true(child >= 0);
    send_text(w->far, PLAIN_REQUEST);
    expect_text(child, PLAIN_REQUEST);
    send_text(child, PLAIN_RESPONSE);
    expect_text(w->far, PLAIN_RESPONSE);
    close(child);
    bench_close(b, w);
    _check_nothing_left(b, w);
}

/* A slot that has a socket keeps it, and goes on working. */
static void test_slot_in_use(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b), *other = bench_pair(b, false, 0, 0);
    assert_int_equal(kernel_insert(b->k, down->slot, other->near), -EEXIST);
    assert_false(bench_in_cookies(b, other->cookie));
    assert_true(bench_in_cookies(b, down->cookie));
    assert_true(bench_in_socks(b, down->slot));
    bench_exchange(b, down, up);
    send_text(other->far, "native");
    expect_text(other->near, "native");
}

/* One pair of programs per socket: what another kernel path holds can not be taken. */
static void test_other_programs(void **state)
{
    struct bench *b = *state;
    char why[256];
    struct wire *up = bench_up(b), *down = bench_down(b);
    struct kpath *other = bench_open_kpath(why, sizeof(why));
    if (!other)
        fail_msg("second kernel path: %s", why);
    kernel_init_slot(other, 0, false);
    int r = kernel_insert(other, 0, down->near);
    uint32_t zero = 0, ref;
    uint64_t cookie = down->cookie, value;
    int in_cookies = bpf_map_lookup_elem(other->cookies_fd, &cookie, &ref);
    int in_socks = bpf_map_lookup_elem(other->socks_fd, &zero, &value);
    kernel_close(&other);
    assert_int_equal(r, -EBUSY);
    assert_int_not_equal(in_cookies, 0);
    assert_int_not_equal(in_socks, 0);
    bench_exchange(b, down, up);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_close_wait),  BENCH_TEST(test_fin_wait),    BENCH_TEST(test_reset),
        BENCH_TEST(test_unconnected), BENCH_TEST(test_not_tcp),     BENCH_TEST(test_not_a_socket),
        BENCH_TEST(test_listening),   BENCH_TEST(test_slot_in_use), BENCH_TEST(test_other_programs),
    };
    return BENCH_MAIN("insert_states", tests);
}
