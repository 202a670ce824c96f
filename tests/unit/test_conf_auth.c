/*
 * Passwords: where they come from, that no error shows one, and that none outlives the configuration.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <sys/stat.h>

#include "conf_rows.h"

#define PASSWORD "s3cr3t-Pa55"
#define OTHER    "0ther-Pa55"
#define SECRET   "secret.txt"

/* Wrapped by the linker: looks for passwords in what conf_free() gives back. */
void __real_free(void *p);
void __wrap_free(void *p);

static bool _watching;
static unsigned _freed;
static unsigned _leaked;

void __wrap_free(void *p)
{
    size_t size = p && _watching ? malloc_usable_size(p) : 0;

    _freed += size != 0;
    if (size && (memmem(p, size, PASSWORD, strlen(PASSWORD)) || memmem(p, size, OTHER, strlen(OTHER))))
        _leaked++;
    __real_free(p);
}

/* The listener's auth is on line 6, the cluster's on line 9. */
#define AUTH(listener, cluster)                                                                              \
    "listeners:\n  - name: r\n    address: \"127.0.0.1:1\"\n    protocol: redis\n    cluster: c\n"           \
    "    redis: { auth: " listener " }\n"                                                                    \
    "clusters:\n  - name: c\n    redis: { auth: " cluster " }\n    lb_policy: crc16_slots\n"                 \
    "    endpoints: [ { address: \"127.0.0.1:2\" } ]\n"
#define GOOD "{ password: x }"

static void _write_to(const char *file, const char *bytes, size_t len)
{
    FILE *f = fopen(file, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    fclose(f);
}

static void _write(const char *text)
{
    _write_to(SECRET, text, strlen(text));
}

static void _expect_password(const char *password)
{
    struct loaded l =
        conf_load_text(AUTH("{ password_file: " SECRET " }", "{ password_file: ./" SECRET " }"));

    if (l.r || *l.errors)
        fail_msg("%d: %s", l.r, l.errors);
    assert_string_equal(l.conf->listeners[0].redis.user, "default");
    assert_string_equal(l.conf->listeners[0].redis.password, password);
    assert_null(l.conf->clusters[0].redis.user);
    assert_string_equal(l.conf->clusters[0].redis.password, password);
    conf_unload(&l);
}

static void _first_line(void **state)
{
    char longest[4096 + 1];

    _write("pw");
    _expect_password("pw");
    _write("pw\n");
    _expect_password("pw");
    _write("pw\r\n");
    _expect_password("pw");
    _write(" p w \nsecond\n");
    _expect_password(" p w ");
    _write("a\rb\n\n");
    _expect_password("a\rb");

    memset(longest, 'x', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    _write(longest);
    _expect_password(longest);
    unlink(SECRET);
}

/** Beside the configuration, wherever the process stands; absolute paths as they are. */
static void _relative(void **state)
{
    char text[1024];
    char cwd[256];
    struct loaded l;

    assert_non_null(getcwd(cwd, sizeof(cwd)));
    snprintf(text, sizeof(text), AUTH("{ password_file: " SECRET " }", "{ password_file: %s/" SECRET " }"),
             cwd);
    assert_int_equal(mkdir("sub", 0700), 0);
    _write_to("sub/" CONF_FILE, text, strlen(text));
    _write_to("sub/" SECRET, "below\n", 6);
    _write("here\n");

    l = conf_load_file("sub/" CONF_FILE);
    assert_string_equal(l.errors, "");
    assert_string_equal(l.conf->listeners[0].redis.password, "below");
    assert_string_equal(l.conf->clusters[0].redis.password, "here");
    conf_unload(&l);

    unlink("sub/" CONF_FILE);
    unlink("sub/" SECRET);
    unlink(SECRET);
    assert_int_equal(rmdir("sub"), 0);
}

#define IN_LISTENER "6: listeners[0].redis.auth"
#define IN_CLUSTER  "9: clusters[0].redis.auth"
#define ONE_OF      ", expected one of: password, password_file"
#define FILE_RULE   ", expected a readable file of at most 4 KiB whose first line is the password"
#define USER_RULE   " is not the name of a user, expected 1 to 255 bytes without spaces"

static void _bad_keys(void **state)
{
    static const struct row rows[] = {
        {AUTH("{}", "{ user: u }"), IN_CLUSTER ": neither password nor password_file" ONE_OF "\n" IN_LISTENER
                                               ": neither password nor password_file" ONE_OF},
        {AUTH("{ password: " PASSWORD ", password_file: " SECRET " }", GOOD),
         IN_LISTENER ": both password and password_file" ONE_OF},
        {AUTH(GOOD, "{ password: " PASSWORD ", password_file: " SECRET " }"),
         IN_CLUSTER ": both password and password_file" ONE_OF},
        {AUTH("{ password: \"\" }", GOOD),
         IN_LISTENER ".password: empty, expected a password of 1 to 4096 bytes"},
        {AUTH("{ user: \"\", password: " PASSWORD " }", GOOD), IN_LISTENER ".user: \"\"" USER_RULE},
        {AUTH(GOOD, "{ user: \"a b\", password: " PASSWORD " }"), IN_CLUSTER ".user: \"a b\"" USER_RULE},
        {AUTH("{ pass: " PASSWORD " }", GOOD),
         IN_LISTENER ".pass: unknown key, expected one of: user, password, password_file"},
        {AUTH("{ password: [ " PASSWORD " ] }", GOOD),
         IN_LISTENER ".password: found a list, expected a string"},
        {AUTH(PASSWORD, GOOD), IN_LISTENER ": found a single value, expected a mapping of keys to values"},
        {AUTH("{ password: }", GOOD),
         IN_LISTENER ".password: found nothing, expected a string (\"\" for an empty one)"},
    };

    RUN(rows);
}

static void _too_long(void **state)
{
    char password[4097 + 1];
    char text[8192];
    struct loaded l;

    memset(password, 'x', sizeof(password) - 1);
    password[sizeof(password) - 1] = '\0';
    snprintf(text, sizeof(text), AUTH("{ password: %s }", GOOD), password);
    l = conf_load_text(text);
    assert_int_equal(l.r, -EINVAL);
    assert_string_equal(l.errors, CONF_FILE ":" IN_LISTENER
                                            ".password: too long, expected a password of 1 to 4096 bytes\n");
    conf_unload(&l);
}

static void _expect_bad_file(const char *problem)
{
    char expected[512];
    struct loaded l = conf_load_text(AUTH("{ password: x }", "{ password_file: " SECRET " }"));

    snprintf(expected, sizeof(expected), CONF_FILE ":" IN_CLUSTER ".password_file: %s" FILE_RULE "\n",
             problem);
    assert_int_equal(l.r, -EINVAL);
    assert_string_equal(l.errors, expected);
    assert_null(l.conf);
    conf_unload(&l);
}

static void _bad_files(void **state)
{
    char large[4097];

    _expect_bad_file("the file can not be read (No such file or directory)");
    assert_int_equal(mkdir(SECRET, 0700), 0);
    _expect_bad_file("the file can not be read (Is a directory)");
    assert_int_equal(rmdir(SECRET), 0);

    _write("");
    _expect_bad_file("the first line of the file is empty");
    _write("\r\n" PASSWORD);
    _expect_bad_file("the first line of the file is empty");
    _write_to(SECRET, PASSWORD "\0x\n", sizeof(PASSWORD "\0x\n") - 1);
    _expect_bad_file("the first line of the file has a NUL byte");
    memset(large, 'x', sizeof(large));
    memcpy(large, PASSWORD "\n", sizeof(PASSWORD));
    _write_to(SECRET, large, sizeof(large));
    _expect_bad_file("the file is larger than 4 KiB");
    unlink(SECRET);
}

/** conf_free() gives back all memory of passwords overwritten. */
static void _overwritten(void **state)
{
    struct loaded l;
    char *probe = strdup("a copy of " PASSWORD);

    _write(OTHER "\n");
    l = conf_load_text(
        AUTH("{ user: app, password: \"" PASSWORD " and more\" }", "{ password_file: " SECRET " }"));
    assert_int_equal(l.r, 0);
    assert_string_equal(l.conf->listeners[0].redis.password, PASSWORD " and more");
    assert_string_equal(l.conf->clusters[0].redis.password, OTHER);

    _freed = 0;
    _leaked = 0;
    _watching = true;
    conf_free(&l.conf);
    _watching = false;
    assert_true(_freed > 5);
    assert_int_equal(_leaked, 0);

    _watching = true; /* And the watch sees what is not overwritten. */
    __wrap_free(probe);
    _watching = false;
    assert_int_equal(_leaked, 1);
    conf_unload(&l);
    unlink(SECRET);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(_first_line), cmocka_unit_test(_relative),  cmocka_unit_test(_bad_keys),
        cmocka_unit_test(_too_long),   cmocka_unit_test(_bad_files), cmocka_unit_test(_overwritten),
    };

    return cmocka_run_group_tests(tests, conf_enter_dir, conf_leave_dir);
}
