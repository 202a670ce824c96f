/*
 * Hazard: the kernel keeps a redirect's target until the end of a send(): SK_PASS for the rest of it
 * redirects the rest too. So what one send() brings goes past TCP as a whole, or goes by TCP as a whole.
 */
#include "bypass_helper.h"
#include "skein/fallback.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#define POST_HEAD "POST / HTTP/1.1\r\nHost: bench\r\nContent-Length: 6\r\n\r\n"

static void _say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* All of it came to the daemon, nothing more to the application at the other end. */
static void _expect_by_tcp(struct bench *b, struct wire *from, struct wire *to, const char *text)
{
    expect_text(from->near, text);
    expect_silence(from->near);
    expect_silence(to->far);
    assert_true(bench_passed(b, from));
}

static void _check_response_for(void **state, const char *response, enum fallback_reason reason)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    bypass_ask(b, down, up);
    _say(up->far, response);
    _expect_by_tcp(b, up, down, response);
    assert_int_equal(bench_slot(b, down)->redirected, 0);
    assert_int_equal(bypass_responses(b), 0);
    assert_int_equal(bench_reason(b, reason), 1);
    _say(up->far, "more");
    _expect_by_tcp(b, up, down, "more");
}

static void _check_response(void **state, const char *response)
{
    _check_response_for(state, response, FALLBACK_UNSOLICITED);
}

static void test_response_and_more(void **state)
{
    _check_response(state, PLAIN_RESPONSE "x");
}

static void test_two_responses(void **state)
{
    _check_response(state, PLAIN_RESPONSE PLAIN_RESPONSE);
}

static void test_interim_and_response(void **state)
{
    _check_response(state, "HTTP/1.1 103 Early Hints\r\n\r\n" PLAIN_RESPONSE);
}

static void test_chunked_and_more(void **state)
{
    _check_response(state, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nx");
}

static void test_many_chunks(void **state)
{
    char response[8192] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (int i = 0; i < 600; i++)
        strcat(response, "1\r\na\r\n");
    strcat(response, "0\r\n\r\n");
    _check_response_for(state, response, (enum fallback_reason)HTTP1_CHUNK);
}

static void _check_request(void **state, const char *request)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    _say(down->far, request);
    _expect_by_tcp(b, down, up, request);
    assert_int_equal(bench_slot(b, up)->redirected, 0);
    assert_true(bench_is_idle(b, up));
    assert_int_equal(bypass_requests(b), 0);
    assert_int_equal(bench_reason(b, FALLBACK_PIPELINED), 1);
    _say(down->far, PLAIN_REQUEST);
    _expect_by_tcp(b, down, up, PLAIN_REQUEST);
}

static void test_request_and_post(void **state)
{
    _check_request(state, PLAIN_REQUEST POST_HEAD "abcdef");
}

static void test_post_and_request(void **state)
{
    _check_request(state, POST_HEAD "abcdef" PLAIN_REQUEST);
}

static void test_run_and_a_part(void **state)
{
    _check_request(state, PLAIN_REQUEST PLAIN_REQUEST PLAIN_REQUEST "GET /par");
}

/* A run of requests goes as a whole: then so do its responses, each send() of its own. */
static void test_run(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    _say(down->far, PLAIN_REQUEST PLAIN_REQUEST PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST PLAIN_REQUEST PLAIN_REQUEST);
    for (int i = 0; i < 3; i++)
        _say(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE PLAIN_RESPONSE PLAIN_RESPONSE);
    assert_true(bench_is_idle(b, up));
    bypass_exchange(b, down, up);
}

static void test_body_end_and_request(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    _say(down->far, POST_HEAD "abc");
    expect_text(up->far, POST_HEAD "abc");
    _say(down->far, "def" PLAIN_REQUEST);
    _expect_by_tcp(b, down, up, "def" PLAIN_REQUEST);
    assert_int_equal(bench_slot(b, down)->remaining, 3);
}

static void test_body_end_and_response(void **state)
{
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    bypass_ask(b, down, up);
    _say(up->far, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    expect_text(down->far, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
    _say(up->far, "def" PLAIN_RESPONSE);
    _expect_by_tcp(b, up, down, "def" PLAIN_RESPONSE);
    assert_int_equal(bench_slot(b, up)->remaining, 3);
}

/* Redis' CRLF is never split: the piece before its LF waits with it, in TCP. */
static void test_redis_crlf(void **state)
{
    struct bench *b = *state;
    bench_redis(b, BENCH_BUFFER);
    struct wire *up = bypass_redis_up(b), *down = bypass_redis_down(b);
    _say(down->far, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    expect_text(up->far, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    _say(up->far, "$5\r\nabcde\r");
    _expect_by_tcp(b, up, down, "$5\r\nabcde\r");
    _say(up->far, "\n");
    _expect_by_tcp(b, up, down, "\n");
}

static void test_redis_reply_and_more(void **state)
{
    struct bench *b = *state;
    bench_redis(b, BENCH_BUFFER);
    struct wire *up = bypass_redis_up(b), *down = bypass_redis_down(b);
    _say(down->far, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    expect_text(up->far, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    _say(up->far, "$5\r\nabcde\r\n+OK\r\n");
    _expect_by_tcp(b, up, down, "$5\r\nabcde\r\n+OK\r\n");
}

enum { LONG_BODY = 3 << 20, LONG_MAX = LONG_BODY + 200 };

/* A long response, and one byte more. */
struct long_send {
    int to;
    bool from_file;
    size_t len;
    uint8_t all[LONG_MAX];
    uint8_t past[LONG_MAX]; /* What the client has read, */
    uint8_t tcp[LONG_MAX];  /* and what the daemon has. */
    size_t n_past, n_tcp;
    bool ok;
};

static bool _by_sendfile(struct long_send *l)
{
    int fd = memfd_create("response", MFD_CLOEXEC);
    size_t sent = 0;
    bool ok = write(fd, l->all, l->len) == (ssize_t)l->len && lseek(fd, 0, SEEK_SET) == 0;
    while (ok && sent < l->len) {
        ssize_t n = sendfile(l->to, fd, NULL, l->len - sent);
        ok = n > 0;
        sent += ok ? (size_t)n : 0;
    }
    close(fd);
    return ok;
}

static void *_send_long(void *arg)
{
    struct long_send *l = arg;
    l->ok = l->from_file ? _by_sendfile(l) : send(l->to, l->all, l->len, MSG_NOSIGNAL) == (ssize_t)l->len;
    return NULL;
}

static size_t _collect(int fd, uint8_t *to, size_t at)
{
    ssize_t n = recv(fd, to + at, LONG_MAX - at, MSG_DONTWAIT);
    return at + (n > 0 ? (size_t)n : 0);
}

/* A long send() reaches the programs in pieces, each of them whole: a first part goes past TCP, from some
 * piece on all goes by TCP, and nothing is lost or there twice. */
static void _check_long(struct bench *b, bool from_file)
{
    struct long_send *l = calloc(1, sizeof(*l));
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    pthread_t thread;
    assert_non_null(l);
    l->to = up->far, l->from_file = from_file;
    int head = sprintf((char *)l->all, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LONG_BODY - 1);
    pattern_fill(l->all + head, LONG_BODY, 1, 0);
    l->len = (size_t)head + LONG_BODY;
    bypass_ask(b, down, up);
    assert_int_equal(pthread_create(&thread, NULL, _send_long, l), 0);
    bool complete =
        eventually((l->n_past = _collect(down->far, l->past, l->n_past),
                    l->n_tcp = _collect(up->near, l->tcp, l->n_tcp), l->n_past + l->n_tcp >= l->len));
    if (!complete)
        shutdown(l->to, SHUT_RDWR);
    pthread_join(thread, NULL);
    print_message("%zu bytes past TCP, %zu by TCP\n", l->n_past, l->n_tcp);
    assert_true(complete && l->ok);
    assert_true(l->n_past && l->n_tcp);
    assert_int_equal(l->n_past + l->n_tcp, l->len);
    assert_int_equal(l->n_past, bench_slot(b, down)->redirected);
    assert_memory_equal(l->past, l->all, l->n_past);
    assert_memory_equal(l->tcp, l->all + l->n_past, l->n_tcp);
    free(l);
}

static void test_long(void **state)
{
    bench_buffer(*state, 1U << 30);
    _check_long(*state, false);
}

/* Its reader is too slow for it now and then. */
static void test_long_spills(void **state)
{
    _check_long(*state, false);
}

static void test_long_file(void **state)
{
    bench_buffer(*state, 1U << 30);
    _check_long(*state, true);
}

/* Many small pieces of memory. */
static void test_vectors(void **state)
{
    enum { N = 1000 };
    struct bench *b = *state;
    struct wire *up = bypass_up(b), *down = bypass_down(b);
    static char text[N + 1];
    struct iovec v[N];
    int n = snprintf(text, sizeof(text), POST_HEAD "abcdef" PLAIN_REQUEST);
    for (int i = 0; i < n; i++)
        v[i] = (struct iovec){text + i, 1};
    assert_int_equal(writev(down->far, v, n), n);
    _expect_by_tcp(b, down, up, text);
    assert_int_equal(bypass_give_back(b, down), BYPASS_OK);
    n = snprintf(text, sizeof(text), "GET /%0800d HTTP/1.1\r\nHost: bench\r\n\r\n", 1);
    for (int i = 0; i < n; i++)
        v[i] = (struct iovec){text + i, 1};
    assert_int_equal(writev(down->far, v, n), n);
    expect_text(up->far, text);
    expect_silence(down->near);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_response_and_more),
        BENCH_TEST(test_two_responses),
        BENCH_TEST(test_interim_and_response),
        BENCH_TEST(test_chunked_and_more),
        BENCH_TEST(test_many_chunks),
        BENCH_TEST(test_request_and_post),
        BENCH_TEST(test_post_and_request),
        BENCH_TEST(test_run_and_a_part),
        BENCH_TEST(test_run),
        BENCH_TEST(test_body_end_and_request),
        BENCH_TEST(test_body_end_and_response),
        BENCH_TEST(test_redis_crlf),
        BENCH_TEST(test_redis_reply_and_more),
        BENCH_TEST(test_long),
        BENCH_TEST(test_long_spills),
        BENCH_TEST(test_long_file),
        BENCH_TEST(test_vectors),
    };
    return BYPASS_MAIN("bypass_whole_send", tests);
}
