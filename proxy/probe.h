/*
 * What this machine was found to offer: the verdict of each check of the start-up self-test, what each
 * one guards, and the paths that follow from them.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct evbuffer;

/** What is switched off when a check fails. */
enum probe_guard {
    GUARD_KERNEL, /**< The kernel path at all. */
    GUARD_HTTP,   /**< The kernel path for HTTP. */
    GUARD_REDIS,  /**< The kernel path for Redis. */
    GUARD_IPV6,   /**< The kernel path for connections over IPv6. */
    GUARD_BYPASS, /**< The bypass path at all. */
    GUARD_AUTO,   /**< The bypass path unless it is asked for: applications of some kinds would stop. */
    _GUARD_MAX,
};

#define PROBE_WHY 384

enum probe_verdict { PROBE_OK, PROBE_FAILED, PROBE_SKIPPED, _PROBE_VERDICT_MAX };

struct probe_check {
    const char *name; /**< Static. */
    enum probe_guard guards;
    enum probe_verdict verdict;
    char why[PROBE_WHY]; /**< Empty if it holds. */
    uint64_t ns;
};

#define PROBE_CHECKS_MAX 40

struct probe {
    bool ran; /**< Otherwise nobody asked, and no path but userspace is used. */
    struct probe_check checks[PROBE_CHECKS_MAX];
    size_t n;
    uint64_t ns;          /**< Of all checks together. */
    uint64_t loopback_ns; /**< Of those over loopback: the others are what loading takes. */
};

/** Adds a verdict. `why` may be NULL for PROBE_OK. Never more than PROBE_CHECKS_MAX. */
void probe_add(struct probe *p, const char *name, enum probe_guard guards, enum probe_verdict verdict,
               const char *why, uint64_t ns);

/** The first failed check that switches off what `guard` stands for: the whole kernel path's own, and
 * then that of `guard`. The kernel path is off at all, too, when it is off for every protocol.
 * @return NULL if there is none. */
const struct probe_check *probe_culprit(const struct probe *p, enum probe_guard guard);

/** Whether the kernel path can be used for that. */
static inline bool probe_available(const struct probe *p, enum probe_guard guard)
{
    return p->ran && !probe_culprit(p, guard);
}

/** Whether the check of that name was made and found nothing. */
bool probe_holds(const struct probe *p, const char *name);

/** As labels of metrics show them. */
const char *probe_guard_name(enum probe_guard guard);
const char *probe_verdict_name(enum probe_verdict verdict);

/** Monotonic time in ns. */
uint64_t probe_now(void);

/** Prints a table for people / one JSON object. */
void probe_print(const struct probe *p, FILE *out);
void probe_json(const struct probe *p, struct evbuffer *out);
