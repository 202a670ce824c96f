/* All states, depth first. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VISITED_BITS 24
#define DEPTH        1500
#define SAVED        (64UL << 20)

struct world world;
struct slot model_slots[SLOTS];
struct pool model_pool;
const struct scenario *scenario;
const char *violation;

static uint64_t *visited; /* Fingerprints; open addressing. */
static size_t n_visited, n_steps;
static char *saved;
static char trace[DEPTH][96];
static unsigned trace_len;

static bool _visit(void)
{
    uint64_t h = fingerprint();
    for (size_t i = h >> (64 - VISITED_BITS);; i = (i + 1) & ((1UL << VISITED_BITS) - 1)) {
        if (visited[i] == h)
            return false;
        if (visited[i])
            continue;
        visited[i] = h;
        if (++n_visited > (3UL << VISITED_BITS) / 4)
            abort();
        return true;
    }
}

/* Only the daemon can move, and does in a loop: is it at an end all the same? */
static bool _polls_in_vain(const char *from)
{
    restore(from);
    uint64_t before = fingerprint();
    const struct move poll = {.kind = MOVE_TASK, .actor = NONE, .choice = TASK_LEAVE};
    play(&poll);
    while (!resting(DAEMON) && !blocked(DAEMON) && !violation)
        step(DAEMON, 0);
    return fingerprint() == before;
}

static bool _end(const struct move *all, unsigned n, const char *from)
{
    bool polls = false;
    for (unsigned i = 0; i < n; i++) {
        if (!all[i].forced)
            continue;
        if (all[i].kind != MOVE_TASK || all[i].choice != TASK_LEAVE)
            return false;
        polls = true;
    }
    return !polls || _polls_in_vain(from);
}

static void _search(size_t at, unsigned depth)
{
    struct move all[MOVES];
    char *here = saved + at;
    if (depth >= DEPTH || at + sizeof(struct world) * 8 > SAVED)
        abort();
    unsigned n = moves(all);
    size_t size = save(here);
    for (unsigned i = 0; i < n; i++) {
        if (i)
            restore(here);
        describe(&all[i], trace[depth], sizeof(trace[0]));
        play(&all[i]);
        n_steps++;
        if (!violation)
            check_state();
        if (violation || points_grew) {
            trace_len = depth + 1;
            return;
        }
        if (!_visit())
            continue;
        _search(at + size, depth + 1);
        if (violation || points_grew)
            return;
    }
    if (_end(all, n, here)) {
        restore(here);
        check_end();
        trace_len = violation ? depth : 0;
    }
}

static void _clear(void)
{
    memset(&world, 0, sizeof(world));
    memset(model_slots, 0, sizeof(model_slots));
    memset(&model_pool, 0, sizeof(model_pool));
    memset(visited, 0, sizeof(*visited) << VISITED_BITS);
    n_visited = trace_len = 0;
    points_grew = false;
    violation = NULL;
}

void print_trace(void)
{
    for (unsigned i = 0; i < trace_len; i++)
        printf("  %s\n", trace[i]);
}

struct result explore(const struct scenario *s)
{
    scenario = s;
    visited = malloc(sizeof(*visited) << VISITED_BITS);
    saved = malloc(SAVED);
    n_steps = 0;
    if (!visited || !saved)
        abort();
    peers_init();
    do {
        _clear();
        coroutines_init();
        daemon_init();
        points_grew = false;
        _visit();
        if (!violation)
            _search(0, 0);
    } while (points_grew && !violation);
    free(visited);
    free(saved);
    return (struct result){violation, n_visited, n_steps};
}
