/*
 * Keys by hash: open addressing, linear probing, the key itself in the slot, so that a lookup is one read of
 * memory and nothing hangs on what it brings. The neighbour, where every third walk goes on, comes with it.
 *
 * Publishing a new key: a free slot's turn becomes odd, its words are written, its turn becomes even, its state
 * says that it lives, the entry's place is set. Another hash for an entry: the same, then the old slot dies. A
 * change: one store of the state, or of the word with the expiry. A writer that dies between two of these leaves a
 * slot that nobody lives in, or a live one that is not its entry's place, which the repair puts right; no reader
 * can tell.
 *
 * Dead slots are tombstones, used again by who comes next; those before an empty slot become empty, so a table
 * that is churned for months keeps short walks. Live slots never move.
 */
#include "shm/keyslot.h"

#include <string.h>

#define HASH_WORDS 4

struct walk {
	struct shm_key_slot *slots;
	uint32_t count;
	uint32_t at;
};

/* All that one look at a slot has seen. */
struct look {
	uint64_t turn;
	uint64_t state;
	uint64_t key_id;
	uint64_t entry_expiry;
	uint64_t hash[HASH_WORDS];
};

uint32_t
keyslot_count(uint32_t keys)
{
	return keys < 4 ? 8 : 2 * keys;
}

static void *
section(const struct shm *shm, enum shm_section which)
{
	return (char *)shm->header + shm->header->offset[which];
}

static _Atomic uint32_t *
place_of(const struct shm *shm, uint32_t entry)
{
	return (_Atomic uint32_t *)section(shm, SHM_KEYS) + entry;
}

static struct walk
begin(const struct shm *shm, uint64_t hash)
{
	uint32_t count = shm->header->capacity.count[SHM_KEY_SLOTS];

	return (struct walk){
		.slots = section(shm, SHM_KEY_SLOTS),
		.count = count,
		.at = (uint32_t)((unsigned __int128)hash * count >> 64),
	};
}

static uint32_t
next_of(const struct walk *walk, uint32_t at)
{
	return at + 1 == walk->count ? 0 : at + 1;
}

static uint32_t
steps_max(const struct walk *walk)
{
	return walk->count < SHM_PROBES_MAX ? walk->count : SHM_PROBES_MAX;
}

static uint64_t
load(_Atomic uint64_t *word)
{
	return atomic_load_explicit(word, memory_order_acquire);
}

/* False: the slot has come to another key meanwhile, and what was seen is a mixture. The state may be newer than
 * the rest, and so may the expiry; they are of the same key, because it lives only in an even turn. */
static bool
look_at(struct shm_key_slot *slot, struct look *seen)
{
	seen->turn = load(&slot->turn);
	seen->state = load(&slot->state);
	seen->key_id = load(&slot->key_id);
	seen->entry_expiry = load(&slot->entry_expiry);
	for (int i = 0; i < HASH_WORDS; i++)
		seen->hash[i] = load(&slot->hash[i]);
	return atomic_load_explicit(&slot->turn, memory_order_relaxed) == seen->turn;
}

static bool
is_live(uint64_t state)
{
	return (state & SHM_KEY_LIVE) != 0;
}

static uint32_t
entry_of(uint64_t entry_expiry)
{
	return (uint32_t)entry_expiry;
}

/* No early exit: the time taken says nothing about where the first difference is. */
static bool
equal_hash(const uint64_t a[HASH_WORDS], const uint64_t b[HASH_WORDS])
{
	uint64_t difference = 0;

	for (int i = 0; i < HASH_WORDS; i++)
		difference |= a[i] ^ b[i];
	return difference == 0;
}

static void
emit(const struct look *seen, struct shm_key *out)
{
	*out = (struct shm_key){
		.key_id = seen->key_id,
		.account = (uint32_t)(seen->state & SHM_KEY_ENTRY_MASK),
		.plan = (uint32_t)(seen->state >> SHM_KEY_PLAN_SHIFT & SHM_KEY_ENTRY_MASK),
		.live = 1,
		.revoked = (seen->state & SHM_KEY_REVOKED) != 0,
		.surface = (uint8_t)(seen->state >> SHM_KEY_SURFACE_SHIFT & SHM_KEY_SURFACE_MASK),
		.expires_at_s = (uint32_t)(seen->entry_expiry >> 32),
	};
	memcpy(out->hash, seen->hash, sizeof(out->hash));
}

/* --- readers ---------------------------------------------------------------------------- */

void
keyslot_prefetch(const struct shm *shm, const uint8_t hash[32])
{
	struct walk walk;
	uint64_t first;

	memcpy(&first, hash, sizeof(first));
	walk = begin(shm, first);
	__builtin_prefetch(&walk.slots[walk.at]);
	__builtin_prefetch(&walk.slots[next_of(&walk, walk.at)]);
}

enum err
keyslot_find(const struct shm *shm, const uint8_t hash[32], struct shm_key *out, uint32_t *entry)
{
	uint32_t tries = 0, probe = 0;
	uint64_t wanted[HASH_WORDS];
	struct walk walk;

	memcpy(wanted, hash, sizeof(wanted));
	walk = begin(shm, wanted[0]);
	__builtin_prefetch(&walk.slots[next_of(&walk, walk.at)]);
	while (probe < steps_max(&walk)) {
		struct look seen;

		if (!look_at(&walk.slots[walk.at], &seen)) {
			if (++tries == SHM_READ_TRIES_MAX)
				return ERR_SHM_BUSY;
			continue;
		}
		if (seen.state == 0)
			return ERR_SHM_NOT_FOUND;
		if (is_live(seen.state) && equal_hash(seen.hash, wanted) &&
		    entry_of(seen.entry_expiry) < shm->header->capacity.count[SHM_KEYS]) {
			emit(&seen, out);
			*entry = entry_of(seen.entry_expiry);
			return ERR_OK;
		}
		walk.at = next_of(&walk, walk.at);
		probe++;
	}
	return ERR_SHM_NOT_FOUND;
}

enum err
keyslot_read(const struct shm *shm, uint32_t entry, struct shm_key *out)
{
	if (entry >= shm->header->capacity.count[SHM_KEYS])
		return ERR_SHM_NOT_FOUND;
	for (int i = 0; i < SHM_READ_TRIES_MAX; i++) {
		uint32_t place = atomic_load_explicit(place_of(shm, entry), memory_order_acquire);
		struct walk walk = begin(shm, 0);
		struct look seen;

		if (place == 0 || place > walk.count)
			return ERR_SHM_NOT_FOUND;
		if (look_at(&walk.slots[place - 1], &seen) && is_live(seen.state) &&
		    entry_of(seen.entry_expiry) == entry) {
			emit(&seen, out);
			return ERR_OK;
		}
		/* Gone, unless the key has moved to another slot meanwhile. */
		if (atomic_load_explicit(place_of(shm, entry), memory_order_acquire) == place)
			return ERR_SHM_NOT_FOUND;
	}
	return ERR_SHM_BUSY;
}

bool
keyslot_is_used(const struct shm *shm, uint32_t entry)
{
	return atomic_load_explicit(place_of(shm, entry), memory_order_acquire) != 0;
}

/* --- the writer ---------------------------------------------------------------------------- */

static void
store(_Atomic uint64_t *word, uint64_t value)
{
	atomic_store_explicit(word, value, memory_order_release);
}

static uint64_t
state_of(const struct shm_key *key)
{
	CHECK(key->account <= SHM_KEY_ENTRY_MASK && key->plan <= SHM_KEY_ENTRY_MASK &&
	      key->surface <= SHM_KEY_SURFACE_MASK);
	return SHM_KEY_LIVE | (key->revoked != 0 ? SHM_KEY_REVOKED : 0) |
	       (uint64_t)key->surface << SHM_KEY_SURFACE_SHIFT | (uint64_t)key->plan << SHM_KEY_PLAN_SHIFT |
	       key->account;
}

static uint64_t
entry_expiry_of(const struct shm_key *key, uint32_t entry)
{
	return (uint64_t)key->expires_at_s << 32 | entry;
}

/* The live slot that is the entry's place, or NULL. */
static struct shm_key_slot *
slot_of(const struct shm *shm, uint32_t entry)
{
	uint32_t place = atomic_load_explicit(place_of(shm, entry), memory_order_relaxed);
	struct walk walk = begin(shm, 0);
	struct shm_key_slot *slot;

	if (place == 0 || place > walk.count)
		return NULL;
	slot = &walk.slots[place - 1];
	return is_live(load(&slot->state)) && entry_of(load(&slot->entry_expiry)) == entry ? slot : NULL;
}

/* A tombstone before an empty slot hides nothing: no walk goes past it. */
static void
trim(const struct walk *walk, uint32_t at)
{
	if (load(&walk->slots[next_of(walk, at)].state) != 0)
		return;
	for (uint32_t i = 0; i < steps_max(walk); i++) {
		if (load(&walk->slots[at].state) != SHM_KEY_TOMBSTONE)
			return;
		store(&walk->slots[at].state, 0);
		at = at == 0 ? walk->count - 1 : at - 1;
	}
}

static void
kill_slot(struct shm *shm, struct shm_key_slot *slot)
{
	struct walk walk = begin(shm, 0);

	store(&slot->state, SHM_KEY_TOMBSTONE);
	trim(&walk, (uint32_t)(slot - walk.slots));
}

static enum err
insert(struct shm *shm, uint32_t entry, const struct shm_key *body)
{
	uint64_t hash[HASH_WORDS], turn;
	struct shm_key_slot *slot;
	struct walk walk;
	uint32_t probe = 0;

	memcpy(hash, body->hash, sizeof(hash));
	walk = begin(shm, hash[0]);
	while (is_live(load(&walk.slots[walk.at].state))) {
		if (++probe == steps_max(&walk))
			return ERR_SHM_FULL;
		walk.at = next_of(&walk, walk.at);
	}
	slot = &walk.slots[walk.at];
	turn = load(&slot->turn) | 1; /* odd already, if a writer died here */
	store(&slot->turn, turn);
	store(&slot->key_id, body->key_id);
	store(&slot->entry_expiry, entry_expiry_of(body, entry));
	for (int i = 0; i < HASH_WORDS; i++)
		store(&slot->hash[i], hash[i]);
	store(&slot->turn, turn + 1);
	store(&slot->state, state_of(body));
	atomic_store_explicit(place_of(shm, entry), walk.at + 1, memory_order_release);
	return ERR_OK;
}

/* Of the same key: what differs, word by word. A reader may see one of two before the other. */
static bool
change(struct shm_key_slot *slot, uint32_t entry, const struct shm_key *body)
{
	uint64_t state = state_of(body), entry_expiry = entry_expiry_of(body, entry);
	bool expires = load(&slot->entry_expiry) != entry_expiry, changes = load(&slot->state) != state;

	if (expires)
		store(&slot->entry_expiry, entry_expiry);
	if (changes)
		store(&slot->state, state);
	return expires || changes;
}

enum err
keyslot_put(struct shm *shm, uint32_t entry, const struct shm_key *body, bool *changed)
{
	struct shm_key_slot *before;
	struct look seen;
	enum err verdict;

	*changed = false;
	if (entry >= shm->header->capacity.count[SHM_KEYS])
		return ERR_SHM_FULL;
	before = slot_of(shm, entry);
	if (body->live == 0) {
		*changed = before != NULL;
		if (before != NULL)
			kill_slot(shm, before);
		return ERR_OK;
	}
	if (before != NULL) {
		CHECK(look_at(before, &seen)); /* the only writer cannot find itself writing */
		if (seen.key_id == body->key_id && memcmp(seen.hash, body->hash, sizeof(seen.hash)) == 0) {
			*changed = change(before, entry, body);
			return ERR_OK;
		}
	}
	verdict = insert(shm, entry, body);
	if (verdict != ERR_OK)
		return verdict;
	if (before != NULL)
		kill_slot(shm, before);
	*changed = true;
	return ERR_OK;
}

void
keyslot_repair(struct shm *shm)
{
	struct walk walk = begin(shm, 0);

	for (uint32_t at = 0; at < walk.count; at++) {
		struct shm_key_slot *slot = &walk.slots[at], *place;
		uint32_t entry = entry_of(load(&slot->entry_expiry));

		if (!is_live(load(&slot->state)))
			continue;
		place = entry < shm->header->capacity.count[SHM_KEYS] ? slot_of(shm, entry) : NULL;
		if (place == NULL && entry < shm->header->capacity.count[SHM_KEYS])
			atomic_store_explicit(place_of(shm, entry), at + 1, memory_order_release);
		else if (place != slot)
			store(&slot->state, SHM_KEY_TOMBSTONE);
	}
	for (uint32_t i = walk.count; i-- > 0;)
		if (load(&walk.slots[i].state) == SHM_KEY_TOMBSTONE)
			trim(&walk, i);
}
