/*
 * What the rules of a configuration refuse, word by word.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "conf_rows.h"

#define NO_SIZE " is not a size, expected an integer with an optional unit B, KiB, MiB or GiB, such as 16KiB"
#define NO_TIME " is not a duration, expected an integer with a unit us, ms, s, m or h, such as 250ms"

static void _units(void **state)
{
    static const struct row rows[] = {
        {"limits: { header_bytes: 16KB }\n" WEB, "1: limits.header_bytes: \"16KB\"" NO_SIZE},
        {"limits: { body_bytes: -1 }\n" WEB, "1: limits.body_bytes: \"-1\"" NO_SIZE},
        {"limits: { header_bytes: 63 }\n" WEB,
         "1: limits.header_bytes: \"63\" is out of range, expected 64B to 1MiB"},
        {"limits: { target_bytes: 2MiB }\n" WEB,
         "1: limits.target_bytes: \"2MiB\" is out of range, expected 16B to 1MiB"},
        {"limits: { buffer: 65535 }\n" WEB,
         "1: limits.buffer: \"65535\" is out of range, expected 64KiB to 1GiB"},
        {"limits: { buffer: 99999999999999999999GiB }\n" WEB,
         "1: limits.buffer: \"99999999999999999999GiB\" is out of range, expected 64KiB to 1GiB"},
        {"timeouts:\n  connect: 5\n  header: 10 s\n  body: 1d\n  idle: 0s\n" WEB,
         "2: timeouts.connect: \"5\"" NO_TIME "\n"
         "3: timeouts.header: \"10 s\"" NO_TIME "\n"
         "4: timeouts.body: \"1d\"" NO_TIME "\n"
         "5: timeouts.idle: \"0s\" is out of range, expected 1us to 24h"},
        {"timeouts:\n  response: 25h\n  write: 86401s\n  tunnel: 99999999999999999999h\n  drain: \"\"\n" WEB,
         "2: timeouts.response: \"25h\" is out of range, expected 1us to 24h\n"
         "3: timeouts.write: \"86401s\" is out of range, expected 1us to 24h\n"
         "4: timeouts.tunnel: \"99999999999999999999h\" is out of range, expected 1us to 24h\n"
         "5: timeouts.drain: \"\"" NO_TIME},
    };

    RUN(rows);
}

#define NO_NAME " is not a name, expected 1 to 63 of the characters A-Z a-z 0-9 _ . -"
#define RESPOND "routes: [ { match: { path: / }, respond: { status: 200 } } ]"

static void _listeners(void **state)
{
    static const struct row rows[] = {
        {"listeners:\n  - { name: \"a b\", address: \"127.0.0.1:1\", " RESPOND " }\n",
         "2: listeners[0].name: \"a b\"" NO_NAME},
        {"listeners:\n  - { name: \"\", address: \"127.0.0.1\", " RESPOND " }\n",
         "2: listeners[0].name: \"\"" NO_NAME "\n"
         "2: listeners[0].address: \"127.0.0.1\": no port, expected IPv4:port, [IPv6]:port or "
         "localhost:port"},
        {"listeners:\n  - { name: x234567890123456789012345678901234567890123456789012345678901234,\n"
         "      address: \"127.0.0.1:0\", " RESPOND " }\n",
         "2: listeners[0].name: \"x23456789012345678901234567890123456789012345678...\"" NO_NAME "\n"
         "3: listeners[0].address: \"127.0.0.1:0\": not a port, expected a port from 1 to 65535 after the "
         "last "
         "colon"},
        {WEB "  - { name: web, address: \"127.0.0.1:1\", " RESPOND " }\n",
         "7: listeners[1].name: listeners[0] has the name \"web\" too, expected a unique name"},
        {"listeners:\n  - name: a\n    address: \"127.0.0.1:1\"\n",
         "2: listeners[0].routes: missing, expected a list of at least 1 route"},
        {WEB "    cluster: c\n" CLUSTER("c", "127.0.0.1:1"),
         "8: listeners[1].endpoints: unknown key, expected one "
         "of: name, address, protocol, routes, cluster, redis, forwarded, request_id, trusted_proxies\n"
         "8: listeners[1].address: missing, expected a string"},
        {WEB "    cluster: c\nclusters:\n" CLUSTER("c", "127.0.0.1:1"),
         "7: listeners[0].cluster: only for the protocols redis and tcp, expected routes that name a "
         "cluster"},
        {WEB "    protocol: tcp\n", "7: listeners[0].protocol: protocol \"tcp\" is not available in this "
                                    "version, expected http or redis"},
        {WEB "    protocol: http2\n",
         "7: listeners[0].protocol: \"http2\" is not known, expected one of: http, redis, tcp"},
    };

    RUN(rows);
}

#define AT      "5: listeners[0].routes[0].match"
#define NO_HOST "expected a host name, an IPv4 address or an [IPv6] address"
#define NO_PATH " has a character that no path has, expected printable ASCII without space, ? and #"

static void _matches(void **state)
{
    static const struct row rows[] = {
        {MATCH("{}"), AT ": neither path nor path_prefix, expected one of: path, path_prefix"},
        {MATCH("{ host: a.b }"), AT ": neither path nor path_prefix, expected one of: path, path_prefix"},
        {MATCH("{ path: /, path_prefix: / }"),
         AT ": both path and path_prefix, expected one of: path, path_prefix"},
        {MATCH("{ path: v1 }"), AT ".path: \"v1\" does not begin with a slash, expected a path such as /v1/"},
        {MATCH("{ path: \"\" }"), AT ".path: \"\" does not begin with a slash, expected a path such as /v1/"},
        {MATCH("{ path_prefix: \"/a?b\" }"), AT ".path_prefix: \"/a?b\"" NO_PATH},
        {MATCH("{ path: \"/a#b\" }"), AT ".path: \"/a#b\"" NO_PATH},
        {MATCH("{ path: \"/a b\" }"), AT ".path: \"/a b\"" NO_PATH},
        {MATCH("{ path: \"/a\\nb\" }"), AT ".path: \"/a\\x0ab\"" NO_PATH},
        {MATCH("{ path: \"/\\u00e9\" }"), AT ".path: \"/\\xc3\\xa9\"" NO_PATH},
        {MATCH("{ host: \"A.b:80\", path: / }"),
         AT ".host: \"A.b:80\": a port, or an IPv6 address without brackets, " NO_HOST " without a port"},
        {MATCH("{ host: \"*.a.b\", path: / }"), AT ".host: \"*.a.b\": wildcards are not supported, " NO_HOST},
        {ROUTES("      - { match: { path: /a }, respond: { status: 200 } }\n"
                "      - { match: { host: A, path: /a }, respond: { status: 200 } }\n"
                "      - { match: { path_prefix: /a }, respond: { status: 200 } }\n"
                "      - { match: { host: a, path: /a }, respond: { status: 200 } }\n"
                "      - { match: { path_prefix: /a }, respond: { status: 404 } }\n"),
         "8: listeners[0].routes[3].match: routes[1] matches the same and comes first, expected different "
         "matches\n"
         "9: listeners[0].routes[4].match: routes[2] matches the same and comes first, expected different "
         "matches"},
    };

    RUN(rows);
}

static void _actions(void **state)
{
    static const struct row rows[] = {
        {ROUTES("      - match: { path: / }\n"),
         "5: listeners[0].routes[0]: neither cluster nor respond, expected one of: cluster, respond"},
        {ACTION("respond: { status: 200 }\n        cluster: c") "clusters:\n" CLUSTER("c", "127.0.0.1:1"),
         "5: listeners[0].routes[0]: both cluster and respond, expected one of: cluster, respond"},
        {ACTION("cluster: wbe") "clusters:\n" CLUSTER("web", "127.0.0.1:1") CLUSTER("api", "127.0.0.1:1"),
         "6: listeners[0].routes[0].cluster: no cluster named \"wbe\", expected one of: web, api"},
        {ACTION("cluster: web"), "6: listeners[0].routes[0].cluster: no cluster named \"web\", expected a "
                                 "section clusters that has it"},
        {ACTION("respond: { status: 199 }"),
         "6: listeners[0].routes[0].respond.status: 199 is out of range, expected 200 to 599"},
        {ACTION("respond: { status: 600 }"),
         "6: listeners[0].routes[0].respond.status: 600 is out of range, expected 200 to 599"},
        {ACTION("respond: { status: 204,\n          body: x }"),
         "7: listeners[0].routes[0].respond.body: a response with status 204 has no body, expected an empty "
         "one"},
        {ACTION("respond: { status: 304, body: x }"), "6: listeners[0].routes[0].respond.body: a response "
                                                      "with status 304 has no body, expected an empty one"},
    };

    RUN(rows);
}

static void _clusters(void **state)
{
    static const struct row rows[] = {
        {CLUSTERS("  - name: a/b\n    endpoints: [ { address: \"a:1\", weight: 0 } ]\n"),
         "8: clusters[0].name: \"a/b\"" NO_NAME "\n"
         "9: clusters[0].endpoints[0].address: \"a:1\": the host is not numeric, expected IPv4:port, "
         "[IPv6]:port or "
         "localhost:port\n"
         "9: clusters[0].endpoints[0].weight: 0 is out of range, expected 1 to 1000"},
        {CLUSTERS(
             "  - name: c\n    endpoints:\n      - { address: \"0.0.0.0:1\" }\n      - address: \"[::1]:1\"\n"
             "        weight: 1001\n"),
         "10: clusters[0].endpoints[0].address: \"0.0.0.0:1\" is not one server, expected an address to "
         "connect to\n"
         "12: clusters[0].endpoints[1].weight: 1001 is out of range, expected 1 to 1000"},
        {CLUSTERS(CLUSTER("c", "127.0.0.1:1") CLUSTER("c", "127.0.0.1:2")),
         "9: clusters[1].name: clusters[0] has the name \"c\" too, expected a unique name"},
        {CLUSTERS("  - { name: c, retries: 11, endpoints: [ { address: \"127.0.0.1:1\" } ] }\n"),
         "8: clusters[0].retries: 11 is out of range, expected 0 to 10"},
        {CLUSTERS(
             "  - { name: c, lb_policy: ketama, retries: 0, endpoints: [ { address: \"127.0.0.1:1\" } ] }\n"),
         "8: clusters[0].retries: only for clusters of http listeners, expected none with lb_policy ketama"},
        {CLUSTERS("  - { name: c, lb_policy: best, endpoints: [ { address: \"127.0.0.1:1\" } ] }\n"),
         "8: clusters[0].lb_policy: \"best\" is not known, expected one of: round_robin, random, "
         "least_request, "
         "maglev, crc16_slots, ketama, modula"},
    };

    RUN(rows);
}

static void _addresses(void **state)
{
    static const struct row rows[] = {
        {"admin: { address: \"localhost:8080\" }\n" WEB,
         "4: listeners[0].address: 127.0.0.1:8080 is taken by admin.address (localhost:8080), expected an "
         "address of "
         "its own"},
        {"admin: { address: \":1\" }\n" WEB,
         "1: admin.address: \":1\": no host, expected IPv4:port, [IPv6]:port or "
         "localhost:port"},
        {WEB "  - { name: b, address: \"0.0.0.0:8080\", " RESPOND " }\n",
         "7: listeners[1].address: 0.0.0.0:8080 is taken by listeners[0].address (127.0.0.1:8080), expected "
         "an "
         "address of its own"},
    };

    RUN(rows);
}

static void _loops(void **state)
{
    static const struct row rows[] = {
        {"listeners:\n" LISTENER("a", "127.0.0.1:1", "c") "clusters:\n" CLUSTER("c", "127.0.0.1:1"),
         "2: listeners[0].routes[0].cluster: endpoint 127.0.0.1:1 makes a loop of listeners, a -> a, "
         "expected an "
         "endpoint that ends it"},
        {"listeners:\n" LISTENER("a", "0.0.0.0:1", "c") "clusters:\n" CLUSTER("c", "127.3.2.1:1"),
         "2: listeners[0].routes[0].cluster: endpoint 127.3.2.1:1 makes a loop of listeners, a -> a, "
         "expected an "
         "endpoint that ends it"},
        {"listeners:\n" LISTENER("in", "127.0.0.1:9", "a") LISTENER("a", "127.0.0.1:1", "b") LISTENER(
             "b", "127.0.0.1:2", "c") LISTENER("c", "[::1]:3", "a") "clusters:\n" CLUSTER("a", "127.0.0.1:1")
             CLUSTER("b", "127.0.0.1:2") CLUSTER("c", "[::1]:3"),
         "5: listeners[3].routes[0].cluster: endpoint 127.0.0.1:1 makes a loop of listeners, a -> b -> c -> "
         "a, "
         "expected an endpoint that ends it"},
    };

    RUN(rows);
}

/** A structure that libcyaml would read, with errors everywhere: each is reported at once. */
static void _all_at_once(void **state)
{
    static const struct row rows[] = {
        {"workers: 99\n"
         "timeouts: { idle: 1 }\n"
         "listeners:\n"
         "  - name: web\n"
         "    address: \"example.com:80\"\n"
         "    routes:\n"
         "      - match: { path: x }\n"
         "        cluster: y\n"
         "clusters:\n"
         "  - name: z\n"
         "    endpoints: [ { address: \"1\" } ]\n",
         "1: workers: 99 is out of range, expected 0 to 64\n"
         "2: timeouts.idle: \"1\"" NO_TIME "\n"
         "11: clusters[0].endpoints[0].address: \"1\": no port, expected IPv4:port, [IPv6]:port or "
         "localhost:port\n"
         "5: listeners[0].address: \"example.com:80\": the host is not numeric, expected IPv4:port, "
         "[IPv6]:port or "
         "localhost:port\n"
         "7: listeners[0].routes[0].match.path: \"x\" does not begin with a slash, expected a path such as "
         "/v1/\n"
         "8: listeners[0].routes[0].cluster: no cluster named \"y\", expected one of: z"},
    };

    RUN(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(_units),   cmocka_unit_test(_listeners),   cmocka_unit_test(_matches),
        cmocka_unit_test(_actions), cmocka_unit_test(_clusters),    cmocka_unit_test(_addresses),
        cmocka_unit_test(_loops),   cmocka_unit_test(_all_at_once),
    };

    return cmocka_run_group_tests(tests, conf_enter_dir, conf_leave_dir);
}
