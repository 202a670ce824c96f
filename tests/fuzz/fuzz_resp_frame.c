/*
 * Differential fuzzing of the RESP framer: whatever it accepts, the userspace parsers must accept too,
 * with the same end and the same arguments; what it calls partial must be no error for them; and
 * an input that is cut anywhere must not be understood otherwise. The first byte says what the
 * rest is, the second where it is cut.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "parsers/resp.h"
#include "parsers/resp_scan.h"

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            __builtin_trap();                                                                                \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct resp_limits limits = {.multibulk = 1024 * 1024, .bulk = RESP_FRAME_BULK_MAX};

#define FURTHER 100

/* Framed in a window whose other bytes, and whose working memory, are made to mislead. */
static int _frame(const char *data, size_t size, bool is_reply, struct resp_frame *f)
{
    static struct http1_window window;
    static struct resp_scan_state scan;
    memset(&window, size & 1 ? '1' : '\r', sizeof(window));
    memcpy(window.bytes, data, size < sizeof(window) ? size : sizeof(window));
    int reason = is_reply ? resp_frame_reply(&window, 0, (unsigned)size, &scan, f)
                          : resp_frame_command(&window, 0, (unsigned)size, &scan, f);
    CHECK(reason == f->reason && reason >= 0 && reason < _RESP_FRAME_REASON_MAX);
    CHECK(reason != RESP_FRAME_PARTIAL || size < HTTP1_WINDOW);
    if (size < sizeof(window) - FURTHER) {
        /* Further on in the window nothing changes but how much is out of its reach. */
        struct resp_frame moved;
        memmove(window.bytes + FURTHER, window.bytes, size);
        int again = is_reply ? resp_frame_reply(&window, FURTHER, FURTHER + (unsigned)size, &scan, &moved)
                             : resp_frame_command(&window, FURTHER, FURTHER + (unsigned)size, &scan, &moved);
        CHECK(again == reason || (reason == RESP_FRAME_PARTIAL && again == RESP_FRAME_TOO_LONG));
        CHECK(reason || (moved.len == f->len && moved.argc == f->argc && moved.key_len == f->key_len));
    }
    return reason;
}

static void _check_arguments(const struct resp_request *r, const struct resp_frame *f, size_t size)
{
    bool key = f->flags & RESP_F_KEY;
    size_t seen = size < HTTP1_WINDOW ? size : HTTP1_WINDOW;
    CHECK(r->argc == f->argc && r->argn == r->argc && key == (r->argc > 1));
    CHECK(f->argc >= 1 && f->argc <= RESP_FRAME_ARGS_MAX);
    CHECK(r->args[0].off == f->name_off && r->args[0].len == f->name_len);
    CHECK(f->name_len >= 1 && f->name_len <= RESP_FRAME_NAME_MAX);
    CHECK((size_t)f->name_off + f->name_len <= seen && (size_t)f->key_off + f->key_len <= seen);
    CHECK(f->key_off == (key ? r->args[1].off : 0) && f->key_len == (key ? r->args[1].len : 0));
    CHECK(f->head_len == r->args[r->argc - 1].off && f->head_len <= seen);
}

/* Memory of exactly that size, so that the sanitizer sees what reads beyond. */
static char *_copy(const char *data, size_t len)
{
    char *copy = malloc(len ? len : 1);
    CHECK(copy);
    memcpy(copy, data, len);
    return copy;
}

/* The framer saw a window, the parser sees everything: only the last CRLF may be wrong or missing. */
static void _compare_command(const char *data, size_t size, const struct resp_frame *f)
{
    struct resp_request r = {0};
    size_t have = size < f->len ? size : (size_t)f->len;
    char *copy = _copy(data, have);
    enum resp_result result = resp_request_parse(&r, copy, have, &limits);
    _check_arguments(&r, f, size);
    CHECK((unsigned long long)r.args[r.argc - 1].off + r.args[r.argc - 1].len + 2 == f->len);
    if (result == RESP_DONE)
        CHECK(r.size == f->len);
    else if (result == RESP_MORE)
        CHECK(have < f->len);
    else
        CHECK(f->len > HTTP1_WINDOW && have >= f->len - 1 && r.whole + 1 == r.argc);
    resp_request_free(&r);
    free(copy);
}

static enum resp_result _feed(struct resp_reply *r, const char *data, size_t len, size_t *used)
{
    char *copy = _copy(data, len);
    resp_reply_reset(r);
    enum resp_result result = resp_reply_feed(r, copy, len, used);
    free(copy);
    return result;
}

static void _compare_reply(const char *data, size_t size, const struct resp_frame *f)
{
    static struct resp_reply r;
    size_t used, have = size < f->len ? size : (size_t)f->len;
    size_t seen = size < HTTP1_WINDOW ? size : HTTP1_WINDOW;
    CHECK(f->head_len > 0 && f->head_len <= f->len && f->head_len <= seen);
    enum resp_result result = _feed(&r, data, have, &used);
    CHECK(r.type == (char)f->type);
    if (result == RESP_DONE) {
        CHECK(used == f->len);
    } else if (result == RESP_MORE) {
        CHECK(used == have && have + r.remaining == f->len && have < f->len);
        for (unsigned i = 0; i < r.depth; i++)
            CHECK(r.left[i] == 1);
    } else {
        CHECK(f->len > HTTP1_WINDOW && have >= f->len - 1);
    }
    /* Up to the head's end all is well, and all that misses then is the bulk string. */
    result = _feed(&r, data, f->head_len, &used);
    CHECK(used == f->head_len && f->head_len + r.remaining == f->len);
    CHECK(result == (r.remaining ? RESP_MORE : RESP_DONE));
}

static void _check_partial(const char *data, size_t size, bool is_reply)
{
    struct resp_request request = {0};
    static struct resp_reply reply;
    size_t used;
    if (is_reply) {
        CHECK(_feed(&reply, data, size, &used) == RESP_MORE);
        return;
    }
    CHECK(resp_request_parse(&request, data, size, &limits) != RESP_ERROR);
    CHECK(request.argc <= RESP_FRAME_ARGS_MAX && !request.is_inline);
    resp_request_free(&request);
}

static int _judge(const char *data, size_t size, bool is_reply, struct resp_frame *f)
{
    int reason = _frame(data, size, is_reply, f);
    if (reason == RESP_FRAME_PARTIAL)
        _check_partial(data, size, is_reply);
    else if (reason == RESP_FRAME_OK && is_reply)
        _compare_reply(data, size, f);
    else if (reason == RESP_FRAME_OK)
        _compare_command(data, size, f);
    return reason;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct resp_frame whole, part;
    if (size < 2)
        return 0;
    bool is_reply = data[0] & 1;
    const char *input = (const char *)data + 2;
    size_t len = size - 2;
    size_t cut = len ? len - 1 - data[1] * (len - 1) / 255 : 0;
    int final = _judge(input, len, is_reply, &whole);
    int early = _judge(input, cut, is_reply, &part);
    if (early == RESP_FRAME_OK && final == RESP_FRAME_OK)
        CHECK(memcmp(&whole, &part, sizeof(whole)) == 0);
    else if (early == RESP_FRAME_OK)
        CHECK(final == RESP_FRAME_SYNTAX);
    else if (early != RESP_FRAME_PARTIAL)
        /* A reason stays one; a CRLF that was not there can be a worse one than a length. */
        CHECK(final == early || final == RESP_FRAME_SYNTAX);
    return 0;
}
