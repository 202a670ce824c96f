/* What a client sends: its input cut into commands, and long commands passed on while they come in. */
#include <stdio.h>
#include <strings.h>

#include "log.h"
#include "redis.h"
#include "redis_client_internal.h"
#include "worker.h"

/* What a browser sends when it is made to talk to a Redis port (redis: server.c, securityWarningCommand). */
static bool _is_http(const struct resp_request *in)
{
    const char *name = in->text + in->args[0].off;
    size_t len = in->args[0].len;
    return (len == 4 && strncasecmp(name, "post", 4) == 0) ||
           (len == 5 && strncasecmp(name, "host:", 5) == 0);
}

static size_t _stream(struct redis_client *cl, const char *data, size_t len)
{
    size_t used = 0;
    enum resp_result result = resp_stream_feed(&cl->stream, data, len, &cl->limits, &used);
    if (cl->streaming)
        redis_upstream_more(cl->streaming, data, used);
    if (cl->c.dead || result == RESP_MORE)
        return used;
    cl->in_stream = false;
    if (result == RESP_ERROR) {
        /* What was sent of the command can not be taken back: its connection ends with it. */
        struct redis_upstream *u = cl->streaming;
        struct redis_request *r = u ? redis_upstream_detach(u) : NULL;
        cl->streaming = NULL;
        cl->quit = true;
        if (u)
            redis_upstream_fail(u, false, cl->stream.error);
        char text[128];
        int n = snprintf(text, sizeof(text), "-ERR %s\r\n", cl->stream.error);
        if (r) {
            redis_request_set(r, text, (size_t)n);
            redis_request_done(cl->c.worker, r);
        }
        redis_client_settle(cl);
        return len;
    }
    cl->streaming = NULL;
    redis_client_settle(cl);
    return used;
}

/* A client that blocks is read on, within bounds: only so its end is noticed. */
static void _stop_reading(struct redis_client *cl, size_t kept)
{
    if (!cl->blocked || kept > REDIS_STREAM_MIN)
        conn_read(&cl->c, false);
}

static void _wait(struct redis_client *cl, size_t kept)
{
    cl->waiting = true;
    _stop_reading(cl, kept);
}

/* Takes what is at the beginning of `data`. @return Bytes taken; 0: no more for now. */
static size_t _take(struct redis_client *cl, const char *data, size_t len)
{
    enum redis_taken taken = REDIS_TAKEN;
    struct resp_request *in = &cl->in;
    enum resp_result result = resp_request_parse(in, data, len, &cl->limits);
    if (result == RESP_ERROR) {
        redis_client_error(cl, "ERR %s", in->error);
        redis_client_quit(cl);
        return len;
    }
    if (result == RESP_MORE) {
        if (in->pos < REDIS_STREAM_MIN)
            return 0;
        size_t part = redis_command_stream(cl, data, &taken);
        if (taken == REDIS_WAIT)
            _wait(cl, len);
        if (part)
            resp_request_reset(in);
        return part;
    }
    size_t size = in->size;
    if (in->argc && _is_http(in)) {
        log_warn("%s: HTTP on a Redis listener: connection closed", runtime_listener_name(cl->c.listener_id));
        redis_client_close(cl, false);
        return len;
    }
    if (in->argc)
        taken = redis_command_take(cl);
    resp_request_reset(in);
    if (cl->c.dead)
        return len;
    if (taken == REDIS_WAIT) {
        _wait(cl, len);
        return 0;
    }
    return size;
}

static bool _may_take(const struct redis_client *cl)
{
    return !cl->waiting && !redis_client_full(cl) && !cl->c.out && cl->c.listener;
}

static size_t _take_all(struct redis_client *cl, const char *data, size_t len)
{
    struct conn *c = &cl->c;
    size_t used = 0;
    while (used < len && !c->dead && c->reading) {
        if (cl->quit || c->closing) {
            used = len; /* Nobody's any more. */
            break;
        }
        size_t n = 0;
        if (cl->in_stream)
            n = _stream(cl, data + used, len - used);
        else if (_may_take(cl))
            n = _take(cl, data + used, len - used);
        else
            _stop_reading(cl, len - used);
        if (!n)
            break;
        used += n;
    }
    return used;
}

size_t redis_client_input(struct conn *c, const char *data, size_t len)
{
    struct redis_client *cl = redis_client_of(c);
    if (c->listener && redis_listener_conf(cl)->idle_timeout && !c->out)
        conn_deadline(c, redis_listener_conf(cl)->idle_timeout);
    size_t used = _take_all(cl, data, len);
    redis_upstream_flush_run(c->worker);
    return c->dead ? len : used;
}
