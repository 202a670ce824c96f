/*
 * How applications write to sockets and read from them.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "socket_app.h"

#define MIN(a, b)   ((a) < (b) ? (a) : (b))
#define MAX(a, b)   ((a) > (b) ? (a) : (b))
#define IOVECS      500
#define BYTES_FIRST 400 /**< So many single bytes at the beginning of a message and ... */
#define BYTES_LAST  50  /**< ... so many at its end. */
#define SMALL_READ  1000

static size_t _done(ssize_t n, const char *what)
{
    if (n < 0)
        socket_app_fail(what);
    return (size_t)n;
}

/* Writing */

static void _send_all(int fd, const char *data, size_t len, int flags)
{
    for (size_t at = 0; at < len;)
        at += _done(send(fd, data + at, len - at, flags | MSG_NOSIGNAL), "send");
}

static void _write_whole(struct socket_app_conn *c, const char *data, size_t len, size_t head)
{
    _send_all(c->fd, data, len, 0);
}

static void _write_vectors(struct socket_app_conn *c, const char *data, size_t len, size_t head)
{
    for (size_t at = 0; at < len;) {
        struct iovec vectors[IOVECS];
        size_t step = MAX((len - at + IOVECS - 1) / IOVECS, (size_t)1), next = at;
        int count = 0;

        for (; count < IOVECS && next < len; count++) {
            vectors[count].iov_base = (void *)(uintptr_t)(data + next);
            vectors[count].iov_len = MIN(step, len - next);
            next += vectors[count].iov_len;
        }
        at += _done(writev(c->fd, vectors, count), "writev");
    }
}

static void _write_bytes(struct socket_app_conn *c, const char *data, size_t len, size_t head)
{
    size_t first = MIN(len, (size_t)BYTES_FIRST), last = MIN(len - first, (size_t)BYTES_LAST);

    for (size_t at = 0; at < first; at++)
        _send_all(c->fd, data + at, 1, 0);
    _send_all(c->fd, data + first, len - first - last, 0);
    for (size_t at = len - last; at < len; at++)
        _send_all(c->fd, data + at, 1, 0);
}

/* The head in three sends, the last of which has the body's first half. */
static void _write_split(struct socket_app_conn *c, const char *data, size_t len, size_t head)
{
    size_t half = head + (len - head) / 2;

    _send_all(c->fd, data, head / 3, 0);
    _send_all(c->fd, data + head / 3, head / 3, 0);
    _send_all(c->fd, data + head / 3 * 2, half - head / 3 * 2, 0);
    _send_all(c->fd, data + half, len - half, 0);
}

static void _write_sendfile(struct socket_app_conn *c, const char *data, size_t len, size_t head)
{
    int file = memfd_create("body", MFD_CLOEXEC);

    for (size_t at = head; at < len;)
        at += _done(write(file, data + at, len - at), "write to a memfd");
    lseek(file, 0, SEEK_SET);
    _send_all(c->fd, data, head, len > head ? MSG_MORE : 0);
    for (size_t at = head; at < len;)
        at += _done(sendfile(c->fd, file, NULL, len - at), "sendfile");
    close(file);
}

static void _write_splice(struct socket_app_conn *c, const char *data, size_t len, size_t head)
{
    for (size_t at = 0; at < len;) {
        size_t filled = _done(write(c->pipe[1], data + at, MIN(len - at, (size_t)30000)), "write to a pipe");

        for (at += filled; filled;)
            filled -= _done(splice(c->pipe[0], NULL, c->fd, NULL, filled, SPLICE_F_MOVE), "splice out");
    }
}

/*
 * The data stays as it is until the answer has come, so that completions need not be waited for: a
 * socket that takes part in the bypass has none. Those that come are taken.
 */
static void _write_zerocopy(struct socket_app_conn *c, const char *data, size_t len, size_t head)
{
    char control[256];
    struct msghdr message = {.msg_control = control, .msg_controllen = sizeof(control)};
    int on = 1;

    if (setsockopt(c->fd, SOL_SOCKET, SO_ZEROCOPY, &on, sizeof(on)))
        socket_app_fail("SO_ZEROCOPY");
    _send_all(c->fd, data, len, MSG_ZEROCOPY);
    while (recvmsg(c->fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) >= 0)
        message.msg_controllen = sizeof(control);
}

static void _write_nonblocking(struct socket_app_conn *c, const char *data, size_t len, size_t head)
{
    for (size_t at = 0; at < len;) {
        struct pollfd poll_fd = {.fd = c->fd, .events = POLLOUT};
        ssize_t n = send(c->fd, data + at, len - at, MSG_DONTWAIT | MSG_NOSIGNAL);

        if (n >= 0)
            at += (size_t)n;
        else if (errno != EAGAIN || poll(&poll_fd, 1, -1) < 0)
            socket_app_fail("send without blocking");
    }
}

/* Reading */

/* A socket in a map that is woken up for something else than bytes, such as the acknowledgement of its FIN,
 * answers EAGAIN although it blocks (net/ipv4/tcp_bpf.c, tcp_bpf_recvmsg_parser()). Nothing is lost by asking
 * again. */
static ssize_t _recv(int fd, void *buf, size_t size, int flags)
{
    ssize_t n;

    do {
        n = recv(fd, buf, size, flags);
    } while (n < 0 && errno == EAGAIN);
    return n;
}

static size_t _read_plain(struct socket_app_conn *c, char *buf, size_t size, bool exact)
{
    return _done(_recv(c->fd, buf, size, 0), "recv");
}

static void _wait_readable(struct socket_app_conn *c)
{
    struct pollfd poll_fd = {.fd = c->fd, .events = POLLIN};

    if (poll(&poll_fd, 1, -1) < 0)
        socket_app_fail("poll");
}

static size_t _read_poll(struct socket_app_conn *c, char *buf, size_t size, bool exact)
{
    ssize_t n;

    do {
        _wait_readable(c);
        n = recv(c->fd, buf, MIN(size, (size_t)SMALL_READ), MSG_DONTWAIT);
    } while (n < 0 && errno == EAGAIN);
    return _done(n, "recv after poll");
}

static int _available(struct socket_app_conn *c)
{
    int available = -1;

    if (ioctl(c->fd, FIONREAD, &available))
        socket_app_fail("FIONREAD");
    return available;
}

/* Reads what FIONREAD says, and only that. */
static size_t _read_fionread(struct socket_app_conn *c, char *buf, size_t size, bool exact)
{
    size_t wanted, got = 0;
    char byte;

    for (;;) {
        _wait_readable(c);
        wanted = MIN((size_t)_available(c), size);
        if (wanted)
            break;
        if (recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
            return 0;
        if (_available(c) == 0 && recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) {
            errno = 0;
            socket_app_fail("FIONREAD says 0, and there are bytes");
        }
    }
    while (got < wanted) {
        size_t n = _done(recv(c->fd, buf + got, wanted - got, MSG_DONTWAIT), "recv of what FIONREAD said");

        if (!n)
            socket_app_fail("the end before what FIONREAD said");
        got += n;
    }
    return got;
}

static size_t _read_peek(struct socket_app_conn *c, char *buf, size_t size, bool exact)
{
    static char seen[65536];
    size_t peeked = _done(_recv(c->fd, seen, MIN(size, sizeof(seen)), MSG_PEEK), "MSG_PEEK");
    size_t n = _done(_recv(c->fd, buf, peeked, 0), "recv after MSG_PEEK");

    if (memcmp(seen, buf, n) || (peeked && !n))
        socket_app_fail("MSG_PEEK showed other bytes");
    return n;
}

/* Goes on where it got less, as after a signal. */
static size_t _read_waitall(struct socket_app_conn *c, char *buf, size_t size, bool exact)
{
    return _done(_recv(c->fd, buf, exact ? size : 1, MSG_WAITALL), "MSG_WAITALL");
}

static size_t _read_waitall_strict(struct socket_app_conn *c, char *buf, size_t size, bool exact)
{
    size_t n = _read_waitall(c, buf, size, exact);

    if (exact && n != size) {
        errno = 0;
        socket_app_fail("MSG_WAITALL ended early");
    }
    return n;
}

static void _wait_event(struct socket_app_conn *c, uint32_t how)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | how};

    if (c->epoll < 0) {
        c->epoll = epoll_create1(EPOLL_CLOEXEC);
        if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, c->fd, &event))
            socket_app_fail("EPOLL_CTL_ADD");
    }
    while (epoll_wait(c->epoll, &event, 1, -1) < 0)
        if (errno != EINTR)
            socket_app_fail("epoll_wait");
    c->ready = true;
    c->rdhup = event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
}

static size_t _read_level(struct socket_app_conn *c, char *buf, size_t size, bool exact)
{
    ssize_t n;

    do {
        _wait_event(c, 0);
        n = recv(c->fd, buf, MIN(size, (size_t)SMALL_READ), MSG_DONTWAIT);
    } while (n < 0 && errno == EAGAIN);
    return _done(n, "recv after epoll_wait");
}

/* An event, then reads until EAGAIN says that it is used up. */
static size_t _read_edge(struct socket_app_conn *c, char *buf, size_t size, bool exact)
{
    for (;;) {
        ssize_t n;

        if (!c->ready)
            _wait_event(c, EPOLLET);
        n = recv(c->fd, buf, size, MSG_DONTWAIT);
        if (n >= 0)
            return (size_t)n;
        if (errno != EAGAIN)
            socket_app_fail("recv after an edge");
        c->ready = false;
    }
}

/* An event is used up by a short read, or when FIONREAD says 0 behind a full one: as nginx does it. */
static size_t _read_edge_fionread(struct socket_app_conn *c, char *buf, size_t size, bool exact)
{
    ssize_t n;

    size = MIN(size, (size_t)SMALL_READ);
    do {
        if (!c->ready)
            _wait_event(c, EPOLLET);
        n = recv(c->fd, buf, size, MSG_DONTWAIT);
        c->ready = n == (ssize_t)size ? _available(c) > 0 || c->rdhup : c->rdhup && n > 0;
    } while (n < 0 && errno == EAGAIN);
    return _done(n, "recv after an edge");
}

static size_t _read_lowat(struct socket_app_conn *c, char *buf, size_t size, bool exact)
{
    int lowat = exact ? (int)MIN(size, (size_t)16384) : 1;

    if (setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &lowat, sizeof(lowat)))
        socket_app_fail("SO_RCVLOWAT");
    return _read_poll(c, buf, size, exact);
}

static size_t _read_splice(struct socket_app_conn *c, char *buf, size_t size, bool exact)
{
    size_t n =
        _done(splice(c->fd, NULL, c->pipe[1], NULL, MIN(size, (size_t)30000), SPLICE_F_MOVE), "splice in");

    for (size_t at = 0; at < n;)
        at += _done(read(c->pipe[0], buf + at, n - at), "read from a pipe");
    return n;
}

socket_app_write socket_app_find_write(const char *name)
{
    static const struct {
        const char *name;
        socket_app_write way;
    } ways[] = {
        {"whole", _write_whole},       {"vectors", _write_vectors},   {"bytes", _write_bytes},
        {"split", _write_split},       {"sendfile", _write_sendfile}, {"splice", _write_splice},
        {"zerocopy", _write_zerocopy}, {"poll", _write_nonblocking},  {"uring", socket_app_ring_write}};

    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        if (!strcmp(ways[i].name, name))
            return ways[i].way;
    return NULL;
}

socket_app_read socket_app_find_read(const char *name)
{
    static const struct {
        const char *name;
        socket_app_read way;
    } ways[] = {{"plain", _read_plain},       {"poll", _read_poll},
                {"fionread", _read_fionread}, {"peek", _read_peek},
                {"level", _read_level},       {"edge_fionread", _read_edge_fionread},
                {"edge", _read_edge},         {"lowat", _read_lowat},
                {"waitall", _read_waitall},   {"waitall_strict", _read_waitall_strict},
                {"splice", _read_splice},     {"uring", socket_app_ring_read}};

    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
        if (!strcmp(ways[i].name, name))
            return ways[i].way;
    return NULL;
}
