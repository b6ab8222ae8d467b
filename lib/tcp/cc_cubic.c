/*
 * CUBIC's congestion avoidance (RFC 9438), in bytes and milliseconds. The window is a cubic function of the time
 * since the last loss: flat around the window in which that loss came, steep away from it; and at least what
 * Reno would have by now.
 */
#include "tcp/cc.h"
#include "tcp/internal.h"

/* C = 0.4 segments per cubed second; beta = 0.7; alpha = 3 (1 - beta) / (1 + beta) = 9/17. */
#define BETA_TENTHS 7u
#define ALPHA_OVER 9u
#define ALPHA_UNDER 17u

/* Epochs are looked at for so long; by then the window is as large as it gets. */
#define EPOCH_MS_MAX 100000u

static uint32_t
smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* The largest x with x^3 <= n. */
static uint32_t
cube_root(uint64_t n)
{
	uint64_t root = 0;

	for (uint64_t bit = UINT64_C(1) << 20; bit != 0; bit >>= 1) {
		uint64_t x = root | bit;

		if (x * x * x <= n)
			root = x;
	}
	return (uint32_t)root;
}

/* Section 4.2: K = cbrt((W_max - cwnd) / C), here with seconds^3 as 10^9 ms^3. */
static uint32_t
k_ms(uint32_t top, uint32_t cwnd, uint32_t mss)
{
	uint64_t gap = top > cwnd ? top - cwnd : 0;

	return smaller(cube_root(gap * UINT64_C(2500000000) / mss), EPOCH_MS_MAX);
}

/* Section 4.6, section 4.7 with fast convergence. */
static uint32_t
reduce(struct tcp_conn *c, uint32_t flight)
{
	/* What an application left unused says nothing about the path (section 5.8). */
	uint32_t used = c->flight->cwnd_limited ? c->cwnd : smaller(c->cwnd, flight);

	c->cwnd_top = used < c->cwnd_top ? (uint32_t)((uint64_t)used * (10 + BETA_TENTHS) / 20) : used;
	return (uint32_t)((uint64_t)used * BETA_TENTHS / 10);
}

static void
begin_epoch(struct tcp_conn *c, uint32_t now_ms)
{
	struct tcp_flight *f = c->flight;

	f->in_epoch = true;
	f->epoch_ms = now_ms;
	f->origin = c->cwnd < c->cwnd_top ? c->cwnd_top : c->cwnd;
	f->k_ms = k_ms(f->origin, c->cwnd, c->mss);
	f->estimate = c->cwnd;
	f->carry = 0;
	f->estimate_carry = 0;
}

/* W_cubic(t), section 4.2. */
static uint32_t
window_at(const struct tcp_conn *c, uint32_t t_ms)
{
	const struct tcp_flight *f = c->flight;
	bool before = t_ms < f->k_ms;
	uint64_t d = before ? f->k_ms - t_ms : t_ms - f->k_ms;
	uint64_t bytes = d * d * d / 2500 * c->mss / 1000000;

	if (before)
		return bytes < f->origin ? f->origin - (uint32_t)bytes : 0;
	return bytes < TCP_CWND_MAX - f->origin ? f->origin + (uint32_t)bytes : TCP_CWND_MAX;
}

/* Section 4.3. */
static void
estimate_reno(struct tcp_conn *c, uint32_t bytes)
{
	struct tcp_flight *f = c->flight;
	uint64_t gain = (uint64_t)bytes * c->mss;

	if (f->estimate < c->cwnd_top)
		gain = gain * ALPHA_OVER / ALPHA_UNDER;
	f->estimate_carry += gain;
	f->estimate = smaller(f->estimate + (uint32_t)(f->estimate_carry / c->cwnd), TCP_CWND_MAX);
	f->estimate_carry %= c->cwnd;
}

static void
avoid(struct tcp_conn *c, uint32_t bytes, uint64_t now_ns)
{
	struct tcp_flight *f = c->flight;
	uint32_t now_ms = (uint32_t)(now_ns / NSEC_PER_MSEC);
	uint32_t target;
	uint32_t t_ms;

	if (!f->in_epoch)
		begin_epoch(c, now_ms);
	estimate_reno(c, bytes);
	t_ms = smaller(now_ms - f->epoch_ms, EPOCH_MS_MAX);
	if (window_at(c, t_ms) < f->estimate) {
		if (f->estimate > c->cwnd)
			c->cwnd = f->estimate;
		return;
	}
	/* Sections 4.4 and 4.5: in a round trip to where the curve will be by then, but no more than half as
	 * much again. */
	target = smaller(window_at(c, t_ms + c->srtt_us / 1000), c->cwnd + c->cwnd / 2);
	if (target <= c->cwnd)
		return;
	f->carry += (uint64_t)(target - c->cwnd) * bytes;
	tcp_cc_grow(c, (uint32_t)(f->carry / c->cwnd));
	f->carry %= c->cwnd;
}

const struct tcp_cc tcp_cc_cubic = { reduce, avoid };
