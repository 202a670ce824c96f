/*
 * Finding cgroup v2, in texts and on this machine, where the test makes a cgroup of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/cgroup.h"

/* Mountinfo ---------------------------------------------------------------------------- */

static int _find(const char *text, char *path, size_t len)
{
    FILE *f = fmemopen((void *)text, strlen(text), "r");
    assert_non_null(f);
    int r = cgroup_find_root(f, path, len);
    fclose(f);
    return r;
}

#define TMPFS  "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
#define V1     "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n"
#define HYBRID "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
#define V2     "28 23 0:25 / /sys/fs/cgroup rw,nosuid shared:9 master:1 - cgroup2 cgroup2 rw,nsdelegate\n"

static void test_mountinfo(void **state)
{
    static const struct {
        const char *text;
        const char *path;
    } rows[] = {
        {V2, "/sys/fs/cgroup"},
        {TMPFS V1 HYBRID, "/sys/fs/cgroup/unified"},
        {HYBRID V2, "/sys/fs/cgroup/unified"},
        {V2 HYBRID, "/sys/fs/cgroup"},
        {"1 2 0:3 / /a rw - cgroup2 none rw", "/a"},
        {"1 2 0:3 / /a rw - cgroup2", "/a"},
        {"1 2 0:3 /b /a rw a b:1 c:2 d - cgroup2  rw\n", "/a"},
        {"1 2 0:3 / /a\\040b\\134c\\011\\012\\043\\377 rw - cgroup2 none rw\n", "/a b\\c\t\n#\xff"},
        {"1 2 0:3 / /\\1340401\\0\\08x\\777\\ rw - cgroup2 none rw\n", "/\\0401\\0\\08x\\777\\"},
        {"1 2 0:3 / /\\04 rw - cgroup2 none rw\n", "/\\04"},
        /* What looks like another field does not count. */
        {"1 2 0:3 / /cgroup2 rw - tmpfs cgroup2 rw\n" V2, "/sys/fs/cgroup"},
        {"1 2 0:3 cgroup2 /x rw cgroup2 - cgroup cgroup2 cgroup2\n" V2, "/sys/fs/cgroup"},
        {"1 2 0:3 / /x rw -- cgroup2 none rw\n" V2, "/sys/fs/cgroup"},
        {"1 2 0:3 / /x rw - cgroup2x none rw\n" V2, "/sys/fs/cgroup"},
        /* A line that is none is passed over. */
        {"\n \n1\n1 2 0:3 / \n1 2 0:3 / /x\n1 2 0:3 / /x rw -\n1 2 0:3  / rw - cgroup2 none rw\n" V2,
         "/sys/fs/cgroup"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char path[PATH_MAX] = "";
        int r = _find(rows[i].text, path, sizeof(path));
        if (r || strcmp(path, rows[i].path))
            fail_msg("%s%d, \"%s\"", rows[i].text, r, path);
    }
}

static void test_not_mounted(void **state)
{
    static const char *const texts[] = {"\n", TMPFS V1, "1 2 0:3 / /x rw shared:1\n", "cgroup2\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char path[] = "as before";
        assert_int_equal(_find(texts[i], path, sizeof(path)), -ENOENT);
        assert_string_equal(path, "as before");
    }
}

static void test_no_room(void **state)
{
    char path[sizeof("/a b")] = "...";
    assert_int_equal(_find("1 2 0:3 / /a\\040bc rw - cgroup2 none rw\n", path, sizeof(path)), -ENAMETOOLONG);
    assert_string_equal(path, "...");
    assert_int_equal(_find("1 2 0:3 / /a\\040b rw - cgroup2 none rw\n", path, sizeof(path)), 0);
    assert_string_equal(path, "/a b");
    assert_int_equal(_find("1 2 0:3 / /a rw - cgroup2 none rw\n", path, 0), -ENAMETOOLONG);
}

static void test_unreadable(void **state)
{
    char path[] = "as before";
    FILE *f = fopen("/", "r");
    assert_non_null(f);
    assert_int_equal(cgroup_find_root(f, path, sizeof(path)), -EISDIR);
    assert_string_equal(path, "as before");
    fclose(f);
}

/* This machine ------------------------------------------------------------------------- */

/* A cgroup of the test's own and one inside of it. */
struct own {
    char root[PATH_MAX / 4];
    char outer[PATH_MAX / 2];
    char inner[PATH_MAX];
};

static void _clean(struct own *o)
{
    if (*o->inner)
        rmdir(o->inner);
    if (*o->outer)
        rmdir(o->outer);
    *o = (struct own){0};
}

static int _teardown(void **state)
{
    _clean(*state);
    return 0;
}

/* Skips the test, with a message, where there is no cgroup v2 or nobody may make cgroups. */
static const struct own *_own(void **state)
{
    struct own *o = *state;
    int r = cgroup_root(o->root, sizeof(o->root));
    if (r == -ENOENT) {
        print_message("no cgroup2 is mounted\n");
        skip();
    }
    assert_int_equal(r, 0);
    snprintf(o->outer, sizeof(o->outer), "%s/skein-test-XXXXXX", o->root);
    if (!mkdtemp(o->outer)) {
        print_message("cgroup2: %s: %s\n", o->root, strerror(errno));
        *o->outer = '\0';
        skip();
    }
    snprintf(o->inner, sizeof(o->inner), "%s/in side", o->outer);
    assert_int_equal(mkdir(o->inner, 0755), 0);
    return o;
}

/* A path of the test's cgroups as it is written relative to the root. */
static const char *_relative(const struct own *o, const char *path)
{
    return path + strlen(o->root) + 1;
}

static ino_t _inode_of(int fd)
{
    struct stat st;
    assert_true(fd >= 0);
    assert_int_equal(fstat(fd, &st), 0);
    close(fd);
    return st.st_ino;
}

static ino_t _inode(const char *path)
{
    return _inode_of(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static void test_open(void **state)
{
    const struct own *o = _own(state);
    assert_int_equal(_inode_of(cgroup_open(NULL)), _inode(o->root));
    assert_int_equal(_inode_of(cgroup_open(o->root)), _inode(o->root));
    assert_int_equal(_inode_of(cgroup_open(o->outer)), _inode(o->outer));
    assert_int_equal(_inode_of(cgroup_open(_relative(o, o->outer))), _inode(o->outer));
    assert_int_equal(_inode_of(cgroup_open(_relative(o, o->inner))), _inode(o->inner));
    assert_int_not_equal(_inode(o->outer), _inode(o->inner));

    int fd = cgroup_open(o->inner);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(faccessat(fd, "cgroup.procs", R_OK, 0), 0);
    close(fd);
}

static void test_refuses(void **state)
{
    const struct own *o = _own(state);
    char file[PATH_MAX + 16];
    assert_int_equal(cgroup_open("/"), -EINVAL);
    assert_int_equal(cgroup_open("/proc"), -EINVAL);
    assert_int_equal(cgroup_open("/proc/self/mountinfo"), -ENOTDIR);
    assert_int_equal(cgroup_open("/no/such"), -ENOENT);
    assert_int_equal(cgroup_open("no/such"), -ENOENT);
    assert_int_equal(cgroup_open(""), -ENOENT);
    snprintf(file, sizeof(file), "%s/cgroup.procs", o->inner);
    assert_int_equal(cgroup_open(file), -ENOTDIR);
    assert_int_equal(cgroup_open(_relative(o, file)), -ENOTDIR);

    uint64_t id = 7;
    unsigned depth = 8;
    assert_int_equal(cgroup_id("/proc", &id, &depth), -EINVAL);
    assert_int_equal(cgroup_id(file, &id, &depth), -ENOTDIR);
    assert_int_equal(cgroup_id("no/such", &id, &depth), -ENOENT);
    assert_int_equal(id, 7);
    assert_int_equal(depth, 8);
}

static void test_id(void **state)
{
    const struct own *o = _own(state);
    uint64_t root = 0, outer = 0, inner = 0, again = 0;
    assert_int_equal(cgroup_id(NULL, &root, NULL), 0);
    assert_int_equal(cgroup_id(o->outer, &outer, NULL), 0);
    assert_int_equal(cgroup_id(o->inner, &inner, NULL), 0);
    assert_int_equal(cgroup_id(_relative(o, o->inner), &again, NULL), 0);
    assert_int_equal(inner, again);
    assert_true(root != outer && outer != inner && root != inner);
    if (sizeof(ino_t) == 8 && sizeof(long) == 8) {
        assert_int_equal(root, _inode(o->root));
        assert_int_equal(inner, _inode(o->inner));
    } else {
        assert_int_equal((uint32_t)inner, (uint32_t)_inode(o->inner));
    }
}

static void test_depth(void **state)
{
    const struct own *o = _own(state);
    uint64_t id;
    unsigned root = 99, outer = 99, inner = 99, again = 99;
    int r = cgroup_id(NULL, &id, &root);
    if (r == -EXDEV) {
        print_message("cgroup2: the hierarchy's root is not in sight\n");
        assert_int_equal(cgroup_id(o->inner, &id, &inner), -EXDEV);
        assert_int_equal(inner, 99);
        skip();
    }
    assert_int_equal(r, 0);
    assert_int_equal(root, 0);
    assert_int_equal(cgroup_id(o->outer, &id, &outer), 0);
    assert_int_equal(outer, 1);
    assert_int_equal(cgroup_id(o->inner, &id, &inner), 0);
    assert_int_equal(inner, 2);
    assert_int_equal(cgroup_id(_relative(o, o->inner), &id, &again), 0);
    assert_int_equal(again, 2);
}

/* Nothing stays open, whatever comes out. */
static void test_closes(void **state)
{
    const struct own *o = _own(state);
    uint64_t id;
    unsigned depth;
    int before = open("/", O_RDONLY | O_CLOEXEC);
    close(before);
    cgroup_id(NULL, &id, &depth);
    cgroup_id(o->inner, &id, &depth);
    cgroup_id(_relative(o, o->inner), &id, &depth);
    cgroup_id("no/such", &id, &depth);
    cgroup_id("/proc", &id, &depth);
    int after = open("/", O_RDONLY | O_CLOEXEC);
    assert_int_equal(before, after);
    close(after);
}

static void test_removed(void **state)
{
    const struct own *o = _own(state);
    uint64_t id = 7;
    unsigned depth = 8;
    assert_int_equal(rmdir(o->inner), 0);
    assert_int_equal(cgroup_id(o->inner, &id, &depth), -ENOENT);
    assert_int_equal(id, 7);
    assert_int_equal(depth, 8);
}

enum { UNSEEN, NO_MOUNT, WRONG_ID, WRONG_DEPTH };

/* In a mount namespace of its own: the outer cgroup over the machine's directory for them. */
static int _look_from_inside(const struct own *o, uint64_t expected)
{
    uint64_t id = 0;
    unsigned depth = 8;
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
        mount(o->outer, o->root, NULL, MS_BIND, NULL))
        return NO_MOUNT;
    if (cgroup_id("in side", &id, NULL) || id != expected)
        return WRONG_ID;
    return cgroup_id("in side", &id, &depth) == -EXDEV && depth == 8 ? UNSEEN : WRONG_DEPTH;
}

/* How deep a cgroup is can not be told where only a part of the hierarchy is mounted, as in a container. */
static void test_part(void **state)
{
    const struct own *o = _own(state);
    uint64_t id;
    int status;
    assert_int_equal(cgroup_id(o->inner, &id, NULL), 0);
    pid_t child = fork();
    if (!child)
        _exit(_look_from_inside(o, id));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == NO_MOUNT) {
        print_message("cgroup2: it can not be mounted elsewhere\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), UNSEEN);
}

int main(void)
{
    static struct own own;
#define OWN(test) cmocka_unit_test_prestate_setup_teardown(test, NULL, _teardown, &own)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mountinfo),
        cmocka_unit_test(test_not_mounted),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_unreadable),
        OWN(test_open),
        OWN(test_refuses),
        OWN(test_id),
        OWN(test_depth),
        OWN(test_closes),
        OWN(test_removed),
        OWN(test_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
