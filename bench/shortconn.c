/*
 * Load of short connections: each one connects, sends one request with
 * "Connection: close", reads to the end of the stream and is checked. wrk can not do
 * this: it reconnects only when a server makes it.
 *
 * Prints one JSON object: connections that were answered in full, errors, seconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

enum {
    SOURCES = 16,    /* Client addresses 127.0.1.1 and on: one has too few ports. */
    STALL_MS = 5000, /* Without any event: what is outstanding has failed. */
    RESPONSE_MAX = 4096,
};

struct client {
    int fd;
    bool sent;
    size_t len;
    char response[RESPONSE_MAX + 1];
};

static const char request[] = "GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";

static struct sockaddr_in target;
static size_t body_bytes;
static unsigned long to_start, answered, failed;

static bool client_start(struct client *client, int epoll)
{
    struct sockaddr_in source = {.sin_family = AF_INET};
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = client};
    int one = 1;

    source.sin_addr.s_addr = htonl(0x7f000101 + to_start % SOURCES);
    client->sent = false;
    client->len = 0;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (client->fd < 0)
        return false;
    setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (bind(client->fd, (struct sockaddr *)&source, sizeof(source)) == 0 &&
        (connect(client->fd, (struct sockaddr *)&target, sizeof(target)) == 0 || errno == EINPROGRESS) &&
        epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) == 0)
        return true;
    close(client->fd);
    client->fd = -1;
    return false;
}

/* The next connection in this place; those that can not even start count as failed. */
static void client_next(struct client *client, int epoll)
{
    client->fd = -1;
    while (to_start > 0 && client->fd < 0) {
        to_start--;
        if (!client_start(client, epoll))
            failed++;
    }
}

static bool response_complete(struct client *client)
{
    client->response[client->len] = '\0';
    const char *end = strstr(client->response, "\r\n\r\n");

    return end && strncmp(client->response, "HTTP/1.1 200", 12) == 0 &&
           client->len - (size_t)(end + 4 - client->response) == body_bytes;
}

/* Returns 1 when the connection was answered in full, 0 to go on, -1 when it failed. */
static int client_step(struct client *client, int epoll)
{
    if (!client->sent) {
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};

        if (send(client->fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)(sizeof(request) - 1))
            return -1;
        client->sent = true;
        return epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event) == 0 ? 0 : -1;
    }
    for (;;) {
        ssize_t n = recv(client->fd, client->response + client->len, RESPONSE_MAX - client->len, 0);

        if (n == 0)
            return response_complete(client) ? 1 : -1;
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        client->len += (size_t)n;
    }
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: shortconn PORT CONNECTIONS PARALLEL BODY_BYTES\n");
        return 2;
    }
    target.sin_family = AF_INET;
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    target.sin_port = htons((uint16_t)atoi(argv[1]));
    unsigned long total = strtoul(argv[2], NULL, 10);
    size_t parallel = strtoul(argv[3], NULL, 10);
    body_bytes = strtoul(argv[4], NULL, 10);
    to_start = total;

    int epoll = epoll_create1(0);
    struct client *clients = calloc(parallel, sizeof(*clients));
    if (epoll < 0 || !clients) {
        perror("shortconn");
        return 1;
    }

    double start = now();
    for (size_t i = 0; i < parallel; i++)
        client_next(&clients[i], epoll);
    while (answered + failed < total) {
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, 64, STALL_MS);

        if (n <= 0)
            break;
        for (int i = 0; i < n; i++) {
            struct client *client = events[i].data.ptr;
            int result = client_step(client, epoll);

            if (result == 0)
                continue;
            *(result > 0 ? &answered : &failed) += 1;
            close(client->fd);
            client_next(client, epoll);
        }
    }
    printf("{\"answered\": %lu, \"errors\": %lu, \"seconds\": %.3f}\n", answered, total - answered,
           now() - start);
    free(clients);
    return 0;
}
