/* What one may hold of what all share: nobody's patience, or want of it, takes from others what they need. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "hand.h"
#include "lanes_twin.h"

#define BODY_START "{\"model\":\"town-model\",\"messages\":[{\"role\":\"user\",\"content\":\""
#define BODY_END "\"}]}"

static uint64_t
counted(enum err verdict)
{
	return hand.town->worker->counters[verdict];
}

/* A connection, of which the town forgets the end. */
struct peer {
	struct town_conn *c;
	tcp_conn_t conn;
};

static struct peer
connect_from(uint8_t network)
{
	struct town_conn *c = hand_connect(network);

	return (struct peer){ c, c->conn };
}

static bool
is_there(const struct peer *p)
{
	return p->c->is_used && p->c->conn == p->conn;
}

/* --- request bodies (attacks on limits.bodies) ------------------------------------------------- */

/* A request whose body has so many blocks, and does not end. */
static void
upload(uint32_t stream, const char *key, uint32_t blocks)
{
	static char text[H2FRAME_BYTES_MAX];

	memset(text, 'x', sizeof(text));
	hand_put_block(hand_block("POST", "/v1/chat/completions", key), stream, false);
	hand_put(H2FRAME_DATA, 0, stream, BYTES_LITERAL(BODY_START));
	for (uint32_t i = 1; i < blocks; i++) {
		hand_put(H2FRAME_DATA, 0, stream, bytes_make(text, BODY_BLOCK_BYTES));
		/* Our window is four of these. */
		hand_flush();
	}
	hand_flush();
}

/* What of an account's share its requests may have. */
static uint32_t
most_of(const struct body_store *bodies)
{
	return bodies->share_max - bodies->share_max / 4;
}

/* Two accounts upload slowly all that they may: each is told at its bound; who has little still gets in, up to the
 * three quarters that requests have; and answers go on. */
static void
slow_uploads_take_a_share_and_never_the_place_of_answers(void **state)
{
	const struct body_store *bodies;
	uint32_t most;
	uint32_t whole;

	(void)state;
	hand_begin_greeted();
	bodies = &hand.town->worker->bodies;
	most = most_of(bodies);
	assert_int_equal(bodies->share_max, (bodies->total - bodies->total / 4) / 2);
	/* One that waits for its backend meanwhile. */
	hand_put_block(hand_block("POST", "/v1/chat/completions", HAND_KEY_3), 1, false);
	hand_put(H2FRAME_DATA, H2FRAME_END_STREAM, 1, BYTES_LITERAL(HAND_CHAT));
	hand_flush();
	assert_int_equal(bodies->used, 1);
	upload(3, HAND_KEY, most - 10);
	upload(5, HAND_KEY, 11);
	assert_int_equal(hand.heard.stream[2].status, 429);
	assert_int_equal(counted(ERR_BODY_SHARE_FULL), 1);
	assert_int_equal(bodies->used, most - 10 + 1);
	/* The account has only its own half used up. */
	upload(7, HAND_KEY_2, most);
	assert_int_equal(hand.heard.stream[3].status, 0);
	/* The last eighth is for those who have little. */
	upload(9, HAND_KEY_3, 40);
	assert_int_equal(bodies->used, 2 * most - 10 + 1 + 40);
	assert_in_range(bodies->total - bodies->reserved - bodies->used, 10,
			(bodies->total - bodies->reserved) / 8);
	upload(11, HAND_KEY, 10);
	assert_int_equal(hand.heard.stream[5].status, 503);
	assert_int_equal(counted(ERR_BODY_STORE_FULL), 1);
	upload(13, HAND_KEY_3, bodies->total - bodies->reserved - bodies->used);
	assert_int_equal(hand.heard.stream[6].status, 0);
	assert_int_equal(bodies->used, bodies->total - bodies->reserved);
	upload(15, HAND_KEY_3, 1);
	assert_int_equal(hand.heard.stream[7].status, 503);
	/* An answer far longer than what its client has taken, while nobody else gets a block. */
	whole = hand_answer_with_stream();
	hand_backends_say(hand.backend.answer);
	hand_go(SEC);
	assert_int_equal(hand.heard.stream[0].bytes, whole);
	assert_true(hand.heard.stream[0].is_ended && !hand.heard.stream[0].is_reset);
	hand_finish();
}

/* What an account gives back it has again: none of the ways in which a request ends keeps a block. */
static void
what_ends_gives_its_share_back(void **state)
{
	const struct worker *w;

	(void)state;
	hand_begin_greeted();
	w = hand.town->worker;
	for (uint32_t i = 0; i < 20; i++) {
		uint32_t stream = 4 * i + 1;

		upload(stream, HAND_KEY, 20);
		assert_int_equal(w->account_blocks[0], 20);
		if (i % 4 == 0)
			hand_put_word(H2FRAME_RST_STREAM, stream, NGHTTP2_CANCEL);
		else if (i % 4 == 1) /* no JSON: refused */
			hand_put(H2FRAME_DATA, H2FRAME_END_STREAM, stream, BYTES_LITERAL("\"}]}]"));
		else if (i % 4 == 2) /* the client is too slow */
			hand_go(31 * SEC);
		else
			upload(stream + 2, HAND_KEY, w->bodies.share_max); /* too much: refused, and only it */
		hand_flush();
		if (i % 4 == 3) {
			assert_int_equal(hand.heard.stream[stream / 2 + 1].status, 429);
			assert_int_equal(w->account_blocks[0], 20);
			hand_put_word(H2FRAME_RST_STREAM, stream, NGHTTP2_CANCEL);
			hand_flush();
		}
		assert_int_equal(w->account_blocks[0], 0);
		assert_int_equal(w->bodies.used, 0);
	}
	hand_assert_goes_on();
	hand_finish();
}

/* A request that is being answered is never sent again, however long its answer takes. */
static void
a_body_leaves_when_its_answer_begins(void **state)
{
	const struct worker *w;

	(void)state;
	hand_begin_greeted();
	w = hand.town->worker;
	upload(1, HAND_KEY, 20);
	hand_put(H2FRAME_DATA, H2FRAME_END_STREAM, 1, BYTES_LITERAL(BODY_END));
	hand_go(SEC);
	assert_int_equal(hand.backend.requests, 1);
	assert_int_equal(w->bodies.used, 20);
	hand_backends_say(BYTES_LITERAL("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
					"transfer-encoding: chunked\r\n\r\n"));
	hand_go(SEC);
	assert_int_equal(hand.heard.stream[0].status, 200);
	assert_int_equal(w->exchanges_used, 1);
	assert_int_equal(w->bodies.used, 0);
	assert_int_equal(w->account_blocks[0], 0);
	hand_finish();
}

/* An account's uploads leave a part of its share to its answers: one of 2 KiB in one packet comes whole. */
static void
an_accounts_uploads_leave_its_answers_a_place(void **state)
{
	static char answer[2200];
	struct worker *w;
	int len;

	(void)state;
	hand_begin_greeted();
	w = hand.town->worker;
	hand_put_chat(1);
	hand_flush();
	upload(3, HAND_KEY, most_of(&w->bodies) - 1);
	len = snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
					       "content-length: 1200\r\n\r\n{\"x\":\"%1192s\"}", "");
	assert_int_equal(w->account_blocks[0], most_of(&w->bodies));
	hand_backends_say(bytes_make(answer, (size_t)len));
	hand_go(SEC);
	assert_int_equal(hand.heard.stream[0].bytes, 1200);
	assert_true(hand.heard.stream[0].is_ended && !hand.heard.stream[0].is_reset);
	hand_finish();
}

/* Payload that finds no place at all: the stream is cut, its backend let go, and what the client never got is not
 * billed; so it is with the last piece of an answer, whose usage says what it would cost. */
static void
an_answer_that_loses_a_part_ends_and_is_billed_so_far(void **state)
{
	static char answer[2200];
	struct usage_record record;
	struct worker *w;
	uint32_t share;
	int len;

	(void)state;
	len = snprintf(answer, sizeof(answer),
		       "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1253\r\n\r\n"
		       "{\"x\":\"%1192s\",\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7000}}", "");
	hand_begin_greeted();
	w = hand.town->worker;
	hand_put_chat(1);
	hand_flush();
	/* As if other answers of the account waited. */
	share = w->account_blocks[0];
	w->account_blocks[0] = w->bodies.share_max + 1;
	hand_backends_say(bytes_make(answer, (size_t)len));
	hand_go(SEC);
	assert_true(hand.heard.stream[0].is_reset && !hand.heard.stream[0].is_ended);
	assert_int_equal(hand.heard.stream[0].code, NGHTTP2_INTERNAL_ERROR);
	assert_int_equal(w->exchanges_used, 0);
	assert_int_equal(w->upstreams_used, 0);
	w->account_blocks[0] -= w->bodies.share_max + 1 - share;
	assert_int_equal(hand.town->spool.sequence, 1);
	assert_int_equal(spool_read(hand.town->spool_memory, 0, &record), ERR_OK);
	assert_int_equal(record.outcome, USAGE_UPSTREAM_ERROR);
	assert_int_equal(record.completion_tokens, 0);
	hand_finish();
}

/* --- head buffers ------------------------------------------------------------------------ */

#define HEADS 8u
#define HEADS_OF_CLIENTS 6u /* a quarter is left to answers */

static const char chat_text[] = "POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\n"
				"authorization: " HAND_KEY "\r\ncontent-type: application/json\r\n"
				"content-length: 79\r\n\r\n" HAND_CHAT;

/* Strangers begin heads and do not end them: the one that began first makes room, so that whoever ends his is
 * heard, and answers have buffers of their own. */
static void
half_heads_make_room_for_whole_ones_and_for_answers(void **state)
{
	struct town_plan plan = hand_plan();
	struct peer half[HEADS_OF_CLIENTS];
	struct peer whole;
	const struct worker *w;

	(void)state;
	assert_int_equal(sizeof(HAND_CHAT) - 1, 79);
	plan.is_h2 = false;
	plan.heads = HEADS;
	hand_begin(&plan);
	w = hand.town->worker;
	for (uint32_t i = 0; i < HEADS_OF_CLIENTS; i++) {
		half[i] = connect_from(0);
		hand_say(BYTES_LITERAL("GET /he"));
		hand_flush();
	}
	assert_int_equal(w->heads_used, HEADS_OF_CLIENTS);
	/* In two pieces, as it may be cut on its way. */
	whole = connect_from(0);
	hand_say(bytes_make(chat_text, 50));
	hand_flush();
	assert_int_equal(counted(ERR_HEADS_FULL), 1);
	assert_false(is_there(&half[0]));
	assert_true(is_there(&half[1]));
	assert_int_equal(w->heads_used, HEADS_OF_CLIENTS);
	hand_say(bytes_make(chat_text + 50, sizeof(chat_text) - 1 - 50));
	hand_flush();
	assert_int_equal(hand.backend.requests, 1);
	/* One more, so that theirs are used up again, and the answer comes. */
	hand_connect(0);
	hand_say(BYTES_LITERAL("GET /he"));
	hand_flush();
	assert_int_equal(w->heads_used, HEADS_OF_CLIENTS);
	hand_backends_say(BYTES_LITERAL("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
					"content-length: 2\r\n"));
	hand_flush();
	assert_int_equal(w->heads_used, HEADS_OF_CLIENTS + 1);
	hand_backends_say(BYTES_LITERAL("\r\n{}"));
	hand_flush();
	assert_memory_equal(whole.c->in, "HTTP/1.1 200 OK", 15);
	assert_int_equal(counted(ERR_HEADS_FULL), 1);
	/* A request that runs, and the begin of the next one behind it, stays: others leave. */
	whole = connect_from(0);
	hand_say(BYTES_LITERAL(chat_text));
	hand_say(BYTES_LITERAL("GET /he"));
	hand_flush();
	assert_int_equal(hand.backend.requests, 2);
	for (uint32_t i = 0; i < 2 * HEADS; i++) {
		hand_connect(0);
		hand_say(BYTES_LITERAL("GET /he"));
		hand_flush();
	}
	assert_true(is_there(&whole));
	assert_int_equal(w->exchanges_used, 1);
	assert_int_equal(w->heads_used, HEADS_OF_CLIENTS);
	hand_finish();
}

/* --- handshakes ------------------------------------------------------------------------------- */

#define HANDSHAKES 16u
#define SHARE 2u /* of a network, when they are used up */
#define HANDSHAKES_OF_ONE 5u

/* A ClientHello, and nothing behind it. It is on its way. */
static void
send_hello(void)
{
	struct tls_client *tls = conn_tls(hand.town);
	static uint8_t hello[4096];
	struct tls_out out = { hello, sizeof(hello), 0 };
	struct bytes nothing = BYTES_NONE;

	while (tls_client_step(tls, &nothing, &out) != ERR_MORE)
		;
	hand_say(bytes_make(hello, out.used));
	tls_client_free(tls);
}

static void
say_hello(void)
{
	send_hello();
	hand_flush();
}

static uint32_t
handshakes(void)
{
	const struct worker *w = hand.town->worker;

	return w->handshakes_silent.count + w->handshakes_answered.count;
}

/* What TLS has for all connections together, those of its pool apart. */
static size_t
tls_bytes(void)
{
	return tls_context_memory(hand.town->worker->tls).bytes;
}

static void
begin_tls(uint32_t per_source)
{
	struct town_plan plan = hand_plan();

	plan.is_tls = true;
	plan.handshakes = HANDSHAKES;
	plan.handshakes_per_source = per_source;
	hand_begin(&plan);
	/* The town's own client. */
	hand_flush();
	assert_int_equal(handshakes(), 0);
}

/* One network opens more than there may be: those of its own leave, oldest first, and nobody else's. */
static void
a_network_with_its_share_pushes_out_its_own(void **state)
{
	struct peer others[SHARE];
	struct peer flood[2 * HANDSHAKES];

	(void)state;
	begin_tls(0);
	for (uint32_t i = 0; i < SHARE; i++)
		others[i] = connect_from(1);
	for (uint32_t i = 0; i < 2 * HANDSHAKES; i++) {
		flood[i] = connect_from(2);
		assert_in_range(handshakes(), 0, HANDSHAKES);
	}
	assert_int_equal(handshakes(), HANDSHAKES);
	assert_int_equal(counted(ERR_HANDSHAKES_FULL), HANDSHAKES + SHARE);
	for (uint32_t i = 0; i < SHARE; i++)
		assert_true(is_there(&others[i]));
	for (uint32_t i = 0; i < 2 * HANDSHAKES; i++)
		assert_int_equal(is_there(&flood[i]), i >= HANDSHAKES + SHARE);
	/* Who has less gets in. */
	hand_connect(3);
	assert_int_equal(handshakes(), HANDSHAKES);
	hand_go(6 * SEC);
	assert_int_equal(handshakes(), 0);
	hand_finish();
}

/* And it has so many, however few others there are: its oldest leave, those first that have said nothing. */
static void
a_network_has_so_many_handshakes_and_no_more(void **state)
{
	struct peer flood[2 * HANDSHAKES_OF_ONE];
	struct peer honest;

	(void)state;
	begin_tls(HANDSHAKES_OF_ONE);
	honest = connect_from(2);
	say_hello();
	for (uint32_t i = 0; i < COUNT_OF(flood); i++)
		flood[i] = connect_from(2);
	assert_int_equal(handshakes(), HANDSHAKES_OF_ONE);
	assert_int_equal(counted(ERR_SOURCE_HANDSHAKES_FULL), HANDSHAKES_OF_ONE + 1);
	assert_int_equal(counted(ERR_HANDSHAKES_FULL), 0);
	assert_true(is_there(&honest));
	for (uint32_t i = 0; i < COUNT_OF(flood); i++)
		assert_int_equal(is_there(&flood[i]), i >= HANDSHAKES_OF_ONE + 1);
	/* Others have theirs. */
	for (uint32_t i = 0; i < HANDSHAKES_OF_ONE; i++)
		hand_connect(3);
	assert_int_equal(handshakes(), 2 * HANDSHAKES_OF_ONE);
	assert_int_equal(counted(ERR_SOURCE_HANDSHAKES_FULL), HANDSHAKES_OF_ONE + 1);
	hand_finish();
}

/* Connections are cheap for whoever opens them: until he says something, TLS has nothing for him. */
static void
who_says_nothing_has_no_memory_of_tls(void **state)
{
	size_t before;

	(void)state;
	begin_tls(0);
	before = tls_bytes();
	for (uint32_t i = 0; i < HANDSHAKES; i++)
		hand_connect((uint8_t)(1 + i % 6));
	assert_int_equal(handshakes(), HANDSHAKES);
	assert_int_equal(tls_bytes(), before);
	hand_say(BYTES_LITERAL("\x16"));
	hand_flush();
	assert_in_range(tls_bytes() - before, 32 * KIB, TLS_HANDSHAKE_BYTES);
	assert_int_equal(hand.town->worker->handshakes_answered.count, 0);
	/* Who closes without a word is no fault. */
	hand_connect(7);
	hand_leave(false);
	hand_go(SEC);
	assert_int_equal(hand.town->worker->counters[counter_at(COUNTER_HANDSHAKES_FAILED)], 0);
	assert_int_equal(handshakes(), HANDSHAKES - 1);
	hand_finish();
}

/* Whoever has sent a ClientHello stays while there are others that have not, however long he has been there. */
static void
who_has_said_nothing_leaves_first(void **state)
{
	struct peer honest;
	struct peer silent;

	(void)state;
	begin_tls(0);
	honest = connect_from(1);
	say_hello();
	silent = connect_from(1);
	assert_int_equal(hand.town->worker->handshakes_answered.count, 1);
	for (uint32_t i = 2; handshakes() < HANDSHAKES; i++)
		hand_connect((uint8_t)(2 + i % 6));
	hand_connect(2);
	assert_true(is_there(&honest));
	assert_true(is_there(&silent));
	hand_connect(1);
	assert_true(is_there(&honest));
	assert_false(is_there(&silent));
	hand_finish();
}

/* --- HTTP/2's memory ---------------------------------------------------------------------------- */

/* Idle connections of strangers fill it up to what they may have: each new one takes the place of the oldest, and
 * who has shown a key keeps his, whatever comes. */
static void
strangers_make_room_for_each_other_and_never_those_with_a_key(void **state)
{
	struct town_plan plan = hand_plan();
	struct peer strangers[30];
	struct peer known;
	uint32_t there = 0;

	(void)state;
	plan.h2.bytes = 512 * KIB;
	hand_begin(&plan);
	hand_greet();
	hand_put_block(hand_block("GET", "/v1/models", HAND_KEY), 1, true);
	hand_flush();
	assert_int_equal(hand.heard.stream[0].status, 200);
	known = (struct peer){ hand.client, hand.client->conn };
	for (uint32_t i = 0; i < COUNT_OF(strangers); i++) {
		strangers[i] = connect_from(0);
		hand_greet();
		/* He is served like anybody. */
		hand_put_get(1, "/healthz");
		hand_flush();
		assert_int_equal(hand.heard.stream[0].status, 200);
		assert_in_range(hand_held_bytes(), 0, plan.h2.bytes / 8 * 7);
	}
	assert_true(is_there(&known));
	for (uint32_t i = 0; i < COUNT_OF(strangers); i++) {
		there += is_there(&strangers[i]);
		/* Oldest first: behind the first that is there, all are. */
		assert_int_equal(is_there(&strangers[i]), there > 0);
	}
	assert_in_range(there, 5, COUNT_OF(strangers) - 5);
	assert_in_range(counted(ERR_H2_MEMORY), COUNT_OF(strangers) - there, 2 * COUNT_OF(strangers));
	hand_finish();
}

/* --- a storm of them ------------------------------------------------------------------------- */

#define STORM 24u

/* What a step costs: the time that passes from one look at the clock to the next. */
static struct {
	uint64_t cost_ns;
	uint64_t now_ns;
	uint64_t steps;
	uint64_t most; /* of one turn */
	uint64_t begun_most; /* handshakes that have had a step and have more to do */
	size_t tls_bytes;
	size_t grown_most; /* by which what TLS has grew in a turn */
	uint64_t turns;
	struct client *established; /* has something to do in each turn; NULL: nobody has */
	uint64_t served;
} storm;

static uint64_t
storm_clock(void)
{
	storm.now_ns += storm.cost_ns;
	return storm.now_ns;
}

static void
watch_storm(struct town *t)
{
	uint64_t steps = t->worker->counters[counter_at(COUNTER_HANDSHAKE_STEPS)];

	if (steps - storm.steps > storm.most)
		storm.most = steps - storm.steps;
	if (tls_bytes() > storm.tls_bytes && tls_bytes() - storm.tls_bytes > storm.grown_most)
		storm.grown_most = tls_bytes() - storm.tls_bytes;
	storm.tls_bytes = tls_bytes();
	if (t->worker->ready[READY_BEGUN].count > storm.begun_most)
		storm.begun_most = t->worker->ready[READY_BEGUN].count;
	if (storm.established != NULL && steps > storm.steps) {
		assert_null(storm.established->turn.list);
		client_make_ready(t->worker, storm.established);
		storm.served++;
	}
	storm.turns += steps > storm.steps;
	storm.steps = steps;
}

/* As many hellos at once; who came is in peers. */
static void
begin_storm(uint64_t cost_ns, bool has_lanes, struct peer peers[STORM])
{
	struct town_plan plan = hand_plan();

	plan.is_tls = true;
	plan.has_lanes = has_lanes;
	plan.handshakes = STORM;
	hand_begin(&plan);
	hand_flush();
	for (uint32_t i = 0; i < STORM; i++)
		peers[i] = connect_from((uint8_t)(1 + i % 6));
	assert_int_equal(handshakes(), STORM);
	memset(&storm, 0, sizeof(storm));
	storm.cost_ns = cost_ns;
	storm.tls_bytes = tls_bytes();
	storm.steps = hand.town->worker->counters[counter_at(COUNTER_HANDSHAKE_STEPS)];
	hand.town->worker->config.clock = storm_clock;
	hand.town->turned = watch_storm;
	for (uint32_t i = 0; i < STORM; i++) {
		hand.client = peers[i].c;
		send_hello();
	}
}

/* A turn has so much time for all of them, and one step's more: neither depends on how many there are. */
static void
a_storm_has_its_share_of_a_turn(void **state)
{
	static const struct {
		uint64_t cost_ns, most;
	} rows[] = {
		{ 0, HANDSHAKE_STEPS_PER_TURN_MAX },
		{ 1, HANDSHAKE_STEPS_PER_TURN_MAX },
		{ HANDSHAKE_TURN_NS / 3 + 1, 3 },
		{ HANDSHAKE_TURN_NS - 1, 2 },
		{ HANDSHAKE_TURN_NS, 1 },
		{ 100 * HANDSHAKE_TURN_NS, 1 },
	};
	struct peer peers[STORM];
	uint64_t steps = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint64_t before;

		begin_storm(rows[i].cost_ns, false, peers);
		before = storm.steps;
		hand_flush();
		assert_int_equal(storm.most, rows[i].most);
		assert_int_equal(hand.town->worker->handshakes_answered.count, STORM);
		/* It is the same work, in as many turns as that takes. */
		assert_true(steps == 0 || storm.steps - before == steps);
		steps = storm.steps - before;
		assert_in_range(storm.turns, steps / rows[i].most, steps / rows[i].most + 2);
		hand_finish();
	}
}

/* What was begun is ended before more is: otherwise all would be half done when the first ones give up. */
static void
a_storm_ends_in_handshakes_that_are_done(void **state)
{
	struct peer peers[STORM];

	(void)state;
	begin_storm(HANDSHAKE_TURN_NS, false, peers);
	hand_flush();
	assert_int_equal(hand.town->worker->handshakes_answered.count, STORM);
	assert_in_range(storm.begun_most, 1, 3);
	/* To begin one is a part of its first step. */
	assert_in_range(storm.grown_most, 32 * KIB, TLS_HANDSHAKE_BYTES);
	hand_finish();
}

static uint64_t
count_of(enum counter counter)
{
	return hand.town->worker->counters[counter_at(counter)];
}

/* What several compute at once is a step of the turn's as any other; and it is eight, as a rule, in a storm. */
static void
a_storm_computes_together_in_its_share_of_a_turn(void **state)
{
	static const struct {
		uint64_t cost_ns, most;
	} rows[] = { { 1, HANDSHAKE_STEPS_PER_TURN_MAX }, { HANDSHAKE_TURN_NS - 1, 2 }, { HANDSHAKE_TURN_NS, 1 } };
	struct peer peers[STORM];

	(void)state;
	if (!lanes_twin_is_here())
		skip();
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint64_t batches, filled;

		begin_storm(rows[i].cost_ns, true, peers);
		batches = count_of(COUNTER_TLS_LANE_BATCHES);
		filled = count_of(COUNTER_TLS_LANES_FILLED);
		hand_flush();
		assert_int_equal(hand.town->worker->handshakes_answered.count, STORM);
		assert_int_equal(storm.most, rows[i].most);
		batches = count_of(COUNTER_TLS_LANE_BATCHES) - batches;
		filled = count_of(COUNTER_TLS_LANES_FILLED) - filled;
		/* A key, a signature, and in TLS 1.3 an agreement of each. */
		assert_in_range(filled, 2 * STORM, 3 * STORM);
		assert_in_range(batches, filled / LANES, filled / LANES + LANES_KINDS);
		hand_finish();
	}
}

static struct {
	uint64_t since_ns;
	uint64_t until_ns; /* 0: nobody waits */
	uint64_t longest_ns;
	uint64_t waits;
	uint64_t turns; /* while somebody did */
} wait;

static void
watch_wait(struct town *t)
{
	uint64_t at_ns = tls_lanes_next_at(t->worker->tls);

	if (wait.until_ns != 0 && at_ns != wait.until_ns) {
		if (t->now_ns - wait.since_ns > wait.longest_ns)
			wait.longest_ns = t->now_ns - wait.since_ns;
		wait.until_ns = 0;
		wait.waits++;
	}
	if (at_ns == UINT64_MAX)
		return;
	wait.turns++;
	if (wait.until_ns == 0)
		wait.since_ns = t->now_ns;
	wait.until_ns = at_ns;
	assert_true(worker_next_at(t->worker) <= at_ns);
}

/* Who is alone waits for others, by the worker's own clock, and without turns that do nothing. */
static void
a_handshake_that_is_alone_waits_so_long_and_no_longer(void **state)
{
	struct town_plan plan = hand_plan();

	(void)state;
	if (!lanes_twin_is_here())
		skip();
	plan.is_tls = true;
	plan.has_lanes = true;
	plan.tls_version = 0x0304;
	hand_begin(&plan);
	hand_connect(1);
	memset(&wait, 0, sizeof(wait));
	hand.town->turned = watch_wait;
	say_hello();
	assert_int_equal(hand.town->worker->handshakes_answered.count, 1);
	assert_int_equal(wait.waits, 3);
	assert_int_equal(wait.longest_ns, LANES_WAIT_US * NSEC_PER_USEC);
	assert_in_range(wait.turns, 3, 12);
	hand.town->turned = NULL;
	hand_finish();
}

/* While it waits, and beside others who do. */
static void
who_leaves_while_it_waits_takes_nobody_along(void **state)
{
	struct peer peers[STORM];
	size_t before;

	(void)state;
	if (!lanes_twin_is_here())
		skip();
	begin_storm(HANDSHAKE_TURN_NS, true, peers);
	before = hand.town->worker->tls != NULL ? tls_bytes() : 0;
	while (tls_lanes_next_at(hand.town->worker->tls) == UINT64_MAX)
		town_go(hand.town, hand.town->now_ns + 1, false);
	for (uint32_t i = 0; i < hand.town->worker->config.counts.clients; i += 2)
		if (hand.town->worker->clients[i].state == CLIENT_HANDSHAKE)
			client_abort(hand.town->worker, &hand.town->worker->clients[i]);
	hand_flush();
	assert_true(tls_bytes() > before);
	assert_int_equal(hand.town->worker->handshakes_silent.count, 0);
	assert_in_range(hand.town->worker->handshakes_answered.count, STORM / 2 - 1, STORM / 2 + 1);
	hand_finish();
}

/* Nor does a storm take turns from whoever is not in a handshake, however many wait. */
static void
who_is_connected_goes_on_in_every_turn(void **state)
{
	struct worker *w;
	struct peer peers[STORM];

	(void)state;
	begin_storm(HANDSHAKE_TURN_NS, false, peers);
	w = hand.town->worker;
	for (uint32_t i = 0; i < w->config.counts.clients; i++)
		if (w->clients[i].state != CLIENT_FREE && w->clients[i].state != CLIENT_HANDSHAKE)
			storm.established = &w->clients[i];
	assert_non_null(storm.established);
	hand_flush();
	assert_true(storm.served > STORM);
	hand_finish();
}

/* A timer ends what does not end by itself, and says so by name. */
static void
a_handshake_that_does_not_end_is_ended(void **state)
{
	struct peer peers[STORM];

	(void)state;
	begin_storm(0, false, peers);
	hand_flush();
	hand_go(4 * SEC);
	assert_int_equal(handshakes(), STORM);
	hand_go(2 * SEC);
	assert_int_equal(counted(ERR_HANDSHAKE_SLOW), STORM);
	assert_int_equal(handshakes(), 0);
	hand_finish();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(slow_uploads_take_a_share_and_never_the_place_of_answers),
		cmocka_unit_test(what_ends_gives_its_share_back),
		cmocka_unit_test(a_body_leaves_when_its_answer_begins),
		cmocka_unit_test(an_accounts_uploads_leave_its_answers_a_place),
		cmocka_unit_test(an_answer_that_loses_a_part_ends_and_is_billed_so_far),
		cmocka_unit_test(half_heads_make_room_for_whole_ones_and_for_answers),
		cmocka_unit_test(a_network_with_its_share_pushes_out_its_own),
		cmocka_unit_test(a_network_has_so_many_handshakes_and_no_more),
		cmocka_unit_test(who_says_nothing_has_no_memory_of_tls),
		cmocka_unit_test(who_has_said_nothing_leaves_first),
		cmocka_unit_test(a_storm_has_its_share_of_a_turn),
		cmocka_unit_test(a_storm_ends_in_handshakes_that_are_done),
		cmocka_unit_test(a_storm_computes_together_in_its_share_of_a_turn),
		cmocka_unit_test(a_handshake_that_is_alone_waits_so_long_and_no_longer),
		cmocka_unit_test(who_leaves_while_it_waits_takes_nobody_along),
		cmocka_unit_test(who_is_connected_goes_on_in_every_turn),
		cmocka_unit_test(a_handshake_that_does_not_end_is_ended),
		cmocka_unit_test(strangers_make_room_for_each_other_and_never_those_with_a_key),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
