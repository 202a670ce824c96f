/*
 * Takeover: an HTTP exchange that began on the kernel path goes on in userspace, at the byte
 * where the programs stopped (a spill), because of a slow reader, a message the programs do
 * not take, or an end of one of the connections.
 */
#pragma once

struct conn;
struct slot;

/** Both connections have been taken and their lease is cleared; what their slots say about
 * the messages at hand becomes an exchange. */
void takeover(struct conn *down, struct conn *up, const struct slot *ds, const struct slot *us);
