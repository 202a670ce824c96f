/* Decode, then cut into segments, then drop and go back: one pass each, in place. */
#include "http1_path.h"

#include <string.h>

#include "http1_internal.h"

enum _decode { DECODE_NOTHING, DECODE_UNRESERVED, DECODE_ALL, _DECODE_MAX };

/** What a form does besides decoding, as bits. */
enum _option {
    OPTION_BACKSLASH = 1 << 0,
    OPTION_MERGE = 1 << 1,
    OPTION_PARAMETERS = 1 << 2,
    _OPTIONS = 1 << 3,
};

_Static_assert(HTTP1_PATH_FORMS == _DECODE_MAX * _OPTIONS, "every combination is a form");

bool http1_path_is_plain(const char *path, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (path[i] == '%' || path[i] == '\\' || path[i] == ';')
            return false;
        if (path[i] == '/' && i + 1 < len && (path[i + 1] == '/' || path[i + 1] == '.'))
            return false;
    }
    return true;
}

static unsigned _hex(char c)
{
    return http1_is(c, HTTP1_C_DIGIT) ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a') + 10;
}

/* RFC 3986 section 2.3. */
static bool _is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || http1_is(c, HTTP1_C_DIGIT) || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static size_t _decode(enum _decode what, const char *path, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        out[n] = path[i];
        if (path[i] == '%' && len - i > 2 && http1_is(path[i + 1], HTTP1_C_HEX) &&
            http1_is(path[i + 2], HTTP1_C_HEX)) {
            char c = (char)(_hex(path[i + 1]) << 4 | _hex(path[i + 2]));
            if (what == DECODE_ALL || (what == DECODE_UNRESERVED && _is_unreserved(c))) {
                out[n] = c;
                i += 2;
            }
        }
        n++;
    }
    return n;
}

/* Back to the slash before the last segment, if there is one (RFC 3986 section 5.2.4). */
static size_t _pop(const char *out, size_t n)
{
    while (n > 0 && out[--n] != '/')
        ;
    return n;
}

/* One segment, without the slash before it: keeps it behind out[n] (with that slash), or not. */
static size_t _segment(unsigned options, const char *seg, size_t len, bool last, char *out, size_t n)
{
    const char *parameters = options & OPTION_PARAMETERS ? memchr(seg, ';', len) : NULL;
    size_t kept = parameters ? (size_t)(parameters - seg) : len;
    bool dot = kept == 1 && seg[0] == '.';
    bool up = kept == 2 && seg[0] == '.' && seg[1] == '.';
    if (up)
        n = _pop(out, n);
    if (dot || up)
        kept = 0;
    if (kept == 0 && !last && (dot || up || (options & OPTION_MERGE)))
        return n;
    out[n++] = '/';
    memmove(out + n, seg, kept);
    return n + kept;
}

size_t http1_path_form(unsigned form, const char *path, size_t len, char *out)
{
    unsigned options = form % _OPTIONS;
    size_t end = _decode((enum _decode)(form / _OPTIONS), path, len, out);
    size_t n = 0;
    for (size_t i = 0; (options & OPTION_BACKSLASH) && i < end; i++) {
        if (out[i] == '\\')
            out[i] = '/';
    }
    /* What is written never overtakes what is read: a segment shrinks or stays. */
    for (size_t i = 0; i < end;) {
        size_t start = i + 1;
        const char *slash = start < end ? memchr(out + start, '/', end - start) : NULL;
        size_t stop = slash ? (size_t)(slash - out) : end;
        n = _segment(options, out + start, stop - start, !slash, out, n);
        i = stop;
    }
    return n;
}
