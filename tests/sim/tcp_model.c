/*
 * Every way in which two ends can open and close: a bounded model check of the engine itself.
 *
 * The network has at most one loss, one duplicate and one overtaking; it and the two applications move in any
 * order, and time passes when nothing else can happen, or once before that. Of these four, two happen in one path
 * unless --faults says more: all four take a minute. The engine is deterministic, so a path
 * is a list of choices: it is replayed from the start with one choice changed (depth first), and cut off where it
 * reaches a situation that another path had. Every path must end: no connection, half-open entry or timer left,
 * both applications told, all packets back.
 *
 *   tcp_model [--faults F]              all scenarios
 *   tcp_model [--faults F] N 0,1,0,2    one path of scenario N, with what it does
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "segment.h"
#include "stack.h"
#include "tcp/internal.h"
#include "tcp/tcp.h"

#define ENDS 2
#define FLIGHT_MAX 24  /* segments on the way in one direction */
#define DEPTH_MAX 120  /* choices of one path */
#define STEPS_MAX 400  /* of one path, the drain at its end included */
#define SEEN_SLOTS (UINT32_C(1) << 22)
#define SEEN_MAX (SEEN_SLOTS / 2)
#define PORT 443
#define DELAY_NS NSEC_PER_MSEC

/* --- scenarios --------------------------------------------------------------------- */

/* What an application does, letter by letter: C connects, d sends a byte, S shuts down, F closes, A aborts,
 * E waits for the other's end, R reads all. Only C is possible before the connection is open. */
struct scenario {
	const char *name;
	const char *script[ENDS];
};

static const struct scenario scenarios[] = {
	{ "both close at any time", { "CF", "F" } },
	{ "the client closes after the server", { "CEF", "F" } },
	{ "the server closes after the client", { "CF", "EF" } },
	{ "half-close, then the other half", { "CSEF", "EF" } },
	{ "half-close on both sides", { "CSEF", "SEF" } },
	{ "a byte each way, closed politely", { "CdSERF", "dERF" } },
	{ "closed with a byte unread", { "CdF", "dF" } },
	{ "the client aborts", { "CA", "F" } },
	{ "the server aborts", { "CF", "A" } },
	{ "simultaneous open, both close", { "CF", "CF" } },
	{ "simultaneous open, half-close", { "CSEF", "CSEF" } },
	{ "simultaneous open, one aborts", { "CF", "CA" } },
};

/* --- the world --------------------------------------------------------------------- */

struct side {
	struct stack stack;
	struct ip_addr address;
	uint16_t port;
	tcp_conn_t conn;
	const char *script; /* what is left of it */
	bool is_open;       /* the handle lives */
	bool is_settled;
	bool has_eof;
	bool was_opened;
};

struct frame {
	uint8_t bytes[64];
	size_t len;
	struct pkt_meta meta;
};

struct model {
	const struct scenario *scenario;
	struct side side[ENDS];
	struct frame flight[ENDS][FLIGHT_MAX]; /* by sender */
	uint32_t flying[ENDS];
	uint32_t losses;
	uint32_t duplicates;
	uint32_t overtakings;
	uint32_t early_times;
	uint32_t faults; /* of all four kinds that may still happen */
	uint64_t now_ns;
	uint32_t steps;
};

static struct model model;
static uint32_t faults_max = 2;

/* The path: choices made, and how many there were. */
static struct {
	uint8_t choice[DEPTH_MAX];
	uint8_t of[DEPTH_MAX];
	uint32_t depth;   /* made in this replay */
	uint32_t planned; /* to be repeated */
	bool is_told;     /* says what it does */
} path;

static uint64_t seen[SEEN_SLOTS];
static uint32_t seen_count;

static void __attribute__((format(printf, 1, 2), noreturn))
fail(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "%s: ", model.scenario->name);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, "\nto repeat it: tcp_model --faults %u %td ", faults_max, model.scenario - scenarios);
	for (uint32_t i = 0; i < path.depth; i++)
		fprintf(stderr, "%s%u", i > 0 ? "," : "", path.choice[i]);
	fprintf(stderr, "\n");
	exit(1);
}

static void __attribute__((format(printf, 1, 2)))
tell(const char *format, ...)
{
	va_list args;

	if (!path.is_told)
		return;
	printf("%10.3f ", (double)(model.now_ns % (1000 * NSEC_PER_SEC)) / 1e9);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
}

static uint32_t
choose(uint32_t of)
{
	CHECK(of > 0 && of < UINT8_MAX);
	if (of == 1)
		return 0;
	if (path.depth == DEPTH_MAX)
		fail("more than %u choices", DEPTH_MAX);
	if (path.depth >= path.planned)
		path.choice[path.depth] = 0;
	path.of[path.depth] = (uint8_t)of;
	return path.choice[path.depth++] % of;
}

static void
model_open(struct model *m, const struct scenario *scenario)
{
	static const struct stack_pools pools = { 40, 8, 40, 8 };
	struct tcp_config config = stack_config();
	bool is_simultaneous = scenario->script[1][0] == 'C';

	memset(m, 0, sizeof(*m));
	m->scenario = scenario;
	m->losses = m->duplicates = m->overtakings = m->early_times = 1;
	m->faults = faults_max;
	m->now_ns = 1000 * NSEC_PER_SEC;
	config.conns_max = config.half_open_max = config.time_wait_max = 2;
	config.ranges_max = 16;
	config.user_timeout_ns = 100 * NSEC_PER_SEC;
	for (uint32_t i = 0; i < ENDS; i++) {
		struct side *s = &m->side[i];

		s->address = (struct ip_addr){ { [10] = 0xff, [11] = 0xff, 10, 0, 0, (uint8_t)(i + 1) } };
		s->port = i == 1 && !is_simultaneous ? PORT : (uint16_t)(5000 + i);
		s->script = scenario->script[i];
		config.hash_key[0] = (uint8_t)i;
		stack_open(&s->stack, &config, &pools, m->now_ns);
	}
	if (!is_simultaneous)
		CHECK(tcp_listen(m->side[1].stack.tcp, &m->side[1].address, PORT, 1) == ERR_OK);
}

static void
model_close(struct model *m)
{
	for (uint32_t i = 0; i < ENDS; i++)
		stack_close(&m->side[i].stack);
}

/* --- what one end does ---------------------------------------------------------------- */

static void
events(struct side *s)
{
	struct tcp_event event;

	while (tcp_event_next(s->stack.tcp, &event)) {
		if ((event.bits & TCP_EVENT_ACCEPTED) != 0) {
			if (s->was_opened) { /* an old SYN came back */
				tcp_abort(s->stack.tcp, event.conn);
				continue;
			}
			s->conn = event.conn;
			s->is_open = s->was_opened = true;
			s->is_settled = true;
		}
		if (event.conn != s->conn || !s->is_open)
			fail("an event of a dead handle");
		if ((event.bits & TCP_EVENT_CONNECTED) != 0)
			s->is_settled = true;
		if ((event.bits & TCP_EVENT_EOF) != 0)
			s->has_eof = true;
		if ((event.bits & TCP_EVENT_ERROR) != 0) {
			tell("%td hears %s", s - model.side, err_name(event.reason));
			tcp_close(s->stack.tcp, s->conn);
			s->is_open = false;
			s->script = "";
		}
	}
}

static void
transmit(struct model *m, uint32_t from)
{
	uint8_t flat[SEGMENT_BYTES_MAX];
	struct segment s;
	char text[400];
	struct pkt *p;

	while ((p = tcp_transmit_next(m->side[from].stack.tcp)) != NULL) {
		struct frame *f = &m->flight[from][m->flying[from]];

		if (m->flying[from] == FLIGHT_MAX)
			fail("%u segments on the way", FLIGHT_MAX);
		CHECK(segment_parse_pkt(p, flat, &s));
		segment_format(&s, 0, 0, text, sizeof(text));
		tell("%u sends %s", from, text);
		f->len = pkt_total(p);
		CHECK(f->len <= sizeof(f->bytes));
		memcpy(f->bytes, flat, f->len);
		f->meta = *pkt_meta(p);
		m->flying[from]++;
		pkt_free(p);
	}
}

static void
turn(struct model *m, uint32_t i)
{
	struct side *s = &m->side[i];

	tcp_advance(s->stack.tcp, m->now_ns);
	events(s);
	tcp_output_ready(s->stack.tcp, m->now_ns);
	events(s);
	transmit(m, i);
	tcp_check(s->stack.tcp);
}

static bool
app_can(const struct side *s)
{
	switch (s->script[0]) {
	case '\0':
		return false;
	case 'C':
		return true;
	case 'E':
		return s->is_settled && s->has_eof;
	default:
		return s->is_settled;
	}
}

static void
app_read(struct side *s)
{
	struct pkt *p;

	while ((p = tcp_take(s->stack.tcp, s->conn)) != NULL) {
		tcp_consumed(s->stack.tcp, s->conn, pkt_total(p));
		pkt_free(p);
	}
}

static void
app_step(struct model *m, uint32_t i)
{
	struct side *s = &m->side[i];
	struct side *peer = &m->side[1 - i];
	struct tcp *t = s->stack.tcp;
	struct tcp_tuple tuple = { s->address, peer->address, s->port, peer->port };
	struct pkt *p;

	tell("%u does %c", i, s->script[0]);
	switch (*s->script++) {
	case 'C':
		CHECK(tcp_connect(t, &tuple, 1, &s->conn, m->now_ns) == ERR_OK);
		s->is_open = s->was_opened = true;
		break;
	case 'd':
		p = stack_payload(&s->stack, 1, 0, 1, 0);
		CHECK(p != NULL && tcp_send(t, s->conn, p, false) == ERR_OK);
		break;
	case 'R':
		app_read(s);
		break;
	case 'S':
		tcp_shutdown(t, s->conn);
		break;
	case 'F':
		tcp_close(t, s->conn);
		s->is_open = false;
		break;
	case 'A':
		tcp_abort(t, s->conn);
		s->is_open = false;
		break;
	case 'E':
		break;
	default:
		CHECK(false);
	}
	turn(m, i);
}

/* --- what the network does -------------------------------------------------------------- */

static void
drop(struct model *m, uint32_t from, uint32_t index)
{
	m->flying[from]--;
	memmove(&m->flight[from][index], &m->flight[from][index + 1],
		(m->flying[from] - index) * sizeof(struct frame));
}

static void
deliver(struct model *m, uint32_t from, uint32_t index, bool keeps)
{
	struct side *to = &m->side[1 - from];
	const struct frame *f = &m->flight[from][index];
	struct pkt *p = segment_pkt_from(bytes_make(f->bytes, f->len), 0, to->stack.receive_pool);

	CHECK(p != NULL);
	*pkt_meta(p) = f->meta;
	pkt_meta(p)->l4_csum = PKT_CSUM_UNKNOWN;
	if (!keeps)
		drop(m, from, index);
	tell("%u gets the %s%s", 1 - from, index == 0 ? "next one" : "one behind it",
	     keeps ? ", which comes again" : "");
	m->now_ns += DELAY_NS;
	tcp_input(to->stack.tcp, p, m->now_ns);
	turn(m, 1 - from);
}

static uint64_t
next_at(const struct model *m)
{
	uint64_t a_ns = tcp_next_at(m->side[0].stack.tcp);
	uint64_t b_ns = tcp_next_at(m->side[1].stack.tcp);

	return a_ns < b_ns ? a_ns : b_ns;
}

static void
pass_time(struct model *m)
{
	uint64_t at_ns = next_at(m);

	if (at_ns > m->now_ns)
		m->now_ns = at_ns;
	tell("time passes");
	for (uint32_t i = 0; i < ENDS; i++)
		turn(m, i);
}

/* --- situations ------------------------------------------------------------------------- */

static void
mix(uint64_t *hash, uint64_t value)
{
	*hash = (*hash ^ value) * UINT64_C(0x9e3779b97f4a7c15);
	*hash ^= *hash >> 29;
}

static void
mix_side(uint64_t *hash, const struct model *m, uint32_t i)
{
	const struct side *s = &m->side[i];
	const struct tcp *t = s->stack.tcp;
	uint64_t at_ns = tcp_next_at(t);

	mix(hash, (uint64_t)(s->is_open | s->is_settled << 1 | s->has_eof << 2 | s->was_opened << 3));
	mix(hash, strlen(s->script));
	mix(hash, at_ns == NEVER_NS ? 0 : (at_ns - m->now_ns) / NSEC_PER_MSEC + 1);
	mix(hash, tcp_stats(t)->half_open * 4u + tcp_stats(t)->time_wait);
	for (uint32_t k = 0; k < t->conns.count; k++) {
		const struct tcp_conn *c = pool_at(&t->conns, k);

		if (!pool_is_lent(&t->conns, k))
			continue;
		mix(hash, c->state);
		mix(hash, (uint64_t)(c->snd_una - c->iss) << 32 | (uint32_t)(c->rcv_nxt - c->irs));
		mix(hash, (uint64_t)(c->snd_end - c->iss) << 32 | (uint32_t)(c->rcv_adv - c->irs));
		mix(hash, c->backoff * 8 + c->orphan + c->fin_queued * 2u + c->fin_seen * 4u);
		mix(hash, c->rtx_kind);
	}
}

static uint64_t
situation(const struct model *m)
{
	uint64_t hash = (uint64_t)(m->scenario - scenarios);

	mix(&hash, m->losses | m->duplicates << 8 | m->overtakings << 16 | m->early_times << 24);
	mix(&hash, m->faults);
	for (uint32_t i = 0; i < ENDS; i++) {
		mix_side(&hash, m, i);
		mix(&hash, m->flying[i]);
		for (uint32_t k = 0; k < m->flying[i]; k++) {
			struct segment s;

			CHECK(segment_parse(bytes_make(m->flight[i][k].bytes, m->flight[i][k].len),
					    &m->flight[i][k].meta, &s));
			mix(&hash, (uint64_t)s.seq << 32 | s.ack);
			mix(&hash, (uint64_t)s.flags << 32 | s.window << 8 | s.payload.len);
		}
	}
	return hash | 1; /* 0 is an empty slot */
}

/* True: another path was here. */
static bool
was_seen(uint64_t hash)
{
	uint32_t slot = (uint32_t)(hash >> 20) % SEEN_SLOTS;

	while (seen[slot] != 0) {
		if (seen[slot] == hash)
			return true;
		slot = (slot + 1) % SEEN_SLOTS;
	}
	if (++seen_count > SEEN_MAX)
		fail("more than %u situations", SEEN_MAX);
	seen[slot] = hash;
	return false;
}

/* --- paths ------------------------------------------------------------------------------ */

enum action_kind { APP, DELIVER, LOSE, DUPLICATE, OVERTAKE, TIME };

struct action {
	enum action_kind kind;
	uint32_t side;
};

static uint32_t
actions_of(const struct model *m, struct action *list)
{
	uint32_t n = 0;
	bool is_idle;

	for (uint32_t i = 0; i < ENDS; i++)
		if (m->flying[i] > 0)
			list[n++] = (struct action){ DELIVER, i };
	for (uint32_t i = 0; i < ENDS; i++)
		if (app_can(&m->side[i]))
			list[n++] = (struct action){ APP, i };
	is_idle = n == 0;
	for (uint32_t i = 0; i < ENDS && m->faults > 0; i++) {
		if (m->flying[i] > 0 && m->losses > 0)
			list[n++] = (struct action){ LOSE, i };
		if (m->flying[i] > 0 && m->duplicates > 0)
			list[n++] = (struct action){ DUPLICATE, i };
		if (m->flying[i] > 1 && m->overtakings > 0)
			list[n++] = (struct action){ OVERTAKE, i };
	}
	if (next_at(m) != NEVER_NS && (is_idle || (m->faults > 0 && m->early_times > 0)))
		list[n++] = (struct action){ TIME, is_idle };
	return n;
}

static void
act(struct model *m, const struct action *a)
{
	if (a->kind >= LOSE && !(a->kind == TIME && a->side))
		m->faults--;
	switch (a->kind) {
	case APP:
		app_step(m, a->side);
		break;
	case DELIVER:
		deliver(m, a->side, 0, false);
		break;
	case LOSE:
		tell("%u's next one is lost", a->side);
		m->losses--;
		drop(m, a->side, 0);
		break;
	case DUPLICATE:
		m->duplicates--;
		deliver(m, a->side, 0, true);
		break;
	case OVERTAKE:
		m->overtakings--;
		deliver(m, a->side, 1, false);
		break;
	case TIME:
		if (!a->side)
			m->early_times--;
		pass_time(m);
		break;
	}
}

static bool
is_over(const struct model *m)
{
	for (uint32_t i = 0; i < ENDS; i++) {
		const struct tcp_stats *stats = tcp_stats(m->side[i].stack.tcp);

		if (m->flying[i] > 0 || stats->conns > 0 || stats->half_open > 0)
			return false;
	}
	return true;
}

static void
judge(struct model *m)
{
	for (uint32_t i = 0; i < ENDS; i++) {
		const struct side *s = &m->side[i];

		if (s->is_open)
			fail("end %u is open, nothing moves, and \"%s\" is left", i, s->script);
		if (s->was_opened && s->script[0] != '\0')
			fail("end %u has \"%s\" left", i, s->script);
	}
	/* TIME-WAIT and nothing else: it runs out. */
	while (next_at(m) != NEVER_NS) {
		if (++m->steps > STEPS_MAX)
			fail("timers go on without a connection");
		pass_time(m);
		if (!is_over(m))
			fail("something is sent or opened after the end");
	}
	for (uint32_t i = 0; i < ENDS; i++) {
		if (tcp_stats(m->side[i].stack.tcp)->time_wait > 0)
			fail("end %u stays in TIME-WAIT", i);
		if (!stack_pools_are_full(&m->side[i].stack))
			fail("end %u: packets are missing", i);
	}
}

/* Follows the path as far as it is planned, then the first choice each time. True: to its end. */
static bool
replay(const struct scenario *scenario)
{
	struct model *m = &model;
	bool is_new = true;

	path.depth = 0;
	model_open(m, scenario);
	for (;;) {
		struct action list[16];
		uint32_t count = actions_of(m, list);

		if (count == 0)
			break;
		if (++m->steps > STEPS_MAX)
			fail("does not end");
		/* Only a situation beyond what is planned is a new one. */
		if (path.depth >= path.planned && !path.is_told && was_seen(situation(m))) {
			is_new = false;
			break;
		}
		act(m, &list[choose(count)]);
		if (is_over(m) && m->side[0].script[0] == '\0' && m->side[1].script[0] == '\0')
			break;
	}
	if (is_new)
		judge(m);
	model_close(m);
	return is_new;
}

/* The next path: the last choice that has another possibility takes it. False: that was all. */
static bool
advance(void)
{
	while (path.depth > 0 && path.choice[path.depth - 1] + 1 == path.of[path.depth - 1])
		path.depth--;
	if (path.depth == 0)
		return false;
	path.choice[path.depth - 1]++;
	path.planned = path.depth;
	return true;
}

static void
explore(const struct scenario *scenario)
{
	uint32_t before = seen_count;
	uint64_t paths = 0;
	uint64_t ends = 0;

	path.planned = 0;
	do {
		paths++;
		ends += replay(scenario);
	} while (advance());
	printf("%-40s %8" PRIu64 " paths, %7" PRIu64 " to an end of their own, %7u situations\n", scenario->name,
	       paths, ends, seen_count - before);
}

static int
replay_one(uint32_t index, const char *choices)
{
	CHECK(index < COUNT_OF(scenarios));
	path.is_told = true;
	for (path.planned = 0; *choices != '\0' && path.planned < DEPTH_MAX; path.planned++) {
		char *end;

		path.choice[path.planned] = (uint8_t)strtoul(choices, &end, 10);
		choices = *end == ',' ? end + 1 : end;
	}
	replay(&scenarios[index]);
	return 0;
}

int
main(int argc, char **argv)
{
	if (argc >= 3 && strcmp(argv[1], "--faults") == 0) {
		faults_max = (uint32_t)strtoul(argv[2], NULL, 10);
		argc -= 2;
		argv += 2;
	}
	if (argc == 3)
		return replay_one((uint32_t)strtoul(argv[1], NULL, 10), argv[2]);
	if (argc != 1) {
		bool asked = argc == 2 && strcmp(argv[1], "--help") == 0;

		fputs("Usage: tcp_model [--faults F] [SCENARIO CHOICES]\n"
		      "  --faults F        at most F faults together (2)\n"
		      "  SCENARIO CHOICES  one path again, with its packets: the numbers that a failure prints\n",
		      asked ? stdout : stderr);
		return asked ? 0 : 2;
	}
	for (uint32_t i = 0; i < COUNT_OF(scenarios); i++)
		explore(&scenarios[i]);
	return 0;
}
