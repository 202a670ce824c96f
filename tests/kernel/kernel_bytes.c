/* The part of the helper that is about bytes in sockets, and waiting for them. */
#include "kernel_helper.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define WAIT_MS ((int)(BENCH_WAIT_NS / 1000000))

/* Time -------------------------------------------------------------------------------- */

uint64_t bench_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000ULL + (uint64_t)t.tv_nsec;
}

unsigned bench_slow(void)
{
    const char *factor = getenv("SKEIN_SLOW");
    int n = factor ? atoi(factor) : 1;
    return n > 1 ? (unsigned)n : 1;
}

void bench_pause(void)
{
    struct timespec t = {.tv_nsec = 50000};
    ppoll(NULL, 0, &t, NULL);
}

/* Bytes ------------------------------------------------------------------------------- */

void send_bytes(int fd, const void *data, size_t len)
{
    const char *p = data;
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};
    while (len) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN) {
            assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
            continue;
        }
        assert_true(n > 0);
        p += n;
        len -= (size_t)n;
    }
}

void send_text(int fd, const char *text)
{
    send_bytes(fd, text, strlen(text));
}

int socket_error(int fd)
{
    int err = 0;
    socklen_t len = sizeof(err);
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len);
    return err;
}

/* One recv() when there is something. @return As recv(); -1 with ETIMEDOUT. */
static ssize_t _recv_some(int fd, void *buf, size_t len)
{
    uint64_t end = bench_now() + BENCH_WAIT_NS;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (bench_now() < end) {
        if (poll(&p, 1, WAIT_MS) != 1)
            break;
        ssize_t n = recv(fd, buf, len, MSG_DONTWAIT);
        if (n >= 0 || errno != EAGAIN)
            return n;
        bench_pause();
    }
    errno = ETIMEDOUT;
    return -1;
}

/* Reads until `len` bytes have come or one is not as expected. @return Whether all are there. */
static bool _read_all(int fd, const uint8_t *want, size_t len, const char *file, int line)
{
    uint8_t buf[65536];
    size_t at = 0;
    while (at < len) {
        size_t room = len - at < sizeof(buf) ? len - at : sizeof(buf);
        ssize_t n = _recv_some(fd, buf, room);
        if (n <= 0) {
            print_error("%s:%d: %zu of %zu bytes, then %s (error of the socket: %d)\n", file, line, at, len,
                        n ? strerror(errno) : "EOF", socket_error(fd));
            return false;
        }
        if (memcmp(want + at, buf, (size_t)n)) {
            print_error("%s:%d: other bytes after %zu of %zu: '%.*s'\n", file, line, at, len, (int)n, buf);
            return false;
        }
        at += (size_t)n;
    }
    return true;
}

void expect_bytes_at(int fd, const void *data, size_t len, const char *file, int line)
{
    if (!_read_all(fd, data, len, file, line))
        _fail(file, line);
}

struct carry {
    int fd;
    const uint8_t *data;
    size_t len, step;
    bool ok;
};

static void *_carry(void *arg)
{
    struct carry *c = arg;
    struct pollfd p = {.fd = c->fd, .events = POLLOUT};
    size_t end = 0, at = 0;
    while (at < c->len) {
        if (at == end) {
            size_t step = c->step ? c->step : 1 + (at * 2654435761U) % 16384;
            end = c->len - at < step ? c->len : at + step;
        }
        ssize_t n = send(c->fd, c->data + at, end - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && (errno != EAGAIN || poll(&p, 1, WAIT_MS) != 1))
            return NULL;
        at += n > 0 ? (size_t)n : 0;
    }
    c->ok = true;
    return NULL;
}

void carry_bytes_at(int from, int to, const void *data, size_t len, size_t step, const char *file, int line)
{
    struct carry c = {.fd = from, .data = data, .len = len, .step = step};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, _carry, &c), 0);
    bool good = _read_all(to, data, len, file, line);
    if (!good)
        shutdown(from, SHUT_RDWR);
    pthread_join(thread, NULL);
    if (!good || !c.ok)
        _fail(file, line);
}

void expect_eof_at(int fd, const char *file, int line)
{
    char buf[64];
    ssize_t n = _recv_some(fd, buf, sizeof(buf));
    if (n) {
        print_error("%s:%d: not the end: %zd (%s)\n", file, line, n, n < 0 ? strerror(errno) : "bytes");
        _fail(file, line);
    }
}

void expect_silence_at(int fd, const char *file, int line)
{
    char buf[64];
    ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
    if (n != -1 || errno != EAGAIN) {
        print_error("%s:%d: not silent: %zd '%.*s'\n", file, line, n, n > 0 ? (int)n : 0, buf);
        _fail(file, line);
    }
}

uint8_t pattern_byte(uint32_t stream, uint64_t at)
{
    uint64_t x = (at >> 3) * 0x9e3779b97f4a7c15ULL + stream * 0xbf58476d1ce4e5b9ULL;
    x ^= x >> 29;
    return (uint8_t)(x >> ((at & 7) * 8));
}

void pattern_fill(uint8_t *buf, size_t len, uint32_t stream, uint64_t at)
{
    for (size_t i = 0; i < len; i++)
        buf[i] = pattern_byte(stream, at + i);
}

size_t pattern_check(const uint8_t *buf, size_t len, uint32_t stream, uint64_t at)
{
    size_t i = 0;
    while (i < len && buf[i] == pattern_byte(stream, at + i))
        i++;
    return i;
}
