/* The poll loop. Someone who reads lcore_run() knows what a core does and in what order. */
#include "dataplane/lcore.h"

#include "dataplane/client_tls.h"
#include "dataplane/clock.h"
#include "dataplane/secure.h"

#define PUBLISH_EVERY_NS (2 * NSEC_PER_MSEC)
/* With idle = "sleep": turns without work before the first sleep, and how long one may be. Frames that arrive
 * meanwhile wait in the ring, so the sleep is a bound on added latency. An empty turn takes some 0.1 us; four
 * times as many were a sixth of what a connection costs (tools/bench tls-veth). */
#define SLEEP_AFTER_TURNS 64
#define SLEEP_NS_MAX (100 * NSEC_PER_USEC)

#define KERNEL_FRAMES_PER_TURN 32

/* One load in most turns. */
static void
look_at_settings(struct lcore *l)
{
	const struct lcore_settings *newest = atomic_load_explicit(&l->settings, memory_order_acquire);
	struct tls_keys *keys;

	if (newest == atomic_load_explicit(&l->settings_taken, memory_order_relaxed))
		return;
	worker_adopt(l->worker, &newest->worker);
	keys = atomic_exchange_explicit(&l->keys, NULL, memory_order_acquire);
	if (keys != NULL)
		client_tls_adopt_keys(l->worker, keys);
	keys = atomic_exchange_explicit(&l->upstream_keys, NULL, memory_order_acquire);
	if (keys != NULL)
		secure_believe(l->worker, keys);
	l->may_sleep = newest->may_sleep;
	atomic_store_explicit(&l->settings_taken, newest, memory_order_release);
}

static void
look_at_tickets(struct lcore *l)
{
	const struct ticket_secrets *newest = atomic_load_explicit(&l->tickets, memory_order_acquire);

	if (newest == atomic_load_explicit(&l->tickets_taken, memory_order_relaxed))
		return;
	tls_set_tickets(l->worker->tls, newest);
	atomic_store_explicit(&l->tickets_taken, newest, memory_order_release);
}

static uint32_t
receive(struct lcore *l, uint64_t now_ns)
{
	struct pkt *frames[PORT_BURST];
	uint32_t total = 0;

	for (uint32_t p = 0; p < l->port_count; p++) {
		uint32_t count = port_receive(&l->ports[p], l->queue, frames);

		net_receive_burst(&l->net, frames, count, now_ns);
		total += count;
	}
	return total + net_receive_forwarded(&l->net, now_ns);
}

/* What the kernel sends by a shared port, at most KERNEL_FRAMES_PER_TURN of each. */
static uint32_t
transmit_for_kernel(struct lcore *l)
{
	uint32_t total = 0;

	for (uint32_t p = 0; p < l->port_count; p++) {
		struct pkt *frame;

		for (uint32_t n = 0; l->taps[p] != NULL && n < KERNEL_FRAMES_PER_TURN &&
				     (frame = ring_get(l->taps[p]->from_kernel)) != NULL;
		     n++) {
			port_transmit(&l->ports[p], l->queue, frame, &l->pools);
			total++;
		}
	}
	return total;
}

static uint32_t
transmit(struct lcore *l)
{
	struct pkt *frame;
	uint32_t total = transmit_for_kernel(l);

	while ((frame = net_transmit_next(&l->net)) != NULL) {
		port_transmit(&l->ports[pkt_meta(frame)->port], l->queue, frame, &l->pools);
		total++;
	}
	for (uint32_t p = 0; p < l->port_count; p++)
		port_flush(&l->ports[p], l->queue, &l->pools);
	return total;
}

static void
publish_kernel(struct lcore *l)
{
	struct worker *w = l->worker;
	uint64_t frames = 0, over_rate = 0, refused = 0;

	for (uint32_t p = 0; p < l->port_count; p++) {
		if (l->taps[p] == NULL)
			continue;
		frames += atomic_load_explicit(&l->taps[p]->frames_in, memory_order_relaxed);
		over_rate += atomic_load_explicit(&l->taps[p]->over_rate, memory_order_relaxed);
		refused += atomic_load_explicit(&l->taps[p]->refused, memory_order_relaxed);
	}
	w->counters[counter_at(COUNTER_FRAMES_FROM_KERNEL)] = frames;
	w->counters[ERR_EXCEPTION_RATE] = over_rate;
	w->counters[ERR_EXCEPTION_REFUSED] = refused;
}

static void
publish(struct lcore *l)
{
	struct worker *w = l->worker;
	uint64_t send_drops = 0;

	for (uint32_t p = 0; p < l->port_count; p++)
		send_drops += port_send_drops(&l->ports[p], l->queue);
	w->counters[counter_at(COUNTER_POOL_PACKETS_USED)] = pools_used(&l->pools);
	w->counters[counter_at(COUNTER_PORT_SEND_DROPS)] = send_drops;
	publish_kernel(l);
	worker_publish_counters(w);
	atomic_store_explicit(&l->in_flight, w->exchanges_used, memory_order_relaxed);
}

static void
look_at_clock(struct lcore *l)
{
	l->worker->config.unix_minus_monotonic_ns =
		atomic_load_explicit(&l->unix_minus_monotonic_ns, memory_order_relaxed);
}

/* The steps of the way to the end, each once. */
static void
look_at_end(struct lcore *l)
{
	if (!l->worker->draining && atomic_load_explicit(&l->drain, memory_order_relaxed))
		worker_drain(l->worker);
	if (!l->was_cut && atomic_load_explicit(&l->cut, memory_order_relaxed)) {
		worker_cut(l->worker);
		l->was_cut = true;
	}
}

/* Behind another switch, or another router, others must hear of us again. */
static void
look_at_links(struct lcore *l, uint64_t now_ns)
{
	for (uint32_t p = 0; p < l->port_count; p++) {
		uint32_t times = atomic_load_explicit(&l->links_up[p], memory_order_relaxed);

		if (times == l->links_seen[p])
			continue;
		l->links_seen[p] = times;
		ip_link_up(&l->net.ip, (uint8_t)p, now_ns);
	}
}

static void
rest(const struct lcore *l, uint64_t now_ns)
{
	uint64_t next_at_ns = worker_next_at(l->worker);
	struct timespec pause = { 0, SLEEP_NS_MAX };

	if (next_at_ns <= now_ns)
		return;
	if (next_at_ns - now_ns < SLEEP_NS_MAX)
		pause.tv_nsec = (long)(next_at_ns - now_ns);
	clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
}

/* Busy time is that of turns that found work: the rest is the price of polling. */
static void
account(struct lcore *l, bool found_work, uint64_t spent_ns)
{
	_Atomic uint64_t *sum = found_work ? &l->worker->shared->busy_cycles :
					     &l->worker->shared->idle_cycles;

	atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + spent_ns,
			      memory_order_relaxed);
}

int
lcore_run(void *argument)
{
	struct lcore *l = argument;
	uint64_t publish_at_ns = 0;
	uint64_t before_ns = clock_ns();
	uint32_t idle_turns = 0;

	while (!atomic_load_explicit(&l->stop, memory_order_relaxed)) {
		uint64_t now_ns = clock_ns();
		uint32_t work;

		look_at_settings(l);
		work = receive(l, now_ns);
		work += worker_turn(l->worker, now_ns);
		work += transmit(l);
		if (worker_shake(l->worker))
			work += 1 + transmit(l);
		if (now_ns >= publish_at_ns) {
			look_at_links(l, now_ns);
			look_at_tickets(l);
			look_at_clock(l);
			look_at_end(l);
			publish(l);
			publish_at_ns = now_ns + PUBLISH_EVERY_NS;
		}
		account(l, work > 0, now_ns - before_ns);
		before_ns = now_ns;
		idle_turns = work > 0 ? 0 : idle_turns + 1;
		if (l->may_sleep && idle_turns > SLEEP_AFTER_TURNS)
			rest(l, now_ns);
	}
	worker_disconnect(l->worker);
	worker_turn(l->worker, clock_ns());
	transmit(l);
	publish(l);
	return 0;
}
