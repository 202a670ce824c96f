/*
 * Differential fuzzing of the chunked framer: what it accepts llhttp must accept, with the same data
 * and the same end; and cutting the input must not change anything. The last byte says where to cut.
 *
 * And of the kernel path's walk: what it goes through the framer goes through with the same data; stopped
 * at the end of any slice, the framer goes on from there to the same result.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <llhttp/llhttp.h>

#include "parsers/http1_chunked.h"
#include "tests/unit/http1_chunk_walk.h"

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            __builtin_trap();                                                                                \
    } while (0)

/** Bytes of input; longer ones find nothing new. */
#define INPUT_MAX 16384

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum http1_chunked_event event;
    size_t consumed;
    size_t data_len;
    size_t trailer_len;
    char data[INPUT_MAX];
    char trailer[INPUT_MAX];
};

static void _feed(struct http1_chunked *c, const char *buf, size_t len, struct outcome *o)
{
    size_t at = 0;
    for (;;) {
        const char *data;
        size_t data_len, n;
        o->event = http1_chunked_next(c, buf + at, len - at, &n, &data, &data_len);
        CHECK(n <= len - at);
        o->consumed += n;
        if (data_len)
            CHECK(data >= buf + at && data + data_len <= buf + at + n);
        at += n;
        if (o->event == HTTP1_CHUNKED_DATA) {
            memcpy(o->data + o->data_len, data, data_len);
            o->data_len += data_len;
        } else if (o->event == HTTP1_CHUNKED_TRAILER) {
            memcpy(o->trailer + o->trailer_len, data, data_len);
            o->trailer_len += data_len;
        } else {
            break;
        }
        CHECK(n > 0);
    }
}

/* Feeds pieces of `step` bytes. */
static void _run(const char *buf, size_t len, size_t step, struct outcome *o)
{
    struct http1_chunked c;
    o->consumed = o->data_len = o->trailer_len = 0;
    o->event = HTTP1_CHUNKED_MORE;
    http1_chunked_init(&c);
    for (size_t at = 0; at < len && o->event == HTTP1_CHUNKED_MORE; at += step)
        _feed(&c, buf + at, len - at < step ? len - at : step, o);
}

struct reference {
    char data[INPUT_MAX];
    size_t len;
    bool complete;
};

static int _on_body(llhttp_t *p, const char *at, size_t len)
{
    struct reference *r = p->data;
    memcpy(r->data + r->len, at, len);
    r->len += len;
    return 0;
}

static int _on_complete(llhttp_t *p)
{
    struct reference *r = p->data;
    r->complete = true;
    return HPE_PAUSED;
}

/* llhttp knows what Content-Length and the like mean in a trailer and refuses some; the framer
 * leaves that to http1_trailer_allowed(). */
static bool _refused_for_meaning(llhttp_errno_t err)
{
    return err == HPE_UNEXPECTED_CONTENT_LENGTH || err == HPE_INVALID_CONTENT_LENGTH ||
           err == HPE_INVALID_TRANSFER_ENCODING;
}

/* llhttp 8.1 does not know quoted-pair, nor an extension after one whose value is a token; RFC 9112
 * section 7.1.1 has both. */
static bool _refused_for_extension(llhttp_errno_t err, const char *buf, size_t len, const char *at)
{
    if (err != HPE_INVALID_CHUNK_SIZE && err != HPE_STRICT)
        return false;
    char here = at < buf + len ? *at : '\0';
    char before = at > buf ? at[-1] : '\0';
    if (err == HPE_INVALID_CHUNK_SIZE)
        return here == ';' || before == ';';
    return here == '\\' || before == '\\';
}

static void _compare(const char *buf, const struct outcome *o)
{
    static const char head[] = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    static const llhttp_settings_t settings = {.on_body = _on_body, .on_message_complete = _on_complete};
    static struct reference r;
    llhttp_t p;
    r.len = 0;
    r.complete = false;
    llhttp_init(&p, HTTP_REQUEST, &settings);
    p.data = &r;
    CHECK(llhttp_execute(&p, head, sizeof(head) - 1) == HPE_OK);
    llhttp_errno_t err = llhttp_execute(&p, buf, o->consumed);
    if (o->trailer_len && _refused_for_meaning(err))
        return;
    if (_refused_for_extension(err, buf, o->consumed, llhttp_get_error_pos(&p)))
        return;
    CHECK(r.len == o->data_len && memcmp(r.data, o->data, r.len) == 0);
    CHECK(r.complete == (o->event == HTTP1_CHUNKED_END));
    if (r.complete)
        CHECK(err == HPE_PAUSED && llhttp_get_error_pos(&p) == buf + o->consumed);
    else
        CHECK(err == HPE_OK);
}

/* The kernel path goes through slices of `step` bytes; what is not understood of one comes again with more
 * behind it, if that may help. Up to `slices` of them; then userspace goes on. */
static void _walk(const char *buf, size_t len, size_t step, size_t slices, const struct outcome *whole)
{
    static struct outcome o;
    struct http1_walk w = {0};
    struct http1_chunked c;
    size_t there = 0, at = 0;
    o.consumed = o.data_len = o.trailer_len = 0;
    o.event = HTTP1_CHUNKED_MORE;
    for (; slices && there < len && !w.chunks.done && w.stop == HTTP1_CHUNK_MORE; slices--) {
        there = len - there < step ? len : there + step;
        at += http1_walk(&w, buf + at, there - at, o.data, &o.data_len);
        CHECK(at <= there && w.chunks.seen - w.chunks.left == o.data_len);
        CHECK(at == there || w.chunks.done || w.stop != HTTP1_CHUNK_MORE || there - at < HTTP1_CHUNK_LINE);
    }
    o.consumed = at;
    if (w.chunks.done) {
        o.event = HTTP1_CHUNKED_END;
    } else {
        http1_chunked_resume(&c, w.chunks.begun, w.chunks.left);
        _feed(&c, buf + at, len - at, &o);
    }
    CHECK(o.event == whole->event && o.consumed == whole->consumed);
    CHECK(o.data_len == whole->data_len && memcmp(o.data, whole->data, o.data_len) == 0);
    if (o.event != HTTP1_CHUNKED_ERROR)
        CHECK(o.trailer_len == whole->trailer_len && memcmp(o.trailer, whole->trailer, o.trailer_len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct outcome whole;
    static struct outcome cut;
    const char *buf = (const char *)data;
    if (size == 0 || size > INPUT_MAX)
        return 0;
    _run(buf, size, size, &whole);
    if (whole.event != HTTP1_CHUNKED_ERROR)
        _compare(buf, &whole);
    _walk(buf, size, 1u + data[size - 1] % 29, 1u + data[size - 1] / 29, &whole);
    _walk(buf, size, 1u + data[size - 1] % 29, size, &whole);
    _walk(buf, size, size, 1, &whole);
    _run(buf, size, 1u + data[size - 1] % 17, &cut);
    CHECK(cut.event == whole.event && cut.consumed == whole.consumed);
    if (whole.event == HTTP1_CHUNKED_ERROR)
        return 0;
    CHECK(cut.data_len == whole.data_len && memcmp(cut.data, whole.data, cut.data_len) == 0);
    CHECK(cut.trailer_len == whole.trailer_len && memcmp(cut.trailer, whole.trailer, cut.trailer_len) == 0);
    return 0;
}
