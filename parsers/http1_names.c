/*
 * What a field name means to a proxy. Lookups switch on length and first letter, so an
 * ordinary name costs one comparison at most.
 */
#include <string.h>

#include "http1_internal.h"

/** Longest name in the sets below. */
#define NAME_MAX_LEN 32

bool http1_name_is(const char *name, size_t len, const char *lower, size_t lower_len)
{
    if (len != lower_len)
        return false;
    /* Of the tchars only the capital letters turn into small letters, and none into `-`. */
    for (size_t i = 0; i < len; i++) {
        if ((name[i] | 0x20) != lower[i])
            return false;
    }
    return true;
}

#define IS(literal) HTTP1_NAME_IS(name, len, literal)
#define STARTS(literal)                                                                                      \
    (len > sizeof(literal) - 1 && http1_name_is(name, sizeof(literal) - 1, literal, sizeof(literal) - 1))

uint8_t http1_field_id(const char *name, size_t len)
{
    char first = (char)(name[0] | 0x20);
    switch (len) {
    case 2:
        return IS("te") ? HTTP1_FIELD_TE : HTTP1_FIELD_OTHER;
    case 4:
        if (first == 'h' && IS("host"))
            return HTTP1_FIELD_HOST;
        return first == 'd' && IS("date") ? HTTP1_FIELD_DATE : HTTP1_FIELD_OTHER;
    case 6:
        return first == 'e' && IS("expect") ? HTTP1_FIELD_EXPECT : HTTP1_FIELD_OTHER;
    case 7:
        if (first == 't' && IS("trailer"))
            return HTTP1_FIELD_TRAILER;
        return first == 'u' && IS("upgrade") ? HTTP1_FIELD_UPGRADE : HTTP1_FIELD_OTHER;
    case 10:
        if (first == 'c' && IS("connection"))
            return HTTP1_FIELD_CONNECTION;
        return first == 'k' && IS("keep-alive") ? HTTP1_FIELD_KEEP_ALIVE : HTTP1_FIELD_OTHER;
    case 12:
        return first == 'm' && IS("max-forwards") ? HTTP1_FIELD_MAX_FORWARDS : HTTP1_FIELD_OTHER;
    case 14:
        if (first == 'c' && IS("content-length"))
            return HTTP1_FIELD_CONTENT_LENGTH;
        return first == 'h' && IS("http2-settings") ? HTTP1_FIELD_HTTP2_SETTINGS : HTTP1_FIELD_OTHER;
    case 16:
        return first == 'p' && IS("proxy-connection") ? HTTP1_FIELD_PROXY_CONNECTION : HTTP1_FIELD_OTHER;
    case 17:
        return first == 't' && IS("transfer-encoding") ? HTTP1_FIELD_TRANSFER_ENCODING : HTTP1_FIELD_OTHER;
    default:
        return HTTP1_FIELD_OTHER;
    }
}

/* Fields by which proxies tell who asks, on which behalf, and where. */
static bool _is_forwarding(const char *name, size_t len)
{
    switch (name[0] | 0x20) {
    case 'f':
        return IS("forwarded");
    case 'v':
        return IS("via");
    case 'c':
        return IS("cdn-loop");
    case 'x':
        return STARTS("x-forwarded-") || IS("x-real-ip") || IS("x-request-id") || IS("x-original-url") ||
               IS("x-rewrite-url") || IS("x-client-ip");
    case 't':
        return IS("true-client-ip");
    default:
        return false;
    }
}

bool http1_is_disguised(const char *name, size_t len)
{
    if (len == 0)
        return false;
    char plain[NAME_MAX_LEN] = {0};
    size_t n = len < sizeof(plain) ? len : sizeof(plain);
    for (size_t i = 0; i < n; i++)
        plain[i] = name[i] == '_' ? '-' : name[i];
    if (_is_forwarding(plain, n))
        return true;
    if (n != len)
        return false;
    uint8_t id = http1_field_id(plain, n);
    return id != HTTP1_FIELD_OTHER || http1_name_is(plain, n, "proxy-authorization", 19);
}

bool http1_is_protected(const char *name, size_t len)
{
    switch (http1_field_id(name, len)) {
    case HTTP1_FIELD_HOST:
    case HTTP1_FIELD_CONTENT_LENGTH:
    case HTTP1_FIELD_TRANSFER_ENCODING:
    case HTTP1_FIELD_EXPECT:
    case HTTP1_FIELD_DATE:
    case HTTP1_FIELD_MAX_FORWARDS:
        return true;
    default:
        break;
    }
    if (_is_forwarding(name, len))
        return true;
    switch (name[0] | 0x20) {
    case 'a':
        return IS("authorization");
    case 'c':
        return IS("cache-control") || IS("cookie") || STARTS("content-");
    case 'r':
        return IS("range");
    case 's':
        return IS("set-cookie");
    case 'w':
        return IS("www-authenticate");
    default:
        return false;
    }
}

bool http1_trailer_allowed(const char *name, size_t len)
{
    if (len == 0 || memchr(name, '_', len) || http1_is_protected(name, len))
        return false;
    if (http1_field_id(name, len) != HTTP1_FIELD_OTHER)
        return false;
    switch (name[0] | 0x20) {
    case 'a':
        return !IS("age") && !IS("authentication-info");
    case 'e':
        return !IS("expires");
    case 'i':
        return !STARTS("if-");
    case 'l':
        return !IS("location");
    case 'p':
        return !STARTS("proxy-") && !IS("pragma");
    case 'r':
        return !IS("retry-after");
    case 'v':
        return !IS("vary");
    case 'w':
        return !IS("warning");
    default:
        return true;
    }
}
