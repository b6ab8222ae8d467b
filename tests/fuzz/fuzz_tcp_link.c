/*
 * Two TCP engines, and the fuzzer is the wire between them, their applications, their clock and their memory.
 *
 * The input is a list of operations on one connection: deliver any segment that is on the way, lose it, copy it,
 * break it, mark it; send, take, shut down, close, abort on either side; fail an allocation; let time pass. After
 * each operation tcp_check() holds on both sides and what was read is what was written. Then the wire
 * becomes honest: within a bound of virtual time the connection ends, whoever was neither reset nor timed out has
 * everything, and no packet is missing.
 */
#include <stddef.h>
#include <stdint.h>
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
#define FLIGHT_MAX 24 /* in one direction; what does not fit is lost */
#define FRAME_BYTES_MAX 1600
#define BYTES_MAX 30000 /* written by one side */
#define HONEST_ROUNDS_MAX 4000
#define HONEST_NS_MAX (2000 * NSEC_PER_SEC)
#define PORT 443

struct input {
	const uint8_t *at;
	size_t left;
};

struct side {
	struct stack stack;
	struct ip_addr address;
	uint16_t port;
	tcp_conn_t conn;
	bool is_open;    /* the handle lives */
	bool was_opened;
	bool is_settled;
	bool has_shut;
	bool has_eof;
	bool is_broken;  /* ended by an error or by its own abort, or closed before it had read all */
	uint64_t sent;
	uint64_t taken;
	uint32_t unconsumed;
};

struct frame {
	uint8_t bytes[FRAME_BYTES_MAX];
	size_t len;
	struct pkt_meta meta;
	bool is_broken;
};

struct fuzz {
	struct side side[2];
	uint32_t flying[2];
	uint64_t now_ns;
	struct frame flight[2][FLIGHT_MAX]; /* by sender; not cleared, flying[] are there */
};

/* What libFuzzer counts besides branches: (state of both ends, operation), by state of both ends after it. */
#define STATES 12
__attribute__((section("__libfuzzer_extra_counters"), used)) static uint8_t passed[STATES * STATES * 16][STATES];

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

/* --- one side ----------------------------------------------------------------------- */

static void
broken(struct side *s)
{
	s->is_open = false;
	s->is_broken = true;
}

static void
events(struct side *s)
{
	struct tcp_event event;

	while (tcp_event_next(s->stack.tcp, &event)) {
		CHECK(event.bits != 0 && tcp_is_live(s->stack.tcp, event.conn));
		if ((event.bits & TCP_EVENT_ACCEPTED) != 0) {
			if (s->was_opened) { /* an old SYN came back */
				tcp_abort(s->stack.tcp, event.conn);
				continue;
			}
			s->conn = event.conn;
			s->is_open = s->was_opened = true;
		}
		CHECK(s->is_open && event.conn == s->conn);
		if ((event.bits & (TCP_EVENT_ACCEPTED | TCP_EVENT_CONNECTED)) != 0)
			s->is_settled = true;
		if ((event.bits & TCP_EVENT_EOF) != 0) {
			CHECK(!s->has_eof);
			s->has_eof = true;
		}
		if ((event.bits & TCP_EVENT_ERROR) != 0) {
			CHECK(event.reason != ERR_OK);
			tcp_close(s->stack.tcp, s->conn);
			broken(s);
		}
	}
}

static void
transmit(struct fuzz *f, uint32_t from)
{
	struct pkt *p;

	while ((p = tcp_transmit_next(f->side[from].stack.tcp)) != NULL) {
		struct frame *to = &f->flight[from][f->flying[from]];

		if (f->flying[from] < FLIGHT_MAX) {
			to->len = pkt_total(p);
			CHECK(to->len <= sizeof(to->bytes));
			pkt_copy_out(p, 0, to->bytes, pkt_total(p));
			to->meta = *pkt_meta(p);
			to->is_broken = false;
			CHECK(segment_checksum_is_good(bytes_make(to->bytes, to->len), &to->meta.src,
						       &to->meta.dst));
			f->flying[from]++;
		}
		pkt_free(p);
	}
}

static void
turn(struct fuzz *f, uint32_t i)
{
	struct tcp *t = f->side[i].stack.tcp;

	tcp_advance(t, f->now_ns);
	events(&f->side[i]);
	tcp_output_ready(t, f->now_ns);
	events(&f->side[i]);
	transmit(f, i);
	tcp_check(t);
}

static void
app_connect(struct fuzz *f, uint32_t i)
{
	struct side *s = &f->side[i];
	struct tcp_tuple t = { s->address, f->side[1 - i].address, s->port, f->side[1 - i].port };

	if (!s->was_opened && tcp_connect(s->stack.tcp, &t, i, &s->conn, f->now_ns) == ERR_OK)
		s->is_open = s->was_opened = true;
}

static void
app_send(struct fuzz *f, uint32_t i, uint32_t n, uint32_t piece_bytes)
{
	struct side *s = &f->side[i];
	struct pkt *p;

	if (s->has_shut || s->sent + n > BYTES_MAX)
		return;
	p = stack_payload(&s->stack, i, s->sent, n, piece_bytes);
	if (p == NULL)
		return;
	if (tcp_send(s->stack.tcp, s->conn, p, false) == ERR_OK)
		s->sent += n;
	else
		pkt_free(p);
}

static void
app_take(struct fuzz *f, uint32_t i, bool consumes)
{
	struct side *s = &f->side[i];
	struct pkt *p = tcp_take(s->stack.tcp, s->conn);

	if (p == NULL)
		return;
	for (const struct pkt *piece = p; piece != NULL; piece = pkt_next(piece)) {
		CHECK(stream_match(1 - i, s->taken, pkt_data(piece), pkt_len(piece)) == pkt_len(piece));
		s->taken += pkt_len(piece);
	}
	CHECK(s->taken <= f->side[1 - i].sent);
	s->unconsumed += pkt_total(p);
	pkt_free(p);
	if (!consumes)
		return;
	tcp_consumed(s->stack.tcp, s->conn, s->unconsumed);
	s->unconsumed = 0;
}

static void
app_close(struct fuzz *f, uint32_t i)
{
	struct side *s = &f->side[i];

	tcp_close(s->stack.tcp, s->conn);
	s->is_open = false;
	s->has_shut = true;
	if (!s->has_eof || s->taken != f->side[1 - i].sent)
		s->is_broken = true; /* what comes now is reset */
}

/* --- the wire ------------------------------------------------------------------------- */

static void
lose(struct fuzz *f, uint32_t from, uint32_t k)
{
	f->flying[from]--;
	memmove(&f->flight[from][k], &f->flight[from][k + 1], (f->flying[from] - k) * sizeof(struct frame));
}

static void
deliver(struct fuzz *f, uint32_t from, uint32_t k)
{
	struct side *to = &f->side[1 - from];
	struct frame *frame = &f->flight[from][k];
	struct pkt *p = segment_pkt_from(bytes_make(frame->bytes, frame->len), 0, to->stack.receive_pool);

	if (p != NULL) {
		*pkt_meta(p) = frame->meta;
		pkt_meta(p)->l4_csum = PKT_CSUM_UNKNOWN;
	}
	lose(f, from, k);
	if (p != NULL)
		tcp_input(to->stack.tcp, p, f->now_ns);
	turn(f, 1 - from);
}

static void
wire_op(struct fuzz *f, uint8_t op, uint32_t from, struct input *in)
{
	uint32_t k = byte(in);
	struct frame *frame;

	if (f->flying[from] == 0)
		return;
	k %= f->flying[from];
	frame = &f->flight[from][k];
	switch (op) {
	case 0:
	case 1:
		deliver(f, from, k);
		return;
	case 2:
		lose(f, from, k);
		return;
	case 3:
		if (f->flying[from] < FLIGHT_MAX)
			f->flight[from][f->flying[from]++] = *frame;
		return;
	case 4: /* one bit: the checksum sees it, while two may cancel each other */
		if (frame->is_broken)
			return;
		frame->is_broken = true;
		frame->bytes[(size_t)byte(in) * 256 % frame->len] ^= (uint8_t)(1 << k % 8);
		return;
	default:
		if (frame->meta.ecn == 1 || frame->meta.ecn == 2)
			frame->meta.ecn = 3;
	}
}

static uint64_t
next_at(const struct fuzz *f)
{
	uint64_t a_ns = tcp_next_at(f->side[0].stack.tcp);
	uint64_t b_ns = tcp_next_at(f->side[1].stack.tcp);

	return a_ns < b_ns ? a_ns : b_ns;
}

static void
pass_time(struct fuzz *f, uint64_t ns)
{
	uint64_t until_ns = f->now_ns + ns;

	for (int n = 0; n < 100 && next_at(f) <= until_ns; n++) {
		if (next_at(f) > f->now_ns)
			f->now_ns = next_at(f);
		turn(f, 0);
		turn(f, 1);
	}
	f->now_ns = until_ns;
	turn(f, 0);
	turn(f, 1);
}

/* --- operations ------------------------------------------------------------------------- */

static void
app_op(struct fuzz *f, uint8_t op, uint32_t i, struct input *in)
{
	struct side *s = &f->side[i];
	uint8_t n = byte(in);

	if (!s->is_open)
		return;
	switch (op) {
	case 6:
		app_send(f, i, 1 + n * 40u, 0);
		break;
	case 7:
		app_send(f, i, 1 + n % 32u, 1 + n / 32u);
		break;
	case 8:
		app_take(f, i, n % 4 != 0);
		break;
	case 9:
		tcp_notify_below(s->stack.tcp, s->conn, n * 16u);
		break;
	case 10:
		tcp_shutdown(s->stack.tcp, s->conn);
		s->has_shut = true;
		break;
	default:
		if (n % 4 == 0) {
			tcp_abort(s->stack.tcp, s->conn);
			broken(s);
		} else {
			app_close(f, i);
		}
	}
	turn(f, i);
}

/* Everything that is on the way arrives, in order. */
static void
deliver_all(struct fuzz *f)
{
	uint32_t count[2] = { f->flying[0], f->flying[1] };

	for (uint32_t from = 0; from < 2; from++)
		for (uint32_t n = 0; n < count[from]; n++)
			deliver(f, from, 0);
}

static void
one_op(struct fuzz *f, uint8_t op, struct input *in)
{
	uint32_t i = op >> 7;

	op &= 15;
	if (op < 6) {
		wire_op(f, op, i, in);
	} else if (op < 12) {
		app_op(f, op, i, in);
	} else if (op == 12) {
		app_connect(f, i);
		turn(f, i);
	} else if (op == 13) {
		f->side[i].stack.pools[byte(in) % 3].fail_in = 1 + byte(in) % 8;
	} else if (op == 14) {
		f->now_ns += NSEC_PER_MSEC;
		deliver_all(f);
	} else {
		pass_time(f, NSEC_PER_MSEC << byte(in) % 17);
	}
}

static uint32_t
state_of(const struct side *s)
{
	const struct tcp *t = s->stack.tcp;

	for (uint32_t k = 0; k < t->conns.count; k++)
		if (pool_is_lent(&t->conns, k))
			return ((const struct tcp_conn *)pool_at(&t->conns, k))->state;
	return TCP_STATES + (tcp_stats(t)->half_open > 0);
}

/* --- the end ------------------------------------------------------------------------------ */

static bool
is_over(const struct fuzz *f)
{
	for (uint32_t i = 0; i < 2; i++) {
		const struct tcp_stats *stats = tcp_stats(f->side[i].stack.tcp);

		if (f->side[i].is_open || stats->conns > 0 || stats->half_open > 0 || f->flying[i] > 0)
			return false;
	}
	return true;
}

static void
finish_app(struct fuzz *f, uint32_t i)
{
	struct side *s = &f->side[i];

	if (!s->is_open || !s->is_settled)
		return;
	for (int n = 0; n < 64; n++)
		app_take(f, i, true);
	if (s->unconsumed > 0) /* it keeps the window shut */
		tcp_consumed(s->stack.tcp, s->conn, s->unconsumed);
	s->unconsumed = 0;
	if (!s->has_shut)
		tcp_shutdown(s->stack.tcp, s->conn);
	s->has_shut = true;
	if (s->has_eof && s->taken == f->side[1 - i].sent) {
		tcp_close(s->stack.tcp, s->conn);
		s->is_open = false;
	}
}

/* An honest wire; a side whose other side is gone without a word gives up. */
static void
finish(struct fuzz *f)
{
	uint64_t limit_ns = f->now_ns + HONEST_NS_MAX;

	for (uint32_t i = 0; i < 2; i++)
		for (int k = 0; k < 4; k++)
			f->side[i].stack.pools[k].fail_in = 0;
	for (uint32_t n = 0; !is_over(f); n++) {
		CHECK(n < HONEST_ROUNDS_MAX && f->now_ns < limit_ns);
		for (uint32_t i = 0; i < 2; i++) {
			finish_app(f, i);
			turn(f, i);
		}
		if (f->flying[0] + f->flying[1] > 0) {
			f->now_ns += NSEC_PER_MSEC;
			deliver_all(f);
			continue;
		}
		if (next_at(f) == NEVER_NS) {
			for (uint32_t i = 0; i < 2; i++) {
				struct side *peer = &f->side[1 - i];

				/* Nobody will ever speak to it again. */
				if (f->side[i].is_open && (!peer->is_open || !peer->was_opened)) {
					CHECK(peer->is_broken || !peer->was_opened);
					tcp_abort(f->side[i].stack.tcp, f->side[i].conn);
					broken(&f->side[i]);
				}
			}
			continue;
		}
		if (next_at(f) > f->now_ns)
			f->now_ns = next_at(f);
	}
	for (uint32_t i = 0; i < 2; i++) {
		const struct side *s = &f->side[i];

		if (s->is_settled && !s->is_broken && !f->side[1 - i].is_broken)
			CHECK(s->has_eof && s->taken == f->side[1 - i].sent);
	}
}

static void
fuzz_open(struct fuzz *f, struct input *in)
{
	static const struct stack_pools pools = { 96, 96, 128, 64 };
	uint8_t how = byte(in);

	memset(f, 0, offsetof(struct fuzz, flight));
	f->now_ns = 1000 * NSEC_PER_SEC;
	for (uint32_t i = 0; i < 2; i++) {
		struct tcp_config config = stack_config();
		struct side *s = &f->side[i];

		config.conns_max = config.time_wait_max = 2;
		config.half_open_max = 1;
		/* Nobody gives up: an end that does tells the other by one reset, which may be lost. */
		config.user_timeout_ns = 2 * HONEST_NS_MAX;
		config.ranges_max = (how & 2) != 0 ? 24 : 256;
		config.recv_bytes_max = (how & 4) != 0 ? 3000 : 65535;
		config.send_bytes_max = 20000;
		config.mss_v4 = (how & 8) != 0 ? 536 : 1460;
		config.keepalive_ns = (how & 16) != 0 ? 5 * NSEC_PER_SEC : 0;
		config.isn_offset = (how & 32) != 0 ? (uint32_t)byte(in) << 24 : 0;
		config.hash_key[0] = (uint8_t)i;
		s->address = (struct ip_addr){ { [10] = 0xff, [11] = 0xff, 10, 0, 0, (uint8_t)(i + 1) } };
		s->port = i == 0 ? 5000 : PORT;
		stack_open(&s->stack, &config, &pools, f->now_ns);
	}
	if ((how & 1) == 0)
		CHECK(tcp_listen(f->side[1].stack.tcp, &f->side[1].address, PORT, 1) == ERR_OK);
	if ((how & 64) == 0) { /* most inputs are about what comes later */
		app_connect(f, 0);
		turn(f, 0);
		for (int n = 0; n < 3; n++)
			deliver_all(f);
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
		uint32_t before = state_of(&f->side[0]) * STATES + state_of(&f->side[1]);
		uint8_t op = byte(&in);

		one_op(f, op, &in);
		passed[before * 16 + (op & 15)][state_of(&f->side[op >> 7])] = 1;
	}
	finish(f);
	stack_close(&f->side[0].stack);
	stack_close(&f->side[1].stack);
	return 0;
}
