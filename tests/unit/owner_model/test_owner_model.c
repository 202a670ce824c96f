/*
 * Every scenario in all its interleavings: nothing may go wrong. Given a property and a scenario, the program
 * is built from changed sources: there that property has to break.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "model.h"

static struct result _explore(const struct scenario *s)
{
    clock_t begin = clock();
    struct result r = explore(s);
    printf("%s: %zu states, %zu steps, %.1f s: %s\n", s->name, r.states, r.steps,
           (double)(clock() - begin) / CLOCKS_PER_SEC, r.violation ? r.violation : "nothing wrong");
    return r;
}

static void test_scenarios(void **state)
{
    for (const struct scenario *s = scenarios; s->name; s++) {
        struct result r = _explore(s);
        if (r.violation) {
            print_trace();
            fail_msg("%s", r.violation);
        }
        assert_true(r.states > 1000);
    }
    printf("points:");
    for (unsigned f = 0; f < FIELDS; f++)
        printf("%s%s", points >> f & 1 ? " " : "", points >> f & 1 ? field_name(f) : "");
    printf("\n");
}

static int _expect_broken(const char *property, const char *scenario)
{
    const struct scenario *s = scenarios;
    while (s->name && strcmp(s->name, scenario))
        s++;
    if (!s->name)
        return 2;
    struct result r = _explore(s);
    print_trace();
    return !r.violation || strncmp(r.violation, property, strlen(property));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_scenarios)};
    if (argc == 3)
        return _expect_broken(argv[1], argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
