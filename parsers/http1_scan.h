/*
 * The framer itself, compiled into BPF programs and into host programs from this one
 * source: no libc, no branch on content inside the loop over bytes but the one that ends
 * it, everything that varies goes into memory. So the verifier sees one path per byte.
 *
 *   byte --class--> [state x class] --next--> state --action--> mark[n] = i, sum += weight
 *
 * A message is framed in two steps, each a function that the verifier checks on its own:
 * http1_scan_head() runs the automaton, http1_frame() reads values out of the marks.
 */
#pragma once

#include "http1_framer.h"
#include "http1_tables.h"

#ifdef __bpf__
#define HTTP1_GLOBAL __attribute__((noinline))
#else
#define HTTP1_GLOBAL static inline
#endif

/** Keeps the compiler from checking one copy of a value and using another: the verifier does
 * not know that they are equal. */
#define HTTP1_OPAQUE(value) __asm__ volatile("" : "+r"(value))

/** Most field lines that the framer takes. */
#define HTTP1_FRAMER_FIELDS 100

/** Most Connection options that the framer takes: as many as the userspace parser. */
#define HTTP1_FRAMER_OPTIONS 32

/** Digits of a Content-Length that the framer takes at most. */
#define HTTP1_FRAMER_DIGITS 18

/** Working memory of one scan; in BPF it lives in a map, contents before a call do not matter. */
struct http1_scan {
    unsigned short mark[HTTP1_MARKS]; /**< Position at which a marked state was entered last. */
    unsigned long long sum;           /**< Counters: HTTP1_COUNT_*(). */
    unsigned int state;               /**< Where the automaton stopped. */
    unsigned int pos;                 /**< Bytes before the one at which it stopped. */
};

/** Runs the automaton over the window's first `n` bytes.
 *
 * @return 0; the result is in `s`. -1 for a null pointer.
 */
HTTP1_GLOBAL int http1_scan_head(const struct http1_window *w, unsigned int n, unsigned int kind,
                                 struct http1_scan *s)
{
    unsigned char state = kind == HTTP1_RESPONSE ? HTTP1_START_RESPONSE : HTTP1_START_REQUEST;
    unsigned long long sum = 0;
    unsigned int i;

    if (!w || !s)
        return -1;
    for (i = 0; i < HTTP1_MARKS; i++)
        s->mark[i] = 0;
    for (i = 0; i < HTTP1_WINDOW; i++) {
        if (i >= n)
            break;
        unsigned int at =
            (unsigned int)state * HTTP1_CLASSES + (http1_table_class[w->bytes[i]] & (HTTP1_CLASSES - 1));
        /* The compiler adds by OR: the verifier of 6.1 knows no bounds of that. */
        HTTP1_OPAQUE(at);
        if (at >= sizeof(http1_table_next))
            break;
        unsigned char next = http1_table_next[at];
        /* Most bytes stay inside a value or a path. Asking first breaks the chain of dependent
         * loads, which is what the loop's time consists of. */
        if (__builtin_expect(next == state, 1))
            continue;
        state = next;
        unsigned long long action = http1_table_action[state];
        s->mark[action & (HTTP1_MARKS - 1)] = (unsigned short)i;
        sum += action >> HTTP1_MARK_BITS;
        if (state >= HTTP1_SINK)
            break;
    }
    s->sum = sum;
    s->state = state;
    s->pos = i;
    return 0;
}

/* At most one Content-Length, of 1 to 18 digits; the automaton saw to it that there are only digits. */
static inline int _http1_frame_length(const struct http1_window *w, const struct http1_scan *s,
                                      struct http1_head *out)
{
    unsigned int count = HTTP1_COUNT_LENGTHS(s->sum);
    unsigned int start = s->mark[HTTP1_MARK_LENGTH];
    unsigned int digits = s->mark[HTTP1_MARK_LENGTH_END] - start;
    unsigned long long value = 0;

    if (count == 0)
        return HTTP1_OK;
    if (count > 1 || digits > HTTP1_FRAMER_DIGITS)
        return HTTP1_CONTENT_LENGTH;
    for (unsigned int i = 0; i < HTTP1_FRAMER_DIGITS; i++) {
        unsigned int at = start + i;
        HTTP1_OPAQUE(at);
        if (i >= digits || at >= HTTP1_WINDOW)
            break;
        value = value * 10 + (unsigned long long)(w->bytes[at] - '0');
    }
    out->content_length = value;
    out->flags |= HTTP1_F_HAS_LENGTH;
    return HTTP1_OK;
}

static inline int _http1_frame_method(const struct http1_window *w, struct http1_head *out)
{
    const unsigned char *m = w->bytes;
    unsigned int len = out->target_off - 1u;

    if (len > HTTP1_METHOD_MAX)
        return HTTP1_METHOD;
    if (len == 3 && m[0] == 'G' && m[1] == 'E' && m[2] == 'T')
        out->flags |= HTTP1_F_SAFE;
    if (len == 4 && m[0] == 'H' && m[1] == 'E' && m[2] == 'A' && m[3] == 'D')
        out->flags |= HTTP1_F_HEAD | HTTP1_F_SAFE;
    if (len == 5 && m[0] == 'T' && m[1] == 'R' && m[2] == 'A' && m[3] == 'C' && m[4] == 'E')
        return HTTP1_METHOD;
    if (len == 7 && m[0] == 'C' && m[1] == 'O' && m[2] == 'N' && m[3] == 'N' && m[4] == 'E' && m[5] == 'C' &&
        m[6] == 'T')
        return HTTP1_METHOD;
    return HTTP1_OK;
}

static inline int _http1_frame_request(const struct http1_window *w, const struct http1_scan *s,
                                       struct http1_head *out)
{
    unsigned int target = s->mark[HTTP1_MARK_TARGET];
    unsigned int query = s->mark[HTTP1_MARK_QUERY];
    unsigned int end = s->mark[HTTP1_MARK_TARGET_END];

    if (s->mark[HTTP1_MARK_UNDERSCORE])
        return HTTP1_UNDERSCORE;
    if (HTTP1_COUNT_HOSTS(s->sum) != 1)
        return HTTP1_HOST;
    if (HTTP1_COUNT_CLOSES(s->sum))
        return HTTP1_CONNECTION;
    if (HTTP1_COUNT_EXPECTS(s->sum) > 1)
        return HTTP1_EXPECT;
    if (HTTP1_COUNT_EXPECTS(s->sum))
        out->flags |= HTTP1_F_EXPECT;
    if (s->mark[HTTP1_MARK_ODD_PATH])
        out->flags |= HTTP1_F_ODD_PATH;
    out->target_off = (unsigned short)target;
    out->target_len = (unsigned short)(end - target);
    out->path_len = (unsigned short)((query ? query : end) - target);
    out->host_off = s->mark[HTTP1_MARK_HOST];
    out->host_len = (unsigned short)(s->mark[HTTP1_MARK_HOST_END] - s->mark[HTTP1_MARK_HOST]);
    return _http1_frame_method(w, out);
}

/* 101 ends HTTP; 1xx and 204 have no framing fields (RFC 9110 section 8.6, RFC 9112 section 6.1). */
static inline int _http1_frame_status(struct http1_head *out)
{
    unsigned int framing = out->flags & (HTTP1_F_HAS_LENGTH | HTTP1_F_CHUNKED);

    if (out->status == 204 || out->status == 304)
        out->flags |= HTTP1_F_NO_BODY;
    if (out->status < 200)
        out->flags |= HTTP1_F_INTERIM;
    if (out->status == 101 || (framing && (out->status < 200 || out->status == 204)))
        return HTTP1_STATUS;
    return HTTP1_OK;
}

/* The automaton saw to it that the status is 100 to 599. HTTP/1.0 knows no interim responses and no chunks,
 * and its connections last only if that is said (RFC 9112 sections 6.1 and 9.3). */
static inline int _http1_frame_response(const struct http1_window *w, const struct http1_scan *s,
                                        struct http1_head *out)
{
    const unsigned char *d = w->bytes + sizeof("HTTP/1.1 ") - 1;

    out->status = (unsigned short)((d[0] - '0') * 100 + (d[1] - '0') * 10 + (d[2] - '0'));
    if (HTTP1_COUNT_CLOSES(s->sum))
        out->flags |= HTTP1_F_CLOSE;
    if (HTTP1_COUNT_EXPECTS(s->sum))
        return HTTP1_EXPECT;
    if (s->mark[HTTP1_MARK_MINOR_0]) {
        if ((out->flags & HTTP1_F_CHUNKED) || out->status < 200)
            return HTTP1_VERSION;
        out->flags |= HTTP1_F_MINOR_0;
        if (!HTTP1_COUNT_PERSISTS(s->sum))
            out->flags |= HTTP1_F_CLOSE;
    }
    return _http1_frame_status(out);
}

/* At most one Transfer-Encoding, which is chunked: the automaton took nothing else. */
static inline int _http1_frame_coding(const struct http1_scan *s, struct http1_head *out)
{
    unsigned int count = HTTP1_COUNT_CODINGS(s->sum);

    if (!count)
        return HTTP1_OK;
    if (count > 1 || (out->flags & HTTP1_F_HAS_LENGTH))
        return HTTP1_TRANSFER_ENCODING;
    out->flags |= HTTP1_F_CHUNKED;
    return HTTP1_OK;
}

/* Length of the field name at `next` with its colon; 0 at the head's end, or if it is too long. */
static inline unsigned int _http1_frame_name(const struct http1_window *w, unsigned int next)
{
    for (unsigned int i = 0; i < HTTP1_BLANK_NAME; i++) {
        unsigned int at = next + i;
        HTTP1_OPAQUE(at);
        if (at >= HTTP1_WINDOW || w->bytes[at] == '\r')
            return 0;
        if (w->bytes[at] == ':')
            return i + 1;
    }
    return 0;
}

/* Keep-Alive is between two neighbours (RFC 9110 section 7.6.1): its line is to be blanked. */
static inline int _http1_frame_keep_alive(const struct http1_window *w, const struct http1_scan *s,
                                          struct http1_head *out)
{
    unsigned int off = s->mark[HTTP1_MARK_KEEP_ALIVE] - (sizeof("Keep-Alive") - 1);
    unsigned int next = s->mark[HTTP1_MARK_KEEP_ALIVE_END] + 2, name;

    if (!HTTP1_COUNT_KEEP_ALIVES(s->sum))
        return HTTP1_OK;
    if (HTTP1_COUNT_KEEP_ALIVES(s->sum) > 1 || next - off > HTTP1_BLANK_MAX)
        return HTTP1_HOP_FIELD;
    name = _http1_frame_name(w, next);
    if (!name) {
        off -= 2;
        next -= 2;
        if (s->mark[HTTP1_MARK_CONNECTION_END] != off)
            return HTTP1_HOP_FIELD;
    }
    out->blank_off = (unsigned short)off;
    out->blank_len = (unsigned char)(next - off);
    out->blank_name = (unsigned char)name;
    return HTTP1_OK;
}

static inline int _http1_frame_values(const struct http1_window *w, unsigned int kind,
                                      const struct http1_scan *s, struct http1_head *out)
{
    int reason = _http1_frame_length(w, s, out);

    out->head_len = (unsigned short)(s->pos + 1);
    out->fields = (unsigned short)(HTTP1_COUNT_LINES(s->sum) - 1);
    if (reason == HTTP1_OK)
        reason = _http1_frame_coding(s, out);
    if (reason == HTTP1_OK)
        reason = _http1_frame_keep_alive(w, s, out);
    if (reason != HTTP1_OK)
        return reason;
    if (out->fields > HTTP1_FRAMER_FIELDS)
        return HTTP1_FIELD_COUNT;
    if (HTTP1_COUNT_PERSISTS(s->sum) + HTTP1_COUNT_CLOSES(s->sum) > HTTP1_FRAMER_OPTIONS)
        return HTTP1_CONNECTION;
    return kind == HTTP1_RESPONSE ? _http1_frame_response(w, s, out) : _http1_frame_request(w, s, out);
}

/** Frames the head at the start of a window (RFC 9112 sections 2 to 6).
 *
 * @param w     The bytes; those from `n` on are not looked at.
 * @param n     Bytes available; more than HTTP1_WINDOW counts as HTTP1_WINDOW.
 * @param kind  enum http1_kind
 * @param s     Working memory.
 * @param out   With HTTP1_OK everything is set; otherwise only `reason` is meaningful.
 * @return enum http1_reason. HTTP1_MORE for n < HTTP1_WINDOW only. Whether a response answers HEAD, and so
 *         what its framing fields mean, is known to the caller alone: http1_response_body().
 */
HTTP1_GLOBAL int http1_frame(const struct http1_window *w, unsigned int n, unsigned int kind,
                             struct http1_scan *s, struct http1_head *out)
{
    int reason;

    if (!w || !s || !out)
        return HTTP1_SYNTAX;
    *out = (struct http1_head){0};
    http1_scan_head(w, n, kind, s);
    if (s->state == HTTP1_SINK + HTTP1_OK)
        reason = _http1_frame_values(w, kind, s, out);
    else if (s->state >= HTTP1_SINK)
        reason = (int)((s->state - HTTP1_SINK) & 31);
    else
        reason = n < HTTP1_WINDOW ? HTTP1_MORE : HTTP1_TOO_LONG;
    out->reason = (unsigned char)reason;
    return reason;
}

/** How the body of a message is framed. */
enum http1_framing {
    HTTP1_FRAMED_LENGTH,  /**< `content_length` bytes; 0 if there is no body. */
    HTTP1_FRAMED_CHUNKED, /**< Chunks. */
    HTTP1_FRAMED_CLOSE,   /**< Everything until the connection ends. */
};

/** Body of a framed response (RFC 9112 section 6.3), and whether the kernel path can forward it: a
 * connection that the server ends is forwarded as it is only if that end is what frames the body.
 *
 * @param to_head  It answers HEAD.
 * @param framing  enum http1_framing. `content_length` of the head is set to 0 if there is no body.
 * @return HTTP1_OK, or HTTP1_CONNECTION.
 */
static inline int http1_response_body(struct http1_head *h, unsigned int to_head, unsigned char *framing)
{
    *framing = HTTP1_FRAMED_LENGTH;
    if (to_head || (h->flags & (HTTP1_F_NO_BODY | HTTP1_F_INTERIM)))
        h->content_length = 0;
    else if (h->flags & HTTP1_F_CHUNKED)
        *framing = HTTP1_FRAMED_CHUNKED;
    else if (!(h->flags & HTTP1_F_HAS_LENGTH))
        *framing = HTTP1_FRAMED_CLOSE;
    return (h->flags & HTTP1_F_CLOSE) && *framing != HTTP1_FRAMED_CLOSE ? HTTP1_CONNECTION : HTTP1_OK;
}
