/* Actors as coroutines whose stacks can be saved and restored. */
#include "model.h"

#include <string.h>
#include <ucontext.h>

#define STACK 65536
#define SLACK 256 /* Below the frame that is saved last. */

unsigned running = NONE, chosen;
static char stacks[ACTORS][STACK] __attribute__((aligned(64)));
static jmp_buf search;
static ucontext_t origin;

static void _rest(void)
{
    struct actor *me = &world.actors[running];
    me->op = REST;
    me->history = me->before = me->value = 0;
    me->last = me->address = NULL;
    memset(me->reads, 0, sizeof(me->reads));
    memset(me->writes, 0, sizeof(me->writes));
}

static void __attribute__((noinline)) _switch(struct actor *me)
{
    me->sp = (char *)__builtin_frame_address(0) - SLACK;
    if (!_setjmp(me->at))
        _longjmp(search, 1);
}

/* Since its last point, something that others may notice later than that. */
static bool _has_accessed(void)
{
    const struct actor *me = &world.actors[running];
    uint64_t any = 0;
    for (unsigned i = 0; i <= SLOTS; i++)
        any |= me->reads[i] | me->writes[i];
    return any;
}

static void _loop(void)
{
    for (;;) {
        _rest();
        _switch(&world.actors[running]);
        if (running == DAEMON)
            daemon_run();
        else
            socket_run(running);
        if (_has_accessed())
            point(END, NULL);
    }
}

void coroutines_init(void)
{
    for (running = 0; running < ACTORS; running++) {
        ucontext_t context;
        getcontext(&context);
        context.uc_stack.ss_sp = stacks[running];
        context.uc_stack.ss_size = STACK;
        context.uc_link = &origin;
        makecontext(&context, _loop, 0);
        if (!_setjmp(search))
            setcontext(&context);
    }
    running = NONE;
}

/* The daemon waits for BUSY to go: it reads a word again that had it. */
bool spins(const struct actor *a)
{
    return a == &world.actors[DAEMON] && a->last && (a->value & OWNER_BUSY);
}

void remember(uint64_t value)
{
    struct actor *me = &world.actors[running];
    me->history = (me->history ^ value) * 0x9e3779b97f4a7c15ULL;
    me->history ^= me->history >> 29;
}

void forget(void)
{
    struct actor *me = &world.actors[running];
    me->history = me->before = me->value = 0;
    me->last = NULL;
}

void point(enum op op, const void *address)
{
    struct actor *me = &world.actors[running];
    if (me->last != address)
        me->last = NULL;
    if (!spins(me)) {
        remember(op);
        remember((uintptr_t)address);
    }
    me->op = (uint8_t)op;
    me->address = address;
    _switch(me);
    memset(me->reads, 0, sizeof(me->reads));
    memset(me->writes, 0, sizeof(me->writes));
}

void step(unsigned actor, unsigned choice)
{
    running = actor;
    chosen = choice;
    if (!_setjmp(search))
        _longjmp(world.actors[actor].at, 1);
    running = NONE;
}

void start(unsigned actor)
{
    world.actors[actor].op = BEGIN;
    world.actors[actor].lock = NONE;
    step(actor, 0);
}

bool resting(unsigned actor)
{
    return world.actors[actor].op == REST;
}

/* A system call waits for a socket that its programs are at work with; who has read a word for nothing, for
 * its change. */
bool blocked(unsigned actor)
{
    const struct actor *a = &world.actors[actor];
    if (a->op == SYSCALL || a->op == INSERT)
        return a->lock != NONE && !resting(a->lock);
    return a->op == READ && a->address == a->last && spins(a) && !memcmp(a->last, &a->value, 8);
}

/* Saving ------------------------------------------------------------------------------ */

/* Messages are shorter: nothing is written behind this. */
#define SLOT_USED (offsetof(struct slot, window) + 160)

size_t save(char *to)
{
    char *at = to;
    memcpy(at, &world, sizeof(world));
    at += sizeof(world);
    for (unsigned i = 0; i < SLOTS; i++, at += SLOT_USED)
        memcpy(at, &model_slots[i], SLOT_USED);
    memcpy(at, &model_pool.idle[0], 8);
    memcpy(at + 8, model_pool.ref, 8);
    at += 16;
    for (unsigned a = 0; a < ACTORS; a++) {
        size_t len = (size_t)(stacks[a] + STACK - world.actors[a].sp);
        memcpy(at, world.actors[a].sp, len);
        at += (len + 15) & ~15UL;
    }
    return (size_t)(at - to);
}

void restore(const char *from)
{
    memcpy(&world, from, sizeof(world));
    from += sizeof(world);
    for (unsigned i = 0; i < SLOTS; i++, from += SLOT_USED)
        memcpy(&model_slots[i], from, SLOT_USED);
    memcpy(&model_pool.idle[0], from, 8);
    memcpy(model_pool.ref, from + 8, 8);
    from += 16;
    for (unsigned a = 0; a < ACTORS; a++) {
        size_t len = (size_t)(stacks[a] + STACK - world.actors[a].sp);
        memcpy(world.actors[a].sp, from, len);
        from += (len + 15) & ~15UL;
    }
}

/* Fingerprints ------------------------------------------------------------------------ */

static uint64_t hash;

static void _mix(const void *data, size_t len)
{
    const char *at = data;
    for (; len >= 8; len -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = (hash ^ word) * 0xff51afd7ed558ccdULL;
        hash ^= hash >> 32;
    }
    if (len) {
        uint64_t word = 0;
        memcpy(&word, at, len);
        hash = (hash ^ word) * 0xff51afd7ed558ccdULL;
        hash ^= hash >> 32;
    }
}

static void _mix_conn(unsigned i)
{
    const struct conn *c = conn_of(i);
    const uint64_t flags = (uint64_t)c->kernel | (uint64_t)c->leaving << 1 | (uint64_t)c->leave_listed << 2 |
                           (uint64_t)c->dead << 3 | (uint64_t)(c->in != NULL) << 4 | c->passed_len << 8;
    const uint64_t words[] = {flags, c->slot, c->pool_index, (uintptr_t)c->leave.tqe_next};
    _mix(words, sizeof(words));
}

/* What only counts, and working memory of the framer, makes no difference. */
static void _mix_slot(const struct slot *s)
{
    _mix(&s->owner, sizeof(s->owner));
    _mix(&s->remaining, offsetof(struct slot, activity) - offsetof(struct slot, remaining));
    _mix(&s->listener, offsetof(struct slot, scan) - offsetof(struct slot, listener));
    _mix(s->window.bytes, 160);
}

uint64_t fingerprint(void)
{
    hash = 0x9e3779b97f4a7c15ULL;
    for (unsigned a = 0; a < ACTORS; a++) {
        const struct actor *actor = &world.actors[a];
        const uint64_t words[] = {actor->history, actor->op, (uintptr_t)actor->address, actor->value,
                                  (uintptr_t)actor->last};
        _mix(words, sizeof(words));
    }
    _mix(world.socks, sizeof(world.socks));
    _mix(world.cookies, sizeof(world.cookies));
    for (unsigned c = 0; c < CONNS; c++)
        _mix_conn(c);
    _mix(world.gens, sizeof(world.gens));
    _mix(world.free, sizeof(world.free));
    const uint64_t rest[] = {world.task,
                             world.task_conn,
                             world.wakes,
                             world.inserts,
                             world.closes,
                             world.kw.n_free,
                             (uintptr_t)TAILQ_FIRST(&world.kw.leaving)};
    _mix(rest, sizeof(rest));
    for (unsigned i = 0; i < SLOTS; i++)
        _mix_slot(&model_slots[i]);
    _mix(&model_pool.idle[0], 8);
    _mix(model_pool.ref, 8);
    return hash ? hash : 1;
}
