/* Output of a connection: staged, gathered (gather.c), or queued. */
#include <errno.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "conn.h"
#include "conn_internal.h"
#include "gather.h"
#include "runtime.h"
#include "worker.h"

/** Pieces above this size are not copied to the stage but written beside it. */
#define STAGE_COPY_MAX 8192

size_t conn_backlog(const struct conn *c)
{
    return c->out ? evbuffer_get_length(c->out) : 0;
}

void conn_discard_output(struct conn *c)
{
    if (c->worker->stage_owner == c)
        c->worker->stage_len = 0;
    gather_drop(c);
    if (c->out)
        evbuffer_free(c->out);
    c->out = NULL;
}

static void _write_failed(struct conn *c)
{
    c->was_reset = errno == ECONNRESET;
    c->write_failed = true;
    conn_discard_output(c);
    if (c->writing)
        event_del(&c->wev);
    c->writing = false;
    if (c->closing) {
        conn_close(c, true);
        return;
    }
    /* A client that can not be written to is gone. What a server sent before it went away may
     * be a whole response: it is read first, now or when reading goes on. */
    c->broken = !c->upstream || c->eof_seen;
    if (c->broken || c->reading)
        event_active(&c->rev, EV_READ, 0);
}

static void _queue(struct conn *c, const struct iovec *iov, int n, size_t skip)
{
    if (!c->out)
        c->out = evbuffer_new();
    if (!c->out)
        abort();
    for (int i = 0; i < n; i++) {
        if (skip >= iov[i].iov_len) {
            skip -= iov[i].iov_len;
            continue;
        }
        if (evbuffer_add(c->out, (char *)iov[i].iov_base + skip, iov[i].iov_len - skip))
            abort();
        skip = 0;
    }
}

bool conn_may_write(const struct conn *c)
{
    return !c->leaving && !c->connecting;
}

void conn_await_writable(struct conn *c)
{
    if (c->writing || c->leaving)
        return;
    c->writing = true;
    event_add(&c->wev, NULL);
}

void conn_write(struct conn *c, const struct iovec *iov, int n)
{
    size_t total = 0, done = 0;
    for (int i = 0; i < n; i++)
        total += iov[i].iov_len;
    if (c->dead || c->write_failed || !total)
        return;
    if (!c->out && conn_may_write(c)) {
        struct msghdr m = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};
        ssize_t sent = sendmsg(c->fd, &m, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            _write_failed(c);
            return;
        }
        done = sent > 0 ? (size_t)sent : 0;
        c->sent += done;
        if (done == total)
            return;
    }
    bool first = !c->out;
    _queue(c, iov, n, done);
    conn_await_writable(c);
    if (first)
        c->ops->congested(c);
}

void conn_flush(struct worker *w)
{
    struct conn *c = w->stage_owner;
    if (!c)
        return;
    size_t len = w->stage_len;
    w->stage_owner = NULL;
    w->stage_len = 0;
    struct iovec iov = {.iov_base = w->stage, .iov_len = len};
    conn_write(c, &iov, 1);
}

void conn_put(struct conn *c, const void *data, size_t len)
{
    struct worker *w = c->worker;
    if (c->dead || c->write_failed || !len)
        return;
    if (c->gathering) {
        gather_put(c, data, len);
        return;
    }
    if (w->stage_owner != c) {
        conn_flush(w);
        w->stage_owner = c;
    }
    if (len <= STAGE_COPY_MAX && w->stage_len + len <= WORKER_STAGE) {
        memcpy(w->stage + w->stage_len, data, len);
        w->stage_len += len;
        return;
    }
    struct iovec iov[2] = {{.iov_base = w->stage, .iov_len = w->stage_len},
                           {.iov_base = (void *)data, .iov_len = len}};
    w->stage_owner = NULL;
    w->stage_len = 0;
    conn_write(c, iov, 2);
}

void conn_push(struct conn *c)
{
    if (c->worker->stage_owner == c)
        conn_flush(c->worker);
    gather_write(c);
}

void conn_puts(struct conn *c, const char *text)
{
    conn_put(c, text, strlen(text));
}

void conn_progress(struct conn *c)
{
    if (!conn_may_write(c))
        return;
    while (c->out) {
        int n = evbuffer_write(c->out, c->fd);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            conn_await_writable(c);
            if (c->ops->progress && !c->closing)
                c->ops->progress(c);
            return;
        }
        if (n < 0) {
            _write_failed(c);
            return;
        }
        c->sent += (uint64_t)n;
        if (n && c->deadline) /* The time allowed is for no byte at all. */
            conn_deadline(c, c->worker->runtime->conf->timeouts.write);
        if (!evbuffer_get_length(c->out)) {
            evbuffer_free(c->out);
            c->out = NULL;
        }
    }
    if (c->writing) {
        c->writing = false;
        event_del(&c->wev);
    }
    if (c->closing)
        conn_end(c);
    else
        c->ops->drained(c);
}
