#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/locate.h"
#include "conf/redis.h"
#include "conf/resolve.h"

static void _check_unique(struct conf_build *b, size_t index)
{
    const struct conf_listener *listeners = b->conf->listeners;

    for (size_t i = 0; i < index; ++i) {
        if (strcmp(listeners[i].name, listeners[index].name))
            continue;
        conf_error(b->errors, conf_path("listeners[%zu].name", index).text,
                   "listeners[%zu] has the name %s too, expected a unique name", i,
                   conf_quote(listeners[i].name).text);
        return;
    }
}

static struct conf_text _names(const struct conf *conf)
{
    struct conf_text list = {};

    for (size_t i = 0; i < conf->n_listeners && conf_list_name(&list, i, conf->listeners[i].name); ++i)
        ;

    return list;
}

int conf_find_listener(struct conf_build *b, const char *path, const char *name)
{
    const struct conf *conf = b->conf;

    for (size_t i = 0; i < conf->n_listeners; ++i) {
        if (!strcmp(conf->listeners[i].name, name))
            return (int)i;
    }
    conf_error(b->errors, path, "no listener named %s, expected one of: %s", conf_quote(name).text,
               _names(conf).text);

    return -1;
}

static int _resolve_http(struct conf_build *b, size_t index)
{
    const struct raw_listener *raw = &b->raw->listeners[index];
    int r = conf_resolve_networks(b, index);

    if (raw->cluster)
        conf_error(b->errors, conf_path("listeners[%zu].cluster", index).text,
                   "only for the protocols redis and tcp, expected routes that name a cluster");
    if (raw->redis)
        conf_error(b->errors, conf_path("listeners[%zu].redis", index).text,
                   "only for the protocol redis, expected no such section with http");
    if (!raw->routes_count)
        conf_error(b->errors, conf_path("listeners[%zu].routes", index).text,
                   "missing, expected a list of at least 1 route");

    return r ? r : conf_resolve_routes(b, index);
}

/** What a listener needs depends on its protocol. */
static int _resolve_protocol(struct conf_build *b, size_t index)
{
    switch (b->raw->listeners[index].protocol) {
    case CONF_HTTP:
        return _resolve_http(b, index);
    case CONF_REDIS:
        conf_refuse_header_keys(b, index);
        return conf_resolve_redis_listener(b, index);
    default:
        conf_error(b->errors, conf_path("listeners[%zu].protocol", index).text,
                   "protocol \"tcp\" is not available in this version, expected http or redis");
        return 0;
    }
}

static int _resolve_listener(struct conf_build *b, size_t index)
{
    struct raw_listener *raw = &b->raw->listeners[index];
    struct conf_listener *out = &b->conf->listeners[index];
    struct conf_text at = conf_path("listeners[%zu].address", index);

    out->name = CONF_TAKE(raw->name);
    out->protocol = raw->protocol;
    out->cluster = -1;
    out->line = conf_locate(b->errors->doc, at.text);

    conf_check_name(b, conf_path("listeners[%zu].name", index).text, out->name);
    _check_unique(b, index);
    conf_resolve_address(b, at.text, raw->address, &out->address);

    return _resolve_protocol(b, index);
}

int conf_resolve_listeners(struct conf_build *b)
{
    int r = 0;

    b->conf->listeners = calloc(b->raw->listeners_count, sizeof(*b->conf->listeners));
    if (!b->conf->listeners)
        return -ENOMEM;
    b->conf->n_listeners = b->raw->listeners_count;

    for (size_t i = 0; i < b->conf->n_listeners && !r; ++i)
        r = _resolve_listener(b, i);

    return r;
}
