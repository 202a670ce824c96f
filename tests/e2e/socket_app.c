/*
 * An application that uses its sockets in one way, as client or as server of skein.
 *
 *   socket_app server PORT WRITE READ            serves until it is killed, a process per connection
 *   socket_app client PORT WRITE READ PREFIX END exchanges messages under /PREFIX/, then ends
 *   socket_app ring                              whether there is io_uring
 *
 * Each message has a checksum of its body in X-Sum, and a response the one of the request's body, as the
 * server read it, in X-Got. A request's X-Want says how large the response's body shall be, and its X-End
 * how the server ends: `none`, or in the middle of the request (`kill-request`) or of the response
 * (`kill`, `reset`, `close`).
 * The client's END: `none`; `batch`, which sends all requests at once; `half`, which half-closes behind its
 * last request; `reset-request`, `reset-response`, `kill-request` and `kill-response`, after a warm-up.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "socket_app.h"

#define HEAD_MAX       8192
#define BODY_MAX       (2u << 20)
#define WARM_UPS       4
#define CLIENT_SECONDS 12

struct peer {
    struct socket_app_conn conn;
    socket_app_write write;
    socket_app_read read;
    char head[HEAD_MAX + 1]; /* The head that was read; behind it what has come already. */
    size_t filled, head_len;
};

static const struct {
    size_t send, want;
} _sizes[] = {{0, 0},     {0, 100},   {100, 0},       {3000, 3000}, {1, 300},     {0, 20000},
              {20000, 5}, {900, 900}, {70000, 70000}, {0, 1 << 20}, {1 << 20, 10}};

#define EXCHANGES (sizeof(_sizes) / sizeof(_sizes[0]))

static char _out[HEAD_MAX + BODY_MAX], _in[BODY_MAX], _batch[4 * BODY_MAX];
static const char *_doing = "starts";

_Noreturn void socket_app_fail(const char *what)
{
    fprintf(stderr, "%s: %s (%s)\n", _doing, what, errno ? strerror(errno) : "unexpected");
    exit(1);
}

static void _on_alarm(int number)
{
    static const char text[] = "hangs: ";

    if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0 || write(STDERR_FILENO, _doing, strlen(_doing)) < 0)
        _exit(3);
    _exit(2);
}

static uint32_t _sum(const char *data, size_t len)
{
    uint32_t sum = 2166136261u; /* FNV-1a */

    for (size_t i = 0; i < len; i++)
        sum = (sum ^ (uint8_t)data[i]) * 16777619u;
    return sum;
}

static void _fill(char *data, size_t len, uint32_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (char)(seed >> 24);
    }
}

/* The number behind a field's name, or fails. */
static size_t _field(const struct peer *p, const char *name, int base)
{
    const char *at = strcasestr(p->head, name);

    if (!at)
        socket_app_fail(name);
    return strtoul(at + strlen(name), NULL, base);
}

/* Reads a head; false at an end before it. */
static bool _read_head(struct peer *p)
{
    for (;;) {
        char *end = memmem(p->head, p->filled, "\r\n\r\n", 4);
        size_t n;

        if (end) {
            p->head_len = (size_t)(end - p->head) + 4;
            return true;
        }
        if (p->filled == HEAD_MAX)
            socket_app_fail("a head without an end");
        n = p->read(&p->conn, p->head + p->filled, HEAD_MAX - p->filled, false);
        if (!n && p->filled)
            socket_app_fail("the end inside a head");
        if (!n)
            return false;
        p->filled += n;
    }
}

/* Reads a body into _in, or `limit` bytes of it; keeps what is behind it. */
static void _read_body(struct peer *p, size_t len, size_t limit)
{
    size_t behind = p->filled - p->head_len, got = behind < len ? behind : len;

    if (len > sizeof(_in))
        socket_app_fail("a body that is too large");
    memcpy(_in, p->head + p->head_len, got);
    while (got < limit) {
        size_t n = p->read(&p->conn, _in + got, len - got, true);

        if (!n)
            socket_app_fail("the end inside a body");
        got += n;
    }
    behind = behind > len ? behind - len : 0;
    memmove(p->head, p->head + p->filled - behind, behind);
    p->filled = behind;
}

static void _reset(struct peer *p)
{
    struct linger linger = {.l_onoff = 1};

    setsockopt(p->conn.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    close(p->conn.fd);
    exit(0);
}

static void _open(struct peer *p, int fd, const char *write_way, const char *read_way)
{
    int on = 1;

    memset(p, 0, sizeof(*p));
    p->conn.fd = fd;
    p->conn.epoll = -1;
    p->write = socket_app_find_write(write_way);
    p->read = socket_app_find_read(read_way);
    if (!p->write || !p->read)
        socket_app_fail("no such way");
    if (pipe(p->conn.pipe))
        socket_app_fail("pipe");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* The server */

static void _end_response(struct peer *p, const char *end, size_t len)
{
    if (!strncmp(end, "none", 4))
        return;
    p->write(&p->conn, _out, len / 2, len / 2);
    if (!strncmp(end, "kill", 4))
        raise(SIGKILL);
    if (!strncmp(end, "reset", 5))
        _reset(p);
    exit(0);
}

static void _serve(struct peer *p)
{
    while (_doing = "reads a request", _read_head(p)) {
        size_t want = _field(p, "\nX-Want: ", 10), len = _field(p, "\nContent-Length: ", 10), head;
        uint32_t sum = (uint32_t)_field(p, "\nX-Sum: ", 16), got;
        const char *at = strcasestr(p->head, "\nX-End: ");
        char end[16];

        snprintf(end, sizeof(end), "%.15s", at ? at + 8 : "none");
        if (!strncmp(end, "kill-request", 12))
            raise(SIGKILL);
        _read_body(p, len, len);
        got = _sum(_in, len);
        if (got != sum)
            fprintf(stderr, "a request of %zu bytes arrived wrong\n", len);
        if (want > BODY_MAX)
            socket_app_fail("X-Want");
        _doing = "writes a response";
        _fill(_in, want, sum + (uint32_t)want);
        head = (size_t)snprintf(_out, HEAD_MAX,
                                "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nX-Got: %08x\r\n"
                                "X-Sum: %08x\r\nContent-Length: %zu\r\n\r\n",
                                got, _sum(_in, want), want);
        memcpy(_out + head, _in, want);
        _end_response(p, end, head + want);
        p->write(&p->conn, _out, head + want, head);
    }
}

static void _serve_forever(uint16_t port, const char *write_way, const char *read_way)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    static struct peer p;

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 128))
        socket_app_fail("listen");
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        if (fd < 0)
            socket_app_fail("accept");
        if (!fork()) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(listener);
            _open(&p, fd, write_way, read_way);
            _serve(&p);
            exit(0);
        }
        close(fd);
    }
}

/* The client */

/* Makes request `number` in _out; returns its length. */
static size_t _make_request(const char *prefix, unsigned number, size_t send, size_t want, size_t *head)
{
    _fill(_in, send, number * 7919 + (uint32_t)getpid());
    *head = (size_t)snprintf(_out, HEAD_MAX,
                             "POST /%s/%u HTTP/1.1\r\nHost: h\r\nX-Want: %zu\r\nX-Sum: %08x\r\n"
                             "X-End: none\r\nContent-Length: %zu\r\n\r\n",
                             prefix, number, want, _sum(_in, send), send);
    memcpy(_out + *head, _in, send);
    return *head + send;
}

static void _read_response(struct peer *p, uint32_t sent_sum, size_t want)
{
    uint32_t sum, got;

    _doing = "reads a response";
    if (!_read_head(p))
        socket_app_fail("the end instead of a response");
    if (strncmp(p->head, "HTTP/1.1 200 ", 13)) {
        p->head[p->head_len] = '\0';
        socket_app_fail(p->head);
    }
    sum = (uint32_t)_field(p, "\nX-Sum: ", 16);
    got = (uint32_t)_field(p, "\nX-Got: ", 16);
    if (_field(p, "\nContent-Length: ", 10) != want)
        socket_app_fail("a response of a wrong length");
    _read_body(p, want, want);
    errno = 0;
    if (got != sent_sum)
        socket_app_fail("the request arrived wrong");
    if (_sum(_in, want) != sum)
        socket_app_fail("the response arrived wrong");
}

static uint32_t _out_sum(size_t head, size_t len)
{
    return _sum(_out + head, len - head);
}

static void _exchange(struct peer *p, const char *prefix, unsigned number, size_t send, size_t want,
                      bool last)
{
    size_t head, len = _make_request(prefix, number, send, want, &head);

    _doing = "writes a request";
    p->write(&p->conn, _out, len, head);
    if (last)
        shutdown(p->conn.fd, SHUT_WR);
    _read_response(p, _out_sum(head, len), want);
}

static void _exchange_batch(struct peer *p, const char *prefix)
{
    uint32_t sums[EXCHANGES];
    size_t at = 0;

    /* Without the large ones: whoever writes all before it reads must not be sent more than fits. */
    for (unsigned i = 0; i < EXCHANGES - 2; i++) {
        size_t head, len = _make_request(prefix, i, _sizes[i].send, _sizes[i].want, &head);

        sums[i] = _out_sum(head, len);
        memcpy(_batch + at, _out, len);
        at += len;
    }
    _doing = "writes many requests";
    p->write(&p->conn, _batch, at, at);
    for (unsigned i = 0; i < EXCHANGES - 2; i++)
        _read_response(p, sums[i], _sizes[i].want);
}

/* Ends in the middle of a request or of a response of 300000 bytes. */
static void _break_off(struct peer *p, const char *prefix, const char *end)
{
    bool in_request = strstr(end, "-request") != NULL;
    size_t head,
        len = _make_request(prefix, WARM_UPS, in_request ? 300000 : 0, in_request ? 0 : 300000, &head);

    p->write(&p->conn, _out, in_request ? len / 2 : len, head);
    if (!in_request) {
        if (!_read_head(p))
            socket_app_fail("the end instead of a response");
        _read_body(p, 300000, 150000);
    }
    if (!strncmp(end, "kill", 4))
        raise(SIGKILL);
    _reset(p);
}

static void _run_client(uint16_t port, char **args)
{
    const char *prefix = args[2], *end = args[3];
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    unsigned count = EXCHANGES;
    static struct peer p;

    signal(SIGALRM, _on_alarm);
    alarm(CLIENT_SECONDS);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)))
        socket_app_fail("connect");
    _open(&p, fd, args[0], args[1]);
    for (unsigned i = 0; i < WARM_UPS; i++)
        _exchange(&p, prefix, i, i, i, false);
    if (strstr(end, "-re"))
        _break_off(&p, prefix, end);
    if (!strcmp(end, "batch"))
        for (unsigned i = 0; i < 5; i++)
            _exchange_batch(&p, prefix);
    else
        for (unsigned i = 0; i < count; i++)
            _exchange(&p, prefix, i, _sizes[i].send, _sizes[i].want, i == count - 1 && !strcmp(end, "half"));
    _doing = "waits for the end";
    if (!strcmp(end, "half") && (p.filled || p.read(&p.conn, _in, 1, false)))
        socket_app_fail("bytes behind the last response");
    puts("done");
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "ring"))
        socket_app_ring_check();
    else if (argc == 5 && !strcmp(argv[1], "server"))
        _serve_forever((uint16_t)atoi(argv[2]), argv[3], argv[4]);
    else if (argc == 7 && !strcmp(argv[1], "client"))
        _run_client((uint16_t)atoi(argv[2]), argv + 3);
    else
        return 64;
    return 0;
}
