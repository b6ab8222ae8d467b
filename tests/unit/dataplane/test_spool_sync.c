/* What waits for control is on the disk within a second, and nothing else is synced; a disk that refuses is told.
 * The two calls that sync are this file's, so that they can be counted, and can fail. */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/units.h"
#include "dataplane/clock.h"
#include "dataplane/spool_sync.h"
#include "meter/spool.h"

#define RECORDS 4
#define NOW_NS (UINT64_C(1000) * NSEC_PER_SEC)

static _Atomic uint32_t files_synced, folders_synced;
static sem_t synced;
static ino_t last_synced;
static int error_to_come;

int
fdatasync(int file)
{
	struct stat status;

	files_synced++;
	sem_post(&synced);
	assert_int_equal(fstat(file, &status), 0);
	last_synced = status.st_ino;
	errno = error_to_come;
	return error_to_come == 0 ? 0 : -1;
}

int
fsync(int file)
{
	(void)file;
	folders_synced++;
	return 0;
}

struct place {
	char folder[64];
	char path[2][128];
	struct spool_header *segment[2];
	struct spool_writer writer[2];
	struct spool_sync sync;
};

static void
place_make(struct place *p)
{
	*p = (struct place){ .sync = { .folder = p->folder } };
	snprintf(p->folder, sizeof(p->folder), "/dev/shm/sluice-sync-XXXXXX");
	assert_non_null(mkdtemp(p->folder));
	for (uint32_t worker = 0; worker < 2; worker++) {
		int file;

		snprintf(p->path[worker], sizeof(p->path[0]), "%s/0000000000000007-%04x-00000000.spool", p->folder,
			 worker);
		file = open(p->path[worker], O_RDWR | O_CREAT | O_EXCL, 0600);
		assert_int_equal(ftruncate(file, (off_t)spool_bytes(RECORDS)), 0);
		p->segment[worker] = mmap(NULL, spool_bytes(RECORDS), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		assert_ptr_not_equal(p->segment[worker], MAP_FAILED);
		close(file);
		spool_format(p->segment[worker], 7, worker, 0, RECORDS);
		spool_writer_init(&p->writer[worker], p->segment[worker]);
	}
	files_synced = folders_synced = 0;
	error_to_come = 0;
}

static void
place_free(struct place *p)
{
	for (int worker = 0; worker < 2; worker++) {
		munmap(p->segment[worker], spool_bytes(RECORDS));
		unlink(p->path[worker]);
	}
	assert_int_equal(rmdir(p->folder), 0);
}

static void
put(struct place *p, int worker, uint64_t finished_at_unix_ns)
{
	struct usage_record record = { .finished_at_unix_ns = finished_at_unix_ns };

	assert_int_equal(spool_append(&p->writer[worker], &record), ERR_OK);
}

static void
what_waits_for_a_second_is_synced(void **state)
{
	struct place p;
	struct stat status;

	(void)state;
	place_make(&p);
	assert_int_equal(spool_sync_round(&p.sync, NOW_NS), 0);
	put(&p, 1, NOW_NS - NSEC_PER_SEC + 1); /* control may still come */
	spool_sync_round(&p.sync, NOW_NS);
	assert_int_equal(files_synced + folders_synced, 0);
	spool_sync_round(&p.sync, NOW_NS + 1);
	assert_int_equal(files_synced, 1);
	assert_int_equal(folders_synced, 1);
	assert_int_equal(stat(p.path[1], &status), 0);
	assert_int_equal(last_synced, status.st_ino);
	/* Again and again, for what comes behind it. */
	put(&p, 1, NOW_NS + 5);
	spool_sync_round(&p.sync, NOW_NS + 6);
	assert_int_equal(files_synced, 2);
	/* Control takes the old one; the new one is no second old. */
	atomic_store(&p.segment[1]->drained, 1);
	spool_sync_round(&p.sync, NOW_NS + 7);
	assert_int_equal(files_synced, 2);
	spool_sync_round(&p.sync, NOW_NS + 5 + NSEC_PER_SEC);
	assert_int_equal(files_synced, 3);
	atomic_store(&p.segment[1]->drained, 2);
	spool_sync_round(&p.sync, NOW_NS + 100 * NSEC_PER_SEC);
	assert_int_equal(files_synced, 3);
	/* The clock was set back: nobody knows how old it is. */
	put(&p, 0, NOW_NS);
	spool_sync_round(&p.sync, NOW_NS - NSEC_PER_SEC);
	assert_int_equal(files_synced, 4);
	place_free(&p);
}

static void
a_disk_that_refuses_is_told_once(void **state)
{
	struct place p;

	(void)state;
	place_make(&p);
	put(&p, 0, 1);
	put(&p, 1, 1);
	error_to_come = EIO;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(spool_sync_round(&p.sync, NOW_NS), 2);
		assert_true(p.sync.failing);
	}
	error_to_come = 0;
	assert_int_equal(spool_sync_round(&p.sync, NOW_NS), 0);
	assert_false(p.sync.failing);
	assert_int_equal(files_synced, 8);
	place_free(&p);
}

static void
other_files_are_left_alone(void **state)
{
	struct place p;
	char path[160];

	(void)state;
	place_make(&p);
	put(&p, 0, 1);
	memset(p.segment[0], 0, 8); /* not formatted yet */
	snprintf(path, sizeof(path), "%s/0000000000000005-0009-00000000.spool", p.folder);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(spool_sync_round(&p.sync, NOW_NS), 0);
	assert_int_equal(files_synced, 0);
	unlink(path);
	place_free(&p);
	p.sync.folder = "/nonexistent";
	assert_int_equal(spool_sync_round(&p.sync, NOW_NS), 0);
}

static void
the_thread_does_it_by_itself(void **state)
{
	struct place p;

	(void)state;
	place_make(&p);
	assert_int_equal(sem_init(&synced, 0, 0), 0);
	put(&p, 0, clock_unix_ns());
	assert_true(spool_sync_start(&p.sync, p.folder));
	assert_int_equal(sem_wait(&synced), 0);
	spool_sync_stop(&p.sync);
	place_free(&p);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_waits_for_a_second_is_synced),
		cmocka_unit_test(a_disk_that_refuses_is_told_once),
		cmocka_unit_test(other_files_are_left_alone),
		cmocka_unit_test(the_thread_does_it_by_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
