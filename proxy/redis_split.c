/* Commands for several shards: a part for each, sent at once, and one reply made of theirs. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis.h"
#include "redis_text.h"
#include "worker.h"

struct redis_group {
    struct redis_request *request; /**< In the client's queue; NULL: the client has left. */
    struct worker *worker;
    enum redis_policy policy;
    uint32_t n_parts;
    uint32_t left;     /**< Parts without a complete reply. */
    uint32_t n_keys;   /**< REDIS_SPLIT_MGET */
    uint16_t *part_of; /**< By key. */
    struct redis_request *parts[];
};

static void _add_header(struct redis_text *t, char type, uint64_t n)
{
    redis_text_addf(t, "%c%" PRIu64 "\r\n", type, n);
}

static void _add_arg_of(struct redis_text *t, const struct redis_call *call, uint32_t i)
{
    size_t len;
    const char *arg = redis_arg(call, i, &len);
    redis_text_bulk(t, arg, len);
}

/* Groups ------------------------------------------------------------------------------ */

static struct redis_group *_new_group(const struct redis_call *call, uint32_t n_parts)
{
    struct redis_group *g = calloc(1, sizeof(*g) + n_parts * sizeof(g->parts[0]));
    if (!g)
        abort();
    g->worker = call->client->c.worker;
    g->policy = call->command->policy;
    g->n_parts = n_parts;
    g->left = n_parts;
    g->request = redis_request_new(call->client, call->command);
    g->request->group = g;
    for (uint32_t i = 0; i < n_parts; i++) {
        g->parts[i] = redis_request_new_part(g->worker, call->client, call->command);
        g->parts[i]->group = g;
        g->parts[i]->muted = false;
    }
    return g;
}

static void _free_group(struct redis_group *g)
{
    for (uint32_t i = 0; i < g->n_parts; i++)
        redis_request_free(g->worker, g->parts[i]);
    free(g->part_of);
    free(g);
}

void redis_group_abandon(struct redis_group *g)
{
    g->request->group = NULL;
    g->request = NULL;
    for (uint32_t i = 0; i < g->n_parts; i++) {
        redis_request_set(g->parts[i], "", 0);
        g->parts[i]->client = NULL; /* Those that are still to come go with the last of them. */
    }
    if (!g->left)
        _free_group(g);
}

/* Sends a part, or fails it if its shard can not be used. */
static void _send_part(const struct redis_call *call, struct redis_request *part, struct redis_upstream *u,
                       const char *why, const struct redis_text *t)
{
    if (u)
        redis_upstream_send(u, part, t->data, t->len);
    else
        redis_request_fail(call->client->c.worker, part, why);
}

/* Merging ----------------------------------------------------------------------------- */

static const struct redis_request *_first_error(const struct redis_group *g)
{
    for (uint32_t i = 0; i < g->n_parts; i++) {
        if (g->parts[i]->reply[0] == '-')
            return g->parts[i];
    }
    return NULL;
}

static void _put(struct redis_group *g, const char *data, size_t len)
{
    redis_request_bytes(g->request, data, len);
}

static void _put_header(struct redis_group *g, char type, int64_t n)
{
    char line[32];
    _put(g, line, (size_t)snprintf(line, sizeof(line), "%c%" PRId64 "\r\n", type, n));
}

/* Length of the reply's header line, whose value is `*value`; 0 if it is not of that type. */
static size_t _header(const struct redis_request *part, char type, int64_t *value)
{
    char found;
    int n = resp_header(part->reply, part->reply_len, &found, value);
    return n > 0 && found == type ? (size_t)n : 0;
}

static void _unexpected(struct redis_group *g)
{
    static const char text[] = "-ERR a shard's reply has an unexpected type\r\n";
    _put(g, text, sizeof(text) - 1);
}

static void _merge_sum(struct redis_group *g)
{
    int64_t sum = 0, n;
    for (uint32_t i = 0; i < g->n_parts; i++) {
        if (!_header(g->parts[i], ':', &n)) {
            _unexpected(g);
            return;
        }
        sum += n;
    }
    _put_header(g, ':', sum);
}

/* Where the elements of each part's reply begin; an error stands for each of its elements. */
static void _merge_mget(struct redis_group *g)
{
    int64_t n;
    size_t *at = calloc(g->n_parts, sizeof(*at));
    if (!at)
        abort();
    for (uint32_t i = 0; i < g->n_parts; i++)
        at[i] = _header(g->parts[i], '*', &n);
    _put_header(g, '*', g->n_keys);
    for (uint32_t k = 0; k < g->n_keys; k++) {
        const struct redis_request *p = g->parts[g->part_of[k]];
        size_t *from = &at[g->part_of[k]];
        struct resp_reply element = {0};
        size_t used = 0;
        if (p->reply[0] == '-') {
            _put(g, p->reply, p->reply_len);
        } else if (!*from ||
                   resp_reply_feed(&element, p->reply + *from, p->reply_len - *from, &used) != RESP_DONE) {
            _unexpected(g);
        } else {
            _put(g, p->reply + *from, used);
            *from += used;
        }
    }
    free(at);
}

static void _merge_concat(struct redis_group *g)
{
    int64_t sum = 0, n;
    for (uint32_t i = 0; i < g->n_parts; i++) {
        if (!_header(g->parts[i], '*', &n) || n < 0) {
            _unexpected(g);
            return;
        }
        sum += n;
    }
    _put_header(g, '*', sum);
    for (uint32_t i = 0; i < g->n_parts; i++) {
        size_t header = _header(g->parts[i], '*', &n);
        _put(g, g->parts[i]->reply + header, g->parts[i]->reply_len - header);
    }
}

/* Arrays of 0 and 1 of the same length: 1 where all have 1. */
static void _merge_and(struct redis_group *g)
{
    int64_t n = 0, value;
    char type;
    size_t header = _header(g->parts[0], '*', &n);
    struct redis_text out = {0};
    bool ok = header && n >= 0;
    if (ok)
        _add_header(&out, '*', (uint64_t)n);
    for (int64_t k = 0; ok && k < n; k++) {
        int64_t least = 1;
        /* All elements are ":0" or ":1": they stand at the same place in every reply. */
        size_t at = header + (size_t)k * 4;
        for (uint32_t i = 0; ok && i < g->n_parts; i++) {
            const struct redis_request *p = g->parts[i];
            ok = at < p->reply_len && resp_header(p->reply + at, p->reply_len - at, &type, &value) == 4 &&
                 type == ':';
            if (ok && value < least)
                least = value;
        }
        _add_header(&out, ':', (uint64_t)least);
    }
    if (ok)
        _put(g, out.data, out.len);
    else
        _unexpected(g);
    free(out.data);
}

static void _merge(struct redis_group *g)
{
    const struct redis_request *error = g->policy == REDIS_SPLIT_MGET ? NULL : _first_error(g);
    if (error)
        _put(g, error->reply, error->reply_len);
    else if (g->policy == REDIS_SPLIT_MGET)
        _merge_mget(g);
    else if (g->policy == REDIS_SPLIT_SUM || g->policy == REDIS_ALL_SUM)
        _merge_sum(g);
    else if (g->policy == REDIS_ALL_CONCAT)
        _merge_concat(g);
    else if (g->policy == REDIS_ALL_AND)
        _merge_and(g);
    else
        _put(g, g->parts[0]->reply, g->parts[0]->reply_len);
}

void redis_group_part_done(struct redis_request *part)
{
    struct redis_group *g = part->group;
    if (--g->left)
        return;
    struct redis_request *r = g->request;
    struct worker *w = g->worker;
    if (r) {
        _merge(g);
        r->group = NULL;
    }
    _free_group(g);
    if (r)
        redis_request_done(w, r);
}

/* Splitting by key -------------------------------------------------------------------- */

/** How the arguments are spread. */
struct spread {
    uint32_t stride; /**< Arguments per key: 1, or 2 with a value. */
    uint32_t n_keys;
    uint32_t n_parts;
    uint16_t *part_of;                                         /**< By key. */
    const struct rt_endpoint *endpoint[RUNTIME_ENDPOINTS_MAX]; /**< By part. */
};

static void _spread(const struct redis_call *call, struct spread *s)
{
    uint16_t part_of_endpoint[RUNTIME_ENDPOINTS_MAX];
    struct rt_cluster *cluster = redis_cluster(call->client);
    memset(part_of_endpoint, 0xff, sizeof(part_of_endpoint));
    s->stride = call->command->policy == REDIS_SPLIT_MSET ? 2 : 1;
    s->n_keys = (call->in->argc - 1) / s->stride;
    s->n_parts = 0;
    s->part_of = malloc(s->n_keys * sizeof(*s->part_of));
    if (!s->part_of)
        abort();
    for (uint32_t k = 0; k < s->n_keys; k++) {
        size_t len;
        const char *key = redis_arg(call, 1 + k * s->stride, &len);
        const struct rt_endpoint *e =
            redis_place_endpoint(call->client, redis_ring_place(cluster->ring, key, len));
        if (part_of_endpoint[e->id] == UINT16_MAX) {
            part_of_endpoint[e->id] = (uint16_t)s->n_parts;
            s->endpoint[s->n_parts++] = e;
        }
        s->part_of[k] = part_of_endpoint[e->id];
    }
}

static void _part_text(const struct redis_call *call, const struct spread *s, uint32_t part,
                       struct redis_text *t)
{
    uint32_t n = 0;
    for (uint32_t k = 0; k < s->n_keys; k++)
        n += s->part_of[k] == part;
    t->len = 0;
    _add_header(t, '*', 1 + (uint64_t)n * s->stride);
    _add_arg_of(t, call, 0);
    for (uint32_t k = 0; k < s->n_keys; k++) {
        for (uint32_t i = 0; s->part_of[k] == part && i < s->stride; i++)
            _add_arg_of(t, call, 1 + k * s->stride + i);
    }
}

/* Whether all shards take a command now. Those that can not be used do not matter. */
static bool _all_take(const struct redis_call *call, const struct rt_endpoint *const *endpoints, uint32_t n)
{
    struct redis_client *cl = call->client;
    const char *why;
    for (uint32_t i = 0; i < n; i++) {
        struct redis_upstream *u = redis_shard_shared(redis_shard_get(cl, endpoints[i]), cl, &why);
        if (u && !redis_upstream_takes(u, cl))
            return false;
    }
    return true;
}

static struct redis_upstream *_shared(const struct redis_call *call, const struct rt_endpoint *e, char *why,
                                      size_t len)
{
    const char *text = "";
    struct redis_upstream *u = redis_shard_shared(redis_shard_get(call->client, e), call->client, &text);
    if (!u)
        snprintf(why, len, "shard %s: %s", runtime_endpoint_name(e->id), text);
    return u;
}

static void _send_parts(const struct redis_call *call, struct spread *s)
{
    struct redis_client *cl = call->client;
    struct redis_group *g = _new_group(call, s->n_parts);
    struct redis_text t = {0};
    char why[200];
    g->n_keys = s->n_keys;
    g->part_of = s->part_of;
    cl->spread = true;
    for (uint32_t i = 0; i < s->n_parts; i++) {
        _part_text(call, s, i, &t);
        struct redis_upstream *u = _shared(call, s->endpoint[i], why, sizeof(why));
        _send_part(call, g->parts[i], u, why, &t); /* The last one may end the group. */
    }
    free(t.data);
}

enum redis_taken redis_split(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    struct spread s;
    if (call->command->policy == REDIS_SPLIT_MSET && call->in->argc % 2 == 0) {
        redis_client_error(cl, "ERR wrong number of arguments for '%s' command", call->command->name);
        return REDIS_TAKEN;
    }
    _spread(call, &s);
    enum redis_taken taken = REDIS_TAKEN;
    if (s.n_parts == 1) {
        taken = redis_forward(call, s.endpoint[0]);
    } else if (!_all_take(call, s.endpoint, s.n_parts)) {
        taken = REDIS_WAIT;
    } else {
        _send_parts(call, &s);
        return REDIS_TAKEN; /* The group has the list of parts now. */
    }
    free(s.part_of);
    return taken;
}

/* To all shards ----------------------------------------------------------------------- */

static uint32_t _all_endpoints(const struct rt_cluster *cluster, const struct rt_endpoint **out)
{
    uint32_t n = 0;
    for (size_t i = 0; i < cluster->conf->n_endpoints; i++) {
        bool seen = false;
        for (uint32_t j = 0; j < n && !seen; j++)
            seen = out[j]->id == cluster->endpoints[i].id;
        if (!seen)
            out[n++] = &cluster->endpoints[i];
    }
    return n;
}

enum redis_taken redis_all(const struct redis_call *call)
{
    const struct rt_endpoint *endpoints[RUNTIME_ENDPOINTS_MAX];
    uint32_t n = _all_endpoints(redis_cluster(call->client), endpoints);
    char why[200];
    if (n == 1)
        return redis_forward(call, endpoints[0]);
    if (!_all_take(call, endpoints, n))
        return REDIS_WAIT;
    struct redis_text t = {.data = (char *)call->in->text, .len = call->in->text_len};
    struct redis_group *g = _new_group(call, n);
    call->client->spread = true;
    for (uint32_t i = 0; i < n; i++) {
        struct redis_upstream *u = _shared(call, endpoints[i], why, sizeof(why));
        _send_part(call, g->parts[i], u, why, &t);
    }
    return REDIS_TAKEN;
}

/* SCAN: the cursor says which shard is at work: its own cursor times the number of shards, plus its
 * number. */

/* `r->tag`: number of shards and, in the upper half, the shard's. */
static void _scan_done(struct redis_request *r)
{
    int64_t n;
    uint64_t inner = 0, shards = r->tag & UINT32_MAX, shard = r->tag >> 32, next;
    char cursor[32], type;
    int a = resp_header(r->reply, r->reply_len, &type, &n);
    if (r->failed || a <= 0 || type != '*' || n != 2)
        return; /* An error: as it is. */
    int b = resp_header(r->reply + a, r->reply_len - (size_t)a, &type, &n);
    if (b <= 0 || type != '$' || n < 1 || n > 20)
        return;
    const char *digits = r->reply + a + b;
    for (int64_t i = 0; i < n; i++)
        inner = inner * 10 + (uint64_t)(digits[i] - '0');
    if (inner)
        next = inner * shards + shard;
    else
        next = shard + 1 < shards ? shard + 1 : 0;
    if (inner > (UINT64_MAX - shard) / shards) {
        static const char text[] = "-ERR the shard's cursor is too large\r\n";
        redis_request_set(r, text, sizeof(text) - 1);
        return;
    }
    snprintf(cursor, sizeof(cursor), "%" PRIu64, next);
    struct redis_text t = {0};
    _add_header(&t, '*', 2);
    redis_text_bulk(&t, cursor, strlen(cursor));
    redis_text_add(&t, digits + n + 2, r->reply_len - (size_t)(digits + n + 2 - r->reply));
    redis_request_set(r, t.data, t.len);
    free(t.data);
}

static bool _cursor(const char *text, size_t len, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < len; i++) {
        uint64_t digit = (uint64_t)(text[i] - '0');
        if (text[i] < '0' || text[i] > '9' || *out > (UINT64_MAX - digit) / 10)
            return false;
        *out = *out * 10 + digit;
    }
    return len > 0;
}

enum redis_taken redis_scan(const struct redis_call *call)
{
    const struct rt_endpoint *endpoints[RUNTIME_ENDPOINTS_MAX];
    struct redis_client *cl = call->client;
    uint32_t n = _all_endpoints(redis_cluster(cl), endpoints);
    uint64_t cursor;
    size_t len;
    char inner[32];
    const char *why, *arg = redis_arg(call, 1, &len);
    if (!_cursor(arg, len, &cursor)) {
        redis_client_error(cl, "ERR invalid cursor");
        return REDIS_TAKEN;
    }
    const struct rt_endpoint *e = endpoints[cursor % n];
    struct redis_upstream *u = redis_shard_shared(redis_shard_get(cl, e), cl, &why);
    if (!u) {
        redis_unavailable(call, e, why);
        return REDIS_TAKEN;
    }
    if (!redis_upstream_takes(u, cl))
        return REDIS_WAIT;
    struct redis_text t = {0};
    snprintf(inner, sizeof(inner), "%" PRIu64, cursor / n);
    _add_header(&t, '*', call->in->argc);
    _add_arg_of(&t, call, 0);
    redis_text_bulk(&t, inner, strlen(inner));
    for (uint32_t i = 2; i < call->in->argc; i++)
        _add_arg_of(&t, call, i);
    cl->spread = true;
    struct redis_request *r = redis_request_new(cl, call->command);
    r->collect = true;
    r->complete = _scan_done;
    r->tag = (cursor % n) << 32 | n;
    redis_upstream_send(u, r, t.data, t.len);
    free(t.data);
    return REDIS_TAKEN;
}
