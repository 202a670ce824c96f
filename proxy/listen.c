#include "listen.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conn.h"

#define BACKLOG 4096

static int _bind(const struct conf_address *a, bool share)
{
    int one = 1;
    int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (share)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
    if (bind(fd, (const struct sockaddr *)&a->sa, a->len)) {
        int err = errno;
        close(fd);
        return -err;
    }
    return fd;
}

int listen_open(const struct conf_address *address, unsigned n, uint64_t buffer_limit, int *fds)
{
    int probe = _bind(address, false);
    if (probe < 0)
        return probe;
    /* Another listener may still appear between the two binds; then it asked for it. */
    close(probe);
    int opened[n];
    for (unsigned i = 0; i < n; i++) {
        opened[i] = _bind(address, true);
        if (opened[i] >= 0) {
            conn_bound_buffers(opened[i], buffer_limit);
            if (!listen(opened[i], BACKLOG))
                continue;
        }
        int err = opened[i] < 0 ? -opened[i] : errno;
        for (unsigned j = 0; j <= i; j++) {
            if (opened[j] >= 0)
                close(opened[j]);
        }
        return -err;
    }
    for (unsigned i = 0; i < n; i++)
        fds[i] = opened[i];
    return 0;
}
