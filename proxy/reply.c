/* Answers of skein's own: errors and `respond` routes. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "date.h"
#include "http.h"
#include "worker.h"

const char *reply_reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } table[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {410, "Gone"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {417, "Expectation Failed"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (table[i].status == status)
            return table[i].reason;
    }
    return "";
}

void reply(struct downstream *d, unsigned status, const char *body, bool close, bool to_head)
{
    char head[256], text[128];
    bool bodyless = status == 204 || status == 304;
    if (!body) {
        snprintf(text, sizeof(text), "%u %s\n", status, reply_reason(status));
        body = text;
    }
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %u %s\r\nDate: %s\r\n", status, reply_reason(status),
                     date_now());
    if (!bodyless)
        n += snprintf(head + n, sizeof(head) - (size_t)n,
                      "Content-Type: text/plain\r\nContent-Length: %zu\r\n", strlen(body));
    n += snprintf(head + n, sizeof(head) - (size_t)n, "%s\r\n", close ? "Connection: close\r\n" : "");
    conn_put(&d->c, head, (size_t)n);
    if (!bodyless && !to_head)
        conn_put(&d->c, body, strlen(body));
    stat_add(&d->c.worker->stats.listeners[d->c.listener_id].responses, 1);
}

/* Where the line after a field's begins. */
static uint32_t _line_end(const struct http1_message *m, uint32_t i)
{
    return i + 1 < m->n_fields ? m->fields[i + 1].name.off : m->head_len - 2;
}

/* RFC 9110 9.3.8: what is likely to be secret is not sent back. */
static bool _is_secret(const char *name, size_t len)
{
    static const char *const secrets[] = {"authorization", "cookie", "proxy-authorization"};
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        if (strlen(secrets[i]) == len && strncasecmp(secrets[i], name, len) == 0)
            return true;
    }
    return false;
}

void reply_trace(struct downstream *d, const char *head, const struct http1_message *m, bool close)
{
    char own[256];
    uint32_t at = 0;
    size_t len = m->head_len;
    for (uint32_t i = 0; i < m->n_fields; i++) {
        if (_is_secret(head + m->fields[i].name.off, m->fields[i].name.len))
            len -= (size_t)_line_end(m, i) - m->fields[i].name.off;
    }
    int n =
        snprintf(own, sizeof(own),
                 "HTTP/1.1 200 OK\r\nDate: %s\r\nContent-Type: message/http\r\nContent-Length: %zu\r\n%s\r\n",
                 date_now(), len, close ? "Connection: close\r\n" : "");
    conn_put(&d->c, own, (size_t)n);
    for (uint32_t i = 0; i < m->n_fields; i++) {
        if (!_is_secret(head + m->fields[i].name.off, m->fields[i].name.len))
            continue;
        conn_put(&d->c, head + at, m->fields[i].name.off - at);
        at = _line_end(m, i);
    }
    conn_put(&d->c, head + at, m->head_len - at);
    stat_add(&d->c.worker->stats.listeners[d->c.listener_id].responses, 1);
}
