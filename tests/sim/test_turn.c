/*
 * What a turn of the worker owes: what comes in it leaves in it, in as few pieces as it came; and what would be
 * too much for one is divided. The wire is listened to, frame by frame.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/check.h"
#include "dataplane/bounds.h"
#include "hand.h"
#include "segment.h"

#define SEGMENTS_MAX 4096
#define EDGE_PORT 443
#define RECORD_HEAD_BYTES 5
#define RECORD_OF_DATA 23

/* A TCP segment that the router got, or sent, in one of its turns. */
struct seen {
	uint64_t turn;
	bool is_sent;
	bool of_client;
	uint8_t flags;
	uint32_t bytes;   /* of payload */
	uint32_t records; /* of TLS, with data, if it begins with one; whole ones */
	bool ends_record;
};

static struct seen seen[SEGMENTS_MAX];
static uint32_t seen_count;

static uint32_t
two_octets(const uint8_t *from)
{
	return (uint32_t)from[0] << 8 | from[1];
}

static void
count_records(struct seen *s, struct bytes payload)
{
	while (payload.len >= RECORD_HEAD_BYTES && payload.ptr[0] == RECORD_OF_DATA) {
		size_t n = RECORD_HEAD_BYTES + two_octets(payload.ptr + 3);

		if (n > payload.len)
			return;
		s->records++;
		bytes_advance(&payload, n);
	}
	s->ends_record = payload.len == 0;
}

static void
see(struct town *town, bool from_router, const struct pkt *frame)
{
	struct seen *s = &seen[seen_count];
	struct hand_segment segment;

	if (!hand_read_segment(frame, &segment))
		return;
	CHECK(seen_count < SEGMENTS_MAX);
	*s = (struct seen){ .turn = town->turns,
			    .is_sent = from_router,
			    .of_client = (from_router ? segment.src_port : segment.dst_port) == EDGE_PORT,
			    .flags = segment.flags,
			    .bytes = (uint32_t)segment.payload.len };
	count_records(s, segment.payload);
	seen_count++;
}

static void
begin(bool is_h2, bool is_tls, uint32_t models)
{
	struct town_plan plan = hand_plan();

	plan.is_h2 = is_h2;
	plan.is_tls = is_tls;
	plan.models = models;
	hand_begin(&plan);
	hand.town->saw = see;
	if (is_h2)
		hand_greet();
}

static void
ask(const char *method, const char *path, const char *body)
{
	char text[512];

	if (hand.town->plan.is_h2) {
		hand_put_block(hand_block(method, path, HAND_KEY), 1, body[0] == '\0');
		if (body[0] != '\0')
			hand_put(H2FRAME_DATA, H2FRAME_END_STREAM, 1, bytes_from_text(body));
	} else {
		snprintf(text, sizeof(text),
			 "%s %s HTTP/1.1\r\nhost: edge\r\nauthorization: " HAND_KEY "\r\n"
			 "content-length: %zu\r\n\r\n%s",
			 method, path, strlen(body), body);
		hand_say(bytes_from_text(text));
	}
	hand_flush();
}

static void
ask_chat(void)
{
	ask("POST", "/v1/chat/completions", HAND_CHAT);
	assert_int_equal(hand.backend.requests, 1);
}

/* --- leaving ----------------------------------------------------------------------------------- */

static const char stream_head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
				  "content-length: 100000\r\n\r\n";

static void
leave_by_reset(void)
{
	hand_leave(true);
}

static void
leave_by_closing(void)
{
	hand_leave(false);
}

static void
leave_the_stream(void)
{
	hand_put_word(H2FRAME_RST_STREAM, 1, NGHTTP2_CANCEL);
}

/* The turn of the first segment that somebody's payload, FIN or RST came in; 0: none did. */
static uint64_t
turn_of(bool is_sent, bool of_client, uint8_t flags)
{
	for (uint32_t i = 0; i < seen_count; i++)
		if (seen[i].is_sent == is_sent && seen[i].of_client == of_client &&
		    ((seen[i].flags & flags) != 0 || (!is_sent && seen[i].bytes > 0)))
			return seen[i].turn;
	return 0;
}

/* The GPU is let go in the turn in which its reader was heard to leave, however he leaves and whatever runs. */
static void
who_leaves_is_gone_at_the_backend_within_the_turn(void **state)
{
	static const struct {
		bool is_h2;
		bool is_tls;
		void (*leave)(void);
	} rows[] = {
		{ false, false, leave_by_reset },   { false, false, leave_by_closing },
		{ false, true, leave_by_reset },    { false, true, leave_by_closing },
		{ true, false, leave_by_reset },    { true, false, leave_by_closing },
		{ true, true, leave_by_closing },   { true, false, leave_the_stream },
		{ true, true, leave_the_stream },
	};

	(void)state;
	for (size_t k = 0; k < COUNT_OF(rows); k++) {
		for (int events = 0; events <= 2; events++) {
			begin(rows[k].is_h2, rows[k].is_tls, 0);
			ask_chat();
			/* 0: it has not answered yet. */
			if (events > 0)
				hand_backends_say(BYTES_LITERAL(stream_head));
			if (events > 1)
				hand_backends_say(BYTES_LITERAL("data: {}\n\n"));
			hand_go(50 * MS);
			assert_int_equal(hand.town->worker->exchanges_used, 1);
			seen_count = 0;
			rows[k].leave();
			hand_go(50 * MS);
			assert_int_not_equal(turn_of(false, true, SEGMENT_RST | SEGMENT_FIN), 0);
			assert_int_equal(turn_of(true, false, SEGMENT_RST),
					 turn_of(false, true, SEGMENT_RST | SEGMENT_FIN));
			assert_int_equal(hand.town->worker->exchanges_used, 0);
			hand_finish();
		}
	}
}

/* --- events ------------------------------------------------------------------------------------ */

#define EVENTS 5

static const char event[] = "data: {\"choices\":[{\"delta\":{\"content\":\"word\"}}]}\n\n";

/* What a client has of the answer. */
static uint32_t
got_bytes(void)
{
	return hand.town->plan.is_h2 ? hand.heard.stream[0].bytes : hand.client->in_len;
}

/* The one segment with payload that went to the client since it was last asked; its turn is that in which
 * the backend's came. */
static const struct seen *
only_segment(void)
{
	const struct seen *only = NULL;

	for (uint32_t i = 0; i < seen_count; i++) {
		if (!seen[i].is_sent || !seen[i].of_client || seen[i].bytes == 0)
			continue;
		assert_null(only);
		only = &seen[i];
	}
	assert_non_null(only);
	assert_int_equal(only->turn, turn_of(false, false, 0));
	return only;
}

/* The backend says it; n events of it leave, together, at once. */
static void
assert_events_leave(struct bytes text, uint32_t n)
{
	/* "35\r\n", "\r\n" around each over HTTP/1.1 */
	uint32_t each = sizeof(event) - 1 + (hand.town->plan.is_h2 ? 0 : 6);
	uint32_t head = hand.town->plan.is_h2 ? H2FRAME_HEAD_BYTES : 0;
	uint32_t frames = hand.heard.stream[0].data_frames;
	uint32_t bytes = got_bytes();

	seen_count = 0;
	hand_backends_say(text);
	hand_go(50 * MS);
	assert_int_equal(got_bytes(), bytes + n * each);
	if (hand.town->plan.is_tls) {
		assert_int_equal(only_segment()->records, 1);
		assert_true(only_segment()->ends_record);
	} else {
		assert_int_equal(only_segment()->bytes, n * each + head);
	}
	if (hand.town->plan.is_h2)
		assert_int_equal(hand.heard.stream[0].data_frames, frames + 1);
}

/* A segment, a record and a frame for each, when it came; one of each for all that came at once; nothing for what
 * has not ended. */
static void
an_event_leaves_in_one_piece_when_it_comes(void **state)
{
	uint8_t joined[EVENTS * (sizeof(event) - 1)];

	(void)state;
	for (size_t i = 0; i < EVENTS; i++)
		memcpy(joined + i * (sizeof(event) - 1), event, sizeof(event) - 1);
	for (int k = 0; k < 4; k++) {
		begin(k & 1, k >> 1, 0);
		ask_chat();
		hand_backends_say(BYTES_LITERAL(stream_head));
		hand_go(50 * MS);
		for (int i = 0; i < EVENTS; i++)
			assert_events_leave(BYTES_LITERAL(event), 1);
		assert_events_leave(bytes_make(joined, sizeof(joined)), EVENTS);
		seen_count = 0;
		hand_backends_say(bytes_make(joined, 20));
		hand_go(50 * MS);
		assert_int_equal(turn_of(true, true, 0xff & ~SEGMENT_ACK), 0);
		/* The rest of it, another one, and the beginning of a third. */
		assert_events_leave(bytes_make(joined + 20, 2 * (sizeof(event) - 1)), 2);
		hand_finish();
	}
}

/* --- the tab -------------------------------------------------------------------------------------- */

/* How often the request in flight was noted so far; what it would be billed now. */
static uint64_t
noted(struct usage_record *record)
{
	const struct tab_line *lines = (const void *)((const uint8_t *)hand.town->tab + TAB_HEADER_BYTES);
	uint64_t sequence;

	assert_int_equal(tab_read(&lines[0], record, &sequence), ERR_OK);
	return atomic_load(&lines[0].version);
}

/* `text` comes at once: it is noted once, and leaves (town.c: judge_tab() looks between the two). */
static void
assert_noted_once(struct bytes text, uint64_t events)
{
	struct usage_record record;
	uint64_t times = noted(&record);
	uint32_t bytes = got_bytes();

	hand_backends_say(text);
	hand_go(50 * MS);
	assert_true(events == 0 || got_bytes() > bytes);
	assert_int_equal(noted(&record), times + 1);
	assert_int_equal(record.completion_tokens, events);
	assert_int_equal(record.outcome, USAGE_CRASHED);
}

static void
a_burst_is_noted_once_before_it_leaves(void **state)
{
	static uint8_t burst[8 * EVENTS * (sizeof(event) - 1)]; /* of two segments */
	size_t each = sizeof(event) - 1;
	struct usage_record record;

	(void)state;
	for (size_t i = 0; i < 8 * EVENTS; i++)
		memcpy(burst + i * each, event, each);
	for (int k = 0; k < 4; k++) {
		begin(k & 1, k >> 1, 0);
		ask_chat();
		assert_int_equal(noted(&record), 1);
		assert_int_equal(record.cost_nano, 0);
		assert_noted_once(BYTES_LITERAL(stream_head), 0);
		assert_noted_once(BYTES_LITERAL(event), 1);
		assert_noted_once(bytes_make(burst, EVENTS * each), 1 + EVENTS);
		seen_count = 0;
		assert_noted_once(bytes_make(burst, sizeof(burst)), 1 + 9 * EVENTS);
		assert_true(seen_count > 2);
		hand_finish();
	}
}

/* --- a large catalogue --------------------------------------------------------------------------- */

#define MODELS 3000u
#define STEPS_PER_TURN_MAX 3 /* bounds.h */

/* Of "model-0000" and so on. */
static uint32_t
models_in(struct bytes text)
{
	static const char before[] = "{\"id\":\"model-";
	uint32_t count = 0;

	for (size_t i = 0; i + sizeof(before) + 4 <= text.len; i++) {
		char number[5] = "";

		if (memcmp(text.ptr + i, before, sizeof(before) - 1) != 0)
			continue;
		memcpy(number, text.ptr + i + sizeof(before) - 1, 4);
		assert_int_equal(strtoul(number, NULL, 10), count);
		count++;
	}
	return count;
}

/* How far the list is, over HTTP/1.1; and the most and the number of steps that it made. */
static struct {
	uint32_t at;
	uint32_t most;
	uint32_t turns;
} listed;

static void
look_at_list(struct town *town)
{
	const struct stream *s = &town->worker->clients[0].stream;
	uint32_t step = s->listing ? s->listing_models - listed.at : 0;

	if (step == 0)
		return;
	listed.at += step;
	listed.turns++;
	if (step > listed.most)
		listed.most = step;
}

/* What the client has of the list, behind its head. */
static struct bytes
list_so_far(void)
{
	return hand.town->plan.is_h2 ? bytes_make(hand.heard.first, hand.heard.stream[0].bytes) :
				       bytes_make(hand.client->in, hand.client->in_len);
}

/* All models, in their order, a bounded number in each turn. */
static void
a_list_longer_than_a_turn_comes_whole(void **state)
{
	(void)state;
	for (int k = 0; k < 4; k++) {
		begin(k & 1, k >> 1, MODELS);
		memset(&listed, 0, sizeof(listed));
		hand.town->turned = look_at_list;
		ask("GET", "/v1/models", "");
		hand_go(2 * SEC);
		assert_int_equal(models_in(list_so_far()), MODELS);
		if (hand.town->plan.is_h2) {
			assert_true(hand.heard.stream[0].is_ended);
		} else {
			assert_in_range(listed.most, 1, STEPS_PER_TURN_MAX * LISTING_ENTRIES_PER_STEP);
			assert_true(listed.turns >= MODELS / (STEPS_PER_TURN_MAX * LISTING_ENTRIES_PER_STEP));
			/* The connection is as good as before. */
			hand_say(BYTES_LITERAL("GET /healthz HTTP/1.1\r\nhost: edge\r\n\r\n"));
			hand_flush();
			assert_memory_equal(hand.client->in + hand.client->in_len - 7, "\r\n\r\nok\n", 7);
		}
		hand_finish();
	}
}

/* As many of them as he has room for, and the others when he has. */
static void
a_list_waits_for_its_reader(void **state)
{
	(void)state;
	begin(true, false, MODELS);
	hand.opens_windows = false;
	ask("GET", "/v1/models", "");
	hand_go(10 * SEC);
	assert_int_equal(hand.heard.stream[0].bytes, 65535);
	hand.opens_windows = true;
	hand_put_word(H2FRAME_WINDOW_UPDATE, 0, 65535);
	hand_put_word(H2FRAME_WINDOW_UPDATE, 1, 65535);
	hand_go(2 * SEC);
	assert_true(hand.heard.stream[0].is_ended && !hand.heard.stream[0].is_reset);
	assert_int_equal(models_in(list_so_far()), MODELS);
	hand_finish();
}

/* What of a client's burst was read in the turn that read most. */
static struct {
	uint64_t bytes;
	uint64_t most;
} read_in_turn;

static void
look_at_input(struct town *town)
{
	uint64_t bytes = town->worker->counters[counter_at(COUNTER_BYTES_FROM_CLIENTS)];

	if (bytes - read_in_turn.bytes > read_in_turn.most)
		read_in_turn.most = bytes - read_in_turn.bytes;
	read_in_turn.bytes = bytes;
}

/* Of what comes at once over HTTP/2 only so much is looked at before everybody else's turn; nothing is lost. */
static void
a_burst_over_h2_is_divided_among_turns(void **state)
{
	static const uint8_t nothing[16000];

	(void)state;
	hand_begin_greeted();
	hand.town->turned = look_at_input;
	read_in_turn.bytes = hand.town->worker->counters[counter_at(COUNTER_BYTES_FROM_CLIENTS)];
	read_in_turn.most = 0;
	/* What may be on its way at once grows with each burst. */
	for (uint32_t stream = 1; stream < 20; stream += 2) {
		hand_put_chat_head(stream);
		for (int i = 0; i < 4; i++)
			hand_put(H2FRAME_DATA, 0, stream, bytes_make(nothing, sizeof(nothing)));
		hand_flush();
		hand_put_word(H2FRAME_RST_STREAM, stream, NGHTTP2_CANCEL);
	}
	assert_in_range(read_in_turn.most, H2_TURN_BYTES_MAX, H2_TURN_BYTES_MAX + TLS_RECORD_BYTES_MAX);
	assert_true(read_in_turn.bytes > 40 * sizeof(nothing));
	hand_assert_goes_on();
	hand_finish();
}

/* The machine stops for longer than a connect may take, while the backend's SYN-ACK is on its way. */
static void
a_worker_that_got_no_turn_blames_nobody(void **state)
{
	const struct worker *w;
	const struct exchange *x;

	(void)state;
	begin(true, false, 0);
	w = hand.town->worker;
	hand_put_chat(1);
	while (w->upstreams_used == 0)
		hand_go(MS / 4);
	x = &w->exchanges[0];
	assert_int_equal(x->state, EXCHANGE_CONNECT);
	hand_go(3 * MS / 2);
	assert_int_equal(x->state, EXCHANGE_CONNECT);
	hand.town->now_ns += w->config.times.connect_ns + SEC;
	hand_go(50 * MS);
	assert_int_equal(x->state, EXCHANGE_HEAD);
	assert_int_equal(x->tries, 1);
	assert_int_equal(hand.backend.requests, 1);
	assert_int_equal(atomic_load(&shm_pod_health(&w->shm, x->pod_entry)->eject_errors), 0);
	hand_assert_goes_on();
	hand_finish();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_leaves_is_gone_at_the_backend_within_the_turn),
		cmocka_unit_test(an_event_leaves_in_one_piece_when_it_comes),
		cmocka_unit_test(a_burst_is_noted_once_before_it_leaves),
		cmocka_unit_test(a_list_longer_than_a_turn_comes_whole),
		cmocka_unit_test(a_burst_over_h2_is_divided_among_turns),
		cmocka_unit_test(a_list_waits_for_its_reader),
		cmocka_unit_test(a_worker_that_got_no_turn_blames_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
