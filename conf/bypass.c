/*
 * What is excepted from the bypass: listeners and clusters get a mark, cgroups are kept as paths.
 *
 * Where cgroup v2 is mounted is a matter of the host that runs skein, not of the one that checks the
 * file, so paths are looked at here as texts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/resolve.h"

/** Bytes of a path. */
#define CGROUP_LEN 1023

#define EXPECTED "expected a path such as /sys/fs/cgroup/system.slice/x or system.slice/x"

/** The first entry that says the same; `index` if there is none. */
static size_t _first(char *const *texts, size_t index)
{
    size_t i = 0;

    while (i < index && strcmp(texts[i], texts[index]))
        i++;

    return i;
}

static void _report_duplicate(struct conf_build *b, const char *path, size_t first, const char *text)
{
    conf_error(b->errors, path, "entry [%zu] is %s too, expected it once", first, conf_quote(text).text);
}

static void _resolve_listeners(struct conf_build *b)
{
    const struct raw_except *raw = &b->raw->bypass.except;

    for (size_t i = 0; i < raw->listeners_count; ++i) {
        struct conf_text at = conf_path("bypass.except.listeners[%zu]", i);
        int index = conf_find_listener(b, at.text, raw->listeners[i]);

        if (index < 0)
            continue;
        if (b->conf->listeners[index].bypass_except)
            _report_duplicate(b, at.text, _first(raw->listeners, i), raw->listeners[i]);
        b->conf->listeners[index].bypass_except = true;
    }
}

static void _resolve_clusters(struct conf_build *b)
{
    const struct raw_except *raw = &b->raw->bypass.except;

    for (size_t i = 0; i < raw->clusters_count; ++i) {
        struct conf_text at = conf_path("bypass.except.clusters[%zu]", i);
        int index = conf_find_cluster(b, at.text, raw->clusters[i]);

        if (index < 0)
            continue;
        if (b->conf->clusters[index].bypass_except)
            _report_duplicate(b, at.text, _first(raw->clusters, i), raw->clusters[i]);
        b->conf->clusters[index].bypass_except = true;
    }
}

/** Parts between single slashes, so that two texts are two cgroups; one slash may come first.
 *
 * @return NULL, or what is wrong and what is expected.
 */
static const char *_check_cgroup(const char *path)
{
    if (!*path)
        return "empty, " EXPECTED;
    if (strlen(path) > CGROUP_LEN)
        return "too long, expected at most 1023 bytes";

    for (path += *path == '/';; ++path) {
        size_t len = strcspn(path, "/");

        if (!len)
            return "nothing before, after or between slashes, " EXPECTED;
        if (!strncmp(path, "..", len))
            return "a part that is . or .., " EXPECTED;
        path += len;
        if (!*path)
            return NULL;
    }
}

static int _resolve_cgroups(struct conf_build *b)
{
    struct raw_except *raw = &b->raw->bypass.except;
    struct conf_bypass *out = &b->conf->bypass;

    if (!raw->cgroups_count)
        return 0;
    out->cgroups = calloc(raw->cgroups_count, sizeof(*out->cgroups));
    if (!out->cgroups)
        return -ENOMEM;
    out->n_cgroups = raw->cgroups_count;

    for (size_t i = 0; i < out->n_cgroups; ++i) {
        struct conf_text at = conf_path("bypass.except.cgroups[%zu]", i);
        const char *path = out->cgroups[i] = CONF_TAKE(raw->cgroups[i]);
        const char *problem = _check_cgroup(path);
        size_t first = _first(out->cgroups, i);

        if (problem)
            conf_error(b->errors, at.text, "%s: %s", conf_quote(path).text, problem);
        else if (first < i)
            _report_duplicate(b, at.text, first, path);
    }

    return 0;
}

int conf_resolve_bypass(struct conf_build *b)
{
    _resolve_listeners(b);
    _resolve_clusters(b);

    return _resolve_cgroups(b);
}
