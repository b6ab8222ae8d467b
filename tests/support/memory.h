#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * memory: what this process has in its memory, for tests that want something not to be there.
 *
 * What is looked for is kept masked, so that the search does not find itself.
 */
#define MEMORY_PATTERN_BYTES 32

struct memory_pattern {
	size_t len;
	uint8_t masked[MEMORY_PATTERN_BYTES];
};

/* Takes the first bytes of text, at most MEMORY_PATTERN_BYTES, and wipes text. */
void memory_mask(struct memory_pattern *pattern, uint8_t *text, size_t len);

/* The same, last byte first: how mbedTLS keeps numbers. */
void memory_reverse(const struct memory_pattern *pattern, struct memory_pattern *reversed);

/* False under AddressSanitizer: its shadow is terabytes, its heap keeps what was freed, its mlock() does nothing.
 * Then nothing below has a meaning. */
_Bool memory_is_plain(void);

/* In how many places of readable and writable memory the pattern is. */
size_t memory_count(const struct memory_pattern *pattern);

/* Whether the mapping that has the address is left out of core dumps, and locked (/proc/self/smaps). */
struct memory_flags {
	_Bool is_undumped;
	_Bool is_locked;
};
struct memory_flags memory_flags(const void *address);
