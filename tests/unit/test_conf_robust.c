/*
 * Files that are no configuration: the loader says so in its own form, and never crashes. Worth
 * most under AddressSanitizer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "conf/raw.h"
#include "conf_helper.h"

#define MIB (1 << 20)

static const char _good[] =
    "workers: 1\n"
    "datapath: { kernel: auto, bypass: off, connections: 64 }\n"
    "bypass: { except: { listeners: [ web ], clusters: [ k, c ], cgroups: [ /a/b, c.d ] } }\n"
    "admin: { address: \"127.0.0.1:1\" }\n"
    "limits: { header_bytes: 1KiB, header_count: 3 }\n"
    "timeouts: { idle: 1s }\n"
    "listeners:\n"
    "  - name: web\n"
    "    address: \"127.0.0.1:8080\"\n"
    "    trusted_proxies: [ 10.0.0.0/8 ]\n"
    "    routes:\n"
    "      - match: { host: a.b, path: /x }\n"
    "        cluster: c\n"
    "        forwarded: both\n"
    "        request_headers: { set: [ { name: A, value: b } ], remove: [ C ] }\n"
    "      - match: { path_prefix: / }\n"
    "        respond: { status: 200, body: \"x\\ty\" }\n"
    "  - { name: r, address: \"127.0.0.1:3\", protocol: redis, cluster: k,\n"
    "      redis: { auth: { user: u, password: p }, idle_timeout: 0s, max_bulk: 1KiB } }\n"
    "clusters:\n"
    "  - { name: k, lb_policy: ketama, hash: md5, hash_tag: \"{}\",\n"
    "      redis: { auth: { password_file: /proc/version }, connections: 2 },\n"
    "      endpoints: [ { address: \"127.0.0.1:4\", name: n } ] }\n"
    "  - name: c\n"
    "    endpoints: [ { address: \"127.0.0.1:2\", weight: 2 } ]\n";

/** Each line is `t.yaml:LINE: path: text, expected text`. */
static void _check_lines(const char *errors)
{
    while (*errors) {
        size_t len = strcspn(errors, "\n");
        char line[1024];
        unsigned number;
        int end = 0;

        assert_true(len < sizeof(line));
        memcpy(line, errors, len);
        line[len] = '\0';
        if (sscanf(line, CONF_FILE ":%u: %*[^ :]: %n", &number, &end) != 1 || !end || !number ||
            !strstr(line + end, "expected"))
            fail_msg("not the form of an error: %s", line);
        errors += len;
        assert_int_equal(*errors++, '\n');
    }
}

/** Either loads, or fails with at least one error in the right form. */
static void _check_any(const char *bytes, size_t len)
{
    struct loaded l = conf_load_bytes(bytes, len);

    _check_lines(l.errors);
    if (l.r) {
        assert_int_equal(l.r, -EINVAL);
        assert_null(l.conf);
        assert_true(*l.errors);
    } else {
        assert_non_null(l.conf);
        assert_false(*l.errors);
    }
    conf_unload(&l);
}

static void _truncated(void **state)
{
    for (size_t len = 0; len <= strlen(_good); ++len)
        _check_any(_good, len);
}

/** Every byte replaced by bytes that mean something to YAML, or to nobody. */
static void _mutated(void **state)
{
    static const char bytes[] = "\0\n\t :-{}[]\"'#&*!|>%@,x9\x7f\x80\xc3\xff";
    char text[sizeof(_good)];

    for (size_t i = 0; i < strlen(_good); ++i) {
        for (size_t j = 0; j < sizeof(bytes) - 1; ++j) {
            strcpy(text, _good);
            text[i] = bytes[j];
            _check_any(text, strlen(_good));
        }
    }
}

static void _removed(void **state)
{
    char text[sizeof(_good)];

    for (size_t i = 0; i < strlen(_good); ++i) {
        for (size_t n = 1; n <= 24 && i + n <= strlen(_good); n += 1 + n / 3) {
            memcpy(text, _good, i);
            strcpy(text + i, _good + i + n);
            _check_any(text, strlen(text));
        }
    }
}

static void _junk(void **state)
{
    uint32_t x = 2463534242;
    char bytes[2048];

    for (int round = 0; round < 500; ++round) {
        for (size_t i = 0; i < sizeof(bytes); ++i) {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            bytes[i] = (char)(round % 2 ? x : 0x20 + x % 0x5f);
        }
        _check_any(bytes, sizeof(bytes));
    }
}

static void _expect(const char *bytes, size_t len, const char *errors)
{
    struct loaded l = conf_load_bytes(bytes, len);

    assert_string_equal(l.errors, errors);
    assert_int_equal(l.r, -EINVAL);
    conf_unload(&l);
}

#define KEYS "workers, datapath, bypass, admin, limits, timeouts, listeners, clusters"

static void _empty(void **state)
{
    static const char *const texts[] = {"", "\n\n", "# nothing\n", "\xef\xbb\xbf"};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); ++i)
        _expect(texts[i], strlen(texts[i]),
                CONF_FILE ":1: yaml: the file is empty, expected a mapping with the keys: " KEYS "\n");
    _expect("---\n", 4, CONF_FILE ":2: yaml: found nothing, expected a mapping of keys to values\n");
    _expect("\0", 1, CONF_FILE ":1: yaml: control characters are not allowed, expected valid YAML\n");
    _expect("a: 1\nb: \x01\n", 10,
            CONF_FILE ":2: yaml: control characters are not allowed, expected valid YAML\n");
}

static void _unreadable(void **state)
{
    struct loaded l = conf_load_file("no/such.yaml");

    assert_int_equal(l.r, -ENOENT);
    assert_null(l.conf);
    assert_string_equal(l.errors, "no/such.yaml:1: file: can not be read (No such file or directory), "
                                  "expected a readable file\n");
    conf_unload(&l);

    l = conf_load_file("/");
    assert_int_equal(l.r, -EISDIR);
    assert_string_equal(l.errors, "/:1: file: can not be read (Is a directory), expected a readable file\n");
    conf_unload(&l);
}

static char *_repeated(const char *unit, size_t len)
{
    char *text = malloc(len + 1);

    assert_non_null(text);
    for (size_t i = 0; i < len; ++i)
        text[i] = unit[i % strlen(unit)];
    text[len] = '\0';

    return text;
}

static void _large(void **state)
{
    static const char *const units[] = {
        "[", "{",   "- ",          "? ", "a: ", "a: 1\n", "\"",
        "x", "&a ", "# comment\n", "\n", "[],", "- {}\n", "- - - - -\n",
    };

    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); ++i) {
        char *text = _repeated(units[i], MIB);

        _check_any(text, MIB);
        free(text);
    }
}

/** A valid file of a megabyte. */
static void _large_valid(void **state)
{
    char *comment = _repeated("# comment\n", MIB);
    char *text = NULL;
    int len = asprintf(&text, "%s\n%s", comment, _good);
    struct loaded l = conf_load_bytes(text, (size_t)len);

    assert_int_equal(l.r, 0);
    conf_unload(&l);
    free(text);
    free(comment);
}

static void _too_large(void **state)
{
    char *text = _repeated("# comment\n", 5 * MIB);
    struct loaded l = conf_load_bytes(text, 5 * MIB);

    assert_int_equal(l.r, -EFBIG);
    assert_string_equal(l.errors, CONF_FILE ":1: file: larger than 4 MiB, expected a configuration\n");
    conf_unload(&l);
    free(text);
}

/** The list of errors ends somewhere. */
static void _many_errors(void **state)
{
    char *text = _repeated("a: 1\n", 5000);
    struct loaded l = conf_load_text(text);
    size_t lines = 0;

    for (const char *p = l.errors; *p; ++p)
        lines += *p == '\n';
    assert_int_equal(lines, 101);
    assert_non_null(strstr(l.errors, CONF_FILE ":101: file: more than 100 errors"));
    conf_unload(&l);
    free(text);
}

/** What the structure check would let through to libcyaml still comes out as one line. */
static void _library_errors(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } rows[] = {
        {"zz: 3\n", ":1: yaml: Unexpected key: zz, expected another value\n"},
        {"listeners:\n- name: x\n  adress: y\n",
         ":2: listeners[0]: Unexpected key: adress, expected another value\n"},
        {"limits:\n  header_count: x\n",
         ":2: limits.header_count: Invalid uint64_t value: 'x', expected another value\n"},
        {"workers: [1]\n", NULL},
        {"a: [\n", NULL},
        {"", NULL},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); ++i) {
        struct conf_errors errors = {.file = CONF_FILE};
        struct raw_conf *raw = NULL;
        char *text = NULL;
        size_t len;

        errors.stream = open_memstream(&text, &len);
        assert_int_equal(conf_raw_load(rows[i].text, strlen(rows[i].text), &errors, &raw), -EINVAL);
        fclose(errors.stream);
        assert_null(raw);
        assert_int_equal(errors.count, 1);
        _check_lines(text);
        if (rows[i].error)
            assert_string_equal(text + strlen(CONF_FILE), rows[i].error);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(_truncated),   cmocka_unit_test(_mutated),        cmocka_unit_test(_removed),
        cmocka_unit_test(_junk),        cmocka_unit_test(_empty),          cmocka_unit_test(_unreadable),
        cmocka_unit_test(_large),       cmocka_unit_test(_large_valid),    cmocka_unit_test(_too_large),
        cmocka_unit_test(_many_errors), cmocka_unit_test(_library_errors),
    };

    return cmocka_run_group_tests(tests, conf_enter_dir, conf_leave_dir);
}
