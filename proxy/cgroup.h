/*
 * cgroup v2: where it is mounted, and what the programs call a cgroup.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/** Finds where cgroup v2 is mounted.
 *
 * @param path  NUL-terminated; untouched on failure.
 * @param len   Of `path`, in bytes.
 * @return 0, -ENOENT if it is not mounted, -ENAMETOOLONG, or another -errno of reading mountinfo.
 */
int cgroup_root(char *path, size_t len);

/** Same, in a text as /proc/PID/mountinfo has it (proc_pid_mountinfo(5)); the first mount counts. */
int cgroup_find_root(FILE *mountinfo, char *path, size_t len);

/** Opens a cgroup's directory, to attach programs to it or to look at its files.
 *
 * @param path  Absolute, or relative to cgroup_root(); NULL = that root.
 * @return A descriptor that the caller closes; -ENOTDIR if the path is none of a directory, -EINVAL if the
 *         directory is not in cgroup v2, -ENOENT if there is none (nor cgroup v2), or another -errno.
 */
int cgroup_open(const char *path);

/** What the programs know a cgroup by.
 *
 * @param path   As in cgroup_open().
 * @param id     As bpf_skb_cgroup_id() and its like return it. Untouched on failure.
 * @param depth  Components below the hierarchy's root, which has 0: the level of bpf_skb_ancestor_cgroup_id()
 *               and its like. May be NULL; untouched on failure.
 * @return 0, what cgroup_open() returns, or -EXDEV if `depth` can not be told: the hierarchy's root is not in
 *         sight, as in a container.
 */
int cgroup_id(const char *path, uint64_t *id, unsigned *depth);
