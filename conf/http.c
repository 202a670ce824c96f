/*
 * What clusters have for HTTP alone: what is hashed, when an endpoint is out of use, checks.
 */
#include "conf/http.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "conf/units.h"

#define DURATION_MAX  (24 * CONF_NS_PER_H)
#define FAILURES_MAX  1000000
#define THRESHOLD_MAX 1000
#define PATH_MAX_LEN  1024

/** RFC 9110, 5.6.2. */
#define TOKEN_CHARS "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static struct conf_text _at(size_t cluster, const char *key)
{
    return conf_path("clusters[%zu].%s", cluster, key);
}

/* Hashing ----------------------------------------------------------------------------- */

static void _take_name(struct conf_build *b, size_t index, const char *key, char **raw)
{
    struct conf_http_cluster *out = &b->conf->clusters[index].http;
    size_t len = strlen(*raw);

    if (!len || len > CONF_HASH_NAME_MAX || strspn(*raw, TOKEN_CHARS) != len)
        conf_error(b->errors, _at(index, key).text,
                   "%s is not a name, expected 1 to %d letters, digits or characters of !#$%%&'*+-.^_`|~",
                   conf_quote(*raw).text, CONF_HASH_NAME_MAX);
    out->hash_name = CONF_TAKE(*raw);
}

void conf_resolve_hash_on(struct conf_build *b, size_t index)
{
    struct raw_hash_on *raw = b->raw->clusters[index].hash_on;
    struct conf_cluster *out = &b->conf->clusters[index];

    if (!raw)
        return;
    if (out->lb_policy != CONF_MAGLEV) {
        conf_error(b->errors, _at(index, "hash_on").text,
                   "only with lb_policy maglev, expected no hash_on with lb_policy %s",
                   conf_lb_policy_name(out->lb_policy));
        return;
    }
    if (!!raw->header + !!raw->cookie + (raw->source_address == RAW_TRUE) != 1)
        conf_error(b->errors, _at(index, "hash_on").text,
                   "not exactly one source, expected one of: header, cookie, source_address: true");
    /* With an error the cluster is for HTTP all the same: one mistake, one error. */
    out->http.hash_on = CONF_HASH_ON_SOURCE;
    if (raw->header) {
        out->http.hash_on = CONF_HASH_ON_HEADER;
        _take_name(b, index, "hash_on.header", &raw->header);
        for (char *p = out->http.hash_name; *p; ++p)
            *p = (char)tolower((unsigned char)*p);
    } else if (raw->cookie) {
        out->http.hash_on = CONF_HASH_ON_COOKIE;
        _take_name(b, index, "hash_on.cookie", &raw->cookie);
    }
}

/* Health ------------------------------------------------------------------------------ */

void conf_resolve_ejection(struct conf_build *b, const char *path, const struct raw_ejection *raw,
                           struct conf_ejection *out)
{
    struct conf_text at = conf_path("%s.max_failures", path);

    out->max_failures = conf_resolve_uint(b, at.text, raw->max_failures, 0, FAILURES_MAX, 3);
    out->retry_after = 10 * CONF_NS_PER_S;
    at = conf_path("%s.retry_after", path);
    conf_resolve_duration(b, &(struct conf_unit_rule){at.text, raw->retry_after, &out->retry_after, 1,
                                                      DURATION_MAX, "1us to 24h"});
}

static void _check_path(struct conf_build *b, size_t index, const char *path)
{
    size_t len = strlen(path);

    for (const char *p = path; *p; ++p) {
        if (*p <= ' ' || *p >= 0x7f || *p == '#')
            len = 0;
    }
    if (path[0] != '/' || !len || len > PATH_MAX_LEN)
        conf_error(b->errors, _at(index, "health_check.path").text,
                   "%s is not a request target, expected one that begins with / and has at most %d printable "
                   "ASCII characters without space and #",
                   conf_quote(path).text, PATH_MAX_LEN);
}

static void _resolve_thresholds(struct conf_build *b, size_t index, const struct raw_health_check *raw,
                                struct conf_health_check *out)
{
    out->unhealthy_threshold = conf_resolve_uint(b, _at(index, "health_check.unhealthy_threshold").text,
                                                 raw->unhealthy_threshold, 1, THRESHOLD_MAX, 3);
    out->healthy_threshold = conf_resolve_uint(b, _at(index, "health_check.healthy_threshold").text,
                                               raw->healthy_threshold, 1, THRESHOLD_MAX, 2);
}

static int _resolve_health_check(struct conf_build *b, size_t index, struct raw_health_check *raw)
{
    struct conf_health_check *out = calloc(1, sizeof(*out));
    struct conf_text interval = _at(index, "health_check.interval");
    struct conf_text timeout = _at(index, "health_check.timeout");

    if (!out)
        return -ENOMEM;
    b->conf->clusters[index].http.health_check = out;
    out->path = CONF_TAKE(raw->path);
    _check_path(b, index, out->path);
    out->interval = 5 * CONF_NS_PER_S;
    conf_resolve_duration(b, &(struct conf_unit_rule){interval.text, raw->interval, &out->interval,
                                                      10 * CONF_NS_PER_MS, DURATION_MAX, "10ms to 24h"});
    out->timeout = CONF_NS_PER_S < out->interval ? CONF_NS_PER_S : out->interval;
    conf_resolve_duration(b,
                          &(struct conf_unit_rule){timeout.text, raw->timeout, &out->timeout, CONF_NS_PER_MS,
                                                   out->interval, "1ms to health_check.interval"});
    _resolve_thresholds(b, index, raw, out);

    return 0;
}

int conf_resolve_http_cluster(struct conf_build *b, size_t index)
{
    struct raw_cluster *raw = &b->raw->clusters[index];
    struct conf_cluster *out = &b->conf->clusters[index];
    struct raw_ejection none = {};

    conf_resolve_ejection(b, _at(index, "ejection").text, raw->ejection ? raw->ejection : &none,
                          &out->ejection);
    for (size_t i = 0; i < out->n_endpoints; ++i)
        out->endpoints[i].drain = raw->endpoints[i].drain == RAW_TRUE;

    return raw->health_check ? _resolve_health_check(b, index, raw->health_check) : 0;
}

static void _refuse(struct conf_build *b, const char *at)
{
    conf_error(b->errors, at, "only for clusters of http listeners, expected lb_policy " CONF_HTTP_POLICIES);
}

void conf_refuse_http_keys(struct conf_build *b, size_t index)
{
    const struct raw_cluster *raw = &b->raw->clusters[index];

    if (raw->ejection)
        _refuse(b, _at(index, "ejection").text);
    if (raw->health_check)
        _refuse(b, _at(index, "health_check").text);
    for (size_t i = 0; i < raw->endpoints_count; ++i) {
        if (raw->endpoints[i].drain == RAW_TRUE)
            _refuse(b, conf_path("clusters[%zu].endpoints[%zu].drain", index, i).text);
    }
}
