/*
 * What the command table says, for a test that compares it with a server. Reads lines, answers
 * each with one:
 *   version            -> the version of the server that the table is from
 *   names              -> every command and subcommand
 *   keys HEX HEX ...   -> argument numbers of the keys of a command, separated by spaces, or "?";
 *                         "-" is an empty argument
 *   describe 2|3 NAME  -> its entry of COMMAND's reply in that version of the protocol, in hex
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "parsers/redis_commands.h"

#define ARGS_MAX 1024
#define TEXT_MAX 65536

static char text[TEXT_MAX];
static struct resp_arg args[ARGS_MAX];

static void _die(const char *what)
{
    fprintf(stderr, "redis_table: %s\n", what);
    exit(1);
}

static void _put_hex(void *arg, const char *data, size_t len)
{
    for (size_t i = 0; i < len; i++)
        printf("%02x", (unsigned char)data[i]);
}

/* Turns the words of a line into arguments. @return How many. */
static uint32_t _arguments(char **save)
{
    uint32_t argc = 0, n = 0;
    for (const char *hex; (hex = strtok_r(NULL, " ", save)); argc++) {
        size_t len = strcmp(hex, "-") == 0 ? 0 : strlen(hex) / 2;
        if (argc == ARGS_MAX || len > TEXT_MAX - n)
            _die("command too long");
        args[argc] = (struct resp_arg){n, (uint32_t)len};
        for (size_t i = 0; i < len; i++) {
            unsigned byte;
            if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
                _die("not hexadecimal");
            text[n++] = (char)byte;
        }
    }
    return argc;
}

static void _keys(char **save)
{
    struct redis_keys keys = {0};
    uint32_t argc = _arguments(save);
    const struct redis_command *c = argc > 0 ? redis_command_find(text, args[0].len) : NULL;
    if (c && c->n_subs > 0 && argc > 1)
        c = redis_subcommand_find(c, text + args[1].off, args[1].len);
    if (!c)
        _die("unknown command");
    if (redis_command_keys(c, text, args, argc, &keys) != 0)
        printf("?");
    for (uint32_t i = 0; i < keys.n; i++)
        printf("%s%u", i > 0 ? " " : "", keys.at[i]);
    redis_keys_free(&keys);
}

static void _describe(char **save)
{
    const char *version = strtok_r(NULL, " ", save), *name = strtok_r(NULL, " ", save);
    const struct redis_command *c = name ? redis_command_find_path(name, strlen(name)) : NULL;
    if (!c)
        _die("unknown command");
    redis_command_describe(c, version[0] == '3', _put_hex, NULL);
}

static void _names(void)
{
    const struct redis_command *c;
    for (size_t i = 0; (c = redis_command_at(i)); i++) {
        printf("%s%s", i > 0 ? " " : "", c->name);
        for (size_t k = 0; k < c->n_subs; k++)
            printf(" %s", c->subs[k].name);
    }
}

int main(void)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    while ((n = getline(&line, &size, stdin)) > 0) {
        char *save, *what;
        line[strcspn(line, "\n")] = '\0';
        what = strtok_r(line, " ", &save);
        if (what && strcmp(what, "keys") == 0)
            _keys(&save);
        else if (what && strcmp(what, "describe") == 0)
            _describe(&save);
        else if (what && strcmp(what, "names") == 0)
            _names();
        else if (what && strcmp(what, "version") == 0)
            printf("%s", redis_commands_version());
        else
            _die("unknown request");
        printf("\n");
    }
    free(line);
    return 0;
}
