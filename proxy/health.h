/*
 * Active health checks: for each endpoint of a cluster that asks for them, a GET every `interval`, from
 * one loop. An answer with a status from 200 to 299 within `timeout` is good, everything else is not.
 */
#pragma once

struct event_base;
struct runtime;

/** Checks what the configuration asks for, from the loop of `base`, and nothing else any more. A check that
 * goes on keeps its count; an endpoint whose checks have ended is in use, as one is before its first
 * check. Called again after a reload. @return 0 or -ENOMEM; then nothing has changed. */
int health_configure(struct event_base *base, struct runtime *rt);

/** Ends all checks, before the loop is freed. */
void health_stop(void);
