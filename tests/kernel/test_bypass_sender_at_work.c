/*
 * Hazard: the kernel takes a reference to a redirect's target only behind the program, which has already said
 * that the message is complete: on another CPU the next one could be redirected to the same application, and
 * overtake it. The sender's socket is locked until then, and that is looked at.
 *
 * A send() whose bytes are not in memory waits for them with its socket locked.
 */
#include "bypass_helper.h"
#include "skein/fallback.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define POST_HEAD "POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 6\r\n\r\n"

struct work {
    int faults, fd;
    void *page;
    pthread_t thread;
    ssize_t sent;
};

static void _say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static int _open_faults(void)
{
    struct uffdio_api api = {.api = UFFD_API};
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (fd >= 0 && !ioctl(fd, UFFDIO_API, &api))
        return fd;
    print_message("no userfaultfd: %s\n", strerror(errno));
    skip();
    return -1;
}

static void *_send(void *arg)
{
    struct work *w = arg;
    w->sent = send(w->fd, w->page, 1, MSG_NOSIGNAL);
    return NULL;
}

/* Begins a send() on a socket, which then waits inside. */
static void _begin_work(struct work *w, int fd)
{
    size_t len = (size_t)sysconf(_SC_PAGESIZE);
    *w = (struct work){.faults = _open_faults(), .fd = fd};
    w->page = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(w->page, MAP_FAILED);
    struct uffdio_register r = {.range = {(uintptr_t)w->page, len}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    assert_int_equal(ioctl(w->faults, UFFDIO_REGISTER, &r), 0);
    assert_int_equal(pthread_create(&w->thread, NULL, _send, w), 0);
    struct pollfd p = {.fd = w->faults, .events = POLLIN};
    assert_int_equal(poll(&p, 1, 5000), 1);
}

static void _end_work(struct work *w)
{
    size_t len = (size_t)sysconf(_SC_PAGESIZE);
    struct uffdio_zeropage z = {.range = {(uintptr_t)w->page, len}};
    assert_int_equal(ioctl(w->faults, UFFDIO_ZEROPAGE, &z), 0);
    pthread_join(w->thread, NULL);
    assert_int_equal(w->sent, 1);
    munmap(w->page, len);
    close(w->faults);
}

/* The server that answered last may still be on its way to the client. */
static void test_request_behind_a_response(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b), *other = bypass_down(b);
    struct work w;
    bypass_exchange(b, down, up);
    bypass_ask(b, other, up);
    bypass_up(b);
    _begin_work(&w, up->far);
    bool settled = bypass_settled(b, down);
    _say(down->far, PLAIN_REQUEST);
    _end_work(&w);
    assert_false(settled);
    expect_text(down->near, PLAIN_REQUEST);
    assert_int_equal(bench_reason(b, FALLBACK_PIPELINED), 1);
    assert_true(eventually(bypass_settled(b, down)));
}

/* A server that answers before it has the whole request is idle while its rest may be on its way. */
static void test_request_behind_a_body(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b), *other = bypass_down(b);
    struct work w;
    _say(down->far, POST_HEAD "abc");
    _say(down->far, "def");
    _say(up->far, PLAIN_RESPONSE);
    assert_true(bench_is_idle(b, up));
    expect_text(down->far, PLAIN_RESPONSE);
    _begin_work(&w, down->far);
    _say(other->far, PLAIN_REQUEST);
    _end_work(&w);
    expect_text(up->far, POST_HEAD "abcdef");
    expect_text(other->near, PLAIN_REQUEST);
    assert_int_equal(bench_reason(b, FALLBACK_TARGET_GONE), 1);
}

/* A request in one piece has come if it is answered, and what a client sends itself has an order. */
static void test_others_go_on(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b), *other = bypass_down(b);
    struct work w;
    _say(down->far, POST_HEAD "abc");
    _say(down->far, "def");
    expect_text(up->far, POST_HEAD "abcdef");
    _say(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
    bypass_exchange(b, down, up);
    _begin_work(&w, down->far);
    bypass_exchange(b, other, up);
    _end_work(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_request_behind_a_response),
        BENCH_TEST(test_request_behind_a_body),
        BENCH_TEST(test_others_go_on),
    };
    return BYPASS_MAIN("bypass_sender_at_work", tests);
}
