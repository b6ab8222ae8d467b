/* Objects are lent once, found by live handles only, and never lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/pool.h"

struct object {
	uint64_t word[5];
};

static void *memory;
static struct pool pool;

static void
make(uint32_t count)
{
	memory = aligned_alloc(64, pool_bytes(count, sizeof(struct object)) + 64);
	assert_non_null(memory);
	pool_init(&pool, memory, count, sizeof(struct object));
}

static void
lends_each_object_once_and_then_none(void **state)
{
	struct object *a, *b, *c;

	(void)state;
	make(3);
	a = pool_get(&pool);
	b = pool_get(&pool);
	c = pool_get(&pool);
	assert_ptr_not_equal(a, b);
	assert_ptr_not_equal(b, c);
	assert_int_equal(pool.free, 0);
	assert_null(pool_get(&pool));
	pool_put(&pool, b);
	assert_ptr_equal(pool_get(&pool), b);
	assert_null(pool_get(&pool));
	free(memory);
}

static void
objects_that_nobody_had_are_not_touched(void **state)
{
	struct object *a, *b;

	(void)state;
	memory = aligned_alloc(64, pool_bytes(1000, sizeof(struct object)) + 64);
	assert_non_null(memory);
	memset(memory, 0xa5, pool_bytes(1000, sizeof(struct object)));
	pool_init(&pool, memory, 1000, sizeof(struct object));
	a = pool_get(&pool);
	b = pool_get(&pool);
	pool_put(&pool, a);
	pool_put(&pool, b);
	assert_ptr_equal(pool_get(&pool), b);
	assert_ptr_equal(pool_get(&pool), a);
	for (uint32_t i = 2; i < 1000; i++)
		assert_int_equal(*(uint8_t *)pool_at(&pool, i), 0xa5);
	free(memory);
}

static void
an_object_comes_zeroed(void **state)
{
	struct object *a;

	(void)state;
	make(1);
	a = pool_get(&pool);
	a->word[4] = 99;
	pool_put(&pool, a);
	a = pool_get(&pool);
	assert_int_equal(a->word[4], 0);
	free(memory);
}

static void
a_stale_handle_finds_nothing(void **state)
{
	struct object *a;
	uint64_t old, now;

	(void)state;
	make(2);
	a = pool_get(&pool);
	old = pool_handle(&pool, a);
	assert_int_not_equal(old, 0);
	assert_ptr_equal(pool_find(&pool, old), a);
	pool_put(&pool, a);
	assert_null(pool_find(&pool, old));
	a = pool_get(&pool); /* the same place, another generation */
	now = pool_handle(&pool, a);
	assert_int_not_equal(old, now);
	assert_null(pool_find(&pool, old));
	assert_ptr_equal(pool_find(&pool, now), a);
	assert_null(pool_find(&pool, 0));
	assert_null(pool_find(&pool, now + 7)); /* beyond the last index */
	free(memory);
}

static void
an_empty_pool_is_possible(void **state)
{
	(void)state;
	make(0);
	assert_null(pool_get(&pool));
	assert_null(pool_find(&pool, UINT64_C(1) << 32));
	free(memory);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(lends_each_object_once_and_then_none),
		cmocka_unit_test(objects_that_nobody_had_are_not_touched),
		cmocka_unit_test(an_object_comes_zeroed),
		cmocka_unit_test(a_stale_handle_finds_nothing),
		cmocka_unit_test(an_empty_pool_is_possible),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
