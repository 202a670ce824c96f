/*
 * Networks: an address and the length of its prefix. IPv4 is kept mapped into IPv6, so that there is
 * one comparison, also for clients of a listener that takes both.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "conf/resolve.h"

#define MAPPED_BITS 96

#define EXPECTED "expected an address or a network such as 10.0.0.0/8 or 2001:db8::/32"

static const uint8_t _mapped[MAPPED_BITS / 8] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static bool _is_v4(const uint8_t *address)
{
    return !memcmp(address, _mapped, sizeof(_mapped));
}

static bool _parse_address(const char *text, struct conf_network *out)
{
    struct in6_addr v6;
    struct in_addr v4;

    if (inet_pton(AF_INET, text, &v4) == 1) {
        memcpy(out->address, _mapped, sizeof(_mapped));
        memcpy(out->address + sizeof(_mapped), &v4, sizeof(v4));
        out->bits = 32;
        return true;
    }
    if (inet_pton(AF_INET6, text, &v6) != 1)
        return false;
    memcpy(out->address, &v6, 16);
    out->bits = 128;

    return true;
}

/** Decimal without a leading zero, at most `max`. */
static bool _parse_bits(const char *text, unsigned max, unsigned *out)
{
    size_t len = strlen(text);

    if (!len || len > 3 || strspn(text, "0123456789") != len || (text[0] == '0' && len > 1))
        return false;
    *out = (unsigned)strtoul(text, NULL, 10);

    return *out <= max;
}

static bool _is_zero_from(const uint8_t *address, unsigned bit)
{
    for (; bit < 128; ++bit) {
        if (address[bit / 8] & (0x80 >> bit % 8))
            return false;
    }

    return true;
}

/** @return NULL, or what is wrong and what is expected. */
static const char *_parse(const char *text, struct conf_network *out)
{
    size_t len = strcspn(text, "/");
    char host[INET6_ADDRSTRLEN];
    bool v4;

    if (len >= sizeof(host))
        return "too long for an address, " EXPECTED;
    memcpy(host, text, len);
    host[len] = '\0';
    if (!_parse_address(host, out))
        return "not an address, " EXPECTED;
    v4 = out->bits == 32;
    if (!v4 && _is_v4(out->address))
        return "an IPv4 address inside an IPv6 one, expected the IPv4 address itself";
    if (text[len] && !_parse_bits(text + len + 1, out->bits, &out->bits))
        return v4 ? "not the length of a prefix, expected 0 to 32 after the slash"
                  : "not the length of a prefix, expected 0 to 128 after the slash";
    out->bits += v4 ? MAPPED_BITS : 0;
    if (!_is_zero_from(out->address, out->bits))
        return "bits behind the prefix are set, expected the first address of the network";

    return NULL;
}

int conf_resolve_networks(struct conf_build *b, size_t index)
{
    const struct raw_listener *raw = &b->raw->listeners[index];
    struct conf_listener *out = &b->conf->listeners[index];

    if (!raw->trusted_proxies_count)
        return 0;
    out->trusted_proxies = calloc(raw->trusted_proxies_count, sizeof(*out->trusted_proxies));
    if (!out->trusted_proxies)
        return -ENOMEM;
    out->n_trusted_proxies = raw->trusted_proxies_count;
    for (size_t i = 0; i < out->n_trusted_proxies; ++i) {
        const char *problem = _parse(raw->trusted_proxies[i], &out->trusted_proxies[i]);

        if (problem)
            conf_error(b->errors, conf_path("listeners[%zu].trusted_proxies[%zu]", index, i).text, "%s: %s",
                       conf_quote(raw->trusted_proxies[i]).text, problem);
    }

    return 0;
}

/** `::/0` is every IPv6 address, and no IPv4 address. */
static bool _has(const struct conf_network *network, const uint8_t *address)
{
    unsigned whole = network->bits / 8, rest = network->bits % 8;
    uint8_t mask = (uint8_t)(0xff00 >> rest);

    return _is_v4(network->address) == _is_v4(address) && !memcmp(network->address, address, whole) &&
           (!rest || !((network->address[whole] ^ address[whole]) & mask));
}

bool conf_trusts(const struct conf_listener *listener, const uint8_t *address)
{
    for (size_t i = 0; i < listener->n_trusted_proxies; ++i) {
        if (_has(&listener->trusted_proxies[i], address))
            return true;
    }

    return false;
}
