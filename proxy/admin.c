#include "admin.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "endpoint.h"
#include "listen.h"
#include "log.h"
#include "metrics.h"
#include "server.h"

#define PAGES 5

struct admin {
    /** What tells a page's callback which page it is. */
    struct place {
        struct admin *admin;
    } places[PAGES];
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

static void _healthz(struct evhttp_request *req, struct admin *a)
{
    struct evbuffer *b = _buffer();
    bool draining = server_draining(a->server);
    evbuffer_add_printf(b, draining ? "draining\n" : "ok\n");
    _answer(req, draining ? 503 : 200, "text/plain", b);
}

static void _stats(struct evhttp_request *req, struct admin *a)
{
    struct evbuffer *b = _buffer();
    metrics_json(a->server, b);
    _answer(req, 200, "application/json", b);
}

static void _metrics(struct evhttp_request *req, struct admin *a)
{
    struct evbuffer *b = _buffer();
    metrics_prometheus(a->server, b);
    _answer(req, 200, "text/plain; version=0.0.4", b);
}

/* Reads `endpoint=ADDRESS` from the query. @return Its id; answers by itself and returns -1 if it is none
 * of a cluster for HTTP. */
static int _endpoint_of(struct evhttp_request *req, struct admin *a)
{
    const char *query = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(req));
    struct evkeyvalq fields = {0};
    int id = -1;
    if (query && !evhttp_parse_query_str(query, &fields)) {
        const char *address = evhttp_find_header(&fields, "endpoint");
        id = address ? runtime_find_http_endpoint(server_runtime(a->server), address) : -1;
        evhttp_clear_headers(&fields);
    }
    if (id < 0) {
        struct evbuffer *b = _buffer();
        evbuffer_add_printf(
            b, "expected endpoint=ADDRESS, of a cluster for http, as the configuration has it\n");
        _answer(req, 404, "text/plain", b);
    }
    return id;
}

static void _set_draining(struct evhttp_request *req, struct admin *a, bool draining)
{
    int id = _endpoint_of(req, a);
    if (id < 0)
        return;
    endpoint_set((uint32_t)id, ENDPOINT_DRAIN, draining);
    log_info("endpoint %s: %s", runtime_endpoint_name((uint32_t)id),
             draining ? "draining" : "no longer draining");
    struct evbuffer *b = _buffer();
    evbuffer_add_printf(b, "ok\n");
    _answer(req, 200, "text/plain", b);
}

static void _drain(struct evhttp_request *req, struct admin *a)
{
    _set_draining(req, a, true);
}

static void _undrain(struct evhttp_request *req, struct admin *a)
{
    _set_draining(req, a, false);
}

static const struct page {
    const char *path;
    void (*answer)(struct evhttp_request *req, struct admin *a);
    bool changes; /**< For POST; the others only show something. */
} _pages[PAGES] = {
    {"/healthz", _healthz, false}, {"/stats", _stats, false},    {"/metrics", _metrics, false},
    {"/drain", _drain, true},      {"/undrain", _undrain, true},
};

static void _on_page(struct evhttp_request *req, void *arg)
{
    const struct place *place = arg;
    const struct page *page = &_pages[place - place->admin->places];
    bool post = evhttp_request_get_command(req) == EVHTTP_REQ_POST;
    if (post == page->changes) {
        page->answer(req, place->admin);
        return;
    }
    struct evbuffer *b = _buffer();
    evbuffer_add_printf(b, page->changes ? "expected POST\n" : "expected GET\n");
    evhttp_add_header(evhttp_request_get_output_headers(req), "Allow", page->changes ? "POST" : "GET, HEAD");
    _answer(req, 405, "text/plain", b);
}

static void _unknown(struct evhttp_request *req, void *arg)
{
    struct evbuffer *b = _buffer();
    (void)arg;
    evbuffer_add_printf(b, "expected /healthz, /stats, /metrics, /drain or /undrain\n");
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
    evhttp_set_allowed_methods(a->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST);
    evhttp_set_timeout(a->http, 10);
    evhttp_set_max_headers_size(a->http, 16384);
    evhttp_set_max_body_size(a->http, 0);
    for (size_t i = 0; i < PAGES; i++) {
        a->places[i].admin = a;
        if (evhttp_set_cb(a->http, _pages[i].path, _on_page, &a->places[i]))
            return -ENOMEM;
    }
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
