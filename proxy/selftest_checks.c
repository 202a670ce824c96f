/*
 * The checks of the self-test. Each one begins with fresh connections and empty slots, so that none
 * depends on what another left; what all stand on comes first.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "selftest.h"

#define LONG_BODY (1UL << 20)

/** The end of a stream is checked behind so many bytes. */
#define EOF_BODY 32768UL

/** Of the slow reader's connection, and what may be queued for it. */
#define SLOW_BUFFER 16384

/** More than a slow reader's connection and the sender's can hold. */
#define SLOW_MAX (32UL << 20)

/* Both connections on the kernel path. */
static const char *_begin(struct selftest *t)
{
    const char *why = selftest_connect(t, AF_INET, 0);
    if (!why)
        why = selftest_insert(t, UP);
    return why ? why : selftest_insert(t, DOWN);
}

static const char *_request(struct selftest *t)
{
    if (!selftest_send(t->far[DOWN], t->say->request) || !selftest_arrives(t->far[UP], t->say->request))
        return "a request is not redirected";
    return NULL;
}

static const char *_response(struct selftest *t)
{
    const char *why = _request(t);
    if (why)
        return why;
    if (!selftest_send(t->far[UP], t->say->response) || !selftest_arrives(t->far[DOWN], t->say->response))
        return "a response is not redirected";
    return NULL;
}

/* What all stand on ------------------------------------------------------------------- */

static const char *_check_insert(struct selftest *t)
{
    return _begin(t);
}

static const char *_check_inspect(struct selftest *t)
{
    const struct slot *s = selftest_slot(t, DOWN);
    const char *why = _begin(t);
    if (why)
        return why;
    if (!selftest_inspect(t, DOWN))
        return "the inspecting program does not run";
    uint32_t before = s->write_seq;
    if (!selftest_send(t->near[DOWN], "three") || !selftest_inspect(t, DOWN) || s->write_seq != before + 5)
        return "a socket's sequence numbers are not found";
    return NULL;
}

/* By protocol ------------------------------------------------------------------------- */

static const char *_check_request(struct selftest *t)
{
    const char *why = _begin(t);
    return why ? why : _request(t);
}

static const char *_check_response(struct selftest *t)
{
    const char *why = _begin(t);
    return why ? why : _response(t);
}

static const char *_check_lease(struct selftest *t)
{
    const char *why = _begin(t);
    /* Twice: what was returned can be leased again. */
    for (int i = 0; i < 2 && !why; i++) {
        why = _request(t);
        if (!why && !owner_lease(slot_owner(selftest_slot(t, DOWN))))
            return "a lease is not taken";
        if (!why && (!selftest_send(t->far[UP], t->say->response) ||
                     !selftest_arrives(t->far[DOWN], t->say->response)))
            return "a response is not redirected";
        if (!why && (owner_lease(slot_owner(selftest_slot(t, DOWN))) ||
                     owner_lease(slot_owner(selftest_slot(t, UP))) || t->k->pools[0].idle[0] != 1))
            return "a lease is not returned";
    }
    return why;
}

/* @return Length of the head. */
static size_t _long_head(struct selftest *t, const char *begin, size_t body, char *out, size_t cap)
{
    return (size_t)snprintf(out, cap, "%s%zu%s", begin, body, t->say->long_body);
}

/* A head that begins so, `body` bytes, and the end. @return Its length; the caller frees. */
static size_t _long_message(struct selftest *t, const char *begin, size_t body, char **out)
{
    char head[128];
    size_t n = _long_head(t, begin, body, head, sizeof(head)), end = strlen(t->say->long_end);
    char *m = malloc(n + body + end);
    if (!m)
        abort();
    memcpy(m, head, n);
    for (size_t i = 0; i < body; i++)
        m[n + i] = (char)('a' + i % 23);
    memcpy(m + n + body, t->say->long_end, end);
    *out = m;
    return n + body + end;
}

/* One long message through the kernel path, all of it. */
static bool _carries_long(struct selftest *t, int from, int to, const char *begin)
{
    char *message;
    uint64_t before = selftest_slot(t, to)->redirected;
    size_t len = _long_message(t, begin, LONG_BODY, &message);
    bool ok = selftest_carries(t->far[from], t->far[to], message, len);
    free(message);
    return ok && selftest_slot(t, to)->redirected - before == len && !selftest_slot(t, from)->passed;
}

static const char *_check_long(struct selftest *t)
{
    const char *why = _begin(t);
    if (why)
        return why;
    if (!_carries_long(t, DOWN, UP, t->say->long_request))
        return "a long request does not pass in slices";
    if (!_carries_long(t, UP, DOWN, t->say->long_response))
        return "a long response does not pass in slices";
    return NULL;
}

/* By either protocol ------------------------------------------------------------------ */

static const char *_check_early_bytes(struct selftest *t)
{
    const char *why = selftest_connect(t, AF_INET, 0);
    if (!why)
        why = selftest_insert(t, UP);
    if (!why && !selftest_send(t->far[DOWN], t->say->request))
        why = strerror(errno);
    if (!why)
        why = selftest_insert(t, DOWN);
    if (!why && !selftest_arrives(t->far[UP], t->say->request))
        why = "bytes from before the insert are not parsed";
    return why;
}

static const char *_check_offsets(struct selftest *t)
{
    char two[256];
    const char *why = _begin(t);
    if (!why)
        why = _request(t);
    if (why)
        return why;
    /* The first is the response; the second is found by its offset, and nobody asked for it. */
    snprintf(two, sizeof(two), "%s%s", t->say->response, t->say->response);
    if (!selftest_send(t->far[UP], two) || !selftest_arrives(t->far[DOWN], t->say->response) ||
        !selftest_peeks(t->near[UP], t->say->response))
        return "message offsets are not what strparser says";
    return NULL;
}

static const char *_check_sent_bytes(struct selftest *t)
{
    const char *why = _begin(t);
    if (!why)
        why = _response(t);
    if (why)
        return why;
    for (int side = DOWN; side <= UP; side++) {
        const struct slot *s = selftest_slot(t, side);
        size_t len = strlen(side == DOWN ? t->say->response : t->say->request);
        if (!selftest_inspect(t, side) || !s->tx_valid || s->redirected != len || s->tx_seq != s->write_seq)
            return "redirected bytes can not be counted";
    }
    return NULL;
}

static const char *_check_passed_bytes(struct selftest *t)
{
    const struct slot *s = selftest_slot(t, DOWN);
    size_t len = strlen(t->say->request);
    const char *why = _begin(t);
    if (!why)
        why = _request(t);
    if (why)
        return why;
    /* A second one while the first is outstanding. */
    if (!selftest_send(t->far[DOWN], t->say->request) || !selftest_peeks(t->near[DOWN], t->say->request) ||
        !selftest_owner_is(t, DOWN, OWNER_USER) || s->passed != len)
        return "passed bytes can not be counted";
    uint32_t reader = selftest_inspect(t, DOWN) ? s->copied_seq : 0;
    if (!selftest_peeks(t->near[DOWN], t->say->request) || !selftest_inspect(t, DOWN) ||
        s->copied_seq != reader)
        return "copying passed bytes moves the reader";
    if (!selftest_leave(t, DOWN))
        return "a socket with passed bytes does not come to rest";
    if (!selftest_send(t->far[DOWN], t->say->request) || !selftest_arrives(t->near[DOWN], t->say->request))
        return "a socket that had passed bytes can not be read after it has left the map";
    return NULL;
}

/* What the parser does not take stays in TCP's queue, whole, once the socket is out of the map: here
 * a response that nobody asked for. */
static const char *_give_up(struct selftest *t)
{
    struct pollfd p = {.fd = t->near[UP], .events = POLLIN};
    const struct slot *s = selftest_slot(t, UP);
    int err = 0;
    socklen_t len = sizeof(err);
    if (!selftest_send(t->far[UP], t->say->response) || poll(&p, 1, (int)(SELFTEST_WAIT_NS / 1000000)) != 1 ||
        !selftest_owner_is(t, UP, OWNER_USER | OWNER_FROZEN))
        return "the parser can not give up";
    if (!selftest_inspect(t, UP) || s->copied_seq != s->parsed_seq)
        return "giving up moves the reader";
    kernel_remove(t->k, UP);
    getsockopt(t->near[UP], SOL_SOCKET, SO_ERROR, &err, &len);
    if (err != PARSER_GAVE_UP || !selftest_arrives(t->near[UP], t->say->response))
        return "bytes are lost when a socket leaves the map";
    return NULL;
}

static const char *_check_give_up(struct selftest *t)
{
    const char *why = _begin(t);
    return why ? why : _give_up(t);
}

static const char *_check_reinsert(struct selftest *t)
{
    const char *why = _begin(t);
    if (!why)
        why = _give_up(t);
    if (why)
        return why;
    kernel_forget(t->k, UP, t->cookies[UP]);
    selftest_renew(t, UP);
    if (selftest_insert(t, UP))
        return "a socket that has left the map can not be inserted again";
    return _response(t);
}

/* The client's connection ends as soon as its slot says that nothing is under way to it. */
static const char *_eof(struct selftest *t, const char *message, size_t len)
{
    char byte;
    if (send(t->far[UP], message, len, MSG_NOSIGNAL) != (ssize_t)len || shutdown(t->far[UP], SHUT_WR))
        return strerror(errno);
    if (!SELFTEST_UNTIL(recv(t->near[UP], &byte, 1, MSG_DONTWAIT) == 0))
        return "the end of a connection does not show behind redirected bytes";
    if (!selftest_leave(t, DOWN))
        return "redirected bytes do not reach TCP's queue";
    shutdown(t->near[DOWN], SHUT_WR);
    /* Nothing more is sent: only what had left before the end can arrive. */
    if (!selftest_carries(-1, t->far[DOWN], message, len))
        return "the end of a connection overtakes redirected bytes";
    return NULL;
}

static const char *_check_eof(struct selftest *t)
{
    char *message;
    const char *why = _begin(t);
    if (!why)
        why = _request(t);
    if (why)
        return why;
    size_t len = _long_message(t, t->say->long_response, EOF_BODY, &message);
    why = _eof(t, message, len);
    free(message);
    return why;
}

/* Sends on until the programs have had enough. @return Whether they have. */
static bool _push_until_taken(struct selftest *t)
{
    static const char block[SLOW_BUFFER];
    struct pollfd p = {.fd = t->far[UP], .events = POLLOUT};
    size_t sent = 0;
    while (sent < SLOW_MAX && !(slot_owner(selftest_slot(t, UP)) & OWNER_USER)) {
        ssize_t n = send(t->far[UP], block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && (errno != EAGAIN || poll(&p, 1, (int)(SELFTEST_WAIT_NS / 1000000)) != 1))
            break;
        sent += n > 0 ? (size_t)n : 0;
    }
    return SELFTEST_UNTIL(selftest_owner_is(t, UP, OWNER_USER));
}

static const char *_check_slow_reader(struct selftest *t)
{
    char head[128];
    const struct slot *d = selftest_slot(t, DOWN), *u = selftest_slot(t, UP);
    const char *why = selftest_connect(t, AF_INET, SLOW_BUFFER);
    t->buffer = SLOW_BUFFER;
    if (!why)
        why = selftest_listener(t);
    if (!why)
        why = selftest_insert(t, UP);
    if (!why)
        why = selftest_insert(t, DOWN);
    if (!why)
        why = _request(t);
    if (why)
        return why;
    _long_head(t, t->say->long_response, SLOW_MAX * 2, head, sizeof(head));
    if (!selftest_send(t->far[UP], head) || !_push_until_taken(t) || u->left_for != FALLBACK_DOWNSTREAM_SLOW)
        return "a slow reader's backlog is not seen";
    if (!selftest_inspect(t, DOWN) || d->tx_seq - d->write_seq > SLOW_BUFFER + SLICE_MAX)
        return "a slow reader's backlog is not bounded";
    return NULL;
}

static const char *_check_dead_target(struct selftest *t)
{
    const char *why = _begin(t);
    struct pollfd p = {.fd = t->near[UP]};
    if (why)
        return why;
    selftest_reset(&t->far[UP]);
    if (!SELFTEST_UNTIL(poll(&p, 1, 0) == 1 && (p.revents & POLLHUP)))
        return "a reset is not noticed";
    if (!selftest_send(t->far[DOWN], t->say->request) || !selftest_peeks(t->near[DOWN], t->say->request) ||
        selftest_slot(t, UP)->redirected)
        return "a request is redirected to a dead socket";
    return NULL;
}

static const char *_check_urgent(struct selftest *t)
{
    const char *why = _begin(t);
    size_t len = strlen(t->say->request);
    if (why)
        return why;
    if (send(t->far[DOWN], t->say->request, len, MSG_OOB | MSG_NOSIGNAL) != (ssize_t)len)
        return strerror(errno);
    if (!SELFTEST_UNTIL(__atomic_load_n(&selftest_slot(t, DOWN)->aborted, __ATOMIC_ACQUIRE)))
        return "an urgent byte is not noticed";
    return NULL;
}

static const char *_check_ipv6(struct selftest *t)
{
    const char *why = selftest_connect(t, AF_INET6, 0);
    if (!why)
        why = selftest_insert(t, UP);
    if (!why)
        why = selftest_insert(t, DOWN);
    return why ? why : _response(t);
}

const struct selftest_check selftest_checks[] = {
    {"insert", GUARD_KERNEL, _check_insert},
    {"inspect", GUARD_KERNEL, _check_inspect},
    {"http_request", GUARD_HTTP, _check_request},
    {"http_response", GUARD_HTTP, _check_response},
    {"http_lease", GUARD_HTTP, _check_lease},
    {"http_long", GUARD_HTTP, _check_long},
    {"redis_command", GUARD_REDIS, _check_request},
    {"redis_reply", GUARD_REDIS, _check_response},
    {"redis_lease", GUARD_REDIS, _check_lease},
    {"redis_long", GUARD_REDIS, _check_long},
    {"early_bytes", GUARD_KERNEL, _check_early_bytes},
    {"offsets", GUARD_KERNEL, _check_offsets},
    {"sent_bytes", GUARD_KERNEL, _check_sent_bytes},
    {"passed_bytes", GUARD_KERNEL, _check_passed_bytes},
    {"give_up", GUARD_KERNEL, _check_give_up},
    {"reinsert", GUARD_KERNEL, _check_reinsert},
    {"eof", GUARD_KERNEL, _check_eof},
    {"slow_reader", GUARD_KERNEL, _check_slow_reader},
    {"dead_target", GUARD_KERNEL, _check_dead_target},
    {"urgent", GUARD_KERNEL, _check_urgent},
    {"ipv6", GUARD_IPV6, _check_ipv6},
};

const size_t selftest_checks_len = sizeof(selftest_checks) / sizeof(selftest_checks[0]);
