#pragma once

#include <stddef.h>
#include <stdint.h>

/*
 * siphash: a keyed hash for anything that a peer can choose (Aumasson, Bernstein).
 *
 * 2-4 is a MAC: initial sequence numbers, cookies. 1-3 is enough where a peer
 * never sees the value: hash tables.
 *
 * Memory: none. Reads data byte by byte in words, any alignment.
 */
struct siphash_key {
	uint64_t k0;
	uint64_t k1;
};

struct siphash_key siphash_key_make(const uint8_t bytes[16]);

uint64_t siphash_2_4(const struct siphash_key *key, const void *data, size_t len);
uint64_t siphash_1_3(const struct siphash_key *key, const void *data, size_t len);
