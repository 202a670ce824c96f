#include "leave.h"

#include <errno.h>
#include <event2/event.h>
#include <linux/sock_diag.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "kpath.h"
#include "kpath_internal.h"

/** How often connections that are leaving are looked at: at first, and at most. */
#define LEAVE_POLL_US     200
#define LEAVE_POLL_MAX_US 20000

/** Bytes that are read together from a connection that was reset. */
#define REST_PIECE 16384

static void _set_rcvbuf(const struct conn *c, uint32_t bytes)
{
    int half = (int)(bytes / 2); /* The kernel doubles it. */
    setsockopt(c->fd, SOL_SOCKET, SO_RCVBUFFORCE, &half, sizeof(half));
}

/* What is passed up while something redirected into the socket is still queued goes behind that, and the
 * kernel takes it from there only while the receive buffer has room. That is full of what was passed up
 * before, which nobody consumes, and what was redirected later waits behind all of it: so the buffer grows
 * until nothing waits. */
static void _make_room(struct conn *c)
{
    uint32_t mem[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof(mem);
    if (getsockopt(c->fd, SOL_SOCKET, SO_MEMINFO, mem, &len) ||
        mem[SK_MEMINFO_RMEM_ALLOC] <= mem[SK_MEMINFO_RCVBUF])
        return;
    if (!c->rcvbuf)
        c->rcvbuf = mem[SK_MEMINFO_RCVBUF];
    _set_rcvbuf(c, 2 * mem[SK_MEMINFO_RMEM_ALLOC]);
}

void leave_undo_room(struct conn *c)
{
    if (c->rcvbuf)
        _set_rcvbuf(c, c->rcvbuf);
    c->rcvbuf = 0;
}

/* Copies what was passed up. It is read without being consumed: consuming would move TCP's
 * idea of the reader past bytes that strparser has not seen (docs/architecture.md, "two
 * readers"). @return false if it is not all there yet. */
static bool _copy_passed(struct conn *c)
{
    size_t len = __atomic_load_n(&kpath_slot(c)->passed, __ATOMIC_ACQUIRE);
    if (len == c->passed_len)
        return true;
    char *data = realloc(c->passed, len);
    if (!data)
        abort();
    c->passed = data;
    if (recv(c->fd, data, len, MSG_PEEK | MSG_DONTWAIT) != (ssize_t)len)
        return false;
    c->passed_len = len;
    return true;
}

/* What strparser holds goes when the socket is removed: it is in the slot too. Nothing was passed up
 * then, for what is held would have gone with it. */
static void _copy_held(struct conn *c)
{
    const struct slot *s = kpath_slot(c);
    if (!s->held)
        return;
    free(c->passed);
    c->passed = malloc(s->held);
    if (!c->passed)
        abort();
    memcpy(c->passed, slot_held(s), s->held);
    c->passed_len = s->held;
}

/* The connection was reset: what TCP's queue still has goes on in userspace, for it may be the rest of a
 * whole response. If something was passed up and not copied that is lost, and what came behind it is worth
 * nothing. */
static void _copy_rest(struct conn *c)
{
    size_t cap = c->passed_len;
    ssize_t n;
    if (kpath_slot(c)->passed > c->passed_len)
        return;
    do {
        if (cap - c->passed_len < REST_PIECE) {
            cap = c->passed_len + 2 * REST_PIECE;
            c->passed = realloc(c->passed, cap);
            if (!c->passed)
                abort();
        }
        n = recv(c->fd, c->passed + c->passed_len, cap - c->passed_len, MSG_DONTWAIT);
        if (n > 0)
            c->passed_len += (size_t)n;
    } while (n > 0);
}

/* Stops the programs for good once everything redirected into the socket is in TCP's hands and
 * everything that was passed up is copied. @return Whether they are stopped. */
static bool _freeze(struct conn *c)
{
    struct slot *s = kpath_slot(c);
    uint64_t w = slot_owner(s);
    if (w & OWNER_FROZEN)
        return slot_settled(s);
    if (w & OWNER_BUSY)
        return false;
    if (!slot_settled(s) || !_copy_passed(c)) {
        _make_room(c);
        return false;
    }
    return slot_cas(s, &w, w | OWNER_FROZEN);
}

/* Whether the frozen socket can be removed: TCP and strparser agree on where the reader is, and
 * strparser has either stopped or nothing to read. Otherwise its work item could be at work,
 * and would drop what it reads while the socket is being removed. If it can not be, asks the
 * kernel to run strparser once more, which stops it and makes both agree. */
static bool _may_remove(struct conn *c)
{
    const struct slot *s = kpath_slot(c);
    int one = 1;
    if (kernel_inspect(c->worker->kpath->k, c->slot))
        return false;
    if (s->copied_seq == s->parsed_seq && (s->stopped || s->rcv_nxt == s->parsed_seq))
        return true;
    setsockopt(c->fd, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one));
    return false;
}

/* The socket's error without the one that the parser left. */
static int _socket_error(int fd)
{
    int err = 0;
    socklen_t len = sizeof(err);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len))
        return errno;
    return err == PARSER_GAVE_UP ? 0 : err;
}

/* A bypassed connection is in no map: it leaves when nothing is on its way to the application past TCP, and
 * then what comes and goes by TCP is the next. */
static bool _try_leave_local(struct conn *c)
{
    int r = kernel_inspect(c->worker->kpath->k, c->slot);
    if (r && r != -ENOENT)
        return false;
    /* Twice: a timer that is being set looks for a moment as though it held a reference that it does not. */
    bool quiet = r || slot_settled(kpath_slot(c)), before = c->quiet;
    c->quiet = quiet;
    if (!quiet || (!r && !before))
        return false;
    bool aborted = kpath_slot(c)->aborted;
    kpath_free_slot(c);
    bool idle = c->upstream && c->ops->idle(c);
    conn_resume(c, NULL, 0, aborted ? ECONNRESET : 0);
    if (idle && !c->dead)
        c->ops->park(c);
    return true;
}

/* Takes the connection out of the maps if that loses nothing. @return Whether it left. */
static bool _try_leave(struct conn *c)
{
    struct kpath *k = c->worker->kpath->k;
    if (c->local)
        return _try_leave_local(c);
    int r = kernel_inspect(k, c->slot);
    bool gone = r == -ENOENT || kpath_slot(c)->aborted;
    if (r && !gone)
        return false;
    if (!gone && (!_freeze(c) || !_may_remove(c)))
        return false;
    kernel_remove(k, c->slot);
    int err = _socket_error(c->fd);
    bool aborted = kpath_slot(c)->aborted;
    _copy_held(c);
    if (c->upstream && (gone || err) && !aborted)
        _copy_rest(c);
    kpath_free_slot(c);
    char *data = c->passed;
    size_t len = aborted ? 0 : c->passed_len;
    c->passed = NULL;
    c->passed_len = 0;
    /* Resuming may end what is outstanding, and that parks or donates the connection itself. */
    bool idle = c->upstream && c->ops->idle(c);
    conn_resume(c, data, len, gone && !err ? ECONNRESET : err);
    free(data);
    if (idle && !c->dead)
        c->ops->park(c);
    return true;
}

static void _arm_leave(struct kpath_worker *kw)
{
    struct timeval tv = {.tv_usec = kw->leave_poll_us};
    event_add(&kw->leave_timer, &tv);
}

void leave_begin(struct conn *c)
{
    struct kpath_worker *kw = c->worker->kpath;
    if (_try_leave(c))
        return;
    TAILQ_INSERT_TAIL(&kw->leaving, c, leave);
    c->leave_listed = true;
    kw->leave_poll_us = LEAVE_POLL_US;
    _arm_leave(kw);
}

void leave_forget(struct conn *c)
{
    if (c->leave_listed)
        TAILQ_REMOVE(&c->worker->kpath->leaving, c, leave);
    c->leave_listed = false;
}

static void _on_leave(evutil_socket_t fd, short what, void *arg)
{
    struct worker *w = arg;
    struct kpath_worker *kw = w->kpath;
    struct conn *c;
    unsigned n = 0;
    bool left = false;
    (void)fd;
    (void)what;
    TAILQ_FOREACH (c, &kw->leaving, leave)
        n++;
    while (n-- && (c = TAILQ_FIRST(&kw->leaving))) {
        leave_forget(c);
        if (_try_leave(c)) {
            left = true;
            continue;
        }
        TAILQ_INSERT_TAIL(&kw->leaving, c, leave);
        c->leave_listed = true;
    }
    conn_flush(w);
    /* A slow reader may take its time: look less often while nothing happens. */
    kw->leave_poll_us = left ? LEAVE_POLL_US : kw->leave_poll_us * 2;
    if (kw->leave_poll_us > LEAVE_POLL_MAX_US)
        kw->leave_poll_us = LEAVE_POLL_MAX_US;
    if (!TAILQ_EMPTY(&kw->leaving))
        _arm_leave(kw);
}

void leave_init(struct worker *w)
{
    struct kpath_worker *kw = w->kpath;
    TAILQ_INIT(&kw->leaving);
    event_assign(&kw->leave_timer, w->base, -1, 0, _on_leave, w);
}
