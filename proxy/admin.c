#include "admin.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "listen.h"
#include "metrics.h"
#include "server.h"

struct admin {
    int fd;
    struct server *server;
    struct evhttp *http;
};

int admin_bind(const struct conf *conf, struct admin **out)
{
    if (!conf->admin.len)
        return 0;
    struct admin *a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    int r = listen_open(&conf->admin, 1, conf->limits.buffer, &a->fd);
    if (r) {
        free(a);
        return r;
    }
    *out = a;
    return 0;
}

static void _answer(struct evhttp_request *req, int status, const char *type, struct evbuffer *body)
{
    evhttp_add_header(evhttp_request_get_output_headers(req), "Content-Type", type);
    evhttp_send_reply(req, status, NULL, body);
    evbuffer_free(body);
}

static struct evbuffer *_buffer(void)
{
    struct evbuffer *b = evbuffer_new();
    if (!b)
        abort();
    return b;
}

static void _healthz(struct evhttp_request *req, void *arg)
{
    struct admin *a = arg;
    struct evbuffer *b = _buffer();
    bool draining = server_draining(a->server);
    evbuffer_add_printf(b, draining ? "draining\n" : "ok\n");
    _answer(req, draining ? 503 : 200, "text/plain", b);
}

static void _stats(struct evhttp_request *req, void *arg)
{
    struct admin *a = arg;
    struct evbuffer *b = _buffer();
    metrics_json(a->server, b);
    _answer(req, 200, "application/json", b);
}

static void _metrics(struct evhttp_request *req, void *arg)
{
    struct admin *a = arg;
    struct evbuffer *b = _buffer();
    metrics_prometheus(a->server, b);
    _answer(req, 200, "text/plain; version=0.0.4", b);
}

static void _unknown(struct evhttp_request *req, void *arg)
{
    struct evbuffer *b = _buffer();
    (void)arg;
    evbuffer_add_printf(b, "expected /healthz, /stats or /metrics\n");
    _answer(req, 404, "text/plain", b);
}

int admin_start(struct admin *a, struct server *s, struct event_base *base)
{
    if (!a)
        return 0;
    a->server = s;
    a->http = evhttp_new(base);
    if (!a->http)
        return -ENOMEM;
    evhttp_set_allowed_methods(a->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
    evhttp_set_timeout(a->http, 10);
    evhttp_set_max_headers_size(a->http, 16384);
    evhttp_set_max_body_size(a->http, 0);
    if (evhttp_set_cb(a->http, "/healthz", _healthz, a) || evhttp_set_cb(a->http, "/stats", _stats, a) ||
        evhttp_set_cb(a->http, "/metrics", _metrics, a))
        return -ENOMEM;
    evhttp_set_gencb(a->http, _unknown, a);
    if (evhttp_accept_socket(a->http, a->fd))
        return -ENOMEM;
    a->fd = -1; /* evhttp closes it. */
    return 0;
}

void admin_free(struct admin **admin)
{
    struct admin *a = *admin;
    *admin = NULL;
    if (!a)
        return;
    if (a->http)
        evhttp_free(a->http);
    if (a->fd >= 0)
        close(a->fd);
    free(a);
}
