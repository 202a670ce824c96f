/*
 * The owner word's protocol (skein/slot.h) in every interleaving of a few connections.
 *
 * Each actor is a small program whose steps are what one atomic operation or one plain access
 * to shared memory does in bpf/request.h, bpf/response.h, bpf/pool.h, bpf/owner.h, and in
 * proxy/kpath.c and proxy/kernel.c:
 *
 *   downstream   parser: enter; verdict: pop a pool entry, lease, redirect, leave
 *   upstream     parser: enter; verdict: redirect, complete the response, push the pool entry
 *   daemon       take a connection and its partner, freeze, leave the maps, forget the slot, finish
 *                the exchange, donate or promote again into a slot that was used before
 *
 * A search visits all states. Whatever it finds wrong comes with the interleaving. Rules that the
 * protocol depends on can be switched off, to see that the search notices.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "skein/slot.h"

enum { D1, D2, U1, U2, CONNS, DAEMON = CONNS };
enum { SLOTS = 5, PLACES = 2, QUEUE = 2 };
#define NONE 0xff

static const char *const actors[] = {"d1", "d2", "u1", "u2", "daemon"};

struct rules {
    bool partner_names_us; /* The daemon takes a partner only while its lease names the first. */
    bool check_generation; /* A lease demands the generation that the pool says. */
    bool clear_downstream_first;
    bool freeze_compares;  /* FROZEN is set only if no slice was passed since they were copied. */
    bool removal_waits;    /* Out of the SOCKMAP: no program runs for the socket any more. */
    bool downstream_rests; /* A response is for a client whose verdict is not at work. */
    bool solicited;        /* Servers send nothing before a request has arrived. Without, whose the
                            * bytes are is not asked: only what happens to the connections. */
};

static const struct rules good = {true, true, true, true, true, true, true};

struct setup {
    struct rules rules;
    uint8_t upstreams;
    uint8_t requests[2]; /* Per client. */
    uint8_t slices;      /* Per response. */
    uint8_t wakes;       /* Events that the daemon gets for no reason of the protocol's. */
    uint8_t inserts;     /* Donations and promotions. */
    bool refusals;       /* Redirects may fail. */
    bool pipelining;     /* Clients do not wait for responses. */
};

/* What a program does next. */
#define STEPS(X)                                                                                             \
    X(AT_REST, "starts")                                                                                     \
    X(ENTER_LOAD, "loads its word")                                                                          \
    X(ENTER_CAS, "sets BUSY")                                                                                \
    X(POP_READ, "looks for a bit")                                                                           \
    X(POP_CLEAR, "clears the bit")                                                                           \
    X(POP_REF, "reads the ref")                                                                              \
    X(LEASE_LOAD, "loads the upstream word")                                                                 \
    X(LEASE_CAS, "leases")                                                                                   \
    X(VIEW, "views the target")                                                                              \
    X(COUNT, "counts what it will redirect")                                                                 \
    X(LEASE_WRITE, "writes its lease")                                                                       \
    X(REDIRECT, "redirects")                                                                                 \
    X(REFUSED, "clears its lease")                                                                           \
    X(BACK_CLEAR, "gives the lease back")                                                                    \
    X(BACK_PUSH, "sets the bit again")                                                                       \
    X(PASS_COUNT, "counts as passed")                                                                        \
    X(PASS_USER, "sets USER")                                                                                \
    X(PASS_LEAVE, "clears BUSY after passing")                                                               \
    X(GIVE_UP, "sets USER and FROZEN")                                                                       \
    X(GAVE_UP, "clears BUSY and gives up")                                                                   \
    X(LEAVE, "clears BUSY")                                                                                  \
    X(DELIVER, "delivers")                                                                                   \
    X(VERDICT, "loads its word again")                                                                       \
    X(HOLDS, "checks the downstream word")                                                                   \
    X(CLEAR_FIRST, "clears a lease")                                                                         \
    X(CLEAR_SECOND, "clears the other lease")                                                                \
    X(PUSH, "sets its bit")                                                                                  \
    X(TAKE_LOAD, "loads the word of")                                                                        \
    X(TAKE_CAS, "sets USER of")                                                                              \
    X(TAKE_READ, "reads the word of")                                                                        \
    X(CLEAR_ONE, "clears the lease of")                                                                      \
    X(CLEAR_OTHER, "clears the lease of")                                                                    \
    X(FREEZE_LOAD, "loads the word of")                                                                      \
    X(COPY, "copies what was passed by")                                                                     \
    X(FREEZE_CAS, "sets FROZEN of")                                                                          \
    X(REMOVE, "removes")                                                                                     \
    X(POOL_LEAVE, "takes from the pool")                                                                     \
    X(FORGET, "forgets")                                                                                     \
    X(INIT, "initialises")                                                                                   \
    X(COOKIE, "adds the cookie of")                                                                          \
    X(INSERT, "inserts")                                                                                     \
    X(POOL_PUT, "offers")

#define STEP_NAME(name, text) name,
#define STEP_TEXT(name, text) text,
enum pc { STEPS(STEP_NAME) };
static const char *const steps[] = {STEPS(STEP_TEXT)};

struct program {
    __u64 w, old;
    __u32 ref;   /* Its own. */
    __u32 other; /* The lease it holds or looks at. */
    uint8_t pc, bit, tries, target;
};

struct connection {
    __u32 cookie; /* ref by which programs find the slot; 0: none. */
    uint8_t slot, place;
    uint8_t tx;                   /* Redirected into it, not yet delivered. */
    uint8_t queue[QUEUE], queued; /* Upstream: whose requests it has. */
    uint8_t left;                 /* Upstream: slices of a begun response. Downstream: requests to send. */
    uint8_t partner;              /* Downstream in userspace: the exchange's upstream connection. */
    uint8_t passed;               /* Slices in the socket's own queue... */
    uint8_t copied;               /* ...and those of them that the daemon has seen. */
    bool waiting;                 /* Downstream: a request of it was redirected. */
    bool passing;                 /* A slice is counted but not in the queue yet. */
    bool kernel, leaving, stopped, strayed;
};

struct state {
    __u64 owner[SLOTS];
    __u32 place[PLACES];
    uint8_t idle;
    uint8_t pool_index[SLOTS];
    uint8_t socks[SLOTS], conns[SLOTS], gens[SLOTS], unused[SLOTS], n_unused;
    struct connection c[CONNS];
    struct program p[CONNS];
    struct {
        __u64 w, pw;
        uint8_t pc, c, partner, second, wakes, inserts;
    } daemon;
};

static struct setup setup;
static const char *violation;

#define DEMAND(condition, text)                                                                              \
    do {                                                                                                     \
        if (!(condition) && !violation)                                                                      \
            violation = text;                                                                                \
    } while (0)

/* About the order of messages, for which servers have to keep to it, too. */
#define DEMAND_ORDER(condition, text) DEMAND(!setup.rules.solicited || (condition), text)

/* Programs ---------------------------------------------------------------------------- */

static bool _is_up(unsigned c)
{
    return c >= U1;
}

static __u64 *_word(struct state *s, __u32 ref)
{
    return ref ? &s->owner[ref_index(ref)] : NULL;
}

/* The slot that a ref names is still that connection's. */
static bool _current(const struct state *s, __u32 ref)
{
    return owner_gen(s->owner[ref_index(ref)]) == ref_gen(ref);
}

static bool _enter(struct state *s, unsigned c, __u64 *old)
{
    struct program *p = &s->p[c];
    __u64 *word = _word(s, p->ref);
    if (p->pc == ENTER_LOAD) {
        p->w = *word;
        p->pc = ENTER_CAS;
        DEMAND(owner_gen(p->w) == ref_gen(p->ref), "a parser did not get into its slot");
        return false;
    }
    p->pc = ENTER_LOAD;
    if (*word != p->w) {
        DEMAND(++p->tries < 8, "a parser tried too often");
        return false;
    }
    *word |= OWNER_BUSY;
    *old = p->w;
    return true;
}

/* Both programs' ways to userspace. */
static void _pass(struct state *s, unsigned c)
{
    struct program *p = &s->p[c];
    struct connection *me = &s->c[c];
    __u64 *word = _word(s, p->ref);
    DEMAND(_current(s, p->ref), "a program changed the slot of another connection");
    switch (p->pc++) {
    case PASS_COUNT:
        me->passed++;
        me->passing = true;
        break;
    case PASS_USER:
        *word |= OWNER_USER;
        break;
    case PASS_LEAVE:
        *word += OWNER_SEQ_ONE - OWNER_BUSY;
        me->passing = false;
        if (!_is_up(c))
            me->left--;
        *p = (struct program){0};
        break;
    case GIVE_UP:
        *word |= OWNER_USER | OWNER_FROZEN;
        break;
    default: /* GAVE_UP */
        *word &= ~OWNER_BUSY;
        me->stopped = true;
        *p = (struct program){0};
    }
}

/* Counts bytes that are to go to the slot `ref`. @return false if no socket is there. */
static bool _count(struct state *s, struct program *p, __u32 ref)
{
    DEMAND(_current(s, ref), "a slot of another connection was counted in");
    p->target = s->socks[ref_index(ref)];
    if (p->target != NONE)
        s->c[p->target].tx++;
    return p->target != NONE;
}

static enum pc _request_slice(const struct state *s, unsigned d)
{
    __u64 old = s->p[d].old;
    if (old & OWNER_FROZEN)
        return GIVE_UP;
    if ((old & OWNER_USER) || owner_lease(old) || s->c[d].tx)
        return PASS_COUNT;
    return s->idle ? POP_READ : GIVE_UP;
}

static void _request(struct state *s, unsigned d, bool refuse)
{
    struct program *p = &s->p[d];
    struct connection *me = &s->c[d];
    __u64 *mine = _word(s, p->ref), *up = _word(s, p->other);
    switch (p->pc) {
    case AT_REST:
        p->ref = me->cookie;
        p->pc = ENTER_LOAD;
        break;
    case ENTER_LOAD:
    case ENTER_CAS:
        if (_enter(s, d, &p->old)) {
            p->pc = _request_slice(s, d);
            p->tries = 0;
        }
        break;
    case POP_READ:
        p->bit = s->idle & 1 ? 0 : 1;
        p->pc = s->idle ? POP_CLEAR : PASS_COUNT;
        break;
    case POP_CLEAR:
        p->pc = s->idle & (1 << p->bit) ? POP_REF : PASS_COUNT;
        s->idle &= (uint8_t) ~(1 << p->bit);
        break;
    case POP_REF:
        p->other = s->place[p->bit];
        p->pc = p->other ? LEASE_LOAD : PASS_COUNT;
        break;
    case LEASE_LOAD:
        p->w = *up;
        p->pc = LEASE_CAS;
        if ((setup.rules.check_generation && owner_gen(p->w) != ref_gen(p->other)) || !(p->w & OWNER_UP) ||
            (p->w & (OWNER_USER | OWNER_BUSY)) || owner_lease(p->w))
            p->pc = ++p->tries < 4 ? POP_READ : PASS_COUNT;
        break;
    case LEASE_CAS:
        if (*up == p->w) {
            *up |= lease_bits(p->ref);
            p->pc = VIEW;
        } else {
            p->pc = ++p->tries < 4 ? POP_READ : PASS_COUNT;
        }
        break;
    case VIEW:
        p->pc = s->socks[ref_index(p->other)] == NONE || refuse ? BACK_CLEAR : COUNT;
        break;
    case COUNT:
        p->pc = _count(s, p, p->other) ? LEASE_WRITE : BACK_CLEAR;
        break;
    case LEASE_WRITE:
        DEMAND(!owner_lease(*mine), "a lease was written over another");
        *mine |= lease_bits(p->other);
        p->pc = REDIRECT;
        break;
    case REDIRECT:
        DEMAND(_current(s, p->other), "a request was redirected to a slot of another generation");
        DEMAND(owner_lease(*up) == p->ref, "a request was redirected without the upstream's lease");
        if (s->socks[ref_index(p->other)] == NONE || refuse) {
            s->c[p->target].tx--;
            p->pc = REFUSED;
            break;
        }
        DEMAND(s->socks[ref_index(p->other)] == p->target, "a request was redirected to another socket");
        me->waiting = true;
        p->pc = LEAVE;
        break;
    case REFUSED:
        *mine &= ~OWNER_LEASE_MASK;
        p->pc = BACK_CLEAR;
        break;
    case BACK_CLEAR:
        DEMAND(owner_lease(*up) == p->ref, "a downstream gave back what another has leased");
        *up &= ~OWNER_LEASE_MASK;
        p->pc = BACK_PUSH;
        break;
    case BACK_PUSH:
        s->idle |= (uint8_t)(1 << s->pool_index[ref_index(p->other)]);
        p->pc = PASS_COUNT;
        break;
    case LEAVE:
        *mine &= ~OWNER_BUSY;
        p->pc = DELIVER;
        break;
    case DELIVER: {
        struct connection *u = &s->c[p->target];
        DEMAND_ORDER(u->queued < QUEUE, "an upstream connection has too many requests");
        u->tx--;
        if (u->queued < QUEUE)
            u->queue[u->queued++] = (uint8_t)d;
        me->left--;
        *p = (struct program){0};
        break;
    }
    default:
        _pass(s, d);
    }
}

static enum pc _response_slice(const struct state *s, unsigned u)
{
    const struct connection *me = &s->c[u];
    __u64 old = s->p[u].old;
    if (old & OWNER_FROZEN)
        return GIVE_UP;
    if ((old & OWNER_USER) || (!me->left && me->tx))
        return PASS_COUNT;
    return owner_lease(old) ? VERDICT : GIVE_UP;
}

/* Whether the server still owes bytes. */
static bool _answers(const struct connection *u)
{
    return u->queued > u->passed;
}

/* The response's bytes go: to whom must they? */
static void _account_response(struct state *s, unsigned u, unsigned d)
{
    struct connection *me = &s->c[u];
    if (!me->queued)
        return; /* Nobody asked: no order to keep. */
    DEMAND_ORDER(me->queue[0] == d, "a response went to another client");
    if (!me->left)
        me->left = setup.slices;
    if (--me->left)
        return;
    me->queue[0] = me->queue[1];
    me->queue[1] = 0;
    me->queued--;
    s->c[d].waiting = false;
}

static void _clear_side(struct state *s, struct program *p, bool downstream)
{
    if (downstream) {
        __u64 *word = _word(s, p->other);
        DEMAND(_current(s, p->other) && owner_lease(*word) == p->ref, "another's lease was cleared");
        *word &= ~OWNER_LEASE_MASK;
    } else {
        s->owner[ref_index(p->ref)] &= ~(OWNER_LEASE_MASK | OWNER_BUSY);
    }
}

static void _response(struct state *s, unsigned u)
{
    struct program *p = &s->p[u];
    __u64 *mine = _word(s, p->ref);
    __u64 w = p->other ? *_word(s, p->other) : 0;
    switch (p->pc) {
    case AT_REST:
        p->ref = s->c[u].cookie;
        p->pc = ENTER_LOAD;
        s->c[u].strayed |= !_answers(&s->c[u]);
        break;
    case ENTER_LOAD:
    case ENTER_CAS:
        if (_enter(s, u, &p->old))
            p->pc = _response_slice(s, u);
        break;
    case VERDICT:
        p->other = owner_lease(*mine);
        p->pc = p->other ? HOLDS : PASS_COUNT;
        break;
    case HOLDS:
        p->pc = COUNT;
        if (owner_gen(w) != ref_gen(p->other) || (w & OWNER_UP) || owner_lease(w) != p->ref ||
            (setup.rules.downstream_rests && (w & OWNER_BUSY)))
            p->pc = PASS_COUNT;
        break;
    case COUNT:
        p->pc = _count(s, p, p->other) ? REDIRECT : PASS_COUNT;
        break;
    case REDIRECT:
        DEMAND(_current(s, p->other), "a response was redirected to a slot of another generation");
        DEMAND(s->socks[ref_index(p->other)] == p->target, "a response was redirected to another socket");
        _account_response(s, u, p->target);
        p->pc = s->c[u].left ? LEAVE : CLEAR_FIRST;
        break;
    case CLEAR_FIRST:
    case CLEAR_SECOND:
        _clear_side(s, p, setup.rules.clear_downstream_first == (p->pc == CLEAR_FIRST));
        p->pc = p->pc == CLEAR_FIRST ? CLEAR_SECOND : PUSH;
        break;
    case PUSH:
        s->idle |= (uint8_t)(1 << s->pool_index[ref_index(p->ref)]);
        p->pc = DELIVER;
        break;
    case LEAVE:
        *mine &= ~OWNER_BUSY;
        p->pc = DELIVER;
        break;
    case DELIVER:
        s->c[p->target].tx--;
        *p = (struct program){0};
        break;
    default:
        _pass(s, u);
    }
}

static bool _program(struct state *s, unsigned c, unsigned choice)
{
    struct connection *me = &s->c[c];
    struct program *p = &s->p[c];
    if (p->pc == AT_REST) {
        if (choice || !me->cookie || me->stopped || s->socks[ref_index(me->cookie)] != c)
            return false;
        if (_is_up(c)) {
            if (!_answers(me) && (setup.rules.solicited || me->strayed))
                return false;
        } else if (!me->left || (!setup.pipelining && me->waiting)) {
            return false;
        }
    }
    if (choice && !(setup.refusals && !_is_up(c) && (p->pc == VIEW || p->pc == REDIRECT)))
        return false;
    if (_is_up(c))
        _response(s, c);
    else
        _request(s, c, choice);
    return true;
}

/* The daemon -------------------------------------------------------------------------- */

/* A connection without a lease is userspace's, and idle. */
static void _idle(struct state *s, unsigned c)
{
    const struct connection *me = &s->c[c];
    if (_is_up(c)) {
        s->idle &= (uint8_t) ~(1 << me->place);
        DEMAND_ORDER(!me->queued && !me->tx && !me->left,
                     "an upstream connection at work was taken for idle");
    } else {
        DEMAND_ORDER(!me->waiting, "a client that waits for a response was taken for idle");
    }
}

/* After the take of the connection, or of both. */
static void _taken(struct state *s)
{
    unsigned c = s->daemon.c, p = s->daemon.partner;
    if (p != NONE) {
        unsigned d = _is_up(c) ? p : c, u = _is_up(c) ? c : p;
        s->idle &= (uint8_t) ~(1 << s->c[u].place);
        s->c[d].partner = (uint8_t)u;
    } else {
        _idle(s, c);
    }
    s->daemon.pc = AT_REST;
}

/* The first connection is taken: is there another? */
static void _find_partner(struct state *s)
{
    __u32 ref = owner_lease(s->daemon.w);
    if (!ref || s->conns[ref_index(ref)] == NONE) {
        _taken(s);
        return;
    }
    s->daemon.partner = s->conns[ref_index(ref)];
    s->daemon.second = true;
    s->daemon.pc = TAKE_LOAD;
    DEMAND(s->c[s->daemon.partner].kernel, "the partner is userspace's already");
    DEMAND(_current(s, ref), "the partner's slot has another generation");
}

static bool _take(struct state *s)
{
    unsigned c = s->daemon.second ? s->daemon.partner : s->daemon.c;
    unsigned other = s->daemon.second ? s->daemon.c : NONE;
    struct connection *me = &s->c[c];
    __u64 *word = &s->owner[me->slot], *w = s->daemon.second ? &s->daemon.pw : &s->daemon.w;
    switch (s->daemon.pc) {
    case TAKE_LOAD:
        if (*word & OWNER_BUSY)
            return false; /* It spins. */
        *w = *word;
        s->daemon.pc = *w & OWNER_USER ? TAKE_READ : TAKE_CAS;
        if (setup.rules.partner_names_us && other != NONE &&
            owner_lease(*w) != slot_ref(s->c[other].slot, s->gens[s->c[other].slot])) {
            s->daemon.partner = NONE;
            _taken(s);
        }
        return true;
    case TAKE_CAS:
        s->daemon.pc = *word == *w ? TAKE_READ : TAKE_LOAD;
        if (*word == *w)
            *word |= OWNER_USER;
        return true;
    case TAKE_READ:
        me->kernel = false;
        me->leaving = true;
        *w = *word;
        if (s->daemon.second)
            s->daemon.pc = CLEAR_ONE;
        else
            _find_partner(s);
        return true;
    case CLEAR_ONE:
        s->owner[s->c[s->daemon.c].slot] &= ~OWNER_LEASE_MASK;
        s->daemon.pc = CLEAR_OTHER;
        return true;
    default: /* CLEAR_OTHER */
        DEMAND(!owner_lease(*word) || ref_index(owner_lease(*word)) == s->c[s->daemon.c].slot,
               "the daemon cleared the lease of a connection that it has not taken");
        *word &= ~OWNER_LEASE_MASK;
        _taken(s);
        return true;
    }
}

/* No verdict may hold what is about to become another connection's. */
static void _check_hands(const struct state *s, __u32 ref)
{
    DEMAND(!(s->owner[ref_index(ref)] & OWNER_BUSY), "a slot was freed while its verdict is BUSY");
    for (unsigned c = 0; c < CONNS; c++) {
        const struct program *p = &s->p[c];
        bool holds = _is_up(c) ? p->pc == COUNT || p->pc == REDIRECT || p->pc == CLEAR_FIRST
                               : p->pc >= VIEW && p->pc <= BACK_CLEAR;
        DEMAND(!holds || p->other != ref, "a slot was freed under a verdict's hands");
    }
}

static bool _leave(struct state *s)
{
    struct connection *me = &s->c[s->daemon.c];
    uint8_t slot = me->slot;
    switch (s->daemon.pc) {
    case FREEZE_LOAD:
        s->daemon.w = s->owner[slot];
        if (me->tx || (!(s->daemon.w & OWNER_FROZEN) && (s->daemon.w & OWNER_BUSY)))
            return false;
        s->daemon.pc = s->daemon.w & OWNER_FROZEN ? REMOVE : COPY;
        return true;
    case COPY:
        if (me->passing)
            return false;
        me->copied = me->passed;
        s->daemon.pc = FREEZE_CAS;
        return true;
    case FREEZE_CAS:
        if (setup.rules.freeze_compares && s->owner[slot] != s->daemon.w) {
            s->daemon.pc = AT_REST;
            return true;
        }
        s->owner[slot] |= OWNER_FROZEN;
        s->daemon.pc = REMOVE;
        return true;
    case REMOVE:
        if (setup.rules.removal_waits && s->p[s->daemon.c].pc != AT_REST)
            return false;
        s->socks[slot] = NONE;
        s->daemon.pc = _is_up(s->daemon.c) ? POOL_LEAVE : FORGET;
        return true;
    case POOL_LEAVE:
        s->idle &= (uint8_t) ~(1 << me->place);
        s->place[me->place] = 0;
        me->place = NONE;
        s->daemon.pc = FORGET;
        return true;
    default: /* FORGET */
        _check_hands(s, slot_ref(slot, s->gens[slot]));
        DEMAND(me->copied == me->passed, "bytes that were passed up got lost");
        me->copied = me->passed = 0;
        s->owner[slot] = OWNER_USER | (__u64)++s->gens[slot] << OWNER_GEN_SHIFT;
        s->conns[slot] = NONE;
        s->unused[s->n_unused++] = slot;
        me->slot = NONE;
        me->cookie = 0;
        me->leaving = false;
        s->daemon.pc = AT_REST;
        return true;
    }
}

static void _place(struct state *s, struct connection *me)
{
    for (uint8_t i = 0; me->place == NONE; i++) {
        if (s->place[i])
            continue;
        s->place[i] = slot_ref(me->slot, s->gens[me->slot]);
        s->pool_index[me->slot] = me->place = i;
    }
}

static void _insert(struct state *s)
{
    struct connection *me = &s->c[s->daemon.c];
    bool up = _is_up(s->daemon.c);
    switch (s->daemon.pc) {
    case INIT:
        me->slot = s->unused[--s->n_unused];
        s->unused[s->n_unused] = 0;
        s->conns[me->slot] = s->daemon.c;
        s->owner[me->slot] = (__u64)s->gens[me->slot] << OWNER_GEN_SHIFT | (up ? OWNER_UP : 0);
        s->pool_index[me->slot] = 0;
        me->stopped = false;
        me->kernel = true;
        s->daemon.pc = COOKIE;
        break;
    case COOKIE:
        if (up)
            _place(s, me);
        me->cookie = slot_ref(me->slot, s->gens[me->slot]);
        s->daemon.pc = INSERT;
        break;
    case INSERT:
        s->socks[me->slot] = s->daemon.c;
        s->daemon.pc = up ? POOL_PUT : AT_REST;
        break;
    default: /* POOL_PUT */
        s->idle |= (uint8_t)(1 << me->place);
        s->daemon.pc = AT_REST;
    }
}

/* The exchange that the daemon took over is at its end. */
static void _finish(struct state *s, struct connection *d, uint8_t client)
{
    struct connection *u = &s->c[d->partner];
    bool answered = u->queued;
    if (u->queued) {
        DEMAND_ORDER(u->queued == 1 && u->queue[0] == client, "userspace reads a response to somebody else");
        u->queue[0] = 0;
        u->queued = 0;
    }
    DEMAND_ORDER(!d->waiting || answered, "a response got lost");
    u->left = 0;
    d->waiting = false;
    d->partner = NONE;
}

static bool _bound(const struct state *s, unsigned u)
{
    return s->c[D1].partner == u || s->c[D2].partner == u;
}

/* What the daemon does next, by number. `forced`: what it must do. */
static bool _choose(struct state *s, unsigned choice, bool *forced)
{
    uint8_t c = (uint8_t)(choice / 3);
    struct connection *me = &s->c[c];
    *forced = true;
    if (c >= D2 + 1 && c >= U1 + setup.upstreams)
        return false;
    s->daemon.c = c;
    s->daemon.partner = NONE;
    s->daemon.second = false;
    s->daemon.w = s->daemon.pw = 0;
    switch (choice % 3) {
    case 0: /* An event. */
        if (!me->kernel)
            return false;
        *forced = s->owner[me->slot] & OWNER_USER;
        if (!*forced && !s->daemon.wakes--)
            return false;
        s->daemon.pc = TAKE_LOAD;
        return true;
    case 1: /* Leaving, then the end of the exchange. */
        if (me->leaving) {
            s->daemon.pc = FREEZE_LOAD;
            return _leave(s);
        }
        if (_is_up(c) || me->kernel || me->partner == NONE || s->c[me->partner].leaving)
            return false;
        _finish(s, me, c);
        return true;
    default: /* Back to the kernel path. */
        *forced = false;
        if (me->kernel || me->leaving || (_is_up(c) ? _bound(s, c) || me->queued : me->partner != NONE) ||
            !s->daemon.inserts)
            return false;
        s->daemon.inserts--;
        s->daemon.pc = INIT;
        return true;
    }
}

static bool _daemon(struct state *s, unsigned choice, bool *forced)
{
    *forced = true;
    if (s->daemon.pc == AT_REST)
        return _choose(s, choice, forced);
    if (choice)
        return false;
    if (s->daemon.pc < FREEZE_LOAD)
        return _take(s);
    if (s->daemon.pc < INIT)
        return _leave(s);
    _insert(s);
    return true;
}

/* The search -------------------------------------------------------------------------- */

#define VISITED_BITS 23

static uint64_t *visited; /* Fingerprints; open addressing. */
static size_t n_visited;

struct edge {
    uint8_t actor, subject;
    const char *step;
};
static struct edge path[1024];
static unsigned path_len; /* Of the path to a violation. */

static void _init_state(struct state *s)
{
    memset(s, 0, sizeof(*s));
    memset(s->socks, NONE, sizeof(s->socks));
    memset(s->conns, NONE, sizeof(s->conns));
    s->daemon.partner = NONE;
    s->daemon.wakes = setup.wakes;
    s->daemon.inserts = setup.inserts;
    for (uint8_t c = 0; c < CONNS; c++) {
        struct connection *me = &s->c[c];
        me->place = me->slot = me->partner = NONE;
        if (_is_up(c) && c - U1 >= setup.upstreams)
            continue;
        me->slot = c;
        me->kernel = true;
        me->cookie = slot_ref(c, 1);
        s->gens[c] = 1;
        s->owner[c] = 1ULL << OWNER_GEN_SHIFT | (_is_up(c) ? OWNER_UP : 0);
        s->socks[c] = s->conns[c] = c;
        if (!_is_up(c)) {
            me->left = setup.requests[c];
            continue;
        }
        me->place = s->pool_index[c] = c - U1;
        s->place[me->place] = me->cookie;
        s->idle |= (uint8_t)(1 << me->place);
    }
    s->unused[s->n_unused++] = SLOTS - 1;
}

static uint64_t _fingerprint(const struct state *s)
{
    const unsigned char *at = (const unsigned char *)s;
    uint64_t h = 0x9e3779b97f4a7c15ULL, word;
    for (size_t i = 0; i + 8 <= sizeof(*s); i += 8) {
        memcpy(&word, at + i, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdULL;
        h ^= h >> 32;
    }
    return h ? h : 1;
}

static bool _visit(const struct state *s)
{
    uint64_t h = _fingerprint(s);
    for (size_t i = h >> (64 - VISITED_BITS);; i = (i + 1) & ((1UL << VISITED_BITS) - 1)) {
        if (visited[i] == h)
            return false;
        if (visited[i])
            continue;
        visited[i] = h;
        assert_true(++n_visited < (3UL << VISITED_BITS) / 4);
        return true;
    }
}

static void _check_words(const struct state *s)
{
    __u32 a = s->c[D1].slot == NONE ? 0 : owner_lease(s->owner[s->c[D1].slot]);
    __u32 b = s->c[D2].slot == NONE ? 0 : owner_lease(s->owner[s->c[D2].slot]);
    DEMAND(!a || a != b, "two downstream connections have the same lease");
    DEMAND(s->c[D1].partner == NONE || s->c[D1].partner != s->c[D2].partner,
           "two exchanges have the same upstream connection");
}

/* Nothing has to happen any more: then nothing may be missing. */
static void _check_rest(const struct state *s)
{
    for (uint8_t c = 0; c < CONNS; c++) {
        const struct connection *me = &s->c[c];
        DEMAND_ORDER(!me->waiting && me->partner == NONE, "a client waits for ever");
        DEMAND(!me->leaving, "a connection never leaves");
        if (!me->kernel)
            continue;
        DEMAND(!owner_lease(s->owner[me->slot]), "a lease has no end");
        if (_is_up(c))
            DEMAND(s->idle & (1 << me->place) && s->place[me->place] == me->cookie,
                   "an idle upstream connection is in no pool");
    }
}

static struct edge _edge(const struct state *s, const struct state *next, unsigned actor, unsigned choice)
{
    static const char *const choices[] = {"wakes", "goes on with", "initialises"};
    if (actor != DAEMON)
        return (struct edge){(uint8_t)actor, NONE, steps[s->p[actor].pc]};
    if (s->daemon.pc == AT_REST)
        return (struct edge){DAEMON, (uint8_t)(choice / 3), choices[choice % 3]};
    return (struct edge){DAEMON, s->daemon.second ? s->daemon.partner : s->daemon.c, steps[s->daemon.pc]};
}

/* What the daemon remembers of its last work makes no difference. */
static void _rest(struct state *s)
{
    s->daemon.c = 0;
    s->daemon.partner = NONE;
    s->daemon.second = false;
    s->daemon.w = s->daemon.pw = 0;
}

static bool _search(const struct state *s, unsigned depth)
{
    bool stuck = true;
    assert_true(depth < sizeof(path) / sizeof(path[0]));
    for (unsigned actor = 0; actor <= DAEMON; actor++) {
        for (unsigned choice = 0; choice < (actor == DAEMON ? 3 * CONNS : 2); choice++) {
            struct state next = *s;
            bool forced = true;
            if (!(actor == DAEMON ? _daemon(&next, choice, &forced) : _program(&next, actor, choice)))
                continue;
            stuck &= !forced;
            path[depth] = _edge(s, &next, actor, choice);
            if (next.daemon.pc == AT_REST)
                _rest(&next);
            _check_words(&next);
            if (violation || (_visit(&next) && !_search(&next, depth + 1))) {
                if (!path_len)
                    path_len = depth + 1;
                return false;
            }
        }
    }
    if (stuck)
        _check_rest(s);
    return !violation;
}

static void _print_path(void)
{
    for (unsigned i = 0; i < path_len; i++) {
        const struct edge *e = &path[i];
        print_message("  %-6s %s %s\n", actors[e->actor], e->step,
                      e->subject == NONE ? "" : actors[e->subject]);
    }
}

/* Visits everything. @return What is wrong, NULL if nothing is. */
static const char *_explore(struct setup with, const char *title)
{
    struct state first;
    setup = with;
    violation = NULL;
    n_visited = path_len = 0;
    visited = calloc(1UL << VISITED_BITS, sizeof(*visited));
    assert_non_null(visited);
    _init_state(&first);
    _visit(&first);
    _search(&first, 0);
    free(visited);
    print_message("%s: %zu states: %s\n", title, n_visited, violation ? violation : "nothing wrong");
    return violation;
}

static void _expect_good(struct setup with, const char *title)
{
    with.rules = good;
    if (_explore(with, title)) {
        _print_path();
        fail_msg("%s", violation);
    }
}

static void test_one_upstream(void **state)
{
    _expect_good((struct setup){.upstreams = 1, .requests = {1, 1}, .slices = 1, .wakes = 2}, "two wakes");
    _expect_good((struct setup){.upstreams = 1, .requests = {2, 1}, .slices = 1, .wakes = 1},
                 "three requests");
    _expect_good((struct setup){.upstreams = 1, .requests = {1, 1}, .slices = 2, .wakes = 1}, "two slices");
}

static void test_two_upstreams(void **state)
{
    _expect_good((struct setup){.upstreams = 2, .requests = {2, 1}, .slices = 1, .wakes = 1},
                 "two upstreams");
}

static void test_slots_are_used_again(void **state)
{
    _expect_good((struct setup){.upstreams = 1, .requests = {1, 1}, .slices = 1, .wakes = 2, .inserts = 2},
                 "inserts");
}

static void test_redirects_fail(void **state)
{
    _expect_good(
        (struct setup){
            .upstreams = 1, .requests = {1, 1}, .slices = 1, .wakes = 1, .inserts = 1, .refusals = true},
        "refusals");
}

static void test_clients_do_not_wait(void **state)
{
    _expect_good(
        (struct setup){.upstreams = 1, .requests = {2, 1}, .slices = 1, .wakes = 1, .pipelining = true},
        "pipelining");
}

/* Bytes that nobody asked for may be taken for a response, but harm no connection. */
static void test_servers_speak_first(void **state)
{
    struct setup with = {
        .rules = good, .upstreams = 1, .requests = {1, 1}, .slices = 1, .wakes = 1, .inserts = 1};
    with.rules.solicited = false;
    if (_explore(with, "unsolicited")) {
        _print_path();
        fail_msg("%s", violation);
    }
}

/* Without any one of the rules something goes wrong, and the search finds it. */
static void test_rules_are_needed(void **state)
{
    struct setup with = {.rules = good, .upstreams = 1, .requests = {1, 1}, .slices = 1, .wakes = 1}, bad;
    bad = with;
    bad.rules.partner_names_us = false;
    assert_non_null(_explore(bad, "any partner is taken"));
    bad = with;
    bad.rules.solicited = bad.rules.downstream_rests = false;
    assert_non_null(_explore(bad, "a response during the request's verdict"));
    bad = with;
    bad.rules.freeze_compares = false;
    assert_non_null(_explore(bad, "frozen without a look at what was passed"));
    with.inserts = 2;
    bad = with;
    bad.rules.check_generation = false;
    assert_non_null(_explore(bad, "any generation is leased"));
    bad = with;
    bad.rules.clear_downstream_first = false;
    assert_non_null(_explore(bad, "the upstream word is cleared first"));
    bad = with;
    bad.rules.removal_waits = false;
    assert_non_null(_explore(bad, "programs run on after the removal"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_upstream),         cmocka_unit_test(test_two_upstreams),
        cmocka_unit_test(test_slots_are_used_again), cmocka_unit_test(test_redirects_fail),
        cmocka_unit_test(test_clients_do_not_wait),  cmocka_unit_test(test_servers_speak_first),
        cmocka_unit_test(test_rules_are_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
