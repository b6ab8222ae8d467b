/* Members come and go at either end and in the middle, and each is in one list at most. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <cmocka.h>

#include "base/list.h"
#include "base/prng.h"

struct member {
	uint32_t number;
	struct list_node node;
};

static struct member *
member_of(struct list_node *node)
{
	return LIST_MEMBER(node, struct member, node);
}

/* As a row of digits, from the front and from the back. */
static uint32_t
read_list(const struct list *list)
{
	uint32_t forward = 0, backward = 0, count = 0, unit = 1;

	for (struct list_node *n = list->first; n != NULL; n = n->next, count++) {
		assert_ptr_equal(n->list, list);
		forward = forward * 10 + member_of(n)->number;
	}
	for (struct list_node *n = list->last; n != NULL; n = n->previous, unit *= 10)
		backward += unit * member_of(n)->number;
	assert_int_equal(forward, backward);
	assert_int_equal(count, list->count);
	return forward;
}

static void
members_stand_in_the_order_of_their_coming(void **state)
{
	struct member m[] = { { .number = 1 }, { .number = 2 }, { .number = 3 }, { .number = 4 } };
	struct list list = { 0 };

	(void)state;
	assert_int_equal(read_list(&list), 0);
	assert_null(member_of(list.first));
	list_append(&list, &m[1].node);
	list_append(&list, &m[2].node);
	list_prepend(&list, &m[0].node);
	list_append(&list, &m[3].node);
	assert_int_equal(read_list(&list), 1234);
	assert_ptr_equal(member_of(list.first), &m[0]);
}

static void
each_can_leave_from_where_it_stands(void **state)
{
	struct member m[] = { { .number = 1 }, { .number = 2 }, { .number = 3 }, { .number = 4 } };
	struct list list = { 0 }, other = { 0 };

	(void)state;
	for (int i = 0; i < 4; i++)
		list_append(&list, &m[i].node);
	list_leave(&m[1].node);
	assert_null(m[1].node.list);
	assert_int_equal(read_list(&list), 134);
	list_leave(&m[3].node);
	assert_int_equal(read_list(&list), 13);
	list_leave(&m[0].node);
	assert_int_equal(read_list(&list), 3);
	list_prepend(&other, &m[0].node);
	list_leave(&m[2].node);
	assert_int_equal(read_list(&list), 0);
	assert_null(list.first);
	assert_null(list.last);
	assert_int_equal(read_list(&other), 1);
	list_prepend(&list, &m[1].node);
	assert_int_equal(read_list(&list), 2);
}

/* Against a row that is searched. */
static void
any_order_of_coming_and_going_is_kept(void **state)
{
	struct member m[9] = { 0 };
	struct list list = { 0 };
	uint32_t row[9], count = 0, expected;
	struct prng prng;

	(void)state;
	prng_init(&prng, 1);
	for (uint32_t i = 0; i < 9; i++)
		m[i].number = i + 1;
	for (int turn = 0; turn < 10000; turn++) {
		uint32_t i = prng_below(&prng, 9), at = 0;

		if (m[i].node.list != NULL) {
			list_leave(&m[i].node);
			while (row[at] != i + 1)
				at++;
			for (count--; at < count; at++)
				row[at] = row[at + 1];
		} else if (prng_below(&prng, 2) == 0) {
			list_append(&list, &m[i].node);
			row[count++] = i + 1;
		} else {
			list_prepend(&list, &m[i].node);
			for (at = count++; at > 0; at--)
				row[at] = row[at - 1];
			row[0] = i + 1;
		}
		expected = 0;
		for (at = 0; at < count; at++)
			expected = expected * 10 + row[at];
		assert_int_equal(read_list(&list), expected);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(members_stand_in_the_order_of_their_coming),
		cmocka_unit_test(each_can_leave_from_where_it_stands),
		cmocka_unit_test(any_order_of_coming_and_going_is_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
