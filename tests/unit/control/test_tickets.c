/* The secrets of session tickets: made once, rotated, revoked, handed over. */
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tickets.h"
#include "world.h"

#define LIFETIME_S 7200u
#define NOW_S UINT64_C(1900000000)

/* A router of its own on the world's store. */
struct router {
	struct store store;
	struct tickets tickets;
};

static void
open_router(const struct world *w, struct router *router, uint32_t lifetime_s, uint64_t now_s)
{
	assert_int_equal(world_open_store(w, &router->store), ERR_OK);
	assert_int_equal(tickets_init(&router->tickets, &router->store, lifetime_s, now_s), ERR_OK);
}

static void
close_router(struct router *router)
{
	tickets_fini(&router->tickets);
	store_close(&router->store);
}

/* Told of a change. */
static void
look(struct router *router, uint64_t now_s)
{
	assert_int_equal(tickets_turn(&router->tickets, true, 0, now_s), ERR_OK);
}

static uint64_t
seals(const struct router *router, uint64_t now_s)
{
	return ticket_secrets_choose(router->tickets.secrets, now_s)->number;
}

static bool
has(const struct router *router, uint64_t number)
{
	for (uint64_t i = 0; i < router->tickets.secrets->count; i++)
		if (router->tickets.secrets->secret[i].number == number)
			return true;
	return false;
}

static void
routers_of_one_store_have_the_same(void **state)
{
	struct world *w = world_make();
	struct router a, b;
	const struct ticket_secrets *secrets;

	(void)state;
	open_router(w, &a, LIFETIME_S, NOW_S);
	secrets = a.tickets.secrets;
	assert_int_equal(secrets->count, 2);
	assert_int_equal(secrets->secret[0].number, 1);
	assert_int_equal(secrets->secret[0].begins_at_s, NOW_S);
	assert_int_equal(secrets->secret[1].begins_at_s, NOW_S + LIFETIME_S);
	assert_memory_not_equal(secrets->secret[0].name, secrets->secret[1].name, TICKET_NAME_BYTES);
	assert_memory_not_equal(secrets->secret[0].key, secrets->secret[1].key, TICKET_KEY_BYTES);
	assert_true(ticket_secrets_are_whole(secrets, sizeof(*secrets)));

	open_router(w, &b, LIFETIME_S, NOW_S + 5);
	assert_memory_equal(secrets, b.tickets.secrets, sizeof(*secrets));
	close_router(&b);
	close_router(&a);
	/* And after a restart. */
	open_router(w, &a, LIFETIME_S, NOW_S + 60);
	assert_int_equal(seals(&a, NOW_S + 60), 1);
	assert_int_equal(world_number(w, "SELECT count(*) FROM ticket_secrets"), 2);
	close_router(&a);
	world_free(w);
}

#define STARTERS 6

static pthread_barrier_t starting;

static void *
start_router(void *owner)
{
	struct router *router = owner;

	pthread_barrier_wait(&starting);
	return tickets_init(&router->tickets, &router->store, LIFETIME_S, NOW_S) == ERR_OK ? router : NULL;
}

static void
routers_that_start_together_make_them_once(void **state)
{
	(void)state;
	for (int round = 0; round < 5; round++) {
		struct world *w = world_make();
		struct router routers[STARTERS];
		pthread_t threads[STARTERS];
		void *good;

		pthread_barrier_init(&starting, NULL, STARTERS);
		for (int i = 0; i < STARTERS; i++)
			assert_int_equal(world_open_store(w, &routers[i].store), ERR_OK);
		for (int i = 0; i < STARTERS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, start_router, &routers[i]), 0);
		for (int i = 0; i < STARTERS; i++) {
			pthread_join(threads[i], &good);
			assert_non_null(good);
			assert_memory_equal(routers[i].tickets.secrets, routers[0].tickets.secrets,
					    sizeof(struct ticket_secrets));
		}
		pthread_barrier_destroy(&starting);
		assert_int_equal(world_number(w, "SELECT count(*) FROM ticket_secrets"), 2);
		for (int i = 0; i < STARTERS; i++)
			close_router(&routers[i]);
		world_free(w);
	}
}

/* Two routers look now and then, in turns, for three days. */
static void
they_are_rotated_and_stay_while_their_tickets_live(void **state)
{
	static const uint32_t lifetimes[] = { 60, LIFETIME_S, 86400, 604800 };

	(void)state;
	for (size_t l = 0; l < COUNT_OF(lifetimes); l++) {
		uint32_t lifetime_s = lifetimes[l], use_s = lifetime_s < 86400 ? lifetime_s : 86400;
		uint64_t before = 1;
		struct world *w = world_make();
		struct router routers[2];

		open_router(w, &routers[0], lifetime_s, NOW_S);
		open_router(w, &routers[1], lifetime_s, NOW_S);
		for (uint64_t now_s = NOW_S; now_s < NOW_S + 20 * (uint64_t)use_s; now_s += use_s / 5) {
			struct router *router = &routers[now_s / (use_s / 5) % 2];
			uint64_t number;

			look(router, now_s);
			number = seals(router, now_s);
			/* All know the next one while the one before it seals; nobody seals longer than he may. */
			assert_in_range(number, before, before + 1);
			before = number;
			assert_true(has(router, number + 1) || now_s % use_s < 2 * (use_s / 5));
			assert_in_range(tickets_age_s(&router->tickets, now_s), 0, use_s + use_s / 5);
			/* What sealed a ticket that lives. */
			for (uint64_t age = 0; age < lifetime_s && age < now_s - NOW_S; age += use_s) {
				uint64_t back = (age + use_s - 1) / use_s;

				assert_true(number <= back || has(router, number - back));
			}
			assert_in_range(router->tickets.secrets->count, 1, lifetime_s / use_s + 4);
		}
		assert_in_range(before, 19, 21);
		close_router(&routers[0]);
		close_router(&routers[1]);
		world_free(w);
	}
}

static void
after_a_long_pause_the_next_one_waits_for_all_to_hear_of_it(void **state)
{
	struct world *w = world_make();
	struct router a;
	uint64_t late_s = NOW_S + 10 * LIFETIME_S;

	(void)state;
	open_router(w, &a, LIFETIME_S, NOW_S);
	look(&a, late_s);
	assert_int_equal(seals(&a, late_s), 2);
	assert_int_equal(a.tickets.secrets->secret[a.tickets.secrets->count - 1].begins_at_s,
			 late_s + TICKETS_LEAD_S);
	look(&a, late_s + TICKETS_LEAD_S);
	assert_int_equal(seals(&a, late_s + TICKETS_LEAD_S), 3);
	assert_false(has(&a, 1));
	close_router(&a);
	world_free(w);
}

static void
a_clock_that_was_ahead_for_a_moment_stops_no_rotation(void **state)
{
	static const uint32_t lifetimes[] = { 60, LIFETIME_S, 604800 };
	const uint64_t years_s = 10 * 365 * UINT64_C(86400), day_s = 86400;

	(void)state;
	for (size_t l = 0; l < COUNT_OF(lifetimes); l++) {
		struct world *w = world_make();
		struct router a, b;
		uint64_t number;

		open_router(w, &a, lifetimes[l], NOW_S);
		open_router(w, &b, lifetimes[l], NOW_S);
		look(&a, NOW_S + years_s);
		look(&a, NOW_S + years_s + day_s);
		look(&a, NOW_S);
		number = seals(&a, NOW_S);
		/* The next one begins soon, when the other router has heard of it. */
		look(&b, NOW_S);
		assert_memory_equal(a.tickets.secrets, b.tickets.secrets, sizeof(*a.tickets.secrets));
		assert_int_equal(world_number(w, "SELECT count(*) FROM ticket_secrets"
						 " WHERE begins_at > 1910000000"), 0);
		for (uint64_t now_s = NOW_S + TICKETS_LEAD_S; now_s <= NOW_S + 2 * day_s; now_s += 1200) {
			look(&a, now_s);
			look(&b, now_s);
		}
		assert_true(seals(&a, NOW_S + 2 * day_s) > number);
		assert_in_range(tickets_age_s(&a.tickets, NOW_S + 2 * day_s), 0, day_s + 1200);
		assert_int_equal(seals(&b, NOW_S + 2 * day_s), seals(&a, NOW_S + 2 * day_s));
		close_router(&b);
		close_router(&a);
		world_free(w);
	}
}

static void
an_operator_rotates_and_old_tickets_stay_good(void **state)
{
	struct world *w = world_make();
	struct router a, b;

	(void)state;
	open_router(w, &a, LIFETIME_S, NOW_S);
	open_router(w, &b, LIFETIME_S, NOW_S);
	assert_int_equal(tickets_rotate(&a.tickets, NOW_S + 100), ERR_OK);
	assert_int_equal(seals(&a, NOW_S + 100), 2);
	assert_true(has(&a, 1) && has(&a, 3));
	look(&b, NOW_S + 100);
	assert_memory_equal(a.tickets.secrets, b.tickets.secrets, sizeof(*a.tickets.secrets));
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit WHERE verb = 'rotate' AND noun = 'tickets'"
					 " AND subject = 2"), 1);
	/* As often as one likes: those that have room are the newest. */
	for (uint64_t i = 1; i < 40; i++)
		assert_int_equal(tickets_rotate(&b.tickets, NOW_S + 100 + i), ERR_OK);
	assert_int_equal(seals(&b, NOW_S + 140), 41);
	assert_int_equal(b.tickets.secrets->count, TICKET_SECRETS_MAX);
	assert_true(ticket_secrets_are_whole(b.tickets.secrets, sizeof(*b.tickets.secrets)));
	close_router(&b);
	close_router(&a);
	world_free(w);
}

static void
a_revocation_leaves_nothing_of_what_was(void **state)
{
	struct world *w = world_make();
	struct router a, b;
	struct ticket_secrets before;

	(void)state;
	open_router(w, &a, LIFETIME_S, NOW_S);
	open_router(w, &b, LIFETIME_S, NOW_S);
	before = *a.tickets.secrets;
	assert_int_equal(tickets_revoke(&b.tickets, NOW_S + 7), ERR_OK);
	look(&a, NOW_S + 7);
	assert_memory_equal(a.tickets.secrets, b.tickets.secrets, sizeof(*a.tickets.secrets));
	for (uint64_t i = 0; i < before.count; i++)
		assert_null(ticket_secrets_find(a.tickets.secrets, before.secret[i].name));
	/* Numbers are not used again: whoever was about to make the next one finds it made. */
	assert_int_equal(a.tickets.secrets->secret[0].number, 3);
	assert_int_equal(a.tickets.secrets->secret[0].begins_at_s, NOW_S + 7);
	assert_int_equal(a.tickets.secrets->count, 2);
	assert_int_equal(world_number(w, "SELECT count(*) FROM ticket_secrets"), 2);
	assert_int_equal(world_number(w, "SELECT count(*) FROM audit WHERE verb = 'revoke' AND noun = 'tickets'"),
			 1);
	close_router(&b);
	close_router(&a);
	world_free(w);
}

/* In the file, or in the log beside it. */
static bool
files_have(const struct world *w, const uint8_t *bytes, size_t len)
{
	static const char *const ends[] = { "", "-wal" };
	static uint8_t data[4 * MIB];
	bool found = false;

	for (size_t i = 0; i < COUNT_OF(ends); i++) {
		char path[96];
		FILE *file;
		size_t got;

		snprintf(path, sizeof(path), "%s%s", w->store_path, ends[i]);
		file = fopen(path, "rb");
		assert_non_null(file);
		got = fread(data, 1, sizeof(data), file);
		assert_true(got < sizeof(data));
		fclose(file);
		found |= memmem(data, got, bytes, len) != NULL;
	}
	return found;
}

static bool
files_have_any(const struct world *w, const struct ticket_secrets *secrets)
{
	bool found = false;

	for (uint64_t i = 0; i < secrets->count; i++)
		found |= files_have(w, secrets->secret[i].key, TICKET_KEY_BYTES);
	return found;
}

static void
dead_secrets_are_in_no_file_of_the_store(void **state)
{
	struct world *w = world_make();
	struct router a, b;
	struct ticket_secrets before;
	struct statement *reading;

	(void)state;
	if (world_is_postgres()) {
		world_free(w);
		skip();
	}
	open_router(w, &a, LIFETIME_S, NOW_S);
	open_router(w, &b, LIFETIME_S, NOW_S);
	/* More of them than there will be: the new ones do not lie where all the old ones were. */
	assert_int_equal(tickets_rotate(&a.tickets, NOW_S + 1), ERR_OK);
	assert_int_equal(tickets_rotate(&a.tickets, NOW_S + 2), ERR_OK);
	before = *a.tickets.secrets;
	assert_int_equal(before.count, 4);
	assert_true(files_have_any(w, &before));
	assert_int_equal(tickets_revoke(&b.tickets, NOW_S + 7), ERR_OK);
	assert_false(files_have_any(w, &before));
	assert_true(files_have_any(w, b.tickets.secrets));

	/* Somebody reads on: nobody waits for him, and it is done when he is through. */
	before = *b.tickets.secrets;
	assert_int_equal(store_begin(&a.store), ERR_OK);
	reading = store_prepare(&a.store, "SELECT number FROM ticket_secrets");
	assert_int_equal(store_step(reading), STORE_ROW);
	store_rollback(&a.store);
	assert_int_equal(tickets_revoke(&b.tickets, NOW_S + 8), ERR_OK);
	assert_true(files_have_any(w, &before));
	store_finalize(reading);
	assert_int_equal(tickets_turn(&b.tickets, false, TICKETS_LOOK_NS, NOW_S + 18), ERR_OK);
	assert_false(files_have_any(w, &before));

	/* And of those whose time has come. */
	before = *b.tickets.secrets;
	assert_int_equal(tickets_turn(&b.tickets, true, 0, NOW_S + 10 * (uint64_t)LIFETIME_S), ERR_OK);
	assert_int_equal(tickets_turn(&b.tickets, true, 0, NOW_S + 20 * (uint64_t)LIFETIME_S), ERR_OK);
	assert_false(has(&b, before.secret[0].number));
	assert_false(files_have(w, before.secret[0].key, TICKET_KEY_BYTES));
	close_router(&b);
	close_router(&a);
	world_free(w);
}

static void
without_a_lifetime_there_are_none(void **state)
{
	struct world *w = world_make();
	struct router a;

	(void)state;
	open_router(w, &a, 0, NOW_S);
	look(&a, NOW_S);
	assert_int_equal(a.tickets.secrets->count, 0);
	assert_int_equal(tickets_revoke(&a.tickets, NOW_S), ERR_STORE_CONFLICT);
	assert_int_equal(world_number(w, "SELECT count(*) FROM ticket_secrets"), 0);
	close_router(&a);
	world_free(w);
}

static void
a_row_that_is_damaged_is_left_out_and_its_number_stays_its_own(void **state)
{
	struct world *w = world_make();
	struct router a;

	(void)state;
	open_router(w, &a, LIFETIME_S, NOW_S);
	world_sql(w, "UPDATE ticket_secrets SET secret = (SELECT value FROM meta WHERE name = 'pepper')"
		     " WHERE number = 2");
	look(&a, NOW_S);
	assert_false(has(&a, 2));
	assert_true(has(&a, 1) && has(&a, 3));
	assert_int_equal(seals(&a, NOW_S + LIFETIME_S), 3);
	close_router(&a);
	world_free(w);
}

/* --- handed over ----------------------------------------------------------------------------- */

static int
ask(const struct router *router)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int file = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", router->tickets.path);
	assert_int_equal(connect(file, (const void *)&address, sizeof(address)), 0);
	return file;
}

static void
expect_message(int file, const struct ticket_secrets *secrets)
{
	struct ticket_secrets got;

	assert_int_equal(recv(file, &got, sizeof(got), 0), sizeof(got));
	assert_memory_equal(&got, secrets, sizeof(got));
}

static bool
is_closed(int file)
{
	uint8_t byte;

	return recv(file, &byte, 1, 0) == 0;
}

static void
who_asks_is_told_now_and_at_each_change(void **state)
{
	struct world *w = world_make();
	struct router a;
	struct stat facts;
	char path[sizeof(a.tickets.path)];
	int reader;

	(void)state;
	open_router(w, &a, LIFETIME_S, NOW_S);
	assert_true(tickets_listen(&a.tickets, w->folder, "test"));
	snprintf(path, sizeof(path), "%s", a.tickets.path);
	assert_int_equal(stat(path, &facts), 0);
	assert_int_equal(facts.st_mode & 0777, 0600);
	reader = ask(&a);
	assert_int_equal(tickets_turn(&a.tickets, false, 0, NOW_S), ERR_OK);
	expect_message(reader, a.tickets.secrets);
	look(&a, NOW_S); /* nothing has changed */
	assert_int_equal(tickets_revoke(&a.tickets, NOW_S + 1), ERR_OK);
	expect_message(reader, a.tickets.secrets);
	assert_int_equal(recv(reader, path, 1, 0), -1); /* nothing more */
	close(reader);
	tickets_serve(&a.tickets);
	assert_int_equal(a.tickets.reader_count, 0);
	close_router(&a);
	snprintf(path, sizeof(path), "%s/test.tickets", w->folder);
	assert_int_equal(access(path, F_OK), -1);
	world_free(w);
}

static void
the_oldest_reader_goes_and_a_dead_process_leaves_its_place(void **state)
{
	struct world *w = world_make();
	struct router a, b;
	int readers[TICKETS_READERS_MAX + 1];

	(void)state;
	open_router(w, &a, LIFETIME_S, NOW_S);
	assert_true(tickets_listen(&a.tickets, w->folder, "test"));
	for (int i = 0; i <= TICKETS_READERS_MAX; i++) {
		readers[i] = ask(&a);
		tickets_serve(&a.tickets);
		expect_message(readers[i], a.tickets.secrets);
	}
	assert_int_equal(a.tickets.reader_count, TICKETS_READERS_MAX);
	assert_true(is_closed(readers[0]));
	assert_false(is_closed(readers[1]));
	/* Control dies: its file stays, and is the next one's. */
	open_router(w, &b, LIFETIME_S, NOW_S);
	assert_false(tickets_listen(&b.tickets, w->folder, "test"));
	close(a.tickets.listening);
	a.tickets.listening = -1;
	assert_true(tickets_listen(&b.tickets, w->folder, "test"));
	a.tickets.path[0] = '\0';
	for (int i = 0; i <= TICKETS_READERS_MAX; i++)
		close(readers[i]);
	close_router(&a);
	close_router(&b);
	world_free(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(routers_of_one_store_have_the_same),
		cmocka_unit_test(routers_that_start_together_make_them_once),
		cmocka_unit_test(they_are_rotated_and_stay_while_their_tickets_live),
		cmocka_unit_test(after_a_long_pause_the_next_one_waits_for_all_to_hear_of_it),
		cmocka_unit_test(a_clock_that_was_ahead_for_a_moment_stops_no_rotation),
		cmocka_unit_test(an_operator_rotates_and_old_tickets_stay_good),
		cmocka_unit_test(a_revocation_leaves_nothing_of_what_was),
		cmocka_unit_test(dead_secrets_are_in_no_file_of_the_store),
		cmocka_unit_test(without_a_lifetime_there_are_none),
		cmocka_unit_test(a_row_that_is_damaged_is_left_out_and_its_number_stays_its_own),
		cmocka_unit_test(who_asks_is_told_now_and_at_each_change),
		cmocka_unit_test(the_oldest_reader_goes_and_a_dead_process_leaves_its_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
