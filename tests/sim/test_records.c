/* A request that a backend got has one usage record, however it ends; one that none got has none. And what the
 * client is told of that end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/check.h"
#include "hand.h"

static const char front[] = "--b\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\ntown-model\r\n"
			    "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nsound";
#define FORM_BYTES 1000

/* A form goes on when its model is known: the backend has the beginning of it. */
static void
begin_upload(void)
{
	struct town_plan plan = hand_plan();
	char text[512];

	plan.is_h2 = false;
	hand_begin(&plan);
	snprintf(text, sizeof(text),
		 "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: edge\r\nauthorization: " HAND_KEY "\r\n"
		 "content-type: multipart/form-data; boundary=b\r\ncontent-length: %d\r\n\r\n%s",
		 FORM_BYTES, front);
	hand_say(bytes_from_text(text));
	hand_flush();
	assert_int_equal(hand.town->worker->exchanges_used, 1);
	assert_int_equal(hand.town->worker->upstreams_used, 1);
	assert_int_equal(hand.town->spool.sequence, 0);
}

/* One record, of that outcome and status; nothing is held any more. */
static void
assert_recorded(enum usage_outcome outcome, uint16_t status)
{
	struct usage_record record;

	assert_int_equal(hand.town->worker->exchanges_used, 0);
	assert_int_equal(hand.town->spool.sequence, 1);
	assert_int_equal(spool_read(hand.town->spool_memory, 0, &record), ERR_OK);
	assert_int_equal(record.outcome, outcome);
	assert_int_equal(record.status, status);
	assert_int_equal(atomic_load(&shm_balance(&hand.town->shm, 0)->held_nano), 0);
	assert_int_equal(atomic_load(&shm_balance(&hand.town->shm, 0)->spent_nano), record.cost_nano);
	hand_finish();
}

static void
a_form_that_breaks_on_its_way_is_on_record(void **state)
{
	(void)state;
	begin_upload();
	hand_say(BYTES_LITERAL("\r\n--b and more\r\n"));
	hand_flush();
	assert_memory_equal(hand.client->in, "HTTP/1.1 400", 12);
	assert_recorded(USAGE_CLIENT_ABORT, 400);
}

static void
a_form_that_stops_on_its_way_is_on_record(void **state)
{
	(void)state;
	begin_upload();
	hand_go(100 * SEC);
	assert_null(hand.client);
	assert_recorded(USAGE_CLIENT_ABORT, 0);
}

/* So slowly that it is the whole of it that takes too long, and never a piece. */
static void
a_form_that_trickles_is_on_record(void **state)
{
	(void)state;
	begin_upload();
	for (int i = 0; i < 60 && hand.client != NULL; i++) {
		hand_say(BYTES_LITERAL("x"));
		hand_go(SEC);
	}
	assert_null(hand.client);
	assert_recorded(USAGE_CLIENT_ABORT, 0);
}

static void
a_form_whose_client_leaves_is_on_record(void **state)
{
	(void)state;
	begin_upload();
	hand_leave(true);
	hand_go(SEC);
	assert_recorded(USAGE_CLIENT_ABORT, 0);
}

/* An answer that came before the upload was out: what follows there would be read as the rest of it. */
static void
an_early_answer_leaves_no_connection_behind(void **state)
{
	(void)state;
	begin_upload();
	hand_backends_say(BYTES_LITERAL("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
					"content-length: 2\r\n\r\n{}"));
	hand_go(50 * MS);
	assert_memory_equal(hand.client->in, "HTTP/1.1 200", 12);
	assert_int_equal(hand.town->worker->upstreams_idle.count, 0);
	assert_int_equal(hand.town->worker->upstreams_used, 0);
	assert_recorded(USAGE_OK, 200);
}

/* What is refused before, or never comes whole, went nowhere. */
static void
what_no_backend_got_is_not_on_record(void **state)
{
	static const char *const bodies[] = { "{\"model\":\"town-model\",\"messages\":[", "{]", "" };

	(void)state;
	for (size_t k = 0; k < COUNT_OF(bodies); k++) {
		struct town_plan plan = hand_plan();
		char text[512];

		plan.is_h2 = false;
		hand_begin(&plan);
		snprintf(text, sizeof(text),
			 "POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\nauthorization: " HAND_KEY "\r\n"
			 "content-length: 100\r\n\r\n%s",
			 bodies[k]);
		hand_say(bytes_from_text(text));
		hand_go(100 * SEC);
		assert_int_equal(hand.backend.requests, 0);
		assert_int_equal(hand.town->spool.sequence, 0);
		hand_finish();
	}
}

/* Each has a record, up to ten a second: whoever asks without money must not fill the spool. */
static void
what_is_refused_for_money_is_on_record_and_no_flood(void **state)
{
	static const uint32_t asked = 15;
	struct town_plan plan = hand_plan();
	struct usage_record record;
	struct worker *w;

	(void)state;
	hand_begin(&plan);
	hand_greet();
	w = hand.town->worker;
	atomic_store(&shm_balance(&hand.town->shm, 0)->credited_nano, 0);
	/* The second of a clock: begun anew, so that all of these are in one. */
	hand_go(SEC - w->now_ns % SEC);
	for (uint32_t i = 0; i < asked; i++)
		hand_put_chat(2 * i + 1);
	hand_flush();
	assert_int_equal(hand.heard.stream[0].status, 402);
	assert_int_equal(hand.backend.requests, 0);
	assert_int_equal(hand.town->spool.sequence, SETTLE_REFUSALS_PER_ACCOUNT);
	assert_int_equal(w->counters[counter_at(COUNTER_REFUSED_UNRECORDED)],
			 asked - SETTLE_REFUSALS_PER_ACCOUNT);
	assert_int_equal(spool_read(hand.town->spool_memory, 3, &record), ERR_OK);
	assert_int_equal(record.outcome, USAGE_REFUSED);
	assert_int_equal(record.status, 402);
	assert_int_equal(record.cost_nano, 0);
	assert_int_equal(record.account_id, 11);
	assert_int_equal(record.model_id, 17);
	assert_int_equal(record.price_version, 3);
	assert_int_equal(record.pod_id, 0);
	hand_go(SEC);
	hand_put_chat(2 * asked + 1);
	hand_flush();
	assert_int_equal(hand.town->spool.sequence, SETTLE_REFUSALS_PER_ACCOUNT + 1);
	hand_finish();
}

/* --- streams whose backend is lost ---------------------------------------------------------- */

static const char stream_head[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
				  "content-length: 100000\r\n\r\n";
static const char event[] = "data: {\"choices\":[{\"delta\":{\"content\":\"word\"}}]}\n\n";
static const char usage[] = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,"
			    "\"total_tokens\":3}}\n\n";
static const char done[] = "data: [DONE]\n\n";
static const char half[] = "data: {\"torn";

/* Over HTTP/1.1. */
static void
say_chat(void)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "POST /v1/chat/completions HTTP/1.1\r\nhost: edge\r\nauthorization: " HAND_KEY "\r\n"
		 "content-length: %zu\r\n\r\n%s",
		 sizeof(HAND_CHAT) - 1, HAND_CHAT);
	hand_say(bytes_from_text(text));
}

static void
begin_stream(bool is_h2, const char *head)
{
	struct town_plan plan = hand_plan();

	plan.is_h2 = is_h2;
	hand_begin(&plan);
	if (is_h2) {
		hand_greet();
		hand_put_chat(1);
	} else {
		say_chat();
	}
	hand_flush();
	assert_int_equal(hand.backend.requests, 1);
	hand_backends_say(bytes_from_text(head));
	hand_backends_say(BYTES_LITERAL(event));
	hand_backends_say(BYTES_LITERAL(usage));
}

/* All pods are busy: what is told is the shortest pause that one of them asked for. */
static void
busy_pods_tell_the_shortest_pause(void **state)
{
	static const char *const pauses[] = { "7", "3", "5" };
	struct town_plan plan = hand_plan();

	(void)state;
	plan.pods = plan.first_pods = COUNT_OF(pauses);
	hand_begin(&plan);
	hand_greet();
	hand_put_chat(1);
	for (size_t i = 0; i < COUNT_OF(pauses); i++) {
		char text[200];

		hand_flush();
		assert_int_equal(hand.backend.requests, i + 1);
		snprintf(text, sizeof(text),
			 "HTTP/1.1 503 Busy\r\nretry-after: %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
			 pauses[i]);
		hand_backends_say(bytes_from_text(text));
	}
	hand_flush();
	assert_int_equal(hand.heard.stream[0].status, 503);
	assert_int_equal(hand.heard.stream[0].retry_after, 3);
	assert_int_equal(hand.town->spool.sequence, 1);
	hand_finish();
}

/* The first pod had the whole request and would not; the client leaves while the second one is connected to. */
static void
a_try_that_was_abandoned_costs_nothing(void **state)
{
	static const char busy[] = "HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
	struct town_plan plan = hand_plan();
	const struct exchange *x;
	struct usage_record record;

	(void)state;
	plan.pods = plan.first_pods = 2;
	plan.is_h2 = false;
	hand_begin(&plan);
	say_chat();
	hand_flush();
	assert_int_equal(hand.backend.requests, 1);
	x = hand.client != NULL ? hand.town->worker->clients[0].stream.exchange : NULL;
	assert_non_null(x);
	hand_backends_say(BYTES_LITERAL(busy));
	while (x->state == EXCHANGE_HEAD)
		hand_go(MS / 4);
	assert_int_equal(x->state, EXCHANGE_CONNECT);
	hand_leave(true);
	hand_go(50 * MS);
	assert_int_equal(hand.backend.requests, 1);
	assert_int_equal(spool_read(hand.town->spool_memory, 0, &record), ERR_OK);
	assert_int_equal(record.prompt_tokens, 0);
	assert_int_equal(record.cost_nano, 0);
	assert_recorded(USAGE_CLIENT_ABORT, 0);
}

/* What the client has of the answer's payload or, over HTTP/1.1, of all of it. */
static struct bytes
got(bool is_h2)
{
	return is_h2 ? bytes_make(hand.heard.first, hand.heard.stream[0].bytes) :
		       bytes_make(hand.client->in, hand.client->in_len);
}

static bool
contains(struct bytes text, const char *part)
{
	return memmem(text.ptr, text.len, part, strlen(part)) != NULL;
}

/* The last event settled the request: that the rest of the framing never came is nothing to the client. */
static void
a_stream_that_has_said_all_ends_well(void **state)
{
	(void)state;
	for (int is_h2 = 0; is_h2 <= 1; is_h2++) {
		begin_stream(is_h2, stream_head);
		hand_backends_say(BYTES_LITERAL(done));
		hand_go(50 * MS);
		hand_backends_die();
		hand_go(50 * MS);
		assert_true(contains(got(is_h2), done));
		assert_false(contains(got(is_h2), "error"));
		assert_true(is_h2 ? hand.heard.stream[0].is_ended && !hand.heard.stream[0].is_reset :
				    contains(got(is_h2), "\r\n0\r\n\r\n"));
		assert_non_null(hand.client);
		assert_recorded(USAGE_OK, 200);
	}
}

/* Behind the last event, or inside of one: an error event, and no end that looks like one. */
static void
a_stream_that_has_not_is_cut(void **state)
{
	(void)state;
	for (int k = 0; k < 4; k++) {
		bool is_h2 = k & 1;

		begin_stream(is_h2, stream_head);
		if (k & 2)
			hand_backends_say(BYTES_LITERAL(half));
		hand_go(50 * MS);
		hand_backends_die();
		if (is_h2) {
			hand_go(50 * MS);
			assert_true(contains(got(true), "data: {\"error\":"));
			assert_false(contains(got(true), half));
			assert_true(hand.heard.stream[0].is_reset && !hand.heard.stream[0].is_ended);
			assert_int_equal(hand.heard.stream[0].code, NGHTTP2_INTERNAL_ERROR);
		} else {
			/* Its bytes are looked at before the end that follows them. */
			while (hand.client != NULL && !contains(got(false), "data: {\"error\":"))
				hand_go(MS / 4);
			assert_non_null(hand.client);
			assert_false(contains(got(false), half) || contains(got(false), "\r\n0\r\n\r\n"));
			hand_go(20 * SEC);
			assert_null(hand.client);
		}
		assert_recorded(USAGE_UPSTREAM_ERROR, 200);
	}
}

/* A body that only the end of its connection ends: a crash looks the same, so that it must have said it itself. */
static void
an_end_that_anything_could_be_is_judged_by_what_was_said(void **state)
{
	static const char endless[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

	(void)state;
	for (int is_done = 0; is_done <= 1; is_done++) {
		begin_stream(true, endless);
		if (is_done)
			hand_backends_say(BYTES_LITERAL(done));
		hand_go(50 * MS);
		hand_backends_close();
		hand_go(50 * MS);
		assert_int_equal(contains(got(true), "data: {\"error\":"), !is_done);
		assert_int_equal(hand.heard.stream[0].is_ended, is_done);
		assert_int_equal(hand.heard.stream[0].is_reset, !is_done);
		assert_recorded(is_done ? USAGE_OK : USAGE_UPSTREAM_ERROR, 200);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_form_that_breaks_on_its_way_is_on_record),
		cmocka_unit_test(a_form_that_stops_on_its_way_is_on_record),
		cmocka_unit_test(a_form_that_trickles_is_on_record),
		cmocka_unit_test(a_form_whose_client_leaves_is_on_record),
		cmocka_unit_test(an_early_answer_leaves_no_connection_behind),
		cmocka_unit_test(what_no_backend_got_is_not_on_record),
		cmocka_unit_test(what_is_refused_for_money_is_on_record_and_no_flood),
		cmocka_unit_test(busy_pods_tell_the_shortest_pause),
		cmocka_unit_test(a_try_that_was_abandoned_costs_nothing),
		cmocka_unit_test(a_stream_that_has_said_all_ends_well),
		cmocka_unit_test(a_stream_that_has_not_is_cut),
		cmocka_unit_test(an_end_that_anything_could_be_is_judged_by_what_was_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
