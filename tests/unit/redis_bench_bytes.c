/* What goes over the test's ends of the connections. */
#include "redis_bench.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

size_t bench_push(int fd, const char *data, size_t len)
{
    size_t sent = 0;
    unsigned idle = 0;
    while (sent < len && idle < 40) {
        ssize_t n = send(fd, data + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        idle = n > 0 ? 0 : idle + 1;
        sent += n > 0 ? (size_t)n : 0;
        bench_turn();
        if (n <= 0)
            usleep(250);
    }
    return sent;
}

void bench_send_bytes(int fd, const char *data, size_t len)
{
    size_t sent = 0;
    while (sent < len) {
        ssize_t n = 0;
        BENCH_UNTIL((n = send(fd, data + sent, len - sent, MSG_NOSIGNAL | MSG_DONTWAIT)) > 0 ||
                    errno != EAGAIN);
        if (n < 0)
            fail_msg("send: %s", strerror(errno));
        sent += (size_t)n;
        bench_turn();
    }
}

void bench_send(int fd, const char *text)
{
    bench_send_bytes(fd, text, strlen(text));
}

/* The commands' bytes; the caller frees them. */
static char *_encode(const char *words, size_t *len)
{
    char *out = NULL, *copy = strdup(words), *rest = copy, *command;
    FILE *f = open_memstream(&out, len);
    while ((command = strsep(&rest, ";"))) {
        char *argv[64], *word;
        int argc = 0;
        while (*command == ' ')
            command++;
        while ((word = strsep(&command, " ")))
            argv[argc++] = word;
        fprintf(f, "*%d\r\n", argc);
        for (int i = 0; i < argc; i++)
            fprintf(f, "$%zu\r\n%s\r\n", strlen(argv[i]), argv[i]);
    }
    fclose(f);
    free(copy);
    return out;
}

void bench_say(int fd, const char *words)
{
    size_t len;
    char *text = _encode(words, &len);
    bench_send_bytes(fd, text, len);
    free(text);
}

void bench_expect_bytes(int fd, const char *data, size_t len)
{
    uint64_t late = conn_now() + 5000 * MS;
    char *got = malloc(len + 1);
    size_t n = 0;
    ssize_t r = -1;
    while (n < len && r && conn_now() < late) {
        bench_turn();
        r = recv(fd, got + n, len - n, MSG_DONTWAIT);
        if (r > 0)
            n += (size_t)r;
        else if (r < 0 && errno != EAGAIN)
            break;
    }
    got[n] = 0;
    if (n != len || memcmp(got, data, len) != 0)
        print_error("expected %zu bytes:\n%.300s\ngot %zu bytes:\n%.300s\n", len, data, n, got);
    assert_int_equal(n, len);
    assert_memory_equal(got, data, len);
    free(got);
}

void bench_expect(int fd, const char *text)
{
    bench_expect_bytes(fd, text, strlen(text));
}

void bench_expect_said(int fd, const char *words)
{
    size_t len;
    char *text = _encode(words, &len);
    bench_expect_bytes(fd, text, len);
    free(text);
}

void bench_expect_shard_error(int fd, unsigned shard, const char *why)
{
    char line[256];
    snprintf(line, sizeof(line), "-ERR shard %s: %s\r\n", bench_address(shard), why);
    bench_expect(fd, line);
}

void bench_nothing(int fd)
{
    char byte[200];
    bench_settle();
    ssize_t n = recv(fd, byte, sizeof(byte), MSG_DONTWAIT | MSG_PEEK);
    if (n >= 0)
        fail_msg("expected nothing, got %zd bytes: %.*s", n, (int)n, byte);
    assert_int_equal(errno, EAGAIN);
}

void bench_expect_end(int fd)
{
    char bytes[200];
    ssize_t n = -1;
    errno = EAGAIN;
    BENCH_UNTIL((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) >= 0 || errno != EAGAIN);
    if (n > 0)
        fail_msg("expected the end, got: %.*s", (int)n, bytes);
    if (n < 0)
        assert_int_equal(errno, ECONNRESET);
}

size_t bench_swallow(int fd, size_t len)
{
    static char bytes[65536];
    uint64_t late = conn_now() + 5000 * MS;
    size_t got = 0;
    while (got < len && conn_now() < late) {
        ssize_t n = recv(fd, bytes, len - got < sizeof(bytes) ? len - got : sizeof(bytes), MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        got += n > 0 ? (size_t)n : 0;
        bench_turn();
    }
    return got;
}
