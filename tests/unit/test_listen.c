/*
 * Sharing an address between workers, and finding it taken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "proxy/conn.h"
#include "proxy/listen.h"

static unsigned _bounded;

void conn_bound_buffers(int fd, uint64_t limit)
{
    assert_true(fd >= 0);
    assert_int_equal(limit, 4096);
    _bounded++;
}

static struct conf_address _address(sa_family_t family, uint16_t port)
{
    struct conf_address a = {.len = family == AF_INET ? sizeof(struct sockaddr_in)
                                                      : sizeof(struct sockaddr_in6)};
    if (family == AF_INET)
        *(struct sockaddr_in *)&a.sa =
            (struct sockaddr_in){AF_INET, htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    else
        *(struct sockaddr_in6 *)&a.sa =
            (struct sockaddr_in6){AF_INET6, htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    return a;
}

static uint16_t _port_of(int fd)
{
    struct sockaddr_in sin = {0};
    socklen_t len = sizeof(sin);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    return ntohs(sin.sin_port);
}

/* Somebody else who listens on loopback. */
static int _other(bool share, uint16_t *port)
{
    struct conf_address a = _address(AF_INET, 0);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
    if (share)
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a.sa, a.len), 0);
    assert_int_equal(listen(fd, 1), 0);
    *port = _port_of(fd);
    return fd;
}

/* A port that nobody uses right now. */
static uint16_t _free_port(void)
{
    uint16_t port;
    close(_other(false, &port));
    return port;
}

static void _in_use(bool share)
{
    uint16_t port;
    int other = _other(share, &port);
    struct conf_address a = _address(AF_INET, port);
    for (unsigned n = 1; n <= 3; n++) {
        int fds[3] = {-7, -8, -9};
        assert_int_equal(listen_open(&a, n, 4096, fds), -EADDRINUSE);
        assert_int_equal(fds[0], -7);
        assert_int_equal(fds[1], -8);
        assert_int_equal(fds[2], -9);
    }
    close(other);
}

static void test_in_use(void **state)
{
    _in_use(false);
}

static void test_in_use_although_shared(void **state)
{
    _in_use(true);
}

static void test_other_failures(void **state)
{
    int fds[1] = {-7};
    struct conf_address a = _address(AF_INET, 0);
    ((struct sockaddr_in *)&a.sa)->sin_addr.s_addr = htonl(0xcb007101); /* 203.0.113.1: not ours */
    assert_int_equal(listen_open(&a, 1, 4096, fds), -EADDRNOTAVAIL);
    a.sa.ss_family = 250;
    assert_int_equal(listen_open(&a, 1, 4096, fds), -EAFNOSUPPORT);
    assert_int_equal(fds[0], -7);
}

/* No descriptor is left behind: the lowest free number stays the same. */
static void test_nothing_leaks_on_failure(void **state)
{
    uint16_t port;
    int fds[4], other = _other(true, &port);
    struct conf_address a = _address(AF_INET, port);
    int before = dup(other);
    close(before);
    assert_int_equal(listen_open(&a, 4, 4096, fds), -EADDRINUSE);
    int after = dup(other);
    close(after);
    assert_int_equal(before, after);
    close(other);
}

static void test_sockets_share_a_port(void **state)
{
    enum { N = 4, CLIENTS = 64 };
    int fds[N], clients[CLIENTS], more[1] = {-7};
    struct conf_address a = _address(AF_INET, _free_port());
    _bounded = 0;
    assert_int_equal(listen_open(&a, N, 4096, fds), 0);
    assert_int_equal(_bounded, N);
    for (int i = 0; i < N; i++) {
        assert_true(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
    }
    assert_int_equal(listen_open(&a, 1, 4096, more), -EADDRINUSE);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(clients[i], (struct sockaddr *)&a.sa, a.len), 0);
    }
    int accepted = 0, busy = 0;
    for (int i = 0; i < N; i++) {
        int before = accepted, fd;
        while ((fd = accept(fds[i], NULL, NULL)) >= 0) {
            close(fd);
            accepted++;
        }
        busy += accepted > before;
        close(fds[i]);
    }
    assert_int_equal(accepted, CLIENTS);
    assert_true(busy > 1);
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
}

/* After a restart, connections of the last run may still be in TIME_WAIT there. */
static void test_time_wait_does_not_matter(void **state)
{
    int fds[1];
    struct conf_address a = _address(AF_INET, _free_port());
    assert_int_equal(listen_open(&a, 1, 4096, fds), 0);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (struct sockaddr *)&a.sa, a.len), 0);
    int server = accept(fds[0], NULL, NULL);
    assert_true(server >= 0);
    close(server);
    close(client);
    close(fds[0]);
    assert_int_equal(listen_open(&a, 1, 4096, fds), 0);
    close(fds[0]);
}

static void test_ipv6(void **state)
{
    int fds[2], probe = socket(AF_INET6, SOCK_STREAM, 0);
    struct conf_address a = _address(AF_INET6, 0);
    if (probe < 0 || bind(probe, (struct sockaddr *)&a.sa, a.len)) {
        print_message("no IPv6 here\n");
        if (probe >= 0)
            close(probe);
        skip();
    }
    close(probe);
    a = _address(AF_INET6, _free_port());
    assert_int_equal(listen_open(&a, 2, 4096, fds), 0);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_use),
        cmocka_unit_test(test_in_use_although_shared),
        cmocka_unit_test(test_other_failures),
        cmocka_unit_test(test_nothing_leaks_on_failure),
        cmocka_unit_test(test_sockets_share_a_port),
        cmocka_unit_test(test_time_wait_does_not_matter),
        cmocka_unit_test(test_ipv6),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
