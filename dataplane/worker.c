/* A worker's memory and its turn: timers, events, ready clients, output, each bounded. */
#include "dataplane/worker.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/nocase.h"
#include "base/siphash.h"
#include "dataplane/client_tls.h"
#include "dataplane/secure.h"

/* --- memory ------------------------------------------------------------------ */

static uint32_t
head_slot_bytes(void)
{
	return (uint32_t)((sizeof(struct head_buffer) + HEAD_BUFFER_BYTES + 15) & ~UINT64_C(15));
}

static struct worker_part
part_of(const char *name, uint32_t count, size_t each_bytes)
{
	uint64_t bytes = (uint64_t)count * each_bytes;

	return (struct worker_part){ name, count, (uint32_t)each_bytes,
				     (bytes + CACHE_LINE_BYTES - 1) & ~(uint64_t)(CACHE_LINE_BYTES - 1) };
}

/* Who can hold what, as one written sum. Head buffers and blocks come last: see worker_new(). */
uint64_t
worker_parts(const struct worker_counts *counts, const struct shm_capacity *tables,
	     struct worker_part parts[WORKER_PARTS])
{
	uint64_t bytes = 0;

	parts[WORKER_PART_WORKER] = part_of("worker", 1, sizeof(struct worker));
	parts[WORKER_PART_CLIENTS] = part_of("clients", counts->clients, sizeof(struct client));
	parts[WORKER_PART_SOURCES] =
		part_of("networks", sources_slots(counts->clients), sizeof(struct sources_slot));
	parts[WORKER_PART_EXCHANGES] = part_of("requests", counts->exchanges, sizeof(struct exchange));
	parts[WORKER_PART_UPSTREAMS] = part_of("backends", counts->upstreams, sizeof(struct upstream));
	parts[WORKER_PART_PODS] = part_of("pods", tables->count[SHM_PODS], sizeof(struct upstream *));
	parts[WORKER_PART_DEPLOYMENTS] =
		part_of("deployments", tables->count[SHM_DEPLOYMENTS], sizeof(uint32_t));
	parts[WORKER_PART_MODELS] = part_of("models", tables->count[SHM_MODELS], sizeof(struct retry));
	parts[WORKER_PART_INSTANCES] =
		part_of("instances", tables->count[SHM_INSTANCES], sizeof(struct retry));
	parts[WORKER_PART_ACCOUNTS] = part_of("accounts", tables->count[SHM_ACCOUNTS], sizeof(uint32_t));
	parts[WORKER_PART_REFUSALS] =
		part_of("refusals", tables->count[SHM_ACCOUNTS], sizeof(struct settle_refusals));
	parts[WORKER_PART_HEADS] = part_of("heads", counts->heads, head_slot_bytes());
	parts[WORKER_PART_BLOCKS] = part_of("body blocks", counts->blocks, BODY_BLOCK_BYTES);
	parts[WORKER_PART_BLOCK_LINKS] = part_of("block links", counts->blocks, sizeof(uint32_t));
	for (int i = 0; i < WORKER_PARTS; i++)
		bytes += parts[i].bytes;
	return bytes;
}

static uint64_t
parts_of(const struct worker_config *config, struct worker_part parts[WORKER_PARTS])
{
	return worker_parts(&config->counts, &config->shm.header->capacity, parts);
}

uint64_t
worker_bytes(const struct worker_config *config)
{
	struct worker_part parts[WORKER_PARTS];

	return parts_of(config, parts);
}

static void
link_free_lists(struct worker *w)
{
	const struct worker_counts *counts = &w->config.counts;

	for (uint32_t i = counts->clients; i-- > 0;)
		list_prepend(&w->clients_free, &w->clients[i].turn);
	for (uint32_t i = counts->exchanges; i-- > 0;) {
		w->exchanges[i].next_free = w->exchange_free;
		w->exchange_free = &w->exchanges[i];
	}
	for (uint32_t i = counts->upstreams; i-- > 0;) {
		w->upstreams[i].pod_next = w->upstream_free;
		w->upstream_free = &w->upstreams[i];
	}
	for (uint32_t i = counts->heads; i-- > 0;) {
		struct head_buffer *head = (struct head_buffer *)(w->heads + i * head_slot_bytes());

		head->next_free = w->head_free;
		w->head_free = head;
	}
}

/* What a policy draws must differ between workers and starts; nobody is harmed who guesses it. */
static void
seed_prng(struct worker *w)
{
	struct siphash_key key = siphash_key_make(w->config.id_key);

	prng_init(&w->prng, siphash_2_4(&key, "route", 5));
}

static void
open_sources(struct worker *w, struct sources_slot *slots)
{
	struct siphash_key key = siphash_key_make(w->config.id_key);

	/* Not the key of the ids itself. */
	key.k0 = siphash_2_4(&key, "sources", 7);
	sources_init(&w->sources, slots, sources_slots(w->config.counts.clients), &key);
}

/* Where its parts lie. */
static void
lay_out(struct worker *w, uint8_t *const place[WORKER_PARTS])
{
	w->clients = (struct client *)place[WORKER_PART_CLIENTS];
	w->exchanges = (struct exchange *)place[WORKER_PART_EXCHANGES];
	open_sources(w, (struct sources_slot *)place[WORKER_PART_SOURCES]);
	w->upstreams = (struct upstream *)place[WORKER_PART_UPSTREAMS];
	w->pod_idle = (struct upstream **)place[WORKER_PART_PODS];
	w->deployment_turn = (uint32_t *)place[WORKER_PART_DEPLOYMENTS];
	w->retry_of_model = (struct retry *)place[WORKER_PART_MODELS];
	w->retry_of_instance = (struct retry *)place[WORKER_PART_INSTANCES];
	w->account_blocks = (uint32_t *)place[WORKER_PART_ACCOUNTS];
	w->account_refusals = (struct settle_refusals *)place[WORKER_PART_REFUSALS];
	w->heads = place[WORKER_PART_HEADS];
	body_store_init(&w->bodies, place[WORKER_PART_BLOCKS], (uint32_t *)place[WORKER_PART_BLOCK_LINKS],
			w->config.counts.blocks);
	link_free_lists(w);
}

static void
note_capacity(struct worker *w)
{
	const struct shm_capacity *tables = &w->shm.header->capacity;

	w->pod_capacity = tables->count[SHM_PODS];
	w->deployment_capacity = tables->count[SHM_DEPLOYMENTS];
	w->model_capacity = tables->count[SHM_MODELS];
	w->instance_capacity = tables->count[SHM_INSTANCES];
	w->account_capacity = tables->count[SHM_ACCOUNTS];
}

struct worker *
worker_new(const struct worker_config *config, uint64_t now_ns)
{
	struct worker_part parts[WORKER_PARTS];
	uint64_t bytes = parts_of(config, parts);
	uint8_t *memory = aligned_alloc(CACHE_LINE_BYTES, bytes);
	uint8_t *place[WORKER_PARTS];
	uint64_t at = 0;
	struct worker *w;

	if (memory == NULL)
		return NULL;
	for (int i = 0; i < WORKER_PARTS; i++) {
		place[i] = memory + at;
		at += parts[i].bytes;
	}
	/* Head buffers and blocks are written before they are read: their pages stay untouched. */
	memset(memory, 0, (size_t)(place[WORKER_PART_HEADS] - memory));
	w = (struct worker *)place[WORKER_PART_WORKER];
	w->memory = memory;
	w->config = *config;
	w->now_ns = now_ns;
	w->tcp = config->tcp;
	w->tls = config->tls;
	w->spool = config->spool;
	w->tab = config->tab;
	w->shm = config->shm;
	w->shared = shm_worker(&config->shm, config->index);
	lay_out(w, place);
	note_capacity(w);
	seed_prng(w);
	timer_wheel_init(&w->timers, memory, now_ns);
	if (config->h2.bytes > 0) {
		w->h2 = h2_shared_new(&config->h2);
		if (w->h2 == NULL) {
			free(memory);
			return NULL;
		}
	}
	return w;
}

void
worker_free(struct worker *w)
{
	if (w == NULL)
		return;
	worker_disconnect(w);
	h2_shared_free(w->h2);
	free(w->memory);
}

void
worker_adopt(struct worker *w, const struct worker_config *settings)
{
	w->config.times = settings->times;
	w->config.limits = settings->limits;
	w->config.routing = settings->routing;
	memcpy(w->config.surfaces, settings->surfaces, sizeof(w->config.surfaces));
	w->config.proxy_bytes_max = settings->proxy_bytes_max;
	w->config.h2 = settings->h2;
	if (w->h2 != NULL)
		h2_shared_limit(w->h2, &settings->h2);
}

struct head_buffer *
worker_head_get(struct worker *w)
{
	struct head_buffer *head = w->head_free;

	if (head == NULL)
		return NULL;
	w->head_free = head->next_free;
	head->len = 0;
	w->heads_used++;
	return head;
}

void
worker_head_put(struct worker *w, struct head_buffer *head)
{
	if (head == NULL)
		return;
	head->next_free = w->head_free;
	w->head_free = head;
	w->heads_used--;
}

struct client *
worker_client_get(struct worker *w)
{
	struct client *c = LIST_MEMBER(w->clients_free.first, struct client, turn);

	if (c == NULL)
		return NULL;
	list_leave(&c->turn);
	memset(c, 0, sizeof(*c));
	w->clients_used++;
	return c;
}

void
worker_client_put(struct worker *w, struct client *c)
{
	CHECK(c->state == CLIENT_FREE);
	list_prepend(&w->clients_free, &c->turn);
	w->clients_used--;
}

bool
worker_owns_field(const struct worker *w, struct bytes name)
{
	for (int i = 0; i < SHM_SURFACE_COUNT; i++) {
		const struct worker_surface *surface = &w->config.surfaces[i];

		if (surface->enabled && nocase_starts_with(name, bytes_from_text(surface->header_prefix)))
			return true;
	}
	return false;
}

void
worker_request_id(struct worker *w, uint8_t id[16])
{
	struct siphash_key key = siphash_key_make(w->config.id_key);
	uint64_t word[2];

	for (uint64_t half = 0; half < 2; half++) {
		uint64_t input[2] = { w->next_request, half };

		word[half] = siphash_2_4(&key, input, sizeof(input));
	}
	w->next_request++;
	memcpy(id, word, sizeof(word));
}

enum err
worker_listen(struct worker *w)
{
	for (uint32_t i = 0; i < w->config.listener_count; i++) {
		const struct listener *listener = &w->config.listeners[i];
		enum err verdict = tcp_listen(w->tcp, &listener->address, listener->port, i);

		if (verdict != ERR_OK)
			return verdict;
	}
	return ERR_OK;
}

/* --- the end ------------------------------------------------------------------- */

void
worker_drain(struct worker *w)
{
	w->draining = true;
	for (uint32_t i = 0; i < w->config.listener_count; i++) {
		const struct listener *listener = &w->config.listeners[i];

		CHECK(tcp_unlisten(w->tcp, &listener->address, listener->port) == ERR_OK);
	}
	/* HTTP/1.1 says so with its next answer; HTTP/2 at once. */
	for (uint32_t i = 0; i < w->config.counts.clients; i++)
		if (w->clients[i].state == CLIENT_H2)
			client_make_ready(w, &w->clients[i]);
}

void
worker_cut(struct worker *w)
{
	for (uint32_t i = 0; i < w->config.counts.exchanges; i++)
		if (w->exchanges[i].state != EXCHANGE_FREE)
			exchange_stop(w, &w->exchanges[i]);
}

void
worker_disconnect(struct worker *w)
{
	for (uint32_t i = 0; i < w->config.counts.clients; i++)
		if (w->clients[i].state != CLIENT_FREE)
			client_abort(w, &w->clients[i]);
	for (uint32_t i = 0; i < w->config.counts.upstreams; i++)
		if (w->upstreams[i].state != UPSTREAM_FREE)
			upstream_abort(w, &w->upstreams[i]);
	inflow_end_turn(w);
}

/* --- the turn ------------------------------------------------------------------ */

static void
run_timers(struct worker *w)
{
	for (uint32_t i = 0; i < TIMERS_PER_TURN_MAX; i++) {
		struct timer *timer = timer_advance(&w->timers, w->now_ns);

		if (timer == NULL)
			return;
		switch ((enum worker_timer)timer->kind) {
		case TIMER_CLIENT:
			client_timer_expired(
				w, (struct client *)((uint8_t *)timer - offsetof(struct client, timer)));
			break;
		case TIMER_EXCHANGE:
			exchange_timer_expired(w, (struct exchange *)((uint8_t *)timer -
								      offsetof(struct exchange, timer)));
			break;
		case TIMER_UPSTREAM:
			upstream_timer_expired(w, (struct upstream *)((uint8_t *)timer -
								      offsetof(struct upstream, timer)));
			break;
		}
	}
}

static void
dispatch_event(struct worker *w, const struct tcp_event *event)
{
	uint32_t index = (uint32_t)event->user;

	if (event->bits & TCP_EVENT_ACCEPTED) {
		struct client *c = client_accepted(w, event->conn, event->listener_user);

		if (c != NULL)
			client_event(w, c, event);
		return;
	}
	if (event->user >> 32 == USER_CLIENT) {
		CHECK(index < w->config.counts.clients);
		client_event(w, &w->clients[index], event);
	} else {
		CHECK(event->user >> 32 == USER_UPSTREAM && index < w->config.counts.upstreams);
		upstream_event(w, &w->upstreams[index], event);
	}
}

static uint32_t
run_events(struct worker *w)
{
	struct tcp_event event;
	uint32_t count = 0;

	while (count < EVENTS_PER_TURN_MAX && tcp_event_next(w->tcp, &event)) {
		dispatch_event(w, &event);
		count++;
	}
	return count;
}

static struct client *
take_ready(const struct list *line)
{
	struct client *c = LIST_MEMBER(line->first, struct client, turn);

	if (c != NULL)
		client_leave_ready(c);
	return c;
}

/* Clients that stopped at their own bound in an earlier turn, oldest first. */
static uint32_t
run_ready(struct worker *w)
{
	struct list *line = &w->ready[READY_CLIENTS];
	uint32_t budget = line->count < READY_PER_TURN_MAX ? line->count : READY_PER_TURN_MAX;
	uint32_t ran = 0;
	struct client *c;

	while (ran < budget && (c = take_ready(line)) != NULL) {
		ran++;
		client_run(w, c);
	}
	return ran;
}

/* Whose handshake goes on; NULL: nobody's. */
static struct client *
take_handshake(struct worker *w)
{
	bool is_for_new = w->handshake_steps % HANDSHAKE_STEPS_PER_NEW == 0;
	struct list *first = &w->ready[is_for_new ? READY_NEW : READY_BEGUN];
	struct list *second = &w->ready[is_for_new ? READY_BEGUN : READY_NEW];
	struct client *c = take_ready(first);

	return c != NULL ? c : take_ready(second);
}

/* The next step; false: there is none. */
static bool
step_handshake(struct worker *w)
{
	struct client *c = take_handshake(w);

	if (c == NULL)
		return false;
	w->handshake_steps++;
	client_run(w, c);
	return true;
}

bool
worker_run_lanes(struct worker *w, struct tls_context *tls, uint64_t now_ns)
{
	uint32_t filled = tls_lanes_run(tls, now_ns);

	if (filled == 0)
		return false;
	worker_count(w, COUNTER_TLS_LANE_BATCHES);
	worker_count_by(w, COUNTER_TLS_LANES_FILLED, filled);
	return true;
}

static bool
run_lanes(struct worker *w, uint64_t now_ns)
{
	struct client *c;
	bool is_run;

	if (w->tls == NULL)
		return false;
	is_run = worker_run_lanes(w, w->tls, now_ns);
	while ((c = tls_lanes_done(w->tls)) != NULL)
		client_make_ready(w, c);
	return is_run;
}

static uint64_t
lanes_next_at(const struct tls_context *tls)
{
	return tls != NULL ? tls_lanes_next_at(tls) : UINT64_MAX;
}

bool
worker_shake(struct worker *w)
{
	uint64_t (*clock)(void) = w->config.clock;
	uint32_t most = clock != NULL ? HANDSHAKE_STEPS_PER_TURN_MAX : 1, steps = 0;
	uint64_t began_ns, now_ns;

	if (w->ready[READY_BEGUN].count == 0 && w->ready[READY_NEW].count == 0 &&
	    lanes_next_at(w->tls) > w->now_ns)
		return false;
	began_ns = now_ns = clock != NULL ? clock() : 0;
	while (steps < most && now_ns - began_ns < HANDSHAKE_TURN_NS &&
	       (run_lanes(w, w->now_ns + (now_ns - began_ns)) || step_handshake(w))) {
		steps++;
		now_ns = clock != NULL ? clock() : 0;
	}
	worker_count_by(w, COUNTER_HANDSHAKE_STEPS, steps);
	worker_count_by(w, COUNTER_HANDSHAKE_NS, now_ns - began_ns);
	inflow_end_turn(w);
	tcp_output_ready(w->tcp, w->now_ns);
	net_output(w->config.net, w->now_ns);
	return true;
}

bool
worker_turn(struct worker *w, uint64_t now_ns)
{
	uint32_t work;

	w->now_ns = now_ns;
	tcp_advance(w->tcp, now_ns);
	work = run_ready(w);
	work += run_events(w);
	work += secure_run(w);
	/* Behind what has come, so that a worker that got no turn for a while blames nobody for it. */
	run_timers(w);
	upstream_sweep(w);
	client_tls_sweep(w);
	inflow_end_turn(w);
	tcp_output_ready(w->tcp, now_ns);
	net_output(w->config.net, now_ns);
	worker_count(w, COUNTER_LOOPS);
	return work > 0;
}

uint64_t
worker_next_at(const struct worker *w)
{
	uint64_t timers_at_ns = timer_next_at(&w->timers);
	uint64_t tcp_at_ns = tcp_next_at(w->tcp);

	for (int i = 0; i < READY_LINES; i++)
		if (w->ready[i].count > 0)
			return w->now_ns;
	if (w->securing.count > 0 || client_tls_sweeps(w))
		return w->now_ns;
	if (lanes_next_at(w->tls) < timers_at_ns)
		timers_at_ns = lanes_next_at(w->tls);
	if (lanes_next_at(w->config.upstream_tls) < timers_at_ns)
		timers_at_ns = lanes_next_at(w->config.upstream_tls);
	if (net_next_at(w->config.net) < tcp_at_ns)
		tcp_at_ns = net_next_at(w->config.net);
	return timers_at_ns < tcp_at_ns ? timers_at_ns : tcp_at_ns;
}

static void
set_gauge(struct worker *w, enum counter counter, uint64_t value)
{
	w->counters[counter_at(counter)] = value;
}

static void
publish_tcp(struct worker *w, const struct tcp_stats *tcp)
{
	set_gauge(w, COUNTER_TCP_CONNECTIONS, tcp->conns);
	set_gauge(w, COUNTER_TCP_HALF_OPEN, tcp->half_open);
	set_gauge(w, COUNTER_TCP_TIME_WAIT, tcp->time_wait);
	set_gauge(w, COUNTER_TCP_RETRANSMITS, tcp->retransmits);
	set_gauge(w, COUNTER_TCP_PRESSURE, tcp->pressure);
	set_gauge(w, COUNTER_TCP_PRESSURE_RISES, tcp->pressure_rises);
	set_gauge(w, COUNTER_TCP_SHED, tcp->shed);
	set_gauge(w, COUNTER_TCP_RECEIVE_TRUESIZE, tcp->recv_truesize);
	set_gauge(w, COUNTER_TCP_ORPHANS, tcp->orphans);
	set_gauge(w, COUNTER_TCP_SEGMENTS_IN, tcp->segments_in);
	set_gauge(w, COUNTER_TCP_SEGMENTS_OUT, tcp->segments_out);
	set_gauge(w, COUNTER_TCP_RTOS, tcp->rtos);
	set_gauge(w, COUNTER_TCP_FAST_RETRANSMITS, tcp->fast_retransmits);
	set_gauge(w, COUNTER_TCP_UNDONE, tcp->undone);
	set_gauge(w, COUNTER_TCP_ECN_MARKS, tcp->ecn_marks);
	set_gauge(w, COUNTER_TCP_ECN_REDUCTIONS, tcp->ecn_reductions);
	set_gauge(w, COUNTER_TCP_BLACK_HOLES, tcp->black_holes);
	set_gauge(w, COUNTER_TCP_CHALLENGE_ACKS, tcp->challenge_acks);
	set_gauge(w, COUNTER_TCP_RESETS_OUT, tcp->resets_out);
	set_gauge(w, COUNTER_TCP_COOKIES_SENT, tcp->cookies_sent);
	set_gauge(w, COUNTER_TCP_COOKIES_ACCEPTED, tcp->cookies_accepted);
	set_gauge(w, COUNTER_TCP_RANGES, tcp->ranges);
	set_gauge(w, COUNTER_TCP_BLOCKS, tcp->blocks);
}

void
worker_publish_counters(struct worker *w)
{
	const struct tcp_stats *tcp = tcp_stats(w->tcp);
	const struct net *net = w->config.net;

	if (w->tls != NULL)
		tls_set_time(w->tls, (int64_t)(worker_unix_ns(w) / NSEC_PER_SEC));
	if (w->config.upstream_tls != NULL)
		tls_set_time(w->config.upstream_tls, (int64_t)(worker_unix_ns(w) / NSEC_PER_SEC));
	set_gauge(w, COUNTER_POOL_CLIENTS_USED, w->clients_used);
	set_gauge(w, COUNTER_POOL_EXCHANGES_USED, w->exchanges_used);
	set_gauge(w, COUNTER_POOL_UPSTREAMS_USED, w->upstreams_used);
	set_gauge(w, COUNTER_POOL_UPSTREAMS_IDLE, w->upstreams_idle.count);
	set_gauge(w, COUNTER_POOL_HEADS_USED, w->heads_used);
	set_gauge(w, COUNTER_POOL_BLOCKS_USED, w->bodies.used);
	if (w->h2 != NULL)
		set_gauge(w, COUNTER_POOL_H2_BYTES_USED, h2_shared_bytes_used(w->h2));
	publish_tcp(w, tcp);
	set_gauge(w, COUNTER_FRAMES_TO_KERNEL, net->frames_to_kernel);
	set_gauge(w, COUNTER_FRAMES_MISSTEERED, net->frames_missteered);
	set_gauge(w, COUNTER_FRAMES_IN, net->frames_in);
	set_gauge(w, COUNTER_FRAMES_OUT, net->frames_out);
	set_gauge(w, COUNTER_FRAMES_FORWARDED, net->frames_forwarded);
	for (unsigned int i = 0; i < ERR_COUNT + (unsigned int)COUNTER_COUNT; i++) {
		uint64_t value = w->counters[i] + (i < ERR_COUNT ? tcp->drops[i] + net->ip.drops[i] : 0);

		atomic_store_explicit(&w->shared->counters[i], value, memory_order_relaxed);
	}
	atomic_store_explicit(&w->shared->usage_written, w->spool->sequence, memory_order_relaxed);
	atomic_store_explicit(&w->shared->beat_at_ns, w->now_ns, memory_order_relaxed);
}
