/*
 * Hazard: a write() by userspace overtakes redirected bytes that are still queued. The daemon
 * writes only when TCP has taken all of them and the socket has left the map.
 */
#include "kernel_helper.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RUNS 200
#define BODY 30000

static uint8_t _body[BODY];

/* One exchange on the kernel path with a large response, as soon as it is redirected taken and
 * followed by a write of userspace. */
static void _response_then_write(struct bench *b, struct wire *down, struct wire *up, int i)
{
    char head[96], tail[32];
    struct slot *s = bench_slot(b, down);
    uint64_t before = bench_load(&s->redirected);
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    int n = snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BODY);
    snprintf(tail, sizeof(tail), "tail %d", i);
    send_bytes(up->far, head, (size_t)n);
    send_bytes(up->far, _body, BODY);
    /* Not a pause in between: the moment at which the last byte was redirected is the worst. */
    uint64_t end = bench_now() + BENCH_WAIT_NS;
    while (bench_load(&s->redirected) - before < (uint64_t)n + BODY && bench_now() < end)
        ;
    bench_end_lease(b, down);
    end = bench_now() + BENCH_WAIT_NS;
    while (!bench_leave(b, down) && bench_now() < end)
        ;
    send_text(down->near, tail);
    expect_bytes(down->far, head, (size_t)n);
    expect_bytes(down->far, _body, BODY);
    expect_text(down->far, tail);
}

static void test_downstream(void **state)
{
    struct bench *b = *state;
    struct wire *down = bench_down(b), *up = bench_up(b);
    pattern_fill(_body, BODY, 3, 0);
    bench_buffer(b, 1U << 30);
    for (int i = 0; i < RUNS; i++) {
        _response_then_write(b, down, up, i);
        await(bench_is_idle(b, up));
        await(bench_give_back(b, down));
    }
    assert_int_equal(bench_responses(b), RUNS);
}

/* The other direction: a request body begins on the kernel path and userspace writes its rest. */
static void test_upstream(void **state)
{
    struct bench *b = *state;
    pattern_fill(_body, BODY, 4, 0);
    bench_buffer(b, 1U << 30);
    struct wire *up = bench_up(b);
    for (int i = 0; i < RUNS; i++) {
        char head[96];
        struct wire *down = bench_down(b);
        int n = snprintf(head, sizeof(head), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n",
                         BODY + 4);
        uint64_t before = bench_load(&bench_slot(b, up)->redirected);
        send_bytes(down->far, head, (size_t)n);
        send_bytes(down->far, _body, BODY);
        uint64_t end = bench_now() + BENCH_WAIT_NS;
        while (bench_load(&bench_slot(b, up)->redirected) - before < (uint64_t)n + BODY && bench_now() < end)
            ;
        bench_end_lease(b, down);
        bench_take(b, up);
        await(bench_leave(b, up));
        send_text(up->near, "rest");
        expect_bytes(up->far, head, (size_t)n);
        expect_bytes(up->far, _body, BODY);
        expect_text(up->far, "rest");
        bench_close(b, down);
        close(down->far);
        down->far = -1;
        b->n_wires--;
        await(bench_give_back(b, up));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_downstream),
        BENCH_TEST(test_upstream),
    };
    return BENCH_MAIN("write_after_drain", tests);
}
