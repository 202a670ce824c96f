/*
 * Fields and cookies in a framed head, and the hash of their values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "parsers/http1_find.h"

/* FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/), written down as it is there. */
static uint32_t _fnv(const char *text)
{
    uint64_t hash = 14695981039346656037ULL;
    for (; *text; text++) {
        hash ^= (unsigned char)*text;
        hash *= 1099511628211ULL;
    }
    return (uint32_t)(hash ^ hash >> 32);
}

static void test_hash(void **state)
{
    static const struct {
        const char *text;
        uint64_t hash; /* From the test vectors of its authors. */
    } vectors[] = {
        {"", 0xcbf29ce484222325ULL}, {"a", 0xaf63dc4c8601ec8cULL}, {"foobar", 0x85944171f73967e8ULL}};
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        unsigned long long hash = HTTP1_HASH_BASIS;
        for (const char *p = vectors[i].text; *p; p++)
            hash = http1_hash_step(hash, (unsigned char)*p);
        assert_true(hash == vectors[i].hash);
        assert_int_equal(http1_hash_fold(hash), _fnv(vectors[i].text));
    }
}

/* What a head with these field lines is hashed by. @return false: by nothing. */
static bool _find(const char *fields, const char *field, const char *cookie, uint32_t *hash)
{
    static struct http1_window w;
    struct http1_find f;
    struct http1_name name, inner;
    /* Behind the head lies what an earlier one has left. */
    memset(w.bytes, 'x', sizeof(w.bytes));
    size_t n = (size_t)snprintf((char *)w.bytes, sizeof(w.bytes), "GET /x-user:a HTTP/1.1\r\n%s\r\n", fields);
    memcpy(w.bytes + n, "X-User: behind\r\nCookie: sid=behind\r\n\r\n", 38);
    http1_name_set(&name, field, ':');
    assert_int_equal(http1_find_field(&w, (unsigned)n, &name, &f), 0);
    if (f.off && cookie) {
        http1_name_set(&inner, cookie, '=');
        assert_int_equal(http1_find_cookie(&w, &inner, &f), 0);
    }
    if (!f.off)
        return false;
    assert_int_equal(http1_hash_found(&w, cookie ? ';' : '\r', &f), 0);
    *hash = http1_hash_fold(f.hash);
    return f.any;
}

struct row {
    const char *fields;
    const char *value; /**< NULL: not there, or nothing but spaces. */
};

static void _run(const struct row *rows, size_t n, const char *field, const char *cookie)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t hash = 0;
        bool found = _find(rows[i].fields, field, cookie, &hash);
        if (found != (rows[i].value != NULL) || (found && hash != _fnv(rows[i].value)))
            fail_msg("row %zu: %s: %s", i, rows[i].fields, found ? "another value" : "nothing");
    }
}

static void test_fields(void **state)
{
    static const struct row rows[] = {
        {"X-User: a\r\n", "a"},
        {"Host: h\r\nX-User:a\r\nX-User: b\r\n", "a"},
        {"x-USER: \t A b \t c;d=e \t\r\n", "A b \t c;d=e"},
        {"X-User2: b\r\nX-Use: c\r\nXX-User: d\r\nX-User: a\r\n", "a"},
        {"X-User: \xff\xe4\r\n", "\xff\xe4"},
        {"X-Other: X-User: a\r\n", NULL},
        {"X-User:\r\nX-User: b\r\n", NULL},
        {"X-User: \t \r\nX-Other: b\r\n", NULL},
        {"", NULL},
        {"X-User-: a\r\n", NULL},
        {"X_User: a\r\nX\rUser: b\r\n", NULL},
    };
    _run(rows, sizeof(rows) / sizeof(rows[0]), "x-user", NULL);
}

static void test_cookies(void **state)
{
    static const struct row rows[] = {
        {"Cookie: sid=a\r\n", "a"},
        {"COOKIE:sid=a; sid=b\r\n", "a"},
        {"Cookie: a=b; sid=c d ; e=f\r\n", "c d"},
        {"Cookie: sidx=a; xsid=b; SID=c; sid=d\r\n", "d"},
        {"Cookie: a=sid=b;sid=c=d\r\n", "c=d"},
        {"Cookie: a=\"x; sid=y\"\r\n", "y\""},
        {"Cookie: ; ;  sid=a\r\n", "a"},
        {"Cookie: sid; sid=a\r\n", "a"},
        {"Cookie: sid=\r\n", NULL},
        {"Cookie: sid=; sid=a\r\n", NULL},
        {"Cookie: a sid=b\r\n", NULL},
        {"Cookie: si\r\nd=b: c\r\n", NULL},
        {"Cookie: a=b\r\nCookie: sid=c\r\n", NULL},
        {"Cookie:\r\n", NULL},
        {"sid: a\r\nX: sid=a\r\n", NULL},
    };
    _run(rows, sizeof(rows) / sizeof(rows[0]), "cookie", "sid");
}

/* Names and values of every length, up to the end of the window. */
static void test_lengths(void **state)
{
    char fields[HTTP1_WINDOW], value[HTTP1_WINDOW - 64], name[HTTP1_NAME_MAX + 1] = "";
    uint32_t hash;
    for (size_t i = 1; i <= HTTP1_NAME_MAX; i++) {
        memset(name, 'n', i);
        snprintf(fields, sizeof(fields), "%s: v\r\n", name);
        assert_true(_find(fields, name, NULL, &hash));
        assert_int_equal(hash, _fnv("v"));
        snprintf(fields, sizeof(fields), "%sn: v\r\n", name);
        assert_false(_find(fields, name, NULL, &hash));
        snprintf(fields, sizeof(fields), "Cookie: %s=v\r\n", name);
        assert_true(_find(fields, "cookie", name, &hash));
        snprintf(fields, sizeof(fields), "Cookie: %sn=v\r\n", name);
        assert_false(_find(fields, "cookie", name, &hash));
    }
    for (size_t i = 1; i <= 1700; i++) {
        memset(value, 'v', i);
        value[i] = 0;
        snprintf(fields, sizeof(fields), "K: %s\r\n", value);
        assert_true(_find(fields, "k", NULL, &hash));
        assert_int_equal(hash, _fnv(value));
    }
}

static void test_null(void **state)
{
    struct http1_window w = {{0}};
    struct http1_name name = {.len = 0};
    struct http1_find f;
    assert_int_equal(http1_find_field(NULL, 1, &name, &f), -1);
    assert_int_equal(http1_find_field(&w, 1, NULL, &f), -1);
    assert_int_equal(http1_find_field(&w, 1, &name, NULL), -1);
    assert_int_equal(http1_find_cookie(NULL, &name, &f), -1);
    assert_int_equal(http1_find_cookie(&w, NULL, &f), -1);
    assert_int_equal(http1_find_cookie(&w, &name, NULL), -1);
    assert_int_equal(http1_hash_found(NULL, 0, &f), -1);
    assert_int_equal(http1_hash_found(&w, 0, NULL), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_hash), cmocka_unit_test(test_fields),
                                       cmocka_unit_test(test_cookies), cmocka_unit_test(test_lengths),
                                       cmocka_unit_test(test_null)};
    return cmocka_run_group_tests_name("http1_find", tests, NULL, NULL);
}
