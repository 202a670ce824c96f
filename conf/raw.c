/*
 * libcyaml says where it failed only in its log: first the problem, then a backtrace from the
 * innermost key outwards, lists counted from 1. The structure check finds the same errors earlier
 * and all at once; this keeps whatever it may have missed in the same form, and off stderr.
 */
#include "conf/raw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/** What is caught of libcyaml's log. */
struct catch
{
    struct conf_text problem;
    char path[192];
    unsigned line;
};

static void _prepend(struct catch *c, const char *part)
{
    char joined[sizeof(c->path)];
    bool dot = *part && c->path[0] && c->path[0] != '[';

    if (snprintf(joined, sizeof(joined), "%s%s%s", part, dot ? "." : "", c->path) < (int)sizeof(joined))
        strcpy(c->path, joined);
}

/** The number after `label` in a line of the log, 0 if there is none. */
static unsigned _number_after(const char *text, const char *label)
{
    const char *at = strstr(text, label);

    return at ? (unsigned)strtoul(at + strlen(label), NULL, 10) : 0;
}

static void _catch_backtrace(struct catch *c, const char *text)
{
    static const char field[] = "in mapping field '";
    static const char entry[] = "in sequence entry '";
    const char *at = strstr(text, field);

    if (!c->line)
        c->line = _number_after(text, "line: ");
    if (at) {
        at += strlen(field);
        _prepend(c, conf_printable(at, strcspn(at, "'")).text);
    } else if (strstr(text, entry)) {
        unsigned nth = _number_after(text, entry);

        _prepend(c, conf_path("[%u]", nth ? nth - 1 : 0).text);
    }
}

static void _log(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
    static const char prefix[] = "Load: ";
    struct catch *c = ctx;
    char text[256];
    char *start = text;

    if (level < CYAML_LOG_ERROR)
        return;
        /* The format is libcyaml's own, handed through as its interface demands. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    vsnprintf(text, sizeof(text), fmt, args);
#pragma GCC diagnostic pop
    if (!strncmp(start, prefix, strlen(prefix)))
        start += strlen(prefix);
    start[strcspn(start, "\n")] = '\0';

    if (!strncmp(start, "  in ", 5))
        _catch_backtrace(c, start);
    else if (!c->problem.text[0])
        c->problem = conf_printable(start, strlen(start));
}

static cyaml_config_t _config(struct catch *c)
{
    return (cyaml_config_t){
        .log_fn = _log,
        .log_ctx = c,
        .mem_fn = cyaml_mem,
        .log_level = CYAML_LOG_ERROR,
        .flags = CYAML_CFG_NO_ALIAS,
    };
}

int conf_raw_load(const char *buf, size_t len, struct conf_errors *errors, struct raw_conf **out)
{
    struct catch c = {};
    cyaml_config_t config = _config(&c);
    cyaml_data_t *data = NULL;
    cyaml_err_t r = cyaml_load_data((const uint8_t *)buf, len, &config, &conf_schema, &data, NULL);

    if (r == CYAML_ERR_OOM)
        return -ENOMEM;
    if (r != CYAML_OK || !data) {
        conf_error_at(errors, c.line ? c.line : 1, c.path[0] ? c.path : "yaml", "%s, expected another value",
                      c.problem.text[0] ? c.problem.text : cyaml_strerror(r));
        return -EINVAL;
    }
    *out = data;

    return 0;
}

void conf_raw_free(struct raw_conf **raw)
{
    struct catch c = {};
    cyaml_config_t config = _config(&c);

    if (*raw)
        cyaml_free(&config, &conf_schema, *raw, 0);
    *raw = NULL;
}
