#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "conf/host.h"
#include "conf/http.h"
#include "conf/resolve.h"

static struct conf_text _at(size_t listener, size_t route, const char *key)
{
    return conf_path("listeners[%zu].routes[%zu].%s", listener, route, key);
}

/** What a request's path can be: printable ASCII from a slash on, without query and fragment. */
static void _check_path(struct conf_build *b, const char *at, const char *path)
{
    if (path[0] != '/') {
        conf_error(b->errors, at, "%s does not begin with a slash, expected a path such as /v1/",
                   conf_quote(path).text);
        return;
    }
    for (const char *p = path; *p; ++p) {
        if (*p > ' ' && *p < 0x7f && *p != '?' && *p != '#')
            continue;
        conf_error(b->errors, at,
                   "%s has a character that no path has, expected printable ASCII without space, ? and #",
                   conf_quote(path).text);
        return;
    }
}

static void _resolve_match(struct conf_build *b, size_t listener, size_t index)
{
    struct raw_match *raw = &b->raw->listeners[listener].routes[index].match;
    struct conf_route *out = &b->conf->listeners[listener].routes[index];
    const char *problem;

    out->host = CONF_TAKE(raw->host);
    out->path = CONF_TAKE(raw->path);
    out->path_prefix = CONF_TAKE(raw->path_prefix);

    if (out->host) {
        struct conf_text shown = conf_quote(out->host);

        problem = conf_host_normalize(out->host);
        if (problem)
            conf_error(b->errors, _at(listener, index, "match.host").text, "%s: %s", shown.text, problem);
    }
    if (out->path)
        _check_path(b, _at(listener, index, "match.path").text, out->path);
    if (out->path_prefix)
        _check_path(b, _at(listener, index, "match.path_prefix").text, out->path_prefix);
    if (!out->path == !out->path_prefix)
        conf_error(b->errors, _at(listener, index, "match").text, "%s, expected one of: path, path_prefix",
                   out->path ? "both path and path_prefix" : "neither path nor path_prefix");
}

static void _check_policy(struct conf_build *b, const char *at, const struct conf_cluster *cluster)
{
    if (conf_is_for_redis(cluster))
        conf_error(b->errors, at,
                   "cluster %s has lb_policy %s%s, which is only for redis listeners, expected one "
                   "with " CONF_HTTP_POLICIES,
                   conf_quote(cluster->name).text, conf_lb_policy_name(cluster->lb_policy),
                   cluster->lb_policy == CONF_MAGLEV ? " without hash_on" : "");
}

/** RFC 9110, 15.3.5, 15.3.6 and 15.4.5: these have no content. */
static bool _is_bodiless(uint32_t status)
{
    return status == 204 || status == 205 || status == 304;
}

static int _resolve_respond(struct conf_build *b, size_t listener, size_t index)
{
    struct raw_respond *raw = b->raw->listeners[listener].routes[index].respond;
    struct conf_respond *out = calloc(1, sizeof(*out));

    if (!out)
        return -ENOMEM;
    b->conf->listeners[listener].routes[index].respond = out;

    out->status =
        conf_resolve_uint(b, _at(listener, index, "respond.status").text, raw->status, 200, 599, 200);
    out->body = raw->body ? CONF_TAKE(raw->body) : strdup("");
    if (!out->body)
        return -ENOMEM;
    if (_is_bodiless(out->status) && *out->body)
        conf_error(b->errors, _at(listener, index, "respond.body").text,
                   "a response with status %u has no body, expected an empty one", out->status);

    return 0;
}

/** Exactly one of `cluster` and `respond`. */
static int _resolve_action(struct conf_build *b, size_t listener, size_t index)
{
    const struct raw_route *raw = &b->raw->listeners[listener].routes[index];
    struct conf_route *out = &b->conf->listeners[listener].routes[index];
    struct conf_text at = _at(listener, index, "cluster");

    if (!raw->cluster == !raw->respond)
        conf_error(b->errors, conf_path("listeners[%zu].routes[%zu]", listener, index).text,
                   "%s, expected one of: cluster, respond",
                   raw->cluster ? "both cluster and respond" : "neither cluster nor respond");
    if (raw->cluster)
        out->cluster = conf_find_cluster(b, at.text, raw->cluster);
    if (out->cluster >= 0)
        _check_policy(b, at.text, &b->conf->clusters[out->cluster]);

    return raw->respond ? _resolve_respond(b, listener, index) : 0;
}

static bool _same(const char *a, const char *b)
{
    return a && b ? !strcmp(a, b) : a == b;
}

/** The first match wins, so the second of two equal ones is a mistake. */
static void _check_duplicate(struct conf_build *b, size_t listener, size_t index)
{
    const struct conf_route *routes = b->conf->listeners[listener].routes;
    const struct conf_route *route = &routes[index];

    for (size_t i = 0; i < index; ++i) {
        if (!_same(routes[i].path, route->path) || !_same(routes[i].path_prefix, route->path_prefix) ||
            !_same(routes[i].host, route->host))
            continue;
        conf_error(b->errors, _at(listener, index, "match").text,
                   "routes[%zu] matches the same and comes first, expected different matches", i);
        return;
    }
}

int conf_resolve_routes(struct conf_build *b, size_t listener)
{
    const struct raw_listener *raw = &b->raw->listeners[listener];
    struct conf_listener *out = &b->conf->listeners[listener];
    int r = 0;

    if (!raw->routes_count)
        return 0;
    out->routes = calloc(raw->routes_count, sizeof(*out->routes));
    if (!out->routes)
        return -ENOMEM;
    out->n_routes = raw->routes_count;

    for (size_t i = 0; i < out->n_routes && !r; ++i) {
        out->routes[i].cluster = -1;
        _resolve_match(b, listener, i);
        _check_duplicate(b, listener, i);
        r = _resolve_action(b, listener, i);
        if (!r)
            r = conf_resolve_headers(b, listener, i);
    }

    return r;
}
