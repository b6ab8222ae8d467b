/* Bodies in blocks: what goes in comes out, however it was cut, and every block goes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/body.h"

#define BLOCKS 16

static uint8_t blocks[BLOCKS * BODY_BLOCK_BYTES];
static uint32_t next[BLOCKS];
static uint8_t content[BLOCKS * BODY_BLOCK_BYTES];

static struct body_store
store_new(void)
{
	struct body_store store;

	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (uint8_t)(i * 31 + i / 251);
	body_store_init(&store, blocks, next, BLOCKS);
	return store;
}

static void
what_was_appended_in_pieces_is_read_in_runs(void **state)
{
	static const size_t pieces[] = { 1, 7, 1000, BODY_BLOCK_BYTES - 1, BODY_BLOCK_BYTES,
					 BODY_BLOCK_BYTES + 1, 3 * BODY_BLOCK_BYTES };

	(void)state;
	for (size_t p = 0; p < sizeof(pieces) / sizeof(pieces[0]); p++) {
		struct body_store store = store_new();
		struct body body = BODY_OF_ANSWER(NULL);
		struct body_reader reader;
		size_t at = 0;

		while (at < 3 * BODY_BLOCK_BYTES) {
			size_t n = pieces[p] < 3 * BODY_BLOCK_BYTES - at ? pieces[p] :
									   3 * BODY_BLOCK_BYTES - at;

			assert_int_equal(body_append(&store, &body, bytes_make(content + at, n)), ERR_OK);
			at += n;
		}
		assert_int_equal(body.bytes, at);
		assert_int_equal(store.used, 3);
		body_rewind(&body, &reader);
		for (at = 0; at < body.bytes;) {
			struct bytes run = body_read(&store, &body, &reader, 777);

			assert_true(run.len > 0 && run.len <= 777);
			assert_memory_equal(run.ptr, content + at, run.len);
			at += run.len;
		}
		assert_int_equal(body_read(&store, &body, &reader, 1).len, 0);
		body_clear(&store, &body);
		assert_int_equal(store.used, 0);
	}
}

static void
a_piece_that_does_not_fit_is_refused_whole(void **state)
{
	struct body_store store = store_new();
	struct body body = BODY_OF_ANSWER(NULL);
	struct body other = BODY_OF_ANSWER(NULL);

	(void)state;
	assert_int_equal(body_append(&store, &body, bytes_make(content, (BLOCKS - 1) * BODY_BLOCK_BYTES - 5)),
			 ERR_OK);
	assert_int_equal(body_append(&store, &other, bytes_make(content, BODY_BLOCK_BYTES + 1)),
			 ERR_BODY_STORE_FULL);
	assert_int_equal(other.bytes, 0);
	assert_int_equal(store.used, BLOCKS - 1);
	assert_int_equal(body_append(&store, &body, bytes_make(content, BODY_BLOCK_BYTES + 5)), ERR_OK);
	assert_int_equal(store.used, BLOCKS);
	assert_int_equal(body_append(&store, &body, bytes_make(content, 1)), ERR_BODY_STORE_FULL);
	body_clear(&store, &body);
	assert_int_equal(store.used, 0);
	assert_int_equal(store.used_max, BLOCKS);
}

/* A body that passes through: appended, read and dropped by turns, in a store that could not hold it. */
static void
a_body_longer_than_the_store_passes_through(void **state)
{
	struct body_store store = store_new();
	struct body body = BODY_OF_ANSWER(NULL);
	struct body_reader reader;
	size_t at = 0, read = 0;

	(void)state;
	body_rewind(&body, &reader);
	assert_int_equal(body_read(&store, &body, &reader, 1).len, 0);
	body_drop_read(&store, &body, &reader);
	for (int round = 0; round < 160; round++) {
		size_t n = (size_t)(round * 997) % (2 * BODY_BLOCK_BYTES);
		struct bytes run;

		if (round % 7 == 0)
			n = BODY_BLOCK_BYTES - at % BODY_BLOCK_BYTES; /* to the very end of a block */
		if (at % sizeof(content) + n > sizeof(content))
			n = sizeof(content) - at % sizeof(content);
		assert_int_equal(body_append(&store, &body, bytes_make(content + at % sizeof(content), n)),
				 ERR_OK);
		at += n;
		while ((run = body_read(&store, &body, &reader, 5000)).len > 0) {
			for (size_t i = 0; i < run.len; i++)
				assert_int_equal(run.ptr[i], content[(read + i) % sizeof(content)]);
			read += run.len;
			body_drop_read(&store, &body, &reader);
		}
		assert_int_equal(read, at);
		assert_true(store.used <= 1);
	}
	assert_true(at > 2 * sizeof(content));
	body_clear(&store, &body);
	assert_int_equal(store.used, 0);
}

static enum err
append_blocks(struct body_store *store, struct body *body, uint32_t count)
{
	return body_append(store, body, bytes_make(content, (size_t)count * BODY_BLOCK_BYTES));
}

/* Of sixteen blocks requests leave four to answers, whoever sends them. */
static void
requests_leave_a_quarter_to_answers(void **state)
{
	struct body_store store = store_new();
	struct body request = BODY_OF_REQUEST(NULL);
	struct body answer = BODY_OF_ANSWER(NULL);

	(void)state;
	assert_int_equal(append_blocks(&store, &request, BLOCKS - BLOCKS / 4), ERR_OK);
	assert_int_equal(body_append(&store, &request, bytes_make(content, 1)), ERR_BODY_STORE_FULL);
	assert_int_equal(body_may_append(&store, &answer, BLOCKS / 4 * BODY_BLOCK_BYTES), ERR_OK);
	assert_int_equal(body_may_append(&store, &answer, BLOCKS / 4 * BODY_BLOCK_BYTES + 1),
			 ERR_BODY_STORE_FULL);
	assert_int_equal(append_blocks(&store, &answer, BLOCKS / 4), ERR_OK);
	assert_int_equal(store.used, BLOCKS);
	body_clear(&store, &request);
	body_clear(&store, &answer);
	assert_int_equal(store.used, 0);
}

/* Six of them are an account's, one of these for its answers; what it gives back, in whatever way, it has
 * again. */
static void
an_account_has_half_of_what_requests_have(void **state)
{
	struct body_store store = store_new();
	uint32_t share = 0, other_share = 0;
	struct body first = BODY_OF_REQUEST(&share);
	struct body second = BODY_OF_REQUEST(&share);
	struct body answer = BODY_OF_ANSWER(&share);
	struct body other = BODY_OF_REQUEST(&other_share);
	struct body_reader reader;

	(void)state;
	assert_int_equal(append_blocks(&store, &first, 4), ERR_OK);
	assert_int_equal(append_blocks(&store, &second, 3), ERR_BODY_SHARE_FULL);
	assert_int_equal(append_blocks(&store, &second, 1), ERR_OK);
	assert_int_equal(append_blocks(&store, &second, 1), ERR_BODY_SHARE_FULL);
	assert_int_equal(append_blocks(&store, &answer, 2), ERR_BODY_SHARE_FULL);
	assert_int_equal(append_blocks(&store, &answer, 1), ERR_OK);
	assert_int_equal(share, 6);
	assert_int_equal(append_blocks(&store, &other, 5), ERR_OK);
	body_clear(&store, &answer);
	assert_int_equal(share, 5);
	body_rewind(&first, &reader);
	while (body_read(&store, &first, &reader, UINT64_MAX).len > 0)
		;
	body_drop_read(&store, &first, &reader);
	assert_int_equal(share, 2);
	body_forget(&store, &first);
	assert_int_equal(share, 1);
	assert_int_equal(first.bytes, 4 * BODY_BLOCK_BYTES);
	body_clear(&store, &first);
	assert_int_equal(first.bytes, 0);
	assert_int_equal(append_blocks(&store, &second, 4), ERR_OK);
	body_clear(&store, &second);
	body_clear(&store, &other);
	assert_int_equal(share + other_share + store.used, 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_appended_in_pieces_is_read_in_runs),
		cmocka_unit_test(a_piece_that_does_not_fit_is_refused_whole),
		cmocka_unit_test(a_body_longer_than_the_store_passes_through),
		cmocka_unit_test(requests_leave_a_quarter_to_answers),
		cmocka_unit_test(an_account_has_half_of_what_requests_have),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
