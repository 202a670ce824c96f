/* Servers that speak as much Redis as the clients ask for: PING, GET, SET, MGET, INCR, DEL. */
#pragma once

#include <stdio.h>

#include "chaos.h"

#define REDIS_SHARDS 3

/** Clusters of the Redis part: the calm one and the wild one. */
#define REDIS_CLUSTERS 2

extern const enum cluster redis_clusters[REDIS_CLUSTERS];

void redis_servers_open(void);
void redis_servers_close(void);

/** As those for HTTP, of the wild cluster. What is stored survives. */
bool redis_servers_kill(unsigned index, bool dead);
void redis_servers_restart(unsigned index);

/** Their part of the configuration. */
void redis_write_listeners(FILE *f);
void redis_write_clusters(FILE *f);
