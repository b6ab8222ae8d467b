/* Reads /proc/self/mem, so that a mapping that goes meanwhile is only skipped. */
#include "memory.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"

#define MASK 0x5a
#define PIECE_BYTES (64 * 1024)

void
memory_mask(struct memory_pattern *pattern, uint8_t *text, size_t len)
{
	pattern->len = len < MEMORY_PATTERN_BYTES ? len : MEMORY_PATTERN_BYTES;
	for (size_t i = 0; i < pattern->len; i++)
		pattern->masked[i] = text[i] ^ MASK;
	explicit_bzero(text, len);
}

void
memory_reverse(const struct memory_pattern *pattern, struct memory_pattern *reversed)
{
	reversed->len = pattern->len;
	for (size_t i = 0; i < pattern->len; i++)
		reversed->masked[i] = pattern->masked[pattern->len - 1 - i];
}

bool
memory_is_plain(void)
{
#ifdef __SANITIZE_ADDRESS__
	return false;
#else
	return true;
#endif
}

static size_t
count_in(const struct memory_pattern *pattern, const uint8_t *bytes, size_t len)
{
	size_t found = 0;

	for (size_t at = 0; at + pattern->len <= len; at++) {
		size_t i = 0;

		while (i < pattern->len && (bytes[at + i] ^ MASK) == pattern->masked[i])
			i++;
		found += i == pattern->len;
	}
	return found;
}

size_t
memory_count(const struct memory_pattern *pattern)
{
	static uint8_t piece[PIECE_BYTES + MEMORY_PATTERN_BYTES];
	FILE *maps = fopen("/proc/self/maps", "re");
	int mem = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
	unsigned long from, to;
	char flags[5], line[512];
	size_t found = 0;

	CHECK(maps != NULL && mem >= 0 && pattern->len > 0);
	while (fgets(line, sizeof(line), maps) != NULL) {
		if (sscanf(line, "%lx-%lx %4s", &from, &to, flags) != 3 || flags[0] != 'r' || flags[1] != 'w')
			continue;
		for (unsigned long at = from; at < to; at += PIECE_BYTES) {
			size_t want = to - at < sizeof(piece) ? to - at : sizeof(piece);
			ssize_t got = 0;

			/* Not the copies in here. */
			if (at < (unsigned long)piece + sizeof(piece) && (unsigned long)piece < at + want)
				continue;
			got = pread(mem, piece, want, (off_t)at);
			/* Those that begin behind the piece are the next one's. */
			if (got > 0)
				found += count_in(pattern, piece,
						  (size_t)got < PIECE_BYTES + pattern->len - 1 ?
							  (size_t)got :
							  PIECE_BYTES + pattern->len - 1);
			explicit_bzero(piece, sizeof(piece));
		}
	}
	close(mem);
	fclose(maps);
	return found;
}

struct memory_flags
memory_flags(const void *address)
{
	FILE *maps = fopen("/proc/self/smaps", "re");
	struct memory_flags flags = { false, false };
	unsigned long from, to;
	char line[512];
	bool inside = false;

	CHECK(maps != NULL);
	while (fgets(line, sizeof(line), maps) != NULL) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			inside = from <= (unsigned long)address && (unsigned long)address < to;
		if (!inside || strncmp(line, "VmFlags:", 8) != 0)
			continue;
		flags.is_undumped = strstr(line, " dd") != NULL;
		flags.is_locked = strstr(line, " lo") != NULL;
	}
	fclose(maps);
	return flags;
}
