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
	bool failing; /* the last attempt to make a segment failed; said once */
};

/* Makes the folder if need be, and for each worker a tab for so many requests and a first segment.
 * ERR_SPOOL_FILE: text says why. */
enum err spool_files_open(struct spool_files *files, const char *folder, uint64_t epoch, uint32_t worker_count,
			  uint32_t requests, uint64_t segment_bytes, char *text, size_t room);

/* Puts a next segment where one is wanted and unmaps what was left. Call every few milliseconds. The
 * first failure after a success returns ERR_SPOOL_FILE with a text; it tries again with each call. */
enum err spool_files_tend(struct spool_files *files, char *text, size_t room);

/* Seals what is being written and unmaps everything; workers have stopped. */
void spool_files_close(struct spool_files *files);
