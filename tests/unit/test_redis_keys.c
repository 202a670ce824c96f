#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "parsers/redis_commands.h"

#define ARGS_MAX 64

static struct resp_arg args[ARGS_MAX];
static uint32_t argc;

/* Arguments are separated by a space; '' is an empty one. */
static const struct redis_command *_split(const char *line)
{
    argc = 0;
    for (const char *at = line; *at;) {
        size_t len = strcspn(at, " ");
        assert_true(argc < ARGS_MAX);
        args[argc++] =
            (struct resp_arg){(uint32_t)(at - line), strncmp(at, "''", 2) == 0 ? 0 : (uint32_t)len};
        at += len + (at[len] == ' ');
    }
    const struct redis_command *c = redis_command_find(line, args[0].len);
    assert_non_null(c);
    if (c->n_subs > 0)
        c = redis_subcommand_find(c, line + args[1].off, args[1].len);
    assert_non_null(c);
    return c;
}

static const struct {
    const char *line;
    const char *keys; /* NULL: -EINVAL */
} cases[] = {
    /* One key, at a fixed place. */
    {"GET k", "1"},
    {"get ''", "1"},
    {"SET k v EX 10 GET", "1"},
    {"BITFIELD k GET u8 0 SET u8 0 1", "1"},
    {"OBJECT ENCODING k", "2"},
    {"MEMORY USAGE k SAMPLES 5", "2"},
    {"XINFO STREAM k FULL", "2"},
    {"XGROUP CREATE k g $ MKSTREAM", "2"},
    {"XADD k * f v", "1"},
    {"GEORADIUS_RO k 0 0 1 km ASC", "1"},
    {"GET", NULL},
    {"GET a b", NULL},
    {"OBJECT ENCODING", NULL},
    /* Ranges. */
    {"MGET a", "1"},
    {"MGET a b c", "1 2 3"},
    {"PFCOUNT a b", "1 2"},
    {"MSET a 1 b 2", "1 3"},
    {"MSETNX a 1 b 2 c 3", "1 3 5"},
    {"MSET a 1 b", NULL},
    {"RENAME a b", "1 2"},
    {"SMOVE a b m", "1 2"},
    {"LCS a b LEN", "1 2"},
    {"COPY a b DB 1", "1 2"},
    {"BLPOP a 0", "1"},
    {"BLPOP a b 0", "1 2"},
    {"BZPOPMIN a b c 1.5", "1 2 3"},
    {"BLMOVE a b LEFT RIGHT 0", "1 2"},
    {"BRPOPLPUSH a b 0", "1 2"},
    {"BITOP NOT d a", "2 3"},
    {"BITOP AND d a b c", "2 3 4 5"},
    {"SUNIONSTORE d a b", "1 2 3"},
    {"PFMERGE d", "1"},
    {"PFMERGE d a b", "1 2 3"},
    {"GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 km", "1 2"},
    {"ZRANGESTORE d s 0 -1", "1 2"},
    {"WATCH a b", "1 2"},
    {"MGET 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18", "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18"},
    /* A number of keys. */
    {"ZUNION 2 a b WEIGHTS 1 2", "2 3"},
    {"ZUNIONSTORE d 2 a b AGGREGATE MAX", "1 3 4"},
    {"ZINTERSTORE d 1 a", "1 3"},
    {"ZDIFF 3 a b c WITHSCORES", "2 3 4"},
    {"SINTERCARD 2 a b LIMIT 1", "2 3"},
    {"LMPOP 2 a b LEFT COUNT 2", "2 3"},
    {"ZMPOP 1 a MIN", "2"},
    {"BLMPOP 0 2 a b LEFT", "3 4"},
    {"BZMPOP 1.5 1 a MAX", "3"},
    {"EVAL s 2 a b x", "3 4"},
    {"EVALSHA_RO s 1 a", "3"},
    {"FCALL f 1 a x", "3"},
    {"EVAL s 0", ""},
    {"EVAL s 0 x y", ""},
    {"FCALL_RO f 0", ""},
    {"EVAL s 3 a b", NULL},
    {"EVAL s -1 a", NULL},
    {"EVAL s +1 a", NULL},
    {"EVAL s 01 a", NULL},
    {"EVAL s '' a", NULL},
    {"EVAL s 1x a", NULL},
    {"EVAL s 1.0 a", NULL},
    {"EVAL s 4294967297 a", NULL},
    {"EVAL s 18446744073709551617 a", NULL},
    {"ZUNION 0 a", NULL},
    {"ZUNIONSTORE d 0 a", NULL},
    {"ZUNIONSTORE d 2 a", NULL},
    {"LMPOP 3 a LEFT", NULL},
    /* SORT: the last STORE; option values are no options. */
    {"SORT k", "1"},
    {"SORT k STORE d", "1 3"},
    {"SORT k LIMIT 0 10 DESC ALPHA store d", "1 8"},
    {"SORT k STORE a STORE b", "1 5"},
    {"SORT k BY STORE GET STORE", "1"},
    {"SORT k BY STORE STORE d", "1 5"},
    {"SORT k LIMIT STORE 1", "1"},
    {"SORT k STORE by STORE d", "1 5"},
    {"SORT k STORE", "1"},
    {"SORT STORE STORE STORE", "1 3"},
    {"SORT_RO k LIMIT 0 1", "1"},
    {"SORT_RO k STORE d", "1"},
    /* GEORADIUS: fixed arguments first. */
    {"GEORADIUS k 0 0 1 km", "1"},
    {"GEORADIUS k 0 0 1 km COUNT 1 ANY STORE d", "1 10"},
    {"GEORADIUS k 0 0 1 km STOREDIST d", "1 7"},
    {"GEORADIUS k 0 0 1 km STORE STORE STORE d", "1 7 9"},
    {"GEORADIUS k 0 0 1 km STORE", "1"},
    {"GEORADIUS k 0 0 STORE km STORE d", "1 7"},
    {"GEORADIUSBYMEMBER k STORE 1 km STORE d", "1 6"},
    {"GEORADIUSBYMEMBER k m 1 km DESC STOREDIST d", "1 7"},
    /* Streams. */
    {"XREAD STREAMS a 0", "2"},
    {"XREAD COUNT 2 STREAMS a b 0 0", "4 5"},
    {"XREAD BLOCK 0 COUNT 2 streams a b 0 0", "6 7"},
    {"XREAD STREAMS STREAMS STREAMS", "2"},
    {"XREAD STREAMS a b 0", NULL},
    {"XREAD COUNT 1 a 0", NULL},
    {"XREAD COUNT 1 STREAMS", NULL},
    {"XREAD COUNT STREAMS a 0", NULL},
    {"XREADGROUP GROUP g c STREAMS a >", "5"},
    {"XREADGROUP GROUP g c COUNT 1 BLOCK 5 NOACK STREAMS a b > >", "10 11"},
    {"XREADGROUP GROUP streams c STREAMS a >", "5"},
    {"XREADGROUP NOACK GROUP g streams STREAMS a >", "6"},
    {"XREADGROUP GROUP g c STREAMS a b >", NULL},
    /* MIGRATE. */
    {"MIGRATE h 1 k 0 5", "3"},
    {"MIGRATE h 1 '' 0 5 KEYS a b", "7 8"},
    {"MIGRATE h 1 '' 0 5 COPY AUTH KEYS KEYS a", "10"},
    {"MIGRATE h 1 '' 0 5 AUTH2 KEYS KEYS KEYS a b", "10 11"},
    {"MIGRATE h 1 k 0 5 AUTH KEYS", "3"},
    {"MIGRATE h 1 '' 0 5 KEYS", NULL},
    {"MIGRATE h 1 k 0 5 KEYS a", NULL},
    /* None. */
    {"PING x", ""},
    {"PUBLISH c m", ""},
    {"SPUBLISH c m", ""},
    {"SSUBSCRIBE a b", ""},
    {"SUNSUBSCRIBE", ""},
    {"KEYS *", ""},
    {"CONFIG GET x", ""},
    {"PING a b c", ""},
};

static const char *_keys_of(const char *line, struct redis_keys *keys)
{
    static char out[512];
    const struct redis_command *c = _split(line);
    int rc = redis_command_keys(c, line, args, argc, keys);
    if (rc) {
        assert_int_equal(rc, -EINVAL);
        assert_int_equal(keys->n, 0);
        return NULL;
    }
    size_t n = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < keys->n; i++)
        n += (size_t)snprintf(out + n, sizeof(out) - n, "%s%u", i ? " " : "", keys->at[i]);
    return out;
}

/* One set of keys for all commands: nothing of one is left for the next. */
static void test_cases(void **state)
{
    struct redis_keys keys = {0};
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *found = _keys_of(cases[i].line, &keys);
        if (!found != !cases[i].keys || (found && strcmp(found, cases[i].keys) != 0))
            fail_msg("%s: keys %s, expected %s", cases[i].line, found ? found : "unknown",
                     cases[i].keys ? cases[i].keys : "unknown");
        if (found && _split(cases[i].line)->flags & REDIS_ONE_KEY)
            assert_true(keys.n == 1 && keys.at[0] == (uint32_t)_split(cases[i].line)->first_key);
    }
    redis_keys_free(&keys);
}

static bool _by_pattern(const char *line)
{
    struct redis_keys keys = {0};
    _keys_of(line, &keys);
    bool by_pattern = keys.by_pattern;
    redis_keys_free(&keys);
    return by_pattern;
}

static void test_sort_patterns(void **state)
{
    assert_false(_by_pattern("SORT k BY nosort GET # DESC"));
    assert_true(_by_pattern("SORT k BY w_*"));
    assert_true(_by_pattern("SORT k GET # GET o_*->f"));
    assert_true(_by_pattern("SORT_RO k BY w_*"));
    assert_false(_by_pattern("SORT k* STORE a*"));
}

static bool _blocks(const char *line)
{
    struct redis_keys keys = {0};
    _keys_of(line, &keys);
    bool blocks = keys.blocks;
    redis_keys_free(&keys);
    return blocks;
}

static void test_blocks(void **state)
{
    assert_true(_blocks("XREAD BLOCK 0 STREAMS a $"));
    assert_true(_blocks("XREAD COUNT 1 block 0 STREAMS a $"));
    assert_true(_blocks("XREADGROUP GROUP g c BLOCK 1 STREAMS a >"));
    assert_false(_blocks("XREADGROUP GROUP block block STREAMS a >"));
    assert_false(_blocks("XREAD COUNT 1 STREAMS BLOCK 0"));
}

static void test_many(void **state)
{
    enum { MANY = 5000 };
    static struct resp_arg many[MANY];
    struct redis_keys keys = {0};
    const struct redis_command *c = redis_command_find("del", 3);
    for (size_t i = 0; i < MANY; i++)
        many[i] = (struct resp_arg){0, 3};
    assert_int_equal(redis_command_keys(c, "del", many, MANY, &keys), 0);
    assert_int_equal(keys.n, MANY - 1);
    for (uint32_t i = 0; i < keys.n; i++)
        assert_int_equal(keys.at[i], i + 1);
    assert_int_equal(redis_command_keys(c, "del", many, 2, &keys), 0);
    assert_int_equal(keys.n, 1);
    redis_keys_free(&keys);
    redis_keys_free(&keys);
    assert_null(keys.at);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_sort_patterns),
        cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
