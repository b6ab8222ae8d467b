/*
 * A writer dies after each single store of each publish, and of the repair behind it.
 *
 * The four files of the tables are built into this test with their stores counted, so that a death is a jump
 * out of the k-th one. Readers look before the next life and after it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define IMMORTAL UINT32_MAX

static uint32_t stores_left = IMMORTAL;
static jmp_buf death;

/* In front of every store. */
static void
live_on(void)
{
	if (stores_left == 0)
		longjmp(death, 1);
	if (stores_left != IMMORTAL)
		stores_left--;
}

#define SHM_BEFORE_LOAD() ((void)0)
#define SHM_BEFORE_STORE() live_on()
#include "shm_hooked.h"

#define KEYS 12
#define ENTRIES 8

static const struct shm_capacity small = { .count = {
	[SHM_KEYS] = ENTRIES, [SHM_ACCOUNTS] = 4, [SHM_PLANS] = 4, [SHM_MODELS] = ENTRIES, [SHM_ALIASES] = 4,
	[SHM_PRICES] = 4, [SHM_INSTANCES] = 4, [SHM_DEPLOYMENTS] = 4, [SHM_PODS] = 4, [SHM_REGIONS] = 4,
} };

/* All hashes want one of two home slots: walks cross each other, and tombstones matter. */
static struct shm_key
key_of(uint64_t id)
{
	struct shm_key key = { .key_id = id, .account = (uint32_t)id, .live = 1 };

	key.plan = ~(uint32_t)id & SHM_KEY_ENTRY_MASK;
	key.hash[7] = (uint8_t)(id % 2 << 4);
	key.hash[5] = (uint8_t)id;
	memset(key.hash + 8, (int)id, 24);
	return key;
}

static struct shm_model
model_of(uint64_t id)
{
	struct shm_model model = { .model_id = id, .live = 1, .target.price = (uint32_t)id };

	model.name = (struct shm_name){ .len = 2, .text = { 'm', (char)('a' + id) } };
	memset(model.target.deployments, (int)id, sizeof(model.target.deployments));
	return model;
}

static struct shm_alias
alias_of(uint64_t id, uint32_t model)
{
	struct shm_alias alias = { .alias_id = id, .model = model, .live = 1 };

	alias.name = (struct shm_name){ .len = 2, .text = { 'a', (char)('a' + id) } };
	return alias;
}

static struct shm_instance
instance_of(uint64_t id)
{
	return (struct shm_instance){ .instance_id = id, .account = (uint32_t)id, .live = 1,
				      .target.price = (uint32_t)id };
}

/* What the tables are to say: bodies by entry, all zero where there is none. */
struct truth {
	struct shm_key keys[ENTRIES];
	struct shm_model models[ENTRIES];
	struct shm_alias aliases[4];
	struct shm_instance instances[4];
	struct shm_deployment deployments[4];
};

static struct truth
first_truth(void)
{
	static struct truth t;

	memset(&t, 0, sizeof(t));
	for (uint32_t e = 0; e < 6; e++)
		t.keys[e] = key_of(e + 1);
	for (uint32_t e = 0; e < 4; e++)
		t.models[e] = model_of(e + 1);
	t.aliases[0] = alias_of(1, 0);
	t.instances[0] = instance_of(1);
	t.instances[1] = instance_of(2);
	t.deployments[0] = (struct shm_deployment){ .deployment_id = 1, .pod_count = 1, .live = 1 };
	return t;
}

/* As a reconciliation does: every entry, most of them unchanged. */
static void
publish(struct shm *shm, const struct truth *t)
{
	bool changed;

	for (uint32_t e = 0; e < 4; e++)
		assert_int_equal(shm_put_deployment(shm, e, &t->deployments[e], &changed), ERR_OK);
	for (uint32_t e = 0; e < ENTRIES; e++)
		assert_int_equal(shm_put_model(shm, e, &t->models[e], &changed), ERR_OK);
	for (uint32_t e = 0; e < 4; e++)
		assert_int_equal(shm_put_alias(shm, e, &t->aliases[e], &changed), ERR_OK);
	for (uint32_t e = 0; e < 4; e++)
		assert_int_equal(shm_put_instance(shm, e, &t->instances[e], &changed), ERR_OK);
	for (uint32_t e = 0; e < ENTRIES; e++)
		assert_int_equal(shm_put_key(shm, e, &t->keys[e], &changed), ERR_OK);
}

/* --- what readers see -------------------------------------------------------------------- */

struct seen {
	struct shm_key keys[KEYS];
	struct shm_model models[KEYS];
	struct shm_model by_alias[4];
	struct shm_instance instances[KEYS];
	struct shm_deployment deployments[4];
};

static void
look(const struct shm *shm, struct seen *seen)
{
	uint32_t entry;

	memset(seen, 0, sizeof(*seen));
	for (uint64_t id = 0; id < KEYS; id++) {
		struct shm_key key = key_of(id);
		struct shm_model model = model_of(id);

		if (shm_find_key(shm, key.hash, &seen->keys[id], &entry) == ERR_OK)
			assert_memory_equal(seen->keys[id].hash, key.hash, 32);
		if (shm_find_model(shm, shm_name_bytes(&model.name), &seen->models[id], &entry) == ERR_OK)
			assert_memory_equal(&seen->models[id].name, &model.name, sizeof(model.name));
		if (shm_find_instance(shm, id, &seen->instances[id], &entry) == ERR_OK)
			assert_int_equal(seen->instances[id].instance_id, id);
	}
	for (uint32_t i = 0; i < 4; i++) {
		struct shm_alias alias = alias_of(i, 0);

		shm_find_model(shm, shm_name_bytes(&alias.name), &seen->by_alias[i], &entry);
		shm_read_deployment(shm, i, &seen->deployments[i]);
	}
}

/* Each thing alone is as it was or as it is to be; never anything else. */
static void
assert_either(const void *seen, const void *before, const void *after, size_t bytes)
{
	assert_true(memcmp(seen, before, bytes) == 0 || memcmp(seen, after, bytes) == 0);
}

static void
assert_between(const struct seen *seen, const struct seen *before, const struct seen *after)
{
	for (int i = 0; i < KEYS; i++) {
		assert_either(&seen->keys[i], &before->keys[i], &after->keys[i], sizeof(seen->keys[i]));
		assert_either(&seen->models[i], &before->models[i], &after->models[i], sizeof(seen->models[i]));
		assert_either(&seen->instances[i], &before->instances[i], &after->instances[i],
			      sizeof(seen->instances[i]));
	}
	for (int i = 0; i < 4; i++) {
		assert_either(&seen->by_alias[i], &before->by_alias[i], &after->by_alias[i],
			      sizeof(seen->by_alias[i]));
		assert_either(&seen->deployments[i], &before->deployments[i], &after->deployments[i],
			      sizeof(seen->deployments[i]));
	}
}

/* Tombstones are not. */
static uint32_t
slots_taken(const struct shm *shm)
{
	struct shm_key_slot *slots = (void *)((char *)shm->header + shm->header->offset[SHM_KEY_SLOTS]);
	uint32_t taken = 0;

	for (uint32_t i = 0; i < shm->header->capacity.count[SHM_KEY_SLOTS]; i++)
		taken += (slots[i].state & SHM_KEY_LIVE) != 0;
	return taken;
}

/* --- deaths ------------------------------------------------------------------------------ */

struct place {
	struct shm shm;
	void *first; /* the memory before the change */
	uint64_t bytes;
};

static struct place
make_place(const struct truth *t)
{
	static const uint8_t id[16], pepper[32];
	struct place place = { .bytes = shm_bytes(&small, 1) };
	void *memory = aligned_alloc(CACHE_LINE_BYTES, place.bytes);

	place.first = malloc(place.bytes);
	assert_non_null(memory);
	assert_non_null(place.first);
	memset(memory, 0, place.bytes);
	shm_format(memory, &small, 1, id, pepper);
	assert_int_equal(shm_attach(&place.shm, memory, place.bytes), ERR_OK);
	publish(&place.shm, t);
	memcpy(place.first, memory, place.bytes);
	return place;
}

/* True if it died after so many stores. */
static bool
publish_and_die(struct shm *shm, const struct truth *t, uint32_t stores)
{
	stores_left = stores;
	if (setjmp(death) != 0)
		return true;
	publish(shm, t);
	stores_left = IMMORTAL;
	return false;
}

static bool
repair_and_die(struct shm *shm, uint32_t stores)
{
	stores_left = stores;
	if (setjmp(death) != 0)
		return true;
	assert_int_equal(shm_repair(shm), ERR_OK);
	stores_left = IMMORTAL;
	return false;
}

/* The next life: it attaches, repairs (and dies in that, too, up to repairs times), and publishes. */
static void
go_on(struct place *place, const struct truth *t, uint32_t repairs, const struct seen *before,
      const struct seen *after)
{
	struct shm next;
	struct seen seen;

	assert_int_equal(shm_attach(&next, place->shm.header, place->bytes), ERR_OK);
	if (repair_and_die(&next, repairs)) {
		stores_left = IMMORTAL;
		look(&next, &seen);
		assert_between(&seen, before, after);
		assert_int_equal(shm_repair(&next), ERR_OK);
	}
	look(&next, &seen);
	assert_between(&seen, before, after);
	publish(&next, t);
	look(&next, &seen);
	assert_memory_equal(&seen, after, sizeof(seen));
}

static uint32_t
live_keys(const struct truth *t)
{
	uint32_t live = 0;

	for (uint32_t e = 0; e < ENTRIES; e++)
		live += t->keys[e].live;
	return live;
}

/* Dies after 0, 1, 2, … stores on the way from one truth to the other; returns how many there are. */
static uint32_t
die_everywhere(const struct truth *from, const struct truth *to)
{
	struct place place = make_place(from);
	struct seen before, after, seen;
	uint32_t stores = 0;
	bool died;

	look(&place.shm, &before);
	publish(&place.shm, to);
	look(&place.shm, &after);
	do {
		for (uint32_t repairs = 0; repairs < 6; repairs++) {
			memcpy(place.shm.header, place.first, place.bytes);
			died = publish_and_die(&place.shm, to, stores);
			stores_left = IMMORTAL;
			look(&place.shm, &seen);
			assert_between(&seen, &before, &after);
			go_on(&place, to, repairs, &before, &after);
			assert_int_equal(slots_taken(&place.shm), live_keys(to));
			/* And back again: what the dead left does not wear the tables out. */
			publish(&place.shm, from);
			look(&place.shm, &seen);
			assert_memory_equal(&seen, &before, sizeof(seen));
		}
		stores++;
	} while (died);
	free(place.shm.header);
	free(place.first);
	return stores - 1;
}

#define NEW_KEY (1 + 6 + 1 + 1 + 1) /* turn, words, turn, state, place */

static void
a_new_key(void **state)
{
	struct truth from = first_truth(), to = from;

	(void)state;
	to.keys[6] = key_of(9);
	assert_int_equal(die_everywhere(&from, &to), NEW_KEY + 1); /* and generation */
}

static void
a_changed_key(void **state)
{
	struct truth from = first_truth(), to = from;

	(void)state;
	to.keys[2].revoked = 1;
	assert_int_equal(die_everywhere(&from, &to), 2);
	to = from;
	to.keys[2].expires_at_s = 5;
	assert_int_equal(die_everywhere(&from, &to), 2);
}

static void
a_deleted_key(void **state)
{
	struct truth from = first_truth(), to = from;

	(void)state;
	memset(&to.keys[2], 0, sizeof(to.keys[2])); /* in the middle of a walk: its slot becomes a tombstone */
	assert_int_equal(die_everywhere(&from, &to), 2);
	to = from;
	memset(&to.keys[5], 0, sizeof(to.keys[5])); /* and at its end, where it becomes empty again */
	assert_int_equal(die_everywhere(&from, &to), 3);
}

static void
a_rotated_key(void **state)
{
	struct truth from = first_truth(), to = from;

	(void)state;
	to.keys[3] = key_of(11);
	assert_int_equal(die_everywhere(&from, &to), NEW_KEY + 2); /* the old one dies */
}

static void
a_tombstone_that_is_used_again(void **state)
{
	struct truth from = first_truth(), to;

	(void)state;
	memset(&from.keys[1], 0, sizeof(from.keys[1]));
	to = from;
	to.keys[7] = key_of(10);
	assert_int_equal(die_everywhere(&from, &to), NEW_KEY + 1);
}

static void
entries_that_become_other_keys(void **state)
{
	struct truth from = first_truth(), to = from;

	(void)state;
	to.keys[0] = key_of(7);
	to.keys[1] = key_of(8);
	to.keys[4] = key_of(9);
	die_everywhere(&from, &to);
}

static void
models_come_change_and_go(void **state)
{
	struct truth from = first_truth(), to = from;

	(void)state;
	to.models[0] = model_of(6); /* the alias goes by its entry */
	to.models[1].target.policy = SHM_POLICY_PREFIX;
	memset(&to.models[2], 0, sizeof(to.models[2]));
	to.models[4] = model_of(7);
	die_everywhere(&from, &to);
}

static void
aliases_instances_and_deployments_do_the_same(void **state)
{
	struct truth from = first_truth(), to = from;

	(void)state;
	to.aliases[0].model = 2;
	to.aliases[1] = alias_of(2, 3);
	to.instances[0].target.price = 77;
	memset(&to.instances[1], 0, sizeof(to.instances[1]));
	to.instances[2] = instance_of(3);
	to.deployments[0].pods[0] = 3;
	to.deployments[1] = (struct shm_deployment){ .deployment_id = 2, .live = 1 };
	die_everywhere(&from, &to);
	die_everywhere(&to, &from);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_new_key),
		cmocka_unit_test(a_changed_key),
		cmocka_unit_test(a_deleted_key),
		cmocka_unit_test(a_rotated_key),
		cmocka_unit_test(a_tombstone_that_is_used_again),
		cmocka_unit_test(entries_that_become_other_keys),
		cmocka_unit_test(models_come_change_and_go),
		cmocka_unit_test(aliases_instances_and_deployments_do_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
