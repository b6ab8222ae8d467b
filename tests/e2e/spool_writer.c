/* Stands in for a worker: writes usage records into spool segments, slowly enough to be killed around. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "meter/spool.h"

#define SEGMENT_RECORDS 64

static void *
make_segment(const char *folder, uint64_t epoch, uint32_t number)
{
	size_t bytes = spool_bytes(SEGMENT_RECORDS);
	char path[512];
	void *memory;
	int file;

	snprintf(path, sizeof(path), "%s/%016llx-%04x-%08x.spool", folder,
		 (unsigned long long)epoch, 0u, number);
	file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file < 0 || ftruncate(file, (off_t)bytes) != 0) {
		perror(path);
		exit(1);
	}
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	if (memory == MAP_FAILED)
		exit(1);
	spool_format(memory, epoch, 0, number, SEGMENT_RECORDS);
	return memory;
}

int
main(int argc, char **argv)
{
	static const struct timespec pause = { .tv_nsec = 200000 };
	struct spool_writer writer;
	uint32_t number = 0;
	uint64_t epoch;
	long count;

	if (argc != 6) {
		fputs("Usage: spool_writer FOLDER EPOCH COUNT ACCOUNT-ID COST-NANO\n", stderr);
		return 2;
	}
	epoch = strtoull(argv[2], NULL, 10);
	count = strtol(argv[3], NULL, 10);
	spool_writer_init(&writer, make_segment(argv[1], epoch, number++));
	for (long i = 0; i < count; i++) {
		struct usage_record record = {
			.account_id = strtoull(argv[4], NULL, 10),
			.cost_nano = strtoll(argv[5], NULL, 10),
			.prompt_tokens = 3,
			.completion_tokens = 4,
			.status = 200,
			.finished_at_unix_ns = (uint64_t)time(NULL) * 1000000000u,
		};

		if (spool_room(&writer) < SEGMENT_RECORDS) {
			void *full = atomic_exchange(&writer.full, NULL);

			if (full != NULL)
				munmap(full, spool_bytes(SEGMENT_RECORDS));
			if (atomic_load(&writer.next) == NULL)
				atomic_store(&writer.next, (struct spool_header *)make_segment(
								   argv[1], epoch, number++));
		}
		if (spool_append(&writer, &record) != ERR_OK)
			return 1;
		nanosleep(&pause, NULL);
	}
	return 0;
}
