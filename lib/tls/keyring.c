/* Expanded keys: direct-mapped by the raw key, whose bytes are as good as random. */
#include "tls/keyring.h"

#include <string.h>

#include "base/check.h"

CHECK_STATIC((KEYRING_SLOTS & (KEYRING_SLOTS - 1)) == 0, "a mask");

static struct keyring_slot *
slot_of(struct keyring *ring, const uint8_t *raw)
{
	return &ring->slots[raw[0] & (KEYRING_SLOTS - 1)];
}

bool
keyring_init_kind(struct keyring *ring, enum aead_kind kind)
{
	CHECK((uintptr_t)ring % _Alignof(struct keyring) == 0);
	memset(ring, 0, sizeof(*ring));
	return aead_init(&ring->aead, kind);
}

bool
keyring_init(struct keyring *ring, const char *name)
{
	CHECK((uintptr_t)ring % _Alignof(struct keyring) == 0);
	memset(ring, 0, sizeof(*ring));
	return aead_choose(&ring->aead, name);
}

void
keyring_fini(struct keyring *ring)
{
	aead_fini(&ring->aead);
	explicit_bzero(ring, sizeof(*ring));
}

const struct aead_key *
keyring_get(struct keyring *ring, enum aead_cipher cipher, const uint8_t *raw)
{
	struct keyring_slot *slot = slot_of(ring, raw);

	if (!slot->is_used || slot->cipher != cipher || memcmp(slot->raw, raw, sizeof(slot->raw)) != 0) {
		memcpy(slot->raw, raw, sizeof(slot->raw));
		slot->cipher = (uint8_t)cipher;
		slot->is_used = true;
		ring->aead.calls[cipher].expand(ring->aead.engine, raw, &slot->key);
	}
	return &slot->key;
}

void
keyring_forget(struct keyring *ring, const uint8_t *raw)
{
	struct keyring_slot *slot = slot_of(ring, raw);

	if (slot->is_used && memcmp(slot->raw, raw, sizeof(slot->raw)) == 0)
		explicit_bzero(slot, sizeof(*slot));
	/* The last message may have been sealed with it, and an implementation may have a copy there. */
	explicit_bzero(&ring->run, sizeof(ring->run));
}
