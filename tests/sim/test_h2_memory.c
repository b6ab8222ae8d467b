/* What an HTTP/2 connection may hold of memory, whatever it sends and does not read (T67, T70). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "hand.h"

/* A request's body, an event of its answer, and 16 KiB and a piece that wait for the client. */
#define BLOCKS_MAX 4

/* Nobody needs a key for these. */
static void
begin_with_100_strange_streams(void)
{
	struct town_plan plan = hand_plan();

	plan.h2.streams_unauthenticated = 100;
	hand_begin(&plan);
	hand_greet();
}

/* One field of 3,900 bytes in the table, then a million references to it of a byte each, over 100 streams whose
 * answers have no window. */
static void
t67_a_million_references_hold_no_more_than_the_cap(void **state)
{
	static char value[3901];
	uint64_t most = 0;
	uint64_t idle;

	(void)state;
	memset(value, 'v', sizeof(value) - 1);
	begin_with_100_strange_streams();
	idle = hand_held_bytes();
	assert_in_range(idle, 1, 32 * KIB);
	hand_put_setting(H2FRAME_INITIAL_WINDOW_SIZE, 0);
	for (uint32_t i = 0; i < 100; i++) {
		struct h2frame_block *block = hand_block("GET", "/v1/models", "Bearer eco_wrong");

		if (i == 0)
			h2frame_add_field(block, true, "x", value);
		memset(block->bytes + block->len, 0xbe, 10000);
		block->len += 10000;
		hand_put_block(block, 2 * i + 1, true);
		hand_flush();
		if (hand_held_bytes() - idle > most)
			most = hand_held_bytes() - idle;
	}
	hand_assert_goes_on();
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(hand.heard.stream[i].status, 431);
	assert_true(hand.sent_bytes > 1000000);
	assert_true(idle + most <= HAND_CONNECTION_BYTES);
	/* An attacker's byte buys less than a byte, not 4,000. */
	assert_true(most < hand.sent_bytes);
	assert_int_equal(hand.town->worker->bodies.used, 0);
	assert_int_equal(hand.town->worker->heads_used, 0);
	/* A byte now and then does not keep them. */
	hand.opens_windows = false;
	for (int i = 0; i < 8; i++) {
		hand_put_word(H2FRAME_WINDOW_UPDATE, 1, 1);
		hand_go(SEC);
	}
	for (uint32_t i = 0; i < 100; i++)
		assert_true(hand.heard.stream[i].is_reset && hand.heard.stream[i].code == NGHTTP2_CANCEL);
	hand_assert_goes_on();
	/* Not quite what it was: the tables of both directions are full now. */
	assert_in_range(hand_held_bytes(), idle, idle + 20 * KIB);
	hand_finish();
}

/* The most that few bytes can do: references that are within bounds, in streams that are answered. */
static void
t67_streams_without_windows_hold_little_each(void **state)
{
	static char value[3901];
	uint64_t idle;

	(void)state;
	memset(value, 'v', sizeof(value) - 1);
	begin_with_100_strange_streams();
	hand_put_setting(H2FRAME_INITIAL_WINDOW_SIZE, 0);
	hand_flush();
	idle = hand_held_bytes();
	for (uint32_t i = 0; i < 100; i++) {
		struct h2frame_block *block = hand_block("GET", "/v1/models", "Bearer eco_wrong");

		if (i == 0)
			h2frame_add_field(block, true, "x", value);
		memset(block->bytes + block->len, 0xbe, 7);
		block->len += 7;
		hand_put_block(block, 2 * i + 1, true);
	}
	hand_flush();
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(hand.heard.stream[i].status, 401);
	assert_true(hand_held_bytes() - idle <= 100 * 2 * KIB + 8 * KIB);
	assert_true(hand_held_bytes() - idle <= 20 * hand.sent_bytes);
	hand_finish();
}

/* Who has used up his share gets no streams, or no connection; the others' memory is not touched. */
static void
t67_a_connection_takes_no_more_than_its_share(void **state)
{
	struct town_plan plan = hand_plan();
	uint32_t answered = 0;
	uint64_t most = 0;

	(void)state;
	plan.h2.connection_bytes = 64 * KIB;
	hand_begin(&plan);
	hand_greet();
	hand_put_setting(H2FRAME_INITIAL_WINDOW_SIZE, 0);
	for (uint32_t i = 0; i < 100; i++) {
		hand_put_block(hand_block("GET", "/v1/models", "Bearer eco_wrong"), 2 * i + 1, true);
		hand_flush();
		if (hand_held_bytes() > most)
			most = hand_held_bytes();
	}
	/* Each block has a few bytes more than what was asked for. */
	assert_in_range(most, 48 * KIB, 72 * KIB);
	for (uint32_t i = 0; i < 100; i++)
		answered += hand.heard.stream[i].status == 401;
	assert_in_range(answered, 1, 60);
	hand_finish();
}

/* --- windows -------------------------------------------------------------------------------------------- */

/* A stream whose window is shut holds a bounded part of its answer; its backend waits, and nobody else does. */
static void
a_stream_that_does_not_read_waits_alone(void **state)
{
	uint32_t whole;

	(void)state;
	hand_begin_greeted();
	whole = hand_answer_with_stream();
	hand.opens_windows = false;
	/* The connection's window is not what is short here. */
	hand_put_word(H2FRAME_WINDOW_UPDATE, 0, 1 << 20);
	hand_put_chat(1);
	hand_go(10 * SEC);
	assert_int_equal(hand.heard.stream[0].bytes, 65535);
	assert_in_range(hand.town->worker->bodies.used, 1, BLOCKS_MAX);
	assert_int_equal(hand.town->worker->exchanges_used, 1);
	hand.opens_windows = true;
	hand_put_chat(3);
	hand_go(SEC);
	assert_int_equal(hand.heard.stream[1].bytes, whole);
	assert_true(hand.heard.stream[1].is_ended);
	assert_int_equal(hand.heard.stream[0].bytes, 65535);
	assert_in_range(hand.town->worker->bodies.used, 1, BLOCKS_MAX);
	hand_put_word(H2FRAME_WINDOW_UPDATE, 1, 65535);
	hand_go(SEC);
	assert_int_equal(hand.heard.stream[0].bytes, whole);
	assert_true(hand.heard.stream[0].is_ended && !hand.heard.stream[0].is_reset);
	assert_int_equal(hand.town->worker->bodies.used, 0);
	hand_finish();
}

/* A refusal, which costs a stranger nothing, waits for five seconds. */
static void
a_refusal_that_nobody_takes_has_five_seconds(void **state)
{
	(void)state;
	hand_begin_greeted();
	hand_put_setting(H2FRAME_INITIAL_WINDOW_SIZE, 0);
	hand_put_block(hand_block("GET", "/v1/models", "Bearer eco_wrong"), 1, true);
	hand_flush();
	hand_go(4 * SEC);
	assert_int_equal(hand.heard.stream[0].status, 401);
	assert_false(hand.heard.stream[0].is_reset);
	hand_go(2500 * MS);
	assert_true(hand.heard.stream[0].is_reset);
	assert_int_equal(hand.heard.stream[0].code, NGHTTP2_CANCEL);
	/* What is asked for with a key waits as any answer does. */
	hand_put_block(hand_block("GET", "/v1/models", HAND_KEY), 3, true);
	hand_go(50 * SEC);
	assert_int_equal(hand.heard.stream[1].status, 200);
	assert_false(hand.heard.stream[1].is_reset);
	hand_assert_goes_on();
	hand_finish();
}

/* 2 KiB each 50 s is slow; 1 byte each second is nothing. */
static void
a_shut_window_has_a_minute_and_who_is_slow_has_more(void **state)
{
	(void)state;
	hand_begin_greeted();
	hand_answer_with_stream();
	hand.opens_windows = false;
	hand_put_word(H2FRAME_WINDOW_UPDATE, 0, 1 << 20);
	hand_put_chat(1);
	hand_put_chat(3);
	hand_flush();
	for (int i = 0; i < 500; i++) {
		if (i % 50 == 0)
			hand_put_word(H2FRAME_WINDOW_UPDATE, 1, 2048);
		hand_put_word(H2FRAME_WINDOW_UPDATE, 3, 1);
		hand_go(SEC);
		if (i < 59 || i > 61)
			assert_int_equal(hand.heard.stream[1].is_reset, i > 61);
	}
	assert_int_equal(hand.heard.stream[1].code, NGHTTP2_CANCEL);
	assert_false(hand.heard.stream[0].is_reset);
	assert_int_equal(hand.heard.stream[0].bytes, 65535 + 10 * 2048);
	hand_assert_goes_on();
	hand_finish();
}

static void
our_windows_are_what_is_said(void **state)
{
	static const uint8_t nothing[H2FRAME_BYTES_MAX];

	(void)state;
	hand_begin_greeted();
	assert_int_equal(hand.heard.connection_window, 1048576 - 65535);
	/* A body that is never taken: nobody reads what was not asked for. */
	hand_put_chat_head(1);
	for (int i = 0; i < 4; i++)
		hand_put(H2FRAME_DATA, 0, 1, bytes_make(nothing, sizeof(nothing)));
	hand_flush();
	hand_finish();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(t67_a_million_references_hold_no_more_than_the_cap),
		cmocka_unit_test(t67_streams_without_windows_hold_little_each),
		cmocka_unit_test(t67_a_connection_takes_no_more_than_its_share),
		cmocka_unit_test(a_stream_that_does_not_read_waits_alone),
		cmocka_unit_test(a_refusal_that_nobody_takes_has_five_seconds),
		cmocka_unit_test(a_shut_window_has_a_minute_and_who_is_slow_has_more),
		cmocka_unit_test(our_windows_are_what_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
