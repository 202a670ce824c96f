/*
 * What a route changes in the heads of requests and responses.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "conf/resolve.h"

#define NAME_MAX_LEN  127
#define VALUE_MAX_LEN 4096

#define EXPECTED_NAME "expected 1 to 127 letters, digits and !#$%%&'*+-.^_`|~"

/* Names -------------------------------------------------------------------------------- */

bool conf_is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; ++i) {
        char c = text[i];

        if ((c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') &&
            (!c || !strchr("!#$%&'*+-.^_`|~", c)))
            return false;
    }

    return len > 0;
}

/** Compares with a name in lower case. Servers are known to read `_` as `-`. */
static bool _name_is(const char *name, const char *lower)
{
    for (; *name && *lower; ++name, ++lower) {
        char c = *name == '_' ? '-' : *name;

        if ((c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c) != *lower)
            return false;
    }

    return *name == *lower;
}

/** Fields that say how long a message is or what becomes of one connection (RFC 9110, 7.6.1, 10.1.1 and
 * 11.7; RFC 9112, 6): skein writes them itself. */
static bool _is_of_the_connection(const char *name)
{
    static const char *const names[] = {
        "connection",
        "content-length",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-authentication-info",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); ++i) {
        if (_name_is(name, names[i]))
            return true;
    }

    return false;
}

static void _check_name(struct conf_build *b, const char *at, const char *name)
{
    size_t len = strlen(name);

    if (len > NAME_MAX_LEN || !conf_is_token(name, len))
        conf_error(b->errors, at, "%s is not the name of a field, " EXPECTED_NAME, conf_quote(name).text);
    else if (_name_is(name, "host"))
        conf_error(b->errors, at,
                   "%s can not be changed: it goes on as the client sent it, expected another "
                   "field",
                   conf_quote(name).text);
    else if (_is_of_the_connection(name))
        conf_error(b->errors, at,
                   "%s is about framing or about one connection, expected a field that is for the other end",
                   conf_quote(name).text);
}

/** RFC 9110, 5.5: neither controls nor whitespace around it. */
static void _check_value(struct conf_build *b, const char *at, const char *value)
{
    size_t len = strlen(value);

    for (const char *p = value; *p; ++p) {
        if (((unsigned char)*p >= ' ' && *p != 0x7f) || *p == '\t')
            continue;
        conf_error(b->errors, at, "%s has a control character, expected a value without",
                   conf_quote(value).text);
        return;
    }
    if (len && (strchr(" \t", value[0]) || strchr(" \t", value[len - 1])))
        conf_error(b->errors, at, "%s begins or ends with whitespace, expected a value without",
                   conf_quote(value).text);
    if (len > VALUE_MAX_LEN)
        conf_error(b->errors, at, "longer than 4096 bytes, expected a shorter value");
}

/* Lists -------------------------------------------------------------------------------- */

static int _resolve_fields(struct conf_build *b, const char *at, struct raw_field *raw, uint32_t count,
                           struct conf_field **out, size_t *n)
{
    if (!count)
        return 0;
    *out = calloc(count, sizeof(**out));
    if (!*out)
        return -ENOMEM;
    *n = count;
    for (size_t i = 0; i < count; ++i) {
        (*out)[i].name = CONF_TAKE(raw[i].name);
        (*out)[i].value = CONF_TAKE(raw[i].value);
        _check_name(b, conf_path("%s[%zu].name", at, i).text, (*out)[i].name);
        _check_value(b, conf_path("%s[%zu].value", at, i).text, (*out)[i].value);
    }

    return 0;
}

/** What is removed or set is so once. */
static void _check_twice(struct conf_build *b, const char *at, const struct conf_head_edits *edits)
{
    for (size_t i = 0; i < edits->n_remove + edits->n_set; ++i) {
        bool set = i >= edits->n_remove;
        size_t index = set ? i - edits->n_remove : i;
        const char *name = set ? edits->set[index].name : edits->remove[index];

        for (size_t j = 0; j < i; ++j) {
            bool other = j >= edits->n_remove;

            if (strcasecmp(name, other ? edits->set[j - edits->n_remove].name : edits->remove[j]) != 0)
                continue;
            conf_error(b->errors,
                       set ? conf_path("%s.set[%zu].name", at, index).text
                           : conf_path("%s.remove[%zu]", at, index).text,
                       "%s is in %s already, expected it once", conf_quote(name).text,
                       other ? "set" : "remove");
            break;
        }
    }
}

static int _resolve_edits(struct conf_build *b, const char *at, struct raw_head_edits *raw,
                          struct conf_head_edits *out)
{
    int r = 0;

    if (!raw)
        return 0;
    if (!raw->set_count && !raw->add_count && !raw->remove_count)
        conf_error(b->errors, at, "nothing to do, expected at least one of: set, add, remove");
    r = _resolve_fields(b, conf_path("%s.set", at).text, raw->set, raw->set_count, &out->set, &out->n_set);
    if (!r)
        r = _resolve_fields(b, conf_path("%s.add", at).text, raw->add, raw->add_count, &out->add,
                            &out->n_add);
    if (r || !raw->remove_count)
        return r;
    out->remove = calloc(raw->remove_count, sizeof(*out->remove));
    if (!out->remove)
        return -ENOMEM;
    out->n_remove = raw->remove_count;
    for (size_t i = 0; i < out->n_remove; ++i) {
        out->remove[i] = CONF_TAKE(raw->remove[i]);
        _check_name(b, conf_path("%s.remove[%zu]", at, i).text, out->remove[i]);
    }
    return 0;
}

/* Routes ------------------------------------------------------------------------------- */

static struct conf_text _at(size_t listener, size_t route, const char *key)
{
    return conf_path("listeners[%zu].routes[%zu].%s", listener, route, key);
}

static void _refuse(struct conf_build *b, const char *at, const void *raw)
{
    if (raw)
        conf_error(b->errors, at, "only for messages that are forwarded, expected no such key with respond");
}

static void _refuse_all(struct conf_build *b, size_t listener, size_t index, const struct raw_route *raw)
{
    _refuse(b, _at(listener, index, "forwarded").text, raw->forwarded);
    _refuse(b, _at(listener, index, "request_id").text, raw->request_id);
    _refuse(b, _at(listener, index, "request_headers").text, raw->request_headers);
    _refuse(b, _at(listener, index, "response_headers").text, raw->response_headers);
}

int conf_resolve_headers(struct conf_build *b, size_t listener, size_t index)
{
    const struct raw_listener *defaults = &b->raw->listeners[listener];
    struct raw_route *raw = &defaults->routes[index];
    struct conf_route *out = &b->conf->listeners[listener].routes[index];
    const enum conf_forwarded *forwarded = raw->forwarded ? raw->forwarded : defaults->forwarded;
    const enum raw_bool *request_id = raw->request_id ? raw->request_id : defaults->request_id;
    struct conf_text request = _at(listener, index, "request_headers");
    struct conf_text response = _at(listener, index, "response_headers");
    int r;

    if (out->respond) {
        _refuse_all(b, listener, index, raw);
        return 0;
    }
    out->forwarded = forwarded ? *forwarded : CONF_FORWARDED_OFF;
    out->request_id = request_id && *request_id == RAW_TRUE;
    r = _resolve_edits(b, request.text, raw->request_headers, &out->request_headers);
    if (!r)
        r = _resolve_edits(b, response.text, raw->response_headers, &out->response_headers);
    if (r)
        return r;
    _check_twice(b, request.text, &out->request_headers);
    _check_twice(b, response.text, &out->response_headers);

    return 0;
}

void conf_refuse_header_keys(struct conf_build *b, size_t index)
{
    const struct raw_listener *raw = &b->raw->listeners[index];
    static const char text[] = "only for the protocol http, expected no such key with redis";

    if (raw->forwarded)
        conf_error(b->errors, conf_path("listeners[%zu].forwarded", index).text, text);
    if (raw->request_id)
        conf_error(b->errors, conf_path("listeners[%zu].request_id", index).text, text);
    if (raw->trusted_proxies_count)
        conf_error(b->errors, conf_path("listeners[%zu].trusted_proxies", index).text, text);
}

static bool _edits(const struct conf_head_edits *edits)
{
    return edits->n_remove || edits->n_set || edits->n_add;
}

bool conf_route_edits(const struct conf_route *route)
{
    return route->forwarded || route->request_id || _edits(&route->request_headers) ||
           _edits(&route->response_headers);
}

static void _free_fields(struct conf_field *fields, size_t n)
{
    for (size_t i = 0; i < n; ++i) {
        free(fields[i].name);
        free(fields[i].value);
    }
    free(fields);
}

void conf_free_head_edits(struct conf_head_edits *edits)
{
    _free_fields(edits->set, edits->n_set);
    _free_fields(edits->add, edits->n_add);
    for (size_t i = 0; i < edits->n_remove; ++i)
        free(edits->remove[i]);
    free(edits->remove);
}
