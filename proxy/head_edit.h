/*
 * What a route changes in heads: fields removed, set and added, who asks, and the request's name.
 *
 * A head is written as always (head_request(), head_response()), without the fields that the route
 * takes away; what it adds comes last. Order: forwarding fields and the request's name, then remove,
 * set, add, so that a configuration can change those too.
 */
#pragma once

#include "http.h"
#include "peer.h"

/** Bytes that a route's edits may add to a head of the given kind. */
size_t head_edit_room(const struct conf_route *route, enum http1_kind kind);

/** Writes the request head as it goes upstream.
 *
 * @param out, cap  As for head_request(), which needs head_edit_room() bytes less.
 * @param m         Fields that do not go upstream are marked.
 * @param route     NULL: no edits.
 * @param l         The listener, which knows the proxies it trusts.
 * @param peer      Of the connection the request came on.
 * @return Length, or 0 if it does not fit.
 */
size_t head_edit_request(char *out, size_t cap, const char *head, struct http1_message *m,
                         const char *endpoint, const struct conf_route *route, const struct conf_listener *l,
                         const struct peer *peer);

/** Writes the response head as it goes downstream: a final one, or a 101. Other interim responses are
 * not edited. Parameters as for head_response(), and as above. */
size_t head_edit_response(char *out, size_t cap, const char *head, struct http1_message *m, bool close,
                          int framing, const struct conf_route *route);

/** Whether a response's trailer with this name goes on: removed is removed wherever it stands. */
bool head_edit_keeps_trailer(const struct conf_route *route, const char *name, size_t len);
