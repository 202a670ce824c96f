/* Log lines on stderr: one line each, `skein: level: text`, written with one system call. */
#pragma once

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/** Lines above `level` are dropped. Default: info. Not thread-safe; call it at start. */
void log_set_level(enum log_level level);

/** Parses `error`, `warn`, `info` or `debug`. @return 0 or -EINVAL. */
int log_parse_level(const char *text, enum log_level *level);

/** Writes one line; line feeds inside are replaced by spaces. Thread-safe. */
void log_line(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** Logs an error line and returns `code`, so that `return log_error_r(-EINVAL, ...)` reads well. */
int log_error_r(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_LEVEL_DEBUG, __VA_ARGS__)
