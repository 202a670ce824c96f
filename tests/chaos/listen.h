/* A port that can be closed and opened again. */
#pragma once

#include <event2/event_struct.h>

#include "chaos.h"

struct listening {
    uint16_t port;
    int fd; /**< -1: closed. */
    struct event ev;
    void (*accepted)(void *arg, int fd); /**< Takes over a non-blocking socket. */
    void *arg;
};

/** Chooses a port; it is closed yet. */
void listening_init(struct listening *l, void (*accepted)(void *arg, int fd), void *arg);
void listening_open(struct listening *l);
void listening_close(struct listening *l);
