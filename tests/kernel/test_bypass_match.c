/*
 * Hazard: an address says nothing about who is meant. Ends in two network namespaces with the same addresses
 * and ports are never taken for each other's; those of one connection are found wherever they are.
 */
#include "bypass_helper.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Ports of both ends, in every namespace. */
#define SERVER_PORT 8080
#define CLIENT_PORT 40000

/* Network namespaces ----------------------------------------------------------------------- */

static int _own_ns(void)
{
    int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

static void _enter(int ns)
{
    assert_int_equal(setns(ns, CLONE_NEWNET), 0);
}

/* A new one with loopback; it has no name, and is gone when nobody has it open. */
static int _new_ns(void)
{
    struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    int before = _own_ns();
    assert_int_equal(unshare(CLONE_NEWNET), 0);
    int ns = _own_ns(), s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(ioctl(s, SIOCSIFFLAGS, &lo), 0);
    close(s);
    _enter(before);
    close(before);
    return ns;
}

static struct sockaddr_in _at(const char *host, int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, host, &a.sin_addr);
    return a;
}

static int _socket_at(int ns, const char *host, int port)
{
    struct sockaddr_in a = _at(host, port);
    int before = _own_ns(), one = 1;
    _enter(ns);
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    assert_int_equal(bind(s, (struct sockaddr *)&a, sizeof(a)), 0);
    _enter(before);
    close(before);
    return s;
}

static int _listen(int ns, const char *host)
{
    int l = _socket_at(ns, host, SERVER_PORT);
    assert_int_equal(listen(l, 8), 0);
    return l;
}

static void _connect(int client, const char *host)
{
    struct sockaddr_in a = _at(host, SERVER_PORT);
    assert_int_equal(connect(client, (struct sockaddr *)&a, sizeof(a)), 0);
}

static int _accept(int l)
{
    int s = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    assert_true(s >= 0);
    return s;
}

/* Strangers: a client and a server that have nothing to do with the daemon. */
struct strangers {
    int ns, listener, client, server;
};

static void _strangers_open(struct strangers *s)
{
    s->ns = _new_ns();
    s->listener = _listen(s->ns, "127.0.0.1");
    s->client = _socket_at(s->ns, "127.0.0.1", CLIENT_PORT);
    s->server = -1;
}

static void _strangers_connect(struct bench *b, struct strangers *s)
{
    _connect(s->client, "127.0.0.1");
    s->server = _accept(s->listener);
    assert_false(bypass_knows(b, s->client));
    assert_false(bypass_knows(b, s->server));
}

static void _strangers_close(struct bench *b, struct strangers *s)
{
    send_text(s->client, PLAIN_REQUEST);
    expect_text(s->server, PLAIN_REQUEST);
    send_text(s->server, PLAIN_RESPONSE);
    expect_text(s->client, PLAIN_RESPONSE);
    assert_false(bypass_knows(b, s->client));
    assert_false(bypass_knows(b, s->server));
    close(s->client);
    close(s->server);
    close(s->listener);
    close(s->ns);
}

/* Tests ------------------------------------------------------------------------------------ */

/* The listener waits for data before it accepts: what is noted of a connection stays so long. */
static void _defer(int l)
{
    int seconds = 30;
    assert_int_equal(setsockopt(l, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)), 0);
}

/* Connects to the listener while strangers with the same addresses do: before it (0), in the middle (1). */
static void _connect_among(struct bench *b, struct strangers *s, int client, int listener, int when)
{
    if (when == 0)
        _strangers_connect(b, s);
    if (when == 1)
        _defer(listener);
    _connect(client, "127.0.0.1");
    if (when == 1)
        _strangers_connect(b, s);
}

static void _check_client(struct bench *b, int when)
{
    struct strangers s;
    int ns = _new_ns(), l = _listen(ns, "127.0.0.1"), c = _socket_at(ns, "127.0.0.1", CLIENT_PORT);
    struct wire *up = bypass_up(b);
    _strangers_open(&s);
    bypass_listen(b->k, l);
    _connect_among(b, &s, c, l, when);
    assert_true(bypass_knows(b, c));
    send_text(c, PLAIN_REQUEST);
    struct wire *down = bypass_adopt(b, false, _accept(l), c);
    if (when == 2)
        _strangers_connect(b, &s);
    expect_text(down->near, PLAIN_REQUEST);
    await(bypass_tie(b, down) == BYPASS_OK);
    bypass_exchange(b, down, up);
    _strangers_close(b, &s);
    bypass_exchange(b, down, up);
    bypass_unlisten(b->k, l);
    close(l);
    close(ns);
}

static void test_strangers_before_a_client(void **state)
{
    _check_client(*state, 0);
}

static void test_strangers_while_a_client_connects(void **state)
{
    _check_client(*state, 1);
}

static void test_strangers_beside_a_client(void **state)
{
    _check_client(*state, 2);
}

static void _check_server(struct bench *b, int when)
{
    struct strangers s;
    int ns = _new_ns(), l = _listen(ns, "127.0.0.1"), c = _socket_at(ns, "127.0.0.1", CLIENT_PORT);
    struct wire *down = bypass_down(b);
    _strangers_open(&s);
    bypass_connecting(b->k, c, true);
    _connect_among(b, &s, c, l, when);
    send_text(c, PLAIN_REQUEST);
    struct wire *up = bypass_adopt(b, true, c, _accept(l));
    assert_true(bypass_knows(b, up->far));
    if (when == 2)
        _strangers_connect(b, &s);
    expect_text(up->far, PLAIN_REQUEST);
    await(bypass_tie(b, up) == BYPASS_OK);
    bypass_exchange(b, down, up);
    _strangers_close(b, &s);
    bypass_exchange(b, down, up);
    close(l);
    close(ns);
}

static void test_strangers_before_a_server(void **state)
{
    _check_server(*state, 0);
}

static void test_strangers_while_a_server_accepts(void **state)
{
    _check_server(*state, 1);
}

static void test_strangers_beside_a_server(void **state)
{
    _check_server(*state, 2);
}

/* The daemon's own listener, asked by the daemon: neither end is an application's. */
static void _check_own_server(struct bench *b, bool wanted)
{
    int ns = _new_ns(), l = _listen(ns, "127.0.0.1"), c = _socket_at(ns, "127.0.0.1", CLIENT_PORT);
    bypass_listen(b->k, l);
    bypass_connecting(b->k, c, wanted);
    _connect(c, "127.0.0.1");
    struct wire *w = bypass_adopt(b, false, _accept(l), c);
    assert_false(bypass_knows(b, c));
    assert_false(bypass_knows(b, w->near));
    assert_int_equal(bypass_tie(b, w), BYPASS_REMOTE);
    bypass_unlisten(b->k, l);
    close(l);
    close(ns);
}

static void test_own_server(void **state)
{
    _check_own_server(*state, true);
}

static void test_own_server_by_an_unwanted_connection(void **state)
{
    _check_own_server(*state, false);
}

static void test_server_of_an_unwanted_connection(void **state)
{
    struct bench *b = *state;
    int ns = _new_ns(), l = _listen(ns, "127.0.0.1"), c = _socket_at(ns, "127.0.0.1", CLIENT_PORT);
    bypass_connecting(b->k, c, false);
    _connect(c, "127.0.0.1");
    struct wire *w = bypass_adopt(b, true, c, _accept(l));
    assert_false(bypass_knows(b, w->far));
    assert_int_equal(bypass_tie(b, w), BYPASS_REMOTE);
    close(l);
    close(ns);
}

/* @return What the command ends with. */
static int _run(int ns, const char *command)
{
    int before = _own_ns();
    _enter(ns);
    int status = system(command);
    _enter(before);
    close(before);
    return status;
}

/* From one namespace into another, as from a container. */
static void test_across_namespaces(void **state)
{
    struct bench *b = *state;
    char veth[128];
    int a = _new_ns(), z = _new_ns();
    snprintf(veth, sizeof(veth), "ip link add skein-a type veth peer name skein-z netns /proc/%d/fd/%d",
             (int)getpid(), z);
    if (_run(a, veth)) {
        print_message("no ip(8), or no veth\n");
        close(a);
        close(z);
        skip();
    }
    assert_int_equal(_run(a, "ip addr add 10.99.0.1/24 dev skein-a && ip link set skein-a up"), 0);
    assert_int_equal(_run(z, "ip addr add 10.99.0.2/24 dev skein-z && ip link set skein-z up"), 0);
    int l = _listen(z, "10.99.0.2"), c = _socket_at(a, "10.99.0.1", CLIENT_PORT);
    struct wire *up = bypass_up(b);
    bypass_listen(b->k, l);
    _connect(c, "10.99.0.2");
    struct wire *down = bypass_adopt(b, false, _accept(l), c);
    assert_int_equal(bypass_tie(b, down), BYPASS_OK);
    for (int i = 0; i < 10; i++)
        bypass_exchange(b, down, up);
    bypass_unlisten(b->k, l);
    close(l);
    close(a);
    close(z);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_strangers_before_a_client),
        BENCH_TEST(test_strangers_while_a_client_connects),
        BENCH_TEST(test_strangers_beside_a_client),
        BENCH_TEST(test_strangers_before_a_server),
        BENCH_TEST(test_strangers_while_a_server_accepts),
        BENCH_TEST(test_strangers_beside_a_server),
        BENCH_TEST(test_own_server),
        BENCH_TEST(test_own_server_by_an_unwanted_connection),
        BENCH_TEST(test_server_of_an_unwanted_connection),
        BENCH_TEST(test_across_namespaces),
    };
    return BYPASS_MAIN("bypass_match", tests);
}
