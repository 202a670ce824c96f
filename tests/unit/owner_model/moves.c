/* What can happen next. */
#include "model.h"

#include <stdio.h>

static const char *const actors[] = {"d1", "d2", "u1", "u2", "daemon"};
static const char *const ops[] = {"rests",
                                  "begins",
                                  "reads",
                                  "writes",
                                  "compares and swaps",
                                  "clears in",
                                  "sets in",
                                  "adds to",
                                  "looks a socket up",
                                  "redirects",
                                  "queues",
                                  "calls the kernel",
                                  "inserts",
                                  "ends"};
static const char *const tasks[] = {"", "wakes", "looks at who leaves", "promotes", "donates", "closes"};

static void _add(struct move *to, unsigned *n, enum move_kind kind, unsigned actor, unsigned choice,
                 bool forced)
{
    to[(*n)++] = (struct move){(uint8_t)kind, (uint8_t)actor, (uint8_t)choice, forced};
}

static void _connection(struct move *to, unsigned *n, unsigned c)
{
    const struct socket_model *s = &world.socks[c];
    if (!resting(c)) {
        _add(to, n, MOVE_STEP, c, 0, true);
        if (scenario->refusals && world.actors[c].op == REDIRECT)
            _add(to, n, MOVE_STEP, c, 1, false);
        return;
    }
    if (next_segment(c))
        _add(to, n, MOVE_ARRIVE, c, 0, true);
    if (s->kick)
        _add(to, n, MOVE_KICK, c, 0, true);
    if (s->n_underway)
        _add(to, n, MOVE_DELIVER, c, 0, true);
}

/* Whether one that leaves has nothing under way into it: otherwise looking changes nothing. */
static bool _can_leave(void)
{
    for (unsigned c = 0; c < CONNS; c++) {
        if (conn_of(c)->leave_listed && !world.socks[c].n_underway)
            return true;
    }
    return false;
}

static void _daemon(struct move *to, unsigned *n)
{
    if (!resting(DAEMON)) {
        if (blocked(DAEMON))
            return;
        _add(to, n, MOVE_STEP, DAEMON, 0, true);
        if (scenario->refusals && world.actors[DAEMON].op == INSERT)
            _add(to, n, MOVE_STEP, DAEMON, 1, false);
        return;
    }
    if (_can_leave())
        _add(to, n, MOVE_TASK, NONE, TASK_LEAVE, true);
    for (unsigned c = 0; c < CONNS; c++) {
        const struct conn *conn = conn_of(c);
        const struct socket_model *s = &world.socks[c];
        if (conn->dead || s->closed)
            continue;
        bool event = s->failed || s->passed;
        if (conn->kernel && (event || world.wakes))
            _add(to, n, MOVE_TASK, c, TASK_WAKE, event);
        if ((conn->kernel || conn->leaving) && world.closes)
            _add(to, n, MOVE_TASK, c, TASK_CLOSE, false);
        if (userspace_can_finish(c))
            _add(to, n, MOVE_FINISH, c, 0, true);
        if (!s->user || conn->kernel || !world.inserts)
            continue;
        if (is_up(c) ? !daemon_bound(c) : s->partner == NONE && !conn->in && s->answered < requests_of(c))
            _add(to, n, MOVE_TASK, c, is_up(c) ? TASK_DONATE : TASK_PROMOTE, false);
    }
}

unsigned moves(struct move *to)
{
    unsigned n = 0;
    for (unsigned c = 0; c < CONNS; c++)
        _connection(to, &n, c);
    _daemon(to, &n);
    return n;
}

static void _arrive(unsigned c)
{
    struct socket_model *s = &world.socks[c];
    s->arrived = (uint16_t)next_segment(c);
    s->next += !is_up(c);
    if (s->in_map && !s->stopped)
        start(c);
    else if (s->user && !is_up(c) && s->partner == NONE)
        userspace_serves(c);
}

void play(const struct move *m)
{
    switch ((enum move_kind)m->kind) {
    case MOVE_STEP:
        step(m->actor, m->choice);
        break;
    case MOVE_ARRIVE:
        _arrive(m->actor);
        break;
    case MOVE_KICK:
        start(m->actor);
        break;
    case MOVE_DELIVER:
        socket_deliver(m->actor);
        break;
    case MOVE_TASK:
        world.task = m->choice;
        world.task_conn = m->actor;
        world.wakes -= m->choice == TASK_WAKE && !m->forced;
        world.closes -= m->choice == TASK_CLOSE;
        world.inserts -= m->choice == TASK_PROMOTE || m->choice == TASK_DONATE;
        start(DAEMON);
        break;
    case MOVE_FINISH:
        userspace_finishes(m->actor);
        break;
    }
}

static void _place(const void *address, char *to, size_t len)
{
    size_t at = (size_t)((const char *)address - (const char *)model_slots);
    to[0] = 0;
    if (at >= sizeof(model_slots))
        return;
    for (unsigned c = 0; c < CONNS; c++) {
        if (conn_of(c)->slot == at / sizeof(struct slot))
            snprintf(to, len, " %s.%s", actors[c], field_of(address));
    }
}

/* What a move is going to do, in the state before it. */
void describe(const struct move *m, char *to, size_t len)
{
    char place[64];
    const struct actor *a = &world.actors[m->actor < ACTORS ? m->actor : DAEMON];
    switch ((enum move_kind)m->kind) {
    case MOVE_STEP:
        _place(a->address, place, sizeof(place));
        snprintf(to, len, "%-6s %s%s%s", actors[m->actor], ops[a->op], place, m->choice ? " (refused)" : "");
        return;
    case MOVE_ARRIVE:
        snprintf(to, len, "%-6s receives up to %u", actors[m->actor], next_segment(m->actor));
        return;
    case MOVE_KICK:
        snprintf(to, len, "%-6s is parsed again", actors[m->actor]);
        return;
    case MOVE_DELIVER:
        snprintf(to, len, "%-6s sends %u to %u", actors[m->actor], world.socks[m->actor].underway[0].from,
                 world.socks[m->actor].underway[0].to);
        return;
    case MOVE_TASK:
        snprintf(to, len, "daemon %s %s", tasks[m->choice], m->actor < CONNS ? actors[m->actor] : "");
        return;
    case MOVE_FINISH:
        snprintf(to, len, "daemon finishes %s's exchange", actors[m->actor]);
        return;
    }
}
