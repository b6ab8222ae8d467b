/*
 * The writer stores a record, then publishes its index with release order; the reader acquires the
 * index, then reads the record. A kill -9 therefore never shows half a record. A power cut can,
 * since the kernel writes pages back in any order: the checksum and the sequence number find those.
 */
#include "meter/spool.h"

#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"

#define SPOOL_VERSION 1

CHECK_STATIC(sizeof(struct spool_header) <= SPOOL_HEADER_BYTES, "the header has one page");

static struct usage_record *
record_at(const struct spool_header *segment, uint64_t index)
{
	return (struct usage_record *)((uintptr_t)segment + SPOOL_HEADER_BYTES) + index;
}

static uint32_t
record_crc32c(const struct usage_record *record)
{
	size_t skip = sizeof(record->crc32c);

	return crc32c_sum((const uint8_t *)record + skip, sizeof(*record) - skip);
}

size_t
spool_bytes(uint32_t capacity)
{
	return SPOOL_HEADER_BYTES + (size_t)capacity * USAGE_RECORD_BYTES;
}

void
spool_format(void *segment, uint64_t epoch, uint32_t worker, uint64_t number, uint32_t capacity)
{
	struct spool_header *header = segment;

	CHECK(capacity > 0);
	header->version = SPOOL_VERSION;
	header->worker = worker;
	header->epoch = epoch;
	header->segment = number;
	header->capacity = capacity;
	/* Last, so that a segment whose making was cut short is not taken for one. */
	atomic_thread_fence(memory_order_release);
	header->magic = SPOOL_MAGIC;
}

enum err
spool_check(const void *segment, size_t bytes)
{
	const struct spool_header *header = segment;
	uint64_t drained;
	uint64_t written;

	if (bytes < SPOOL_HEADER_BYTES || header->magic != SPOOL_MAGIC)
		return ERR_SPOOL_FORMAT;
	if (header->version != SPOOL_VERSION || header->capacity == 0)
		return ERR_SPOOL_FORMAT;
	if (bytes < spool_bytes(header->capacity))
		return ERR_SPOOL_FORMAT;
	/* In this order, since a living writer may add records between the two. */
	drained = atomic_load_explicit(&header->drained, memory_order_acquire);
	written = atomic_load_explicit(&header->written, memory_order_acquire);
	if (written > header->capacity || drained > written)
		return ERR_SPOOL_FORMAT;
	return ERR_OK;
}

static void
enter(struct spool_writer *w, struct spool_header *segment)
{
	CHECK(segment->magic == SPOOL_MAGIC);
	CHECK(atomic_load_explicit(&segment->written, memory_order_relaxed) == 0);
	segment->first_sequence = w->sequence + 1;
	w->segment = segment;
}

void
spool_writer_init(struct spool_writer *w, void *first_segment)
{
	w->sequence = 0;
	atomic_store_explicit(&w->next, NULL, memory_order_relaxed);
	atomic_store_explicit(&w->full, NULL, memory_order_relaxed);
	enter(w, first_segment);
}

static uint64_t
room_here(const struct spool_header *segment)
{
	return segment->capacity - atomic_load_explicit(&segment->written, memory_order_relaxed);
}

/* The slot for the full segment must have been emptied: the writer holds two segments,
 * never three. */
static struct spool_header *
next_if_enterable(const struct spool_writer *w)
{
	if (atomic_load_explicit(&w->full, memory_order_acquire) != NULL)
		return NULL;
	return atomic_load_explicit(&w->next, memory_order_acquire);
}

uint64_t
spool_room(const struct spool_writer *w)
{
	const struct spool_header *next = next_if_enterable(w);

	return room_here(w->segment) + (next != NULL ? next->capacity : 0);
}

static bool
go_on(struct spool_writer *w)
{
	struct spool_header *old = w->segment;
	struct spool_header *next = next_if_enterable(w);

	if (next == NULL)
		return false;
	atomic_store_explicit(&w->next, NULL, memory_order_relaxed);
	enter(w, next);
	atomic_store_explicit(&old->sealed, 1, memory_order_release);
	atomic_store_explicit(&w->full, old, memory_order_release);
	return true;
}

enum err
spool_append(struct spool_writer *w, struct usage_record *record)
{
	uint64_t index;

	if (room_here(w->segment) == 0 && !go_on(w))
		return ERR_SPOOL_FULL;
	w->sequence++;
	record->record_bytes = USAGE_RECORD_BYTES;
	record->sequence = w->sequence;
	record->crc32c = record_crc32c(record);
	index = atomic_load_explicit(&w->segment->written, memory_order_relaxed);
	*record_at(w->segment, index) = *record;
	atomic_store_explicit(&w->segment->written, index + 1, memory_order_release);
	return ERR_OK;
}

enum err
spool_verify(const struct spool_header *header, uint64_t index, const struct usage_record *record)
{
	if (record->crc32c != record_crc32c(record))
		return ERR_SPOOL_CRC;
	/* Whole, but not what belongs here: a page of an older file, say. */
	if (record->record_bytes != USAGE_RECORD_BYTES || record->sequence != header->first_sequence + index)
		return ERR_SPOOL_CRC;
	return ERR_OK;
}

enum err
spool_read(const void *segment, uint64_t index, struct usage_record *record)
{
	const struct spool_header *header = segment;
	struct usage_record copy;

	if (index >= atomic_load_explicit(&header->written, memory_order_acquire))
		return ERR_MORE;
	copy = *record_at(header, index);
	if (spool_verify(header, index, &copy) != ERR_OK)
		return ERR_SPOOL_CRC;
	*record = copy;
	return ERR_OK;
}
