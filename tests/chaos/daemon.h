/* skein as a process: configuration, start, reload, what it says about itself, stop. */
#pragma once

#include "rng.h"

/** Starts skein and waits until it serves. @return 0; 77 if `kernel: on` is refused; else 1. */
int daemon_start(void);

/** Writes another configuration with the same listeners and sends SIGHUP.
 * @param rng Chooses endpoints and weights; NULL: all, with weight 1. */
void daemon_reload(struct rng *rng);

/** Whether the process is gone; reports that once. */
bool daemon_gone(void);

/** Waits until nothing is left of the run: connections, slots, file descriptors. Fails if that takes
 * too long. */
void daemon_check_idle(void);

/** Prints which path messages took, and why they left the kernel path. */
void daemon_print_paths(void);

/** Sends SIGTERM; fails if the exit takes too long or is not clean. */
void daemon_stop(void);
