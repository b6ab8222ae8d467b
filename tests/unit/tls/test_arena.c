/* The bounded heap: zeroed blocks, merging, exhaustion, and a long random run against its own
 * books. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "tls/arena.h"

#define ARENA_BYTES (256 * KIB)

static bool
is_zero(const uint8_t *ptr, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (ptr[i] != 0)
			return false;
	return true;
}

static void
blocks_are_zeroed_aligned_and_apart(void **state)
{
	struct arena *arena = arena_new(ARENA_BYTES);
	uint8_t *a = arena_alloc(arena, 1);
	uint8_t *b = arena_alloc(arena, 100);

	(void)state;
	assert_non_null(a);
	assert_non_null(b);
	assert_int_equal((uintptr_t)a % 16, 0);
	assert_int_equal((uintptr_t)b % 16, 0);
	assert_true(is_zero(b, 100));
	memset(a, 0xaa, 1);
	memset(b, 0xbb, 100);
	assert_int_equal(a[0], 0xaa);
	arena_release(arena, b);
	b = arena_alloc(arena, 100);
	assert_true(is_zero(b, 100)); /* nobody reads what another block held */
	assert_int_equal(arena_use(arena).blocks, 2);
	arena_free(arena);
}

static void
exhaustion_is_null_and_counted_and_ends_when_blocks_return(void **state)
{
	struct arena *arena = arena_new(ARENA_BYTES);
	void *blocks[64];
	size_t count = 0;

	(void)state;
	while (count < 64 && (blocks[count] = arena_alloc(arena, 16 * KIB)) != NULL)
		count++;
	assert_in_range(count, 12, 15);
	assert_int_equal(arena_use(arena).refusals, 1);
	assert_null(arena_alloc(arena, SIZE_MAX));
	assert_null(arena_alloc(arena, SIZE_MAX - 7));
	assert_int_equal(arena_use(arena).refusals, 3);
	arena_release(arena, blocks[3]);
	blocks[3] = arena_alloc(arena, 16 * KIB);
	assert_non_null(blocks[3]);
	for (size_t i = 0; i < count; i++)
		arena_release(arena, blocks[i]);
	assert_int_equal(arena_use(arena).blocks, 0);
	assert_int_equal(arena_use(arena).bytes, 0);
	arena_free(arena);
}

/* A class of sizes has blocks that are too small, too; the one that came back is not. */
static void
what_was_freed_is_found_by_one_of_its_size(void **state)
{
	struct arena *arena = arena_new(ARENA_BYTES);
	void *blocks[64];
	size_t count = 0;

	(void)state;
	while (count < 64 && (blocks[count] = arena_alloc(arena, 16 * KIB + 328)) != NULL)
		count++;
	assert_in_range(count, 12, 15);
	arena_release(arena, blocks[3]);
	assert_non_null(arena_alloc(arena, 16 * KIB + 328));
	assert_null(arena_alloc(arena, 16 * KIB + 328));
	arena_free(arena);
}

static void
neighbours_merge_in_any_order_of_release(void **state)
{
	static const int orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
					  { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
	struct arena *arena = arena_new(ARENA_BYTES);

	(void)state;
	for (int o = 0; o < 6; o++) {
		void *blocks[3];
		void *whole;

		for (int i = 0; i < 3; i++)
			blocks[i] = arena_alloc(arena, 70 * KIB);
		assert_non_null(blocks[2]);
		assert_null(arena_alloc(arena, 70 * KIB));
		for (int i = 0; i < 3; i++)
			arena_release(arena, blocks[orders[o][i]]);
		whole = arena_alloc(arena, 230 * KIB); /* fits only into one piece */
		assert_non_null(whole);
		assert_true(is_zero(whole, 230 * KIB)); /* headers that were in between, too */
		arena_release(arena, whole);
	}
	arena_free(arena);
}

#define SLOTS 300
#define TURNS 200000

static uint32_t
next_random(uint32_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

static void
a_long_random_run_keeps_every_block_whole(void **state)
{
	static struct {
		uint8_t *ptr;
		size_t len;
		uint8_t mark;
	} slots[SLOTS];
	struct arena *arena = arena_new(ARENA_BYTES);
	uint32_t seed = 12345;
	size_t live = 0;

	(void)state;
	for (int turn = 0; turn < TURNS; turn++) {
		size_t i = next_random(&seed) % SLOTS;

		if (slots[i].ptr != NULL) {
			for (size_t at = 0; at < slots[i].len; at++)
				assert_int_equal(slots[i].ptr[at], slots[i].mark);
			arena_release(arena, slots[i].ptr);
			slots[i].ptr = NULL;
			live--;
			continue;
		}
		slots[i].len = 1 + next_random(&seed) % (next_random(&seed) % 8 == 0 ? 20000 : 600);
		slots[i].mark = (uint8_t)(1 + turn % 255);
		slots[i].ptr = arena_alloc(arena, slots[i].len);
		if (slots[i].ptr == NULL)
			continue;
		assert_true(is_zero(slots[i].ptr, slots[i].len));
		memset(slots[i].ptr, slots[i].mark, slots[i].len);
		live++;
		assert_int_equal(arena_use(arena).blocks, live);
	}
	assert_true(arena_use(arena).refusals > 0);
	for (size_t i = 0; i < SLOTS; i++)
		arena_release(arena, slots[i].ptr);
	assert_int_equal(arena_use(arena).bytes, 0);
	assert_non_null(arena_alloc(arena, 230 * KIB));
	arena_free(arena);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_are_zeroed_aligned_and_apart),
		cmocka_unit_test(exhaustion_is_null_and_counted_and_ends_when_blocks_return),
		cmocka_unit_test(what_was_freed_is_found_by_one_of_its_size),
		cmocka_unit_test(neighbours_merge_in_any_order_of_release),
		cmocka_unit_test(a_long_random_run_keeps_every_block_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
