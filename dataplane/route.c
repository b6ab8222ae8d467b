/* Round robin in a region, regions in order, and what passive health remembers of each pod. */
#include "dataplane/route.h"

#include "base/check.h"
#include "dataplane/worker.h"

/* Errors in a row that eject a pod, and for how long: doubling from the first to the last. */
#define EJECT_ERRORS 3
#define EJECT_NS_MIN (1 * NSEC_PER_SEC)
#define EJECT_DOUBLINGS_MAX 4

/* How sound a pod must look to be tried. */
enum soundness { SOUND_HEALTHY, SOUND_EJECTED, SOUND_DOWN };

static bool
was_tried(const struct exchange *x, uint32_t pod_entry)
{
	for (uint32_t i = 0; i < x->tried_count; i++)
		if (x->tried[i] == pod_entry)
			return true;
	return false;
}

static enum soundness
soundness_of(struct worker *w, uint32_t pod_entry)
{
	struct shm_pod_health *health = shm_pod_health(&w->shm, pod_entry);

	if (atomic_load_explicit(&health->probe_state, memory_order_relaxed) == SHM_PROBE_DOWN)
		return SOUND_DOWN;
	if (atomic_load_explicit(&health->eject_until_ns, memory_order_relaxed) > w->now_ns)
		return SOUND_EJECTED;
	return SOUND_HEALTHY;
}

static bool
pick_in(struct worker *w, struct exchange *x, uint32_t deployment_entry, enum soundness wanted,
	struct route_pick *pick)
{
	const struct shm_deployment *deployment = &pick->deployment;
	uint32_t count = deployment->pod_count;
	uint32_t first = w->deployment_turn[deployment_entry];

	for (uint32_t i = 0; i < count; i++) {
		uint32_t turn = (first + i) % count;
		uint32_t pod_entry = deployment->pods[turn];

		if (pod_entry >= w->pod_capacity || was_tried(x, pod_entry))
			continue;
		if (soundness_of(w, pod_entry) != wanted)
			continue;
		if (shm_read_pod(&w->shm, pod_entry, &pick->pod) != ERR_OK ||
		    pick->pod.state != SHM_POD_READY)
			continue;
		w->deployment_turn[deployment_entry] = turn + 1;
		pick->pod_entry = pod_entry;
		return true;
	}
	return false;
}

static bool
pick_sound(struct worker *w, struct exchange *x, enum soundness wanted, struct route_pick *pick)
{
	const struct shm_target *target = &x->admission.target;

	for (uint32_t i = 0; i < target->deployment_count && i < SHM_TARGET_DEPLOYMENTS_MAX; i++) {
		uint32_t entry = target->deployments[i];
		struct shm_region region;

		if (entry >= w->deployment_capacity ||
		    shm_read_deployment(&w->shm, entry, &pick->deployment) != ERR_OK ||
		    pick->deployment.pod_count == 0 ||
		    pick->deployment.pod_count > SHM_DEPLOYMENT_PODS_MAX)
			continue;
		if (!pick_in(w, x, entry, wanted, pick))
			continue;
		pick->region = (struct shm_short_name){ 0 };
		if (shm_read_region(&w->shm, pick->deployment.region, &region) == ERR_OK)
			pick->region = region.name;
		return true;
	}
	return false;
}

bool
route_pick(struct worker *w, struct exchange *x, struct route_pick *pick)
{
	if (pick_sound(w, x, SOUND_HEALTHY, pick) || pick_sound(w, x, SOUND_EJECTED, pick))
		return true;
	if (x->last_resort_used)
		return false;
	x->last_resort_used = true;
	return pick_sound(w, x, SOUND_DOWN, pick);
}

/* True: the deployment is in pick, and has the pod. */
static bool
find_pod_in(struct worker *w, const struct exchange *x, struct route_pick *pick)
{
	for (uint32_t i = 0; i < pick->deployment.pod_count && i < SHM_DEPLOYMENT_PODS_MAX; i++) {
		pick->pod_entry = pick->deployment.pods[i];
		if (pick->pod_entry < w->pod_capacity && !was_tried(x, pick->pod_entry) &&
		    shm_read_pod(&w->shm, pick->pod_entry, &pick->pod) == ERR_OK &&
		    pick->pod.pod_id == x->admission.job_pod_id && pick->pod.state != SHM_POD_MAINT)
			return true;
	}
	return false;
}

bool
route_pick_pod(struct worker *w, struct exchange *x, struct route_pick *pick)
{
	const struct shm_target *target = &x->admission.target;

	for (uint32_t i = 0; i < target->deployment_count && i < SHM_TARGET_DEPLOYMENTS_MAX; i++) {
		struct shm_region region;

		if (target->deployments[i] >= w->deployment_capacity ||
		    shm_read_deployment(&w->shm, target->deployments[i], &pick->deployment) != ERR_OK ||
		    !find_pod_in(w, x, pick))
			continue;
		pick->region = (struct shm_short_name){ 0 };
		if (shm_read_region(&w->shm, pick->deployment.region, &region) == ERR_OK)
			pick->region = region.name;
		return true;
	}
	return false;
}

void
route_pod_good(struct worker *w, uint32_t pod_entry)
{
	struct shm_pod_health *health = shm_pod_health(&w->shm, pod_entry);

	if (atomic_load_explicit(&health->consecutive_errors, memory_order_relaxed) == 0)
		return;
	atomic_store_explicit(&health->consecutive_errors, 0, memory_order_relaxed);
	atomic_store_explicit(&health->eject_until_ns, 0, memory_order_relaxed);
}

void
route_pod_bad(struct worker *w, uint32_t pod_entry)
{
	struct shm_pod_health *health = shm_pod_health(&w->shm, pod_entry);
	uint32_t errors =
		atomic_fetch_add_explicit(&health->consecutive_errors, 1, memory_order_relaxed) + 1;
	uint32_t doublings;

	if (errors < EJECT_ERRORS)
		return;
	doublings = errors - EJECT_ERRORS;
	if (doublings > EJECT_DOUBLINGS_MAX)
		doublings = EJECT_DOUBLINGS_MAX;
	atomic_store_explicit(&health->eject_until_ns, w->now_ns + (EJECT_NS_MIN << doublings),
			      memory_order_relaxed);
}
