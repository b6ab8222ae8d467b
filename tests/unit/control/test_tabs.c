/* What a dataplane left open when it died is billed once, whoever dies meanwhile (F1, F8). */
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>

#include "meter/tab.h"
#include "world.h"

#define EPOCH UINT64_C(0x4321)
#define LINES 600 /* more than one slice */
#define RECORDS 16

struct dead {
	struct world *w;
	struct tabs tabs;
	struct tab_header *tab;
	struct spool_header *segment;
	struct spool_writer spool;
	char tab_path[160];
	char segment_path[160];
	int file; /* locked as long as the dataplane lives */
	int64_t account;
	int64_t told_nano;
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
hear(void *owner, uint64_t account_id, int64_t cost_nano)
{
	struct dead *d = owner;

	assert_int_equal(account_id, d->account);
	d->told_nano += cost_nano;
}

static void
begin_tabs(struct dead *d)
{
	tabs_init(&d->tabs, &d->w->control.ledger);
	d->tabs.spent = hear;
	d->tabs.owner = d;
}

/* A dataplane that lives. */
static struct dead *
dead_make(void)
{
	struct dead *d = calloc(1, sizeof(*d));
	int file;

	assert_non_null(d);
	d->w = world_make();
	d->account = world_put(d->w, NOUN_ACCOUNT, "a", "{}");
	snprintf(d->tab_path, sizeof(d->tab_path), "%s/%016llx-0002.tab", d->w->spool_path,
		 (unsigned long long)EPOCH);
	snprintf(d->segment_path, sizeof(d->segment_path), "%s/%016llx-0002-00000000.spool", d->w->spool_path,
		 (unsigned long long)EPOCH);
	d->tab = map_new(d->tab_path, tab_bytes(LINES), &d->file);
	tab_format(d->tab, EPOCH, 2, LINES);
	assert_int_equal(flock(d->file, LOCK_EX | LOCK_NB), 0);
	d->segment = map_new(d->segment_path, spool_bytes(RECORDS), &file);
	close(file);
	spool_format(d->segment, EPOCH, 2, 0, RECORDS);
	spool_writer_init(&d->spool, d->segment);
	begin_tabs(d);
	return d;
}

static void
dead_free(struct dead *d)
{
	tabs_fini(&d->tabs);
	munmap(d->tab, tab_bytes(LINES));
	munmap(d->segment, spool_bytes(RECORDS));
	unlink(d->tab_path);
	unlink(d->segment_path);
	world_free(d->w);
	free(d);
}

static void
die(struct dead *d)
{
	/* A mapping holds on to a lock, too; ours is to be looked at. */
	assert_int_equal(flock(d->file, LOCK_UN), 0);
	assert_int_equal(close(d->file), 0);
}

static struct usage_record
record_of(const struct dead *d, uint8_t request, int64_t cost_nano)
{
	return (struct usage_record){ .request_id = { request }, .account_id = (uint64_t)d->account,
				      .outcome = USAGE_CRASHED, .source = USAGE_ESTIMATED, .cost_nano = cost_nano,
				      .prompt_tokens = 3, .completion_tokens = 4, .finished_at_unix_ns = 1000,
				      .price_id = 5, .price_version = 6 };
}

static void
put_open(struct dead *d, uint32_t line, uint8_t request, int64_t cost_nano)
{
	struct usage_record record = record_of(d, request, cost_nano);

	tab_write(d->tab, line, &record);
}

static struct tab_line *
line_at(struct dead *d, uint32_t line)
{
	return (struct tab_line *)((uintptr_t)d->tab + TAB_HEADER_BYTES) + line;
}

/* Turns of control's loop. */
static void
turn(struct dead *d, bool drains)
{
	struct ledger *ledger = &d->w->control.ledger;
	bool more = drains;

	ledger_scan(ledger, EPOCH + 1, d->w->now_ns);
	tabs_scan(&d->tabs);
	while (more)
		assert_int_equal(ledger_drain(ledger, d->w->now_ns, &more), ERR_OK);
	for (more = true; more;)
		assert_int_equal(tabs_settle(&d->tabs, &more), ERR_OK);
}

static int64_t
crashed_rows(struct dead *d)
{
	return world_number(d->w, "SELECT count(*) FROM ledger WHERE outcome = 4 AND price_version = 6");
}

static int64_t
spent(struct dead *d)
{
	return world_number(d->w, "SELECT spent_nano FROM accounts");
}

static void
each_open_line_becomes_one_record(void **state)
{
	struct dead *d = dead_make();
	struct usage_record record = record_of(d, 9, 1000);

	(void)state;
	put_open(d, 0, 1, 10);
	put_open(d, 255, 2, 20);
	put_open(d, 256, 3, 30);
	put_open(d, LINES - 1, 4, 40);
	/* One that has ended, and two that died while they did: with their record, and without. */
	record.outcome = USAGE_OK;
	put_open(d, 7, 9, 50);
	assert_int_equal(tab_close(d->tab, 7, &d->spool, &record), ERR_OK);
	put_open(d, 8, 10, 60);
	record = record_of(d, 10, 2000);
	record.outcome = USAGE_OK;
	assert_int_equal(tab_close(d->tab, 8, &d->spool, &record), ERR_OK);
	atomic_store(&line_at(d, 8)->state, d->spool.sequence);
	put_open(d, 9, 11, 70);
	atomic_store(&line_at(d, 9)->state, d->spool.sequence + 1);
	turn(d, true);
	turn(d, true);
	assert_int_equal(crashed_rows(d), 0); /* it lives */
	assert_int_equal(spent(d), 3000);
	die(d);
	turn(d, true);
	turn(d, true);
	assert_int_equal(crashed_rows(d), 5);
	assert_int_equal(world_number(d->w, "SELECT count(*) FROM ledger"), 7);
	assert_int_equal(world_number(d->w, "SELECT count(DISTINCT request_id) FROM ledger"), 7);
	assert_int_equal(spent(d), 3000 + 10 + 20 + 30 + 40 + 70);
	assert_int_equal(d->told_nano, 170);
	assert_int_equal(d->tabs.crashed, 5);
	/* It is the reconciliation that lets it go. */
	turn(d, true);
	assert_int_equal(access(d->tab_path, F_OK), 0);
	dead_free(d);
}

static int64_t
all_rows(struct dead *d)
{
	return world_number(d->w, "SELECT count(*) FROM ledger");
}

/* As control's loop does until there is nothing left to do. */
static void
settle_all(struct dead *d)
{
	for (int i = 0; i < 5; i++)
		turn(d, true);
	assert_int_equal(tabs_pending(&d->tabs), 0);
	assert_int_equal(ledger_pending(&d->w->control.ledger), 0);
}

static void
end(struct dead *d, uint32_t line, uint8_t request, int64_t cost_nano)
{
	struct usage_record record = record_of(d, request, cost_nano);

	record.outcome = USAGE_OK;
	assert_int_equal(tab_close(d->tab, line, &d->spool, &record), ERR_OK);
}

/* A kill before the word that counts a record, behind each word of the record. */
static void
a_record_that_nobody_counted_is_billed_once(void **state)
{
	(void)state;
	for (size_t kept = 0; kept <= USAGE_RECORD_BYTES; kept += 8) {
		struct dead *d = dead_make();
		uint8_t *record = (uint8_t *)d->segment + SPOOL_HEADER_BYTES + USAGE_RECORD_BYTES;
		/* The words behind this one are zero anyway. */
		bool is_whole = kept >= offsetof(struct usage_record, finished_at_unix_ns) + 8;

		put_open(d, 0, 1, 900);
		end(d, 0, 1, 1000);
		put_open(d, 0, 2, 900);
		end(d, 0, 2, 1000);
		memset(record + kept, 0, USAGE_RECORD_BYTES - kept);
		atomic_store(&d->segment->written, 1);
		atomic_store(&line_at(d, 0)->state, 2);
		atomic_store(&d->tab->totals_version, 1);
		die(d);
		settle_all(d);
		assert_int_equal(all_rows(d), 2);
		assert_int_equal(crashed_rows(d), is_whole ? 0 : 1);
		assert_int_equal(spent(d), is_whole ? 2000 : 1900);
		assert_int_equal(d->w->control.ledger.recovered, is_whole ? 1 : 0);
		dead_free(d);
	}
}

/* F14: each page of the disk is of another moment: the count of the segment, the lines of the tab and its totals
 * are from before the records. A control that is killed behind each step of it changes nothing. */
static void
a_power_cut_bills_nobody_twice(void **state)
{
	(void)state;
	for (int deaths = 0; deaths < 6; deaths++) {
		struct dead *d = dead_make();

		for (uint8_t i = 0; i < RECORDS; i++)
			put_open(d, i, i + 1, 900);
		put_open(d, RECORDS, 99, 900);
		for (uint8_t i = 0; i < RECORDS; i++)
			end(d, i, i + 1, 1000);
		/* Two records are counted; half of the lines were freed. */
		atomic_store(&d->segment->written, 2);
		memset(d->tab->totals, 0, sizeof(d->tab->totals));
		atomic_store(&d->tab->totals_version, 0);
		for (uint32_t i = 0; i < RECORDS; i += 2)
			atomic_store(&line_at(d, i)->state, TAB_OPEN);
		die(d);
		for (int life = 0; life < deaths; life++) {
			bool more = false;

			ledger_scan(&d->w->control.ledger, EPOCH + 1, d->w->now_ns);
			tabs_scan(&d->tabs);
			tabs_scan(&d->tabs);
			for (int step = 0; step < life; step++) {
				ledger_drain(&d->w->control.ledger, d->w->now_ns, &more);
				assert_int_equal(tabs_settle(&d->tabs, &more), ERR_OK);
			}
			tabs_fini(&d->tabs);
			world_restart(d->w);
			begin_tabs(d);
		}
		settle_all(d);
		assert_int_equal(all_rows(d), RECORDS + 1);
		assert_int_equal(crashed_rows(d), 1);
		assert_int_equal(spent(d), RECORDS * 1000 + 900);
		dead_free(d);
	}
}

/* A request that was noted again behind a record has that one not to look for; one of another request is none. */
static void
a_line_is_looked_for_behind_its_note_only(void **state)
{
	struct dead *d = dead_make();

	(void)state;
	put_open(d, 0, 7, 900);
	end(d, 0, 7, 1000);
	/* No two requests have one id. That these do shows where it is looked for. */
	put_open(d, 1, 7, 10);
	put_open(d, 2, 8, 20);
	end(d, 3, 9, 1000);
	die(d);
	settle_all(d);
	assert_int_equal(crashed_rows(d), 2);
	assert_int_equal(spent(d), 2030);
	dead_free(d);
}

/* Nothing is decided by what a segment may have that cannot be read. */
static void
a_tab_waits_for_segments_that_cannot_be_read(void **state)
{
	struct dead *d = dead_make();
	char away[176];
	bool more;

	(void)state;
	put_open(d, 0, 1, 900);
	end(d, 0, 1, 1000);
	atomic_store(&d->segment->written, 0);
	atomic_store(&line_at(d, 0)->state, TAB_OPEN);
	die(d);
	ledger_scan(&d->w->control.ledger, EPOCH + 1, d->w->now_ns);
	tabs_scan(&d->tabs);
	tabs_scan(&d->tabs);
	snprintf(away, sizeof(away), "%s.away", d->segment_path);
	assert_int_equal(rename(d->segment_path, away), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tabs_settle(&d->tabs, &more), ERR_OK);
		assert_false(more);
		assert_int_equal(tabs_unreadable(&d->tabs), 1);
		assert_true(tabs_pending(&d->tabs) > 0);
		assert_non_null(strstr(d->w->control.store.problem, "cannot be read"));
	}
	assert_int_equal(all_rows(d), 0);
	assert_int_equal(rename(away, d->segment_path), 0);
	settle_all(d);
	assert_int_equal(all_rows(d), 1);
	assert_int_equal(spent(d), 1000);
	dead_free(d);
}

static void
a_copy_of_a_tab_is_none(void **state)
{
	struct dead *d = dead_make();
	char copy[160];
	int file;

	(void)state;
	put_open(d, 0, 1, 900);
	snprintf(copy, sizeof(copy), "%s/%016llx-0003.tab", d->w->spool_path, (unsigned long long)EPOCH);
	file = open(copy, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_int_equal(write(file, d->tab, tab_bytes(LINES)), tab_bytes(LINES));
	assert_int_equal(close(file), 0);
	for (int i = 0; i < 3; i++)
		turn(d, true);
	assert_int_equal(all_rows(d), 0);
	assert_int_equal(d->tabs.unreadable, 1);
	assert_int_equal(access(copy, F_OK), 0);
	unlink(copy);
	die(d);
	dead_free(d);
}

/* Its segments may say that a line was settled: nothing is decided before they are in the ledger. */
static void
a_tab_waits_for_its_segments(void **state)
{
	struct dead *d = dead_make();
	struct usage_record record = record_of(d, 1, 5);

	(void)state;
	put_open(d, 0, 1, 4);
	assert_int_equal(tab_close(d->tab, 0, &d->spool, &record), ERR_OK);
	atomic_store(&line_at(d, 0)->state, 1);
	die(d);
	for (int i = 0; i < 3; i++)
		turn(d, false);
	assert_int_equal(world_number(d->w, "SELECT count(*) FROM ledger"), 0);
	assert_true(tabs_pending(&d->tabs) > 0);
	turn(d, true);
	turn(d, true);
	assert_int_equal(world_number(d->w, "SELECT count(*) FROM ledger"), 1);
	assert_int_equal(spent(d), 5);
	assert_int_equal(d->told_nano, 0);
	assert_int_equal(tabs_pending(&d->tabs), 0);
	dead_free(d);
}

/* Its last segment may be younger than the look at the folder that its tab is found dead behind. */
static void
who_is_found_dead_is_settled_by_the_next_look(void **state)
{
	struct dead *d = dead_make();
	struct usage_record record = record_of(d, 1, 5);
	struct ledger *ledger = &d->w->control.ledger;
	char hidden[200];
	bool more;

	(void)state;
	snprintf(hidden, sizeof(hidden), "%s.not-yet", d->segment_path);
	assert_int_equal(rename(d->segment_path, hidden), 0);
	put_open(d, 1, 2, 7);
	turn(d, true);
	ledger_scan(ledger, EPOCH + 1, d->w->now_ns);
	/* Now a segment is made, a request ends into it, and its worker dies on the way out of its line. */
	assert_int_equal(rename(hidden, d->segment_path), 0);
	put_open(d, 0, 1, 4);
	assert_int_equal(tab_close(d->tab, 0, &d->spool, &record), ERR_OK);
	atomic_store(&line_at(d, 0)->state, 1);
	die(d);
	tabs_scan(&d->tabs);
	for (more = true; more;)
		assert_int_equal(ledger_drain(ledger, d->w->now_ns, &more), ERR_OK);
	for (more = true; more;)
		assert_int_equal(tabs_settle(&d->tabs, &more), ERR_OK);
	assert_int_equal(world_number(d->w, "SELECT count(*) FROM ledger"), 0);
	turn(d, true);
	assert_int_equal(world_number(d->w, "SELECT count(*) FROM ledger"), 2);
	assert_int_equal(crashed_rows(d), 2); /* both say so: the request's own record is its only row */
	assert_int_equal(spent(d), 5 + 7);
	assert_int_equal(d->told_nano, 7);
	dead_free(d);
}

/* Control dies behind each commit, before it knows of it: all is read again, and nothing is added. */
static void
a_tab_that_is_read_again_adds_nothing(void **state)
{
	struct dead *d = dead_make();

	(void)state;
	for (uint32_t line = 0; line < LINES; line += 3)
		put_open(d, line, (uint8_t)line, 7);
	die(d);
	for (int life = 0; life < 4; life++) {
		bool more = false;

		ledger_scan(&d->w->control.ledger, EPOCH + 1, d->w->now_ns);
		tabs_scan(&d->tabs);
		tabs_scan(&d->tabs);
		for (int slice = 0; slice < life; slice++)
			assert_int_equal(tabs_settle(&d->tabs, &more), ERR_OK);
		tabs_fini(&d->tabs);
		world_restart(d->w);
		begin_tabs(d);
	}
	turn(d, true);
	turn(d, true);
	assert_int_equal(crashed_rows(d), LINES / 3);
	assert_int_equal(spent(d), 7 * LINES / 3);
	dead_free(d);
}

/* T97 has no place here: what a disk lost is said, and what it kept is billed. */
static void
a_damaged_line_is_counted_and_the_rest_goes_on(void **state)
{
	struct dead *d = dead_make();

	(void)state;
	for (uint32_t line = 0; line < 4; line++)
		put_open(d, line, (uint8_t)(line + 1), 7);
	line_at(d, 1)->record[1].cost_nano = 70000000;
	/* Whole, but of another line. */
	*line_at(d, 2) = *line_at(d, 3);
	die(d);
	turn(d, true);
	turn(d, true);
	assert_int_equal(crashed_rows(d), 2);
	assert_int_equal(spent(d), 14);
	assert_int_equal(d->tabs.damaged, 2);
	dead_free(d);
}

static void
what_is_no_tab_is_left_alone(void **state)
{
	struct dead *d = dead_make();

	(void)state;
	put_open(d, 0, 1, 7);
	assert_int_equal(truncate(d->tab_path, (off_t)tab_bytes(LINES) - 1), 0);
	die(d);
	for (int i = 0; i < 3; i++)
		turn(d, true);
	assert_int_equal(crashed_rows(d), 0);
	assert_int_equal(d->tabs.unreadable, 1);
	assert_int_equal(access(d->tab_path, F_OK), 0);
	dead_free(d);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_open_line_becomes_one_record),
		cmocka_unit_test(a_record_that_nobody_counted_is_billed_once),
		cmocka_unit_test(a_power_cut_bills_nobody_twice),
		cmocka_unit_test(a_line_is_looked_for_behind_its_note_only),
		cmocka_unit_test(a_tab_waits_for_segments_that_cannot_be_read),
		cmocka_unit_test(a_copy_of_a_tab_is_none),
		cmocka_unit_test(a_tab_waits_for_its_segments),
		cmocka_unit_test(who_is_found_dead_is_settled_by_the_next_look),
		cmocka_unit_test(a_tab_that_is_read_again_adds_nothing),
		cmocka_unit_test(a_damaged_line_is_counted_and_the_rest_goes_on),
		cmocka_unit_test(what_is_no_tab_is_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
