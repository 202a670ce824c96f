#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "parsers/redis_commands.h"

static const struct redis_command *_find(const char *name)
{
    return redis_command_find_path(name, strlen(name));
}

/* Every command is found by its name in any case, by no prefix, and has an id of its own. */
static void test_find_all(void **state)
{
    size_t count = redis_commands_count(), seen = 0;
    bool *ids = calloc(count, sizeof(*ids));
    const struct redis_command *c;
    assert_non_null(ids);
    for (size_t i = 0; (c = redis_command_at(i)); i++) {
        char upper[64] = "";
        size_t len = strlen(c->name);
        assert_int_equal(c->name_len, len);
        for (size_t k = 0; k < len; k++)
            upper[k] = (char)(c->name[k] >= 'a' && c->name[k] <= 'z' ? c->name[k] - 32 : c->name[k]);
        assert_ptr_equal(redis_command_find(c->name, len), c);
        assert_ptr_equal(redis_command_find(upper, len), c);
        assert_ptr_not_equal(redis_command_find(c->name, len - 1), c);
        assert_ptr_not_equal(redis_command_find(upper, len + 1), c);
        assert_true(c->id < count && !ids[c->id]);
        ids[c->id] = true;
        seen++;
        for (size_t k = 0; k < c->n_subs; k++) {
            const struct redis_command *sub = &c->subs[k];
            assert_true(strncmp(sub->name, c->name, len) == 0 && sub->name[len] == '|');
            assert_ptr_equal(redis_subcommand_find(c, sub->name + len + 1, strlen(sub->name) - len - 1), sub);
            assert_ptr_equal(_find(sub->name), sub);
            assert_null(redis_command_find(sub->name, strlen(sub->name)));
            assert_true(sub->id < count && !ids[sub->id]);
            ids[sub->id] = true;
            seen++;
        }
    }
    assert_int_equal(seen, count);
    free(ids);
}

static void test_find_nothing(void **state)
{
    static const char *const names[] = {
        "",
        "g",
        "gett",
        "get ",
        "post",
        "host:",
        "client|setinfo",
        "|",
        "get|",
        "|get",
        "object|",
        "object|nope",
        "object|freq|",
        "sort\x7fro",
        "sort?ro",
        "GET\r",
        "\xc7\xc5\xd4",
        "object\\freq",
        "a-name-that-is-longer-than-every-other-one-that-redis-has",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (_find(names[i]))
            fail_msg("found: %s", names[i]);
    }
    assert_null(redis_command_find("", 0));
    assert_null(redis_command_find("get\0", 4));
    assert_null(redis_subcommand_find(_find("get"), "x", 1));
    assert_null(redis_subcommand_find(_find("object"), "", 0));
    assert_null(redis_command_at(redis_commands_count()));
    assert_null(redis_command_at(SIZE_MAX));
}

static void test_find_any_case(void **state)
{
    assert_string_equal(_find("gEt")->name, "get");
    assert_string_equal(_find("SORT_RO")->name, "sort_ro");
    assert_string_equal(_find("Restore-Asking")->name, "restore-asking");
    assert_string_equal(_find("OBJECT|Encoding")->name, "object|encoding");
}

static void test_version(void **state)
{
    assert_string_equal(redis_commands_version(), "7.0.15");
}

static void test_arity(void **state)
{
    assert_true(redis_arity_ok(_find("get"), 2));
    assert_false(redis_arity_ok(_find("get"), 1));
    assert_false(redis_arity_ok(_find("get"), 3));
    assert_true(redis_arity_ok(_find("mget"), 2));
    assert_true(redis_arity_ok(_find("mget"), 2000));
    assert_false(redis_arity_ok(_find("mget"), 1));
    assert_false(redis_arity_ok(_find("object|encoding"), 2));
    assert_true(redis_arity_ok(_find("object|encoding"), 3));
}

static void test_flags(void **state)
{
    assert_int_equal(_find("get")->flags, REDIS_READONLY | REDIS_FAST | REDIS_ONE_KEY);
    assert_int_equal(_find("set")->flags, REDIS_WRITE | REDIS_DENYOOM | REDIS_ONE_KEY);
    assert_int_equal(_find("mget")->flags, REDIS_READONLY | REDIS_FAST);
    assert_int_equal(_find("mget")->last_key, -1);
    assert_int_equal(_find("mset")->key_step, 2);
    assert_true(_find("auth")->flags & REDIS_NO_AUTH);
    assert_true(_find("sync")->flags & REDIS_NO_MULTI);
    assert_true(_find("publish")->flags & REDIS_PUBSUB_FLAG);
    assert_true(_find("blpop")->flags & REDIS_BLOCKING_FLAG);
    assert_true(_find("eval")->flags & REDIS_NO_MANDATORY_KEYS);
    assert_true(_find("eval")->flags & REDIS_MOVABLEKEYS);
    assert_true(_find("object|encoding")->flags & REDIS_ONE_KEY);
    assert_int_equal(_find("object|encoding")->first_key, 2);
    static const char *const not_one[] = {"sort",   "sort_ro", "spublish",    "ping",
                                          "rename", "pfcount", "zunionstore", "georadius",
                                          "blpop",  "migrate", "object"};
    for (size_t i = 0; i < sizeof(not_one) / sizeof(*not_one); i++) {
        if (_find(not_one[i])->flags & REDIS_ONE_KEY)
            fail_msg("has one key: %s", not_one[i]);
    }
}

static void test_policies(void **state)
{
    static const struct {
        enum redis_policy policy;
        const char *names;
    } rows[] = {
        {REDIS_FORWARD,
         "get set sort sort_ro eval evalsha_ro fcall copy rename msetnx sintercard lmpop zmpop pfcount"
         " object|encoding memory|usage xinfo|stream xgroup|create xread xreadgroup georadius getex"},
        {REDIS_SPLIT_MGET, "mget"},
        {REDIS_SPLIT_MSET, "mset"},
        {REDIS_SPLIT_SUM, "del unlink exists touch"},
        {REDIS_ALL_SUM, "dbsize"},
        {REDIS_ALL_OK,
         "flushall flushdb script|load script|flush function|load function|delete function|flush"
         " function|restore"},
        {REDIS_ALL_CONCAT, "keys"},
        {REDIS_ALL_AND, "script|exists"},
        {REDIS_SCAN, "scan"},
        {REDIS_LOCAL,
         "ping echo quit hello auth select reset command command|docs command|info command|count info"
         " client|setname client|getname client|id client|reply client|info time"},
        {REDIS_TRANSACTION, "multi exec discard watch unwatch"},
        {REDIS_BLOCKING, "blpop brpop blmove brpoplpush blmpop bzpopmin bzpopmax bzmpop"},
        {REDIS_PUBSUB, "subscribe psubscribe unsubscribe punsubscribe publish pubsub|channels pubsub|numsub"
                       " pubsub|numpat"},
        {REDIS_SHARD_PUBSUB, "ssubscribe sunsubscribe spublish"},
        {REDIS_MONITOR, "monitor"},
        {REDIS_UNSUPPORTED,
         "lolwut readonly readwrite asking wait migrate sync psync replconf cluster|nodes config|get"
         " debug shutdown acl|list module|load latency|reset slowlog|get failover replicaof slaveof"
         " swapdb move save bgsave bgrewriteaof object object|help client|kill client|pause"
         " client|tracking client|no-evict pubsub|shardchannels pubsub|shardnumsub randomkey"
         " pfdebug pfselftest restore-asking role lastsave script|kill"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        char names[512], *save;
        assert_true(strlen(rows[i].names) < sizeof(names));
        strcpy(names, rows[i].names);
        for (char *name = strtok_r(names, " ", &save); name; name = strtok_r(NULL, " ", &save)) {
            const struct redis_command *c = _find(name);
            if (!c || c->policy != rows[i].policy)
                fail_msg("%s: policy %d, expected %d", name, c ? c->policy : -1, rows[i].policy);
        }
    }
}

/* Nothing that writes without keys is ever forwarded by keys, and every policy is a known one. */
static void test_policies_by_keys(void **state)
{
    const struct redis_command *c;
    for (size_t i = 0; (c = redis_command_at(i)); i++) {
        assert_true(c->policy < _REDIS_POLICY_MAX);
        if (c->policy == REDIS_FORWARD || c->policy == REDIS_BLOCKING)
            assert_true(c->n_specs > 0);
        if (c->policy == REDIS_BLOCKING)
            assert_true(c->flags & REDIS_BLOCKING_FLAG);
        if (c->flags & REDIS_ADMIN && c->policy != REDIS_MONITOR)
            assert_int_equal(c->policy, REDIS_UNSUPPORTED);
    }
}

struct text {
    size_t n;
    char buf[8192];
};

static void _put(void *arg, const char *data, size_t len)
{
    struct text *t = arg;
    assert_true(len < sizeof(t->buf) - t->n);
    memcpy(t->buf + t->n, data, len);
    t->n += len;
    t->buf[t->n] = '\0';
}

static const char *_describe(const char *name, bool resp3)
{
    static struct text t;
    t.n = 0;
    redis_command_describe(_find(name), resp3, _put, &t);
    return t.buf;
}

static void test_describe(void **state)
{
    assert_string_equal(
        _describe("get", false),
        "*10\r\n$3\r\nget\r\n:2\r\n*2\r\n+readonly\r\n+fast\r\n:1\r\n:1\r\n:1\r\n"
        "*3\r\n+@read\r\n+@string\r\n+@fast\r\n*0\r\n"
        "*1\r\n*6\r\n$5\r\nflags\r\n*2\r\n+RO\r\n+access\r\n"
        "$12\r\nbegin_search\r\n*4\r\n$4\r\ntype\r\n$5\r\nindex\r\n$4\r\nspec\r\n*2\r\n$5\r\nindex\r\n:1\r\n"
        "$9\r\nfind_keys\r\n*4\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n*6\r\n$7\r\nlastkey\r\n:0\r\n"
        "$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:0\r\n*0\r\n");
    assert_string_equal(
        _describe("xreadgroup", true),
        "*10\r\n$10\r\nxreadgroup\r\n:-7\r\n~3\r\n+write\r\n+blocking\r\n+movablekeys\r\n:0\r\n:0\r\n:0\r\n"
        "~4\r\n+@write\r\n+@stream\r\n+@slow\r\n+@blocking\r\n~0\r\n"
        "~1\r\n%3\r\n$5\r\nflags\r\n~2\r\n+RO\r\n+access\r\n"
        "$12\r\nbegin_search\r\n%2\r\n$4\r\ntype\r\n$7\r\nkeyword\r\n$4\r\nspec\r\n%2\r\n$7\r\nkeyword\r\n"
        "$7\r\nSTREAMS\r\n$9\r\nstartfrom\r\n:4\r\n"
        "$9\r\nfind_keys\r\n%2\r\n$4\r\ntype\r\n$5\r\nrange\r\n$4\r\nspec\r\n%3\r\n$7\r\nlastkey\r\n:-1\r\n"
        "$7\r\nkeystep\r\n:1\r\n$5\r\nlimit\r\n:2\r\n~0\r\n");
    assert_non_null(strstr(_describe("sort", false), "$4\r\nspec\r\n*0\r\n"));
    assert_non_null(strstr(_describe("memory", true), "\r\n~0\r\n*6\r\n*10\r\n$13\r\nmemory|doctor\r\n"));
    assert_non_null(strstr(_describe("dbsize", true),
                           "~2\r\n$25\r\nrequest_policy:all_shards\r\n$23\r\nresponse_policy:agg_sum"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find_all),      cmocka_unit_test(test_find_nothing),
        cmocka_unit_test(test_find_any_case), cmocka_unit_test(test_version),
        cmocka_unit_test(test_arity),         cmocka_unit_test(test_flags),
        cmocka_unit_test(test_policies),      cmocka_unit_test(test_policies_by_keys),
        cmocka_unit_test(test_describe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
