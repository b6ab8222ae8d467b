/* A segment is written under a name of its own and renamed when it is whole: control never sees half a
 * header. posix_fallocate() takes its blocks at once, so that a full disk is met here and not in a store. */
#include "dataplane/spool_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"

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
	char path[PATH_BYTES];
	char draft[PATH_BYTES + 8];
	int error, fd;

	snprintf(path, sizeof(path), "%s/%016" PRIx64 "-%04" PRIx32 "-%08" PRIx64 ".spool",
		 files->folder, files->epoch, worker, number);
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
	char path[PATH_BYTES];
	char draft[PATH_BYTES + 8];
	int error;

	snprintf(path, sizeof(path), "%s/%016" PRIx64 "-%04" PRIx32 ".tab", files->folder, files->epoch, worker);
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
spool_files_open(struct spool_files *files, const char *folder, uint64_t epoch, uint32_t worker_count,
		 uint32_t requests, uint64_t segment_bytes, char *text, size_t room)
{
	CHECK(worker_count <= SPOOL_WORKERS_MAX);
	memset(files, 0, sizeof(*files));
	files->folder = folder;
	files->epoch = epoch;
	files->worker_count = worker_count;
	files->requests = requests;
	files->records = (uint32_t)((segment_bytes - SPOOL_HEADER_BYTES) / USAGE_RECORD_BYTES);
	if (mkdir(folder, 0700) != 0 && errno != EEXIST)
		return failed(text, room, "make the spool folder", folder, errno);
	for (uint32_t i = 0; i < worker_count; i++) {
		void *segment;
		enum err verdict = make_tab(files, i, text, room);

		if (verdict == ERR_OK)
			verdict = make_segment(files, i, &segment, text, room);
		if (verdict != ERR_OK)
			return verdict;
		spool_writer_init(&files->writers[i], segment);
	}
	return spool_files_tend(files, text, room);
}

enum err
spool_files_tend(struct spool_files *files, char *text, size_t room)
{
	for (uint32_t i = 0; i < files->worker_count; i++) {
		struct spool_writer *writer = &files->writers[i];
		struct spool_header *left = atomic_load_explicit(&writer->full, memory_order_acquire);
		void *segment;
		enum err verdict;

		if (left != NULL) {
			munmap(left, spool_bytes(files->records));
			atomic_store_explicit(&writer->full, NULL, memory_order_release);
		}
		if (atomic_load_explicit(&writer->next, memory_order_relaxed) != NULL)
			continue;
		verdict = make_segment(files, i, &segment, text, room);
		if (verdict != ERR_OK) {
			bool is_news = !files->failing;

			files->failing = true;
			return is_news ? verdict : ERR_OK;
		}
		files->failing = false;
		atomic_store_explicit(&writer->next, segment, memory_order_release);
	}
	return ERR_OK;
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
