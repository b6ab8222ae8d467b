/* The shared tables: one writer publishes, readers see all of an entry or nothing of it. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/prng.h"
#include "shm/balance.h"
#include "shm/cell.h"
#include "shm/table.h"

static const uint8_t instance_id[16] = { 1 }, pepper[32] = { 2 };

static const struct shm_capacity small = { .count = {
	[SHM_KEYS] = 64, [SHM_ACCOUNTS] = 8, [SHM_PLANS] = 4, [SHM_MODELS] = 16,
	[SHM_ALIASES] = 16, [SHM_PRICES] = 8, [SHM_INSTANCES] = 16, [SHM_DEPLOYMENTS] = 8,
	[SHM_PODS] = 8, [SHM_REGIONS] = 4,
} };

static struct shm
make_shm(const struct shm_capacity *capacity)
{
	uint64_t bytes = shm_bytes(capacity, 2);
	void *memory = aligned_alloc(CACHE_LINE_BYTES, bytes);
	struct shm shm;

	assert_non_null(memory);
	memset(memory, 0, bytes);
	shm_format(memory, capacity, 2, instance_id, pepper);
	assert_int_equal(shm_attach(&shm, memory, bytes), ERR_OK);
	return shm;
}

static struct shm_key
key_of(uint64_t id)
{
	struct shm_key key = { .key_id = id, .account = 3, .plan = 1, .live = 1 };

	for (int i = 0; i < 32; i++)
		key.hash[i] = (uint8_t)(id * 0x9e3779b97f4a7c15u >> i % 8 * 8);
	return key;
}

static struct shm_name
name_of_text(const char *text)
{
	struct shm_name name = { .len = (uint16_t)strlen(text) };

	memcpy(name.text, text, name.len);
	return name;
}

static void
attach_refuses_what_it_does_not_know(void **state)
{
	struct shm shm = make_shm(&small), other = { 0 };
	struct shm_header *header = shm.header;
	uint64_t bytes = header->file_bytes;

	(void)state;
	assert_int_equal(shm_attach(&other, header, bytes - 1), ERR_SHM_SIZE);
	assert_int_equal(shm_attach(&other, header, 8), ERR_SHM_SIZE);
	header->layout_version++;
	assert_int_equal(shm_attach(&other, header, bytes), ERR_SHM_VERSION);
	header->layout_version--;
	header->magic++;
	assert_int_equal(shm_attach(&other, header, bytes), ERR_SHM_MAGIC);
	header->magic--;
	header->capacity.count[SHM_KEYS]++;
	assert_int_equal(shm_attach(&other, header, bytes), ERR_SHM_SIZE);
	header->capacity.count[SHM_KEYS]--;
	header->offset[SHM_PODS] += 64;
	assert_int_equal(shm_attach(&other, header, bytes), ERR_SHM_SIZE);
	header->offset[SHM_PODS] -= 64;
	header->worker_count = SHM_WORKERS_MAX + 1;
	assert_int_equal(shm_attach(&other, header, bytes), ERR_SHM_SIZE);
	assert_null(other.header);
	free(header);
}

/* Each bit of what says where things are, alone; nothing behind it is looked at. */
static void
attach_refuses_a_header_with_any_bit_flipped(void **state)
{
	struct shm shm = make_shm(&small), other = { 0 };
	struct shm_header *header = shm.header;
	uint64_t bytes = header->file_bytes;
	size_t layout_bytes = offsetof(struct shm_header, capacity) + sizeof(header->capacity);

	(void)state;
	for (size_t bit = 0; bit < 8 * layout_bytes; bit++) {
		enum err expected = ERR_SHM_SIZE;
		uint8_t *byte = (uint8_t *)header + bit / 8;

		if (bit / 8 < offsetof(struct shm_header, layout_version))
			expected = ERR_SHM_MAGIC;
		else if (bit / 8 < offsetof(struct shm_header, worker_count))
			expected = ERR_SHM_VERSION;
		*byte ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(shm_attach(&other, header, bytes), expected);
		*byte ^= (uint8_t)(1 << bit % 8);
	}
	assert_null(other.header);
	assert_int_equal(shm_attach(&other, header, bytes), ERR_OK);
	free(header);
}

/* Whatever a header says that passes, tables and cells lie within the mapping. */
static void
what_attach_accepts_lies_within_the_mapping(void **state)
{
	struct shm_capacity capacity = { 0 };
	struct prng prng;

	(void)state;
	prng_init(&prng, 1);
	for (int i = 0; i < 1000; i++) {
		struct shm shm;
		union {
			struct shm_pod pod;
			struct shm_key key;
		} body;
		uint64_t bytes;

		for (int s = SHM_KEYS; s <= SHM_REGIONS; s++)
			capacity.count[s] = prng_below(&prng, 4) * prng_below(&prng, 40);
		shm = make_shm(&capacity);
		bytes = shm.header->file_bytes;
		/* Two words of it, anyhow. */
		for (int n = 0; n < 2 && i % 2 == 1; n++)
			((uint32_t *)shm.header)[4 + prng_below(&prng, 50)] = (uint32_t)prng_next(&prng) >>
									       prng_below(&prng, 32);
		if (shm_attach(&shm, shm.header, bytes) == ERR_OK) {
			shm_read_pod(&shm, shm.header->capacity.count[SHM_PODS] - 1, &body.pod);
			shm_read_key(&shm, shm.header->capacity.count[SHM_KEYS] - 1, &body.key);
			assert_int_equal(shm_repair(&shm), ERR_OK);
			shm_worker(&shm, shm.header->worker_count - 1)->counters[SHM_COUNTERS_MAX - 1] = 1;
		} else {
			assert_int_equal(i % 2, 1);
		}
		free(shm.header);
	}
}

static void
capacities_beyond_the_limit_have_no_size(void **state)
{
	struct shm_capacity huge = small;

	(void)state;
	huge.count[SHM_PODS] = SHM_ENTRIES_MAX + 1;
	assert_int_equal(shm_bytes(&huge, 1), 0);
	assert_int_equal(shm_bytes(&small, 0), 0);
	assert_int_equal(shm_bytes(&small, SHM_WORKERS_MAX + 1), 0);
	assert_true(shm_bytes(&small, SHM_WORKERS_MAX) > 0);
}

static void
a_key_is_found_changed_and_deleted(void **state)
{
	struct shm shm = make_shm(&small);
	struct shm_key key = key_of(7), found;
	uint8_t near_miss[32];
	uint32_t entry;
	bool changed;

	(void)state;
	assert_int_equal(shm_find_key(&shm, key.hash, &found, &entry), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_put_key(&shm, 5, &key, &changed), ERR_OK);
	assert_true(changed);
	assert_int_equal(shm_find_key(&shm, key.hash, &found, &entry), ERR_OK);
	assert_int_equal(entry, 5);
	assert_memory_equal(&found, &key, sizeof(key));

	memcpy(near_miss, key.hash, 32);
	near_miss[31] ^= 1; /* same tag, same home */
	assert_int_equal(shm_find_key(&shm, near_miss, &found, &entry), ERR_SHM_NOT_FOUND);

	assert_int_equal(shm_put_key(&shm, 5, &key, &changed), ERR_OK);
	assert_false(changed);
	key.revoked = 1;
	assert_int_equal(shm_put_key(&shm, 5, &key, &changed), ERR_OK);
	assert_true(changed);
	assert_int_equal(shm_find_key(&shm, key.hash, &found, &entry), ERR_OK);
	assert_int_equal(found.revoked, 1);
	key.expires_at_s = UINT32_MAX;
	assert_int_equal(shm_put_key(&shm, 5, &key, &changed), ERR_OK);
	assert_true(changed);
	assert_int_equal(shm_find_key(&shm, key.hash, &found, &entry), ERR_OK);
	assert_memory_equal(&found, &key, sizeof(key));

	key.live = 0;
	assert_int_equal(shm_put_key(&shm, 5, &key, &changed), ERR_OK);
	assert_true(changed);
	assert_int_equal(shm_find_key(&shm, key.hash, &found, &entry), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_read_key(&shm, 5, &found), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_put_key(&shm, 64, &key, &changed), ERR_SHM_FULL);
	assert_int_equal(shm_read_key(&shm, 64, &found), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_put_key(&shm, UINT32_MAX, &key, &changed), ERR_SHM_FULL);
	assert_int_equal(shm.header->generation, 4);
	free(shm.header);
}

static void
an_entry_that_gets_another_hash_is_found_by_that_one_only(void **state)
{
	struct shm shm = make_shm(&small);
	struct shm_key before = key_of(7), after = key_of(8), found;
	uint32_t entry;
	bool changed;

	(void)state;
	shm_put_key(&shm, 5, &before, &changed);
	shm_put_key(&shm, 5, &after, &changed);
	assert_int_equal(shm_find_key(&shm, before.hash, &found, &entry), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_find_key(&shm, after.hash, &found, &entry), ERR_OK);
	assert_int_equal(found.key_id, 8);
	free(shm.header);
}

static void
an_alias_leads_to_its_model(void **state)
{
	struct shm shm = make_shm(&small);
	struct shm_model llama = { .name = name_of_text("meta-llama/Llama-3.1-8B-Instruct"),
				   .model_id = 11, .live = 1 };
	struct shm_alias alias = { .name = name_of_text("llama"), .alias_id = 2, .model = 9,
				   .live = 1 };
	struct shm_model found;
	uint32_t entry;
	bool changed;

	(void)state;
	assert_int_equal(shm_put_alias(&shm, 4, &alias, &changed), ERR_OK);
	assert_int_equal(shm_find_model(&shm, BYTES_LITERAL("llama"), &found, &entry),
			 ERR_SHM_NOT_FOUND); /* the model is not there yet */
	assert_int_equal(shm_put_model(&shm, 9, &llama, &changed), ERR_OK);
	assert_int_equal(shm_find_model(&shm, BYTES_LITERAL("llama"), &found, &entry), ERR_OK);
	assert_int_equal(entry, 9);
	assert_int_equal(found.model_id, 11);
	assert_int_equal(shm_find_model(&shm, BYTES_LITERAL("meta-llama/Llama-3.1-8B-Instruct"),
					&found, &entry), ERR_OK);
	assert_int_equal(shm_find_model(&shm, BYTES_LITERAL("Llama"), &found, &entry),
			 ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_find_model(&shm, BYTES_NONE, &found, &entry), ERR_SHM_NOT_FOUND);

	assert_int_equal(shm_read_model(&shm, 9, &found), ERR_OK);
	assert_int_equal(found.model_id, 11);
	assert_int_equal(shm_read_model(&shm, 4, &found), ERR_SHM_NOT_FOUND);

	alias.live = 0;
	assert_int_equal(shm_put_alias(&shm, 4, &alias, &changed), ERR_OK);
	assert_int_equal(shm_find_model(&shm, BYTES_LITERAL("llama"), &found, &entry),
			 ERR_SHM_NOT_FOUND);
	free(shm.header);
}

static void
an_instance_is_found_by_its_number(void **state)
{
	struct shm shm = make_shm(&small);
	struct shm_instance found;
	uint32_t entry;
	bool changed;

	(void)state;
	for (uint32_t i = 0; i < 16; i++) {
		struct shm_instance instance = { .name = name_of_text("my-llama"),
						 .instance_id = 140 + i, .live = 1 };

		assert_int_equal(shm_put_instance(&shm, i, &instance, &changed), ERR_OK);
	}
	assert_int_equal(shm_find_instance(&shm, 142, &found, &entry), ERR_OK);
	assert_int_equal(entry, 2);
	assert_int_equal(shm_find_instance(&shm, 139, &found, &entry), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_find_instance(&shm, 156, &found, &entry), ERR_SHM_NOT_FOUND);
	found.live = 0;
	assert_int_equal(shm_put_instance(&shm, 2, &found, &changed), ERR_OK);
	assert_int_equal(shm_find_instance(&shm, 142, &found, &entry), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_read_instance(&shm, 2, &found), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_read_instance(&shm, 3, &found), ERR_OK);
	assert_int_equal(found.instance_id, 143);
	free(shm.header);
}

static void
a_pod_begins_with_its_place(void **state)
{
	struct shm shm = make_shm(&small);
	uint32_t last = small.count[SHM_PODS] - 1;
	struct shm_pod_place place;
	struct shm_pod pod, found;
	bool changed;

	(void)state;
	for (size_t i = 0; i < sizeof(pod); i++)
		((uint8_t *)&pod)[i] = (uint8_t)(i + 1);
	assert_int_equal(shm_read_pod_place(&shm, last, &place), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_put_pod(&shm, last, &pod, &changed), ERR_OK);
	assert_int_equal(shm_read_pod(&shm, last, &found), ERR_OK);
	assert_memory_equal(&found, &pod, sizeof(pod));
	for (int turn = 0; turn < 2; turn++) {
		struct shm_pod_place same = shm_place_of(&pod);

		assert_int_equal(shm_read_pod_place(&shm, last, &place), ERR_OK);
		assert_memory_equal(&place, &pod, sizeof(place));
		assert_memory_equal(&same, &pod, sizeof(same));
		pod.pod_id++; /* the cell's other body */
		assert_int_equal(shm_put_pod(&shm, last, &pod, &changed), ERR_OK);
	}
	pod.live = 0;
	assert_int_equal(shm_put_pod(&shm, last, &pod, &changed), ERR_OK);
	assert_int_equal(shm_read_pod_place(&shm, last, &place), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_read_pod_place(&shm, last + 1, &place), ERR_SHM_NOT_FOUND);
	free(shm.header);
}

/* Every round deletes and enters each key elsewhere: tombstones everywhere if they were left to pile up. */
static void
a_full_table_survives_being_churned(void **state)
{
	struct shm shm = make_shm(&small);
	struct shm_key found;
	uint32_t entry;
	bool changed;

	(void)state;
	for (uint64_t round = 0; round < 1000; round++) {
		for (uint32_t i = 0; i < 64; i++) {
			struct shm_key key = key_of(round * 64 + i + 1);

			assert_int_equal(shm_put_key(&shm, i, &key, &changed), ERR_OK);
		}
		for (uint32_t i = 0; i < 64; i++) {
			struct shm_key key = key_of(round * 64 + i + 1);

			assert_int_equal(shm_find_key(&shm, key.hash, &found, &entry), ERR_OK);
			assert_int_equal(entry, i);
			if (i % 3 == round % 3) {
				key.live = 0;
				shm_put_key(&shm, i, &key, &changed);
				assert_int_equal(shm_find_key(&shm, key.hash, &found, &entry),
						 ERR_SHM_NOT_FOUND);
			}
		}
	}
	free(shm.header);
}

/* All keys want the same home slot: the walk's bound is what refuses, and nothing is half published. */
static void
an_index_without_room_near_home_refuses_the_entry(void **state)
{
	struct shm_capacity many = small;
	struct shm_key found;
	uint32_t entry;
	struct shm shm;
	bool changed;

	(void)state;
	many.count[SHM_KEYS] = 200;
	shm = make_shm(&many);
	for (uint32_t i = 0; i < 200; i++) {
		struct shm_key key = { .key_id = i + 1, .live = 1 };
		bool fits = i < SHM_PROBES_MAX;

		key.hash[20] = (uint8_t)(i + 1);
		assert_int_equal(shm_put_key(&shm, i, &key, &changed), fits ? ERR_OK : ERR_SHM_FULL);
		assert_int_equal(shm_find_key(&shm, key.hash, &found, &entry),
				 fits ? ERR_OK : ERR_SHM_NOT_FOUND);
		assert_int_equal(shm_read_key(&shm, i, &found), fits ? ERR_OK : ERR_SHM_NOT_FOUND);
	}
	free(shm.header);
}

/* As table.c makes an index hash of an instance's id. */
static uint64_t
mix_of(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static void *
inactive_body(struct shm *shm, uint32_t entry, uint64_t bytes)
{
	char *cell = (char *)shm->header + shm->header->offset[SHM_PLANS] +
		     entry * cell_bytes(SHM_PLANS);

	return cell + 8 + (cell_version(shm, SHM_PLANS, entry) & 1) * bytes;
}

static void
a_writer_that_dies_while_filling_disturbs_nobody(void **state)
{
	struct shm shm = make_shm(&small);
	struct shm_plan plan = { .plan_id = 7, .requests_per_minute = 8, .live = 1 }, found;
	bool changed;

	(void)state;
	shm_put_plan(&shm, 2, &plan, &changed);
	memset(inactive_body(&shm, 2, sizeof(plan)), 0xee, sizeof(plan) / 2);
	assert_int_equal(shm_read_plan(&shm, 2, &found), ERR_OK);
	assert_memory_equal(&found, &plan, sizeof(plan));
	/* Its next life repairs and publishes over it. */
	assert_int_equal(shm_repair(&shm), ERR_OK);
	plan.requests_per_minute = 9;
	assert_int_equal(shm_put_plan(&shm, 2, &plan, &changed), ERR_OK);
	assert_int_equal(shm_read_plan(&shm, 2, &found), ERR_OK);
	assert_memory_equal(&found, &plan, sizeof(plan));
	free(shm.header);
}

static uint32_t
slots_taken(struct shm *shm)
{
	const uint64_t *slots = (const uint64_t *)(const void *)((const char *)shm->header +
						    shm->header->offset[SHM_INSTANCES_INDEX]);
	uint32_t taken = 0;

	for (uint32_t i = 0; i < shm->header->capacity.count[SHM_INSTANCES_INDEX]; i++)
		taken += slots[i] != 0;
	return taken;
}

static void
repair_takes_out_what_a_dead_writer_left_in_the_index(void **state)
{
	struct shm shm = make_shm(&small);
	struct shm_instance instance = { .instance_id = 7, .live = 1 }, found;
	uint64_t hash = mix_of(7), other_hash = mix_of(8);
	uint32_t entry;
	bool changed;

	(void)state;
	shm_put_instance(&shm, 5, &instance, &changed);
	/* It died after entering an id and before publishing the body. */
	assert_int_equal(index_insert(&shm, SHM_INSTANCES_INDEX, other_hash, 9), ERR_OK);
	assert_int_equal(index_insert(&shm, SHM_INSTANCES_INDEX, other_hash, 5), ERR_OK);
	assert_int_equal(shm_find_instance(&shm, 8, &found, &entry), ERR_SHM_NOT_FOUND);
	assert_int_equal(slots_taken(&shm), 3);
	assert_int_equal(shm_repair(&shm), ERR_OK);
	assert_int_equal(slots_taken(&shm), 1);
	assert_int_equal(shm_find_instance(&shm, 7, &found, &entry), ERR_OK);
	/* And a live entry that the index has lost comes back. */
	index_remove(&shm, SHM_INSTANCES_INDEX, hash, 5);
	assert_int_equal(shm_find_instance(&shm, 7, &found, &entry), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_repair(&shm), ERR_OK);
	assert_int_equal(shm_find_instance(&shm, 7, &found, &entry), ERR_OK);
	free(shm.header);
}

static struct shm_key_slot *
slot_with(const struct shm *shm, uint64_t key_id)
{
	struct shm_key_slot *slots = (void *)((char *)shm->header + shm->header->offset[SHM_KEY_SLOTS]);

	for (uint32_t i = 0; i < shm->header->capacity.count[SHM_KEY_SLOTS]; i++)
		if ((slots[i].state & SHM_KEY_LIVE) != 0 && slots[i].key_id == key_id)
			return &slots[i];
	return NULL;
}

static void
repair_makes_keys_and_their_places_agree(void **state)
{
	struct shm shm = make_shm(&small);
	struct shm_key key = key_of(7), other = key_of(8), found;
	_Atomic uint32_t *places = (void *)((char *)shm.header + shm.header->offset[SHM_KEYS]);
	uint32_t entry;
	bool changed;

	(void)state;
	shm_put_key(&shm, 5, &key, &changed);
	shm_put_key(&shm, 6, &other, &changed);
	/* It died before it told the place. */
	places[5] = 0;
	assert_int_equal(shm_find_key(&shm, key.hash, &found, &entry), ERR_OK);
	assert_int_equal(shm_read_key(&shm, 5, &found), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_repair(&shm), ERR_OK);
	assert_int_equal(shm_read_key(&shm, 5, &found), ERR_OK);
	assert_memory_equal(&found, &key, sizeof(key));
	/* Two slots for one entry, one for none that there is: something else wrote here. */
	slot_with(&shm, 8)->entry_expiry = 5;
	assert_int_equal(shm_repair(&shm), ERR_OK);
	assert_null(slot_with(&shm, 8));
	assert_int_equal(shm_read_key(&shm, 6, &found), ERR_SHM_NOT_FOUND);
	slot_with(&shm, 7)->entry_expiry = UINT64_MAX;
	places[7] = UINT32_MAX;
	assert_int_equal(shm_find_key(&shm, key.hash, &found, &entry), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_read_key(&shm, 5, &found), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_read_key(&shm, 7, &found), ERR_SHM_NOT_FOUND);
	assert_int_equal(shm_repair(&shm), ERR_OK);
	assert_null(slot_with(&shm, 7));
	assert_int_equal(shm_put_key(&shm, 5, &key, &changed), ERR_OK);
	assert_int_equal(shm_find_key(&shm, key.hash, &found, &entry), ERR_OK);
	free(shm.header);
}

static void
the_money_left_is_what_came_in_minus_what_was_spent(void **state)
{
	struct shm shm = make_shm(&small);
	struct shm_balance_cell *cell = shm_balance(&shm, 3);

	(void)state;
	atomic_store(&cell->credited_nano, 100);
	atomic_fetch_add(&cell->spent_nano, 130);
	assert_int_equal(balance_available_nano(cell), -30);
	assert_ptr_not_equal(shm_balance(&shm, 2), cell);
	free(shm.header);
}

/* --- a writer and a reader at once --------------------------------------------------------- */

#define STRESS_READS 300000

struct stress {
	struct shm shm;
	_Atomic bool stop;
	_Atomic uint64_t writes;
};

/* Every word follows from the number, so a mixture of two publishes shows. The largest body: slow to copy. */
static struct shm_deployment
deployment_of(uint64_t n)
{
	struct shm_deployment deployment = { .deployment_id = n, .live = 1 };

	for (uint32_t i = 0; i < SHM_DEPLOYMENT_PODS_MAX; i++)
		deployment.pods[i] = (uint32_t)n * (i + 1);
	memcpy(deployment.base_path.text + 100, &n, sizeof(n));
	return deployment;
}

static void *
publish_all_the_time(void *argument)
{
	struct stress *s = argument;
	bool changed;

	for (uint64_t n = 1; !atomic_load_explicit(&s->stop, memory_order_relaxed); n++) {
		struct shm_deployment a = deployment_of(2 * n), b = deployment_of(2 * n + 1);
		struct shm_key key = key_of(n % 2 + 1);

		/* Two in a row, as fast as can be: the second overwrites what a reader may be in. */
		cell_write(&s->shm, SHM_DEPLOYMENTS, 1, &a);
		cell_write(&s->shm, SHM_DEPLOYMENTS, 1, &b);
		key.account = (uint32_t)n;
		key.plan = (uint32_t)~n & SHM_KEY_ENTRY_MASK;
		shm_put_key(&s->shm, 1, &key, &changed); /* its hash goes to and fro */
		atomic_fetch_add(&s->writes, 1);
	}
	return NULL;
}

static void
a_reader_never_sees_half_an_update(void **state)
{
	struct stress s = { .shm = make_shm(&small) };
	uint64_t last = 0, busy = 0, found_keys = 0;
	struct shm_key keys[2] = { key_of(1), key_of(2) };
	pthread_t writer;

	(void)state;
	assert_int_equal(pthread_create(&writer, NULL, publish_all_the_time, &s), 0);
	while (atomic_load(&s.writes) == 0)
		sched_yield();
	for (int i = 0; i < STRESS_READS; i++) {
		struct shm_deployment deployment, expected;
		struct shm_key key;
		uint32_t entry;

		if (shm_read_deployment(&s.shm, 1, &deployment) == ERR_OK) {
			expected = deployment_of(deployment.deployment_id);
			assert_memory_equal(&deployment, &expected, sizeof(expected));
			assert_true(deployment.deployment_id >= last);
			last = deployment.deployment_id;
		} else {
			busy++;
		}
		if (shm_find_key(&s.shm, keys[i % 2].hash, &key, &entry) == ERR_OK) {
			assert_memory_equal(key.hash, keys[i % 2].hash, 32);
			assert_int_equal(key.plan, ~key.account & SHM_KEY_ENTRY_MASK);
			found_keys++;
		}
	}
	atomic_store(&s.stop, true);
	pthread_join(writer, NULL);
	assert_true(last > 0);
	assert_true(found_keys > 0);
	assert_true(busy < STRESS_READS / 2); /* beside a writer that never rests, on a machine that may */
	print_message("%llu writes, %llu busy reads of %d\n", (unsigned long long)s.writes,
		      (unsigned long long)busy, STRESS_READS);
	free(s.shm.header);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(attach_refuses_what_it_does_not_know),
		cmocka_unit_test(attach_refuses_a_header_with_any_bit_flipped),
		cmocka_unit_test(what_attach_accepts_lies_within_the_mapping),
		cmocka_unit_test(capacities_beyond_the_limit_have_no_size),
		cmocka_unit_test(a_key_is_found_changed_and_deleted),
		cmocka_unit_test(an_entry_that_gets_another_hash_is_found_by_that_one_only),
		cmocka_unit_test(an_alias_leads_to_its_model),
		cmocka_unit_test(an_instance_is_found_by_its_number),
		cmocka_unit_test(a_pod_begins_with_its_place),
		cmocka_unit_test(a_full_table_survives_being_churned),
		cmocka_unit_test(an_index_without_room_near_home_refuses_the_entry),
		cmocka_unit_test(a_writer_that_dies_while_filling_disturbs_nobody),
		cmocka_unit_test(repair_takes_out_what_a_dead_writer_left_in_the_index),
		cmocka_unit_test(repair_makes_keys_and_their_places_agree),
		cmocka_unit_test(the_money_left_is_what_came_in_minus_what_was_spent),
		cmocka_unit_test(a_reader_never_sees_half_an_update),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
