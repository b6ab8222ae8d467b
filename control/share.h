#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "shm/table.h"

/*
 * share: the shared file, /dev/shm/<instance>: attached to if it is there, made if it is not.
 *
 * A new file is written under another name, filled, and shown at once by share_reveal(), so the dataplane
 * never sees a table that is not complete. All of its memory is reserved when it is made: a full tmpfs is
 * an error message here instead of a bus error in a worker. Huge pages are asked for; huge_bytes is what came of
 * it.
 *
 * Memory: a mapping; share_close() unmaps, the file stays (the dataplane goes on with it).
 */
struct share {
	struct shm shm;
	bool is_new;     /* not shown yet, if so */
	uint64_t huge_bytes; /* of the mapping that are in huge pages, as it was opened */
	int folder;      /* of the file */
	char name[72];
	char new_name[80];
	char problem[256];
};

/* ERR_SHM_*: problem says what is wrong, in a sentence. The dataplane's epochs begin above first_epoch. */
enum err share_open(struct share *share, const char *folder, const char *name,
		    const struct shm_capacity *capacity, uint32_t worker_count,
		    const uint8_t pepper[32], uint64_t first_epoch);

/* Gives a new file its name. Nothing to do for one that was attached to. */
enum err share_reveal(struct share *share);

void share_close(struct share *share);
