/* What conn.c, conn_output.c and gather.c share. */
#pragma once

#include <stdbool.h>
#include <sys/uio.h>

struct conn;

/** Whether the socket may be written to now. */
bool conn_may_write(const struct conn *c);

/** Hands bytes to the socket, in one system call; what it does not take, or may not take now, is
 * queued. May call the owner back. */
void conn_write(struct conn *c, const struct iovec *iov, int n);

/** Sends the queue as far as the socket takes it. */
void conn_progress(struct conn *c);

/** Has the queue sent when the socket takes more. */
void conn_await_writable(struct conn *c);

/** All output of a finished connection has left. */
void conn_end(struct conn *c);
