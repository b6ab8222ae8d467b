#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "dataplane/bounds.h"
#include "meter/spool.h"
#include "meter/tab.h"

/*
 * spool_files: the files behind the workers' spool segments and tabs: made, mapped and pre-allocated ahead of
 * time; a segment is unmapped when its worker has left it.
 *
 * Owner and thread: the main thread. Workers see struct spool_writer only. Blocks on the disk, which is
 * why no worker does it.
 */
#define SPOOL_WORKERS_MAX 64
#define SPOOL_RETRY_NS (UINT64_C(100) * 1000000)

struct spool_files {
	const char *folder;
	uint64_t epoch;
	uint32_t worker_count;
	uint32_t records; /* of a segment */
	uint64_t next_number[SPOOL_WORKERS_MAX];
	struct spool_writer writers[SPOOL_WORKERS_MAX];
	struct tab_header *tabs[SPOOL_WORKERS_MAX];
	int tab_files[SPOOL_WORKERS_MAX]; /* open as long as the process lives: their locks say that it does */
	uint32_t requests; /* lines of a tab */
	uint64_t size_bytes;     /* of all segments in the folder, whoever made them */
	uint64_t retry_at_ns;    /* after a segment could not be made */
	bool failing; /* the last attempt to make a segment failed; said once */
	bool filling; /* the alarm was raised */
};

struct spool_files_config {
	const char *folder;
	uint64_t epoch;
	uint32_t worker_count;
	uint32_t requests; /* in flight, of a worker */
	uint64_t segment_bytes;
	uint64_t size_bytes; /* beyond which no further segment is made */
};

/* Makes the folder if need be, and for each worker a tab and a first segment, whatever else is there.
 * ERR_SPOOL_FILE: text says why. */
enum err spool_files_open(struct spool_files *files, const struct spool_files_config *config, char *text,
			  size_t room);

/* Puts a next segment where one is wanted and unmaps what was left. Call every few milliseconds. The first failure
 * after a success returns ERR_SPOOL_FILE with a text; it tries again SPOOL_RETRY_NS later. Meanwhile admission
 * refuses requests when what is left is needed by those in flight. Logs `spool_filling` at 80 %. */
enum err spool_files_tend(struct spool_files *files, uint64_t now_ns, char *text, size_t room);

/* Seals what is being written and unmaps everything; workers have stopped. */
void spool_files_close(struct spool_files *files);
