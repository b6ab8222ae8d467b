/*
 * Memory pressure of the worker as a whole. More is promised to all peers together than there is memory, on
 * purpose; so what is used is looked at each millisecond, and the closer it comes to the end, the more is given
 * up, in the order in which it hurts least:
 *
 *   from   level
 *   75 %   TCP_PRESSURE_GROWTH   windows do not grow
 *   85 %   TCP_PRESSURE_EDGE     nor open, but for two segments of who holds less; what arrives beyond a hole is
 *                                dropped
 *   92 %   TCP_PRESSURE_COOKIES  new connections live in cookies alone; received pieces are copied together,
 *                                also those queued already; what waits beyond holes is freed
 *   97 %   TCP_PRESSURE_SHED     no right edge moves; connections that hold packets and go nowhere end, who did
 *                                so the longest first
 *
 * They end as well if 97 % of the descriptors for queued pieces are taken, which readers who stop can do with
 * small pieces long before packets are short: nobody could send any more.
 *
 * Used is the fullest of the watched pools, without what the rings of ports always hold, or what received data
 * pins, whichever is nearer to its end. A level is left five percent below where it begins, or each packet would
 * change it. Connections are walked a part per millisecond, so that no loop turn takes longer for a million of
 * them, nor for few that hold all packets. Those that hold no packet are never ended: that would free none.
 *
 * Going nowhere is to move nothing for a second. But who wants to keep memory acknowledges a byte now and then; so
 * it is also to move too little: neither 4 KiB in two seconds, nor all that was held when the walk came by first.
 */
#include "tcp/internal.h"

#define LOOK_NS (1 * NSEC_PER_MSEC)
#define LOOK_WHEN_STEADY_NS (10 * NSEC_PER_MSEC) /* with nothing to walk for */
#define WALK_CONNS_MAX 256u                      /* looked at in one step */
#define WALK_PKTS_MAX 4096u                      /* of all of them, to copy or to free */
#define LEAVE_PERCENT 5u
#define STUCK_MS 1000u /* without progress */
#define SLOW_MS 2000u  /* with less progress than this */
#define SLOW_BYTES 4096u

static const uint8_t enter_percent[TCP_PRESSURE_LEVELS] = {
	[TCP_PRESSURE_GROWTH] = 75,
	[TCP_PRESSURE_EDGE] = 85,
	[TCP_PRESSURE_COOKIES] = 92,
	[TCP_PRESSURE_SHED] = 97,
};

static uint32_t
smaller(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint64_t
smaller_ns(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

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

static bool
holds_packets(const struct tcp_conn *c)
{
	return c->state != TCP_CLOSED && (c->rcv_truesize > 0 || c->send_head_range != NULL);
}

/* What was acknowledged and consumed so far. */
static uint32_t
moved(const struct tcp_conn *c)
{
	return c->snd_una + c->rcv_nxt - c->rcv_unconsumed;
}

/* A look at c begins to wait when what it waited for has come, or is not what an earlier look can have left: there
 * may have been no pressure for days. What was held then and still is, is old however long nobody looked. */
static void
watch(struct tcp_conn *c, uint32_t now_ms)
{
	uint32_t missing = c->slow_end - moved(c);

	if (missing > 0 && missing <= SLOW_BYTES)
		return;
	c->slow_since_ms = now_ms;
	c->slow_end = moved(c) + smaller(SLOW_BYTES, c->snd_end - c->snd_una + c->rcv_unconsumed);
}

/* For how long c, just watched, has held packets and gone nowhere; 0: it goes somewhere, or its end frees none. */
static uint32_t
stuck_ms(const struct tcp_conn *c, uint64_t now_ns)
{
	uint64_t idle_ns = smaller_ns(now_ns - c->progress_at_ns, tcp_window_idle_ns(c, now_ns));
	uint32_t idle_ms = (uint32_t)(idle_ns / NSEC_PER_MSEC);
	uint32_t slow_ms = (uint32_t)(now_ns / NSEC_PER_MSEC) - c->slow_since_ms;

	if (!holds_packets(c))
		return 0;
	if (slow_ms >= SLOW_MS)
		return slow_ms > idle_ms ? slow_ms : idle_ms;
	return idle_ms >= STUCK_MS ? idle_ms : 0;
}

/* False: there is more to do for c, and *steps are used up. */
static bool
squeeze(struct tcp *t, struct tcp_conn *c, uint32_t *steps)
{
	uint32_t freed = c->rcv_truesize;

	tcp_reass_free(t, c);
	freed = (freed - c->rcv_truesize) / PKT_ROOM_BYTES;
	*steps -= smaller(*steps, freed);
	tcp_reass_squeeze(t, c, steps);
	return *steps > 0;
}

static void
walk(struct tcp *t, uint64_t now_ns)
{
	struct tcp_conn *worst = NULL;
	uint32_t worst_ms = 0;
	uint32_t steps = WALK_PKTS_MAX;
	uint32_t n = smaller(t->conns.count, WALK_CONNS_MAX);

	for (; n > 0; n--) {
		struct tcp_conn *c = pool_at(&t->conns, t->walk_at);

		if (pool_is_lent(&t->conns, t->walk_at)) {
			uint32_t ms;

			if (t->stats.pressure >= TCP_PRESSURE_COOKIES && !squeeze(t, c, &steps))
				break; /* the next step begins with it */
			if (tcp_conn_is_synchronized(c) && tcp_window_update_due(t, c))
				tcp_conn_touch(t, c); /* its edge had to wait */
			watch(c, (uint32_t)(now_ns / NSEC_PER_MSEC));
			ms = is_shedding(t) ? stuck_ms(c, now_ns) : 0;
			if (ms > worst_ms) {
				worst = c;
				worst_ms = ms;
			}
		}
		t->walk_at = t->walk_at + 1 < t->conns.count ? t->walk_at + 1 : 0;
		t->walk_left -= t->walk_left > 0;
	}
	if (worst != NULL) {
		t->stats.shed++;
		tcp_conn_reset(t, worst, ERR_TCP_SHED);
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
	if (before >= TCP_PRESSURE_EDGE && level < before)
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
