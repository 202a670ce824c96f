#include "conf/host.h"

#include <arpa/inet.h>
#include <stdbool.h>
#include <string.h>

#define HOST_MAX  255
#define LABEL_MAX 63

#define EXPECTED "expected a host name, an IPv4 address or an [IPv6] address"

static void _lower(char *s)
{
    for (; *s; ++s) {
        if (*s >= 'A' && *s <= 'Z')
            *s = (char)(*s - 'A' + 'a');
    }
}

/** Clients write the canonical form (RFC 5952); another spelling would never match. */
static const char *_check_v6(const char *host, size_t len)
{
    char text[INET6_ADDRSTRLEN];
    char canonical[INET6_ADDRSTRLEN];
    struct in6_addr addr;

    if (len - 2 >= sizeof(text))
        return "not an IPv6 address in the brackets, " EXPECTED;
    memcpy(text, host + 1, len - 2);
    text[len - 2] = '\0';

    if (inet_pton(AF_INET6, text, &addr) != 1)
        return "not an IPv6 address in the brackets, " EXPECTED;
    if (strcmp(inet_ntop(AF_INET6, &addr, canonical, sizeof(canonical)), text))
        return "not the short form of that IPv6 address, expected it as in RFC 5952, such as [2001:db8::1]";

    return NULL;
}

static bool _is_label(const char *label, size_t len)
{
    return len && len <= LABEL_MAX && label[0] != '-' && label[len - 1] != '-';
}

/** A name whose last label is a number is an IPv4 address or nothing. */
static const char *_check_name(const char *host)
{
    const char *label = host;
    struct in_addr addr;

    for (;;) {
        size_t len = strcspn(label, ".");

        if (!_is_label(label, len))
            return "a part between dots is empty, too long, or has a hyphen at its end, " EXPECTED;
        if (!label[len])
            break;
        label += len + 1;
    }
    if (strspn(label, "0123456789") == strlen(label) && inet_pton(AF_INET, host, &addr) != 1)
        return "not an IPv4 address, " EXPECTED;

    return NULL;
}

const char *conf_host_normalize(char *host)
{
    size_t len = strlen(host);

    _lower(host);
    if (!len)
        return "empty, " EXPECTED " (or no host at all, for any)";
    if (len > HOST_MAX)
        return "longer than 255 bytes, " EXPECTED;
    if (host[0] == '[' && host[len - 1] == ']')
        return _check_v6(host, len);
    if (strchr(host, '*'))
        return "wildcards are not supported, " EXPECTED;
    if (strchr(host, ':'))
        return "a port, or an IPv6 address without brackets, " EXPECTED " without a port";
    if (strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != len)
        return "a character that no host name has, " EXPECTED;

    return _check_name(host);
}
