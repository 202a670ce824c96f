/*
 * From raw structs to `struct conf`: units, addresses, names, defaults, and the rules that a schema
 * can not say. Each function reports every error it finds and goes on; whether the result is valid
 * is told by the count of errors at the end.
 */
#pragma once

#include <stddef.h>

#include "conf/conf.h"
#include "conf/errors.h"
#include "conf/raw.h"

/** One resolution under way. Nothing in it is owned. */
struct conf_build {
    struct raw_conf *raw; /**< Strings are moved out of it, not copied. */
    struct conf *conf;    /**< Zeroed to begin with; always safe for conf_free(). */
    struct conf_errors *errors;
};

/** Moves a pointer out of its place. */
#define CONF_TAKE(p)                                                                                         \
    ({                                                                                                       \
        __typeof__(p) taken_ = (p);                                                                          \
        (p) = NULL;                                                                                          \
        taken_;                                                                                              \
    })

/** Fills workers, datapath, admin, limits and timeouts. */
void conf_resolve_globals(struct conf_build *build);

/** Fills clusters. @return 0 or -ENOMEM. */
int conf_resolve_clusters(struct conf_build *build);

/** Fills listeners; clusters come first. @return 0 or -ENOMEM. */
int conf_resolve_listeners(struct conf_build *build);

/** Fills the routes of listener `index`. @return 0 or -ENOMEM. */
int conf_resolve_routes(struct conf_build *build, size_t index);

/** Fills what a route changes in heads, after its action. @return 0 or -ENOMEM. */
int conf_resolve_headers(struct conf_build *build, size_t listener, size_t route);

/** Fills the trusted proxies of listener `index`. @return 0 or -ENOMEM. */
int conf_resolve_networks(struct conf_build *build, size_t index);

/** Reports what a listener that is not for HTTP has of both. */
void conf_refuse_header_keys(struct conf_build *build, size_t index);

/** Frees what edits own. */
void conf_free_head_edits(struct conf_head_edits *edits);

/** Fills what is excepted from the bypass; listeners and clusters come first. @return 0 or -ENOMEM. */
int conf_resolve_bypass(struct conf_build *build);

/** Checks what concerns several parts: addresses bound twice, and loops of listeners. */
void conf_check_relations(struct conf_build *build);

/** Checks the name of a listener or a cluster. */
void conf_check_name(struct conf_build *build, const char *path, const char *name);

/** Parses an address; reports it at `path` if it is not valid, and leaves its len 0. */
void conf_resolve_address(struct conf_build *build, const char *path, const char *text,
                          struct conf_address *address);

/** Checks an optional number against a range.
 *
 * @param raw  NULL = absent, which gives `fallback`.
 */
uint32_t conf_resolve_uint(struct conf_build *build, const char *path, const uint64_t *raw, uint32_t min,
                           uint32_t max, uint32_t fallback);

/** A size or a duration with its key, and bounds as numbers and as text for errors. */
struct conf_unit_rule {
    const char *path;
    const char *text; /**< NULL = absent. */
    uint64_t *out;    /**< Holds the default. */
    uint64_t min;
    uint64_t max;
    const char *expected;
};

/** Parses an optional size in bytes; `out` keeps the default if it is absent or reported. */
void conf_resolve_size(struct conf_build *build, const struct conf_unit_rule *rule);

/** Same, for a duration in nanoseconds. */
void conf_resolve_duration(struct conf_build *build, const struct conf_unit_rule *rule);

/** Fills `out` with the section's values or the defaults; `path` is the section's. */
void conf_resolve_ejection(struct conf_build *build, const char *path, const struct raw_ejection *raw,
                           struct conf_ejection *out);

/** The index of the cluster with a name; if there is none reports it at `path` and returns -1. */
int conf_find_cluster(struct conf_build *build, const char *path, const char *name);

/** Same, for a listener. */
int conf_find_listener(struct conf_build *build, const char *path, const char *name);

/** Adds the name with that index to a list for an error, "a, b, c", which ends with "..." after some.
 *
 * @return Whether there is room for more.
 */
bool conf_list_name(struct conf_text *list, size_t index, const char *name);

/** As in the file. */
const char *conf_lb_policy_name(enum conf_lb_policy policy);

/** Takes user and password, from its file if need be, and reports what is wrong with them.
 *
 * @param path      Of the section.
 * @param user      Owned by the caller, also after a failure; NULL if not given.
 * @param password  Same; NULL if reported.
 * @return 0 or -ENOMEM.
 */
int conf_resolve_auth(struct conf_build *build, const char *path, struct raw_auth *raw, char **user,
                      char **password);
