/*
 * Hazard: a verdict can change its skb, but strparser has fixed how many bytes are sent, and from where
 * (sk_psock_backlog() in net/core/skmsg.c takes both from strp_msg; sk_skb_adjust_room() in
 * net/core/filter.c corrects them for TLS only). So a head can not grow or shrink there. Overwriting
 * bytes works, and reaches nobody else who holds the same pages.
 *
 *   source.far -- source.near (programs) ... target.near -- target.far
 */
#include "kernel_helper.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "header_edits.h"
#include "header_edits.skel.h"
#include "parsers/http1_message.h"

#define TWO "ABCDEFGHIJabcdefghij" /* Two messages of ten bytes in one segment. */

#define PAGE 4096

static struct header_edits_bpf *_skel;

struct lab {
    struct wire source;
    struct wire target;
    struct header_edits_bpf__bss *bss;
};

/* Life -------------------------------------------------------------------------------- */

static void _insert(int map, uint32_t key, int fd)
{
    uint64_t value = (uint64_t)fd;
    assert_int_equal(bpf_map_update_elem(map, &key, &value, BPF_ANY), 0);
}

static void _close(struct lab *l)
{
    close(l->source.near);
    close(l->source.far);
    close(l->target.near);
    close(l->target.far);
    free(l);
}

static struct lab *_lab(struct bpf_map *map, struct edit_plan plan)
{
    struct lab *l = calloc(1, sizeof(*l));
    assert_non_null(l);
    l->bss = _skel->bss;
    wire_connect(&l->source, 0, 0);
    wire_connect(&l->target, 0, 0);
    memset(l->bss, 0, sizeof(*l->bss));
    memset(l->bss->blank, ' ', sizeof(l->bss->blank));
    l->bss->plan = plan;
    _insert(bpf_map__fd(map), 0, l->source.near);
    _insert(bpf_map__fd(map), 1, l->target.near);
    return l;
}

static struct lab *_parsed(struct edit_plan plan)
{
    return _lab(_skel->maps.parsed, plan);
}

static uint32_t _n_seen(struct lab *l)
{
    return __atomic_load_n(&l->bss->n_seen, __ATOMIC_ACQUIRE);
}

static void _expect_seen(struct lab *l, unsigned i, uint32_t offset, uint32_t before, uint32_t after)
{
    const struct edit_seen *s = &l->bss->seen[i];
    assert_int_equal(s->result, 0);
    assert_int_equal(s->offset, offset);
    assert_int_equal(s->before, before);
    assert_int_equal(s->after, after);
}

/* Sends TWO, and checks what comes out of it, byte by byte. */
static void _expect(struct edit_plan plan, const char *arrives)
{
    plan.message = 10;
    struct lab *l = _parsed(plan);
    send_text(l->source.far, TWO);
    expect_bytes(l->target.far, arrives, 20);
    _expect_seen(l, 0, 0, 20, 20 + (uint32_t)(plan.all || plan.only == 0 ? plan.delta : 0));
    _expect_seen(l, 1, 10, 20, 20 + (uint32_t)(plan.all || plan.only == 10 ? plan.delta : 0));
    /* Nothing more came, and the way is open. */
    l->bss->plan = (struct edit_plan){};
    send_text(l->source.far, "next");
    expect_text(l->target.far, "next");
    _close(l);
}

/* Length ------------------------------------------------------------------------------ */

static void test_growing_cuts_the_tail(void **state)
{
    _expect((struct edit_plan){}, TWO);
    _expect((struct edit_plan){.action = EDIT_ADJUST, .delta = 4, .only = 0}, "\0\0\0\0ABCDEF"
                                                                              "abcdefghij");
    /* The room is made before the skb, not before the message: what comes is the neighbour's end. */
    _expect((struct edit_plan){.action = EDIT_ADJUST, .delta = 4, .only = 10}, "ABCDEFGHIJ"
                                                                               "GHIJabcdef");
    _expect((struct edit_plan){.action = EDIT_TAIL, .delta = 4, .all = 1}, TWO);
}

static void test_shrinking_sends_what_lies_behind(void **state)
{
    _expect((struct edit_plan){.action = EDIT_ADJUST, .delta = -4, .only = 0}, "EFGHIJabcd"
                                                                               "abcdefghij");
}

/* Another pair's message, sent after all that went before, has arrived. */
static void _fence(void)
{
    struct lab *other = _parsed((struct edit_plan){});
    send_text(other->source.far, "fence");
    expect_text(other->target.far, "fence");
    _close(other);
}

/* With nothing behind it, the target is told that the pipe is broken, and takes nothing any more. */
static void _expect_broken(struct edit_plan plan)
{
    char got[64] = "";
    int err = 0;
    plan.message = 10;
    plan.only = 10;
    struct lab *l = _parsed(plan);
    send_text(l->source.far, TWO);
    expect_text(l->target.far, "ABCDEFGHIJ");
    await((err = socket_error(l->target.near)));
    assert_int_equal(err, EPIPE);
    l->bss->plan = (struct edit_plan){};
    send_text(l->source.far, "lost");
    await(_n_seen(l) == 3);
    send_text(l->source.far, "lost");
    await(_n_seen(l) == 4);
    _fence();
    ssize_t n = recv(l->target.far, got, sizeof(got) - 1, MSG_DONTWAIT);
    assert_true(n < 10);
    assert_null(strstr(got, "lost"));
    _close(l);
}

static void test_shrinking_at_the_end_breaks_the_target(void **state)
{
    _expect_broken((struct edit_plan){.action = EDIT_ADJUST, .delta = -4});
    _expect_broken((struct edit_plan){.action = EDIT_TAIL, .delta = -4});
}

/* A verdict without a parser sends the skb as it is, whatever its length. But TCP takes that length for
 * what was read (tcp_eat_skb()): what was added is missing when it looks whether there is something to
 * tell the reader. */
static void test_length_changes_without_a_parser(void **state)
{
    static const struct {
        uint32_t action;
        int32_t delta;
        const char *arrives;
    } cases[] = {{EDIT_ADJUST, 4, "\0\0\0\0" TWO},
                 {EDIT_ADJUST, -4, "EFGHIJabcdefghij"},
                 {EDIT_TAIL, 4, TWO "\0\0\0\0"},
                 {EDIT_TAIL, -4, "ABCDEFGHIJabcdef"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct lab *l =
            _lab(_skel->maps.unparsed,
                 (struct edit_plan){.action = cases[i].action, .delta = cases[i].delta, .all = 1});
        send_text(l->source.far, TWO);
        expect_bytes(l->target.far, cases[i].arrives, (size_t)(20 + cases[i].delta));
        _expect_seen(l, 0, 0, 20, (uint32_t)(20 + cases[i].delta));
        l->bss->plan = (struct edit_plan){};
        send_text(l->source.far, "next");
        if (cases[i].delta > 0) {
            _fence();
            expect_silence(l->target.far);
            send_text(l->source.far, "more");
        }
        expect_text(l->target.far, cases[i].delta > 0 ? "nextmore" : "next");
        _close(l);
    }
}

/* Bytes ------------------------------------------------------------------------------- */

static void test_overwriting(void **state)
{
    struct edit_plan plan = {.action = EDIT_BLANK, .at = 2, .len = 3};
    _expect(plan, "AB   FGHIJabcdefghij");
    plan.only = 10;
    _expect(plan, "ABCDEFGHIJab   fghij");
    plan.all = 1;
    _expect(plan, "AB   FGHIJab   fghij");
}

/* A file whose pages become the fragments of one skb, each apart from the others. */
struct file {
    int fd;
    char *pages; /**< Mapped: what the sender, its retransmit queue and the file share. */
};

enum { PAGES = 4, BYTES = PAGES * PAGE };

static const int _order[PAGES] = {3, 0, 2, 1};

static struct file _file(void)
{
    struct file f = {.fd = memfd_create("pages", MFD_CLOEXEC)};
    assert_int_equal(ftruncate(f.fd, BYTES), 0);
    f.pages = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f.fd, 0);
    assert_ptr_not_equal(f.pages, MAP_FAILED);
    pattern_fill((uint8_t *)f.pages, BYTES, 7, 0);
    return f;
}

static void _send_pages(const struct file *f, int to)
{
    int one = 1, zero = 0;
    setsockopt(to, IPPROTO_TCP, TCP_CORK, &one, sizeof(one));
    for (int i = 0; i < PAGES; i++) {
        off_t at = (off_t)_order[i] * PAGE;
        assert_int_equal(sendfile(to, f->fd, &at, PAGE), PAGE);
    }
    setsockopt(to, IPPROTO_TCP, TCP_CORK, &zero, sizeof(zero));
}

static uint8_t _sent_byte(size_t at)
{
    return pattern_byte(7, (uint64_t)_order[at / PAGE] * PAGE + at % PAGE);
}

static bool _has_arrived(int fd, int len)
{
    int n = 0;
    return !ioctl(fd, FIONREAD, &n) && n == len;
}

/* Messages of 4000 bytes in one skb of four fragments, each blanked at `at`, in the last case across
 * two pages. All others see what was sent: the helper copies what it writes to.
 *
 * Then the file is written to while the bytes wait at the target: what shows there is still the file's
 * pages, what does not was copied. */
static void _blank_pages(uint32_t message, uint32_t at, size_t copied)
{
    struct file f = _file();
    struct lab *l =
        _parsed((struct edit_plan){.message = message, .action = EDIT_BLANK, .at = at, .len = 64, .all = 1});
    uint8_t *got = malloc(BYTES);
    uint32_t step = message ? message : BYTES;
    _send_pages(&f, l->source.far);
    await(_has_arrived(l->target.far, BYTES));
    assert_int_equal(pattern_check((uint8_t *)f.pages, BYTES, 7, 0), BYTES);
    _expect_seen(l, 0, 0, BYTES, BYTES);
    memset(f.pages, 'Z', BYTES);
    assert_int_equal(recv(l->target.far, got, BYTES, MSG_WAITALL), BYTES);
    for (size_t i = 0; i < BYTES; i++) {
        size_t in = i % step;
        bool blank = in >= at && in < at + 64, own = in < copied;
        uint8_t want = blank ? ' ' : own ? _sent_byte(i) : 'Z';
        if (got[i] != want)
            fail_msg("byte %zu (%zu of its message): %02x, expected %02x", i, in, got[i], want);
    }
    free(got);
    munmap(f.pages, BYTES);
    close(f.fd);
    _close(l);
}

static void test_overwriting_copies(void **state)
{
    _blank_pages(0, 10, 74);
    _blank_pages(0, 2 * PAGE - 30, 2 * PAGE + 34);
    _blank_pages(PAGE, 100, 164);
}

/* Messages in the middle of an skb: the helper pulls everything before them, too. */
static void test_overwriting_far_inside(void **state)
{
    uint8_t sent[BYTES];
    struct lab *l =
        _parsed((struct edit_plan){.message = 2048, .action = EDIT_BLANK, .at = 1000, .len = 64, .all = 1});
    pattern_fill(sent, BYTES, 9, 0);
    send_bytes(l->source.far, sent, BYTES);
    for (size_t i = 1000; i < BYTES; i += 2048)
        memset(sent + i, ' ', 64);
    expect_bytes(l->target.far, sent, BYTES);
    _close(l);
}

static void test_overwriting_beyond_the_skb_fails(void **state)
{
    struct lab *l =
        _parsed((struct edit_plan){.message = 10, .action = EDIT_BLANK, .at = 8, .len = 3, .only = 10});
    send_text(l->source.far, TWO);
    expect_text(l->target.far, TWO);
    assert_int_equal(l->bss->seen[1].result, -EFAULT);
    _close(l);
}

/* A field line and the CRLF before it, as spaces: they belong to the value before, as optional
 * whitespace behind it (RFC 9110, 5.5), and a strict parser reads the same head without the field. */
static void test_a_blanked_field_is_gone(void **state)
{
    static const char head[] = "GET / HTTP/1.1\r\nHost: bench\r\nX-Debug: 1\r\nAccept: */*\r\n\r\n";
    static const struct http1_limits limits = {8192, 100, 4096};
    static struct http1_message m;
    char got[sizeof(head)] = "";
    uint32_t at = (uint32_t)(strstr(head, "\r\nX-Debug") - head);
    struct lab *l = _parsed((struct edit_plan){
        .action = EDIT_BLANK, .at = at, .len = (uint32_t)strlen("\r\nX-Debug: 1"), .all = 1});
    send_text(l->source.far, head);
    assert_int_equal(recv(l->target.far, got, strlen(head), MSG_WAITALL), strlen(head));
    assert_string_equal(got, "GET / HTTP/1.1\r\nHost: bench            \r\nAccept: */*\r\n\r\n");
    assert_int_equal(http1_parse_request(got, strlen(got), &limits, &m), 0);
    assert_int_equal(m.n_fields, 2);
    assert_int_equal(m.fields[0].value.len, strlen("bench"));
    /* The first field line has no value before it. */
    memcpy(got, head, sizeof(head));
    memset(got + strlen("GET / HTTP/1.1"), ' ', strlen("\r\nHost: bench"));
    assert_int_equal(http1_parse_request(got, strlen(got), &limits, &m), 400);
    _close(l);
}

/* Cost -------------------------------------------------------------------------------- */

enum { ROUNDS = 2000 };

struct cost {
    uint64_t helper_ns; /**< In the program, around the helper. */
    uint64_t wall_ns;   /**< From one end to the other. */
};

/* One skb at a time. With `message`, only the last message of that length in it is changed. */
static struct cost _measure(size_t skb, uint32_t message, uint32_t action)
{
    static uint8_t sent[65536], got[65536];
    size_t offset = message ? skb - message : 0;
    struct lab *l = _parsed((struct edit_plan){
        .message = message, .action = action, .at = 150, .len = 32, .only = (uint32_t)offset});
    struct cost c = {};
    uint64_t start = bench_now();
    for (int i = 0; i < ROUNDS; i++) {
        send_bytes(l->source.far, sent, skb);
        assert_int_equal(recv(l->target.far, got, skb, MSG_WAITALL), skb);
    }
    c.wall_ns = (bench_now() - start) / ROUNDS;
    /* TCP may cut now and then; the first bytes begin an skb all the same. */
    assert_true(l->bss->n_acted > ROUNDS / 2);
    assert_int_equal(l->bss->n_failed, 0);
    assert_true(offset || got[150] == (action == EDIT_BLANK ? ' ' : 0));
    c.helper_ns = l->bss->total_ns / l->bss->n_acted;
    _close(l);
    return c;
}

static void test_cost(void **state)
{
    static const struct {
        size_t skb;
        uint32_t message;
    } sizes[] = {{300, 0}, {16384, 0}, {16384, 1024}, {30720, 1024}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct cost without = _measure(sizes[i].skb, sizes[i].message, EDIT_NONE);
        struct cost with = _measure(sizes[i].skb, sizes[i].message, EDIT_BLANK);
        print_message("skb of %zu bytes, message at %zu: %llu ns in the helper (clock: %llu); the skb takes "
                      "%.1f us from end to end, %.1f without\n",
                      sizes[i].skb, sizes[i].message ? sizes[i].skb - sizes[i].message : 0,
                      (unsigned long long)with.helper_ns, (unsigned long long)without.helper_ns,
                      (double)with.wall_ns / 1000, (double)without.wall_ns / 1000);
    }
}

static int _load(void)
{
    _skel = header_edits_bpf__open_and_load();
    if (!_skel)
        return -1;
    int parsed = bpf_map__fd(_skel->maps.parsed), unparsed = bpf_map__fd(_skel->maps.unparsed);
    return bpf_prog_attach(bpf_program__fd(_skel->progs.edits_parser), parsed, BPF_SK_SKB_STREAM_PARSER, 0) ||
           bpf_prog_attach(bpf_program__fd(_skel->progs.edits_verdict), parsed, BPF_SK_SKB_STREAM_VERDICT,
                           0) ||
           bpf_prog_attach(bpf_program__fd(_skel->progs.edits_alone), unparsed, BPF_SK_SKB_VERDICT, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_growing_cuts_the_tail),
        cmocka_unit_test(test_shrinking_sends_what_lies_behind),
        cmocka_unit_test(test_shrinking_at_the_end_breaks_the_target),
        cmocka_unit_test(test_length_changes_without_a_parser),
        cmocka_unit_test(test_overwriting),
        cmocka_unit_test(test_overwriting_copies),
        cmocka_unit_test(test_overwriting_far_inside),
        cmocka_unit_test(test_overwriting_beyond_the_skb_fails),
        cmocka_unit_test(test_a_blanked_field_is_gone),
        cmocka_unit_test(test_cost),
    };
    char why[256];
    struct kpath *k = bench_open_kpath(why, sizeof(why));
    if (!k) {
        printf("header_edits: skipped: %s\n", why);
        return BENCH_SKIPPED;
    }
    kernel_close(&k);
    if (_load()) {
        printf("header_edits: its programs do not load\n");
        return EXIT_FAILURE;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    header_edits_bpf__destroy(_skel);
    return failed;
}
