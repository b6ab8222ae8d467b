/* Candidates by soundness, a policy among them, and the outcomes that make them sound or not. */
#include "dataplane/route.h"

#include "base/check.h"
#include "dataplane/worker.h"
#include "limit/retry.h"
#include "spread/eject.h"
#include "spread/spread.h"

/* A probe is made with a request that is all here and can be sent again; a pod that waits for one this long gets
 * any. */
#define PROBE_UNINSURED_NS (10 * NSEC_PER_SEC)
/* What a busy pod may ask for. */
#define BUSY_NS_MAX (10 * NSEC_PER_SEC)

/* How sound a pod must look to be tried. */
enum soundness { SOUND_HEALTHY, SOUND_BUSY, SOUND_EJECTED, SOUND_DOWN };

CHECK_STATIC(SPREAD_PODS_MAX >= SHM_DEPLOYMENT_PODS_MAX, "all pods of a deployment are candidates");
CHECK_STATIC(offsetof(struct shm_pod_health, eject_errors) - offsetof(struct shm_pod_health, eject_until_ns) ==
		     offsetof(struct eject, errors), "eject.h's words");
CHECK_STATIC(offsetof(struct shm_pod_health, eject_row) - offsetof(struct shm_pod_health, eject_until_ns) ==
		     offsetof(struct eject, row), "eject.h's words");
CHECK_STATIC(offsetof(struct shm_pod_health, eject_prober) - offsetof(struct shm_pod_health, eject_until_ns) ==
		     offsetof(struct eject, prober), "eject.h's words");

#define CACHE_FULL_PERMILLE 950 /* vLLM and SGLang begin to put requests off */

static struct eject *
eject_of(struct shm_pod_health *health)
{
	return (struct eject *)&health->eject_until_ns;
}

void
route_reset(const struct shm *shm)
{
	for (uint32_t entry = 0; entry < shm->header->capacity.count[SHM_PODS]; entry++) {
		struct shm_pod_health *health = shm_pod_health(shm, entry);

		atomic_store(&health->in_flight, 0);
		atomic_store(&health->eject_prober, 0);
	}
}

/* --- which pod ------------------------------------------------------------------------- */

static bool
was_tried(const struct exchange *x, uint32_t pod_entry)
{
	for (uint32_t i = 0; i < x->tried_count; i++)
		if (x->tried[i] == pod_entry)
			return true;
	return false;
}

static enum soundness
soundness_of(struct worker *w, struct shm_pod_health *health)
{
	if (atomic_load_explicit(&health->probe_state, memory_order_relaxed) == SHM_PROBE_DOWN)
		return SOUND_DOWN;
	if (eject_state(eject_of(health), w->now_ns) != EJECT_IN)
		return SOUND_EJECTED;
	if (atomic_load_explicit(&health->busy_until_ns, memory_order_relaxed) > w->now_ns)
		return SOUND_BUSY;
	return SOUND_HEALTHY;
}

static bool
read_ready(struct worker *w, uint32_t pod_entry, struct shm_pod_place *pod)
{
	return shm_read_pod_place(&w->shm, pod_entry, pod) == ERR_OK && pod->state == SHM_POD_READY &&
	       shm_has_address(pod->address);
}

/* Requests at a pod: ours, which are known at once, or all that it says it has, ours and others', if that is more
 * and not too old. A cache that is nearly full makes each of them longer. */
static uint32_t
load_of(const struct worker *w, const struct shm_pod_health *health)
{
	uint64_t load = atomic_load_explicit(&health->in_flight, memory_order_relaxed);
	uint64_t said;

	if (atomic_load_explicit(&health->gauges_until_ns, memory_order_acquire) <= w->now_ns)
		return (uint32_t)load;
	said = (uint64_t)atomic_load_explicit(&health->running, memory_order_relaxed) +
	       atomic_load_explicit(&health->waiting, memory_order_relaxed);
	load = said > load ? said : load;
	if (atomic_load_explicit(&health->cache_permille, memory_order_relaxed) >= CACHE_FULL_PERMILLE)
		load = 2 * load + 1;
	return load < UINT32_MAX ? (uint32_t)load : UINT32_MAX;
}

static uint32_t
gather(struct worker *w, const struct exchange *x, const struct shm_deployment *deployment,
       enum soundness wanted, struct spread_pod *pods)
{
	uint32_t count = 0;

	for (uint32_t place = 0; place < deployment->pod_count; place++) {
		uint32_t entry = deployment->pods[place];
		struct shm_pod_health *health;
		uint64_t latency;

		if (entry >= w->pod_capacity || was_tried(x, entry))
			continue;
		health = shm_pod_health(&w->shm, entry);
		if (soundness_of(w, health) != wanted)
			continue;
		latency = atomic_load_explicit(&health->first_token, memory_order_relaxed);
		pods[count++] = (struct spread_pod){
			.place = place,
			.entry = entry,
			.in_flight = load_of(w, health),
			.first_token_us = spread_latency_read(latency, w->now_ns),
		};
	}
	return count;
}

/* The leading blocks of `messages`, read once per request. */
static const struct prefix *
prefix_of(struct worker *w, struct exchange *x)
{
	const struct json_value *messages;
	struct body_reader reader;
	struct prefix_scan scan;
	struct siphash_key key;

	if (x->prefix_known || x->admission.body_kind != BODY_IS_JSON)
		return &x->prefix;
	messages = &x->json.result.field[JSON_FIELD_MESSAGES];
	if (messages->type != JSON_ARRAY)
		return &x->prefix;
	/* Of the shared file, so that all workers of all its lives agree. */
	key = siphash_key_make(w->shm.header->instance_id);
	prefix_init(&scan, &key);
	body_rewind(&x->body, &reader);
	while (reader.offset < messages->start)
		body_read(&w->bodies, &x->body, &reader, messages->start - reader.offset);
	while (reader.offset < messages->end &&
	       prefix_feed(&scan, body_read(&w->bodies, &x->body, &reader,
					    messages->end - reader.offset)))
		;
	x->prefix = scan.prefix;
	x->prefix_known = true;
	return &x->prefix;
}

static uint32_t
choose(struct worker *w, struct exchange *x, uint32_t deployment_entry, const struct spread_pod *pods,
       uint32_t count)
{
	switch (x->admission.target.policy) {
	case SHM_POLICY_LEAST_LOADED:
		return spread_least_loaded(pods, count, &w->prng);
	case SHM_POLICY_PREFIX:
		return spread_prefix(pods, count, prefix_of(w, x), &w->prng);
	default:
		return spread_round_robin(pods, count, w->deployment_turn[deployment_entry]);
	}
}

/* A pod whose ejection is over, if nobody asks it already. */
static bool
pick_probe(struct worker *w, struct exchange *x, bool is_insured, struct route_pick *pick)
{
	struct spread_pod pods[SPREAD_PODS_MAX];
	uint32_t count = gather(w, x, &pick->deployment, SOUND_EJECTED, pods);

	for (uint32_t i = 0; i < count; i++) {
		struct eject *eject = eject_of(shm_pod_health(&w->shm, pods[i].entry));

		if ((!is_insured && eject_half_open_ns(eject, w->now_ns) < PROBE_UNINSURED_NS) ||
		    !read_ready(w, pods[i].entry, &pick->pod) ||
		    !eject_probe(eject, w->config.index, w->now_ns))
			continue;
		pick->pod_entry = pods[i].entry;
		pick->is_probe = true;
		worker_count(w, COUNTER_POD_PROBES);
		return true;
	}
	return false;
}

static bool
pick_in(struct worker *w, struct exchange *x, enum soundness wanted, struct route_pick *pick)
{
	struct spread_pod pods[SPREAD_PODS_MAX];
	uint32_t count = gather(w, x, &pick->deployment, wanted, pods);

	while (count > 0) {
		uint32_t i = choose(w, x, pick->deployment_entry, pods, count);

		if (read_ready(w, pods[i].entry, &pick->pod)) {
			w->deployment_turn[pick->deployment_entry] = pods[i].place + 1;
			pick->pod_entry = pods[i].entry;
			return true;
		}
		memmove(&pods[i], &pods[i + 1], (--count - i) * sizeof(pods[0]));
	}
	return false;
}

/* The name that the client sees; a region that has just been taken away has none. */
static void
name_region(struct worker *w, struct route_pick *pick)
{
	struct shm_region region;

	pick->region = (struct shm_short_name){ 0 };
	if (shm_read_region(&w->shm, pick->deployment.region, &region) == ERR_OK)
		pick->region = region.name;
}

static bool
pick_sound(struct worker *w, struct exchange *x, enum soundness wanted, bool is_insured,
	   struct route_pick *pick)
{
	const struct shm_target *target = &x->admission.target;

	for (uint32_t i = 0; i < target->deployment_count && i < SHM_TARGET_DEPLOYMENTS_MAX; i++) {
		uint32_t entry = target->deployments[i];

		if (entry >= w->deployment_capacity ||
		    shm_read_deployment(&w->shm, entry, &pick->deployment) != ERR_OK ||
		    pick->deployment.pod_count == 0 ||
		    pick->deployment.pod_count > SHM_DEPLOYMENT_PODS_MAX)
			continue;
		pick->deployment_entry = entry;
		if (!(wanted == SOUND_HEALTHY && pick_probe(w, x, is_insured, pick)) &&
		    !pick_in(w, x, wanted, pick))
			continue;
		name_region(w, pick);
		return true;
	}
	return false;
}

bool
route_pick(struct worker *w, struct exchange *x, bool is_insured, struct route_pick *pick)
{
	pick->is_probe = false;
	if (pick_sound(w, x, SOUND_HEALTHY, is_insured, pick) ||
	    pick_sound(w, x, SOUND_BUSY, is_insured, pick) ||
	    pick_sound(w, x, SOUND_EJECTED, is_insured, pick))
		return true;
	if (x->last_resort_used)
		return false;
	x->last_resort_used = true;
	return pick_sound(w, x, SOUND_DOWN, is_insured, pick);
}

/* True: the deployment is in pick, and has the pod. */
static bool
find_pod_in(struct worker *w, const struct exchange *x, struct route_pick *pick)
{
	for (uint32_t i = 0; i < pick->deployment.pod_count && i < SHM_DEPLOYMENT_PODS_MAX; i++) {
		pick->pod_entry = pick->deployment.pods[i];
		if (pick->pod_entry < w->pod_capacity && !was_tried(x, pick->pod_entry) &&
		    shm_read_pod_place(&w->shm, pick->pod_entry, &pick->pod) == ERR_OK &&
		    pick->pod.pod_id == x->admission.job_pod_id && pick->pod.state != SHM_POD_MAINT &&
		    shm_has_address(pick->pod.address))
			return true;
	}
	return false;
}

bool
route_pick_pod(struct worker *w, struct exchange *x, struct route_pick *pick)
{
	const struct shm_target *target = &x->admission.target;

	pick->is_probe = false;
	for (uint32_t i = 0; i < target->deployment_count && i < SHM_TARGET_DEPLOYMENTS_MAX; i++) {
		if (target->deployments[i] >= w->deployment_capacity ||
		    shm_read_deployment(&w->shm, target->deployments[i], &pick->deployment) != ERR_OK ||
		    !find_pod_in(w, x, pick))
			continue;
		pick->deployment_entry = target->deployments[i];
		name_region(w, pick);
		return true;
	}
	return false;
}

/* --- the budget of tries ----------------------------------------------------------------- */

static struct retry_limit
retry_limit_of(const struct worker *w, const struct exchange *x)
{
	const struct route_limits *limits = &w->config.routing;
	uint16_t percent = x->admission.target.retry_percent;

	return (struct retry_limit){
		.percent = percent == SHM_RETRY_AS_CONFIGURED ? limits->retry_percent : percent,
		.burst = limits->retry_burst,
	};
}

static struct retry *
retry_of(const struct worker *w, const struct exchange *x)
{
	const struct admission *a = &x->admission;

	if (a->instance_id != 0) {
		CHECK(a->target_entry < w->instance_capacity);
		return &w->retry_of_instance[a->target_entry];
	}
	CHECK(a->target_entry < w->model_capacity);
	return &w->retry_of_model[a->target_entry];
}

void
route_budget_open(struct worker *w, const struct exchange *x)
{
	struct retry_limit limit = retry_limit_of(w, x);

	retry_deposit(retry_of(w, x), &limit);
}

bool
route_budget_can_take(const struct worker *w, const struct exchange *x)
{
	struct retry_limit limit = retry_limit_of(w, x);

	return retry_can_take(retry_of(w, x), &limit);
}

void
route_budget_take(struct worker *w, const struct exchange *x)
{
	struct retry_limit limit = retry_limit_of(w, x);

	CHECK(retry_take(retry_of(w, x), &limit));
}

/* --- outcomes ---------------------------------------------------------------------------- */

bool
route_is_same_pod(const struct worker *w, uint32_t pod_entry, uint64_t pod_id)
{
	struct shm_pod_place pod;

	return shm_read_pod_place(&w->shm, pod_entry, &pod) == ERR_OK && pod.pod_id == pod_id;
}

/* Pods of the deployment that are out or half open. */
static uint32_t
count_out(struct worker *w, const struct shm_deployment *deployment)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < deployment->pod_count && i < SHM_DEPLOYMENT_PODS_MAX; i++)
		if (deployment->pods[i] < w->pod_capacity)
			count += eject_state(eject_of(shm_pod_health(&w->shm, deployment->pods[i])),
					     w->now_ns) != EJECT_IN;
	return count;
}

/* Whether one of the deployment's pods more than are out already may go: a share of them, at least one. */
static bool
has_room_outside(struct worker *w, uint32_t deployment_entry)
{
	uint32_t percent = w->config.routing.eject_percent;
	struct shm_deployment deployment;
	uint32_t most;

	if (percent == 0 || shm_read_deployment(&w->shm, deployment_entry, &deployment) != ERR_OK)
		return false;
	most = deployment.pod_count * percent / 100;
	return count_out(w, &deployment) <= (most > 0 ? most : 1);
}

static void
report_bad(struct worker *w, const struct exchange *x, struct eject *eject)
{
	const struct route_limits *limits = &w->config.routing;
	struct eject_limits eject_limits = { limits->eject_errors, limits->eject_time_ns,
					     limits->eject_time_ns_max };
	uint64_t for_ns;

	if (!eject_bad(eject, &eject_limits, x->holds_probe, w->now_ns, &for_ns))
		return;
	/* Counted with itself among them: of two workers that do so at once, none lets one too many go. */
	eject_out(eject, w->now_ns + for_ns);
	if (has_room_outside(w, x->deployment_entry)) {
		worker_count(w, COUNTER_POD_EJECTIONS);
		return;
	}
	eject_undo(eject);
	worker_count(w, COUNTER_POD_EJECTIONS_SPARED);
}

static void
report_busy(struct worker *w, struct shm_pod_health *health, uint64_t busy_ns)
{
	if (busy_ns == 0)
		busy_ns = w->config.routing.busy_ns;
	if (busy_ns > BUSY_NS_MAX)
		busy_ns = BUSY_NS_MAX;
	atomic_store_explicit(&health->busy_until_ns, w->now_ns + busy_ns, memory_order_relaxed);
	worker_count(w, COUNTER_POD_BUSY);
}

/* Whether the pod is where the try is still: what its old place does says nothing of the new one. */
static bool
is_where_asked(const struct worker *w, const struct exchange *x)
{
	struct shm_pod_place pod;

	return shm_read_pod_place(&w->shm, x->pod_entry, &pod) == ERR_OK && pod.pod_id == x->pod_id &&
	       (x->upstream == NULL || upstream_leads_to(w, x->upstream, &pod));
}

void
route_report(struct worker *w, struct exchange *x, enum route_outcome outcome, uint64_t busy_ns)
{
	struct shm_pod_health *health = shm_pod_health(&w->shm, x->pod_entry);

	if (!is_where_asked(w, x))
		outcome = ROUTE_NEUTRAL;
	switch (outcome) {
	case ROUTE_GOOD:
		if (eject_good(eject_of(health)))
			worker_count(w, COUNTER_POD_RETURNS);
		break;
	case ROUTE_BUSY:
		report_busy(w, health, busy_ns);
		break;
	case ROUTE_BAD:
		report_bad(w, x, eject_of(health));
		break;
	case ROUTE_NEUTRAL:
		break;
	}
	route_release(w, x);
}

void
route_release(struct worker *w, struct exchange *x)
{
	if (!x->holds_probe)
		return;
	x->holds_probe = false;
	/* With the entry, the slot was made anew. */
	if (route_is_same_pod(w, x->pod_entry, x->pod_id))
		eject_release(eject_of(shm_pod_health(&w->shm, x->pod_entry)));
}

void
route_first_token(struct worker *w, const struct exchange *x)
{
	struct shm_pod_health *health = shm_pod_health(&w->shm, x->pod_entry);
	uint64_t word = atomic_load_explicit(&health->first_token, memory_order_relaxed);
	uint64_t next = spread_latency_add(word, w->now_ns - x->try_sent_at_ns, w->now_ns);

	if (!is_where_asked(w, x))
		return;
	/* If another worker was faster, its sample will do. */
	atomic_compare_exchange_strong_explicit(&health->first_token, &word, next, memory_order_relaxed,
						memory_order_relaxed);
}
