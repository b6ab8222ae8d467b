/* Attacks at the highest rate that this machine makes, against the engine in memory, in real time: random SYNs
 * while honest clients connect over a wire of 10 ms; random ACKs that guess cookies; SACKs whose holes move. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../../clock.h"
#include "base/check.h"
#include "base/prng.h"
#include "duo.h"
#include "tcp/internal.h"

#define SERVER_PORT 443
#define POOL_PACKETS 65536u
#define HONEST_PER_S 200u
#define USUAL_PER_S 30000u /* without an attack: what a packet costs in bursts */
#define HONEST_TIMEOUT_NS (5 * NSEC_PER_SEC)
#define WIRE_NS (5 * NSEC_PER_MSEC) /* one way */
#define WIRE_PACKETS 4096u
#define MAC_VALUES (1u << 24) /* of a cookie */
#define HALF_OPEN_MAX 4096u
#define CONNS_MAX 16384u
#define REQUEST_BYTES 200u
#define HONEST_GOAL 0.99
#define FLOOD_COST_GOAL 2.0 /* of a stray ACK, against an honest packet */
#define SACK_COST_GOAL 3.0  /* of a SACK, against a plain ACK */
#define GROWTH_BYTES_MAX (8u << 20)

/* Packets on the way, in the order in which they were sent. */
struct wire {
	struct pkt *pkt[WIRE_PACKETS];
	uint64_t at_ns[WIRE_PACKETS];
	uint32_t head;
	uint32_t count;
	uint64_t lost;
};

struct flood {
	struct duo_side server;
	struct duo_side client;
	struct pkt_pool strangers; /* what they send */
	struct wire to_server;
	struct wire to_client;
	struct prng prng;
	uint32_t rate; /* of honest clients, in a second */
	uint64_t open_at_ns;
	uint64_t now_ns;
	uint64_t opened;
	uint64_t served;
	uint64_t failed;
	uint64_t syns;
	uint64_t syn_cycles;
	uint64_t honest_packets;
	uint64_t honest_cycles;
	uint32_t half_open_most;
};

struct result {
	double syns_per_s;
	double syn_ns;
	uint64_t opened;
	uint64_t served;
	uint64_t cookies;
	double growth_bytes;
	uint32_t packets_held;
	uint32_t half_open_most;
	double honest_ns; /* of a packet, without an attack */
	uint64_t acks;
	double ack_ns;
	uint64_t acks_accepted;
	uint64_t resets;
	uint64_t resets_allowed;
	double sack_ns;
};

/* --- the wire ---------------------------------------------------------------------------- */

static void
wire_put(struct wire *w, struct pkt *p, uint64_t now_ns)
{
	uint32_t at = (w->head + w->count) % WIRE_PACKETS;

	if (w->count == WIRE_PACKETS) {
		w->lost++;
		pkt_free(p);
		return;
	}
	w->pkt[at] = p;
	w->at_ns[at] = now_ns + WIRE_NS;
	w->count++;
}

static void
wire_get(struct wire *w, struct duo_burst *burst, uint64_t now_ns)
{
	while (burst->count < DUO_BURST && w->count > 0 && w->at_ns[w->head] <= now_ns) {
		burst->pkt[burst->count++] = w->pkt[w->head];
		w->head = (w->head + 1) % WIRE_PACKETS;
		w->count--;
	}
}

static void
wire_clear(struct wire *w)
{
	for (; w->count > 0; w->count--) {
		pkt_free(w->pkt[w->head]);
		w->head = (w->head + 1) % WIRE_PACKETS;
	}
}

/* --- strangers ---------------------------------------------------------------------------- */

static bool
is_stranger(const struct ip_addr *a)
{
	return a->byte[12] == 172;
}

static struct ip_addr
server_address(void)
{
	return (struct ip_addr){ { [10] = 0xff, [11] = 0xff, 192, 168, 0, 1 } };
}

static struct pkt *
stranger_packet(struct flood *f, struct tcphdr *h)
{
	struct pkt *p = pkt_alloc(&f->strangers);
	uint64_t random = prng_next(&f->prng);

	CHECK(p != NULL);
	h->src_port = (uint16_t)(random >> 32 | 1);
	h->dst_port = SERVER_PORT;
	h->window = 65535;
	tcphdr_emit(h, pkt_append(p, tcphdr_bytes(h)));
	pkt_meta(p)->l4_csum = PKT_CSUM_GOOD;
	pkt_meta(p)->dst = server_address();
	pkt_meta(p)->src = (struct ip_addr){ { [10] = 0xff, [11] = 0xff, 172, (uint8_t)(random >> 16),
					       (uint8_t)(random >> 8), (uint8_t)random } };
	return p;
}

static void
fill_syns(struct flood *f, struct duo_burst *burst)
{
	while (burst->count < DUO_BURST) {
		struct tcphdr h = {
			.flags = TCPHDR_SYN,
			.seq = (uint32_t)prng_next(&f->prng),
			.options = TCPHDR_HAS_MSS | TCPHDR_HAS_TIMES | TCPHDR_HAS_SHIFT | TCPHDR_HAS_SACK_OK,
			.mss = 1460,
			.shift = 7,
			.ts_value = 1,
		};

		burst->pkt[burst->count++] = stranger_packet(f, &h);
		f->syns++;
	}
}

/* Guesses that know all but the 24 bits of the MAC. */
static void
fill_acks(struct flood *f, struct duo_burst *burst)
{
	uint32_t step = (uint32_t)(f->now_ns / TCP_COOKIE_STEP_NS) << 27;

	while (burst->count < DUO_BURST) {
		struct tcphdr h = {
			.flags = TCPHDR_ACK,
			.seq = (uint32_t)prng_next(&f->prng),
			.ack = (step | (uint32_t)prng_next(&f->prng) >> 5) + 1,
		};

		burst->pkt[burst->count++] = stranger_packet(f, &h);
	}
}

/* --- both ends ------------------------------------------------------------------------------ */

static void
put(struct duo_side *s, tcp_conn_t conn, uint32_t bytes)
{
	struct pkt *p = pkt_alloc(&s->payload);

	CHECK(p != NULL);
	memset(pkt_append(p, bytes), 'x', bytes);
	CHECK(tcp_send(s->tcp, conn, p, false) == ERR_OK);
}

static bool
drain(struct duo_side *s, tcp_conn_t conn)
{
	struct pkt *p;
	bool any = false;

	while ((p = tcp_take(s->tcp, conn)) != NULL) {
		tcp_consumed(s->tcp, conn, pkt_total(p));
		pkt_free(p);
		any = true;
	}
	return any;
}

static void
server_events(struct flood *f)
{
	struct tcp_event e;

	while (tcp_event_next(f->server.tcp, &e)) {
		if (e.bits & TCP_EVENT_ERROR) {
			tcp_close(f->server.tcp, e.conn);
			continue;
		}
		if (drain(&f->server, e.conn))
			put(&f->server, e.conn, REQUEST_BYTES);
		if (e.bits & TCP_EVENT_EOF)
			tcp_close(f->server.tcp, e.conn);
	}
}

static void
client_events(struct flood *f)
{
	struct tcp_event e;

	while (tcp_event_next(f->client.tcp, &e)) {
		if (e.bits & TCP_EVENT_ERROR) {
			f->failed++;
			tcp_close(f->client.tcp, e.conn);
			continue;
		}
		if (e.bits & TCP_EVENT_CONNECTED)
			put(&f->client, e.conn, REQUEST_BYTES);
		if (drain(&f->client, e.conn)) {
			f->served++;
			tcp_close(f->client.tcp, e.conn);
		}
	}
}

/* Answers to strangers leave; those to honest clients go over the wire. */
static void
server_output(struct flood *f)
{
	struct duo_burst burst;

	do {
		duo_collect(&f->server, &burst);
		for (uint32_t i = 0; i < burst.count; i++) {
			if (is_stranger(&pkt_meta(burst.pkt[i])->dst))
				pkt_free(burst.pkt[i]);
			else
				wire_put(&f->to_client, burst.pkt[i], f->now_ns);
		}
	} while (burst.count == DUO_BURST);
}

static uint64_t
server_turn(struct flood *f, struct duo_burst *burst)
{
	uint64_t from = duo_cycles();

	duo_deliver(&f->server, burst, f->now_ns);
	tcp_advance(f->server.tcp, f->now_ns);
	server_events(f);
	tcp_output_ready(f->server.tcp, f->now_ns);
	server_output(f);
	return duo_cycles() - from;
}

/* One turn: honest clients open at their rate, what the wire has arrives. */
static void
honest_turn(struct flood *f, bool opening)
{
	struct duo_burst burst = { .count = 0 };

	while (opening && f->open_at_ns <= f->now_ns) {
		struct tcp_tuple tuple = { duo_address((uint32_t)(f->opened / 20000)), server_address(),
					   (uint16_t)(1024 + f->opened % 20000), SERVER_PORT };
		tcp_conn_t conn;

		CHECK(tcp_connect(f->client.tcp, &tuple, 0, &conn, f->now_ns) == ERR_OK);
		f->opened++;
		f->open_at_ns += NSEC_PER_SEC / f->rate;
	}
	do {
		wire_get(&f->to_client, &burst, f->now_ns);
		duo_deliver(&f->client, &burst, f->now_ns);
		tcp_advance(f->client.tcp, f->now_ns);
		client_events(f);
		tcp_output_ready(f->client.tcp, f->now_ns);
		duo_collect(&f->client, &burst);
		for (uint32_t i = 0; i < burst.count; i++)
			wire_put(&f->to_server, burst.pkt[i], f->now_ns);
		burst.count = 0;
	} while (f->to_client.count > 0 && f->to_client.at_ns[f->to_client.head] <= f->now_ns);
	do {
		uint32_t count;

		wire_get(&f->to_server, &burst, f->now_ns);
		count = burst.count;
		if (count == 0)
			break;
		f->honest_cycles += server_turn(f, &burst);
		f->honest_packets += count;
	} while (true);
}

static void
start(struct flood *f, uint64_t seed)
{
	struct tcp_config config = duo_config(CONNS_MAX, seed);

	memset(f, 0, sizeof(*f));
	prng_init(&f->prng, seed);
	f->now_ns = clock_ns();
	pkt_pool_init(&f->strangers, POOL_PACKETS);
	config.half_open_max = HALF_OPEN_MAX;
	config.time_wait_max = 65536;
	duo_open(&f->server, &config, POOL_PACKETS, f->now_ns);
	config.hash_key[0]++;
	duo_open(&f->client, &config, POOL_PACKETS, f->now_ns);
	CHECK(tcp_listen(f->server.tcp, &(struct ip_addr){ { 0 } }, SERVER_PORT, 0) == ERR_OK);
}

static void
stop(struct flood *f, struct result *r)
{
	struct pkt_pool_stats strangers;

	wire_clear(&f->to_server);
	wire_clear(&f->to_client);
	tcp_fini(f->client.tcp);
	tcp_fini(f->server.tcp);
	strangers = pkt_pool_stats(&f->strangers);
	r->packets_held = duo_packets_held(&f->server) + duo_packets_held(&f->client) + strangers.total -
			  strangers.free;
	free(f->client.memory);
	free(f->server.memory);
}

/* What an honest packet costs when nobody attacks. */
static double
measure_honest(struct flood *f, double cycles_per_ns)
{
	uint64_t end_ns = f->now_ns + NSEC_PER_SEC;

	f->rate = USUAL_PER_S;
	f->open_at_ns = f->now_ns;
	while (f->now_ns < end_ns || f->served + f->failed < f->opened) {
		f->now_ns = clock_ns();
		honest_turn(f, f->now_ns < end_ns);
	}
	return (double)f->honest_cycles / cycles_per_ns / (double)(f->honest_packets ? f->honest_packets : 1);
}

/* Every page that the engines can touch is touched before: what grows afterwards is held for the flood. */
static void
touch(struct flood *f)
{
	struct duo_burst burst = { .count = 0 };

	for (uint32_t i = 0; i < 4 * HALF_OPEN_MAX / DUO_BURST; i++) {
		fill_syns(f, &burst);
		server_turn(f, &burst);
	}
	f->syns = 0;
}

static void
flood_syns(struct flood *f, uint32_t seconds, double cycles_per_ns, struct result *r)
{
	struct duo_burst burst = { .count = 0 };
	uint64_t from_ns = clock_ns();
	uint64_t end_ns = from_ns + seconds * NSEC_PER_SEC;
	uint64_t opened = f->opened;
	uint64_t served = f->served;
	size_t resident;

	touch(f);
	f->rate = HONEST_PER_S;
	f->open_at_ns = from_ns;
	resident = duo_resident_bytes();
	while (f->now_ns < end_ns) {
		f->now_ns = clock_ns();
		honest_turn(f, true);
		fill_syns(f, &burst);
		f->syn_cycles += server_turn(f, &burst);
		if (tcp_stats(f->server.tcp)->half_open > f->half_open_most)
			f->half_open_most = tcp_stats(f->server.tcp)->half_open;
	}
	r->growth_bytes = (double)duo_resident_bytes() - (double)resident;
	r->syns_per_s = (double)f->syns / ((double)(f->now_ns - from_ns) / 1e9);
	r->syn_ns = (double)f->syn_cycles / cycles_per_ns / (double)f->syns;
	/* The last ones have until their SYN's third try, under the same flood. */
	end_ns = f->now_ns + HONEST_TIMEOUT_NS;
	while (f->now_ns < end_ns && f->served + f->failed < f->opened) {
		f->now_ns = clock_ns();
		honest_turn(f, false);
		fill_syns(f, &burst);
		server_turn(f, &burst);
	}
	r->opened = f->opened - opened;
	r->served = f->served - served;
	r->cookies = tcp_stats(f->server.tcp)->cookies_accepted;
	r->half_open_most = f->half_open_most;
}

static void
flood_acks(struct flood *f, uint32_t count, double cycles_per_ns, struct result *r)
{
	const struct tcp_stats *stats = tcp_stats(f->server.tcp);
	struct duo_burst burst = { .count = 0 };
	uint64_t accepted = stats->accepted;
	uint64_t resets = stats->resets_out;
	uint64_t from_ns = clock_ns();
	uint64_t cycles = 0;

	f->now_ns = from_ns;
	for (uint32_t n = 0; n < count; n += DUO_BURST) {
		f->now_ns = clock_ns();
		fill_acks(f, &burst);
		cycles += server_turn(f, &burst);
		r->acks += DUO_BURST;
	}
	r->ack_ns = (double)cycles / cycles_per_ns / (double)r->acks;
	r->acks_accepted = stats->accepted - accepted;
	r->resets = stats->resets_out - resets;
	r->resets_allowed = TCP_RESETS_BURST + (f->now_ns - from_ns) / (NSEC_PER_SEC / TCP_RESETS_PER_SECOND) + 1;
}

/* --- SACKs -------------------------------------------------------------------------------------- */

#define SACK_WARM_UP 60u
#define SACK_ACKS 100000u
#define SACK_PACE_NS (10 * NSEC_PER_USEC) /* 100,000 in a second */

/* A peer made by hand. */
struct peer {
	struct tcphdr last; /* what it sends next */
	uint32_t edge;      /* of what it has received */
	tcp_conn_t conn;
};

/* Gives the server a segment of the peer and looks at what comes back. */
static uint64_t
peer_turn(struct flood *f, struct peer *peer)
{
	struct duo_burst burst = { .count = 1 };
	struct pkt *p = pkt_alloc(&f->strangers);
	struct tcp_event e;
	uint64_t from;
	uint64_t spent;

	CHECK(p != NULL);
	peer->last.src_port = 1000;
	peer->last.dst_port = SERVER_PORT;
	tcphdr_emit(&peer->last, pkt_append(p, tcphdr_bytes(&peer->last)));
	pkt_meta(p)->l4_csum = PKT_CSUM_GOOD;
	pkt_meta(p)->src = duo_address(1u << 20);
	pkt_meta(p)->dst = server_address();
	burst.pkt[0] = p;
	from = duo_cycles();
	duo_deliver(&f->server, &burst, f->now_ns);
	tcp_advance(f->server.tcp, f->now_ns);
	tcp_output_ready(f->server.tcp, f->now_ns);
	spent = duo_cycles() - from;
	while (tcp_event_next(f->server.tcp, &e))
		if (e.bits & TCP_EVENT_ACCEPTED)
			peer->conn = e.conn;
	do {
		duo_collect(&f->server, &burst);
		for (uint32_t i = 0; i < burst.count; i++) {
			struct pkt *out = burst.pkt[i];
			struct tcphdr h;
			uint32_t end;

			CHECK(tcphdr_parse(bytes_make(pkt_data(out), pkt_len(out)), &h) == ERR_OK);
			end = h.seq + pkt_total(out) - h.header_bytes + (h.flags & TCPHDR_SYN ? 1 : 0);
			if (peer->edge == 0 || seq_gt(end, peer->edge))
				peer->edge = end;
			pkt_free(out);
		}
	} while (burst.count == DUO_BURST);
	return spent;
}

static void
peer_fill(struct flood *f, const struct peer *peer)
{
	while (tcp_send_room(f->server.tcp, peer->conn) >= REQUEST_BYTES &&
	       tcp_send_pieces(f->server.tcp, peer->conn) > 0)
		put(&f->server, peer->conn, REQUEST_BYTES);
}

/* What an ACK costs whose blocks are holes in all that a connection may have in flight. */
static double
measure_sacks(struct flood *f, double cycles_per_ns)
{
	struct peer peer = { .last = { .flags = TCPHDR_SYN, .seq = 77, .window = 65535, .mss = 200 } };
	uint64_t cycles = 0;
	uint32_t una;
	uint32_t segments;

	peer.last.options = TCPHDR_HAS_MSS | TCPHDR_HAS_SACK_OK;
	peer_turn(f, &peer);
	peer.last = (struct tcphdr){ .flags = TCPHDR_ACK, .seq = 78, .ack = peer.edge, .window = 65535 };
	peer_turn(f, &peer);
	CHECK(peer.conn != 0);
	for (uint32_t i = 0; i < SACK_WARM_UP; i++) {
		peer_fill(f, &peer);
		f->now_ns += NSEC_PER_MSEC;
		peer_turn(f, &peer);
		peer.last.ack = peer.edge;
	}
	peer_fill(f, &peer);
	peer_turn(f, &peer);
	una = peer.last.ack;
	segments = (peer.edge - una) / 200;
	CHECK(segments >= 32);
	for (uint32_t n = 0; n < SACK_ACKS; n++) {
		peer.last.sack_count = 4;
		for (uint32_t i = 0; i < peer.last.sack_count; i++) {
			uint32_t start = una + 200 * (1 + prng_below(&f->prng, segments - 2));

			peer.last.sack[i] = (struct tcphdr_sack){ start, start + 200 };
		}
		f->now_ns += SACK_PACE_NS;
		cycles += peer_turn(f, &peer);
	}
	tcp_abort(f->server.tcp, peer.conn);
	server_output(f);
	return (double)cycles / cycles_per_ns / SACK_ACKS;
}

/* --- the table ------------------------------------------------------------------------------------ */

/* Guesses that know the clock's step, as these do, hit one MAC in 2^24; more hits than these are no chance. */
static uint64_t
accepted_max(uint64_t guesses)
{
	return 2 + 8 * guesses / MAC_VALUES;
}

static bool
goals_are_met(const struct result *r)
{
	return (double)r->served >= HONEST_GOAL * (double)r->opened && r->growth_bytes <= GROWTH_BYTES_MAX &&
	       r->packets_held == 0 && r->acks_accepted <= accepted_max(r->acks) &&
	       r->resets <= r->resets_allowed &&
	       r->ack_ns <= FLOOD_COST_GOAL * r->honest_ns && r->sack_ns <= SACK_COST_GOAL * r->honest_ns;
}

static void
print_table(const struct result *r)
{
	printf("without an attack    %8.0f ns for an honest packet in, with all that follows from it\n\n",
	       r->honest_ns);
	printf("SYN flood            %8.0f SYNs/s, %.0f ns each\n", r->syns_per_s, r->syn_ns);
	printf("  honest clients     %8.2f %% of %llu served (goal: 99); %llu handshakes by cookie\n",
	       100.0 * (double)r->served / (double)r->opened, (unsigned long long)r->opened,
	       (unsigned long long)r->cookies);
	printf("  half-open          %8u at most, of %u\n", r->half_open_most, HALF_OPEN_MAX);
	printf("  memory             %8.0f KiB more than before (goal: %u at most), %u packets held at the end\n",
	       r->growth_bytes / 1024, GROWTH_BYTES_MAX >> 10, r->packets_held);
	printf("\n");
	printf("ACK flood            %8.2f M guesses, %.0f ns each, %.2f of an honest packet (goal: 2 at most)\n",
	       (double)r->acks / 1e6, r->ack_ns, r->ack_ns / r->honest_ns);
	printf("  connections        %8llu (a cookie's MAC has 24 bits: %.1f expected; goal: %llu at most)\n",
	       (unsigned long long)r->acks_accepted, (double)r->acks / MAC_VALUES,
	       (unsigned long long)accepted_max(r->acks));
	printf("  resets             %8llu (goal: %llu at most, the rate)\n\n", (unsigned long long)r->resets,
	       (unsigned long long)r->resets_allowed);
	printf("SACKs, moving holes  %8.0f ns each, %.2f of an honest packet (goal: 3 at most)\n", r->sack_ns,
	       r->sack_ns / r->honest_ns);
}

static void
print_json(const struct result *r)
{
	printf("{\"honest_ns\": %.0f, \"syns_per_s\": %.0f, \"syn_ns\": %.0f, ", r->honest_ns, r->syns_per_s,
	       r->syn_ns);
	printf("\"opened\": %llu, \"served\": %llu, ", (unsigned long long)r->opened,
	       (unsigned long long)r->served);
	printf("\"cookies\": %llu, \"growth_bytes\": %.0f, \"packets_held\": %u, \"half_open_most\": %u, ",
	       (unsigned long long)r->cookies, r->growth_bytes, r->packets_held, r->half_open_most);
	printf("\"acks\": %llu, \"ack_ns\": %.0f, \"acks_accepted\": %llu, \"resets\": %llu, ",
	       (unsigned long long)r->acks, r->ack_ns, (unsigned long long)r->acks_accepted,
	       (unsigned long long)r->resets);
	printf("\"resets_allowed\": %llu, \"sack_ns\": %.0f}\n", (unsigned long long)r->resets_allowed,
	       r->sack_ns);
}

static const char usage_text[] =
	"Usage: tools/bench syn-flood [--seconds N] [--acks N] [--seed N] [--json]\n"
	"\n"
	"  --seconds N  of the SYN flood; 10\n"
	"  --acks N     guessed cookies; 10000000\n"
	"  --seed N     1\n"
	"  --json       the numbers alone\n"
	"\n"
	"Exit codes: 0 all goals of the table are met; 1 not so; 2 wrong use.\n";

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seconds", required_argument, NULL, 't' }, { "acks", required_argument, NULL, 'a' },
		{ "seed", required_argument, NULL, 's' },    { "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },          { NULL, 0, NULL, 0 },
	};
	static struct flood flood;
	struct result result = { 0 };
	double cycles_per_ns = duo_cycles_per_ns();
	uint32_t seconds = 10;
	uint32_t acks = 10000000;
	uint64_t seed = 1;
	bool json = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 't':
			seconds = duo_number(optarg, 1, 3600);
			break;
		case 'a':
			acks = duo_number(optarg, DUO_BURST, UINT32_MAX - DUO_BURST);
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
	start(&flood, seed);
	result.honest_ns = measure_honest(&flood, cycles_per_ns);
	flood_syns(&flood, seconds, cycles_per_ns, &result);
	flood_acks(&flood, acks, cycles_per_ns, &result);
	result.sack_ns = measure_sacks(&flood, cycles_per_ns);
	stop(&flood, &result);
	(json ? print_json : print_table)(&result);
	return goals_are_met(&result) ? 0 : 1;
}
