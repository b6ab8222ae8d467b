/* One worker's tables, as control would make them. */
#include "tables.h"

#include <stdlib.h>
#include <string.h>

struct shm
tables_make(void)
{
	static const uint8_t id[16], pepper[32];
	struct shm_capacity capacity = { 0 };
	struct shm shm;
	uint64_t bytes;
	void *memory;

	for (int i = SHM_KEYS; i <= SHM_REGIONS; i++)
		capacity.count[i] = TABLES_ENTRIES;
	bytes = shm_bytes(&capacity, 1);
	memory = aligned_alloc(CACHE_LINE_BYTES, bytes);
	CHECK(memory != NULL);
	memset(memory, 0, bytes);
	shm_format(memory, &capacity, 1, id, pepper);
	CHECK(shm_attach(&shm, memory, bytes) == ERR_OK);
	return shm;
}

void
tables_free(struct shm *shm)
{
	free(shm->header);
	shm->header = NULL;
}

void
tables_put_account(struct shm *shm, uint32_t entry, uint64_t id)
{
	struct shm_account account = { .account_id = id, .live = 1 };
	bool changed;

	CHECK(shm_put_account(shm, entry, &account, &changed) == ERR_OK);
}
