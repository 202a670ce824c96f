/* In a file of its own: linux/tcp.h, whose struct tcp_info is complete, and netinet/tcp.h
 * exclude each other. */
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

#include "kernel_internal.h"

/* From include/net/tcp_states.h, where userspace can not see it. */
#define STATE_CLOSE 7

static bool _info(int fd, struct tcp_info *ti)
{
    socklen_t len = sizeof(*ti);
    memset(ti, 0, sizeof(*ti));
    return !getsockopt(fd, IPPROTO_TCP, TCP_INFO, ti, &len);
}

bool tcp_alive(int fd)
{
    struct tcp_info ti;
    return _info(fd, &ti) && ti.tcpi_state != STATE_CLOSE;
}

uint64_t tcp_written(int fd)
{
    struct tcp_info ti;
    if (!_info(fd, &ti))
        return 0;
    return ti.tcpi_bytes_sent - ti.tcpi_bytes_retrans + ti.tcpi_notsent_bytes;
}
