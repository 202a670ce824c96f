/*
 * Differential fuzzing of heads: whatever the framer accepts, the userspace parser (llhttp and the
 * strict raw pass) must accept too, and read in the same way, as it came and as the kernel path
 * forwards it; an input cut anywhere must not be accepted earlier or judged otherwise.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/http1_blank.h"
#include "parsers/http1_message.h"
#include "parsers/http1_path.h"
#include "parsers/http1_scan.h"

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            __builtin_trap();                                                                                \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http1_limits limits = {65536, HTTP1_FIELDS_MAX, 65536};
static struct http1_message msg;

static int _frame(const uint8_t *data, size_t size, unsigned kind, struct http1_head *head)
{
    static struct http1_window window;
    static struct http1_scan scan;
    memcpy(window.bytes, data, size);
    return http1_frame(&window, (unsigned)size, kind, &scan, head);
}

static void _check_span(struct http1_span s)
{
    CHECK(s.off <= msg.head_len && s.len <= msg.head_len - s.off);
}

static void _check_spans(void)
{
    _check_span(msg.method);
    _check_span(msg.target);
    _check_span(msg.path);
    _check_span(msg.host);
    _check_span(msg.authority);
    _check_span(msg.reason);
    CHECK(msg.path_len <= msg.path.len);
    for (uint32_t i = 0; i < msg.n_fields; i++) {
        _check_span(msg.fields[i].name);
        _check_span(msg.fields[i].value);
    }
}

static void _compare_request(const char *text, const struct http1_head *head)
{
    CHECK(head->target_off == msg.target.off && head->target_len == msg.target.len);
    CHECK(msg.path.off == msg.target.off && msg.path.len == msg.target.len);
    CHECK(head->path_len == msg.path_len);
    CHECK(!(head->flags & HTTP1_F_ODD_PATH) == http1_path_is_plain(text + msg.path.off, msg.path_len));
    CHECK(head->host_off == msg.host.off && head->host_len == msg.host.len);
    CHECK(!!(head->flags & HTTP1_F_HEAD) == msg.is_head);
    CHECK(!(head->flags & (HTTP1_F_NO_BODY | HTTP1_F_CLOSE | HTTP1_F_INTERIM | HTTP1_F_MINOR_0)));
    CHECK((msg.body == HTTP1_BODY_LENGTH) == !!(head->flags & HTTP1_F_HAS_LENGTH));
    CHECK((msg.body == HTTP1_BODY_CHUNKED) == !!(head->flags & HTTP1_F_CHUNKED));
    CHECK(msg.expect_100 == !!(head->flags & HTTP1_F_EXPECT));
    CHECK(msg.form == HTTP1_TARGET_ORIGIN && msg.minor == 1 && !msg.close);
}

static void _compare_response(const struct http1_head *head, bool to_head)
{
    static const enum http1_body bodies[] = {
        [HTTP1_FRAMED_CHUNKED] = HTTP1_BODY_CHUNKED, [HTTP1_FRAMED_CLOSE] = HTTP1_BODY_CLOSE};
    struct http1_head h = *head;
    unsigned char framing;
    int reason = http1_response_body(&h, to_head, &framing);
    CHECK(head->status == msg.status && msg.status != 101);
    CHECK(!!(head->flags & HTTP1_F_INTERIM) == (msg.status < 200));
    CHECK(!!(head->flags & HTTP1_F_MINOR_0) == (msg.minor == 0));
    if (framing != HTTP1_FRAMED_LENGTH)
        CHECK(msg.body == bodies[framing]);
    else if (msg.body == HTTP1_BODY_LENGTH)
        CHECK(h.content_length == msg.content_length);
    else
        CHECK(msg.body == HTTP1_BODY_NONE && h.content_length == 0);
    CHECK(!!(head->flags & HTTP1_F_CLOSE) == msg.close);
    CHECK((reason == HTTP1_OK) == (framing == HTTP1_FRAMED_CLOSE || !(head->flags & HTTP1_F_CLOSE)));
}

static int _parse(const char *head, size_t len, unsigned kind, bool to_head)
{
    return kind == HTTP1_REQUEST ? http1_parse_request(head, len, &limits, &msg)
                                 : http1_parse_response(head, len, &limits, to_head, &msg);
}

static bool _same(const char *a, struct http1_span x, const char *b, struct http1_span y)
{
    return x.len == y.len && memcmp(a + x.off, b + y.off, x.len) == 0;
}

/* The head as the kernel path forwards it means the same to whoever reads it: it lacks Keep-Alive, and
 * has our version. `msg` is what it came with. */
static void _edited(const char *text, unsigned kind, const struct http1_head *head)
{
    static struct http1_message before;
    char *copy = malloc(head->head_len);
    uint32_t i = 0, k = 0;
    CHECK(copy);
    before = msg;
    memcpy(copy, text, head->head_len);
    CHECK(head->blank_off + head->blank_len + head->blank_name + 4u <= head->head_len);
    http1_blank(copy, head);
    if (head->flags & HTTP1_F_MINOR_0)
        copy[HTTP1_MINOR_AT] = '1';
    CHECK(_parse(copy, head->head_len, kind, false) == 0);
    CHECK(msg.minor == 1 && msg.body == before.body && msg.content_length == before.content_length);
    CHECK(msg.n_fields == before.n_fields - (head->blank_len > 0) && msg.status == before.status);
    CHECK(_same(copy, msg.target, text, before.target) && _same(copy, msg.host, text, before.host));
    for (; i < before.n_fields; i++) {
        if (before.fields[i].id == HTTP1_FIELD_KEEP_ALIVE)
            continue;
        CHECK(_same(copy, msg.fields[k].name, text, before.fields[i].name));
        CHECK(_same(copy, msg.fields[k++].value, text, before.fields[i].value));
    }
    CHECK(k == msg.n_fields);
    msg = before;
    free(copy);
}

static void _compare(const uint8_t *data, size_t size, unsigned kind, const struct http1_head *head)
{
    /* An exact copy, so that reading beyond the head is seen. */
    char *copy = malloc(head->head_len);
    CHECK(copy && head->head_len <= size);
    memcpy(copy, data, head->head_len);
    CHECK(http1_head_end((const char *)data, size, 0) == head->head_len);
    if (kind == HTTP1_RESPONSE) {
        CHECK(_parse(copy, head->head_len, kind, true) == 0);
        _compare_response(head, true);
    }
    CHECK(_parse(copy, head->head_len, kind, false) == 0);
    if (kind == HTTP1_REQUEST)
        _compare_request(copy, head);
    else
        _compare_response(head, false);
    CHECK(!msg.upgrade);
    CHECK(head->content_length == msg.content_length && head->fields == msg.n_fields);
    for (uint32_t i = 0; i < msg.n_fields; i++)
        CHECK(!msg.fields[i].hop_by_hop || msg.fields[i].id == HTTP1_FIELD_CONNECTION ||
              (msg.fields[i].id == HTTP1_FIELD_KEEP_ALIVE && head->blank_len));
    _edited(copy, kind, head);
    free(copy);
}

static void _framer(const uint8_t *data, size_t size, unsigned kind)
{
    struct http1_head head;
    struct http1_head part;
    if (size > HTTP1_WINDOW)
        size = HTTP1_WINDOW;
    int reason = _frame(data, size, kind, &head);
    if (reason == HTTP1_OK)
        _compare(data, size, kind, &head);
    size_t cut = size ? data[size - 1] % size : 0;
    int early = _frame(data, cut, kind, &part);
    CHECK(early == HTTP1_MORE || early == reason);
}

/* The userspace parser alone: its spans stay inside, and early verdicts agree with the final one. */
static void _parser(const char *data, size_t size)
{
    size_t len = http1_head_end(data, size, 0);
    if (!len)
        len = size;
    char *copy = malloc(len + 1);
    CHECK(copy);
    copy = realloc(memcpy(copy, data, len), len ? len : 1);
    if (http1_parse_request(copy, len, &limits, &msg) == 0) {
        _check_spans();
        CHECK(msg.body != HTTP1_BODY_CLOSE);
        for (size_t i = 0; i < len; i++)
            CHECK(http1_request_partial(copy, i, &limits) == 0);
    }
    int status = http1_parse_response(copy, len, &limits, len & 1, &msg);
    CHECK(status == 0 || status == 502);
    if (status == 0)
        _check_spans();
    struct http1_field fields[8];
    CHECK(http1_parse_trailers(copy, len, fields, 8) <= 8);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _framer(data, size, HTTP1_REQUEST);
    _framer(data, size, HTTP1_RESPONSE);
    _parser((const char *)data, size);
    return 0;
}
