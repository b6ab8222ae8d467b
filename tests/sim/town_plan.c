/* From a seed to a town: a random subset of the wire's faults, and requests of every kind. */
#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "town.h"

static uint32_t
below(struct town *t, uint32_t n)
{
	return prng_below(&t->prng, n);
}

static bool
one_in(struct town *t, uint32_t n)
{
	return below(t, n) == 0;
}

static void
plan_link(struct town *t, struct link_faults *faults)
{
	*faults = (struct link_faults){ .delay_ns = (1 + below(t, 40)) * NSEC_PER_MSEC / 2 };
	if (one_in(t, 2))
		faults->jitter_ns = below(t, 5) * NSEC_PER_MSEC;
	if (one_in(t, 2))
		faults->loss_ppm = below(t, 40000);
	if (one_in(t, 2)) {
		faults->reorder_ppm = below(t, 100000);
		faults->reorder_ns = (1 + below(t, 20)) * NSEC_PER_MSEC;
	}
	if (one_in(t, 2))
		faults->duplicate_ppm = below(t, 50000);
	if (one_in(t, 3))
		faults->corrupt_ppm = below(t, 20000);
	if (one_in(t, 3))
		faults->hold_ns = below(t, 20) * NSEC_PER_MSEC;
	if (one_in(t, 4))
		faults->rate_bytes_per_s = 200000 + below(t, 2000000);
}

static void
plan_request(struct town *t, uint32_t index)
{
	struct town_request *r = &t->requests[index];

	*r = (struct town_request){
		.index = index,
		.client = below(t, t->plan.client_count),
		.is_stream = one_in(t, 2),
		.wants_usage = one_in(t, 3),
		.is_bad_json = one_in(t, 16),
		.prompt_bytes = one_in(t, 8) ? 1 + below(t, 60000) : 1 + below(t, 600),
		.events = 1 + below(t, 40),
		.event_bytes = one_in(t, 10) ? 1 + below(t, 3000) : 1 + below(t, 200),
		.answer_bytes = one_in(t, 8) ? 1 + below(t, 60000) : 1 + below(t, 800),
		.prompt_tokens = below(t, 1000),
		.completion_tokens = below(t, 1000),
		.think_ns = below(t, 200) * NSEC_PER_MSEC,
		.first_ns = below(t, 100) * NSEC_PER_MSEC,
		.gap_ns = one_in(t, 2) ? 0 : below(t, 10) * NSEC_PER_MSEC,
		.piece_bytes = 1 + below(t, 2000),
		.chunked = one_in(t, 2),
	};
	/* Tiny pieces of a long answer would take for ever. */
	if (r->piece_bytes < 100)
		r->gap_ns = 0;
	if (t->plan.has_faults && one_in(t, 3))
		r->fault = (enum town_fault)below(t, FAULT_COUNT);
	if (one_in(t, 40)) {
		r->is_trickled = true;
		r->prompt_bytes += 800;
	}
	if (one_in(t, 8)) {
		r->is_aborted = true;
		r->abort_after_bytes = below(t, 2000);
		r->abort_after_ns = one_in(t, 2) ? (1 + below(t, 2000)) * NSEC_PER_MSEC / 4 : 0;
	}
}

static void
plan_routing(struct town *t)
{
	static const uint32_t shares[] = { 0, 50, 100 };
	struct town_plan *plan = &t->plan;

	plan->policy = (enum shm_policy)below(t, SHM_POLICY_COUNT);
	plan->pods = TOWN_BACKENDS;
	plan->first_pods = 1 + below(t, TOWN_BACKENDS);
	plan->eject_percent = shares[below(t, COUNT_OF(shares))];
	plan->is_tight = one_in(t, 3);
	plan->retry_percent = plan->is_tight ? below(t, 60) : 100;
	plan->retry_burst = plan->is_tight ? 1 + below(t, 3) : 1000;
	if (one_in(t, 2))
		return;
	plan->move_count = 1 + below(t, TOWN_MOVES_MAX);
	for (uint32_t i = 0; i < plan->move_count; i++)
		plan->moves[i] = (struct town_move){
			.at_ns = (i > 0 ? plan->moves[i - 1].at_ns : plan->start_ns) +
				 below(t, 1500) * NSEC_PER_MSEC,
			.pod = 1 + below(t, TOWN_BACKENDS - 1),
			.state = (enum shm_pod_state)below(t, SHM_POD_MAINT + 1),
		};
}

static uint32_t
below_tls(struct town *t, uint32_t n)
{
	return prng_below(&t->tls_prng, n);
}

static void
plan_https_request(struct town *t, struct town_request *r)
{
	r->until_close = !r->is_stream && below_tls(t, 4) == 0;
	r->closes = r->until_close || below_tls(t, 6) == 0;
	r->renews = below_tls(t, 8) == 0;
	if (r->fault == FAULT_RESET_INSIDE && below_tls(t, 2) == 0)
		r->fault = FAULT_CLOSE_INSIDE;
}

/* What TLS there is towards backends, and by whose code. */
static void
plan_tls(struct town *t)
{
	struct town_plan *plan = &t->plan;
	uint32_t good = 0;

	prng_init(&t->tls_prng, ~plan->seed);
	plan->has_our_clients = plan->is_tls && !plan->is_h2 && below_tls(t, 2) == 1;
	plan->is_https = below_tls(t, 4) == 0;
	if (!plan->is_https)
		return;
	for (uint32_t i = 0; i < plan->pods; i++)
		plan->trust[i] = (enum town_trust)below_tls(t, i > 0 && below_tls(t, 4) == 0 ? TRUST_COUNT :
											     TRUST_COUNT_GOOD);
	for (uint32_t i = 0; i < plan->pods; i++) {
		plan->is_tls12[i] = below_tls(t, 2) == 0;
		good += plan->trust[i] < TRUST_COUNT_GOOD;
	}
	plan->shakes = plan->has_faults ? below_tls(t, 4) : 0;
	/* All of them may be met by one request, and its own fault. */
	plan->may_fail = plan->has_faults && plan->shakes + 1 >= good;
	for (uint32_t i = 0; i < plan->request_count; i++)
		plan_https_request(t, &t->requests[i]);
}

void
plan_make_town(struct town *t, uint64_t seed)
{
	struct town_plan *plan = &t->plan;

	prng_init(&t->prng, seed);
	plan->seed = seed;
	plan->is_v6 = one_in(t, 2);
	plan->is_tls = one_in(t, 4);
	plan->is_h2 = seed % 4 == 3;
	plan->has_lanes = seed % 3 == 1;
	plan->has_faults = one_in(t, 2);
	plan->start_ns = NSEC_PER_SEC + prng_next(&t->prng) % (NSEC_PER_SEC * 10000);
	plan->is_calm = one_in(t, 8);
	if (!plan->is_calm) {
		plan_link(t, &plan->link[0]);
		plan_link(t, &plan->link[1]);
	}
	plan->client_count = 1 + below(t, plan->is_tls ? 3 : TOWN_CLIENTS_MAX);
	plan->request_count = 1 + below(t, TOWN_REQUESTS_MAX - 1);
	if (one_in(t, 6))
		plan->per_source = 1 + below(t, 4);
	for (uint32_t i = 0; i < plan->request_count; i++)
		plan_request(t, i);
	plan_routing(t);
	plan_tls(t);
	t->now_ns = plan->start_ns;
}

void
town_text(const struct town *t, uint32_t request, uint32_t what, char *to, uint32_t bytes)
{
	static const char alphabet[] = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ:{}[],01234";
	struct prng prng;

	prng_init(&prng, t->plan.seed * 1000003 + request * 4099 + what);
	for (uint32_t i = 0; i < bytes; i++)
		to[i] = alphabet[prng_next(&prng) & 63];
}

static uint32_t
put(char *to, uint32_t at, const char *format, uint32_t number)
{
	return at + (uint32_t)snprintf(to + at, TOWN_TEXT_BYTES_MAX - at, format, number);
}

uint32_t
town_request_body(const struct town *t, const struct town_request *r, bool edited, char *to)
{
	uint32_t at = 0;

	at = put(to, at, "{", 0);
	if (edited && r->is_stream && !r->wants_usage)
		at = put(to, at, "\"stream_options\":{\"include_usage\":true},", 0);
	at = put(to, at, "\"seed\":%u, \"messages\":[{\"role\":\"user\",\"content\":\"", r->index);
	town_text(t, r->index, 0, to + at, r->prompt_bytes);
	at += r->prompt_bytes;
	at = put(to, at, r->is_bad_json ? "\"}]" : "\"}] ,", 0);
	if (r->is_stream)
		at = put(to, at, "\"stream\":true,", 0);
	if (r->is_stream && r->wants_usage)
		at = put(to, at, "\"stream_options\" : {\"include_usage\":true},", 0);
	at = put(to, at, edited ? "\"model\":\"served/name\"}" : "\"model\":\"town-model\"}", 0);
	return at;
}

static uint32_t
put_usage(const struct town_request *r, char *to, uint32_t at)
{
	at = put(to, at, "{\"prompt_tokens\":%u,", r->prompt_tokens);
	at = put(to, at, "\"completion_tokens\":%u,", r->completion_tokens);
	return put(to, at, "\"total_tokens\":%u}", r->prompt_tokens + r->completion_tokens);
}

static uint32_t
put_stream(const struct town *t, const struct town_request *r, bool from_backend, char *to)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < r->events; i++) {
		at = put(to, at, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"", 0);
		town_text(t, r->index, 2 + i, to + at, r->event_bytes);
		at += r->event_bytes;
		at = put(to, at, "\"}}]", 0);
		if (from_backend || r->wants_usage)
			at = put(to, at, ",\"usage\":null", 0);
		at = put(to, at, "}\n\n", 0);
	}
	if (from_backend || r->wants_usage) {
		at = put(to, at, "data: {\"choices\":[],\"usage\":", 0);
		at = put_usage(r, to, at);
		at = put(to, at, "}\n\n", 0);
	}
	return put(to, at, "data: [DONE]\n\n", 0);
}

uint32_t
town_answer_body(const struct town *t, const struct town_request *r, bool from_backend, char *to)
{
	uint32_t at = 0;

	if (r->is_stream)
		return put_stream(t, r, from_backend, to);
	at = put(to, at, "{\"choices\":[{\"message\":{\"content\":\"", 0);
	town_text(t, r->index, 1, to + at, r->answer_bytes);
	at += r->answer_bytes;
	at = put(to, at, "\"}}],\"usage\":", 0);
	at = put_usage(r, to, at);
	return put(to, at, "}", 0);
}
