/* What stands in for the rest of the program: no kernel path, no HTTP, no thread. */
#include "redis_bench.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "proxy/bypass.h"
#include "proxy/http.h"
#include "proxy/kpath.h"
#include "proxy/server.h"

unsigned server_connections(struct server *s)
{
    (void)s;
    return 0;
}

struct kpath *server_kpath(struct server *s)
{
    (void)s;
    return NULL;
}

void downstream_new(struct worker_listener *l, int fd)
{
    (void)l;
    close(fd);
    fail_msg("a client of a Redis listener is none of HTTP's");
}

int http_worker_init(struct worker *w)
{
    (void)w;
    return 0;
}

void http_worker_free(struct worker *w)
{
    (void)w;
}

int kpath_worker_init(struct worker *w, struct kpath *k)
{
    (void)w;
    return k ? -EINVAL : 0;
}

void kpath_worker_free(struct worker *w)
{
    (void)w;
}

void kpath_reload(struct worker *w)
{
    (void)w;
}

void kpath_wake(struct conn *c)
{
    (void)c;
}

void kpath_detach(struct conn *c)
{
    (void)c;
}

void kpath_free_slot(struct conn *c)
{
    (void)c;
}

void kpath_promote(struct conn *c)
{
    (void)c;
    fail_msg("promoted without a kernel path");
}

void kpath_remember(struct conn *d, const struct conn *u)
{
    (void)d;
    (void)u;
}

bool kpath_donate(struct conn *c)
{
    (void)c;
    return false;
}

uint32_t kpath_pooled(struct worker *w, uint32_t endpoint)
{
    (void)w, (void)endpoint;
    return 0;
}

bool kpath_expired(struct conn *c)
{
    (void)c;
    return true;
}

/* The worker's thread is the test's own. */
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *arg)
{
    (void)t, (void)a, (void)f, (void)arg;
    return 0;
}

int __wrap_pthread_join(pthread_t t, void **out);
int __wrap_pthread_join(pthread_t t, void **out)
{
    (void)t, (void)out;
    return 0;
}

void kpath_connecting(struct conn *c, bool excepted)
{
    (void)c;
    (void)excepted;
}

void bypass_listen(struct kpath *k, int fd)
{
    (void)k;
    (void)fd;
}

void bypass_unlisten(struct kpath *k, int fd)
{
    (void)k;
    (void)fd;
}

bool kpath_may_bypass(struct conn *c)
{
    (void)c;
    return false;
}

bool kpath_promote_local(struct conn *c)
{
    (void)c;
    return false;
}

bool kpath_is_remote(struct worker *w, uint32_t endpoint)
{
    (void)w;
    (void)endpoint;
    return false;
}
