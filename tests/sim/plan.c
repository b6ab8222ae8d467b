/* Swarm testing (Groce et al.): a seed enables a random subset of the faults, because all of them
 * at once hide what only a few of them would find. */
#include "sim.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/units.h"

#define PPM UINT32_C(1000000)

static bool
one_in(struct prng *r, uint32_t n)
{
	return prng_below(r, n) == 0;
}

static uint64_t
between(struct prng *r, uint64_t low, uint64_t high)
{
	return low + prng_next(r) % (high - low + 1);
}

/* Every order of magnitude is as likely as any other. */
static uint64_t
log_between(struct prng *r, uint64_t low, uint64_t high)
{
	uint32_t orders = 0;
	uint64_t limit;

	while (low >> orders < high >> orders)
		orders++;
	limit = (low + 1) << prng_below(r, orders + 1);
	return between(r, low, limit < high ? limit : high);
}

static void
repair_checksum(uint8_t *frame, uint32_t len, const struct pkt_meta *meta)
{
	segment_checksum_repair(frame, len, &meta->src, &meta->dst);
}

static void
plan_link(struct plan *plan, struct prng *r, struct link_faults *f, uint32_t which)
{
	f->delay_ns = log_between(r, 0, 200 * NSEC_PER_MSEC);
	if ((which & 1 << 0) != 0)
		f->jitter_ns = log_between(r, 0, 50 * NSEC_PER_MSEC);
	if ((which & 1 << 1) != 0)
		f->loss_ppm = (uint32_t)log_between(r, 1000, PPM / 8);
	if ((which & 1 << 2) != 0) {
		f->burst_enter_ppm = (uint32_t)between(r, 1000, PPM / 50);
		f->burst_leave_ppm = (uint32_t)between(r, PPM / 10, PPM / 2);
		f->burst_loss_ppm = (uint32_t)between(r, PPM / 2, PPM);
	}
	if ((which & 1 << 3) != 0) {
		f->reorder_ppm = (uint32_t)log_between(r, PPM / 1000, PPM / 2);
		f->reorder_ns = log_between(r, NSEC_PER_USEC, 300 * NSEC_PER_MSEC);
	}
	if ((which & 1 << 4) != 0) {
		f->duplicate_ppm = (uint32_t)log_between(r, PPM / 1000, PPM / 3);
		f->reorder_ns = log_between(r, NSEC_PER_USEC, 300 * NSEC_PER_MSEC);
	}
	if ((which & 1 << 5) != 0)
		f->corrupt_ppm = (uint32_t)log_between(r, PPM / 1000, PPM / 20);
	if ((which & 1 << 6) != 0) {
		f->rate_bytes_per_s = between(r, 20 * KIB, 10 * MIB);
		f->queue_bytes_max = (uint32_t)log_between(r, 4 * KIB, 128 * KIB);
	}
	if ((which & 1 << 7) != 0) {
		f->blackout_from_ns = between(r, 0, 5 * NSEC_PER_SEC);
		f->blackout_until_ns = f->blackout_from_ns +
				       log_between(r, NSEC_PER_MSEC, 12 * NSEC_PER_SEC);
	}
	if ((which & 1 << 8) != 0)
		f->hold_ns = log_between(r, NSEC_PER_USEC, 2 * NSEC_PER_SEC);
	if ((which & 1 << 9) != 0) {
		f->split_ppm = (uint32_t)between(r, PPM / 100, PPM);
		f->split_min_bytes = 60;
	}
	if ((which & 1 << 10) != 0)
		f->mark_ppm = (uint32_t)log_between(r, PPM / 100, PPM);
	f->checks_csum = (which & 1 << 11) != 0;
	if ((which & 1 << 12) != 0) /* without the IP header; what every path must carry, and a bit more */
		f->mtu_bytes = (uint32_t)(plan->is_v6 ? between(r, 1280 - 40, 1500 - 40) :
							between(r, 596 - 20, 1500 - 20));
	if ((which & 1 << 13) != 0 && f->rate_bytes_per_s > 0)
		f->mark_above_bytes = f->queue_bytes_max / 4;
	if (plan->is_hostile) {
		f->corrupt_ppm = (uint32_t)log_between(r, PPM / 1000, PPM / 5);
		f->repair_ppm = (uint32_t)between(r, PPM / 2, PPM);
		f->repair = repair_checksum;
	}
}

static void
plan_end(struct prng *r, struct end_plan *e, uint64_t bytes_max)
{
	*e = (struct end_plan){
		.manner = one_in(r, 3) ? END_POLITE_LAST : END_POLITE,
		.total_bytes = one_in(r, 8) ? 0 : log_between(r, 1, bytes_max),
		.write_bytes_max = (uint32_t)log_between(r, 64, 16 * KIB),
		.piece_bytes_max = one_in(r, 2) ? 0 : (uint32_t)log_between(r, 16, 1500),
		.read_bytes_max = (uint32_t)log_between(r, 256, 64 * KIB),
		.notify_below_bytes = one_in(r, 2) ? (uint32_t)log_between(r, 1, 16 * KIB) : 0,
		.consumes_late = one_in(r, 4),
		.says_more = one_in(r, 2),
	};
	/* Many tiny writes cost steps, not insight. */
	if (e->total_bytes / e->write_bytes_max > 500)
		e->write_bytes_max = (uint32_t)(e->total_bytes / 500);
	if (e->piece_bytes_max > 0 && e->write_bytes_max / e->piece_bytes_max > 8)
		e->piece_bytes_max = e->write_bytes_max / 8;
	if (one_in(r, 3)) {
		e->pause_ppm = (uint32_t)log_between(r, PPM / 100, PPM / 2);
		e->pause_ns_max = log_between(r, NSEC_PER_MSEC, 2 * NSEC_PER_SEC);
	}
	if (one_in(r, 12)) {
		e->manner = END_RUDE;
	} else if (one_in(r, 12)) {
		e->manner = END_ABORTS;
		e->abort_after_ns = log_between(r, 1, 3 * NSEC_PER_SEC);
	}
}

static void
plan_pairs(struct plan *plan, struct prng *r)
{
	bool is_storm = one_in(r, 8);
	uint64_t bytes_max = is_storm ? 2 * KIB : one_in(r, 4) ? 500 * KIB : 96 * KIB;
	bool reuses_ports = one_in(r, 10);

	plan->pairs = (uint32_t)(is_storm ? between(r, 10, SIM_PAIRS_MAX) : between(r, 1, 5));
	for (uint32_t i = 0; i < plan->pairs; i++) {
		struct pair_plan *p = &plan->pair[i];

		p->client_host = prng_below(r, plan->hosts);
		p->server_host = (p->client_host + 1 + prng_below(r, plan->hosts - 1)) %
				 plan->hosts;
		p->start_ns = is_storm && !one_in(r, 4) ? 0 : log_between(r, 1, 4 * NSEC_PER_SEC);
		p->simultaneous = one_in(r, 16);
		if (p->simultaneous)
			p->client_port = (uint16_t)(2000 + i);
		else if (reuses_ports)
			p->client_port = (uint16_t)(5000 + prng_below(r, 3));
		plan_end(r, &p->end[0], bytes_max);
		plan_end(r, &p->end[1], bytes_max);
		if (one_in(r, 6)) {
			p->end[0].talk_bytes = (uint32_t)log_between(r, 64, 8 * KIB);
			p->end[1].talk_bytes = p->end[0].talk_bytes;
		}
		if (one_in(r, 6)) {
			struct end_plan *e = &p->end[prng_below(r, 2)];

			e->nap_at_bytes = prng_next(r) % (e->total_bytes + 1);
			e->nap_until_ns = log_between(r, NSEC_PER_SEC, 100 * NSEC_PER_SEC);
		}
		/* Two that wait for each other's end would wait for ever. */
		if (p->end[0].manner == END_POLITE_LAST && p->end[1].manner == END_POLITE_LAST)
			p->end[prng_below(r, 2)].manner = END_POLITE;
		if (reuses_ports || p->simultaneous)
			plan->may_fail = true;
	}
}

static void
plan_host(struct plan *plan, struct prng *r, uint32_t host)
{
	static const uint16_t sizes[] = { 1460, 1460, 1440, 1220, 536, 216, 8900 };
	struct tcp_config *c = &plan->config[host];
	struct stack_pools *pools = &plan->pools[host];

	*c = stack_config();
	c->conns_max = 2 * SIM_PAIRS_MAX;
	c->half_open_max = 2 * SIM_PAIRS_MAX;
	c->time_wait_max = 4 * SIM_PAIRS_MAX;
	c->ranges_max = 8192;
	c->mss_v4 = sizes[prng_below(r, COUNT_OF(sizes))];
	c->mss_v6 = sizes[prng_below(r, COUNT_OF(sizes))];
	c->recv_bytes_max = (uint32_t)log_between(r, 4 * KIB, 512 * KIB);
	c->send_bytes_max = (uint32_t)log_between(r, 2 * KIB, 256 * KIB);
	c->window_shift = (uint8_t)prng_below(r, 15);
	while (c->recv_bytes_max >> c->window_shift > 0xffff)
		c->window_shift++;
	while (c->recv_bytes_max >> c->window_shift == 0)
		c->window_shift--;
	c->seed = prng_next(r);
	for (size_t i = 0; i < sizeof(c->hash_key); i++)
		c->hash_key[i] = (uint8_t)prng_next(r);
	for (size_t i = 0; i < sizeof(c->cookie_key); i++)
		c->cookie_key[i] = (uint8_t)prng_next(r);
	if (one_in(r, 2))
		c->isn_offset = (uint32_t)prng_next(r);
	c->checksum_offload = one_in(r, 3);
	if (one_in(r, 3)) {
		c->tso_bytes_max = (uint32_t)log_between(r, 3000, 65535 - 120);
		c->tso_pieces_max = (uint16_t)between(r, 1, 40);
	}
	/* Whether the patience of a minute is enough is luck; without faults it must be. */
	if (one_in(r, 6))
		plan->may_fail = true;
	else
		c->user_timeout_ns = 600 * NSEC_PER_SEC;
	if (one_in(r, 8)) {
		c->keepalive_ns = between(r, 1, 20) * NSEC_PER_SEC;
		plan->may_fail = true;
	}
	if (one_in(r, 8)) { /* cookies must carry the handshakes */
		c->half_open_max = 1 + prng_below(r, 3);
		plan->may_fail = true;
	}
	if (one_in(r, 12)) {
		c->conns_max = 1 + prng_below(r, 4);
		plan->may_fail = true;
	}
	if (one_in(r, 12))
		c->time_wait_max = 1 + prng_below(r, 3);
	if (one_in(r, 12))
		c->ranges_max = 32 + prng_below(r, 200);
	*pools = (struct stack_pools){ 2048, 4096, 2048, 1024 };
	if (one_in(r, 8)) {
		pools->headers = (uint32_t)between(r, 48, 400);
		pools->bare = (uint32_t)between(r, 48, 400);
	}
	/* Without a watch, runs beyond a hole may pin all of it, and then the hole is never filled; with one,
	 * idle connections are given up. */
	if (one_in(r, 8)) {
		pools->receive = (uint32_t)between(r, 100, 600);
		plan->may_fail = true;
	}
	if (one_in(r, 8)) {
		plan->is_watched[host] = true;
		plan->may_fail = true;
	}
	if (one_in(r, 8))
		pools->payload = (uint32_t)between(r, 16, 200);
}

/* A connection whose numbers pass 2^32 while it carries data (world.c finds the keys and the moment). */
static void
plan_wrap(struct plan *plan, struct prng *r)
{
	struct pair_plan *p = &plan->pair[0];
	uint32_t side = prng_below(r, 2);

	plan->wrap = side == 0 ? WRAP_CLIENT : WRAP_SERVER;
	p->start_ns = 0;
	p->simultaneous = false;
	p->client_port = 4000;
	p->end[side].manner = END_POLITE;
	p->end[side].total_bytes = between(r, 20 * KIB, 120 * KIB);
	p->end[side].write_bytes_max = (uint32_t)between(r, 500, 8 * KIB);
	p->end[side].piece_bytes_max = 0;
	plan->stall_ppm = 0;
}

/* A clock that starts shortly before something in it wraps: milliseconds, microseconds or ISN steps in 32 bits,
 * their signs, PAWS' 24 days, the levels of the timer wheel. */
static uint64_t
clock_near_wrap(struct prng *r)
{
	static const uint64_t wraps[] = {
		(UINT64_C(1) << 32) * NSEC_PER_MSEC,
		(UINT64_C(1) << 31) * NSEC_PER_MSEC,
		(UINT64_C(1) << 32) * NSEC_PER_USEC,
		(UINT64_C(1) << 31) * NSEC_PER_USEC,
		(UINT64_C(1) << 32) * 4 * NSEC_PER_USEC,
		24 * 86400 * NSEC_PER_SEC,
		(UINT64_C(1) << 18) * NSEC_PER_MSEC, /* 64^3 ticks, 64^4, 64^5 */
		(UINT64_C(1) << 24) * NSEC_PER_MSEC,
		(UINT64_C(1) << 30) * NSEC_PER_MSEC,
		(UINT64_C(1) << 36) * NSEC_PER_MSEC,
	};
	uint64_t times = one_in(r, 2) ? 1 : between(r, 1, 9);

	return wraps[prng_below(r, COUNT_OF(wraps))] * times - log_between(r, 1, 30 * NSEC_PER_SEC);
}

/* Links, hosts' moods, pairs. */
static void
plan_weather(struct plan *plan, struct prng *r)
{
	uint32_t which[2];

	plan->faults_end_ns = between(r, 5, 30) * NSEC_PER_SEC;
	/* One of ten: no faults at all. The others: each fault with one half or one quarter. */
	which[0] = (uint32_t)prng_next(r) & (one_in(r, 2) ? (uint32_t)prng_next(r) : ~0u);
	which[1] = one_in(r, 2) ? which[0] : (uint32_t)prng_next(r) & (uint32_t)prng_next(r);
	if (one_in(r, 10))
		which[0] = which[1] = 0;
	for (uint32_t i = 0; i < plan->hosts; i++)
		for (uint32_t j = 0; j < plan->hosts; j++)
			plan_link(plan, r, &plan->faults[i][j], which[i < j]);
	plan->receive_burst_max = (uint32_t)log_between(r, 1, 64);
	plan->transmit_burst_max = one_in(r, 4) ? (uint32_t)log_between(r, 1, 64) : 4096;
	if (one_in(r, 5)) {
		plan->stall_ppm = (uint32_t)log_between(r, 1000, PPM / 50);
		plan->stall_ns_max = log_between(r, NSEC_PER_MSEC, 3 * NSEC_PER_SEC);
	}
	if (one_in(r, 5)) {
		plan->drought_ppm = (uint32_t)log_between(r, 1000, PPM / 20);
		plan->drought_ns_max = log_between(r, NSEC_PER_USEC, NSEC_PER_SEC);
	}
	if (one_in(r, 5))
		plan->fail_ppm = (uint32_t)log_between(r, 1000, PPM / 4);
	if (one_in(r, 8))
		plan->icmp_ppm = (uint32_t)log_between(r, 1000, PPM / 20);
	if (one_in(r, 6))
		plan->ring_slots = (uint32_t)log_between(r, 2, 512);
	plan->has_bursts = one_in(r, 2);
	if (one_in(r, 6))
		plan->wrong_core_ppm = (uint32_t)log_between(r, PPM / 1000, PPM);
	plan->report_ppm = one_in(r, 3) ? 0 : (uint32_t)between(r, PPM / 3, PPM);
	plan_pairs(plan, r);
}

void
plan_make(struct plan *plan, uint64_t seed)
{
	struct prng prng;
	struct prng *r = &prng;

	memset(plan, 0, sizeof(*plan));
	prng_init(r, seed);
	plan->seed = seed;
	plan->hosts = one_in(r, 5) ? 3 : 2;
	plan->is_v6 = one_in(r, 3);
	plan->is_hostile = one_in(r, 10);
	plan->may_fail = plan->is_hostile;
	/* Somewhere in the first 50 days, so that the clocks of ISN and timestamps wrap in some. */
	plan->start_ns = between(r, NSEC_PER_SEC, 50 * 86400 * NSEC_PER_SEC);
	if (one_in(r, 3))
		plan->start_ns = clock_near_wrap(r);
	for (uint32_t i = 0; i < plan->hosts; i++)
		plan_host(plan, r, i);
	plan_weather(plan, r);
	if (one_in(r, 5))
		plan_wrap(plan, r);
	for (uint32_t i = 0; i < plan->hosts; i++)
		plan->config[i].ecn_connect = one_in(r, 2);
	for (uint32_t i = 0; i < 2 * plan->pairs; i++)
		plan->pair[i / 2].end[i % 2].holds = one_in(r, 4);
}

void
plan_again(struct plan *plan, uint64_t seed)
{
	struct plan before = *plan;
	struct prng prng;

	memset(plan, 0, sizeof(*plan));
	prng_init(&prng, seed);
	plan->seed = before.seed;
	plan->hosts = before.hosts;
	plan->is_v6 = before.is_v6;
	plan->is_hostile = one_in(&prng, 10);
	/* Tiny tables stay tiny. */
	plan->may_fail = true;
	memcpy(plan->config, before.config, sizeof(plan->config));
	memcpy(plan->pools, before.pools, sizeof(plan->pools));
	plan_weather(plan, &prng);
}

static void
print_link(const struct link_faults *f)
{
	printf("    delay %.1f ms, jitter %.1f ms, loss %u, burst %u/%u/%u, reorder %u up to %.1f ms, "
	       "duplicate %u, corrupt %u (repaired %u), rate %" PRIu64 " B/s queue %u, blackout %.3f s, "
	       "hold %.1f ms, mark %u or above %u, split %u, mtu %u\n",
	       (double)f->delay_ns / 1e6, (double)f->jitter_ns / 1e6, f->loss_ppm,
	       f->burst_enter_ppm, f->burst_leave_ppm, f->burst_loss_ppm, f->reorder_ppm,
	       (double)f->reorder_ns / 1e6, f->duplicate_ppm, f->corrupt_ppm, f->repair_ppm,
	       f->rate_bytes_per_s, f->queue_bytes_max,
	       (double)(f->blackout_until_ns - f->blackout_from_ns) / 1e9,
	       (double)f->hold_ns / 1e6, f->mark_ppm, f->mark_above_bytes, f->split_ppm, f->mtu_bytes);
}

static void
print_end(const char *name, const struct end_plan *e)
{
	static const char *const manners[] = { "polite", "polite last", "rude", "aborts" };

	printf("    %s: %s, %" PRIu64 " bytes by <= %u in pieces of <= %u, reads <= %u, pauses %u up to "
	       "%.1f ms, notify below %u, talks by %u, naps behind %" PRIu64 " until %.3f s%s%s%s\n",
	       name, manners[e->manner], e->total_bytes, e->write_bytes_max, e->piece_bytes_max,
	       e->read_bytes_max, e->pause_ppm, (double)e->pause_ns_max / 1e6,
	       e->notify_below_bytes, e->talk_bytes, e->nap_at_bytes, (double)e->nap_until_ns / 1e9,
	       e->consumes_late ? ", consumes late" : "",
	       e->says_more ? ", says more" : "", e->holds ? ", holds" : "");
}

void
plan_print(const struct plan *plan)
{
	static const char *const wraps[] = { "", ", client's numbers wrap", ", server's numbers wrap" };

	printf("seed %" PRIu64 ": %u hosts, %s%s%s%s, clock starts at %.3f s, faults end after %.0f s\n",
	       plan->seed, plan->hosts, plan->is_v6 ? "IPv6" : "IPv4",
	       wraps[plan->wrap], plan->is_hostile ? ", hostile" : "", plan->may_fail ? ", may fail" : "",
	       (double)plan->start_ns / 1e9, (double)plan->faults_end_ns / 1e9);
	printf("  bursts: receive <= %u, transmit <= %u; stalls %u up to %.1f ms; droughts %u up to %.1f "
	       "ms; failures %u; icmp %u; reports %u; ring %u; wrong core %u%s\n",
	       plan->receive_burst_max, plan->transmit_burst_max, plan->stall_ppm,
	       (double)plan->stall_ns_max / 1e6, plan->drought_ppm,
	       (double)plan->drought_ns_max / 1e6, plan->fail_ppm, plan->icmp_ppm, plan->report_ppm,
	       plan->ring_slots, plan->wrong_core_ppm, plan->has_bursts ? "; bursts" : "");
	for (uint32_t i = 0; i < plan->hosts; i++) {
		const struct tcp_config *c = &plan->config[i];

		printf("  host %u: conns %u, half open %u, time wait %u, ranges %u, mss %u/%u, recv %u, "
		       "send %u, shift %u, pools %u/%u/%u%s/%u, tso %u in %u%s%s\n",
		       i, c->conns_max, c->half_open_max, c->time_wait_max, c->ranges_max,
		       c->mss_v4, c->mss_v6, c->recv_bytes_max, c->send_bytes_max, c->window_shift,
		       plan->pools[i].headers, plan->pools[i].bare, plan->pools[i].receive,
		       plan->is_watched[i] ? " watched" : "", plan->pools[i].payload, c->tso_bytes_max,
		       c->tso_pieces_max, c->checksum_offload ? ", checksums" : "",
		       c->ecn_connect ? ", ECN" : "");
		for (uint32_t j = 0; j < plan->hosts; j++)
			if (j != i) {
				printf("   link %u to %u:\n", i, j);
				print_link(&plan->faults[i][j]);
			}
	}
	for (uint32_t i = 0; i < plan->pairs; i++) {
		const struct pair_plan *p = &plan->pair[i];

		printf("  pair %u: host %u to host %u at %.6f s%s, port %u\n", i, p->client_host,
		       p->server_host, (double)p->start_ns / 1e9,
		       p->simultaneous ? ", simultaneous" : "", p->client_port);
		print_end("client", &p->end[0]);
		print_end("server", &p->end[1]);
	}
}
