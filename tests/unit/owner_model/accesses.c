/*
 * Accesses to slots and the pool, as the compiler's instrumentation reports them.
 *
 * An access is a point of the search if another actor can notice its order. Which fields that concerns is not
 * written down but found: as long as a field is not known to be one, an access to it belongs to the step
 * before. If an actor then comes to access the same field of the same slot while the first has not reached
 * its next point, and one of both writes, the field becomes one, and the search begins again.
 */
#include "model.h"

#include <string.h>

uint64_t points;
bool points_grew;

/* In the order of their offsets. */
/* clang-format off */
#define FIELDS_OF_SLOT(X) \
    X(owner) X(redirected) X(remaining) X(tx_seq) X(tx_valid) X(activity) X(listener) X(stats_id) \
    X(expect_seq) X(heads) X(pushes) X(run) X(responding) X(early) X(aborted) X(pusher_left) X(total) \
    X(remaining_next) X(cookie) X(slice_len) X(held) X(cluster) X(picked) X(place) X(window_len) \
    X(source) X(slice_kind) X(slice_reason) X(left_for) X(counted) X(framing) X(stop) X(pieces) X(replies) X(framed) \
    X(app) X(app_sock) X(sock) X(pusher) X(pusher_cookie) X(app_ports) X(pusher_process) X(pool) \
    X(pool_index) X(protocol) X(clean) X(quiet) X(passed) X(chunks) X(chunks_next) X(write_seq) X(copied_seq) X(parsed_seq) \
    X(rcv_nxt) X(stopped) X(app_snd) X(app_rcv) X(head) X(scan) X(line) X(window)
/* clang-format on */

#define FIELD_ID(name)   FIELD_##name,
#define FIELD_NAME(name) #name,
#define FIELD_AT(name)   offsetof(struct slot, name),
enum { FIELDS_OF_SLOT(FIELD_ID) POOL_IDLE = 60, POOL_IDLE_REST, POOL_REF };
static const char *const names[] = {FIELDS_OF_SLOT(FIELD_NAME)};
static const size_t starts[] = {FIELDS_OF_SLOT(FIELD_AT)};
static uint8_t field_at[sizeof(struct slot)];

const char *field_name(unsigned field)
{
    if (field >= POOL_IDLE)
        return field == POOL_REF ? "pool.ref" : "pool.idle";
    return names[field];
}

static unsigned _field(size_t offset)
{
    if (!field_at[sizeof(struct slot) - 1]) {
        for (size_t f = 1; f < sizeof(starts) / sizeof(starts[0]); f++)
            DEMAND(starts[f - 1] < starts[f], "fields of the slot are not in the order of their offsets");
        for (size_t i = 0, f = 0; i < sizeof(field_at); i++) {
            while (f + 1 < sizeof(starts) / sizeof(starts[0]) && starts[f + 1] <= i)
                f++;
            field_at[i] = (uint8_t)f;
        }
    }
    return field_at[offset];
}

/* Slot (SLOTS: the pool) and field of an address. @return false if it is neither's. */
static bool _find(const void *address, unsigned *slot, unsigned *field)
{
    size_t at = (size_t)((const char *)address - (const char *)model_slots);
    if (at < sizeof(model_slots)) {
        *slot = (unsigned)(at / sizeof(model_slots[0]));
        *field = _field(at % sizeof(model_slots[0]));
        return true;
    }
    at = (size_t)((const char *)address - (const char *)&model_pool);
    if (at >= sizeof(model_pool))
        return false;
    *slot = SLOTS;
    *field = at < 8 ? POOL_IDLE : at < sizeof(model_pool.idle) ? POOL_IDLE_REST : POOL_REF;
    return true;
}

const char *field_of(const void *address)
{
    unsigned slot, field;
    return _find(address, &slot, &field) ? field_name(field) : "";
}

static void _note(unsigned slot, unsigned field, bool write)
{
    struct actor *me = &world.actors[running];
    uint64_t bit = 1ULL << field;
    for (unsigned a = 0; a < ACTORS; a++) {
        struct actor *other = &world.actors[a];
        if (a != running && other->op != REST &&
            ((other->writes[slot] & bit) || (write && (other->reads[slot] & bit)))) {
            points |= bit;
            points_grew = true;
        }
    }
    if (points & bit)
        return;
    if (write)
        me->writes[slot] |= bit;
    else
        me->reads[slot] |= bit;
}

/* A program writes into another connection's slot only while one of both names the other in its lease. */
static void _check_write(unsigned slot, unsigned field)
{
    if (running >= CONNS || slot == SLOTS || conn_of(running)->slot == slot)
        return;
    uint32_t mine = ref_of(running);
    uint64_t other = model_slots[slot].owner, own = model_slots[conn_of(running)->slot].owner;
    DEMAND(owner_lease(other) == mine || owner_lease(own) == slot_ref(slot, owner_gen(other)),
           "no delivery to a dead generation: a program writes into a slot that it has no lease on");
}

/* Called before every access to what may be shared. */
static void _access(const void *address, size_t size, bool write, enum op op)
{
    unsigned slot, field;
    if (running == NONE || !_find(address, &slot, &field))
        return;
    if (field == FIELD_activity || field == FIELD_redirected)
        return; /* They only count; nobody's next step depends on them. */
    if (points & 1ULL << field)
        point(op, address);
    _note(slot, field, write);
    if (write) {
        if (op == WRITE || op == AND || op == ADD)
            _check_write(slot, field);
        return;
    }
    uint64_t value = 0;
    memcpy(&value, address, size < 8 ? size : 8);
    struct actor *me = &world.actors[running];
    if (me->last == address && spins(me))
        me->history = me->before; /* It waits for a change. */
    me->before = me->history;
    me->last = field ? NULL : address;
    me->value = field ? 0 : value;
    remember(value);
}

void accessed_all(unsigned slot)
{
    for (unsigned f = 1; f < sizeof(starts) / sizeof(starts[0]); f++)
        _note(slot, f, true);
}

/* What the compiler calls ------------------------------------------------------------- */

#define CALLED(type, name, ...)                                                                              \
    type name(__VA_ARGS__);                                                                                  \
    type name(__VA_ARGS__)
#define PLAIN(size)                                                                                          \
    CALLED(void, __tsan_read##size, void *at)                                                                \
    {                                                                                                        \
        _access(at, size, false, READ);                                                                      \
    }                                                                                                        \
    CALLED(void, __tsan_write##size, void *at)                                                               \
    {                                                                                                        \
        _access(at, size, true, WRITE);                                                                      \
    }                                                                                                        \
    CALLED(void, __tsan_unaligned_read##size, void *at)                                                      \
    {                                                                                                        \
        _access(at, size, false, READ);                                                                      \
    }                                                                                                        \
    CALLED(void, __tsan_unaligned_write##size, void *at)                                                     \
    {                                                                                                        \
        _access(at, size, true, WRITE);                                                                      \
    }                                                                                                        \
    CALLED(void, __tsan_volatile_read##size, void *at)                                                       \
    {                                                                                                        \
        _access(at, size, false, READ);                                                                      \
    }                                                                                                        \
    CALLED(void, __tsan_volatile_write##size, void *at)                                                      \
    {                                                                                                        \
        _access(at, size, true, WRITE);                                                                      \
    }
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)
CALLED(void, __tsan_read_range, void *at, size_t size)
{
    _access(at, size, false, READ);
}
CALLED(void, __tsan_write_range, void *at, size_t size)
{
    _access(at, size, true, WRITE);
}

#define ATOMIC(bits)                                                                                         \
    CALLED(uint##bits##_t, __tsan_atomic##bits##_load, uint##bits##_t *at, int order)                        \
    {                                                                                                        \
        _access(at, bits / 8, false, READ);                                                                  \
        return *at;                                                                                          \
    }                                                                                                        \
    CALLED(void, __tsan_atomic##bits##_store, uint##bits##_t *at, uint##bits##_t v, int order)               \
    {                                                                                                        \
        _access(at, bits / 8, true, OR);                                                                     \
        *at = v;                                                                                             \
    }                                                                                                        \
    CALLED(uint##bits##_t, __tsan_atomic##bits##_fetch_add, uint##bits##_t *at, uint##bits##_t v, int order) \
    {                                                                                                        \
        _access(at, bits / 8, true, ADD);                                                                    \
        return (*at += v) - v;                                                                               \
    }                                                                                                        \
    CALLED(uint##bits##_t, __tsan_atomic##bits##_fetch_sub, uint##bits##_t *at, uint##bits##_t v, int order) \
    {                                                                                                        \
        _access(at, bits / 8, true, ADD);                                                                    \
        return (*at -= v) + v;                                                                               \
    }
ATOMIC(32)
ATOMIC(64)

CALLED(uint64_t, __tsan_atomic64_fetch_or, uint64_t *at, uint64_t v, int order)
{
    _access(at, 8, true, OR);
    uint64_t old = *at;
    *at = old | v;
    return old;
}

CALLED(uint64_t, __tsan_atomic64_fetch_and, uint64_t *at, uint64_t v, int order)
{
    _access(at, 8, true, AND);
    uint64_t old = *at;
    *at = old & v;
    if ((void *)at == &model_pool.idle[0])
        remember(old);
    return old;
}

CALLED(int, __tsan_atomic64_compare_exchange_strong, uint64_t *at, uint64_t *expected, uint64_t v, int order,
       int failed)
{
    _access(at, 8, true, CAS);
    uint64_t old = *at;
    bool same = old == *expected;
    if (same)
        *at = v;
    if (same && running == DAEMON && (v & OWNER_FROZEN))
        daemon_froze(at);
    else
        *expected = old;
    world.actors[running].last = NULL;
    remember(same ? 1 : old);
    return same;
}

CALLED(void, __tsan_init, void)
{
}
CALLED(void, __tsan_func_entry, void *from)
{
}
CALLED(void, __tsan_func_exit, void)
{
}
