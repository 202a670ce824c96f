/*
 * Forms of a path, and which paths have only one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "parsers/http1_path.h"

/** Whether one of the forms is `expected`. Buffers are exact, for the sanitizer. */
static bool _has(const char *path, const char *expected)
{
    size_t len = strlen(path);
    bool found = false;
    for (unsigned form = 0; form < HTTP1_PATH_FORMS; form++) {
        char *in = malloc(len), *out = malloc(len);
        assert_non_null(in);
        assert_non_null(out);
        memcpy(in, path, len);
        size_t n = http1_path_form(form, in, len, out);
        assert_in_range(n, 1, len);
        assert_int_equal(out[0], '/');
        found |= n == strlen(expected) && memcmp(out, expected, n) == 0;
        free(in);
        free(out);
    }
    return found;
}

static void test_plain(void **state)
{
    static const char *const plain[] = {"/", "/a", "/a/", "/a/b.c", "/a..b", "/a/b=c,d", "/~a/-_"};
    static const char *const odd[] = {"//",     "/.",    "/..",    "/a/./b", "/a//b", "/%61",
                                      "/a%2fb", "/a\\b", "/a;b/c", "/.a",    "/a/.."};
    for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++) {
        assert_true(http1_path_is_plain(plain[i], strlen(plain[i])));
        /* What is plain has one form. */
        for (unsigned form = 0; form < HTTP1_PATH_FORMS; form++) {
            char out[32];
            assert_int_equal(http1_path_form(form, plain[i], strlen(plain[i]), out), strlen(plain[i]));
            assert_memory_equal(out, plain[i], strlen(plain[i]));
        }
    }
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        assert_false(http1_path_is_plain(odd[i], strlen(odd[i])));
}

/* RFC 3986 5.2.4. */
static void test_dot_segments(void **state)
{
    char out[64];
    static const char *const cases[][2] = {{"/a/b/c/./../../g", "/a/g"},
                                           {"/..", "/"},
                                           {"/../a", "/a"},
                                           {"/a/..", "/"},
                                           {"/a/.", "/a/"},
                                           {"/a/../../b", "/b"},
                                           {"/./a", "/a"},
                                           {"/a/b/..", "/a/"},
                                           {"/.", "/"},
                                           {"/a/.b/..c", "/a/.b/..c"},
                                           {"/a//../b", "/a/b"},
                                           {"/a/..//b", "//b"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t n = http1_path_form(0, cases[i][0], strlen(cases[i][0]), out);
        out[n] = 0;
        assert_string_equal(out, cases[i][1]);
    }
}

static void test_readings(void **state)
{
    assert_true(_has("/public/../admin", "/admin"));
    assert_true(_has("/public/%2e%2E/admin", "/admin"));
    assert_true(_has("/public/..%2fadmin", "/admin"));
    assert_true(_has("/public/..%5cadmin", "/admin"));
    assert_true(_has("/public/..\\admin", "/admin"));
    assert_true(_has("//admin", "/admin"));
    assert_true(_has("/%61dmin", "/admin"));
    assert_true(_has("/public/..;x=y/admin", "/admin"));
    assert_true(_has("/public/%2e%2e%3b/admin", "/admin"));
    assert_true(_has("/admin;x", "/admin"));
    assert_true(_has("/public/a//..//../admin", "/public/a/admin"));
    assert_true(_has("/public/a//..//../admin", "/admin"));
    assert_true(_has("/a%2fb", "/a%2fb"));
    assert_true(_has("/a%", "/a%"));
    assert_true(_has("/a%4", "/a%4"));
    assert_true(_has("/a%zz", "/a%zz"));
    assert_false(_has("/public/admin", "/admin"));
    assert_false(_has("/public/...", "/"));
}

/* Everything short over the characters that matter: no form reads or writes outside. */
static void test_all_short_paths(void **state)
{
    static const char alphabet[] = "/.%2fe\\;a5cC";
    size_t base = sizeof(alphabet) - 1;
    for (size_t number = 0; number < base * base * base * base; number++) {
        char path[] = "/....";
        size_t rest = number;
        for (size_t i = 1; i < 5; i++, rest /= base)
            path[i] = alphabet[rest % base];
        _has(path, "");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_dot_segments),
        cmocka_unit_test(test_readings),
        cmocka_unit_test(test_all_short_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
