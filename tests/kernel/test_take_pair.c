/*
 * Hazard: the two sides of a lease can not be taken in one operation. Between the first and the
 * second, the response may complete and another client lease the connection.
 */
#include "daemon_double.h"

#include <pthread.h>
#include <string.h>

static int _setup(void **state)
{
    int r = bench_setup(state);
    daemon_open(((struct bench *)*state)->k, SLOT_HTTP);
    return r;
}

static int _teardown(void **state)
{
    daemon_close();
    return bench_teardown(state);
}

static struct slot *_slot(struct bench *b, const struct node *n)
{
    return &b->k->slots[n->c.slot];
}

static uint32_t _ref(struct bench *b, const struct node *n)
{
    return slot_ref(n->c.slot, owner_gen(slot_owner(_slot(b, n))));
}

static void *_wake(void *arg)
{
    struct node *n = arg;
    kpath_wake(&n->c);
    return NULL;
}

/* `first` is taken while its response completes; before its former upstream connection is taken
 * too, `second` has leased it. The upstream connection is kept from being taken by BUSY for as
 * long as that needs, as its own verdict would. */
static void _lease_changes_hands(struct bench *b, struct node *first, struct node *second, struct node *up)
{
    pthread_t thread;
    send_text(first->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    await(!(slot_owner(_slot(b, first)) & OWNER_BUSY));
    uint32_t second_ref = _ref(b, second), up_ref = _ref(b, up);
    __atomic_fetch_or(&_slot(b, up)->owner, OWNER_BUSY, __ATOMIC_ACQ_REL);
    assert_int_equal(pthread_create(&thread, NULL, _wake, first), 0);
    bool taken = eventually(slot_owner(_slot(b, first)) & OWNER_USER);
    /* response_complete(), then request_head() of the other connection. */
    __atomic_fetch_and(&_slot(b, first)->owner, ~OWNER_LEASE_MASK, __ATOMIC_ACQ_REL);
    __atomic_fetch_or(&_slot(b, second)->owner, lease_bits(up_ref), __ATOMIC_ACQ_REL);
    uint64_t w = slot_owner(_slot(b, up));
    __atomic_store_n(&_slot(b, up)->owner, (w & ~(OWNER_LEASE_MASK | OWNER_BUSY)) | lease_bits(second_ref),
                     __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    assert_true(taken);
}

/* The connection is the second client's: either the kernel path goes on with that lease, or
 * both have been taken over together. It is not idle. */
static void test_leased_again_meanwhile(void **state)
{
    struct bench *b = *state;
    struct node *up = daemon_add(true), *first = daemon_add(false), *second = daemon_add(false);
    _lease_changes_hands(b, first, second, up);
    assert_false(up->parked);
    if (second->partner) {
        assert_ptr_equal(second->partner, up);
        assert_ptr_equal(up->partner, second);
    } else {
        assert_true(second->c.kernel && up->c.kernel);
        assert_int_equal(owner_lease(slot_owner(_slot(b, second))), _ref(b, up));
        assert_int_equal(owner_lease(slot_owner(_slot(b, up))), _ref(b, second));
    }
}

/* Without another client the connection is idle. */
static void test_completed_meanwhile(void **state)
{
    struct bench *b = *state;
    struct node *up = daemon_add(true), *down = daemon_add(false);
    uint32_t random_state = 1;
    send_text(down->far, PLAIN_REQUEST);
    expect_text(up->far, PLAIN_REQUEST);
    send_text(up->far, PLAIN_RESPONSE);
    expect_text(down->far, PLAIN_RESPONSE);
    await(!owner_lease(slot_owner(_slot(b, up))));
    kpath_wake(&down->c);
    kpath_wake(&up->c);
    assert_null(down->partner);
    assert_true(up->parked);
    await((daemon_step(&random_state, 0), down->c.kernel && up->c.kernel));
}

/* In the middle of a response both sides go on in userspace, at the right byte. */
static void test_taken_inside_response(void **state)
{
    struct node *up = daemon_add(true), *down = daemon_add(false);
    uint32_t random_state = 1;
    (void)state;
    for (int i = 0; i < 50; i++) {
        await((daemon_step(&random_state, 0), down->c.kernel && up->c.kernel));
        send_text(down->far, PLAIN_REQUEST);
        expect_text(up->far, PLAIN_REQUEST);
        send_text(up->far, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
        expect_text(down->far, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc");
        kpath_wake(i % 2 ? &down->c : &up->c);
        assert_ptr_equal(down->partner, up);
        send_text(up->far, "def");
        await((daemon_step(&random_state, 0), !down->partner));
        expect_text(down->far, "def");
    }
}

#define PAIR_TEST(f) cmocka_unit_test_setup_teardown(f, _setup, _teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PAIR_TEST(test_leased_again_meanwhile),
        PAIR_TEST(test_completed_meanwhile),
        PAIR_TEST(test_taken_inside_response),
    };
    return BENCH_MAIN("take_pair", tests);
}
