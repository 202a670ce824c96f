/*
 * What is no YAML, and YAML of the wrong shape: syntax, keys, types, numbers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "conf_rows.h"

static void _yaml(void **state)
{
    static const struct row rows[] = {
        {"- a\n", "1: yaml: found a list, expected a mapping of keys to values"},
        {"hello\n", "1: yaml: found a single value, expected a mapping of keys to values"},
        {WEB "clusters: {\n",
         "8: yaml: did not find expected node content while parsing a flow node, expected valid YAML"},
        {"workers: 1\n\tlimits: {}\n", "2: yaml: found a tab character that violates indentation while "
                                       "scanning a plain scalar, expected valid YAML"},
        {"workers: 1\n  limits: {}\n",
         "2: yaml: mapping values are not allowed in this context, expected valid YAML"},
        {"workers: \"1\n",
         "2: yaml: found unexpected end of stream while scanning a quoted scalar, expected valid YAML"},
        {"# one\nworkers: \xff\n", "2: yaml: invalid leading UTF-8 octet, expected valid YAML"},
        {"workers: &w 1\n", "1: yaml: anchors are not supported, expected every value written out"},
        {"limits: &l {}\ntimeouts: *l\n",
         "1: yaml: anchors are not supported, expected every value written out\n"
         "2: yaml: aliases are not supported, expected every value written out"},
        {"a: &a [*a]\n", "1: yaml: anchors are not supported, expected every value written out\n"
                         "1: yaml: aliases are not supported, expected every value written out"},
        {"workers: !!int 1\n", "1: yaml: tags are not supported, expected a value without a tag"},
        {WEB "---\n" WEB, "7: yaml: a second document, expected one document in the file"},
        {"workers: [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]\n",
         "1: yaml: nested too deeply, expected the nesting of a configuration"},
        {"workers: \"1\\0\"\n", "1: yaml: a NUL byte in a string, expected text"},
    };

    RUN(rows);
}

static void _structure(void **state)
{
    static const struct row rows[] = {
        {"{}\n", "1: listeners: missing, expected a list"},
        {"worker: 1\n" WEB, "1: worker: unknown key, expected one of: " TOP_KEYS},
        {"\"a b: c\": 1\n" WEB, "1: yaml: unknown key \"a b: c\", expected one of: " TOP_KEYS},
        {"? [a]\n: 1\n" WEB, "1: yaml: unknown key \"\", expected one of: " TOP_KEYS},
        {"<<: { workers: 1 }\n" WEB, "1: yaml: unknown key \"<<\", expected one of: " TOP_KEYS},
        {"workers: 1\n" WEB "workers: 2\n", "8: workers: duplicate key, first on line 1, expected it once"},
        {"limits: { buffer: 1MiB,\n  buffer: 2MiB }\n" WEB,
         "2: limits.buffer: duplicate key, first on line 1, expected it once"},
        {"limits:\n" WEB, "1: limits: found nothing, expected a mapping of keys to values"},
        {"limits: []\n" WEB, "1: limits: found a list, expected a mapping of keys to values"},
        {"admin: {}\n" WEB, "1: admin.address: missing, expected a string"},
        {"admin: \"127.0.0.1:1\"\n" WEB,
         "1: admin: found a single value, expected a mapping of keys to values"},
        {"listeners: {}\n", "1: listeners: found a mapping, expected a list"},
        {"listeners: []\n", "1: listeners: found 0 entries, expected at least 1"},
        {"listeners:\n  - web\n",
         "2: listeners[0]: found a single value, expected a mapping of keys to values"},
        {"listeners:\n  - routes: []\n    adress: a\n",
         "2: listeners[0].routes: found 0 entries, expected at least 1\n"
         "3: listeners[0].adress: unknown key, expected one of: name, address, protocol, routes, cluster, "
         "redis, forwarded, request_id, trusted_proxies\n"
         "2: listeners[0].name: missing, expected a string\n"
         "2: listeners[0].address: missing, expected a string"},
        {ROUTES("      - { cluster: x }\n"),
         "5: listeners[0].routes[0].match: missing, expected a mapping of keys to values"},
        {ACTION("respond: {}"), "6: listeners[0].routes[0].respond.status: missing, expected a whole number"},
        {MATCH("{ path: / , method: GET }"),
         "5: listeners[0].routes[0].match.method: unknown key, expected one of: host, path, path_prefix"},
        {MATCH("{ path: }"),
         "5: listeners[0].routes[0].match.path: found nothing, expected a string (\"\" for an empty one)"},
        {MATCH("{ path: [a] }"), "5: listeners[0].routes[0].match.path: found a list, expected a string"},
        {CLUSTERS("  - name: c\n"), "8: clusters[0].endpoints: missing, expected a list"},
        {CLUSTERS("  - name: c\n    endpoints: []\n"),
         "9: clusters[0].endpoints: found 0 entries, expected at least 1"},
        {CLUSTERS("  - name: c\n    endpoints:\n      - {}\n"),
         "10: clusters[0].endpoints[0].address: missing, expected a string"},
    };

    RUN(rows);
}

static void _numbers(void **state)
{
    static const struct row rows[] = {
        {"workers: 65\n" WEB, "1: workers: 65 is out of range, expected 0 to 64"},
        {"workers: -1\n" WEB, "1: workers: found \"-1\", expected a whole number"},
        {"workers: 010\n" WEB, "1: workers: found \"010\", expected a whole number"},
        {"workers: 0x10\n" WEB, "1: workers: found \"0x10\", expected a whole number"},
        {"workers: 1.5\n" WEB, "1: workers: found \"1.5\", expected a whole number"},
        {"workers: auto\n" WEB, "1: workers: found \"auto\", expected a whole number"},
        {"workers: \"\"\n" WEB, "1: workers: found \"\", expected a whole number"},
        {"workers:\n" WEB, "1: workers: found nothing, expected a value"},
        {"workers: 18446744073709551615\n" WEB,
         "1: workers: 18446744073709551615 is out of range, expected 0 to 64"},
        {"workers: 18446744073709551616\n" WEB,
         "1: workers: found \"18446744073709551616\", expected a whole number"},
        {"datapath:\n  promote_after: 0\n  connections: 63\n" WEB,
         "2: datapath.promote_after: 0 is out of range, expected 1 to 1000000\n"
         "3: datapath.connections: 63 is out of range, expected 64 to 262144"},
        {"datapath:\n  promote_after: 1000001\n  connections: 262145\n" WEB,
         "2: datapath.promote_after: 1000001 is out of range, expected 1 to 1000000\n"
         "3: datapath.connections: 262145 is out of range, expected 64 to 262144"},
        {"limits: { header_count: 257 }\n" WEB,
         "1: limits.header_count: 257 is out of range, expected 1 to 256"},
        {"limits: { header_count: 0 }\n" WEB, "1: limits.header_count: 0 is out of range, expected 1 to 256"},
    };

    RUN(rows);
}

static void _datapath(void **state)
{
    static const struct row rows[] = {
        {"datapath: { kernel: true }\n" WEB,
         "1: datapath.kernel: \"true\" is not known, expected one of: auto, on, off"},
        {"datapath: { kernel: ON }\n" WEB,
         "1: datapath.kernel: \"ON\" is not known, expected one of: auto, on, off"},
        {"datapath: { kernel: 1 }\n" WEB,
         "1: datapath.kernel: \"1\" is not known, expected one of: auto, on, off"},
        {"datapath: { bypass: yes }\n" WEB,
         "1: datapath.bypass: \"yes\" is not known, expected one of: auto, on, off"},
        {"datapath: { cgroup: sys }\n" WEB,
         "1: datapath.cgroup: \"sys\" is not absolute, expected a path such as /sys/fs/cgroup"},
    };

    RUN(rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(_yaml),
        cmocka_unit_test(_structure),
        cmocka_unit_test(_numbers),
        cmocka_unit_test(_datapath),
    };

    return cmocka_run_group_tests(tests, conf_enter_dir, conf_leave_dir);
}
