#include "bypass_except.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "cgroup.h"
#include "log.h"

/** What may happen in a directory on the way to a cgroup that changes which one a path names. */
#define EVENTS (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR)

struct excepted {
    char *path;   /**< As the configuration has it. */
    char *parent; /**< Absolute: the directory that it is made in. */
    uint64_t id;  /**< 0: there is none now. */
};

struct bypass_except {
    int map;
    int notify; /**< -1: not watched. */
    struct event *event;
    size_t n;
    struct excepted of[];
};

/* Which cgroup the path names now. The new one is in the map before the old one has left it. */
static int _resolve(struct bypass_except *e, struct excepted *x)
{
    uint64_t id = 0, old = x->id;
    uint32_t one = 1;
    int r = cgroup_id(x->path, &id, NULL);
    if (r && r != -ENOENT)
        return r;
    if (id == old)
        return 0;
    if (id && bpf_map_update_elem(e->map, &id, &one, BPF_ANY))
        return -errno;
    x->id = id;
    if (old)
        bpf_map_delete_elem(e->map, &old);
    return 0;
}

/* Watches each directory on the way to a cgroup that exists, from above: what is made behind the look at one
 * is noticed. */
static void _watch(struct bypass_except *e, const struct excepted *x)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s", x->parent);
    for (char *at = path + 1;; at++) {
        char next = *at;
        if (next && next != '/')
            continue;
        *at = '\0';
        if (inotify_add_watch(e->notify, path, EVENTS) < 0) {
            if (errno != ENOENT)
                log_error("bypass.except.cgroups: watching %s: %s", path, strerror(errno));
            return;
        }
        if (!next)
            return;
        *at = next;
    }
}

static void _follow(struct bypass_except *e)
{
    for (size_t i = 0; i < e->n; i++) {
        _watch(e, &e->of[i]);
        int r = _resolve(e, &e->of[i]);
        if (r)
            log_error("bypass.except.cgroups[%zu]: %s: %s", i, e->of[i].path, strerror(-r));
    }
}

static void _on_event(evutil_socket_t fd, short what, void *arg)
{
    char events[4096] __attribute__((aligned(8)));
    (void)what;
    while (read(fd, events, sizeof(events)) > 0)
        ; /* What it was is of no interest: all paths are looked at. */
    _follow(arg);
}

/* Without cgroup v2 there is nothing to watch. */
static char *_parent(const char *path)
{
    char root[PATH_MAX] = "", *all;
    if (path[0] != '/' && cgroup_root(root, sizeof(root)))
        log_warn("bypass.except.cgroups: %s: cgroup v2 is not mounted", path);
    if (asprintf(&all, "%s/%s", path[0] != '/' ? root : "", path + (path[0] == '/')) < 0)
        return NULL;
    char *last = strrchr(all, '/');
    last[last == all] = '\0';
    return all;
}

int bypass_except_new(int map, const struct conf_bypass *conf, const struct bypass_except *last,
                      struct bypass_except **out)
{
    size_t n = conf ? conf->n_cgroups : 0;
    struct bypass_except *e = calloc(1, sizeof(*e) + n * sizeof(e->of[0]));
    *out = NULL;
    if (!e)
        return log_error_r(-ENOMEM, "bypass.except.cgroups: out of memory");
    e->map = map;
    e->notify = -1;
    for (size_t i = 0; i < n; i++) {
        struct excepted *x = &e->of[e->n++];
        x->path = strdup(conf->cgroups[i]);
        x->parent = _parent(conf->cgroups[i]);
        int r = x->path && x->parent ? _resolve(e, x) : -ENOMEM;
        if (r) {
            bypass_except_free(e, last);
            return log_error_r(r, "bypass.except.cgroups[%zu]: %s: %s", i, conf->cgroups[i], strerror(-r));
        }
    }
    *out = e;
    return 0;
}

int bypass_except_watch(struct bypass_except *e, struct event_base *base)
{
    if (!e->n)
        return 0;
    e->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (e->notify < 0)
        return -errno;
    e->event = event_new(base, e->notify, EV_READ | EV_PERSIST, _on_event, e);
    if (!e->event || event_add(e->event, NULL))
        return -ENOMEM;
    _follow(e);
    for (size_t i = 0; i < e->n; i++) {
        if (!e->of[i].id)
            log_warn("bypass.except.cgroups[%zu]: there is no %s yet", i, e->of[i].path);
    }
    return 0;
}

static bool _has(const struct bypass_except *e, uint64_t id)
{
    for (size_t i = 0; e && i < e->n; i++) {
        if (e->of[i].id == id)
            return true;
    }
    return false;
}

void bypass_except_free(struct bypass_except *e, const struct bypass_except *next)
{
    if (!e)
        return;
    if (e->event)
        event_free(e->event);
    if (e->notify >= 0)
        close(e->notify);
    for (size_t i = 0; i < e->n; i++) {
        if (e->of[i].id && !_has(next, e->of[i].id))
            bpf_map_delete_elem(e->map, &e->of[i].id);
        free(e->of[i].path);
        free(e->of[i].parent);
    }
    free(e);
}
