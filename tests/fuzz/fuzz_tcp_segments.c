/*
 * A peer, an application, a clock and a tight memory, all of them the fuzzer's, around one TCP engine.
 *
 * The input is a list of operations, an opcode byte and what it needs. Segments are not raw bytes but
 * distances from what the engine last said (its ACK, its edge, what it sent), so that most of them fall
 * near something interesting. After each operation:
 *
 *   tcp_check() holds; whatever was sent parses, has a right checksum and the stream's own bytes; nothing
 *   answers a reset by a reset; one operation brings a bounded number out; what the application reads is
 *   what the peer's sequence numbers say. In the end no packet is missing.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "segment.h"
#include "stack.h"
#include "stream.h"
#include "tcp/internal.h"
#include "tcp/tcp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OPS_MAX 200
#define TALKS 4
#define PAST 8
#define TURNS_PER_ADVANCE_MAX 300
#define OUT_PER_OP_MAX 400
#define KEY_SENT 0x5e17
#define LISTEN_PORT 443

/* What libFuzzer counts besides branches: which operation led from which state to which. */
__attribute__((section("__libfuzzer_extra_counters"), used)) static uint8_t passed[16][16][16];

struct input {
	const uint8_t *at;
	size_t left;
};

/* A four-tuple and what was heard of it. */
struct talk {
	uint16_t local_port;
	uint16_t remote_port;
	tcp_conn_t conn;
	bool is_open;      /* the handle lives */
	bool has_iss;
	uint32_t iss;      /* the engine's */
	uint32_t isn_next; /* for our next SYN */
	uint32_t ack;      /* the engine's latest */
	uint32_t edge;     /* and its furthest right edge */
	bool has_edge;
	uint8_t shift;     /* the engine's, as negotiated */
	bool scaled;
	uint32_t max;      /* highest number that the engine sent + 1 */
	uint32_t ts_val;   /* the engine's latest */
	uint32_t ts_ours;
	uint64_t sent;
	uint64_t taken;
};

struct fuzz {
	struct stack stack;
	struct tcp_config config;
	struct ip_addr local;
	struct ip_addr remote;
	uint64_t now_ns;
	struct talk talk[TALKS];
	struct talk *current;
	/* The latest segments, for another copy of one; and those that were held back, for the first. */
	struct segment past[PAST];
	uint8_t past_payload[PAST][4096];
	uint32_t past_count;
	bool holds_next;
	bool rst_out;
	uint32_t out;
};

static uint8_t
byte(struct input *in)
{
	uint8_t value = 0;

	if (in->left > 0) {
		value = *in->at++;
		in->left--;
	}
	return value;
}

static uint16_t
word(struct input *in)
{
	uint8_t high = byte(in);

	return (uint16_t)(high << 8 | byte(in));
}

/* Mostly small, sometimes far; both signs. */
static uint32_t
step(struct input *in)
{
	static const uint8_t shifts[] = { 0, 0, 0, 0, 4, 8, 12, 20 };
	uint8_t b = byte(in);

	return (uint32_t)((int32_t)(int8_t)byte(in) * (1 << shifts[b % COUNT_OF(shifts)]));
}

/* A new connection of the engine's, whose first number is iss. */
static void
note_iss(struct talk *talk, uint32_t iss)
{
	talk->has_iss = true;
	talk->iss = iss;
	talk->max = iss + 1;
	talk->has_edge = false;
}

/* --- what comes out ------------------------------------------------------------------ */

static struct talk *
talk_of(struct fuzz *f, uint16_t local_port, uint16_t remote_port)
{
	for (int i = 0; i < TALKS; i++)
		if (f->talk[i].local_port == local_port && f->talk[i].remote_port == remote_port)
			return &f->talk[i];
	return NULL;
}

static void
note_edge(struct talk *talk, const struct segment *s)
{
	bool syn = (s->flags & SEGMENT_SYN) != 0;
	uint32_t edge = s->ack + ((uint32_t)s->window << (talk->scaled && !syn ? talk->shift : 0));

	if (!talk->has_edge || (int32_t)(edge - talk->edge) > 0)
		talk->edge = edge;
	talk->has_edge = true;
	talk->ack = s->ack;
}

static void
look(struct talk *talk, const struct segment *s)
{
	if ((s->flags & SEGMENT_SYN) != 0) {
		/* A new number is a new incarnation, or a cookie of another minute. */
		if (!talk->has_iss || talk->iss != s->seq)
			note_iss(talk, s->seq);
		talk->shift = s->wscale;
		talk->scaled = s->has_wscale;
		CHECK(s->has_mss && s->payload.len == 0);
	}
	if (s->has_ts)
		talk->ts_val = s->ts_val;
	if (s->payload.len > 0) {
		CHECK(talk->has_iss);
		CHECK(stream_match(KEY_SENT, s->seq - talk->iss - 1, s->payload.ptr,
				   s->payload.len) == s->payload.len);
		CHECK(s->seq - talk->iss - 1 + s->payload.len <= talk->sent);
	}
	if ((int32_t)(s->seq + segment_seq_len(s) - talk->max) > 0)
		talk->max = s->seq + segment_seq_len(s);
	if ((s->flags & SEGMENT_ACK) != 0)
		note_edge(talk, s);
}

static void
drain(struct fuzz *f)
{
	uint8_t flat[SEGMENT_BYTES_MAX];
	struct segment s;
	struct pkt *p;

	while ((p = tcp_transmit_next(f->stack.tcp)) != NULL) {
		struct talk *talk;

		CHECK(++f->out <= OUT_PER_OP_MAX);
		CHECK(segment_parse_pkt(p, flat, &s) && !s.options_bad);
		CHECK(segment_checksum_is_good(bytes_make(flat, pkt_total(p)), &s.src, &s.dst));
		CHECK(memcmp(&s.src, &f->local, 16) == 0 && memcmp(&s.dst, &f->remote, 16) == 0);
		talk = talk_of(f, s.src_port, s.dst_port);
		if ((s.flags & SEGMENT_RST) != 0)
			f->rst_out = true;
		else if (talk != NULL)
			look(talk, &s);
		pkt_free(p);
	}
}

static void
events(struct fuzz *f)
{
	struct tcp_event event;

	for (int n = 0; tcp_event_next(f->stack.tcp, &event); n++) {
		struct tcp_tuple t;
		struct talk *talk;

		CHECK(n < 100 && event.bits != 0 && tcp_is_live(f->stack.tcp, event.conn));
		tcp_tuple_of(f->stack.tcp, event.conn, &t);
		talk = talk_of(f, t.local_port, t.remote_port);
		CHECK(talk != NULL);
		if ((event.bits & TCP_EVENT_ACCEPTED) != 0) {
			const struct tcp_conn *conn = pool_find(&f->stack.tcp->conns, event.conn);

			if (talk->is_open) { /* the one before is over and waits to be closed */
				tcp_close(f->stack.tcp, talk->conn);
			}
			if (conn->iss != talk->iss) /* a cookie came back, and not the latest */
				note_iss(talk, conn->iss);
			talk->conn = event.conn;
			talk->is_open = true;
			talk->sent = 0;
			talk->taken = 0;
		}
		if (talk->conn != event.conn)
			continue;
		if ((event.bits & TCP_EVENT_ERROR) != 0) {
			CHECK(event.reason != ERR_OK);
			tcp_close(f->stack.tcp, talk->conn);
			talk->is_open = false;
		}
	}
}

static void
turn(struct fuzz *f)
{
	tcp_advance(f->stack.tcp, f->now_ns);
	events(f);
	tcp_output_ready(f->stack.tcp, f->now_ns);
	drain(f);
	events(f);
	tcp_check(f->stack.tcp);
}

/* --- segments in ------------------------------------------------------------------------ */

/* The peer's stream is a function of the sequence number alone. */
static void
fill(uint32_t seq, uint8_t *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		to[i] = (uint8_t)((seq + i) * 0x9e3779b1u >> 24);
}

/* Raw options stay where they are only as long as the operation. */
static void
remember(struct fuzz *f, const struct segment *s)
{
	uint32_t k = f->past_count++ % PAST;

	f->past[k] = *s;
	f->past[k].raw_options = BYTES_NONE;
	f->past[k].payload.ptr = f->past_payload[k];
	if (s->payload.len > 0)
		memcpy(f->past_payload[k], s->payload.ptr, s->payload.len);
}

static void
inject(struct fuzz *f, const struct segment *s)
{
	struct pkt *p;

	if (f->holds_next) {
		f->holds_next = false;
		return;
	}
	p = segment_to_pkt(s, f->stack.receive_pool);
	if (p == NULL)
		return;
	f->rst_out = false;
	tcp_input(f->stack.tcp, p, f->now_ns);
	drain(f);
	CHECK(!((s->flags & SEGMENT_RST) != 0 && f->rst_out));
	turn(f);
}

static struct segment
segment_of(const struct fuzz *f, const struct talk *talk)
{
	return (struct segment){
		.src = f->remote,
		.dst = f->local,
		.src_port = talk->remote_port,
		.dst_port = talk->local_port,
		.seq = talk->ack,
		.ack = talk->max,
		.flags = SEGMENT_ACK,
		.window = 65535,
	};
}

static void
add_options(struct talk *talk, struct segment *s, uint8_t which, struct input *in)
{
	if ((which & 1) != 0) {
		s->has_ts = true;
		talk->ts_ours += (uint32_t)(int32_t)(int8_t)byte(in);
		s->ts_val = talk->ts_ours;
		s->ts_ecr = talk->ts_val;
	}
	if ((which & 2) != 0) {
		s->sacks = 1 + byte(in) % 3;
		for (int i = 0; i < s->sacks; i++) {
			s->sack[i].left = talk->max + step(in);
			s->sack[i].right = s->sack[i].left + byte(in) * 16u;
		}
	}
	if ((which & 4) != 0) {
		s->has_mss = true;
		s->mss = word(in);
	}
	if ((which & 8) != 0) {
		s->has_wscale = true;
		s->wscale = byte(in);
	}
	s->has_sack_ok = (which & 16) != 0;
	if (s->has_ts && s->sacks > 2)
		s->sacks = 2;
	if (s->has_mss || s->has_wscale)
		s->sacks = 0;
}

static void
op_segment(struct fuzz *f, struct input *in)
{
	struct talk *talk = f->current;
	struct segment s = segment_of(f, talk);
	uint8_t payload[sizeof(f->past_payload[0])];
	uint8_t bases = byte(in);
	uint8_t raw[40];

	s.flags = byte(in);
	s.seq = ((bases & 3) == 0 ? talk->ack : (bases & 3) == 1 ? talk->edge :
		 (bases & 3) == 2 ? talk->isn_next : talk->ack) + step(in);
	s.ack = ((bases & 12) == 0 ? talk->max : (bases & 12) == 4 ? talk->iss : talk->max) +
		step(in);
	s.window = word(in);
	s.ecn = bases >> 4 & 3;
	s.urgent = bases;
	s.payload.len = (bases & 64) != 0 ? word(in) % sizeof(payload) : byte(in) % 200;
	if ((bases & 128) != 0) { /* raw option bytes */
		size_t n = 1 + byte(in) % sizeof(raw);

		for (size_t i = 0; i < n; i++)
			raw[i] = byte(in);
		s.raw_options = bytes_make(raw, n);
	} else {
		add_options(talk, &s, byte(in), in);
	}
	if ((s.flags & SEGMENT_SYN) != 0 && s.seq == talk->isn_next)
		talk->isn_next += 100000;
	fill(s.seq + ((s.flags & SEGMENT_SYN) != 0), payload, s.payload.len);
	s.payload.ptr = payload;
	remember(f, &s);
	inject(f, &s);
}

/* The next piece of the stream, as an honest peer sends it, maybe with holes. */
static void
op_data(struct fuzz *f, struct input *in)
{
	struct segment s = segment_of(f, f->current);
	uint8_t payload[sizeof(f->past_payload[0])];
	uint8_t hole = byte(in);

	s.seq += (hole & 7) * 100u;
	s.payload.len = 1 + word(in) % 1460;
	s.flags |= (hole & 8) != 0 ? SEGMENT_FIN : SEGMENT_PSH;
	fill(s.seq, payload, s.payload.len);
	s.payload.ptr = payload;
	if ((hole & 16) != 0) {
		s.has_ts = true;
		s.ts_val = ++f->current->ts_ours;
		s.ts_ecr = f->current->ts_val;
	}
	remember(f, &s);
	inject(f, &s);
}

static void
op_ack(struct fuzz *f, struct input *in)
{
	struct segment s = segment_of(f, f->current);

	s.ack -= byte(in) * 50u;
	s.window = word(in);
	remember(f, &s);
	inject(f, &s);
}

/* Three segments that open a connection: what the other operations are about. */
static void
op_handshake(struct fuzz *f, struct input *in)
{
	struct talk *talk = f->current;
	struct segment s = segment_of(f, talk);
	uint8_t which = byte(in);

	s.seq = talk->isn_next;
	s.flags = SEGMENT_SYN;
	add_options(talk, &s, which & 29, in);
	talk->isn_next += 100000;
	remember(f, &s);
	inject(f, &s);
	s = segment_of(f, talk);
	if ((which & 1) != 0) {
		s.has_ts = true;
		s.ts_val = ++talk->ts_ours;
		s.ts_ecr = talk->ts_val;
	}
	remember(f, &s);
	inject(f, &s);
}

/* --- the application -------------------------------------------------------------------- */

static void
op_connect(struct fuzz *f)
{
	struct talk *talk = f->current;
	struct tcp_tuple t = { f->local, f->remote, talk->local_port, talk->remote_port };
	tcp_conn_t conn;

	if (talk->is_open ||
	    tcp_connect(f->stack.tcp, &t, 1, &conn, f->now_ns) != ERR_OK)
		return;
	talk->conn = conn;
	talk->is_open = true;
	talk->sent = 0;
	talk->taken = 0;
}

static void
op_send(struct fuzz *f, struct input *in)
{
	struct talk *talk = f->current;
	uint32_t n = 1 + word(in) % 6000;
	uint8_t how = byte(in);
	struct pkt *p = stack_payload(&f->stack, KEY_SENT, talk->sent, n,
				      (how & 1) != 0 ? 1 + how / 2u : 0);

	if (p == NULL)
		return;
	if (tcp_send(f->stack.tcp, talk->conn, p, (how & 2) != 0) == ERR_OK)
		talk->sent += n;
	else
		pkt_free(p);
}

static void
op_take(struct fuzz *f, bool consumes)
{
	struct talk *talk = f->current;
	struct pkt *p = tcp_take(f->stack.tcp, talk->conn);
	const struct tcp_conn *conn;

	if (p == NULL)
		return;
	CHECK(pkt_total(p) > 0);
	conn = pool_find(&f->stack.tcp->conns, talk->conn);
	for (const struct pkt *piece = p; piece != NULL; piece = pkt_next(piece)) {
		uint8_t expected[PKT_ROOM_BYTES];

		CHECK(pkt_len(piece) <= sizeof(expected));
		fill(conn->irs + 1 + (uint32_t)talk->taken, expected, pkt_len(piece));
		CHECK(memcmp(expected, pkt_data(piece), pkt_len(piece)) == 0);
		talk->taken += pkt_len(piece);
	}
	if (consumes)
		tcp_consumed(f->stack.tcp, talk->conn, pkt_total(p));
	pkt_free(p);
}

static void
op_close(struct fuzz *f, bool abort_it)
{
	if (abort_it)
		tcp_abort(f->stack.tcp, f->current->conn);
	else
		tcp_close(f->stack.tcp, f->current->conn);
	f->current->is_open = false;
	CHECK(!tcp_is_live(f->stack.tcp, f->current->conn));
}

static void
op_advance(struct fuzz *f, struct input *in)
{
	uint64_t until_ns = f->now_ns + (NSEC_PER_MSEC << byte(in) % 18);

	for (int n = 0; n < TURNS_PER_ADVANCE_MAX; n++) {
		uint64_t next_ns = tcp_next_at(f->stack.tcp);

		if (next_ns > until_ns)
			break;
		if (next_ns > f->now_ns)
			f->now_ns = next_ns;
		f->out = 0;
		turn(f);
	}
	f->now_ns = until_ns;
}

static void
op_icmp(struct fuzz *f, struct input *in)
{
	struct talk *talk = f->current;
	struct tcp_tuple t = { f->local, f->remote, talk->local_port, talk->remote_port };
	uint8_t what = byte(in);

	tcp_icmp(f->stack.tcp, &t, talk->max + step(in) - 1, (what & 1) != 0,
		 (what & 2) != 0 ? word(in) : 0, f->now_ns);
}

/* One of the latest, held back or not, arrives (again). */
static void
op_again(struct fuzz *f, struct input *in)
{
	uint32_t known = f->past_count < PAST ? f->past_count : PAST;

	if (known > 0)
		inject(f, &f->past[byte(in) % known]);
}

static void
op_of_application(struct fuzz *f, struct input *in, uint8_t op)
{
	struct tcp *tcp = f->stack.tcp;

	if (!f->current->is_open) {
		op_connect(f);
		return;
	}
	switch (op % 8) {
	case 0:
	case 1:
		op_send(f, in);
		return;
	case 2:
		op_take(f, true);
		return;
	case 3:
		op_take(f, false);
		return;
	case 4:
		tcp_shutdown(tcp, f->current->conn);
		return;
	case 5:
		op_close(f, false);
		return;
	case 6:
		op_close(f, true);
		return;
	default:
		tcp_notify_below(tcp, f->current->conn, word(in));
		return;
	}
}

static void
one_op(struct fuzz *f, struct input *in)
{
	uint8_t op = byte(in);

	f->out = 0;
	f->current = &f->talk[op >> 6];
	switch (op & 15) {
	case 0:
	case 1:
	case 2:
		op_segment(f, in);
		break;
	case 3:
	case 4:
		op_data(f, in);
		break;
	case 5:
	case 6:
		op_ack(f, in);
		break;
	case 7:
		op_handshake(f, in);
		break;
	case 8:
	case 9:
		op_advance(f, in);
		break;
	case 10:
		f->stack.pools[byte(in) % 3].fail_in = 1 + byte(in) % 8;
		break;
	case 11:
		op_again(f, in);
		break;
	case 12:
		op_icmp(f, in);
		break;
	case 14:
		f->holds_next = true;
		break;
	default:
		op_of_application(f, in, byte(in));
		break;
	}
	turn(f);
}

static void
fuzz_open(struct fuzz *f, struct input *in)
{
	static const struct ip_addr v4[2] = { { { [10] = 0xff, [11] = 0xff, 10, 0, 0, 1 } },
					      { { [10] = 0xff, [11] = 0xff, 10, 0, 0, 2 } } };
	static const struct ip_addr v6[2] = { { { 0xfd, [15] = 1 } }, { { 0xfd, [15] = 2 } } };
	static const struct stack_pools pools = { 96, 96, 128, 96 };
	uint8_t how = byte(in);

	memset(f, 0, sizeof(*f));
	f->config = stack_config();
	f->config.conns_max = 3;
	f->config.half_open_max = (how & 2) != 0 ? 1 : 3;
	f->config.time_wait_max = 2;
	f->config.ranges_max = (how & 4) != 0 ? 24 : 256;
	f->config.recv_bytes_max = (how & 8) != 0 ? 3000 : 65535;
	f->config.send_bytes_max = 20000;
	f->config.keepalive_ns = (how & 16) != 0 ? 5 * NSEC_PER_SEC : 0;
	f->config.recv_truesize_max = (how & 64) != 0 ? 20000 : 0; /* nine packets: all levels of pressure */
	f->config.orphans_max = (how & 128) != 0 ? 1 : 0;
	f->local = (how & 1) != 0 ? v6[0] : v4[0];
	f->remote = (how & 1) != 0 ? v6[1] : v4[1];
	f->now_ns = 1000 * NSEC_PER_SEC;
	stack_open(&f->stack, &f->config, &pools, f->now_ns);
	CHECK(tcp_listen(f->stack.tcp, &f->local, LISTEN_PORT, 0) == ERR_OK);
	for (int i = 0; i < TALKS; i++) {
		/* The last one is an active open, the others come to the listener. */
		f->talk[i].local_port = i == TALKS - 1 ? 20000 : LISTEN_PORT;
		f->talk[i].remote_port = i == TALKS - 1 ? LISTEN_PORT : (uint16_t)(10000 + i);
		f->talk[i].isn_next = (how & 32) != 0 ? UINT32_MAX - 1000 : 5000;
		f->talk[i].ack = f->talk[i].isn_next + 1;
	}
	f->current = &f->talk[0];
}

/* Of the current talk: a connection's state, or what is there instead. */
static uint32_t
state_of(const struct fuzz *f)
{
	const struct tcp *t = f->stack.tcp;
	struct tcp_tuple tuple = { f->local, f->remote, f->current->local_port, f->current->remote_port };
	uint32_t ref = tcp_table_find(t, &tuple);

	switch (tcp_ref_kind(ref)) {
	case TCP_REF_CONN:
		return ((const struct tcp_conn *)pool_at(&t->conns, tcp_ref_index(ref)))->state;
	case TCP_REF_HALF_OPEN:
		return TCP_STATES;
	case TCP_REF_TIME_WAIT:
		return TCP_STATES + 1;
	default:
		return TCP_STATES + 2;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuzz fuzz;
	struct fuzz *f = &fuzz;
	struct input in = { data, size };

	fuzz_open(f, &in);
	for (int n = 0; n < OPS_MAX && in.left > 0; n++) {
		uint8_t op = *in.at;
		uint32_t before;

		f->current = &f->talk[op >> 6];
		before = state_of(f);
		one_op(f, &in);
		passed[before][op & 15][state_of(f)] = 1;
	}
	for (int i = 0; i < TALKS; i++) {
		f->current = &f->talk[i];
		if (f->current->is_open)
			op_close(f, i % 2 == 0);
	}
	f->out = 0;
	turn(f);
	stack_close(&f->stack);
	return 0;
}
