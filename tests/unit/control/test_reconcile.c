/* Counters in shared memory, spool and ledger: each kind of difference is found, and none where there is none. */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>

#include "meter/tab.h"
#include "reconcile.h"
#include "world.h"

#define EPOCH UINT64_C(0x7777)
#define RECORDS 16000 /* more than three slices */

struct books {
	struct world *w;
	struct tabs tabs;
	struct reconcile reconcile;
	struct tab_header *tab;
	struct spool_header *segment;
	struct spool_writer spool;
	int64_t account;
	uint64_t now_ns;
	int file;
	char tab_path[160];
	char segment_path[160];
};

static void *
map_new(const char *path, size_t bytes, int *file)
{
	void *memory;

	*file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_true(*file >= 0);
	assert_int_equal(ftruncate(*file, (off_t)bytes), 0);
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static void
put_record(struct books *b, int64_t cost_nano)
{
	struct usage_record record = { .account_id = (uint64_t)b->account, .cost_nano = cost_nano,
				       .prompt_tokens = 2, .completion_tokens = 3, .status = 200 };

	assert_int_equal(tab_close(b->tab, TAB_NO_LINE, &b->spool, &record), ERR_OK);
}

static void
drain(struct books *b)
{
	bool more = true;

	ledger_scan(&b->w->control.ledger, EPOCH, b->now_ns);
	tabs_scan(&b->tabs);
	while (more)
		assert_int_equal(ledger_drain(&b->w->control.ledger, b->now_ns, &more), ERR_OK);
	for (more = true; more;)
		assert_int_equal(tabs_settle(&b->tabs, &more), ERR_OK);
}

/* As many slices as there is work for; their number. */
static int
step(struct books *b)
{
	bool more = true;
	int slices = 0;

	for (; more; slices++)
		assert_int_equal(reconcile_step(&b->reconcile, b->now_ns, &more), ERR_OK);
	return slices;
}

static struct books *
books_make(uint64_t records)
{
	struct books *b = calloc(1, sizeof(*b));
	int file;

	assert_non_null(b);
	b->w = world_make();
	b->now_ns = b->w->now_ns;
	b->account = world_put(b->w, NOUN_ACCOUNT, "a", "{}");
	snprintf(b->tab_path, sizeof(b->tab_path), "%s/%016llx-0000.tab", b->w->spool_path,
		 (unsigned long long)EPOCH);
	snprintf(b->segment_path, sizeof(b->segment_path), "%s/%016llx-0000-00000000.spool", b->w->spool_path,
		 (unsigned long long)EPOCH);
	b->tab = map_new(b->tab_path, tab_bytes(2), &b->file);
	tab_format(b->tab, EPOCH, 0, 2);
	assert_int_equal(flock(b->file, LOCK_EX | LOCK_NB), 0);
	b->segment = map_new(b->segment_path, spool_bytes(RECORDS), &file);
	close(file);
	spool_format(b->segment, EPOCH, 0, 0, RECORDS);
	spool_writer_init(&b->spool, b->segment);
	tabs_init(&b->tabs, &b->w->control.ledger);
	assert_int_equal(reconcile_init(&b->reconcile, &b->tabs), ERR_OK);
	for (uint64_t i = 0; i < records; i++)
		put_record(b, (int64_t)i);
	drain(b);
	step(b);
	return b;
}

static void
books_free(struct books *b)
{
	reconcile_fini(&b->reconcile);
	tabs_fini(&b->tabs);
	munmap(b->tab, tab_bytes(2));
	munmap(b->segment, spool_bytes(RECORDS));
	unlink(b->tab_path);
	unlink(b->segment_path);
	world_free(b->w);
	free(b);
}

static void
assert_difference(struct books *b, uint64_t records, uint64_t cost_nano, uint64_t tokens)
{
	struct reconcile_difference difference = reconcile_difference(&b->reconcile);

	assert_int_equal(difference.records, records);
	assert_int_equal(difference.cost_nano, cost_nano);
	assert_int_equal(difference.tokens, tokens);
}

static void
ask(struct books *b)
{
	uint64_t rounds = b->reconcile.rounds;

	reconcile_ask(&b->reconcile, b->now_ns);
	step(b);
	assert_int_equal(b->reconcile.rounds, rounds + 1);
}

static void
what_agrees_is_no_difference_beside_a_running_worker(void **state)
{
	struct books *b = books_make(15001);

	(void)state;
	assert_int_equal(b->reconcile.rounds, 1);
	assert_int_equal(b->reconcile.checked, 15001);
	assert_difference(b, 0, 0, 0);
	/* In slices: four for the sums. */
	reconcile_ask(&b->reconcile, b->now_ns);
	assert_int_equal(step(b), 1 + 4 + 1 + 1);
	assert_int_equal(b->reconcile.checked, 2 * 15001);
	/* What is not in the ledger yet is waited for, and is no difference. */
	for (int i = 0; i < 5; i++)
		put_record(b, 7);
	b->now_ns += RECONCILE_EVERY_NS;
	step(b);
	assert_true(b->reconcile.is_running);
	assert_int_equal(b->reconcile.rounds, 2);
	assert_difference(b, 0, 0, 0);
	drain(b);
	/* And goes on meanwhile. */
	put_record(b, 9);
	step(b);
	assert_int_equal(b->reconcile.rounds, 3);
	assert_int_equal(b->reconcile.checked, 2 * 15001 + 5);
	assert_difference(b, 0, 0, 0);
	books_free(b);
}

static void
rows_that_are_gone_are_found(void **state)
{
	struct books *b = books_make(100);

	(void)state;
	world_sql(b->w, "DELETE FROM ledger WHERE sequence = 51");
	ask(b);
	assert_difference(b, 1, 50, 5);
	books_free(b);
}

static void
rows_that_were_changed_are_found(void **state)
{
	struct books *b = books_make(100);

	(void)state;
	world_sql(b->w, "UPDATE ledger SET cost_nano = cost_nano + 3 WHERE sequence = 51");
	ask(b);
	assert_difference(b, 0, 3, 0);
	world_sql(b->w, "UPDATE ledger SET cost_nano = cost_nano - 3, prompt_tokens = 0 WHERE sequence = 51");
	ask(b);
	assert_difference(b, 0, 0, 2);
	world_sql(b->w, "UPDATE ledger SET prompt_tokens = 2 WHERE sequence = 51");
	ask(b);
	assert_difference(b, 0, 0, 0);
	books_free(b);
}

/* A row that nobody wrote a record for: beyond what the worker counted, as if its segment had lost it. */
static void
a_record_that_the_spool_lost_is_found(void **state)
{
	struct books *b = books_make(10);

	(void)state;
	for (int i = 0; i < 4; i++)
		put_record(b, 100);
	/* Its last page was never written: two of the four are not there. */
	atomic_store(&b->segment->written, 12);
	drain(b);
	b->now_ns += RECONCILE_EVERY_NS;
	step(b);
	assert_difference(b, 2 + 2, 200, 10); /* of the ledger and of the spool */
	books_free(b);
}

static void
a_damaged_record_is_a_difference(void **state)
{
	struct books *b = books_make(10);

	(void)state;
	put_record(b, 100);
	((uint8_t *)b->segment)[SPOOL_HEADER_BYTES + 10 * USAGE_RECORD_BYTES + 40] ^= 1;
	drain(b);
	b->now_ns += RECONCILE_EVERY_NS;
	step(b);
	assert_difference(b, 1, 100, 5);
	books_free(b);
}

/* Counted, and not in the spool: only a worker's own mistake could do it, or one of its memory. */
static void
a_count_that_is_wrong_is_found(void **state)
{
	struct books *b = books_make(10);
	struct tab_totals *totals = &b->tab->totals[atomic_load(&b->tab->totals_version) & 1];

	(void)state;
	totals->cost_nano += 12;
	ask(b);
	assert_difference(b, 0, 12, 0);
	totals->cost_nano -= 12;
	totals->tokens -= 1;
	ask(b);
	assert_difference(b, 0, 0, 1);
	books_free(b);
}

static void
a_dead_ones_tab_goes_when_it_agrees_and_stays_when_it_does_not(void **state)
{
	(void)state;
	for (int is_wrong = 0; is_wrong < 2; is_wrong++) {
		struct books *b = books_make(10);

		put_record(b, 100);
		flock(b->file, LOCK_UN);
		close(b->file);
		for (int i = 0; i < 4; i++) {
			drain(b);
			if (is_wrong)
				world_sql(b->w, "DELETE FROM ledger WHERE sequence = 11");
			step(b);
		}
		assert_int_equal(access(b->tab_path, F_OK), is_wrong ? 0 : -1);
		assert_difference(b, is_wrong ? 1 : 0, is_wrong ? 100 : 0, is_wrong ? 5 : 0);
		books_free(b);
	}
}

/* Died between the record and its count: the ledger has one more, and that is right. */
static void
one_record_behind_the_count_of_a_dead_one_is_right(void **state)
{
	struct books *b = books_make(10);
	struct usage_record record = { .account_id = (uint64_t)b->account, .cost_nano = 5 };

	(void)state;
	assert_int_equal(spool_append(&b->spool, &record), ERR_OK);
	flock(b->file, LOCK_UN);
	close(b->file);
	for (int i = 0; i < 4; i++) {
		drain(b);
		step(b);
	}
	assert_difference(b, 0, 0, 0);
	assert_int_equal(access(b->tab_path, F_OK), -1);
	books_free(b);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_agrees_is_no_difference_beside_a_running_worker),
		cmocka_unit_test(rows_that_are_gone_are_found),
		cmocka_unit_test(rows_that_were_changed_are_found),
		cmocka_unit_test(a_record_that_the_spool_lost_is_found),
		cmocka_unit_test(a_damaged_record_is_a_difference),
		cmocka_unit_test(a_count_that_is_wrong_is_found),
		cmocka_unit_test(a_dead_ones_tab_goes_when_it_agrees_and_stays_when_it_does_not),
		cmocka_unit_test(one_record_behind_the_count_of_a_dead_one_is_right),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
