/*
 * bench-virtual: one flow between two engines of ours over the relay's lanes, in virtual time. The same losses as
 * on the real relay, on any machine, however busy: what it shows is the algorithms, not the speed of a processor.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "lane.h"
#include "pkt/pkt.h"
#include "spec.h"
#include "stream.h"
#include "tcp/tcp.h"

#define PORT 7000
#define KEY 1
#define PIECE_BYTES 1448
#define HEADER_BYTES 34 /* what Ethernet and IPv4 would add; the lane sees no IP in zeros */
#define FRAME_BYTES_MAX 1600
#define FRAMES_MAX 65536
#define SAMPLE_NS (10 * NSEC_PER_MSEC)
#define SAMPLES_MAX 12000
#define EVENTS_MAX 16384
#define TURNS_PER_MOMENT_MAX 1000 /* more at one moment: something goes in a circle */

static const char usage[] =
	"Usage: bench-virtual [options]\n"
	"\n"
	"One flow from one engine of ours to another, in virtual time. Prints what happened as JSON.\n"
	"\n"
	"  --both LIST, --forth LIST, --back LIST, --seed N   as of sluice-relay\n"
	"  --seconds N        of virtual time (20)\n"
	"  --events BYTES:COUNT:MS   events at a constant rate instead of as much as goes\n"
	"  --window BYTES     largest receive window (16777216)\n"
	"  --send BYTES       send queue (33554432)\n"
	"  --shift N          window scale (9)\n"
	"\n"
	"Exit codes: 0 fine, 1 the connection failed, 2 wrong use.\n";

struct end {
	struct tcp *tcp;
	struct pkt_pool pools[4]; /* headers, bare, received, payload */
	tcp_conn_t conn;
	bool is_connected;
	bool has_failed;
};

struct flow {
	struct spec spec[2];
	struct lane lane[2];
	struct end end[2]; /* the first sends */
	uint64_t seed;
	uint64_t seconds;
	uint64_t window_bytes;
	uint64_t send_bytes;
	uint64_t shift;
	uint64_t event_bytes;
	uint64_t event_count;
	uint64_t event_ms;
	uint64_t now_ns;
	uint64_t connected_ns;
	uint64_t sent_bytes;
	uint64_t sent_events;
	uint64_t received_bytes;
	uint32_t samples[SAMPLES_MAX];
	uint32_t sample_count;
	uint64_t arrived_ns[EVENTS_MAX];
	uint32_t arrived_count;
};

static const struct ip_addr addresses[2] = {
	{ { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 7, 0, 1 } },
	{ { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 7, 0, 2 } },
};

/* --- arguments ------------------------------------------------------------------------------- */

static bool
read_count(const char *text, uint64_t least, uint64_t most, uint64_t *value)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	*value = strtoull(text, &end, 10);
	return *end == '\0' && *value >= least && *value <= most;
}

static bool
read_list(const char *text, struct spec *spec)
{
	char complaint[SPEC_COMPLAINT_BYTES];

	if (spec_read(text, spec, complaint))
		return true;
	fprintf(stderr, "bench-virtual: %s\n", complaint);
	return false;
}

static bool
read_events(struct flow *f, const char *text)
{
	int end = 0;

	return sscanf(text, "%" SCNu64 ":%" SCNu64 ":%" SCNu64 "%n", &f->event_bytes, &f->event_count,
		      &f->event_ms, &end) == 3 &&
	       text[end] == '\0' && f->event_bytes > 0 && f->event_bytes <= PIECE_BYTES &&
	       f->event_count > 0 && f->event_count <= EVENTS_MAX && f->event_ms > 0;
}

static bool
read_option(struct flow *f, const char *name, const char *value)
{
	if (strcmp(name, "--both") == 0)
		return read_list(value, &f->spec[0]) && read_list(value, &f->spec[1]);
	if (strcmp(name, "--forth") == 0)
		return read_list(value, &f->spec[0]);
	if (strcmp(name, "--back") == 0)
		return read_list(value, &f->spec[1]);
	if (strcmp(name, "--seed") == 0)
		return read_count(value, 0, UINT64_MAX, &f->seed);
	if (strcmp(name, "--seconds") == 0)
		return read_count(value, 1, SAMPLES_MAX / 100, &f->seconds);
	if (strcmp(name, "--events") == 0)
		return read_events(f, value);
	if (strcmp(name, "--window") == 0)
		return read_count(value, 1, UINT32_C(1) << 30, &f->window_bytes);
	if (strcmp(name, "--send") == 0)
		return read_count(value, 1, UINT32_C(1) << 30, &f->send_bytes);
	return strcmp(name, "--shift") == 0 && read_count(value, 0, 14, &f->shift);
}

/* --- the two ends -------------------------------------------------------------------------------- */

static void
open_end(struct flow *f, struct end *e, uint64_t seed)
{
	struct tcp_config config = {
		.conns_max = 4,
		.half_open_max = 4,
		.time_wait_max = 4,
		.ranges_max = (uint32_t)f->send_bytes / PIECE_BYTES * 2 + 1024,
		.mss_v4 = 1460,
		.mss_v6 = 1440,
		.recv_bytes_max = (uint32_t)f->window_bytes,
		.send_bytes_max = (uint32_t)f->send_bytes,
		.window_shift = (uint8_t)f->shift,
		.ephemeral_port_min = 16384,
		.ephemeral_port_max = 65535,
		.seed = seed,
	};
	void *memory;

	memset(config.hash_key, (int)seed & 0x7f, sizeof(config.hash_key));
	memset(config.cookie_key, 0x5a, sizeof(config.cookie_key));
	for (int i = 0; i < 4; i++)
		pkt_pool_init(&e->pools[i], 1 << 17);
	memory = aligned_alloc(CACHE_LINE_BYTES, (tcp_bytes(&config) + 63) & ~(size_t)63);
	CHECK(memory != NULL);
	e->tcp = tcp_init(memory, &config, &e->pools[0], &e->pools[1], f->now_ns);
}

static void
open_flow(struct flow *f)
{
	struct tcp_tuple tuple = { addresses[0], addresses[1], 0, PORT };

	f->now_ns = NSEC_PER_SEC;
	for (int i = 0; i < 2; i++) {
		open_end(f, &f->end[i], f->seed * 2 + (uint64_t)i);
		/* Seeds as of the real relay: the same frames are lost. */
		CHECK(lane_open(&f->lane[i], &f->spec[i], FRAMES_MAX, FRAME_BYTES_MAX,
				f->seed * 2 + (uint64_t)i));
	}
	CHECK(tcp_listen(f->end[1].tcp, &addresses[1], PORT, 0) == ERR_OK);
	CHECK(tcp_connect(f->end[0].tcp, &tuple, 0, &f->end[0].conn, f->now_ns) == ERR_OK);
}

static void
close_flow(struct flow *f)
{
	for (int i = 0; i < 2; i++) {
		tcp_fini(f->end[i].tcp);
		free(f->end[i].tcp);
		lane_close(&f->lane[i]);
	}
}

/* Bytes of the stream in one piece; false: no room. */
static bool
send_piece(struct flow *f, uint32_t len)
{
	struct end *e = &f->end[0];
	struct pkt *p;

	if (tcp_send_room(e->tcp, e->conn) < len || tcp_send_pieces(e->tcp, e->conn) == 0)
		return false;
	p = pkt_alloc(&e->pools[3]);
	CHECK(p != NULL);
	stream_fill(KEY, f->sent_bytes, pkt_append(p, len), len);
	CHECK(tcp_send(e->tcp, e->conn, p, false) == ERR_OK);
	f->sent_bytes += len;
	return true;
}

/* When the sending application has something again. */
static uint64_t
send_due(struct flow *f)
{
	if (!f->end[0].is_connected)
		return NEVER_NS;
	if (f->event_count == 0) {
		while (send_piece(f, PIECE_BYTES))
			;
		return NEVER_NS;
	}
	while (f->sent_events < f->event_count) {
		uint64_t at_ns = f->connected_ns + f->sent_events * f->event_ms * NSEC_PER_MSEC;

		if (at_ns > f->now_ns)
			return at_ns;
		if (!send_piece(f, (uint32_t)f->event_bytes))
			return NEVER_NS;
		f->sent_events++;
	}
	return NEVER_NS;
}

static void
receive_due(struct flow *f)
{
	struct end *e = &f->end[1];
	uint64_t sample = (f->now_ns - f->connected_ns) / SAMPLE_NS;
	struct pkt *p;

	while (e->conn != 0 && (p = tcp_take(e->tcp, e->conn)) != NULL) {
		uint32_t n = pkt_total(p);

		for (const struct pkt *part = p; part != NULL; part = pkt_next(part)) {
			uint32_t len = pkt_len(part);

			CHECK(stream_match(KEY, f->received_bytes, pkt_data(part), len) == len);
			f->received_bytes += len;
		}
		if (sample < SAMPLES_MAX) {
			f->samples[sample] += n;
			f->sample_count = (uint32_t)sample + 1;
		}
		pkt_free(p);
		tcp_consumed(e->tcp, e->conn, n);
	}
	while (f->arrived_count < f->event_count &&
	       f->received_bytes >= (f->arrived_count + 1) * f->event_bytes)
		f->arrived_ns[f->arrived_count++] = f->now_ns;
}

static void
collect_events(struct flow *f, struct end *e)
{
	struct tcp_event event;

	while (tcp_event_next(e->tcp, &event)) {
		if ((event.bits & TCP_EVENT_ACCEPTED) != 0)
			e->conn = event.conn;
		if ((event.bits & TCP_EVENT_CONNECTED) != 0) {
			e->is_connected = true;
			f->connected_ns = f->now_ns;
		}
		if ((event.bits & TCP_EVENT_ERROR) != 0)
			e->has_failed = true;
	}
}

static void
transmit(struct flow *f, int from)
{
	struct pkt *segment;

	while ((segment = tcp_transmit_next(f->end[from].tcp)) != NULL) {
		struct lane_slot *slot = lane_room(&f->lane[from]);
		uint32_t n = pkt_total(segment);

		CHECK(HEADER_BYTES + n <= FRAME_BYTES_MAX);
		memset(slot->byte, 0, HEADER_BYTES);
		pkt_copy_out(segment, 0, slot->byte + HEADER_BYTES, n);
		pkt_free(segment);
		lane_send(&f->lane[from], slot, HEADER_BYTES + n, f->now_ns);
	}
}

static void
deliver(struct flow *f, int from)
{
	struct end *e = &f->end[1 - from];
	struct lane_slot *slot;

	while ((slot = lane_receive(&f->lane[from], f->now_ns)) != NULL) {
		struct pkt *p = pkt_alloc(&e->pools[2]);
		uint32_t n = slot->bytes - HEADER_BYTES;

		CHECK(p != NULL);
		memcpy(pkt_append(p, n), slot->byte + HEADER_BYTES, n);
		lane_put(&f->lane[from], slot);
		pkt_meta(p)->src = addresses[from];
		pkt_meta(p)->dst = addresses[1 - from];
		tcp_input(e->tcp, p, f->now_ns);
	}
}

static uint64_t
least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Everything that is due now; when the next thing is. */
static uint64_t
turn(struct flow *f)
{
	uint64_t next_ns = NEVER_NS;

	for (int i = 0; i < 2; i++) {
		deliver(f, i);
		tcp_advance(f->end[i].tcp, f->now_ns);
	}
	for (int i = 0; i < 2; i++)
		collect_events(f, &f->end[i]);
	receive_due(f);
	next_ns = send_due(f);
	for (int i = 0; i < 2; i++) {
		tcp_output_ready(f->end[i].tcp, f->now_ns);
		transmit(f, i);
		next_ns = least(next_ns, tcp_next_at(f->end[i].tcp));
		next_ns = least(next_ns, lane_next_at(&f->lane[i]));
	}
	return next_ns;
}

/* False: the connection failed. */
static bool
run(struct flow *f)
{
	uint64_t until_ns = f->now_ns + (f->seconds + 1) * NSEC_PER_SEC;
	uint32_t turns = 0;

	while (f->now_ns < until_ns && !f->end[0].has_failed && !f->end[1].has_failed) {
		uint64_t next_ns = turn(f);

		turns = next_ns > f->now_ns ? 0 : turns + 1;
		CHECK(turns < TURNS_PER_MOMENT_MAX);
		if (next_ns > f->now_ns)
			f->now_ns = next_ns;
		if (f->event_count > 0 && f->arrived_count == f->event_count)
			break;
	}
	return f->end[0].is_connected && !f->end[0].has_failed && !f->end[1].has_failed;
}

/* What the receiving engine dropped, by reason. */
static void
print_drops(const struct tcp_stats *stats)
{
	const char *comma = "";

	printf(", \"drops\": {");
	for (int i = 0; i < ERR_COUNT; i++) {
		if (stats->drops[i] == 0)
			continue;
		printf("%s\"%s\": %" PRIu64, comma, err_name((enum err)i), stats->drops[i]);
		comma = ", ";
	}
	printf("}");
}

static void
print_result(const struct flow *f)
{
	const struct tcp_stats *stats = tcp_stats(f->end[0].tcp);
	const char *comma = "";

	printf("{\"received\": %" PRIu64 ", \"segments_out\": %" PRIu64 ", \"retransmits\": %" PRIu64
	       ", \"rtos\": %" PRIu64 ", \"lost\": %" PRIu64 ", \"queue_full\": %" PRIu64,
	       f->received_bytes, stats->segments_out, stats->retransmits, stats->rtos,
	       f->lane[0].wire.stats.lost, f->lane[0].wire.stats.queue_full);
	print_drops(tcp_stats(f->end[1].tcp));
	printf(", \"delays_ns\": [");
	for (uint32_t i = 0; i < f->arrived_count; i++, comma = ", ")
		printf("%s%" PRIu64, comma, f->arrived_ns[i] - f->connected_ns - i * f->event_ms * NSEC_PER_MSEC);
	printf("], \"samples\": [");
	comma = "";
	for (uint32_t i = 0; i < f->sample_count; i++, comma = ", ")
		printf("%s%u", comma, f->samples[i]);
	printf("]}\n");
}

int
main(int argc, char **argv)
{
	static struct flow flow = { .seed = 1, .seconds = 20, .window_bytes = 16 * MIB, .send_bytes = 32 * MIB,
				    .shift = 9 };
	bool is_good;

	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		fputs(usage, stdout);
		return 0;
	}
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 < argc && read_option(&flow, argv[i], argv[i + 1]))
			continue;
		fprintf(stderr, "bench-virtual: %s is not understood; see --help\n", argv[i]);
		return 2;
	}
	open_flow(&flow);
	is_good = run(&flow);
	print_result(&flow);
	close_flow(&flow);
	return is_good ? 0 : 1;
}
