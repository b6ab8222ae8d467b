#pragma once

#include <stdatomic.h>
#include <stdint.h>

#include "base/err.h"
#include "meter/spool.h"
#include "meter/usage.h"

/*
 * tab: the running bill of every request in flight, so that a crash of the dataplane loses none of them.
 *
 * File name: <epoch, 16 hex>-<worker, 4 hex>.tab, in the spool's folder, mapped by the dataplane
 *
 *   | tab_header, one page | line 0 | line 1 | ... | line capacity-1 |
 *
 * A line belongs to one exchange of the worker. While a request is with a backend it holds the record that the
 * request would have if the process died now, twice: a write fills the one that `version` does not name, then
 * moves `version`. So a death at any instruction leaves a whole record. It is written before what it counts can
 * leave the process: it has every event that the client has, and lacks at most those that were read and not sent.
 *
 * The end of a request is one with its record in the spool: the line first names the sequence that the record is
 * going to have, then the record is published, then the line is free. After a death the reader knows: a line that
 * names a sequence is settled if the spool has that record, and open if it has not. After a power cut a line may
 * be older than the spool: one that names no sequence is open if no record behind its `behind_sequence` is of its
 * request.
 *
 * The header sums what the worker has put into the spool (totals), for the reconciliation with the ledger.
 *
 * The dataplane holds a lock (flock) on the file as long as it lives: who gets the lock reads a dead one's tab.
 *
 * Owner: writer: one worker; stores into memory only, no allocation, no system call. Time: none. Memory: the
 * mapping, made elsewhere.
 */

#define TAB_MAGIC UINT64_C(0x31424154554c53)
#define TAB_HEADER_BYTES 4096
#define TAB_NO_LINE UINT32_MAX

/* What a crash left open has no sequence of the spool: its row in the ledger has this one plus its line, so that
 * reading the same tab again changes nothing. */
#define TAB_SEQUENCE_FIRST (UINT64_C(1) << 62)

/* Of everything in the spool up to a record. Sums that do not fit go on from 0, as the ledger's do not: a
 * difference of 2^64 is none. */
struct tab_totals {
	uint64_t sequence; /* of that record, which is their number, too */
	uint64_t cost_nano;
	uint64_t tokens; /* prompt and completion */
};

struct tab_header {
	uint64_t magic;
	uint32_t version;
	uint32_t worker;
	uint64_t epoch;
	uint32_t capacity; /* lines */
	uint32_t reserved;
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t totals_version;
	struct tab_totals totals[2]; /* the one that the version names is whole */
};

#define TAB_FREE UINT64_C(0)
#define TAB_OPEN UINT64_MAX

struct tab_line {
	_Alignas(CACHE_LINE_BYTES) _Atomic uint64_t state; /* TAB_FREE, TAB_OPEN or a sequence of the spool */
	_Atomic uint64_t version;
	_Alignas(CACHE_LINE_BYTES) struct usage_record record[2];
};

CHECK_STATIC(sizeof(struct tab_line) == CACHE_LINE_BYTES + 2 * USAGE_RECORD_BYTES, "a line of the tab");

/* Bytes of a tab with so many lines. */
size_t tab_bytes(uint32_t capacity);

/* Fills the header of page-aligned, zeroed memory of tab_bytes(capacity). */
void tab_format(void *memory, uint64_t epoch, uint32_t worker, uint32_t capacity);

/* ERR_SPOOL_FORMAT: not a tab, or another version. bytes: of the file. */
enum err tab_check(const struct tab_header *tab, uint64_t bytes);

/* What the request would be billed if the process died now. Sets sequence, behind_sequence and crc32c in it. */
void tab_write(struct tab_header *tab, uint32_t line, struct usage_record *record);

/* Appends the record of a request that is over and frees its line. line: TAB_NO_LINE if it never had one.
 * ERR_SPOOL_FULL: nothing was written; admission must have refused before. */
enum err tab_close(struct tab_header *tab, uint32_t line, struct spool_writer *spool, struct usage_record *record);

/* Reader, of a line of a dead dataplane: its last record. ERR_MORE: the line is free. ERR_SPOOL_CRC: damaged.
 * *sequence: the request is over if the spool has this record; 0: it has none. */
enum err tab_read(const struct tab_line *line, struct usage_record *record, uint64_t *sequence);

/* Reader, of a copy of the header's page: ERR_MORE if *again, a later copy, has moved on meanwhile. */
enum err tab_read_totals(const struct tab_header *copy, const struct tab_header *again, struct tab_totals *totals);
