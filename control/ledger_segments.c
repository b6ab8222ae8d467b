/* The segments of the spool folder. They are mapped once and looked at each turn: new records cost no system call
 * to find. What becomes of records is ledger.c's. */
#include "ledger.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/check.h"
#include "clock.h"
#include "config/log.h"

static void
forget(struct ledger *l, uint32_t at)
{
	munmap(l->segments[at].header, SPOOL_HEADER_BYTES);
	l->segments[at] = l->segments[--l->segment_count];
}

void
ledger_forget_segments(struct ledger *l)
{
	while (l->segment_count > 0)
		forget(l, l->segment_count - 1);
}

/* --- finding segments -------------------------------------------------------------------- */

static struct ledger_segment *
find(struct ledger *l, const char *name)
{
	for (uint32_t i = 0; i < l->segment_count; i++)
		if (strcmp(l->segments[i].name, name) == 0)
			return &l->segments[i];
	return NULL;
}

static void *
map_header(int folder, const char *name, uint64_t *bytes)
{
	int file = openat(folder, name, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	void *memory = MAP_FAILED;
	struct stat status;

	if (file < 0)
		return MAP_FAILED;
	if (fstat(file, &status) == 0 && S_ISREG(status.st_mode) &&
	    status.st_size >= SPOOL_HEADER_BYTES) {
		*bytes = (uint64_t)status.st_size;
		memory = mmap(NULL, SPOOL_HEADER_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	}
	close(file);
	return memory;
}

/* The sequence numbers before this segment's first one that the ledger does not have and no mapped
 * segment will bring. Asked once per segment, when it is found. */
static void
count_gap(struct ledger *l, const struct spool_header *header)
{
	struct statement *statement;

	if (header->first_sequence <= 1)
		return;
	for (uint32_t i = 0; i < l->segment_count; i++)
		if (l->segments[i].header->epoch == header->epoch &&
		    l->segments[i].header->worker == header->worker &&
		    l->segments[i].header->segment + 1 == header->segment)
			return; /* its predecessor is here and says how far it goes */
	statement = store_prepare(l->store, "SELECT coalesce(max(sequence), 0) FROM ledger WHERE node = ?1"
					    " AND epoch = ?2 AND worker = ?3 AND sequence < ?4");
	if (statement == NULL)
		return;
	store_bind_text(statement, 1, bytes_from_text(l->node));
	store_bind_int64(statement, 2, (int64_t)header->epoch);
	store_bind_int64(statement, 3, header->worker);
	store_bind_int64(statement, 4, (int64_t)header->first_sequence);
	if (store_step(statement) == STORE_ROW) {
		uint64_t last = (uint64_t)store_column_int64(statement, 0);

		if (last + 1 < header->first_sequence) {
			l->gaps += header->first_sequence - 1 - last;
			LOG_ERROR("usage_gap", LOG_NUMBER("worker", header->worker),
				  LOG_NUMBER("after", last),
				  LOG_NUMBER("before", header->first_sequence));
		}
	}
	store_finalize(statement);
}

static void
meet(struct ledger *l, int folder, const char *name, uint64_t now_ns)
{
	struct ledger_segment *segment = find(l, name);
	uint64_t bytes = 0;
	void *memory;

	if (segment != NULL) {
		segment->is_met = true;
		return;
	}
	if (l->segment_count == LEDGER_SEGMENTS_MAX) {
		l->is_crowded = true;
		return;
	}
	memory = map_header(folder, name, &bytes);
	if (memory == MAP_FAILED) {
		l->foreign++;
		return;
	}
	/* One that was cut short has what it has: the records that are not there are counted as damaged. */
	if (spool_check(memory, SIZE_MAX) != ERR_OK) {
		/* Not formatted yet, or damaged: the metric tells if it stays so. */
		munmap(memory, SPOOL_HEADER_BYTES);
		l->foreign++;
		return;
	}
	segment = &l->segments[l->segment_count++];
	*segment = (struct ledger_segment){ .header = memory, .bytes = bytes, .is_met = true,
					    .is_new = true, .idle_since_ns = now_ns };
	CHECK(strlen(name) < sizeof(segment->name)); /* filename_is_segment() */
	memcpy(segment->name, name, strlen(name) + 1);
}

/* --- retiring segments ------------------------------------------------------------------- */

static int
open_segment(const struct ledger *l, const struct ledger_segment *segment)
{
	char path[sizeof(l->folder) + sizeof(segment->name) + 1];

	snprintf(path, sizeof(path), "%s/%s", l->folder, segment->name);
	return open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
}

static off_t
offset_of(uint64_t index)
{
	return (off_t)(SPOOL_HEADER_BYTES + index * USAGE_RECORD_BYTES);
}

/* A kill comes between a record and the word that counts it, and a power cut may keep records and lose that word's
 * page. Of a segment that nobody writes any more, those that are whole and in their place behind `written` count;
 * the loop ends with the first one that is not. */
static enum err
recover(struct ledger *l, const struct ledger_segment *segment, bool *any)
{
	struct spool_header *header = segment->header;
	uint64_t written = atomic_load(&header->written), before = written;
	struct usage_record record;
	int file = open_segment(l, segment);
	ssize_t n = file >= 0 ? (ssize_t)sizeof(record) : -1;

	while (n == (ssize_t)sizeof(record) && written < header->capacity && written - before < LEDGER_BATCH_MAX) {
		n = pread(file, &record, sizeof(record), offset_of(written));
		if (n != (ssize_t)sizeof(record) || spool_verify(header, written, &record) != ERR_OK)
			break;
		written++;
	}
	if (n < 0)
		store_refuse(l->store, ERR_SPOOL_FILE, "%s cannot be read: %s", segment->name, strerror(errno));
	if (file >= 0)
		close(file);
	if (written == before)
		return n < 0 ? ERR_SPOOL_FILE : ERR_OK;
	*any = true;
	LOG_WARN("usage_recovered", LOG_NUMBER("epoch", header->epoch), LOG_NUMBER("worker", header->worker),
		 LOG_NUMBER("records", written - before));
	l->recovered += written - before;
	atomic_store_explicit(&header->written, written, memory_order_release);
	return ERR_OK;
}

enum err
ledger_recover(struct ledger *l, uint64_t epoch, uint32_t worker, bool *any)
{
	enum err verdict = ERR_OK;

	*any = false;
	for (uint32_t i = 0; i < l->segment_count && verdict == ERR_OK; i++) {
		const struct spool_header *header = l->segments[i].header;

		if (header->epoch == epoch && header->worker == worker)
			verdict = recover(l, &l->segments[i], any);
	}
	return verdict;
}

static bool
has_tab(int folder, const struct spool_header *header)
{
	char name[FILENAME_BYTES];

	filename_of_tab(header->epoch, header->worker, name);
	return faccessat(folder, name, F_OK, 0) == 0;
}

static bool
is_done_with(struct ledger_segment *segment, int folder, uint64_t current_epoch, uint64_t now_ns)
{
	const struct spool_header *header = segment->header;
	bool sealed = atomic_load_explicit(&header->sealed, memory_order_acquire) != 0;

	if (atomic_load(&header->drained) < atomic_load(&header->written)) {
		segment->idle_since_ns = now_ns;
		return false;
	}
	/* A dataplane that died seals nothing; whoever comes after it has another epoch. As long as its tab is
	 * there, it may live, and who settles the tab says when it is buried. */
	return sealed || segment->is_dead ||
	       (header->epoch != current_epoch && now_ns - segment->idle_since_ns > LEDGER_FORGET_NS &&
		!has_tab(folder, header));
}

static void
note_room(struct ledger *l, int folder)
{
	struct statvfs disk;

	l->spool_bytes = 0;
	for (uint32_t i = 0; i < l->segment_count; i++)
		l->spool_bytes += l->segments[i].bytes;
	if (fstatvfs(folder, &disk) == 0)
		l->free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
}

void
ledger_bury(struct ledger *l, uint64_t epoch, uint32_t worker)
{
	for (uint32_t i = 0; i < l->segment_count; i++)
		if (l->segments[i].header->epoch == epoch && l->segments[i].header->worker == worker)
			l->segments[i].is_dead = true;
}

void
ledger_scan(struct ledger *l, uint64_t current_epoch, uint64_t now_ns)
{
	DIR *directory = opendir(l->folder);
	struct dirent *file;

	if (directory == NULL) {
		LOG_ERROR("spool_unreadable", LOG_TEXT("folder", l->folder),
			  LOG_TEXT("why", strerror(errno)));
		return;
	}
	l->foreign = 0;
	l->is_crowded = false;
	for (uint32_t i = 0; i < l->segment_count; i++)
		l->segments[i].is_met = l->segments[i].is_unreadable = false;
	while ((file = readdir(directory)) != NULL)
		if (filename_is_segment(file->d_name))
			meet(l, dirfd(directory), file->d_name, now_ns);
	/* Only now: a folder lists its files in no order, and a predecessor may come later. */
	for (uint32_t i = 0; i < l->segment_count; i++) {
		if (l->segments[i].is_new)
			count_gap(l, l->segments[i].header);
		l->segments[i].is_new = false;
	}
	for (uint32_t i = l->segment_count; i-- > 0;) {
		struct ledger_segment *segment = &l->segments[i];

		if (!segment->is_met) {
			forget(l, i); /* deleted by somebody else */
		} else if (is_done_with(segment, dirfd(directory), current_epoch, now_ns)) {
			bool any = false;

			/* One that cannot be read stays. */
			if (recover(l, segment, &any) != ERR_OK || any)
				continue;
			if (unlinkat(dirfd(directory), segment->name, 0) == 0)
				l->retired++;
			forget(l, i);
		}
	}
	note_room(l, dirfd(directory));
	closedir(directory);
	l->scanned_at_ns = now_ns;
}

/* --- draining ---------------------------------------------------------------------------- */

/* The file keeps its records under another name when it is deleted: somebody has to look. */
static void
quarantine(const struct ledger *l, const struct ledger_segment *segment)
{
	char from[sizeof(l->folder) + sizeof(segment->name) + 1], to[sizeof(from) + sizeof(".damaged")];

	snprintf(from, sizeof(from), "%s/%s", l->folder, segment->name);
	snprintf(to, sizeof(to), "%s.damaged", from);
	if (link(from, to) != 0 && errno != EEXIST)
		LOG_ERROR("quarantine_failed", LOG_TEXT("file", from), LOG_TEXT("why", strerror(errno)));
}

/* Records [from, to) from the file, by pread(2), so that a disk's error is a verdict and no signal. What the file
 * does not have any more stays zero, which is no record. */
static enum err
read_records(struct ledger *l, const struct ledger_segment *segment, uint64_t from, uint64_t to)
{
	size_t wanted = (size_t)(to - from) * USAGE_RECORD_BYTES, got = 0;
	int file = open_segment(l, segment);
	ssize_t n = file >= 0 ? 1 : -1;

	memset(l->records_read, 0, wanted);
	while (n > 0 && got < wanted) {
		n = pread(file, (uint8_t *)l->records_read + got, wanted - got, offset_of(from) + (off_t)got);
		got += n > 0 ? (size_t)n : 0;
	}
	if (n < 0)
		store_refuse(l->store, ERR_SPOOL_FILE, "%s cannot be read: %s", segment->name, strerror(errno));
	if (file >= 0)
		close(file);
	return n < 0 ? ERR_SPOOL_FILE : ERR_OK;
}

/* In a batch. */
struct damaged {
	uint64_t first_sequence;
	uint64_t records;
};

static enum err
add_segment(struct ledger *l, const struct ledger_segment *segment, uint64_t from, uint64_t to,
	    struct damaged *damaged)
{
	const struct spool_header *header = segment->header;
	enum err verdict = ERR_OK;

	for (uint64_t index = from; index < to && verdict == ERR_OK; index++) {
		const struct usage_record *record = &l->records_read[index - from];

		if (spool_verify(header, index, record) == ERR_OK) {
			verdict = ledger_add(l, header->epoch, header->worker, record);
			continue;
		}
		/* A checksum will not get better: go on, loudly. */
		if (damaged->records++ == 0)
			damaged->first_sequence = header->first_sequence + index;
	}
	return verdict;
}

static void
say_damaged(struct ledger *l, const struct spool_header *header, const struct damaged *damaged)
{
	l->damaged += damaged->records;
	if (damaged->records > 0)
		LOG_ERROR("usage_damaged", LOG_NUMBER("epoch", header->epoch),
			  LOG_NUMBER("worker", header->worker),
			  LOG_NUMBER("sequence", damaged->first_sequence),
			  LOG_NUMBER("records", damaged->records), LOG_TEXT("kept", ".damaged"));
}

/* Records that the file is too short for: lost, however many the header says that there are. */
static void
drop_missing(struct ledger *l, const struct ledger_segment *segment, uint64_t from)
{
	struct spool_header *header = segment->header;
	uint64_t written = atomic_load(&header->written);

	quarantine(l, segment);
	say_damaged(l, header, &(struct damaged){ header->first_sequence + from, written - from });
	atomic_store_explicit(&header->drained, written, memory_order_release);
}

static enum err
drain_segment(struct ledger *l, const struct ledger_segment *segment, uint64_t from, uint64_t to)
{
	struct spool_header *header = segment->header;
	struct damaged damaged = { 0 };
	enum err verdict;

	if (offset_of(from) >= (off_t)segment->bytes) {
		drop_missing(l, segment, from);
		return ERR_OK;
	}
	verdict = read_records(l, segment, from, to);
	if (verdict == ERR_OK)
		verdict = ledger_begin(l);
	if (verdict != ERR_OK)
		return verdict;
	verdict = add_segment(l, segment, from, to, &damaged);
	if (damaged.records > 0)
		quarantine(l, segment);
	verdict = ledger_end(l, verdict);
	if (verdict != ERR_OK)
		return verdict;
	atomic_store_explicit(&header->drained, to, memory_order_release);
	say_damaged(l, header, &damaged);
	return ERR_OK;
}

/* A store that is slow gets smaller batches: the loop must go on, and a server that does not come through with one
 * in time counts as lost, whereupon the same records come again. */
static void
choose_batch(struct ledger *l, enum err verdict, uint64_t took_ns)
{
	if (verdict != ERR_OK || took_ns > LEDGER_BATCH_NS)
		l->batch_max /= 2;
	else if (took_ns < LEDGER_BATCH_NS / 2)
		l->batch_max *= 2;
	if (l->batch_max < LEDGER_BATCH_MIN)
		l->batch_max = LEDGER_BATCH_MIN;
	if (l->batch_max > LEDGER_BATCH_MAX)
		l->batch_max = LEDGER_BATCH_MAX;
}

static void
note_reading(struct ledger *l, struct ledger_segment *segment, bool is_good)
{
	if (!is_good && !segment->is_told)
		LOG_ERROR("segment_unreadable", LOG_TEXT("problem", l->store->problem),
			  LOG_TEXT("remedy", "it is tried again and again; what it has is not billed meanwhile"));
	segment->is_unreadable = segment->is_told = !is_good;
}

enum err
ledger_drain(struct ledger *l, uint64_t now_ns, bool *more)
{
	bool is_complete = !l->is_crowded;
	uint64_t began_ns;
	enum err verdict;

	*more = false;
	for (uint32_t i = 0; i < l->segment_count; i++) {
		struct ledger_segment *segment = &l->segments[l->turn++ % l->segment_count];
		struct spool_header *header = segment->header;
		uint64_t from = atomic_load(&header->drained);
		uint64_t to = atomic_load_explicit(&header->written, memory_order_acquire);

		/* A header that lost its bounds since spool_check() must not lead us anywhere. */
		if (from >= to || to > header->capacity)
			continue;
		if (to - from > l->batch_max)
			to = from + l->batch_max;
		segment->idle_since_ns = now_ns;
		is_complete = false;
		if (segment->is_unreadable)
			continue;
		began_ns = clock_now_ns();
		verdict = drain_segment(l, segment, from, to);
		note_reading(l, segment, verdict != ERR_SPOOL_FILE);
		if (verdict == ERR_SPOOL_FILE)
			continue;
		choose_batch(l, verdict, clock_now_ns() - began_ns);
		*more = true;
		return verdict;
	}
	/* Segments that came after the scan have later records only. */
	if (is_complete)
		l->complete_at_ns = l->scanned_at_ns;
	return ERR_OK;
}

enum err
ledger_drain_all(struct ledger *l, uint64_t now_ns)
{
	enum err verdict = ERR_OK;
	bool more = true;

	while (more && verdict == ERR_OK)
		verdict = ledger_drain(l, now_ns, &more);
	return verdict == ERR_OK && ledger_unreadable(l) > 0 ? ERR_SPOOL_FILE : verdict;
}

uint32_t
ledger_unreadable(const struct ledger *l)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < l->segment_count; i++)
		count += l->segments[i].is_told;
	return count;
}

bool
ledger_is_drained(const struct ledger *l, uint64_t epoch, uint32_t worker)
{
	for (uint32_t i = 0; i < l->segment_count; i++) {
		const struct spool_header *header = l->segments[i].header;

		if (header->epoch == epoch && header->worker == worker &&
		    atomic_load(&header->drained) < atomic_load(&header->written))
			return false;
	}
	/* What has no place among those mapped is not known. */
	return !l->is_crowded;
}

bool
ledger_has_drained(const struct ledger *l, uint64_t epoch, uint32_t worker, uint64_t sequence)
{
	for (uint32_t i = 0; i < l->segment_count; i++) {
		const struct spool_header *header = l->segments[i].header;
		uint64_t drained = atomic_load(&header->drained);
		bool has_more = drained < atomic_load(&header->written);

		if (header->epoch == epoch && header->worker == worker && has_more &&
		    header->first_sequence + drained <= sequence)
			return false;
	}
	return !l->is_crowded;
}

uint64_t
ledger_last_sequence(const struct ledger *l, uint64_t epoch, uint32_t worker)
{
	uint64_t last = 0;

	for (uint32_t i = 0; i < l->segment_count; i++) {
		const struct spool_header *header = l->segments[i].header;
		uint64_t written = atomic_load(&header->written);

		if (header->epoch == epoch && header->worker == worker && written > 0 &&
		    header->first_sequence + written - 1 > last)
			last = header->first_sequence + written - 1;
	}
	return last;
}

/* --- what is left in them ----------------------------------------------------------------- */

uint64_t
ledger_lag_ns(const struct ledger *l, uint64_t now_unix_ns)
{
	uint64_t oldest_ns = now_unix_ns;

	for (uint32_t i = 0; i < l->segment_count; i++) {
		const struct spool_header *header = l->segments[i].header;
		uint64_t drained = atomic_load(&header->drained);
		struct usage_record record;
		int file;

		if (drained >= atomic_load(&header->written) || drained >= header->capacity)
			continue;
		file = open_segment(l, &l->segments[i]); /* only the header is mapped */
		if (file >= 0 &&
		    pread(file, &record, sizeof(record), offset_of(drained)) == (ssize_t)sizeof(record) &&
		    spool_verify(header, drained, &record) == ERR_OK && record.finished_at_unix_ns < oldest_ns)
			oldest_ns = record.finished_at_unix_ns;
		if (file >= 0)
			close(file);
	}
	return now_unix_ns - oldest_ns;
}

uint64_t
ledger_pending(const struct ledger *l)
{
	uint64_t pending = 0;

	for (uint32_t i = 0; i < l->segment_count; i++)
		pending += atomic_load(&l->segments[i].header->written) -
			   atomic_load(&l->segments[i].header->drained);
	return pending;
}
