/*
 * Passwords: in the file itself, or in a file of their own. No error shows any part of one, nor the
 * value of `password_file`: it may hold a password by mistake.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/resolve.h"

/** Bytes of a password, and of the file that holds it. */
#define PASSWORD_MAX 4096
#define USER_MAX     255

#define EXPECTED "expected a readable file of at most 4 KiB whose first line is the password"

static struct conf_text _key(const char *at, const char *key)
{
    return conf_path("%s.%s", at, key);
}

/** Relative paths begin at the directory of the configuration. @return NULL: out of memory. */
static char *_path_of(const char *conf_file, const char *file)
{
    const char *slash = strrchr(conf_file, '/');
    size_t dir = slash && file[0] != '/' ? (size_t)(slash - conf_file) + 1 : 0;
    char *path = malloc(dir + strlen(file) + 1);

    if (path) {
        memcpy(path, conf_file, dir);
        strcpy(path + dir, file);
    }

    return path;
}

/** @return Bytes read, at most `size`; or -errno. */
static ssize_t _read_start(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t len = 0;
    ssize_t n = 1;

    if (fd < 0)
        return -errno;
    while (n && len < size) {
        n = read(fd, buf + len, size - len);
        if (n < 0 && errno != EINTR)
            break;
        len += n > 0 ? (size_t)n : 0;
    }
    n = n < 0 ? -errno : (ssize_t)len;
    close(fd);

    return n;
}

/** The first line, without its end; reports what is wrong with it. @return 0 or -ENOMEM. */
static int _take_line(struct conf_build *b, const char *at, const char *buf, size_t len, char **password)
{
    const char *end = memchr(buf, '\n', len);
    size_t n = end ? (size_t)(end - buf) : len;

    if (n && buf[n - 1] == '\r')
        n--;
    if (!n) {
        conf_error(b->errors, at, "the first line of the file is empty, " EXPECTED);
        return 0;
    }
    if (memchr(buf, '\0', n)) {
        conf_error(b->errors, at, "the first line of the file has a NUL byte, " EXPECTED);
        return 0;
    }
    *password = strndup(buf, n);

    return *password ? 0 : -ENOMEM;
}

static int _read_password(struct conf_build *b, const char *at, const char *file, char **password)
{
    char buf[PASSWORD_MAX + 1];
    char *path = _path_of(b->conf->file, file);
    ssize_t n;
    int r = 0;

    if (!path)
        return -ENOMEM;
    n = _read_start(path, buf, sizeof(buf));
    free(path);

    if (n < 0)
        conf_error(b->errors, at, "the file can not be read (%s), " EXPECTED, strerror((int)-n));
    else if (n > PASSWORD_MAX)
        conf_error(b->errors, at, "the file is larger than 4 KiB, " EXPECTED);
    else
        r = _take_line(b, at, buf, (size_t)n, password);
    explicit_bzero(buf, sizeof(buf));

    return r;
}

static void _check_user(struct conf_build *b, const char *at, const char *user)
{
    size_t len = strlen(user);

    if (!len || len > USER_MAX || strcspn(user, " \t\n\v\f\r") != len)
        conf_error(b->errors, at, "%s is not the name of a user, expected 1 to %d bytes without spaces",
                   conf_quote(user).text, USER_MAX);
}

static void _check_password(struct conf_build *b, const char *at, const char *password)
{
    if (!*password || strlen(password) > PASSWORD_MAX)
        conf_error(b->errors, at, "%s, expected a password of 1 to %d bytes",
                   *password ? "too long" : "empty", PASSWORD_MAX);
}

int conf_resolve_auth(struct conf_build *b, const char *at, struct raw_auth *raw, char **user,
                      char **password)
{
    *user = CONF_TAKE(raw->user);
    if (*user)
        _check_user(b, _key(at, "user").text, *user);

    *password = CONF_TAKE(raw->password);
    if (*password)
        _check_password(b, _key(at, "password").text, *password);

    if (!*password == !raw->password_file) {
        conf_error(b->errors, at, "%s, expected one of: password, password_file",
                   *password ? "both password and password_file" : "neither password nor password_file");
        return 0;
    }

    return raw->password_file
               ? _read_password(b, _key(at, "password_file").text, raw->password_file, password)
               : 0;
}
