/* How long each patience with an HTTP/2 client lasts (T75), and what ends a connection in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hand.h"

static void
t75_a_preface_has_ten_seconds(void **state)
{
	struct town_plan plan = hand_plan();

	(void)state;
	hand_begin(&plan);
	hand_go(9 * SEC);
	hand_assert_goes_on();
	hand_go(3 * SEC);
	hand_assert_ended(NGHTTP2_ENHANCE_YOUR_CALM);
	hand_finish();
	hand_begin(&plan);
	hand_say(BYTES_LITERAL("GET / HTTP/1.1\r\nHost: edge\r\n\r\n"));
	hand_flush();
	hand_go(5 * SEC);
	assert_null(hand.client);
	assert_int_equal(hand.heard.stream[0].status, 0);
	hand_finish();
}

static void
idleness_ends_after_five_minutes(void **state)
{
	(void)state;
	hand_begin_greeted();
	hand_go(250 * SEC);
	hand_put_get(1, "/healthz");
	hand_flush();
	assert_int_equal(hand.heard.stream[0].status, 200);
	hand_go(298 * SEC);
	hand_assert_goes_on();
	/* A ping is no use. */
	hand_put_ping();
	hand_go(4 * SEC);
	hand_assert_ended(NGHTTP2_NO_ERROR);
	hand_finish();
}

/* Its answer is under way, and nothing of it acknowledged, when the connection is looked at a second later. */
static void
an_answer_after_an_idle_minute_is_not_stalled(void **state)
{
	struct link_faults far;

	(void)state;
	hand_begin_greeted();
	hand_answer_with_stream();
	hand_go(60 * SEC);
	far = hand.town->plan.link[0];
	far.delay_ns = 220 * MS;
	link_set_faults(hand.town->link[0], &far);
	link_set_faults(hand.town->link[1], &far);
	hand_put_chat(1);
	hand_go(20 * SEC);
	assert_true(hand.heard.stream[0].status == 200 && hand.heard.stream[0].is_ended);
	hand_assert_goes_on();
	hand_finish();
}

/* A head, and 50 s without an event: comments of 14 bytes at 15, 30 and 45 s, or as the operator says. */
static void
comments_come_while_the_first_event_is_awaited_or_never(void **state)
{
	(void)state;
	for (int never = 0; never < 2; never++) {
		hand_begin_greeted();
		if (never)
			hand.town->worker->config.times.keep_alive_ns = 0;
		hand.backend.answer = BYTES_LITERAL("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
		hand_put_chat(1);
		hand_go(50 * SEC);
		assert_int_equal(hand.heard.stream[0].bytes, never ? 0 : 3 * 14);
		assert_false(hand.heard.stream[0].is_ended || hand.heard.stream[0].is_reset);
		hand_go(15 * SEC);
		assert_true(hand.heard.stream[0].is_ended || hand.heard.stream[0].is_reset);
		hand_finish();
	}
}

/* The backend is not read meanwhile: that nothing comes of it is the reader's doing. */
static void
a_slow_reader_is_not_his_backends_silence(void **state)
{
	uint32_t whole;

	(void)state;
	hand_begin_greeted();
	hand.town->worker->config.times.between_events_ns = 5 * SEC;
	whole = hand_answer_with_stream();
	hand.opens_windows = false;
	hand_put_chat(1);
	hand_go(40 * SEC);
	assert_int_equal(hand.heard.stream[0].bytes, 65535);
	assert_int_equal(hand.town->worker->exchanges_used, 1);
	hand.opens_windows = true;
	hand_put_word(H2FRAME_WINDOW_UPDATE, 0, 65535);
	hand_put_word(H2FRAME_WINDOW_UPDATE, 1, 65535);
	hand_go(2 * SEC);
	assert_true(hand.heard.stream[0].is_ended);
	assert_int_equal(hand.heard.stream[0].bytes, whole);
	hand_finish();
}

static void
a_connection_has_a_thousand_requests(void **state)
{
	(void)state;
	hand_begin_greeted();
	for (uint32_t i = 0; i < 999; i++) {
		hand_put_get(2 * i + 1, "/healthz");
		if (i % 25 == 24)
			hand_flush();
	}
	hand_flush();
	hand_assert_goes_on();
	hand_put_get(1999, "/healthz");
	hand_flush();
	for (uint32_t i = 0; i < 1000; i++)
		assert_true(hand.heard.stream[i].status == 200 && hand.heard.stream[i].is_ended);
	hand_assert_ended(NGHTTP2_NO_ERROR);
	hand_finish();
}

/* Who drains says so at once, finishes what runs, and takes nothing new. */
static void
draining_is_said_and_what_runs_is_finished(void **state)
{
	uint32_t whole;

	(void)state;
	hand_begin_greeted();
	hand_put_chat(1);
	hand_flush();
	assert_int_equal(hand.backend.requests, 1);
	worker_drain(hand.town->worker);
	hand_go(100 * MS);
	assert_true(hand.heard.goaway && hand.heard.goaway_code == NGHTTP2_NO_ERROR);
	assert_non_null(hand.client);
	hand_put_chat(3);
	hand_flush();
	assert_int_equal(hand.backend.requests, 1);
	whole = hand_answer_with_stream();
	hand_backends_say(hand.backend.answer);
	hand_go(SEC);
	assert_int_equal(hand.heard.stream[0].bytes, whole);
	assert_true(hand.heard.stream[0].is_ended);
	assert_null(hand.client);
	hand_finish();
}

/* A body that stops, one that trickles in, and one that comes: only their own streams end. */
static void
a_slow_body_ends_its_own_stream(void **state)
{
	(void)state;
	hand_begin_greeted();
	hand_answer_with_stream();
	hand_put_chat_head(1);
	hand_put(H2FRAME_DATA, 0, 1, BYTES_LITERAL("{"));
	hand_put_chat_head(3);
	for (int i = 0; i < 45; i++) {
		hand_put(H2FRAME_DATA, 0, 3, BYTES_LITERAL(" "));
		hand_go(SEC);
		/* timeouts.body_grace; a body that only stopped would have timeouts.body. */
		assert_int_equal(hand.heard.stream[0].is_reset, i >= 10);
		assert_int_equal(hand.heard.stream[1].is_reset, i >= 10);
	}
	assert_int_equal(hand.heard.stream[0].code, NGHTTP2_CANCEL);
	assert_int_equal(hand.heard.stream[1].code, NGHTTP2_CANCEL);
	hand_assert_goes_on();
	hand_put_chat(5);
	hand_go(SEC);
	assert_true(hand.heard.stream[2].status == 200 && hand.heard.stream[2].is_ended);
	assert_int_equal(hand.backend.requests, 1);
	hand_finish();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(comments_come_while_the_first_event_is_awaited_or_never),
		cmocka_unit_test(t75_a_preface_has_ten_seconds),
		cmocka_unit_test(idleness_ends_after_five_minutes),
		cmocka_unit_test(an_answer_after_an_idle_minute_is_not_stalled),
		cmocka_unit_test(a_slow_reader_is_not_his_backends_silence),
		cmocka_unit_test(a_connection_has_a_thousand_requests),
		cmocka_unit_test(draining_is_said_and_what_runs_is_finished),
		cmocka_unit_test(a_slow_body_ends_its_own_stream),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
