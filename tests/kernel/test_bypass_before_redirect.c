/*
 * Hazard: between a program's end and the kernel's hold of the target that it has redirected to nothing shows
 * that bytes are on their way there (net/core/skmsg.c, sk_psock_msg_verdict()). Mostly that is some
 * nanoseconds; here a sender is stopped in between, while another CPU looks.
 */
#include "bypass_helper.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "after_msg.h"
#include "after_msg.skel.h"
#include "bypass.skel.h"

#define HEAD_ABC "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc"
#define POST_ABC "POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 6\r\n\r\nabc"
#define LOOKS    2000

/* The programs of sockets that are registered while a sender is to be stopped ---------------- */

static struct after_msg_bpf *_skel;

static void _attach(struct bench *b, const struct bpf_program *prog)
{
    int apps = bpf_map__fd(b->k->bypass->maps.apps);
    assert_int_equal(bpf_prog_attach(bpf_program__fd(prog), apps, BPF_SK_MSG_VERDICT, 0), 0);
}

/* For sockets that are registered from now on. */
static struct after_plan *_stop_after(struct bench *b)
{
    struct bpf_program *prog;
    struct bpf_map *map;
    _skel = after_msg_bpf__open();
    assert_non_null(_skel);
    _skel->rodata->workers = 1;
    bpf_object__for_each_program(prog, _skel->obj)
        bpf_program__set_autoload(prog, prog == _skel->progs.after_msg);
    bpf_object__for_each_map(map, _skel->obj)
    {
        struct bpf_map *shared = bpf_object__find_map_by_name(b->k->bypass->obj, bpf_map__name(map));
        if (shared && !bpf_map__is_internal(map))
            assert_int_equal(bpf_map__reuse_fd(map, bpf_map__fd(shared)), 0);
    }
    assert_int_equal(after_msg_bpf__load(_skel), 0);
    _skel->bss->app_refs = b->k->bypass->bss->app_refs;
    _attach(b, _skel->progs.after_msg);
    return &_skel->bss->plan;
}

static void _stop_no_more(struct bench *b)
{
    _attach(b, b->k->bypass->progs.skein_msg);
    after_msg_bpf__destroy(_skel);
}

/* The sender ---------------------------------------------------------------------------- */

struct sender {
    pthread_t thread;
    struct after_plan *plan;
    cpu_set_t cpus;
    int fd;
    const char *text;
    ssize_t result;
};

static void *_send(void *arg)
{
    struct sender *s = arg;
    sched_setaffinity(0, sizeof(s->cpus), &s->cpus);
    __atomic_store_n(&s->plan->thread, (uint32_t)gettid(), __ATOMIC_RELEASE);
    s->result = send(s->fd, s->text, strlen(s->text), MSG_NOSIGNAL);
    return NULL;
}

/* Two CPUs: while it is stopped the sender gives its own to nobody. */
static bool _share_cpus(cpu_set_t *own, cpu_set_t *others)
{
    int cpu = 0;
    assert_int_equal(sched_getaffinity(0, sizeof(*others), others), 0);
    if (CPU_COUNT(others) < 2)
        return false;
    while (!CPU_ISSET(cpu, others))
        cpu++;
    CPU_CLR(cpu, others);
    CPU_ZERO(own);
    CPU_SET(cpu, own);
    return true;
}

/* Sends a text, and has the sender stopped behind its program. */
static void _stop_sender(struct sender *s, int fd, const char *text)
{
    cpu_set_t own;
    s->fd = fd;
    s->text = text;
    if (!_share_cpus(&own, &s->cpus)) {
        print_message("one CPU is not enough\n");
        skip();
    }
    assert_int_equal(sched_setaffinity(0, sizeof(own), &own), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, _send, s), 0);
    await(__atomic_load_n(&s->plan->stopped, __ATOMIC_ACQUIRE));
}

static void _let_go(struct bench *b, struct sender *s)
{
    cpu_set_t all;
    __atomic_store_n(&s->plan->thread, 0, __ATOMIC_RELEASE);
    pthread_join(s->thread, NULL);
    memset(&all, 0xff, sizeof(all));
    sched_setaffinity(0, sizeof(all), &all);
    _stop_no_more(b);
    assert_int_equal(s->result, strlen(s->text));
}

/* Tests --------------------------------------------------------------------------------- */

static void _check_settled(struct bench *b, struct wire *from, struct wire *to, struct sender *s,
                           const char *first, const char *rest)
{
    bool settled = false;
    send_text(from->far, first);
    expect_text(to->far, first);
    _stop_sender(s, from->far, rest);
    for (int i = 0; i < LOOKS; i++)
        settled |= bypass_settled(b, to);
    bool there = bypass_readable(to->far) != 0;
    _let_go(b, s);
    assert_false(there);
    assert_false(settled);
    await(bypass_settled(b, to));
    expect_text(to->far, rest);
}

static void test_response(void **state)
{
    struct bench *b = *state;
    struct sender s = {.plan = _stop_after(b)};
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    bypass_ask(b, down, up);
    _check_settled(b, up, down, &s, HEAD_ABC, "def");
}

static void test_request(void **state)
{
    struct bench *b = *state;
    struct sender s = {.plan = _stop_after(b)};
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    _check_settled(b, down, up, &s, POST_ABC, "def");
}

/* A client that asks again before it has got the end of a response: the second response, from another server,
 * would overtake it. */
static void test_pipelined(void **state)
{
    struct bench *b = *state;
    struct sender s = {.plan = _stop_after(b)};
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    bypass_ask(b, down, up);
    send_text(up->far, HEAD_ABC);
    _stop_sender(&s, up->far, "def");
    struct wire *other = bypass_up(b);
    send_text(down->far, PLAIN_REQUEST);
    bool redirected = !bench_passed(b, down);
    _let_go(b, &s);
    assert_false(redirected);
    expect_silence(other->far);
    expect_text(down->near, PLAIN_REQUEST);
    expect_text(down->far, HEAD_ABC "def");
}

static void *_answer(void *arg)
{
    struct wire *up = arg;
    send_text(up->far, PLAIN_RESPONSE);
    return NULL;
}

/* A server that answers before it has the end of the request is not lent to the next client until it has. The
 * answer itself waits for the lock of the client, who is in his send(). */
static void test_early_answer(void **state)
{
    struct bench *b = *state;
    struct sender s = {.plan = _stop_after(b)};
    struct wire *up = bypass_up(b), *down = bypass_down(b), *next = bypass_down(b);
    pthread_t server;
    send_text(down->far, POST_ABC);
    expect_text(up->far, POST_ABC);
    _stop_sender(&s, down->far, "def");
    assert_int_equal(pthread_create(&server, NULL, _answer, up), 0);
    bool idle = eventually(bench_is_idle(b, up));
    send_text(next->far, PLAIN_REQUEST);
    bool redirected = !bench_passed(b, next), there = bypass_readable(up->far) != 0;
    _let_go(b, &s);
    pthread_join(server, NULL);
    assert_true(idle);
    assert_false(redirected);
    assert_false(there);
    expect_text(next->near, PLAIN_REQUEST);
    expect_text(up->far, "def");
    expect_silence(up->far);
    expect_text(down->far, PLAIN_RESPONSE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_response),
        BENCH_TEST(test_request),
        BENCH_TEST(test_pipelined),
        BENCH_TEST(test_early_answer),
    };
    return BYPASS_MAIN("bypass_before_redirect", tests);
}
