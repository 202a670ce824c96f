/*
 * Hazard: a program that writes into a head writes into pages that may be somebody else's: a file's, or what
 * its sender will send again. Exactly the bytes that are to change do, in the message alone.
 */
#include "bypass_helper.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#define KEEP_ALIVE "\r\nKeep-Alive: timeout=5, max=99"
#define LONG_BODY  60000

static const char *const responses[] = {
    "HTTP/1.1 200 OK" KEEP_ALIVE "\r\nContent-Length: 5\r\n\r\nplain",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive" KEEP_ALIVE "\r\n\r\nplain",
    "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 8\r\n\r\nHTTP/1.0",
    "HTTP/1.0 200 OK\r\nConnection: Keep-Alive" KEEP_ALIVE "\r\nContent-Length: 5\r\n\r\nplain",
};

#define N (sizeof(responses) / sizeof(*responses))

/* The message as it is forwarded: the line blanked, the version 1.1. */
static void _edit(char *text)
{
    size_t len = strlen(KEEP_ALIVE);
    char *line = strstr(text, KEEP_ALIVE);
    if (line && !strncmp(line + len, "\r\n\r\n", 4)) {
        memset(line, ' ', len);
    } else if (line) {
        size_t name = (size_t)(strchr(line + len, ':') + 1 - (line + len));
        memmove(line, line + len, name);
        memset(line + name, ' ', len);
    }
    if (!strncmp(text, "HTTP/1.0", 8))
        text[7] = '1';
}

/* A message of `body` bytes more than the text says, as sent and as expected. */
struct message {
    char sent[70000];
    char expected[70000];
    size_t len;
};

static struct message *_message(const char *text)
{
    static struct message m;
    m.len = strlen(strcpy(m.sent, text));
    strcpy(m.expected, m.sent);
    _edit(m.expected);
    return &m;
}

static struct message *_long_message(uint32_t stream)
{
    struct message *m =
        _message("HTTP/1.0 200 OK\r\nConnection: keep-alive" KEEP_ALIVE "\r\nContent-Length: 60000\r\n\r\n");
    pattern_fill((uint8_t *)m->sent + m->len, LONG_BODY, stream, 0);
    memcpy(m->expected + m->len, m->sent + m->len, LONG_BODY);
    m->len += LONG_BODY;
    return m;
}

/* Ways to say it --------------------------------------------------------------------------- */

static void _by_send(int fd, const struct message *m)
{
    send_bytes(fd, m->sent, m->len);
}

/* Each byte of the first kilobyte apart. */
static void _by_writev(int fd, const struct message *m)
{
    struct iovec v[1024];
    int n = 0;
    for (size_t at = 0; at < m->len; n++) {
        size_t step = n < 1023 ? 1 : m->len - at;
        v[n] = (struct iovec){(char *)m->sent + at, step};
        at += step;
    }
    assert_int_equal(writev(fd, v, n), m->len);
}

static void _expect_file(int file, const struct message *m)
{
    char *now = malloc(m->len);
    assert_int_equal(pread(file, now, m->len, 0), m->len);
    assert_memory_equal(now, m->sent, m->len);
    free(now);
}

static int _file(const struct message *m)
{
    char name[] = "/tmp/skein-edit-XXXXXX";
    int file = mkostemp(name, O_CLOEXEC);
    assert_true(file >= 0);
    unlink(name);
    assert_int_equal(write(file, m->sent, m->len), m->len);
    return file;
}

static void _by_sendfile(int fd, const struct message *m)
{
    int file = _file(m);
    off_t at = 0;
    while (at < (off_t)m->len)
        assert_true(sendfile(fd, file, &at, m->len - (size_t)at) > 0);
    _expect_file(file, m);
    close(file);
}

/* Through a pipe: its pages are the file's. */
static void _by_splice(int fd, const struct message *m)
{
    int file = _file(m), pipes[2];
    loff_t at = 0;
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    while (at < (loff_t)m->len) {
        ssize_t n = splice(file, &at, pipes[1], NULL, m->len - (size_t)at, 0);
        assert_true(n > 0);
        while (n > 0) {
            ssize_t sent = splice(pipes[0], NULL, fd, NULL, (size_t)n, 0);
            assert_true(sent > 0);
            n -= sent;
        }
    }
    _expect_file(file, m);
    close(pipes[0]);
    close(pipes[1]);
    close(file);
}

static void (*const ways[])(int fd, const struct message *m) = {_by_send, _by_writev, _by_sendfile,
                                                                _by_splice};

#define WAYS (sizeof(ways) / sizeof(*ways))

/* Tests ------------------------------------------------------------------------------------ */

/* Also what is the same again and again, which the programs know then. */
static void test_responses(void **state)
{
    struct bench *b = *state;
    for (size_t way = 0; way < WAYS; way++) {
        struct wire *up = bypass_up(b), *down = bypass_down(b);
        for (size_t i = 0; i < 3 * N; i++) {
            const struct message *m = _message(responses[i / 3]);
            bypass_ask(b, down, up);
            ways[way](up->far, m);
            expect_bytes(down->far, m->expected, m->len);
            await(bench_is_idle(b, up));
        }
        assert_int_equal(bypass_responses(b), (way + 1) * 3 * N);
        bench_close(b, up);
    }
}

static void test_long_responses(void **state)
{
    struct bench *b = *state;
    bench_buffer(b, 1U << 30);
    for (size_t way = 0; way < WAYS; way++) {
        struct wire *up = bypass_up(b), *down = bypass_down(b);
        for (uint32_t i = 0; i < 5; i++) {
            const struct message *m = _long_message(i);
            bypass_ask(b, down, up);
            ways[way](up->far, m);
            expect_bytes(down->far, m->expected, m->len);
            await(bench_is_idle(b, up));
        }
        bench_close(b, up);
    }
}

static void test_requests(void **state)
{
    struct bench *b = *state;
    for (size_t way = 0; way < WAYS; way++) {
        struct wire *up = bypass_up(b), *down = bypass_down(b);
        for (int i = 0; i < 6; i++) {
            const struct message *m =
                _message(i % 2 ? "GET / HTTP/1.1" KEEP_ALIVE "\r\nHost: bench\r\n\r\n"
                               : "POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 5" KEEP_ALIVE
                                 "\r\nA: b\r\n\r\nplain");
            ways[way](down->far, m);
            expect_bytes(up->far, m->expected, m->len);
            send_text(up->far, PLAIN_RESPONSE);
            expect_text(down->far, PLAIN_RESPONSE);
        }
        bench_close(b, up);
    }
}

/* To a client on another host, and from a server there. */
static void test_remote(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_remote(b, false, 0, 0);
    for (size_t i = 0; i < WAYS * N; i++) {
        const struct message *m = _message(responses[i % N]);
        send_text(down->far, PLAIN_REQUEST);
        expect_text(up->far, PLAIN_REQUEST);
        ways[i / N](up->far, m);
        expect_bytes(down->far, m->expected, m->len);
        await(bench_is_idle(b, up));
    }
    bench_close(b, up);
    up = bypass_remote(b, true, 0, 0);
    down = bypass_down(b);
    for (size_t i = 0; i < N; i++) {
        const struct message *m = _message(responses[i]);
        send_text(down->far, PLAIN_REQUEST);
        expect_text(up->far, PLAIN_REQUEST);
        send_bytes(up->far, m->sent, m->len);
        expect_bytes(down->far, m->expected, m->len);
        await(bench_is_idle(b, up) && bypass_settled(b, down));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_responses),
        BENCH_TEST(test_long_responses),
        BENCH_TEST(test_requests),
        BENCH_TEST(test_remote),
    };
    return BYPASS_MAIN("bypass_edit", tests);
}
