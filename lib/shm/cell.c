/*
 * Two-version cells: a sequence lock whose writer fills the copy that nobody is told to read.
 *
 * A reader can only be torn by a writer that publishes and begins the next publish while it copies; the
 * version, read again behind the copy, tells. Words are atomics, because the two sides really do race on
 * them (C11 5.1.2.4). Acquire loads keep the second look at the version behind them; release stores keep
 * the version published before in front of them. Both are plain moves on x86, and unlike fences they are
 * understood by the thread sanitizer.
 */
#include "shm/cell.h"

/* Of each table: what it stores, and where it says that it is live. */
static const struct {
	uint32_t body_bytes;
	uint32_t live_offset;
} shapes[SHM_SECTION_COUNT] = {
	[SHM_ACCOUNTS] = { sizeof(struct shm_account), offsetof(struct shm_account, live) },
	[SHM_PLANS] = { sizeof(struct shm_plan), offsetof(struct shm_plan, live) },
	[SHM_MODELS] = { sizeof(struct shm_model), offsetof(struct shm_model, live) },
	[SHM_ALIASES] = { sizeof(struct shm_alias), offsetof(struct shm_alias, live) },
	[SHM_PRICES] = { sizeof(struct shm_price), offsetof(struct shm_price, live) },
	[SHM_INSTANCES] = { sizeof(struct shm_instance), offsetof(struct shm_instance, live) },
	[SHM_DEPLOYMENTS] = { sizeof(struct shm_deployment),
			      offsetof(struct shm_deployment, live) },
	[SHM_PODS] = { sizeof(struct shm_pod), offsetof(struct shm_pod, live) },
	[SHM_REGIONS] = { sizeof(struct shm_region), offsetof(struct shm_region, live) },
};

#define WHOLE_WORDS(type) _Static_assert(sizeof(type) % 8 == 0, "bodies are whole words")
WHOLE_WORDS(struct shm_account);
WHOLE_WORDS(struct shm_plan);
WHOLE_WORDS(struct shm_model);
WHOLE_WORDS(struct shm_alias);
WHOLE_WORDS(struct shm_price);
WHOLE_WORDS(struct shm_instance);
WHOLE_WORDS(struct shm_deployment);
WHOLE_WORDS(struct shm_pod);
WHOLE_WORDS(struct shm_region);

struct cell {
	_Atomic uint64_t version;
	uint64_t words[]; /* body 0, body 1 */
};

uint64_t
cell_bytes(enum shm_section table)
{
	uint64_t bytes = sizeof(struct cell) + 2 * (uint64_t)shapes[table].body_bytes;

	return (bytes + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
}

uint32_t
cell_body_bytes(enum shm_section table)
{
	return shapes[table].body_bytes;
}

uint32_t
cell_live_offset(enum shm_section table)
{
	return shapes[table].live_offset;
}

static struct cell *
cell_at(const struct shm *shm, enum shm_section table, uint32_t entry)
{
	return (struct cell *)(void *)((char *)shm->header + shm->header->offset[table] +
				       entry * cell_bytes(table));
}

enum err
cell_read_head(const struct shm *shm, enum shm_section table, uint32_t entry, void *head, uint32_t bytes)
{
	uint32_t count = shapes[table].body_bytes / 8;
	struct cell *cell;

	if (entry >= shm->header->capacity.count[table])
		return ERR_SHM_NOT_FOUND;
	cell = cell_at(shm, table, entry);
	/* Which body it will be only the first line tells: the second one comes meanwhile. */
	__builtin_prefetch(cell->words + count);
	for (int i = 0; i < SHM_READ_TRIES_MAX; i++) {
		uint64_t version = atomic_load_explicit(&cell->version, memory_order_acquire);
		const uint64_t *from = cell->words + ((version + 1) & 1) * count;
		uint64_t *to = head;

		for (uint32_t w = 0; w < bytes / 8; w++)
			to[w] = __atomic_load_n(&from[w], __ATOMIC_ACQUIRE);
		if (atomic_load_explicit(&cell->version, memory_order_relaxed) == version)
			return ERR_OK;
	}
	return ERR_SHM_BUSY;
}

enum err
cell_read(const struct shm *shm, enum shm_section table, uint32_t entry, void *body)
{
	return cell_read_head(shm, table, entry, body, shapes[table].body_bytes);
}

void
cell_prefetch(const struct shm *shm, enum shm_section table, uint32_t entry)
{
	if (entry < shm->header->capacity.count[table])
		__builtin_prefetch(cell_at(shm, table, entry));
}

void
cell_write(struct shm *shm, enum shm_section table, uint32_t entry, const void *body)
{
	struct cell *cell = cell_at(shm, table, entry);
	uint64_t version = atomic_load_explicit(&cell->version, memory_order_relaxed);
	uint32_t count = shapes[table].body_bytes / 8;
	uint64_t *to = cell->words + (version & 1) * count;
	const uint64_t *from = body;

	/* A reader that sees any word of this body must also see the version published before it. */
	for (uint32_t w = 0; w < count; w++)
		__atomic_store_n(&to[w], from[w], __ATOMIC_RELEASE);
	atomic_store_explicit(&cell->version, version + 1, memory_order_release);
}

uint64_t
cell_version(const struct shm *shm, enum shm_section table, uint32_t entry)
{
	return atomic_load_explicit(&cell_at(shm, table, entry)->version, memory_order_acquire);
}
