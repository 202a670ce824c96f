/* From a framed request to a cluster: host table, then longest path prefix. */
#pragma once

#include "maps.h"

/** Copies `len` bytes of the slot's window: bpf_probe_read_kernel() is the memcpy() with a
 * variable length that the verifier accepts. */
static __always_inline int copy_from_window(struct slot *s, void *to, __u32 max, __u32 off, __u32 len)
{
    HTTP1_OPAQUE(off);
    HTTP1_OPAQUE(len);
    if (off > HTTP1_WINDOW - max || len > max)
        return -1;
    return bpf_probe_read_kernel(to, len, &s->window.bytes[off]);
}

/** Fills the slot's host key from the framed Host. A function of its own for the verifier.
 * @return 0; 1 if no host so long is published; -1 if the Host is out of reach. */
__attribute__((noinline)) int host_key(struct slot *s)
{
    if (!s)
        return -1;
    __builtin_memset(s->host.host, 0, sizeof(s->host.host));
    s->host.listener = s->listener;
    if (s->head.host_len > ROUTE_HOST_MAX)
        return 1;
    if (copy_from_window(s, s->host.host, ROUTE_HOST_MAX, s->head.host_off, s->head.host_len))
        return -1;
    for (__u32 i = 0; i < ROUTE_HOST_MAX; i++) {
        __u8 c = s->host.host[i];
        s->host.host[i] = c | (((__u8)(c - 'A') < 26) << 5);
    }
    return 0;
}

/** Finds the vhost of the request's Host, or that of any host. @return 0 or -1. */
static __always_inline int route_vhost(struct slot *s, __u32 any_vhost, __u32 *vhost)
{
    int r = host_key(s);
    __u32 *found = r ? NULL : bpf_map_lookup_elem(&hosts, &s->host);
    *vhost = found ? *found : any_vhost;
    return r < 0 ? -1 : 0;
}

/** Cluster index for the request in the slot's window, or CLUSTER_USERSPACE. */
static __always_inline __u32 route(struct slot *s, const struct kernel_listener *l)
{
    if (l->single)
        return l->cluster;
    if (s->head.flags & HTTP1_F_ODD_PATH)
        return CLUSTER_USERSPACE;
    __u32 vhost = l->any_vhost;
    if (l->has_hosts && route_vhost(s, vhost, &vhost))
        return CLUSTER_USERSPACE;
    __u32 off = s->head.target_off, len = s->head.path_len;
    /* The byte after the path is zero in the key: an exact route is a prefix that ends there.
     * A path longer than the key has no exact route (the daemon publishes none so long). */
    if (len > ROUTE_PATH_MAX - 1)
        len = ROUTE_PATH_MAX - 1;
    __builtin_memset(s->route.path, 0, sizeof(s->route.path));
    if (copy_from_window(s, s->route.path, ROUTE_PATH_MAX, off, len))
        return CLUSTER_USERSPACE;
    s->route.vhost = vhost;
    s->route.bits = 32 + 8 * (len < s->head.path_len ? len : len + 1);
    __u32 *cluster = bpf_map_lookup_elem(&routes, &s->route);
    return cluster ? *cluster : CLUSTER_USERSPACE;
}
