/*
 * Memory pressure of the worker as a whole. More is promised to all peers together than there is memory, on
 * purpose; so what is used is looked at each millisecond, and the closer it comes to the end, the more is given
 * up, in the order in which it hurts least:
 *
 *   from   level
 *   75 %   TCP_PRESSURE_GROWTH   windows do not grow
 *   85 %   TCP_PRESSURE_EDGE     nor open: no right edge moves; what arrives beyond a hole is dropped
 *   92 %   TCP_PRESSURE_COOKIES  new connections live in cookies alone; received pieces are copied together,
 *                                also those queued already; what waits beyond holes is freed
 *   97 %   TCP_PRESSURE_SHED     connections that hold packets and go nowhere end, the youngest first
 *
 * They end as well if 97 % of the descriptors for queued pieces are taken, which readers who stop can do with
 * small pieces long before packets are short: nobody could send any more.
 *
 * Used is the fullest of the watched pools, without what the rings of ports always hold, or what received data
 * pins, whichever is nearer to its end. A level is left five percent below where it begins, or each packet would
 * change it. Connections are walked a part per millisecond, so that no loop turn takes longer for a million of
 * them. Those that hold no packet are never ended: that would free none.
 */
#include "tcp/internal.h"

#define LOOK_NS (1 * NSEC_PER_MSEC)
#define LOOK_WHEN_STEADY_NS (10 * NSEC_PER_MSEC) /* with nothing to walk for */
#define WALK_CONNS_MAX 256u                      /* looked at in one step */
#define LEAVE_PERCENT 5u
#define SHED_AFTER_NS (1 * NSEC_PER_SEC) /* without progress */

static const uint8_t enter_percent[TCP_PRESSURE_LEVELS] = {
	[TCP_PRESSURE_GROWTH] = 75,
	[TCP_PRESSURE_EDGE] = 85,
	[TCP_PRESSURE_COOKIES] = 92,
	[TCP_PRESSURE_SHED] = 97,
};

static uint32_t
percent_of(uint64_t used, uint64_t total)
{
	return total == 0 || used >= total ? 100 : (uint32_t)(used * 100 / total);
}

static uint32_t
pool_percent(const struct tcp_watched_pool *watched)
{
	struct pkt_pool_stats stats = pkt_pool_stats(watched->pool);
	uint32_t total = stats.total > watched->held ? stats.total - watched->held : 0;

	return percent_of(stats.free < total ? total - stats.free : 0, total);
}

static uint32_t
used_percent(const struct tcp *t)
{
	uint32_t most = 0;

	if (t->config.recv_truesize_max > 0)
		most = percent_of(t->stats.recv_truesize, t->config.recv_truesize_max);
	for (uint32_t i = 0; i < TCP_WATCHED_POOLS_MAX; i++) {
		uint32_t percent;

		if (t->config.watched_pools[i].pool == NULL)
			continue;
		percent = pool_percent(&t->config.watched_pools[i]);
		most = percent > most ? percent : most;
	}
	return most;
}

static bool
is_watching(const struct tcp *t)
{
	bool watching = t->config.recv_truesize_max > 0;

	for (uint32_t i = 0; i < TCP_WATCHED_POOLS_MAX; i++)
		watching = watching || t->config.watched_pools[i].pool != NULL;
	return watching;
}

static uint32_t
level_for(uint32_t level, uint32_t percent)
{
	while (level > TCP_PRESSURE_NONE && percent < enter_percent[level] - LEAVE_PERCENT)
		level--;
	while (level + 1 < TCP_PRESSURE_LEVELS && percent >= enter_percent[level + 1])
		level++;
	return level;
}

/* --- the walk ------------------------------------------------------------------------- */

/* Only where pools are watched: who watches none wants no connection ended. */
static bool
is_shedding(const struct tcp *t)
{
	return t->stats.pressure == TCP_PRESSURE_SHED ||
	       (t->config.watched_pools[0].pool != NULL &&
		percent_of(t->ranges.count - t->ranges.free, t->ranges.count) >= enter_percent[TCP_PRESSURE_SHED]);
}

/* Whether c's end would free packets, and nobody would miss it soon: neither has the peer acknowledged nor the
 * owner consumed anything for a while. */
static bool
is_stuck(const struct tcp_conn *c, uint64_t now_ns)
{
	if (c->state == TCP_CLOSED || (c->rcv_truesize == 0 && c->send_head_range == NULL))
		return false;
	return now_ns - c->progress_at_ns >= SHED_AFTER_NS &&
	       tcp_window_idle_ns(c, now_ns) >= SHED_AFTER_NS;
}

static bool
is_younger(const struct tcp_conn *a, const struct tcp_conn *b)
{
	return b == NULL || seq_gt(a->opened_ms, b->opened_ms);
}

static void
squeeze(struct tcp *t, struct tcp_conn *c)
{
	tcp_reass_free(t, c);
	tcp_reass_squeeze(t, c);
}

static void
walk(struct tcp *t, uint64_t now_ns)
{
	struct tcp_conn *youngest = NULL;
	uint32_t n = t->conns.count < WALK_CONNS_MAX ? t->conns.count : WALK_CONNS_MAX;

	for (; n > 0; n--) {
		struct tcp_conn *c = pool_at(&t->conns, t->walk_at);

		if (pool_is_lent(&t->conns, t->walk_at)) {
			if (t->stats.pressure >= TCP_PRESSURE_COOKIES)
				squeeze(t, c);
			else if (tcp_conn_is_synchronized(c) && tcp_window_update_due(t, c))
				tcp_conn_touch(t, c); /* its edge had to wait */
			if (is_shedding(t) && is_stuck(c, now_ns) &&
			    is_younger(c, youngest))
				youngest = c;
		}
		t->walk_at = t->walk_at + 1 < t->conns.count ? t->walk_at + 1 : 0;
		t->walk_left -= t->walk_left > 0;
	}
	if (youngest != NULL) {
		t->stats.shed++;
		tcp_conn_reset(t, youngest, ERR_TCP_SHED);
	}
}

static bool
is_walking(const struct tcp *t)
{
	return t->stats.pressure >= TCP_PRESSURE_COOKIES || t->walk_left > 0 || is_shedding(t);
}

/* --- each loop -------------------------------------------------------------------------- */

void
tcp_pressure_look(struct tcp *t, uint64_t now_ns)
{
	uint32_t before = t->stats.pressure;
	uint32_t level;

	/* What came since the last look may have been the last that comes: without a buffer nothing else does. */
	if (now_ns - t->looked_at_ns < LOOK_NS) {
		t->look_due = is_watching(t);
		return;
	}
	t->looked_at_ns = now_ns;
	t->look_due = false;
	level = level_for(before, used_percent(t));
	t->stats.pressure = level;
	if (level > before)
		t->stats.pressure_rises++;
	if (before >= TCP_PRESSURE_EDGE && level < TCP_PRESSURE_EDGE)
		t->walk_left = t->conns.count;
	if (is_walking(t))
		walk(t, now_ns);
}

uint64_t
tcp_pressure_next_at(const struct tcp *t)
{
	if (is_walking(t) || t->look_due)
		return t->looked_at_ns + LOOK_NS;
	return t->stats.pressure > TCP_PRESSURE_NONE ? t->looked_at_ns + LOOK_WHEN_STEADY_NS : NEVER_NS;
}
