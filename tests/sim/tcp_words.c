/*
 * What the engine does in every state with every input, as a table to be read and compared.
 *
 * From each start, all words of LENGTH inputs are played against one engine whose peer and application are this
 * program. Each step is a line "situation, input: what came out, next situation"; situations are what an
 * application and a listener on the wire can tell apart, so one line may have several outcomes. The sorted
 * lines are tcp_words.golden: a change of the engine shows there as a diff that somebody reads.
 *
 *   tcp_words GOLDEN [LENGTH]      compares; what differs goes to standard error
 *   tcp_words --write GOLDEN       writes the table
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

#define LENGTH_DEFAULT 4
#define LENGTH_MAX 6
#define ROWS_MAX 8192
#define ROW_BYTES_MAX 640
#define OUT_BYTES_MAX 300
#define PORT 443

/* --- inputs ------------------------------------------------------------------------ */

enum input {
	APP_CONNECT, /* or listens: what opens */
	APP_SEND,
	APP_TAKE,
	APP_SHUTDOWN,
	APP_CLOSE,
	APP_ABORT,
	PEER_SYN,
	PEER_SYN_ACK,
	PEER_ACK,      /* of everything that was sent */
	PEER_OLD_ACK,  /* of nothing new */
	PEER_DATA,     /* the next byte, and acknowledges everything */
	PEER_FIN,      /* and acknowledges everything */
	PEER_LATE_FIN, /* the same, but acknowledges nothing new */
	PEER_RESET,
	TIME, /* until the next timer */
	INPUTS
};

static const char *const input_names[INPUTS] = {
	"connect", "send", "take", "shutdown", "close", "abort", "< syn", "< syn ack", "< ack", "< old ack",
	"< data", "< fin", "< late fin", "< reset", "time",
};

struct start {
	const char *name;
	enum input word[6];
	uint32_t length;
	bool listens;
};

static const struct start starts[] = {
	{ "closed", { 0 }, 0, false },
	{ "listening", { 0 }, 0, true },
	{ "half open", { PEER_SYN }, 1, true },
	{ "connecting", { APP_CONNECT }, 1, false },
	{ "crossing", { APP_CONNECT, PEER_SYN }, 2, false },
	{ "open", { APP_CONNECT, PEER_SYN_ACK }, 2, false },
	{ "accepted", { PEER_SYN, PEER_ACK }, 2, true },
	{ "peer's end", { APP_CONNECT, PEER_SYN_ACK, PEER_FIN }, 3, false },
	{ "our end", { APP_CONNECT, PEER_SYN_ACK, APP_SHUTDOWN }, 3, false },
	{ "our end, taken", { APP_CONNECT, PEER_SYN_ACK, APP_SHUTDOWN, PEER_ACK }, 4, false },
	{ "ends cross", { APP_CONNECT, PEER_SYN_ACK, APP_SHUTDOWN, PEER_LATE_FIN }, 4, false },
	{ "last ack", { APP_CONNECT, PEER_SYN_ACK, PEER_FIN, APP_SHUTDOWN }, 4, false },
	{ "time wait", { APP_CONNECT, PEER_SYN_ACK, APP_SHUTDOWN, PEER_FIN }, 4, false },
};

/* --- the engine and its neighbours -------------------------------------------------- */

struct play {
	struct stack stack;
	struct ip_addr local;
	struct ip_addr remote;
	bool listens;
	uint64_t now_ns;
	tcp_conn_t conn;
	bool is_open;
	bool is_settled;
	bool has_eof;
	/* the peer */
	uint32_t isn;      /* ours, as the peer */
	uint32_t next;     /* the peer's next number */
	bool has_iss;
	uint32_t iss;      /* the engine's */
	uint32_t max;      /* highest number that the engine sent + 1 */
	char out[OUT_BYTES_MAX];
	size_t out_len;
};

static struct play play;

static char rows[ROWS_MAX][ROW_BYTES_MAX];
static uint32_t row_count;

static void __attribute__((format(printf, 2, 3)))
say(struct play *p, const char *format, ...)
{
	va_list args;
	int n;

	if (p->out_len > 0 && p->out_len < sizeof(p->out) - 2)
		p->out[p->out_len++] = ' ';
	va_start(args, format);
	n = vsnprintf(p->out + p->out_len, sizeof(p->out) - p->out_len, format, args);
	va_end(args);
	CHECK(n > 0 && (size_t)n < sizeof(p->out) - p->out_len);
	p->out_len += (size_t)n;
}

static void
play_open(struct play *p, bool listens)
{
	static const struct stack_pools pools = { 24, 4, 24, 8 };
	struct tcp_config config = stack_config();

	memset(p, 0, sizeof(*p));
	config.conns_max = config.half_open_max = config.time_wait_max = 1;
	config.ranges_max = 16;
	p->local = (struct ip_addr){ { [10] = 0xff, [11] = 0xff, 10, 0, 0, 1 } };
	p->remote = (struct ip_addr){ { [10] = 0xff, [11] = 0xff, 10, 0, 0, 2 } };
	p->listens = listens;
	p->now_ns = 1000 * NSEC_PER_SEC;
	p->isn = 5000;
	p->next = p->isn;
	stack_open(&p->stack, &config, &pools, p->now_ns);
	if (listens)
		CHECK(tcp_listen(p->stack.tcp, &p->local, PORT, 1) == ERR_OK);
}

static void
play_close(struct play *p)
{
	stack_close(&p->stack);
}

/* --- what comes out ------------------------------------------------------------------- */

static const char *
event_name(uint32_t bit)
{
	static const char *const names[] = { "accepted", "connected", "readable", "writable", "eof", "error" };

	for (uint32_t i = 0; i < COUNT_OF(names); i++)
		if (bit == 1u << i)
			return names[i];
	CHECK(false);
	return "";
}

static void
events(struct play *p)
{
	struct tcp_event event;

	while (tcp_event_next(p->stack.tcp, &event)) {
		for (uint32_t bit = 1; bit <= TCP_EVENT_ERROR; bit <<= 1)
			if ((event.bits & bit) != 0)
				say(p, "%s%s%s", event_name(bit), bit == TCP_EVENT_ERROR ? " " : "",
				    bit == TCP_EVENT_ERROR ? err_name(event.reason) : "");
		if ((event.bits & TCP_EVENT_ACCEPTED) != 0) {
			if (p->is_open) /* the one before ended with an error and waits */
				tcp_close(p->stack.tcp, p->conn);
			p->conn = event.conn;
			p->is_open = true;
		}
		if ((event.bits & (TCP_EVENT_ACCEPTED | TCP_EVENT_CONNECTED)) != 0)
			p->is_settled = true;
		if ((event.bits & TCP_EVENT_EOF) != 0)
			p->has_eof = true;
		if ((event.bits & TCP_EVENT_ERROR) != 0 && p->is_open) {
			tcp_close(p->stack.tcp, p->conn);
			p->is_open = false;
		}
	}
}

/* A segment by flags and length; numbers only as far as they are old or new. */
static void
transmit(struct play *p)
{
	uint8_t flat[SEGMENT_BYTES_MAX];
	struct segment s;
	struct pkt *pkt;

	while ((pkt = tcp_transmit_next(p->stack.tcp)) != NULL) {
		static const char letters[] = "FSRP.";
		char flags[8];
		size_t n = 0;
		uint32_t end;
		const char *age = "";

		CHECK(segment_parse_pkt(pkt, flat, &s));
		pkt_free(pkt);
		for (int i = 0; i < 5; i++)
			if ((s.flags & 1 << i) != 0)
				flags[n++] = letters[i];
		flags[n] = '\0';
		if ((s.flags & SEGMENT_SYN) != 0 && (!p->has_iss || p->iss != s.seq)) {
			p->has_iss = true;
			p->iss = s.seq;
			p->max = s.seq;
		}
		end = s.seq + segment_seq_len(&s);
		if (segment_seq_len(&s) > 0)
			age = (int32_t)(end - p->max) > 0 ? " new" : " again";
		else if (s.seq != p->max && (s.flags & SEGMENT_RST) == 0)
			age = " old";
		if ((int32_t)(end - p->max) > 0)
			p->max = end;
		say(p, "[%s%s%s]", flags, s.payload.len > 0 ? " data" : "", age);
	}
}

static void
turn(struct play *p)
{
	tcp_advance(p->stack.tcp, p->now_ns);
	events(p);
	tcp_output_ready(p->stack.tcp, p->now_ns);
	events(p);
	transmit(p);
	tcp_check(p->stack.tcp);
}

/* --- what goes in --------------------------------------------------------------------- */

static void
inject(struct play *p, uint8_t flags, uint32_t seq, uint32_t ack, uint32_t len)
{
	static const uint8_t payload[1] = { 'x' };
	struct segment s = {
		.src = p->remote,
		.dst = p->local,
		.src_port = PORT + 1,
		.dst_port = PORT,
		.seq = seq,
		.ack = (flags & SEGMENT_ACK) != 0 ? ack : 0,
		.flags = flags,
		.window = 1000,
		.has_mss = (flags & SEGMENT_SYN) != 0,
		.mss = 1000,
		.payload = bytes_make(payload, len),
	};
	struct pkt *pkt = segment_to_pkt(&s, p->stack.receive_pool);
	enum err verdict;

	CHECK(pkt != NULL);
	verdict = tcp_input(p->stack.tcp, pkt, p->now_ns);
	if (verdict != ERR_OK)
		say(p, "(%s)", err_name(verdict));
}

/* The peer goes on after what the engine has taken, or says it again. */
static void
peer(struct play *p, enum input input)
{
	uint32_t old = p->max - 1;

	switch (input) {
	case PEER_SYN:
		inject(p, SEGMENT_SYN, p->isn, 0, 0);
		p->next = p->isn + 1;
		return;
	case PEER_SYN_ACK:
		inject(p, SEGMENT_SYN | SEGMENT_ACK, p->isn, p->max, 0);
		p->next = p->isn + 1;
		return;
	case PEER_ACK:
		inject(p, SEGMENT_ACK, p->next, p->max, 0);
		return;
	case PEER_OLD_ACK:
		inject(p, SEGMENT_ACK, p->next, old, 0);
		return;
	case PEER_DATA:
		inject(p, SEGMENT_ACK | SEGMENT_PSH, p->next, p->max, 1);
		p->next++;
		return;
	case PEER_FIN:
		inject(p, SEGMENT_ACK | SEGMENT_FIN, p->next, p->max, 0);
		p->next++;
		return;
	case PEER_LATE_FIN:
		inject(p, SEGMENT_ACK | SEGMENT_FIN, p->next, old, 0);
		p->next++;
		return;
	default:
		CHECK(input == PEER_RESET);
		inject(p, SEGMENT_RST | SEGMENT_ACK, p->next, p->max, 0);
	}
}

static void
app_connect(struct play *p)
{
	struct tcp_tuple t = { p->local, p->remote, PORT, PORT + 1 };
	enum err verdict = tcp_connect(p->stack.tcp, &t, 1, &p->conn, p->now_ns);

	if (verdict != ERR_OK) {
		say(p, "(%s)", err_name(verdict));
		return;
	}
	p->is_open = true;
	p->is_settled = p->has_eof = false;
	p->has_iss = false; /* whatever number it gets, this is another connection */
}

static void
app(struct play *p, enum input input)
{
	struct tcp *t = p->stack.tcp;
	enum err verdict;
	struct pkt *pkt;

	switch (input) {
	case APP_CONNECT:
		app_connect(p);
		return;
	case APP_SEND:
		pkt = stack_payload(&p->stack, 1, 0, 1, 0);
		CHECK(pkt != NULL);
		verdict = tcp_send(t, p->conn, pkt, false);
		if (verdict != ERR_OK) {
			pkt_free(pkt);
			say(p, "(%s)", err_name(verdict));
		}
		return;
	case APP_TAKE:
		pkt = tcp_take(t, p->conn);
		say(p, pkt == NULL ? "nothing" : "a byte");
		if (pkt != NULL)
			tcp_consumed(t, p->conn, pkt_total(pkt));
		pkt_free(pkt);
		return;
	case APP_SHUTDOWN:
		tcp_shutdown(t, p->conn);
		return;
	case APP_CLOSE:
		tcp_close(t, p->conn);
		p->is_open = false;
		return;
	default:
		CHECK(input == APP_ABORT);
		tcp_abort(t, p->conn);
		p->is_open = false;
	}
}

/* Whether the application or the peer can do that now. */
static bool
is_possible(const struct play *p, enum input input)
{
	if (input == TIME)
		return tcp_next_at(p->stack.tcp) != NEVER_NS;
	if (input == APP_CONNECT)
		return !p->is_open && !p->listens;
	if (input == APP_SEND)
		return p->is_open && tcp_unacked(p->stack.tcp, p->conn) < 2;
	return input > APP_ABORT || p->is_open;
}

static void
give(struct play *p, enum input input)
{
	p->out_len = 0;
	p->out[0] = '\0';
	if (input == TIME) {
		uint64_t at_ns = tcp_next_at(p->stack.tcp);

		p->now_ns = at_ns > p->now_ns ? at_ns : p->now_ns;
	} else if (input <= APP_ABORT) {
		app(p, input);
	} else {
		peer(p, input);
	}
	turn(p);
}

/* --- situations ------------------------------------------------------------------------ */

static void
situation(const struct play *p, char *text, size_t size)
{
	static const char *const names[] = { "closed", "syn-sent", "syn-rcvd", "established", "fin-wait-1",
					     "fin-wait-2", "close-wait", "closing", "last-ack", "time-wait" };
	const struct tcp *t = p->stack.tcp;
	struct tcp_tuple tuple = { p->local, p->remote, PORT, PORT + 1 };
	uint32_t ref = tcp_table_find(t, &tuple);
	const struct tcp_conn *c;

	if (tcp_ref_kind(ref) != TCP_REF_CONN) {
		const char *name = tcp_ref_kind(ref) == TCP_REF_HALF_OPEN ? "half-open" :
				   tcp_ref_kind(ref) == TCP_REF_TIME_WAIT ? "time-wait" : "nothing";

		snprintf(text, size, "%s%s%s", name, p->listens ? ", listens" : "",
			 p->is_open ? ", not closed yet" : "");
		return;
	}
	c = pool_at(&t->conns, tcp_ref_index(ref));
	snprintf(text, size, "%s%s%s%s%s", names[c->state], c->orphan ? ", closed by its owner" : "",
		 c->snd_una != p->max ? ", unacknowledged" : "", c->rcvq.head != NULL ? ", unread" : "",
		 c->fin_seen && c->state == TCP_ESTABLISHED ? ", end behind a hole" : "");
}

static int
compare_rows(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void
tidy_rows(void)
{
	uint32_t kept = 0;

	qsort(rows, row_count, sizeof(rows[0]), compare_rows);
	for (uint32_t i = 0; i < row_count; i++)
		if (kept == 0 || strcmp(rows[i], rows[kept - 1]) != 0)
			memmove(rows[kept++], rows[i], sizeof(rows[0]));
	row_count = kept;
}

static void
note(const char *before, enum input input, const char *out, const char *after)
{
	int n;

	if (row_count == ROWS_MAX)
		tidy_rows();
	CHECK(row_count < ROWS_MAX);
	n = snprintf(rows[row_count++], sizeof(rows[0]), "%-38s %-10s : %-40s -> %s", before, input_names[input],
		     out[0] == '\0' ? "-" : out, strcmp(before, after) == 0 ? "=" : after);
	CHECK(n > 0 && n < (int)sizeof(rows[0]));
}

/* --- words ------------------------------------------------------------------------------- */

/* True: the whole word was possible. On false, *failed_at says which letter was not. */
static bool
play_word(const struct start *start, const uint8_t *word, uint32_t length, uint32_t *failed_at)
{
	struct play *p = &play;
	char before[100];
	char after[100];
	bool is_whole = true;

	play_open(p, start->listens);
	for (uint32_t i = 0; i < start->length; i++) {
		CHECK(is_possible(p, start->word[i]));
		give(p, start->word[i]);
	}
	situation(p, before, sizeof(before));
	for (uint32_t i = 0; i < length; i++) {
		if (!is_possible(p, word[i])) {
			*failed_at = i;
			is_whole = false;
			break;
		}
		give(p, word[i]);
		situation(p, after, sizeof(after));
		/* The letters before were noted with the word that ends in them. */
		if (i + 1 == length)
			note(before, word[i], p->out, after);
		memcpy(before, after, sizeof(before));
	}
	if (p->is_open)
		tcp_abort(p->stack.tcp, p->conn);
	turn(p);
	play_close(p);
	return is_whole;
}

static uint64_t
play_all(const struct start *start, uint32_t length)
{
	uint64_t count = 0;

	for (uint32_t n = 1; n <= length; n++) {
		uint8_t word[LENGTH_MAX] = { 0 };

		for (;;) {
			uint32_t at = n - 1;

			/* What cannot happen cannot happen with any end. */
			count += play_word(start, word, n, &at);
			memset(word + at + 1, 0, sizeof(word) - at - 1);
			while (++word[at] == INPUTS && at > 0)
				word[at--] = 0;
			if (word[0] == INPUTS)
				break;
		}
	}
	return count;
}

/* --- the golden table ----------------------------------------------------------------------- */

static int
write_table(const char *path)
{
	FILE *file = fopen(path, "w");

	if (file == NULL) {
		perror(path);
		return 1;
	}
	for (uint32_t i = 0; i < row_count; i++)
		fprintf(file, "%s\n", rows[i]);
	return fclose(file) == 0 ? 0 : 1;
}

/* Both are sorted: a merge finds what only one of them has. */
static int
compare_table(const char *path)
{
	FILE *file = fopen(path, "r");
	char line[ROW_BYTES_MAX + 2];
	uint32_t differences = 0;
	uint32_t i = 0;

	if (file == NULL) {
		perror(path);
		return 1;
	}
	while (fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		for (; i < row_count && strcmp(rows[i], line) < 0; i++, differences++)
			fprintf(stderr, "+ %s\n", rows[i]);
		if (i < row_count && strcmp(rows[i], line) == 0) {
			i++;
			continue;
		}
		fprintf(stderr, "- %s\n", line);
		differences++;
	}
	for (; i < row_count; i++, differences++)
		fprintf(stderr, "+ %s\n", rows[i]);
	fclose(file);
	if (differences > 0)
		fprintf(stderr, "%u lines differ; if that is right: tcp_words --write %s\n", differences, path);
	return differences > 0;
}

int
main(int argc, char **argv)
{
	bool writes = argc == 3 && strcmp(argv[1], "--write") == 0;
	uint32_t length = argc == 3 && !writes ? (uint32_t)strtoul(argv[2], NULL, 10) : LENGTH_DEFAULT;
	uint64_t words = 0;

	if (argc < 2 || argc > 3 || length < 1 || length > LENGTH_MAX || (argv[1][0] == '-' && !writes)) {
		bool asked = argc == 2 && strcmp(argv[1], "--help") == 0;

		fputs("Usage: tcp_words GOLDEN [LENGTH] | --write GOLDEN\n"
		      "Compares what the engine does with the golden table, or writes it anew.\n",
		      asked ? stdout : stderr);
		return asked ? 0 : 2;
	}
	for (uint32_t i = 0; i < COUNT_OF(starts); i++)
		words += play_all(&starts[i], length);
	tidy_rows();
	printf("%" PRIu64 " words, %u lines\n", words, row_count);
	return writes ? write_table(argv[2]) : compare_table(argv[1]);
}
