/* One process at a time, and one owner for ever. */
#include "lock.h"

#include <sys/wait.h>

#include "world.h"

/* What a child process that tries hears; empty: it got the lock. */
static void
try_elsewhere(const char *path, const char *owner, char heard[512])
{
	int pipes[2], status;
	ssize_t n;
	pid_t child;

	assert_int_equal(pipe(pipes), 0);
	child = fork();
	if (child == 0) {
		char text[512] = "";

		lock_take(path, owner, text, sizeof(text));
		_exit(write(pipes[1], text, strlen(text)) < 0);
	}
	close(pipes[1]);
	n = read(pipes[0], heard, 511);
	close(pipes[0]);
	assert_true(n >= 0);
	heard[n] = '\0';
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void
one_at_a_time_and_one_owner(void **state)
{
	char folder[] = "/tmp/sluice-test-XXXXXX", path[64], heard[512];

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/control.lock", folder);
	/* Who has it and ends leaves its name. */
	try_elsewhere(path, "edge", heard);
	assert_string_equal(heard, "");
	assert_false(lock_take(path, "other", heard, sizeof(heard)));
	assert_non_null(strstr(heard, "of instance \"edge\", and this is \"other\""));
	/* A name that another one begins with is another name. */
	assert_false(lock_take(path, "edg", heard, sizeof(heard)));
	assert_false(lock_take(path, "edge2", heard, sizeof(heard)));
	assert_true(lock_take(path, "edge", heard, sizeof(heard)));
	try_elsewhere(path, "edge", heard);
	assert_non_null(strstr(heard, "another sluice-control uses it"));
	try_elsewhere(path, NULL, heard);
	assert_non_null(strstr(heard, "another sluice-control uses it"));
	unlink(path);
	assert_int_equal(symlink("/dev/null", path), 0);
	assert_false(lock_take(path, NULL, heard, sizeof(heard)));
	unlink(path);
	snprintf(path, sizeof(path), "%s/absent/lock", folder);
	assert_false(lock_take(path, NULL, heard, sizeof(heard)));
	assert_non_null(strstr(heard, path));
	assert_int_equal(rmdir(folder), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_at_a_time_and_one_owner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
