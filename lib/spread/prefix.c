/* A walk over an array's text: strings hide brackets, brackets tell where an element ends. */
#include "spread/prefix.h"

#include <string.h>

#include "base/check.h"

#define HASH_BYTES sizeof(uint64_t)

void
prefix_init(struct prefix_scan *p, const struct siphash_key *key)
{
	p->prefix.count = 0;
	p->key = *key;
	p->depth = 0;
	p->in_string = false;
	p->is_escaped = false;
	p->block_bytes = 0;
}

static void
end_block(struct prefix_scan *p)
{
	uint64_t before = p->prefix.count > 0 ? p->prefix.hash[p->prefix.count - 1] : 0;

	if (p->block_bytes == 0)
		return;
	memcpy(p->block, &before, HASH_BYTES);
	p->prefix.hash[p->prefix.count++] = siphash_1_3(&p->key, p->block, HASH_BYTES + p->block_bytes);
	p->block_bytes = 0;
}

static void
take(struct prefix_scan *p, uint8_t c)
{
	p->block[HASH_BYTES + p->block_bytes++] = c;
	if (p->block_bytes == PREFIX_BLOCK_BYTES)
		end_block(p);
}

static bool
is_between(uint8_t c)
{
	return c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Outside of strings. False: the array is over. */
static bool
feed_structure(struct prefix_scan *p, uint8_t c)
{
	if (c == '[' || c == '{') {
		if (++p->depth == 1)
			return true; /* the array's own */
	} else if (c == ']' || c == '}') {
		if (--p->depth == 0) {
			end_block(p);
			return false;
		}
		take(p, c);
		if (p->depth == 1)
			end_block(p);
		return true;
	} else if (p->depth == 1 && is_between(c)) {
		end_block(p);
		return true;
	} else if (c == '"') {
		p->in_string = true;
	}
	take(p, c);
	return true;
}

static void
feed_string(struct prefix_scan *p, uint8_t c)
{
	if (p->is_escaped)
		p->is_escaped = false;
	else if (c == '\\')
		p->is_escaped = true;
	else if (c == '"')
		p->in_string = false;
	take(p, c);
}

bool
prefix_feed(struct prefix_scan *p, struct bytes piece)
{
	for (size_t i = 0; i < piece.len; i++) {
		if (p->in_string)
			feed_string(p, piece.ptr[i]);
		else if (!feed_structure(p, piece.ptr[i]))
			return false;
		if (p->prefix.count == PREFIX_BLOCKS_MAX)
			return false;
	}
	return true;
}
