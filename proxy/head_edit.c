#include "head_edit.h"

#include <string.h>
#include <strings.h>

#include "head_writer.h"
#include "request_id.h"

/** A client's X-Request-Id is kept up to this length. */
#define REQUEST_ID_MAX 128

/** All lines that tell about the client, and the request's name. */
#define OWN_LINES_MAX 512

struct edit {
    const char *head;
    struct http1_message *m;
    const struct conf_head_edits *edits;
    struct writer w;
};

/* Names -------------------------------------------------------------------------------- */

static bool _is(const char *name, size_t len, const char *text)
{
    return strncasecmp(name, text, len) == 0 && !text[len];
}

static bool _field_is(const struct edit *e, const struct http1_field *f, const char *text)
{
    return _is(e->head + f->name.off, f->name.len, text);
}

/* Whether all fields with this name go: removed, or set to something else. */
static bool _drops(const struct conf_head_edits *edits, const char *name, size_t len)
{
    for (size_t i = 0; i < edits->n_remove; i++) {
        if (_is(name, len, edits->remove[i]))
            return true;
    }
    for (size_t i = 0; i < edits->n_set; i++) {
        if (_is(name, len, edits->set[i].name))
            return true;
    }
    return false;
}

/* Fields by which proxies tell who asks; anybody may write them. */
static bool _tells_who(const struct edit *e, const struct http1_field *f)
{
    static const char prefix[] = "x-forwarded-";
    const char *name = e->head + f->name.off;
    return (f->name.len >= strlen(prefix) && strncasecmp(name, prefix, strlen(prefix)) == 0) ||
           _field_is(e, f, "forwarded") || _field_is(e, f, "x-real-ip");
}

/* Lines -------------------------------------------------------------------------------- */

static void _line(struct writer *w, const char *name, const char *value)
{
    _puts(w, name);
    _puts(w, ": ");
    _puts(w, value);
    _puts(w, "\r\n");
}

/* Goes back before the empty line of a head that was written. */
static void _reopen(struct edit *e, char *out, size_t cap, size_t len)
{
    e->w = (struct writer){.at = out + len - 2, .end = out + cap};
}

static void _mark_dropped(struct edit *e)
{
    for (uint32_t i = 0; i < e->m->n_fields; i++) {
        struct http1_field *f = &e->m->fields[i];
        f->hop_by_hop |= _drops(e->edits, e->head + f->name.off, f->name.len);
    }
}

static void _append(struct edit *e)
{
    for (size_t i = 0; i < e->edits->n_set; i++)
        _line(&e->w, e->edits->set[i].name, e->edits->set[i].value);
    for (size_t i = 0; i < e->edits->n_add; i++)
        _line(&e->w, e->edits->add[i].name, e->edits->add[i].value);
}

/* Who asks ----------------------------------------------------------------------------- */

/* A proxy's list of hops goes on in one field, which is easier to read right than several
 * (RFC 7239, 7.1). */
static void _continue_list(struct edit *e, const char *name, const char *value, bool trusted)
{
    _puts(&e->w, name);
    _puts(&e->w, ": ");
    for (uint32_t i = 0; trusted && i < e->m->n_fields; i++) {
        const struct http1_field *f = &e->m->fields[i];
        if (!f->value.len || !_field_is(e, f, name))
            continue;
        _put(&e->w, e->head + f->value.off, f->value.len);
        _puts(&e->w, ", ");
    }
    _puts(&e->w, value);
    _puts(&e->w, "\r\n");
}

static bool _has(const struct edit *e, const char *name)
{
    for (uint32_t i = 0; i < e->m->n_fields; i++) {
        if (_field_is(e, &e->m->fields[i], name))
            return true;
    }
    return false;
}

/* Nobody's word counts but a trusted proxy's, and its lists are continued. */
static void _mark_who(struct edit *e, enum conf_forwarded form, bool trusted)
{
    for (uint32_t i = 0; form && i < e->m->n_fields; i++) {
        struct http1_field *f = &e->m->fields[i];
        f->hop_by_hop |= (!trusted && _tells_who(e, f)) ||
                         ((form & CONF_X_FORWARDED_FOR) && _field_is(e, f, "x-forwarded-for")) ||
                         ((form & CONF_FORWARDED) && _field_is(e, f, "forwarded"));
    }
}

/* RFC 7239, 4 and 6: IPv6 in brackets and quotes. */
static void _forwarded_element(const struct peer *peer, char *out)
{
    char text[PEER_TEXT_MAX];
    bool v6 = peer->known && !peer_is_v4(peer);
    strcpy(out, v6 ? "for=\"[" : "for=");
    strcat(out, peer_text(peer, text));
    strcat(out, v6 ? "]\";proto=http" : ";proto=http");
}

static void _tell_who(struct edit *e, enum conf_forwarded form, const struct peer *peer, bool trusted)
{
    static const char xff[] = "X-Forwarded-For", proto[] = "X-Forwarded-Proto", rfc[] = "Forwarded";
    char text[PEER_TEXT_MAX], element[PEER_TEXT_MAX + 32];
    if ((form & CONF_X_FORWARDED_FOR) && !_drops(e->edits, xff, strlen(xff)))
        _continue_list(e, xff, peer_text(peer, text), trusted);
    /* How the client came to the first proxy is what servers want to know. */
    if ((form & CONF_X_FORWARDED_FOR) && !_drops(e->edits, proto, strlen(proto)) &&
        !(trusted && _has(e, proto)))
        _line(&e->w, proto, "http");
    if ((form & CONF_FORWARDED) && !_drops(e->edits, rfc, strlen(rfc))) {
        _forwarded_element(peer, element);
        _continue_list(e, rfc, element, trusted);
    }
}

/* The request's name ------------------------------------------------------------------- */

static const char _request_id[] = "X-Request-Id";

/* The one name that a trusted proxy gave it; all others go. @return NULL: there is none. */
static const struct http1_field *_given_id(struct edit *e, bool trusted)
{
    const struct http1_field *given = NULL;
    unsigned n = 0;
    for (uint32_t i = 0; i < e->m->n_fields; i++) {
        struct http1_field *f = &e->m->fields[i];
        if (!_field_is(e, f, _request_id))
            continue;
        f->hop_by_hop = true;
        given = f;
        n++;
    }
    if (n != 1 || !trusted || given->value.len > REQUEST_ID_MAX ||
        !conf_is_token(e->head + given->value.off, given->value.len))
        return NULL;
    return given;
}

static void _name_request(struct edit *e, const struct http1_field *given)
{
    char made[REQUEST_ID_LEN];
    if (_drops(e->edits, _request_id, strlen(_request_id)))
        return;
    _puts(&e->w, _request_id);
    _puts(&e->w, ": ");
    if (given) {
        _put(&e->w, e->head + given->value.off, given->value.len);
    } else {
        request_id_make(made);
        _put(&e->w, made, sizeof(made));
    }
    _puts(&e->w, "\r\n");
}

/* Heads -------------------------------------------------------------------------------- */

static size_t _room(const struct conf_field *fields, size_t n)
{
    size_t room = 0;
    for (size_t i = 0; i < n; i++)
        room += strlen(fields[i].name) + strlen(fields[i].value) + strlen(": \r\n");
    return room;
}

size_t head_edit_room(const struct conf_route *route, enum http1_kind kind)
{
    if (!route || !conf_route_edits(route))
        return 0;
    const struct conf_head_edits *e =
        kind == HTTP1_REQUEST ? &route->request_headers : &route->response_headers;
    return _room(e->set, e->n_set) + _room(e->add, e->n_add) + (kind == HTTP1_REQUEST ? OWN_LINES_MAX : 0);
}

size_t head_edit_request(char *out, size_t cap, const char *head, struct http1_message *m,
                         const char *endpoint, const struct conf_route *route, const struct conf_listener *l,
                         const struct peer *peer)
{
    const struct http1_field *id = NULL;
    if (!route || !conf_route_edits(route))
        return head_request(out, cap, head, m, endpoint);
    struct edit e = {.head = head, .m = m, .edits = &route->request_headers};
    bool trusted = peer->known && conf_trusts(l, peer->address);
    _mark_who(&e, route->forwarded, trusted);
    if (route->request_id)
        id = _given_id(&e, trusted);
    _mark_dropped(&e);
    size_t len = head_request(out, cap, head, m, endpoint);
    if (!len)
        return 0;
    _reopen(&e, out, cap, len);
    _tell_who(&e, route->forwarded, peer, trusted);
    if (route->request_id)
        _name_request(&e, id);
    _append(&e);
    return _finish(&e.w, out);
}

size_t head_edit_response(char *out, size_t cap, const char *head, struct http1_message *m, bool close,
                          int framing, const struct conf_route *route)
{
    if (!route || !conf_route_edits(route) || (m->status < 200 && m->status != 101))
        return head_response(out, cap, head, m, close, framing);
    struct edit e = {.head = head, .m = m, .edits = &route->response_headers};
    _mark_dropped(&e);
    size_t len = head_response(out, cap, head, m, close, framing);
    if (!len)
        return 0;
    _reopen(&e, out, cap, len);
    _append(&e);
    return _finish(&e.w, out);
}

bool head_edit_keeps_trailer(const struct conf_route *route, const char *name, size_t len)
{
    return !route || !_drops(&route->response_headers, name, len);
}
