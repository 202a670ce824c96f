/*
 * The self-test of the bypass path: whether applications' sockets are found, carry messages past TCP, and
 * still tell their applications the truth.
 */
#include <bpf/bpf.h>
#include <errno.h>
#include <event2/util.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bypass.h"
#include "selftest.h"

/** References of a connected socket that may be usual: one for its file, one for the kernel's tables. */
#define REFS_MAX 4

/** What may be unread, and what is sent to a reader that reads nothing. */
#define SLOW_BUFFER 16384
#define SLOW_PIECE  4096

static const char *_begin(struct selftest *t)
{
    const char *why = selftest_connect(t, AF_INET, 0);
    if (!why)
        why = selftest_insert(t, UP);
    return why ? why : selftest_insert(t, DOWN);
}

static int _readable(int fd)
{
    int n = -1;
    return ioctl(fd, FIONREAD, &n) ? -1 : n;
}

/* Before the programs are loaded, which takes time: with one of a few instructions, and a map of its own. */
struct small_path {
    int prog;
    int map;
};

/* The program may name the map by SMALL_MAP as its file descriptor. */
enum { SMALL_MAP = -1 };

static const char *_small_open(struct small_path *s, struct bpf_insn *insns, size_t n, const int *fds,
                               uint32_t n_fds)
{
    s->prog = -1;
    s->map = bpf_map_create(BPF_MAP_TYPE_SOCKMAP, "skein_foretest", sizeof(uint32_t), sizeof(uint64_t), n_fds,
                            NULL);
    if (s->map < 0)
        return strerror(errno);
    for (size_t i = 0; i < n; i++) {
        if (insns[i].src_reg == BPF_PSEUDO_MAP_FD && insns[i].imm == SMALL_MAP)
            insns[i].imm = s->map;
    }
    s->prog = bpf_prog_load(BPF_PROG_TYPE_SK_MSG, "skein_foretest", "GPL", insns, n, NULL);
    if (s->prog < 0 || bpf_prog_attach(s->prog, s->map, BPF_SK_MSG_VERDICT, 0))
        return strerror(errno);
    for (uint32_t i = 0; i < n_fds; i++) {
        uint64_t fd = (uint64_t)fds[i];
        if (bpf_map_update_elem(s->map, &i, &fd, BPF_ANY))
            return strerror(errno);
    }
    return NULL;
}

static void _small_close(struct small_path *s)
{
    if (s->map >= 0)
        close(s->map);
    if (s->prog >= 0)
        close(s->prog);
}

/* Whether an application in a map is told of TCP's bytes. */
static const char *_counts_tcp(struct selftest *t)
{
    if (!selftest_send(t->near[DOWN], "three") || !selftest_peeks(t->far[DOWN], "three"))
        return "what TCP brings is not readable";
    if (_readable(t->far[DOWN]) != 5)
        return "FIONREAD does not count what TCP brings to a socket in a map; with another registration it "
               "does, but splice() from such a socket waits for ever";
    return NULL;
}

static const char *_check_fionread(struct selftest *t)
{
    struct bpf_insn pass[] = {
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = SK_PASS},
        {.code = BPF_JMP | BPF_EXIT},
    };
    struct small_path s;
    const char *why = selftest_connect(t, AF_INET, 0);
    if (why)
        return why;
    why = _small_open(&s, pass, sizeof(pass) / sizeof(pass[0]), &t->far[DOWN], 1);
    if (!why)
        why = _counts_tcp(t);
    _small_close(&s);
    return why;
}

/* Whether splice() finds what a redirect brought: net/ipv4/tcp.c, tcp_splice_read() looks into TCP's queue.
 */
static const char *_splices(int fd, const char *text)
{
    int pipes[2];
    char got[16];
    size_t len = strlen(text);
    if (_readable(fd) != (int)len)
        return "FIONREAD does not count what came past TCP";
    if (evutil_make_socket_nonblocking(fd) || pipe(pipes))
        return strerror(errno);
    ssize_t n = splice(fd, NULL, pipes[1], NULL, len, 0);
    bool whole = n == (ssize_t)len && read(pipes[0], got, sizeof(got)) == n && !memcmp(got, text, len);
    close(pipes[0]);
    close(pipes[1]);
    return whole ? NULL : "splice() does not see what came past TCP";
}

static const char *_check_splice(struct selftest *t)
{
    /* return bpf_msg_redirect_map(msg, map, 0, BPF_F_INGRESS); */
    struct bpf_insn redirect[] = {
        {.code = BPF_LD | BPF_DW | BPF_IMM,
         .dst_reg = BPF_REG_2,
         .src_reg = BPF_PSEUDO_MAP_FD,
         .imm = SMALL_MAP},
        {0},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_3},
        {.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_4, .imm = BPF_F_INGRESS},
        {.code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_msg_redirect_map},
        {.code = BPF_JMP | BPF_EXIT},
    };
    struct small_path s;
    const char *why = selftest_connect(t, AF_INET, 0);
    if (why)
        return why;
    int fds[] = {t->far[DOWN], t->far[UP]};
    why = _small_open(&s, redirect, sizeof(redirect) / sizeof(redirect[0]), fds, 2);
    if (!why)
        why = selftest_send(t->far[UP], "three") ? _splices(t->far[DOWN], "three") : strerror(errno);
    _small_close(&s);
    return why;
}

static const char *_check_collect(struct selftest *t)
{
    int r = bypass_collect(t->k);
    const char *why = r ? strerror(-r) : selftest_connect(t, AF_INET, 0);
    return why ? why : _counts_tcp(t);
}

static bool _looks_quiet(struct selftest *t, int side)
{
    return SELFTEST_LOOKS(selftest_inspect(t, side) && slot_settled(selftest_slot(t, side)));
}

/* Tries how many references make a quiet socket look quiet. */
static const char *_check_refs(struct selftest *t)
{
    const char *why = _begin(t);
    uint32_t refs;
    if (why)
        return why;
    for (refs = 1; refs <= REFS_MAX; refs++) {
        bypass_refs(t->k, refs);
        if (_looks_quiet(t, DOWN) && _looks_quiet(t, UP))
            return NULL;
    }
    return "a socket never looks quiet";
}

/* A timer holds a reference, too: it has to be known. */
static const char *_check_timer(struct selftest *t)
{
    const char *why = _begin(t);
    int one = 1;
    if (why)
        return why;
    for (int side = DOWN; side <= UP; side++) {
        if (setsockopt(t->far[side], SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one)))
            return strerror(errno);
        if (!_looks_quiet(t, side))
            return "a socket with SO_KEEPALIVE never looks quiet";
    }
    return NULL;
}

static const char *_request(struct selftest *t)
{
    char byte;
    if (!selftest_send(t->far[DOWN], t->say->request))
        return strerror(errno);
    if (recv(t->near[DOWN], &byte, 1, MSG_DONTWAIT) >= 0 || errno != EAGAIN)
        return "a request goes by TCP";
    if (_readable(t->far[UP]) != (int)strlen(t->say->request))
        return "FIONREAD does not count what came past TCP";
    return selftest_arrives(t->far[UP], t->say->request) ? NULL : "a request does not arrive";
}

static const char *_check_message(struct selftest *t)
{
    const char *why = _begin(t);
    /* Twice: what was returned can be leased again. */
    for (int i = 0; i < 2 && !why; i++) {
        why = _request(t);
        if (!why && (!selftest_send(t->far[UP], t->say->response) ||
                     !selftest_arrives(t->far[DOWN], t->say->response)))
            return "a response does not arrive";
        if (!why && (owner_lease(slot_owner(selftest_slot(t, DOWN))) || t->k->pools[0].idle[0] != 1))
            return "a lease is not returned";
    }
    return why;
}

/* What TCP brought and nobody has read keeps a client off the path: the two queues have no order. */
static const char *_check_unread(struct selftest *t)
{
    const char *why = _begin(t);
    if (why)
        return why;
    if (!selftest_send(t->near[DOWN], "early") || !selftest_peeks(t->far[DOWN], "early"))
        return "what TCP brings is not readable";
    if (!selftest_send(t->far[DOWN], t->say->request) || !selftest_arrives(t->near[DOWN], t->say->request) ||
        selftest_slot(t, UP)->redirected)
        return "a request overtakes what its client has not read";
    return NULL;
}

static const char *_check_slow_reader(struct selftest *t)
{
    char head[128], piece[SLOW_PIECE] = {0};
    struct slot *u = selftest_slot(t, UP);
    t->buffer = SLOW_BUFFER;
    const char *why = selftest_listener(t);
    if (!why)
        why = _begin(t);
    if (!why)
        why = _request(t);
    if (why)
        return why;
    snprintf(head, sizeof(head), "%s%u%s", t->say->long_response, 1U << 20, t->say->long_body);
    if (!selftest_send(t->far[UP], head))
        return strerror(errno);
    for (int i = 0; i < 4 * SLOW_BUFFER / SLOW_PIECE && !u->left_for; i++) {
        if (send(t->far[UP], piece, sizeof(piece), MSG_NOSIGNAL) != sizeof(piece))
            return strerror(errno);
    }
    if (u->left_for != FALLBACK_DOWNSTREAM_SLOW || _readable(t->far[DOWN]) > SLOW_BUFFER + SLOW_PIECE)
        return "a slow reader's backlog is not bounded";
    return NULL;
}

static const struct selftest_check _before[] = {
    {"fionread", GUARD_AUTO, _check_fionread},
    {"splice", GUARD_AUTO, _check_splice},
};
static const struct selftest_check _collect[] = {{"collect", GUARD_BYPASS, _check_collect}};

static const struct selftest_check _checks[] = {
    {"quiet", GUARD_BYPASS, _check_refs},          {"timer", GUARD_BYPASS, _check_timer},
    {"past_tcp", GUARD_BYPASS, _check_message},    {"unread", GUARD_BYPASS, _check_unread},
    {"backlog", GUARD_BYPASS, _check_slow_reader},
};

void bypass_foretest(struct kpath *k, struct probe *p)
{
    selftest_run(k, _before, sizeof(_before) / sizeof(_before[0]), true, p);
}

int bypass_selftest(struct kpath *k, struct probe *p)
{
    if (!probe_holds(p, "fionread"))
        selftest_run(k, _collect, 1, true, p);
    selftest_run(k, _checks, sizeof(_checks) / sizeof(_checks[0]), true, p);
    return probe_culprit(p, GUARD_BYPASS) ? -ENOTRECOVERABLE : 0;
}
