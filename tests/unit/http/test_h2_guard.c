/* How much of each frame a connection may send (tests/README.md T64-T69), whole and cut at every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "http/h2_guard.h"

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };

#define END_STREAM 0x1
#define END_HEADERS 0x4
#define PADDED 0x8
#define RESETS 100

/* As of an empty file. */
static struct h2_guard_limits limits = {
	.resets = RESETS,
	.resets_percent = 50,
	.resets_after = 100,
	.continuations = 5,
	.empty_frames = 1,
	.controls = 1000,
	.priorities = 100,
	.updates = 10,
};
static struct h2_guard guard;
static uint64_t now_ns;

static void
begin(void)
{
	h2_guard_init(&guard, &limits);
	now_ns = NSEC_PER_SEC;
	assert_int_equal(h2_guard_feed(&guard, BYTES_LITERAL("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), now_ns), ERR_OK);
	assert_false(guard.preface_done);
}

/* A frame whose payload is this octet, over and over. */
static enum err
frame(uint32_t len, uint8_t type, uint8_t flags, uint32_t stream, uint8_t octet)
{
	static uint8_t bytes[H2_FRAME_HEAD_BYTES + 65536];

	bytes[0] = (uint8_t)(len >> 16);
	bytes[1] = (uint8_t)(len >> 8);
	bytes[2] = (uint8_t)len;
	bytes[3] = type;
	bytes[4] = flags;
	bytes[5] = (uint8_t)(stream >> 24);
	bytes[6] = (uint8_t)(stream >> 16);
	bytes[7] = (uint8_t)(stream >> 8);
	bytes[8] = (uint8_t)stream;
	memset(bytes + H2_FRAME_HEAD_BYTES, octet, len);
	return h2_guard_feed(&guard, bytes_make(bytes, H2_FRAME_HEAD_BYTES + len), now_ns);
}

/* How many of the frame are taken before one is too many. */
static uint32_t
taken(uint32_t len, uint8_t type, uint8_t flags, uint8_t octet, enum err *verdict)
{
	uint32_t count = 0;

	while (count < 100000) {
		*verdict = frame(len, type, flags, 1, octet);
		if (*verdict != ERR_OK) {
			guard.payload_left = 0; /* of the frame that was one too many */
			break;
		}
		count++;
	}
	return count;
}

static void
resets_have_a_budget_that_time_refills(void **state)
{
	enum err verdict;

	(void)state;
	begin();
	assert_int_equal(taken(4, RST_STREAM, 0, 0, &verdict), RESETS);
	assert_int_equal(verdict, ERR_H2_RESETS);
	now_ns += NSEC_PER_SEC; /* a tenth of ten seconds */
	assert_int_equal(taken(4, RST_STREAM, 0, 0, &verdict), RESETS / 10);
	/* At the rate that the budget has they may go on forever. */
	begin();
	for (int i = 0; i < 1000; i++) {
		now_ns += 100 * NSEC_PER_MSEC;
		assert_int_equal(frame(4, RST_STREAM, 0, 1, 0), ERR_OK);
	}
}

static void
resets_that_we_are_made_to_send_count_as_well(void **state)
{
	(void)state;
	begin();
	for (int i = 0; i < RESETS / 2; i++) {
		assert_int_equal(frame(4, RST_STREAM, 0, 1, 0), ERR_OK);
		assert_int_equal(h2_guard_caused_reset(&guard, now_ns), ERR_OK);
	}
	assert_int_equal(h2_guard_caused_reset(&guard, now_ns), ERR_H2_RESETS);
	assert_int_equal(frame(4, RST_STREAM, 0, 1, 0), ERR_H2_RESETS);
}

static void
a_header_block_has_few_frames_and_bytes(void **state)
{
	(void)state;
	begin();
	assert_int_equal(frame(10, HEADERS, 0, 1, 0x82), ERR_OK);
	assert_true(guard.in_block);
	for (uint32_t i = 0; i < limits.continuations; i++)
		assert_int_equal(frame(10, CONTINUATION, 0, 1, 0x82), ERR_OK);
	assert_int_equal(frame(10, CONTINUATION, 0, 1, 0x82), ERR_H2_BLOCK_TOO_LARGE);
	begin();
	for (uint32_t i = 0; i < 3; i++) { /* each block anew */
		assert_int_equal(frame(10, HEADERS, 0, 1 + 2 * i, 0x82), ERR_OK);
		for (uint32_t k = 0; k < limits.continuations - 1; k++)
			assert_int_equal(frame(10, CONTINUATION, 0, 1, 0x82), ERR_OK);
		assert_int_equal(frame(10, CONTINUATION, END_HEADERS, 1, 0x82), ERR_OK);
		assert_false(guard.in_block);
	}
	begin();
	assert_int_equal(frame(16384, HEADERS, 0, 1, 0x82), ERR_OK);
	assert_int_equal(frame(16384, CONTINUATION, 0, 1, 0x82), ERR_OK);
	assert_int_equal(frame(8192, CONTINUATION, 0, 1, 0x82), ERR_OK);
	assert_int_equal(frame(1, CONTINUATION, END_HEADERS, 1, 0x82), ERR_H2_BLOCK_TOO_LARGE);
}

static void
empty_frames_do_not_follow_each_other(void **state)
{
	enum err verdict;

	(void)state;
	begin();
	assert_int_equal(taken(0, DATA, 0, 0, &verdict), limits.empty_frames);
	assert_int_equal(verdict, ERR_H2_FLOOD);
	begin();
	assert_int_equal(taken(256, DATA, PADDED, 255, &verdict), limits.empty_frames);
	assert_int_equal(verdict, ERR_H2_FLOOD);
	begin();
	assert_int_equal(taken(1, DATA, PADDED, 0, &verdict), limits.empty_frames);
	begin();
	assert_int_equal(frame(0, HEADERS, 0, 1, 0), ERR_OK);
	assert_int_equal(frame(0, CONTINUATION, 0, 1, 0), ERR_H2_FLOOD);
	/* With a payload between them, or with an end, they are as good as any. */
	begin();
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(frame(0, DATA, 0, 1, 0), ERR_OK);
		assert_int_equal(frame(2, DATA, PADDED, 0, 0), ERR_OK);
		assert_int_equal(frame(0, DATA, END_STREAM, 1, 0), ERR_OK);
	}
}

static void
control_frames_have_a_budget(void **state)
{
	static const uint8_t types[] = { SETTINGS, PUSH_PROMISE, PING, GOAWAY, 10, 77, 255 };
	enum err verdict;

	(void)state;
	for (size_t i = 0; i < sizeof(types); i++) {
		begin();
		assert_int_equal(taken(8, types[i], 0, 0, &verdict), limits.controls);
		assert_int_equal(verdict, ERR_H2_FLOOD);
		now_ns += NSEC_PER_SEC;
		assert_int_equal(taken(8, types[i], 0, 0, &verdict), limits.controls / 10);
	}
	begin();
	for (uint32_t i = 0; i < limits.controls; i++)
		assert_int_equal(h2_guard_refused_stream(&guard, now_ns), ERR_OK);
	assert_int_equal(h2_guard_refused_stream(&guard, now_ns), ERR_H2_FLOOD);
}

static void
frames_of_streams_that_are_gone_have_a_budget(void **state)
{
	enum err verdict;

	(void)state;
	begin();
	assert_int_equal(frame(1, HEADERS, END_HEADERS, 1, 0x82), ERR_OK);
	/* The stream itself, its trailers, and then as many as control frames. */
	assert_int_equal(taken(1, HEADERS, END_HEADERS | END_STREAM, 0x82, &verdict), 1 + limits.controls);
	assert_int_equal(verdict, ERR_H2_FLOOD);
	begin();
	assert_int_equal(frame(1, HEADERS, END_HEADERS, 1, 0x82), ERR_OK);
	assert_int_equal(taken(0, DATA, END_STREAM, 0, &verdict), 1 + limits.controls);
	assert_int_equal(verdict, ERR_H2_FLOOD);
}

static void
priorities_are_counted_by_stream(void **state)
{
	enum err verdict;

	(void)state;
	begin();
	assert_int_equal(taken(5, PRIORITY, 0, 0, &verdict), limits.priorities);
	assert_int_equal(verdict, ERR_H2_FLOOD);
	begin();
	assert_int_equal(frame(5, HEADERS, END_HEADERS, 1, 0x82), ERR_OK);
	assert_int_equal(taken(5, 16, 0, 0, &verdict), 2 * limits.priorities);
}

static void
window_updates_follow_what_was_sent(void **state)
{
	enum err verdict;

	(void)state;
	begin();
	assert_int_equal(taken(4, WINDOW_UPDATE, 0, 0, &verdict), 5);
	assert_int_equal(verdict, ERR_H2_FLOOD);
	begin();
	assert_int_equal(frame(5, HEADERS, END_HEADERS, 1, 0x82), ERR_OK);
	for (int i = 0; i < 7; i++)
		h2_guard_data_sent(&guard);
	assert_int_equal(taken(4, WINDOW_UPDATE, 0, 0, &verdict), 5 + 2 + 7 * 10);
}

static void
who_resets_most_streams_is_wasteful(void **state)
{
	(void)state;
	begin();
	for (uint32_t i = 0; i < limits.resets_after; i++) {
		now_ns += NSEC_PER_SEC;
		assert_int_equal(frame(5, HEADERS, END_HEADERS, 1 + 2 * i, 0x82), ERR_OK);
		assert_int_equal(frame(4, RST_STREAM, 0, 1 + 2 * i, 0), ERR_OK);
		assert_false(h2_guard_is_wasteful(&guard));
	}
	assert_int_equal(frame(5, HEADERS, END_HEADERS, 1 + 2 * limits.resets_after, 0x82), ERR_OK);
	assert_true(h2_guard_is_wasteful(&guard));
	for (uint32_t i = 0; i < 2 * limits.resets_after; i++)
		assert_int_equal(frame(5, HEADERS, END_HEADERS, 1001 + 2 * i, 0x82), ERR_OK);
	assert_false(h2_guard_is_wasteful(&guard));
}

/* Numbers of no empty file. */
static void
each_budget_is_what_its_limit_says(void **state)
{
	static const struct h2_guard_limits other = {
		.resets = 7,
		.resets_percent = 20,
		.resets_after = 10,
		.continuations = 2,
		.empty_frames = 4,
		.controls = 30,
		.priorities = 3,
		.updates = 6,
	};
	struct h2_guard_limits usual = limits;
	enum err verdict;

	(void)state;
	limits = other;
	begin();
	assert_int_equal(taken(4, RST_STREAM, 0, 0, &verdict), 7);
	begin();
	assert_int_equal(taken(8, PING, 0, 0, &verdict), 30);
	begin();
	assert_int_equal(taken(0, DATA, 0, 0, &verdict), 4);
	begin();
	assert_int_equal(taken(5, PRIORITY, 0, 0, &verdict), 3);
	begin();
	h2_guard_data_sent(&guard);
	assert_int_equal(taken(4, WINDOW_UPDATE, 0, 0, &verdict), H2_UPDATES_FREE + 6);
	begin();
	assert_int_equal(frame(10, HEADERS, 0, 1, 0x82), ERR_OK);
	assert_int_equal(taken(10, CONTINUATION, 0, 0x82, &verdict), 2);
	assert_int_equal(verdict, ERR_H2_BLOCK_TOO_LARGE);
	begin();
	for (uint32_t i = 0; i < 15; i++)
		assert_int_equal(frame(5, HEADERS, END_HEADERS, 1 + 2 * i, 0x82), ERR_OK);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(frame(4, RST_STREAM, 0, 1, 0), ERR_OK);
	assert_false(h2_guard_is_wasteful(&guard));
	assert_int_equal(frame(4, RST_STREAM, 0, 1, 0), ERR_OK);
	assert_true(h2_guard_is_wasteful(&guard));
	limits = usual;
}

/* The same frames in pieces of every size say the same. */
static void
the_cut_of_the_bytes_does_not_matter(void **state)
{
	static const uint8_t bytes[] = {
		'P', 'R', 'I', ' ', '*', ' ', 'H', 'T', 'T', 'P', '/', '2', '.', '0', '\r', '\n', '\r', '\n',
		'S', 'M', '\r', '\n', '\r', '\n',
		0, 0, 0, SETTINGS, 0, 0, 0, 0, 0,
		0, 0, 3, HEADERS, 0, 0, 0, 0, 1, 1, 2, 3,
		0, 0, 2, CONTINUATION, END_HEADERS, 0, 0, 0, 1, 4, 5,
		0, 0, 3, DATA, PADDED, 0, 0, 0, 1, 2, 0, 0,
		0, 0, 3, DATA, PADDED, 0, 0, 0, 1, 1, 7, 0,
		0, 0, 0, DATA, 0, 0, 0, 0, 1,
		0, 0, 4, RST_STREAM, 0, 0, 0, 0, 1, 0, 0, 0, 8,
	};

	(void)state;
	for (size_t piece = 1; piece <= sizeof(bytes); piece++) {
		struct bytes rest = bytes_make(bytes, sizeof(bytes));

		h2_guard_init(&guard, &limits);
		while (rest.len > 0) {
			size_t n = rest.len < piece ? rest.len : piece;

			assert_int_equal(h2_guard_feed(&guard, bytes_make(rest.ptr, n), 1), ERR_OK);
			bytes_advance(&rest, n);
		}
		assert_int_equal(guard.streams, 1);
		assert_int_equal(guard.resets, 1);
		assert_int_equal(guard.continuations, 1);
		assert_int_equal(guard.block_bytes, 5);
		assert_int_equal(guard.empty_frames, 1);
		assert_int_equal(guard.payload_left, 0);
		assert_int_equal(guard.head_bytes, 0);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(resets_have_a_budget_that_time_refills),
		cmocka_unit_test(resets_that_we_are_made_to_send_count_as_well),
		cmocka_unit_test(a_header_block_has_few_frames_and_bytes),
		cmocka_unit_test(empty_frames_do_not_follow_each_other),
		cmocka_unit_test(control_frames_have_a_budget),
		cmocka_unit_test(frames_of_streams_that_are_gone_have_a_budget),
		cmocka_unit_test(priorities_are_counted_by_stream),
		cmocka_unit_test(window_updates_follow_what_was_sent),
		cmocka_unit_test(who_resets_most_streams_is_wasteful),
		cmocka_unit_test(each_budget_is_what_its_limit_says),
		cmocka_unit_test(the_cut_of_the_bytes_does_not_matter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
