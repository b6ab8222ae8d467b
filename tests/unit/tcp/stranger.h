#pragma once

/* One engine and strangers who send it what they like. Included by the tests of this folder only. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/prng.h"
#include "base/units.h"
#include "segment.h"
#include "stack.h"
#include "tcp/internal.h"

#define MS NSEC_PER_MSEC
#define SEC NSEC_PER_SEC
#define PORT 443

static const struct stack_pools pools_plenty = { 8192, 8192, 8192, 8192 };

struct stranger {
	struct stack stack;
	struct prng prng;
	uint64_t now_ns;
};

static struct stranger world;

static inline struct ip_addr
v4(uint32_t host)
{
	return (struct ip_addr){ { [10] = 0xff, [11] = 0xff, 10, (uint8_t)(host >> 16), (uint8_t)(host >> 8),
				   (uint8_t)host } };
}

static inline void
world_open(const struct tcp_config *config)
{
	memset(&world, 0, sizeof(world));
	prng_init(&world.prng, 7);
	world.now_ns = 1000 * SEC;
	stack_open(&world.stack, config, &pools_plenty, world.now_ns);
	assert_int_equal(tcp_listen(world.stack.tcp, &(struct ip_addr){ { 0 } }, PORT, 0), ERR_OK);
}

static inline struct segment
from_stranger(uint32_t host, uint16_t port, uint8_t flags)
{
	return (struct segment){
		.src = v4(host),
		.dst = v4(1),
		.src_port = port,
		.dst_port = PORT,
		.flags = flags,
		.window = 65535,
	};
}

static inline enum err
give(const struct segment *s)
{
	struct pkt *p = segment_to_pkt(s, world.stack.receive_pool);

	assert_non_null(p);
	return tcp_input(world.stack.tcp, p, world.now_ns);
}

/* The next segment that the engine sends; false if there is none. Payload is not kept. */
static inline bool
take(struct segment *s)
{
	static uint8_t flat[SEGMENT_BYTES_MAX];
	struct pkt *p;

	tcp_output_ready(world.stack.tcp, world.now_ns);
	p = tcp_transmit_next(world.stack.tcp);
	if (p == NULL)
		return false;
	assert_true(segment_parse_pkt(p, flat, s));
	pkt_free(p);
	return true;
}

static inline uint32_t
take_all(void)
{
	struct segment s;
	uint32_t count = 0;

	while (take(&s))
		count++;
	return count;
}

static inline void
pass(uint64_t span_ns)
{
	world.now_ns += span_ns;
	tcp_advance(world.stack.tcp, world.now_ns);
}

/* A handshake of host:port with the options of `options`; *last: the stranger's last ACK, numbers up to date. */
static inline tcp_conn_t
shake(const struct segment *options, struct segment *last)
{
	struct segment syn = *options;
	struct tcp_event e;
	struct segment s;

	syn.flags = SEGMENT_SYN;
	assert_int_equal(give(&syn), ERR_OK);
	assert_true(take(&s));
	assert_int_equal(s.flags, SEGMENT_SYN | SEGMENT_ACK);
	*last = *options;
	last->flags = SEGMENT_ACK;
	last->seq = syn.seq + 1;
	last->ack = s.seq + 1;
	last->has_mss = false;
	last->has_wscale = false;
	last->has_sack_ok = false;
	last->ts_ecr = s.ts_val;
	assert_int_equal(give(last), ERR_OK);
	assert_true(tcp_event_next(world.stack.tcp, &e));
	assert_true(e.bits & TCP_EVENT_ACCEPTED);
	return e.conn;
}

/* Queues n bytes in pieces; returns how many were taken. */
static inline uint32_t
write_bytes(tcp_conn_t conn, uint32_t n, uint32_t piece)
{
	uint32_t done = 0;

	while (done < n) {
		uint32_t len = n - done < piece ? n - done : piece;
		struct pkt *p = stack_payload(&world.stack, 1, done, len, 0);

		if (p == NULL || tcp_send(world.stack.tcp, conn, p, false) != ERR_OK) {
			pkt_free(p);
			break;
		}
		done += len;
	}
	return done;
}

/* Sum of squares over expectation for counts that should be equal: about `bins`, and above
 * bins + 6 * sqrt(2 * bins) by chance once in 10^8. */
static inline double
chi_square(const uint32_t *counts, uint32_t bins)
{
	double total = 0;
	double sum = 0;

	for (uint32_t i = 0; i < bins; i++)
		total += counts[i];
	for (uint32_t i = 0; i < bins; i++) {
		double off = counts[i] - total / bins;

		sum += off * off / (total / bins);
	}
	return sum;
}
