#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum log_level _level = LOG_LEVEL_INFO;
static const char *const _names[] = {"error", "warn", "info", "debug"};

void log_set_level(enum log_level level)
{
    _level = level;
}

int log_parse_level(const char *text, enum log_level *level)
{
    for (unsigned i = 0; i < sizeof(_names) / sizeof(_names[0]); i++) {
        if (strcmp(text, _names[i]) == 0) {
            *level = i;
            return 0;
        }
    }
    return -EINVAL;
}

static void __attribute__((format(printf, 2, 0))) _write(enum log_level level, const char *format, va_list ap)
{
    char line[1024];
    if (level > _level)
        return;
    int head = snprintf(line, sizeof(line), "skein: %s: ", _names[level]);
    int n = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, ap);
    size_t len = (size_t)head + (n < 0 ? 0 : (size_t)n);
    if (len > sizeof(line) - 2)
        len = sizeof(line) - 2;
    for (size_t i = 0; i < len; i++) {
        if (line[i] == '\n')
            line[i] = ' ';
    }
    line[len++] = '\n';
    /* Nobody is left to be told when stderr does not take the line. */
    ssize_t ignored = write(STDERR_FILENO, line, len);
    (void)ignored;
}

void log_line(enum log_level level, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    _write(level, format, ap);
    va_end(ap);
}

int log_error_r(int code, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    _write(LOG_LEVEL_ERROR, format, ap);
    va_end(ap);
    return code;
}
