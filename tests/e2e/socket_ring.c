/*
 * IORING_OP_SEND and IORING_OP_RECV, one at a time, on one ring per process.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "socket_app.h"

#define ENTRIES 4

struct ring {
    int fd;
    uint32_t *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
    struct io_uring_sqe *sqes;
    struct io_uring_cqe *cqes;
};

static struct ring _ring = {.fd = -1};
static pid_t _owner; /* A child makes a ring of its own. */

static char *_map(size_t size, off_t what)
{
    void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, _ring.fd, what);

    if (at == MAP_FAILED)
        socket_app_fail("mmap of a ring");
    return at;
}

static void _set_up(void)
{
    struct io_uring_params params;
    char *sq, *cq;

    if (_ring.fd >= 0 && _owner == getpid())
        return;
    memset(&params, 0, sizeof(params));
    _ring.fd = (int)syscall(__NR_io_uring_setup, ENTRIES, &params);
    if (_ring.fd < 0) {
        fprintf(stderr, "io_uring_setup: %s\n", strerror(errno));
        exit(SOCKET_APP_SKIP);
    }
    _owner = getpid();
    sq = _map(params.sq_off.array + params.sq_entries * sizeof(uint32_t), IORING_OFF_SQ_RING);
    cq = _map(params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe), IORING_OFF_CQ_RING);
    _ring.sqes = (void *)_map(params.sq_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
    _ring.sq_tail = (void *)(sq + params.sq_off.tail);
    _ring.sq_mask = (void *)(sq + params.sq_off.ring_mask);
    _ring.sq_array = (void *)(sq + params.sq_off.array);
    _ring.cq_head = (void *)(cq + params.cq_off.head);
    _ring.cq_tail = (void *)(cq + params.cq_off.tail);
    _ring.cq_mask = (void *)(cq + params.cq_off.ring_mask);
    _ring.cqes = (void *)(cq + params.cq_off.cqes);
}

/* Submits one operation and waits for its result. */
static size_t _run(uint8_t opcode, int fd, void *data, size_t len)
{
    uint32_t tail, index, head;
    struct io_uring_sqe *sqe;
    int result;

    _set_up();
    tail = *_ring.sq_tail;
    index = tail & *_ring.sq_mask;
    sqe = &_ring.sqes[index];
    memset(sqe, 0, sizeof(*sqe));
    sqe->opcode = opcode;
    sqe->fd = fd;
    sqe->addr = (uintptr_t)data;
    sqe->len = (uint32_t)len;
    sqe->msg_flags = opcode == IORING_OP_SEND ? 0x4000 /* MSG_NOSIGNAL */ : 0;
    _ring.sq_array[index] = index;
    __atomic_store_n(_ring.sq_tail, tail + 1, __ATOMIC_RELEASE);
    while (syscall(__NR_io_uring_enter, _ring.fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
        if (errno != EINTR)
            socket_app_fail("io_uring_enter");
    head = *_ring.cq_head;
    if (head == __atomic_load_n(_ring.cq_tail, __ATOMIC_ACQUIRE))
        socket_app_fail("io_uring: no completion");
    result = _ring.cqes[head & *_ring.cq_mask].res;
    __atomic_store_n(_ring.cq_head, head + 1, __ATOMIC_RELEASE);
    if (result < 0) {
        errno = -result;
        socket_app_fail(opcode == IORING_OP_SEND ? "io_uring send" : "io_uring recv");
    }
    return (size_t)result;
}

void socket_app_ring_check(void)
{
    _set_up();
}

void socket_app_ring_write(struct socket_app_conn *c, const char *data, size_t len, size_t head)
{
    for (size_t at = 0; at < len;)
        at += _run(IORING_OP_SEND, c->fd, (void *)(uintptr_t)(data + at), len - at);
}

size_t socket_app_ring_read(struct socket_app_conn *c, char *buf, size_t size, bool exact)
{
    return _run(IORING_OP_RECV, c->fd, buf, size);
}
