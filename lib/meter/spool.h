#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "meter/usage.h"

/*
 * spool: usage records on their way to the ledger: append-only segments in memory-mapped files.
 *
 * File name: <epoch, 16 hex>-<worker, 4 hex>-<segment number, 8 hex>.spool
 *
 *   | spool_header, one page | record 0 | record 1 | ... | record capacity-1 |
 *
 * A worker writes into a mapped segment (memory stores only), then publishes header.written. When it is
 * full, the worker goes on in the next one, which the dataplane's main thread has made and mapped ahead
 * of time. Control reads [drained, written) of each segment into the ledger in one transaction per batch
 * and then advances drained in the file; a full and drained segment is deleted by control.
 *
 * Owner: writer: one worker. Time: none. Memory: the mapping, made elsewhere. No I/O here.
 */

#define SPOOL_MAGIC UINT64_C(0x314c4f4f50534c53)
#define SPOOL_HEADER_BYTES 4096

struct spool_header {
	uint64_t magic;
	uint32_t version;
	uint32_t worker;
	uint64_t epoch;
	uint64_t segment;        /* number, from 0 */
	uint64_t first_sequence; /* of record 0; set when the writer enters the segment */
	uint32_t capacity;       /* records */
	uint32_t reserved;
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t written; /* by the worker */
	_Atomic uint32_t sealed; /* by the worker: it has gone on to the next segment */
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t drained; /* by control */
};

/* Bytes of a segment with room for so many records. */
size_t spool_bytes(uint32_t capacity);

/* Fills the header of page-aligned, zeroed memory of spool_bytes(capacity). */
void spool_format(void *segment, uint64_t epoch, uint32_t worker, uint64_t number, uint32_t capacity);

/* ERR_SPOOL_FORMAT: not a segment, or another version. bytes: of the mapping. */
enum err spool_check(const void *segment, size_t bytes);

struct spool_writer {
	struct spool_header *segment;
	_Atomic(struct spool_header *) next; /* put here by the main thread, taken by the worker */
	/* Given back by the worker, for the main thread to unmap and set to NULL; until then the worker
	 * does not enter another segment. */
	_Atomic(struct spool_header *) full;
	uint64_t sequence;                   /* of the last record written */
};

/* The first segment of a new epoch, empty; sequences start at 1. */
void spool_writer_init(struct spool_writer *w, void *first_segment);

/* Records that can be written now without another segment from the main thread. */
uint64_t spool_room(const struct spool_writer *w);

/* Sets sequence and crc32c in *record and appends it. ERR_SPOOL_FULL: nothing was written; admission
 * must have refused before (keep spool_room() above the requests in flight). */
enum err spool_append(struct spool_writer *w, struct usage_record *record);

/* Reader: record `index` of a segment that passed spool_check(). ERR_MORE: not written yet.
 * ERR_SPOOL_CRC: damaged, or not the record that belongs there; skip it and say so. */
enum err spool_read(const void *segment, uint64_t index, struct usage_record *record);

/* The same of a copy of that record, read from the file. */
enum err spool_verify(const struct spool_header *header, uint64_t index, const struct usage_record *record);
