/* What a new connection to a shard begins with: AUTH, HELLO, and commands that wait for the answers. */
#include <event2/buffer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "redis.h"
#include "redis_upstream_internal.h"
#include "worker.h"

static void _setup_done(struct redis_request *r)
{
    struct redis_upstream *u = r->arg;
    if (u->c.dead)
        return;
    if (r->reply[0] == '-' || r->failed) {
        char why[100];
        snprintf(why, sizeof(why), "%.*s", (int)r->reply_len - 3, r->reply + 1);
        log_warn("endpoint %s: refuses AUTH or HELLO: %s", runtime_endpoint_name(u->c.endpoint), why);
        redis_upstream_fail(u, true, why);
        return;
    }
    if (--u->setup)
        return;
    size_t len = evbuffer_get_length(u->held);
    if (len)
        conn_put(&u->c, evbuffer_pullup(u->held, -1), len);
    evbuffer_free(u->held);
    u->held = NULL;
    if (!conn_backlog(&u->c))
        redis_upstream_drained(&u->c); /* Whoever waited for it may go on. */
}

/* Sends a command whose reply has to be there before the clients' commands go. */
static void _ask(struct redis_upstream *u, const char *text, size_t len)
{
    struct redis_request *r = redis_request_new_part(u->c.worker, NULL, NULL);
    r->complete = _setup_done;
    r->arg = u;
    r->collect = true;
    redis_upstream_enqueue(u, r);
    conn_put(&u->c, text, len);
    u->setup++;
}

void redis_upstream_setup(struct redis_upstream *u, const struct conf_redis_cluster *conf)
{
    char text[9000];
    int n;
    if (conf->password) {
        if (conf->user)
            n = snprintf(text, sizeof(text), "*3\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n",
                         strlen(conf->user), conf->user, strlen(conf->password), conf->password);
        else
            n = snprintf(text, sizeof(text), "*2\r\n$4\r\nAUTH\r\n$%zu\r\n%s\r\n", strlen(conf->password),
                         conf->password);
        _ask(u, text, (size_t)n);
    }
    if (u->resp == 3)
        _ask(u, "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n", 22);
    if (u->setup)
        u->held = evbuffer_new();
    if (u->setup && !u->held)
        abort();
}
