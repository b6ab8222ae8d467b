/* Which entry stands for which id: never two, and no entry again before it has rested. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "entries.h"

static void
ids_get_fresh_entries_until_there_are_none(void **state)
{
	struct entries e;

	(void)state;
	assert_true(entries_init(&e, 3));
	assert_int_equal(entries_take(&e, 100, 1), 0);
	assert_int_equal(entries_take(&e, 200, 1), 1);
	entries_free(&e, 0, 1);
	assert_int_equal(entries_find(&e, 100), ENTRIES_NONE);
	assert_int_equal(entries_take(&e, 300, 1), 2);            /* not 0: it rests */
	assert_int_equal(entries_take(&e, 400, 1), ENTRIES_NONE); /* and still does */
	assert_int_equal(entries_take(&e, 400, ENTRIES_REST_NS), ENTRIES_NONE);
	assert_int_equal(entries_take(&e, 400, ENTRIES_REST_NS + 1), 0);
	assert_int_equal(entries_find(&e, 400), 0);
	assert_int_equal(entries_find(&e, 200), 1);
	assert_int_equal(e.count, 3);
	entries_fini(&e);
}

static void
what_is_read_back_keeps_its_entry(void **state)
{
	struct entries e;

	(void)state;
	assert_true(entries_init(&e, 4));
	assert_true(entries_restore(&e, 2, 77));
	assert_false(entries_restore(&e, 1, 77)); /* one id, one entry */
	entries_rest(&e, 1, 5);
	assert_int_equal(entries_find(&e, 77), 2);
	assert_int_equal(entries_take(&e, 78, 6), 3);
	assert_int_equal(entries_take(&e, 79, 6), ENTRIES_NONE);
	entries_fini(&e);
}

/* Against the plainest model: an array. */
static void
a_thousand_random_steps_agree_with_a_plain_array(void **state)
{
	uint64_t model[64] = { 0 };
	uint64_t seed = 1, now_ns = 1;
	struct entries e;

	(void)state;
	assert_true(entries_init(&e, 64));
	for (int step = 0; step < 20000; step++) {
		uint64_t id, entry;

		seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		id = (seed >> 33) % 100 + 1;
		now_ns += ENTRIES_REST_NS;
		entry = entries_find(&e, id);
		if (entry == ENTRIES_NONE) {
			for (int i = 0; i < 64; i++)
				assert_int_not_equal(model[i], id);
			entry = entries_take(&e, id, now_ns);
			if (entry == ENTRIES_NONE) {
				assert_int_equal(e.count, 64);
				continue;
			}
			assert_int_equal(model[entry], 0);
			model[entry] = id;
		} else {
			assert_int_equal(model[entry], id);
			entries_free(&e, (uint32_t)entry, now_ns);
			model[entry] = 0;
		}
	}
	entries_fini(&e);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_get_fresh_entries_until_there_are_none),
		cmocka_unit_test(what_is_read_back_keeps_its_entry),
		cmocka_unit_test(a_thousand_random_steps_agree_with_a_plain_array),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
