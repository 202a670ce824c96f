/* The admin listener: GET /healthz, /stats (JSON), /metrics (Prometheus text format). */
#pragma once

#include "conf/conf.h"

struct admin;
struct event_base;
struct server;

/** Binds the configured address; does nothing without one. @return 0 or -errno. */
int admin_bind(const struct conf *conf, struct admin **out);

/** Starts answering on `base`. `a` may be NULL. */
int admin_start(struct admin *a, struct server *s, struct event_base *base);
void admin_free(struct admin **a);
