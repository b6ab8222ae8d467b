/* Connections per second: open, a small request, its answer, close, between two engines in memory. The engine's
 * work is measured from outside, stage by stage: the calls of a worker's loop, and inside the engine's input the
 * parser, the checksum and the look-up, each called a second time on its own. lib/ reads no clock. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "duo.h"
#include "tcp/internal.h"

#define SERVER_PORT 443
#define POOL_PACKETS 65536u
#define OPEN_MAX 512u /* connections on the way at a time */
#define TURN_NS (100 * NSEC_PER_USEC)
#define REQUEST_BYTES 200u
#define RESPONSE_BYTES 500u

enum stage {
	STAGE_INPUT,
	STAGE_TIMERS,
	STAGE_EVENTS, /* with the owner's calls: take, send, close */
	STAGE_OUTPUT,
	STAGE_TRANSMIT,
	STAGE_COUNT
};

static const char *const stage_names[STAGE_COUNT] = { "input", "timers", "events and calls", "output",
						      "transmit" };

/* Parts of input, done once more for the clock. */
enum part { PART_PARSE, PART_CHECKSUM, PART_LOOKUP, PART_COUNT };

static const char *const part_names[PART_COUNT] = { "parse", "checksum", "look-up" };

struct bench {
	struct duo_side client;
	struct duo_side server;
	uint64_t now_ns;
	uint64_t opened;
	uint64_t done;
	uint64_t cycles[STAGE_COUNT]; /* of the server */
	uint64_t part_cycles[PART_COUNT];
	uint64_t client_cycles;
	uint64_t packets_in;
	uint64_t packets_out;
	uint64_t clock_cycles; /* what reading the counter costs */
	uint64_t turns;
};

static void
put(struct duo_side *s, tcp_conn_t conn, uint32_t bytes)
{
	struct pkt *p = pkt_alloc(&s->payload);

	CHECK(p != NULL);
	memset(pkt_append(p, bytes), 'x', bytes);
	CHECK(tcp_send(s->tcp, conn, p, false) == ERR_OK);
}

static uint32_t
drain(struct duo_side *s, tcp_conn_t conn)
{
	struct pkt *p;
	uint32_t taken = 0;

	while ((p = tcp_take(s->tcp, conn)) != NULL) {
		taken += pkt_total(p);
		pkt_free(p);
	}
	if (taken > 0)
		tcp_consumed(s->tcp, conn, taken);
	return taken;
}

static void
server_events(struct bench *b)
{
	struct tcp_event e;

	while (tcp_event_next(b->server.tcp, &e)) {
		CHECK((e.bits & TCP_EVENT_ERROR) == 0);
		if (drain(&b->server, e.conn) > 0)
			put(&b->server, e.conn, RESPONSE_BYTES);
		if (e.bits & TCP_EVENT_EOF) {
			tcp_close(b->server.tcp, e.conn);
			b->done++;
		}
	}
}

static void
client_events(struct bench *b)
{
	struct tcp_event e;

	while (tcp_event_next(b->client.tcp, &e)) {
		CHECK((e.bits & TCP_EVENT_ERROR) == 0);
		if (e.bits & TCP_EVENT_CONNECTED)
			put(&b->client, e.conn, REQUEST_BYTES);
		if (drain(&b->client, e.conn) > 0)
			tcp_close(b->client.tcp, e.conn);
	}
}

/* What input does with each segment before it means anything, once more. */
static void
measure_parts(struct bench *b, const struct duo_burst *burst)
{
	struct tcphdr h[DUO_BURST];
	uint64_t at = duo_cycles();
	uint32_t found = 0;
	uint64_t then;

	for (uint32_t i = 0; i < burst->count; i++)
		CHECK(tcphdr_parse(bytes_make(pkt_data(burst->pkt[i]), pkt_len(burst->pkt[i])), &h[i]) == ERR_OK);
	then = duo_cycles();
	b->part_cycles[PART_PARSE] += then - at;
	for (uint32_t i = 0; i < burst->count; i++) {
		pkt_meta(burst->pkt[i])->l4_csum = PKT_CSUM_UNKNOWN;
		CHECK(tcp_checksum_is_good(burst->pkt[i]));
		pkt_meta(burst->pkt[i])->l4_csum = PKT_CSUM_GOOD;
	}
	at = duo_cycles();
	b->part_cycles[PART_CHECKSUM] += at - then;
	for (uint32_t i = 0; i < burst->count; i++) {
		const struct pkt_meta *meta = pkt_meta(burst->pkt[i]);
		struct tcp_tuple tuple = { meta->dst, meta->src, h[i].dst_port, h[i].src_port };

		found += tcp_table_find(b->server.tcp, &tuple) != 0;
	}
	CHECK(found <= burst->count);
	b->part_cycles[PART_LOOKUP] += duo_cycles() - at;
}

static void
server_turn(struct bench *b, struct duo_burst *burst, bool parts)
{
	uint64_t at[STAGE_COUNT + 1];

	if (parts && burst->count > 0)
		measure_parts(b, burst);
	b->packets_in += burst->count;
	at[0] = duo_cycles();
	duo_deliver(&b->server, burst, b->now_ns);
	at[1] = duo_cycles();
	tcp_advance(b->server.tcp, b->now_ns);
	at[2] = duo_cycles();
	server_events(b);
	at[3] = duo_cycles();
	tcp_output_ready(b->server.tcp, b->now_ns);
	at[4] = duo_cycles();
	duo_collect(&b->server, burst);
	at[5] = duo_cycles();
	for (uint32_t i = 0; i < STAGE_COUNT; i++)
		b->cycles[i] += at[i + 1] - at[i] - b->clock_cycles;
	b->packets_out += burst->count;
	b->turns++;
}

static void
client_turn(struct bench *b, struct duo_burst *burst)
{
	uint64_t from = duo_cycles();

	duo_deliver(&b->client, burst, b->now_ns);
	tcp_advance(b->client.tcp, b->now_ns);
	client_events(b);
	tcp_output_ready(b->client.tcp, b->now_ns);
	duo_collect(&b->client, burst);
	b->client_cycles += duo_cycles() - from;
}

static void
open_some(struct bench *b, uint64_t count)
{
	struct ip_addr server = { { [10] = 0xff, [11] = 0xff, 192, 168, 0, 1 } };

	for (uint32_t i = 0; i < DUO_BURST && b->opened < count && b->opened - b->done < OPEN_MAX; i++) {
		/* A tuple comes again after 64,000 others: its TIME-WAIT is over or is taken over. */
		struct tcp_tuple tuple = { duo_address((uint32_t)(b->opened >> 15)), server,
					   (uint16_t)(1024 + (b->opened & 0x7fff)), SERVER_PORT };
		tcp_conn_t conn;

		CHECK(tcp_connect(b->client.tcp, &tuple, 0, &conn, b->now_ns) == ERR_OK);
		b->opened++;
	}
}

static uint64_t
cost_of_clock(void)
{
	uint64_t least = UINT64_MAX;

	for (uint32_t i = 0; i < 1000; i++) {
		uint64_t from = duo_cycles();
		uint64_t spent = duo_cycles() - from;

		if (spent < least)
			least = spent;
	}
	return least;
}

static void
run(struct bench *b, uint64_t count, uint64_t seed, bool parts)
{
	struct duo_burst burst = { .count = 0 };
	struct tcp_config config = duo_config(4 * OPEN_MAX, seed);

	memset(b, 0, sizeof(*b));
	b->clock_cycles = cost_of_clock();
	b->now_ns = 1000 * NSEC_PER_SEC;
	config.time_wait_max = 65536;
	config.orphans_max = 4 * OPEN_MAX;
	duo_open(&b->client, &config, POOL_PACKETS, b->now_ns);
	config.hash_key[0]++;
	duo_open(&b->server, &config, POOL_PACKETS, b->now_ns);
	CHECK(tcp_listen(b->server.tcp, &(struct ip_addr){ { 0 } }, SERVER_PORT, 0) == ERR_OK);
	while (b->done < count) {
		open_some(b, count);
		client_turn(b, &burst);
		server_turn(b, &burst, parts);
		b->now_ns += TURN_NS;
	}
	CHECK(tcp_stats(b->server.tcp)->accepted >= count);
}

/* --- the table ----------------------------------------------------------------------------- */

static uint64_t
sum(const uint64_t *cycles, uint32_t count)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < count; i++)
		total += cycles[i];
	return total;
}

static double
cycles_per_conn(const struct bench *b)
{
	return (double)sum(b->cycles, STAGE_COUNT) / (double)b->done;
}

struct result {
	double server_rate; /* of a core that does nothing else */
	double both_rate;   /* both ends on one core */
	double server_cycles;
	double packets;     /* of a connection, at the server */
};

static struct result
evaluate(const struct bench *b, double cycles_per_ns)
{
	double server = cycles_per_conn(b);
	double both = server + (double)b->client_cycles / (double)b->done;

	return (struct result){
		.server_rate = cycles_per_ns * 1e9 / server,
		.both_rate = cycles_per_ns * 1e9 / both,
		.server_cycles = server,
		.packets = (double)(b->packets_in + b->packets_out) / (double)b->done,
	};
}

static void
print_table(const struct bench *b, const struct bench *with_parts, const struct result *r)
{
	double packets = (double)(b->packets_in + b->packets_out);

	printf("connections per second and core, server alone: %.0f\n", r->server_rate);
	printf("both ends on one core:                         %.0f\n\n", r->both_rate);
	printf("%-20s  %14s  %14s\n", "stage (server)", "cycles/packet", "cycles/conn");
	for (uint32_t i = 0; i < STAGE_COUNT; i++)
		printf("%-20s  %14.1f  %14.0f\n", stage_names[i], (double)b->cycles[i] / packets,
		       (double)b->cycles[i] / (double)b->done);
	printf("%-20s  %14.1f  %14.0f\n\n", "all", (double)sum(b->cycles, STAGE_COUNT) / packets,
	       r->server_cycles);
	printf("of input, each on its own: cycles for a packet that comes in\n");
	for (uint32_t i = 0; i < PART_COUNT; i++)
		printf("  %-18s  %14.1f\n", part_names[i],
		       (double)with_parts->part_cycles[i] / (double)with_parts->packets_in);
	printf("\n%.1f packets in and out for each connection at the server: SYN, request of %u bytes, response\n"
	       "of %u, both FINs, TIME-WAIT at the client. Packets are malloc, checksums software.\n",
	       r->packets, REQUEST_BYTES, RESPONSE_BYTES);
}

static void
print_json(const struct bench *b, const struct bench *with_parts, const struct result *r)
{
	double packets = (double)(b->packets_in + b->packets_out);

	printf("{\"server_conns_per_s\": %.0f, \"both_conns_per_s\": %.0f, \"packets_per_conn\": %.2f, ",
	       r->server_rate, r->both_rate, r->packets);
	printf("\"cycles_per_packet\": {");
	for (uint32_t i = 0; i < STAGE_COUNT; i++)
		printf("%s\"%s\": %.1f", i == 0 ? "" : ", ", stage_names[i], (double)b->cycles[i] / packets);
	printf("}, \"of_input\": {");
	for (uint32_t i = 0; i < PART_COUNT; i++)
		printf("%s\"%s\": %.1f", i == 0 ? "" : ", ", part_names[i],
		       (double)with_parts->part_cycles[i] / (double)with_parts->packets_in);
	printf("}}\n");
}

static const char usage_text[] =
	"Usage: tools/bench tcp-cps [--conns N] [--seed N] [--json]\n"
	"\n"
	"  --conns N  connections, 512 on the way at a time; 200000\n"
	"  --seed N   1\n"
	"  --json     the numbers alone\n"
	"\n"
	"Exit codes: 0 fine (no goal is judged), 2 wrong use.\n";

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "conns", required_argument, NULL, 'c' },
		{ "seed", required_argument, NULL, 's' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	static struct bench plain;
	static struct bench again;
	static struct bench with_parts;
	uint32_t count = 200000;
	uint64_t seed = 1;
	bool json = false;
	struct result result;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			count = duo_number(optarg, 1, 100000000);
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
	/* The best of three: what else the machine does at the time only ever adds. */
	for (uint32_t i = 0; i < 3; i++) {
		run(&again, count / 3 + 1, seed + i, false);
		duo_close(&again.client);
		duo_close(&again.server);
		if (i == 0 || cycles_per_conn(&again) < cycles_per_conn(&plain))
			plain = again;
	}
	run(&with_parts, count / 4 + 1, seed, true);
	duo_close(&with_parts.client);
	duo_close(&with_parts.server);
	result = evaluate(&plain, duo_cycles_per_ns());
	(json ? print_json : print_table)(&plain, &with_parts, &result);
	return 0;
}
