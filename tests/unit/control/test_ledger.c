/* Usage records reach the ledger once, whatever is replayed and whoever dies when. */
#include <fcntl.h>
#include <sys/mman.h>

#include "world.h"

#define EPOCH UINT64_C(0x1234)

static void
segment_path(struct world *w, char path[160], uint64_t epoch, uint32_t worker, uint32_t number)
{
	snprintf(path, 160, "%s/%016llx-%04x-%08x.spool", w->spool_path, (unsigned long long)epoch,
		 worker, number);
}

static struct spool_header *
make_segment(struct world *w, uint64_t epoch, uint32_t worker, uint32_t number, uint32_t capacity)
{
	size_t bytes = spool_bytes(capacity);
	struct spool_header *segment;
	char path[160];
	int file;

	segment_path(w, path, epoch, worker, number);
	file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_true(file >= 0);
	assert_int_equal(ftruncate(file, (off_t)bytes), 0);
	segment = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	assert_ptr_not_equal(segment, MAP_FAILED);
	close(file);
	spool_format(segment, epoch, worker, number, capacity);
	return segment;
}

static struct usage_record
record_of(int64_t account_id, int64_t cost_nano)
{
	return (struct usage_record){ .account_id = (uint64_t)account_id, .cost_nano = cost_nano,
				      .status = 200, .prompt_tokens = 7, .completion_tokens = 11,
				      .unit = USAGE_IMAGES, .units = 3,
				      .finished_at_unix_ns = 1000, .region_len = 2,
				      .region = "mv" };
}

static void
drain_all(struct world *w)
{
	bool more = true;

	ledger_scan(&w->control.ledger, EPOCH, w->now_ns);
	while (more)
		assert_int_equal(ledger_drain(&w->control.ledger, w->now_ns, &more), ERR_OK);
}

static int64_t
spent(struct world *w)
{
	return world_number(w, "SELECT sum(spent_nano) FROM accounts");
}

/* What no sum holds stops nobody else's records, and is no credit (T97). */
static void
sums_that_do_not_fit_stay_at_the_largest(void **state)
{
	struct world *w = world_make();
	struct spool_header *segment = make_segment(w, EPOCH, 0, 0, 8);
	struct spool_writer writer;
	struct usage_record record;

	(void)state;
	world_sql(w, "INSERT INTO accounts (name, spent_nano) VALUES ('a', 1), ('b', 0), ('c', 0)");
	spool_writer_init(&writer, segment);
	for (int i = 0; i < 2; i++) {
		record = record_of(2, INT64_C(4700000000000000000));
		assert_int_equal(spool_append(&writer, &record), ERR_OK);
	}
	record = record_of(1, INT64_MAX);
	assert_int_equal(spool_append(&writer, &record), ERR_OK);
	record = record_of(3, 5);
	assert_int_equal(spool_append(&writer, &record), ERR_OK);
	drain_all(w);
	assert_int_equal(world_number(w, "SELECT spent_nano FROM accounts WHERE name = 'a'"), INT64_MAX);
	assert_int_equal(world_number(w, "SELECT spent_nano FROM accounts WHERE name = 'b'"), INT64_MAX);
	assert_int_equal(world_number(w, "SELECT spent_nano FROM accounts WHERE name = 'c'"), 5);
	munmap(segment, spool_bytes(8));
	world_free(w);
}

static int64_t
rows(struct world *w)
{
	return world_number(w, "SELECT count(*) FROM ledger");
}

static bool
is_there(struct world *w, uint32_t number)
{
	char path[160];

	segment_path(w, path, EPOCH, 0, number);
	return access(path, F_OK) == 0;
}

static void
remove_segments(struct world *w)
{
	char path[160];

	for (uint32_t number = 0; number < 4; number++) {
		segment_path(w, path, EPOCH, 0, number);
		unlink(path);
	}
}

static void
records_are_charged_to_their_accounts(void **state)
{
	struct world *w = world_make();
	int64_t a = world_put(w, NOUN_ACCOUNT, "a", "{}"), b = world_put(w, NOUN_ACCOUNT, "b", "{}");
	struct spool_header *segment = make_segment(w, EPOCH, 0, 0, 8);
	struct spool_writer writer;
	struct usage_record record;

	(void)state;
	spool_writer_init(&writer, segment);
	for (int i = 0; i < 5; i++) {
		record = record_of(i % 2 ? a : b, 100 + i);
		assert_int_equal(spool_append(&writer, &record), ERR_OK);
	}
	drain_all(w);
	assert_int_equal(rows(w), 5);
	assert_int_equal(world_number(w, "SELECT spent_nano FROM accounts WHERE name = 'a'"), 204);
	assert_int_equal(world_number(w, "SELECT spent_nano FROM accounts WHERE name = 'b'"), 306);
	assert_int_equal(world_number(w, "SELECT sum(completion_tokens) FROM ledger"), 55);
	assert_int_equal(world_number(w, "SELECT sum(units) FROM ledger WHERE unit = 2"), 15);
	assert_int_equal(world_number(w, "SELECT count(*) FROM ledger WHERE region = 'mv'"), 5);
	assert_int_equal(segment->drained, 5);
	assert_true(is_there(w, 0)); /* not full: its worker goes on */
	record = record_of(a, 1);
	spool_append(&writer, &record);
	drain_all(w);
	assert_int_equal(rows(w), 6);
	assert_int_equal(w->control.ledger.gaps, 0);
	remove_segments(w);
	world_free(w);
}

/* Control dies after the commit and before `drained` is moved: three times. */
static void
a_segment_that_is_replayed_three_times_is_charged_once(void **state)
{
	struct world *w = world_make();
	int64_t a = world_put(w, NOUN_ACCOUNT, "a", "{}");
	struct spool_header *segment = make_segment(w, EPOCH, 0, 0, 100);
	struct spool_writer writer;

	(void)state;
	spool_writer_init(&writer, segment);
	for (int i = 0; i < 50; i++) {
		struct usage_record record = record_of(a, 10);

		spool_append(&writer, &record);
	}
	drain_all(w);
	for (int life = 0; life < 3; life++) {
		segment->drained = 0;
		world_restart(w);
		drain_all(w);
		assert_int_equal(w->control.ledger.replayed, 50);
		assert_int_equal(w->control.ledger.records, 0);
		assert_int_equal(rows(w), 50);
		assert_int_equal(spent(w), 500);
	}
	remove_segments(w);
	world_free(w);
}

static void
a_full_segment_is_deleted_when_it_is_drained_and_no_earlier(void **state)
{
	struct world *w = world_make();
	int64_t a = world_put(w, NOUN_ACCOUNT, "a", "{}");
	struct spool_header *first = make_segment(w, EPOCH, 0, 0, 4);
	struct spool_header *second = make_segment(w, EPOCH, 0, 1, 4);
	struct spool_writer writer;

	(void)state;
	spool_writer_init(&writer, first);
	atomic_store(&writer.next, second);
	for (int i = 0; i < 6; i++) {
		struct usage_record record = record_of(a, 10);

		assert_int_equal(spool_append(&writer, &record), ERR_OK);
	}
	ledger_scan(&w->control.ledger, EPOCH, w->now_ns);
	assert_true(is_there(w, 0)); /* sealed, but not drained */
	drain_all(w);
	drain_all(w);
	assert_false(is_there(w, 0));
	assert_true(is_there(w, 1));
	assert_int_equal(rows(w), 6);
	assert_int_equal(spent(w), 60);
	assert_int_equal(w->control.ledger.gaps, 0);
	assert_int_equal(w->control.ledger.retired, 1);
	remove_segments(w);
	world_free(w);
}

static void
what_a_dead_dataplane_left_is_drained_and_kept_for_a_while(void **state)
{
	struct world *w = world_make();
	struct spool_header *segment = make_segment(w, EPOCH, 0, 0, 4);
	struct usage_record record = record_of(world_put(w, NOUN_ACCOUNT, "a", "{}"), 10);
	struct spool_writer writer;

	(void)state;
	spool_writer_init(&writer, segment);
	spool_append(&writer, &record);
	drain_all(w);
	assert_int_equal(spent(w), 10);
	ledger_scan(&w->control.ledger, EPOCH + 1, w->now_ns + LEDGER_FORGET_NS);
	assert_true(is_there(w, 0));
	ledger_scan(&w->control.ledger, EPOCH, w->now_ns + LEDGER_FORGET_NS + 1);
	assert_true(is_there(w, 0)); /* of the living dataplane: never */
	ledger_scan(&w->control.ledger, EPOCH + 1, w->now_ns + LEDGER_FORGET_NS + 1);
	assert_false(is_there(w, 0));
	world_free(w);
}

/* The shared file was made anew beside a dataplane that lives on and is idle: its tab says that it may write. */
static void
a_segment_whose_tab_is_there_is_kept(void **state)
{
	struct world *w = world_make();
	struct spool_header *segment = make_segment(w, EPOCH, 0, 0, 4);
	struct usage_record record = record_of(world_put(w, NOUN_ACCOUNT, "a", "{}"), 10);
	struct spool_writer writer;
	char tab[160];
	FILE *file;

	(void)state;
	snprintf(tab, sizeof(tab), "%s/%016llx-0000.tab", w->spool_path, (unsigned long long)EPOCH);
	file = fopen(tab, "w");
	assert_non_null(file);
	fclose(file);
	spool_writer_init(&writer, segment);
	spool_append(&writer, &record);
	drain_all(w);
	ledger_scan(&w->control.ledger, EPOCH + 1, w->now_ns + 2 * LEDGER_FORGET_NS);
	assert_true(is_there(w, 0));
	spool_append(&writer, &record);
	drain_all(w);
	assert_int_equal(rows(w), 2);
	unlink(tab);
	ledger_scan(&w->control.ledger, EPOCH + 1, w->now_ns + 4 * LEDGER_FORGET_NS);
	assert_false(is_there(w, 0));
	world_free(w);
}

/* The lag goes by the wall clock, which anybody may set (F15). */
static void
a_clock_that_was_set_back_makes_no_lag(void **state)
{
	struct world *w = world_make();
	int64_t account = world_put(w, NOUN_ACCOUNT, "a", "{}");
	struct spool_header *segment = make_segment(w, EPOCH, 0, 0, 8);
	const uint64_t then_ns = UINT64_C(1700000000) * NSEC_PER_SEC;
	struct usage_record record = record_of(account, 1);
	struct spool_writer writer;

	(void)state;
	record.finished_at_unix_ns = then_ns;
	spool_writer_init(&writer, segment);
	assert_int_equal(spool_append(&writer, &record), ERR_OK);
	ledger_scan(&w->control.ledger, EPOCH, w->now_ns);
	assert_int_equal(ledger_lag_ns(&w->control.ledger, then_ns + 5), 5);
	assert_int_equal(ledger_lag_ns(&w->control.ledger, then_ns), 0);
	assert_int_equal(ledger_lag_ns(&w->control.ledger, then_ns - 3600 * NSEC_PER_SEC), 0);
	assert_int_equal(ledger_lag_ns(&w->control.ledger, then_ns + 86400 * NSEC_PER_SEC), 86400 * NSEC_PER_SEC);
	drain_all(w);
	assert_int_equal(ledger_lag_ns(&w->control.ledger, then_ns + 5), 0);
	remove_segments(w);
	munmap(segment, spool_bytes(8));
	world_free(w);
}

static void
missing_records_are_counted(void **state)
{
	struct world *w = world_make();
	int64_t a = world_put(w, NOUN_ACCOUNT, "a", "{}");
	struct spool_header *segment = make_segment(w, EPOCH, 0, 3, 4);
	struct usage_record record = record_of(a, 10);
	struct spool_writer writer;

	(void)state;
	/* Numbers 1 to 9 were in segments that somebody has deleted. */
	spool_writer_init(&writer, segment);
	writer.sequence = 9;
	segment->first_sequence = 10;
	spool_append(&writer, &record);
	drain_all(w);
	assert_int_equal(rows(w), 1);
	assert_int_equal(w->control.ledger.gaps, 9);
	remove_segments(w);
	world_free(w);
}

static void
a_damaged_record_is_counted_and_the_rest_goes_on(void **state)
{
	struct world *w = world_make();
	int64_t a = world_put(w, NOUN_ACCOUNT, "a", "{}");
	struct spool_header *segment = make_segment(w, EPOCH, 0, 0, 8);
	struct spool_writer writer;

	(void)state;
	spool_writer_init(&writer, segment);
	for (int i = 0; i < 3; i++) {
		struct usage_record record = record_of(a, 10);

		spool_append(&writer, &record);
	}
	((uint8_t *)segment)[SPOOL_HEADER_BYTES + USAGE_RECORD_BYTES + 100] ^= 1; /* of the second */
	drain_all(w);
	assert_int_equal(rows(w), 2);
	assert_int_equal(spent(w), 20);
	assert_int_equal(w->control.ledger.damaged, 1);
	assert_int_equal(segment->drained, 3);
	remove_segments(w);
	world_free(w);
}

static void
files_that_are_no_segments_are_left_alone(void **state)
{
	struct world *w = world_make();
	char path[160];
	int file;

	(void)state;
	segment_path(w, path, EPOCH, 0, 0);
	file = open(path, O_RDWR | O_CREAT, 0600);
	assert_int_equal(ftruncate(file, 8192), 0); /* made, not formatted yet */
	close(file);
	drain_all(w);
	assert_int_equal(w->control.ledger.segment_count, 0);
	assert_int_equal(w->control.ledger.foreign, 1);
	assert_true(is_there(w, 0));
	remove_segments(w);
	world_free(w);
}

static void
the_last_epoch_is_the_highest_of_files_and_ledger(void **state)
{
	struct world *w = world_make();
	struct spool_header *segment = make_segment(w, EPOCH, 0, 0, 4);
	struct usage_record record = record_of(world_put(w, NOUN_ACCOUNT, "a", "{}"), 1);
	struct spool_writer writer;
	uint64_t epoch = 99;

	(void)state;
	assert_int_equal(ledger_last_epoch(&w->control.ledger, &epoch), ERR_OK);
	assert_int_equal(epoch, 0);
	spool_writer_init(&writer, segment);
	spool_append(&writer, &record);
	ledger_scan(&w->control.ledger, EPOCH, w->now_ns);
	assert_int_equal(ledger_last_epoch(&w->control.ledger, &epoch), ERR_OK);
	assert_int_equal(epoch, EPOCH);
	drain_all(w);
	remove_segments(w);
	ledger_scan(&w->control.ledger, EPOCH, w->now_ns);
	assert_int_equal(ledger_last_epoch(&w->control.ledger, &epoch), ERR_OK);
	assert_int_equal(epoch, EPOCH);
	world_free(w);
}

/* --- faults of store and disk ----------------------------------------------------------------- */

static void
put_records(struct spool_writer *writer, int64_t account, int count)
{
	for (int i = 0; i < count; i++) {
		struct usage_record record = record_of(account, 10);

		assert_int_equal(spool_append(writer, &record), ERR_OK);
	}
}

/* F9: a minute, an hour and a day, in virtual time: records wait in order, and each is taken once. */
static void
a_store_that_is_away_costs_nothing_but_time(void **state)
{
	static const uint64_t away_s[] = { 60, 3600, 26 * 3600 };
	struct world *w = world_make();
	int64_t a = world_put(w, NOUN_ACCOUNT, "a", "{}");
	struct spool_header *segment = make_segment(w, EPOCH, 0, 0, 400);
	struct spool_writer writer;
	bool more;

	(void)state;
	spool_writer_init(&writer, segment);
	put_records(&writer, a, 1);
	drain_all(w);
	for (size_t k = 0; k < COUNT_OF(away_s); k++) {
		world_sql(w, "ALTER TABLE ledger RENAME TO ledger_away");
		for (uint64_t second = 0; second < away_s[k]; second += away_s[k] / 30) {
			put_records(&writer, a, 1);
			w->now_ns += away_s[k] / 30 * NSEC_PER_SEC;
			ledger_scan(&w->control.ledger, EPOCH + 1, w->now_ns);
			assert_int_not_equal(ledger_drain(&w->control.ledger, w->now_ns, &more), ERR_OK);
			assert_true(is_there(w, 0));
		}
		assert_int_equal(ledger_pending(&w->control.ledger), 30);
		world_sql(w, "ALTER TABLE ledger_away RENAME TO ledger");
		assert_int_equal(rows(w), 1 + 30 * (int64_t)k);
		drain_all(w);
		assert_int_equal(rows(w), 31 + 30 * (int64_t)k);
		assert_int_equal(spent(w), 10 * rows(w));
		assert_int_equal(world_number(w, "SELECT max(sequence) FROM ledger"), rows(w));
	}
	assert_int_equal(w->control.ledger.replayed, 0);
	remove_segments(w);
	world_free(w);
}

/* A batch that fails at its last step leaves nothing of the steps before: no row that nobody paid for. */
static void
a_batch_is_whole_or_not_there(void **state)
{
	struct world *w = world_make();
	int64_t a = world_put(w, NOUN_ACCOUNT, "a", "{}");
	struct spool_header *segment = make_segment(w, EPOCH, 0, 0, 8);
	struct spool_writer writer;
	bool more;

	(void)state;
	spool_writer_init(&writer, segment);
	put_records(&writer, a, 3);
	ledger_scan(&w->control.ledger, EPOCH, w->now_ns);
	world_sql(w, "ALTER TABLE node_spending RENAME TO node_spending_away");
	for (int i = 0; i < 2; i++) {
		assert_int_not_equal(ledger_drain(&w->control.ledger, w->now_ns, &more), ERR_OK);
		assert_int_equal(segment->drained, 0);
		assert_int_equal(rows(w), 0);
		assert_int_equal(spent(w), 0);
	}
	world_sql(w, "ALTER TABLE node_spending_away RENAME TO node_spending");
	drain_all(w);
	assert_int_equal(rows(w), 3);
	assert_int_equal(spent(w), 30);
	remove_segments(w);
	world_free(w);
}

/* F12: what cannot be read is not skipped, and not taken for read. */
static void
a_segment_that_cannot_be_read_waits(void **state)
{
	struct world *w = world_make();
	int64_t a = world_put(w, NOUN_ACCOUNT, "a", "{}");
	struct spool_header *segment = make_segment(w, EPOCH, 0, 0, 8);
	struct spool_writer writer;
	char path[160], away[170];
	bool more;

	(void)state;
	spool_writer_init(&writer, segment);
	put_records(&writer, a, 3);
	ledger_scan(&w->control.ledger, EPOCH, w->now_ns);
	segment_path(w, path, EPOCH, 0, 0);
	snprintf(away, sizeof(away), "%s.away", path);
	assert_int_equal(rename(path, away), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ledger_drain(&w->control.ledger, w->now_ns, &more), ERR_OK);
		assert_false(more);
		assert_non_null(strstr(w->control.store.problem, "cannot be read"));
		assert_int_equal(ledger_unreadable(&w->control.ledger), 1);
		assert_int_equal(w->control.ledger.complete_at_ns, 0);
		assert_false(ledger_is_drained(&w->control.ledger, EPOCH, 0));
	}
	assert_int_equal(segment->drained, 0);
	assert_int_equal(w->control.ledger.damaged, 0);
	assert_int_equal(rename(away, path), 0);
	/* It is tried again when the folder is looked at again. */
	assert_int_equal(ledger_drain(&w->control.ledger, w->now_ns, &more), ERR_OK);
	assert_int_equal(segment->drained, 0);
	drain_all(w);
	assert_int_equal(rows(w), 3);
	assert_int_equal(ledger_unreadable(&w->control.ledger), 0);
	assert_int_not_equal(w->control.ledger.complete_at_ns, 0);
	remove_segments(w);
	world_free(w);
}

/* A header that lies, of more records than a disk has: one line of the log, and one step. */
static void
records_that_a_file_has_no_room_for_are_dropped_at_once(void **state)
{
	struct world *w = world_make();
	int64_t a = world_put(w, NOUN_ACCOUNT, "a", "{}");
	struct spool_header *segment = make_segment(w, EPOCH, 0, 0, 8);
	struct spool_writer writer;
	char path[160], kept[176];

	(void)state;
	spool_writer_init(&writer, segment);
	put_records(&writer, a, 3);
	segment->capacity = UINT32_MAX;
	atomic_store(&segment->written, UINT32_MAX);
	drain_all(w);
	assert_int_equal(rows(w), 3);
	assert_int_equal(w->control.ledger.damaged, UINT32_MAX - 3);
	assert_int_equal(segment->drained, UINT32_MAX);
	segment_path(w, path, EPOCH, 0, 0);
	snprintf(kept, sizeof(kept), "%s.damaged", path);
	assert_int_equal(unlink(kept), 0);
	remove_segments(w);
	world_free(w);
}

/* Of three segments two cannot be read: the third is drained, whichever has its turn first. */
static void
what_cannot_be_read_keeps_nobody_waiting(void **state)
{
	(void)state;
	for (uint32_t readable = 0; readable < 3; readable++) {
		struct world *w = world_make();
		int64_t a = world_put(w, NOUN_ACCOUNT, "a", "{}");
		struct spool_writer writer;
		char path[160];

		for (uint32_t worker = 0; worker < 3; worker++) {
			spool_writer_init(&writer, make_segment(w, EPOCH, worker, 0, 8));
			put_records(&writer, a, 2);
		}
		ledger_scan(&w->control.ledger, EPOCH, w->now_ns);
		for (uint32_t worker = 0; worker < 3; worker++) {
			segment_path(w, path, EPOCH, worker, 0);
			if (worker != readable)
				unlink(path);
		}
		assert_int_equal(ledger_drain_all(&w->control.ledger, w->now_ns), ERR_SPOOL_FILE);
		assert_int_equal(rows(w), 2);
		assert_int_equal(ledger_pending(&w->control.ledger), 4);
		segment_path(w, path, EPOCH, readable, 0);
		unlink(path);
		world_free(w);
	}
}

/* A segment of three records, changed by `change` at `at`, drained in a world of its own. Whatever it is: a record
 * is in the ledger, or it is said that it is not, and then its bytes are kept. */
enum change { FLIP, CUT };

static void
drain_changed(enum change change, size_t at)
{
	struct world *w = world_make();
	int64_t a = world_put(w, NOUN_ACCOUNT, "a", "{}");
	struct spool_header *segment = make_segment(w, EPOCH, 0, 0, 3);
	struct spool_writer writer;
	char path[160], kept[176];
	uint64_t missing;

	spool_writer_init(&writer, segment);
	put_records(&writer, a, 3);
	atomic_store(&segment->sealed, 1);
	segment_path(w, path, EPOCH, 0, 0);
	snprintf(kept, sizeof(kept), "%s.damaged", path);
	if (change == FLIP)
		((uint8_t *)segment)[at] ^= 0x10;
	else
		assert_int_equal(truncate(path, (off_t)at), 0);
	drain_all(w);
	drain_all(w); /* retires it */
	missing = 3 - (uint64_t)rows(w);
	assert_int_equal(spent(w), 10 * rows(w));
	/* The last octets of a record are zero: what is cut off there reads the same. */
	if (at >= SPOOL_HEADER_BYTES && (change == FLIP || at % USAGE_RECORD_BYTES < USAGE_RECORD_BYTES - 24))
		assert_int_equal(missing, 1);
	if (missing > 0 && w->control.ledger.foreign == 0) {
		assert_int_equal(w->control.ledger.damaged, missing);
		assert_int_equal(access(kept, F_OK), 0);
	} else if (missing > 0) {
		assert_true(is_there(w, 0)); /* left alone, and the metric says so */
	}
	unlink(kept);
	remove_segments(w);
	munmap(segment, spool_bytes(3));
	world_free(w);
}

/* F13: rot at each octet of the last record and of one in the middle, and a tail torn at each length. */
static void
damage_is_never_silent(void **state)
{
	size_t last = SPOOL_HEADER_BYTES + 2 * USAGE_RECORD_BYTES;

	(void)state;
	for (size_t at = 0; at < USAGE_RECORD_BYTES; at += 17) {
		drain_changed(FLIP, last + at);
		drain_changed(CUT, last + at);
		drain_changed(FLIP, last - USAGE_RECORD_BYTES + at);
	}
	/* The header: all of it but the counts, which the reconciliation compares (test_reconcile.c). */
	for (size_t at = 0; at < offsetof(struct spool_header, reserved); at += 3)
		drain_changed(FLIP, at);
}

/* F14: the records came to the disk, the page that counts them did not. */
static void
records_behind_a_lost_count_are_recovered(void **state)
{
	struct world *w = world_make();
	int64_t a = world_put(w, NOUN_ACCOUNT, "a", "{}");
	struct spool_header *segment = make_segment(w, EPOCH, 0, 0, 8);
	struct spool_writer writer;

	(void)state;
	spool_writer_init(&writer, segment);
	put_records(&writer, a, 5);
	atomic_store(&segment->written, 2);
	drain_all(w);
	assert_int_equal(rows(w), 2);
	/* As long as somebody may write, what is behind the count is none of ours. */
	drain_all(w);
	assert_int_equal(rows(w), 2);
	ledger_bury(&w->control.ledger, EPOCH, 0);
	for (int i = 0; i < 3; i++)
		drain_all(w);
	assert_int_equal(rows(w), 5);
	assert_int_equal(w->control.ledger.recovered, 3);
	assert_false(is_there(w, 0));
	world_free(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_are_charged_to_their_accounts),
		cmocka_unit_test(a_segment_that_is_replayed_three_times_is_charged_once),
		cmocka_unit_test(a_full_segment_is_deleted_when_it_is_drained_and_no_earlier),
		cmocka_unit_test(what_a_dead_dataplane_left_is_drained_and_kept_for_a_while),
		cmocka_unit_test(sums_that_do_not_fit_stay_at_the_largest),
		cmocka_unit_test(a_segment_whose_tab_is_there_is_kept),
		cmocka_unit_test(a_clock_that_was_set_back_makes_no_lag),
		cmocka_unit_test(missing_records_are_counted),
		cmocka_unit_test(a_damaged_record_is_counted_and_the_rest_goes_on),
		cmocka_unit_test(files_that_are_no_segments_are_left_alone),
		cmocka_unit_test(a_store_that_is_away_costs_nothing_but_time),
		cmocka_unit_test(a_batch_is_whole_or_not_there),
		cmocka_unit_test(a_segment_that_cannot_be_read_waits),
		cmocka_unit_test(what_cannot_be_read_keeps_nobody_waiting),
		cmocka_unit_test(records_that_a_file_has_no_room_for_are_dropped_at_once),
		cmocka_unit_test(damage_is_never_silent),
		cmocka_unit_test(records_behind_a_lost_count_are_recovered),
		cmocka_unit_test(the_last_epoch_is_the_highest_of_files_and_ledger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
