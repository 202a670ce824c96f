/*
 * Where a command's keys are. Most commands have one, at a fixed place; for the others the server's
 * key specs tell, and for a few, whose options may be mistaken for one another by a spec that looks
 * for a keyword only, the options are walked as the command itself does.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "redis_table.h"

/** A command's text and arguments. */
struct command {
    const char *text;
    const struct resp_arg *args;
    uint32_t argc;
};

/** An option and how many arguments come after its name. */
struct option {
    const char *name;
    uint32_t values;
};

static bool _is(const struct command *c, uint32_t i, const char *word)
{
    size_t len = strlen(word);
    return c->args[i].len == len && strncasecmp(c->text + c->args[i].off, word, len) == 0;
}

static bool _has_char(const struct command *c, uint32_t i, char wanted)
{
    return c->args[i].len > 0 && memchr(c->text + c->args[i].off, wanted, c->args[i].len);
}

/* Steps from an option to the next one; what is not listed has no values. */
static uint32_t _next_option(const struct command *c, uint32_t i, const struct option *options, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        if (_is(c, i, options[k].name))
            return i + 1 + options[k].values;
    }
    return i + 1;
}

#define NEXT_OPTION(c, i, options) _next_option(c, i, options, sizeof(options) / sizeof(*(options)))

/* A number of keys: canonical as string2ll has it, and not more than there are arguments. */
static int _key_count(const struct command *c, uint32_t i, uint32_t *out)
{
    const char *digits = c->text + c->args[i].off;
    size_t len = c->args[i].len;
    uint32_t n = 0;
    if (len == 0 || (digits[0] == '0' && len > 1))
        return -EINVAL;
    for (size_t k = 0; k < len; k++) {
        if (digits[k] < '0' || digits[k] > '9')
            return -EINVAL;
        n = n * 10 + (uint32_t)(digits[k] - '0');
        if (n > c->argc)
            return -EINVAL;
    }
    *out = n;
    return 0;
}

/* `n` keys from argument `first` on. */
static int _push(struct redis_keys *keys, uint32_t first, uint32_t n, uint32_t step)
{
    if (n > keys->cap - keys->n) {
        uint32_t cap = keys->n + n > 2 * keys->cap ? keys->n + n : 2 * keys->cap;
        uint32_t *old = keys->at == keys->few ? NULL : keys->at;
        uint32_t *at = realloc(old, cap * sizeof(*at));
        if (!at)
            return -ENOMEM;
        if (!old)
            memcpy(at, keys->few, sizeof(*at) * keys->n);
        keys->at = at;
        keys->cap = cap;
    }
    for (uint32_t i = 0; i < n; i++)
        keys->at[keys->n++] = first + i * step;
    return 0;
}

static int _push_one(struct redis_keys *keys, uint32_t at)
{
    return _push(keys, at, 1, 1);
}

static int _by_range(const struct command *c, const struct redis_key_spec *s, struct redis_keys *keys)
{
    int64_t first = s->pos;
    int64_t last = s->last >= 0 ? first + s->last : (int64_t)c->argc + s->last;
    if (last >= c->argc)
        return -EINVAL;
    /* Optional keys are left out: PFMERGE with a destination only. */
    if (last < first)
        return 0;
    int64_t n = last - first + 1;
    /* Each key is followed by what belongs to it, up to the end: MSET. */
    if (s->last < 0 && n % s->step != 0)
        return -EINVAL;
    return _push(keys, (uint32_t)first, (uint32_t)((n + s->step - 1) / s->step), (uint32_t)s->step);
}

static int _by_keynum(const struct command *c, const struct redis_key_spec *s, struct redis_keys *keys)
{
    uint32_t n, first = (uint32_t)(s->pos + s->first), at = (uint32_t)(s->pos + s->keynum);
    if (at >= c->argc)
        return -EINVAL;
    int rc = _key_count(c, at, &n);
    if (rc)
        return rc;
    if (n == 0)
        return 0;
    if (first + (uint64_t)(n - 1) * (uint32_t)s->step >= c->argc)
        return -EINVAL;
    return _push(keys, first, n, (uint32_t)s->step);
}

/* ZUNION 0 and its like come out with too few keys: each spec has to find one, but for those that
 * may be empty. */
static int _by_specs(const struct command *c, const struct redis_command *command, struct redis_keys *keys)
{
    for (size_t i = 0; i < command->n_specs; i++) {
        const struct redis_key_spec *s = &command->specs[i];
        uint32_t before = keys->n;
        if (s->not_key)
            continue;
        int rc = s->find == REDIS_FIND_RANGE ? _by_range(c, s, keys) : _by_keynum(c, s, keys);
        if (rc)
            return rc;
        bool may_be_empty =
            s->find == REDIS_FIND_RANGE ? before > 0 : command->flags & REDIS_NO_MANDATORY_KEYS;
        if (keys->n == before && !may_be_empty)
            return -EINVAL;
    }
    return 0;
}

/* SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC|DESC] [ALPHA] [STORE key]: the
 * last STORE counts. */
static int _sort(const struct command *c, bool may_store, struct redis_keys *keys)
{
    static const struct option options[] = {{"LIMIT", 2}, {"GET", 1}, {"BY", 1}, {"STORE", 1}};
    uint32_t store = 0;
    for (uint32_t i = 2; i < c->argc; i = NEXT_OPTION(c, i, options)) {
        if (i + 1 == c->argc)
            break;
        if (may_store && _is(c, i, "STORE"))
            store = i + 1;
        else if ((_is(c, i, "BY") || _is(c, i, "GET")) && _has_char(c, i + 1, '*'))
            keys->by_pattern = true;
    }
    int rc = _push_one(keys, 1);
    return rc || store == 0 ? rc : _push_one(keys, store);
}

/* STORE and STOREDIST behind the fixed arguments; the specs say how many those are. Redis uses the
 * last one only, but its cluster mode wants all of them on one slot. */
static int _georadius(const struct command *c, const struct redis_command *command, struct redis_keys *keys)
{
    static const struct option options[] = {{"COUNT", 1}, {"STORE", 1}, {"STOREDIST", 1}};
    int rc = _push_one(keys, (uint32_t)command->first_key);
    uint32_t i = (uint32_t)command->specs[command->n_specs - 1].pos;
    for (; rc == 0 && i + 1 < c->argc; i = NEXT_OPTION(c, i, options)) {
        if (_is(c, i, "STORE") || _is(c, i, "STOREDIST"))
            rc = _push_one(keys, i + 1);
    }
    return rc;
}

/* XREAD [COUNT n] [BLOCK ms] STREAMS key ... id ..., XREADGROUP GROUP group consumer ... with the
 * same: options in any order, and a group may be called "streams". */
static int _streams(const struct command *c, struct redis_keys *keys)
{
    static const struct option options[] = {{"COUNT", 1}, {"BLOCK", 1}, {"GROUP", 2}};
    for (uint32_t i = 1; i < c->argc; i = NEXT_OPTION(c, i, options)) {
        if (_is(c, i, "BLOCK"))
            keys->blocks = true;
        if (!_is(c, i, "STREAMS"))
            continue;
        uint32_t rest = c->argc - i - 1;
        return rest == 0 || rest % 2 != 0 ? -EINVAL : _push(keys, i + 1, rest / 2, 1);
    }
    return -EINVAL;
}

/* MIGRATE host port key|"" db timeout [COPY] [REPLACE] [AUTH password] [AUTH2 user password]
 * [KEYS key ...] */
static int _migrate(const struct command *c, struct redis_keys *keys)
{
    static const struct option options[] = {{"AUTH", 1}, {"AUTH2", 2}};
    for (uint32_t i = 6; i < c->argc; i = NEXT_OPTION(c, i, options)) {
        if (!_is(c, i, "KEYS"))
            continue;
        if (c->args[3].len > 0 || i + 1 == c->argc)
            return -EINVAL;
        return _push(keys, i + 1, c->argc - i - 1, 1);
    }
    return _push_one(keys, 3);
}

static int _find(const struct command *c, const struct redis_command *command, struct redis_keys *keys)
{
    switch ((enum redis_key_finder)command->key_finder) {
    case REDIS_KEYS_NONE:
        return 0;
    case REDIS_KEYS_ONE:
        return _push_one(keys, (uint32_t)command->first_key);
    case REDIS_KEYS_SPECS:
        return _by_specs(c, command, keys);
    case REDIS_KEYS_SORT:
        return _sort(c, true, keys);
    case REDIS_KEYS_SORT_RO:
        return _sort(c, false, keys);
    case REDIS_KEYS_GEORADIUS:
        return _georadius(c, command, keys);
    case REDIS_KEYS_STREAMS:
        return _streams(c, keys);
    case REDIS_KEYS_MIGRATE:
        return _migrate(c, keys);
    }
    return -EINVAL;
}

int redis_command_keys(const struct redis_command *c, const char *text, const struct resp_arg *args,
                       uint32_t argc, struct redis_keys *keys)
{
    const struct command command = {.text = text, .args = args, .argc = argc};
    if (!keys->at) {
        keys->at = keys->few;
        keys->cap = sizeof(keys->few) / sizeof(*keys->few);
    }
    keys->n = 0;
    keys->by_pattern = keys->blocks = false;
    int rc = redis_arity_ok(c, argc) ? _find(&command, c, keys) : -EINVAL;
    if (rc)
        keys->n = 0;
    return rc;
}

void redis_keys_free(struct redis_keys *keys)
{
    if (keys->at != keys->few)
        free(keys->at);
    keys->at = NULL;
    keys->n = keys->cap = 0;
}
