#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/siphash.h"

/*
 * prefix: what requests have in common that begin alike: hashes of the leading blocks of `messages`, each over
 * all blocks up to its own.
 *
 * A block is one message, or PREFIX_BLOCK_BYTES of a longer one. Pods keep what they computed for a prompt's
 * beginning, so two requests with an equal hash want the same pod; a hash of more blocks is a longer beginning.
 * Bytes are compared as they were written: white space inside a message counts, between messages it does not.
 *
 * Input: the array as it stands in the body, from its '[', in pieces of any size; it has been validated
 * (json/scan.h), so this reads strings and brackets only. The result is the same however it is cut.
 *
 * Owner: the caller. Memory: the struct. Bounds: PREFIX_BLOCKS_MAX blocks; what follows is not looked at.
 */
#define PREFIX_BLOCKS_MAX 8
#define PREFIX_BLOCK_BYTES 4096

struct prefix {
	uint32_t count;
	uint64_t hash[PREFIX_BLOCKS_MAX];
};

struct prefix_scan {
	struct prefix prefix; /* the result */
	struct siphash_key key;
	uint32_t depth; /* of brackets */
	bool in_string;
	bool is_escaped;
	uint32_t block_bytes;
	uint8_t block[8 + PREFIX_BLOCK_BYTES]; /* the hash before it, then the block */
};

void prefix_init(struct prefix_scan *p, const struct siphash_key *key);

/* False: all that counts has been seen. */
bool prefix_feed(struct prefix_scan *p, struct bytes piece);
