/*
 * run_script: one .pkt file against a TCP engine in virtual time, at several initial sequence
 * numbers, over IPv4 and IPv6.
 *
 * Everything the engine sends is captured with its moment and must be expected, in order, before
 * the script ends. README.md in this folder explains the lines.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/prng.h"
#include "base/units.h"
#include "script.h"
#include "stack.h"
#include "stream.h"

#define LINES_MAX 400
#define LINE_BYTES 300
#define CONNS_MAX 16
#define CAPTURED_MAX 512
#define TURNS_PER_LINE_MAX 200000
#define ANY_TIME_NS (3600 * NSEC_PER_SEC)
#define LOCAL_PORT 443
#define REMOTE_PORT_FIRST 10000
#define ACTIVE_PORT_FIRST 20000
#define START_NS (1000 * NSEC_PER_SEC)

/* Content of the two directions. */
#define KEY_REMOTE 0x72656d6f7465
#define KEY_LOCAL 0x6c6f63616c

/* A connection as the script sees it. */
struct talk {
	bool is_used;
	bool is_local_known;
	tcp_conn_t conn;
	uint16_t local_port;
	uint16_t remote_port;
	uint32_t remote_isn;
	uint32_t local_isn;
	uint32_t ts_last; /* the engine's latest timestamp */
	uint32_t events;
	enum err reason;
	uint64_t sent;
	uint64_t taken;
};

struct captured {
	struct pkt *p;
	uint64_t at_ns;
};

struct variant {
	bool is_v6;
	uint32_t isn;   /* of both ends of connection 1 */
	uint32_t offset; /* what the engine adds so that its own is that */
};

struct runner {
	const char *file;
	uint32_t line_number;
	const char *line_text;
	const struct variant *variant;
	uint64_t seed;
	struct tcp_config config;
	struct stack_pools pools;
	bool runs_v4;
	bool runs_v6;
	struct stack stack;
	struct prng prng;
	struct ip_addr local;
	struct ip_addr remote;
	uint64_t now_ns;
	uint64_t line_ns; /* of the previous line: times are relative to it */
	struct talk talk[CONNS_MAX];
	bool is_isn_seen;
	uint32_t isn_seen; /* the engine's first initial number */
	uint32_t current;
	enum err verdict; /* of the latest segment */
	uint64_t drops_seen[ERR_COUNT];
	struct captured captured[CAPTURED_MAX];
	uint32_t captured_first;
	uint32_t captured_count;
	struct pkt *drought[4];
};

struct source {
	uint32_t lines;
	char text[LINES_MAX][LINE_BYTES];
};

__attribute__((format(printf, 2, 3), noreturn)) static void
fail(const struct runner *r, const char *format, ...)
{
	va_list args;

	fprintf(stderr, "%s:%u: (%s, ISN %u%s, seed %" PRIu64 ", at %.6f s) ", r->file, r->line_number,
		r->variant->is_v6 ? "IPv6" : "IPv4", r->variant->isn,
		r->variant->offset == 0 ? " of the remote end" : "", r->seed,
		r->now_ns > START_NS ? (double)(r->now_ns - START_NS) / 1e9 : 0);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\n  %s\n", r->line_text);
	exit(1);
}

static struct talk *
current(struct runner *r)
{
	return &r->talk[r->current];
}

/* --- the engine's turn --------------------------------------------------------------- */

static struct talk *
talk_of_ports(struct runner *r, uint16_t local_port, uint16_t remote_port)
{
	for (uint32_t i = 0; i < CONNS_MAX; i++)
		if (r->talk[i].is_used && r->talk[i].local_port == local_port &&
		    r->talk[i].remote_port == remote_port)
			return &r->talk[i];
	return NULL;
}

static void
collect_event(struct runner *r, const struct tcp_event *event)
{
	struct talk *talk;

	if ((event->bits & TCP_EVENT_ACCEPTED) != 0) {
		struct tcp_tuple t;

		tcp_tuple_of(r->stack.tcp, event->conn, &t);
		talk = talk_of_ports(r, t.local_port, t.remote_port);
		if (talk == NULL)
			fail(r, "accepted a connection that no line opened");
		talk->conn = event->conn;
		tcp_set_user(r->stack.tcp, event->conn, (uint64_t)(talk - r->talk));
	} else {
		if (event->user >= CONNS_MAX)
			fail(r, "an event for nobody");
		talk = &r->talk[event->user];
	}
	if (talk->conn != event->conn)
		fail(r, "an event for a connection that is gone");
	talk->events |= event->bits;
	if ((event->bits & TCP_EVENT_ERROR) != 0)
		talk->reason = event->reason;
}

static void
turn(struct runner *r)
{
	struct tcp_event event;
	struct pkt *p;

	tcp_advance(r->stack.tcp, r->now_ns);
	while (tcp_event_next(r->stack.tcp, &event))
		collect_event(r, &event);
	tcp_output_ready(r->stack.tcp, r->now_ns);
	while (tcp_event_next(r->stack.tcp, &event))
		collect_event(r, &event);
	while ((p = tcp_transmit_next(r->stack.tcp)) != NULL) {
		if (r->captured_count == CAPTURED_MAX)
			fail(r, "sends without end");
		r->captured[(r->captured_first + r->captured_count++) % CAPTURED_MAX] =
			(struct captured){ p, r->now_ns };
	}
	tcp_check(r->stack.tcp);
}

/* Lets the engine work until the moment, or until it has sent something. */
static void
advance_to(struct runner *r, uint64_t until_ns, bool stop_at_output)
{
	for (uint32_t turns = 0;; turns++) {
		uint64_t next_ns = tcp_next_at(r->stack.tcp);

		if (stop_at_output && r->captured_count > 0)
			return;
		if (turns == TURNS_PER_LINE_MAX)
			fail(r, "wakes up without end");
		if (next_ns > until_ns)
			break;
		if (next_ns > r->now_ns)
			r->now_ns = next_ns;
		turn(r);
	}
	if (until_ns > r->now_ns)
		r->now_ns = until_ns;
	turn(r);
}

static void
drop_captured(struct runner *r)
{
	pkt_free(r->captured[r->captured_first].p);
	r->captured_first = (r->captured_first + 1) % CAPTURED_MAX;
	r->captured_count--;
}

/* --- segments to the engine ------------------------------------------------------------ */

static void
talk_open(struct runner *r, struct talk *talk, uint16_t local_port, uint16_t remote_port)
{
	uint32_t index = (uint32_t)(talk - r->talk);

	*talk = (struct talk){
		.is_used = true,
		.local_port = local_port,
		.remote_port = remote_port,
		.remote_isn = r->variant->isn + (index - 1) * 7919u,
	};
}

static void
run_input(struct runner *r, const struct script_segment *g)
{
	struct talk *talk = current(r);
	uint8_t payload[SEGMENT_BYTES_MAX];
	struct segment s = g->s;
	struct pkt *p;

	if (!talk->is_used)
		talk_open(r, talk, LOCAL_PORT, (uint16_t)(REMOTE_PORT_FIRST + r->current));
	s.src = r->remote;
	s.dst = r->local;
	s.src_port = talk->remote_port;
	s.dst_port = talk->local_port;
	s.seq = talk->remote_isn + (uint32_t)g->seq;
	s.ack = (s.flags & SEGMENT_ACK) != 0 ? talk->local_isn + (uint32_t)g->ack : 0;
	s.window = g->any_win ? 65535 : (uint16_t)g->win_min;
	if (g->ecr_last)
		s.ts_ecr = talk->ts_last - s.ts_ecr;
	for (uint32_t i = 0; i < s.sacks; i++) {
		s.sack[i].left += talk->local_isn;
		s.sack[i].right += talk->local_isn;
	}
	s.raw_options = bytes_make(g->raw, g->raw_bytes);
	/* The SYN takes number 0, so the stream begins at 1. */
	stream_fill(KEY_REMOTE, (uint64_t)(g->seq + (1 << 20)), payload, g->len);
	s.payload = bytes_make(payload, g->len);
	p = segment_to_pkt(&s, r->stack.receive_pool);
	if (p == NULL)
		fail(r, "the receive pool is empty");
	pkt_meta(p)->l4_csum = g->csum;
	if (g->bad_checksum)
		pkt_data(p)[16] ^= 0x40;
	r->verdict = tcp_input(r->stack.tcp, p, r->now_ns);
	turn(r);
}

/* --- segments from the engine ------------------------------------------------------------ */

static void
complain(const struct runner *r, const struct talk *talk, const struct segment *s, const char *what)
{
	char text[400];

	segment_format(s, talk->local_isn, talk->remote_isn, text, sizeof(text));
	fail(r, "%s; sent was: %s", what, text);
}

static void
compare_options(const struct runner *r, const struct talk *talk, const struct script_segment *g,
		const struct segment *s)
{
	if (g->any_options)
		return;
	if (s->options_bad)
		complain(r, talk, s, "its options do not parse");
	if (g->raw_bytes > 0 &&
	    !bytes_equal(bytes_make(g->raw, g->raw_bytes), s->options))
		complain(r, talk, s, "other option bytes");
	if (g->raw_bytes > 0)
		return;
	if (g->s.has_mss != s->has_mss || g->s.mss != s->mss)
		complain(r, talk, s, "other MSS");
	if (g->s.has_wscale != s->has_wscale || g->s.wscale != s->wscale)
		complain(r, talk, s, "other window scale");
	if (g->s.has_sack_ok != s->has_sack_ok)
		complain(r, talk, s, "other SACK permission");
	if (g->s.has_ts != s->has_ts)
		complain(r, talk, s, "other timestamps");
	if (g->s.has_ts && !g->any_ts_val && g->s.ts_val != s->ts_val)
		complain(r, talk, s, "other timestamp value");
	if (g->s.has_ts && !g->any_ts_ecr && g->s.ts_ecr != s->ts_ecr)
		complain(r, talk, s, "other timestamp echo");
	if (g->s.sacks != s->sacks)
		complain(r, talk, s, "other number of SACK blocks");
	for (uint32_t i = 0; i < s->sacks; i++)
		if (g->s.sack[i].left != s->sack[i].left - talk->remote_isn ||
		    g->s.sack[i].right != s->sack[i].right - talk->remote_isn)
			complain(r, talk, s, "other SACK blocks");
}

static void
compare(const struct runner *r, const struct talk *talk, const struct script_segment *g,
	const struct segment *s)
{
	uint32_t position = s->seq - talk->local_isn - 1;

	if (!g->any_flags && s->flags != g->s.flags)
		complain(r, talk, s, "other flags");
	if (!g->any_seq && s->seq != talk->local_isn + (uint32_t)g->seq)
		complain(r, talk, s, "other sequence number");
	if (!(g->any_seq && g->len == 0) && s->payload.len != g->len)
		complain(r, talk, s, "other length");
	if (!g->any_flags && (s->flags & SEGMENT_ACK) != 0 && !g->any_ack &&
	    s->ack != talk->remote_isn + (uint32_t)g->ack)
		complain(r, talk, s, "other acknowledgment");
	if (!g->any_win && (s->window < g->win_min || s->window > g->win_max))
		complain(r, talk, s, "other window");
	if (g->has_ecn && g->s.ecn != s->ecn)
		complain(r, talk, s, "other ECN field");
	if (stream_match(KEY_LOCAL, position, s->payload.ptr, s->payload.len) != s->payload.len)
		complain(r, talk, s, "other bytes than the stream has there");
	compare_options(r, talk, g, s);
}

static void
learn(struct runner *r, struct talk *talk, const struct script_segment *g, const struct segment *s)
{
	if ((s->flags & SEGMENT_SYN) != 0 && !r->is_isn_seen) {
		r->is_isn_seen = true;
		r->isn_seen = s->seq;
	}
	if ((s->flags & SEGMENT_SYN) != 0 && (!talk->is_local_known || g->is_new)) {
		talk->local_isn = s->seq;
		talk->is_local_known = true;
	}
	if (s->has_ts)
		talk->ts_last = s->ts_val;
}

/* How late a timer may be: the wheel's slots grow with the distance (an eighth), and a tick. */
static uint64_t
tolerance_of(uint64_t gap_ns)
{
	return 2 * NSEC_PER_MSEC + gap_ns / 7;
}

static void
run_output(struct runner *r, const struct script_line *line)
{
	const struct script_time *time = &line->time;
	uint64_t early_ns = r->line_ns + time->from_ns;
	uint64_t late_ns = r->line_ns + time->until_ns;
	uint8_t flat[SEGMENT_BYTES_MAX];
	struct captured c;
	struct segment s;
	struct talk *talk;

	if (time->is_any) {
		early_ns = r->line_ns;
		late_ns = r->line_ns + ANY_TIME_NS;
	} else if (!time->is_range) {
		late_ns += tolerance_of(time->from_ns);
		early_ns -= early_ns >= NSEC_PER_MSEC ? NSEC_PER_MSEC : 0;
	}
	advance_to(r, late_ns > r->now_ns ? late_ns : r->now_ns, true);
	if (r->captured_count == 0)
		fail(r, "nothing was sent");
	c = r->captured[r->captured_first];
	CHECK(segment_parse_pkt(c.p, flat, &s));
	if (!segment_checksum_is_good(bytes_make(flat, pkt_total(c.p)), &s.src, &s.dst))
		fail(r, "sent with a wrong checksum");
	if (memcmp(&s.src, &r->local, 16) != 0 || memcmp(&s.dst, &r->remote, 16) != 0)
		fail(r, "sent from or to a wrong address");
	talk = talk_of_ports(r, s.src_port, s.dst_port);
	if (talk == NULL || talk != current(r))
		fail(r, "sent on another connection, ports %u to %u", s.src_port, s.dst_port);
	learn(r, talk, &line->segment, &s);
	compare(r, talk, &line->segment, &s);
	if (c.at_ns < early_ns || c.at_ns > late_ns)
		fail(r, "sent %.6f s after the line before",
		     ((double)c.at_ns - (double)r->line_ns) / 1e9);
	r->line_ns = c.at_ns > r->line_ns ? c.at_ns : r->line_ns;
	drop_captured(r);
}

/* --- calls ---------------------------------------------------------------------------- */

static const char *
word(const struct runner *r, const struct script_line *line, uint32_t i)
{
	if (i >= line->words)
		fail(r, "a word is missing");
	return line->word[i];
}

static bool
is_word(const struct script_line *line, uint32_t i, const char *text)
{
	return i < line->words && strcmp(line->word[i], text) == 0;
}

static uint64_t
number(const struct runner *r, const struct script_line *line, uint32_t i)
{
	const char *text = word(r, line, i);
	char *end;
	uint64_t value = strtoull(text, &end, 0);

	if (*end != '\0' || end == text)
		fail(r, "\"%s\" is no number", text);
	return value;
}

static tcp_conn_t
handle(struct runner *r)
{
	if (!tcp_is_live(r->stack.tcp, current(r)->conn))
		fail(r, "there is no connection");
	return current(r)->conn;
}

static void
expect_verdict(const struct runner *r, enum err verdict, const char *name)
{
	const char *got = verdict == ERR_OK ? "OK" : err_name(verdict);

	if (strcmp(got, name) != 0)
		fail(r, "the verdict is %s", got);
}

/* A call whose last word may be "= VERDICT". */
static const char *
wanted_verdict(const struct script_line *line)
{
	for (uint32_t i = 0; i + 1 < line->words; i++)
		if (strcmp(line->word[i], "=") == 0)
			return line->word[i + 1];
	return "OK";
}

static void
call_connect(struct runner *r, const struct script_line *line)
{
	struct talk *talk = current(r);
	struct tcp_tuple t = { .local = r->local, .remote = r->remote };
	enum err verdict;

	if (!talk->is_used)
		talk_open(r, talk, (uint16_t)(ACTIVE_PORT_FIRST + r->current), LOCAL_PORT);
	t.local_port = talk->local_port;
	t.remote_port = talk->remote_port;
	verdict = tcp_connect(r->stack.tcp, &t, r->current, &talk->conn, r->now_ns);
	expect_verdict(r, verdict, wanted_verdict(line));
}

static void
call_send(struct runner *r, const struct script_line *line)
{
	struct talk *talk = current(r);
	uint32_t n = (uint32_t)number(r, line, 1);
	struct pkt *p = stack_payload(&r->stack, KEY_LOCAL, talk->sent, n, 0);
	enum err verdict;

	if (p == NULL)
		fail(r, "the payload pool is empty");
	verdict = tcp_send(r->stack.tcp, handle(r), p, is_word(line, 2, "more"));
	if (verdict != ERR_OK)
		pkt_free(p);
	else
		talk->sent += n;
	expect_verdict(r, verdict, wanted_verdict(line));
}

static void
call_take(struct runner *r, const struct script_line *line, bool consumes)
{
	struct talk *talk = current(r);
	bool everything = is_word(line, 1, "*");
	uint64_t wanted = everything ? 0 : number(r, line, 1);
	uint64_t got = 0;
	struct pkt *head;

	while (everything || got < wanted) {
		head = tcp_take(r->stack.tcp, handle(r));
		if (head == NULL)
			break;
		for (struct pkt *p = head; p != NULL; p = pkt_next(p)) {
			uint64_t at = talk->taken + got + (1 << 20) + 1;

			if (stream_match(KEY_REMOTE, at, pkt_data(p), pkt_len(p)) != pkt_len(p))
				fail(r, "reads wrong bytes behind %" PRIu64, talk->taken + got);
			got += pkt_len(p);
		}
		pkt_free(head);
	}
	talk->taken += got;
	if (!everything && got != wanted)
		fail(r, "took %" PRIu64 " bytes", got);
	if (consumes && got > 0)
		tcp_consumed(r->stack.tcp, handle(r), (uint32_t)got);
}

static void
call_icmp(struct runner *r, const struct script_line *line)
{
	struct talk *talk = current(r);
	struct tcp_tuple t = { r->local, r->remote, talk->local_port, talk->remote_port };
	bool hard = is_word(line, 1, "hard");
	uint32_t mtu = 0;
	uint32_t seq_word = 2;

	if (is_word(line, 1, "mtu")) {
		mtu = (uint32_t)number(r, line, 2);
		seq_word = 3;
	}
	tcp_icmp(r->stack.tcp, &t, talk->local_isn + (uint32_t)number(r, line, seq_word), hard, mtu,
		 r->now_ns);
}

static void
drought_end(struct runner *r, uint32_t pool)
{
	while (r->drought[pool] != NULL) {
		struct pkt *p = r->drought[pool];

		r->drought[pool] = pkt_meta(p)->queue_next;
		pkt_free(p);
	}
}

/* "drought header 2": all but two packets of a pool are gone; "drought header off". */
static void
call_drought(struct runner *r, const struct script_line *line)
{
	static const char *const names[] = { "header", "bare", "receive", "payload" };
	struct pkt_pool *const pools[] = { r->stack.header_pool, r->stack.bare_pool,
					   r->stack.receive_pool, r->stack.payload_pool };
	uint32_t i = 0;
	uint32_t n;

	while (i < COUNT_OF(names) && strcmp(names[i], word(r, line, 1)) != 0)
		i++;
	if (i == COUNT_OF(names))
		fail(r, "no such pool");
	drought_end(r, i);
	if (is_word(line, 2, "off"))
		return;
	for (n = pkt_pool_stats(pools[i]).free; n > number(r, line, 2); n--) {
		struct pkt *p = pkt_alloc(pools[i]);

		pkt_meta(p)->queue_next = r->drought[i];
		r->drought[i] = p;
	}
}

static void
call_conn(struct runner *r, const struct script_line *line)
{
	uint64_t n = number(r, line, 1);

	if (n < 1 || n >= CONNS_MAX)
		fail(r, "connections are 1..%u", CONNS_MAX - 1);
	r->current = (uint32_t)n;
}

/* The remote side starts a new incarnation on the same ports. */
static void
call_rebase(struct runner *r, const struct script_line *line)
{
	struct talk *talk = current(r);
	char *end;

	talk->remote_isn += (uint32_t)strtoll(word(r, line, 1), &end, 0);
	talk->is_local_known = false;
	talk->sent = 0;
	talk->taken = 0;
}

/* --- expectations ------------------------------------------------------------------------ */

static uint32_t
event_bit(const struct runner *r, const char *name)
{
	static const struct {
		const char *name;
		uint32_t bit;
	} events[] = {
		{ "accepted", TCP_EVENT_ACCEPTED }, { "connected", TCP_EVENT_CONNECTED },
		{ "readable", TCP_EVENT_READABLE }, { "writable", TCP_EVENT_WRITABLE },
		{ "eof", TCP_EVENT_EOF },	    { "error", TCP_EVENT_ERROR },
	};

	for (size_t i = 0; i < COUNT_OF(events); i++)
		if (strcmp(events[i].name, name) == 0)
			return events[i].bit;
	fail(r, "no such event");
}

static void
expect_event(struct runner *r, const struct script_line *line)
{
	struct talk *talk = current(r);
	uint32_t bit = event_bit(r, word(r, line, 2));

	if ((talk->events & bit) == 0)
		fail(r, "there was no such event");
	talk->events &= ~bit;
	if (bit == TCP_EVENT_ERROR && strcmp(err_name(talk->reason), word(r, line, 3)) != 0)
		fail(r, "the reason is %s", err_name(talk->reason));
}

static void
expect_no_event(struct runner *r, const struct script_line *line)
{
	if ((current(r)->events & event_bit(r, word(r, line, 3))) != 0)
		fail(r, "there was such an event");
}

/* "expect drop NAME [N]": since the last such line it was counted N times (one). */
static void
expect_drop(struct runner *r, const struct script_line *line)
{
	const char *name = word(r, line, 2);
	uint64_t wanted = line->words > 3 ? number(r, line, 3) : 1;

	for (uint32_t e = ERR_MORE + 1; e < ERR_COUNT; e++) {
		uint64_t count = tcp_stats(r->stack.tcp)->drops[e];
		uint64_t got = count - r->drops_seen[e];

		if (strcmp(err_name((enum err)e), name) != 0)
			continue;
		r->drops_seen[e] = count;
		if (got != wanted)
			fail(r, "counted %" PRIu64 " times", got);
		return;
	}
	fail(r, "no such verdict");
}

static void
expect_stat(struct runner *r, const struct script_line *line)
{
	const struct tcp_stats *s = tcp_stats(r->stack.tcp);
	const struct {
		const char *name;
		uint64_t value;
	} stats[] = {
		{ "segments_in", s->segments_in },
		{ "segments_out", s->segments_out },
		{ "retransmits", s->retransmits },
		{ "rtos", s->rtos },
		{ "fast_retransmits", s->fast_retransmits },
		{ "accepted", s->accepted },
		{ "connected", s->connected },
		{ "cookies_sent", s->cookies_sent },
		{ "cookies_accepted", s->cookies_accepted },
		{ "challenge_acks", s->challenge_acks },
		{ "resets_out", s->resets_out },
		{ "conns", s->conns },
		{ "half_open", s->half_open },
		{ "time_wait", s->time_wait },
		{ "ranges", s->ranges },
		{ "undone", s->undone },
		{ "black_holes", s->black_holes },
		{ "ecn_marks", s->ecn_marks },
		{ "ecn_reductions", s->ecn_reductions },
	};

	for (size_t i = 0; i < COUNT_OF(stats); i++) {
		if (strcmp(stats[i].name, word(r, line, 2)) != 0)
			continue;
		if (stats[i].value != number(r, line, 3))
			fail(r, "it is %" PRIu64, stats[i].value);
		return;
	}
	fail(r, "no such counter");
}

static void
expect_value(struct runner *r, uint64_t value, const struct script_line *line)
{
	if (value != number(r, line, 2))
		fail(r, "it is %" PRIu64, value);
}

static void
run_expect(struct runner *r, const struct script_line *line)
{
	const char *what = word(r, line, 1);
	struct tcp *tcp = r->stack.tcp;

	if (strcmp(what, "event") == 0)
		expect_event(r, line);
	else if (strcmp(what, "no") == 0)
		expect_no_event(r, line);
	else if (strcmp(what, "drop") == 0)
		expect_drop(r, line);
	else if (strcmp(what, "verdict") == 0)
		expect_verdict(r, r->verdict, word(r, line, 2));
	else if (strcmp(what, "stat") == 0)
		expect_stat(r, line);
	else if (strcmp(what, "room") == 0)
		expect_value(r, tcp_send_room(tcp, handle(r)), line);
	else if (strcmp(what, "unsent") == 0)
		expect_value(r, tcp_unsent(tcp, handle(r)), line);
	else if (strcmp(what, "unacked") == 0)
		expect_value(r, tcp_unacked(tcp, handle(r)), line);
	else if (strcmp(what, "live") == 0 || strcmp(what, "dead") == 0) {
		if (tcp_is_live(tcp, current(r)->conn) != (what[0] == 'l'))
			fail(r, "it is not");
	} else {
		fail(r, "nothing of that name can be expected");
	}
}

static void
run_call(struct runner *r, const struct script_line *line)
{
	const char *name = line->word[0];
	struct tcp *tcp = r->stack.tcp;

	if (strcmp(name, "conn") == 0)
		call_conn(r, line);
	else if (strcmp(name, "listen") == 0)
		expect_verdict(r, tcp_listen(tcp, &r->local, (uint16_t)number(r, line, 1), 7),
			       wanted_verdict(line));
	else if (strcmp(name, "unlisten") == 0)
		expect_verdict(r, tcp_unlisten(tcp, &r->local, (uint16_t)number(r, line, 1)),
			       wanted_verdict(line));
	else if (strcmp(name, "connect") == 0)
		call_connect(r, line);
	else if (strcmp(name, "send") == 0)
		call_send(r, line);
	else if (strcmp(name, "take") == 0)
		call_take(r, line, false);
	else if (strcmp(name, "read") == 0)
		call_take(r, line, true);
	else if (strcmp(name, "consume") == 0)
		tcp_consumed(tcp, handle(r), (uint32_t)number(r, line, 1));
	else if (strcmp(name, "notify") == 0)
		tcp_notify_below(tcp, handle(r), (uint32_t)number(r, line, 1));
	else if (strcmp(name, "hold") == 0)
		tcp_hold(tcp, handle(r), true);
	else if (strcmp(name, "release") == 0)
		tcp_hold(tcp, handle(r), false);
	else if (strcmp(name, "push") == 0)
		tcp_push(tcp, handle(r));
	else if (strcmp(name, "shutdown") == 0)
		tcp_shutdown(tcp, handle(r));
	else if (strcmp(name, "close") == 0)
		tcp_close(tcp, handle(r));
	else if (strcmp(name, "abort") == 0)
		tcp_abort(tcp, handle(r));
	else if (strcmp(name, "icmp") == 0)
		call_icmp(r, line);
	else if (strcmp(name, "drought") == 0)
		call_drought(r, line);
	else if (strcmp(name, "rebase") == 0)
		call_rebase(r, line);
	else if (strcmp(name, "output") == 0)
		turn(r);
	else
		fail(r, "no such call");
}

/* --- one script ----------------------------------------------------------------------------- */

static void
expect_silence(struct runner *r, const char *what)
{
	uint8_t flat[SEGMENT_BYTES_MAX];
	struct segment s;
	struct talk *talk;

	if (r->captured_count == 0)
		return;
	CHECK(segment_parse_pkt(r->captured[r->captured_first].p, flat, &s));
	talk = talk_of_ports(r, s.src_port, s.dst_port);
	if (talk == NULL)
		talk = current(r);
	complain(r, talk, &s, what);
}

/* Calls in one moment belong to one turn of the loop: output runs when the time moves on or a
 * segment is looked at. */
static void
run_line(struct runner *r, const struct script_line *line)
{
	uint64_t at_ns = r->line_ns + line->time.from_ns;

	if (line->kind == SCRIPT_OUTPUT) {
		turn(r);
		run_output(r, line);
		return;
	}
	if (at_ns > r->now_ns) {
		turn(r);
		advance_to(r, at_ns, false);
	}
	if (at_ns > r->line_ns)
		r->line_ns = at_ns;
	if (line->kind == SCRIPT_INPUT) {
		turn(r);
		run_input(r, &line->segment);
	} else if (strcmp(line->word[0], "quiet") == 0) {
		turn(r);
		expect_silence(r, "it should be quiet");
	} else if (strcmp(line->word[0], "expect") == 0) {
		turn(r);
		run_expect(r, line);
	} else {
		run_call(r, line);
	}
}

static void
apply_option(struct runner *r, const struct script_line *line)
{
	const char *name = word(r, line, 0);
	struct tcp_config *c = &r->config;

	if (strcmp(name, "v4") == 0) {
		r->runs_v6 = false;
		return;
	}
	if (strcmp(name, "v6") == 0) {
		r->runs_v4 = false;
		return;
	}
	for (uint32_t i = 0; i + 1 < line->words; i += 2) {
		const struct {
			const char *name;
			uint32_t *to;
		} counts[] = {
			{ "conns", &c->conns_max },	   { "half_open", &c->half_open_max },
			{ "time_wait", &c->time_wait_max }, { "ranges", &c->ranges_max },
			{ "recv", &c->recv_bytes_max },	   { "send", &c->send_bytes_max },
			{ "syn_acks", &c->syn_acks_max },
		};
		const struct {
			const char *name;
			uint64_t *to;
		} times[] = {
			{ "user_timeout_ms", &c->user_timeout_ns },
			{ "delayed_ack_ms", &c->delayed_ack_ns },
			{ "keepalive_ms", &c->keepalive_ns },
			{ "time_wait_ms", &c->time_wait_ns },
			{ "fin_wait_ms", &c->fin_wait_ns },
			{ "rto_min_ms", &c->rto_min_ns },
		};
		uint64_t value = number(r, line, i + 1);
		bool is_known = true;

		name = line->word[i];
		if (strcmp(name, "mss") == 0)
			c->mss_v4 = c->mss_v6 = (uint16_t)value;
		else if (strcmp(name, "ecn") == 0)
			c->ecn_connect = value != 0;
		else if (strcmp(name, "path_mtu_min") == 0)
			c->path_mtu_min_v4 = (uint16_t)value;
		else if (strcmp(name, "shift") == 0)
			c->window_shift = (uint8_t)value;
		else
			is_known = false;
		for (size_t k = 0; k < COUNT_OF(counts); k++)
			if (strcmp(counts[k].name, name) == 0) {
				*counts[k].to = (uint32_t)value;
				is_known = true;
			}
		for (size_t k = 0; k < COUNT_OF(times); k++)
			if (strcmp(times[k].name, name) == 0) {
				*times[k].to = value * NSEC_PER_MSEC;
				is_known = true;
			}
		if (!is_known)
			fail(r, "no such option");
	}
}

static void
runner_open(struct runner *r)
{
	static const struct ip_addr v4_local = { { [10] = 0xff, [11] = 0xff, 10, 0, 0, 1 } };
	static const struct ip_addr v4_remote = { { [10] = 0xff, [11] = 0xff, 192, 0, 2, 1 } };
	static const struct ip_addr v6_local = { { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 } };
	static const struct ip_addr v6_remote = { { 0x20, 0x01, 0x0d, 0xb8, [7] = 9, [15] = 2 } };

	r->local = r->variant->is_v6 ? v6_local : v4_local;
	r->remote = r->variant->is_v6 ? v6_remote : v4_remote;
	r->now_ns = START_NS;
	r->line_ns = START_NS;
	r->config.isn_offset = r->variant->offset;
	r->current = 1;
	stack_open(&r->stack, &r->config, &r->pools, r->now_ns);
}

static void
runner_close(struct runner *r)
{
	turn(r);
	expect_silence(r, "the script ends and this was not expected");
	for (uint32_t i = 0; i < CONNS_MAX; i++)
		if ((r->talk[i].events & TCP_EVENT_ERROR) != 0)
			fail(r, "an error was not expected: %s", err_name(r->talk[i].reason));
	for (uint32_t i = 0; i < COUNT_OF(r->drought); i++)
		drought_end(r, i);
	stack_close(&r->stack);
}

/* False: the script is not for this family. */
static bool
run_once(struct runner *r, const char *file, uint64_t seed, const struct source *source,
	 const struct variant *variant)
{
	static struct script_line line;
	bool is_open = false;

	memset(r, 0, sizeof(*r));
	r->file = file;
	r->seed = seed;
	r->variant = variant;
	r->config = stack_config();
	r->config.mss_v6 = r->config.mss_v4;
	r->pools = (struct stack_pools){ 256, 512, 256, 256 };
	r->runs_v4 = true;
	r->runs_v6 = true;
	for (uint32_t i = 0; i < source->lines; i++) {
		const char *wrong;

		r->line_number = i + 1;
		r->line_text = source->text[i];
		wrong = script_parse(r->line_text, &line);
		if (wrong != NULL)
			fail(r, "%s", wrong);
		if (line.kind == SCRIPT_NOTHING)
			continue;
		if (line.kind == SCRIPT_OPTION) {
			if (is_open)
				fail(r, "options come first");
			apply_option(r, &line);
			continue;
		}
		if (!(variant->is_v6 ? r->runs_v6 : r->runs_v4))
			return false;
		if (!is_open)
			runner_open(r);
		is_open = true;
		run_line(r, &line);
	}
	if (!is_open)
		fail(r, "a script without lines tests nothing");
	runner_close(r);
	return true;
}

static bool
read_source(const char *file, struct source *source)
{
	FILE *f = fopen(file, "r");

	if (f == NULL) {
		perror(file);
		return false;
	}
	while (source->lines < LINES_MAX &&
	       fgets(source->text[source->lines], LINE_BYTES, f) != NULL) {
		char *end = strchr(source->text[source->lines], '\n');

		if (end == NULL && !feof(f)) {
			fprintf(stderr, "%s:%u: the line is too long\n", file, source->lines + 1);
			fclose(f);
			return false;
		}
		if (end != NULL)
			*end = '\0';
		source->lines++;
	}
	if (!feof(f)) {
		fprintf(stderr, "%s: more than %u lines\n", file, LINES_MAX);
		fclose(f);
		return false;
	}
	fclose(f);
	return true;
}

/* The engine's numbers are hashes. So a script runs as they fall, and once more with all of them moved so that the
 * first one is the variant's. */
static bool
run_variant(const char *file, uint64_t seed, const struct source *source, struct variant variant)
{
	static struct runner runner;

	if (!run_once(&runner, file, seed, source, &variant))
		return false;
	variant.offset = variant.isn - runner.isn_seen;
	if (!runner.is_isn_seen || variant.offset == 0)
		return true;
	CHECK(run_once(&runner, file, seed, source, &variant));
	CHECK(runner.isn_seen == variant.isn);
	return true;
}

/* SLUICE_SEED, or another one each time: what fails prints it. */
static uint64_t
choose_seed(void)
{
	const char *text = getenv("SLUICE_SEED");
	uint32_t seed;

	if (text != NULL)
		return strtoull(text, NULL, 0);
	CHECK(getrandom(&seed, sizeof(seed), 0) == sizeof(seed));
	return seed;
}

int
main(int argc, char **argv)
{
	static struct source source;
	struct prng prng;
	uint64_t seed = choose_seed();
	uint32_t runs = 0;

	if (argc != 2 || argv[1][0] == '-') {
		bool asked = argc == 2 && strcmp(argv[1], "--help") == 0;

		fputs("Usage: [SLUICE_SEED=N] run_script FILE.pkt\n"
		      "What a script may say: tests/script/README.md.\n",
		      asked ? stdout : stderr);
		return asked ? 0 : 2;
	}
	if (!read_source(argv[1], &source))
		return 1;
	prng_init(&prng, seed);
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		const uint32_t isns[] = { 0, (uint32_t)prng_next(&prng), UINT32_MAX - 99 };

		for (size_t i = 0; i < COUNT_OF(isns); i++)
			runs += run_variant(argv[1], seed, &source,
					    (struct variant){ is_v6 != 0, isns[i], 0 });
	}
	if (runs == 0) {
		fprintf(stderr, "%s: runs for no address family\n", argv[1]);
		return 1;
	}
	printf("seed %" PRIu64 "\n", seed);
	return 0;
}
