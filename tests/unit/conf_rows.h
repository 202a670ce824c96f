/*
 * Tables of configurations that are not valid and the errors they give. Included after cmocka.h.
 */
#pragma once

#include <errno.h>
#include <stdio.h>

#include "conf_helper.h"

struct row {
    const char *text;
    const char *errors; /**< Each line without the file's name. */
};

/* A valid rest of a file, to stand after other sections. */
#define WEB                                                                                                  \
    "listeners:\n"                                                                                           \
    "  - name: web\n"                                                                                        \
    "    address: \"127.0.0.1:8080\"\n"                                                                      \
    "    routes:\n"                                                                                          \
    "      - match: { path_prefix: / }\n"                                                                    \
    "        respond: { status: 200 }\n"

/* A file whose routes begin on line 5. */
#define ROUTES(routes) "listeners:\n  - name: web\n    address: \"127.0.0.1:8080\"\n    routes:\n" routes
#define MATCH(match)   ROUTES("      - match: " match "\n        respond: { status: 200 }\n")
#define ACTION(action) ROUTES("      - match: { path: / }\n        " action "\n")

/* A file whose clusters begin on line 8. */
#define CLUSTERS(clusters) WEB "clusters:\n" clusters

/* A one-line listener with one route, and a one-line cluster with one endpoint. */
#define LISTENER(name, address, cluster)                                                                     \
    "  - { name: " name ", address: \"" address "\", routes: [ { match: { path: / }, cluster: " cluster      \
    " } ] }\n"
#define CLUSTER(name, address) "  - { name: " name ", endpoints: [ { address: \"" address "\" } ] }\n"

#define TOP_KEYS "workers, datapath, bypass, admin, limits, timeouts, listeners, clusters"

/** Compares with the rows' lines, each prefixed with the file's name. */
static inline void conf_run_rows(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        struct loaded l = conf_load_text(rows[i].text);
        const char *expected = rows[i].errors;
        char all[4096] = "";

        while (*expected) {
            size_t len = strcspn(expected, "\n");

            strcat(all, CONF_FILE ":");
            strncat(all, expected, len);
            strcat(all, "\n");
            expected += len + (expected[len] == '\n');
        }
        if (l.r != -EINVAL || strcmp(l.errors, all))
            fail_msg("row %zu:\n%s\ngot %d:\n%s\nexpected:\n%s", i, rows[i].text, l.r, l.errors, all);
        assert_null(l.conf);
        conf_unload(&l);
    }
}

#define RUN(rows) conf_run_rows(rows, sizeof(rows) / sizeof((rows)[0]))
