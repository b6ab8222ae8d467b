/* Every verdict has a name and a sentence that an operator can read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/err.h"

static void
every_verdict_has_a_name_and_a_whole_sentence(void **state)
{
	(void)state;
	for (int i = 0; i < ERR_COUNT; i++) {
		const char *sentence = err_sentence((enum err)i);

		assert_non_null(err_name((enum err)i));
		assert_non_null(sentence);
		assert_int_equal(sentence[strlen(sentence) - 1], '.');
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_verdict_has_a_name_and_a_whole_sentence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
