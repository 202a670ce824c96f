/*
 * Differential fuzzing of heads: whatever the framer accepts, the userspace parser (llhttp and the
 * strict raw pass) must accept too, and read in the same way; an input cut anywhere must not be
 * accepted earlier or judged otherwise.
 */
#include <stdlib.h>
#include <string.h>

#include "parsers/http1_message.h"
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

static void _compare_request(const struct http1_head *head)
{
    CHECK(head->target_off == msg.target.off && head->target_len == msg.target.len);
    CHECK(msg.path.off == msg.target.off && msg.path.len == msg.target.len);
    CHECK(head->path_len == msg.path_len);
    CHECK(head->host_off == msg.host.off && head->host_len == msg.host.len);
    CHECK(!!(head->flags & HTTP1_F_HEAD) == msg.is_head);
    CHECK(!(head->flags & HTTP1_F_NO_BODY));
    CHECK((msg.body == HTTP1_BODY_LENGTH) == !!(head->flags & HTTP1_F_HAS_LENGTH));
    CHECK(msg.body == HTTP1_BODY_LENGTH || msg.body == HTTP1_BODY_NONE);
    CHECK(msg.form == HTTP1_TARGET_ORIGIN && !msg.expect_100);
}

static void _compare_response(const struct http1_head *head)
{
    bool none = head->flags & HTTP1_F_NO_BODY;
    bool length = head->flags & HTTP1_F_HAS_LENGTH;
    CHECK(head->status == msg.status && msg.status >= 200);
    CHECK(msg.body == (none ? HTTP1_BODY_NONE : length ? HTTP1_BODY_LENGTH : HTTP1_BODY_CLOSE));
}

static void _compare(const uint8_t *data, size_t size, unsigned kind, const struct http1_head *head)
{
    /* An exact copy, so that reading beyond the head is seen. */
    char *copy = malloc(head->head_len);
    CHECK(copy && head->head_len <= size);
    memcpy(copy, data, head->head_len);
    CHECK(http1_head_end((const char *)data, size, 0) == head->head_len);
    int status = kind == HTTP1_REQUEST ? http1_parse_request(copy, head->head_len, &limits, &msg)
                                       : http1_parse_response(copy, head->head_len, &limits, false, &msg);
    CHECK(status == 0);
    CHECK(msg.minor == 1 && !msg.close && !msg.upgrade);
    CHECK(head->content_length == msg.content_length && head->fields == msg.n_fields);
    if (kind == HTTP1_REQUEST)
        _compare_request(head);
    else
        _compare_response(head);
    for (uint32_t i = 0; i < msg.n_fields; i++)
        CHECK(!msg.fields[i].hop_by_hop || msg.fields[i].id == HTTP1_FIELD_CONNECTION);
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
