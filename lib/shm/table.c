/*
 * Readers and writer of the shared tables. The file's shape comes from one list below; everything that is
 * the same for all tables (copying a two-version cell, publishing one) is in cell.c.
 */
#include "shm/table.h"

#include <string.h>

#include "shm/cell.h"
#include "shm/keyslot.h"

_Static_assert(sizeof(_Atomic uint64_t) == 8, "hot cells and slots are plain words");

static uint64_t
round_up(uint64_t bytes)
{
	return (bytes + CACHE_LINE_BYTES - 1) / CACHE_LINE_BYTES * CACHE_LINE_BYTES;
}

static uint64_t
unit_bytes(enum shm_section section)
{
	switch (section) {
	case SHM_KEY_SLOTS:
		return sizeof(struct shm_key_slot);
	case SHM_KEYS:
		return sizeof(uint32_t);
	case SHM_MODELS_INDEX:
	case SHM_INSTANCES_INDEX:
		return sizeof(uint64_t);
	case SHM_BUCKETS:
		return sizeof(struct shm_bucket_cell);
	case SHM_BALANCES:
		return sizeof(struct shm_balance_cell);
	case SHM_POD_HEALTH:
		return sizeof(struct shm_pod_health);
	case SHM_WORKERS:
		return sizeof(struct shm_worker);
	default:
		return cell_bytes(section);
	}
}

/* Completes the derived sections. False: a count is beyond its limit. */
static bool
complete(struct shm_capacity *c, uint32_t worker_count)
{
	for (int i = SHM_KEYS; i <= SHM_REGIONS; i++)
		if (c->count[i] > SHM_ENTRIES_MAX)
			return false;
	if (worker_count == 0 || worker_count > SHM_WORKERS_MAX)
		return false;
	c->count[SHM_KEY_SLOTS] = keyslot_count(c->count[SHM_KEYS]);
	c->count[SHM_MODELS_INDEX] = index_slots(c->count[SHM_MODELS] + c->count[SHM_ALIASES]);
	c->count[SHM_INSTANCES_INDEX] = index_slots(c->count[SHM_INSTANCES]);
	c->count[SHM_BUCKETS] = c->count[SHM_KEYS];
	c->count[SHM_BALANCES] = c->count[SHM_ACCOUNTS];
	c->count[SHM_POD_HEALTH] = c->count[SHM_PODS];
	c->count[SHM_WORKERS] = worker_count;
	return true;
}

/* SHM_ENTRIES_MAX of every table stays far below 2^64 bytes, so the sum cannot overflow. */
static uint64_t
place(const struct shm_capacity *c, uint64_t offset[SHM_SECTION_COUNT])
{
	uint64_t at = sizeof(struct shm_header);

	for (int i = 0; i < SHM_SECTION_COUNT; i++) {
		offset[i] = at;
		at += round_up(c->count[i] * unit_bytes((enum shm_section)i));
	}
	return at;
}

uint64_t
shm_bytes(const struct shm_capacity *capacity, uint32_t worker_count)
{
	struct shm_capacity whole = *capacity;
	uint64_t offset[SHM_SECTION_COUNT];

	return complete(&whole, worker_count) ? place(&whole, offset) : 0;
}

void
shm_format(void *memory, const struct shm_capacity *capacity, uint32_t worker_count,
	   const uint8_t instance_id[16], const uint8_t pepper[32])
{
	struct shm_header *header = memory;

	header->layout_version = SHM_LAYOUT_VERSION;
	header->worker_count = worker_count;
	header->capacity = *capacity;
	CHECK(complete(&header->capacity, worker_count));
	header->file_bytes = place(&header->capacity, header->offset);
	memcpy(header->instance_id, instance_id, sizeof(header->instance_id));
	memcpy(header->pepper, pepper, sizeof(header->pepper));
	header->magic = SHM_MAGIC;
}

enum err
shm_attach(struct shm *shm, void *memory, uint64_t bytes)
{
	struct shm_header *header = memory;
	struct shm_capacity whole;
	uint64_t offset[SHM_SECTION_COUNT];

	if (bytes < sizeof(*header))
		return ERR_SHM_SIZE;
	if (header->magic != SHM_MAGIC)
		return ERR_SHM_MAGIC;
	if (header->layout_version != SHM_LAYOUT_VERSION)
		return ERR_SHM_VERSION;
	whole = header->capacity;
	if (!complete(&whole, header->worker_count) ||
	    memcmp(&whole, &header->capacity, sizeof(whole)) != 0 ||
	    place(&whole, offset) != header->file_bytes || header->file_bytes > bytes ||
	    memcmp(offset, header->offset, sizeof(offset)) != 0)
		return ERR_SHM_SIZE;
	shm->header = header;
	return ERR_OK;
}

/* --- hashes and names -------------------------------------------------------------------- */

/* The finalizer of splitmix64: every input bit reaches every output bit. */
static uint64_t
mix(uint64_t x)
{
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/*
 * Without a key: these are the operator's own model names and ids, and no walk is longer than
 * SHM_PROBES_MAX, so a client that asks for chosen names gains nothing. Keys' hashes are HMACs.
 */
static uint64_t
hash_name(struct bytes name)
{
	uint64_t h = name.len;

	for (; name.len >= 8; bytes_advance(&name, 8)) {
		uint64_t word;

		memcpy(&word, name.ptr, 8);
		h = mix(h ^ word) + UINT64_C(0x9e3779b97f4a7c15);
	}
	for (; name.len > 0; bytes_advance(&name, 1))
		h = (h ^ name.ptr[0]) * UINT64_C(0x100000001b3);
	return mix(h);
}

bool
shm_has_address(const uint8_t address[16])
{
	static const uint8_t none[16];

	return memcmp(address, none, sizeof(none)) != 0;
}

struct shm_pod_place
shm_place_of(const struct shm_pod *pod)
{
	struct shm_pod_place place;

	memcpy(&place, pod, sizeof(place));
	return place;
}

struct bytes
shm_name_bytes(const struct shm_name *name)
{
	return bytes_make(name->text, name->len < sizeof(name->text) ? name->len
								     : sizeof(name->text));
}

struct bytes
shm_short_name_bytes(const struct shm_short_name *name)
{
	return bytes_make(name->text, name->len < sizeof(name->text) ? name->len
								     : sizeof(name->text));
}

/* --- readers by entry -------------------------------------------------------------------- */

static enum err
read_live(const struct shm *shm, enum shm_section table, uint32_t entry, void *body)
{
	enum err verdict = cell_read(shm, table, entry, body);

	if (verdict == ERR_OK && ((uint8_t *)body)[cell_live_offset(table)] == 0)
		return ERR_SHM_NOT_FOUND;
	return verdict;
}

#define READER(name, table)                                                                        \
	enum err shm_read_##name(const struct shm *shm, uint32_t entry, struct shm_##name *out)    \
	{                                                                                          \
		struct shm_##name body;                                                            \
		enum err verdict = read_live(shm, table, entry, &body);                            \
                                                                                                   \
		if (verdict == ERR_OK)                                                             \
			*out = body;                                                               \
		return verdict;                                                                    \
	}

READER(account, SHM_ACCOUNTS)
READER(plan, SHM_PLANS)
READER(model, SHM_MODELS)
READER(alias, SHM_ALIASES)
READER(price, SHM_PRICES)
READER(instance, SHM_INSTANCES)
READER(region, SHM_REGIONS)
READER(deployment, SHM_DEPLOYMENTS)
READER(pod, SHM_PODS)

enum err
shm_read_pod_place(const struct shm *shm, uint32_t entry, struct shm_pod_place *out)
{
	struct shm_pod_place place;
	enum err verdict = cell_read_head(shm, SHM_PODS, entry, &place, sizeof(place));

	if (verdict == ERR_OK && place.live == 0)
		return ERR_SHM_NOT_FOUND;
	if (verdict == ERR_OK)
		*out = place;
	return verdict;
}

/* --- readers by name --------------------------------------------------------------------- */

enum err
shm_find_key(const struct shm *shm, const uint8_t hash[32], struct shm_key *out, uint32_t *entry)
{
	return keyslot_find(shm, hash, out, entry);
}

enum err
shm_read_key(const struct shm *shm, uint32_t entry, struct shm_key *out)
{
	return keyslot_read(shm, entry, out);
}

void
shm_prefetch_key(const struct shm *shm, const uint8_t hash[32])
{
	keyslot_prefetch(shm, hash);
}

/* The model that an alias entry of this name leads to. */
static enum err
follow_alias(const struct shm *shm, uint32_t alias_entry, struct bytes name, struct shm_model *out,
	     uint32_t *entry)
{
	struct shm_alias alias;
	enum err verdict = shm_read_alias(shm, alias_entry, &alias);

	if (verdict != ERR_OK)
		return verdict;
	if (!bytes_equal(shm_name_bytes(&alias.name), name))
		return ERR_SHM_NOT_FOUND;
	verdict = shm_read_model(shm, alias.model, out);
	if (verdict == ERR_OK)
		*entry = alias.model;
	return verdict;
}

enum err
shm_find_model(const struct shm *shm, struct bytes name, struct shm_model *out, uint32_t *entry)
{
	struct index_walk walk = index_begin(shm, SHM_MODELS_INDEX, hash_name(name));
	uint32_t reference;

	while (index_next(&walk, &reference)) {
		enum err verdict;
		struct shm_model model;

		if ((reference & SHM_SLOT_ALIAS) != 0) {
			verdict = follow_alias(shm, reference & ~(uint32_t)SHM_SLOT_ALIAS, name,
					       out, entry);
			if (verdict != ERR_SHM_NOT_FOUND)
				return verdict;
			continue;
		}
		verdict = shm_read_model(shm, reference, &model);
		if (verdict == ERR_SHM_BUSY)
			return verdict;
		if (verdict == ERR_OK && bytes_equal(shm_name_bytes(&model.name), name)) {
			*out = model;
			*entry = reference;
			return ERR_OK;
		}
	}
	return ERR_SHM_NOT_FOUND;
}

enum err
shm_find_instance(const struct shm *shm, uint64_t instance_id, struct shm_instance *out,
		  uint32_t *entry)
{
	struct index_walk walk = index_begin(shm, SHM_INSTANCES_INDEX, mix(instance_id));
	uint32_t found;

	while (index_next(&walk, &found)) {
		struct shm_instance instance;
		enum err verdict = shm_read_instance(shm, found, &instance);

		if (verdict == ERR_SHM_BUSY)
			return verdict;
		if (verdict == ERR_OK && instance.instance_id == instance_id) {
			*out = instance;
			*entry = found;
			return ERR_OK;
		}
	}
	return ERR_SHM_NOT_FOUND;
}

/* --- hot cells --------------------------------------------------------------------------- */

static void *
hot_cell(const struct shm *shm, enum shm_section section, uint32_t at)
{
	CHECK(at < shm->header->capacity.count[section]);
	return (char *)shm->header + shm->header->offset[section] + at * unit_bytes(section);
}

struct shm_bucket_cell *
shm_bucket(const struct shm *shm, uint32_t key_entry)
{
	return hot_cell(shm, SHM_BUCKETS, key_entry);
}

struct shm_balance_cell *
shm_balance(const struct shm *shm, uint32_t account_entry)
{
	return hot_cell(shm, SHM_BALANCES, account_entry);
}

struct shm_pod_health *
shm_pod_health(const struct shm *shm, uint32_t pod_entry)
{
	return hot_cell(shm, SHM_POD_HEALTH, pod_entry);
}

struct shm_worker *
shm_worker(const struct shm *shm, uint32_t worker)
{
	return hot_cell(shm, SHM_WORKERS, worker);
}

void
shm_prefetch_behind_key(const struct shm *shm, const struct shm_key *key, uint32_t key_entry)
{
	cell_prefetch(shm, SHM_ACCOUNTS, key->account);
	if (key->account < shm->header->capacity.count[SHM_BALANCES])
		__builtin_prefetch(shm_balance(shm, key->account), 1);
	__builtin_prefetch(shm_bucket(shm, key_entry), 1);
}

/* --- writer ------------------------------------------------------------------------------ */

/* What an entry is found by. */
struct name_of {
	enum shm_section index; /* SHM_SECTION_COUNT: by its entry only */
	uint64_t hash;
	uint32_t reference;
};

static struct name_of
name_of(enum shm_section table, uint32_t entry, const void *body)
{
	switch (table) {
	case SHM_MODELS:
		return (struct name_of){
			SHM_MODELS_INDEX,
			hash_name(shm_name_bytes(&((const struct shm_model *)body)->name)), entry
		};
	case SHM_ALIASES:
		return (struct name_of){
			SHM_MODELS_INDEX,
			hash_name(shm_name_bytes(&((const struct shm_alias *)body)->name)),
			entry | (uint32_t)SHM_SLOT_ALIAS
		};
	case SHM_INSTANCES:
		return (struct name_of){ SHM_INSTANCES_INDEX,
					 mix(((const struct shm_instance *)body)->instance_id),
					 entry };
	default:
		return (struct name_of){ SHM_SECTION_COUNT, 0, entry };
	}
}

union any_body {
	struct shm_account account;
	struct shm_plan plan;
	struct shm_model model;
	struct shm_alias alias;
	struct shm_price price;
	struct shm_instance instance;
	struct shm_region region;
	struct shm_deployment deployment;
	struct shm_pod pod;
};

static enum err
put(struct shm *shm, enum shm_section table, uint32_t entry, const void *body, bool *changed)
{
	union any_body before;
	struct name_of old_name, new_name;
	bool was_live, is_live = ((const uint8_t *)body)[cell_live_offset(table)] != 0;

	/* The only writer cannot find itself writing, so the read cannot be busy. */
	if (cell_read(shm, table, entry, &before) != ERR_OK)
		return ERR_SHM_FULL;
	was_live = ((const uint8_t *)&before)[cell_live_offset(table)] != 0;
	if (memcmp(&before, body, cell_body_bytes(table)) == 0 || (!was_live && !is_live)) {
		*changed = false;
		return ERR_OK;
	}
	old_name = name_of(table, entry, &before);
	new_name = name_of(table, entry, body);
	if (is_live && new_name.index != SHM_SECTION_COUNT) {
		enum err verdict = index_insert(shm, new_name.index, new_name.hash,
						new_name.reference);

		if (verdict != ERR_OK)
			return verdict;
	}
	cell_write(shm, table, entry, body);
	if (was_live && old_name.index != SHM_SECTION_COUNT &&
	    (!is_live || old_name.hash != new_name.hash))
		index_remove(shm, old_name.index, old_name.hash, old_name.reference);
	atomic_fetch_add_explicit(&shm->header->generation, 1, memory_order_release);
	*changed = true;
	return ERR_OK;
}

#define WRITER(name, table)                                                                        \
	enum err shm_put_##name(struct shm *shm, uint32_t entry, const struct shm_##name *body,    \
				bool *changed)                                                     \
	{                                                                                          \
		return put(shm, table, entry, body, changed);                                      \
	}

WRITER(account, SHM_ACCOUNTS)
WRITER(plan, SHM_PLANS)
WRITER(model, SHM_MODELS)
WRITER(alias, SHM_ALIASES)
WRITER(price, SHM_PRICES)
WRITER(instance, SHM_INSTANCES)
WRITER(region, SHM_REGIONS)
WRITER(deployment, SHM_DEPLOYMENTS)
WRITER(pod, SHM_PODS)

enum err
shm_put_key(struct shm *shm, uint32_t entry, const struct shm_key *body, bool *changed)
{
	enum err verdict = keyslot_put(shm, entry, body, changed);

	if (verdict == ERR_OK && *changed)
		atomic_fetch_add_explicit(&shm->header->generation, 1, memory_order_release);
	return verdict;
}

bool
shm_is_used(const struct shm *shm, enum shm_section table, uint32_t entry)
{
	return table == SHM_KEYS ? keyslot_is_used(shm, entry) : cell_version(shm, table, entry) != 0;
}

static bool
hash_of_reference(const struct shm *shm, enum shm_section index, uint32_t reference,
		  uint64_t *hash)
{
	enum shm_section table = index == SHM_MODELS_INDEX ? SHM_MODELS : SHM_INSTANCES;
	uint32_t entry = reference;
	union any_body body;

	if (index == SHM_MODELS_INDEX && (reference & SHM_SLOT_ALIAS) != 0) {
		table = SHM_ALIASES;
		entry = reference & ~(uint32_t)SHM_SLOT_ALIAS;
	}
	if (read_live(shm, table, entry, &body) != ERR_OK)
		return false;
	*hash = name_of(table, entry, &body).hash;
	return true;
}

enum err
shm_repair(struct shm *shm)
{
	static const enum shm_section named[] = { SHM_MODELS, SHM_ALIASES, SHM_INSTANCES };

	keyslot_repair(shm);
	index_sweep(shm, SHM_MODELS_INDEX, hash_of_reference);
	index_sweep(shm, SHM_INSTANCES_INDEX, hash_of_reference);
	for (size_t t = 0; t < COUNT_OF(named); t++) {
		for (uint32_t entry = 0; entry < shm->header->capacity.count[named[t]]; entry++) {
			union any_body body;
			struct name_of name;

			if (read_live(shm, named[t], entry, &body) != ERR_OK)
				continue;
			name = name_of(named[t], entry, &body);
			if (index_insert(shm, name.index, name.hash, name.reference) != ERR_OK)
				return ERR_SHM_FULL;
		}
	}
	return ERR_OK;
}
