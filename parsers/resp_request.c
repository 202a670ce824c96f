/*
 * Multibulk requests, whole and streamed.
 *
 * The straight way, a plain number within the limits, is one loop without a call. Everything else
 * about a length line goes to _judge(), which says what redis says, and when: redis looks at a
 * line when it has its CR and one byte more, or when it has become too long without.
 * Where redis' verdict on a line above RESP_INLINE_MAX depends on how it arrived, it is always
 * "too big" here, so that a verdict never depends on where the input was cut.
 */
#include "parsers/resp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parsers/resp_internal.h"

/** Before AUTH (redis: networking.c, processMultibulkBuffer). */
#define UNAUTHENTICATED_MULTIBULK 10
#define UNAUTHENTICATED_BULK      16384

/** Memory that resp_request_reset() keeps: arguments, and bytes of a rewritten command. */
#define KEPT_ARGS      1024
#define KEPT_REWRITTEN 4096

static const char _no_crlf[] = "Protocol error: expected CRLF after bulk string";

bool resp_args_grow(struct resp_request *r)
{
    size_t bytes = (size_t)r->cap * 2 * sizeof(*r->args);
    struct resp_arg *args = realloc(r->args == r->few ? NULL : r->args, bytes);
    if (!args) {
        r->error = "out of memory";
        return false;
    }
    if (r->args == r->few)
        memcpy(args, r->few, sizeof(r->few));
    r->args = args;
    r->cap *= 2;
    return true;
}

/* Whether a length line that can not be taken is incomplete (RESP_MORE), has arrived (RESP_DONE),
 * or is too long. `*scan` bytes of it were searched before. */
static enum resp_result _judge(const char *line, size_t len, uint32_t *scan)
{
    size_t window = len < RESP_INLINE_MAX + 1 ? len : RESP_INLINE_MAX + 1;
    const char *cr = memchr(line + *scan, '\r', window - *scan);
    if (cr && (size_t)(cr - line) + 1 < len)
        return RESP_DONE;
    if (!cr && window > RESP_INLINE_MAX)
        return RESP_ERROR;
    *scan = (uint32_t)(cr ? (size_t)(cr - line) : window);
    return RESP_MORE;
}

/* Reads `*N`. @return Bytes of the line, 0 if it is incomplete, -1 with r->error set. */
static int _multibulk_line(struct resp_request *r, const char *line, size_t len,
                           const struct resp_limits *limits, int64_t *value)
{
    int n = resp_header_value(line, len, value);
    if (n > 0) {
        if (*value <= (limits->unauthenticated ? UNAUTHENTICATED_MULTIBULK : INT32_MAX) &&
            *value <= (int64_t)limits->multibulk)
            return n;
        r->error = *value > INT32_MAX || *value > (int64_t)limits->multibulk
                       ? "Protocol error: invalid multibulk length"
                       : "Protocol error: unauthenticated multibulk length";
        return -1;
    }
    enum resp_result verdict = _judge(line, len, &r->scan);
    if (verdict == RESP_MORE)
        return 0;
    r->error = verdict == RESP_DONE ? "Protocol error: invalid multibulk length"
                                    : "Protocol error: too big mbulk count string";
    return -1;
}

/** Where a parse or a stream keeps what it knows about a length line. */
struct _line_state {
    uint32_t *scan;
    const char **error;
    char *text;
    size_t text_size;
};

/* What is wrong with a `$N` that _bulk_line() can not take. */
static int _bulk_trouble(const char *line, size_t len, int n, int64_t value, const struct resp_limits *limits,
                         const struct _line_state *state)
{
    enum resp_result verdict = _judge(line, len, state->scan);
    if (verdict == RESP_MORE)
        return 0;
    if (verdict == RESP_ERROR) {
        *state->error = "Protocol error: too big bulk count string";
    } else if (line[0] != '$') {
        bool printable = line[0] && line[0] != '\r' && line[0] != '\n';
        snprintf(state->text, state->text_size, "Protocol error: expected '$', got '%c'",
                 printable ? line[0] : ' ');
        *state->error = state->text;
    } else if (n <= 0 || value < 0 || value > (int64_t)limits->bulk) {
        *state->error = "Protocol error: invalid bulk length";
    } else {
        *state->error = "Protocol error: unauthenticated bulk length";
    }
    return -1;
}

static inline uint64_t _bulk_limit(const struct resp_limits *limits)
{
    return limits->unauthenticated && limits->bulk > UNAUTHENTICATED_BULK ? UNAUTHENTICATED_BULK
                                                                          : limits->bulk;
}

/* A MORE or an ERROR in the middle: leaves the request as the next call finds it. */
static enum resp_result _leave(struct resp_request *r, enum resp_result result, uint32_t argn, size_t pos,
                               bool in_bulk)
{
    r->argn = argn;
    r->whole = argn - in_bulk;
    r->in_bulk = in_bulk;
    r->pos = pos;
    return result;
}

/* A bulk string that is not there with its CRLF, or not with CRLF. */
static enum resp_result _leave_in_bulk(struct resp_request *r, const char *data, size_t len, uint32_t argn,
                                       size_t end)
{
    if ((len > end && data[end] != '\r') || (len > end + 1 && data[end + 1] != '\n')) {
        r->error = _no_crlf;
        return _leave(r, RESP_ERROR, argn, end, true);
    }
    return _leave(r, RESP_MORE, argn, len, true);
}

static enum resp_result _arguments(struct resp_request *r, const char *data, size_t len,
                                   const struct resp_limits *limits)
{
    const uint64_t limit = _bulk_limit(limits);
    uint32_t argn = r->argn;
    size_t pos = r->pos;
    if (r->in_bulk) {
        size_t end = (size_t)r->args[argn - 1].off + r->args[argn - 1].len;
        if (len < end + 2 || data[end] != '\r' || data[end + 1] != '\n')
            return _leave_in_bulk(r, data, len, argn, end);
        pos = end + 2;
    }
    while (argn < r->argc) {
        int64_t value = 0;
        int n = resp_header_value(data + pos, len - pos, &value);
        if (n <= 0 || data[pos] != '$' || (uint64_t)value > limit) {
            const struct _line_state state = {&r->scan, &r->error, r->error_text, sizeof(r->error_text)};
            n = _bulk_trouble(data + pos, len - pos, n, value, limits, &state);
            return _leave(r, n ? RESP_ERROR : RESP_MORE, argn, pos, false);
        }
        r->scan = 0;
        if (argn == r->cap && !resp_args_grow(r))
            return _leave(r, RESP_ERROR, argn, pos, false);
        pos += (size_t)n;
        if (pos > UINT32_MAX) {
            r->error = "Protocol error: too big request";
            return _leave(r, RESP_ERROR, argn, pos, false);
        }
        r->args[argn++] = (struct resp_arg){.off = (uint32_t)pos, .len = (uint32_t)value};
        size_t end = pos + (size_t)value;
        if (len < end + 2 || data[end] != '\r' || data[end + 1] != '\n')
            return _leave_in_bulk(r, data, len, argn, end);
        pos = end + 2;
    }
    r->text = data;
    r->text_len = r->size = pos;
    return _leave(r, RESP_DONE, argn, pos, false);
}

enum resp_result resp_request_parse(struct resp_request *r, const char *data, size_t len,
                                    const struct resp_limits *limits)
{
    if (r->cap <= RESP_ARGS_INLINE) { /* zeroed, or moved to another address */
        r->args = r->few;
        r->cap = RESP_ARGS_INLINE;
    }
    if (r->argc == 0) {
        int64_t value = 0;
        if (len == 0)
            return RESP_MORE;
        if (data[0] != '*')
            return resp_inline_parse(r, data, len, limits);
        int n = _multibulk_line(r, data, len, limits, &value);
        if (n <= 0)
            return n ? RESP_ERROR : RESP_MORE;
        r->scan = 0;
        r->pos = (size_t)n;
        r->argc = value > 0 ? (uint32_t)value : 0;
    }
    return _arguments(r, data, len, limits);
}

void resp_request_reset(struct resp_request *r)
{
    if (r->cap > KEPT_ARGS) {
        free(r->args);
        r->args = r->few;
        r->cap = RESP_ARGS_INLINE;
    }
    if (r->rewritten_cap > KEPT_REWRITTEN) {
        free(r->rewritten);
        r->rewritten = NULL;
        r->rewritten_cap = 0;
    }
    r->text = NULL;
    r->text_len = r->size = r->pos = 0;
    r->argc = r->argn = r->whole = r->scan = 0;
    r->in_bulk = r->is_inline = false;
    r->error = NULL;
}

void resp_request_free(struct resp_request *r)
{
    if (r->cap > RESP_ARGS_INLINE)
        free(r->args);
    free(r->rewritten);
    memset(r, 0, sizeof(*r));
}

size_t resp_stream_begin(struct resp_stream *s, const struct resp_request *r)
{
    *s = (struct resp_stream){.left = r->argc - r->argn};
    if (r->in_bulk) {
        const struct resp_arg *last = &r->args[r->argn - 1];
        s->remaining = (uint64_t)last->off + last->len + 2 - r->pos;
    }
    return r->pos;
}

enum resp_result resp_stream_feed(struct resp_stream *s, const char *data, size_t len,
                                  const struct resp_limits *limits, size_t *used)
{
    const uint64_t limit = _bulk_limit(limits);
    const struct _line_state state = {&s->scan, &s->error, s->error_text, sizeof(s->error_text)};
    *used = 0;
    for (;;) {
        size_t skipped;
        bool ok = resp_skip_bulk(&s->remaining, data + *used, len - *used, &skipped);
        *used += skipped;
        if (!ok) {
            s->error = _no_crlf;
            return RESP_ERROR;
        }
        if (s->remaining > 0)
            return RESP_MORE;
        if (s->left == 0)
            return RESP_DONE;
        const char *line = data + *used;
        int64_t value = 0;
        int n = resp_header_value(line, len - *used, &value);
        if (n <= 0 || line[0] != '$' || (uint64_t)value > limit) {
            n = _bulk_trouble(line, len - *used, n, value, limits, &state);
            return n ? RESP_ERROR : RESP_MORE;
        }
        s->scan = 0;
        s->left--;
        s->remaining = (uint64_t)value + 2;
        *used += (size_t)n;
    }
}
