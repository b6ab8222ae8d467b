/* Who may look into a process that has read keys; how they are read: test_certificates.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "config/secret.h"

/* A child that dies of SIGABRT as a failed CHECK makes it die; whether it left a core dump. */
static bool
dumps(bool is_hidden)
{
	char folder[] = "/tmp/sluice-secret-XXXXXX";
	char core[64];
	pid_t child;
	int status;

	assert_non_null(mkdtemp(folder));
	child = fork();
	if (child == 0) {
		struct rlimit limit = { 1 << 20, 1 << 20 };

		if (chdir(folder) != 0 || setrlimit(RLIMIT_CORE, &limit) != 0)
			_exit(1);
		if (is_hidden)
			secret_hide_process();
		abort();
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	snprintf(core, sizeof(core), "%s/core", folder);
	unlink(core);
	snprintf(core, sizeof(core), "%s/core.%d", folder, (int)child);
	unlink(core);
	rmdir(folder);
	return WCOREDUMP(status);
}

static void
a_hidden_process_leaves_no_core_dump(void **state)
{
	(void)state;
	assert_false(dumps(true));
	if (!dumps(false))
		print_message("this machine makes no core dumps at all\n");
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hidden_process_leaves_no_core_dump),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
