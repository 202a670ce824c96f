#include "redis_command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "redis_value.h"

static void _put_bulk(struct peer *p, const void *data, size_t len)
{
    char line[32];
    snprintf(line, sizeof(line), "$%zu\r\n", len);
    peer_puts(p, line);
    peer_put(p, data, len);
    peer_puts(p, "\r\n");
}

static void _put_key(struct redis_keys *c, unsigned slot, struct peer *p)
{
    char name[48];
    int len = redis_key_name(name, c->client, c->key[slot].number);
    _put_bulk(p, name, (size_t)len);
}

static void _put_value(struct redis_keys *c, unsigned slot, struct peer *p)
{
    char name[48];
    size_t len = 64 + rng_size(c->rng) / 4;
    char *value = malloc(len);
    if (!value)
        abort();
    redis_key_name(name, c->client, c->key[slot].number);
    redis_value_fill(value, len, name, c->key[slot].version);
    _put_bulk(p, value, len);
    free(value);
}

void redis_command_put(struct redis_command *m, struct redis_keys *c, struct peer *p)
{
    static const char *const names[_VERB_MAX] = {"GET", "SET", "MGET", "INCR", "DEL"};
    static const uint8_t often[2][_VERB_MAX] = {{35, 30, 12, 15, 5}, {40, 35, 1, 15, 5}};
    char line[32];
    memset(m, 0, sizeof(*m));
    m->begun = clock_ms();
    m->verb = rng_pick(c->rng, often[c->friendly], _VERB_MAX);
    m->n = m->verb == VERB_MGET ? 1 + rng_below(c->rng, REDIS_MGET_MAX) : 1;
    snprintf(line, sizeof(line), "*%u\r\n", 1 + m->n + (m->verb == VERB_SET));
    peer_puts(p, line);
    _put_bulk(p, names[m->verb], strlen(names[m->verb]));
    for (unsigned i = 0; i < m->n; i++) {
        unsigned slot = m->verb == VERB_INCR ? REDIS_KEYS - 1 - rng_below(c->rng, REDIS_COUNTERS)
                                             : rng_below(c->rng, REDIS_KEYS - REDIS_COUNTERS);
        struct redis_key *k = &c->key[slot];
        _put_key(c, slot, p);
        m->had = k->version;
        if (m->verb == VERB_SET) {
            k->version = ++c->next;
            _put_value(c, slot, p);
        } else if (m->verb == VERB_INCR) {
            k->count++;
        } else if (m->verb == VERB_DEL) {
            k->version = 0;
        }
        m->of[i].slot = slot;
        m->of[i].after = *k;
    }
    history_add(c->history, "sends %s key %u (%u), to offset %llu", names[m->verb], m->of[0].after.number,
                m->of[0].after.version, (unsigned long long)p->queued);
}

void redis_garbage_put(struct redis_command *m, struct redis_keys *c, struct peer *p)
{
    static const char *const lines[] = {"*1\r\n+GET\r\n", "*2\r\n$3\r\nGET\r\n$01\r\na\r\n", "*x\r\n",
                                        "*1\r\n$-5\r\n", "*2\r\n$3\r\nGET\r\n$9999999999999\r\n"};
    memset(m, 0, sizeof(*m));
    m->begun = clock_ms();
    m->verb = VERB_GARBAGE;
    peer_puts(p, lines[rng_below(c->rng, sizeof(lines) / sizeof(lines[0]))]);
    history_add(c->history, "sends garbage");
}

/* Nobody knows whether the write was done: the key is given up, and another one takes its place. */
static void _give_up(struct redis_keys *c, unsigned slot, unsigned number)
{
    if (c->key[slot].number != number)
        return;
    memset(&c->key[slot], 0, sizeof(c->key[slot]));
    c->key[slot].number = REDIS_KEYS + c->next++;
}

static void _wrong(struct redis_keys *c, const struct redis_command *m, const struct resp_item *i,
                   const char *why)
{
    chaos_fail(c->history, "redis: client %llu: %s: key %u, version %u, count %lld, got %c %.*s",
               (unsigned long long)c->client, why, m->of[0].after.number, m->of[0].after.version,
               m->of[0].after.count, i->type, (int)(i->len < 80 ? i->len : 80), i->text);
}

static void _check_value(struct redis_keys *c, const struct redis_command *m, unsigned which,
                         const struct resp_item *i)
{
    const struct redis_key *k = &m->of[which].after;
    bool sure = c->key[m->of[which].slot].number == k->number;
    char name[48];
    int len = redis_key_name(name, c->client, k->number), version = 0;
    if (i->type != 'N' && i->type != '$')
        _wrong(c, m, i, "neither a value nor null");
    else if (i->type == '$' && (version = redis_value_check(i->text, i->len, name, (size_t)len)) < 0)
        _wrong(c, m, i, "another key's value, or a damaged one");
    else if (sure && (unsigned)version != k->version)
        _wrong(c, m, i, "a value of another time");
}

static bool _is_error(struct redis_keys *c, const struct redis_command *m, const struct resp_item *i,
                      bool troubled)
{
    if (i->type != '-')
        return false;
    history_add(c->history, "error %.*s", (int)(i->len < 70 ? i->len : 70), i->text);
    if (m->verb != VERB_GARBAGE && !troubled)
        _wrong(c, m, i, "an error");
    return true;
}

static void _check_number(struct redis_keys *c, const struct redis_command *m, const struct resp_item *i)
{
    bool sure = c->key[m->of[0].slot].number == m->of[0].after.number;
    long long expected = m->verb == VERB_INCR ? m->of[0].after.count : m->had;
    if (i->type != ':')
        _wrong(c, m, i, "not a number");
    else if (sure && strtoll(i->text, NULL, 10) != expected)
        _wrong(c, m, i, m->verb == VERB_INCR ? "a count that is not right" : "DEL of another state");
}

unsigned redis_command_check(const struct redis_command *m, struct redis_keys *c, const struct resp_value *v,
                             bool troubled)
{
    const struct resp_item *i = &v->item[0];
    unsigned errors = 0;
    if (!v->array && _is_error(c, m, i, troubled)) {
        bool writes = m->verb == VERB_SET || m->verb == VERB_INCR || m->verb == VERB_DEL;
        if (writes)
            _give_up(c, m->of[0].slot, m->of[0].after.number);
        return 1;
    }
    if (v->array != (m->verb == VERB_MGET) || (v->array && v->n != m->n)) {
        _wrong(c, m, i, "a reply of another form");
        return 0;
    }
    switch (m->verb) {
    case VERB_GET:
        _check_value(c, m, 0, i);
        break;
    case VERB_MGET:
        for (unsigned k = 0; k < m->n; k++) {
            if (_is_error(c, m, &v->item[k], troubled))
                errors++;
            else
                _check_value(c, m, k, &v->item[k]);
        }
        break;
    case VERB_SET:
        if (i->type != '+' || i->len != 2 || memcmp(i->text, "OK", 2))
            _wrong(c, m, i, "not OK");
        break;
    case VERB_INCR:
    case VERB_DEL:
        _check_number(c, m, i);
        break;
    default:
        _wrong(c, m, i, "garbage is not an error");
        break;
    }
    return errors;
}
