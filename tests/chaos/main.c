/*
 * Random clients and servers around a skein that must not lose, swap, repeat or damage a message.
 *
 *   chaos --seed N --seconds N --connections N --kernel on|off|auto --bypass on|off --protocol
 * http|redis|both BINARY
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "client.h"
#include "daemon.h"
#include "ledger.h"
#include "peer.h"
#include "redis_client.h"
#include "redis_server.h"
#include "server.h"

/** Longest time for what is outstanding to end. */
#define QUIET_MS 60000

static int _kmsg = -1;

static bool _parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", required_argument, NULL, 's'},
        {"seconds", required_argument, NULL, 't'},
        {"kernel", required_argument, NULL, 'k'},
        {"connections", required_argument, NULL, 'c'},
        {"protocol", required_argument, NULL, 'p'},
        {"bypass", required_argument, NULL, 'b'},
        {0},
    };
    struct options *o = &chaos.opt;
    *o = (struct options){.kernel = "auto",
                          .bypass = "off",
                          .seed = (uint64_t)time(NULL),
                          .seconds = 20,
                          .connections = 200,
                          .http = true};
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        if (c == 's')
            o->seed = strtoull(optarg, NULL, 0);
        else if (c == 't')
            o->seconds = (unsigned)atoi(optarg);
        else if (c == 'k')
            o->kernel = optarg;
        else if (c == 'b')
            o->bypass = optarg;
        else if (c == 'c')
            o->connections = (unsigned)atoi(optarg);
        else if (c == 'p') {
            o->http = strcmp(optarg, "redis");
            o->redis = strcmp(optarg, "http");
        } else {
            return false;
        }
    }
    o->binary = argv[optind];
    return o->binary && o->connections && o->seconds;
}

/* The kernel's log -------------------------------------------------------------------- */

static void _kmsg_open(void)
{
    /* What the kernel warns of only once after a start is to be told again. */
    int again = open("/sys/kernel/debug/clear_warn_once", O_WRONLY | O_CLOEXEC);
    if (again < 0 || write(again, "1", 1) != 1)
        printf("the kernel does not repeat warnings (%s): one from before hides them\n", strerror(errno));
    if (again >= 0)
        close(again);
    _kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (_kmsg < 0 || lseek(_kmsg, 0, SEEK_END) < 0)
        printf("the kernel's log can not be read (%s): its warnings are not checked\n", strerror(errno));
}

static void _kmsg_check(void)
{
    static const char *const words[] = {"WARNING:",           "BUG:",  "BUG ",       "seq # bug", "Oops",
                                        "general protection", "KASAN", "INFO: task", "rcu:"};
    char line[8192];
    ssize_t n;
    while (_kmsg >= 0 && ((n = read(_kmsg, line, sizeof(line) - 1)) > 0 || errno == EPIPE)) {
        line[n > 0 ? n : 0] = 0;
        for (size_t i = 0; n > 0 && i < sizeof(words) / sizeof(words[0]); i++) {
            if (strstr(line, words[i])) {
                chaos_fail(NULL, "the kernel says: %s", line);
                break;
            }
        }
    }
}

/* What happens to all --------------------------------------------------------------- */

static struct rng _rng;
static struct event *_tick, *_director;

static void _on_tick(evutil_socket_t fd, short what, void *arg)
{
    static unsigned n;
    peer_reap();
    if (++n % 64)
        return;
    clients_check();
    redis_clients_check();
    if (daemon_gone())
        event_base_loopbreak(chaos.base);
}

static void _restart(unsigned victim)
{
    if (victim < SERVERS_PER_CLUSTER)
        servers_restart(victim);
    else
        redis_servers_restart(victim - SERVERS_PER_CLUSTER);
}

static bool _kill(unsigned victim)
{
    bool dead = rng_chance(&_rng, 70);
    return victim < SERVERS_PER_CLUSTER ? servers_kill(victim, dead)
                                        : redis_servers_kill(victim - SERVERS_PER_CLUSTER, dead);
}

static void _on_restart(evutil_socket_t fd, short what, void *arg)
{
    _restart((unsigned)(uintptr_t)arg);
}

static void _on_director(evutil_socket_t fd, short what, void *arg)
{
    struct timeval next = {.tv_usec = 50000 + rng_below(&_rng, 800000)};
    unsigned first = chaos.opt.http ? 0 : SERVERS_PER_CLUSTER;
    unsigned end = chaos.opt.redis ? SERVERS_PER_CLUSTER + REDIS_SHARDS : SERVERS_PER_CLUSTER;
    uintptr_t victim = first + rng_below(&_rng, end - first);
    if (chaos.ending)
        return;
    if (rng_chance(&_rng, 60)) {
        daemon_reload(&_rng);
    } else if (_kill((unsigned)victim)) {
        struct timeval back = {.tv_usec = rng_below(&_rng, 900000)};
        event_base_once(chaos.base, -1, EV_TIMEOUT, _on_restart, (void *)victim, &back);
    }
    event_add(_director, &next);
}

static void _on_end(evutil_socket_t fd, short what, void *arg)
{
    chaos.ending = true;
    daemon_reload(NULL);
    for (unsigned i = 0; i < SERVERS_PER_CLUSTER + REDIS_SHARDS; i++)
        _restart(i);
}

static void _run(void)
{
    struct timeval tick = {.tv_usec = 10000}, soon = {.tv_usec = 500000}, end = {.tv_sec = chaos.opt.seconds};
    _rng = rng_stream(chaos.opt.seed, 'd', 0);
    _tick = event_new(chaos.base, -1, EV_PERSIST, _on_tick, NULL);
    _director = event_new(chaos.base, -1, 0, _on_director, NULL);
    event_add(_tick, &tick);
    event_add(_director, &soon);
    event_base_once(chaos.base, -1, EV_TIMEOUT, _on_end, NULL, &end);
    unsigned redis = chaos.opt.redis ? chaos.opt.connections / (1 + chaos.opt.http) : 0;
    redis_clients_open(redis);
    clients_open(chaos.opt.connections - redis);
    while ((!chaos.ending || !clients_done() || !redis_clients_done()) && !daemon_gone()) {
        event_base_loop(chaos.base, EVLOOP_ONCE);
        if (chaos.ending && clock_ms() > chaos.started + chaos.opt.seconds * 1000 + QUIET_MS) {
            chaos_fail(NULL, "not all requests have an end");
            break;
        }
    }
    event_free(_tick);
    event_free(_director);
    if (chaos.opt.http)
        servers_close();
    if (chaos.opt.redis)
        redis_servers_close();
    peer_reap();
}

static void _print_outcomes(void)
{
    if (chaos.opt.redis)
        redis_clients_print();
    for (unsigned c = 0; chaos.opt.http && c < _CLUSTER_MAX; c++)
        printf("%-6s  %llu answers, %llu errors, %llu ended, %llu unanswered, %llu abandoned\n",
               cluster_names[c], (unsigned long long)ledger_count(c, OUTCOME_ANSWER),
               (unsigned long long)ledger_count(c, OUTCOME_ERROR),
               (unsigned long long)ledger_count(c, OUTCOME_ENDED),
               (unsigned long long)ledger_count(c, OUTCOME_UNANSWERED),
               (unsigned long long)ledger_count(c, OUTCOME_ABANDONED));
}

int main(int argc, char **argv)
{
    struct rlimit files;
    if (!_parse(argc, argv)) {
        fprintf(stderr,
                "usage: %s [--seed N] [--seconds N] [--connections N] [--kernel on|off|auto]\n"
                "       [--bypass on|off] [--protocol http|redis|both] BINARY\n",
                argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("seed %llu, %u s, %u connections, kernel: %s, bypass: %s\n", (unsigned long long)chaos.opt.seed,
           chaos.opt.seconds, chaos.opt.connections, chaos.opt.kernel, chaos.opt.bypass);
    signal(SIGPIPE, SIG_IGN);
    if (!getrlimit(RLIMIT_NOFILE, &files)) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    _kmsg_open();
    chaos.base = event_base_new();
    chaos.port = chaos_port();
    chaos.started = clock_ms();
    for (unsigned i = 0; i < REDIS_CLUSTERS; i++)
        chaos.redis_port[i] = chaos_port();
    if (chaos.opt.http)
        servers_open();
    if (chaos.opt.redis)
        redis_servers_open();
    int r = daemon_start();
    if (r)
        return r;
    chaos.started = clock_ms();
    _run();
    if (!daemon_gone()) {
        daemon_print_paths();
        daemon_check_idle();
    }
    daemon_stop();
    _kmsg_check();
    _print_outcomes();
    printf("seed %llu: %u failures\n", (unsigned long long)chaos.opt.seed, chaos.failures);
    event_base_free(chaos.base);
    return chaos.failures != 0;
}
