/* Chains are cut, copied and freed without losing or doubling a byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "pkt/pkt.h"

static struct pkt *
chain_of(struct pkt_pool *pool, const char *first, const char *second)
{
	struct pkt *head = pkt_alloc(pool);
	struct pkt *tail = pkt_alloc(pool);

	memcpy(pkt_append(head, (uint32_t)strlen(first)), first, strlen(first));
	memcpy(pkt_append(tail, (uint32_t)strlen(second)), second, strlen(second));
	pkt_chain(head, tail);
	return head;
}

static void
a_chain_is_dropped_from_the_front_across_its_segments(void **state)
{
	struct pkt_pool pool;
	struct pkt *p;
	char text[8] = { 0 };

	(void)state;
	pkt_pool_init(&pool, 4);
	p = chain_of(&pool, "abc", "defg");
	pkt_meta(p)->seq = 77;
	assert_int_equal(pkt_total(p), 7);
	pkt_copy_out(p, 1, text, 5);
	assert_string_equal(text, "bcdef");
	p = pkt_drop_front(p, 4);
	assert_int_equal(pkt_total(p), 3);
	assert_int_equal(pkt_meta(p)->seq, 77);
	assert_memory_equal(pkt_data(p), "efg", 3);
	assert_null(pkt_drop_front(p, 3));
	assert_int_equal(pool.used, 0);
}

static void
trimming_frees_what_becomes_empty_but_never_the_head(void **state)
{
	struct pkt_pool pool;
	struct pkt *p;

	(void)state;
	pkt_pool_init(&pool, 4);
	p = chain_of(&pool, "abc", "defg");
	pkt_trim(p, 5);
	assert_int_equal(pkt_segments(p), 1);
	assert_int_equal(pkt_total(p), 2);
	pkt_trim(p, 2);
	assert_int_equal(pkt_total(p), 0);
	assert_int_equal(pool.used, 1);
	pkt_free(p);
	assert_int_equal(pool.used, 0);
}

static void
an_attached_segment_outlives_what_it_shows(void **state)
{
	struct pkt_pool pool, bare;
	struct pkt *p, *view;

	(void)state;
	pkt_pool_init(&pool, 1);
	pkt_pool_init(&bare, 1);
	p = pkt_alloc(&pool);
	memcpy(pkt_append(p, 6), "abcdef", 6);
	view = pkt_attach(&bare, p, 2, 3);
	assert_int_equal(pkt_refs(p), 2);
	assert_null(pkt_attach(&bare, p, 0, 1));
	pkt_free(p);
	assert_int_equal(pool.used, 1);
	assert_null(pkt_alloc(&pool));
	assert_memory_equal(pkt_data(view), "cde", 3);
	assert_int_equal(pkt_tailroom(view), 0);
	pkt_free(view);
	assert_int_equal(pool.used, 0);
	assert_int_equal(bare.used, 0);
}

static void
a_view_is_extended_by_what_follows_it_in_its_buffer_only(void **state)
{
	struct pkt_pool pool, bare;
	struct pkt *head, *p, *other;

	(void)state;
	pkt_pool_init(&pool, 3);
	pkt_pool_init(&bare, 1);
	head = pkt_alloc(&pool);
	p = pkt_alloc(&pool);
	other = pkt_alloc(&pool);
	memcpy(pkt_append(p, 6), "abcdef", 6);
	memcpy(pkt_append(other, 6), "ghijkl", 6);
	assert_false(pkt_extend(head, p, 0, 1)); /* its bytes are its own */
	pkt_chain(head, pkt_attach(&bare, p, 1, 2));
	assert_false(pkt_extend(head, p, 4, 1));
	assert_false(pkt_extend(head, p, 2, 1));
	assert_false(pkt_extend(head, other, 3, 1));
	assert_true(pkt_extend(head, p, 3, 2));
	assert_int_equal(pkt_total(head), 4);
	assert_int_equal(pkt_segments(head), 2);
	assert_memory_equal(pkt_data(pkt_next(head)), "bcde", 4);
	pkt_trim(head, 3);
	assert_int_equal(pkt_total(head), 1);
	pkt_free(head);
	pkt_free(p);
	pkt_free(other);
	assert_int_equal(pool.used, 0);
	assert_int_equal(bare.used, 0);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_chain_is_dropped_from_the_front_across_its_segments),
		cmocka_unit_test(trimming_frees_what_becomes_empty_but_never_the_head),
		cmocka_unit_test(an_attached_segment_outlives_what_it_shows),
		cmocka_unit_test(a_view_is_extended_by_what_follows_it_in_its_buffer_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
