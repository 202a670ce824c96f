#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void _plan_fault(struct record *r, struct rng *rng)
{
    static const uint8_t weights[_CLIENT_FAULT_MAX] = {
        [CLIENT_NONE] = 6,        [CLIENT_CUT_CLOSE] = 3,  [CLIENT_CUT_RESET] = 3,
        [CLIENT_CUT_SHUT] = 3,    [CLIENT_BAD_CHUNK] = 3,  [CLIENT_LEAVE_CLOSE] = 3,
        [CLIENT_LEAVE_RESET] = 3, [CLIENT_READ_RESET] = 4, [CLIENT_HALF_CLOSE] = 4,
    };
    r->fault = rng_pick(rng, weights, _CLIENT_FAULT_MAX);
    if (r->fault == CLIENT_BAD_CHUNK && !r->chunked)
        r->fault = CLIENT_CUT_RESET;
}

void request_plan(struct record *r, const struct persona *who, struct rng *rng, bool last)
{
    static const uint8_t often[_METHOD_MAX] = {55, 8, 25, 8, 4};
    r->cluster = who->cluster;
    r->friendly = who->friendly;
    r->method = rng_pick(rng, often, _METHOD_MAX);
    if (r->method == METHOD_POST || r->method == METHOD_PUT)
        r->body = rng_size(rng);
    if (!who->friendly) {
        r->http10 = last && rng_chance(rng, 15);
        r->chunked =
            !r->http10 && (r->method == METHOD_POST || r->method == METHOD_PUT) && rng_chance(rng, 40);
        r->expect = !r->http10 && r->body && rng_chance(rng, 15);
        r->te_trailers = !r->http10 && rng_chance(rng, 20);
    }
    if (last && who->rude)
        _plan_fault(r, rng);
    else if (last && rng_chance(rng, 30))
        r->fault = rng_chance(rng, 50) ? CLIENT_HALF_CLOSE : CLIENT_READ_SHUT;
}

static void _put_chunks(const struct record *r, struct rng *rng, struct peer *p)
{
    static uint8_t buf[1 << 20];
    size_t off = 0;
    size_t bad = r->fault == CLIENT_BAD_CHUNK ? rng_below(rng, (uint32_t)r->body + 1) : SIZE_MAX;
    char line[64];
    while (off < r->body && bad > off) {
        size_t n = 1 + rng_below(rng, rng_chance(rng, 50) ? 300 : 40000);
        if (n > r->body - off)
            n = r->body - off;
        snprintf(line, sizeof(line), "%zX%s\r\n", n, rng_chance(rng, 10) ? ";a=b;c" : "");
        peer_puts(p, line);
        content_fill(buf, n, r->token, off);
        peer_put(p, buf, n);
        peer_puts(p, "\r\n");
        off += n;
    }
    if (bad != SIZE_MAX) {
        static const char *const lines[] = {"5 \r\nabcde\r\n0\r\n\r\n",
                                            "0x1\r\na\r\n0\r\n\r\n",
                                            "-1\r\n\r\n",
                                            "2\r\nabc\r\n0\r\n\r\n",
                                            "\r\n\r\n",
                                            "1\na\n0\n\n"};
        peer_puts(p, lines[rng_below(rng, sizeof(lines) / sizeof(lines[0]))]);
        return;
    }
    peer_puts(p, "0\r\n");
    if (rng_chance(rng, 20))
        peer_puts(p, "X-Request-Trailer: dropped\r\n");
    peer_puts(p, "\r\n");
}

static void _put_head(const struct record *r, struct rng *rng, struct peer *p)
{
    char head[4096], padding[2600] = "";
    char framing[64] = "";
    if (!r->friendly && rng_chance(rng, 5)) { /* Above the kernel path's window. */
        size_t n = 1000 + rng_below(rng, 1500);
        memset(padding, 'p', n);
        memcpy(padding, "X-Pad: ", 7);
        strcpy(padding + n, "\r\n");
    }
    if (r->chunked)
        strcpy(framing, "Transfer-Encoding: chunked\r\n");
    else if (r->body || r->method == METHOD_POST || r->method == METHOD_PUT)
        snprintf(framing, sizeof(framing), "Content-Length: %zu\r\n", r->body);
    snprintf(
        head, sizeof(head), "%s /%s/%llu/%u HTTP/1.%d\r\nHost: chaos\r\nX-Token: %016llx\r\n%s%s%s%s%s\r\n",
        method_names[r->method], cluster_names[r->cluster], (unsigned long long)r->number, r->seq, !r->http10,
        (unsigned long long)r->token, padding, framing, r->expect ? "Expect: 100-continue\r\n" : "",
        r->te_trailers                        ? "TE: trailers\r\nConnection: TE\r\n"
        : r->http10 && rng_chance(rng, 50)    ? "Connection: keep-alive\r\n"
        : !r->friendly && rng_chance(rng, 10) ? "Connection: keep-alive\r\n"
                                              : "",
        rng_chance(rng, 30) ? "Accept: */*\r\n" : "");
    peer_puts(p, head);
}

/* An offset of the message that is neither its first nor behind its last byte. */
static uint64_t _inside(const struct peer *p, uint64_t begin, struct rng *rng)
{
    return begin + 1 + rng_below(rng, (uint32_t)(p->queued - begin - 1));
}

static void _mark(const struct record *r, struct rng *rng, struct peer *p, uint64_t begin, uint64_t body)
{
    static const enum peer_act acts[_CLIENT_FAULT_MAX] = {
        [CLIENT_CUT_CLOSE] = PEER_CLOSE,   [CLIENT_CUT_RESET] = PEER_RESET,   [CLIENT_CUT_SHUT] = PEER_SHUT,
        [CLIENT_LEAVE_CLOSE] = PEER_CLOSE, [CLIENT_LEAVE_RESET] = PEER_RESET, [CLIENT_HALF_CLOSE] = PEER_SHUT,
    };
    bool cut = r->fault == CLIENT_CUT_CLOSE || r->fault == CLIENT_CUT_RESET || r->fault == CLIENT_CUT_SHUT;
    uint64_t at = _inside(p, begin, rng);
    if (r->expect && !cut)
        peer_mark(p, body, PEER_PAUSE, 400); /* Until it is told to go on, but not for ever. */
    else if (rng_chance(rng, r->friendly ? 4 : 10))
        peer_mark(p, at, PEER_PAUSE, 1 + rng_below(rng, 200));
    if (cut)
        peer_mark(p, at, acts[r->fault], 0);
    else if (acts[r->fault])
        peer_mark(p, p->queued, acts[r->fault], 0);
}

void request_put(const struct record *r, struct rng *rng, struct peer *p)
{
    uint64_t begin = p->queued;
    enum peer_pace pace = rng_chance(rng, r->friendly ? 93 : 70) ? PEER_WHOLE
                          : rng_chance(rng, 50)                  ? PEER_PIECES
                                                                 : PEER_BYTES;
    if (p->sent == p->queued)
        peer_pace(p, pace);
    _put_head(r, rng, p);
    uint64_t body = p->queued;
    if (r->chunked) {
        _put_chunks(r, rng, p);
    } else if (r->body) {
        uint8_t *buf = malloc(r->body);
        if (!buf)
            abort();
        content_fill(buf, r->body, r->token, 0);
        peer_put(p, buf, r->body);
        free(buf);
    }
    _mark(r, rng, p, begin, body);
    history_add(r->history, "sends %u: %s %s, %zu bytes%s%s%s, pace %u, fault %u, to offset %llu", r->seq,
                method_names[r->method], cluster_names[r->cluster], r->body, r->chunked ? ", chunked" : "",
                r->expect ? ", expect" : "", r->http10 ? ", 1.0" : "", p->pace, r->fault,
                (unsigned long long)p->queued);
}

void request_put_garbage(const struct record *r, struct rng *rng, struct peer *p)
{
    static const char *const lines[] = {
        "GET  / HTTP/1.1\r\nHost: chaos\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: chaos\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\nHost: chaos\n\n",
        "GET / HTTP/1.1\r\nHost: chaos\r\nX y: z\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: chaos\r\nContent-Length: +3\r\n\r\nabc",
        "\1\2\3\4\r\n\r\n",
        "GET /\1 HTTP/1.1\r\nHost: chaos\r\n\r\n",
    };
    history_add(r->history, "sends garbage as %u", r->seq);
    peer_puts(p, lines[rng_below(rng, sizeof(lines) / sizeof(lines[0]))]);
}
