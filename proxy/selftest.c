/*
 * The start-up self-test: the very programs that will carry traffic carry a few messages over loopback
 * first. What a kernel does differently from what the kernel path relies on shows here, by name, before
 * a client can meet it, and switches off what relies on it.
 */
#include "selftest.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "parsers/redis_crc16.h"
#include "skein.skel.h"

/** For all checks but that of a slow reader: more than any of them has under way. */
#define BUFFER (16U << 20)

/** An endpoint that does not exist. */
#define NO_ENDPOINT 0xffff

#define REDIS_KEY "selftest"

static const struct selftest_dialect _http = {
    .protocol = SLOT_HTTP,
    .request = "GET /self HTTP/1.1\r\nHost: selftest\r\n\r\n",
    .response = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody",
    .long_request = "POST /self HTTP/1.1\r\nHost: selftest\r\nContent-Length: ",
    .long_response = "HTTP/1.1 200 OK\r\nContent-Length: ",
    .long_body = "\r\n\r\n",
    .long_end = "",
};

static const struct selftest_dialect _redis = {
    .protocol = SLOT_REDIS,
    .request = "*2\r\n$3\r\nGET\r\n$8\r\n" REDIS_KEY "\r\n",
    .response = "$4\r\nbody\r\n",
    .long_request = "*3\r\n$3\r\nSET\r\n$8\r\n" REDIS_KEY "\r\n$",
    .long_response = "$",
    .long_body = "\r\n",
    .long_end = "\r\n",
};

/* Tables ------------------------------------------------------------------------------ */

/* Only the slot of the one key has an endpoint. */
static void _put_ring(struct kpath *k)
{
    uint32_t slot = redis_crc16_update(0, REDIS_KEY, strlen(REDIS_KEY)) % REDIS_SLOTS;
    for (uint32_t i = 0; i < REDIS_SLOTS; i++)
        k->rings[0].endpoint[i] = i == slot ? 0 : NO_ENDPOINT;
}

const char *selftest_listener(struct selftest *t)
{
    uint32_t zero = 0;
    struct kernel_listener l = {.single = t->say == &_http,
                                .header_bytes = HTTP1_WINDOW,
                                .header_count = 100,
                                .target_bytes = HTTP1_WINDOW,
                                .buffer = t->buffer,
                                .body_bytes = RESP_FRAME_BULK_MAX};
    int r = kernel_put(t->k->skel->maps.listeners, &zero, &l);
    return r ? strerror(-r) : NULL;
}

static void _clear_counters(struct kpath *k)
{
    uint32_t zero = 0;
    int cpus = libbpf_num_possible_cpus();
    if (cpus <= 0)
        return;
    struct listener_counters *l = calloc((size_t)cpus, sizeof(*l));
    struct endpoint_counters *e = calloc((size_t)cpus, sizeof(*e));
    if (l && e) {
        kernel_put(k->skel->maps.listener_stats, &zero, l);
        kernel_put(k->skel->maps.endpoint_stats, &zero, e);
    }
    free(l);
    free(e);
}

static void _open_tables(struct kpath *k)
{
    k->clusters[0].place[0] = balance_place(0, 1);
    k->clusters[0].position = 0;
    k->clusters[0].len = 1;
    _put_ring(k);
}

static void _close_tables(struct kpath *k)
{
    memset(&k->clusters[0], 0, sizeof(k->clusters[0]));
    memset(&k->rings[0], 0, sizeof(k->rings[0]));
    _clear_counters(k);
}

/* Running ----------------------------------------------------------------------------- */

/* The protocol that a check speaks: its own, otherwise the first one that works. */
static const struct selftest_dialect *_dialect(const struct probe *p, enum probe_guard guard)
{
    if (guard == GUARD_REDIS || (guard != GUARD_HTTP && probe_culprit(p, GUARD_HTTP)))
        return &_redis;
    return &_http;
}

static void _run(struct kpath *k, const struct selftest_check *c, bool bypass, struct probe *p)
{
    struct selftest t = {.k = k, .far = {-1, -1}, .near = {-1, -1}, .buffer = BUFFER, .bypass = bypass};
    uint64_t start = probe_now();
    t.say = _dialect(p, c->guards);
    const char *why = selftest_listener(&t);
    if (!why)
        why = c->run(&t);
    selftest_close(&t);
    enum probe_verdict verdict = !why ? PROBE_OK : t.skip ? PROBE_SKIPPED : PROBE_FAILED;
    probe_add(p, c->name, c->guards, verdict, why, probe_now() - start);
}

/* What is off already needs no further check, and each would have to wait for what does not come. What
 * only `auto` respects is said all of. */
static void _skip(const struct selftest_check *c, const struct probe_check *culprit, struct probe *p)
{
    char why[64];
    snprintf(why, sizeof(why), "after %s", culprit->name);
    probe_add(p, c->name, c->guards, PROBE_SKIPPED, why, 0);
}

void selftest_run(struct kpath *k, const struct selftest_check *checks, size_t n, bool bypass,
                  struct probe *p)
{
    uint64_t before = p->ns;
    _open_tables(k);
    for (size_t i = 0; i < n; i++) {
        const struct selftest_check *c = &checks[i];
        enum probe_guard needs = c->guards == GUARD_AUTO ? GUARD_BYPASS : c->guards;
        const struct probe_check *culprit = probe_culprit(p, needs);
        if (culprit)
            _skip(c, culprit, p);
        else
            _run(k, c, bypass, p);
    }
    _close_tables(k);
    p->loopback_ns += p->ns - before;
}

int kernel_selftest(struct kpath *k, struct probe *p)
{
    selftest_run(k, selftest_checks, selftest_checks_len, false, p);
    for (enum probe_guard g = 0; g < _GUARD_MAX; g++)
        k->unsafe |= (uint32_t)(probe_culprit(p, g) != NULL) << g;
    return k->unsafe & 1U << GUARD_KERNEL ? -ENOTRECOVERABLE : 0;
}

bool kernel_trusts(const struct kpath *k, enum slot_protocol protocol, int fd)
{
    int family = AF_UNSPEC;
    socklen_t len = sizeof(family);
    if (k->unsafe & 1U << (protocol == SLOT_REDIS ? GUARD_REDIS : GUARD_HTTP))
        return false;
    if (!(k->unsafe & 1U << GUARD_IPV6))
        return true;
    return !getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) && family != AF_INET6;
}
