/*
 * Loads a configuration from text, and keeps what was printed. Included after cmocka.h.
 */
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/conf.h"

/** The name that errors carry; tests run in a directory of their own. */
#define CONF_FILE "t.yaml"

struct loaded {
    int r;
    char *errors; /**< All lines. */
    struct conf *conf;
};

static inline int conf_enter_dir(void **state)
{
    static char dir[] = "/tmp/skein-conf-XXXXXX";

    *state = dir;

    return mkdtemp(dir) ? chdir(dir) : -1;
}

static inline int conf_leave_dir(void **state)
{
    unlink(CONF_FILE);

    return chdir("/") || rmdir(*state);
}

static inline struct loaded conf_load_file(const char *file)
{
    struct loaded l = {};
    size_t len;
    FILE *err = open_memstream(&l.errors, &len);

    assert_non_null(err);
    l.r = conf_load(file, err, &l.conf);
    fclose(err);

    return l;
}

static inline struct loaded conf_load_bytes(const char *bytes, size_t len)
{
    FILE *f;

    unlink(CONF_FILE); /* ext4 writes a file that was truncated and filled again to the disk at once. */
    f = fopen(CONF_FILE, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, len, f), len);
    fclose(f);

    return conf_load_file(CONF_FILE);
}

static inline struct loaded conf_load_text(const char *text)
{
    return conf_load_bytes(text, strlen(text));
}

static inline void conf_unload(struct loaded *l)
{
    conf_free(&l->conf);
    free(l->errors);
    l->errors = NULL;
}
