/*
 * What has to hold. Properties that concern a single event are demanded where it happens:
 *
 *   no double lease                  check_state(), check_redirect()
 *   no lost return                   check_end(), check_idle()
 *   no delivery to a dead generation check_redirect(), accesses.c
 *   no lost byte                     check_resume(), check_takeover(), check_kept(), sockets.c,
 * server_gets(), userspace_finishes() no deadlock                      check_end(), daemon.c response only to
 * its request     sockets.c, client_gets(), userspace_finishes()
 */
#include "model.h"

#include <string.h>

static uint64_t _owner(unsigned c)
{
    return model_slots[conn_of(c)->slot].owner;
}

/* In every state. */
void check_state(void)
{
    uint32_t leases[2] = {0};
    for (unsigned d = D1; d <= D2; d++) {
        if (conn_of(d)->slot == SLOT_NONE)
            continue;
        uint64_t w = _owner(d);
        uint32_t lease = leases[d] = owner_lease(w);
        if (!lease)
            continue;
        uint64_t up = model_slots[ref_index(lease)].owner;
        bool both_taken = (w & OWNER_USER) && (up & OWNER_USER);
        DEMAND(owner_gen(up) == ref_gen(lease) && (up & OWNER_UP),
               "no delivery to a dead generation: a lease names a slot that was freed");
        DEMAND(owner_lease(up) == ref_of(d) || (both_taken && !owner_lease(up)),
               "no double lease: an upstream connection does not know its lessee");
    }
    DEMAND(!leases[D1] || leases[D1] != leases[D2], "no double lease: two clients have the same lease");
    DEMAND(world.socks[D1].partner == NONE || world.socks[D1].partner != world.socks[D2].partner,
           "no double lease: two exchanges have the same upstream connection");
}

/* Nothing happens any more, unless more of what the scenario bounds does. */
void check_end(void)
{
    for (unsigned a = 0; a < ACTORS; a++)
        DEMAND(resting(a), "no deadlock: somebody waits for ever");
    for (unsigned c = 0; c < CONNS; c++) {
        const struct conn *conn = conn_of(c);
        const struct socket_model *s = &world.socks[c];
        if (s->closed)
            continue;
        DEMAND(!conn->leaving, "no deadlock: a connection never leaves");
        DEMAND(!s->n_underway, "no deadlock: bytes are under way for ever");
        DEMAND(is_up(c) || s->answered == requests_of(c), "no lost return: a client waits for ever");
        if (!conn->kernel)
            continue;
        DEMAND(!owner_lease(_owner(c)), "no lost return: a lease has no end");
        DEMAND(!is_up(c) || ((model_pool.idle[0] & 1ULL << conn->pool_index) &&
                             model_pool.ref[conn->pool_index] == ref_of(c)),
               "no lost return: an idle upstream connection is in no pool");
    }
}

/* A verdict redirects to the connection that has the slot now. */
void check_redirect(unsigned c, unsigned target, uint32_t slot)
{
    uint32_t mine = ref_of(c);
    uint64_t own = _owner(c), other = model_slots[slot].owner;
    DEMAND(is_up(c) != is_up(target), "a redirect between two of a kind");
    DEMAND(owner_lease(own) == slot_ref(slot, owner_gen(other)),
           "no delivery to a dead generation: a redirect into a slot that its lease does not name");
    DEMAND(owner_lease(other) == mine, "no double lease: a redirect without the other side's lease");
    DEMAND(world.cookies[target] == slot_ref(slot, owner_gen(other)),
           "no delivery to a dead generation: the socket in the slot is not the lease's");
}

/* The daemon takes a connection for idle. */
void check_idle(unsigned c)
{
    const struct socket_model *s = &world.socks[c];
    if (is_up(c)) {
        DEMAND(!s->n_queue && !s->n_underway,
               "no lost return: an upstream connection at work is taken for idle");
        return;
    }
    unsigned gone = s->gone - s->passed;
    DEMAND(request_begin(c, s->redirected) == gone,
           "no lost return: a client that waits for a response is taken for idle");
}

/* How far a request and its response are on the kernel path, as the daemon reads it from the slots. */
void check_takeover(unsigned d, unsigned u, const struct exchange *x, const char *head)
{
    const struct socket_model *s = &world.socks[d], *us = &world.socks[u];
    unsigned message = s->redirected, begin = request_begin(d, message), end = request_begin(d, message + 1);
    unsigned gone = s->gone - s->passed, answer = us->gone - us->passed;
    bool started = us->n_queue && us->queue[0].client == d && answer > interim_len();
    DEMAND(gone > begin, "no lost return: the daemon takes over what has not begun");
    DEMAND(!strncmp(head, client_text(d) + begin, strcspn(client_text(d) + begin, "\n")),
           "response only to its request: the daemon takes another request for the outstanding one");
    DEMAND(x->remaining == (gone < end ? end - gone : 0), "no lost byte: of a request's body");
    DEMAND((x->state == EXCHANGE_REQUEST) == (gone < end), "no lost byte: of a request");
    DEMAND(x->started == started, "no lost byte: whether a response has begun");
    DEMAND(!started || x->resp_remaining == response_len(d, message) - answer,
           "no lost byte: of a response's body");
    DEMAND(gone <= end || x->upstream_spent,
           "response only to its request: a connection with more requests is used again");
}

/* Requests behind the outstanding one are to be sent again. */
void check_kept(unsigned d, const char *kept, size_t len)
{
    const struct socket_model *s = &world.socks[d];
    unsigned from = request_begin(d, s->redirected + 1U), gone = s->gone - s->passed;
    DEMAND(len == (gone > from ? gone - from : 0) && (!len || !memcmp(kept, client_text(d) + from, len)),
           "no lost byte: what is sent again is not what was outstanding");
}

/* What was taken from TCP but not redirected comes back, and nothing else. */
void check_resume(unsigned c, const char *data, size_t len)
{
    const struct socket_model *s = &world.socks[c];
    unsigned from = s->gone - s->passed;
    DEMAND(len == (size_t)(s->parsed - from), "no lost byte: what was passed or held does not come back");
    for (unsigned i = 0; i < len && !violation; i++)
        DEMAND(data[i] == stream_byte(c, from + i),
               "no lost byte: other bytes come back than were passed or held");
    DEMAND(!s->n_underway, "no lost byte: userspace writes before what was redirected has left");
    if (is_up(c) && !daemon_bound(c))
        check_idle(c);
}
