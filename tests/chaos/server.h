/* The HTTP servers. */
#pragma once

#include "chaos.h"

#define SERVERS_PER_CLUSTER 3

/** Opens all servers. */
void servers_open(void);

/** @return Ports of a cluster's servers. */
const uint16_t *servers_ports(enum cluster c);

/** Closes the port of a server of the wild cluster.
 * @param dead Whether its connections are reset too.
 * @return false if it is closed already. */
bool servers_kill(unsigned index, bool dead);

/** Opens the port of a killed server again. */
void servers_restart(unsigned index);

/** Closes all servers and their connections. */
void servers_close(void);
