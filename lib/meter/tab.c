/*
 * Every order of stores here is one that a kill -9 may cut anywhere: stores of a dead process stay in the mapping
 * as far as it came. A power cut may lose any page; the checksum finds that.
 */
#include "meter/tab.h"

#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"

#define TAB_VERSION 1

CHECK_STATIC(sizeof(struct tab_header) <= TAB_HEADER_BYTES, "the header has one page");

static struct tab_line *
line_at(const struct tab_header *tab, uint32_t line)
{
	CHECK(line < tab->capacity);
	return (struct tab_line *)((uintptr_t)tab + TAB_HEADER_BYTES) + line;
}

static uint32_t
record_crc32c(const struct usage_record *record)
{
	size_t skip = sizeof(record->crc32c);

	return crc32c_sum((const uint8_t *)record + skip, sizeof(*record) - skip);
}

size_t
tab_bytes(uint32_t capacity)
{
	return TAB_HEADER_BYTES + (size_t)capacity * sizeof(struct tab_line);
}

void
tab_format(void *memory, uint64_t epoch, uint32_t worker, uint32_t capacity)
{
	struct tab_header *tab = memory;

	tab->version = TAB_VERSION;
	tab->worker = worker;
	tab->epoch = epoch;
	tab->capacity = capacity;
	atomic_thread_fence(memory_order_release);
	tab->magic = TAB_MAGIC;
}

enum err
tab_check(const struct tab_header *tab, uint64_t bytes)
{
	if (bytes < TAB_HEADER_BYTES || tab->magic != TAB_MAGIC || tab->version != TAB_VERSION ||
	    bytes < tab_bytes(tab->capacity))
		return ERR_SPOOL_FORMAT;
	return ERR_OK;
}

/* The writer's own view. */
static const struct tab_totals *
totals_of(const struct tab_header *tab)
{
	return &tab->totals[atomic_load_explicit(&tab->totals_version, memory_order_relaxed) & 1];
}

void
tab_write(struct tab_header *tab, uint32_t line, struct usage_record *record)
{
	struct tab_line *to = line_at(tab, line);
	uint64_t version = atomic_load_explicit(&to->version, memory_order_relaxed) + 1;

	record->record_bytes = USAGE_RECORD_BYTES;
	record->sequence = TAB_SEQUENCE_FIRST + line;
	record->behind_sequence = totals_of(tab)->sequence;
	record->crc32c = record_crc32c(record);
	to->record[version & 1] = *record;
	atomic_store_explicit(&to->version, version, memory_order_release);
	atomic_store_explicit(&to->state, TAB_OPEN, memory_order_release);
}

static void
add_totals(struct tab_header *tab, const struct usage_record *record)
{
	uint64_t version = atomic_load_explicit(&tab->totals_version, memory_order_relaxed);
	const struct tab_totals *from = totals_of(tab);

	/* The other one may be being read: by somebody who looks at the version again afterwards. */
	tab->totals[(version + 1) & 1] = (struct tab_totals){
		.sequence = record->sequence,
		.cost_nano = from->cost_nano + (uint64_t)record->cost_nano,
		.tokens = from->tokens + record->prompt_tokens + record->completion_tokens,
	};
	atomic_store_explicit(&tab->totals_version, version + 1, memory_order_release);
}

enum err
tab_close(struct tab_header *tab, uint32_t line, struct spool_writer *spool, struct usage_record *record)
{
	struct tab_line *from = line != TAB_NO_LINE ? line_at(tab, line) : NULL;
	enum err verdict;

	if (from != NULL && atomic_load_explicit(&from->state, memory_order_relaxed) != TAB_FREE)
		atomic_store_explicit(&from->state, spool->sequence + 1, memory_order_release);
	verdict = spool_append(spool, record);
	if (verdict != ERR_OK)
		return verdict;
	if (from != NULL)
		atomic_store_explicit(&from->state, TAB_FREE, memory_order_release);
	add_totals(tab, record);
	return ERR_OK;
}

enum err
tab_read(const struct tab_line *line, struct usage_record *record, uint64_t *sequence)
{
	uint64_t state = atomic_load_explicit(&line->state, memory_order_acquire);
	uint64_t version = atomic_load_explicit(&line->version, memory_order_acquire);
	const struct usage_record *last = &line->record[version & 1];

	if (state == TAB_FREE)
		return ERR_MORE;
	if (last->crc32c != record_crc32c(last) || last->record_bytes != USAGE_RECORD_BYTES)
		return ERR_SPOOL_CRC;
	*record = *last;
	*sequence = state == TAB_OPEN ? 0 : state;
	return ERR_OK;
}

enum err
tab_read_totals(const struct tab_header *copy, const struct tab_header *again, struct tab_totals *totals)
{
	uint64_t version = atomic_load_explicit(&copy->totals_version, memory_order_acquire);

	if (atomic_load_explicit(&again->totals_version, memory_order_acquire) != version)
		return ERR_MORE;
	*totals = copy->totals[version & 1];
	return ERR_OK;
}
