/* The programs themselves, on the host. */
#include "bridge.h"
#include "skein.bpf.c"

#define HOST  __attribute__((no_sanitize("thread")))
#define CONNS 4

/* Behind those of the connections: the inspecting program's. */
static struct __sk_buff contexts[CONNS + 1];
static uint32_t inspected;
static struct tcp_sock tcps[CONNS];
static struct {
    _Alignas(8) struct sk_psock at; /* The low bits of its address are flags. */
} psocks[CONNS];
static char places[SLOTS]; /* Of the SOCKMAP. */

static struct kernel_listener listener = {
    .single = 1, .header_bytes = 1024, .header_count = 16, .target_bytes = 64, .buffer = 1 << 20};
static struct kernel_cluster cluster = {.len = 1, .place = {1U << 16 /* endpoint 0, weight 1 */}};
static __u64 state_of_endpoint; /* In use. */
static struct at_work nobody;
static struct listener_counters listener_counts;
static struct endpoint_counters endpoint_counts;

HOST static unsigned _conn(const void *ctx)
{
    return (unsigned)((const struct __sk_buff *)ctx - contexts);
}

HOST static void *_socket(uint32_t slot)
{
    point(SOCKET, &places[slot]);
    unsigned c = socket_in_slot(slot);
    remember(c);
    return c == NO_SOCKET ? NULL : &tcps[c];
}

HOST void *bpf_map_lookup_elem(void *map, const void *key)
{
    uint32_t i;
    memcpy(&i, key, sizeof(i));
    if (map == &slots)
        return i < SLOTS ? &model_slots[i] : NULL;
    if (map == &socks)
        return _socket(i);
    if (map == &cookies)
        return socket_ref(i - 1);
    if (map == &pools)
        return &model_pool;
    if (map == &listeners)
        return &listener;
    if (map == &clusters)
        return &cluster;
    if (map == &endpoint_state)
        return &state_of_endpoint;
    if (map == &at_work) {
        /* A verdict finds the slot itself, as though another socket's parser had been in between. */
        nobody.cookie = 0;
        return &nobody;
    }
    if (map == &listener_stats)
        return &listener_counts;
    return map == &endpoint_stats ? &endpoint_counts : NULL;
}

HOST __u64 bpf_get_socket_cookie(void *ctx)
{
    return _conn(ctx) + 1;
}

/* The one endpoint is always the same. */
HOST __u32 bpf_get_prandom_u32(void)
{
    return 0;
}

HOST void bpf_sk_release(void *sk)
{
}

HOST struct tcp_sock *bpf_skc_to_tcp_sock(void *sk)
{
    struct tcp_sock *tp = sk;
    unsigned c = (unsigned)(tp - tcps);
    struct seen seen = socket_seen(c);
    tp->write_seq = seen.write_seq;
    tp->rcv_nxt = seen.rcv_nxt;
    tp->copied_seq = psocks[c].at.copied_seq = seen.parsed;
    tp->inet_conn.icsk_inet.sk.__sk_common.skc_state = TCP_STATE_ESTABLISHED;
    tp->inet_conn.icsk_inet.sk.sk_user_data = &psocks[c].at;
    psocks[c].at.strp.stopped = seen.stopped;
    remember(seen.write_seq);
    remember(seen.rcv_nxt);
    return tp;
}

HOST long bpf_skb_load_bytes(const void *ctx, __u32 offset, void *to, __u32 len)
{
    if (_conn(ctx) == CONNS)
        memcpy(to, &inspected, sizeof(inspected));
    else
        socket_load(_conn(ctx), offset, to, len);
    return 0;
}

HOST long bpf_skb_store_bytes(void *ctx, __u32 offset, const void *from, __u32 len, __u64 flags)
{
    return 0;
}

HOST long bpf_sk_redirect_map(void *ctx, void *map, __u32 key, __u64 flags)
{
    point(REDIRECT, &places[key]);
    bool done = socket_redirect(_conn(ctx), key);
    remember(done);
    return done ? SK_PASS : SK_DROP;
}

/* No application is past TCP here. */
HOST long bpf_sk_redirect_hash(void *ctx, void *map, const void *key, __u64 flags)
{
    return SK_DROP;
}

HOST static struct __sk_buff *_context(unsigned c, uint32_t avail)
{
    contexts[c].len = avail;
    contexts[c].sk = (struct bpf_sock *)&tcps[c];
    return &contexts[c];
}

HOST int run_parser(unsigned c, uint32_t avail)
{
    return skein_parser(_context(c, avail));
}

HOST int run_verdict(unsigned c, uint32_t avail)
{
    return skein_verdict(_context(c, avail));
}

HOST uint32_t run_inspect(uint32_t slot)
{
    inspected = slot;
    return (uint32_t)skein_inspect(&contexts[CONNS]);
}
