/* Command line: run, check, probe, --version, --help. */
#include <errno.h>
#include <event2/buffer.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf.h"
#include "kernel.h"
#include "log.h"
#include "probe.h"
#include "server.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

static const char _usage[] =
    "usage: skein run -c FILE [-l LEVEL]   serve; SIGTERM drains, SIGHUP reloads\n"
    "       skein check -c FILE            check a configuration: exit 0 or 2\n"
    "       skein probe [--json]           test what this kernel offers: exit 0 if all of it\n"
    "       skein --version | --help\n"
    "\n"
    "  -c FILE   configuration (YAML)\n"
    "  -l LEVEL  error, warn, info (default) or debug\n";

struct arguments {
    const char *command;
    const char *file;
    bool json;
};

static int _bad_usage(const char *what, const char *arg)
{
    fprintf(stderr, "skein: %s%s\n%s", what, arg, _usage);
    return EXIT_USAGE;
}

static int _parse(int argc, char **argv, struct arguments *a)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'}, {0}};
    int option;
    enum log_level level;
    a->command = argv[1];
    optind = 2;
    opterr = 0;
    while ((option = getopt_long(argc, argv, "c:l:", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            a->file = optarg;
            break;
        case 'j':
            a->json = true;
            break;
        case 'l':
            if (log_parse_level(optarg, &level))
                return _bad_usage("unknown log level ", optarg);
            log_set_level(level);
            break;
        default:
            return _bad_usage("unknown option or missing value: ", argv[optind - 1]);
        }
    }
    if (a->json && strcmp(a->command, "probe") != 0)
        return _bad_usage("--json is an option of probe", "");
    if (optind < argc)
        return _bad_usage("unexpected argument ", argv[optind]);
    return EXIT_OK;
}

static int _load(const struct arguments *a, struct conf **conf)
{
    if (!a->file)
        return _bad_usage("no configuration, expected -c FILE", "");
    int r = conf_load(a->file, stderr, conf);
    return r ? EXIT_USAGE : EXIT_OK;
}

static int _run(const struct arguments *a)
{
    struct conf *conf;
    int status = _load(a, &conf);
    return status ? status : server_run(conf);
}

static int _check(const struct arguments *a)
{
    struct conf *conf;
    int status = _load(a, &conf);
    if (status)
        return status;
    printf("%s: ok: %zu listener%s, %zu cluster%s\n", a->file, conf->n_listeners,
           conf->n_listeners == 1 ? "" : "s", conf->n_clusters, conf->n_clusters == 1 ? "" : "s");
    conf_free(&conf);
    return EXIT_OK;
}

/* @return EXIT_OK if the kernel path can be used for everything. */
static int _probe(const struct arguments *a)
{
    struct probe p = {0};
    kernel_probe(&p);
    if (a->json) {
        struct evbuffer *out = evbuffer_new();
        if (!out)
            abort();
        probe_json(&p, out);
        evbuffer_add_printf(out, "\n");
        while (evbuffer_get_length(out) && evbuffer_write(out, STDOUT_FILENO) > 0)
            ;
        evbuffer_free(out);
    } else {
        probe_print(&p, stdout);
    }
    for (enum probe_guard g = 0; g < GUARD_BYPASS; g++) {
        if (!probe_available(&p, g))
            return EXIT_FAILED;
    }
    return EXIT_OK;
}

int main(int argc, char **argv)
{
    struct arguments a = {0};
    if (argc < 2)
        return _bad_usage("no command", "");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        fputs(_usage, stdout);
        return EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("skein " SKEIN_VERSION);
        return EXIT_OK;
    }
    int status = _parse(argc, argv, &a);
    if (status)
        return status;
    if (strcmp(a.command, "run") == 0)
        return _run(&a);
    if (strcmp(a.command, "check") == 0)
        return _check(&a);
    if (strcmp(a.command, "probe") == 0)
        return _probe(&a);
    return _bad_usage("unknown command ", a.command);
}
