/* From a request to its route. */
#include <stdlib.h>

#include "http.h"
#include "parsers/http1_path.h"
#include "worker.h"

/* Whether a server that reads the path in another form would see one that belongs to another route
 * (RFC 9110 17.3: what a path may hide). What skein answers by itself has no server. */
static bool _is_ambiguous(struct downstream *d, const char *head, const struct http1_message *m,
                          const struct conf_route *route, const char *path, size_t len)
{
    if (!route || route->respond || http1_path_is_plain(path, len))
        return false;
    char *form = malloc(len);
    bool differs = false;
    if (!form)
        abort();
    for (unsigned i = 0; i < HTTP1_PATH_FORMS && !differs; i++) {
        size_t n = http1_path_form(i, path, len, form);
        const struct conf_route *other =
            runtime_route(d->c.listener->rt, head + m->host.off, m->host.len, form, n);
        differs = other != route && (!other || other->cluster != route->cluster);
    }
    free(form);
    return differs;
}

const struct conf_route *route_request(struct downstream *d, const char *head, const struct http1_message *m,
                                       bool *ambiguous)
{
    const char *path = "/";
    size_t path_len = 1;
    if (m->form != HTTP1_TARGET_ASTERISK && m->path_len) {
        path = head + m->path.off;
        path_len = m->path_len;
    }
    const struct conf_route *route =
        runtime_route(d->c.listener->rt, head + m->host.off, m->host.len, path, path_len);
    *ambiguous = _is_ambiguous(d, head, m, route, path, path_len);
    return route;
}
