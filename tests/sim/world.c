/* The loop of each host is the worker's: receive a burst, timers, applications, output, transmit.
 * A turn takes TURN_NS, so time always moves. */
#include "sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"

#define TURN_NS (2 * NSEC_PER_USEC)
#define EVENT_ROUNDS_MAX 4
/* Far more than the largest seed needs; an engine that wakes itself up for ever gets there. */
#define TURNS_MAX UINT64_C(1500000)
/* After the faults: the longest backoff is 60 s, a few of them may follow each other. */
#define CALM_NS_MAX (400 * NSEC_PER_SEC)
/* After the applications: TIME-WAIT, orphans and half-open entries run out. A forged timestamp makes an
 * end deaf (PAWS), then only its user timeout helps. */
#define QUIET_NS_MAX (300 * NSEC_PER_SEC)
#define QUIET_HOSTILE_NS_MAX (1000 * NSEC_PER_SEC)

void
sim_fail(const struct world *w, const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "seed %" PRIu64 ", %.6f s after the beginning: ", w->plan.seed,
		(double)(w->now_ns - w->start_ns) / 1e9);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n");
	exit(1);
}

static uint64_t
earlier(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns < b_ns ? a_ns : b_ns;
}

static void
trace(struct world *w, const struct pkt *p, uint32_t from, uint32_t to, const char *arrow)
{
	uint8_t flat[SEGMENT_BYTES_MAX];
	char text[400];
	struct segment s;

	if (!w->is_verbose)
		return;
	if (!segment_parse_pkt(p, flat, &s))
		return;
	segment_format(&s, 0, 0, text, sizeof(text));
	printf("%12.6f %u.%u %s %u.%u %s\n", (double)(w->now_ns - w->start_ns) / 1e9, from,
	       s.src_port, arrow, to, s.dst_port, text);
}

/* --- opening and closing ------------------------------------------------------------- */

static struct ip_addr
address_of(const struct plan *plan, uint32_t host)
{
	struct ip_addr v4 = { { [10] = 0xff, [11] = 0xff, [12] = 10, [15] = (uint8_t)(host + 1) } };
	struct ip_addr v6 = { { 0xfd, [15] = (uint8_t)(host + 1) } };

	return plan->is_v6 ? v6 : v4;
}

/* Moves one end's numbers so that the first pair's begin a little below 2^32 and pass it. */
static void
aim_at_wrap(struct world *w)
{
	const struct pair_plan *p = &w->plan.pair[0];
	struct tcp *client = w->host[p->client_host].stack.tcp;
	struct tcp *server = w->host[p->server_host].stack.tcp;
	const struct tcp_config *c = &w->plan.config[p->client_host];
	uint16_t mss = w->plan.is_v6 ? c->mss_v6 : c->mss_v4;
	struct tcp_tuple t = { w->host[p->client_host].address, w->host[p->server_host].address,
			       p->client_port, sim_port_of(p->server_host) };
	struct tcp_tuple seen = { t.remote, t.local, t.remote_port, t.local_port };
	uint32_t goal = 0u - 1 - prng_below(&w->prng, 20000);
	uint32_t isn = tcp_isn_make(client, &t, w->now_ns);

	if (w->plan.wrap == WRAP_CLIENT)
		client->config.isn_offset += goal - isn;
	else if (w->plan.wrap == WRAP_SERVER)
		server->config.isn_offset += goal - tcp_cookie_make(server, &seen, isn, mss, w->now_ns);
}

/* The faults of a plan, as of now. */
static struct link_faults
faults_of(const struct world *w, uint32_t from, uint32_t to)
{
	struct link_faults f = w->plan.faults[from][to];

	f.blackout_from_ns += w->start_ns;
	f.blackout_until_ns += w->start_ns;
	return f;
}

static struct link *
link_open(struct world *w, uint32_t from, uint32_t to)
{
	struct link_faults f = faults_of(w, from, to);

	return link_new(&f, w->host[to].stack.receive_pool, prng_next(&w->prng));
}

void
world_go_on(struct world *w)
{
	w->start_ns = w->now_ns;
	w->is_calm = false;
	memset(w->pair, 0, sizeof(w->pair));
	for (uint32_t i = 0; i < w->hosts; i++) {
		w->host[i].budget = (struct budget){ 0 };
		for (uint32_t j = 0; j < w->hosts; j++) {
			struct link_faults f = faults_of(w, i, j);

			link_set_faults(w->link[i][j], &f);
		}
	}
	app_begin(w);
}

void
world_open(struct world *w)
{
	const struct plan *plan = &w->plan;

	w->hosts = plan->hosts;
	w->start_ns = plan->start_ns;
	w->now_ns = plan->start_ns;
	prng_init(&w->prng, plan->seed ^ UINT64_C(0x736c75696365));
	for (uint32_t i = 0; i < w->hosts; i++) {
		struct host *h = &w->host[i];
		struct tcp_config config;

		h->index = i;
		h->address = address_of(plan, i);
		h->turn_at_ns = NEVER_NS;
		config = plan->config[i];
		if (plan->is_watched[i])
			config.watched_pools[0].pool = &h->stack.pools[2]; /* what arrives */
		pkt_pool_init(&h->card_pool, SIM_CARD_PACKETS);
		stack_open(&h->stack, &config, &plan->pools[i], w->now_ns);
		CHECK(tcp_listen(h->stack.tcp, &h->address, sim_port_of(i), i + 100) == ERR_OK);
	}
	aim_at_wrap(w);
	for (uint32_t i = 0; i < w->hosts; i++)
		for (uint32_t j = 0; j < w->hosts; j++)
			w->link[i][j] = link_open(w, i, j);
	app_begin(w);
}

void
world_close(struct world *w)
{
	for (uint32_t i = 0; i < w->hosts; i++)
		for (uint32_t j = 0; j < w->hosts; j++)
			link_free(w->link[i][j]);
	for (uint32_t i = 0; i < w->hosts; i++)
		stack_close(&w->host[i].stack);
}

/* --- droughts -------------------------------------------------------------------------- */

static bool
happens(struct world *w, uint32_t ppm)
{
	return ppm > 0 && !w->is_calm && prng_below(&w->prng, 1000000) < ppm;
}

static void
drought_begin(struct world *w, struct host *h)
{
	struct pkt_pool *const pools[] = { h->stack.header_pool, h->stack.bare_pool,
					   h->stack.receive_pool, h->stack.payload_pool };
	struct pkt_pool *pool = pools[prng_below(&w->prng, COUNT_OF(pools))];
	/* Often a few are left, so that what needs two packets gets one of them. */
	uint32_t leave = prng_below(&w->prng, 4);
	uint32_t n = pkt_pool_stats(pool).free;

	if (n <= leave)
		return;
	for (n -= leave; n > 0; n--) {
		struct pkt *p = pkt_alloc(pool);

		if (p == NULL) /* this one was to fail */
			continue;
		pkt_meta(p)->queue_next = h->stolen;
		h->stolen = p;
	}
	h->drought_until_ns = w->now_ns + prng_next(&w->prng) % (w->plan.drought_ns_max + 1);
}

static void
drought_end(struct host *h)
{
	while (h->stolen != NULL) {
		struct pkt *p = h->stolen;

		h->stolen = pkt_meta(p)->queue_next;
		pkt_free(p);
	}
}

/* The n-th packet from now on is not to be had, for every small n sooner or later. */
static void
allocation_fails(struct world *w, struct host *h)
{
	h->stack.pools[prng_below(&w->prng, 3)].fail_in = 1 + prng_below(&w->prng, 12);
}

/* --- one turn of one host ------------------------------------------------------------ */

/* Up to a budget of what has arrived; some of it was steered to another worker and comes by its ring, a turn
 * later. */
static void
receive(struct world *w, struct host *h)
{
	uint32_t budget = 1 + prng_below(&w->prng, w->plan.receive_burst_max);
	uint32_t first = prng_below(&w->prng, w->hosts);
	struct pkt *burst[TCP_INPUT_BURST_MAX];
	struct pkt_queue ring = h->forwarded;
	uint32_t count = 0;
	struct pkt *p;

	CHECK(budget <= TCP_INPUT_BURST_MAX);
	h->forwarded = (struct pkt_queue){ 0 };
	for (uint32_t i = 0; i < w->hosts; i++) {
		uint32_t from = (first + i) % w->hosts;

		while (count < budget && (p = link_receive(w->link[from][h->index], w->now_ns)) != NULL) {
			trace(w, p, from, h->index, "->");
			oracle_arrived(w, p);
			if (happens(w, w->plan.wrong_core_ppm))
				pkt_queue_put(&h->forwarded, p);
			else
				burst[count++] = p;
		}
	}
	if (h->forwarded.head != NULL)
		h->turn_at_ns = w->now_ns;
	while ((p = pkt_queue_get(&ring)) != NULL)
		watch_input(w, h, p);
	if (w->plan.has_bursts) {
		watch_burst(w, h, burst, count);
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		watch_input(w, h, burst[i]);
}

/* A router on the way complains about something that we sent, or somebody pretends that. */
static void
complain(struct world *w, struct host *h)
{
	const struct pair *p = &w->pair[prng_below(&w->prng, w->plan.pairs)];
	struct tcp_tuple t = p->tuple;
	uint32_t side = p->end[0].host == h->index ? 0 : 1;
	uint32_t seq = (uint32_t)prng_next(&w->prng);

	if (!p->is_started || p->end[side].host != h->index)
		return;
	if (side == 1) {
		t = (struct tcp_tuple){ p->tuple.remote, p->tuple.local, p->tuple.remote_port,
					p->tuple.local_port };
	}
	if (prng_below(&w->prng, 2) == 0)
		seq = p->flow[side].end - 1;
	tcp_icmp(h->stack.tcp, &t, seq, false,
		 prng_below(&w->prng, 2) == 0 ? 0 : 500 + prng_below(&w->prng, 1500), w->now_ns);
}

static bool
run_events(struct world *w, struct host *h)
{
	struct tcp_event event;
	bool any = false;

	while (tcp_event_next(h->stack.tcp, &event)) {
		app_event(w, h, &event);
		any = true;
	}
	return any;
}

/* The driver takes nothing more until it has given something back. */
static bool
ring_is_full(const struct world *w, const struct host *h)
{
	uint32_t held = 0;

	if (w->plan.ring_slots == 0)
		return false;
	for (uint32_t to = 0; to < w->hosts; to++) {
		link_release(w->link[h->index][to], w->now_ns);
		held += link_held(w->link[h->index][to]);
	}
	return held >= w->plan.ring_slots;
}

/* When a ring that was full has room for what waits: at once if its driver has given something back meanwhile. */
static uint64_t
ring_next_at(const struct world *w, const struct host *h)
{
	uint64_t at_ns = NEVER_NS;

	if (h->stack.tcp->transmit.count == 0 || w->plan.ring_slots == 0)
		return NEVER_NS;
	if (!ring_is_full(w, h))
		return w->now_ns;
	for (uint32_t to = 0; to < w->hosts; to++)
		at_ns = earlier(at_ns, link_release_at(w->link[h->index][to]));
	return at_ns;
}

/* One segment onto the wire. */
static void
put(struct world *w, struct host *h, struct pkt *p)
{
	uint32_t to = 0;

	while (to < w->hosts && memcmp(&w->host[to].address, &pkt_meta(p)->dst, 16) != 0)
		to++;
	if (to == w->hosts && !w->plan.is_hostile)
		sim_fail(w, "host %u sends to an address that nobody has", h->index);
	trace(w, p, h->index, to, "--");
	oracle_sent(w, h, p);
	watch_sent(w, h, p);
	w->segments++;
	if (to == w->hosts) {
		pkt_free(p);
		return;
	}
	pkt_ref(p);
	if (!link_send(w->link[h->index][to], p, w->now_ns))
		router_too_long(w, h, to, p);
	pkt_free(p);
}

static void
transmit(struct world *w, struct host *h)
{
	struct pkt *p;

	for (uint32_t n = 0; n < w->plan.transmit_burst_max; n++) {
		struct pkt_queue segments = { 0 };
		struct pkt *segment;

		if (ring_is_full(w, h))
			return;
		p = tcp_transmit_next(h->stack.tcp);
		if (p == NULL)
			return;
		if (!card_is_needed(p)) {
			put(w, h, p);
			continue;
		}
		card_finish(w, h, p, &segments);
		while ((segment = pkt_queue_get(&segments)) != NULL)
			put(w, h, segment);
		/* On any link: they hold alike. */
		link_hold(w->link[h->index][h->index], p, w->now_ns);
	}
	h->turn_at_ns = w->now_ns;
}

static void
turn(struct world *w, struct host *h)
{
	h->turn_at_ns = NEVER_NS;
	h->stalled_until_ns = w->now_ns + TURN_NS;
	h->turns++;
	if (happens(w, w->plan.stall_ppm)) {
		h->stalled_until_ns = w->now_ns + 1 + prng_next(&w->prng) % w->plan.stall_ns_max;
		return;
	}
	if (h->stolen != NULL && (w->is_calm || w->now_ns >= h->drought_until_ns))
		drought_end(h);
	else if (h->stolen == NULL && happens(w, w->plan.drought_ppm))
		drought_begin(w, h);
	if (happens(w, w->plan.fail_ppm))
		allocation_fails(w, h);
	receive(w, h);
	if (happens(w, w->plan.icmp_ppm))
		complain(w, h);
	router_deliver(w, h);
	watch_timers(w, h);
	tcp_advance(h->stack.tcp, w->now_ns);
	for (int i = 0; i < EVENT_ROUNDS_MAX; i++) {
		bool any = run_events(w, h);

		app_run(w, h);
		if (!any)
			break;
	}
	watch_output(w, h);
	if (run_events(w, h))
		h->turn_at_ns = w->now_ns;
	transmit(w, h);
	tcp_check(h->stack.tcp);
	watch_turn(w, h);
}

static uint64_t
host_next_at(const struct world *w, const struct host *h)
{
	uint64_t at_ns = earlier(h->turn_at_ns, tcp_next_at(h->stack.tcp));

	at_ns = earlier(at_ns, app_next_at(w, h));
	at_ns = earlier(at_ns, router_next_at(h));
	at_ns = earlier(at_ns, ring_next_at(w, h));
	if (h->stolen != NULL)
		at_ns = earlier(at_ns, h->drought_until_ns);
	for (uint32_t from = 0; from < w->hosts; from++)
		at_ns = earlier(at_ns, link_next_at(w->link[from][h->index]));
	return at_ns < h->stalled_until_ns ? h->stalled_until_ns : at_ns;
}

/* --- the end ---------------------------------------------------------------------------- */

static void
calm_down(struct world *w)
{
	static const struct link_faults clean = { .delay_ns = 5 * NSEC_PER_MSEC };

	w->is_calm = true;
	for (uint32_t i = 0; i < w->hosts; i++) {
		w->host[i].turn_at_ns = w->now_ns;
		for (uint32_t j = 0; j < w->hosts; j++)
			link_set_faults(w->link[i][j], &clean);
	}
}

static bool
is_quiet(const struct world *w)
{
	for (uint32_t i = 0; i < w->hosts; i++) {
		const struct tcp_stats *s = tcp_stats(w->host[i].stack.tcp);

		if (s->conns > 0 || s->half_open > 0 || s->time_wait > 0)
			return false;
		/* A lazy timer may still be there; it must go off in the end. */
		if (tcp_next_at(w->host[i].stack.tcp) != NEVER_NS ||
		    w->host[i].turn_at_ns != NEVER_NS)
			return false;
		for (uint32_t j = 0; j < w->hosts; j++)
			if (link_next_at(w->link[i][j]) != NEVER_NS)
				return false;
	}
	return true;
}

static double
seconds_until(const struct world *w, uint64_t at_ns)
{
	return at_ns == NEVER_NS ? 1e9 : ((double)at_ns - (double)w->now_ns) / 1e9;
}

static void
print_hosts(const struct world *w)
{
	for (uint32_t i = 0; i < w->hosts; i++) {
		const struct tcp_stats *s = tcp_stats(w->host[i].stack.tcp);

		fprintf(stderr,
			"  host %u: %" PRIu64 " turns, %u conns, %u half open, %u time wait, %u ranges\n",
			i, w->host[i].turns, s->conns, s->half_open, s->time_wait, s->ranges);
		fprintf(stderr, "    next: turn %.6f, tcp %.6f, application %.6f, all %.6f s from now\n",
			seconds_until(w, w->host[i].turn_at_ns),
			seconds_until(w, tcp_next_at(w->host[i].stack.tcp)),
			seconds_until(w, app_next_at(w, &w->host[i])),
			seconds_until(w, host_next_at(w, &w->host[i])));
	}
	for (uint32_t i = 0; i < w->plan.pairs; i++)
		for (uint32_t side = 0; side < 2; side++) {
			const struct end *e = &w->pair[i].end[side];

			if (e->is_open)
				fprintf(stderr,
					"  pair %u %s: sent %" PRIu64 " of %" PRIu64 ", received %" PRIu64
					" of %" PRIu64 "%s%s%s\n",
					i, side == 0 ? "client" : "server", e->sent_bytes,
					e->plan->total_bytes, e->received_bytes,
					w->pair[i].end[1 - side].plan->total_bytes,
					e->is_settled ? "" : ", not settled",
					e->has_eof ? ", eof" : "", e->has_shut ? ", shut" : "");
		}
}

/* Everything is over: nothing may be left anywhere. */
static void
judge(struct world *w)
{
	app_judge(w);
	for (uint32_t i = 0; i < w->hosts; i++) {
		struct host *h = &w->host[i];

		drought_end(h);
		if (tcp_stats(h->stack.tcp)->ranges > 0)
			sim_fail(w, "host %u: %u ranges are left", i,
				 tcp_stats(h->stack.tcp)->ranges);
		if (!stack_pools_are_full(&h->stack))
			sim_fail(w, "host %u: packets are missing from a pool", i);
	}
}

uint64_t
world_step(struct world *w)
{
	uint64_t next_ns = NEVER_NS;

	for (uint32_t i = 0; i < w->hosts; i++)
		next_ns = earlier(next_ns, host_next_at(w, &w->host[i]));
	if (!w->is_calm)
		next_ns = earlier(next_ns, w->start_ns + w->plan.faults_end_ns);
	if (next_ns == NEVER_NS)
		return NEVER_NS;
	if (next_ns > w->now_ns)
		w->now_ns = next_ns;
	if (!w->is_calm && w->now_ns >= w->start_ns + w->plan.faults_end_ns)
		calm_down(w);
	for (uint32_t i = 0; i < w->hosts; i++)
		if (host_next_at(w, &w->host[i]) <= w->now_ns)
			turn(w, &w->host[i]);
	return next_ns;
}

/* What an engine has to send or to send again must have a timer. */
static bool
owes_something(const struct world *w)
{
	for (uint32_t i = 0; i < w->hosts; i++) {
		const struct tcp *t = w->host[i].stack.tcp;

		for (uint32_t k = 0; k < t->conns.count; k++) {
			const struct tcp_conn *c;

			if (!pool_is_lent(&t->conns, k))
				continue;
			c = pool_at(&t->conns, k);
			if (c->send_head_range != NULL || c->snd_una != c->snd_max)
				return true;
		}
	}
	return false;
}

/* Nothing is armed anywhere. That is legal for a client that was accepted as far as it knows, waits
 * for the server to speak, and the server has given up: without keep-alive it never learns. And a forged
 * byte in the place of a FIN makes both wait for each other. */
static bool
is_stuck_resolved(struct world *w)
{
	if (app_abort_forgotten(w, w->plan.may_fail) > 0)
		return true;
	if (!w->plan.is_hostile || app_is_done(w) || owes_something(w))
		return false;
	app_abort_all(w);
	return true;
}

void
world_live(struct world *w)
{
	uint64_t done_at_ns = NEVER_NS;
	uint64_t turns = 0;

	while (!(done_at_ns != NEVER_NS && is_quiet(w))) {
		uint64_t calm_until_ns = w->start_ns + w->plan.faults_end_ns + CALM_NS_MAX;
		uint64_t quiet_ns = w->plan.is_hostile ? QUIET_HOSTILE_NS_MAX : QUIET_NS_MAX;

		if (world_step(w) == NEVER_NS && !is_stuck_resolved(w))
			break;
		if (done_at_ns == NEVER_NS && w->is_calm && app_is_done(w))
			done_at_ns = w->now_ns;
		if (done_at_ns == NEVER_NS && w->now_ns > calm_until_ns) {
			if (!w->plan.may_fail) {
				print_hosts(w);
				sim_fail(w, "the faults are over and it does not finish");
			}
			app_abort_all(w);
		}
		if (++turns > TURNS_MAX) {
			print_hosts(w);
			sim_fail(w, "too many turns");
		}
		if (done_at_ns != NEVER_NS && w->now_ns > done_at_ns + quiet_ns) {
			print_hosts(w);
			sim_fail(w, "the applications are done and it does not come to rest");
		}
	}
	if (!app_is_done(w)) {
		print_hosts(w);
		sim_fail(w, "everything waits and nothing is armed");
	}
	judge(w);
	w->turns += turns;
}

void
world_run(uint64_t seed, bool is_verbose)
{
	static struct world world;
	struct world *w = &world;

	memset(w, 0, sizeof(*w));
	plan_make(&w->plan, seed);
	w->is_verbose = is_verbose;
	if (is_verbose)
		plan_print(&w->plan);
	world_open(w);
	world_live(w);
	world_close(w);
	if (is_verbose)
		printf("%" PRIu64 " segments, %" PRIu64 " turns, %.3f s\n", w->segments, w->turns,
		       (double)(w->now_ns - w->start_ns) / 1e9);
}
