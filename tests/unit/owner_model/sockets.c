/* What the kernel does around the programs: strparser's loop, the queues, the redirect's second half. */
#include "model.h"

#include <string.h>

unsigned socket_in_slot(uint32_t slot)
{
    for (unsigned c = 0; c < CONNS; c++) {
        if (world.socks[c].in_map && conn_of(c)->slot == slot)
            return c;
    }
    return NONE;
}

struct seen socket_seen(unsigned c)
{
    const struct socket_model *s = &world.socks[c];
    return (struct seen){.write_seq = s->written,
                         .rcv_nxt = s->base + s->arrived,
                         .parsed = s->base + s->parsed,
                         .stopped = s->stopped};
}

uint32_t *socket_ref(unsigned c)
{
    return c < CONNS && world.cookies[c] ? &world.cookies[c] : NULL;
}

void socket_load(unsigned c, uint32_t offset, void *to, uint32_t len)
{
    const struct socket_model *s = &world.socks[c];
    for (uint32_t i = 0; i < len; i++)
        ((char *)to)[i] = stream_byte(c, s->gone + offset + i);
}

/* The slice goes to `t`. From here on it counts as gone, for that can not be taken back; it is queued when
 * the verdict is over. */
static void _send(unsigned c, unsigned t)
{
    struct socket_model *s = &world.socks[c];
    struct bytes b = {.client = (uint8_t)c, .from = s->gone, .to = (uint16_t)(s->gone + s->slice)};
    DEMAND(!s->passed, "no lost byte: bytes are redirected behind others that were passed");
    if (is_up(c)) {
        DEMAND(s->n_queue && s->queue[0].client == t,
               "response only to its request: a client gets what is not its own");
        b.client = s->queue[0].client;
        b.message = s->queue[0].message;
        DEMAND(violation || b.to <= response_len(b.client, b.message), "a slice goes beyond its response");
    }
    if (violation)
        return;
    s->gone = s->parsed = b.to;
    s->target = (uint8_t)t;
    s->out = b;
    if (is_up(c) && b.to == response_len(b.client, b.message))
        response_over(c);
}

bool socket_redirect(unsigned c, uint32_t slot)
{
    unsigned t = chosen ? NONE : socket_in_slot(slot);
    if (t == NONE)
        return false;
    check_redirect(c, t, slot);
    _send(c, t);
    return true;
}

/* The verdict is over: the kernel queues what it redirected, or what it passed. */
static void _apply(struct socket_model *s)
{
    if (s->target == NONE) {
        s->passed += s->slice;
        s->gone += s->slice;
        s->parsed = s->gone;
        return;
    }
    struct socket_model *t = &world.socks[s->target];
    DEMAND(t->in_map || t->closed, "no lost byte: redirected into a socket that has left");
    DEMAND(t->n_underway < UNDERWAY, "too much is under way");
    if (!violation && !t->closed)
        t->underway[t->n_underway++] = s->out;
    s->target = NONE;
    memset(&s->out, 0, sizeof(s->out));
}

/* The error that the parser leaves makes sending fail, and reading what was passed. */
static void _check_give_up(unsigned c)
{
    const struct socket_model *s = &world.socks[c];
    bool expected = s->n_underway;
    for (unsigned i = 0; i < CONNS; i++)
        expected |= world.socks[i].target == c;
    DEMAND(!expected, "no lost byte: a parser gives up on a socket into which something is under way");
    DEMAND(!s->passed || s->frozen,
           "no lost byte: a parser gives up on a socket of which something was passed");
    DEMAND(s->parsed == s->gone || s->frozen,
           "no lost byte: a parser gives up on a socket of which something is held");
}

/* Runs under the socket's lock, when bytes have come (strp_data_ready()). */
void socket_run(unsigned c)
{
    struct socket_model *s = &world.socks[c];
    s->kick = false;
    while (!s->stopped && s->in_map && s->arrived > s->parsed) {
        unsigned avail = s->arrived - s->gone;
        int len = run_parser(c, avail);
        if (len < 0) {
            _check_give_up(c);
            s->stopped = s->failed = true;
            return;
        }
        if (!len) {
            s->parsed = s->arrived;
            return;
        }
        DEMAND((unsigned)len <= avail, "a slice is longer than what is there");
        s->slice = (uint16_t)len;
        forget();
        remember(1);
        int verdict = run_verdict(c, avail);
        DEMAND(verdict == 1, "a verdict drops");
        point(APPLY, NULL);
        _apply(s);
        forget();
        if (violation)
            return;
    }
}

/* The work queue sends what was redirected into a socket. */
void socket_deliver(unsigned c)
{
    struct socket_model *s = &world.socks[c];
    struct bytes b = s->underway[0];
    memmove(s->underway, s->underway + 1, sizeof(s->underway) - sizeof(s->underway[0]));
    s->underway[--s->n_underway] = (struct bytes){0};
    s->written += b.to - b.from;
    if (is_up(c))
        server_gets(c, &b);
    else
        client_gets(c, &b);
}
