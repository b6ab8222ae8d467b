/* One control process at a time comes here: main.c holds the store's lock. */
#include "share.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/owned.h"

__attribute__((format(printf, 3, 4)))
static enum err
refuse(struct share *share, enum err verdict, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(share->problem, sizeof(share->problem), format, arguments);
	va_end(arguments);
	return verdict;
}

/* How much of the mapping the kernel reaches through one entry of its page tables for each 2 MiB. */
static uint64_t
huge_bytes(const void *memory, uint64_t bytes)
{
	uint64_t first = (uint64_t)(uintptr_t)memory, begins_at = 0, sum = 0, kib;
	FILE *maps = fopen("/proc/self/smaps", "re");
	char line[256], dash;

	/* "7f…-7f… rw-s …" begins a mapping, "ShmemPmdMapped: 2048 kB" is one line of it. */
	while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
		uint64_t address;

		if (sscanf(line, "%" SCNx64 "%c", &address, &dash) == 2 && dash == '-')
			begins_at = address;
		else if (begins_at - first < bytes &&
			 sscanf(line, "ShmemPmdMapped: %" SCNu64 " kB", &kib) == 1)
			sum += kib << 10;
	}
	if (maps != NULL)
		fclose(maps);
	return sum;
}

/*
 * Asks for huge pages, and maps all pages now: no lookup waits for a fault, and what came of it can be told.
 * /dev/shm gives huge ones where it is mounted with huge=advise, within_size or always; MADV_POPULATE_WRITE is
 * of Linux 5.14, before it pages come one by one. Neither is needed to go on.
 */
static void
populate(struct share *share, void *memory, uint64_t bytes)
{
	madvise(memory, bytes, MADV_HUGEPAGE);
	madvise(memory, bytes, MADV_POPULATE_WRITE);
	share->huge_bytes = huge_bytes(memory, bytes);
}

static enum err
check_attached(struct share *share, void *memory, uint64_t bytes, const uint8_t pepper[32])
{
	enum err verdict = shm_attach(&share->shm, memory, bytes);

	if (verdict == ERR_SHM_VERSION)
		return refuse(share, verdict,
			      "%s has layout %u and this release speaks %u: stop the dataplane of the"
			      " other release, delete the file, start again",
			      share->name, ((struct shm_header *)memory)->layout_version,
			      SHM_LAYOUT_VERSION);
	if (verdict != ERR_OK)
		return refuse(share, verdict,
			      "%s: %s Stop the dataplane, delete the file, start again", share->name,
			      err_sentence(verdict));
	if (memcmp(share->shm.header->pepper, pepper, 32) != 0)
		return refuse(share, ERR_SHM_MAGIC,
			      "%s belongs to another store: give this instance another name, or stop"
			      " the dataplane and delete the file",
			      share->name);
	return ERR_OK;
}

static enum err
attach(struct share *share, int file, const uint8_t pepper[32])
{
	struct stat status;
	enum err verdict;
	void *memory;

	if (fstat(file, &status) != 0)
		return refuse(share, ERR_SHM_SIZE, "%s: %s", share->name, strerror(errno));
	if ((uint64_t)status.st_size < sizeof(struct shm_header))
		return refuse(share, ERR_SHM_SIZE, "%s is too short: delete the file, start again", share->name);
	memory = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED)
		return refuse(share, ERR_SHM_SIZE, "%s: %s", share->name, strerror(errno));
	verdict = check_attached(share, memory, (uint64_t)status.st_size, pepper);
	if (verdict != ERR_OK) {
		munmap(memory, (size_t)status.st_size);
		share->shm.header = NULL;
		return verdict;
	}
	populate(share, memory, share->shm.header->file_bytes);
	return ERR_OK;
}

/* The file's memory, all of it reserved; MAP_FAILED and errno if there is not so much. Populated before the rest
 * is reserved, because only a mapping can ask for huge pages. */
static void *
reserve(struct share *share, int file, uint64_t bytes)
{
	void *memory = MAP_FAILED;

	if (ftruncate(file, (off_t)bytes) == 0)
		memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	if (memory == MAP_FAILED)
		return MAP_FAILED;
	populate(share, memory, bytes);
	errno = posix_fallocate(file, 0, (off_t)bytes);
	if (errno == 0)
		return memory;
	munmap(memory, bytes);
	return MAP_FAILED;
}

static enum err
make(struct share *share, const struct shm_capacity *capacity, uint32_t worker_count,
     const uint8_t pepper[32], uint64_t first_epoch)
{
	uint64_t bytes = shm_bytes(capacity, worker_count);
	uint8_t instance_id[16];
	void *memory;
	int file;

	if (bytes == 0)
		return refuse(share, ERR_SHM_SIZE, "the capacities are beyond their limits");
	if (getrandom(instance_id, sizeof(instance_id), 0) != sizeof(instance_id))
		return refuse(share, ERR_SHM_SIZE, "no random bytes");
	/* In place of what a life that died before share_reveal() left behind. */
	file = owned_make(share->folder, share->new_name);
	if (file < 0)
		return refuse(share, ERR_SHM_SIZE, "%s: %s", share->new_name, strerror(errno));
	memory = reserve(share, file, bytes);
	if (memory == MAP_FAILED) {
		refuse(share, ERR_SHM_SIZE, "%s: no %llu MiB of shared memory (%s): smaller capacities need less",
		       share->name, (unsigned long long)(bytes >> 20), strerror(errno));
		close(file);
		unlinkat(share->folder, share->new_name, 0);
		return ERR_SHM_SIZE;
	}
	close(file);
	shm_format(memory, capacity, worker_count, instance_id, pepper);
	share->shm.header = memory;
	atomic_store(&share->shm.header->dataplane_epoch, first_epoch);
	share->is_new = true;
	return ERR_OK;
}

enum err
share_open(struct share *share, const char *folder, const char *name,
	   const struct shm_capacity *capacity, uint32_t worker_count, const uint8_t pepper[32],
	   uint64_t first_epoch)
{
	enum err verdict;
	int file;

	*share = (struct share){ .folder = -1 };
	snprintf(share->name, sizeof(share->name), "%s", name);
	snprintf(share->new_name, sizeof(share->new_name), ".%s.new", name);
	share->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (share->folder < 0)
		return refuse(share, ERR_SHM_SIZE, "%s: %s", folder, strerror(errno));
	file = owned_open(share->folder, name, O_RDWR);
	if (file >= 0) {
		verdict = attach(share, file, pepper);
		close(file);
	} else if (errno == ENOENT) {
		verdict = make(share, capacity, worker_count, pepper, first_epoch);
	} else if (errno == EPERM) {
		verdict = refuse(share, ERR_SHM_OWNER,
				 "%s is not a file that only this user can read: see who made it, and remove"
				 " it", name);
	} else {
		verdict = refuse(share, ERR_SHM_SIZE, "%s: %s", name, strerror(errno));
	}
	if (verdict != ERR_OK)
		share_close(share);
	return verdict;
}

enum err
share_reveal(struct share *share)
{
	if (!share->is_new)
		return ERR_OK;
	if (renameat2(share->folder, share->new_name, share->folder, share->name,
		      RENAME_NOREPLACE) != 0)
		return refuse(share, ERR_SHM_SIZE, "%s: %s", share->name, strerror(errno));
	share->is_new = false;
	return ERR_OK;
}

void
share_close(struct share *share)
{
	if (share->shm.header != NULL)
		munmap(share->shm.header, share->shm.header->file_bytes);
	if (share->folder >= 0)
		close(share->folder);
	share->shm.header = NULL;
	share->folder = -1;
}
