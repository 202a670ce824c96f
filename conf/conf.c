#include "conf/conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/errors.h"
#include "conf/file.h"
#include "conf/locate.h"
#include "conf/raw.h"
#include "conf/resolve.h"
#include "conf/structure.h"

static int _resolve(struct conf_build *b)
{
    int r;

    conf_resolve_globals(b);
    r = conf_resolve_clusters(b);
    if (!r)
        r = conf_resolve_listeners(b);
    if (!r)
        r = conf_resolve_bypass(b);
    if (r)
        return r;
    conf_check_relations(b);

    return b->errors->count ? -EINVAL : 0;
}

/** From the file's bytes to a configuration, with the document at hand. */
static int _load_document(const char *buf, size_t len, struct conf_errors *errors, struct conf *conf)
{
    struct conf_build build = {.conf = conf, .errors = errors};
    int r = conf_check_structure(errors->doc, &conf_schema, errors);

    if (!r)
        r = conf_raw_load(buf, len, errors, &build.raw);
    if (!r)
        r = _resolve(&build);
    conf_raw_free(&build.raw);

    return r;
}

static int _load(const char *buf, size_t len, struct conf_errors *errors, struct conf **out)
{
    struct conf_doc doc = {};
    struct conf *conf = calloc(1, sizeof(*conf));
    int r = -ENOMEM;

    if (conf)
        conf->file = strdup(errors->file);
    if (conf && conf->file)
        r = conf_doc_load(buf, len, errors, &doc);
    errors->doc = &doc;
    if (!r)
        r = _load_document(buf, len, errors, conf);
    errors->doc = NULL;
    conf_doc_free(&doc);

    if (r)
        conf_free(&conf);
    else
        *out = conf;

    return r;
}

int conf_load(const char *file, FILE *err, struct conf **out)
{
    struct conf_errors errors = {.file = file, .stream = err};
    char *buf = NULL;
    size_t len = 0;
    int r = conf_file_read(file, &buf, &len);

    if (r == -EFBIG)
        conf_error(&errors, "file", "larger than %d MiB, expected a configuration", CONF_FILE_MAX >> 20);
    else if (r)
        conf_error(&errors, "file", "can not be read (%s), expected a readable file", strerror(-r));
    else
        r = _load(buf, len, &errors, out);
    if (r == -ENOMEM && !errors.count)
        conf_error(&errors, "file", "out of memory, expected a smaller file");
    free(buf);

    return r;
}

static void _free_secret(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

static void _free_cluster(struct conf_cluster *cluster)
{
    for (size_t i = 0; i < cluster->n_endpoints; ++i)
        free(cluster->endpoints[i].name);
    _free_secret(cluster->redis.password);
    free(cluster->redis.user);
    if (cluster->http.health_check)
        free(cluster->http.health_check->path);
    free(cluster->http.health_check);
    free(cluster->http.hash_name);
    free(cluster->endpoints);
    free(cluster->name);
}

static void _free_listener(struct conf_listener *listener)
{
    for (size_t i = 0; i < listener->n_routes; ++i) {
        struct conf_route *route = &listener->routes[i];

        free(route->host);
        free(route->path);
        free(route->path_prefix);
        if (route->respond)
            free(route->respond->body);
        free(route->respond);
        conf_free_head_edits(&route->request_headers);
        conf_free_head_edits(&route->response_headers);
    }
    free(listener->trusted_proxies);
    _free_secret(listener->redis.password);
    free(listener->redis.user);
    free(listener->routes);
    free(listener->name);
}

void conf_free(struct conf **conf)
{
    struct conf *c = *conf;

    if (!c)
        return;
    for (size_t i = 0; i < c->n_listeners; ++i)
        _free_listener(&c->listeners[i]);
    for (size_t i = 0; i < c->n_clusters; ++i)
        _free_cluster(&c->clusters[i]);
    for (size_t i = 0; i < c->bypass.n_cgroups; ++i)
        free(c->bypass.cgroups[i]);
    free(c->listeners);
    free(c->clusters);
    free(c->bypass.cgroups);
    free(c->datapath.cgroup);
    free(c->file);
    free(c);
    *conf = NULL;
}
