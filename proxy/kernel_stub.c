#include <errno.h>
#include <string.h>
#include "kernel.h"
#include "kpath.h"
#include "conn.h"
int kernel_open(const struct conf *conf, struct kpath **out, char *why, size_t why_len){snprintf(why,why_len,"not built");return -ENOSYS;}
void kernel_close(struct kpath **k){}
void kernel_publish(struct kpath *k, struct runtime *rt){}
int kernel_probe(FILE *out){return -1;}
void kernel_listener_stats(struct kpath *k, uint32_t id, struct kernel_listener_stats *out){memset(out,0,sizeof(*out));}
void kernel_endpoint_stats(struct kpath *k, uint32_t id, struct kernel_endpoint_stats *out){memset(out,0,sizeof(*out));}
uint32_t kernel_slots(struct kpath *k){return 0;}
int kpath_worker_init(struct worker *w, struct kpath *k){return 0;}
void kpath_worker_free(struct worker *w){}
void kpath_wake(struct conn *c){}
void kpath_promote(struct downstream *d){}
bool kpath_donate(struct upstream *u){return false;}
void kpath_close(struct conn *c){}
bool kpath_drained(struct conn *c){return true;}
void kpath_gate(struct conn *c){}
bool kpath_active(struct conn *c){return false;}
void kpath_reload(struct worker *w){}
