#include "server.h"

#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ledger.h"
#include "listen.h"
#include "message.h"
#include "peer.h"
#include "response.h"

struct server {
    enum cluster cluster;
    struct listening in;
    uint64_t accepted;
    TAILQ_HEAD(, session) sessions;
};

/** One connection. */
struct session {
    struct peer p;
    struct server *server;
    struct message in;
    struct record *r;       /**< The request that is read or answered; then the last one. */
    struct response answer; /**< To it. */
    struct evbuffer *next;  /**< What came while it was answered: requests that skein sends in one run. */
    unsigned arrival;
    bool more;      /**< More requests of the run are there. */
    bool piped;     /**< What is read had come before the response in front of it was sent. */
    bool known;     /**< `r` is the request that is being read. */
    bool answering; /**< The response is not sent completely. */
    bool tainted;   /**< Something was sent after which skein can not trust the connection. */
    bool damaged;   /**< The body is not what its client sent; reported once. */
    struct event idle;
    TAILQ_ENTRY(session) link;
};

static struct server _servers[_CLUSTER_MAX][SERVERS_PER_CLUSTER];
static uint16_t _ports[_CLUSTER_MAX][SERVERS_PER_CLUSTER];

static struct session *_session(struct peer *p)
{
    return (struct session *)((char *)p - offsetof(struct session, p));
}

static void _gone(struct session *s)
{
    TAILQ_REMOVE(&s->server->sessions, s, link);
    event_del(&s->idle);
}

static void _close(struct session *s, bool reset)
{
    peer_close(&s->p, reset);
    _gone(s);
}

/* Requests ---------------------------------------------------------------------------- */

static void _answer(struct session *s)
{
    struct record *r = s->r;
    s->answering = true;
    /* A second response inside of a run is the answer to its next request: nobody can tell. */
    if (s->answer.fault == SERVER_EXTRA && s->more)
        s->answer.fault = SERVER_NONE;
    r->server_faults |= 1U << s->answer.fault;
    history_add(r->history, "server: answers %u: %d, %zu bytes%s%s%s%s%s, pace %u, fault %u", r->seq,
                s->answer.status, s->answer.body, s->answer.chunked ? ", chunked" : "",
                s->answer.by_close ? ", by close" : "", s->answer.http10 ? ", 1.0" : "",
                s->answer.close ? ", close" : "", s->answer.early ? ", early" : "", s->answer.pace,
                s->answer.fault);
    if (s->answer.fault) {
        s->tainted = true;
        chaos_trouble(NULL); /* The next request may meet what is left of the connection. */
    }
    if (s->answer.fault == SERVER_HANG)
        return;
    response_put(&s->answer, r, s->arrival, &s->p);
    peer_go(&s->p);
}

static void _on_head(struct session *s)
{
    char text[64];
    record_unref(&s->r);
    if (!message_field(&s->in, "X-Token", text, sizeof(text)) ||
        !(s->r = ledger_find(strtoull(text, NULL, 16)))) {
        chaos_fail(NULL, "a request that nobody sends came to the %s cluster: %.200s",
                   cluster_names[s->server->cluster], s->in.head);
        _close(s, true);
        return;
    }
    struct record *r = record_ref(s->r);
    char target[80];
    s->known = true;
    snprintf(target, sizeof(target), "/%s/%llu/%u", cluster_names[r->cluster], (unsigned long long)r->number,
             r->seq);
    if (strcmp(s->in.target, target) || strcmp(s->in.method, method_names[r->method]) ||
        r->cluster != s->server->cluster)
        chaos_fail(r->history, "a request with %s's token arrived as %.200s", target, s->in.head);
    ledger_head(r);
    s->arrival = r->heads;
    s->damaged = false;
    response_plan(&s->answer, r, s->arrival);
    if (s->answer.proceed && !s->answer.early)
        peer_puts(&s->p, "HTTP/1.1 100 Continue\r\n\r\n");
    s->answer.early &= s->in.state != MESSAGE_DONE;
    if (s->answer.early) {
        r->early = true;
        _answer(s);
    } else {
        peer_go(&s->p);
    }
}

static void _on_body(void *arg, const uint8_t *data, size_t len)
{
    struct session *s = arg;
    if (s->damaged || content_check(data, len, s->r->token, s->in.body) == len)
        return;
    /* What is malformed shows only behind the data of its chunk (request.c). */
    if (s->r->fault == CLIENT_BAD_CHUNK && len <= 2 && !memcmp(data, "ab", len))
        return;
    s->damaged = true;
    chaos_fail(s->r->history, "the body of request %llu/%u arrived damaged near %llu",
               (unsigned long long)s->r->number, s->r->seq, (unsigned long long)s->in.body);
}

static void _on_request(struct session *s)
{
    struct record *r = s->r;
    s->known = false;
    if (s->in.body != r->body && r->fault != CLIENT_BAD_CHUNK)
        chaos_fail(r->history, "the body of request %llu/%u has %llu bytes instead of %zu",
                   (unsigned long long)r->number, r->seq, (unsigned long long)s->in.body, r->body);
    ledger_body(r);
    message_init(&s->in, false);
    if (!s->answer.early)
        _answer(s);
}

/* Only safe requests without a body go upstream before the responses to those in front of them have come. */
static void _keep(struct session *s, const uint8_t *data, size_t len)
{
    if (!s->tainted && !s->answer.early && s->r->method != METHOD_GET && s->r->method != METHOD_HEAD)
        chaos_fail(s->r->history, "bytes from skein before it has the response");
    evbuffer_add(s->next, data, len);
}

static void _input(struct peer *p, const uint8_t *data, size_t len)
{
    struct session *s = _session(p);
    while (len && !p->dead) {
        event_del(&s->idle);
        if (s->answering && !s->known) {
            _keep(s, data, len);
            return;
        }
        size_t n = message_feed(&s->in, data, len, _on_body, s);
        data += n;
        len -= n;
        s->more = len || evbuffer_get_length(s->next);
        if (s->in.state == MESSAGE_BAD) {
            chaos_fail(s->known ? s->r->history : NULL, "skein sent a malformed request: %s: %.300s",
                       s->in.why, s->in.head);
            _close(s, true);
            return;
        }
        if (!s->known && s->in.state != MESSAGE_HEAD) {
            if (s->piped && strcmp(s->in.method, "GET") && strcmp(s->in.method, "HEAD"))
                chaos_fail(s->r->history, "%s behind a request without its response", s->in.method);
            _on_head(s);
        }
        if (!p->dead && s->in.state == MESSAGE_DONE)
            _on_request(s);
    }
}

/* The next request of a run. */
static void _go_on(struct session *s)
{
    size_t len = evbuffer_get_length(s->next);
    uint8_t *data = malloc(len);
    if (!data)
        abort();
    evbuffer_remove(s->next, data, len);
    s->piped = true;
    _input(&s->p, data, len);
    s->piped = false;
    free(data);
}

static void _ended(struct peer *p, int err)
{
    struct session *s = _session(p);
    if (s->known && !p->shut) /* Half-closed while it was idle: skein knows that there is no answer. */
        ledger_truncated(s->r);
    _close(s, false);
}

static void _acted(struct peer *p, enum peer_act act)
{
    struct session *s = _session(p);
    if (s->r)
        history_add(s->r->history, "server: %s after %llu bytes of %llu",
                    (const char *[]){"pauses", "closes", "resets", "half-closes"}[act],
                    (unsigned long long)p->sent, (unsigned long long)p->queued);
    if (p->dead)
        _gone(s);
}

/* Idle connections -------------------------------------------------------------------- */

static void _on_idle(evutil_socket_t fd, short what, void *arg)
{
    struct session *s = arg;
    struct rng rng = rng_stream(chaos.opt.seed ^ s->r->token, 'i', s->arrival);
    /* A reset would take back what skein has not read yet. */
    bool reset = s->r->outcome && rng_chance(&rng, 30);
    history_add(s->r->history, "server: %s the idle connection", reset ? "resets" : "closes");
    if (!reset && rng_chance(&rng, 30))
        peer_mark(&s->p, s->p.sent, PEER_SHUT, 0);
    else
        peer_mark(&s->p, s->p.sent, reset ? PEER_RESET : PEER_CLOSE, 0);
    peer_go(&s->p);
}

static void _drained(struct peer *p)
{
    struct session *s = _session(p);
    if (!s->answering || p->shut)
        return;
    s->answering = false;
    if (evbuffer_get_length(s->next)) {
        _go_on(s);
        return;
    }
    struct rng rng = rng_stream(chaos.opt.seed ^ s->r->token, 'd', s->arrival);
    if (s->known || s->server->cluster == CLUSTER_CALM || !rng_chance(&rng, 25))
        return;
    uint32_t us = rng_below(&rng, rng_chance(&rng, 50) ? 1000 : 80000);
    struct timeval tv = {.tv_usec = us};
    event_add(&s->idle, &tv);
}

/* Connections ------------------------------------------------------------------------- */

static void _release(struct peer *p)
{
    struct session *s = _session(p);
    record_unref(&s->r);
    evbuffer_free(s->next);
    free(s);
}

static const struct peer_ops _ops = {
    .input = _input, .ended = _ended, .acted = _acted, .drained = _drained, .release = _release};

static void _accept(void *arg, int fd)
{
    struct server *v = arg;
    struct session *s = calloc(1, sizeof(*s));
    if (!s)
        abort();
    s->server = v;
    s->next = evbuffer_new();
    if (!s->next)
        abort();
    event_assign(&s->idle, chaos.base, -1, 0, _on_idle, s);
    message_init(&s->in, false);
    TAILQ_INSERT_TAIL(&v->sessions, s, link);
    peer_init(&s->p, fd, &_ops, rng_stream(chaos.opt.seed, v->in.port, v->accepted++));
}

static void _shut(struct server *v, bool reset)
{
    struct session *s;
    listening_close(&v->in);
    while ((s = TAILQ_FIRST(&v->sessions))) {
        if (s->r && reset)
            history_add(s->r->history, "server: killed");
        _close(s, reset);
    }
}

void servers_open(void)
{
    for (unsigned c = 0; c < _CLUSTER_MAX; c++) {
        for (unsigned i = 0; i < SERVERS_PER_CLUSTER; i++) {
            struct server *v = &_servers[c][i];
            v->cluster = c;
            TAILQ_INIT(&v->sessions);
            listening_init(&v->in, _accept, v);
            listening_open(&v->in);
            _ports[c][i] = v->in.port;
        }
    }
}

const uint16_t *servers_ports(enum cluster c)
{
    return _ports[c];
}

bool servers_kill(unsigned index, bool dead)
{
    struct server *v = &_servers[CLUSTER_WILD][index];
    if (v->in.fd < 0)
        return false;
    if (dead)
        _shut(v, true);
    else
        listening_close(&v->in);
    chaos.down++;
    history_add(&chaos.history, "server %u %s", v->in.port, dead ? "killed" : "refuses connections");
    chaos_trouble(NULL);
    return true;
}

void servers_restart(unsigned index)
{
    struct server *v = &_servers[CLUSTER_WILD][index];
    if (!v->in.port || v->in.fd >= 0)
        return;
    listening_open(&v->in);
    chaos.down--;
    history_add(&chaos.history, "server %u restarted", v->in.port);
    chaos_trouble(NULL);
}

void servers_close(void)
{
    for (unsigned c = 0; c < _CLUSTER_MAX; c++) {
        for (unsigned i = 0; i < SERVERS_PER_CLUSTER; i++)
            _shut(&_servers[c][i], false);
    }
}
