/* Ids of video jobs: they come back as they were, and none can be made or changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "dataplane/job.h"

static const uint8_t pepper[32] = { 1, 2, 3 };
static const uint8_t other_pepper[32] = { 1, 2, 4 };
static char text[JOB_TEXT_BYTES_MAX];
static uint8_t scratch[JOB_BYTES_MAX];
static struct job opened;

static struct bytes
sealed(const char *model, uint64_t instance_id, const char *id)
{
	struct job job = { 7, 8, instance_id, bytes_from_text(model), bytes_from_text(id) };

	return bytes_make(text, job_seal(pepper, &job, text));
}

static void
an_id_comes_back_as_it_was(void **state)
{
	char long_id[JOB_ID_BYTES_MAX + 2] = "";

	(void)state;
	for (size_t n = 1; n <= JOB_ID_BYTES_MAX; n++) {
		memset(long_id, 'a', n);
		assert_true(job_open(pepper, sealed("meta/video-1", 0, long_id), scratch, &opened));
		assert_int_equal(opened.account_id, 7);
		assert_int_equal(opened.pod_id, 8);
		assert_int_equal(opened.instance_id, 0);
		assert_true(bytes_equal(opened.model, BYTES_LITERAL("meta/video-1")));
		assert_true(bytes_equal(opened.id, bytes_from_text(long_id)));
	}
	assert_true(job_open(pepper, sealed("", 142, "x"), scratch, &opened));
	assert_int_equal(opened.instance_id, 142);
	assert_int_equal(opened.model.len, 0);
}

static void
an_id_that_is_no_part_of_a_path_is_not_sealed(void **state)
{
	char long_id[JOB_ID_BYTES_MAX + 2];

	(void)state;
	memset(long_id, 'a', sizeof(long_id));
	long_id[JOB_ID_BYTES_MAX + 1] = '\0';
	assert_int_equal(sealed("m", 0, long_id).len, 0);
	assert_int_equal(sealed("m", 0, "").len, 0);
	assert_int_equal(sealed("m", 0, "a/b").len, 0);
	assert_int_equal(sealed("m", 0, "..").len, 0);
	assert_int_equal(sealed("m", 0, "a%2fb").len, 0);
	assert_int_equal(sealed("m", 0, "a?b").len, 0);
	assert_int_equal(sealed("m", 0, "a b").len, 0);
}

static void
no_bit_of_it_can_be_changed(void **state)
{
	struct bytes id = sealed("m", 0, "job-1");
	char changed[JOB_TEXT_BYTES_MAX];

	(void)state;
	assert_false(job_open(other_pepper, id, scratch, &opened));
	for (size_t i = 0; i < id.len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			memcpy(changed, id.ptr, id.len);
			changed[i] = (char)(changed[i] ^ 1 << bit);
			assert_false(job_open(pepper, bytes_make(changed, id.len), scratch, &opened));
		}
		assert_false(job_open(pepper, bytes_make(id.ptr, i), scratch, &opened));
	}
	memcpy(changed, id.ptr, id.len);
	changed[id.len] = 'A';
	assert_false(job_open(pepper, bytes_make(changed, id.len + 1), scratch, &opened));
	assert_true(job_open(pepper, id, scratch, &opened));
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_id_comes_back_as_it_was),
		cmocka_unit_test(an_id_that_is_no_part_of_a_path_is_not_sealed),
		cmocka_unit_test(no_bit_of_it_can_be_changed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
