/*
 * F11, F12: a disk that refuses, at each write and each sync of what control does with money. SQLite's layer to
 * the disk fails at the n-th of them, once or from then on, with EIO or for want of room; then control goes on, or
 * dies and finds what is there.
 */
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/mman.h>

#include "world.h"

#define EPOCH UINT64_C(0x77)
#define RECORDS 5
#define COST_NANO 10
#define TOP_UP_NANO 1000
#define OPERATIONS_MAX 200

/* --- the disk ------------------------------------------------------------------------------ */

struct fault {
	const char *name;
	int write_code;
	int sync_code;
	bool stays;
};

static struct {
	const struct fault *fault; /* NULL: none */
	int left;                  /* operations that it can come to, until it does */
	bool has_come;
} disk;

/* Files with locks and those without have their own functions. */
#define KINDS_MAX 2

static struct kind {
	sqlite3_io_methods faulty; /* first: a file points to it */
	const sqlite3_io_methods *real;
} kinds[KINDS_MAX];

static sqlite3_vfs *real_layer;

static const sqlite3_io_methods *
real_of(const sqlite3_file *file)
{
	return ((const struct kind *)file->pMethods)->real;
}

static int
strike(bool is_sync)
{
	int code = disk.fault == NULL ? SQLITE_OK : is_sync ? disk.fault->sync_code : disk.fault->write_code;

	if (code == SQLITE_OK || (--disk.left != 0 && !(disk.has_come && disk.fault->stays)))
		return SQLITE_OK;
	disk.has_come = true;
	return code;
}

static int
write_to(sqlite3_file *file, const void *from, int bytes, sqlite3_int64 offset)
{
	int code = strike(false);

	return code != SQLITE_OK ? code : real_of(file)->xWrite(file, from, bytes, offset);
}

static int
truncate_to(sqlite3_file *file, sqlite3_int64 bytes)
{
	int code = strike(false);

	return code != SQLITE_OK ? code : real_of(file)->xTruncate(file, bytes);
}

static int
sync_to(sqlite3_file *file, int flags)
{
	int code = strike(true);

	return code != SQLITE_OK ? code : real_of(file)->xSync(file, flags);
}

static int
open_file(sqlite3_vfs *layer, const char *name, sqlite3_file *file, int flags, int *out_flags)
{
	int code = real_layer->xOpen(real_layer, name, file, flags, out_flags);

	(void)layer;
	if (code != SQLITE_OK)
		return code;
	for (size_t i = 0; i < KINDS_MAX; i++) {
		if (kinds[i].real == NULL) {
			kinds[i] = (struct kind){ *file->pMethods, file->pMethods };
			kinds[i].faulty.xWrite = write_to;
			kinds[i].faulty.xTruncate = truncate_to;
			kinds[i].faulty.xSync = sync_to;
		}
		if (kinds[i].real == file->pMethods) {
			file->pMethods = &kinds[i].faulty;
			return SQLITE_OK;
		}
	}
	return SQLITE_ERROR;
}

static int
wrap_disk(void **state)
{
	static sqlite3_vfs layer;

	(void)state;
	real_layer = sqlite3_vfs_find(NULL);
	layer = *real_layer;
	layer.zName = "faulty";
	layer.xOpen = open_file;
	return sqlite3_vfs_register(&layer, 1);
}

/* --- control --------------------------------------------------------------------------------- */

static struct spool_header *
make_segment(struct world *w, char path[160])
{
	size_t bytes = spool_bytes(RECORDS);
	struct spool_header *segment;
	int file;

	snprintf(path, 160, "%s/%016llx-0000-00000000.spool", w->spool_path, (unsigned long long)EPOCH);
	file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_int_equal(ftruncate(file, (off_t)bytes), 0);
	segment = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	assert_ptr_not_equal(segment, MAP_FAILED);
	close(file);
	spool_format(segment, EPOCH, 0, 0, RECORDS);
	return segment;
}

static void
put_records(struct spool_header *segment, int64_t account)
{
	struct spool_writer writer;

	spool_writer_init(&writer, segment);
	for (int i = 0; i < RECORDS; i++) {
		struct usage_record record = { .account_id = (uint64_t)account, .cost_nano = COST_NANO,
					       .request_id = { (uint8_t)(i + 1) } };

		assert_int_equal(spool_append(&writer, &record), ERR_OK);
	}
}

/* What control does of its own accord and for an operator; false: something was refused. */
static bool
run(struct world *w, int64_t account)
{
	bool more = true, credited, is_good = true;

	ledger_scan(&w->control.ledger, EPOCH, w->now_ns);
	while (more && is_good)
		is_good = ledger_drain(&w->control.ledger, w->now_ns, &more) == ERR_OK;
	return is_good & (store_top_up(&w->control.store, account, TOP_UP_NANO, "invoice-1", &credited) == ERR_OK);
}

static int64_t
rows(struct world *w)
{
	return world_number(w, "SELECT count(*) FROM ledger");
}

/* Rows and what they cost come together, and no record is given up that is no row. */
static void
judge(struct world *w, const struct spool_header *segment)
{
	assert_int_equal(world_number(w, "SELECT spent_nano FROM accounts"), rows(w) * COST_NANO);
	assert_int_equal(world_number(w, "SELECT coalesce(sum(spent_nano), 0) FROM node_spending"),
			 rows(w) * COST_NANO);
	assert_int_equal(world_number(w, "SELECT credited_nano FROM accounts"),
			 world_number(w, "SELECT count(*) FROM topups") * TOP_UP_NANO);
	assert_true(rows(w) >= (int64_t)atomic_load(&segment->drained));
}

static void
copy_file(const char *from, const char *to)
{
	static uint8_t octets[8 * 1024 * 1024];
	FILE *file = fopen(from, "r");
	size_t bytes;

	if (file == NULL)
		return; /* no -wal yet */
	bytes = fread(octets, 1, sizeof(octets), file);
	assert_true(bytes < sizeof(octets));
	fclose(file);
	file = fopen(to, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(octets, 1, bytes, file), bytes);
	assert_int_equal(fclose(file), 0);
}

/* Dies as a process does: what the files have at this moment is what the next one finds. */
static void
die(struct world *w)
{
	static const char *const ends[] = { "", "-wal", "-shm" };
	char from[100], to[100], old[sizeof(w->store_path)];

	memcpy(old, w->store_path, sizeof(old));
	for (int i = 0; i < 2; i++) {
		snprintf(from, sizeof(from), "%s%s", old, ends[i]);
		snprintf(to, sizeof(to), "%s-next%s", old, ends[i]);
		copy_file(from, to);
	}
	snprintf(w->store_path, sizeof(w->store_path), "%.60s-next", old);
	world_restart(w);
	for (int i = 0; i < 3; i++) {
		snprintf(from, sizeof(from), "%s%s", old, ends[i]);
		unlink(from);
	}
}

/* False: the fault never came, since there were fewer operations. */
static bool
fail_at(int operation, const struct fault *fault, bool dies)
{
	struct world *w = world_make();
	int64_t account = world_put(w, NOUN_ACCOUNT, "a", "{}");
	char path[160];
	struct spool_header *segment = make_segment(w, path);
	bool is_good;

	put_records(segment, account);
	disk.fault = fault;
	disk.left = operation;
	disk.has_come = false;
	is_good = run(w, account);
	if (disk.has_come && fault->stays) {
		/* It is refused, and refused again, for as long as the disk refuses. */
		assert_false(is_good);
		assert_false(run(w, account));
	}
	disk.fault = NULL;
	judge(w, segment);
	if (dies)
		die(w);
	judge(w, segment);
	assert_true(run(w, account));
	assert_int_equal(rows(w), RECORDS);
	assert_int_equal(segment->drained, RECORDS);
	assert_int_equal(world_number(w, "SELECT credited_nano FROM accounts"), TOP_UP_NANO);
	judge(w, segment);
	assert_int_equal(world_number(w, "SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
	munmap(segment, spool_bytes(RECORDS));
	unlink(path);
	world_free(w);
	return disk.has_come;
}

static void
a_disk_that_refuses_loses_and_doubles_nothing(void **state)
{
	static const struct fault faults[] = {
		{ "EIO, once", SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC, false },
		{ "EIO from then on", SQLITE_IOERR_WRITE, SQLITE_IOERR_FSYNC, true },
		{ "EIO at writes", SQLITE_IOERR_WRITE, SQLITE_OK, true },
		{ "EIO at a sync", SQLITE_OK, SQLITE_IOERR_FSYNC, false },
		{ "EIO at syncs", SQLITE_OK, SQLITE_IOERR_FSYNC, true },
		{ "no room from then on", SQLITE_FULL, SQLITE_OK, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(faults); i++) {
		for (int dies = 0; dies < 2; dies++) {
			int operation = 1;

			while (fail_at(operation, &faults[i], dies != 0))
				assert_true(operation++ < OPERATIONS_MAX);
			/* A transaction of records and one of a top-up. */
			assert_true(operation > 2);
			print_message("%s, %s: each of %d operations\n", faults[i].name,
				      dies ? "then death" : "then it goes on", operation - 1);
		}
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_disk_that_refuses_loses_and_doubles_nothing),
	};

	return cmocka_run_group_tests(tests, wrap_disk, NULL);
}
