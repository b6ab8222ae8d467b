/*
 * Pods as the operator moves them, and what routing owes them: a pod that drains loses requests and gets none,
 * one in maintenance has none and no connection, a half-open pod is asked by one request, no more than a share
 * are out, and tries stay inside their budget.
 */
#include "base/check.h"
#include "town.h"

/* Turns in which the router looks at all its backend connections after a change. */
#define SWEEP_TURNS 3

static struct shm_pod_health *
health_of(const struct town *t, uint32_t pod)
{
	return shm_pod_health(&t->shm, pod);
}

void
pods_put(struct town *t, uint32_t pod, enum shm_pod_state state)
{
	struct shm_pod body = { .pod_id = 20 + pod, .port = (uint16_t)(TOWN_BACKEND_PORT + pod), .live = 1,
				.state = (uint8_t)state };
	struct ip_addr address = town_address(t, false);
	static const char host[] = "backend.test";
	bool changed;

	memcpy(body.address, address.byte, sizeof(body.address));
	if (t->plan.seed % 2 == 0) {
		body.host.len = sizeof(host) - 1;
		memcpy(body.host.text, host, sizeof(host) - 1);
	}
	tls_describe_pod(t, pod, &body);
	CHECK(shm_put_pod(&t->shm, pod, &body, &changed) == ERR_OK);
	t->pods[pod] = (struct town_pod){ .state = state,
					  .refusals = t->pods[pod].refusals,
					  .in_flight_max = atomic_load(&health_of(t, pod)->in_flight) };
}

void
pods_turn(struct town *t)
{
	while (t->moves_done < t->plan.move_count && t->plan.moves[t->moves_done].at_ns <= t->now_ns) {
		const struct town_move *move = &t->plan.moves[t->moves_done++];

		pods_put(t, move->pod, move->state);
		if (move->state == SHM_POD_MAINT)
			t->cuts_allowed += t->pods[move->pod].in_flight_max;
	}
}

uint64_t
pods_next_at(const struct town *t)
{
	for (uint32_t i = 1; i < t->plan.pods; i++)
		if (t->pods[i].state != SHM_POD_READY && t->pods[i].turns <= SWEEP_TURNS)
			return t->now_ns;
	return t->moves_done < t->plan.move_count ? t->plan.moves[t->moves_done].at_ns : NEVER_NS;
}

static void
judge_pod(struct town *t, uint32_t i)
{
	struct town_pod *pod = &t->pods[i];
	uint32_t in_flight = atomic_load(&health_of(t, i)->in_flight);

	if (pod->state == SHM_POD_READY)
		return;
	if (in_flight > pod->in_flight_max)
		town_fail(t, "pod %u got a request although it is in state %d", i, pod->state);
	pod->in_flight_max = in_flight;
	if (pod->turns++ < SWEEP_TURNS)
		return;
	if (t->worker->pod_idle[i] != NULL)
		town_fail(t, "a connection to pod %u is kept although it is in state %d", i, pod->state);
	if (pod->state == SHM_POD_MAINT && in_flight > 0)
		town_fail(t, "pod %u is in maintenance and has %u requests", i, in_flight);
}

/* Who holds a half-open pod's slot. */
static void
judge_slots(struct town *t)
{
	uint32_t holders[TOWN_BACKENDS] = { 0 };

	for (uint32_t i = 0; i < t->worker->config.counts.exchanges; i++) {
		const struct exchange *x = &t->worker->exchanges[i];

		if (x->state != EXCHANGE_FREE && x->holds_probe)
			holders[x->pod_entry]++;
	}
	for (uint32_t i = 0; i < t->plan.pods; i++)
		if (holders[i] != (atomic_load(&health_of(t, i)->eject_prober) != 0))
			town_fail(t, "pod %u: %u requests hold its slot", i, holders[i]);
}

static void
judge_share(struct town *t)
{
	uint32_t counts[2] = { t->plan.first_pods, t->plan.pods - t->plan.first_pods };
	uint32_t out[2] = { 0 };

	for (uint32_t i = 0; i < t->plan.pods; i++)
		out[i >= t->plan.first_pods] += atomic_load(&health_of(t, i)->eject_until_ns) != 0;
	for (int d = 0; d < 2; d++) {
		uint32_t most = counts[d] * t->plan.eject_percent / 100;

		if (most == 0 && t->plan.eject_percent > 0)
			most = 1;
		if (out[d] > most)
			town_fail(t, "%u of %u pods are out, %u may be", out[d], counts[d], most);
	}
}

void
pods_judge(struct town *t)
{
	if (t->plan.per_source > 0 && t->worker->clients_used > t->plan.per_source)
		town_fail(t, "%u connections of one network, %u may be", t->worker->clients_used,
			  t->plan.per_source);
	for (uint32_t i = 0; i < t->plan.pods; i++)
		judge_pod(t, i);
	judge_slots(t);
	judge_share(t);
}

static uint64_t
counter(const struct town *t, enum counter which)
{
	return t->worker->counters[counter_at(which)];
}

void
pods_judge_end(struct town *t)
{
	uint64_t tries = counter(t, COUNTER_UPSTREAM_TRIES), more = counter(t, COUNTER_UPSTREAM_RETRIES);
	uint64_t allowed = (uint64_t)t->plan.request_count * t->plan.retry_percent + t->plan.retry_burst * 100;
	uint64_t seen = 0;

	for (uint32_t i = 0; i < t->plan.pods; i++)
		if (atomic_load(&health_of(t, i)->eject_prober) != 0)
			town_fail(t, "pod %u: its slot was not given back", i);
	for (uint32_t i = 0; i < t->plan.request_count; i++) {
		seen += t->requests[i].tries;
		/* And one over a kept connection that was gone. */
		if (t->requests[i].tries > t->worker->config.routing.tries + 1)
			town_fail(t, "request %u: %u tries", i, t->requests[i].tries);
	}
	if (more * 100 > allowed || seen > tries)
		town_fail(t, "%lu tries of %u requests, %lu further ones (%lu seen): %u %% and %u are allowed",
			  (unsigned long)tries, t->plan.request_count, (unsigned long)more, (unsigned long)seen,
			  t->plan.retry_percent, t->plan.retry_burst);
	/* Where nothing goes wrong, clients that leave and pods that are taken away are nobody's failure. */
	if (!t->plan.has_faults && t->plan.is_calm && !t->plan.is_https && counter(t, COUNTER_POD_EJECTIONS) > 0)
		town_fail(t, "%lu ejections without a failure", (unsigned long)counter(t, COUNTER_POD_EJECTIONS));
	if (t->plan.move_count == 0 && !t->plan.may_fail && t->refused > counter(t, COUNTER_RETRIES_DENIED))
		town_fail(t, "%u requests were refused, the budget denied %lu", t->refused,
			  (unsigned long)counter(t, COUNTER_RETRIES_DENIED));
}
