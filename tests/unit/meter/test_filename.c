/* What the files of the spool are called, by who makes them and by who looks for them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/units.h"
#include "meter/filename.h"

static void
names_have_their_numbers_in_hex(void **state)
{
	char name[FILENAME_BYTES];

	(void)state;
	filename_of_segment(0x0123456789abcdef, 0x12, 0xff, name);
	assert_string_equal(name, "0123456789abcdef-0012-000000ff.spool");
	filename_of_segment(UINT64_MAX, 0xffff, UINT32_MAX, name);
	assert_string_equal(name, "ffffffffffffffff-ffff-ffffffff.spool");
	assert_int_equal(strlen(name), FILENAME_BYTES - 1);
	filename_of_tab(0x1234, 3, name);
	assert_string_equal(name, "0000000000001234-0003.tab");
}

static void
what_is_made_is_found(void **state)
{
	char name[FILENAME_BYTES];

	(void)state;
	filename_of_segment(77, 1, 2, name);
	assert_true(filename_is_segment(name));
	assert_false(filename_is_tab(name));
	filename_of_tab(77, 1, name);
	assert_true(filename_is_tab(name));
	assert_false(filename_is_segment(name));
}

static void
what_is_called_otherwise_is_none(void **state)
{
	static const char *const names[] = {
		"", ".", "x.spool", ".spool", ".tab", "node.id", "control.lock",
		"0123456789abcdef-0012-000000ff.spool.damaged", "0123456789abcdef-0012-000000ff.spoo",
		"0123456789ABCDEF-0012-000000ff.spool", "0123456789abcdef-0012-000000fg.spool",
		"0123456789abcdef_0012-000000ff.spool", "123456789abcdef-0012-000000ff.spool",
		"0123456789abcdef-00012-000000ff.spool", "0123456789abcdef-0012.tab2", "0123456789abcdef-012.tab",
		"hhhhhhhhhhhhhhhh-hhhh.tab",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		assert_false(filename_is_segment(names[i]));
		assert_false(filename_is_tab(names[i]));
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_have_their_numbers_in_hex),
		cmocka_unit_test(what_is_made_is_found),
		cmocka_unit_test(what_is_called_otherwise_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
