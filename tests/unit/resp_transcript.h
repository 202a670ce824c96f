/*
 * Requests as text, for tests: every command of an input as [arg|arg|...], then how it ended. An
 * input has one transcript, however it arrives: resp_transcript() parses it whole, cut at every
 * byte, and byte by byte (each time from memory of exactly that size), and as a stream.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "parsers/resp.h"

#define TRANSCRIPT_MAX 8192

struct transcript {
    char text[TRANSCRIPT_MAX];
    size_t len;
    size_t consumed; /**< Bytes of complete commands. */
};

static const struct resp_limits resp_defaults = {.multibulk = 1024 * 1024, .bulk = 512u * 1024 * 1024};

static inline void transcript_add(struct transcript *t, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        assert_true(t->len + 8 < TRANSCRIPT_MAX);
        if (data[i] >= ' ' && data[i] <= '~')
            t->text[t->len++] = data[i];
        else
            t->len += (size_t)sprintf(t->text + t->len, "\\x%02x", (unsigned char)data[i]);
    }
}

/* The command, after a check that its text is what its arguments say. */
static inline void transcript_command(struct transcript *t, const struct resp_request *r)
{
    transcript_add(t, "[", 1);
    size_t at = 0;
    char line[32];
    for (uint32_t i = 0; i < r->argc; i++) {
        if (i == 0)
            at = (size_t)sprintf(line, "*%u\r\n", r->argc);
        at += (size_t)sprintf(line, "$%u\r\n", r->args[i].len);
        assert_int_equal(r->args[i].off, at);
        assert_memory_equal(r->text + at - strlen(line), line, strlen(line));
        at += r->args[i].len + 2;
        assert_memory_equal(r->text + at - 2, "\r\n", 2);
        if (i > 0)
            transcript_add(t, "|", 1);
        transcript_add(t, r->text + r->args[i].off, r->args[i].len);
    }
    if (r->argc > 0)
        assert_int_equal(r->text_len, at);
    assert_int_equal(r->argn, r->argc);
    assert_int_equal(r->whole, r->argc);
    transcript_add(t, "]", 1);
}

static inline void transcript_end(struct transcript *t, enum resp_result result, const char *error)
{
    if (result == RESP_ERROR) {
        transcript_add(t, "!", 1);
        transcript_add(t, error, strlen(error));
    } else if (result == RESP_MORE) {
        transcript_add(t, "...", 3);
    }
}

/* Parses while the input grows from `first` bytes on by `step`. */
static inline void transcript_of(struct transcript *t, const char *input, size_t len, size_t first,
                                 size_t step, const struct resp_limits *limits)
{
    struct resp_request r = {0};
    enum resp_result result = RESP_DONE;
    *t = (struct transcript){0};
    for (size_t have = first; result != RESP_ERROR; have = len - have < step ? len : have + step) {
        do {
            if (result == RESP_DONE)
                resp_request_reset(&r);
            size_t given = have - t->consumed;
            char *copy = malloc(given ? given : 1);
            assert_non_null(copy);
            memcpy(copy, input + t->consumed, given);
            result = resp_request_parse(&r, copy, given, limits);
            assert_true(r.pos <= given && r.whole <= r.argn);
            if (result == RESP_DONE) {
                transcript_command(t, &r);
                assert_true(r.size > 0 && r.size <= given);
                t->consumed += r.size;
            }
            free(copy);
        } while (result == RESP_DONE && t->consumed < have);
        if (have == len)
            break;
    }
    transcript_end(t, result, r.error);
    resp_request_free(&r);
}

/* Feeds a stream all that comes behind `at`, as much as `step` bytes more at a time. */
static inline enum resp_result stream_rest(struct resp_stream *s, const char *input, size_t len, size_t at,
                                           size_t step, const struct resp_limits *limits, size_t *end)
{
    enum resp_result result = RESP_MORE;
    size_t have = at;
    do {
        size_t used;
        have = len - have < step ? len : have + step;
        char *copy = malloc(have - at ? have - at : 1);
        assert_non_null(copy);
        memcpy(copy, input + at, have - at);
        result = resp_stream_feed(s, copy, have - at, limits, &used);
        assert_true(used <= have - at);
        at += used;
        free(copy);
    } while (result == RESP_MORE && have < len);
    *end = at;
    return result;
}

/* Turns the first command's parse into a stream wherever that can be done: same verdict, same end. */
static inline void streams_alike(const char *input, size_t len, const struct resp_limits *limits)
{
    struct resp_request whole = {0};
    enum resp_result expected = resp_request_parse(&whole, input, len, limits);
    for (size_t cut = 1; cut < len; cut++) {
        struct resp_request r = {0};
        if (resp_request_parse(&r, input, cut, limits) == RESP_MORE && r.argc > 0 && !r.is_inline) {
            for (size_t step = 1; step < len + 64; step = step * 2 + 1) {
                struct resp_stream s;
                size_t end;
                size_t at = resp_stream_begin(&s, &r);
                assert_true(at <= cut);
                assert_int_equal(stream_rest(&s, input, len, at, step, limits, &end), expected);
                if (expected == RESP_DONE)
                    assert_int_equal(end, whole.size);
                if (expected == RESP_ERROR)
                    assert_string_equal(s.error, whole.error);
            }
        }
        resp_request_free(&r);
    }
    resp_request_free(&whole);
}

static inline const char *resp_transcript(const char *input, size_t len, const struct resp_limits *limits)
{
    static struct transcript whole, cut;
    transcript_of(&whole, input, len, len, len, limits);
    for (size_t at = 0; at < len; at++) {
        transcript_of(&cut, input, len, at, len, limits);
        assert_string_equal(cut.text, whole.text);
        assert_int_equal(cut.consumed, whole.consumed);
    }
    transcript_of(&cut, input, len, 0, 1, limits);
    assert_string_equal(cut.text, whole.text);
    streams_alike(input, len, limits);
    return whole.text;
}

/** A literal's transcript must be this. */
#define TRANSCRIPT_IS(input, text) TRANSCRIPT_WITH(&resp_defaults, input, text)
#define TRANSCRIPT_WITH(limits, input, text)                                                                 \
    assert_string_equal(resp_transcript(input, sizeof(input) - 1, limits), text)
