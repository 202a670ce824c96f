/*
 * Hazard: a redirect past TCP takes its time (it waits for its reader's lock), and until it is done the bytes
 * are in no queue. Should the connection be taken for settled meanwhile, TCP's bytes overtake them. And what
 * only looks like a redirect under way, the references of a socket's timers, must not keep it busy for ever.
 */
#include "bypass_helper.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HEAD_ABC "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc"
#define LOOKS    2000

struct doer {
    pthread_t thread;
    int fd;
    const char *text;
    void *page;
    ssize_t result;
};

static void *_sender(void *arg)
{
    struct doer *d = arg;
    d->result = send(d->fd, d->text, strlen(d->text), MSG_NOSIGNAL);
    return NULL;
}

static void _start(struct doer *d, void *(*run)(void *))
{
    assert_int_equal(pthread_create(&d->thread, NULL, run, d), 0);
}

static void _never_settled(struct bench *b, struct wire *w)
{
    for (int i = 0; i < LOOKS; i++)
        assert_false(bypass_settled(b, w));
}

/* A reader that holds its socket's lock -------------------------------------------------- */

/* A page that is there only when somebody puts it there: who copies into it waits. */
static int _absent_page(void **page)
{
    struct uffdio_api api = {.api = UFFD_API};
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -1;
    *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register reg = {.range = {(uintptr_t)*page, size}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    assert_ptr_not_equal(*page, MAP_FAILED);
    assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
    assert_int_equal(ioctl(fd, UFFDIO_REGISTER, &reg), 0);
    return fd;
}

static void _await_fault(int fd)
{
    struct uffd_msg m;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&p, 1, (int)(BENCH_WAIT_NS / 1000000)), 1);
    assert_int_equal(read(fd, &m, sizeof(m)), sizeof(m));
    assert_int_equal(m.event, UFFD_EVENT_PAGEFAULT);
}

static void _put_page(int fd, void *page)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    struct uffdio_zeropage z = {.range = {(uintptr_t)page, size}};
    assert_int_equal(ioctl(fd, UFFDIO_ZEROPAGE, &z), 0);
}

static void *_reader(void *arg)
{
    struct doer *d = arg;
    d->result = recv(d->fd, d->page, strlen(d->text), 0);
    return NULL;
}

static void _hold_reader(void **state, struct wire *reads, struct wire *sends, const char *first,
                         const char *rest)
{
    struct bench *b = *state;
    struct doer r = {.fd = reads->far, .text = first}, s = {.fd = sends->far, .text = rest};
    int fd = _absent_page(&r.page);
    if (fd < 0) {
        print_message("no userfaultfd: %s\n", strerror(errno));
        skip();
    }
    send_text(sends->far, first);
    assert_true(bypass_settled(b, reads));
    uint64_t before = bench_load(&bench_slot(b, reads)->redirected);
    _start(&r, _reader);
    _await_fault(fd);
    _start(&s, _sender);
    await(bench_load(&bench_slot(b, reads)->redirected) == before + strlen(rest) &&
          !(bench_owner(b, sends) & OWNER_BUSY));
    _never_settled(b, reads);
    _put_page(fd, r.page);
    pthread_join(r.thread, NULL);
    pthread_join(s.thread, NULL);
    close(fd);
    assert_int_equal(s.result, strlen(rest));
    assert_int_equal(r.result, strlen(first));
    assert_memory_equal(r.page, first, strlen(first));
    await(bypass_settled(b, reads) && bypass_settled(b, sends));
    assert_int_equal(bypass_readable(reads->far), strlen(rest));
    expect_text(reads->far, rest);
    munmap(r.page, (size_t)sysconf(_SC_PAGESIZE));
}

static void test_client_reads(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    bypass_ask(b, down, up);
    _hold_reader(state, down, up, HEAD_ABC, "def");
}

static void test_server_reads(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    _hold_reader(state, up, down, "POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 6\r\n\r\nabc", "def");
}

/* Timers ---------------------------------------------------------------------------------- */

static void test_keepalive(void **state)
{
    struct bench *b = *state;
    int one = 1;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    setsockopt(down->far, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    setsockopt(up->far, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    for (int i = 0; i < 10; i++)
        bypass_exchange(b, down, up);
    await(bypass_settled(b, down) && bypass_settled(b, up));
}

/* The daemon does not read: the client's TCP probes its window, over and over. */
static void test_window_probes(void **state)
{
    struct bench *b = *state;
    struct wire *down = bypass_pair(b, false, &(struct bypass_place){.near_buf = 4096, .far_buf = 65536});
    static char much[16384];
    struct tcp_info info;
    socklen_t len = sizeof(info);
    assert_int_equal(bypass_tie(b, down), BYPASS_OK);
    memset(much, 'x', sizeof(much));
    while (send(down->far, much, sizeof(much), MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
        ;
    assert_int_equal(errno, EAGAIN);
    for (uint8_t probes = 0; probes < 3; probes = info.tcpi_backoff) {
        await(bypass_settled(b, down));
        assert_int_equal(getsockopt(down->far, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    }
}

/* What came by TCP is acknowledged late. */
static void test_delayed_acks(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    bench_take(b, down);
    for (int i = 0; i < 50; i++) {
        send_text(down->near, "one by TCP");
        await(bypass_settled(b, down));
        expect_text(down->far, "one by TCP");
        await(bypass_settled(b, down));
        send_text(up->near, "more");
        await(bypass_settled(b, up));
        expect_text(up->far, "more");
    }
}

/* A remote client's request that is there before its connection is given to the programs: who redirects it is
 * known, although the daemon has not said it yet. */
static void test_sender_of_the_first(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bench_pair(b, false, 0, 0);
    send_text(down->far, PLAIN_REQUEST);
    bench_insert(b, down);
    expect_text(up->far, PLAIN_REQUEST);
    assert_int_not_equal(bench_slot(b, up)->pusher, 0);
    assert_int_equal(bench_slot(b, up)->pusher, bench_slot(b, down)->sock);
    assert_int_equal(bench_slot(b, up)->pusher_cookie, down->cookie);
    assert_int_equal(kernel_inspect(b->k, down->slot), 0);
    assert_int_equal(bench_slot(b, up)->pusher, bench_slot(b, down)->sock);
}

/* What MSG_ZEROCOPY sends by TCP holds references as long as nobody reads it: left alone. */
static void test_zerocopy(void **state)
{
    bypass_left_alone(*state, SO_ZEROCOPY, 1, BYPASS_ZEROCOPY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_client_reads),  BENCH_TEST(test_server_reads),
        BENCH_TEST(test_keepalive),     BENCH_TEST(test_sender_of_the_first),
        BENCH_TEST(test_window_probes), BENCH_TEST(test_delayed_acks),
        BENCH_TEST(test_zerocopy),
    };
    return BYPASS_MAIN("bypass_quiet", tests);
}
