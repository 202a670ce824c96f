/* Commands that skein answers itself. */
#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "endpoint.h"
#include "redis.h"
#include "redis_text.h"
#include "redis_worker.h"
#include "worker.h"

/* For redis_command_describe(). */
static void _put(void *text, const char *data, size_t len)
{
    redis_text_add(text, data, len);
}

static void _send(struct redis_client *cl, struct redis_text *t)
{
    redis_client_reply(cl, t->data, t->len);
    free(t->data);
}

static void _reply_bulk(struct redis_client *cl, const char *data, size_t len)
{
    struct redis_text t = {0};
    redis_text_bulk(&t, data, len);
    _send(cl, &t);
}

static void _reply_null(struct redis_client *cl)
{
    redis_client_replyf(cl, "%s", cl->resp == 3 ? "_\r\n" : "$-1\r\n");
}

static bool _same(const char *a, size_t a_len, const char *b)
{
    return a_len == strlen(b) && CRYPTO_memcmp(a, b, a_len) == 0;
}

/* Connection -------------------------------------------------------------------------- */

static void _ping(const struct redis_call *call)
{
    size_t len = 0;
    bool subscribed = call->client->resp == 2 && redis_pinned(call->client, REDIS_PIN_MESSAGES);
    const char *text = call->in->argc > 1 ? redis_arg(call, 1, &len) : "";
    if (call->in->argc > 2) {
        redis_client_error(call->client, "ERR wrong number of arguments for 'ping' command");
    } else if (subscribed) {
        struct redis_text t = {0};
        redis_text_addf(&t, "*2\r\n$4\r\npong\r\n");
        redis_text_bulk(&t, text, len);
        _send(call->client, &t);
    } else if (call->in->argc == 1) {
        redis_client_reply(call->client, "+PONG\r\n", 7);
    } else {
        _reply_bulk(call->client, text, len);
    }
}

static void _echo(const struct redis_call *call)
{
    size_t len;
    const char *text = redis_arg(call, 1, &len);
    _reply_bulk(call->client, text, len);
}

static void _quit(const struct redis_call *call)
{
    redis_client_ok(call->client);
    redis_client_quit(call->client);
}

bool redis_authenticate(struct redis_client *cl, const char *user, size_t user_len, const char *password,
                        size_t password_len)
{
    const struct conf_redis_listener *conf = redis_listener_conf(cl);
    bool right;
    if (conf->password)
        right = _same(user, user_len, conf->user) & _same(password, password_len, conf->password);
    else
        right = _same(user, user_len, "default");
    if (right) {
        cl->authenticated = true;
        cl->limits.unauthenticated = false;
    } else {
        redis_client_error(cl, "WRONGPASS invalid username-password pair or user is disabled.");
    }
    return right;
}

static void _auth(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    size_t user_len = strlen("default"), len;
    const char *user = "default";
    const char *password = redis_arg(call, call->in->argc - 1, &len);
    if (call->in->argc > 3) {
        redis_client_error(cl, "ERR syntax error");
        return;
    }
    if (call->in->argc == 2 && !redis_listener_conf(cl)->password) {
        redis_client_error(cl,
                           "ERR AUTH <password> called without any password configured for the default user. "
                           "Are you sure your configuration is correct?");
        return;
    }
    if (call->in->argc == 3)
        user = redis_arg(call, 1, &user_len);
    if (redis_authenticate(cl, user, user_len, password, len))
        redis_client_ok(cl);
}

static bool _valid_name(const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (name[i] < '!' || name[i] > '~')
            return false;
    }
    return true;
}

static bool _set_name(struct redis_client *cl, const char *name, size_t len)
{
    if (!_valid_name(name, len)) {
        redis_client_error(cl, "ERR Client names cannot contain spaces, newlines or special characters.");
        return false;
    }
    free(cl->name);
    cl->name = len ? strndup(name, len) : NULL;
    return true;
}

static void _hello_reply(struct redis_client *cl)
{
    struct redis_text t = {0};
    redis_text_addf(&t, "%s$6\r\nserver\r\n$5\r\nredis\r\n", cl->resp == 3 ? "%7\r\n" : "*14\r\n");
    redis_text_addf(&t, "$7\r\nversion\r\n$%zu\r\n%s\r\n", strlen(redis_commands_version()),
                    redis_commands_version());
    redis_text_addf(&t, "$5\r\nproto\r\n:%d\r\n$2\r\nid\r\n:%" PRIu64 "\r\n", cl->resp, cl->id);
    redis_text_addf(
        &t, "$4\r\nmode\r\n$10\r\nstandalone\r\n$4\r\nrole\r\n$6\r\nmaster\r\n$7\r\nmodules\r\n*0\r\n");
    _send(cl, &t);
}

/* Options after HELLO's version. @return false if it was answered with an error. */
static bool _hello_options(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    const char *name = NULL;
    size_t len, name_len = 0;
    for (uint32_t i = 2; i < call->in->argc; i++) {
        uint32_t more = call->in->argc - i - 1;
        if (redis_arg_is(call, i, "auth") && more >= 2) {
            size_t user_len;
            const char *user = redis_arg(call, i + 1, &user_len);
            const char *password = redis_arg(call, i + 2, &len);
            if (!redis_authenticate(cl, user, user_len, password, len))
                return false;
            i += 2;
        } else if (redis_arg_is(call, i, "setname") && more) {
            name = redis_arg(call, ++i, &name_len);
        } else {
            const char *option = redis_arg(call, i, &len);
            redis_client_error(cl, "ERR Syntax error in HELLO option '%.*s'", (int)(len < 128 ? len : 128),
                               option);
            return false;
        }
    }
    if (!cl->authenticated) {
        redis_client_error(cl,
                           "NOAUTH HELLO must be called with the client already authenticated, otherwise the "
                           "HELLO AUTH <user> <pass> option can be used to authenticate the client and "
                           "select the RESP protocol version at the same time");
        return false;
    }
    return !name || _set_name(cl, name, name_len);
}

static void _hello(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    int64_t version = cl->resp;
    size_t len;
    if (call->in->argc > 1) {
        const char *arg = redis_arg(call, 1, &len);
        if (!resp_number(arg, len, &version)) {
            redis_client_error(cl, "ERR Protocol version is not an integer or out of range");
            return;
        }
        if (version != 2 && version != 3) {
            redis_client_error(cl, "NOPROTO unsupported protocol version");
            return;
        }
        if (version != cl->resp && !LIST_EMPTY(&cl->pins)) {
            redis_client_error(cl,
                               "ERR the protocol version can not change while keys are watched or channels "
                               "subscribed");
            return;
        }
    }
    if (!_hello_options(call))
        return;
    cl->resp = (uint8_t)version;
    _hello_reply(cl);
}

static void _select(const struct redis_call *call)
{
    int64_t db;
    size_t len;
    const char *arg = redis_arg(call, 1, &len);
    if (!resp_number(arg, len, &db))
        redis_client_error(call->client, "ERR value is not an integer or out of range");
    else if (db)
        redis_client_error(call->client, "ERR SELECT is not allowed in cluster mode");
    else
        redis_client_ok(call->client);
}

static void _reset(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    redis_unpin_all(cl);
    redis_pubsub_reset(cl);
    redis_transaction_reset(cl);
    _set_name(cl, "", 0);
    cl->resp = 2;
    cl->mute = false;
    cl->authenticated = !redis_listener_conf(cl)->password;
    cl->limits.unauthenticated = !cl->authenticated;
    redis_client_reply(cl, "+RESET\r\n", 8);
}

/* CLIENT ------------------------------------------------------------------------------ */

static void _client_reply(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    if (redis_arg_is(call, 2, "on")) {
        cl->mute = false;
        redis_client_ok(cl);
    } else if (redis_arg_is(call, 2, "off")) {
        cl->mute = true;
    } else if (redis_arg_is(call, 2, "skip")) {
        cl->mute_next = !cl->mute;
    } else {
        redis_client_error(cl, "ERR syntax error");
    }
}

static void _client_setname(const struct redis_call *call)
{
    size_t len;
    const char *name = redis_arg(call, 2, &len);
    if (_set_name(call->client, name, len))
        redis_client_ok(call->client);
}

static void _client_getname(const struct redis_call *call)
{
    if (call->client->name)
        _reply_bulk(call->client, call->client->name, strlen(call->client->name));
    else
        _reply_null(call->client);
}

static void _client_id(const struct redis_call *call)
{
    redis_client_replyf(call->client, ":%" PRIu64 "\r\n", call->client->id);
}

static void _client_info(const struct redis_call *call)
{
    char line[256];
    const struct redis_client *cl = call->client;
    int n = snprintf(line, sizeof(line), "id=%" PRIu64 " name=%.100s db=0 resp=%d user=%.60s\n", cl->id,
                     cl->name ? cl->name : "", cl->resp,
                     redis_listener_conf(cl)->password ? redis_listener_conf(cl)->user : "default");
    _reply_bulk(call->client, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1);
}

static void _ok(const struct redis_call *call)
{
    redis_client_ok(call->client);
}

/* COMMAND ----------------------------------------------------------------------------- */

static void _command_list(const struct redis_call *call)
{
    struct redis_text t = {0};
    const struct redis_command *c;
    size_t n = 0;
    while (redis_command_at(n))
        n++;
    redis_text_addf(&t, "*%zu\r\n", n);
    for (size_t i = 0; (c = redis_command_at(i)); i++)
        redis_command_describe(c, call->client->resp == 3, _put, &t);
    _send(call->client, &t);
}

static void _command_info(const struct redis_call *call)
{
    struct redis_text t = {0};
    if (call->in->argc == 2) {
        _command_list(call);
        return;
    }
    redis_text_addf(&t, "*%u\r\n", call->in->argc - 2);
    for (uint32_t i = 2; i < call->in->argc; i++) {
        size_t len;
        const char *name = redis_arg(call, i, &len);
        const char *bar = memchr(name, '|', len);
        const struct redis_command *c = redis_command_find(name, bar ? (size_t)(bar - name) : len);
        if (c && bar)
            c = redis_subcommand_find(c, bar + 1, len - (size_t)(bar + 1 - name));
        if (c)
            redis_command_describe(c, call->client->resp == 3, _put, &t);
        else
            redis_text_addf(&t, "%s", call->client->resp == 3 ? "_\r\n" : "*-1\r\n");
    }
    _send(call->client, &t);
}

static void _command_count(const struct redis_call *call)
{
    size_t n = 0;
    while (redis_command_at(n))
        n++;
    redis_client_replyf(call->client, ":%zu\r\n", n);
}

static void _command_getkeys(const struct redis_call *call)
{
    struct redis_client *cl = call->client;
    struct redis_keys keys = {0};
    struct redis_text t = {0};
    size_t len;
    const char *name = redis_arg(call, 2, &len);
    const struct redis_command *c = redis_command_find(name, len);
    if (c && c->subs && call->in->argc > 3) {
        name = redis_arg(call, 3, &len);
        c = redis_subcommand_find(c, name, len);
    }
    if (!c) {
        redis_client_error(cl, "ERR Invalid command specified");
    } else if (!redis_arity_ok(c, call->in->argc - 2)) {
        redis_client_error(cl, "ERR Invalid number of arguments specified for command");
    } else if (redis_command_keys(c, call->in->text, call->in->args + 2, call->in->argc - 2, &keys)) {
        redis_client_error(cl, "ERR Invalid arguments specified for command");
    } else if (!keys.n) {
        redis_client_error(cl, "ERR The command has no key arguments");
    } else {
        redis_text_addf(&t, "*%u\r\n", keys.n);
        for (uint32_t i = 0; i < keys.n; i++) {
            const char *key = redis_arg(call, keys.at[i] + 2, &len);
            redis_text_bulk(&t, key, len);
        }
        _send(cl, &t);
    }
    redis_keys_free(&keys);
}

static void _command_docs(const struct redis_call *call)
{
    redis_client_replyf(call->client, "%s", call->client->resp == 3 ? "%0\r\n" : "*0\r\n");
}

/* The rest ---------------------------------------------------------------------------- */

static void _info(const struct redis_call *call)
{
    struct redis_text t = {0};
    const struct redis_client *cl = call->client;
    const struct conf_cluster *cluster = redis_cluster(cl)->conf;
    redis_text_addf(&t, "# Server\r\nredis_version:%s\r\nredis_mode:standalone\r\n",
                    redis_commands_version());
    redis_text_addf(&t, "skein_version:" SKEIN_VERSION "\r\nprocess_id:%d\r\n", (int)getpid());
    redis_text_addf(&t, "\r\n# Clients\r\nconnected_clients:%" PRIu64 "\r\n",
                    stat_get(&redis_client_stats(cl)->active));
    redis_text_addf(&t, "\r\n# Persistence\r\nloading:0\r\n\r\n# Replication\r\nrole:master\r\n");
    redis_text_addf(&t, "\r\n# Cluster\r\ncluster_enabled:0\r\n\r\n# Shards\r\n");
    for (size_t i = 0; i < cluster->n_endpoints; i++)
        redis_text_addf(&t, "shard%zu:address=%s,state=%s\r\n", i, cluster->endpoints[i].address.text,
                        endpoint_ejected(redis_cluster(cl)->endpoints[i].id) ? "ejected" : "up");
    _reply_bulk(call->client, t.data, t.len);
    free(t.data);
}

static void _time(const struct redis_call *call)
{
    struct timespec now;
    char seconds[24], micros[24];
    clock_gettime(CLOCK_REALTIME, &now);
    int a = snprintf(seconds, sizeof(seconds), "%lld", (long long)now.tv_sec);
    int b = snprintf(micros, sizeof(micros), "%ld", now.tv_nsec / 1000);
    redis_client_replyf(call->client, "*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", a, seconds, b, micros);
}

static const struct {
    const char *name;
    void (*answer)(const struct redis_call *call);
} _commands[] = {
    {"ping", _ping},
    {"echo", _echo},
    {"quit", _quit},
    {"auth", _auth},
    {"hello", _hello},
    {"select", _select},
    {"reset", _reset},
    {"client|reply", _client_reply},
    {"client|setname", _client_setname},
    {"client|getname", _client_getname},
    {"client|id", _client_id},
    {"client|info", _client_info},
    {"client|setinfo", _ok},
    {"command", _command_list},
    {"command|info", _command_info},
    {"command|count", _command_count},
    {"command|getkeys", _command_getkeys},
    {"command|docs", _command_docs},
    {"info", _info},
    {"time", _time},
};

enum redis_taken redis_local(const struct redis_call *call)
{
    /* RESET closes the client's own connections: what was sent on them is answered first. HELLO may
     * change the shared ones: what comes next must not overtake what was sent before. */
    if (call->client->head &&
        (strcmp(call->command->name, "reset") == 0 || strcmp(call->command->name, "hello") == 0))
        return REDIS_WAIT;
    for (size_t i = 0; i < sizeof(_commands) / sizeof(_commands[0]); i++) {
        if (strcmp(_commands[i].name, call->command->name) == 0) {
            _commands[i].answer(call);
            return REDIS_TAKEN;
        }
    }
    redis_client_error(call->client, "ERR command '%s' is not supported by this proxy", call->command->name);
    return REDIS_TAKEN;
}
