/*
 * Finds commands in the generated table, and describes them. A name is hashed while its capital
 * letters are turned small; the generator chose the hash so that no two names share a slot
 * (hash and displace), so one comparison decides.
 */
#include <string.h>

#include "redis_commands.h"
#include "redis_command_table.h"

/** Piece size of redis_command_describe(), in bytes. */
#define WRITER_SIZE 512

struct writer {
    bool resp3;
    void (*put)(void *arg, const char *data, size_t len);
    void *arg;
    size_t n;
    char buf[WRITER_SIZE];
};

const char *redis_commands_version(void)
{
    return REDIS_TABLE_VERSION;
}

size_t redis_commands_count(void)
{
    return sizeof(_table) / sizeof(*_table);
}

const struct redis_command *redis_command_at(size_t i)
{
    return i < REDIS_TOP_COMMANDS ? &_table[i] : NULL;
}

static inline char _lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

const struct redis_command *redis_command_find(const char *name, size_t len)
{
    char lower[REDIS_NAME_MAX];
    if (len > sizeof(lower))
        return NULL;
    uint32_t h = REDIS_HASH_SEED;
    for (size_t i = 0; i < len; i++) {
        lower[i] = _lower(name[i]);
        h = (h ^ (uint8_t)lower[i]) * 0x01000193u;
    }
    h ^= h >> 15;
    int at = _slots[(h / REDIS_HASH_BUCKETS + _offsets[h % REDIS_HASH_BUCKETS]) % REDIS_HASH_SLOTS];
    if (at < 0 || _table[at].name_len != len || memcmp(_table[at].name, lower, len) != 0)
        return NULL;
    return &_table[at];
}

static bool _equals(const char *lower, const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (_lower(name[i]) != lower[i])
            return false;
    }
    return true;
}

const struct redis_command *redis_subcommand_find(const struct redis_command *container, const char *name,
                                                  size_t len)
{
    size_t prefix = container->name_len + (size_t)1;
    for (size_t i = 0; i < container->n_subs; i++) {
        const struct redis_command *c = &container->subs[i];
        if (c->name_len == prefix + len && _equals(c->name + prefix, name, len))
            return c;
    }
    return NULL;
}

const struct redis_command *redis_command_find_path(const char *name, size_t len)
{
    const char *bar = len > 0 ? memchr(name, '|', len) : NULL;
    if (!bar)
        return redis_command_find(name, len);
    size_t first = (size_t)(bar - name);
    const struct redis_command *container = redis_command_find(name, first);
    return container ? redis_subcommand_find(container, bar + 1, len - first - 1) : NULL;
}

static void _flush(struct writer *w)
{
    if (w->n > 0)
        w->put(w->arg, w->buf, w->n);
    w->n = 0;
}

static void _bytes(struct writer *w, const char *data, size_t len)
{
    while (len > 0) {
        if (w->n == sizeof(w->buf))
            _flush(w);
        size_t part = sizeof(w->buf) - w->n < len ? sizeof(w->buf) - w->n : len;
        memcpy(w->buf + w->n, data, part);
        w->n += part;
        data += part;
        len -= part;
    }
}

/* A line of a type and a number: integers, and the headers of all else. */
static void _number(struct writer *w, char type, long number)
{
    char digits[24];
    size_t at = sizeof(digits);
    unsigned long rest = number < 0 ? 0ul - (unsigned long)number : (unsigned long)number;
    digits[--at] = '\n';
    digits[--at] = '\r';
    do {
        digits[--at] = (char)('0' + rest % 10);
    } while (rest /= 10);
    if (number < 0)
        digits[--at] = '-';
    digits[--at] = type;
    _bytes(w, digits + at, sizeof(digits) - at);
}

static void _set(struct writer *w, size_t n)
{
    _number(w, w->resp3 ? '~' : '*', (long)n);
}

static void _map(struct writer *w, size_t n)
{
    _number(w, w->resp3 ? '%' : '*', (long)(w->resp3 ? n : 2 * n));
}

static void _bulk(struct writer *w, const char *text)
{
    size_t len = strlen(text);
    _number(w, '$', (long)len);
    _bytes(w, text, len);
    _bytes(w, "\r\n", 2);
}

static void _field(struct writer *w, const char *name, long value)
{
    _bulk(w, name);
    _number(w, ':', value);
}

/* A set of words, as simple or as bulk strings. */
static void _words(struct writer *w, const char *const *words, bool bulk)
{
    size_t n = 0;
    while (words[n])
        n++;
    _set(w, n);
    for (size_t i = 0; i < n; i++) {
        if (bulk) {
            _bulk(w, words[i]);
            continue;
        }
        _bytes(w, "+", 1);
        _bytes(w, words[i], strlen(words[i]));
        _bytes(w, "\r\n", 2);
    }
}

static void _begin_search(struct writer *w, const struct redis_key_spec *s)
{
    static const char *const types[] = {"index", "keyword", "unknown"};
    _bulk(w, "begin_search");
    _map(w, 2);
    _bulk(w, "type");
    _bulk(w, types[s->begin]);
    _bulk(w, "spec");
    if (s->begin == REDIS_BEGIN_INDEX) {
        _map(w, 1);
        _field(w, "index", s->pos);
    } else if (s->begin == REDIS_BEGIN_KEYWORD) {
        _map(w, 2);
        _bulk(w, "keyword");
        _bulk(w, s->keyword);
        _field(w, "startfrom", s->pos);
    } else {
        _map(w, 0);
    }
}

static void _find_keys(struct writer *w, const struct redis_key_spec *s)
{
    static const char *const types[] = {"range", "keynum", "unknown"};
    _bulk(w, "find_keys");
    _map(w, 2);
    _bulk(w, "type");
    _bulk(w, types[s->find]);
    _bulk(w, "spec");
    if (s->find == REDIS_FIND_RANGE) {
        _map(w, 3);
        _field(w, "lastkey", s->last);
        _field(w, "keystep", s->step);
        _field(w, "limit", s->limit);
    } else if (s->find == REDIS_FIND_KEYNUM) {
        _map(w, 3);
        _field(w, "keynumidx", s->keynum);
        _field(w, "firstkey", s->first);
        _field(w, "keystep", s->step);
    } else {
        _map(w, 0);
    }
}

static void _key_spec(struct writer *w, const struct redis_key_spec *s)
{
    _map(w, s->notes ? 4 : 3);
    if (s->notes) {
        _bulk(w, "notes");
        _bulk(w, s->notes);
    }
    _bulk(w, "flags");
    _words(w, s->flags, false);
    _begin_search(w, s);
    _find_keys(w, s);
}

static void _command(struct writer *w, const struct redis_command *c)
{
    const struct redis_description *d = &_descriptions[c->id];
    _number(w, '*', 10);
    _bulk(w, c->name);
    _number(w, ':', c->arity);
    _words(w, d->flags, false);
    _number(w, ':', c->first_key);
    _number(w, ':', c->last_key);
    _number(w, ':', c->key_step);
    _words(w, d->acl_categories, false);
    _words(w, d->tips, true);
    _set(w, c->n_specs);
    for (size_t i = 0; i < c->n_specs; i++)
        _key_spec(w, &c->specs[i]);
    if (c->n_subs > 0)
        _number(w, '*', c->n_subs);
    else
        _set(w, 0);
    for (size_t i = 0; i < c->n_subs; i++)
        _command(w, &c->subs[i]);
}

void redis_command_describe(const struct redis_command *c, bool resp3,
                            void (*put)(void *arg, const char *data, size_t len), void *arg)
{
    struct writer w = {.resp3 = resp3, .put = put, .arg = arg};
    _command(&w, c);
    _flush(&w);
}
