/* What an HTTP/2 client may send for nothing (threats T64 to T66, T69, T74): each budget, to its last frame. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "hand.h"

/* --- T64, T65: resets ----------------------------------------------------------------------- */

static void
t64_a_hundred_resets_are_allowed_and_no_backend_hears_of_them(void **state)
{
	(void)state;
	hand_begin_greeted();
	for (uint32_t i = 0; i < 100; i++) {
		hand_put_chat_head(2 * i + 1);
		hand_put_word(H2FRAME_RST_STREAM, 2 * i + 1, NGHTTP2_CANCEL);
	}
	hand_flush();
	hand_assert_goes_on();
	assert_int_equal(hand.town->worker->exchanges_used, 0);
	for (uint32_t i = 100; i < 110; i++) {
		hand_put_chat_head(2 * i + 1);
		hand_put_word(H2FRAME_RST_STREAM, 2 * i + 1, NGHTTP2_CANCEL);
	}
	hand_flush();
	hand_assert_ended(NGHTTP2_ENHANCE_YOUR_CALM);
	assert_int_equal(hand.backend.requests, 0);
	hand_finish();
}

/* With time the budget comes back, but a connection that is reset more than it is used has to make room. */
static void
t64_who_resets_most_of_his_streams_is_asked_to_leave(void **state)
{
	(void)state;
	hand_begin_greeted();
	for (uint32_t i = 0; i < 200; i++) {
		hand_put_get(2 * i + 1, "/healthz");
		if (i % 2 == 0) {
			hand_put_chat_head(2 * (i + 1) + 1);
			hand_put_word(H2FRAME_RST_STREAM, 2 * (i + 1) + 1, NGHTTP2_CANCEL);
			i++;
		}
		hand_go(200 * MS);
	}
	hand_assert_goes_on();
	for (uint32_t i = 201; i < 205; i++) {
		hand_put_chat_head(2 * i + 1);
		hand_put_word(H2FRAME_RST_STREAM, 2 * i + 1, NGHTTP2_CANCEL);
	}
	hand_flush();
	hand_assert_ended(NGHTTP2_NO_ERROR);
	hand_finish();
}

static void
overflow_window(uint32_t stream)
{
	hand_put_chat(stream);
	hand_put_word(H2FRAME_WINDOW_UPDATE, stream, 0x7fffffff);
}

static void
say_an_upper_case_name(uint32_t stream)
{
	struct h2frame_block *block = hand_block("POST", "/v1/chat/completions", HAND_KEY);

	h2frame_add_field(block, false, "X-Upper", "1");
	hand_put_block(block, stream, true);
}

static void
send_more_than_was_told(uint32_t stream)
{
	struct h2frame_block *block = hand_block("POST", "/v1/chat/completions", HAND_KEY);

	h2frame_add_field(block, false, "content-length", "1");
	hand_put_block(block, stream, false);
	hand_put(H2FRAME_DATA, H2FRAME_END_STREAM, stream, BYTES_LITERAL("{}"));
}

static void
end_before_the_length(uint32_t stream)
{
	struct h2frame_block *block = hand_block("POST", "/v1/chat/completions", HAND_KEY);

	h2frame_add_field(block, false, "content-length", "1000");
	hand_put_block(block, stream, true);
}

/* Whatever makes us reset a stream is paid for as if the client had reset it, and its backend is let go. */
static void
t65_resets_that_we_are_made_to_send_have_the_same_budget(void **state)
{
	static void (*const triggers[])(uint32_t stream) = {
		overflow_window, say_an_upper_case_name, send_more_than_was_told, end_before_the_length
	};

	(void)state;
	for (size_t k = 0; k < COUNT_OF(triggers); k++) {
		hand_begin_greeted();
		for (uint32_t i = 0; i < 100; i++) {
			triggers[k](2 * i + 1);
			if (i % 20 == 19)
				hand_flush();
		}
		hand_assert_goes_on();
		for (uint32_t i = 0; i < 100; i++)
			assert_true(hand.heard.stream[i].is_reset);
		assert_int_equal(hand.town->worker->exchanges_used, 0);
		assert_int_equal(hand.town->worker->upstreams_used, hand.town->worker->upstreams_idle.count);
		for (uint32_t i = 100; i < 110; i++)
			triggers[k](2 * i + 1);
		hand_flush();
		hand_assert_ended(NGHTTP2_ENHANCE_YOUR_CALM);
		hand_finish();
	}
}

/* --- T66: header blocks -------------------------------------------------------------------------- */

static void
t66_a_block_has_five_continuations_and_ten_seconds(void **state)
{
	struct h2frame_block *block;

	(void)state;
	for (int frames = 5; frames <= 6; frames++) {
		hand_begin_greeted();
		block = hand_block("GET", "/healthz", NULL);
		hand_put(H2FRAME_HEADERS, H2FRAME_END_STREAM, 1, bytes_make(block->bytes, block->len));
		for (int i = 0; i < frames; i++) {
			block->len = 0;
			h2frame_add_field(block, false, "x", "y");
			hand_put(H2FRAME_CONTINUATION, i == frames - 1 ? H2FRAME_END_HEADERS : 0, 1,
				 bytes_make(block->bytes, block->len));
		}
		hand_flush();
		if (frames == 6)
			hand_assert_ended(NGHTTP2_ENHANCE_YOUR_CALM);
		else
			assert_int_equal(hand.heard.stream[0].status, 200);
		hand_finish();
	}
	hand_begin_greeted();
	block = hand_block("GET", "/healthz", NULL);
	hand_put(H2FRAME_HEADERS, 0, 1, bytes_make(block->bytes, block->len));
	hand_flush();
	hand_go(9 * SEC);
	hand_assert_goes_on();
	hand_go(2 * SEC);
	hand_assert_ended(NGHTTP2_ENHANCE_YOUR_CALM);
	hand_finish();
}

/* --- T69: frames that cost nothing to send --------------------------------------------------------------- */

static void
put_settings(void)
{
	hand_put_setting(H2FRAME_INITIAL_WINDOW_SIZE, 65535);
}

static void
put_unknown(void)
{
	hand_put(77, 0, 9, BYTES_LITERAL("x"));
}

static void
put_priority(void)
{
	hand_put(H2FRAME_PRIORITY, 0, 1, BYTES_LITERAL("\0\0\0\0\20"));
}

static void
put_priority_update(void)
{
	hand_put(H2FRAME_PRIORITY_UPDATE, 0, 0, BYTES_LITERAL("\0\0\0\1u=1"));
}

static void
put_update(void)
{
	hand_put_word(H2FRAME_WINDOW_UPDATE, 0, 1);
}

static void
t69_frames_that_cost_nothing_have_budgets(void **state)
{
	static const struct {
		void (*put)(void);
		uint32_t allowed;
		uint32_t refilled; /* meanwhile, at most */
	} rows[] = {
		{ hand_put_ping, 998, 40 }, { put_settings, 998, 40 },	     { put_unknown, 998, 40 },
		{ put_priority, 100, 1 },   { put_priority_update, 100, 1 }, { put_update, 5, 1 },
	};

	(void)state;
	for (size_t k = 0; k < COUNT_OF(rows); k++) {
		hand_begin_greeted();
		for (uint32_t i = 0; i < rows[k].allowed; i++)
			rows[k].put();
		hand_flush();
		hand_assert_goes_on();
		if (rows[k].put == hand_put_ping)
			assert_int_equal(hand.heard.pongs, rows[k].allowed);
		for (uint32_t i = 0; i < rows[k].refilled; i++)
			rows[k].put();
		hand_flush();
		hand_assert_ended(NGHTTP2_ENHANCE_YOUR_CALM);
		hand_finish();
	}
}

/* --- T74: streams ------------------------------------------------------------------------------ */

static void
t74_the_stream_beyond_the_hundredth_is_refused(void **state)
{
	(void)state;
	for (int acknowledged = 0; acknowledged <= 1; acknowledged++) {
		hand_begin_greeted();
		if (acknowledged)
			hand_put(H2FRAME_SETTINGS, H2FRAME_ACK, 0, BYTES_NONE);
		hand_put_setting(H2FRAME_INITIAL_WINDOW_SIZE, 0);
		hand_put_block(hand_block("GET", "/v1/models", HAND_KEY), 1, true);
		for (uint32_t i = 1; i < 100; i++)
			hand_put_get(2 * i + 1, "/healthz");
		hand_flush();
		for (uint32_t i = 0; i < 100; i++)
			assert_true(hand.heard.stream[i].status == 200 && !hand.heard.stream[i].is_reset);
		hand_put_get(201, "/healthz");
		hand_flush();
		if (acknowledged) {
			hand_assert_ended(NGHTTP2_PROTOCOL_ERROR);
		} else {
			assert_true(hand.heard.stream[100].is_reset);
			assert_int_equal(hand.heard.stream[100].code, NGHTTP2_REFUSED_STREAM);
			hand_assert_goes_on();
		}
		hand_finish();
	}
}

/* Without a key there are 32, whatever was announced; a key opens the door, also one whose request is refused. */
static void
t74_a_stranger_has_32_streams(void **state)
{
	(void)state;
	hand_begin_greeted();
	hand_put_setting(H2FRAME_INITIAL_WINDOW_SIZE, 0);
	for (uint32_t i = 0; i < 33; i++)
		hand_put_get(2 * i + 1, i % 2 == 0 ? "/healthz" : "/v1/models");
	hand_flush();
	for (uint32_t i = 0; i < 32; i++)
		assert_int_equal(hand.heard.stream[i].status, i % 2 == 0 ? 200 : 401);
	assert_true(hand.heard.stream[32].is_reset && hand.heard.stream[32].status == 0);
	assert_int_equal(hand.heard.stream[32].code, NGHTTP2_REFUSED_STREAM);
	/* One ends, and the next brings a key. */
	hand_put_word(H2FRAME_RST_STREAM, 1, NGHTTP2_CANCEL);
	hand_put_block(hand_block("GET", "/v1/nothing", HAND_KEY), 67, true);
	hand_put_get(69, "/healthz");
	hand_flush();
	assert_int_equal(hand.heard.stream[33].status, 404);
	assert_int_equal(hand.heard.stream[34].status, 200);
	hand_assert_goes_on();
	hand_finish();
}

/* What a client is told, and its longest frame, are the configuration's. */
static void
settings_are_the_configurations(void **state)
{
	static uint8_t payload[20001];
	struct town_plan plan = hand_plan();

	(void)state;
	hand_begin_greeted();
	assert_int_equal(hand.heard.settings[NGHTTP2_SETTINGS_HEADER_TABLE_SIZE], 4096);
	assert_int_equal(hand.heard.settings[NGHTTP2_SETTINGS_MAX_FRAME_SIZE], 16384);
	assert_int_equal(hand.heard.settings[NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE], 64 * KIB);
	assert_int_equal(hand.heard.settings[NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS], 100);
	assert_int_equal(hand.heard.settings[NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE], 32 * KIB);
	assert_int_equal(hand.heard.connection_window, MIB - 65535);
	hand_finish();
	plan.h2.table_bytes = 1024;
	plan.h2.frame_bytes = 20000;
	plan.h2.stream_window_bytes = 100000;
	plan.h2.connection_window_bytes = 200000;
	plan.h2.streams = 7;
	hand_begin(&plan);
	hand_greet();
	hand_put(H2FRAME_SETTINGS, H2FRAME_ACK, 0, BYTES_NONE);
	hand_flush();
	assert_int_equal(hand.heard.settings[NGHTTP2_SETTINGS_HEADER_TABLE_SIZE], 1024);
	assert_int_equal(hand.heard.settings[NGHTTP2_SETTINGS_MAX_FRAME_SIZE], 20000);
	assert_int_equal(hand.heard.settings[NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE], 100000);
	assert_int_equal(hand.heard.settings[NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS], 7);
	assert_int_equal(hand.heard.connection_window, 200000 - 65535);
	hand_put(99, 0, 0, bytes_make(payload, 20000));
	hand_flush();
	hand_assert_goes_on();
	hand_put(99, 0, 0, bytes_make(payload, 20001));
	hand_flush();
	assert_true(hand.heard.goaway && hand.heard.goaway_code == NGHTTP2_FRAME_SIZE_ERROR);
	hand_finish();
}

/* Answers that a client does not take: as many as the configuration has. */
static void
acks_that_wait_are_few(void **state)
{
	struct town_plan plan = hand_plan();

	(void)state;
	plan.h2.acks = 20;
	hand_begin(&plan);
	hand_greet();
	for (int i = 0; i < 20; i++)
		hand_put_ping();
	hand_flush();
	hand_assert_goes_on();
	assert_int_equal(hand.heard.pongs, 20);
	for (int i = 0; i < 25; i++)
		hand_put_ping();
	hand_flush();
	assert_null(hand.client);
	hand_finish();
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(t64_a_hundred_resets_are_allowed_and_no_backend_hears_of_them),
		cmocka_unit_test(t64_who_resets_most_of_his_streams_is_asked_to_leave),
		cmocka_unit_test(t65_resets_that_we_are_made_to_send_have_the_same_budget),
		cmocka_unit_test(t66_a_block_has_five_continuations_and_ten_seconds),
		cmocka_unit_test(t69_frames_that_cost_nothing_have_budgets),
		cmocka_unit_test(t74_the_stream_beyond_the_hundredth_is_refused),
		cmocka_unit_test(t74_a_stranger_has_32_streams),
		cmocka_unit_test(settings_are_the_configurations),
		cmocka_unit_test(acks_that_wait_are_few),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
