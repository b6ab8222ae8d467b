/* A set-associative table: the id chooses SESSIONS_WAYS slots, so that a lookup is as long as ever. */
#include "tls/sessions.h"

#include "base/check.h"

static uint32_t
whole_sets(uint32_t slots_max)
{
	return (slots_max + SESSIONS_WAYS - 1) / SESSIONS_WAYS * SESSIONS_WAYS;
}

size_t
sessions_bytes(uint32_t slots_max)
{
	return whole_sets(slots_max) * (sizeof(struct session_slot) + (size_t)SESSIONS_BYTES_MAX);
}

bool
sessions_init(struct sessions *sessions, struct arena *arena, uint32_t slots_max)
{
	*sessions = (struct sessions){ .arena = arena };
	if (slots_max == 0)
		return true;
	sessions->slots = arena_alloc(arena, whole_sets(slots_max) * sizeof(*sessions->slots));
	if (sessions->slots == NULL)
		return false;
	sessions->slot_count = whole_sets(slots_max);
	return true;
}

static void
empty(struct sessions *sessions, struct session_slot *slot)
{
	arena_release(sessions->arena, slot->saved);
	memset(slot, 0, sizeof(*slot));
}

void
sessions_fini(struct sessions *sessions)
{
	for (uint32_t i = 0; i < sessions->slot_count; i++)
		empty(sessions, &sessions->slots[i]);
	arena_release(sessions->arena, sessions->slots);
	sessions->slots = NULL;
	sessions->slot_count = 0;
}

static bool
is_equal(const struct tls_target *a, const struct tls_target *b)
{
	return a->id == b->id && a->authority == b->authority && a->pin_count == b->pin_count &&
	       memcmp(a->pins, b->pins, a->pin_count * sizeof(a->pins[0])) == 0 && strcmp(a->name, b->name) == 0;
}

/* NULL: nothing is kept for such a target. */
static struct session_slot *
set_of(const struct sessions *sessions, const struct tls_target *target)
{
	if (sessions->slot_count == 0 || target->id == 0)
		return NULL;
	/* Ids are counted up by who gives them, so that they spread by themselves. */
	return &sessions->slots[target->id % (sessions->slot_count / SESSIONS_WAYS) * SESSIONS_WAYS];
}

static struct session_slot *
find(const struct sessions *sessions, const struct tls_target *target)
{
	struct session_slot *set = set_of(sessions, target);

	for (uint32_t i = 0; set != NULL && i < SESSIONS_WAYS; i++)
		if (is_equal(&set[i].target, target))
			return &set[i];
	return NULL;
}

static struct session_slot *
oldest(struct session_slot *set)
{
	struct session_slot *slot = set;

	for (uint32_t i = 1; i < SESSIONS_WAYS; i++)
		if (set[i].kept < slot->kept)
			slot = &set[i];
	return slot;
}

uint8_t *
sessions_keep(struct sessions *sessions, const struct tls_target *target, size_t len,
	      const struct session_ends *ends)
{
	struct session_slot *slot = find(sessions, target);
	struct session_slot *set = set_of(sessions, target);

	if (set == NULL || len == 0 || len > SESSIONS_BYTES_MAX)
		return NULL;
	if (slot == NULL)
		slot = oldest(set);
	empty(sessions, slot);
	slot->saved = arena_alloc(sessions->arena, len);
	if (slot->saved == NULL)
		return NULL;
	slot->target = *target;
	slot->len = len;
	slot->ends = *ends;
	slot->kept = ++sessions->keepings;
	return slot->saved;
}

struct bytes
sessions_find(struct sessions *sessions, const struct tls_target *target, int64_t now_s,
	      int64_t *verified_until_s)
{
	struct session_slot *slot = find(sessions, target);

	if (slot == NULL)
		return BYTES_NONE;
	if (now_s >= slot->ends.expires_at_s || slot->ends.expires_at_s - now_s > SESSIONS_LIFETIME_S_MAX) {
		empty(sessions, slot);
		return BYTES_NONE;
	}
	*verified_until_s = slot->ends.verified_until_s;
	return bytes_make(slot->saved, slot->len);
}

void
sessions_forget(struct sessions *sessions, const struct tls_target *target)
{
	struct session_slot *slot = find(sessions, target);

	if (slot != NULL)
		empty(sessions, slot);
}

void
sessions_sift(struct sessions *sessions, sessions_wish is_wanted, const void *owner)
{
	for (uint32_t i = 0; i < sessions->slot_count; i++) {
		struct session_slot *slot = &sessions->slots[i];

		if (slot->target.id != 0 && !is_wanted(owner, &slot->target))
			empty(sessions, slot);
	}
}
