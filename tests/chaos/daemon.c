#include "daemon.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chaos.h"
#include "redis_server.h"
#include "server.h"

/** Deadlines, for a loaded machine and a build with sanitizers. */
#define START_MS 30000
#define IDLE_MS  60000
#define STOP_MS  20000

static pid_t _pid;
static bool _reported;
static uint16_t _admin, _second;
static unsigned _fds; /* After the start. */
static char _dir[] = "/tmp/skein-chaos-XXXXXX";
static char _file[64], _log[64];

/* Configuration ----------------------------------------------------------------------- */

static void _write_endpoints(FILE *f, const char *name, const char *policy, const uint16_t *ports, unsigned n,
                             unsigned least, struct rng *rng)
{
    fprintf(f, "  - name: %s\n    lb_policy: %s\n    endpoints:\n", name, policy);
    unsigned first = rng ? rng_below(rng, n) : 0, count = rng ? least + rng_below(rng, n + 1 - least) : n;
    for (unsigned i = 0; i < count; i++)
        fprintf(f, "      - { address: \"127.0.0.1:%u\", weight: %u }\n", ports[(first + i) % n],
                rng ? 1 + rng_below(rng, 5) : 1);
}

static void _write_http(FILE *f, const char *name, uint16_t port)
{
    fprintf(f, "  - name: %s\n    address: \"127.0.0.1:%u\"\n    routes:\n", name, port);
    for (unsigned c = 0; c < _CLUSTER_MAX; c++)
        fprintf(f, "      - { match: { path_prefix: \"/%s/\" }, cluster: %s }\n",
                (const char *[]){"calm", "fickle", "wild"}[c], (const char *[]){"calm", "fickle", "wild"}[c]);
}

static void _write_config(struct rng *rng)
{
    char temp[80];
    snprintf(temp, sizeof(temp), "%s.new", _file);
    FILE *f = fopen(temp, "w");
    if (!f)
        abort();
    fprintf(f, "workers: 2\nadmin: { address: \"127.0.0.1:%u\" }\n", _admin);
    fprintf(f, "datapath: { kernel: %s, bypass: %s, promote_after: %u }\n", chaos.opt.kernel,
            chaos.opt.bypass, rng ? 1 + rng_below(rng, 3) : 1);
    fprintf(f, "limits: { buffer: 256KiB }\n");
    fprintf(f, "timeouts: { connect: 5s, header: 15s, body: 15s, idle: 60s, response: 6s, write: 20s, drain: "
               "5s }\n");
    fprintf(f, "listeners:\n");
    if (chaos.opt.http)
        _write_http(f, "http", chaos.port);
    if (chaos.opt.http && rng && rng_chance(rng, 50)) /* One that comes and goes. */
        _write_http(f, "second", _second);
    if (chaos.opt.redis)
        redis_write_listeners(f);
    fprintf(f, "clusters:\n");
    for (unsigned c = 0; chaos.opt.http && c < _CLUSTER_MAX; c++)
        _write_endpoints(f, (const char *[]){"calm", "fickle", "wild"}[c], "round_robin", servers_ports(c),
                         SERVERS_PER_CLUSTER, c == CLUSTER_WILD ? 2 : 1, rng);
    if (chaos.opt.redis)
        redis_write_clusters(f);
    fclose(f);
    if (rename(temp, _file))
        abort();
}

void daemon_reload(struct rng *rng)
{
    _write_config(rng);
    history_add(&chaos.history, "reload");
    kill(_pid, SIGHUP);
}

/* The process ------------------------------------------------------------------------- */

static void _print_log(void)
{
    char buf[6000];
    int fd = open(_log, O_RDONLY);
    off_t size = lseek(fd, 0, SEEK_END);
    lseek(fd, size > 5999 ? size - 5999 : 0, SEEK_SET);
    ssize_t n = read(fd, buf, sizeof(buf) - 1);
    close(fd);
    if (n > 0)
        fprintf(stderr, "skein said:\n%.*s\n", (int)n, buf);
}

bool daemon_gone(void)
{
    int status;
    if (_reported || waitpid(_pid, &status, WNOHANG) != _pid)
        return _reported;
    _reported = true;
    chaos_fail(NULL, "skein ended by itself, with status %#x", status);
    _print_log();
    return true;
}

static void _spawn(void)
{
    _pid = fork();
    if (_pid)
        return;
    int fd = open(_log, O_WRONLY | O_CREAT | O_APPEND, 0644);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(fd, 1);
    dup2(fd, 2);
    execl(chaos.opt.binary, chaos.opt.binary, "run", "-c", _file, NULL);
    _exit(127);
}

/* What it says ------------------------------------------------------------------------ */

/* GET on the admin listener. @return Length of the answer in `buf`, -1 if there is none. */
static ssize_t _get(const char *path, char *buf, size_t cap)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(_admin)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct timeval tv = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char request[128];
    ssize_t len = -1;
    int n = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n",
                     path);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    if (!connect(fd, (struct sockaddr *)&a, sizeof(a)) && send(fd, request, (size_t)n, MSG_NOSIGNAL) == n) {
        len = 0;
        while ((n = (int)recv(fd, buf + len, cap - 1 - (size_t)len, 0)) > 0)
            len += n;
        buf[len] = 0;
    }
    close(fd);
    return len;
}

static unsigned _count_fds(void)
{
    char path[64];
    unsigned n = 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)_pid);
    DIR *d = opendir(path);
    if (!d)
        return 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n - 2;
}

/* The sum of a metric over its series. @return -1 if it is not there. */
static double _sum(const char *metrics, const char *name)
{
    double sum = -1;
    size_t len = strlen(name);
    for (const char *line = metrics; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) || (line[len] != '{' && line[len] != ' '))
            continue;
        const char *value = line[len] == '{' ? strchr(line, '}') + 1 : line + len;
        sum = (sum < 0 ? 0 : sum) + strtod(value, NULL);
    }
    return sum;
}

int daemon_start(void)
{
    char buf[4096];
    if (!mkdtemp(_dir))
        return 1;
    snprintf(_file, sizeof(_file), "%s/skein.yaml", _dir);
    snprintf(_log, sizeof(_log), "%s/log", _dir);
    _admin = chaos_port();
    _second = chaos_port();
    _write_config(NULL);
    _spawn();
    uint64_t end = clock_ms() + START_MS;
    while (_get("/healthz", buf, sizeof(buf)) <= 0 || !strstr(buf, " 200 ")) {
        int status = 0;
        bool gone = waitpid(_pid, &status, WNOHANG) == _pid;
        if (gone || clock_ms() > end) {
            fprintf(stderr, "skein does not start\n");
            _print_log();
            return gone && (!strcmp(chaos.opt.kernel, "on") || !strcmp(chaos.opt.bypass, "on")) ? 77 : 1;
        }
        poll(NULL, 0, 20);
    }
    /* The connection that asked is closed when the count is what it was twice. */
    unsigned fds = 0;
    while ((_fds = _count_fds()) != fds) {
        fds = _fds;
        poll(NULL, 0, 100);
    }
    return 0;
}

void daemon_check_idle(void)
{
    static const char *const gauges[] = {"skein_downstream_connections", "skein_upstream_connections",
                                         "skein_slots_in_use"};
    static char buf[1 << 20];
    uint64_t end = clock_ms() + IDLE_MS;
    char left[256];
    do {
        left[0] = 0;
        if (_get("/metrics", buf, sizeof(buf)) < 0)
            snprintf(left, sizeof(left), "no metrics");
        for (unsigned i = 0; i < 3 && !left[0]; i++) {
            if (_sum(buf, gauges[i]) != 0)
                snprintf(left, sizeof(left), "%s %g", gauges[i], _sum(buf, gauges[i]));
        }
        unsigned fds = _count_fds();
        if (!left[0] && fds > _fds)
            snprintf(left, sizeof(left), "%u file descriptors instead of %u", fds, _fds);
        if (!left[0])
            return;
        poll(NULL, 0, 50);
    } while (clock_ms() < end && !daemon_gone());
    chaos_fail(NULL, "skein does not come to rest: %s", left);
}

void daemon_print_paths(void)
{
    static char buf[1 << 20];
    if (_get("/metrics", buf, sizeof(buf)) < 0)
        return;
    for (const char *line = strtok(buf, "\n"); line; line = strtok(NULL, "\n")) {
        bool wanted = strncmp(line, "skein_messages_total{", 21) == 0 ||
                      strncmp(line, "skein_fallback_total{", 21) == 0 ||
                      strncmp(line, "skein_bypass_messages_total{", 28) == 0 ||
                      strncmp(line, "skein_bypass_connections_total{", 31) == 0 ||
                      strncmp(line, "skein_promoted_total", 20) == 0 ||
                      strncmp(line, "skein_returned_total", 20) == 0 ||
                      strncmp(line, "skein_error_responses", 21) == 0 ||
                      strncmp(line, "skein_upstream_retries", 22) == 0;
        size_t len = strlen(line);
        if (wanted && strcmp(line + len - 2, " 0"))
            printf("  %s\n", line);
    }
}

/* The log of a build with sanitizers tells more than its exit status. */
static bool _log_is_clean(void)
{
    char line[512];
    FILE *f = fopen(_log, "r");
    bool clean = f;
    while (f && fgets(line, sizeof(line), f))
        clean &= !strstr(line, "Sanitizer") && !strstr(line, "runtime error:");
    if (f)
        fclose(f);
    return clean;
}

void daemon_stop(void)
{
    int status = 0;
    uint64_t end = clock_ms() + STOP_MS;
    if (!daemon_gone()) {
        kill(_pid, SIGTERM);
        while (waitpid(_pid, &status, WNOHANG) != _pid) {
            if (clock_ms() > end) {
                chaos_fail(NULL, "skein does not exit after SIGTERM");
                kill(_pid, SIGKILL);
                waitpid(_pid, &status, 0);
                break;
            }
            poll(NULL, 0, 10);
        }
        if (status)
            chaos_fail(NULL, "skein exits with status %#x", status);
    }
    if (!_log_is_clean())
        chaos_fail(NULL, "skein's log shows an error of memory");
    if (chaos.failures) {
        _print_log();
        fprintf(stderr, "configuration and log are in %s\n", _dir);
        return;
    }
    unlink(_file);
    unlink(_log);
    rmdir(_dir);
}
