#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/table.h"

/*
 * route: which pod serves the next try, and what a try told about its pod.
 *
 * Regions in the target's order; in a region the target's policy (lib/spread) among the pods that are as sound as
 * any: healthy ones, else those that asked for a pause, else ejected ones, else one that probes call down, once
 * per request: an ejection or a probe may be older than the pod's recovery. Pods that drain or are in
 * maintenance get nothing.
 *
 * A try has one of four outcomes. Good: an answer, whatever it says below 500. Bad: no connection, a reset, a
 * timer, another 5xx, an answer that is no HTTP. Busy: 429 and 503; the pod is passed over for a while and not
 * blamed. Neutral: everything that is not the pod's doing (the client left, we lacked something, a kept
 * connection had been closed meanwhile). Bad ones in a row eject (spread/eject.h).
 *
 * A pod that comes back from an ejection gets one request as a probe; the exchange that holds its slot gives it
 * back with the outcome, or by route_release() at the latest when it closes.
 */
struct exchange;
struct worker;

struct route_pick {
	uint32_t pod_entry;
	uint32_t deployment_entry;
	bool is_probe; /* the slot of the pod is taken */
	struct shm_pod_place pod;
	struct shm_deployment deployment;
	struct shm_short_name region;
};

/* What a worker does with failures, from the configuration. */
struct route_limits {
	uint32_t tries; /* per request, at most TRIES_MAX */
	uint32_t retry_percent;
	uint32_t retry_burst;
	uint32_t eject_errors;
	uint64_t eject_time_ns;
	uint64_t eject_time_ns_max;
	uint32_t eject_percent;
	uint64_t busy_ns;
};

enum route_outcome { ROUTE_GOOD, ROUTE_NEUTRAL, ROUTE_BUSY, ROUTE_BAD };

/* A process that ended held slots and counted requests that nobody ends any more. Once, before the workers run. */
void route_reset(const struct shm *shm);

/* False: no pod is left to try. Pods in x->tried are passed over. is_insured: should this try fail, another one
 * may follow, so that a probe costs nobody an answer; and the client has sent its body. */
bool route_pick(struct worker *w, struct exchange *x, bool is_insured, struct route_pick *pick);

/* The pod of a job, wherever it is deployed for x's target, unless it was tried. A pod that drains has its
 * jobs still. */
bool route_pick_pod(struct worker *w, struct exchange *x, struct route_pick *pick);

/* The budget of x's target. A request opens it once, each of its further tries takes from it. */
void route_budget_open(struct worker *w, const struct exchange *x);
bool route_budget_can_take(const struct worker *w, const struct exchange *x);
void route_budget_take(struct worker *w, const struct exchange *x);

/* Whether the entry still stands for this pod: a request may last longer than a deleted entry rests before it
 * stands for another one (lib/shm, rule 5). */
bool route_is_same_pod(const struct worker *w, uint32_t pod_entry, uint64_t pod_id);

/* The outcome of x's try at x->pod_entry; gives its slot back. Another pod that has the entry meanwhile is not
 * told, nor is the pod itself where it has another address now. busy_ns: what the pod asked for; 0: nothing. */
void route_report(struct worker *w, struct exchange *x, enum route_outcome outcome, uint64_t busy_ns);
void route_release(struct worker *w, struct exchange *x);

/* The first event of a stream has come. */
void route_first_token(struct worker *w, const struct exchange *x);
