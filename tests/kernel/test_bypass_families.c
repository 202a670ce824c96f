/*
 * Hazard: the two ends of one connection name it differently when IPv4 is spoken through an IPv6 socket. They
 * are found all the same, on either side.
 */
#include "bypass_helper.h"

static void test_families(void **state)
{
    static const struct bypass_place places[] = {
        {.client_family = AF_INET, .server_family = AF_INET},
        {.client_family = AF_INET6, .server_family = AF_INET6},
        {.client_family = AF_INET, .server_family = AF_INET6},
        {.client_family = AF_INET6, .server_family = AF_INET, .mapped = true},
        {.client_family = AF_INET6, .server_family = AF_INET6, .mapped = true},
    };
    enum { N = sizeof(places) / sizeof(*places) };
    struct bench *b = *state;
    for (int i = 0; i < N; i++) {
        struct wire *down = bypass_pair(b, false, &places[i]), *up = bypass_pair(b, true, &places[N - 1 - i]);
        assert_int_equal(bypass_tie(b, down), BYPASS_OK);
        assert_int_equal(bypass_tie(b, up), BYPASS_OK);
        for (int j = 0; j < 3; j++)
            bypass_exchange(b, down, up);
        bench_close(b, down);
        bench_close(b, up);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BENCH_TEST(test_families),
    };
    return BYPASS_MAIN("bypass_families", tests);
}
