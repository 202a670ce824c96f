/* What the admin listener shows: counters of all workers and of the kernel path. */
#pragma once

struct evbuffer;
struct server;

/** Prometheus text exposition format 0.0.4. */
void metrics_prometheus(struct server *s, struct evbuffer *out);

/** The same as one JSON object. */
void metrics_json(struct server *s, struct evbuffer *out);
