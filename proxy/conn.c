#include "conn.h"

#include <errno.h>
#include <event2/buffer.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "conn_internal.h"
#include "kpath.h"
#include "runtime.h"
#include "worker.h"

/** Longest wait for a peer to close after our FIN. */
#define LINGER_NS (2ULL * 1000 * 1000 * 1000)

uint64_t conn_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static void _on_event(evutil_socket_t fd, short what, void *arg);
static void _on_timer(evutil_socket_t fd, short what, void *arg);

void conn_bound_buffers(int fd, uint64_t limit)
{
    /* The kernel doubles both: together they are three quarters of the limit, the rest
     * is for what userspace and the kernel path's queue hold. */
    int send = (int)(limit / 4), receive = (int)(limit / 8);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send, sizeof(send));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive));
}

void conn_init(struct conn *c, struct worker *w, int fd, const struct conn_ops *ops,
               void (*release)(struct conn *c))
{
    memset(c, 0, sizeof(*c));
    c->fd = fd;
    c->worker = w;
    c->ops = ops;
    c->release = release;
    c->slot = SLOT_NONE;
    c->pool_index = UINT32_MAX;
    event_assign(&c->rev, w->base, fd, EV_READ | EV_PERSIST, _on_event, c);
    event_assign(&c->wev, w->base, fd, EV_WRITE | EV_PERSIST, _on_event, c);
    event_assign(&c->timer, w->base, -1, 0, _on_timer, c);
    TAILQ_INSERT_TAIL(&w->conns, c, link);
}

/* Input ------------------------------------------------------------------------------- */

/* Input that was not consumed, in one piece: what comes next is added behind it. (An evbuffer copies
 * all of it each time that it is to be in one piece: too much for a long command.) */
struct kept {
    size_t off; /* Consumed. */
    size_t len; /* Behind `off`. */
    size_t cap;
    char data[];
};

static struct kept *_grow(struct kept *old, size_t need)
{
    size_t cap = need > 4096 ? need * 2 : need;
    struct kept *k = malloc(sizeof(*k) + cap);
    if (!k)
        abort(); /* Out of memory: nothing sensible can be promised any more. */
    k->off = 0;
    k->len = 0;
    k->cap = cap;
    if (old) {
        memcpy(k->data, old->data + old->off, old->len);
        k->len = old->len;
        free(old);
    }
    return k;
}

void conn_keep(struct conn *c, const char *data, size_t len)
{
    struct kept *k = c->in;
    if (!len)
        return;
    if (!k || k->len + len > k->cap) {
        k = c->in = _grow(k, (k ? k->len : 0) + len);
    } else if (k->off + k->len + len > k->cap) {
        memmove(k->data, k->data + k->off, k->len);
        k->off = 0;
    }
    memcpy(k->data + k->off + k->len, data, len);
    k->len += len;
}

static void _drop_input(struct conn *c)
{
    free(c->in);
    c->in = NULL;
}

/* Consumes kept input. */
static void _consume(struct conn *c, size_t n)
{
    c->in->off += n;
    c->in->len -= n;
    if (!c->in->len)
        _drop_input(c);
}

/* Offers what was kept before, and after it `data`, until the owner takes no more. */
static void _offer(struct conn *c, const char *data, size_t len)
{
    c->pumping = true;
    if (!c->in && len) {
        size_t used = c->ops->input(c, data, len);
        if (c->dead)
            goto out;
        conn_keep(c, data + used, len - used);
    } else {
        conn_keep(c, data, len);
        c->pump_again = true;
    }
    while (c->pump_again && !c->dead && c->reading && c->in) {
        c->pump_again = false;
        size_t used = c->ops->input(c, c->in->data + c->in->off, c->in->len);
        if (c->dead || !c->in)
            break; /* It is ending, and what was left is dropped. */
        _consume(c, used);
    }
out:
    c->pump_again = false;
    c->pumping = false;
}

void conn_pump(struct conn *c)
{
    if (c->pumping) {
        c->pump_again = true;
        return;
    }
    if (c->dead || !c->in || !c->reading)
        return;
    c->pump_again = true;
    _offer(c, NULL, 0);
}

void conn_read(struct conn *c, bool on)
{
    if (c->dead || c->reading == on)
        return;
    c->reading = on;
    if (!on) {
        event_del(&c->rev);
        return;
    }
    if (!c->connecting && !c->leaving && !c->eof_seen)
        event_add(&c->rev, NULL);
    conn_pump(c);
}

size_t conn_pending(const struct conn *c)
{
    return c->in ? c->in->len : 0;
}

static void _on_readable(struct conn *c)
{
    char *data = c->worker->rbuf + WORKER_RBUF;
    ssize_t n = recv(c->fd, data, WORKER_RBUF, 0);
    if (n > 0) {
        size_t before = conn_pending(c);
        if (c->closing)
            return;
        if (before && before <= WORKER_RBUF) {
            /* A little was kept: it is put before what came, in one piece. */
            data -= before;
            memcpy(data, c->in->data + c->in->off, before);
            _drop_input(c);
            n += (ssize_t)before;
        }
        _offer(c, data, (size_t)n);
        return;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        if (c->write_failed)
            c->ops->broken(c, EPIPE);
        return;
    }
    int err = errno;
    if (n < 0) {
        if (c->closing)
            conn_close(c, true);
        else
            c->ops->broken(c, err);
        return;
    }
    c->eof_seen = true;
    /* Level-triggered: EOF would be reported for ever. */
    event_del(&c->rev);
    if (!c->closing)
        c->ops->eof(c);
    else if (c->shut)
        conn_close(c, false);
}

/* The kernel path -------------------------------------------------------------------- */

void conn_suspend(struct conn *c)
{
    c->leaving = true;
    event_del(&c->rev);
    if (c->writing)
        event_del(&c->wev);
    c->writing = false;
}

void conn_resume(struct conn *c, const char *data, size_t len, int err)
{
    c->leaving = false;
    if (!c->closing)
        conn_keep(c, data, len);
    if (err) {
        c->reading = true;
        conn_pump(c); /* What came before the error may be a whole message. */
        if (!c->dead && c->closing)
            conn_close(c, true);
        else if (!c->dead)
            c->ops->broken(c, err);
        return;
    }
    if (c->reading && !c->eof_seen)
        event_add(&c->rev, NULL);
    if (c->out || c->closing)
        conn_progress(c);
    conn_pump(c);
}

/* Closing ----------------------------------------------------------------------------- */

void conn_end(struct conn *c)
{
    if (!c->lingering) {
        conn_close(c, false);
        return;
    }
    _drop_input(c);
    if (shutdown(c->fd, SHUT_WR) || c->eof_seen) {
        conn_close(c, false);
        return;
    }
    c->shut = true;
    conn_deadline(c, LINGER_NS);
    c->reading = false;
    conn_read(c, true);
}

void conn_finish(struct conn *c, bool linger)
{
    if (c->dead || c->closing)
        return;
    conn_push(c);
    if (c->dead)
        return;
    if (c->write_failed) {
        conn_close(c, true);
        return;
    }
    c->closing = true;
    c->lingering = linger;
    if (!c->out && conn_may_write(c)) {
        conn_end(c);
        return;
    }
    conn_deadline(c, c->worker->runtime->conf->timeouts.write);
    conn_await_writable(c);
}

void conn_break(struct conn *c)
{
    c->broken = true;
    event_active(&c->rev, EV_READ, 0);
}

void conn_close(struct conn *c, bool reset)
{
    struct worker *w = c->worker;
    if (c->dead)
        return;
    c->dead = true;
    conn_discard_output(c);
    if (w->stage_owner == c)
        w->stage_owner = NULL;
    event_del(&c->rev);
    event_del(&c->wev);
    event_del(&c->timer);
    if (reset) {
        struct linger l = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    }
    kpath_detach(c);
    close(c->fd);
    c->fd = -1;
    kpath_free_slot(c);
    TAILQ_REMOVE(&w->conns, c, link);
    TAILQ_INSERT_TAIL(&w->graves, c, link);
    event_active(&w->reap, EV_READ, 0);
}

void conn_reap(struct worker *w)
{
    struct conn *c;
    while ((c = TAILQ_FIRST(&w->graves))) {
        TAILQ_REMOVE(&w->graves, c, link);
        _drop_input(c);
        free(c->passed);
        c->release(c);
    }
}

/* Events ------------------------------------------------------------------------------ */

void conn_await_connect(struct conn *c)
{
    c->connecting = true;
    c->writing = true;
    event_add(&c->wev, NULL);
}

static void _on_connected(struct conn *c)
{
    int err = 0;
    socklen_t len = sizeof(err);
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len))
        err = errno;
    if (err) {
        c->ops->broken(c, err);
        return;
    }
    c->connecting = false;
    if (c->reading)
        event_add(&c->rev, NULL);
    c->ops->connected(c);
    if (!c->dead)
        conn_progress(c);
}

static void _on_event(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    (void)fd;
    if (c->dead)
        return;
    if (c->kernel)
        kpath_wake(c);
    if (c->leaving) {
        conn_flush(c->worker);
        return;
    }
    if (c->broken && !c->dead) {
        c->broken = false;
        c->ops->broken(c, EPIPE);
    }
    if (!c->dead && (what & EV_WRITE)) {
        if (c->connecting)
            _on_connected(c);
        else
            conn_progress(c);
    }
    if (!c->dead && (what & EV_READ) && c->reading && !c->connecting)
        _on_readable(c);
    conn_flush(c->worker);
}

void conn_deadline(struct conn *c, uint64_t ns)
{
    if (!ns) {
        c->deadline = 0;
        return;
    }
    c->deadline = conn_now() + ns;
    /* The timer may fire too early, never too late: re-arming on every message would
     * cost more than looking at the deadline once more when it fires. */
    if (c->timer_at && c->timer_at <= c->deadline)
        return;
    struct timeval tv = {.tv_sec = (time_t)(ns / 1000000000ULL),
                         .tv_usec = (suseconds_t)(ns % 1000000000ULL / 1000)};
    c->timer_at = c->deadline;
    event_add(&c->timer, &tv);
}

static void _on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct conn *c = arg;
    (void)fd;
    (void)what;
    c->timer_at = 0;
    if (c->dead || !c->deadline)
        return;
    uint64_t now = conn_now();
    if (now < c->deadline) {
        conn_deadline(c, c->deadline - now);
        return;
    }
    c->deadline = 0;
    if (c->lingering || c->closing)
        conn_close(c, c->closing && c->out);
    else
        c->ops->expired(c);
    conn_flush(c->worker);
}
