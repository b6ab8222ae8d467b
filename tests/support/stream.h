#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * stream: test content that is known at every position without being stored.
 *
 * Byte n of the stream `key` is a function of key and n, so either end can
 * write from, and verify at, any position.
 */

void stream_fill(uint64_t key, uint64_t position, uint8_t *to, size_t n);

/* How many of the n bytes are right, counted from the first. */
size_t stream_match(uint64_t key, uint64_t position, const uint8_t *from, size_t n);
