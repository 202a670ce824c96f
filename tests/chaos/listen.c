#include "listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void _on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct listening *l = arg;
    int one = 1, c;
    while ((c = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        l->accepted(l->arg, c);
    }
}

void listening_init(struct listening *l, void (*accepted)(void *arg, int fd), void *arg)
{
    l->port = chaos_port();
    l->fd = -1;
    l->accepted = accepted;
    l->arg = arg;
}

void listening_open(struct listening *l)
{
    int one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(l->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    l->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (l->fd < 0 || bind(l->fd, (struct sockaddr *)&a, sizeof(a)) || listen(l->fd, 1024)) {
        fprintf(stderr, "can not listen on port %u: %s\n", l->port, strerror(errno));
        exit(1);
    }
    event_assign(&l->ev, chaos.base, l->fd, EV_READ | EV_PERSIST, _on_accept, l);
    event_add(&l->ev, NULL);
}

void listening_close(struct listening *l)
{
    if (l->fd < 0)
        return;
    event_del(&l->ev);
    close(l->fd);
    l->fd = -1;
}
