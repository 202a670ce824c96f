#include "conf/errors.h"

#include <stdarg.h>
#include <string.h>

#include "conf/locate.h"

/** Bytes of a user's string that an error shows. */
#define SHOWN_MAX 48

static void _report(struct conf_errors *errors, unsigned line, const char *path, const char *fmt,
                    va_list args)
{
    errors->count++;
    if (!errors->stream || errors->count > CONF_ERRORS_MAX + 1)
        return;

    fprintf(errors->stream, "%s:%u: ", errors->file, line);
    if (errors->count > CONF_ERRORS_MAX) {
        fprintf(errors->stream, "file: more than %d errors, the others are not shown, expected none\n",
                CONF_ERRORS_MAX);
        return;
    }
    fprintf(errors->stream, "%s: ", path);
    vfprintf(errors->stream, fmt, args);
    fputc('\n', errors->stream);
}

void conf_error(struct conf_errors *errors, const char *path, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    _report(errors, conf_locate(errors->doc, path), path, fmt, args);
    va_end(args);
}

void conf_error_at(struct conf_errors *errors, unsigned line, const char *path, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    _report(errors, line, path, fmt, args);
    va_end(args);
}

bool conf_errors_full(const struct conf_errors *errors)
{
    return errors->count > CONF_ERRORS_MAX;
}

struct conf_text conf_printable(const char *s, size_t len)
{
    struct conf_text out;
    size_t shown = len < SHOWN_MAX ? len : SHOWN_MAX;
    size_t n = 0;

    for (size_t i = 0; i < shown; ++i) {
        unsigned char c = (unsigned char)s[i];

        if (c < 0x20 || c >= 0x7f)
            n += (size_t)snprintf(out.text + n, sizeof(out.text) - n, "\\x%02x", c);
        else
            out.text[n++] = (char)c;
    }
    snprintf(out.text + n, sizeof(out.text) - n, "%s", shown < len ? "..." : "");

    return out;
}

struct conf_text conf_quote(const char *s)
{
    struct conf_text inner = conf_printable(s, strlen(s));
    struct conf_text out;

    snprintf(out.text, sizeof(out.text), "\"%.*s\"", (int)sizeof(out.text) - 3, inner.text);

    return out;
}

struct conf_text conf_path(const char *fmt, ...)
{
    struct conf_text out;
    va_list args;

    va_start(args, fmt);
    vsnprintf(out.text, sizeof(out.text), fmt, args);
    va_end(args);

    return out;
}
