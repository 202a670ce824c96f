/*
 * Load at a fixed rate over long connections: what a request costs can then be compared, for every
 * contestant does the same work in the same time. (wrk drives as fast as it can; a faster proxy would
 * get more requests, and more CPU time.)
 *
 * Prints one JSON object: requests answered in full, errors, seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum {
    TICK_NS = 250000, /* Requests leave in small groups, as from clients that know nothing of each other. */
    STALL_MS = 5000,
    RESPONSE_MAX = 4096,
};

struct client {
    int fd;
    size_t len;
    struct client *next;
    char response[RESPONSE_MAX + 1];
};

static const char request[] = "GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

static struct client *idle;
static unsigned long issued, answered, failed;

static double now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int open_connection(const char *host, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || inet_pton(AF_INET, host, &a.sin_addr) != 1 || connect(fd, (struct sockaddr *)&a, sizeof(a)))
        return -1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static void send_request(struct client *c)
{
    if (send(c->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1)
        failed++;
    c->len = 0;
    issued++;
}

/* 1: the response is complete, 0: not yet, -1: it is none. */
static int receive(struct client *c, int flags)
{
    ssize_t n = recv(c->fd, c->response + c->len, RESPONSE_MAX - c->len, flags);
    if (n < 0 && errno == EAGAIN)
        return 0;
    if (n <= 0)
        return -1;
    c->len += (size_t)n;
    c->response[c->len] = '\0';
    char *end = strstr(c->response, "\r\n\r\n"), *field = strcasestr(c->response, "\r\ncontent-length:");
    if (!end)
        return c->len < RESPONSE_MAX ? 0 : -1;
    if (!field || strncmp(c->response, "HTTP/1.1 200", 12) != 0)
        return -1;
    size_t total = (size_t)(end + 4 - c->response) + strtoul(field + 17, NULL, 10);
    return c->len == total ? 1 : c->len < total ? 0 : -1;
}

static bool exchange(struct client *c)
{
    int r;
    send_request(c);
    do
        r = receive(c, 0);
    while (!r);
    return r > 0;
}

static void on_readable(struct client *c)
{
    int r = receive(c, MSG_DONTWAIT);
    if (r > 0) {
        answered++;
        c->next = idle;
        idle = c;
    } else if (r < 0) {
        failed++;
        close(c->fd);
    }
}

int main(int argc, char **argv)
{
    struct epoll_event events[64];
    if (argc != 6) {
        fprintf(stderr, "usage: fixedrate HOST PORT CONNECTIONS REQUESTS_PER_SECOND SECONDS\n");
        return 2;
    }
    int connections = atoi(argv[3]), epoll = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, 0);
    double rate = atof(argv[4]), seconds = atof(argv[5]);
    struct client *clients = calloc((size_t)connections, sizeof(*clients));
    struct itimerspec every = {.it_interval.tv_nsec = TICK_NS, .it_value.tv_nsec = TICK_NS};
    struct epoll_event tick = {.events = EPOLLIN, .data.ptr = NULL};
    if (!clients || epoll < 0 || timer < 0)
        return 2;
    for (int i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &clients[i]};
        clients[i].fd = open_connection(argv[1], atoi(argv[2]));
        /* The second request is what promotes a connection where that takes one. */
        if (clients[i].fd < 0 || !exchange(&clients[i]) || !exchange(&clients[i])) {
            fprintf(stderr, "fixedrate: no response: %s\n", strerror(errno));
            return 1;
        }
        epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].fd, &event);
        clients[i].next = idle;
        idle = &clients[i];
    }
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &tick);
    timerfd_settime(timer, 0, &every, NULL);
    issued = 0;
    double start = now(), elapsed = 0;
    while (elapsed < seconds || issued > answered + failed) {
        int n = epoll_wait(epoll, events, 64, STALL_MS);
        if (n == 0)
            break;
        elapsed = now() - start;
        for (int i = 0; i < n; i++) {
            uint64_t ticks;
            if (events[i].data.ptr)
                on_readable(events[i].data.ptr);
            else if (read(timer, &ticks, sizeof(ticks)) < 0)
                return 2;
        }
        while (idle && elapsed < seconds && (double)issued < elapsed * rate) {
            struct client *c = idle;
            idle = c->next;
            send_request(c);
        }
        if (elapsed > seconds + STALL_MS / 1000.0)
            break;
    }
    printf("{\"answered\": %lu, \"errors\": %lu, \"seconds\": %.3f}\n", answered,
           failed + (issued - answered - failed), now() - start);
    return 0;
}
