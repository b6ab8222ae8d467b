/* A file may be synced through any descriptor, whoever has it mapped. */
#include "dataplane/spool_sync.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config/log.h"
#include "dataplane/clock.h"
#include "meter/filename.h"
#include "meter/spool.h"

/* Its oldest record that control has not taken is a second old. One that cannot be read is none of ours: control
 * says so. */
static bool
waits(int file, uint64_t now_unix_ns)
{
	static _Alignas(CACHE_LINE_BYTES) uint8_t page[SPOOL_HEADER_BYTES]; /* one thread */
	const struct spool_header *header = (const void *)page;
	struct usage_record record;
	uint64_t drained;
	off_t offset;

	if (pread(file, page, sizeof(page), 0) != (ssize_t)sizeof(page) ||
	    spool_check(header, SIZE_MAX) != ERR_OK)
		return false;
	drained = atomic_load(&header->drained);
	if (drained == atomic_load(&header->written))
		return false;
	offset = (off_t)(SPOOL_HEADER_BYTES + drained * USAGE_RECORD_BYTES);
	if (pread(file, &record, sizeof(record), offset) != (ssize_t)sizeof(record))
		return false;
	/* A clock that went back says nothing: then it is synced. */
	return record.finished_at_unix_ns > now_unix_ns ||
	       now_unix_ns - record.finished_at_unix_ns >= SPOOL_SYNC_EVERY_NS;
}

static void
note(struct spool_sync *sync, const char *name, int error)
{
	if (error != 0 && !sync->failing)
		LOG_ERROR("spool_not_synced", LOG_TEXT("file", name), LOG_TEXT("why", strerror(error)),
			  LOG_TEXT("remedy", "look after the disk: a power cut would take what control has not"));
	if (error == 0 && sync->failing)
		LOG_INFO("spool_synced");
	sync->failing = error != 0;
}

uint32_t
spool_sync_round(struct spool_sync *sync, uint64_t now_unix_ns)
{
	DIR *directory = opendir(sync->folder);
	uint32_t synced = 0, failed = 0;
	struct dirent *entry;

	if (directory == NULL)
		return 0;
	while ((entry = readdir(directory)) != NULL) {
		int file = -1;

		if (filename_is_segment(entry->d_name))
			file = openat(dirfd(directory), entry->d_name,
				      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (file < 0)
			continue;
		if (waits(file, now_unix_ns)) {
			int error = fdatasync(file) == 0 ? 0 : errno;

			synced++;
			failed += error != 0;
			if (error != 0)
				note(sync, entry->d_name, error);
		}
		close(file);
	}
	if (synced > 0 && fsync(dirfd(directory)) != 0) {
		note(sync, sync->folder, errno);
		failed++;
	}
	if (synced > 0 && failed == 0)
		note(sync, "", 0);
	closedir(directory);
	return failed;
}

static void *
run(void *argument)
{
	static const struct timespec pause = { 0, SPOOL_SYNC_LOOK_NS };
	struct spool_sync *sync = argument;
	uint64_t next_at_ns = 0;

	while (!atomic_load(&sync->stop)) {
		if (clock_ns() >= next_at_ns) {
			spool_sync_round(sync, clock_unix_ns());
			next_at_ns = clock_ns() + SPOOL_SYNC_EVERY_NS;
		}
		nanosleep(&pause, NULL);
	}
	return NULL;
}

bool
spool_sync_start(struct spool_sync *sync, const char *folder)
{
	*sync = (struct spool_sync){ .folder = folder };
	return pthread_create(&sync->thread, NULL, run, sync) == 0;
}

void
spool_sync_stop(struct spool_sync *sync)
{
	atomic_store(&sync->stop, true);
	pthread_join(sync->thread, NULL);
}
