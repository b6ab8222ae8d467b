/* A segment is written under a name of its own and renamed when it is whole: control never sees half a
 * header. posix_fallocate() takes its blocks at once, so that a full disk is met here and not in a store. */
#include "dataplane/spool_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/check.h"
#include "config/log.h"
#include "meter/filename.h"

#define PATH_BYTES 512

static enum err
failed(char *text, size_t room, const char *what, const char *path, int error)
{
	snprintf(text, room, "cannot %s %s: %s", what, path, strerror(error));
	return ERR_SPOOL_FILE;
}

/* *fd stays open, unless this fails. */
static void *
map_new(const char *path, size_t bytes, int *fd, int *error)
{
	void *memory;

	*fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (*fd < 0) {
		*error = errno;
		return NULL;
	}
	*error = posix_fallocate(*fd, 0, (off_t)bytes);
	if (*error != 0) {
		close(*fd);
		return NULL;
	}
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	*error = errno;
	if (memory != MAP_FAILED)
		return memory;
	close(*fd);
	return NULL;
}

static enum err
make_segment(struct spool_files *files, uint32_t worker, void **segment, char *text, size_t room)
{
	size_t bytes = spool_bytes(files->records);
	uint64_t number = files->next_number[worker];
	char name[FILENAME_BYTES], path[PATH_BYTES];
	char draft[PATH_BYTES + 8];
	int error, fd;

	filename_of_segment(files->epoch, worker, number, name);
	snprintf(path, sizeof(path), "%s/%s", files->folder, name);
	snprintf(draft, sizeof(draft), "%s.new", path);
	*segment = map_new(draft, bytes, &fd, &error);
	if (*segment == NULL) {
		unlink(draft);
		return failed(text, room, "make the spool segment", draft, error);
	}
	close(fd);
	spool_format(*segment, files->epoch, worker, number, files->records);
	if (rename(draft, path) != 0) {
		error = errno;
		munmap(*segment, bytes);
		unlink(draft);
		return failed(text, room, "name the spool segment", path, error);
	}
	files->next_number[worker]++;
	return ERR_OK;
}

/* Locked before it has its name, so that nobody takes it for a dead process's. */
static enum err
make_tab(struct spool_files *files, uint32_t worker, char *text, size_t room)
{
	size_t bytes = tab_bytes(files->requests);
	char name[FILENAME_BYTES], path[PATH_BYTES];
	char draft[PATH_BYTES + 8];
	int error;

	filename_of_tab(files->epoch, worker, name);
	snprintf(path, sizeof(path), "%s/%s", files->folder, name);
	snprintf(draft, sizeof(draft), "%s.new", path);
	files->tabs[worker] = map_new(draft, bytes, &files->tab_files[worker], &error);
	if (files->tabs[worker] == NULL) {
		unlink(draft);
		return failed(text, room, "make the tab", draft, error);
	}
	tab_format(files->tabs[worker], files->epoch, worker, files->requests);
	if (flock(files->tab_files[worker], LOCK_EX | LOCK_NB) == 0 && rename(draft, path) == 0)
		return ERR_OK;
	error = errno;
	unlink(draft);
	return failed(text, room, "lock and name the tab", path, error);
}

enum err
spool_files_open(struct spool_files *files, const struct spool_files_config *config, char *text, size_t room)
{
	CHECK(config->worker_count <= SPOOL_WORKERS_MAX);
	memset(files, 0, sizeof(*files));
	files->folder = config->folder;
	files->epoch = config->epoch;
	files->worker_count = config->worker_count;
	files->requests = config->requests;
	files->size_bytes = config->size_bytes;
	files->records = (uint32_t)((config->segment_bytes - SPOOL_HEADER_BYTES) / USAGE_RECORD_BYTES);
	/* Each request in flight needs the room of a record, in the two segments that a worker has. */
	if (2 * (uint64_t)files->records <= config->requests) {
		snprintf(text, room,
			 "a segment of the spool has room for %" PRIu32 " records, and a worker for %" PRIu32
			 " requests in flight: raise spool.segment, or lower limits.clients or limits.upstreams",
			 files->records, config->requests);
		return ERR_SPOOL_FILE;
	}
	if (mkdir(files->folder, 0700) != 0 && errno != EEXIST)
		return failed(text, room, "make the spool folder", files->folder, errno);
	for (uint32_t i = 0; i < files->worker_count; i++) {
		void *segment;
		enum err verdict = make_tab(files, i, text, room);

		if (verdict == ERR_OK)
			verdict = make_segment(files, i, &segment, text, room);
		if (verdict != ERR_OK)
			return verdict;
		spool_writer_init(&files->writers[i], segment);
	}
	return ERR_OK;
}

/* --- how full it is --------------------------------------------------------------------------- */

/* Of all segments of the folder, those of processes before this one, too. */
static uint64_t
folder_bytes(const struct spool_files *files, uint64_t *free_bytes)
{
	DIR *directory = opendir(files->folder);
	struct statvfs disk;
	struct dirent *file;
	uint64_t bytes = 0;

	*free_bytes = 0;
	if (directory == NULL)
		return 0;
	while ((file = readdir(directory)) != NULL) {
		struct stat status;

		if (filename_is_segment(file->d_name) && fstatat(dirfd(directory), file->d_name, &status, 0) == 0)
			bytes += (uint64_t)status.st_size;
	}
	if (fstatvfs(dirfd(directory), &disk) == 0)
		*free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
	closedir(directory);
	return bytes;
}

/* At 80 % of what it may have or of what the disk has for it; again below 70 %. */
static void
note_filling(struct spool_files *files, uint64_t used_bytes, uint64_t free_bytes)
{
	uint64_t most = used_bytes + free_bytes < files->size_bytes ? used_bytes + free_bytes : files->size_bytes;
	uint64_t percent = most > 0 ? used_bytes * 100 / most : 100;

	if (percent >= 80 && !files->filling)
		LOG_ERROR("spool_filling", LOG_NUMBER("percent", percent), LOG_NUMBER("bytes", used_bytes),
			  LOG_NUMBER("free_bytes", free_bytes), LOG_NUMBER("size_bytes", files->size_bytes),
			  LOG_TEXT("remedy", "see whether sluice-control runs and its store takes records"));
	if (percent < 70 && files->filling)
		LOG_INFO("spool_emptied", LOG_NUMBER("percent", percent));
	files->filling = percent >= 70 && (percent >= 80 || files->filling);
}

static enum err
make_next(struct spool_files *files, uint32_t worker, char *text, size_t room)
{
	uint64_t free_bytes, used_bytes = folder_bytes(files, &free_bytes);
	void *segment;
	enum err verdict;

	note_filling(files, used_bytes, free_bytes);
	if (used_bytes + spool_bytes(files->records) > files->size_bytes) {
		snprintf(text, room,
			 "the spool has %" PRIu64 " MiB that control has not taken, spool.size allows %" PRIu64,
			 used_bytes >> 20, files->size_bytes >> 20);
		return ERR_SPOOL_FILE;
	}
	verdict = make_segment(files, worker, &segment, text, room);
	if (verdict == ERR_OK)
		atomic_store_explicit(&files->writers[worker].next, segment, memory_order_release);
	return verdict;
}

enum err
spool_files_tend(struct spool_files *files, uint64_t now_ns, char *text, size_t room)
{
	enum err verdict = ERR_OK;
	bool was_failing = files->failing;

	for (uint32_t i = 0; i < files->worker_count; i++) {
		struct spool_writer *writer = &files->writers[i];
		struct spool_header *left = atomic_load_explicit(&writer->full, memory_order_acquire);

		if (left != NULL) {
			munmap(left, spool_bytes(files->records));
			atomic_store_explicit(&writer->full, NULL, memory_order_release);
		}
		if (atomic_load_explicit(&writer->next, memory_order_relaxed) != NULL ||
		    now_ns < files->retry_at_ns)
			continue;
		verdict = make_next(files, i, text, room);
		files->failing = verdict != ERR_OK;
		if (files->failing)
			files->retry_at_ns = now_ns + SPOOL_RETRY_NS;
	}
	return verdict != ERR_OK && !was_failing ? verdict : ERR_OK;
}

void
spool_files_close(struct spool_files *files)
{
	size_t bytes = spool_bytes(files->records);

	for (uint32_t i = 0; i < files->worker_count; i++) {
		struct spool_writer *writer = &files->writers[i];
		void *parts[] = { writer->segment,
				  atomic_load_explicit(&writer->next, memory_order_relaxed),
				  atomic_load_explicit(&writer->full, memory_order_relaxed) };

		if (writer->segment != NULL)
			atomic_store_explicit(&writer->segment->sealed, 1, memory_order_release);
		if (parts[1] != NULL)
			atomic_store_explicit(&((struct spool_header *)parts[1])->sealed, 1,
					      memory_order_release);
		for (size_t part = 0; part < COUNT_OF(parts); part++)
			if (parts[part] != NULL)
				munmap(parts[part], bytes);
		munmap(files->tabs[i], tab_bytes(files->requests));
		close(files->tab_files[i]);
	}
}
