/* The dataplane's end of control's socket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/units.h"
#include "dataplane/tickets.h"

#define NOBODY 65534

struct world {
	char folder[32];
	char path[64];
	struct tickets tickets;
	uint64_t now_ns;
};

static struct world
world_make(void)
{
	struct world w = { .folder = "/tmp/sluice-test-XXXXXX", .now_ns = NSEC_PER_SEC };

	assert_non_null(mkdtemp(w.folder));
	snprintf(w.path, sizeof(w.path), "%s/edge.tickets", w.folder);
	tickets_init(&w.tickets, w.folder, "edge");
	return w;
}

static void
world_end(struct world *w)
{
	tickets_fini(&w->tickets);
	unlink(w->path);
	rmdir(w->folder);
}

static int
listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int file = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	unlink(path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(file, (const void *)&address, sizeof(address)), 0);
	assert_int_equal(listen(file, 4), 0);
	return file;
}

static struct ticket_secrets
secrets_of(uint64_t number)
{
	struct ticket_secrets secrets;

	assert_true(tickets_make_own(&secrets));
	secrets.secret[0].number = number;
	return secrets;
}

static void
what_is_handed_over_is_taken_and_the_last_one_counts(void **state)
{
	struct ticket_secrets first = secrets_of(1), second = secrets_of(2), got;
	struct world w = world_make();
	int control, reader;

	(void)state;
	assert_false(tickets_read(&w.tickets, &got, w.now_ns)); /* nobody is there */
	control = listen_at(w.path);
	assert_false(tickets_read(&w.tickets, &got, w.now_ns + TICKETS_AGAIN_NS - 1));
	assert_int_equal(w.tickets.file, -1);
	assert_false(tickets_read(&w.tickets, &got, w.now_ns + TICKETS_AGAIN_NS));
	reader = accept(control, NULL, NULL);
	assert_true(reader >= 0);
	assert_int_equal(send(reader, &first, sizeof(first), 0), sizeof(first));
	assert_int_equal(send(reader, &second, sizeof(second), 0), sizeof(second));
	assert_true(tickets_read(&w.tickets, &got, w.now_ns));
	assert_memory_equal(&got, &second, sizeof(got));
	assert_false(tickets_read(&w.tickets, &got, w.now_ns));
	close(reader);
	close(control);
	world_end(&w);
}

static void
control_may_die_and_come_back(void **state)
{
	struct ticket_secrets secrets = secrets_of(1), got = { 0 };
	struct world w = world_make();

	(void)state;
	for (int life = 0; life < 3; life++) {
		int control = listen_at(w.path), reader;

		w.now_ns += NSEC_PER_SEC;
		assert_false(tickets_read(&w.tickets, &got, w.now_ns));
		reader = accept(control, NULL, NULL);
		assert_int_equal(send(reader, &secrets, sizeof(secrets), 0), sizeof(secrets));
		assert_true(tickets_read(&w.tickets, &got, w.now_ns));
		close(reader);
		close(control);
		w.now_ns += NSEC_PER_SEC;
		assert_false(tickets_read(&w.tickets, &got, w.now_ns));
		assert_int_equal(w.tickets.file, -1);
		assert_memory_equal(&got, &secrets, sizeof(got)); /* what there was stays */
	}
	world_end(&w);
}

static void
what_is_no_message_changes_nothing(void **state)
{
	struct ticket_secrets good = secrets_of(1), bad = good, got = { 0 }, zero = { 0 };
	struct world w = world_make();
	int control = listen_at(w.path), reader;
	uint8_t longer[sizeof(good) + 1] = { 0 };

	(void)state;
	tickets_read(&w.tickets, &got, w.now_ns);
	reader = accept(control, NULL, NULL);
	bad.layout++;
	memcpy(longer, &good, sizeof(good));
	assert_int_equal(send(reader, &bad, sizeof(bad), 0), sizeof(bad));
	assert_false(tickets_read(&w.tickets, &got, w.now_ns));
	assert_int_equal(send(reader, &good, sizeof(good) - 1, 0), sizeof(good) - 1);
	assert_false(tickets_read(&w.tickets, &got, w.now_ns));
	assert_int_equal(send(reader, longer, sizeof(longer), 0), sizeof(longer));
	assert_false(tickets_read(&w.tickets, &got, w.now_ns));
	assert_memory_equal(&got, &zero, sizeof(got));
	assert_int_equal(send(reader, &good, sizeof(good), 0), sizeof(good));
	assert_true(tickets_read(&w.tickets, &got, w.now_ns));
	close(reader);
	close(control);
	world_end(&w);
}

/* Somebody else took the name in a folder that all may write to. */
static void
secrets_of_another_user_are_not_taken(void **state)
{
	struct ticket_secrets secrets = secrets_of(1), got;
	struct world w = world_make();
	int told[2], control, reader;
	pid_t child;
	char byte;

	(void)state;
	if (geteuid() != 0) {
		world_end(&w);
		skip();
	}
	assert_int_equal(chown(w.folder, NOBODY, NOBODY), 0);
	assert_int_equal(pipe(told), 0);
	child = fork();
	if (child == 0) {
		if (setuid(NOBODY) != 0)
			_exit(1);
		control = listen_at(w.path);
		close(told[1]);
		reader = accept(control, NULL, NULL);
		send(reader, &secrets, sizeof(secrets), MSG_NOSIGNAL);
		_exit(reader >= 0 ? 0 : 1);
	}
	close(told[1]);
	assert_int_equal(read(told[0], &byte, 1), 0);
	close(told[0]);
	for (int i = 0; i < 100; i++) {
		assert_false(tickets_read(&w.tickets, &got, w.now_ns));
		assert_int_equal(w.tickets.file, -1);
	}
	assert_int_equal(waitpid(child, NULL, 0), child);
	world_end(&w);
}

static void
own_ones_are_whole_and_of_this_process_alone(void **state)
{
	struct ticket_secrets a, b;

	(void)state;
	assert_true(tickets_make_own(&a) && tickets_make_own(&b));
	assert_true(ticket_secrets_are_whole(&a, sizeof(a)));
	assert_int_equal(a.secret[0].number, 0);
	assert_null(ticket_secrets_find(&b, a.secret[0].name));
	assert_memory_not_equal(a.secret[0].key, b.secret[0].key, TICKET_KEY_BYTES);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_handed_over_is_taken_and_the_last_one_counts),
		cmocka_unit_test(control_may_die_and_come_back),
		cmocka_unit_test(what_is_no_message_changes_nothing),
		cmocka_unit_test(secrets_of_another_user_are_not_taken),
		cmocka_unit_test(own_ones_are_whole_and_of_this_process_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
