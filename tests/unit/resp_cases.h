/*
 * Commands and replies with what the RESP framer says of them.
 */
#pragma once

#include <stddef.h>

#include "parsers/resp_framer.h"

#define TEXT(literal) .text = (literal), .len = sizeof(literal) - 1

struct resp_case {
    const char *text;
    size_t len;
    int reason;
    unsigned long long size; /**< RESP_FRAME_OK: length of the message. */
};

#define OK(literal)                                                                                          \
    {                                                                                                        \
        TEXT(literal), RESP_FRAME_OK, sizeof(literal) - 1                                                    \
    }
#define OK_BEYOND(literal, size)                                                                             \
    {                                                                                                        \
        TEXT(literal), RESP_FRAME_OK, size                                                                   \
    }
#define NOT(literal, why)                                                                                    \
    {                                                                                                        \
        TEXT(literal), RESP_FRAME_##why, 0                                                                   \
    }

#define ARGS_4   "$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n"
#define ARGS_16  ARGS_4 ARGS_4 ARGS_4 ARGS_4
#define LETTERS8 "abcdefgh"

static const struct resp_case resp_command_cases[] = {
    OK("*1\r\n$4\r\nPING\r\n"),
    OK("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n"),
    OK("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$3\r\nabc\r\n"),
    OK("*2\r\n$3\r\nGET\r\n$0\r\n\r\n"),
    OK("*3\r\n$3\r\nSET\r\n$0\r\n\r\n$0\r\n\r\n"),
    OK("*2\r\n$3\r\nGET\r\n$4\r\n\r\n\r\n\r\n"),
    OK("*3\r\n$3\r\nSET\r\n$3\r\n\0\xff\n\r\n$2\r\n$1\r\n"),
    OK("*32\r\n" ARGS_16 ARGS_16),
    OK("*1\r\n$32\r\n" LETTERS8 LETTERS8 LETTERS8 LETTERS8 "\r\n"),
    OK_BEYOND("*1\r\n$4\r\nPING\r\n*1\r\n", 14),
    OK_BEYOND("*1\r\n$4\r\nPING", 14),
    OK_BEYOND("*1\r\n$4\r\nPING\r", 14),
    OK_BEYOND("*2\r\n$3\r\nGET\r\n$3\r\nkey", 22),
    OK_BEYOND("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n", 32 + 536870914ULL),
    NOT("", PARTIAL),
    NOT("*1\r\n$4\r\nPIN", PARTIAL),
    NOT("*2\r\n$4\r\nPING", PARTIAL),
    NOT("*2\r\n$4\r\nPING\r\n$3\r\nke", PARTIAL),
    NOT("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$3\r", PARTIAL),
    NOT("*4\r\n$3\r\nSET\r\n$3\r\nkey\r\n$9\r\nabc", PARTIAL),
    NOT("PING\r\n", INLINE),
    NOT("\r\n", INLINE),
    NOT("$4\r\nPING\r\n", INLINE),
    NOT("+PING\r\n", INLINE),
    NOT("*0\r\n", COUNT),
    NOT("*-1\r\n", COUNT),
    NOT("*33\r\n" ARGS_16 ARGS_16 "$1\r\na\r\n", COUNT),
    NOT("*9223372036854775807\r\n", COUNT),
    NOT("*9223372036854775808\r\n", SYNTAX),
    NOT("*18446744073709551617\r\n", SYNTAX),
    NOT("*4294967297\r\n$4\r\nPING\r\n", COUNT),
    NOT("*01\r\n$4\r\nPING\r\n", SYNTAX),
    NOT("*+1\r\n$4\r\nPING\r\n", SYNTAX),
    NOT("* 1\r\n$4\r\nPING\r\n", SYNTAX),
    NOT("*1 \r\n$4\r\nPING\r\n", SYNTAX),
    NOT("*-0\r\n", SYNTAX),
    NOT("*-\r\n", SYNTAX),
    NOT("*\r\n", SYNTAX),
    NOT("*1\n$4\r\nPING\r\n", SYNTAX),
    NOT("*1\rX$4\r\nPING\r\n", SYNTAX),
    NOT("*1\r\n+PING\r\n", SYNTAX),
    NOT("*1\r\n*1\r\n$4\r\nPING\r\n", SYNTAX),
    NOT("*1\r\n:4\r\n", SYNTAX),
    NOT("*1\r\n$-1\r\n", SYNTAX),
    NOT("*1\r\n$-2\r\n", SYNTAX),
    NOT("*1\r\n$04\r\nPING\r\n", SYNTAX),
    NOT("*1\r\n$4294967300\r\nPING\r\n", SYNTAX),
    NOT("*1\r\n$536870913\r\n", SYNTAX),
    NOT("*1\r\n$4\r\nPINGX", SYNTAX),
    NOT("*1\r\n$4\r\nPING\n", SYNTAX),
    NOT("*1\r\n$4\r\nPING\rX", SYNTAX),
    NOT("*2\r\n$3\r\nGETX\r\n$1\r\nk\r\n", SYNTAX),
    NOT("*2\r\n$3\r\nGET\r\n$1\r\nkX", SYNTAX),
    NOT("*2\r\n$3\r\nGET\r\n$-1\r\n", SYNTAX),
    NOT("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$-1\r\n", SYNTAX),
    NOT("*1\r\n$0\r\n\r\n", NAME),
    NOT("*1\r\n$33\r\n" LETTERS8 LETTERS8 LETTERS8 LETTERS8 "a\r\n", NAME),
    NOT("*2\r\n$3\r\nGET\r\n$1793\r\n", TOO_LONG),
};

#define ELEMENTS_8   ":1\r\n:2\r\n:3\r\n:4\r\n+\r\n-\r\n$-1\r\n:8\r\n"
#define ELEMENTS_64  ELEMENTS_8 ELEMENTS_8 ELEMENTS_8 ELEMENTS_8 ELEMENTS_8 ELEMENTS_8 ELEMENTS_8 ELEMENTS_8
#define ELEMENTS_256 ELEMENTS_64 ELEMENTS_64 ELEMENTS_64 ELEMENTS_64

static const struct resp_case resp_reply_cases[] = {
    OK("+OK\r\n"),
    OK("+\r\n"),
    OK("-ERR unknown command\r\n"),
    OK(":0\r\n"),
    OK(":-9223372036854775808\r\n"),
    OK(":9223372036854775807\r\n"),
    OK("$-1\r\n"),
    OK("$0\r\n\r\n"),
    OK("$5\r\nhello\r\n"),
    OK("$4\r\n\r\n\r\n\r\n"),
    OK("*-1\r\n"),
    OK("*0\r\n"),
    OK("*3\r\n$1\r\na\r\n$-1\r\n:1\r\n"),
    OK("*2\r\n*2\r\n:1\r\n*0\r\n*1\r\n-ERR\r\n"),
    OK("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n"),
    OK("*256\r\n" ELEMENTS_256),
    OK_BEYOND("+OK\r\n+OK\r\n", 5),
    OK_BEYOND("$5\r\nhel", 11),
    OK_BEYOND("$5\r\nhello\r", 11),
    OK_BEYOND("$536870912\r\n", 12 + 536870914ULL),
    OK_BEYOND("*2\r\n$1\r\na\r\n$100\r\n", 17 + 102),
    OK_BEYOND("*2\r\n:1\r\n*1\r\n$3\r\nab", 21),
    NOT("", PARTIAL),
    NOT("+OK", PARTIAL),
    NOT("+OK\r", PARTIAL),
    NOT(":1", PARTIAL),
    NOT("$", PARTIAL),
    NOT("*1\r\n", PARTIAL),
    NOT("*2\r\n$5\r\nhello", PARTIAL),
    NOT("*2\r\n*0\r\n", PARTIAL),
    NOT("+OK\rX\r\n", SYNTAX),
    NOT("+O\r\r\n", SYNTAX),
    NOT(":\r\n", SYNTAX),
    NOT(":01\r\n", SYNTAX),
    NOT(":-0\r\n", SYNTAX),
    NOT(":+1\r\n", SYNTAX),
    NOT(":-9223372036854775809\r\n", SYNTAX),
    NOT(":9223372036854775808\r\n", SYNTAX),
    NOT(":92233720368547758070\r\n", SYNTAX),
    NOT(":1\n", SYNTAX),
    NOT("$-2\r\n", SYNTAX),
    NOT("$536870913\r\n", SYNTAX),
    NOT("$5\r\nhelloX", SYNTAX),
    NOT("$5\r\nhello\rX", SYNTAX),
    NOT("*-2\r\n", SYNTAX),
    NOT("$?\r\n", SYNTAX),
    NOT("*2\r\n$1\r\naX", SYNTAX),
    NOT("*257\r\n", COUNT),
    NOT("*9223372036854775807\r\n", COUNT),
    NOT("*200\r\n*57\r\n", COUNT),
    NOT("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", DEPTH),
    NOT("*9\r\n*0\r\n*0\r\n*0\r\n*0\r\n*-1\r\n*0\r\n*0\r\n*0\r\n:1\r\n", DEPTH),
    NOT("_\r\n", TYPE),
    NOT("%1\r\n+a\r\n+b\r\n", TYPE),
    NOT("#t\r\n", TYPE),
    NOT(",1\r\n", TYPE),
    NOT("(1\r\n", TYPE),
    NOT("~0\r\n", TYPE),
    NOT(">1\r\n+a\r\n", TYPE),
    NOT("|1\r\n+a\r\n+b\r\n:1\r\n", TYPE),
    NOT("=5\r\ntxt:a\r\n", TYPE),
    NOT("!3\r\nERR\r\n", TYPE),
    NOT("OK\r\n", TYPE),
    NOT("*2\r\n:1\r\n_\r\n", TYPE),
    NOT("\r\n", TYPE),
};

#define RESP_N_COMMAND_CASES (sizeof(resp_command_cases) / sizeof(resp_command_cases[0]))
#define RESP_N_REPLY_CASES   (sizeof(resp_reply_cases) / sizeof(resp_reply_cases[0]))
