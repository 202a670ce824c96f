#include "conf/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPECTED "expected IPv4:port, [IPv6]:port or localhost:port"

static const struct sockaddr_in *_in(const struct conf_address *a)
{
    return (const struct sockaddr_in *)&a->sa;
}

static const struct sockaddr_in6 *_in6(const struct conf_address *a)
{
    return (const struct sockaddr_in6 *)&a->sa;
}

/** 1 to 65535, in decimal without sign or leading zero; 0 if it is not. */
static uint16_t _parse_port(const char *text)
{
    size_t len = strlen(text);
    unsigned long port;

    if (!len || len > 5 || strspn(text, "0123456789") != len || text[0] == '0')
        return 0;
    port = strtoul(text, NULL, 10);

    return port <= UINT16_MAX ? (uint16_t)port : 0;
}

static const char *_parse_v4(const char *host, uint16_t port, struct conf_address *out)
{
    struct sockaddr_in *sin = (struct sockaddr_in *)&out->sa;

    if (!strcmp(host, "localhost"))
        host = "127.0.0.1";
    if (inet_pton(AF_INET, host, &sin->sin_addr) != 1)
        return "the host is not numeric, " EXPECTED;
    sin->sin_family = AF_INET;
    sin->sin_port = htons(port);
    out->len = sizeof(*sin);

    return NULL;
}

static const char *_parse_v6(const char *host, uint16_t port, struct conf_address *out)
{
    struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&out->sa;

    if (inet_pton(AF_INET6, host, &sin6->sin6_addr) != 1)
        return "not an IPv6 address in the brackets, " EXPECTED;
    if (IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr))
        return "an IPv4 address inside an IPv6 one, expected the IPv4 address itself";
    sin6->sin6_family = AF_INET6;
    sin6->sin6_port = htons(port);
    out->len = sizeof(*sin6);

    return NULL;
}

const char *conf_address_parse(const char *text, struct conf_address *address)
{
    struct conf_address out = {};
    const char *colon = strrchr(text, ':');
    size_t host_len = colon ? (size_t)(colon - text) : 0;
    char host[sizeof(out.text)];
    const char *problem;
    uint16_t port;

    if (strlen(text) >= sizeof(out.text))
        return "too long for an address, " EXPECTED;
    if (!colon || text[strlen(text) - 1] == ']')
        return "no port, " EXPECTED;
    if (!host_len)
        return "no host, " EXPECTED;
    port = _parse_port(colon + 1);
    if (!port)
        return "not a port, expected a port from 1 to 65535 after the last colon";

    memcpy(host, text, host_len);
    host[host_len] = '\0';
    if (host[0] == '[' && host[host_len - 1] == ']') {
        host[host_len - 1] = '\0';
        problem = _parse_v6(host + 1, port, &out);
    } else if (strchr(host, ':')) {
        problem = "an IPv6 address without brackets, " EXPECTED;
    } else {
        problem = _parse_v4(host, port, &out);
    }
    if (problem)
        return problem;

    strcpy(out.text, text);
    *address = out;

    return NULL;
}

const char *conf_address_format(const struct conf_address *address, char *buf, size_t len)
{
    char host[INET6_ADDRSTRLEN] = "";

    if (address->sa.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &_in6(address)->sin6_addr, host, sizeof(host));
        snprintf(buf, len, "[%s]:%u", host, conf_address_port(address));
    } else {
        inet_ntop(AF_INET, &_in(address)->sin_addr, host, sizeof(host));
        snprintf(buf, len, "%s:%u", host, conf_address_port(address));
    }

    return buf;
}

uint16_t conf_address_port(const struct conf_address *address)
{
    return ntohs(address->sa.ss_family == AF_INET6 ? _in6(address)->sin6_port : _in(address)->sin_port);
}

bool conf_address_is_any(const struct conf_address *address)
{
    if (address->sa.ss_family == AF_INET6)
        return IN6_IS_ADDR_UNSPECIFIED(&_in6(address)->sin6_addr);

    return _in(address)->sin_addr.s_addr == htonl(INADDR_ANY);
}

static bool _is_loopback(const struct conf_address *address)
{
    if (address->sa.ss_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&_in6(address)->sin6_addr);

    return ntohl(_in(address)->sin_addr.s_addr) >> IN_CLASSA_NSHIFT == IN_LOOPBACKNET;
}

static bool _same_family_and_port(const struct conf_address *a, const struct conf_address *b)
{
    return a->sa.ss_family == b->sa.ss_family && conf_address_port(a) == conf_address_port(b);
}

static bool _same_host(const struct conf_address *a, const struct conf_address *b)
{
    if (a->sa.ss_family == AF_INET6)
        return IN6_ARE_ADDR_EQUAL(&_in6(a)->sin6_addr, &_in6(b)->sin6_addr);

    return _in(a)->sin_addr.s_addr == _in(b)->sin_addr.s_addr;
}

bool conf_address_overlaps(const struct conf_address *a, const struct conf_address *b)
{
    return _same_family_and_port(a, b) &&
           (_same_host(a, b) || conf_address_is_any(a) || conf_address_is_any(b));
}

bool conf_address_reaches(const struct conf_address *to, const struct conf_address *listener)
{
    return _same_family_and_port(to, listener) &&
           (_same_host(to, listener) || (conf_address_is_any(listener) && _is_loopback(to)));
}
