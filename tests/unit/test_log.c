/*
 * Log lines as they arrive on stderr: a pipe that keeps messages apart stands in for it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/log.h"

static int _stderr;
static int _reader;

static int _redirect(void **state)
{
    int pair[2];
    fflush(stderr);
    _stderr = dup(STDERR_FILENO);
    if (_stderr < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair))
        return -1;
    _reader = pair[0];
    if (dup2(pair[1], STDERR_FILENO) < 0)
        return -1;
    close(pair[1]);
    log_set_level(LOG_LEVEL_INFO);
    return 0;
}

static int _restore(void **state)
{
    dup2(_stderr, STDERR_FILENO);
    close(_stderr);
    close(_reader);
    return 0;
}

/* What one system call wrote; "" for nothing. */
static const char *_line(void)
{
    static char line[4096];
    ssize_t n = recv(_reader, line, sizeof(line) - 1, 0);
    line[n > 0 ? n : 0] = 0;
    return line;
}

static void test_one_line_one_write(void **state)
{
    log_info("a %d %s", 1, "b");
    log_warn("c");
    assert_string_equal(_line(), "skein: info: a 1 b\n");
    assert_string_equal(_line(), "skein: warn: c\n");
    assert_string_equal(_line(), "");
    log_info("%s", "");
    assert_string_equal(_line(), "skein: info: \n");
}

static void test_levels(void **state)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (enum log_level set = LOG_LEVEL_ERROR; set <= LOG_LEVEL_DEBUG; set++) {
        log_set_level(set);
        for (enum log_level level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
            char expected[32] = "";
            if (level <= set)
                snprintf(expected, sizeof(expected), "skein: %s: x\n", names[level]);
            log_line(level, "x");
            assert_string_equal(_line(), expected);
        }
    }
}

static void test_line_feeds_become_spaces(void **state)
{
    log_error("a\nb\n\nc\n");
    assert_string_equal(_line(), "skein: error: a b  c \n");
    log_error("%s", "x\ny");
    assert_string_equal(_line(), "skein: error: x y\n");
}

static void test_long_lines_are_cut(void **state)
{
    char text[3000];
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = 0;
    for (size_t cut = 0; cut < sizeof(text) - 1; cut += 7) {
        log_error("%s", text + cut);
        const char *line = _line();
        size_t len = strlen(line), whole = strlen("skein: error: \n") + sizeof(text) - 1 - cut;
        assert_true(len == whole || (len < whole && len > 1000));
        assert_ptr_equal(strchr(line, '\n'), line + len - 1);
        assert_memory_equal(line, "skein: error: ", 14);
        assert_int_equal(strspn(line + 14, "x"), len - 15);
    }
}

static void test_error_r(void **state)
{
    assert_int_equal(log_error_r(-EINVAL, "no %s", "way"), -EINVAL);
    assert_string_equal(_line(), "skein: error: no way\n");
}

static void test_parse_level(void **state)
{
    enum log_level level = LOG_LEVEL_WARN;
    assert_int_equal(log_parse_level("", &level), -EINVAL);
    assert_int_equal(log_parse_level("ERROR", &level), -EINVAL);
    assert_int_equal(log_parse_level("info ", &level), -EINVAL);
    assert_int_equal(log_parse_level("2", &level), -EINVAL);
    assert_int_equal(level, LOG_LEVEL_WARN);
    assert_int_equal(log_parse_level("error", &level), 0);
    assert_int_equal(level, LOG_LEVEL_ERROR);
    assert_int_equal(log_parse_level("warn", &level), 0);
    assert_int_equal(level, LOG_LEVEL_WARN);
    assert_int_equal(log_parse_level("info", &level), 0);
    assert_int_equal(level, LOG_LEVEL_INFO);
    assert_int_equal(log_parse_level("debug", &level), 0);
    assert_int_equal(level, LOG_LEVEL_DEBUG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_line_one_write, _redirect, _restore),
        cmocka_unit_test_setup_teardown(test_levels, _redirect, _restore),
        cmocka_unit_test_setup_teardown(test_line_feeds_become_spaces, _redirect, _restore),
        cmocka_unit_test_setup_teardown(test_long_lines_are_cut, _redirect, _restore),
        cmocka_unit_test_setup_teardown(test_error_r, _redirect, _restore),
        cmocka_unit_test(test_parse_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
