/*
 * Hazard: a kernel that is different in one respect. Each fault here changes what one system call does,
 * or one table that the programs read; the self-test finds it by name and switches off what relies on it,
 * and nothing else.
 */
#include "daemon_double.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "parsers/http1_scan.h"
#include "parsers/redis_crc16.h"
#include "proxy/probe.h"

enum fault_kind {
    NO_FAULT,
    PEEK_DOES_NOT_PARSE,
    READING_CONSUMES,
    NO_TEST_RUN,
    NO_VERDICT,
    BUFFER_IS_ENDLESS,
    NO_SECOND_INSERT,
    SEQUENCE_IS_OFF,
    REMOVAL_LOSES_BYTES,
    URGENT_IS_NOT_SHOWN,
    HTTP_TABLE_IS_WRONG,
    HTTP_BODY_IS_TOO_LONG,
    REDIS_SLOT_IS_WRONG,
    NO_REDIS_COMMANDS,
    REDIS_BODY_IS_TOO_LONG,
    NO_IPV6_INSERT,
    NO_IPV6,
    ONE_PROGRAM_DOES_NOT_LOAD,
};

static enum fault_kind _fault;
static uint64_t _inserted[256]; /* Cookies. */
static size_t _n_inserted;
static int _fds[BENCH_SLOTS]; /* By slot. */

/* What goes wrong --------------------------------------------------------------------- */

ssize_t __real_recv(int fd, void *buf, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags);
ssize_t __real_send(int fd, const void *buf, size_t len, int flags);
ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags);
int __real_kernel_inspect(struct kpath *k, uint32_t slot);
int __wrap_kernel_inspect(struct kpath *k, uint32_t slot);
void __real_kernel_remove(struct kpath *k, uint32_t slot);
void __wrap_kernel_remove(struct kpath *k, uint32_t slot);
int __real_socket(int family, int type, int protocol);
int __wrap_socket(int family, int type, int protocol);
int __real_bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags);
int __wrap_bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags);
int __real_bpf_prog_test_run_opts(int fd, struct bpf_test_run_opts *opts);
int __wrap_bpf_prog_test_run_opts(int fd, struct bpf_test_run_opts *opts);
int __real_bpf_prog_attach(int prog, int target, enum bpf_attach_type type, unsigned flags);
int __wrap_bpf_prog_attach(int prog, int target, enum bpf_attach_type type, unsigned flags);
int __real_bpf_object__load_skeleton(struct bpf_object_skeleton *s);
int __wrap_bpf_object__load_skeleton(struct bpf_object_skeleton *s);

ssize_t __wrap_recv(int fd, void *buf, size_t len, int flags)
{
    if (_fault == PEEK_DOES_NOT_PARSE && (flags & MSG_PEEK) && len == 1) {
        errno = EAGAIN;
        return -1;
    }
    if (_fault == READING_CONSUMES && len > 1)
        flags &= ~MSG_PEEK;
    return __real_recv(fd, buf, len, flags);
}

ssize_t __wrap_send(int fd, const void *buf, size_t len, int flags)
{
    if (_fault == URGENT_IS_NOT_SHOWN)
        flags &= ~MSG_OOB;
    return __real_send(fd, buf, len, flags);
}

int __wrap_kernel_inspect(struct kpath *k, uint32_t slot)
{
    int r = __real_kernel_inspect(k, slot);
    if (_fault == SEQUENCE_IS_OFF)
        k->slots[slot].write_seq++;
    return r;
}

void __wrap_kernel_remove(struct kpath *k, uint32_t slot)
{
    char lost[4096];
    __real_kernel_remove(k, slot);
    while (_fault == REMOVAL_LOSES_BYTES && __real_recv(_fds[slot], lost, sizeof(lost), MSG_DONTWAIT) > 0)
        ;
}

int __wrap_socket(int family, int type, int protocol)
{
    if (_fault == NO_IPV6 && family == AF_INET6) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    return __real_socket(family, type, protocol);
}

/* @return 0 or the errno of an insert that this kernel refuses. */
static int _refuse(int fd)
{
    int family = 0;
    socklen_t len = sizeof(family);
    uint64_t cookie = kernel_cookie(fd);
    getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len);
    if (_fault == NO_IPV6_INSERT && family == AF_INET6)
        return EOPNOTSUPP;
    for (size_t i = 0; _fault == NO_SECOND_INSERT && i < _n_inserted; i++) {
        if (_inserted[i] == cookie)
            return EBUSY;
    }
    assert_true(_n_inserted < sizeof(_inserted) / sizeof(_inserted[0]));
    _inserted[_n_inserted++] = cookie;
    return 0;
}

int __wrap_bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags)
{
    struct bpf_map_info info = {0};
    uint32_t len = sizeof(info);
    assert_int_equal(bpf_obj_get_info_by_fd(fd, &info, &len), 0);
    struct kernel_listener l;
    if (info.type == BPF_MAP_TYPE_SOCKMAP) {
        int socket = (int)*(const uint64_t *)value;
        if ((errno = _refuse(socket)))
            return -1;
        _fds[*(const uint32_t *)key] = socket;
    }
    if (_fault == NO_REDIS_COMMANDS && strcmp(info.name, "redis_commands") == 0)
        return 0;
    if (strcmp(info.name, "listeners") == 0) {
        memcpy(&l, value, sizeof(l));
        if (_fault == BUFFER_IS_ENDLESS)
            l.buffer = UINT32_MAX >> 1;
        if (_fault == (l.single ? HTTP_BODY_IS_TOO_LONG : REDIS_BODY_IS_TOO_LONG))
            l.body_bytes = 100;
        value = &l;
    }
    return __real_bpf_map_update_elem(fd, key, value, flags);
}

int __wrap_bpf_prog_test_run_opts(int fd, struct bpf_test_run_opts *opts)
{
    return _fault == NO_TEST_RUN ? -EOPNOTSUPP : __real_bpf_prog_test_run_opts(fd, opts);
}

int __wrap_bpf_prog_attach(int prog, int target, enum bpf_attach_type type, unsigned flags)
{
    if (_fault == NO_VERDICT && type == BPF_SK_SKB_STREAM_VERDICT)
        return 0;
    return __real_bpf_prog_attach(prog, target, type, flags);
}

/* Makes a table of the programs all zeros. */
static void _spoil(struct bpf_object *o, const void *table, size_t len)
{
    size_t size;
    struct bpf_map *rodata = bpf_object__find_map_by_name(o, ".rodata");
    assert_non_null(rodata);
    void *data = (void *)bpf_map__initial_value(rodata, &size);
    void *at = memmem(data, size, table, len);
    assert_non_null(at);
    memset(at, 0, len);
}

int __wrap_bpf_object__load_skeleton(struct bpf_object_skeleton *s)
{
    if (_fault == HTTP_TABLE_IS_WRONG)
        _spoil(*s->obj, http1_table_next, sizeof(http1_table_next));
    if (_fault == REDIS_SLOT_IS_WRONG)
        _spoil(*s->obj, redis_crc16_table, sizeof(redis_crc16_table));
    if (_fault == ONE_PROGRAM_DOES_NOT_LOAD)
        bpf_program__set_type(bpf_object__find_program_by_name(*s->obj, "skein_inspect"),
                              BPF_PROG_TYPE_TRACEPOINT);
    return __real_bpf_object__load_skeleton(s);
}

/* What comes of it -------------------------------------------------------------------- */

static int _open_with(enum fault_kind fault, struct kpath **k, struct probe *p)
{
    struct conf conf = {.workers = 1, .datapath = {.connections = BENCH_SLOTS}};
    memset(p, 0, sizeof(*p));
    _n_inserted = 0;
    _fault = fault;
    return kernel_open(&conf, k, p);
}

static const struct probe_check *_find(const struct probe *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++) {
        if (strcmp(p->checks[i].name, name) == 0)
            return &p->checks[i];
    }
    fail_msg("there is no check %s", name);
    return NULL;
}

/* The check that failed first is the one, and it says why. */
static void _assert_culprit(const struct probe *p, enum probe_guard guard, const char *name)
{
    const struct probe_check *c = probe_culprit(p, guard);
    assert_non_null(c);
    assert_string_equal(c->name, name);
    assert_int_equal(c->verdict, PROBE_FAILED);
    assert_true(c->why[0]);
    assert_false(probe_available(p, guard));
}

static void test_whole_path_off(void **state)
{
    static const struct {
        enum fault_kind fault;
        const char *culprit;
    } cases[] = {
        {PEEK_DOES_NOT_PARSE, "early_bytes"},
        {READING_CONSUMES, "passed_bytes"},
        {NO_TEST_RUN, "inspect"},
        {BUFFER_IS_ENDLESS, "slow_reader"},
        {NO_SECOND_INSERT, "reinsert"},
        {SEQUENCE_IS_OFF, "sent_bytes"},
        {REMOVAL_LOSES_BYTES, "give_up"},
        {URGENT_IS_NOT_SHOWN, "urgent"},
    };
    struct probe p;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct kpath *k = NULL;
        print_message("%s\n", cases[i].culprit);
        assert_int_equal(_open_with(cases[i].fault, &k, &p), -ENOTRECOVERABLE);
        assert_null(k);
        for (enum probe_guard g = 0; g < _GUARD_MAX; g++)
            _assert_culprit(&p, g, cases[i].culprit);
        /* Nobody waits for what follows. */
        assert_int_equal(_find(&p, "ipv6")->verdict, PROBE_SKIPPED);
    }
}

/* Off for each protocol is off at all. */
static void test_no_protocol_left(void **state)
{
    struct probe p;
    struct kpath *k = NULL;
    (void)state;
    assert_int_equal(_open_with(NO_VERDICT, &k, &p), -ENOTRECOVERABLE);
    assert_null(k);
    _assert_culprit(&p, GUARD_KERNEL, "http_request");
    assert_int_equal(_find(&p, "redis_command")->verdict, PROBE_FAILED);
    assert_int_equal(_find(&p, "early_bytes")->verdict, PROBE_SKIPPED);
}

static void test_program_that_does_not_load(void **state)
{
    struct probe p;
    struct kpath *k = NULL;
    (void)state;
    int r = _open_with(ONE_PROGRAM_DOES_NOT_LOAD, &k, &p);
    assert_true(r && r != -ENOTRECOVERABLE);
    assert_null(k);
    _assert_culprit(&p, GUARD_KERNEL, "load");
    assert_int_equal(_find(&p, "skein_parser")->verdict, PROBE_OK);
    assert_int_equal(_find(&p, "skein_verdict")->verdict, PROBE_OK);
    assert_int_equal(_find(&p, "skein_inspect")->verdict, PROBE_FAILED);
}

/* Whether this machine can connect over IPv6; without, nothing can be said of it. */
static bool _has_ipv6(void)
{
    struct probe p;
    struct kpath *k = NULL;
    assert_int_equal(_open_with(NO_FAULT, &k, &p), 0);
    kernel_close(&k);
    bool has = _find(&p, "ipv6")->verdict == PROBE_OK;
    if (!has)
        print_message("no IPv6: %s\n", _find(&p, "ipv6")->why);
    return has;
}

/* Whether the daemon gives connections of a protocol and a family to the kernel path. */
static bool _is_used(struct kpath *k, enum slot_protocol protocol, int family)
{
    struct wire up, down;
    daemon_open(k, (uint8_t)protocol);
    wire_connect_over(family, &up, 0, 0);
    wire_connect_over(family, &down, 0, 0);
    bool donated = daemon_offer(&up, true)->c.kernel, promoted = daemon_offer(&down, false)->c.kernel;
    daemon_close();
    assert_int_equal(donated, promoted);
    return promoted;
}

static void _assert_others_tried(const struct probe *p, enum probe_guard off, bool ipv6)
{
    for (size_t i = 0; i < p->n; i++) {
        enum probe_guard guards = p->checks[i].guards;
        if (guards != off && (guards != GUARD_IPV6 || ipv6))
            assert_int_equal(p->checks[i].verdict, PROBE_OK);
    }
}

static void test_one_feature_off(void **state)
{
    static const struct {
        enum fault_kind fault;
        const char *culprit;
        enum probe_guard guard;
    } cases[] = {
        {HTTP_TABLE_IS_WRONG, "http_request", GUARD_HTTP},
        {HTTP_BODY_IS_TOO_LONG, "http_long", GUARD_HTTP},
        {REDIS_SLOT_IS_WRONG, "redis_command", GUARD_REDIS},
        {NO_REDIS_COMMANDS, "redis_command", GUARD_REDIS},
        {REDIS_BODY_IS_TOO_LONG, "redis_long", GUARD_REDIS},
        {NO_IPV6_INSERT, "ipv6", GUARD_IPV6},
    };
    struct probe p;
    bool ipv6 = _has_ipv6();
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        enum probe_guard off = cases[i].guard;
        struct kpath *k = NULL;
        if (off == GUARD_IPV6 && !ipv6)
            continue;
        print_message("%s\n", cases[i].culprit);
        assert_int_equal(_open_with(cases[i].fault, &k, &p), 0);
        _fault = NO_FAULT;
        for (enum probe_guard g = 0; g < _GUARD_MAX; g++)
            assert_int_equal(probe_available(&p, g), g != off);
        _assert_culprit(&p, off, cases[i].culprit);
        _assert_others_tried(&p, off, ipv6);
        assert_int_equal(_is_used(k, SLOT_HTTP, AF_INET), off != GUARD_HTTP);
        assert_int_equal(_is_used(k, SLOT_REDIS, AF_INET), off != GUARD_REDIS);
        if (ipv6) {
            assert_int_equal(_is_used(k, SLOT_HTTP, AF_INET6), off != GUARD_HTTP && off != GUARD_IPV6);
            assert_int_equal(_is_used(k, SLOT_REDIS, AF_INET6), off != GUARD_REDIS && off != GUARD_IPV6);
        }
        kernel_close(&k);
    }
}

/* A machine without IPv6 has no connections over it: nothing is switched off. */
static void test_without_ipv6(void **state)
{
    struct probe p;
    struct kpath *k = NULL;
    (void)state;
    assert_int_equal(_open_with(NO_IPV6, &k, &p), 0);
    assert_int_equal(_find(&p, "ipv6")->verdict, PROBE_SKIPPED);
    assert_true(_find(&p, "ipv6")->why[0]);
    for (enum probe_guard g = 0; g < _GUARD_MAX; g++)
        assert_true(probe_available(&p, g));
    kernel_close(&k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_whole_path_off),
        BENCH_TEST(test_no_protocol_left),
        BENCH_TEST(test_program_that_does_not_load),
        BENCH_TEST(test_one_feature_off),
        BENCH_TEST(test_without_ipv6),
    };
    return BENCH_MAIN("probe_faults", tests);
}
