/*
 * Leaving the kernel path's maps: a connection that kpath.c has taken is removed from them when
 * that loses nothing, and is an ordinary socket from then on.
 */
#pragma once

struct conn;
struct worker;

/** Prepares a worker's list of connections that are leaving. */
void leave_init(struct worker *w);

/** Lets a taken connection leave now, or as soon as it can. Then it is resumed with what was
 * passed up, its slot is free, and an idle upstream connection is parked. */
void leave_begin(struct conn *c);

/** Before close(): it need not leave any more. */
void leave_forget(struct conn *c);

/** For an idle connection: its receive buffer, which may have grown while it was leaving, is what it was. Not
 * before: what is dropped of a window that was announced takes the acknowledgements with it that it carries.
 */
void leave_undo_room(struct conn *c);
