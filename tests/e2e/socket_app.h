/*
 * The parts of socket_app: ways to write to a socket and to read from it.
 */
#ifndef SOCKET_APP_H
#define SOCKET_APP_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/** Exit status of a run that needs what this kernel does not have. */
#define SOCKET_APP_SKIP 77

/** A connection and what its way of reading remembers. */
struct socket_app_conn {
    int fd;
    int epoll;
    int pipe[2];
    bool ready; /**< Edge-triggered: there may be more to read. */
    bool rdhup; /**< Edge-triggered: the peer's end has been announced. */
};

/** One way to write: all of `len` bytes, of which the first `head` are a message's head. */
typedef void (*socket_app_write)(struct socket_app_conn *c, const char *data, size_t len, size_t head);

/**
 * One way to read: at least a byte and at most `size`, or 0 at the end.
 *
 * @param exact that many bytes will come
 */
typedef size_t (*socket_app_read)(struct socket_app_conn *c, char *buf, size_t size, bool exact);

socket_app_write socket_app_find_write(const char *name);
socket_app_read socket_app_find_read(const char *name);

/** Prints what went wrong, with errno if it is set, and exits with 1. */
_Noreturn void socket_app_fail(const char *what);

/** io_uring, by the system calls alone. Exits with SOCKET_APP_SKIP where there is none. */
void socket_app_ring_check(void);
void socket_app_ring_write(struct socket_app_conn *c, const char *data, size_t len, size_t head);
size_t socket_app_ring_read(struct socket_app_conn *c, char *buf, size_t size, bool exact);

#endif
