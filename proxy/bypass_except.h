/*
 * The cgroups that the configuration excepts from the bypass, as the programs know them: by id. A service
 * that is started again mostly has a new cgroup at the old path, made before its processes are in it: so the
 * paths are watched (inotify(7)).
 */
#pragma once

#include <stddef.h>

#include "conf/conf.h"

struct bypass_except;
struct event_base;

/** Fills the map with the ids of those that exist.
 *
 * @param map   Descriptor of the map `excepted`; stays the caller's.
 * @param last  Whose ids stay there if this fails; NULL: nobody's.
 * @param out  Freed by the caller; NULL on failure.
 * @return 0, or -errno after a line in the log.
 */
int bypass_except_new(int map, const struct conf_bypass *conf, const struct bypass_except *last,
                      struct bypass_except **out);

/** From now on follows the paths; says which ones name nothing yet. @return 0 or -errno. */
int bypass_except_watch(struct bypass_except *e, struct event_base *base);

/** Ends that, and takes the ids out of the map that are not in `next`. Both may be NULL. */
void bypass_except_free(struct bypass_except *e, const struct bypass_except *next);
