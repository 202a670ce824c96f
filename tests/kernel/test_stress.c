/*
 * Everything at once: clients, servers and a daemon that takes connections at random, with
 * proxy/kpath.c and the programs as they are. Each response carries the id of its request.
 */
#include "daemon_double.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tests/unit/http1_chunk_walk.h"

#define SEED        77041U
#define DOWNSTREAMS 16
#define UPSTREAMS   8
#define CLIENTS     2
#define RUN_NS      3000000000ULL
#define BODY_MAX    3000
#define MESSAGE_MAX (4 * BODY_MAX)

static atomic_bool _stop_clients, _stop_servers;
static bool _in_pieces; /**< Cut anywhere, in the head too. */
static bool _chunked;   /**< Bodies of HTTP are chunked more often than not. */
static bool _redis;
static bool _two_at_once; /**< Two requests before a response is read. */

struct client {
    pthread_t thread;
    uint32_t random_state;
    struct node **nodes;
    uint32_t ids[DOWNSTREAMS];
    uint64_t done;
    char error[256]; /**< Empty: everything went well. */
};

/* Waits for and receives some bytes. @return As recv(), -1 on a timeout. */
static ssize_t _recv_some(int fd, uint8_t *buf, size_t len)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, (int)(BENCH_WAIT_NS / 1000000)) != 1)
        return -1;
    return recv(fd, buf, len, 0);
}

/* Sends in up to 8 pieces, some of them a byte or two. A message of Redis (`head` bytes, then its body) in
 * two, for the kernel path does not hold a part of its head. */
static bool _send_all(int fd, const uint8_t *buf, size_t len, size_t head, uint32_t *random_state)
{
    size_t at = 0;
    for (int pieces = 0; at < len; pieces++) {
        size_t n = len - at;
        if (_in_pieces && _redis && !at)
            n = head + daemon_random(random_state, (uint32_t)(len - head) + 1);
        else if (_in_pieces && !_redis && pieces < 7)
            n = 1 + daemon_random(random_state, daemon_random(random_state, 2) ? (uint32_t)n : 2);
        n = n < len - at ? n : len - at;
        if (send(fd, buf + at, n, MSG_NOSIGNAL) != (ssize_t)n)
            return false;
        at += n;
    }
    return true;
}

/* Length of the message at the start of `buf`, 0 if it is not complete; interim responses before a response
 * count as its. */
static size_t _message_len(const uint8_t *buf, size_t len)
{
    struct flow f;
    size_t at = 0, n;
    do {
        n = at;
        if (!daemon_flow(buf + at, len - at, &f))
            return 0;
        at += daemon_flow_on(&f, buf + at, len - at);
        if (!daemon_flow_done(&f))
            return 0;
    } while (!_redis && !memcmp(buf + n, "HTTP/1.1 1", 10));
    return at;
}

/* Data of a chunked body, which is complete. @return Its length; the data is where the body was. */
static size_t _dechunk(uint8_t *body, size_t len)
{
    static _Thread_local char data[MESSAGE_MAX];
    struct http1_walk w = {0};
    size_t data_len = 0;
    http1_walk(&w, (const char *)body, len, data, &data_len);
    memcpy(body, data, data_len);
    return data_len;
}

/* The body of a message whose length is `total`. @return Its length. */
static size_t _body(uint8_t *buf, size_t total, const uint8_t **body)
{
    while (!_redis && !memcmp(buf, "HTTP/1.1 1", 10)) {
        size_t head = (size_t)((uint8_t *)memmem(buf, total, "\r\n\r\n", 4) + 4 - buf);
        buf += head;
        total -= head;
    }
    uint8_t *end = _redis ? NULL : memmem(buf, total, "\r\n\r\n", 4);
    if (!_redis) {
        *body = end + 4;
        size_t len = total - (size_t)(end + 4 - buf);
        return memmem(buf, (size_t)(end - buf) + 2, "chunked\r\n", 9) ? _dechunk(end + 4, len) : len;
    }
    /* Behind the line of the last bulk string, which is the only one with a `$` at a line's beginning
     * that ends where the message ends. */
    const uint8_t *at = buf;
    for (size_t i = *buf == '*' ? 3 : 1; i > 0; i--) {
        at = memchr(at, '$', total - (size_t)(at - buf));
        size_t len = strtoul((const char *)at + 1, NULL, 10);
        *body = (const uint8_t *)memchr(at, '\n', total - (size_t)(at - buf)) + 1;
        at = *body + len;
    }
    return (size_t)(at - *body);
}

/* Behind this start line, fields and a body of `body` bytes of the pattern `id`. @return The length. */
static size_t _http_message(uint8_t *buf, size_t n, uint32_t body, uint32_t id, uint32_t *random_state)
{
    static const char *const odd[] = {"", "", "Keep-Alive: timeout=5\r\n", "Connection: keep-alive\r\n"};
    bool chunked = _chunked && daemon_random(random_state, 3);
    char *p = (char *)buf;
    n += (size_t)sprintf(p + n, "X: y\r\n%s", odd[daemon_random(random_state, 4)]);
    if (!chunked) {
        n += (size_t)sprintf(p + n, "Content-Length: %u\r\n\r\n", body);
        pattern_fill(buf + n, body, id, 0);
        return n + body;
    }
    n += (size_t)sprintf(p + n, "Transfer-Encoding: chunked\r\n\r\n");
    for (uint32_t at = 0, size; at < body; at += size) {
        size = 1 + daemon_random(random_state, daemon_random(random_state, 2) ? BODY_MAX : 16);
        size = size < body - at && n < MESSAGE_MAX / 2 ? size : body - at;
        n += (size_t)sprintf(p + n, "%x\r\n", size);
        pattern_fill(buf + n, size, id, at);
        n += size;
        n += (size_t)sprintf(p + n, "\r\n");
    }
    return n + (size_t)sprintf(p + n, "0\r\n\r\n");
}

/* A Redis message behind its head. @return The length. */
static size_t _redis_message(uint8_t *buf, size_t head, uint32_t body, uint32_t id)
{
    pattern_fill(buf + head, body, id, 0);
    memcpy(buf + head + body, "\r\n", 2);
    return head + body + 2;
}

/* Clients ------------------------------------------------------------------------------ */

static bool _request(struct client *c, size_t i, uint32_t id)
{
    uint8_t buf[MESSAGE_MAX];
    uint32_t body = daemon_random(&c->random_state, 3) ? 0 : daemon_random(&c->random_state, BODY_MAX);
    char *p = (char *)buf, key[16];
    int key_len = snprintf(key, sizeof(key), "%u", id);
    size_t head, len;
    if (_redis) {
        head = (size_t)sprintf(p, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%u\r\n", key_len, key, body);
        len = _redis_message(buf, head, body, id);
    } else {
        head = (size_t)sprintf(p, "POST /%s HTTP/1.1\r\nHost: s\r\n", key);
        len = _http_message(buf, head, body, id, &c->random_state);
    }
    return _send_all(c->nodes[i]->far, buf, len, head, &c->random_state);
}

static bool _response(struct client *c, size_t i, uint32_t id)
{
    uint8_t buf[MESSAGE_MAX];
    size_t len = 0, total = 0;
    while (!total) {
        /* With two at once: not a byte of the next response. */
        struct flow f;
        size_t room = _two_at_once ? 1 : sizeof(buf) - len;
        if (_two_at_once && daemon_flow(buf, len, &f))
            room = (size_t)f.left - len;
        ssize_t n = len < sizeof(buf) ? _recv_some(c->nodes[i]->far, buf + len, room) : 0;
        if (n <= 0) {
            snprintf(c->error, sizeof(c->error), "request %u on connection %zu: %zd after %zu of %zu", id, i,
                     n, len, total);
            return false;
        }
        len += (size_t)n;
        total = _message_len(buf, len);
    }
    const uint8_t *body;
    size_t body_len = _body(buf, total, &body);
    if (len != total || pattern_check(body, body_len, id, 0) != body_len) {
        snprintf(c->error, sizeof(c->error), "request %u on connection %zu got another response: %.60s", id,
                 i, buf);
        return false;
    }
    return true;
}

static void *_client(void *arg)
{
    struct client *c = arg;
    const size_t n = DOWNSTREAMS / CLIENTS;
    uint32_t next = c->random_state % 1000 * 1000000;
    while (!_stop_clients && !c->error[0]) {
        for (size_t i = 0; i < n && !c->error[0]; i++) {
            c->ids[i] = next;
            next += 2;
            if (!_request(c, i, c->ids[i]) || (_two_at_once && !_request(c, i, c->ids[i] + 1)))
                snprintf(c->error, sizeof(c->error), "request %u can not be sent", c->ids[i]);
        }
        for (size_t i = 0; i < n && !c->error[0]; i++) {
            c->done += _response(c, i, c->ids[i]);
            if (_two_at_once && !c->error[0])
                c->done += _response(c, i, c->ids[i] + 1);
        }
    }
    return NULL;
}

/* Server ------------------------------------------------------------------------------- */

struct server {
    pthread_t thread;
    uint32_t random_state;
    struct node **nodes;
    struct {
        uint8_t buf[MESSAGE_MAX];
        size_t len;
    } in[UPSTREAMS];
    char error[128];
};

static void _answer(struct server *s, size_t i, uint32_t id)
{
    static const char *const lines[] = {
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n",
    };
    uint8_t buf[MESSAGE_MAX];
    uint32_t body =
        16 + daemon_random(&s->random_state, daemon_random(&s->random_state, 4) ? 100 : BODY_MAX - 16);
    char *p = (char *)buf;
    size_t head, len;
    if (_redis) {
        head = (size_t)sprintf(p, "$%u\r\n", body);
        len = _redis_message(buf, head, body, id);
    } else {
        head = (size_t)sprintf(p, "%s", lines[daemon_random(&s->random_state, _chunked ? 4 : 1)]);
        len = _http_message(buf, head, body, id, &s->random_state);
    }
    if (!_send_all(s->nodes[i]->far, buf, len, head, &s->random_state))
        snprintf(s->error, sizeof(s->error), "a response can not be sent");
}

static void _serve(struct server *s, size_t i)
{
    ssize_t n = recv(s->nodes[i]->far, s->in[i].buf + s->in[i].len, sizeof(s->in[i].buf) - s->in[i].len,
                     MSG_DONTWAIT);
    if (n <= 0)
        return;
    s->in[i].len += (size_t)n;
    size_t total = _message_len(s->in[i].buf, s->in[i].len);
    if (!total)
        return;
    /* "POST /ID", or the line behind "*3 $3 SET $N". */
    const char *digits = (char *)s->in[i].buf + 6;
    if (_redis)
        digits = strchr((char *)s->in[i].buf + 13, '\n') + 1;
    uint32_t id = (uint32_t)strtoul(digits, NULL, 10);
    const uint8_t *body;
    size_t body_len = _body(s->in[i].buf, total, &body);
    if (s->in[i].len != total || pattern_check(body, body_len, id, 0) != body_len)
        snprintf(s->error, sizeof(s->error), "request %u arrived damaged", id);
    s->in[i].len = 0;
    _answer(s, i, id);
}

static void *_server(void *arg)
{
    struct server *s = arg;
    struct pollfd fds[UPSTREAMS];
    while (!_stop_servers) {
        for (size_t i = 0; i < UPSTREAMS; i++)
            fds[i] = (struct pollfd){.fd = s->nodes[i]->far, .events = POLLIN};
        poll(fds, UPSTREAMS, 10);
        for (size_t i = 0; i < UPSTREAMS; i++) {
            if (fds[i].revents)
                _serve(s, i);
        }
    }
    return NULL;
}

/* The end ------------------------------------------------------------------------------- */

static bool _is_settled(struct bench *b, const struct node *n)
{
    if (!n->c.kernel)
        return n->c.upstream ? n->parked && !n->partner : !n->partner && !n->in_len;
    uint64_t w = slot_owner(&b->k->slots[n->c.slot]);
    if (owner_lease(w) || (w & (OWNER_USER | OWNER_BUSY)))
        return false;
    uint32_t at = n->c.upstream ? n->c.pool_index : 0;
    return !n->c.upstream || (b->k->pools[0].idle[at / 64] >> (at % 64) & 1);
}

static bool _all_settled(struct bench *b, uint32_t *random_state)
{
    daemon_step(random_state, 0);
    for (size_t i = 0; i < daemon_nodes(); i++) {
        if (!_is_settled(b, daemon_node(i)))
            return false;
    }
    return true;
}

/* What is known of a connection that is stuck. */
static void _describe(struct bench *b, size_t i)
{
    const struct node *n = daemon_node(i);
    if (_is_settled(b, n))
        return;
    if (n->c.slot == SLOT_NONE) {
        print_message("%zu %s: userspace, %zu bytes read, exchange %d (request done %d, response %d)\n", i,
                      n->c.upstream ? "upstream" : "downstream", n->in_len, n->partner != NULL,
                      daemon_flow_done(&n->request), n->started && daemon_flow_done(&n->response));
        return;
    }
    int r = kernel_inspect(b->k, n->c.slot);
    const struct slot *s = &b->k->slots[n->c.slot];
    print_message(
        "%zu %s: slot %u, owner %llx, lease of slot %d, kernel %d, leaving %d, passed %llu, tx %u of %u "
        "(%d), parsed %u, copied %u, held %u, remaining %llu, reason %s, exchange %d\n",
        i, n->c.upstream ? "upstream" : "downstream", n->c.slot, (unsigned long long)s->owner,
        (int)ref_index(owner_lease(s->owner)), n->c.kernel, n->c.leaving, (unsigned long long)s->passed,
        s->tx_seq, s->write_seq, r, s->parsed_seq, s->copied_seq, s->held, (unsigned long long)s->remaining,
        fallback_name(s->left_for), n->partner != NULL);
}

/* Whether both paths, and the ways between them, were used. */
static bool _enough(struct bench *b)
{
    struct daemon_counts n = daemon_counts();
    return bench_responses(b) > 100 && n.takeovers > 10 &&
           (!_chunked || !_in_pieces || (n.chunked > 0 && n.held > 0));
}

static void _run(struct bench *b)
{
    struct node *ups[UPSTREAMS], *downs[DOWNSTREAMS];
    static struct client clients[CLIENTS];
    static struct server server;
    uint32_t random_state = SEED;
    memset(clients, 0, sizeof(clients));
    memset(&server, 0, sizeof(server));
    _stop_clients = _stop_servers = false;
    for (size_t i = 0; i < UPSTREAMS; i++)
        ups[i] = daemon_add(true);
    for (size_t i = 0; i < DOWNSTREAMS; i++)
        downs[i] = daemon_add(false);
    server.nodes = ups;
    server.random_state = SEED + 1;
    pthread_create(&server.thread, NULL, _server, &server);
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i].nodes = downs + i * (DOWNSTREAMS / CLIENTS);
        clients[i].random_state = SEED + 2 + (uint32_t)i;
        pthread_create(&clients[i].thread, NULL, _client, &clients[i]);
    }
    uint64_t end = bench_now() + RUN_NS;
    /* A slow machine takes longer until enough has happened. */
    while (bench_now() < end || (!_enough(b) && bench_now() < end + BENCH_WAIT_NS))
        daemon_step(&random_state, 3);
    _stop_clients = true;
    for (size_t i = 0; i < CLIENTS; i++) {
        while (pthread_tryjoin_np(clients[i].thread, NULL) == EBUSY)
            daemon_step(&random_state, 0);
    }
    bool settled = eventually(_all_settled(b, &random_state));
    struct daemon_counts n = daemon_counts();
    bool failed = !settled || clients[0].error[0] || clients[1].error[0];
    print_message("%llu connections lost bytes when they left the map, %llu stray bytes\n",
                  (unsigned long long)n.lost, (unsigned long long)n.strays);
    for (size_t i = 0; failed && i < daemon_nodes(); i++)
        _describe(b, i);
    _stop_servers = true;
    pthread_join(server.thread, NULL);
    print_message(
        "seed %u: %llu responses, %llu by the kernel path, %llu takes, %llu takeovers, "
        "%llu exchanges in userspace; taken over inside of chunked bodies %llu, of held parts %llu\n",
        SEED, (unsigned long long)(clients[0].done + clients[1].done), (unsigned long long)bench_responses(b),
        (unsigned long long)n.takes, (unsigned long long)n.takeovers, (unsigned long long)n.exchanges,
        (unsigned long long)n.chunked, (unsigned long long)n.held);
    assert_string_equal(clients[0].error, "");
    assert_string_equal(clients[1].error, "");
    assert_string_equal(server.error, "");
    assert_int_equal(n.strays, 0);
    assert_int_equal(n.lost, 0);
    assert_true(settled);
    assert_int_equal(b->k->endpoint_load[0].outstanding, 0);
    assert_true(_enough(b));
}

static void test_whole_messages(void **state)
{
    _in_pieces = false;
    _run(*state);
}

static void test_pieces(void **state)
{
    _in_pieces = true;
    _run(*state);
}

static void test_chunks(void **state)
{
    _in_pieces = false;
    _chunked = true;
    _run(*state);
}

static void test_chunks_in_pieces(void **state)
{
    _in_pieces = true;
    _chunked = true;
    _run(*state);
}

static void test_redis(void **state)
{
    _in_pieces = false;
    _run(*state);
}

static void test_redis_pieces(void **state)
{
    _in_pieces = true;
    _run(*state);
}

static void test_redis_two_at_once(void **state)
{
    _two_at_once = true;
    _run(*state);
    _two_at_once = false;
}

static int _setup(void **state)
{
    int r = bench_setup(state);
    _redis = false;
    _chunked = false;
    /* Requests are counted, on whichever path they end. */
    ((struct bench *)*state)->k->clusters[0].policy = BALANCE_LEAST_REQUEST;
    daemon_open(((struct bench *)*state)->k, SLOT_HTTP);
    return r;
}

static int _setup_redis(void **state)
{
    int r = bench_setup(state);
    bench_redis(*state, BENCH_BUFFER);
    _redis = true;
    _chunked = false;
    daemon_open(((struct bench *)*state)->k, SLOT_REDIS);
    return r;
}

static int _teardown(void **state)
{
    daemon_close();
    return bench_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole_messages, _setup, _teardown),
        cmocka_unit_test_setup_teardown(test_pieces, _setup, _teardown),
        cmocka_unit_test_setup_teardown(test_chunks, _setup, _teardown),
        cmocka_unit_test_setup_teardown(test_chunks_in_pieces, _setup, _teardown),
        cmocka_unit_test_setup_teardown(test_redis, _setup_redis, _teardown),
        cmocka_unit_test_setup_teardown(test_redis_pieces, _setup_redis, _teardown),
        cmocka_unit_test_setup_teardown(test_redis_two_at_once, _setup_redis, _teardown),
    };
    return BENCH_MAIN("stress", tests);
}
