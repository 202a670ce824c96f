#include "redis_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ledger.h"
#include "listen.h"
#include "peer.h"
#include "redis_store.h"
#include "redis_value.h"
#include "resp_reader.h"

struct shard {
    enum cluster cluster;
    struct listening in;
    uint64_t accepted;
    TAILQ_HEAD(, session) sessions;
};

struct session {
    struct peer p;
    struct shard *shard;
    struct resp_reader in;
    struct rng rng;
    struct event idle;
    TAILQ_ENTRY(session) link;
};

const enum cluster redis_clusters[REDIS_CLUSTERS] = {CLUSTER_CALM, CLUSTER_WILD};

static struct shard _shards[REDIS_CLUSTERS][REDIS_SHARDS];

static struct session *_session(struct peer *p)
{
    return (struct session *)((char *)p - offsetof(struct session, p));
}

static void _gone(struct session *s)
{
    TAILQ_REMOVE(&s->shard->sessions, s, link);
    event_del(&s->idle);
}

static void _close(struct session *s, bool reset)
{
    peer_close(&s->p, reset);
    _gone(s);
}

/* Commands ---------------------------------------------------------------------------- */

static struct redis_entry *_entry(struct session *s, const struct resp_item *key)
{
    if (key->len >= 48) {
        chaos_fail(NULL, "redis: a key of %zu bytes arrived", key->len);
        return NULL;
    }
    struct redis_entry *e = redis_store(key->text, key->len);
    if (!e->port)
        e->port = s->shard->in.port;
    if (e->port != s->shard->in.port)
        chaos_fail(NULL, "redis: key %s came to shard %u and to %u", e->key, e->port, s->shard->in.port);
    return e;
}

static void _put_value(struct session *s, const struct redis_entry *e)
{
    char line[64];
    if (!e || !e->set) {
        peer_puts(&s->p, "$-1\r\n");
        return;
    }
    char *buf = malloc(e->len + 32);
    if (!buf)
        abort();
    size_t len = e->len;
    if (len)
        redis_value_fill(buf, len, e->key, e->version);
    else
        len = (size_t)sprintf(buf, "%lld", e->number);
    snprintf(line, sizeof(line), "$%zu\r\n", len);
    peer_puts(&s->p, line);
    peer_put(&s->p, buf, len);
    peer_puts(&s->p, "\r\n");
    free(buf);
}

static void _set(struct session *s, const struct resp_value *v)
{
    struct redis_entry *e = _entry(s, &v->item[1]);
    int version = redis_value_check(v->item[2].text, v->item[2].len, v->item[1].text, v->item[1].len);
    if (version < 0)
        chaos_fail(NULL, "redis: the value of %.*s arrived damaged", (int)v->item[1].len, v->item[1].text);
    else if (e) {
        e->set = true;
        e->len = v->item[2].len;
        e->version = (unsigned)version;
    }
    peer_puts(&s->p, "+OK\r\n");
}

static void _put_number(struct session *s, long long n)
{
    char line[32];
    snprintf(line, sizeof(line), ":%lld\r\n", n);
    peer_puts(&s->p, line);
}

static void _execute(struct session *s, const struct resp_value *v)
{
    const struct resp_item *name = &v->item[0];
    struct redis_entry *e;
    char line[32];
    if (v->n == 2 && name->len == 3 && strncasecmp(name->text, "GET", 3) == 0) {
        _put_value(s, _entry(s, &v->item[1]));
    } else if (v->n == 3 && name->len == 3 && strncasecmp(name->text, "SET", 3) == 0) {
        _set(s, v);
    } else if (v->n == 2 && name->len == 4 && strncasecmp(name->text, "INCR", 4) == 0) {
        if ((e = _entry(s, &v->item[1])))
            e->set = true;
        _put_number(s, e ? ++e->number : 0);
    } else if (v->n == 2 && name->len == 3 && strncasecmp(name->text, "DEL", 3) == 0) {
        e = _entry(s, &v->item[1]);
        _put_number(s, e && e->set);
        if (e)
            e->set = false, e->len = 0, e->number = 0;
    } else if (v->n >= 2 && name->len == 4 && strncasecmp(name->text, "MGET", 4) == 0) {
        snprintf(line, sizeof(line), "*%u\r\n", v->n - 1);
        peer_puts(&s->p, line);
        for (unsigned i = 1; i < v->n; i++)
            _put_value(s, _entry(s, &v->item[i]));
    } else {
        chaos_fail(NULL, "redis: unexpected command %.*s with %u arguments", (int)name->len, name->text,
                   v->n);
        peer_puts(&s->p, "-ERR unknown command\r\n");
    }
}

/* Pauses and faults; everything in a reply that is being sent may be cut. */
static void _mark(struct session *s, uint64_t begin)
{
    uint64_t at = begin + rng_below(&s->rng, (uint32_t)(s->p.queued - begin));
    if (s->p.n_marks > PEER_MARKS - 3)
        return;
    if (s->shard->cluster == CLUSTER_WILD && rng_below(&s->rng, 2000) == 0) {
        chaos_trouble("a redis-server cuts a reply");
        peer_mark(&s->p, at, rng_chance(&s->rng, 50) ? PEER_RESET : PEER_CLOSE, 0);
    } else if (s->shard->cluster == CLUSTER_WILD && rng_below(&s->rng, 2000) == 0) {
        static const char *const bad[] = {"?what\r\n", "$4\r\nabcdef\r\n", ":1x\r\n", "*-7\r\n", "$-2\r\n"};
        chaos_trouble("a redis-server sends a malformed reply");
        peer_puts(&s->p, bad[rng_below(&s->rng, 5)]);
        peer_mark(&s->p, s->p.queued, PEER_CLOSE, 0);
    } else if (rng_below(&s->rng, 200) == 0) {
        peer_mark(&s->p, at, PEER_PAUSE, 1 + rng_below(&s->rng, 50));
    }
}

static void _input(struct peer *p, const uint8_t *data, size_t len)
{
    struct session *s = _session(p);
    struct resp_value v;
    int r;
    event_del(&s->idle);
    resp_put(&s->in, data, len);
    while ((r = resp_take(&s->in, &v)) > 0) {
        uint64_t begin = p->queued;
        if (p->sent == p->queued)
            peer_pace(p, rng_chance(&s->rng, 90)   ? PEER_WHOLE
                         : rng_chance(&s->rng, 50) ? PEER_PIECES
                                                   : PEER_BYTES);
        _execute(s, &v);
        if (p->queued > begin)
            _mark(s, begin);
    }
    if (r < 0) {
        chaos_fail(NULL, "redis: skein sent a malformed command: %.100s", s->in.data + s->in.off);
        _close(s, true);
        return;
    }
    peer_go(p);
}

/* Connections ------------------------------------------------------------------------- */

static void _on_idle(evutil_socket_t fd, short what, void *arg)
{
    struct session *s = arg;
    chaos_trouble(NULL);
    peer_mark(&s->p, s->p.sent, rng_chance(&s->rng, 30) ? PEER_SHUT : PEER_CLOSE, 0);
    peer_go(&s->p);
}

static void _drained(struct peer *p)
{
    struct session *s = _session(p);
    if (s->shard->cluster == CLUSTER_CALM || p->shut || rng_below(&s->rng, 100))
        return;
    struct timeval tv = {.tv_usec = rng_below(&s->rng, 20000)};
    event_add(&s->idle, &tv);
}

static void _ended(struct peer *p, int err)
{
    _close(_session(p), false);
}

static void _acted(struct peer *p, enum peer_act act)
{
    if (p->dead)
        _gone(_session(p));
}

static void _release(struct peer *p)
{
    struct session *s = _session(p);
    resp_free(&s->in);
    free(s);
}

static const struct peer_ops _ops = {
    .input = _input, .ended = _ended, .acted = _acted, .drained = _drained, .release = _release};

static void _accept(void *arg, int fd)
{
    struct shard *d = arg;
    struct session *s = calloc(1, sizeof(*s));
    if (!s)
        abort();
    s->shard = d;
    s->rng = rng_stream(chaos.opt.seed ^ d->in.port, 'r', d->accepted++);
    event_assign(&s->idle, chaos.base, -1, 0, _on_idle, s);
    TAILQ_INSERT_TAIL(&d->sessions, s, link);
    peer_init(&s->p, fd, &_ops, s->rng);
}

/* Life -------------------------------------------------------------------------------- */

static void _shut(struct shard *d, bool reset)
{
    struct session *s;
    listening_close(&d->in);
    while ((s = TAILQ_FIRST(&d->sessions)))
        _close(s, reset);
}

void redis_servers_open(void)
{
    for (unsigned c = 0; c < REDIS_CLUSTERS; c++) {
        for (unsigned i = 0; i < REDIS_SHARDS; i++) {
            struct shard *d = &_shards[c][i];
            d->cluster = redis_clusters[c];
            TAILQ_INIT(&d->sessions);
            listening_init(&d->in, _accept, d);
            listening_open(&d->in);
        }
    }
}

void redis_servers_close(void)
{
    for (unsigned c = 0; c < REDIS_CLUSTERS; c++) {
        for (unsigned i = 0; i < REDIS_SHARDS; i++)
            _shut(&_shards[c][i], false);
    }
    redis_store_free();
}

bool redis_servers_kill(unsigned index, bool dead)
{
    struct shard *d = &_shards[1][index];
    if (d->in.fd < 0)
        return false;
    if (dead)
        _shut(d, true);
    else
        listening_close(&d->in);
    chaos.down++;
    history_add(&chaos.history, "redis-server %u %s", d->in.port, dead ? "killed" : "refuses connections");
    chaos_trouble(NULL);
    return true;
}

void redis_servers_restart(unsigned index)
{
    struct shard *d = &_shards[1][index];
    if (!d->in.port || d->in.fd >= 0)
        return;
    listening_open(&d->in);
    chaos.down--;
    history_add(&chaos.history, "redis-server %u restarted", d->in.port);
    chaos_trouble(NULL);
}

void redis_write_listeners(FILE *f)
{
    for (unsigned c = 0; c < REDIS_CLUSTERS; c++)
        fprintf(f, "  - { name: redis-%s, address: \"127.0.0.1:%u\", protocol: redis, cluster: redis-%s }\n",
                cluster_names[redis_clusters[c]], chaos.redis_port[c], cluster_names[redis_clusters[c]]);
}

/* Always the same: what moves a key to another server loses its value. */
void redis_write_clusters(FILE *f)
{
    for (unsigned c = 0; c < REDIS_CLUSTERS; c++) {
        fprintf(f,
                "  - name: redis-%s\n    lb_policy: crc16_slots\n    redis: { max_failures: 3, retry_after: "
                "300ms }\n",
                cluster_names[redis_clusters[c]]);
        fprintf(f, "    endpoints:\n");
        for (unsigned i = 0; i < REDIS_SHARDS; i++)
            fprintf(f, "      - { address: \"127.0.0.1:%u\" }\n", _shards[c][i].in.port);
    }
}
