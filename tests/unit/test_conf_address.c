#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <string.h>

#include "conf/address.h"
#include "conf/host.h"

static struct conf_address _address(const char *text)
{
    struct conf_address a = {};
    const char *problem = conf_address_parse(text, &a);

    if (problem)
        fail_msg("%s: %s", text, problem);

    return a;
}

static void _parses(void **state)
{
    static const struct {
        const char *text;
        const char *formatted;
        int family;
        uint16_t port;
    } rows[] = {
        {"127.0.0.1:8080", "127.0.0.1:8080", AF_INET, 8080},
        {"0.0.0.0:1", "0.0.0.0:1", AF_INET, 1},
        {"255.255.255.255:65535", "255.255.255.255:65535", AF_INET, 65535},
        {"localhost:80", "127.0.0.1:80", AF_INET, 80},
        {"[::1]:80", "[::1]:80", AF_INET6, 80},
        {"[::]:443", "[::]:443", AF_INET6, 443},
        {"[2001:0DB8:0:0::1]:443", "[2001:db8::1]:443", AF_INET6, 443},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255]:65535",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535", AF_INET6, 65535},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); ++i) {
        struct conf_address a = _address(rows[i].text);
        char buf[64];

        assert_string_equal(a.text, rows[i].text);
        assert_int_equal(a.sa.ss_family, rows[i].family);
        assert_int_equal(a.len, rows[i].family == AF_INET ? sizeof(struct sockaddr_in)
                                                          : sizeof(struct sockaddr_in6));
        assert_int_equal(conf_address_port(&a), rows[i].port);
        assert_string_equal(conf_address_format(&a, buf, sizeof(buf)), rows[i].formatted);
    }
}

static void _refuses(void **state)
{
    static const struct {
        const char *text;
        const char *problem; /* How it begins. */
    } rows[] = {
        {"", "no port"},
        {"127.0.0.1", "no port"},
        {"8080", "no port"},
        {"[::1]", "no port"},
        {":8080", "no host"},
        {"127.0.0.1:", "not a port"},
        {"127.0.0.1:0", "not a port"},
        {"127.0.0.1:65536", "not a port"},
        {"127.0.0.1:99999999999999999999", "not a port"},
        {"127.0.0.1:080", "not a port"},
        {"127.0.0.1:-1", "not a port"},
        {"127.0.0.1:+80", "not a port"},
        {"127.0.0.1: 80", "not a port"},
        {"127.0.0.1:80 ", "not a port"},
        {"127.0.0.1:http", "not a port"},
        {" 127.0.0.1:80", "the host is not numeric"},
        {"127.0.0.1.1:80", "the host is not numeric"},
        {"127.1:80", "the host is not numeric"},
        {"0177.0.0.1:80", "the host is not numeric"},
        {"256.0.0.1:80", "the host is not numeric"},
        {"example.com:80", "the host is not numeric"},
        {"LOCALHOST:80", "the host is not numeric"},
        {"*:80", "the host is not numeric"},
        {"[::1:80", "an IPv6 address without brackets"},
        {"[]:80", "not an IPv6 address"},
        {"[127.0.0.1]:80", "not an IPv6 address"},
        {"[fe80::1%eth0]:80", "not an IPv6 address"},
        {"[[::1]]:80", "not an IPv6 address"},
        {"::1:80", "an IPv6 address without brackets"},
        {"[::ffff:127.0.0.1]:80", "an IPv4 address inside an IPv6 one"},
        {"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:80", "too long"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); ++i) {
        struct conf_address a = {.len = 7};
        const char *problem = conf_address_parse(rows[i].text, &a);

        if (!problem || strncmp(problem, rows[i].problem, strlen(rows[i].problem)))
            fail_msg("\"%s\": %s", rows[i].text, problem ? problem : "accepted");
        assert_non_null(strstr(problem, "expected"));
        assert_int_equal(a.len, 7);
    }
}

static void _overlaps(void **state)
{
    static const struct {
        const char *a;
        const char *b;
        bool overlaps;
        bool reaches; /* Connecting to a reaches a listener on b. */
    } rows[] = {
        {"127.0.0.1:80", "127.0.0.1:80", true, true},
        {"localhost:80", "127.0.0.1:80", true, true},
        {"127.0.0.1:80", "127.0.0.1:81", false, false},
        {"127.0.0.1:80", "127.0.0.2:80", false, false},
        {"127.0.0.2:80", "0.0.0.0:80", true, true},
        {"192.0.2.1:80", "0.0.0.0:80", true, false},
        {"127.0.0.1:80", "0.0.0.0:81", false, false},
        {"0.0.0.0:80", "127.0.0.1:80", true, false},
        {"[::1]:80", "[::]:80", true, true},
        {"[::1]:80", "[0:0::1]:80", true, true},
        {"[2001:db8::1]:80", "[::]:80", true, false},
        {"[::1]:80", "[::2]:80", false, false},
        {"[::1]:80", "127.0.0.1:80", false, false},
        {"0.0.0.0:80", "[::]:80", false, false},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); ++i) {
        struct conf_address a = _address(rows[i].a);
        struct conf_address b = _address(rows[i].b);

        if (conf_address_overlaps(&a, &b) != rows[i].overlaps ||
            conf_address_overlaps(&b, &a) != rows[i].overlaps)
            fail_msg("overlap of %s and %s", rows[i].a, rows[i].b);
        if (conf_address_reaches(&a, &b) != rows[i].reaches)
            fail_msg("%s reaches %s", rows[i].a, rows[i].b);
    }
}

static void _any(void **state)
{
    struct conf_address v4 = _address("0.0.0.0:80");
    struct conf_address v6 = _address("[::]:80");
    struct conf_address other = _address("[::1]:80");

    assert_true(conf_address_is_any(&v4));
    assert_true(conf_address_is_any(&v6));
    assert_false(conf_address_is_any(&other));
}

static void _hosts(void **state)
{
    static const struct {
        const char *text;
        const char *expected; /* NULL = refused. */
    } rows[] = {
        {"example.com", "example.com"},
        {"API.Example.COM", "api.example.com"},
        {"a", "a"},
        {"under_score.local", "under_score.local"},
        {"xn--bcher-kva.example", "xn--bcher-kva.example"},
        {"3com.com", "3com.com"},
        {"127.0.0.1", "127.0.0.1"},
        {"[::1]", "[::1]"},
        {"[2001:DB8::1]", "[2001:db8::1]"},
        {"[2001:db8:0::1]", NULL},
        {"", NULL},
        {".", NULL},
        {"a..b", NULL},
        {"example.com.", NULL},
        {".example.com", NULL},
        {"-a.com", NULL},
        {"a-.com", NULL},
        {"example.com:80", NULL},
        {"[::1]:80", NULL},
        {"::1", NULL},
        {"[]", NULL},
        {"[", NULL},
        {"]", NULL},
        {"[::1", NULL},
        {"[zz]", NULL},
        {"*.example.com", NULL},
        {"*", NULL},
        {"1.2.3", NULL},
        {"256.1.1.1", NULL},
        {"1.2.3.4.5", NULL},
        {"a b", NULL},
        {"b\xc3\xbc"
         "cher.example",
         NULL},
        {"http://a", NULL},
        {"a/b", NULL},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); ++i) {
        char host[256];
        const char *problem;

        strcpy(host, rows[i].text);
        problem = conf_host_normalize(host);
        if (!problem != !!rows[i].expected)
            fail_msg("\"%s\": %s", rows[i].text, problem ? problem : "accepted");
        if (problem)
            assert_non_null(strstr(problem, "expected"));
        else
            assert_string_equal(host, rows[i].expected);
    }
}

static void _long_hosts(void **state)
{
    char host[512];

    memset(host, 'a', sizeof(host));
    host[63] = '\0';
    assert_null(conf_host_normalize(host));
    host[63] = 'a';
    host[64] = '\0';
    assert_non_null(conf_host_normalize(host));

    memset(host, 'a', sizeof(host));
    for (size_t i = 50; i < sizeof(host); i += 50)
        host[i] = '.';
    host[255] = '\0';
    assert_null(conf_host_normalize(host));
    host[255] = 'a';
    host[256] = '\0';
    assert_non_null(conf_host_normalize(host));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(_parses), cmocka_unit_test(_refuses), cmocka_unit_test(_overlaps),
        cmocka_unit_test(_any),    cmocka_unit_test(_hosts),   cmocka_unit_test(_long_hosts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
