/*
 * Hazard: an application that is excepted from the bypass by its cgroup must not find its sockets in a map,
 * for that alone changes how they behave. Nor must one in a cgroup below, however deep.
 */
#include "bypass_helper.h"

#include <errno.h>
#include <event2/event.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/bypass.h"
#include "proxy/cgroup.h"

/** Cgroups below the excepted one. */
#define DEPTH 24

static char _mount[PATH_MAX / 4];
static char _home[PATH_MAX / 4]; /* Of this process, below the mount. */
static char _excepted[64];       /* As the configuration names it. */
static char _other[80];          /* Its sibling, with a name that begins alike. */

static int _path(char *path, size_t len, const char *cgroup, const char *file)
{
    int n = snprintf(path, len, "%s/%s/%s", _mount, cgroup, file);
    return n > 0 && (size_t)n < len ? 0 : -ENAMETOOLONG;
}

static int _make(const char *cgroup)
{
    char path[PATH_MAX];
    int r = _path(path, sizeof(path), cgroup, "");
    return r ? r : mkdir(path, 0755) ? -errno : 0;
}

static int _remove_one(const char *path, const struct stat *st, int what, struct FTW *at)
{
    (void)st;
    (void)at;
    if (what == FTW_DP)
        rmdir(path);
    return 0;
}

/* With all below. */
static void _remove(const char *cgroup)
{
    char path[PATH_MAX];
    if (!_path(path, sizeof(path), cgroup, ""))
        nftw(path, _remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Moves this process: its sockets belong to where they were opened. */
static int _enter(const char *cgroup)
{
    char path[PATH_MAX];
    FILE *f = _path(path, sizeof(path), cgroup, "cgroup.procs") ? NULL : fopen(path, "we");
    int r = f && fprintf(f, "%d\n", (int)getpid()) > 0 ? 0 : -errno;
    if (f && fclose(f) && !r)
        r = -errno;
    return r;
}

static int _find_home(void)
{
    char line[PATH_MAX / 4];
    FILE *f = fopen("/proc/self/cgroup", "re");
    int r = -ENOENT;
    while (f && fgets(line, sizeof(line), f)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::", 3))
            continue;
        strcpy(_home, line + 3);
        r = 0;
    }
    if (f)
        fclose(f);
    return r;
}

static void _check(struct bench *b, const char *cgroup, bool known)
{
    for (int upstream = 0; upstream < 2; upstream++) {
        assert_int_equal(_enter(cgroup), 0);
        struct wire *w = bypass_pair(b, upstream, NULL);
        assert_int_equal(_enter(_home), 0);
        assert_int_equal(bypass_knows(b, w->far), known);
        assert_false(bypass_knows(b, w->near));
        assert_int_equal(bypass_tie(b, w), known ? BYPASS_OK : BYPASS_REMOTE);
        send_text(w->far, "by TCP");
        expect_text(w->near, "by TCP");
        send_text(w->near, "and back");
        expect_text(w->far, "and back");
    }
}

static void test_excepted(void **state)
{
    _check(*state, _excepted, false);
}

static void test_not_excepted(void **state)
{
    _check(*state, _home, true);
    _check(*state, _other, true);
}

static void test_below(void **state)
{
    char cgroup[PATH_MAX / 4];
    size_t len = (size_t)sprintf(cgroup, "%s", _excepted);
    for (int i = 0; i < DEPTH; i++) {
        len += (size_t)sprintf(cgroup + len, "/%d", i);
        assert_int_equal(_make(cgroup), 0);
        if (i == 0 || i == DEPTH / 2 || i == DEPTH - 1)
            _check(*state, cgroup, false);
    }
}

/* Deep below one that is not. */
static void test_deep(void **state)
{
    char cgroup[PATH_MAX / 4];
    sprintf(cgroup, "%s/a", _other);
    assert_int_equal(_make(cgroup), 0);
    strcat(cgroup, "/b");
    assert_int_equal(_make(cgroup), 0);
    _check(*state, cgroup, true);
}

/* Lets the daemon's loop see what has happened to directories. */
static void _look(struct event_base *base)
{
    assert_int_not_equal(event_base_loop(base, EVLOOP_NONBLOCK), -1);
}

/* A service that starts again has a new cgroup with the old name; and one may start later than skein. */
static void test_made_again(void **state)
{
    struct bench *b = *state;
    char later[PATH_MAX / 4], *cgroups[] = {_excepted, later};
    struct conf_bypass conf = {.cgroups = cgroups, .n_cgroups = 2};
    struct event_base *base = event_base_new();
    sprintf(later, "%s-later/in/it", _other);
    assert_int_equal(bypass_configure(b->k, &conf, base), 0);
    for (int i = 0; i < 3; i++) {
        _remove(_excepted);
        _look(base);
        assert_int_equal(_make(_excepted), 0);
        _look(base);
        _check(b, _excepted, false);
    }
    static const char *const parts[] = {"", "/in", "/in/it"};
    for (size_t i = 0; i < 3; i++) {
        sprintf(later, "%s-later%s", _other, parts[i]);
        assert_int_equal(_make(later), 0);
        _look(base);
        _check(b, later, i < 2);
    }
    _enter(_home);
    sprintf(later, "%s-later", _other);
    _remove(later);
    conf.n_cgroups = 1;
    cgroups[0] = _other;
    assert_int_equal(bypass_configure(b->k, &conf, base), 0);
    _check(b, _excepted, true);
    _check(b, _other, false);
    cgroups[0] = _excepted;
    assert_int_equal(bypass_configure(b->k, &conf, NULL), 0);
    _check(b, _excepted, false);
    _check(b, _other, true);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_excepted), BENCH_TEST(test_not_excepted), BENCH_TEST(test_below),
        BENCH_TEST(test_deep),     BENCH_TEST(test_made_again),
    };
    char *cgroups[] = {_excepted};
    struct conf conf = {.datapath = {.bypass = CONF_ON}, .bypass = {.cgroups = cgroups, .n_cgroups = 1}};
    int r = cgroup_root(_mount, sizeof(_mount));
    sprintf(_excepted, "skein-test-%d", (int)getpid());
    sprintf(_other, "%s-other", _excepted);
    if (!r)
        r = _find_home();
    if (!r)
        r = _make(_excepted);
    if (!r)
        r = _make(_other);
    if (r) {
        printf("bypass_except: skipped: no cgroup of its own: %s\n", strerror(-r));
        r = BENCH_SKIPPED;
    } else {
        r = bypass_run_with("bypass_except", tests, sizeof(tests) / sizeof(*tests), &conf);
    }
    _enter(_home);
    _remove(_excepted);
    _remove(_other);
    strcat(_other, "-later");
    _remove(_other);
    return r;
}
