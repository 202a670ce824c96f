#include "chaos.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FAILURES_SHOWN 5

/** How long a disturbance may go unnoticed by skein: a reset connection is found by what uses it. */
#define TROUBLE_MS 3000

struct chaos chaos;

uint64_t clock_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

struct history *history_new(void)
{
    struct history *h = calloc(1, sizeof(*h));
    if (!h)
        abort();
    h->refs = 1;
    return h;
}

struct history *history_ref(struct history *h)
{
    h->refs++;
    return h;
}

void history_unref(struct history **h)
{
    if (*h && !--(*h)->refs)
        free(*h);
    *h = NULL;
}

void history_add(struct history *h, const char *format, ...)
{
    if (!h)
        return;
    unsigned i = h->n++ % HISTORY_EVENTS;
    va_list ap;
    va_start(ap, format);
    vsnprintf(h->event[i].text, sizeof(h->event[i].text), format, ap);
    va_end(ap);
    h->event[i].ms = clock_ms() - chaos.started;
}

static void _print(const char *name, const struct history *h)
{
    fprintf(stderr, "  %s, %u events:\n", name, h->n);
    for (unsigned i = h->n > HISTORY_EVENTS ? h->n - HISTORY_EVENTS : 0; i < h->n; i++)
        fprintf(stderr, "    %8.3f s  %s\n", (double)h->event[i % HISTORY_EVENTS].ms / 1000,
                h->event[i % HISTORY_EVENTS].text);
}

void chaos_fail(const struct history *h, const char *format, ...)
{
    if (chaos.failures++ >= FAILURES_SHOWN)
        return;
    fprintf(stderr, "FAILED after %.3f s, seed %llu: ", (double)(clock_ms() - chaos.started) / 1000,
            (unsigned long long)chaos.opt.seed);
    va_list ap;
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    fputc('\n', stderr);
    if (h)
        _print("connection", h);
    _print("run", &chaos.history);
}

void chaos_trouble(const char *what)
{
    chaos.trouble = clock_ms();
    if (what)
        history_add(&chaos.history, "%s", what);
}

bool chaos_troubled(uint64_t ms)
{
    return chaos.down || chaos.trouble + TROUBLE_MS >= ms;
}

uint16_t chaos_port(void)
{
    static unsigned next;
    if (!next)
        next = (unsigned)getpid();
    for (unsigned tries = 0; tries < 10000; tries++) {
        uint16_t port = (uint16_t)(20000 + next++ % 12000);
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool free = fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof(a));
        if (fd >= 0)
            close(fd);
        if (free)
            return port;
    }
    fprintf(stderr, "no free port\n");
    exit(1);
}
