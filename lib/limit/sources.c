/* Open addressing with backward shifts, so that leaving leaves nothing behind. */
#include "limit/sources.h"

#include <string.h>

#include "base/check.h"

#define KIND_SHIFT 56
#define IPV4 UINT64_C(4)
#define IPV6 UINT64_C(6)

uint32_t
sources_slots(uint32_t connections)
{
	uint32_t slots = 16;

	CHECK(connections <= UINT32_MAX / 4);
	while (slots < 2 * connections)
		slots *= 2;
	return slots;
}

void
sources_init(struct sources *s, struct sources_slot *slots, uint32_t count, const struct siphash_key *key)
{
	CHECK(count > 0 && (count & (count - 1)) == 0);
	*s = (struct sources){ .slots = slots, .mask = count - 1, .key = *key };
}

uint64_t
sources_of(const uint8_t address[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool is_v4 = memcmp(address, mapped, sizeof(mapped)) == 0;
	const uint8_t *network = is_v4 ? address + sizeof(mapped) : address;
	uint64_t source = is_v4 ? IPV4 : IPV6;

	source <<= is_v4 ? KIND_SHIFT - 24 : KIND_SHIFT - 48;
	for (int i = 0; i < (is_v4 ? 3 : 6); i++)
		source = source << 8 | network[i];
	return source;
}

static uint32_t
home_of(const struct sources *s, uint64_t source)
{
	return (uint32_t)siphash_1_3(&s->key, &source, sizeof(source)) & s->mask;
}

/* Where the source is, or would be. */
static uint32_t
slot_of(const struct sources *s, uint64_t source)
{
	uint32_t at = home_of(s, source);

	while (s->slots[at].source != 0 && s->slots[at].source != source)
		at = (at + 1) & s->mask;
	return at;
}

bool
sources_take(struct sources *s, uint64_t source, uint32_t max)
{
	struct sources_slot *slot = &s->slots[slot_of(s, source)];

	if (slot->count >= max)
		return false;
	slot->source = source;
	slot->count++;
	return true;
}

void
sources_give(struct sources *s, uint64_t source)
{
	uint32_t hole = slot_of(s, source);

	CHECK(s->slots[hole].count > s->slots[hole].handshakes || s->slots[hole].handshakes == 0);
	CHECK(s->slots[hole].count > 0);
	if (--s->slots[hole].count > 0)
		return;
	/* Whoever had to walk over the hole moves into it. */
	for (uint32_t at = (hole + 1) & s->mask; s->slots[at].source != 0; at = (at + 1) & s->mask) {
		uint32_t wanted = home_of(s, s->slots[at].source);

		if (((at - wanted) & s->mask) >= ((at - hole) & s->mask)) {
			s->slots[hole] = s->slots[at];
			hole = at;
		}
	}
	s->slots[hole] = (struct sources_slot){ 0 };
}

uint32_t *
sources_handshakes(struct sources *s, uint64_t source)
{
	struct sources_slot *slot = &s->slots[slot_of(s, source)];

	CHECK(slot->count > 0);
	return &slot->handshakes;
}
