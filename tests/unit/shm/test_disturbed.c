/*
 * A writer that publishes between any two loads of a reader: what is read is whole, and no reader takes more steps
 * than its bound, however often the writer comes.
 *
 * Steps are loads of shared memory. A reader never waits, so its bound in steps is its bound in time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/prng.h"

static void before_load(void);
#define SHM_BEFORE_LOAD() before_load()
#define SHM_BEFORE_STORE() ((void)0)
#include "shm_hooked.h"

#define KEYS 8
#define CROWD 140 /* keys of one home slot: more than a walk is long */
#define SLOT_LOADS 9
#define KEY_LOADS_MAX ((SHM_PROBES_MAX + SHM_READ_TRIES_MAX) * SLOT_LOADS)
#define CELL_LOADS_MAX(type) (SHM_READ_TRIES_MAX * (sizeof(struct type) / 8 + 2))

static const struct shm_capacity capacity = { .count = {
	[SHM_KEYS] = 2 * CROWD, [SHM_ACCOUNTS] = 4, [SHM_PLANS] = 4, [SHM_MODELS] = 8, [SHM_ALIASES] = 4,
	[SHM_PRICES] = 4, [SHM_INSTANCES] = 4, [SHM_DEPLOYMENTS] = 4, [SHM_PODS] = 4, [SHM_REGIONS] = 4,
} };

static struct shm shm;
static bool is_writing;
static uint32_t loads;    /* of the reader, since it began */
static uint32_t turns;    /* of the writer */
static void (*turn)(void);
static bool (*is_turn)(uint32_t load);

static void
before_load(void)
{
	if (is_writing)
		return;
	loads++;
	if (turn == NULL || !is_turn(loads))
		return;
	is_writing = true;
	turns++;
	turn();
	is_writing = false;
}

/* The reader begins; from now on the writer takes its turns. */
static void
disturb_with(void (*publish)(void), bool (*when)(uint32_t load))
{
	loads = 0;
	turn = publish;
	is_turn = when;
}

static bool
always(uint32_t load)
{
	(void)load;
	return true;
}

static uint32_t first_at, second_at;

static bool
at_two(uint32_t load)
{
	return load == first_at || load == second_at;
}

static struct prng chance;

static bool
at_random(uint32_t load)
{
	(void)load;
	return prng_below(&chance, 3) == 0;
}

static void
begin_tables(void)
{
	static const uint8_t id[16], pepper[32];
	uint64_t bytes = shm_bytes(&capacity, 1);
	void *memory = aligned_alloc(CACHE_LINE_BYTES, bytes);

	turn = NULL;
	turns = 0;
	assert_non_null(memory);
	memset(memory, 0, bytes);
	shm_format(memory, &capacity, 1, id, pepper);
	assert_int_equal(shm_attach(&shm, memory, bytes), ERR_OK);
}

/* All of one home slot. Whatever can change follows from the turn. */
static struct shm_key
key_of(uint32_t id)
{
	struct shm_key key = { .key_id = id, .account = turns, .live = 1 };

	key.plan = ~turns & SHM_KEY_ENTRY_MASK;
	memset(key.hash + 8, (int)id, 24);
	return key;
}

static void
put_key(uint32_t entry, uint32_t id, bool is_live)
{
	struct shm_key key = key_of(id);
	bool changed;

	key.live = is_live;
	assert_int_equal(shm_put_key(&shm, entry, &key, &changed), ERR_OK);
}

static enum err
find(uint32_t id)
{
	struct shm_key wanted = key_of(id), found;
	enum err verdict;
	uint32_t entry;

	loads = 0;
	verdict = shm_find_key(&shm, wanted.hash, &found, &entry);
	assert_true(loads <= KEY_LOADS_MAX);
	if (verdict == ERR_OK) {
		assert_memory_equal(found.hash, wanted.hash, 32);
		assert_int_equal(found.key_id, id);
		assert_int_equal(found.plan, ~found.account & SHM_KEY_ENTRY_MASK);
		assert_int_equal(entry % KEYS, id % KEYS);
	}
	return verdict;
}

/* --- keys ------------------------------------------------------------------------------------ */

static void
change_key_one(void)
{
	put_key(1, 1, true);
}

/* Its slot is given to another key, and back. */
static void
replace_key_one(void)
{
	put_key(1, turns % 2 == 1 ? 1 : 1 + KEYS, false);
	put_key(1, turns % 2 == 1 ? 1 + KEYS : 1, true);
}

static void
a_slot_that_changes_hands_all_the_time_is_given_up(void **state)
{
	(void)state;
	begin_tables();
	put_key(1, 1, true);
	disturb_with(replace_key_one, always);
	assert_int_equal(find(1), ERR_SHM_BUSY);
	assert_int_equal(loads, SHM_READ_TRIES_MAX * SLOT_LOADS);
	free(shm.header);
}

/* Two changes of the same key, wherever they fall: it was there all the time, and it is found. */
static void
a_key_that_is_changed_while_it_is_read_is_found(void **state)
{
	(void)state;
	begin_tables();
	put_key(1, 1, true);
	for (first_at = 1; first_at <= SLOT_LOADS + 1; first_at++)
		for (second_at = first_at; second_at <= SLOT_LOADS + 1; second_at++) {
			disturb_with(change_key_one, at_two);
			assert_int_equal(find(1), ERR_OK);
		}
	assert_true(turns >= SLOT_LOADS * SLOT_LOADS / 2);
	free(shm.header);
}

static void
a_key_that_goes_and_comes_while_it_is_read_is_whole_or_not_found(void **state)
{
	uint32_t found = 0;

	(void)state;
	begin_tables();
	put_key(1, 1, true);
	for (first_at = 1; first_at <= 3 * SLOT_LOADS; first_at++)
		for (second_at = first_at + 1; second_at <= 3 * SLOT_LOADS; second_at++) {
			enum err verdict;

			disturb_with(replace_key_one, at_two);
			verdict = find(1);
			assert_true(verdict == ERR_OK || verdict == ERR_SHM_NOT_FOUND);
			found += verdict == ERR_OK;
		}
	assert_true(found > 0);
	free(shm.header);
}

static void
the_longest_walk_there_can_be_has_its_bound(void **state)
{
	uint32_t fits = 0;

	(void)state;
	begin_tables();
	for (uint32_t i = 0; i < CROWD; i++) {
		struct shm_key key = key_of(i + 1);
		bool changed;

		fits += shm_put_key(&shm, i + 1, &key, &changed) == ERR_OK;
	}
	assert_int_equal(fits, SHM_PROBES_MAX);
	assert_int_equal(find(CROWD + 1), ERR_SHM_NOT_FOUND);
	assert_int_equal(loads, SHM_PROBES_MAX * SLOT_LOADS);
	assert_int_equal(find(SHM_PROBES_MAX), ERR_OK);
	assert_int_equal(loads, SHM_PROBES_MAX * SLOT_LOADS);
	/* The same beside a writer. */
	disturb_with(replace_key_one, always);
	assert_int_equal(find(CROWD + 1), ERR_SHM_BUSY);
	assert_true(loads <= KEY_LOADS_MAX);
	free(shm.header);
}

/* Some key comes, changes, moves to another entry's slot or goes. */
static void
publish_any_key(void)
{
	uint32_t entry = prng_below(&chance, KEYS);

	put_key(entry, entry + KEYS * prng_below(&chance, 3), prng_below(&chance, 4) > 0);
}

static void
any_history_of_keys_is_read_whole(void **state)
{
	uint32_t found = 0;

	(void)state;
	prng_init(&chance, 1);
	begin_tables();
	disturb_with(publish_any_key, at_random);
	for (int i = 0; i < 100000; i++)
		found += find(prng_below(&chance, 3 * KEYS)) == ERR_OK;
	assert_true(found > 1000);
	free(shm.header);
}

/* --- cells ------------------------------------------------------------------------------------ */

static void
publish_deployment(void)
{
	struct shm_deployment deployment = { .deployment_id = turns + 1, .live = 1 };
	bool changed;

	for (uint32_t i = 0; i < SHM_DEPLOYMENT_PODS_MAX; i++)
		deployment.pods[i] = turns + 1;
	assert_int_equal(shm_put_deployment(&shm, 1, &deployment, &changed), ERR_OK);
}

static enum err
read_deployment(void)
{
	struct shm_deployment found;
	enum err verdict;

	loads = 0;
	verdict = shm_read_deployment(&shm, 1, &found);
	assert_true(loads <= CELL_LOADS_MAX(shm_deployment));
	for (uint32_t i = 0; i < SHM_DEPLOYMENT_PODS_MAX && verdict == ERR_OK; i++)
		assert_int_equal(found.pods[i], found.deployment_id);
	return verdict;
}

static void
an_entry_that_is_published_wherever_it_is_read_is_read(void **state)
{
	(void)state;
	begin_tables();
	publish_deployment();
	for (first_at = 1; first_at <= CELL_LOADS_MAX(shm_deployment); first_at++) {
		second_at = first_at + 1;
		disturb_with(publish_deployment, at_two);
		assert_int_equal(read_deployment(), ERR_OK);
	}
	disturb_with(publish_deployment, always);
	assert_int_equal(read_deployment(), ERR_SHM_BUSY);
	free(shm.header);
}

static void
publish_model(void)
{
	struct shm_model model = { .model_id = turns + 1, .live = 1, .target.price = turns + 1 };
	bool changed;

	model.name = (struct shm_name){ .len = 1, .text = { 'm' } };
	assert_int_equal(shm_put_model(&shm, 1, &model, &changed), ERR_OK);
}

static void
a_model_is_found_by_its_name_however_often_it_changes(void **state)
{
	struct shm_model found;
	uint32_t entry, good = 0;

	(void)state;
	prng_init(&chance, 2);
	begin_tables();
	publish_model();
	for (int i = 0; i < 20000; i++) {
		enum err verdict;

		disturb_with(publish_model, at_random);
		verdict = shm_find_model(&shm, BYTES_LITERAL("m"), &found, &entry);
		assert_true(loads <= 1 + CELL_LOADS_MAX(shm_model));
		assert_true(verdict == ERR_SHM_BUSY || verdict == ERR_OK);
		assert_true(verdict == ERR_SHM_BUSY || found.target.price == found.model_id);
		first_at = 1 + prng_below(&chance, 80);
		second_at = 1 + prng_below(&chance, 80);
		disturb_with(publish_model, at_two);
		good += shm_find_model(&shm, BYTES_LITERAL("m"), &found, &entry) == ERR_OK;
	}
	assert_int_equal(good, 20000);
	free(shm.header);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_slot_that_changes_hands_all_the_time_is_given_up),
		cmocka_unit_test(a_key_that_is_changed_while_it_is_read_is_found),
		cmocka_unit_test(a_key_that_goes_and_comes_while_it_is_read_is_whole_or_not_found),
		cmocka_unit_test(the_longest_walk_there_can_be_has_its_bound),
		cmocka_unit_test(any_history_of_keys_is_read_whole),
		cmocka_unit_test(an_entry_that_is_published_wherever_it_is_read_is_read),
		cmocka_unit_test(a_model_is_found_by_its_name_however_often_it_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
