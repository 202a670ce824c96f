#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/** With PEER_BYTES, how many go one by one, and how many of these without a wait. */
#define BYTES_MAX  600
#define BYTES_ONCE 48

static TAILQ_HEAD(, peer) _graves = TAILQ_HEAD_INITIALIZER(_graves);

static void _after(struct event *ev, uint32_t us)
{
    struct timeval tv = {.tv_sec = us / 1000000, .tv_usec = us % 1000000};
    event_add(ev, &tv);
}

/* Writing ----------------------------------------------------------------------------- */

static void _wait(struct peer *p, uint32_t us)
{
    p->waiting = true;
    event_del(&p->wev);
    _after(&p->wtimer, us);
}

/* How many bytes the next write may take; sets how long to wait after it. */
static size_t _piece(struct peer *p, size_t len, uint32_t *wait_us)
{
    *wait_us = 0;
    uint64_t done = p->sent - p->pace_from;
    if (p->pace == PEER_WHOLE)
        return len;
    if (p->pace == PEER_BYTES && done < BYTES_MAX) {
        if (done % BYTES_ONCE == BYTES_ONCE - 1)
            *wait_us = 1 + rng_below(&p->rng, 2000);
        return 1;
    }
    if (rng_chance(&p->rng, 30))
        *wait_us = 1 + rng_below(&p->rng, 3000);
    size_t n = 1 + rng_below(&p->rng, (uint32_t)(len / 16 + 200));
    return n < len ? n : len;
}

static void _act(struct peer *p)
{
    enum peer_act act = p->marks[0].act;
    uint32_t ms = p->marks[0].ms;
    memmove(p->marks, p->marks + 1, --p->n_marks * sizeof(p->marks[0]));
    switch (act) {
    case PEER_PAUSE:
        _wait(p, ms * 1000);
        return;
    case PEER_SHUT:
        p->shut = true;
        shutdown(p->fd, SHUT_WR);
        break;
    case PEER_CLOSE:
    case PEER_RESET:
        peer_close(p, act == PEER_RESET);
        break;
    }
    p->ops->acted(p, act);
}

/* What is left to send will never be: the end comes to light when reading. */
static void _write_failed(struct peer *p)
{
    p->write_failed = true;
    p->n_marks = 0;
    evbuffer_drain(p->out, evbuffer_get_length(p->out));
}

static void _send(struct peer *p)
{
    bool sent = false;
    while (!p->dead && !p->waiting && !p->connecting && !p->write_failed) {
        if (p->n_marks && p->marks[0].at <= p->sent) {
            _act(p);
            continue;
        }
        size_t len = evbuffer_get_length(p->out);
        uint32_t wait_us;
        if (!len)
            break;
        if (p->n_marks && len > p->marks[0].at - p->sent)
            len = p->marks[0].at - p->sent;
        len = _piece(p, len, &wait_us);
        int n = evbuffer_write_atmost(p->out, p->fd, (ev_ssize_t)len);
        if (n < 0 && errno == EAGAIN) {
            event_add(&p->wev, NULL);
            return;
        }
        if (n < 0) {
            _write_failed(p);
            return;
        }
        p->sent += (uint64_t)n;
        sent = true;
        if (wait_us)
            _wait(p, wait_us);
    }
    if (sent && !p->dead && p->sent == p->queued && !p->n_marks && p->ops->drained)
        p->ops->drained(p);
}

static void _on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct peer *p = arg;
    if (p->dead)
        return;
    if (p->connecting) {
        int err = 0;
        socklen_t len = sizeof(err);
        getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &len);
        if (err) {
            p->ops->ended(p, err);
            return;
        }
        p->connecting = false;
        event_add(&p->rev, NULL);
    }
    _send(p);
}

static void _on_wtimer(evutil_socket_t fd, short what, void *arg)
{
    peer_go(arg);
}

void peer_go(struct peer *p)
{
    if (p->dead)
        return;
    if (p->waiting)
        event_del(&p->wtimer);
    p->waiting = false;
    _send(p);
}

void peer_put(struct peer *p, const void *data, size_t len)
{
    if (p->dead || p->write_failed)
        return;
    if (evbuffer_add(p->out, data, len))
        abort();
    p->queued += len;
}

void peer_puts(struct peer *p, const char *text)
{
    peer_put(p, text, strlen(text));
}

void peer_mark(struct peer *p, uint64_t at, enum peer_act act, uint32_t ms)
{
    if (p->n_marks == PEER_MARKS)
        abort();
    p->marks[p->n_marks].at = at;
    p->marks[p->n_marks].act = act;
    p->marks[p->n_marks++].ms = ms;
}

void peer_pace(struct peer *p, enum peer_pace pace)
{
    p->pace = pace;
    p->pace_from = p->queued;
}

/* Reading ----------------------------------------------------------------------------- */

static void _on_readable(evutil_socket_t fd, short what, void *arg)
{
    static uint8_t buf[65536];
    struct peer *p = arg;
    if (p->dead)
        return;
    size_t room = p->read_piece && p->received < p->read_fast ? p->read_piece : sizeof(buf);
    ssize_t n = recv(p->fd, buf, room, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        int err = n < 0 ? errno : 0;
        event_del(&p->rev);
        p->ops->ended(p, err);
        return;
    }
    p->received += (size_t)n;
    if (p->read_piece && p->received < p->read_fast) {
        event_del(&p->rev);
        _after(&p->rtimer, p->read_wait * 1000);
    }
    p->ops->input(p, buf, (size_t)n);
}

static void _on_rtimer(evutil_socket_t fd, short what, void *arg)
{
    struct peer *p = arg;
    if (!p->dead)
        event_add(&p->rev, NULL);
}

void peer_read_slowly(struct peer *p, bool slowly)
{
    p->read_piece = 0;
    if (!slowly)
        return;
    /* In pieces of any size, but not the whole of a large response in small ones. */
    bool small = rng_chance(&p->rng, 50);
    p->read_piece = small ? 1 + rng_below(&p->rng, 500) : 4000 + rng_below(&p->rng, 30000);
    p->read_wait = 1 + rng_below(&p->rng, 10);
    p->read_fast = p->received + (small ? 40ULL * p->read_piece : UINT32_MAX);
}

/* Life -------------------------------------------------------------------------------- */

static void _init(struct peer *p, int fd, const struct peer_ops *ops, struct rng rng, bool connecting)
{
    memset(p, 0, sizeof(*p));
    p->fd = fd;
    p->ops = ops;
    p->rng = rng;
    p->connecting = connecting;
    p->out = evbuffer_new();
    if (!p->out)
        abort();
    event_assign(&p->rev, chaos.base, fd, EV_READ | EV_PERSIST, _on_readable, p);
    event_assign(&p->wev, chaos.base, fd, EV_WRITE, _on_writable, p);
    event_assign(&p->wtimer, chaos.base, -1, 0, _on_wtimer, p);
    event_assign(&p->rtimer, chaos.base, -1, 0, _on_rtimer, p);
    event_add(connecting ? &p->wev : &p->rev, NULL);
}

void peer_init(struct peer *p, int fd, const struct peer_ops *ops, struct rng rng)
{
    _init(p, fd, ops, rng, false);
}

void peer_connect(struct peer *p, uint16_t port, const struct peer_ops *ops, struct rng rng)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (fd < 0 || (connect(fd, (struct sockaddr *)&a, sizeof(a)) && errno != EINPROGRESS)) {
        fprintf(stderr, "no connection to port %u: %s\n", port, strerror(errno));
        abort();
    }
    _init(p, fd, ops, rng, true);
}

void peer_close(struct peer *p, bool reset)
{
    if (p->dead)
        return;
    p->dead = true;
    event_del(&p->rev);
    event_del(&p->wev);
    event_del(&p->wtimer);
    event_del(&p->rtimer);
    struct linger l = {.l_onoff = 1, .l_linger = 0};
    if (reset)
        setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    close(p->fd);
    TAILQ_INSERT_TAIL(&_graves, p, grave);
}

void peer_reap(void)
{
    struct peer *p;
    while ((p = TAILQ_FIRST(&_graves))) {
        TAILQ_REMOVE(&_graves, p, grave);
        evbuffer_free(p->out);
        p->ops->release(p);
    }
}
