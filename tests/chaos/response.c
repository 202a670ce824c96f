#include "response.h"

#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void _plan_fault(struct response *s, const struct record *r)
{
    static const uint8_t weights[_SERVER_FAULT_MAX] = {
        [SERVER_CUT_CLOSE] = 4, [SERVER_CUT_RESET] = 4, [SERVER_HANG] = 1,       [SERVER_MALFORMED] = 4,
        [SERVER_GARBAGE] = 4,   [SERVER_EXTRA] = 4,     [SERVER_EARLY_CLOSE] = 3};
    if (r->cluster != CLUSTER_WILD || !rng_chance(&s->rng, 12))
        return;
    s->fault = rng_pick(&s->rng, weights, _SERVER_FAULT_MAX);
    if (s->fault == SERVER_EARLY_CLOSE && !r->body)
        s->fault = SERVER_CUT_RESET;
    if (s->fault == SERVER_EXTRA || s->fault == SERVER_GARBAGE) {
        /* One small write: what comes later could meet the next request, and no proxy can tell. */
        s->body %= 1500;
        s->by_close = s->close = false;
        s->pace = PEER_WHOLE;
    }
    s->early = s->fault == SERVER_EARLY_CLOSE;
    /* Cut by FIN a body that ends with the connection would be complete. */
    if (s->fault == SERVER_CUT_CLOSE && s->by_close)
        s->fault = SERVER_CUT_RESET;
}

/* Legal, but nothing for the kernel path. */
static void _plan_variety(struct response *s, const struct record *r)
{
    static const int statuses[] = {200, 204, 304, 404, 500};
    static const uint8_t often[] = {80, 5, 5, 5, 5};
    s->status = statuses[rng_pick(&s->rng, often, 5)];
    if (s->status == 304 && r->method != METHOD_GET && r->method != METHOD_HEAD)
        s->status = 200;
    switch (rng_below(&s->rng, 10)) {
    case 0:
    case 1:
        s->chunked = true;
        s->trailer = rng_chance(&s->rng, 30);
        break;
    case 2:
        s->by_close = s->close = true;
        break;
    case 3:
        s->http10 = true;
        break;
    case 4:
        s->close = true;
        break;
    default:
        break;
    }
    if (s->status == 204 || s->status == 304)
        s->by_close = s->chunked = s->trailer = false;
    s->hints = !r->http10 && rng_chance(&s->rng, 6);
    s->proceed = r->expect && rng_chance(&s->rng, 70);
    s->early = r->body && rng_chance(&s->rng, 8);
    if (s->early) /* Closing with unread bytes of the request is a fault, see below. */
        s->by_close = s->close = false;
    s->pace = rng_below(&s->rng, 8) ? PEER_WHOLE : rng_chance(&s->rng, 50) ? PEER_PIECES : PEER_BYTES;
}

void response_plan(struct response *s, const struct record *r, unsigned arrival)
{
    memset(s, 0, sizeof(*s));
    s->rng = rng_stream(chaos.opt.seed ^ r->token, 's', arrival);
    s->token = rng_mix(r->token + arrival);
    s->status = 200;
    s->body = rng_size(&s->rng);
    if (!r->friendly)
        _plan_variety(s, r);
    else if (rng_chance(&s->rng, 10))
        s->pace = rng_chance(&s->rng, 50) ? PEER_PIECES : PEER_BYTES;
    _plan_fault(s, r);
    s->bodyless = r->method == METHOD_HEAD || s->status == 204 || s->status == 304;
    if (s->status == 204)
        s->body = 0;
}

static void _put_content(struct response *s, struct peer *p, size_t from, size_t len)
{
    uint8_t buf[16384];
    while (len) {
        size_t n = len < sizeof(buf) ? len : sizeof(buf);
        content_fill(buf, n, s->token, from);
        peer_put(p, buf, n);
        from += n;
        len -= n;
    }
}

static void _put_chunks(struct response *s, struct peer *p, bool bad)
{
    size_t off = 0;
    char line[64];
    while (off < s->body) {
        size_t n = 1 + rng_below(&s->rng, rng_chance(&s->rng, 50) ? 300 : 40000);
        if (n > s->body - off)
            n = s->body - off;
        snprintf(line, sizeof(line), "%zx%s\r\n", n, rng_chance(&s->rng, 10) ? ";name=\"a value\"" : "");
        peer_puts(p, line);
        _put_content(s, p, off, n);
        peer_puts(p, "\r\n");
        off += n;
    }
    if (bad)
        peer_puts(p, "xyz\r\n");
    peer_puts(p, "0\r\n");
    if (s->trailer) {
        snprintf(line, sizeof(line), "X-Trailer: %016llx\r\n", (unsigned long long)s->token);
        peer_puts(p, line);
    }
    peer_puts(p, "\r\n");
}

static void _put_malformed_head(struct response *s, struct peer *p)
{
    static const char *const heads[] = {
        "HTTP/1.1 2OO OK\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nno!",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 99 OK\r\nContent-Length: 2\r\n\r\nno",
        "\1\2\3 no HTTP at all\r\n\r\n",
    };
    peer_puts(p, heads[rng_below(&s->rng, sizeof(heads) / sizeof(heads[0]))]);
}

static void _put_head(struct response *s, const struct record *r, unsigned arrival, struct peer *p)
{
    char head[512], framing[64] = "";
    if (s->chunked)
        strcpy(framing, "Transfer-Encoding: chunked\r\n");
    else if (!s->by_close && s->status != 204)
        snprintf(framing, sizeof(framing), "Content-Length: %zu\r\n", s->body);
    snprintf(head, sizeof(head), "HTTP/1.%d %d Chaos\r\nX-Chaos: %016llx.%u\r\n%s%s%s\r\n", !s->http10,
             s->status, (unsigned long long)r->token, arrival, framing,
             s->trailer ? "Trailer: X-Trailer\r\n" : "",
             s->close    ? "Connection: close\r\n"
             : s->http10 ? "Connection: keep-alive\r\n"
                         : "");
    if (s->hints)
        peer_puts(p, "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n");
    peer_puts(p, head);
}

/* Marks of pauses and faults, between the offsets where the response begins and ends. */
static void _mark(struct response *s, const struct record *r, struct peer *p, uint64_t begin)
{
    uint64_t len = p->queued - begin;
    uint64_t at = begin + rng_below(&s->rng, (uint32_t)len);
    switch (s->fault) {
    case SERVER_CUT_CLOSE:
    case SERVER_CUT_RESET:
        if (rng_chance(&s->rng, 20))
            at = begin;
        if (rng_chance(&s->rng, 30))
            peer_mark(p, at, PEER_PAUSE, 1 + rng_below(&s->rng, 30)); /* What was sent arrives first. */
        peer_mark(p, at, s->fault == SERVER_CUT_RESET ? PEER_RESET : PEER_CLOSE, 0);
        return;
    case SERVER_EARLY_CLOSE:
        peer_mark(p, p->queued, rng_chance(&s->rng, 50) ? PEER_RESET : PEER_CLOSE, 0);
        return;
    case SERVER_MALFORMED:
        if (rng_chance(&s->rng, 30))
            peer_mark(p, p->queued, PEER_CLOSE, 0);
        return;
    default:
        break;
    }
    if (s->fault == SERVER_NONE && rng_chance(&s->rng, r->friendly ? 5 : 12))
        peer_mark(p, at, PEER_PAUSE, 1 + rng_below(&s->rng, 300));
    if (s->close && (s->by_close || rng_chance(&s->rng, 50)))
        peer_mark(p, p->queued, rng_chance(&s->rng, 50) ? PEER_CLOSE : PEER_SHUT, 0);
    else if (s->fault && rng_chance(&s->rng, 30))
        peer_mark(p, p->queued, PEER_CLOSE, 0);
}

void response_put(struct response *s, const struct record *r, unsigned arrival, struct peer *p)
{
    uint64_t begin = p->queued;
    bool bad_chunk = s->fault == SERVER_MALFORMED && s->chunked && !s->bodyless;
    peer_pace(p, s->pace);
    if (s->fault == SERVER_MALFORMED && !bad_chunk) {
        _put_malformed_head(s, p);
    } else {
        _put_head(s, r, arrival, p);
        if (s->chunked && !s->bodyless)
            _put_chunks(s, p, bad_chunk);
        else if (!s->bodyless)
            _put_content(s, p, 0, s->body);
    }
    if (s->fault == SERVER_GARBAGE)
        peer_puts(p, rng_chance(&s->rng, 50) ? "garbage\r\n\r\n" : "x");
    if (s->fault == SERVER_EXTRA)
        peer_puts(p, "HTTP/1.1 200 OK\r\nX-Chaos: extra\r\nContent-Length: 5\r\n\r\nextra");
    _mark(s, r, p, begin);
}
