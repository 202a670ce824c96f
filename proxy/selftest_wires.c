/* Loopback connections for the self-test, and bytes through them. */
#include "selftest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bypass.h"

#define WAIT_MS ((int)(SELFTEST_WAIT_NS / 1000000))

void selftest_pause(void)
{
    struct timespec t = {.tv_nsec = 20000};
    ppoll(NULL, 0, &t, NULL);
}

/* Connections ------------------------------------------------------------------------- */

socklen_t selftest_loopback(union selftest_address *a, int family)
{
    memset(a, 0, sizeof(*a));
    a->sa.sa_family = (sa_family_t)family;
    if (family == AF_INET6) {
        a->in6.sin6_addr = in6addr_loopback;
        return sizeof(a->in6);
    }
    a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof(a->in);
}

static void _set_up(int fd, int buffers)
{
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (!buffers)
        return;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffers, sizeof(buffers));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffers, sizeof(buffers));
}

/* One end asks, the other is accepted. On the bypass path the daemon's is known to the programs before.
 * @return 0 or -errno; what was opened is in the two. */
static int _connect_pair(struct selftest *t, int family, int buffers, int *far, int *near)
{
    union selftest_address a;
    socklen_t len = selftest_loopback(&a, family);
    int l = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (l < 0)
        return -errno;
    _set_up(l, buffers); /* Accepted sockets inherit that. */
    if (far == &t->far[DOWN])
        bypass_listen(t->k, l);
    *far = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*far >= 0)
        _set_up(*far, buffers);
    if (far == &t->near[UP])
        bypass_connecting(t->k, *far, true);
    if (*far >= 0 && !bind(l, &a.sa, len) && !listen(l, 1) && !getsockname(l, &a.sa, &len) &&
        !connect(*far, &a.sa, len))
        *near = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    int err = errno;
    bypass_unlisten(t->k, l);
    close(l);
    return *near >= 0 ? 0 : -err;
}

void selftest_renew(struct selftest *t, int side)
{
    uint32_t ref = kernel_init_slot(t->k, (uint32_t)side, side == UP);
    selftest_slot(t, side)->protocol = (uint8_t)t->say->protocol;
    t->cookies[side] = kernel_cookie(t->near[side]);
    if (side == UP)
        t->k->pools[0].ref[0] = ref;
}

const char *selftest_connect(struct selftest *t, int family, int buffers)
{
    for (int side = DOWN; side <= UP; side++) {
        int r = side == DOWN ? _connect_pair(t, family, buffers, &t->far[side], &t->near[side])
                             : _connect_pair(t, family, 0, &t->near[side], &t->far[side]);
        if (r) {
            t->skip = family == AF_INET6 && (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL);
            snprintf(t->text, sizeof(t->text), "no connection over loopback: %s", strerror(-r));
            return t->text;
        }
        selftest_renew(t, side);
    }
    return NULL;
}

const char *selftest_insert(struct selftest *t, int side)
{
    int r = t->bypass ? 0 : kernel_insert(t->k, (uint32_t)side, t->near[side]);
    enum bypass_reason b = t->bypass ? bypass_bind(t->k, (uint32_t)side, t->cookies[side]) : BYPASS_OK;
    if (r || b != BYPASS_OK) {
        snprintf(t->text, sizeof(t->text), "a socket can not be inserted: %s",
                 r ? strerror(-r) : bypass_reason_name(b));
        return t->text;
    }
    if (side == UP)
        __atomic_store_n(&t->k->pools[0].idle[0], 1, __ATOMIC_RELEASE);
    return NULL;
}

void selftest_reset(int *fd)
{
    struct linger l = {.l_onoff = 1};
    if (*fd < 0)
        return;
    setsockopt(*fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    close(*fd);
    *fd = -1;
}

void selftest_close(struct selftest *t)
{
    /* Resets leave no connection behind that waits for its end. */
    for (int side = DOWN; side <= UP; side++) {
        selftest_reset(&t->far[side]);
        selftest_reset(&t->near[side]);
        kernel_forget(t->k, (uint32_t)side, t->cookies[side]);
    }
    memset(t->k->pools, 0, sizeof(*t->k->pools));
}

/* Whether the socket can be removed without loss; otherwise asks strparser to run once more. */
static bool _may_leave(struct selftest *t, int side)
{
    const struct slot *s = selftest_slot(t, side);
    int one = 1;
    if (!selftest_inspect(t, side) || !slot_settled(s))
        return false;
    if (s->copied_seq == s->parsed_seq && (s->stopped || s->rcv_nxt == s->parsed_seq))
        return true;
    setsockopt(t->near[side], SOL_SOCKET, SO_RCVLOWAT, &one, sizeof(one));
    return false;
}

bool selftest_leave(struct selftest *t, int side)
{
    struct slot *s = selftest_slot(t, side);
    __atomic_fetch_or(&s->owner, OWNER_USER | OWNER_FROZEN, __ATOMIC_ACQ_REL);
    __atomic_fetch_and(&s->owner, ~OWNER_LEASE_MASK, __ATOMIC_ACQ_REL);
    if (!SELFTEST_UNTIL(selftest_owner_is(t, side, OWNER_USER) && _may_leave(t, side)))
        return false;
    kernel_remove(t->k, (uint32_t)side);
    return true;
}

/* Bytes ------------------------------------------------------------------------------- */

bool selftest_send(int fd, const char *text)
{
    return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text);
}

bool selftest_arrives(int fd, const char *want)
{
    char got[256];
    size_t len = strlen(want), n = 0;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (n < len && poll(&p, 1, WAIT_MS) == 1) {
        ssize_t r = recv(fd, got + n, sizeof(got) - n, MSG_DONTWAIT);
        if (r <= 0)
            return false;
        n += (size_t)r;
    }
    return n == len && memcmp(got, want, len) == 0;
}

bool selftest_peeks(int fd, const char *want)
{
    char got[256];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    size_t len = strlen(want);
    return poll(&p, 1, WAIT_MS) == 1 && recv(fd, got, sizeof(got), MSG_PEEK | MSG_DONTWAIT) == (ssize_t)len &&
           memcmp(got, want, len) == 0;
}

bool selftest_carries(int from, int to, const char *message, size_t len)
{
    char got[65536];
    size_t sent = from < 0 ? len : 0, n = 0;
    while (n < len) {
        struct pollfd p[2] = {{.fd = to, .events = POLLIN}, {.fd = from, .events = POLLOUT}};
        if (poll(p, sent < len ? 2 : 1, WAIT_MS) < 1)
            return false;
        ssize_t r = sent < len ? send(from, message + sent, len - sent, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
        if (r < 0 && errno != EAGAIN)
            return false;
        sent += r > 0 ? (size_t)r : 0;
        r = recv(to, got, sizeof(got), MSG_DONTWAIT);
        if (r < 0 && errno == EAGAIN)
            continue;
        if (r <= 0 || (size_t)r > len - n || memcmp(got, message + n, (size_t)r))
            return false;
        n += (size_t)r;
    }
    return true;
}
