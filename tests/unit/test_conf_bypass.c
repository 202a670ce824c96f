/*
 * What is excepted from the bypass.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "conf_rows.h"

/* A file whose listeners are a and b, and whose clusters are c and d. */
#define REST                                                                                                 \
    "listeners:\n" LISTENER("a", "127.0.0.1:1", "c")                                                         \
        LISTENER("b", "127.0.0.1:2", "d") "clusters:\n" CLUSTER("c", "127.0.0.1:3")                          \
            CLUSTER("d", "127.0.0.1:4")

/* The lists of exceptions begin on line 3. */
#define EXCEPT(lists) "bypass:\n  except:\n" lists REST

static struct loaded _load_good(const char *text)
{
    struct loaded l = conf_load_text(text);

    if (l.r || *l.errors)
        fail_msg("%s%d: %s", text, l.r, l.errors);

    return l;
}

static void _all(void **state)
{
    struct loaded l = _load_good(EXCEPT("    listeners: [ b ]\n"
                                        "    clusters:\n"
                                        "      - c\n"
                                        "    cgroups:\n"
                                        "      - /sys/fs/cgroup/system.slice/x.service\n"
                                        "      - system.slice/x.service\n"
                                        "      - ...\n"
                                        "      - \"a b/.c/..d\"\n"));
    const struct conf *c = l.conf;

    assert_false(c->listeners[0].bypass_except);
    assert_true(c->listeners[1].bypass_except);
    assert_true(c->clusters[0].bypass_except);
    assert_false(c->clusters[1].bypass_except);
    assert_int_equal(c->bypass.n_cgroups, 4);
    assert_string_equal(c->bypass.cgroups[0], "/sys/fs/cgroup/system.slice/x.service");
    assert_string_equal(c->bypass.cgroups[1], "system.slice/x.service");
    assert_string_equal(c->bypass.cgroups[2], "...");
    assert_string_equal(c->bypass.cgroups[3], "a b/.c/..d");
    assert_int_equal(c->datapath.bypass, CONF_AUTO);
    conf_unload(&l);
}

static void _none(void **state)
{
    static const char *const texts[] = {REST, "bypass: {}\n" REST, "bypass: { except: {} }\n" REST,
                                        "datapath: { bypass: off }\nbypass: { except: {} }\n" REST};

    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); ++i) {
        struct loaded l = _load_good(texts[i]);

        for (size_t j = 0; j < 2; ++j) {
            assert_false(l.conf->listeners[j].bypass_except);
            assert_false(l.conf->clusters[j].bypass_except);
        }
        assert_int_equal(l.conf->bypass.n_cgroups, 0);
        assert_null(l.conf->bypass.cgroups);
        conf_unload(&l);
    }
}

static void _structure(void **state)
{
    static const struct row rows[] = {
        {"bypass: on\n" REST, "1: bypass: found a single value, expected a mapping of keys to values"},
        {"bypass:\n  excpet: {}\n" REST, "2: bypass.excpet: unknown key, expected one of: except"},
        {"bypass:\n  except: [ a ]\n" REST,
         "2: bypass.except: found a list, expected a mapping of keys to values"},
        {EXCEPT("    listener: [ a ]\n"),
         "3: bypass.except.listener: unknown key, expected one of: listeners, clusters, cgroups"},
        {EXCEPT("    listeners: a\n    clusters: []\n    cgroups:\n      - [ x ]\n"),
         "3: bypass.except.listeners: found a single value, expected a list\n"
         "4: bypass.except.clusters: found 0 entries, expected at least 1\n"
         "6: bypass.except.cgroups[0]: found a list, expected a string"},
        {EXCEPT("    cgroups: [ a ]\n    cgroups: [ b ]\n"),
         "4: bypass.except.cgroups: duplicate key, first on line 3, expected it once"},
    };

    RUN(rows);
}

static void _names(void **state)
{
    static const struct row rows[] = {
        {EXCEPT("    listeners:\n      - a\n      - c\n"),
         "5: bypass.except.listeners[1]: no listener named \"c\", expected one of: a, b"},
        {EXCEPT("    clusters: [ c, a, \"\" ]\n"),
         "3: bypass.except.clusters[1]: no cluster named \"a\", expected one of: c, d\n"
         "3: bypass.except.clusters[2]: no cluster named \"\", expected one of: c, d"},
        {"bypass: { except: { clusters: [ c ] } }\n" WEB,
         "1: bypass.except.clusters[0]: no cluster named \"c\", expected a section clusters that has it"},
        {EXCEPT("    listeners: [ a, b, a,\n      a ]\n"),
         "3: bypass.except.listeners[2]: entry [0] is \"a\" too, expected it once\n"
         "4: bypass.except.listeners[3]: entry [0] is \"a\" too, expected it once"},
        {EXCEPT("    clusters: [ c, d, d ]\n"),
         "3: bypass.except.clusters[2]: entry [1] is \"d\" too, expected it once"},
        {"bypass: { except: { listeners: [ x ] } }\n"
         "listeners:\n" LISTENER("a", "127.0.0.1:1", "c") LISTENER("b", "127.0.0.1:2", "c")
             LISTENER("d", "127.0.0.1:3", "c") LISTENER("e", "127.0.0.1:4", "c")
                 LISTENER("f", "127.0.0.1:5", "c") LISTENER("g", "127.0.0.1:6", "c")
                     LISTENER("h", "127.0.0.1:7", "c") LISTENER("i", "127.0.0.1:8", "c")
                         LISTENER("j", "127.0.0.1:9", "c") "clusters:\n" CLUSTER("c", "127.0.0.1:10"),
         "1: bypass.except.listeners[0]: no listener named \"x\", expected one of: a, b, d, e, f, g, h, i, "
         "..."},
    };

    RUN(rows);
}

#define PATH  ", expected a path such as /sys/fs/cgroup/system.slice/x or system.slice/x"
#define EMPTY ": nothing before, after or between slashes" PATH
#define DOTS  ": a part that is . or .." PATH

static void _cgroups(void **state)
{
    static const struct row rows[] = {
        {EXCEPT("    cgroups:\n      - \"\"\n      - /\n      - //a\n      - a//b\n      - a/\n"),
         "4: bypass.except.cgroups[0]: \"\": empty" PATH "\n"
         "5: bypass.except.cgroups[1]: \"/\"" EMPTY "\n"
         "6: bypass.except.cgroups[2]: \"//a\"" EMPTY "\n"
         "7: bypass.except.cgroups[3]: \"a//b\"" EMPTY "\n"
         "8: bypass.except.cgroups[4]: \"a/\"" EMPTY},
        {EXCEPT("    cgroups:\n      - ..\n      - .\n      - /a/../b\n      - a/..\n      - ./a\n"),
         "4: bypass.except.cgroups[0]: \"..\"" DOTS "\n"
         "5: bypass.except.cgroups[1]: \".\"" DOTS "\n"
         "6: bypass.except.cgroups[2]: \"/a/../b\"" DOTS "\n"
         "7: bypass.except.cgroups[3]: \"a/..\"" DOTS "\n"
         "8: bypass.except.cgroups[4]: \"./a\"" DOTS},
        {EXCEPT("    cgroups:\n      - a/b\n      - /a/b\n      - a/b\n      - /a/b\n"),
         "6: bypass.except.cgroups[2]: entry [0] is \"a/b\" too, expected it once\n"
         "7: bypass.except.cgroups[3]: entry [1] is \"/a/b\" too, expected it once"},
    };

    RUN(rows);
}

/** A file with `n` cgroups whose paths have `len` bytes. */
static struct loaded _load_many(unsigned n, int len)
{
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    struct loaded l;

    assert_non_null(f);
    fprintf(f, "bypass:\n  except:\n    cgroups:\n");
    for (unsigned i = 0; i < n; ++i)
        fprintf(f, "      - x%0*u\n", len - 1, i);
    fprintf(f, REST);
    fclose(f);
    l = conf_load_text(text);
    free(text);

    return l;
}

static void _bounds(void **state)
{
    struct loaded l = _load_many(64, 1023);

    assert_string_equal(l.errors, "");
    assert_int_equal(l.r, 0);
    assert_int_equal(l.conf->bypass.n_cgroups, 64);
    assert_int_equal(strlen(l.conf->bypass.cgroups[63]), 1023);
    conf_unload(&l);

    l = _load_many(65, 2);
    assert_int_equal(l.r, -EINVAL);
    assert_string_equal(l.errors,
                        CONF_FILE ":3: bypass.except.cgroups: found 65 entries, expected at most 64\n");
    conf_unload(&l);

    l = _load_many(1, 1024);
    assert_int_equal(l.r, -EINVAL);
    assert_non_null(strstr(l.errors, CONF_FILE ":4: bypass.except.cgroups[0]: \"x0000"));
    assert_non_null(strstr(l.errors, "...\": too long, expected at most 1023 bytes\n"));
    conf_unload(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(_all),   cmocka_unit_test(_none),    cmocka_unit_test(_structure),
        cmocka_unit_test(_names), cmocka_unit_test(_cgroups), cmocka_unit_test(_bounds),
    };

    return cmocka_run_group_tests(tests, conf_enter_dir, conf_leave_dir);
}
