/* Usage records through segments: order, hand-over between segments, and every kind of damage. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "meter/spool.h"

#define CAPACITY 8
#define EPOCH UINT64_C(77)
#define WORKER 3

static struct spool_header *
segment_new(uint64_t number, uint32_t capacity)
{
	void *memory =
		aligned_alloc(SPOOL_HEADER_BYTES, (spool_bytes(capacity) + SPOOL_HEADER_BYTES - 1) /
							  SPOOL_HEADER_BYTES * SPOOL_HEADER_BYTES);

	assert_non_null(memory);
	memset(memory, 0, spool_bytes(capacity));
	spool_format(memory, EPOCH, WORKER, number, capacity);
	return memory;
}

static uint8_t *
byte_of_record(struct spool_header *segment, uint64_t index, size_t at)
{
	return (uint8_t *)segment + SPOOL_HEADER_BYTES + index * USAGE_RECORD_BYTES + at;
}

static enum err
append(struct spool_writer *w, uint64_t key_id)
{
	struct usage_record record = { .key_id = key_id, .status = 200, .cost_nano = -5 };

	return spool_append(w, &record);
}

static void
records_come_back_in_order_with_sequences_from_one(void **state)
{
	struct spool_header *segment = segment_new(0, CAPACITY);
	struct usage_record record;
	struct spool_writer w;

	(void)state;
	spool_writer_init(&w, segment);
	assert_int_equal(spool_room(&w), CAPACITY);
	assert_int_equal(spool_read(segment, 0, &record), ERR_MORE);
	for (uint64_t i = 0; i < CAPACITY; i++)
		assert_int_equal(append(&w, 100 + i), ERR_OK);
	assert_int_equal(spool_check(segment, spool_bytes(CAPACITY)), ERR_OK);
	for (uint64_t i = 0; i < CAPACITY; i++) {
		assert_int_equal(spool_read(segment, i, &record), ERR_OK);
		assert_int_equal(record.sequence, i + 1);
		assert_int_equal(record.key_id, 100 + i);
		assert_int_equal(record.status, 200);
		assert_int_equal(record.cost_nano, -5);
	}
	assert_int_equal(spool_read(segment, CAPACITY, &record), ERR_MORE);
	free(segment);
}

static void
a_full_spool_takes_nothing_and_loses_nothing(void **state)
{
	struct spool_header *segment = segment_new(0, 2);
	struct spool_writer w;

	(void)state;
	spool_writer_init(&w, segment);
	assert_int_equal(append(&w, 1), ERR_OK);
	assert_int_equal(append(&w, 2), ERR_OK);
	assert_int_equal(spool_room(&w), 0);
	assert_int_equal(append(&w, 3), ERR_SPOOL_FULL);
	assert_int_equal(append(&w, 3), ERR_SPOOL_FULL);
	assert_int_equal(w.sequence, 2);
	assert_int_equal(segment->written, 2);
	assert_int_equal(segment->sealed, 0);
	free(segment);
}

static void
goes_on_in_the_next_segment_without_a_gap(void **state)
{
	struct spool_header *first = segment_new(0, 2);
	struct spool_header *second = segment_new(1, 2);
	struct usage_record record;
	struct spool_writer w;

	(void)state;
	spool_writer_init(&w, first);
	w.next = second;
	assert_int_equal(spool_room(&w), 4);
	assert_int_equal(append(&w, 1), ERR_OK);
	assert_int_equal(append(&w, 2), ERR_OK);
	assert_int_equal(first->sealed, 0);
	assert_int_equal(append(&w, 3), ERR_OK);
	assert_int_equal(first->sealed, 1);
	assert_ptr_equal(w.full, first);
	assert_null(w.next);
	assert_int_equal(second->first_sequence, 3);
	assert_int_equal(spool_read(second, 0, &record), ERR_OK);
	assert_int_equal(record.sequence, 3);
	assert_int_equal(record.key_id, 3);
	free(first);
	free(second);
}

static void
does_not_leave_a_segment_while_the_last_one_is_not_taken_back(void **state)
{
	struct spool_header *segments[3] = { segment_new(0, 1), segment_new(1, 1),
					     segment_new(2, 1) };
	struct spool_writer w;

	(void)state;
	spool_writer_init(&w, segments[0]);
	w.next = segments[1];
	assert_int_equal(append(&w, 1), ERR_OK);
	assert_int_equal(append(&w, 2), ERR_OK); /* full: segment 0 */
	w.next = segments[2];
	assert_int_equal(spool_room(&w), 0);
	assert_int_equal(append(&w, 3), ERR_SPOOL_FULL);
	w.full = NULL;
	assert_int_equal(spool_room(&w), 1);
	assert_int_equal(append(&w, 3), ERR_OK);
	assert_ptr_equal(w.full, segments[1]);
	assert_int_equal(segments[2]->first_sequence, 3);
	for (int i = 0; i < 3; i++)
		free(segments[i]);
}

static void
every_damaged_byte_of_a_record_is_found_and_its_neighbours_stay(void **state)
{
	struct spool_header *segment = segment_new(0, CAPACITY);
	struct usage_record record;
	struct spool_writer w;

	(void)state;
	spool_writer_init(&w, segment);
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(append(&w, i), ERR_OK);
	for (size_t at = 0; at < USAGE_RECORD_BYTES; at++) {
		*byte_of_record(segment, 1, at) ^= 0x10;
		assert_int_equal(spool_read(segment, 1, &record), ERR_SPOOL_CRC);
		assert_int_equal(spool_read(segment, 0, &record), ERR_OK);
		assert_int_equal(spool_read(segment, 2, &record), ERR_OK);
		*byte_of_record(segment, 1, at) ^= 0x10;
	}
	assert_int_equal(spool_read(segment, 1, &record), ERR_OK);
	free(segment);
}

/* After a power cut: the index reached the disk, (part of) the record did not. */
static void
a_torn_or_missing_record_is_found(void **state)
{
	struct spool_header *segment = segment_new(0, CAPACITY);
	struct usage_record record;
	struct spool_writer w;

	(void)state;
	spool_writer_init(&w, segment);
	for (uint64_t i = 0; i < 3; i++)
		assert_int_equal(append(&w, i), ERR_OK);
	memset(byte_of_record(segment, 2, 16), 0, USAGE_RECORD_BYTES - 16);
	assert_int_equal(spool_read(segment, 2, &record), ERR_SPOOL_CRC);
	memset(byte_of_record(segment, 2, 0), 0, USAGE_RECORD_BYTES);
	assert_int_equal(spool_read(segment, 2, &record), ERR_SPOOL_CRC);
	/* Whole, but of another place. */
	memcpy(byte_of_record(segment, 2, 0), byte_of_record(segment, 0, 0), USAGE_RECORD_BYTES);
	assert_int_equal(spool_read(segment, 2, &record), ERR_SPOOL_CRC);
	assert_int_equal(spool_read(segment, 0, &record), ERR_OK);
	free(segment);
}

static void
an_unreadable_segment_is_refused(void **state)
{
	struct spool_header *segment = segment_new(0, CAPACITY);
	size_t bytes = spool_bytes(CAPACITY);

	(void)state;
	assert_int_equal(spool_check(segment, bytes), ERR_OK);
	assert_int_equal(spool_check(segment, bytes - 1), ERR_SPOOL_FORMAT); /* cut short */
	assert_int_equal(spool_check(segment, 100), ERR_SPOOL_FORMAT);
	segment->magic ^= 1;
	assert_int_equal(spool_check(segment, bytes), ERR_SPOOL_FORMAT);
	segment->magic ^= 1;
	segment->version++;
	assert_int_equal(spool_check(segment, bytes), ERR_SPOOL_FORMAT);
	segment->version--;
	segment->capacity = UINT32_MAX;
	assert_int_equal(spool_check(segment, bytes), ERR_SPOOL_FORMAT);
	segment->capacity = 0;
	assert_int_equal(spool_check(segment, bytes), ERR_SPOOL_FORMAT);
	segment->capacity = CAPACITY;
	segment->written = CAPACITY + 1;
	assert_int_equal(spool_check(segment, bytes), ERR_SPOOL_FORMAT);
	segment->written = 2;
	segment->drained = 3;
	assert_int_equal(spool_check(segment, bytes), ERR_SPOOL_FORMAT);
	segment->drained = 2;
	assert_int_equal(spool_check(segment, bytes), ERR_OK);
	free(segment);
}

#define RACE_SEGMENTS 16
#define RACE_CAPACITY 512

struct race {
	struct spool_writer writer;
	struct spool_header *segments[RACE_SEGMENTS];
};

static void *
write_all(void *opaque)
{
	struct race *race = opaque;

	for (uint64_t i = 0; i < RACE_SEGMENTS * RACE_CAPACITY;)
		if (append(&race->writer, i) == ERR_OK)
			i++;
	return NULL;
}

/* The reader, which is also the main thread here, follows a living writer through all segments. */
static void
a_reader_behind_a_living_writer_sees_whole_records_only(void **state)
{
	static struct race race;
	pthread_t writer;
	uint64_t expected = 0;

	(void)state;
	for (uint64_t i = 0; i < RACE_SEGMENTS; i++)
		race.segments[i] = segment_new(i, RACE_CAPACITY);
	spool_writer_init(&race.writer, race.segments[0]);
	assert_int_equal(pthread_create(&writer, NULL, write_all, &race), 0);
	for (size_t s = 0; s < RACE_SEGMENTS; s++) {
		if (s + 1 < RACE_SEGMENTS)
			atomic_store(&race.writer.next, race.segments[s + 1]);
		for (uint64_t i = 0; i < RACE_CAPACITY;) {
			struct usage_record record;
			enum err verdict = spool_read(race.segments[s], i, &record);

			if (verdict == ERR_MORE)
				continue;
			assert_int_equal(verdict, ERR_OK);
			assert_int_equal(record.key_id, expected);
			assert_int_equal(record.sequence, expected + 1);
			expected++;
			i++;
		}
		while (s + 1 < RACE_SEGMENTS && atomic_exchange(&race.writer.full, NULL) == NULL)
			;
	}
	assert_int_equal(pthread_join(writer, NULL), 0);
	for (size_t s = 0; s < RACE_SEGMENTS; s++)
		free(race.segments[s]);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(records_come_back_in_order_with_sequences_from_one),
		cmocka_unit_test(a_full_spool_takes_nothing_and_loses_nothing),
		cmocka_unit_test(goes_on_in_the_next_segment_without_a_gap),
		cmocka_unit_test(does_not_leave_a_segment_while_the_last_one_is_not_taken_back),
		cmocka_unit_test(every_damaged_byte_of_a_record_is_found_and_its_neighbours_stay),
		cmocka_unit_test(a_torn_or_missing_record_is_found),
		cmocka_unit_test(an_unreadable_segment_is_refused),
		cmocka_unit_test(a_reader_behind_a_living_writer_sees_whole_records_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
