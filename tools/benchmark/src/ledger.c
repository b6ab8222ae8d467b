/*
 * Control's side of `tools/bench ledger`: writes usage records into a spool as a worker does, drains them into a
 * store as control does, then says that none of them was and drains them again.
 *
 *   bench-ledger STORE FOLDER RECORDS ACCOUNTS
 *
 * STORE is an SQLite file, or a connection string of PostgreSQL (it has a '='); FOLDER is empty. Prints one JSON
 * object; its `sound` is false if a row is missing, doubled or charged twice.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/units.h"
#include "clock.h"
#include "ledger.h"

#define EPOCH UINT64_C(1)
#define COST_NANO 1000
#define QUESTIONS 50 /* whose mean is a round trip */

static struct store store;
static struct ledger ledger;

static int
failed(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, store.problem);
	return 1;
}

static enum err
open_store(const char *where)
{
	return strchr(where, '=') != NULL ? store_connect(&store, where) : store_open(&store, where);
}

static bool
ask(const char *sql, int64_t *number)
{
	struct statement *statement = store_prepare(&store, sql);
	bool is_there = statement != NULL && store_step(statement) == STORE_ROW;

	if (is_there)
		*number = store_column_int64(statement, 0);
	store_finalize(statement);
	return is_there;
}

/* Nanoseconds of a question that costs the server nothing. */
static uint64_t
round_trip_ns(void)
{
	struct statement *statement = store_prepare(&store, "SELECT 1");
	uint64_t began_ns = 0;

	/* Its text and its preparation are not among those counted. */
	for (int i = -2; i < QUESTIONS && statement != NULL; i++) {
		if (i == 0)
			began_ns = clock_now_ns();
		store_step(statement);
		store_reset(statement);
	}
	store_finalize(statement);
	return (clock_now_ns() - began_ns) / QUESTIONS;
}

static struct spool_header *
make_segment(const char *folder, uint32_t records, uint32_t accounts)
{
	struct spool_header *segment;
	struct spool_writer writer;
	char path[256];
	int file;

	snprintf(path, sizeof(path), "%s/%016" PRIx64 "-0000-00000000.spool", folder, EPOCH);
	file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (file < 0 || ftruncate(file, (off_t)spool_bytes(records)) != 0)
		return NULL;
	segment = mmap(NULL, spool_bytes(records), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	close(file);
	if (segment == MAP_FAILED)
		return NULL;
	spool_format(segment, EPOCH, 0, 0, records);
	spool_writer_init(&writer, segment);
	for (uint32_t i = 0; i < records; i++) {
		struct usage_record record = {
			.request_id = { (uint8_t)i, (uint8_t)(i >> 8), (uint8_t)(i >> 16) },
			.key_id = 1 + i % accounts, .account_id = 1 + i % accounts, .model_id = 1, .pod_id = 1,
			.price_id = 1, .price_version = 1, .status = 200, .prompt_tokens = 1000,
			.completion_tokens = 300, .cost_nano = COST_NANO, .total_us = 1000000,
			.finished_at_unix_ns = clock_unix_ns(), .region_len = 2, .region = "mv",
		};

		if (spool_append(&writer, &record) != ERR_OK)
			return NULL;
	}
	return segment;
}

static bool
make_accounts(uint32_t accounts)
{
	struct statement *statement = store_prepare(&store, "INSERT INTO accounts(name) VALUES (?1)");
	enum err verdict = statement != NULL ? store_begin(&store) : ERR_STORE_FAILED;
	char name[24];

	for (uint32_t i = 0; i < accounts && verdict == ERR_OK; i++) {
		snprintf(name, sizeof(name), "account-%u", i);
		store_bind_text(statement, 1, bytes_from_text(name));
		verdict = store_post(statement, NULL);
	}
	store_finalize(statement);
	return verdict == ERR_OK && store_commit(&store) == ERR_OK;
}

struct run {
	uint64_t total_ns;
	uint64_t longest_ns; /* of one batch: control's loop does nothing else meanwhile */
	uint64_t batches;
};

static enum err
drain(struct run *run)
{
	uint64_t began_ns = clock_now_ns(), from_ns = began_ns, now_ns;
	enum err verdict = ERR_OK;
	bool more = true;

	*run = (struct run){ 0 };
	while (more && verdict == ERR_OK) {
		verdict = ledger_drain(&ledger, from_ns, &more);
		now_ns = clock_now_ns();
		if (now_ns - from_ns > run->longest_ns)
			run->longest_ns = now_ns - from_ns;
		run->batches += more;
		from_ns = now_ns;
	}
	run->total_ns = from_ns - began_ns;
	return verdict;
}

static bool
is_sound(uint32_t records)
{
	int64_t rows = 0, accounts = 0, here = 0, wanted = (int64_t)records * COST_NANO;

	return ask("SELECT count(*) FROM ledger", &rows) && rows == records &&
	       ask("SELECT " STORE_SUM("spent_nano") " FROM accounts", &accounts) && accounts == wanted &&
	       ask("SELECT " STORE_SUM("spent_nano") " FROM node_spending", &here) && here == wanted;
}

static void
print_run(const char *name, const struct run *run)
{
	printf("\"%s\": {\"ns\": %" PRIu64 ", \"longest_ns\": %" PRIu64 ", \"batches\": %" PRIu64 "}, ", name,
	       run->total_ns, run->longest_ns, run->batches);
}

int
main(int argc, char **argv)
{
	uint32_t records = argc == 5 ? (uint32_t)strtoul(argv[3], NULL, 10) : 0;
	uint32_t accounts = argc == 5 ? (uint32_t)strtoul(argv[4], NULL, 10) : 0;
	struct spool_header *segment;
	struct run first, again;
	bool sound;

	if (records == 0 || accounts == 0) {
		fputs("Usage: bench-ledger STORE FOLDER RECORDS ACCOUNTS\n", stderr);
		return 2;
	}
	if (open_store(argv[1]) != ERR_OK)
		return failed("the store");
	if (ledger_init(&ledger, &store, "bench", argv[2]) != ERR_OK || !make_accounts(accounts))
		return failed("the ledger");
	segment = make_segment(argv[2], records, accounts);
	if (segment == NULL) {
		perror(argv[2]);
		return 1;
	}
	ledger_scan(&ledger, EPOCH, clock_now_ns());
	if (drain(&first) != ERR_OK)
		return failed("draining");
	sound = ledger.records == records && is_sound(records);
	/* As if control had been killed behind each commit. */
	atomic_store(&segment->drained, 0);
	if (drain(&again) != ERR_OK)
		return failed("draining again");
	sound = sound && ledger.replayed == records && is_sound(records);
	printf("{\"round_trip_ns\": %" PRIu64 ", ", round_trip_ns());
	print_run("first", &first);
	print_run("again", &again);
	printf("\"sound\": %s}\n", sound ? "true" : "false");
	ledger_fini(&ledger);
	store_close(&store);
	munmap(segment, spool_bytes(records));
	return 0;
}
