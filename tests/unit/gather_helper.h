/*
 * For tests of gathered output: every system call that sends is counted. Linked with --wrap=sendmsg.
 */
#pragma once

#include "conn_helper.h"

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

static inline int _begin(void **state)
{
    calls = 0;
    return _setup(state);
}

#define GATHER_TEST(name) cmocka_unit_test_setup_teardown(name, _begin, _teardown)

/* Two gathering connections whose peers see the borders of writes. */
static inline void _two_packets(void)
{
    peer = _packets(&one);
    peer_two = _packets(&two);
    conn_gather(&one.c, 1);
    conn_gather(&two.c, 1);
}

static inline void _expect_pattern(int fd, size_t from, size_t len)
{
    assert_int_equal(_receive(fd), len);
    for (size_t i = 0; i < len; i++)
        assert_int_equal(bytes[i], _pattern(from + i));
}
