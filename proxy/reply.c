/* Answers of skein's own: errors and `respond` routes. */
#include <stdio.h>
#include <string.h>

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
    int n = snprintf(head, sizeof(head), "HTTP/1.1 %u %s\r\n", status, reply_reason(status));
    if (!bodyless)
        n += snprintf(head + n, sizeof(head) - (size_t)n,
                      "Content-Type: text/plain\r\nContent-Length: %zu\r\n", strlen(body));
    n += snprintf(head + n, sizeof(head) - (size_t)n, "%s\r\n", close ? "Connection: close\r\n" : "");
    conn_put(&d->c, head, (size_t)n);
    if (!bodyless && !to_head)
        conn_put(&d->c, body, strlen(body));
    stat_add(&d->c.worker->stats.listeners[d->c.listener_id].responses, 1);
}
