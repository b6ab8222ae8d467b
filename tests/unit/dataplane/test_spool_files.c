/* The files of the spool at their bounds: requests are refused in time, what runs is recorded, and it goes on by
 * itself (F5, F11, F12). */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/units.h"
#include "dataplane/spool_files.h"

#define REQUESTS 50
#define SEGMENT_BYTES (64 * KIB)
#define RECORDS ((SEGMENT_BYTES - SPOOL_HEADER_BYTES) / USAGE_RECORD_BYTES)
#define EPOCH 5

struct place {
	char folder[64];
	struct spool_files files;
	uint64_t now_ns;
	char text[256];
};

static void
place_make(struct place *p, uint64_t size_bytes)
{
	struct spool_files_config config = { .folder = p->folder, .epoch = EPOCH, .worker_count = 1,
					     .requests = REQUESTS, .segment_bytes = SEGMENT_BYTES,
					     .size_bytes = size_bytes };

	snprintf(p->folder, sizeof(p->folder), "/tmp/sluice-spool-XXXXXX");
	assert_non_null(mkdtemp(p->folder));
	p->now_ns = 1;
	assert_int_equal(spool_files_open(&p->files, &config, p->text, sizeof(p->text)), ERR_OK);
	assert_int_equal(spool_files_tend(&p->files, p->now_ns, p->text, sizeof(p->text)), ERR_OK);
}

/* Deletes what control would: all segments but those that the worker has. Returns their number. */
static int
remove_files(struct place *p, const char *end, int keep_last)
{
	struct dirent **names;
	int count = scandir(p->folder, &names, NULL, alphasort), removed = 0, matching = 0;
	char path[sizeof(p->folder) + sizeof(names[0]->d_name) + 2];

	for (int i = 0; i < count; i++)
		matching += strstr(names[i]->d_name, end) != NULL;
	for (int i = 0; i < count; i++) {
		if (strstr(names[i]->d_name, end) != NULL && matching-- > keep_last) {
			snprintf(path, sizeof(path), "%s/%s", p->folder, names[i]->d_name);
			assert_int_equal(unlink(path), 0);
			removed++;
		}
		free(names[i]);
	}
	free(names);
	return removed;
}

static void
place_free(struct place *p)
{
	spool_files_close(&p->files);
	remove_files(p, "-", 0);
	assert_int_equal(rmdir(p->folder), 0);
}

static enum err
tend(struct place *p)
{
	p->now_ns += SPOOL_RETRY_NS;
	return spool_files_tend(&p->files, p->now_ns, p->text, sizeof(p->text));
}

static bool
may_admit(const struct place *p)
{
	return spool_room(&p->files.writers[0]) > REQUESTS;
}

static void
put_record(struct place *p)
{
	struct usage_record record = { .account_id = 1 };

	assert_int_equal(tab_close(p->files.tabs[0], TAB_NO_LINE, &p->files.writers[0], &record), ERR_OK);
}

/* Records until admission refuses; *failures: of making segments, as they are told. */
static uint64_t
fill(struct place *p, int *failures)
{
	uint64_t records = 0;

	for (*failures = 0; may_admit(p); records++) {
		put_record(p);
		*failures += tend(p) != ERR_OK;
	}
	return records;
}

static void
without_control_it_goes_on_to_its_bound_and_no_further(void **state)
{
	struct place p;
	uint64_t records;
	int failures;

	(void)state;
	place_make(&p, 5 * SEGMENT_BYTES);
	assert_false(p.files.filling);
	records = fill(&p, &failures);
	assert_int_equal(failures, 1); /* told once */
	assert_non_null(strstr(p.text, "spool.size"));
	assert_true(p.files.filling);
	/* Up to what is kept for the requests in flight. */
	assert_int_equal(records, 5 * RECORDS - REQUESTS);
	/* Those end, and each is recorded. */
	for (int i = 0; i < REQUESTS; i++)
		put_record(&p);
	assert_int_equal(spool_room(&p.files.writers[0]), 0);
	assert_int_equal(tend(&p), ERR_OK);
	/* Control comes back and takes what is there: it goes on by itself. */
	assert_int_equal(remove_files(&p, ".spool", 1), 4);
	assert_int_equal(tend(&p), ERR_OK);
	assert_true(may_admit(&p));
	put_record(&p);
	assert_int_equal(p.files.writers[0].sequence, 5 * RECORDS + 1);
	assert_false(p.files.filling);
	place_free(&p);
}

/* What processes before this one have left counts, and none of it stops a start. */
static void
a_start_beside_a_full_spool_refuses_until_there_is_room(void **state)
{
	struct place p = { 0 };
	struct place again;
	int failures;

	(void)state;
	place_make(&p, 3 * SEGMENT_BYTES);
	fill(&p, &failures);
	again = p;
	assert_int_equal(spool_files_open(&again.files,
					  &(struct spool_files_config){ p.folder, EPOCH + 1, 1, REQUESTS,
									SEGMENT_BYTES, 3 * SEGMENT_BYTES },
					  again.text, sizeof(again.text)),
			 ERR_OK);
	again.now_ns = 1;
	assert_int_equal(spool_files_tend(&again.files, 1, again.text, sizeof(again.text)), ERR_SPOOL_FILE);
	assert_int_equal(fill(&again, &failures), RECORDS - REQUESTS);
	assert_int_equal(remove_files(&again, "0000000000000005-", 0), 4); /* its tab, too */
	assert_int_equal(tend(&again), ERR_OK);
	assert_true(may_admit(&again));
	spool_files_close(&p.files);
	place_free(&again);
}

/* The file system says no: to this process, files have no more than nothing. Each segment has all of its blocks
 * before it is mapped, so that no store into it can fail. */
static void
a_disk_that_refuses_is_met_before_a_store(void **state)
{
	struct rlimit before, nothing;
	struct place p;
	uint64_t records;
	int failures;

	(void)state;
	place_make(&p, 100 * SEGMENT_BYTES);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	nothing = (struct rlimit){ 0, before.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &nothing), 0);
	records = fill(&p, &failures);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(failures, 1);
	assert_non_null(strstr(p.text, "cannot make the spool segment"));
	assert_int_equal(records, 2 * RECORDS - REQUESTS);
	for (int i = 0; i < REQUESTS; i++)
		put_record(&p);
	assert_int_equal(tend(&p), ERR_OK);
	assert_true(may_admit(&p));
	place_free(&p);
}

static void
a_tab_is_locked_as_long_as_its_process_lives(void **state)
{
	struct place p;
	char path[128];
	int file;

	(void)state;
	place_make(&p, 4 * SEGMENT_BYTES);
	snprintf(path, sizeof(path), "%s/0000000000000005-0000.tab", p.folder);
	file = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(file >= 0);
	assert_int_equal(flock(file, LOCK_EX | LOCK_NB), -1);
	spool_files_close(&p.files);
	assert_int_equal(flock(file, LOCK_EX | LOCK_NB), 0);
	close(file);
	remove_files(&p, "-", 0);
	rmdir(p.folder);
}

static void
segments_that_are_too_short_for_what_is_in_flight_are_refused(void **state)
{
	struct spool_files files;
	char text[256];

	(void)state;
	assert_int_equal(spool_files_open(&files,
					  &(struct spool_files_config){ "/nowhere", EPOCH, 1, 2 * RECORDS,
									SEGMENT_BYTES, SEGMENT_BYTES },
					  text, sizeof(text)),
			 ERR_SPOOL_FILE);
	assert_non_null(strstr(text, "spool.segment"));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_control_it_goes_on_to_its_bound_and_no_further),
		cmocka_unit_test(a_start_beside_a_full_spool_refuses_until_there_is_room),
		cmocka_unit_test(a_disk_that_refuses_is_met_before_a_store),
		cmocka_unit_test(a_tab_is_locked_as_long_as_its_process_lives),
		cmocka_unit_test(segments_that_are_too_short_for_what_is_in_flight_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
