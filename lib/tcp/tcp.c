/* The stack as a whole: sizes, start and end, the loop's calls. */
#include "tcp/cc.h"
#include "tcp/internal.h"

#define DEFAULT_USER_TIMEOUT_NS (30 * NSEC_PER_SEC)
#define DEFAULT_DELAYED_ACK_NS (25 * NSEC_PER_MSEC)
#define DEFAULT_TIME_WAIT_NS (60 * NSEC_PER_SEC)
#define DEFAULT_FIN_WAIT_NS (60 * NSEC_PER_SEC)
#define DEFAULT_RTO_MIN_NS (200 * NSEC_PER_MSEC)
#define ORPHANS_MIN 64
#define DEFAULT_KEEPALIVE_STEP_NS (15 * NSEC_PER_SEC)
#define DEFAULT_KEEPALIVE_PROBES 4
#define DEFAULT_RECV_BYTES_ACCEPTED (64 * KIB)
#define DEFAULT_RECV_BYTES_CONNECTED (256 * KIB)
#define DEFAULT_PORT_MIN 16384
#define DEFAULT_PORT_MAX 65535
#define DEFAULT_SYN_ACKS 5
#define DEFAULT_PATH_MTU_MIN_V4 552
/* The smallest floor of ICMP's word for a path MTU, as segment size (RFC 8200). */
#define MSS_FLOOR_V6 (1280u - 60u)

CHECK_STATIC(offsetof(struct tcp, output_list) > 0, "place 0 is no link's");

#define RANGE_BYTES \
	(sizeof(struct tcp_run) > sizeof(struct tcp_range) ? sizeof(struct tcp_run) : \
							      sizeof(struct tcp_range))

static size_t
round_up(size_t n)
{
	return (n + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
}

static struct tcp_part
part_of_array(const char *name, uint32_t count, uint32_t each_bytes)
{
	return (struct tcp_part){ name, count, each_bytes, round_up((size_t)count * each_bytes) };
}

static struct tcp_part
part_of_pool(const char *name, uint32_t count, uint32_t object_bytes)
{
	return (struct tcp_part){ name, count, object_bytes, pool_bytes(count, object_bytes) };
}

static uint32_t
refs_max(const struct tcp_config *config)
{
	return config->conns_max + config->half_open_max + config->time_wait_max;
}

/* A connection with something in flight has a range, at the least, until that is acknowledged. */
static uint32_t
blocks_max(const struct tcp_config *config)
{
	uint32_t flights = config->conns_max < config->ranges_max ? config->conns_max : config->ranges_max;

	if (config->blocks_max != 0)
		return config->blocks_max;
	return 2 * flights + config->ranges_max / TCP_CHUNK_SENT + 2;
}

/* Each part's place is behind those before it. */
size_t
tcp_parts(const struct tcp_config *config, struct tcp_part parts[TCP_PARTS])
{
	size_t sum = 0;

	parts[TCP_PART_ENGINE] = part_of_array("engine", 1, sizeof(struct tcp));
	parts[TCP_PART_TABLE] = part_of_array("table", tcp_table_buckets(refs_max(config)),
					      sizeof(struct tcp_bucket));
	parts[TCP_PART_CONNS] = part_of_pool("connections", config->conns_max, sizeof(struct tcp_conn));
	parts[TCP_PART_HALF_OPEN] = part_of_pool("half-open", config->half_open_max,
						 sizeof(struct tcp_half_open));
	parts[TCP_PART_TIME_WAIT] = part_of_pool("TIME-WAIT", config->time_wait_max,
						 sizeof(struct tcp_time_wait));
	parts[TCP_PART_RANGES] = part_of_pool("ranges", config->ranges_max, RANGE_BYTES);
	parts[TCP_PART_BLOCKS] = part_of_pool("in flight", blocks_max(config), TCP_BLOCK_BYTES);
	for (uint32_t i = 0; i < TCP_PARTS; i++)
		sum += parts[i].bytes;
	return sum;
}

size_t
tcp_bytes(const struct tcp_config *config)
{
	struct tcp_part parts[TCP_PARTS];

	return tcp_parts(config, parts);
}

static void
set_policy_defaults(const struct tcp_config *config, struct tcp_policy *policy, bool connected)
{
	if (policy->recv_bytes_max == 0)
		policy->recv_bytes_max = config->recv_bytes_max;
	if (policy->recv_bytes_start == 0)
		policy->recv_bytes_start = connected ? DEFAULT_RECV_BYTES_CONNECTED :
						       DEFAULT_RECV_BYTES_ACCEPTED;
	if (policy->recv_bytes_start > policy->recv_bytes_max)
		policy->recv_bytes_start = policy->recv_bytes_max;
	if (policy->user_timeout_ns == 0)
		policy->user_timeout_ns = config->user_timeout_ns;
	if (policy->keepalive_ns == 0)
		policy->keepalive_ns = config->keepalive_ns;
	if (policy->keepalive_step_ns == 0)
		policy->keepalive_step_ns = DEFAULT_KEEPALIVE_STEP_NS;
	if (policy->keepalive_probes == 0)
		policy->keepalive_probes = DEFAULT_KEEPALIVE_PROBES;
}

static void
set_defaults(struct tcp_config *config)
{
	if (config->user_timeout_ns == 0)
		config->user_timeout_ns = DEFAULT_USER_TIMEOUT_NS;
	if (config->delayed_ack_ns == 0)
		config->delayed_ack_ns = DEFAULT_DELAYED_ACK_NS;
	if (config->time_wait_ns == 0)
		config->time_wait_ns = DEFAULT_TIME_WAIT_NS;
	if (config->fin_wait_ns == 0)
		config->fin_wait_ns = DEFAULT_FIN_WAIT_NS;
	if (config->rto_min_ns == 0)
		config->rto_min_ns = DEFAULT_RTO_MIN_NS;
	if (config->syn_acks_max == 0)
		config->syn_acks_max = DEFAULT_SYN_ACKS;
	if (config->path_mtu_min_v4 == 0)
		config->path_mtu_min_v4 = DEFAULT_PATH_MTU_MIN_V4;
	if (config->orphans_max == 0)
		config->orphans_max = config->conns_max / 4 > ORPHANS_MIN ? config->conns_max / 4 : ORPHANS_MIN;
	if (config->ephemeral_port_min == 0)
		config->ephemeral_port_min = DEFAULT_PORT_MIN;
	if (config->ephemeral_port_max == 0)
		config->ephemeral_port_max = DEFAULT_PORT_MAX;
	for (uint32_t i = 0; i < TCP_POLICIES_MAX; i++)
		set_policy_defaults(config, &config->policies[i], i == TCP_POLICY_CONNECTED);
}

static void
check_config(const struct tcp_config *config)
{
	CHECK(config->mss_v4 >= TCP_MSS_MIN && config->mss_v6 >= TCP_MSS_MIN);
	CHECK(config->window_shift <= TCPHDR_SHIFT_MAX);
	for (uint32_t i = 0; i < TCP_POLICIES_MAX; i++) {
		const struct tcp_policy *policy = &config->policies[i];

		CHECK(policy->recv_bytes_start > 0 && policy->recv_bytes_max <= TCP_RECV_BYTES_MAX);
		CHECK(policy->recv_bytes_max >> config->window_shift <= UINT16_MAX);
		CHECK(policy->recv_bytes_start >> config->window_shift > 0); /* or the window never opens */
		CHECK(policy->keepalive_probes <= UINT8_MAX);
	}
	CHECK(config->send_bytes_max > 0 && config->send_bytes_max <= UINT32_C(1) << 30);
	CHECK(config->delayed_ack_ns <= NSEC_PER_SEC / 2); /* RFC 9293 MUST-40 */
	CHECK(config->ephemeral_port_min <= config->ephemeral_port_max);
	CHECK(config->time_wait_ns < UINT64_C(1) << 50);
}

struct tcp *
tcp_init(void *memory, const struct tcp_config *config, struct pkt_pool *header_pool,
	 struct pkt_pool *bare_pool, uint64_t now_ns)
{
	struct tcp_part parts[TCP_PARTS];
	uint8_t *place[TCP_PARTS];
	struct siphash_key secret = siphash_key_make(config->hash_key);
	uint8_t *end = memory;
	struct tcp *t = memory;

	CHECK((uintptr_t)memory % CACHE_LINE_BYTES == 0);
	CHECK(tcp_parts(config, parts) <= TCP_LINK_REACH_BYTES);
	CHECK_STATIC(TCP_LINK_REACH_BYTES <= TIMER_REACH_BYTES, "timers have the same memory");
	for (uint32_t i = 0; i < TCP_PARTS; i++) {
		place[i] = end;
		end += parts[i].bytes;
	}
	memset(t, 0, sizeof(*t));
	t->config = *config;
	set_defaults(&t->config);
	check_config(&t->config);
	t->header_pool = header_pool;
	t->bare_pool = bare_pool;
	t->now_ns = now_ns;
	t->isn_key = tcp_key_derive(&secret, "isn", 0);
	t->ts_key = tcp_key_derive(&secret, "timestamp", 0);
	t->cookie_secret = siphash_key_make(config->cookie_key);
	prng_init(&t->prng, config->seed);
	timer_wheel_init(&t->wheel, t, now_ns);
	tcp_table_init(&t->table, place[TCP_PART_TABLE], refs_max(config), tcp_key_derive(&secret, "table", 0));
	pool_init(&t->conns, place[TCP_PART_CONNS], config->conns_max, sizeof(struct tcp_conn));
	pool_init(&t->half_opens, place[TCP_PART_HALF_OPEN], config->half_open_max,
		  sizeof(struct tcp_half_open));
	pool_init(&t->time_waits, place[TCP_PART_TIME_WAIT], config->time_wait_max,
		  sizeof(struct tcp_time_wait));
	pool_init(&t->ranges, place[TCP_PART_RANGES], config->ranges_max, RANGE_BYTES);
	pool_init(&t->blocks, place[TCP_PART_BLOCKS], blocks_max(config), TCP_BLOCK_BYTES);
	t->cc = config->congestion == TCP_CONGESTION_NEWRENO ? &tcp_cc_newreno : &tcp_cc_cubic;
	t->conn_ranges_max = config->send_bytes_max / KIB > TCP_CONN_RANGES_MIN ? config->send_bytes_max / KIB :
										     TCP_CONN_RANGES_MIN;
	tcp_link_init(t, &t->output_list);
	tcp_link_init(t, &t->turn_list);
	tcp_link_init(t, &t->event_list);
	tcp_link_init(t, &t->half_open_list);
	tcp_link_init(t, &t->orphan_list);
	t->time_wait_timer.kind = TCP_TIMER_TIME_WAIT;
	return t;
}

void
tcp_fini(struct tcp *t)
{
	struct pkt *p;

	for (uint32_t i = 0; i < t->conns.count; i++) {
		struct tcp_conn *c = pool_at(&t->conns, i);

		if (!pool_is_lent(&t->conns, i))
			continue;
		if (c->state == TCP_CLOSED) {
			tcp_close(t, pool_handle(&t->conns, c));
			continue;
		}
		tcp_conn_orphan(t, c);
		tcp_conn_end(t, c, ERR_OK);
	}
	while ((p = pkt_queue_get(&t->transmit)) != NULL)
		pkt_free(p);
}

void
tcp_advance(struct tcp *t, uint64_t now_ns)
{
	struct timer *timer;

	t->now_ns = now_ns;
	tcp_pressure_look(t, now_ns);
	for (uint32_t n = 0; n < TCP_TIMERS_PER_ADVANCE; n++) {
		timer = timer_advance(&t->wheel, now_ns);
		if (timer == NULL)
			return;
		switch ((enum tcp_timer_kind)timer->kind) {
		case TCP_TIMER_CONN:
			tcp_conn_expired(t, TCP_OWNER_OF(timer, struct tcp_conn, timer), now_ns);
			break;
		case TCP_TIMER_HALF_OPEN:
			tcp_half_open_expired(t, TCP_OWNER_OF(timer, struct tcp_half_open, timer),
					      now_ns);
			break;
		case TCP_TIMER_TIME_WAIT:
			tcp_time_wait_expired(t, now_ns);
			break;
		}
	}
}

uint64_t
tcp_next_at(const struct tcp *t)
{
	uint64_t timer_at_ns = timer_next_at(&t->wheel);
	uint64_t look_at_ns = tcp_pressure_next_at(t);

	return timer_at_ns < look_at_ns ? timer_at_ns : look_at_ns;
}

void
tcp_output_ready(struct tcp *t, uint64_t now_ns)
{
	struct tcp_link *link;

	t->now_ns = now_ns;
	/* Whoever is touched from here on, by a full burst, has its turn in the next loop. */
	tcp_link_prepend_all(t, &t->turn_list, &t->output_list);
	while (t->transmit.count < TCP_TRANSMIT_QUEUE_MAX &&
	       (link = tcp_link_first(t, &t->turn_list)) != NULL) {
		tcp_link_remove(t, link);
		tcp_output(t, TCP_OWNER_OF(link, struct tcp_conn, output_link), now_ns);
	}
	/* The queue is full: they come first next time. */
	tcp_link_prepend_all(t, &t->output_list, &t->turn_list);
}

struct pkt *
tcp_transmit_next(struct tcp *t)
{
	return pkt_queue_get(&t->transmit);
}

const struct tcp_stats *
tcp_stats(const struct tcp *t)
{
	return &t->stats;
}

/* --- ICMP: RFC 5927, RFC 5461 ----------------------------------------------------------- */

/* The first hop that says so is believed to the byte. Each further one takes an eighth at least: few paths become
 * narrower again, but who sees a path, or guesses well, could say a byte less each time, and each time all that is
 * in flight would go again. */
static uint32_t
narrower(const struct tcp_conn *c, uint32_t mss, uint32_t floor)
{
	uint32_t most = c->path_narrowed ? c->mss_path - c->mss_path / 8u : c->mss_path;

	if (mss <= most)
		return mss;
	return most > floor ? most : floor;
}

static void
shrink_path(struct tcp *t, struct tcp_conn *c, uint32_t mtu_bytes)
{
	bool v4 = tcp_address_is_v4(&c->tuple.remote);
	uint32_t floor = v4 ? t->config.path_mtu_min_v4 - 40u : MSS_FLOOR_V6;
	uint32_t headers = v4 ? 40 : 60;
	uint32_t mss = mtu_bytes > headers + floor ? mtu_bytes - headers : floor;

	if (mss >= c->mss_path)
		return;
	tcp_conn_set_mss(c, narrower(c, mss, floor));
	c->path_narrowed = true;
	if (t->config.path_narrowed != NULL)
		t->config.path_narrowed(&c->tuple.remote, mss + headers, t->now_ns, t->config.owner);
	/* What was too large is sent again smaller, at once; it is no sign of congestion. */
	if (tcp_conn_is_synchronized(c))
		tcp_loss_rewind(t, c);
}

void
tcp_icmp(struct tcp *t, const struct tcp_tuple *tuple, uint32_t quoted_seq, bool hard,
	 uint32_t mtu_bytes, uint64_t now_ns)
{
	uint32_t ref = tcp_table_find(t, tuple);
	struct tcp_conn *c;

	t->now_ns = now_ns;
	if (tcp_ref_kind(ref) != TCP_REF_CONN)
		return;
	c = pool_at(&t->conns, tcp_ref_index(ref));
	/* Only an error about something that is in flight is believed (RFC 5927 section 4.1). */
	if (seq_lt(quoted_seq, c->snd_una) || seq_ge(quoted_seq, c->snd_max))
		return;
	if (mtu_bytes != 0)
		shrink_path(t, c, mtu_bytes);
	else if (hard && c->state == TCP_SYN_SENT)
		tcp_conn_end(t, c, ERR_TCP_UNREACHABLE);
	else
		c->soft_error = true;
}
