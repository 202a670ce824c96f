/* What the daemon's code calls: the kernel, libbpf and the C library. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>

#include "log.h"
#include "proxy/bypass.h"
#include "model.h"

static event_callback_fn on_timer; /* Of those that leave. */

/* A system call on a socket waits until no program is at work there. */
struct socket_model *model_call(unsigned c)
{
    world.actors[DAEMON].lock = (uint8_t)c;
    point(SYSCALL, &world.socks[c]);
    return &world.socks[c];
}

int bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags)
{
    if (fd == COOKIES_FD) {
        unsigned c = (unsigned)*(const uint64_t *)key - 1;
        model_call(c);
        world.cookies[c] = *(const uint32_t *)value;
        return 0;
    }
    unsigned c = (unsigned)*(const uint64_t *)value - FD;
    struct socket_model *s = &world.socks[c];
    world.actors[DAEMON].lock = (uint8_t)c;
    point(INSERT, s);
    remember(chosen);
    if (chosen) {
        errno = EOPNOTSUPP;
        return -1;
    }
    DEMAND(socket_in_slot(*(const uint32_t *)key) == NONE, "a slot has two sockets");
    s->in_map = true;
    s->stopped = s->failed = s->user = s->frozen = false;
    return 0;
}

/* All ends are remote here. */
enum bypass_reason bypass_bind(struct kpath *k, uint32_t slot, uint64_t cookie)
{
    (void)k;
    (void)slot;
    (void)cookie;
    return BYPASS_REMOTE;
}

bool bypass_is_remote(struct kpath *k, uint64_t cookie)
{
    (void)k;
    (void)cookie;
    return true;
}

bool bypass_is_closed(struct kpath *k, uint64_t cookie)
{
    (void)k;
    (void)cookie;
    return false;
}

void bypass_connecting(struct kpath *k, int fd, bool wanted)
{
    (void)k;
    (void)fd;
    (void)wanted;
}

int bpf_map_delete_elem(int fd, const void *key)
{
    if (fd == COOKIES_FD) {
        unsigned c = (unsigned)*(const uint64_t *)key - 1;
        if (c < CONNS) {
            model_call(c);
            world.cookies[c] = 0;
        }
        return 0;
    }
    unsigned c = socket_in_slot(*(const uint32_t *)key);
    if (c == NONE)
        return -ENOENT;
    struct socket_model *s = model_call(c);
    DEMAND(!s->n_underway, "no lost byte: a socket leaves with bytes under way into it");
    DEMAND(s->stopped || s->arrived == s->parsed, "no lost byte: strparser drops what it is at");
    s->in_map = false;
    return 0;
}

int bpf_prog_test_run_opts(int fd, struct bpf_test_run_opts *opts)
{
    uint32_t slot;
    memcpy(&slot, opts->data_in, sizeof(slot));
    opts->retval = run_inspect(slot);
    return 0;
}

int bpf_program__fd(const struct bpf_program *program)
{
    return 0;
}

ssize_t model_recv(int fd, void *to, size_t len, int flags)
{
    unsigned c = (unsigned)fd - FD;
    struct socket_model *s = model_call(c);
    size_t n = s->passed < len ? s->passed : len;
    for (size_t i = 0; i < n; i++)
        ((char *)to)[i] = stream_byte(c, s->gone - s->passed + (unsigned)i);
    s->kick = s->in_map && s->arrived > s->parsed;
    remember(n);
    return n ? (ssize_t)n : -1;
}

int model_setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
    struct socket_model *s = model_call((unsigned)fd - FD);
    s->kick = s->in_map && !s->stopped && s->arrived > s->parsed;
    return 0;
}

int model_getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
    unsigned c = (unsigned)fd - FD;
    if (option == SO_COOKIE) {
        *(uint64_t *)value = c + 1;
        return 0;
    }
    if (option == SO_MEMINFO)
        return -1; /* Receive buffers are never full here. */
    struct socket_model *s = model_call(c);
    *(int *)value = s->failed ? PARSER_GAVE_UP : 0;
    s->failed = false;
    return 0;
}

/* Library ----------------------------------------------------------------------------- */

int event_assign(struct event *ev, struct event_base *base, evutil_socket_t fd, short what,
                 event_callback_fn callback, void *arg)
{
    on_timer = callback;
    return 0;
}

int event_add(struct event *ev, const struct timeval *tv)
{
    return 0;
}

void log_line(enum log_level level, const char *format, ...)
{
    DEMAND(false, "no deadlock: the daemon has waited for a program too long");
}

void *model_realloc(void *old, size_t len)
{
    DEMAND(len <= sizeof(world.memory[0].bytes), "too much was passed");
    for (unsigned i = 0; i < CONNS && !old; i++) {
        if (world.memory[i].used)
            continue;
        world.memory[i].used = true;
        return world.memory[i].bytes;
    }
    return old;
}

void *model_malloc(size_t len)
{
    return model_realloc(NULL, len);
}

void model_free(void *memory)
{
    for (unsigned i = 0; i < CONNS; i++) {
        if (memory == world.memory[i].bytes)
            memset(&world.memory[i], 0, sizeof(world.memory[i]));
    }
}

void *model_memset(void *to, int value, size_t len)
{
    for (unsigned i = 0; i < SLOTS; i++) {
        if ((char *)to > (char *)&model_slots[i] && (char *)to < (char *)&model_slots[i + 1])
            accessed_all(i);
    }
    return memset(to, value, len);
}

void model_fire(void *arg)
{
    on_timer(-1, 0, arg);
}
