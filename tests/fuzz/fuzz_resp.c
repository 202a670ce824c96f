/*
 * Fuzzing of the RESP parsers against themselves: however an input arrives, it has the same commands
 * (or replies), the same ends and the same error. The first byte says what the rest is, the second
 * how it is cut.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "parsers/resp.h"

#define CHECK(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            __builtin_trap();                                                                                \
    } while (0)

/** Bytes of input; longer ones find nothing new. */
#define INPUT_MAX 16384

/** A length line, a fixed line: what the reply scanner may leave over is shorter. */
#define LEFT_OVER_MAX 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** Where cuts come from: steps of 1 to 16 bytes, now and then a long one. */
struct cuts {
    uint32_t state; /**< 0: one piece. */
};

struct outcome {
    enum resp_result result; /**< Of the last one. */
    size_t consumed;         /**< By complete ones. */
    size_t count;
    uint64_t digest; /**< Of all that the parser said. */
    char error[64];
};

static size_t _step(struct cuts *c, size_t len)
{
    if (c->state == 0)
        return len;
    c->state = c->state * 1664525 + 1013904223;
    c->state += c->state == 0;
    size_t step = c->state >> 28;
    return (c->state >> 20 & 15) == 0 ? 1 + step * 61 : 1 + step;
}

static void _digest(struct outcome *o, const void *data, size_t len)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < len; i++)
        o->digest = (o->digest ^ p[i]) * UINT64_C(1099511628211);
}

static void _digest_number(struct outcome *o, uint64_t number)
{
    _digest(o, &number, sizeof(number));
}

static void _end(struct outcome *o, enum resp_result result, const char *error)
{
    o->result = result;
    CHECK((result == RESP_ERROR) == (error != NULL));
    if (error) {
        CHECK(strlen(error) < sizeof(o->error));
        strcpy(o->error, error);
    }
}

static bool _same(const struct outcome *a, const struct outcome *b)
{
    return a->result == b->result && a->consumed == b->consumed && a->count == b->count &&
           a->digest == b->digest && strcmp(a->error, b->error) == 0;
}

/* Memory of exactly that size, so that the sanitizer sees what reads beyond. */
static char *_copy(const char *data, size_t len)
{
    char *copy = malloc(len ? len : 1);
    CHECK(copy);
    memcpy(copy, data, len);
    return copy;
}

/* The arguments lie in the text one behind the other, and the text parses to itself. */
static void _check_command(const struct resp_request *r, const struct resp_limits *limits)
{
    size_t at = 0;
    CHECK(r->argn == r->argc && r->whole == r->argc);
    for (uint32_t i = 0; i < r->argc; i++) {
        CHECK(r->args[i].off > at && r->args[i].off + (size_t)r->args[i].len + 2 <= r->text_len);
        at = r->args[i].off + (size_t)r->args[i].len;
        CHECK(memcmp(r->text + at, "\r\n", 2) == 0);
        at += 2;
    }
    if (r->argc == 0)
        return;
    CHECK(at == r->text_len);
    struct resp_limits wide = {.multibulk = limits->multibulk, .bulk = limits->bulk};
    struct resp_request again = {0};
    CHECK(resp_request_parse(&again, r->text, r->text_len, &wide) == RESP_DONE);
    CHECK(again.size == r->text_len && again.argc == r->argc);
    CHECK(memcmp(again.args, r->args, r->argc * sizeof(*r->args)) == 0);
    resp_request_free(&again);
}

static void _command_done(struct outcome *o, const struct resp_request *r, const struct resp_limits *limits)
{
    _check_command(r, limits);
    _digest_number(o, r->size);
    _digest_number(o, r->argc);
    if (r->argc > 0) {
        _digest(o, r->text, r->text_len);
        _digest(o, r->args, r->argc * sizeof(*r->args));
    }
    o->consumed += r->size;
    o->count++;
}

static struct outcome _requests(const char *input, size_t len, struct cuts cuts,
                                const struct resp_limits *limits)
{
    struct outcome o = {0};
    struct resp_request r = {0};
    enum resp_result result = RESP_MORE;
    for (size_t have = 0; have < len && result != RESP_ERROR;) {
        size_t step = _step(&cuts, len);
        have = len - have < step ? len : have + step;
        do {
            char *copy = _copy(input + o.consumed, have - o.consumed);
            result = resp_request_parse(&r, copy, have - o.consumed, limits);
            CHECK(r.pos <= have - o.consumed && r.whole <= r.argn && r.argn <= r.cap);
            if (result == RESP_DONE) {
                CHECK(r.size > 0 && r.size <= have - o.consumed);
                _command_done(&o, &r, limits);
                resp_request_reset(&r);
            }
            free(copy);
        } while (result == RESP_DONE && o.consumed < have);
    }
    _end(&o, result, result == RESP_ERROR ? r.error : NULL);
    resp_request_free(&r);
    return o;
}

static struct outcome _stream(struct resp_stream *s, const char *input, size_t len, size_t at, size_t have,
                              struct cuts cuts, const struct resp_limits *limits)
{
    struct outcome o = {0};
    enum resp_result result;
    do {
        size_t used, step = _step(&cuts, len);
        have = len - have < step ? len : have + step;
        char *copy = _copy(input + at, have - at);
        result = resp_stream_feed(s, copy, have - at, limits, &used);
        free(copy);
        CHECK(used <= have - at);
        at += used;
    } while (result == RESP_MORE && have < len);
    o.consumed = result == RESP_DONE ? at : 0;
    _end(&o, result, result == RESP_ERROR ? s->error : NULL);
    return o;
}

/* The first command, turned into a stream somewhere, ends like its parse. */
static void _streamed(const char *input, size_t len, struct cuts cuts, const struct resp_limits *limits)
{
    struct resp_request whole = {0}, r = {0};
    enum resp_result expected = resp_request_parse(&whole, input, len, limits);
    size_t have = 0, step;
    enum resp_result result = RESP_MORE;
    do {
        step = _step(&cuts, len);
        have = len - have < step ? len : have + step;
        result = resp_request_parse(&r, input, have, limits);
    } while (result == RESP_MORE && r.argc == 0 && have < len);
    if (result == RESP_MORE && r.argc > 0) {
        struct resp_stream s;
        size_t at = resp_stream_begin(&s, &r);
        CHECK(at <= have && !r.is_inline);
        struct outcome o = _stream(&s, input, len, at, have, cuts, limits);
        CHECK(o.result == expected);
        CHECK(expected != RESP_DONE || o.consumed == whole.size);
        CHECK(expected != RESP_ERROR || strcmp(o.error, whole.error) == 0);
    }
    resp_request_free(&whole);
    resp_request_free(&r);
}

static void _check_reply(const struct resp_reply *r)
{
    CHECK(r->type && strchr("+-:$*_,#(!=%~>", r->type));
    CHECK(r->push == (r->type == '>'));
    CHECK(r->depth == 0 && r->remaining == 0 && !r->in_line && !r->in_attribute);
}

static struct outcome _replies(const char *input, size_t len, struct cuts cuts)
{
    struct outcome o = {0};
    static struct resp_reply r;
    size_t at = 0;
    enum resp_result result = RESP_MORE;
    memset(&r, 0xa5, sizeof(r));
    resp_reply_reset(&r);
    for (size_t have = 0; have < len && result != RESP_ERROR;) {
        size_t step = _step(&cuts, len);
        have = len - have < step ? len : have + step;
        do {
            size_t used;
            char *copy = _copy(input + at, have - at);
            result = resp_reply_feed(&r, copy, have - at, &used);
            free(copy);
            CHECK(used <= have - at && r.depth <= RESP_DEPTH_MAX);
            at += used;
            CHECK(result != RESP_MORE || have - at < LEFT_OVER_MAX);
            if (result == RESP_DONE) {
                _check_reply(&r);
                _digest_number(&o, at);
                _digest_number(&o, (unsigned char)r.type);
                o.count++;
                resp_reply_reset(&r);
            }
        } while (result == RESP_DONE && at < have);
    }
    o.consumed = at;
    _end(&o, result, result == RESP_ERROR ? r.error : NULL);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct resp_limits limits[] = {
        {.multibulk = 1024 * 1024, .bulk = 512 * 1024 * 1024},
        {.multibulk = 1024 * 1024, .bulk = 512 * 1024 * 1024, .unauthenticated = true},
        {.multibulk = 4, .bulk = 8},
    };
    if (size < 2 || size > INPUT_MAX)
        return 0;
    const struct resp_limits *l = &limits[data[0] / 3 % 3];
    struct cuts cuts = {.state = data[1] + 1u}, none = {0};
    char *input = _copy((const char *)data + 2, size - 2);
    struct outcome whole, cut;
    switch (data[0] % 3) {
    case 0:
        whole = _requests(input, size - 2, none, l);
        cut = _requests(input, size - 2, cuts, l);
        CHECK(_same(&whole, &cut));
        break;
    case 1:
        whole = _replies(input, size - 2, none);
        cut = _replies(input, size - 2, cuts);
        CHECK(_same(&whole, &cut));
        break;
    default:
        _streamed(input, size - 2, cuts, l);
    }
    free(input);
    return 0;
}
