#include "cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

/* The next field of a line, NUL-terminated; fields have one space between them. NULL behind the last. */
static char *_field(char **line)
{
    char *field = strsep(line, " ");
    return field && *field ? field : NULL;
}

/* Whether a line of mountinfo is about cgroup v2. Its fields are: mount, parent, device, root, mount point,
 * options, any number of tags, "-", type, ... */
static bool _parse_line(char *line, char **mount_point)
{
    char *field;
    for (int i = 0; i < 5; i++) {
        field = _field(&line);
        if (!field)
            return false;
    }
    *mount_point = field;
    do {
        field = _field(&line);
    } while (field && strcmp(field, "-"));
    field = field ? _field(&line) : NULL;
    return field && strcmp(field, "cgroup2") == 0;
}

static bool _is_octal(char c)
{
    return c >= '0' && c <= '7';
}

/* Space, tab, newline and backslash are written as a backslash and three octal digits. */
static void _unescape(char *text)
{
    char *out = text;
    for (; *text; out++) {
        if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && _is_octal(text[2]) && _is_octal(text[3])) {
            *out = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0'));
            text += 4;
        } else {
            *out = *text++;
        }
    }
    *out = '\0';
}

int cgroup_find_root(FILE *mountinfo, char *path, size_t len)
{
    char *line = NULL, *found = NULL;
    size_t size = 0;
    int r = -ENOENT;
    errno = 0;
    while (!found && getline(&line, &size, mountinfo) >= 0) {
        char *mount_point;
        line[strcspn(line, "\n")] = '\0';
        if (_parse_line(line, &mount_point))
            found = mount_point;
    }
    if (found) {
        _unescape(found);
        r = strlen(found) < len ? 0 : -ENAMETOOLONG;
        if (!r)
            strcpy(path, found);
    } else if (!feof(mountinfo)) {
        r = errno ? -errno : -EIO;
    }
    free(line);
    return r;
}

int cgroup_root(char *path, size_t len)
{
    FILE *f = fopen("/proc/self/mountinfo", "re");
    if (!f)
        return -errno;
    int r = cgroup_find_root(f, path, len);
    fclose(f);
    return r;
}

/* A directory of cgroup v2, from `at`. */
static int _open_at(int at, const char *path)
{
    struct statfs fs;
    int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int r = fstatfs(fd, &fs) ? -errno : fs.f_type == CGROUP2_SUPER_MAGIC ? 0 : -EINVAL;
    if (!r)
        return fd;
    close(fd);
    return r;
}

static int _open_root(void)
{
    char path[PATH_MAX];
    int r = cgroup_root(path, sizeof(path));
    return r ? r : _open_at(AT_FDCWD, path);
}

int cgroup_open(const char *path)
{
    if (path && *path == '/')
        return _open_at(AT_FDCWD, path);
    int root = _open_root();
    if (root < 0 || !path)
        return root;
    int fd = _open_at(root, path);
    close(root);
    return fd;
}

/* A cgroup's id is the handle of its directory: the 64 bits that kernfs keeps, on machines with 32-bit
 * inodes too (fs/kernfs/mount.c, kernfs_encode_fh()). */
static int _identify(int fd, uint64_t *id, int *mount)
{
    union {
        struct file_handle head;
        char bytes[sizeof(struct file_handle) + sizeof(*id)];
    } handle = {.head.handle_bytes = sizeof(*id)};
    if (name_to_handle_at(fd, "", &handle.head, mount, AT_EMPTY_PATH))
        return -errno;
    if (handle.head.handle_bytes != sizeof(*id))
        return -EINVAL;
    memcpy(id, handle.head.f_handle, sizeof(*id));
    return 0;
}

/* The hierarchy's root is the one cgroup without a type; one that was removed meanwhile has no files.
 * @return 1, 0 or -errno. */
static int _is_root(int fd)
{
    if (!faccessat(fd, "cgroup.type", F_OK, 0))
        return 0;
    if (errno != ENOENT || faccessat(fd, "cgroup.procs", F_OK, 0))
        return -errno;
    return 1;
}

/* Goes from `fd` to its parent, in the same mount. Closes `fd` in any case. @return The parent or -errno. */
static int _climb(int fd, int mount)
{
    uint64_t id;
    int above;
    int parent = _open_at(fd, "..");
    close(fd);
    if (parent < 0)
        return parent == -EINVAL ? -EXDEV : parent;
    int r = _identify(parent, &id, &above);
    if (!r && above == mount)
        return parent;
    close(parent);
    return r ? r : -EXDEV;
}

/* Counts the steps from a cgroup up to the root: a path may begin anywhere, the programs count from there. */
static int _depth(int fd, int mount, unsigned *depth)
{
    unsigned n = 0;
    int at = fcntl(fd, F_DUPFD_CLOEXEC, 0), r = at < 0 ? -errno : _is_root(at);
    while (!r) {
        n++;
        at = _climb(at, mount);
        r = at < 0 ? at : _is_root(at);
    }
    if (at >= 0)
        close(at);
    if (r < 0)
        return r;
    *depth = n;
    return 0;
}

int cgroup_id(const char *path, uint64_t *id, unsigned *depth)
{
    uint64_t found;
    int mount;
    int fd = cgroup_open(path);
    if (fd < 0)
        return fd;
    int r = _identify(fd, &found, &mount);
    if (!r && depth)
        r = _depth(fd, mount, depth);
    close(fd);
    if (!r)
        *id = found;
    return r;
}
