/*
 * What routes change in heads, and the proxies that a listener trusts: valid ones, every value
 * checked, and what the rules refuse.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>

#include "conf_rows.h"

static const char _full[] =
    "listeners:\n"
    "  - name: web\n"
    "    address: \"127.0.0.1:8080\"\n"
    "    forwarded: both\n"
    "    request_id: true\n"
    "    trusted_proxies: [ 10.0.0.0/8, 192.0.2.1, \"2001:db8::/33\", \"::1\" ]\n"
    "    routes:\n"
    "      - match: { path: /defaults }\n"
    "        cluster: c\n"
    "      - match: { path: /own }\n"
    "        cluster: c\n"
    "        forwarded: x_forwarded_for\n"
    "        request_id: false\n"
    "        request_headers:\n"
    "          set: [ { name: X-Env, value: \"a \\t\\u00e9\" }, { name: X-Empty, value: \"\" } ]\n"
    "          add: [ { name: Via, value: \"1.1 skein\" }, { name: Via, value: again } ]\n"
    "          remove: [ X-Debug, Via ]\n"
    "        response_headers: { remove: [ Server ] }\n"
    "      - { match: { path: /off }, cluster: c, forwarded: off, request_id: false }\n"
    "      - { match: { path: /rfc }, cluster: c, forwarded: forwarded, request_id: false }\n"
    "      - { match: { path: /direct }, respond: { status: 200 } }\n"
    "  - name: plain\n"
    "    address: \"127.0.0.1:8081\"\n"
    "    routes:\n"
    "      - { match: { path: / }, cluster: c }\n"
    "      - { match: { path: /id }, cluster: c, request_id: true }\n"
    "      - match: { path: /response }\n"
    "        cluster: c\n"
    "        response_headers: { add: [ { name: A, value: b } ] }\n"
    "clusters:\n" CLUSTER("c", "127.0.0.1:1");

static struct loaded _load_good(const char *text)
{
    struct loaded l = conf_load_text(text);

    if (l.r || *l.errors)
        fail_msg("%d: %s", l.r, l.errors);

    return l;
}

static void _routes(void **state)
{
    struct loaded l = _load_good(_full);
    const struct conf_route *routes = l.conf->listeners[0].routes;
    const struct conf_head_edits *edits = &routes[1].request_headers;

    assert_int_equal(routes[0].forwarded, CONF_FORWARDED_BOTH);
    assert_true(routes[0].request_id);
    assert_int_equal(routes[0].request_headers.n_set, 0);

    assert_int_equal(routes[1].forwarded, CONF_X_FORWARDED_FOR);
    assert_false(routes[1].request_id);
    assert_int_equal(edits->n_set, 2);
    assert_string_equal(edits->set[0].name, "X-Env");
    assert_string_equal(edits->set[0].value, "a \t\xc3\xa9");
    assert_string_equal(edits->set[1].value, "");
    assert_int_equal(edits->n_add, 2);
    assert_string_equal(edits->add[1].name, "Via");
    assert_string_equal(edits->add[1].value, "again");
    assert_int_equal(edits->n_remove, 2);
    assert_string_equal(edits->remove[0], "X-Debug");
    assert_string_equal(edits->remove[1], "Via");
    assert_int_equal(routes[1].response_headers.n_remove, 1);
    assert_string_equal(routes[1].response_headers.remove[0], "Server");
    assert_int_equal(routes[1].response_headers.n_set + routes[1].response_headers.n_add, 0);

    assert_int_equal(routes[2].forwarded, CONF_FORWARDED_OFF);
    assert_int_equal(routes[3].forwarded, CONF_FORWARDED);
    assert_int_equal(routes[4].forwarded, CONF_FORWARDED_OFF);
    assert_false(routes[4].request_id);

    conf_unload(&l);
}

/* Each kind of edit is one by itself. */
static void _route_edits(void **state)
{
    static const bool first[] = {true, true, false, true, false}, second[] = {false, true, true};
    struct loaded l = _load_good(_full);

    for (size_t i = 0; i < 5; ++i)
        assert_int_equal(conf_route_edits(&l.conf->listeners[0].routes[i]), first[i]);
    for (size_t i = 0; i < 3; ++i)
        assert_int_equal(conf_route_edits(&l.conf->listeners[1].routes[i]), second[i]);

    conf_unload(&l);
}

static bool _is_trusted(const struct conf_listener *listener, const char *text)
{
    uint8_t address[16];

    assert_int_equal(inet_pton(AF_INET6, text, address), 1);

    return conf_trusts(listener, address);
}

static void _trust(void **state)
{
    static const struct {
        const char *address;
        bool trusted;
    } cases[] = {
        {"::ffff:10.0.0.0", true},
        {"::ffff:10.255.255.255", true},
        {"::ffff:11.0.0.0", false},
        {"::ffff:9.255.255.255", false},
        {"::ffff:192.0.2.1", true},
        {"::ffff:192.0.2.0", false},
        {"::ffff:192.0.2.2", false},
        {"2001:db8::1", true},
        {"2001:db8:7fff:ffff::", true},
        {"2001:db8:8000::", false},
        {"2001:db9::1", false},
        {"::1", true},
        {"::", false},
        {"::10.0.0.1", false},
        {"::ffff:0.0.0.1", false},
    };
    struct loaded l = _load_good(_full);

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        if (_is_trusted(&l.conf->listeners[0], cases[i].address) != cases[i].trusted)
            fail_msg("%s", cases[i].address);
        assert_false(_is_trusted(&l.conf->listeners[1], cases[i].address));
    }
    conf_unload(&l);
}

#define TRUST(networks) WEB "    trusted_proxies: [ " networks " ]\n"

/* The longest and the shortest prefix; one family never stands for the other. */
static void _trust_all(void **state)
{
    struct loaded l = _load_good(TRUST("0.0.0.0/0"));

    assert_true(_is_trusted(&l.conf->listeners[0], "::ffff:1.2.3.4"));
    assert_false(_is_trusted(&l.conf->listeners[0], "2001:db8::1"));
    conf_unload(&l);

    l = _load_good(TRUST("\"::/0\", 1.2.3.4/32"));
    assert_true(_is_trusted(&l.conf->listeners[0], "2001:db8::1"));
    assert_true(_is_trusted(&l.conf->listeners[0], "::ffff:1.2.3.4"));
    assert_false(_is_trusted(&l.conf->listeners[0], "::ffff:1.2.3.5"));
    conf_unload(&l);
}

#define NO_NETWORK "expected an address or a network such as 10.0.0.0/8 or 2001:db8::/32"

static void _networks(void **state)
{
    static const struct row rows[] = {
        {TRUST("10.0.0.1/8"), "7: listeners[0].trusted_proxies[0]: \"10.0.0.1/8\": bits behind the prefix "
                              "are set, expected the first address of the network"},
        {TRUST("\"::/0\", \"2001:db8::/28\""),
         "7: listeners[0].trusted_proxies[1]: \"2001:db8::/28\": bits behind the prefix are set, expected "
         "the first address of the network"},
        {TRUST("10.0.0.0/33"), "7: listeners[0].trusted_proxies[0]: \"10.0.0.0/33\": not the length of a "
                               "prefix, expected 0 to 32 after the slash"},
        {TRUST("\"::/129\""), "7: listeners[0].trusted_proxies[0]: \"::/129\": not the length of a prefix, "
                              "expected 0 to 128 after the slash"},
        {TRUST("10.0.0.0/08, 10.0.0.0/, 10.0.0.0/+8"),
         "7: listeners[0].trusted_proxies[0]: \"10.0.0.0/08\": not the length of a prefix, expected 0 to 32 "
         "after the slash\n"
         "7: listeners[0].trusted_proxies[1]: \"10.0.0.0/\": not the length of a prefix, expected 0 to 32 "
         "after the slash\n"
         "7: listeners[0].trusted_proxies[2]: \"10.0.0.0/+8\": not the length of a prefix, expected 0 to 32 "
         "after the slash"},
        {TRUST("lb.example"),
         "7: listeners[0].trusted_proxies[0]: \"lb.example\": not an address, " NO_NETWORK},
        {TRUST("\"10.0.0.1:80\", \"\""),
         "7: listeners[0].trusted_proxies[0]: \"10.0.0.1:80\": not an address, " NO_NETWORK "\n"
         "7: listeners[0].trusted_proxies[1]: \"\": not an address, " NO_NETWORK},
        {TRUST("\"::ffff:10.0.0.1\""), "7: listeners[0].trusted_proxies[0]: \"::ffff:10.0.0.1\": an IPv4 "
                                       "address inside an IPv6 one, expected the IPv4 address itself"},
        {WEB "    trusted_proxies: []\n",
         "7: listeners[0].trusted_proxies: found 0 entries, expected at least 1"},
    };

    RUN(rows);
}

#define FORWARD(keys)                                                                                        \
    ROUTES("      - match: { path: / }\n        cluster: c\n        " keys "\n")                             \
    "clusters:\n" CLUSTER("c", "127.0.0.1:1")
#define REQUEST "7: listeners[0].routes[0].request_headers"
#define NO_NAME " is not the name of a field, expected 1 to 127 letters, digits and !#$%&'*+-.^_`|~"
#define HOP     " is about framing or about one connection, expected a field that is for the other end"
#define REMOVE(name, problem)                                                                                \
    {                                                                                                        \
        FORWARD("request_headers: { remove: [ " name " ] }"), REQUEST ".remove[0]: \"" name "\"" problem     \
    }

static void _names(void **state)
{
    static const struct row rows[] = {
        {FORWARD("request_headers: { set: [ { name: \"\", value: x }, { name: \"a:\", value: x } ] }"),
         REQUEST ".set[0].name: \"\"" NO_NAME "\n" REQUEST ".set[1].name: \"a:\"" NO_NAME},
        {FORWARD("request_headers: { add: [ { name: \"a b\", value: x } ], remove: [ \"\\u00e9\" ] }"),
         REQUEST ".add[0].name: \"a b\"" NO_NAME "\n" REQUEST ".remove[0]: \"\\xc3\\xa9\"" NO_NAME},
        {FORWARD("request_headers: { remove: [ \"a\\r\\nb\" ] }"),
         REQUEST ".remove[0]: \"a\\x0d\\x0ab\"" NO_NAME},
        {FORWARD("request_headers: { set: [ { name: hOST, value: x } ] }"),
         REQUEST ".set[0].name: \"hOST\" can not be changed: it goes on as the client sent it, expected "
                 "another field"},
        REMOVE("Content-Length", HOP),
        REMOVE("content_length", HOP),
        REMOVE("Transfer-Encoding", HOP),
        REMOVE("Connection", HOP),
        REMOVE("Keep-Alive", HOP),
        REMOVE("Proxy-Connection", HOP),
        REMOVE("Proxy-Authorization", HOP),
        REMOVE("TE", HOP),
        REMOVE("Trailer", HOP),
        REMOVE("Upgrade", HOP),
        REMOVE("HTTP2-Settings", HOP),
        REMOVE("Expect", HOP),
        {FORWARD("response_headers: { add: [ { name: Connection, value: close } ] }"),
         "7: listeners[0].routes[0].response_headers.add[0].name: \"Connection\"" HOP},
    };

    RUN(rows);
}

static void _values(void **state)
{
    static const struct row rows[] = {
        {FORWARD("request_headers: { set: [ { name: a, value: \"b\\r\\nc: d\" } ] }"),
         REQUEST ".set[0].value: \"b\\x0d\\x0ac: d\" has a control character, expected a value without"},
        {FORWARD("request_headers: { add: [ { name: a, value: \"\\x7f\" } ] }"),
         REQUEST ".add[0].value: \"\\x7f\" has a control character, expected a value without"},
        {FORWARD("request_headers: { add: [ { name: a, value: \" b\" }, { name: a, value: \"b\\t\" } ] }"),
         REQUEST ".add[0].value: \" b\" begins or ends with whitespace, expected a value without\n" REQUEST
                 ".add[1].value: \"b\\x09\" begins or ends with whitespace, expected a value without"},
        {FORWARD("request_headers: { add: [ { name: a, value: } ] }"),
         REQUEST ".add[0].value: found nothing, expected a string (\"\" for an empty one)"},
        {FORWARD("request_headers: { add: [ { name: a } ] }"),
         REQUEST ".add[0].value: missing, expected a string"},
    };

    RUN(rows);
}

/* Values end where a head would take more than it may. */
static void _long_value(void **state)
{
    static const char start[] = FORWARD("request_headers: { set: [ { name: a, value: \"%0*d\" } ] }");
    char text[8192];
    struct loaded l;

    snprintf(text, sizeof(text), start, 4096, 0);
    l = _load_good(text);
    conf_unload(&l);
    snprintf(text, sizeof(text), start, 4097, 0);
    l = conf_load_text(text);
    assert_int_equal(l.r, -EINVAL);
    assert_string_equal(l.errors, CONF_FILE
                        ":" REQUEST ".set[0].value: longer than 4096 bytes, expected a shorter value\n");
    conf_unload(&l);
}

static void _sections(void **state)
{
    static const struct row rows[] = {
        {FORWARD("request_headers: {}"),
         REQUEST ": nothing to do, expected at least one of: set, add, remove"},
        {FORWARD("request_headers: { append: [] }"),
         REQUEST ".append: unknown key, expected one of: set, add, remove"},
        {FORWARD("request_headers: { set: { X-Env: prod } }"),
         REQUEST ".set: found a mapping, expected a list"},
        {FORWARD("request_headers: { remove: [ A, a ] }"), REQUEST ".remove[1]: \"a\" is in remove already, "
                                                                   "expected it once"},
        {FORWARD("request_headers: { set: [ { name: B, value: x }, { name: b, value: y } ], remove: [ B ] }"),
         REQUEST ".set[0].name: \"B\" is in remove already, expected it once\n" REQUEST
                 ".set[1].name: \"b\" is in remove already, expected it once"},
        {FORWARD("forwarded: on"),
         "7: listeners[0].routes[0].forwarded: \"on\" is not known, expected one of: "
         "off, x_forwarded_for, forwarded, both"},
        {FORWARD("request_id: yes"),
         "7: listeners[0].routes[0].request_id: \"yes\" is not known, expected one of: true, false"},
    };

    RUN(rows);
}

#define DIRECT " only for messages that are forwarded, expected no such key with respond"

/* Nothing is forwarded there. */
static void _elsewhere(void **state)
{
    static const struct row rows[] = {
        {ACTION("respond: { status: 200 }\n        forwarded: off\n        request_id: true\n"
                "        request_headers: { remove: [ a ] }\n        response_headers: { remove: [ a ] }"),
         "7: listeners[0].routes[0].forwarded:" DIRECT "\n8: listeners[0].routes[0].request_id:" DIRECT
         "\n9: listeners[0].routes[0].request_headers:" DIRECT
         "\n10: listeners[0].routes[0].response_headers:" DIRECT},
        {"listeners:\n  - name: r\n    address: \"127.0.0.1:1\"\n    protocol: redis\n    cluster: c\n"
         "    forwarded: off\n    request_id: true\n    trusted_proxies: [ 10.0.0.1 ]\n"
         "clusters:\n  - { name: c, lb_policy: crc16_slots, endpoints: [ { address: \"127.0.0.1:2\" } ] }\n",
         "6: listeners[0].forwarded: only for the protocol http, expected no such key with redis\n"
         "7: listeners[0].request_id: only for the protocol http, expected no such key with redis\n"
         "8: listeners[0].trusted_proxies: only for the protocol http, expected no such key with redis"},
    };

    RUN(rows);
}

static void _tokens(void **state)
{
    assert_true(conf_is_token("aZ09!#$%&'*+-.^_`|~", 19));
    assert_true(conf_is_token("a b", 1));
    assert_false(conf_is_token("", 0));
    assert_false(conf_is_token("a b", 3));
    assert_false(conf_is_token("a\0", 2));
    for (int c = 0; c < 256; ++c) {
        char text = (char)c;
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

        assert_int_equal(conf_is_token(&text, 1), letter || (c && strchr("!#$%&'*+-.^_`|~", c)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(_routes),    cmocka_unit_test(_route_edits), cmocka_unit_test(_trust),
        cmocka_unit_test(_trust_all), cmocka_unit_test(_networks),    cmocka_unit_test(_names),
        cmocka_unit_test(_values),    cmocka_unit_test(_long_value),  cmocka_unit_test(_sections),
        cmocka_unit_test(_elsewhere), cmocka_unit_test(_tokens),
    };

    return cmocka_run_group_tests(tests, conf_enter_dir, conf_leave_dir);
}
