/*
 * Preloaded into skein: makes the kernel one that fails in one respect, by what a map takes. The
 * environment's SKEIN_FAULT says which: `redis` loses the table of commands, `http` refuses every long
 * body, `kernel` takes no socket.
 */
#include <bpf/bpf.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "skein/tables.h"

typedef int update_t(int, const void *, const void *, __u64);

static bool _is(const char *fault)
{
    const char *wanted = getenv("SKEIN_FAULT");
    return wanted && strcmp(wanted, fault) == 0;
}

int bpf_map_update_elem(int fd, const void *key, const void *value, __u64 flags)
{
    struct bpf_map_info info = {0};
    struct kernel_listener l;
    __u32 len = sizeof(info);
    update_t *update = (update_t *)dlsym(RTLD_NEXT, "bpf_map_update_elem");
    if (!update || bpf_obj_get_info_by_fd(fd, &info, &len))
        abort();
    if (_is("redis") && strcmp(info.name, "redis_commands") == 0)
        return 0;
    if (_is("kernel") && info.type == BPF_MAP_TYPE_SOCKMAP) {
        errno = EOPNOTSUPP;
        return -1;
    }
    if (_is("http") && strcmp(info.name, "listeners") == 0) {
        memcpy(&l, value, sizeof(l));
        if (l.single)
            l.body_bytes = 100;
        return update(fd, key, &l, flags);
    }
    return update(fd, key, value, flags);
}
