/* Many idle connections between two engines in memory: what each costs in bytes, a turn of the loop while all
 * of them are idle with keep-alive on, and a packet of those that are not. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/prng.h"
#include "duo.h"

#define PORTS_PER_ADDRESS 50000u
#define SERVER_PORT 443
#define POOL_PACKETS 65536u
#define TURN_NS NSEC_PER_MSEC
#define KEEPALIVE_NS (60 * NSEC_PER_SEC)
#define REQUEST_BYTES 200u
#define RESPONSE_BYTES 200u
#define COUNTS_MAX 8
#define BUSY_PARTS 8u
#define STATE_BYTES_MAX 384.0 /* of a connection, all in */
#define TURNS_MAX (1u << 20)

struct bench {
	struct duo_side client;
	struct duo_side server;
	tcp_conn_t *conns; /* of the client */
	uint32_t count;
	uint32_t accepted;
	uint64_t now_ns;
	struct prng prng;
	/* the server's work */
	uint64_t cycles;
	uint64_t packets;
	uint64_t *turns; /* cycles of each, the first TURNS_MAX */
	uint32_t turn_count;
};

struct result {
	uint32_t conns;
	double resident_bytes; /* of one end, for each connection */
	double state_bytes;    /* what the engine keeps for each: object, pool, table */
	uint32_t packets_held;
	double idle_ns_per_packet;
	double idle_turn_ns;     /* mean */
	double idle_turn_p99_ns;
	double empty_turn_ns; /* without a single packet or timer due */
	double busy_ns_per_packet;
};

/* --- the loop -------------------------------------------------------------------------- */

static void
answer(struct duo_side *s, tcp_conn_t conn, uint32_t bytes)
{
	struct pkt *p = pkt_alloc(&s->payload);

	CHECK(p != NULL);
	memset(pkt_append(p, bytes), 'x', bytes);
	CHECK(tcp_send(s->tcp, conn, p, false) == ERR_OK);
}

static void
server_events(struct bench *b)
{
	struct tcp_event e;
	struct pkt *p;

	while (tcp_event_next(b->server.tcp, &e)) {
		uint32_t taken = 0;

		CHECK((e.bits & (TCP_EVENT_ERROR | TCP_EVENT_EOF)) == 0);
		b->accepted += (e.bits & TCP_EVENT_ACCEPTED) != 0;
		if (!(e.bits & TCP_EVENT_READABLE))
			continue;
		while ((p = tcp_take(b->server.tcp, e.conn)) != NULL) {
			taken += pkt_total(p);
			pkt_free(p);
		}
		tcp_consumed(b->server.tcp, e.conn, taken);
		answer(&b->server, e.conn, RESPONSE_BYTES);
	}
}

static void
client_events(struct bench *b)
{
	struct tcp_event e;
	struct pkt *p;

	while (tcp_event_next(b->client.tcp, &e)) {
		CHECK((e.bits & (TCP_EVENT_ERROR | TCP_EVENT_EOF)) == 0);
		while ((p = tcp_take(b->client.tcp, e.conn)) != NULL) {
			tcp_consumed(b->client.tcp, e.conn, pkt_total(p));
			pkt_free(p);
		}
	}
}

/* One turn of a worker: what came in, timers, events, output. Counted for the server only. */
static void
server_turn(struct bench *b, struct duo_burst *burst)
{
	uint32_t in = burst->count;
	uint64_t from = duo_cycles();
	uint64_t spent;

	duo_deliver(&b->server, burst, b->now_ns);
	tcp_advance(b->server.tcp, b->now_ns);
	server_events(b);
	tcp_output_ready(b->server.tcp, b->now_ns);
	duo_collect(&b->server, burst);
	spent = duo_cycles() - from;
	b->cycles += spent;
	b->packets += in + burst->count;
	if (b->turn_count < TURNS_MAX)
		b->turns[b->turn_count++] = spent;
}

static void
client_turn(struct bench *b, struct duo_burst *burst)
{
	duo_deliver(&b->client, burst, b->now_ns);
	tcp_advance(b->client.tcp, b->now_ns);
	client_events(b);
	tcp_output_ready(b->client.tcp, b->now_ns);
	duo_collect(&b->client, burst);
}

/* Until neither has anything to say at this time. */
static void
settle(struct bench *b)
{
	struct duo_burst burst = { .count = 0 };
	uint32_t said;

	do {
		client_turn(b, &burst);
		said = burst.count;
		server_turn(b, &burst);
		said += burst.count;
	} while (said > 0);
}

/* --- the parts ------------------------------------------------------------------------- */

static void
open_all(struct bench *b)
{
	struct ip_addr server = { { [10] = 0xff, [11] = 0xff, 192, 168, 0, 1 } };

	CHECK(tcp_listen(b->server.tcp, &(struct ip_addr){ { 0 } }, SERVER_PORT, 0) == ERR_OK);
	for (uint32_t i = 0; i < b->count; i++) {
		struct tcp_tuple tuple = { duo_address(i / PORTS_PER_ADDRESS), server,
					   (uint16_t)(1024 + i % PORTS_PER_ADDRESS), SERVER_PORT };

		CHECK(tcp_connect(b->client.tcp, &tuple, i, &b->conns[i], b->now_ns) == ERR_OK);
		if (i % DUO_BURST == DUO_BURST - 1) {
			settle(b);
			/* Spread over the keep-alive's time, as real ones are. */
			b->now_ns += KEEPALIVE_NS / (b->count / DUO_BURST + 1);
		}
	}
	settle(b);
	CHECK(b->accepted == b->count && tcp_stats(b->server.tcp)->conns == b->count);
}

static int
compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

static void
reset_counts(struct bench *b)
{
	b->cycles = 0;
	b->packets = 0;
	b->turn_count = 0;
}

/* Nothing but keep-alive for the time of two of them. */
static void
measure_idle(struct bench *b, double cycles_per_ns, struct result *r)
{
	uint64_t turns = 0;
	uint64_t empty_turns = 0;
	uint64_t empty_cycles = 0;

	reset_counts(b);
	for (uint64_t end_ns = b->now_ns + 2 * KEEPALIVE_NS; b->now_ns < end_ns; turns++) {
		uint64_t cycles = b->cycles;
		uint64_t packets = b->packets;
		uint32_t fires = tcp_next_at(b->server.tcp) <= b->now_ns + TURN_NS;

		b->now_ns += TURN_NS;
		settle(b);
		if (b->packets == packets && !fires) {
			empty_turns++;
			empty_cycles += b->cycles - cycles;
		}
	}
	r->idle_ns_per_packet = (double)b->cycles / cycles_per_ns / (double)(b->packets ? b->packets : 1);
	r->idle_turn_ns = (double)b->cycles / cycles_per_ns / (double)turns;
	qsort(b->turns, b->turn_count, sizeof(*b->turns), compare);
	r->idle_turn_p99_ns = (double)b->turns[b->turn_count - 1 - b->turn_count / 100] / cycles_per_ns;
	r->empty_turn_ns = (double)empty_cycles / cycles_per_ns / (double)(empty_turns ? empty_turns : 1);
	CHECK(tcp_stats(b->server.tcp)->conns == b->count);
}

/* Requests on connections drawn from all, a burst in each turn. */
static double
busy_cycles(struct bench *b, uint32_t bursts)
{
	reset_counts(b);
	for (uint32_t n = 0; n < bursts; n++) {
		for (uint32_t i = 0; i < DUO_BURST; i++)
			answer(&b->client, b->conns[prng_below(&b->prng, b->count)], REQUEST_BYTES);
		settle(b);
		b->now_ns += TURN_NS;
	}
	return (double)b->cycles / (double)b->packets;
}

/* The best of several parts: what else the machine does at the time only ever adds. */
static double
measure_busy(struct bench *b, uint32_t bursts, double cycles_per_ns)
{
	double best = busy_cycles(b, bursts / BUSY_PARTS); /* and to warm up */

	for (uint32_t i = 0; i < BUSY_PARTS; i++) {
		double cycles = busy_cycles(b, bursts / BUSY_PARTS);

		if (cycles < best)
			best = cycles;
	}
	return best / cycles_per_ns;
}

static struct result
measure(uint32_t count, uint32_t bursts, uint64_t seed)
{
	struct bench *b = calloc(1, sizeof(*b));
	struct tcp_config config = duo_config(count, seed);
	struct result r = { .conns = count };
	struct tcp_part parts[TCP_PARTS];
	double cycles_per_ns = duo_cycles_per_ns();
	size_t resident;

	CHECK(b != NULL);
	b->count = count;
	b->now_ns = 1000 * NSEC_PER_SEC;
	b->conns = calloc(count, sizeof(*b->conns));
	b->turns = calloc(TURNS_MAX, sizeof(*b->turns));
	CHECK(b->conns != NULL && b->turns != NULL);
	memset(b->conns, 1, count * sizeof(*b->conns)); /* resident before we look */
	memset(b->turns, 1, TURNS_MAX * sizeof(*b->turns));
	prng_init(&b->prng, seed);
	resident = duo_resident_bytes();
	duo_open(&b->client, &config, POOL_PACKETS, b->now_ns);
	config.keepalive_ns = KEEPALIVE_NS;
	config.seed++;
	duo_open(&b->server, &config, POOL_PACKETS, b->now_ns);
	open_all(b);
	r.resident_bytes = (double)(duo_resident_bytes() - resident) / count / 2;
	tcp_parts(&config, parts);
	r.state_bytes = (double)parts[TCP_PART_CONNS].bytes / count + TCP_REF_SHARE_BYTES;
	r.packets_held = duo_packets_held(&b->server) + duo_packets_held(&b->client);
	r.busy_ns_per_packet = measure_busy(b, bursts, cycles_per_ns);
	measure_idle(b, cycles_per_ns, &r);
	duo_close(&b->client);
	duo_close(&b->server);
	free(b->turns);
	free(b->conns);
	free(b);
	return r;
}

/* --- the table ------------------------------------------------------------------------- */

static void
print_table(const struct result *results, uint32_t count, double ratio)
{
	printf("       conns   state B  resident B  packets  busy ns  idle ns   turn ns  turn p99  empty turn\n");
	for (uint32_t i = 0; i < count; i++) {
		const struct result *r = &results[i];

		printf("%12u  %8.1f  %10.1f  %7u  %7.0f  %7.0f  %8.0f  %8.0f  %10.0f\n", r->conns, r->state_bytes,
		       r->resident_bytes, r->packets_held, r->busy_ns_per_packet, r->idle_ns_per_packet,
		       r->idle_turn_ns, r->idle_turn_p99_ns, r->empty_turn_ns);
	}
	printf("\nstate: object, timer, its shares of pool and table (goal: 384 at most); resident: what both\n"
	       "ends really took for each, halved, with all fixed parts;\n"
	       "packets: buffers that idle ones hold; busy: a packet in or out of connections drawn from all;\n"
	       "idle: a keep-alive probe or its answer; turn: 1 ms of the server's loop with all of them idle.\n"
	       "busy, last to first: %.2f (goal: 2 at most)\n",
	       ratio);
}

static void
print_json(const struct result *results, uint32_t count, double ratio)
{
	printf("{\"results\": [");
	for (uint32_t i = 0; i < count; i++) {
		const struct result *r = &results[i];

		printf("%s{\"conns\": %u, \"state_bytes\": %.1f, \"resident_bytes\": %.1f, ", i == 0 ? "" : ", ",
		       r->conns, r->state_bytes, r->resident_bytes);
		printf("\"packets_held\": %u, \"busy_ns_per_packet\": %.0f, \"idle_ns_per_packet\": %.0f, ",
		       r->packets_held, r->busy_ns_per_packet, r->idle_ns_per_packet);
		printf("\"turn_ns\": %.0f, \"turn_p99_ns\": %.0f, \"empty_turn_ns\": %.0f}", r->idle_turn_ns,
		       r->idle_turn_p99_ns, r->empty_turn_ns);
	}
	printf("], \"busy_ratio\": %.2f}\n", ratio);
}

static const char usage_text[] =
	"Usage: tools/bench tcp-scale [--conns N]… [--bursts N] [--seed N] [--json]\n"
	"\n"
	"  --conns N   connections, up to 8 times; 1000 and 1000000\n"
	"  --bursts N  bursts of 32 requests that are measured; 20000\n"
	"  --seed N    1\n"
	"  --json      the numbers alone\n"
	"\n"
	"Exit codes: 0 a packet costs at most twice as much with the last number of connections as with the\n"
	"first, its state is 384 bytes at most and idle ones hold no packet; 1 not so; 2 wrong use.\n";

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "conns", required_argument, NULL, 'c' }, { "bursts", required_argument, NULL, 'b' },
		{ "seed", required_argument, NULL, 's' },  { "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },        { NULL, 0, NULL, 0 },
	};
	uint32_t counts[COUNTS_MAX] = { 1000, 1000000 };
	struct result results[COUNTS_MAX];
	uint32_t given = 0;
	uint32_t count;
	uint32_t bursts = 20000;
	uint64_t seed = 1;
	bool json = false;
	bool small = true;
	double ratio;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			if (given == COUNTS_MAX)
				return duo_usage(usage_text, 2);
			counts[given++] = duo_number(optarg, 1, 10000000);
			break;
		case 'b':
			bursts = duo_number(optarg, 8, 10000000);
			break;
		case 's':
			seed = duo_number(optarg, 0, UINT32_MAX);
			break;
		case 'j':
			json = true;
			break;
		case 'h':
			return duo_usage(usage_text, 0);
		default:
			return duo_usage(usage_text, 2);
		}
	}
	if (optind != argc)
		return duo_usage(usage_text, 2);
	count = given > 0 ? given : 2;
	for (uint32_t i = 0; i < count; i++) {
		results[i] = measure(counts[i], bursts, seed);
		small &= results[i].packets_held == 0 && results[i].state_bytes <= STATE_BYTES_MAX;
	}
	ratio = results[count - 1].busy_ns_per_packet / results[0].busy_ns_per_packet;
	(json ? print_json : print_table)(results, count, ratio);
	return ratio <= 2.0 && small ? 0 : 1;
}
