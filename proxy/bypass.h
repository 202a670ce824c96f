/*
 * The bypass path as the daemon sees it: the programs that register applications' sockets (SOCK_OPS) and
 * carry what they send past TCP (SK_MSG). Slots, leases and tables are those of the kernel path; a connection
 * takes one or the other, by where its other end is (kpath.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/conf.h"
#include "skein/bypass.h"

struct event_base;
struct kpath;
struct probe;

/** Loads and attaches the programs, if this machine's verdicts allow it, and marks what they are.
 * @return 0, or -errno with nothing left behind: `p` says why. */
int bypass_open(struct kpath *k, const struct conf *conf, struct probe *p);

/** Excepts what the configuration says, and nothing else, from now on.
 *
 * @param base  Its loop follows the cgroups' paths; NULL: nobody does.
 * @return 0, or -errno after a line in the log: what was excepted before still is.
 */
int bypass_configure(struct kpath *k, const struct conf_bypass *conf, struct event_base *base);

/** Detaches and frees; nothing of it stays in the kernel but what its maps still carry. */
void bypass_close(struct kpath *k);

/** Loads and attaches it for the self-test, and takes it away again. */
void bypass_probe(struct kpath *k, struct probe *p);

/** Whether it is in use; `k` may be NULL. */
bool bypass_is_on(const struct kpath *k);

/** From now on clients of this host that connect to the listening socket are registered. */
void bypass_listen(struct kpath *k, int fd);

/** The listening socket is about to be closed. */
void bypass_unlisten(struct kpath *k, int fd);

/** The socket, which is the daemon's, is about to be connected. @param wanted  A server of this host that
 * accepts it is registered. */
void bypass_connecting(struct kpath *k, int fd, bool wanted);

/** Ties the application's socket at the other end of a connection to the connection's slot, which is ready
 * for the programs. @param cookie  Of the daemon's socket.
 * @return BYPASS_OK, or why it is not on this path: nothing has changed then. */
enum bypass_reason bypass_bind(struct kpath *k, uint32_t slot, uint64_t cookie);

/** Whether no application of this host was seen at the other end of a connection. */
bool bypass_is_remote(struct kpath *k, uint64_t cookie);

/** Whether the application at the other end of a connection has closed its socket, as far as is known. TCP
 * alone does not tell: what the application has not read past TCP does not turn its FIN into a reset. */
bool bypass_is_closed(struct kpath *k, uint64_t cookie);

/** As labels of metrics show it. */
const char *bypass_reason_name(enum bypass_reason r);
