/* A request in flight has one bill whatever instruction its process dies at (F1, F8). */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/prng.h"
#include "meter/tab.h"

#define LINES 4
#define RECORDS 2000
#define EPOCH UINT64_C(78)

struct world {
	struct tab_header *tab;
	struct spool_header *segment;
	struct spool_writer spool;
};

static void *
memory_of(size_t bytes)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static struct world
world_make(void)
{
	struct world w = { .tab = memory_of(tab_bytes(LINES)), .segment = memory_of(spool_bytes(RECORDS)) };

	tab_format(w.tab, EPOCH, 0, LINES);
	spool_format(w.segment, EPOCH, 0, 0, RECORDS);
	spool_writer_init(&w.spool, w.segment);
	return w;
}

static void
world_free(struct world *w)
{
	munmap(w->tab, tab_bytes(LINES));
	munmap(w->segment, spool_bytes(RECORDS));
}

static struct tab_line *
line_of(const struct world *w, uint32_t line)
{
	return (struct tab_line *)((uintptr_t)w->tab + TAB_HEADER_BYTES) + line;
}

static struct usage_record
record_of(uint64_t request, uint64_t events)
{
	struct usage_record record = { .account_id = 5, .prompt_tokens = 10, .completion_tokens = events,
				       .cost_nano = (int64_t)(10 + 3 * events), .outcome = USAGE_CRASHED };

	memcpy(record.request_id, &request, sizeof(request));
	return record;
}

static uint64_t
request_of(const struct usage_record *record)
{
	uint64_t request;

	memcpy(&request, record->request_id, sizeof(request));
	return request;
}

/* What a reader does: an open line that the spool does not have. Returns its request; 0: none. */
static uint64_t
crashed(const struct world *w, uint32_t line, struct usage_record *record)
{
	uint64_t sequence;
	enum err verdict = tab_read(line_of(w, line), record, &sequence);

	if (verdict == ERR_MORE)
		return 0;
	assert_int_equal(verdict, ERR_OK);
	if (sequence != 0 && sequence <= atomic_load(&w->segment->written))
		return 0;
	return request_of(record);
}

/* --- each step of a life ------------------------------------------------------------------ */

static void
a_line_is_open_from_the_first_write_to_its_record(void **state)
{
	struct world w = world_make();
	struct usage_record record = record_of(7, 0), found;
	uint64_t sequence = 1;

	(void)state;
	assert_int_equal(tab_check(w.tab, tab_bytes(LINES)), ERR_OK);
	assert_int_equal(tab_read(line_of(&w, 1), &found, &sequence), ERR_MORE);
	for (uint64_t events = 0; events < 5; events++) {
		record = record_of(7, events);
		tab_write(w.tab, 1, &record);
		assert_int_equal(tab_read(line_of(&w, 1), &found, &sequence), ERR_OK);
		assert_int_equal(sequence, 0);
		assert_int_equal(found.completion_tokens, events);
		assert_int_equal(found.sequence, TAB_SEQUENCE_FIRST + 1);
	}
	record = record_of(7, 5);
	assert_int_equal(tab_close(w.tab, 1, &w.spool, &record), ERR_OK);
	assert_int_equal(tab_read(line_of(&w, 1), &found, &sequence), ERR_MORE);
	assert_int_equal(spool_read(w.segment, 0, &found), ERR_OK);
	assert_int_equal(found.sequence, 1);
	assert_int_equal(found.completion_tokens, 5);
	world_free(&w);
}

/* A death between two stores of tab_write() or tab_close(), each of them, one after the other. */
static void
a_death_between_any_two_steps_leaves_one_bill(void **state)
{
	struct world w = world_make();
	struct usage_record record = record_of(9, 1), found;
	struct tab_line *line = line_of(&w, 0);

	(void)state;
	/* The first write: the record is there, its version not; then its version, its state not. */
	line->record[1] = record;
	assert_int_equal(crashed(&w, 0, &found), 0);
	atomic_store(&line->version, 1);
	assert_int_equal(crashed(&w, 0, &found), 0);
	atomic_store(&line->version, 0);
	tab_write(w.tab, 0, &record);
	/* The second one: half a record beside the one that counts. */
	memset(&line->record[0], 0xff, 100);
	assert_int_equal(crashed(&w, 0, &found), 9);
	assert_int_equal(found.completion_tokens, 1);
	record = record_of(9, 2);
	tab_write(w.tab, 0, &record);
	assert_int_equal(crashed(&w, 0, &found), 9);
	assert_int_equal(found.completion_tokens, 2);
	/* The end: its sequence is named; half a record is in the segment; it is published; the line is free. */
	atomic_store(&line->state, w.spool.sequence + 1);
	assert_int_equal(crashed(&w, 0, &found), 9);
	memset((uint8_t *)w.segment + SPOOL_HEADER_BYTES, 0xee, 100);
	assert_int_equal(crashed(&w, 0, &found), 9);
	record = record_of(9, 3);
	assert_int_equal(spool_append(&w.spool, &record), ERR_OK);
	assert_int_equal(crashed(&w, 0, &found), 0);
	atomic_store(&line->state, TAB_FREE);
	assert_int_equal(crashed(&w, 0, &found), 0);
	/* The line's next request is not taken for the one before. */
	record = record_of(10, 0);
	tab_write(w.tab, 0, &record);
	assert_int_equal(crashed(&w, 0, &found), 10);
	world_free(&w);
}

static void
totals_are_those_of_the_spool(void **state)
{
	struct world w = world_make();
	struct tab_totals totals;
	static struct tab_header copy; /* ASan's stack does not keep the alignment of a cache line */

	(void)state;
	for (uint64_t i = 0; i < 10; i++) {
		struct usage_record record = record_of(i + 1, i);

		if (i % 2 == 0)
			tab_write(w.tab, 0, &record);
		assert_int_equal(tab_close(w.tab, i % 2 == 0 ? 0 : TAB_NO_LINE, &w.spool, &record), ERR_OK);
		memcpy(&copy, w.tab, sizeof(copy));
		assert_int_equal(tab_read_totals(&copy, w.tab, &totals), ERR_OK);
		assert_int_equal(totals.sequence, i + 1);
		assert_int_equal(totals.cost_nano, 10 * (i + 1) + 3 * i * (i + 1) / 2);
		assert_int_equal(totals.tokens, 10 * (i + 1) + i * (i + 1) / 2);
	}
	atomic_fetch_add(&w.tab->totals_version, 1);
	assert_int_equal(tab_read_totals(&copy, w.tab, &totals), ERR_MORE);
	world_free(&w);
}

static void
a_full_spool_leaves_the_line_open(void **state)
{
	struct world w = world_make();
	struct usage_record record = record_of(3, 1), found;

	(void)state;
	for (uint64_t i = 0; i < RECORDS; i++)
		assert_int_equal(tab_close(w.tab, TAB_NO_LINE, &w.spool, &record), ERR_OK);
	record = record_of(4, 1);
	tab_write(w.tab, 2, &record);
	assert_int_equal(tab_close(w.tab, 2, &w.spool, &record), ERR_SPOOL_FULL);
	assert_int_equal(crashed(&w, 2, &found), 4);
	world_free(&w);
}

static void
damage_is_found(void **state)
{
	struct world w = world_make();
	struct usage_record record = record_of(3, 1), found;
	uint8_t *octets;
	uint64_t sequence;

	(void)state;
	tab_write(w.tab, 0, &record);
	octets = (uint8_t *)&line_of(&w, 0)->record[1];
	for (size_t at = 0; at < USAGE_RECORD_BYTES; at++) {
		octets[at] ^= 0x20;
		assert_int_equal(tab_read(line_of(&w, 0), &found, &sequence), ERR_SPOOL_CRC);
		octets[at] ^= 0x20;
	}
	assert_int_equal(tab_check(w.tab, tab_bytes(LINES) - 1), ERR_SPOOL_FORMAT);
	assert_int_equal(tab_check(w.tab, TAB_HEADER_BYTES - 1), ERR_SPOOL_FORMAT);
	w.tab->magic ^= 1;
	assert_int_equal(tab_check(w.tab, tab_bytes(LINES)), ERR_SPOOL_FORMAT);
	world_free(&w);
}

/* --- real deaths ----------------------------------------------------------------------------- */

/* What the writer has done, for who reads it after its death: the truth. */
struct truth {
	_Atomic uint64_t begun;          /* requests that were given a line, before their first write */
	_Atomic uint64_t written;        /* those behind it */
	_Atomic uint64_t events[LINES];  /* of the request on the line; counted after each write */
	_Atomic uint64_t ended;          /* requests whose tab_close() has returned */
};

__attribute__((noreturn)) static void
live(struct world *w, struct truth *truth)
{
	for (uint64_t request = 1; request <= RECORDS; request++) {
		uint32_t line = (uint32_t)(request % LINES);
		struct usage_record record;

		atomic_store(&truth->events[line], 0);
		atomic_store(&truth->begun, request);
		for (uint64_t events = 0; events < 4; events++) {
			record = record_of(request, events);
			tab_write(w->tab, line, &record);
			atomic_store(&truth->written, request);
			atomic_store(&truth->events[line], events);
		}
		/* The oldest one ends, so that some are always open. */
		if (request >= LINES) {
			uint64_t oldest = request - (LINES - 1);

			record = record_of(oldest, 4);
			if (tab_close(w->tab, (uint32_t)(oldest % LINES), &w->spool, &record) != ERR_OK)
				_exit(1);
			atomic_store(&truth->ended, oldest);
		}
	}
	for (;;)
		pause();
}

static void
judge_death(struct world *w, const struct truth *truth)
{
	uint8_t bills[RECORDS + 2] = { 0 };
	struct usage_record record;

	for (uint64_t i = 0; spool_read(w->segment, i, &record) != ERR_MORE; i++) {
		assert_int_equal(record.sequence, i + 1);
		bills[request_of(&record)]++;
	}
	for (uint32_t line = 0; line < LINES; line++) {
		uint64_t request = crashed(w, line, &record);

		if (request == 0)
			continue;
		bills[request]++;
		assert_int_equal(request % LINES, line);
		if (request == atomic_load(&truth->begun))
			assert_true(record.completion_tokens - atomic_load(&truth->events[line]) <= 1 ||
				    atomic_load(&truth->written) < request);
		else
			assert_int_equal(record.completion_tokens, 3);
	}
	for (uint64_t request = 1; request <= atomic_load(&truth->begun); request++)
		assert_true(bills[request] == 1 ||
			    (bills[request] == 0 && request > atomic_load(&truth->written)));
	assert_int_equal(bills[atomic_load(&truth->begun) + 1], 0);
}

static void
killed_at_any_instant_every_request_has_one_bill(void **state)
{
	uint64_t seed = (uint64_t)time(NULL), open = 0;
	struct prng prng;

	(void)state;
	print_message("seed %llu\n", (unsigned long long)seed);
	prng_init(&prng, seed);
	for (int round = 0; round < 200; round++) {
		uint64_t request = 1 + prng_below(&prng, RECORDS - 100);
		struct world w = world_make();
		struct truth *truth = memory_of(sizeof(*truth));
		pid_t child = fork();

		assert_true(child >= 0);
		if (child == 0)
			live(&w, truth);
		while (atomic_load(&truth->begun) < request)
			;
		for (uint32_t spin = prng_below(&prng, 2000); spin > 0; spin--)
			atomic_load(&truth->begun);
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, NULL, 0), child);
		judge_death(&w, truth);
		open += atomic_load(&truth->begun) - atomic_load(&truth->ended);
		munmap(truth, sizeof(*truth));
		world_free(&w);
	}
	/* Else it was no test. */
	assert_true(open > 200);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_is_open_from_the_first_write_to_its_record),
		cmocka_unit_test(a_death_between_any_two_steps_leaves_one_bill),
		cmocka_unit_test(totals_are_those_of_the_spool),
		cmocka_unit_test(a_full_spool_leaves_the_line_open),
		cmocka_unit_test(damage_is_found),
		cmocka_unit_test(killed_at_any_instant_every_request_has_one_bill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
