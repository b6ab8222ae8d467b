/* tcp_input_burst() against tcp_input(): two servers with the same secrets get the same segments, one of them
 * one by one; what they send, count and hold must be the same after each burst. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/prng.h"
#include "base/units.h"
#include "stack.h"
#include "tcp/internal.h"

#define PORT 443
#define CONNS 100u
#define SEGMENT_MAX 2048

static const struct stack_pools plenty = { 4096, 4096, 4096, 4096 };

struct world {
	struct stack client;
	struct stack single;
	struct stack burst;
	tcp_conn_t conns[CONNS];
	uint64_t now_ns;
	struct prng prng;
	uint32_t largest; /* burst */
};

static struct ip_addr
v4(uint8_t last)
{
	return (struct ip_addr){ { [10] = 0xff, [11] = 0xff, 10, 0, 0, last } };
}

static struct pkt *
copy_of(const struct pkt *p, struct stack *to)
{
	uint8_t flat[SEGMENT_MAX];
	uint32_t len = pkt_total(p);
	struct pkt *copy = pkt_alloc(to->receive_pool);

	assert_true(len <= SEGMENT_MAX && copy != NULL);
	pkt_copy_out(p, 0, flat, len);
	memcpy(pkt_append(copy, len), flat, len);
	*pkt_meta(copy) = *pkt_meta(p);
	pkt_meta(copy)->queue_next = NULL;
	pkt_meta(copy)->l4_csum = PKT_CSUM_UNKNOWN;
	return copy;
}

/* Events in their order; what is readable is read and echoed. */
static void
serve(struct stack *s)
{
	struct tcp_event e;
	struct pkt *p;

	while (tcp_event_next(s->tcp, &e)) {
		while ((p = tcp_take(s->tcp, e.conn)) != NULL) {
			tcp_consumed(s->tcp, e.conn, pkt_total(p));
			if (tcp_send(s->tcp, e.conn, p, false) != ERR_OK)
				pkt_free(p);
		}
		if (e.bits & (TCP_EVENT_EOF | TCP_EVENT_ERROR))
			tcp_close(s->tcp, e.conn);
	}
}

static void
same_output(struct world *w)
{
	uint8_t a[SEGMENT_MAX];
	uint8_t b[SEGMENT_MAX];

	for (;;) {
		struct pkt *one = tcp_transmit_next(w->single.tcp);
		struct pkt *other = tcp_transmit_next(w->burst.tcp);

		assert_true((one == NULL) == (other == NULL));
		if (one == NULL)
			return;
		assert_int_equal(pkt_total(one), pkt_total(other));
		pkt_copy_out(one, 0, a, pkt_total(one));
		pkt_copy_out(other, 0, b, pkt_total(other));
		assert_memory_equal(a, b, pkt_total(one));
		tcp_input(w->client.tcp, copy_of(one, &w->client), w->now_ns);
		pkt_free(one);
		pkt_free(other);
	}
}

/* What the client has to say, some of it twice, lost, or with a flipped bit, to both servers. */
static uint32_t
carry(struct world *w)
{
	struct pkt *burst[TCP_INPUT_BURST_MAX];
	uint32_t limit = 1 + prng_below(&w->prng, TCP_INPUT_BURST_MAX);
	uint32_t count = 0;
	struct pkt *p;

	while (count + 2 <= limit && (p = tcp_transmit_next(w->client.tcp)) != NULL) {
		uint32_t fate = prng_below(&w->prng, 20);
		uint32_t copies = fate == 0 ? 0 : fate == 1 ? 2 : 1;

		for (uint32_t i = 0; i < copies; i++) {
			struct pkt *one = copy_of(p, &w->single);

			if (fate == 2)
				pkt_data(one)[prng_below(&w->prng, pkt_len(one))] ^= 4;
			burst[count++] = copy_of(one, &w->burst);
			tcp_input(w->single.tcp, one, w->now_ns);
		}
		pkt_free(p);
	}
	tcp_input_burst(w->burst.tcp, burst, count, w->now_ns);
	return count;
}

/* One connection opens, sends, or goes. */
static void
act(struct world *w)
{
	uint32_t i = prng_below(&w->prng, CONNS);
	struct tcp_tuple tuple = { v4(1), v4(9), 0, PORT };
	struct pkt *p;

	if (!tcp_is_live(w->client.tcp, w->conns[i])) {
		assert_int_equal(tcp_connect(w->client.tcp, &tuple, i, &w->conns[i], w->now_ns), ERR_OK);
	} else if (prng_below(&w->prng, 12) == 0) {
		if (prng_below(&w->prng, 3) == 0)
			tcp_abort(w->client.tcp, w->conns[i]);
		else
			tcp_close(w->client.tcp, w->conns[i]);
	} else {
		p = stack_payload(&w->client, i, 0, 1 + prng_below(&w->prng, 900), 0);
		if (tcp_send(w->client.tcp, w->conns[i], p, false) != ERR_OK)
			pkt_free(p);
	}
}

static void
turn(struct world *w)
{
	uint32_t acts = prng_below(&w->prng, 4) == 0 ? CONNS : 2;
	uint32_t count;

	while (acts-- > 0)
		act(w);
	tcp_advance(w->client.tcp, w->now_ns);
	tcp_output_ready(w->client.tcp, w->now_ns);
	while ((count = carry(w)) > 0) {
		if (count > w->largest)
			w->largest = count;
		serve(&w->single);
		serve(&w->burst);
		tcp_check(w->burst.tcp);
		tcp_output_ready(w->single.tcp, w->now_ns);
		tcp_output_ready(w->burst.tcp, w->now_ns);
		same_output(w);
	}
	tcp_advance(w->single.tcp, w->now_ns);
	tcp_advance(w->burst.tcp, w->now_ns);
	tcp_output_ready(w->single.tcp, w->now_ns);
	tcp_output_ready(w->burst.tcp, w->now_ns);
	same_output(w);
	assert_memory_equal(tcp_stats(w->single.tcp), tcp_stats(w->burst.tcp), sizeof(struct tcp_stats));
}

static void
drain_client(struct world *w)
{
	struct tcp_event e;
	struct pkt *p;

	while (tcp_event_next(w->client.tcp, &e)) {
		while ((p = tcp_take(w->client.tcp, e.conn)) != NULL) {
			tcp_consumed(w->client.tcp, e.conn, pkt_total(p));
			pkt_free(p);
		}
		if (e.bits & (TCP_EVENT_EOF | TCP_EVENT_ERROR))
			tcp_close(w->client.tcp, e.conn);
	}
}

static void
a_burst_is_its_segments_one_by_one(void **state)
{
	struct tcp_config config = stack_config();
	static struct world w;

	(void)state;
	memset(&w, 0, sizeof(w));
	prng_init(&w.prng, 5);
	w.now_ns = 1000 * NSEC_PER_SEC;
	config.conns_max = 24; /* fewer than the client wants: half-open ones wait, cookies carry some */
	config.half_open_max = 6;
	config.time_wait_max = 8;
	stack_open(&w.single, &config, &plenty, w.now_ns);
	stack_open(&w.burst, &config, &plenty, w.now_ns);
	config.conns_max = 4 * CONNS;
	config.hash_key[0]++;
	stack_open(&w.client, &config, &plenty, w.now_ns);
	assert_int_equal(tcp_listen(w.single.tcp, &(struct ip_addr){ { 0 } }, PORT, 0), ERR_OK);
	assert_int_equal(tcp_listen(w.burst.tcp, &(struct ip_addr){ { 0 } }, PORT, 0), ERR_OK);
	for (uint32_t n = 0; n < 1500; n++) {
		turn(&w);
		drain_client(&w);
		w.now_ns += prng_below(&w.prng, 20) * NSEC_PER_MSEC;
	}
	assert_in_range(w.largest, TCP_INPUT_BURST_MAX - 4, TCP_INPUT_BURST_MAX);
	assert_true(tcp_stats(w.burst.tcp)->accepted > 100);
	assert_true(tcp_stats(w.burst.tcp)->drops[ERR_TCP_CHECKSUM] > 10);
	assert_true(tcp_stats(w.burst.tcp)->drops[ERR_TCP_HALF_OPEN_EVICTED] > 0);
	/* Pieces that arrived were sent back: a pool is whole when all engines are gone. */
	tcp_fini(w.client.tcp);
	tcp_fini(w.single.tcp);
	tcp_fini(w.burst.tcp);
	assert_true(stack_pools_are_full(&w.client));
	assert_true(stack_pools_are_full(&w.single));
	assert_true(stack_pools_are_full(&w.burst));
	free(w.client.memory);
	free(w.single.memory);
	free(w.burst.memory);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_is_its_segments_one_by_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
