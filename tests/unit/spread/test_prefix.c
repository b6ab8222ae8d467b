/* Requests that begin alike have leading hashes in common, however their bytes arrive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "spread/prefix.h"

static const struct siphash_key key = { 1, 2 };

static struct prefix
prefix_of(const char *text)
{
	static struct prefix_scan scan;

	prefix_init(&scan, &key);
	prefix_feed(&scan, bytes_from_text(text));
	return scan.prefix;
}

/* Blocks that both begin with. */
static uint32_t
in_common(const char *a, const char *b)
{
	struct prefix one = prefix_of(a), other = prefix_of(b);
	uint32_t n = 0;

	while (n < one.count && n < other.count && one.hash[n] == other.hash[n])
		n++;
	return n;
}

static void
each_message_is_a_block(void **state)
{
	(void)state;
	assert_int_equal(prefix_of("[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\"}]").count, 2);
	assert_int_equal(prefix_of("[{\"content\":[{\"type\":\"text\"},{\"x\":[]}]}]").count, 1);
	assert_int_equal(prefix_of("[\"one\",\"two\", 3 ,null]").count, 4);
	assert_int_equal(prefix_of("[]").count, 0);
	assert_int_equal(prefix_of("[ ]").count, 0);
}

static void
brackets_in_strings_end_nothing(void **state)
{
	(void)state;
	assert_int_equal(prefix_of("[{\"c\":\"}]},{\"},{\"c\":\"\\\"}\\\\\"}]").count, 2);
}

static void
a_conversation_that_goes_on_keeps_its_prefix(void **state)
{
	static const char turn_1[] = "[{\"s\":1},{\"u\":1}]";
	static const char turn_2[] = "[{\"s\":1},{\"u\":1},{\"a\":1},{\"u\":2}]";
	static const char other[] = "[{\"s\":1},{\"u\":9},{\"a\":1}]";

	(void)state;
	assert_int_equal(in_common(turn_1, turn_2), 2);
	assert_int_equal(in_common(turn_1, other), 1);
	assert_int_equal(in_common(turn_2, other), 1); /* cumulative: what follows a difference differs */
	assert_int_equal(in_common("[{\"s\":1},{\"u\":1}]", "[{\"s\":2},{\"u\":1}]"), 0);
	assert_int_equal(in_common("[ {\"s\":1} ,\n{\"u\":1}]", "[{\"s\":1},{\"u\":1}]"), 2);
	/* Where a block ends is a part of it. */
	assert_int_equal(in_common("[\"ab\",\"c\"]", "[\"a\",\"bc\"]"), 0);
}

static void
a_long_message_has_several_blocks(void **state)
{
	static char a[3 * PREFIX_BLOCK_BYTES], b[3 * PREFIX_BLOCK_BYTES];

	(void)state;
	memset(a, 'x', sizeof(a) - 1);
	memcpy(a, "[\"", 2);
	memcpy(a + sizeof(a) - 3, "\"]", 2);
	memcpy(b, a, sizeof(b));
	b[2 * PREFIX_BLOCK_BYTES] = 'y';
	assert_int_equal(prefix_of(a).count, 3);
	assert_int_equal(in_common(a, b), 1);
}

static void
only_the_first_blocks_are_looked_at(void **state)
{
	static struct prefix_scan scan;
	const char *text = "[1,2,3,4,5,6,7,8,9,10]";

	(void)state;
	prefix_init(&scan, &key);
	assert_false(prefix_feed(&scan, bytes_from_text(text)));
	assert_int_equal(scan.prefix.count, PREFIX_BLOCKS_MAX);
	assert_int_equal(in_common(text, "[1,2,3,4,5,6,7,8,11]"), PREFIX_BLOCKS_MAX);
}

static void
the_result_is_the_same_however_it_is_cut(void **state)
{
	static const char text[] = "[{\"a\":\"\\\\\\\"}\"}, [1,[2]] ,\"x\",{\"b\":{\"c\":\"]\"}}]";
	static struct prefix_scan scan;
	struct prefix whole = prefix_of(text);

	(void)state;
	assert_int_equal(whole.count, 4);
	for (size_t cut = 0; cut < sizeof(text); cut++) {
		prefix_init(&scan, &key);
		if (prefix_feed(&scan, bytes_make(text, cut)))
			prefix_feed(&scan, bytes_make(text + cut, sizeof(text) - 1 - cut));
		assert_int_equal(scan.prefix.count, whole.count);
		assert_memory_equal(scan.prefix.hash, whole.hash, whole.count * sizeof(whole.hash[0]));
	}
}

static void
another_key_makes_other_hashes(void **state)
{
	static const struct siphash_key other = { 3, 4 };
	static struct prefix_scan scan;

	(void)state;
	prefix_init(&scan, &other);
	prefix_feed(&scan, BYTES_LITERAL("[1]"));
	assert_int_not_equal(scan.prefix.hash[0], prefix_of("[1]").hash[0]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_message_is_a_block),
		cmocka_unit_test(brackets_in_strings_end_nothing),
		cmocka_unit_test(a_conversation_that_goes_on_keeps_its_prefix),
		cmocka_unit_test(a_long_message_has_several_blocks),
		cmocka_unit_test(only_the_first_blocks_are_looked_at),
		cmocka_unit_test(the_result_is_the_same_however_it_is_cut),
		cmocka_unit_test(another_key_makes_other_hashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
