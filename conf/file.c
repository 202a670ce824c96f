#include "conf/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define CHUNK (64 << 10)

/** Reads to the end; `*buf` grows as needed and stays the caller's, also after a failure. */
static int _read_all(int fd, char **buf, size_t *len)
{
    size_t size = 0;
    ssize_t n = 1;

    *len = 0;
    while (n) {
        if (*len == size) {
            char *larger = size >= CONF_FILE_MAX ? NULL : realloc(*buf, size ? 2 * size : CHUNK);

            if (!larger)
                return size >= CONF_FILE_MAX ? -EFBIG : -ENOMEM;
            *buf = larger;
            size = size ? 2 * size : CHUNK;
        }
        n = read(fd, *buf + *len, size - *len);
        if (n < 0 && errno != EINTR)
            return -errno;
        *len += n > 0 ? (size_t)n : 0;
    }

    return 0;
}

int conf_file_read(const char *file, char **buf, size_t *len)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    char *bytes = NULL;
    size_t n;
    int r;

    if (fd < 0)
        return -errno;
    r = _read_all(fd, &bytes, &n);
    close(fd);
    if (r) {
        free(bytes);
        return r;
    }
    *buf = bytes;
    *len = n;

    return 0;
}
