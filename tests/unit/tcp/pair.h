#pragma once

/* Two stacks, a and b, and a wire without delay between them; time is a number. A test says which
 * segments the wire loses. Included by the tests of this folder and of unit/dataplane. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "pkt/pkt.h"
#include "tcp/internal.h"
#include "tcp/tcp.h"
#include "wire/tcphdr.h"

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC
#define POOL_PACKETS 4096u

struct side {
	struct tcp *tcp;
	void *memory;
	struct pkt_pool headers;
	struct pkt_pool bare;
	struct pkt_pool payload;
	struct ip_addr address;
	tcp_conn_t conn; /* of the last CONNECTED or ACCEPTED */
	uint32_t events; /* bits seen */
	uint32_t accepted;
	enum err reason;
	uint64_t received; /* bytes taken and checked */
	bool reading;      /* take what becomes readable */
	uint64_t written;
	uint32_t sent; /* segments that left */
	uint8_t last_flags;
	struct tcphdr last;
	/* The wire's sink: true loses the n-th segment that leaves (from 1). */
	bool (*lose)(const struct tcphdr *h, uint32_t n, uint32_t len);
};

struct pair {
	struct side a, b;
	uint64_t now_ns;
	struct tcp_config config;
};

static struct pair pair;

static inline struct ip_addr
v4(uint8_t last)
{
	return (struct ip_addr){ { [10] = 0xff, [11] = 0xff, 10, 0, 0, last } };
}

static inline uint8_t
stream_byte(uint64_t position)
{
	return (uint8_t)(position * 7 + (position >> 8) * 13 + (position >> 16));
}

static inline struct tcp_config
config_default(void)
{
	return (struct tcp_config){
		.conns_max = 64,
		.half_open_max = 16,
		.time_wait_max = 16,
		.ranges_max = 4096,
		.mss_v4 = 1460,
		.mss_v6 = 1440,
		.recv_bytes_max = 256 * KIB,
		.send_bytes_max = 256 * KIB,
		.window_shift = 3,
		.hash_key = "0123456789abcde",
		.cookie_key = "fedcba987654321",
		.seed = 1,
	};
}

static inline void
side_init(struct side *s, struct ip_addr address, uint8_t salt)
{
	struct tcp_config config = pair.config;

	memset(s, 0, sizeof(*s));
	config.hash_key[0] ^= salt;
	config.seed += salt;
	pkt_pool_init(&s->headers, POOL_PACKETS);
	pkt_pool_init(&s->bare, POOL_PACKETS);
	pkt_pool_init(&s->payload, POOL_PACKETS);
	s->address = address;
	s->reading = true;
	s->memory = aligned_alloc(64, tcp_bytes(&config));
	assert_non_null(s->memory);
	memset(s->memory, 0xa5, tcp_bytes(&config)); /* tcp_init() must not rely on zeroes */
	s->tcp = tcp_init(s->memory, &config, &s->headers, &s->bare, pair.now_ns);
}

static inline void
side_fini(struct side *s)
{
	tcp_fini(s->tcp);
	assert_int_equal(pkt_pool_stats(&s->headers).free, POOL_PACKETS);
	assert_int_equal(pkt_pool_stats(&s->bare).free, POOL_PACKETS);
	assert_int_equal(pkt_pool_stats(&s->payload).free, POOL_PACKETS);
	free(s->memory);
}

static inline void
pair_init(const struct tcp_config *config)
{
	memset(&pair, 0, sizeof(pair));
	pair.config = config != NULL ? *config : config_default();
	pair.now_ns = 1000 * SEC;
	side_init(&pair.a, v4(1), 1);
	side_init(&pair.b, v4(2), 2);
}

static inline void
pair_fini(void)
{
	/* Received segments live in the other side's pools, so both end before either is checked. */
	tcp_fini(pair.a.tcp);
	tcp_fini(pair.b.tcp);
	pair.a.tcp = tcp_init(pair.a.memory, &pair.config, &pair.a.headers, &pair.a.bare, 0);
	pair.b.tcp = tcp_init(pair.b.memory, &pair.config, &pair.b.headers, &pair.b.bare, 0);
	side_fini(&pair.a);
	side_fini(&pair.b);
}

static inline void
take_all(struct side *s, tcp_conn_t conn)
{
	struct pkt *p;

	while ((p = tcp_take(s->tcp, conn)) != NULL) {
		uint32_t n = pkt_total(p);

		for (uint32_t i = 0; i < n; i++) {
			uint8_t byte;

			pkt_copy_out(p, i, &byte, 1);
			assert_int_equal(byte, stream_byte(s->received + i));
		}
		s->received += n;
		pkt_free(p);
		tcp_consumed(s->tcp, conn, n);
	}
}

static inline void
side_events(struct side *s)
{
	struct tcp_event e;

	while (tcp_event_next(s->tcp, &e)) {
		s->events |= e.bits;
		if (e.bits & (TCP_EVENT_ACCEPTED | TCP_EVENT_CONNECTED))
			s->conn = e.conn;
		if (e.bits & TCP_EVENT_ACCEPTED)
			s->accepted++;
		if (e.bits & TCP_EVENT_ERROR)
			s->reason = e.reason;
		if (e.bits & TCP_EVENT_READABLE && s->reading)
			take_all(s, e.conn);
	}
}

static inline void
side_output(struct side *s)
{
	tcp_advance(s->tcp, pair.now_ns);
	side_events(s);
	tcp_check(s->tcp);
	tcp_output_ready(s->tcp, pair.now_ns);
	tcp_check(s->tcp);
}

/* Carries everything that one side has to say to the other. Returns whether there was anything. */
static inline bool
carry(struct side *from, struct side *to)
{
	struct pkt *p;
	bool any = false;

	while ((p = tcp_transmit_next(from->tcp)) != NULL) {
		any = true;
		from->sent++;
		assert_int_equal(tcphdr_parse(bytes_make(pkt_data(p), pkt_len(p)), &from->last), ERR_OK);
		if (from->lose != NULL &&
		    from->lose(&from->last, from->sent, pkt_total(p) - from->last.header_bytes)) {
			pkt_free(p);
			continue;
		}
		pkt_meta(p)->l4_csum = PKT_CSUM_UNKNOWN;
		tcp_input(to->tcp, p, pair.now_ns);
		tcp_check(to->tcp);
	}
	return any;
}

/* Runs both sides until neither has anything to say at this time. */
static inline void
settle(void)
{
	bool any = true;

	for (int round = 0; any; round++) {
		assert_true(round < 10000); /* or the two talk for ever */
		side_output(&pair.a);
		side_output(&pair.b);
		any = carry(&pair.a, &pair.b);
		any |= carry(&pair.b, &pair.a);
		side_events(&pair.a);
		side_events(&pair.b);
	}
}

/* Lets time pass in the steps that the stacks ask for. */
static inline void
run_for(uint64_t span_ns)
{
	uint64_t end_ns = pair.now_ns + span_ns;

	settle();
	for (int step = 0; pair.now_ns < end_ns; step++) {
		uint64_t next_ns = tcp_next_at(pair.a.tcp);

		assert_true(step < 100000);
		if (tcp_next_at(pair.b.tcp) < next_ns)
			next_ns = tcp_next_at(pair.b.tcp);
		if (next_ns <= pair.now_ns)
			next_ns = pair.now_ns + 1;
		pair.now_ns = next_ns < end_ns ? next_ns : end_ns;
		settle();
	}
}

/* Queues n bytes of the side's stream, as pieces of at most `piece` bytes; returns what was taken. */
static inline uint32_t
write_stream(struct side *s, uint32_t n, uint32_t piece)
{
	uint32_t done = 0;

	while (done < n) {
		uint32_t len = n - done < piece ? n - done : piece;
		struct pkt *p = pkt_alloc(&s->payload);
		uint8_t *to;

		if (p == NULL)
			break;
		to = pkt_append(p, len);
		assert_non_null(to);
		for (uint32_t i = 0; i < len; i++)
			to[i] = stream_byte(s->written + i);
		if (tcp_send(s->tcp, s->conn, p, false) != ERR_OK) {
			pkt_free(p);
			break;
		}
		s->written += len;
		done += len;
	}
	return done;
}

#define SERVER_PORT 443

static inline void
start_connect(void)
{
	struct tcp_tuple tuple = { pair.a.address, pair.b.address, 0, SERVER_PORT };

	assert_int_equal(tcp_connect(pair.a.tcp, &tuple, 7, &pair.a.conn, pair.now_ns), ERR_OK);
}

/* Both ends ESTABLISHED, nothing in flight. */
static inline void
establish(void)
{
	assert_int_equal(tcp_listen(pair.b.tcp, &(struct ip_addr){ { 0 } }, SERVER_PORT, 99), ERR_OK);
	start_connect();
	settle();
	assert_true(pair.a.events & TCP_EVENT_CONNECTED);
	assert_true(pair.b.events & TCP_EVENT_ACCEPTED);
}

static inline struct tcp_conn *
conn_at(struct side *s)
{
	return pool_find(&s->tcp->conns, s->conn);
}

static inline int
state_of(struct side *s)
{
	struct tcp_conn *c = conn_at(s);

	return c == NULL ? -1 : c->state;
}
