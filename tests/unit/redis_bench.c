#include "redis_bench.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/server.h"

struct worker bench_worker;

#define FDS_MAX 256

static int _fds[FDS_MAX]; /* All of the test's ends. */
static unsigned _n_fds;

static struct {
    int fd;
    struct sockaddr_in sin;
    char text[40];
} _shards[BENCH_SHARDS_MAX];

static int _listening; /* Until the worker takes it. */
static struct sockaddr_in _front;
static struct bench_conf _conf;
static bool _begun;

/* Listening ----------------------------------------------------------------------------- */

int server_take_socket(struct server *s, unsigned worker, const struct rt_listener *l)
{
    int fd = _listening;
    (void)s, (void)worker, (void)l;
    _listening = -1;
    return fd;
}

/* Sockets ------------------------------------------------------------------------------- */

static int _own(int fd)
{
    assert_true(fd >= 0);
    assert_true(_n_fds < FDS_MAX);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    _fds[_n_fds++] = fd;
    return fd;
}

static int _listen(struct sockaddr_in *sin)
{
    socklen_t len = sizeof(*sin);
    int one = 1, small = 16384, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    sin->sin_family = AF_INET;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    assert_int_equal(bind(fd, (struct sockaddr *)sin, len), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)sin, &len), 0);
    return fd;
}

/* Each test has shards of its own: the program never forgets an address. */
static void _open_shards(unsigned n)
{
    static unsigned tests;
    tests++;
    for (unsigned i = 0; i < n; i++) {
        uint32_t address = INADDR_LOOPBACK + (1U << 16) + (tests << 3) + i;
        _shards[i].sin = (struct sockaddr_in){.sin_addr.s_addr = htonl(address)};
        _shards[i].fd = _listen(&_shards[i].sin);
        snprintf(_shards[i].text, sizeof(_shards[i].text), "127.%u.%u.%u:%u", address >> 16 & 255,
                 address >> 8 & 255, address & 255, ntohs(_shards[i].sin.sin_port));
    }
}

const char *bench_address(unsigned i)
{
    return _shards[i].text;
}

void bench_shard_down(unsigned i)
{
    close(_shards[i].fd);
    _shards[i].fd = -1;
}

void bench_shard_up(unsigned i)
{
    _shards[i].fd = _listen(&_shards[i].sin);
}

/* Configuration ------------------------------------------------------------------------- */

static struct runtime *_load(const struct bench_conf *c)
{
    char file[] = "/tmp/skein-redis-XXXXXX", *errors = NULL;
    struct runtime *rt = NULL;
    struct conf *conf = NULL;
    size_t len;
    FILE *err = open_memstream(&errors, &len), *f = fdopen(mkstemp(file), "w");
    assert_non_null(f);
    fprintf(f,
            "%s\nlisteners:\n  - name: cache\n    address: \"127.0.0.1:1\"\n    protocol: redis\n    "
            "cluster: c\n",
            c->globals ? c->globals : "");
    fprintf(f, "    redis: { %s }\n", c->listener ? c->listener : "on_ejected: fail");
    fprintf(f, "clusters:\n  - name: c\n    lb_policy: %s\n    redis: { %s }\n    endpoints:\n",
            c->policy ? c->policy : "crc16_slots", c->cluster ? c->cluster : "max_failures: 3");
    for (unsigned i = 0; i < c->shards; i++)
        fprintf(f, "      - { address: \"%s\" }\n", _shards[i].text);
    fclose(f);
    int r = conf_load(file, err, &conf);
    fclose(err);
    unlink(file);
    if (r)
        fail_msg("configuration: %s", errors);
    free(errors);
    assert_int_equal(runtime_new(conf, &rt), 0);
    return rt;
}

static struct bench_conf _complete(const struct bench_conf *conf)
{
    struct bench_conf c = conf ? *conf : (struct bench_conf){0};
    if (!c.shards)
        c.shards = 3;
    return c;
}

void bench_begin(const struct bench_conf *conf)
{
    _conf = _complete(conf);
    _open_shards(_conf.shards);
    struct runtime *rt = _load(&_conf);
    _front = (struct sockaddr_in){.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    _listening = _listen(&_front);
    memset(&bench_worker, 0, sizeof(bench_worker));
    assert_int_equal(worker_start(&bench_worker, NULL, 0, rt), 0);
    runtime_unref(&rt);
    _begun = true;
}

void bench_reload(const struct bench_conf *conf)
{
    struct bench_conf c = _complete(conf);
    struct runtime *rt = _load(&c);
    unsigned before = atomic_load(&bench_worker.reloads);
    worker_reload(&bench_worker, rt);
    runtime_unref(&rt);
    BENCH_UNTIL(atomic_load(&bench_worker.reloads) == before + 1);
}

void bench_drain(void)
{
    worker_drain(&bench_worker);
    BENCH_UNTIL(bench_worker.draining);
}

int bench_end(void **state)
{
    struct conn *c;
    unsigned left = 0;
    (void)state;
    if (!_begun)
        return -1;
    _begun = false;
    for (unsigned i = 0; i < _n_fds; i++)
        close(_fds[i]);
    _n_fds = 0;
    for (unsigned i = 0; i < _conf.shards; i++) {
        if (_shards[i].fd >= 0)
            close(_shards[i].fd);
    }
    bench_drain();
    while ((c = TAILQ_FIRST(&bench_worker.conns)))
        c->ops->cancel(c);
    conn_reap(&bench_worker);
    left += atomic_load(&bench_worker.connections);
    left += (unsigned)stat_get(&bench_worker.stats.listeners[0].active);
    for (unsigned i = 0; i < RUNTIME_ENDPOINTS_MAX; i++)
        left += (unsigned)stat_get(&bench_worker.stats.endpoints[i].active);
    left += !TAILQ_EMPTY(&bench_worker.redis->paused);
    worker_join(&bench_worker);
    return left ? -1 : 0;
}

/* The loop ------------------------------------------------------------------------------ */

void bench_turn(void)
{
    event_base_loop(bench_worker.base, EVLOOP_NONBLOCK);
}

void bench_settle(void)
{
    for (int i = 0; i < 12; i++) {
        bench_turn();
        usleep(250);
    }
}

void bench_run_for(uint64_t ns)
{
    uint64_t end = conn_now() + ns;
    while (conn_now() < end) {
        bench_turn();
        usleep(200);
    }
}

/* Connections --------------------------------------------------------------------------- */

static int _client(int receive)
{
    uint64_t before = stat_get(&bench_worker.stats.listeners[0].accepted);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (receive)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    assert_int_equal(connect(fd, (struct sockaddr *)&_front, sizeof(_front)), 0);
    BENCH_UNTIL(stat_get(&bench_worker.stats.listeners[0].accepted) > before);
    return _own(fd);
}

int bench_client(void)
{
    return _client(0);
}

int bench_small_client(void)
{
    return _client(4096);
}

struct redis_client *bench_last_client(void)
{
    struct conn *c, *last = NULL;
    TAILQ_FOREACH (c, &bench_worker.conns, link) {
        if (!c->upstream)
            last = c;
    }
    assert_non_null(last);
    return redis_client_of(last);
}

struct redis_upstream *bench_shared(unsigned version)
{
    for (unsigned i = 0; i < RUNTIME_ENDPOINTS_MAX; i++) {
        struct redis_shard *s = bench_worker.redis->shards[i];
        if (s && s->shared[version - 2][0])
            return s->shared[version - 2][0];
    }
    return NULL;
}

int bench_shard(unsigned i)
{
    int one = 1, fd = -1;
    BENCH_UNTIL((fd = accept(_shards[i].fd, NULL, NULL)) >= 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return _own(fd);
}

void bench_no_shard(unsigned i)
{
    bench_settle();
    assert_int_equal(accept(_shards[i].fd, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
}

static void _forget(int fd)
{
    for (unsigned i = 0; i < _n_fds; i++) {
        if (_fds[i] == fd)
            _fds[i] = _fds[--_n_fds];
    }
    close(fd);
}

void bench_close(int fd)
{
    _forget(fd);
    bench_settle();
}

void bench_reset(int fd)
{
    struct linger l = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
    _forget(fd);
    bench_settle();
}

void bench_half_close(int fd)
{
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    bench_settle();
}
