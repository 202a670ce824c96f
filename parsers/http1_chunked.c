/*
 * One byte-wise automaton for everything but chunk data, which is skipped in whole.
 * Whitespace is nowhere tolerated outside of trailer values: the grammar knows it as
 * "bad whitespace" only, and peers disagree on it.
 */
#include "http1_chunked.h"

#include "http1_internal.h"

/** Hexadecimal digits of a chunk size, leading zeros included. */
#define SIZE_DIGITS_MAX 16

enum _state {
    STATE_SIZE,
    STATE_EXT_NAME,
    STATE_EXT_NAME_MORE,
    STATE_EXT_VALUE,
    STATE_EXT_TOKEN,
    STATE_EXT_QUOTED,
    STATE_EXT_ESCAPED,
    STATE_EXT_AFTER_QUOTED,
    STATE_SIZE_LF,
    STATE_DATA,
    STATE_DATA_CR,
    STATE_DATA_LF,
    STATE_TRAILER_START,
    STATE_TRAILER_NAME,
    STATE_TRAILER_VALUE,
    STATE_TRAILER_LF,
    STATE_END_LF,
    STATE_DONE,
    STATE_DEAD,
};

void http1_chunked_init(struct http1_chunked *c)
{
    *c = (struct http1_chunked){.state = STATE_SIZE};
}

void http1_chunked_resume(struct http1_chunked *c, bool begun, uint64_t left)
{
    *c = (struct http1_chunked){
        .state = !begun ? STATE_SIZE
                 : left ? STATE_DATA
                        : STATE_DATA_CR,
        .remaining = left,
    };
}

static unsigned _hex(char c)
{
    return http1_is(c, HTTP1_C_DIGIT) ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a') + 10;
}

/* Transitions that begin an extension or end the chunk line. */
static int _ext_or_end(char ch)
{
    if (ch == ';')
        return STATE_EXT_NAME;
    return ch == '\r' ? STATE_SIZE_LF : STATE_DEAD;
}

static int _size(struct http1_chunked *c, char ch)
{
    if (!http1_is(ch, HTTP1_C_HEX)) {
        c->line = 1;
        return c->digits ? _ext_or_end(ch) : STATE_DEAD;
    }
    if (++c->digits > SIZE_DIGITS_MAX)
        return STATE_DEAD;
    c->remaining = c->remaining << 4 | _hex(ch);
    return c->remaining > INT64_MAX ? STATE_DEAD : STATE_SIZE;
}

/* chunk-ext: RFC 9112 section 7.1.1. */
static int _extension(struct http1_chunked *c, char ch)
{
    if (++c->line > HTTP1_CHUNK_EXT_MAX && ch != '\r')
        return STATE_DEAD;
    switch (c->state) {
    case STATE_EXT_NAME:
        return http1_is(ch, HTTP1_C_TOKEN) ? STATE_EXT_NAME_MORE : STATE_DEAD;
    case STATE_EXT_NAME_MORE:
        if (http1_is(ch, HTTP1_C_TOKEN))
            return STATE_EXT_NAME_MORE;
        return ch == '=' ? STATE_EXT_VALUE : _ext_or_end(ch);
    case STATE_EXT_VALUE:
        if (ch == '"')
            return STATE_EXT_QUOTED;
        return http1_is(ch, HTTP1_C_TOKEN) ? STATE_EXT_TOKEN : STATE_DEAD;
    case STATE_EXT_TOKEN:
        return http1_is(ch, HTTP1_C_TOKEN) ? STATE_EXT_TOKEN : _ext_or_end(ch);
    case STATE_EXT_QUOTED:
        if (ch == '"')
            return STATE_EXT_AFTER_QUOTED;
        if (ch == '\\')
            return STATE_EXT_ESCAPED;
        return http1_is(ch, HTTP1_C_VALUE) ? STATE_EXT_QUOTED : STATE_DEAD;
    case STATE_EXT_ESCAPED:
        return http1_is(ch, HTTP1_C_VALUE) ? STATE_EXT_QUOTED : STATE_DEAD;
    default:
        return _ext_or_end(ch);
    }
}

/* trailer-section: field lines as in a head, RFC 9112 section 7.1.2. */
static int _trailer(struct http1_chunked *c, char ch)
{
    if (c->state == STATE_TRAILER_START && ch == '\r')
        return STATE_END_LF;
    if (++c->trailer > HTTP1_TRAILER_MAX)
        return STATE_DEAD;
    switch (c->state) {
    case STATE_TRAILER_START:
        return http1_is(ch, HTTP1_C_TOKEN) ? STATE_TRAILER_NAME : STATE_DEAD;
    case STATE_TRAILER_NAME:
        if (http1_is(ch, HTTP1_C_TOKEN))
            return STATE_TRAILER_NAME;
        return ch == ':' ? STATE_TRAILER_VALUE : STATE_DEAD;
    case STATE_TRAILER_VALUE:
        if (http1_is(ch, HTTP1_C_VALUE))
            return STATE_TRAILER_VALUE;
        return ch == '\r' ? STATE_TRAILER_LF : STATE_DEAD;
    default:
        return ch == '\n' ? STATE_TRAILER_START : STATE_DEAD;
    }
}

/* After the chunk line: data, or the trailer section after the last chunk. */
static int _begin_chunk(struct http1_chunked *c)
{
    c->digits = 0;
    return c->remaining ? STATE_DATA : STATE_TRAILER_START;
}

static int _step(struct http1_chunked *c, char ch)
{
    switch (c->state) {
    case STATE_SIZE:
        return _size(c, ch);
    case STATE_SIZE_LF:
        return ch == '\n' ? _begin_chunk(c) : STATE_DEAD;
    case STATE_DATA_CR:
        return ch == '\r' ? STATE_DATA_LF : STATE_DEAD;
    case STATE_DATA_LF:
        return ch == '\n' ? STATE_SIZE : STATE_DEAD;
    case STATE_TRAILER_START:
    case STATE_TRAILER_NAME:
    case STATE_TRAILER_VALUE:
    case STATE_TRAILER_LF:
        return _trailer(c, ch);
    case STATE_END_LF:
        return ch == '\n' ? STATE_DONE : STATE_DEAD;
    case STATE_DONE:
    case STATE_DEAD:
        return c->state;
    default:
        return _extension(c, ch);
    }
}

static bool _in_trailer(const struct http1_chunked *c)
{
    return c->state >= STATE_TRAILER_START && c->state <= STATE_TRAILER_LF;
}

static enum http1_chunked_event _take_data(struct http1_chunked *c, size_t available, size_t *taken)
{
    *taken = available < c->remaining ? available : (size_t)c->remaining;
    c->remaining -= *taken;
    if (c->remaining == 0)
        c->state = STATE_DATA_CR;
    return HTTP1_CHUNKED_DATA;
}

/* Consumes field lines; what is left ends the section, or ends it in error. */
static size_t _take_trailer(struct http1_chunked *c, const char *buf, size_t len)
{
    size_t n = 0;
    while (n < len && _in_trailer(c)) {
        if (c->state == STATE_TRAILER_START && buf[n] == '\r')
            break;
        c->state = (uint8_t)_step(c, buf[n++]);
    }
    return n;
}

static enum http1_chunked_event _verdict(const struct http1_chunked *c)
{
    if (c->state == STATE_DEAD)
        return HTTP1_CHUNKED_ERROR;
    return c->state == STATE_DONE ? HTTP1_CHUNKED_END : HTTP1_CHUNKED_MORE;
}

enum http1_chunked_event http1_chunked_next(struct http1_chunked *c, const char *buf, size_t len,
                                            size_t *consumed, const char **data, size_t *data_len)
{
    size_t i = 0;
    *data = NULL;
    *data_len = 0;
    while (i < len && c->state < STATE_DONE) {
        if (c->state == STATE_DATA) {
            enum http1_chunked_event event = _take_data(c, len - i, data_len);
            *data = buf + i;
            *consumed = i + *data_len;
            return event;
        }
        size_t n = _in_trailer(c) ? _take_trailer(c, buf + i, len - i) : 0;
        if (n > 0 && c->state != STATE_DEAD) {
            *data = buf + i;
            *data_len = n;
            *consumed = i + n;
            return HTTP1_CHUNKED_TRAILER;
        }
        if (n > 0)
            i += n;
        else
            c->state = (uint8_t)_step(c, buf[i++]);
    }
    *consumed = i;
    return _verdict(c);
}
