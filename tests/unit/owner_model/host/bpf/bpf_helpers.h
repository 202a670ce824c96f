/* The helpers that the programs call, as the model provides them (programs.c, sockets.c). */
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>
#include <stddef.h>
#include <string.h>
#include <sys/cdefs.h>

#define SEC(name)
#define __uint(name, value) int(*name)[value]
#define __type(name, value) value *name

void *bpf_map_lookup_elem(void *map, const void *key);
__u64 bpf_get_socket_cookie(void *ctx);
__u32 bpf_get_prandom_u32(void);
void bpf_sk_release(void *sk);
struct tcp_sock *bpf_skc_to_tcp_sock(void *sk);
long bpf_skb_load_bytes(const void *ctx, __u32 offset, void *to, __u32 len);
long bpf_skb_store_bytes(void *ctx, __u32 offset, const void *from, __u32 len, __u64 flags);
long bpf_sk_redirect_map(void *ctx, void *map, __u32 key, __u64 flags);
long bpf_sk_redirect_hash(void *ctx, void *map, const void *key, __u64 flags);

static inline long bpf_probe_read_kernel(void *to, __u32 len, const void *from)
{
    __builtin_memcpy(to, from, len);
    return 0;
}
