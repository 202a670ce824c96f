#include "health.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "endpoint.h"
#include "log.h"
#include "runtime.h"

/** Of a response to a check; larger ones are failures. */
#define HEAD_MAX 16384
#define BODY_MAX 65536

struct check {
    LIST_ENTRY(check) link;
    struct runtime *runtime; /**< One reference held: it owns cluster and endpoint. */
    const struct conf_cluster *cluster;
    const struct rt_endpoint *endpoint;
    struct event_base *base;
    struct event *timer;                  /**< The next check. */
    struct event *deadline;               /**< Of the one under way. */
    struct evhttp_connection *connection; /**< NULL between checks. */
    unsigned in_a_row;                    /**< Results that contradict `unhealthy`. */
    bool unhealthy;
};

LIST_HEAD(check_list, check);
static struct check_list _checks = LIST_HEAD_INITIALIZER(_checks);

/* An address in several clusters may have several checks: it is out of use if one of them fails. */
static void _mark(uint32_t endpoint)
{
    const struct check *c;
    bool unhealthy = false;
    LIST_FOREACH (c, &_checks, link)
        unhealthy |= c->unhealthy && c->endpoint->id == endpoint;
    endpoint_set(endpoint, ENDPOINT_UNHEALTHY, unhealthy);
}

static void _after(struct event *timer, uint64_t ns)
{
    struct timeval tv = {.tv_sec = (time_t)(ns / 1000000000ULL),
                         .tv_usec = (suseconds_t)(ns % 1000000000ULL / 1000)};
    evtimer_add(timer, &tv);
}

static void _result(struct check *c, bool good, const char *why)
{
    const struct conf_health_check *conf = c->cluster->http.health_check;
    evtimer_del(c->deadline);
    if (good != c->unhealthy) {
        c->in_a_row = 0;
        return;
    }
    if (++c->in_a_row < (good ? conf->healthy_threshold : conf->unhealthy_threshold))
        return;
    c->in_a_row = 0;
    c->unhealthy = !good;
    _mark(c->endpoint->id);
    if (good)
        log_info("endpoint %s: healthy again", runtime_endpoint_name(c->endpoint->id));
    else
        log_warn("endpoint %s: unhealthy: %s", runtime_endpoint_name(c->endpoint->id), why);
}

/* The connection stays until the next check: it can not be freed inside its own callback. */
static void _on_answer(struct evhttp_request *request, void *arg)
{
    int status = request ? evhttp_request_get_response_code(request) : 0;
    bool good = status >= 200 && status <= 299;
    _result(arg, good, status ? "the status is not 2xx" : "no answer");
}

static void _hang_up(struct check *c)
{
    if (c->connection)
        evhttp_connection_free(c->connection); /* Its request is forgotten, without a callback. */
    c->connection = NULL;
}

static void _on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct check *c = arg;
    (void)fd, (void)what;
    _hang_up(c);
    _result(c, false, "timeout");
}

static bool _ask(struct check *c)
{
    const struct conf_address *a = &c->endpoint->conf->address;
    const struct conf_health_check *conf = c->cluster->http.health_check;
    bool six = a->sa.ss_family == AF_INET6;
    const struct sockaddr_in *in = (const struct sockaddr_in *)&a->sa;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->sa;
    char host[INET6_ADDRSTRLEN];
    inet_ntop(a->sa.ss_family, six ? (const void *)&in6->sin6_addr : (const void *)&in->sin_addr, host,
              sizeof(host));
    c->connection =
        evhttp_connection_base_new(c->base, NULL, host, ntohs(six ? in6->sin6_port : in->sin_port));
    struct evhttp_request *request = c->connection ? evhttp_request_new(_on_answer, c) : NULL;
    if (!request)
        return false;
    struct evkeyvalq *fields = evhttp_request_get_output_headers(request);
    evhttp_connection_set_max_headers_size(c->connection, HEAD_MAX);
    evhttp_connection_set_max_body_size(c->connection, BODY_MAX);
    evhttp_add_header(fields, "Host", a->text);
    evhttp_add_header(fields, "User-Agent", "skein-health-check");
    evhttp_add_header(fields, "Connection", "close");
    return !evhttp_make_request(c->connection, request, EVHTTP_REQ_GET, conf->path);
}

static void _on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct check *c = arg;
    (void)fd, (void)what;
    if (evtimer_pending(c->deadline, NULL))
        _result(c, false, "timeout");
    _hang_up(c);
    _after(c->timer, c->cluster->http.health_check->interval);
    _after(c->deadline, c->cluster->http.health_check->timeout);
    if (!_ask(c))
        _result(c, false, "can not connect");
}

/* Life -------------------------------------------------------------------------------- */

static void _end(struct check *c)
{
    LIST_REMOVE(c, link);
    _hang_up(c);
    _mark(c->endpoint->id);
    event_free(c->timer);
    event_free(c->deadline);
    runtime_unref(&c->runtime);
    free(c);
}

static void _end_all(struct check_list *list)
{
    while (!LIST_EMPTY(list))
        _end(LIST_FIRST(list));
}

static struct check *_begin(struct event_base *base, struct runtime *rt, const struct rt_cluster *cluster,
                            const struct rt_endpoint *endpoint)
{
    struct check *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    c->timer = evtimer_new(base, _on_timer, c);
    c->deadline = evtimer_new(base, _on_deadline, c);
    if (!c->timer || !c->deadline) {
        if (c->timer)
            event_free(c->timer);
        free(c);
        return NULL;
    }
    c->base = base;
    c->runtime = runtime_ref(rt);
    c->cluster = cluster->conf;
    c->endpoint = endpoint;
    return c;
}

/* What was known of the endpoint in the configuration before. */
static void _inherit(struct check *c)
{
    const struct check *old;
    LIST_FOREACH (old, &_checks, link) {
        if (old->endpoint->id != c->endpoint->id || strcmp(old->cluster->name, c->cluster->name) != 0)
            continue;
        c->unhealthy = old->unhealthy;
        c->in_a_row = old->in_a_row;
    }
}

static int _begin_cluster(struct event_base *base, struct runtime *rt, const struct rt_cluster *cluster,
                          struct check_list *list)
{
    for (size_t i = 0; cluster->conf->http.health_check && i < cluster->conf->n_endpoints; i++) {
        struct check *c = _begin(base, rt, cluster, &cluster->endpoints[i]);
        if (!c)
            return -ENOMEM;
        _inherit(c);
        LIST_INSERT_HEAD(list, c, link);
    }
    return 0;
}

int health_configure(struct event_base *base, struct runtime *rt)
{
    struct check_list fresh = LIST_HEAD_INITIALIZER(fresh);
    struct check *c;
    for (size_t i = 0; i < rt->conf->n_clusters; i++) {
        if (!_begin_cluster(base, rt, &rt->clusters[i], &fresh))
            continue;
        _end_all(&fresh);
        return -ENOMEM;
    }
    struct check_list old = _checks;
    _checks = fresh;
    if (!LIST_EMPTY(&_checks))
        LIST_FIRST(&_checks)->link.le_prev = &LIST_FIRST(&_checks);
    if (!LIST_EMPTY(&old))
        LIST_FIRST(&old)->link.le_prev = &LIST_FIRST(&old);
    _end_all(&old); /* Each looks at what the new ones say. */
    LIST_FOREACH (c, &_checks, link)
        _after(c->timer, 0);
    return 0;
}

void health_stop(void)
{
    _end_all(&_checks);
}
