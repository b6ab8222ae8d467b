/* open, check, map. The file is control's; a dataplane never makes or repairs it. */
#include "dataplane/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/owned.h"

#define PATH_BYTES 256

enum err
attach_open(struct shm *shm, const char *instance, uint32_t worker_count, char *text, size_t room)
{
	char path[PATH_BYTES];
	struct stat facts;
	enum err verdict;
	void *memory;
	int fd;

	snprintf(path, sizeof(path), "/dev/shm/%s", instance);
	fd = owned_open(AT_FDCWD, path, O_RDWR);
	if (fd < 0 && errno == EPERM) {
		snprintf(text, room,
			 "%s is not a file that only this user can read; see who made it and remove it. Both "
			 "programs run as one user", path);
		return ERR_SHM_OWNER;
	}
	if (fd < 0) {
		snprintf(text, room, "cannot open %s: %s; start sluice-control with the same configuration",
			 path, strerror(errno));
		return ERR_SHM_ABSENT;
	}
	if (fstat(fd, &facts) != 0 || facts.st_size < (off_t)sizeof(struct shm_header)) {
		close(fd);
		snprintf(text, room, "%s is too short to be a shared file; remove it and restart sluice-control",
			 path);
		return ERR_SHM_SIZE;
	}
	/* The lock is held until the process ends, however it ends; so the descriptor stays open. */
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		close(fd);
		snprintf(text, room,
			 "another sluice-dataplane serves %s; stop it first, or give this one a configuration "
			 "with another `instance`",
			 path);
		return ERR_SHM_IN_USE;
	}
	memory = mmap(NULL, (size_t)facts.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED) {
		close(fd);
		snprintf(text, room, "cannot map %s: %s", path, strerror(errno));
		return ERR_SHM_ABSENT;
	}
	verdict = shm_attach(shm, memory, (uint64_t)facts.st_size);
	if (verdict == ERR_OK && shm->header->worker_count < worker_count) {
		snprintf(text, room,
			 "%s was made for %u workers, the configuration asks for %u; stop both programs, "
			 "remove the file, start sluice-control first",
			 path, shm->header->worker_count, worker_count);
		verdict = ERR_SHM_SIZE;
	} else if (verdict != ERR_OK) {
		snprintf(text, room,
			 "%s cannot be used: %s Run both programs from one release; if they are, stop both, "
			 "remove the file, start sluice-control first",
			 path, err_sentence(verdict));
	}
	if (verdict != ERR_OK) {
		munmap(memory, (size_t)facts.st_size);
		close(fd);
	}
	return verdict;
}
