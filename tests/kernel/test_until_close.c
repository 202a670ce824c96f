/*
 * Hazard: a response without framing lasts until its connection ends. All its bytes go on, and nothing but
 * the end completes it: the lease lasts until then, and the connection never serves another request.
 */
#include "kernel_helper.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

static void test_until_eof(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    carry_text(down->far, up->far, PLAIN_REQUEST);
    carry_text(up->far, down->far, HEAD "some");
    carry_text(up->far, down->far, " bytes and a response: " PLAIN_RESPONSE);
    assert_false(bench_is_idle(b, up));
    assert_int_equal(ref_index(owner_lease(bench_owner(b, down))), up->slot);
    shutdown(up->far, SHUT_WR);
    expect_eof(up->near);
    /* The end is the daemon's: it takes both sides, and nothing is left behind. */
    bench_end_lease(b, up);
    assert_true(bench_slot(b, up)->responding && bench_slot(b, up)->framing == HTTP1_FRAMED_CLOSE);
    await(bench_leave(b, up) && bench_leave(b, down));
    assert_int_equal(up->stash_len, 0);
    expect_silence(down->far);
}

/* Bytes and FIN at once: every byte is in the client's socket before the daemon may write there. */
static void test_eof_with_the_data(void **state)
{
    enum { LEN = 300000 };
    struct bench *b = *state;
    uint8_t *buf = malloc(LEN);
    assert_non_null(buf);
    bench_buffer(b, 1U << 30);
    for (uint32_t i = 0; i < 20; i++) {
        struct wire *up = bench_up(b), *down = bench_down(b);
        pattern_fill(buf, LEN, i, 0);
        carry_text(down->far, up->far, PLAIN_REQUEST);
        send_text(up->far, HEAD);
        send_bytes(up->far, buf, LEN);
        close(up->far);
        up->far = -1;
        expect_text(down->far, HEAD);
        expect_bytes(down->far, buf, LEN);
        bench_end_lease(b, up);
        await(bench_leave(b, up));
        assert_int_equal(up->stash_len, 0);
        expect_eof(up->near);
    }
    free(buf);
}

static void test_reset(void **state)
{
    struct linger now = {.l_onoff = 1};
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    carry_text(down->far, up->far, PLAIN_REQUEST);
    carry_text(up->far, down->far, HEAD "some");
    assert_int_equal(setsockopt(up->far, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    close(up->far);
    up->far = -1;
    await(kernel_inspect(b->k, up->slot) == -ENOENT);
    assert_int_equal(socket_error(up->near), ECONNRESET);
    bench_end_lease(b, up);
    await(bench_leave(b, up) && bench_leave(b, down));
    expect_silence(down->far);
}

/* Framing is by the end only where nothing else says it. */
static void test_what_ends_by_itself(void **state)
{
    static const char no_body[] = "HTTP/1.1 304 Not Modified\r\n\r\n", bare[] = "HTTP/1.1 200 OK\r\n\r\n";
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    carry_text(down->far, up->far, PLAIN_REQUEST);
    carry_text(up->far, down->far, no_body);
    await(bench_is_idle(b, up));
    carry_text(down->far, up->far, "HEAD / HTTP/1.1\r\nHost: bench\r\n\r\n");
    carry_text(up->far, down->far, bare);
    await(bench_is_idle(b, up));
    carry_text(down->far, up->far, PLAIN_REQUEST);
    carry_text(up->far, down->far, bare);
    await(!(bench_owner(b, up) & OWNER_BUSY));
    assert_true(owner_lease(bench_owner(b, up)) && bench_slot(b, up)->remaining == BODY_UNKNOWN);
}

/* `close` beside another framing: the client's connection goes on, so userspace has to edit the head. */
static void test_close_with_framing(void **state)
{
    static const char *const refused[] = {
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nConnection: keep-alive, close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    };
    struct bench *b = *state;
    for (size_t i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        struct wire *up = bench_up(b), *down = bench_down(b);
        carry_text(down->far, up->far, PLAIN_REQUEST);
        send_text(up->far, refused[i]);
        bench_expect_passed(b, up, refused[i], strlen(refused[i]));
        assert_int_equal(bench_reason(b, HTTP1_CONNECTION), i + 1);
        expect_silence(down->far);
    }
}

/* A client that asks again before the end: that request is not sent into a response that may still go on. */
static void test_request_inside(void **state)
{
    struct bench *b = *state;
    struct wire *up = bench_up(b), *down = bench_down(b);
    carry_text(down->far, up->far, PLAIN_REQUEST);
    carry_text(up->far, down->far, HEAD "some");
    send_text(down->far, PLAIN_REQUEST);
    bench_expect_passed(b, down, PLAIN_REQUEST, strlen(PLAIN_REQUEST));
    expect_silence(up->far);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_until_eof),
        BENCH_TEST(test_eof_with_the_data),
        BENCH_TEST(test_reset),
        BENCH_TEST(test_what_ends_by_itself),
        BENCH_TEST(test_close_with_framing),
        BENCH_TEST(test_request_inside),
    };
    return BENCH_MAIN("until_close", tests);
}
