/* What of a request consistent hashing depends on; the programs hash the same (parsers/http1_find.h). */
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "balance.h"
#include "conn.h"
#include "parsers/http1_find.h"
#include "parsers/http1_message.h"

static uint32_t _hash_bytes(const void *data, size_t len)
{
    const unsigned char *bytes = data;
    unsigned long long hash = HTTP1_HASH_BASIS;
    for (size_t i = 0; i < len; i++)
        hash = http1_hash_step(hash, bytes[i]);
    return http1_hash_fold(hash);
}

uint32_t balance_hash_source(struct conn *c)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    const struct in6_addr *six = &((const struct sockaddr_in6 *)&peer)->sin6_addr;
    if (getpeername(c->fd, (struct sockaddr *)&peer, &len))
        return 0;
    if (peer.ss_family == AF_INET)
        return _hash_bytes(&((const struct sockaddr_in *)&peer)->sin_addr, sizeof(struct in_addr));
    if (peer.ss_family != AF_INET6)
        return 0;
    /* The same client on a listener for IPv4. */
    if (IN6_IS_ADDR_V4MAPPED(six))
        return _hash_bytes(&six->s6_addr[12], sizeof(struct in_addr));
    return _hash_bytes(six, sizeof(*six));
}

/* The first field of a name, as the programs look for it. */
static const struct http1_field *_find(const char *head, const struct http1_message *m, const char *name)
{
    size_t len = strlen(name);
    for (uint32_t i = 0; i < m->n_fields; i++) {
        const struct http1_field *f = &m->fields[i];
        if (f->name.len == len && strncasecmp(head + f->name.off, name, len) == 0)
            return f;
    }
    return NULL;
}

/* Where the value of a cookie begins in the value of a Cookie field. @return `len` if it is not there. */
static size_t _find_cookie(const char *value, size_t len, const struct http1_name *name)
{
    unsigned int matched = 0;
    for (size_t i = 0; i < len; i++) {
        matched = http1_cookie_step(name, matched, (unsigned char)value[i]);
        if (matched == name->len)
            return i + 1;
    }
    return len;
}

static void _hash_value(const char *value, size_t len, char stop, struct balance_request *r)
{
    struct http1_find f = {.hash = HTTP1_HASH_BASIS};
    unsigned long long all = HTTP1_HASH_BASIS;
    for (size_t i = 0; i < len && value[i] != stop; i++)
        http1_value_step(&all, &f, (unsigned char)value[i]);
    r->hash = http1_hash_fold(f.hash);
    r->has_hash = f.any;
}

void balance_hash_request(const struct rt_cluster *cluster, struct conn *c, const char *head,
                          const struct http1_message *m, struct balance_request *r)
{
    const struct conf_http_cluster *conf = &cluster->conf->http;
    bool by_cookie = conf->hash_on == CONF_HASH_ON_COOKIE;
    if (conf->hash_on == CONF_HASH_ON_NOTHING)
        return;
    if (conf->hash_on == CONF_HASH_ON_SOURCE) {
        r->hash = balance_hash_source(c);
        r->has_hash = true;
        return;
    }
    const struct http1_field *f = _find(head, m, by_cookie ? "cookie" : conf->hash_name);
    if (!f)
        return;
    const char *value = head + f->value.off;
    struct http1_name cookie;
    size_t at = 0;
    if (by_cookie) {
        http1_name_set(&cookie, conf->hash_name, '=');
        at = _find_cookie(value, f->value.len, &cookie);
    }
    _hash_value(value + at, f->value.len - at, by_cookie ? ';' : '\r', r);
}
