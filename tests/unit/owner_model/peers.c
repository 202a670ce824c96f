/* Clients and servers: what they send when, and what they have to get. */
#include "model.h"

#include <stdlib.h>
#include <string.h>

static char text[2][1024];
static uint16_t segments[2][PIECES], begins[2][REQUESTS + 1], heads[2][REQUESTS];
static unsigned n_segments[2], n_requests[2], n_pieces;

static void _client(unsigned d)
{
    unsigned len = 0, at = 0;
    text[d][0] = 0;
    n_segments[d] = n_requests[d] = 0;
    for (unsigned i = 0; i < PIECES && scenario->client[d][i]; i++) {
        strcpy(text[d] + len, scenario->client[d][i]);
        len += (unsigned)strlen(scenario->client[d][i]);
        segments[d][n_segments[d]++] = (uint16_t)len;
    }
    while (at < len) {
        const char *end = strstr(text[d] + at, "\r\n\r\n");
        const char *length = strstr(text[d] + at, "Content-Length: ");
        begins[d][n_requests[d]] = (uint16_t)at;
        at = (unsigned)(end - text[d]) + 4;
        heads[d][n_requests[d]++] = (uint16_t)at;
        if (length && length < end)
            at += (unsigned)atoi(length + 16);
    }
    begins[d][n_requests[d]] = (uint16_t)len;
}

void peers_init(void)
{
    _client(D1);
    _client(D2);
    n_pieces = 0;
    while (n_pieces < PIECES && scenario->response[n_pieces])
        n_pieces++;
}

const char *client_text(unsigned client)
{
    return text[client];
}

unsigned requests_of(unsigned client)
{
    return n_requests[client];
}

unsigned request_begin(unsigned client, unsigned message)
{
    return begins[client][message];
}

/* The request that a position is in; at an end, the one behind it. */
unsigned request_at(unsigned client, unsigned position)
{
    unsigned i = 0;
    while (i < n_requests[client] && begins[client][i + 1] <= position)
        i++;
    return i;
}

/* Of a response: all segments up to `pieces`; to a HEAD request without the body. */
static unsigned _response(unsigned client, unsigned message, unsigned pieces)
{
    bool head = !strncmp(text[client] + begins[client][message], "HEAD ", 5);
    unsigned len = 0;
    for (unsigned i = 0; i < pieces; i++) {
        const char *end = strstr(scenario->response[i], "\r\n\r\n");
        len += head && end ? (unsigned)(end - scenario->response[i]) + 4
                           : (unsigned)strlen(scenario->response[i]);
    }
    return len;
}

unsigned response_len(unsigned client, unsigned message)
{
    return _response(client, message, n_pieces);
}

/* What comes before the final response. */
unsigned interim_len(void)
{
    unsigned len = 0;
    for (unsigned i = 0; i < n_pieces && !strncmp(scenario->response[i], "HTTP/1.1 1", 10); i++)
        len += (unsigned)strlen(scenario->response[i]);
    return len;
}

char stream_byte(unsigned c, unsigned position)
{
    const struct socket_model *s = &world.socks[c];
    if (!is_up(c))
        return text[c][position];
    for (unsigned i = 0; i < s->n_queue; i++) {
        unsigned len = response_len(s->queue[i].client, s->queue[i].message);
        for (unsigned p = 0; position < len; p++) {
            unsigned end = _response(s->queue[i].client, s->queue[i].message, p + 1);
            if (position < end)
                return scenario
                    ->response[p][position - _response(s->queue[i].client, s->queue[i].message, p)];
        }
        position -= len;
    }
    return 0;
}

/* Where what has arrived ends after the next segment; 0 if none comes now. */
unsigned next_segment(unsigned c)
{
    const struct socket_model *s = &world.socks[c];
    if (!is_up(c)) {
        if (s->closed || s->next >= n_segments[c] ||
            (!scenario->pipelining && s->answered < request_at(c, s->arrived)))
            return 0;
        return segments[c][s->next];
    }
    if (s->closed || s->user)
        return 0;
    for (unsigned i = 0, begin = 0; i < s->n_queue; i++) {
        unsigned client = s->queue[i].client, message = s->queue[i].message;
        bool begun = s->queue[i].complete || s->at >= heads[client][message];
        for (unsigned p = 0; p < n_pieces; p++) {
            unsigned end = begin + _response(client, message, p + 1);
            if (end > s->arrived)
                return s->queue[i].complete || (begun && p < scenario->early) ? end : 0;
        }
        begin += response_len(client, message);
    }
    return 0;
}

void server_gets(unsigned u, const struct bytes *b)
{
    struct socket_model *s = &world.socks[u];
    unsigned at = b->from;
    bool open = s->n_queue && !s->queue[s->n_queue - 1].complete;
    DEMAND(!open || (s->queue[s->n_queue - 1].client == b->client && s->at == at),
           "no lost byte: a server gets a request that does not go on where it was");
    while (at < b->to && !violation) {
        unsigned message = request_at(b->client, at), end = begins[b->client][message + 1];
        if (!open) {
            DEMAND(at == begins[b->client][message], "no lost byte: a server gets the rest of a request");
            DEMAND(s->n_queue < QUEUE, "an upstream connection has too many requests");
            if (violation)
                return;
            s->queue[s->n_queue].client = b->client;
            s->queue[s->n_queue++].message = (uint8_t)message;
        }
        at = end < b->to ? end : b->to;
        open = at < end;
        s->queue[s->n_queue - 1].complete = !open;
        s->at = open ? (uint16_t)at : 0;
    }
}

void client_gets(unsigned d, const struct bytes *b)
{
    struct socket_model *s = &world.socks[d];
    DEMAND(b->client == d && b->message == s->answered && b->from == s->answer_at,
           "response only to its request: a client gets bytes out of turn");
    s->answer_at = b->to;
    if (b->to == response_len(b->client, b->message)) {
        s->answered++;
        s->answer_at = 0;
    }
}

/* The response to the oldest request has left an upstream connection. */
void response_over(unsigned u)
{
    struct socket_model *s = &world.socks[u];
    unsigned len = response_len(s->queue[0].client, s->queue[0].message);
    world.socks[s->queue[0].client].redirected++;
    memmove(s->queue, s->queue + 1, sizeof(s->queue) - sizeof(s->queue[0]));
    memset(&s->queue[--s->n_queue], 0, sizeof(s->queue[0]));
    s->base += len;
    s->arrived = (uint16_t)(s->arrived - len);
    s->parsed = (uint16_t)(s->parsed - len);
    s->gone = (uint16_t)(s->gone - len);
}
