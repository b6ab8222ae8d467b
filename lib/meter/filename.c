#include "meter/filename.h"

#include <string.h>

#include "base/check.h"

/* 'h' stands for a digit, which no ending has. */
static const char segment_shape[] = "hhhhhhhhhhhhhhhh-hhhh-hhhhhhhh.spool";
static const char tab_shape[] = "hhhhhhhhhhhhhhhh-hhhh.tab";
static const char digits[] = "0123456789abcdef";

CHECK_STATIC(sizeof(segment_shape) == FILENAME_BYTES && sizeof(tab_shape) < FILENAME_BYTES, "room for both");

#define WORKER_MAX 0xffff
#define NUMBER_MAX UINT32_MAX /* of a worker's segments: beyond what a disk can take in a century */

static bool
has_shape(const char *name, const char *shape)
{
	for (; *shape != '\0'; shape++, name++)
		if (*name == '\0' || (*shape == 'h' ? strchr(digits, *name) == NULL : *name != *shape))
			return false;
	return *name == '\0';
}

/* The pieces' digits at their places in the shape, whose other characters stay. */
static void
emit(const char *shape, const uint64_t *pieces, char name[FILENAME_BYTES])
{
	size_t at = 0;

	while (shape[at] != '\0') {
		size_t len = strspn(shape + at, "h");

		for (size_t left = len; left > 0; left--, at++)
			name[at] = digits[*pieces >> (4 * (left - 1)) & 0xf];
		pieces += len > 0;
		if (len == 0) {
			name[at] = shape[at];
			at++;
		}
	}
	name[at] = '\0';
}

void
filename_of_segment(uint64_t epoch, uint32_t worker, uint64_t number, char name[FILENAME_BYTES])
{
	CHECK(worker <= WORKER_MAX && number <= NUMBER_MAX);
	emit(segment_shape, (const uint64_t[]){ epoch, worker, number }, name);
}

void
filename_of_tab(uint64_t epoch, uint32_t worker, char name[FILENAME_BYTES])
{
	CHECK(worker <= WORKER_MAX);
	emit(tab_shape, (const uint64_t[]){ epoch, worker }, name);
}

bool
filename_is_segment(const char *name)
{
	return has_shape(name, segment_shape);
}

bool
filename_is_tab(const char *name)
{
	return has_shape(name, tab_shape);
}
