#include "h2frame.h"

#include <string.h>

#include "base/check.h"

void
h2frame_put_number(uint8_t to[4], uint32_t number)
{
	for (int i = 0; i < 4; i++)
		to[i] = (uint8_t)(number >> (24 - 8 * i));
}

uint32_t
h2frame_number(const uint8_t from[4])
{
	return (uint32_t)from[0] << 24 | (uint32_t)from[1] << 16 | (uint32_t)from[2] << 8 | from[3];
}

void
h2frame_make_head(uint8_t to[H2FRAME_HEAD_BYTES], uint8_t type, uint8_t flags, uint32_t stream, size_t len)
{
	h2frame_put_number(to, (uint32_t)len << 8);
	to[3] = type;
	to[4] = flags;
	h2frame_put_number(to + 5, stream);
}

uint32_t
h2frame_len(const uint8_t *head)
{
	return h2frame_number(head) >> 8;
}

uint32_t
h2frame_stream(const uint8_t *head)
{
	return h2frame_number(head + 5);
}

/* RFC 7541 5.1, for a prefix of seven bits. */
static void
add_length(struct h2frame_block *block, size_t len)
{
	if (len < 127) {
		block->bytes[block->len++] = (uint8_t)len;
		return;
	}
	block->bytes[block->len++] = 127;
	for (len -= 127; len >= 128; len /= 128)
		block->bytes[block->len++] = (uint8_t)(len % 128 + 128);
	block->bytes[block->len++] = (uint8_t)len;
}

static void
add_text(struct h2frame_block *block, const char *text)
{
	size_t len = strlen(text);

	CHECK(block->len + len + 8 <= sizeof(block->bytes));
	add_length(block, len);
	memcpy(block->bytes + block->len, text, len);
	block->len += len;
}

void
h2frame_add_field(struct h2frame_block *block, bool is_kept, const char *name, const char *value)
{
	CHECK(block->len < sizeof(block->bytes));
	block->bytes[block->len++] = is_kept ? 0x40 : 0;
	add_text(block, name);
	add_text(block, value);
}
