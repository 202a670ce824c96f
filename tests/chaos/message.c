#include "message.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void message_init(struct message *m, bool response)
{
    memset(m, 0, sizeof(*m));
    m->response = response;
}

static void _bad(struct message *m, const char *why)
{
    m->state = MESSAGE_BAD;
    m->why = why;
}

bool message_field(struct message *m, const char *name, char *out, size_t cap)
{
    size_t len = strlen(name);
    bool found = false;
    for (char *line = strstr(m->head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (strncasecmp(line, name, len) || line[len] != ':')
            continue;
        if (found)
            _bad(m, "a field occurs twice");
        found = true;
        char *value = line + len + 1;
        value += strspn(value, " ");
        size_t n = strcspn(value, "\r");
        if (n >= cap)
            n = cap - 1;
        memcpy(out, value, n);
        out[n] = 0;
    }
    return found;
}

static void _start_line(struct message *m)
{
    int n = 0;
    if (m->response && sscanf(m->head, "HTTP/1.%1d %3d %n", &m->minor, &m->status, &n) == 2 && n == 13)
        return;
    if (!m->response &&
        sscanf(m->head, "%11[A-Z] %255s HTTP/1.%1d\r%n", m->method, m->target, &m->minor, &n) == 3 && n)
        return;
    _bad(m, "start line");
}

/* RFC 9112 6.3. */
static void _framing(struct message *m)
{
    char value[64];
    bool interim = m->response && m->status < 200;
    m->chunked = message_field(m, "Transfer-Encoding", value, sizeof(value));
    if (m->chunked && strcasecmp(value, "chunked"))
        _bad(m, "transfer coding");
    bool length = message_field(m, "Content-Length", value, sizeof(value));
    if (length)
        m->left = strtoull(value, NULL, 10);
    if (length && (m->chunked || interim || m->status == 204))
        _bad(m, "Content-Length that must not be");
    if (m->chunked && (interim || m->status == 204 || !m->minor))
        _bad(m, "chunked that must not be");
    if (message_field(m, "Connection", value, sizeof(value))) {
        m->close = strcasestr(value, "close");
        m->close |= !m->minor && !strcasestr(value, "keep-alive");
    } else {
        m->close = !m->minor;
    }
    m->expect = message_field(m, "Expect", value, sizeof(value));
    if (m->state == MESSAGE_BAD)
        return;
    if (m->response && (interim || m->to_head || m->status == 204 || m->status == 304))
        m->state = MESSAGE_DONE;
    else if (m->chunked)
        m->state = MESSAGE_CHUNK_SIZE;
    else if (length || !m->response)
        m->state = m->left ? MESSAGE_BODY : MESSAGE_DONE;
    else
        m->by_close = true;
    if (m->by_close) {
        m->state = MESSAGE_BODY;
        m->close = true;
        m->left = UINT64_MAX;
    }
}

static size_t _head(struct message *m, const uint8_t *data, size_t len)
{
    size_t used = 0;
    while (used < len) {
        if (m->head_len + 1 == sizeof(m->head)) {
            _bad(m, "head too long");
            return used;
        }
        char c = (char)data[used++];
        m->head[m->head_len++] = c;
        m->head[m->head_len] = 0;
        if (!c) {
            _bad(m, "NUL in a head");
            return used;
        }
        if (m->head_len >= 4 && memcmp(m->head + m->head_len - 4, "\r\n\r\n", 4) == 0) {
            _start_line(m);
            if (m->state != MESSAGE_BAD)
                _framing(m);
            return used;
        }
    }
    return used;
}

/* A line of the chunked coding. @return Bytes consumed; `*complete` when `line` holds it all. */
static size_t _line(struct message *m, const uint8_t *data, size_t len, bool *complete)
{
    size_t used = 0;
    while (used < len) {
        if (m->line_len + 1 == sizeof(m->line)) {
            _bad(m, "line of a chunk too long");
            return used;
        }
        m->line[m->line_len++] = (char)data[used++];
        if (m->line_len >= 2 && memcmp(m->line + m->line_len - 2, "\r\n", 2) == 0) {
            m->line[m->line_len - 2] = 0;
            m->line_len = 0;
            *complete = true;
            return used;
        }
    }
    return used;
}

static void _line_complete(struct message *m)
{
    char *end;
    switch (m->state) {
    case MESSAGE_CHUNK_SIZE:
        m->left = strtoull(m->line, &end, 16);
        if (end == m->line || (*end && *end != ';'))
            _bad(m, "chunk size");
        else
            m->state = m->left ? MESSAGE_CHUNK_DATA : MESSAGE_TRAILER;
        return;
    case MESSAGE_CHUNK_END:
        if (m->line[0])
            _bad(m, "end of a chunk");
        else
            m->state = MESSAGE_CHUNK_SIZE;
        return;
    default:
        if (!m->line[0])
            m->state = MESSAGE_DONE;
        else
            snprintf(m->trailer, sizeof(m->trailer), "%.127s", m->line);
        return;
    }
}

size_t message_feed(struct message *m, const uint8_t *data, size_t len, message_body *body, void *arg)
{
    size_t used = 0;
    bool complete;
    if (m->state == MESSAGE_HEAD)
        return _head(m, data, len);
    while (used < len && m->state != MESSAGE_DONE && m->state != MESSAGE_BAD) {
        size_t n = len - used;
        if (m->state == MESSAGE_BODY || m->state == MESSAGE_CHUNK_DATA) {
            if (n > m->left)
                n = (size_t)m->left;
            body(arg, data + used, n);
            m->body += n;
            m->left -= n;
            used += n;
            if (!m->left)
                m->state = m->state == MESSAGE_BODY ? MESSAGE_DONE : MESSAGE_CHUNK_END;
            continue;
        }
        complete = false;
        used += _line(m, data + used, n, &complete);
        if (complete)
            _line_complete(m);
    }
    return used;
}
