#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/table.h"

/*
 * route: which pod serves the next try. Regions in the target's order; round robin over the healthy pods
 * of a region; the next region when one has none.
 */
struct exchange;
struct worker;

struct route_pick {
	uint32_t pod_entry;
	struct shm_pod pod;
	struct shm_deployment deployment;
	struct shm_short_name region;
};

/* False: no pod is left to try. Pods in x->tried are passed over. When no healthy one is left, pods that
 * were ejected are tried again, and one that probes call down, once per request: an ejection or a
 * probe may be older than the pod's recovery. */
bool route_pick(struct worker *w, struct exchange *x, struct route_pick *pick);

/* The pod of a job, wherever it is deployed for x's target, unless it was tried. A pod that drains has its
 * jobs still. */
bool route_pick_pod(struct worker *w, struct exchange *x, struct route_pick *pick);

/* What a try told about its pod. Neutral ends (busy, 4xx) report nothing. */
void route_pod_good(struct worker *w, uint32_t pod_entry);
void route_pod_bad(struct worker *w, uint32_t pod_entry);
