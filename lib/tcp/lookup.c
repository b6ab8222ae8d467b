/* Four-tuple to object: buckets of one cache line, linear probing by bucket, a keyed hash so that
 * no peer can choose collisions. A bucket counts the references that passed it because it was full,
 * so a search stops at the first bucket that nothing passed, and a removal leaves no tombstone. */
#include "tcp/internal.h"

/* The table is at most two thirds full: 9.6 bytes for each reference. */
uint32_t
tcp_table_buckets(uint32_t refs_max)
{
	return (uint32_t)(((uint64_t)refs_max * 3 / 2 + TCP_BUCKET_REFS - 1) / TCP_BUCKET_REFS) + 1;
}

/* Where a search begins: the hash's lower half as a fraction of the table; tags come from the upper. */
static uint32_t
first_bucket(const struct tcp_table *table, uint64_t hash_value)
{
	return (uint32_t)((hash_value & UINT32_MAX) * table->bucket_count >> 32);
}

static uint32_t
next_bucket(const struct tcp_table *table, uint32_t at)
{
	return at + 1 == table->bucket_count ? 0 : at + 1;
}

static uint64_t
hash_of(const struct tcp_table *table, const struct tcp_tuple *tuple)
{
	return siphash_1_3(&table->key, tuple, sizeof(*tuple));
}

static uint16_t
tag_of(uint64_t hash_value)
{
	return (uint16_t)(hash_value >> 48);
}

static const struct tcp_tuple *
tuple_of(const struct tcp *t, uint32_t ref)
{
	uint32_t index = tcp_ref_index(ref);

	switch (tcp_ref_kind(ref)) {
	case TCP_REF_CONN:
		return &((const struct tcp_conn *)pool_at(&t->conns, index))->tuple;
	case TCP_REF_HALF_OPEN:
		return &((const struct tcp_half_open *)pool_at(&t->half_opens, index))->tuple;
	default:
		return &((const struct tcp_time_wait *)pool_at(&t->time_waits, index))->tuple;
	}
}

size_t
tcp_table_bytes(uint32_t refs_max)
{
	return (size_t)tcp_table_buckets(refs_max) * sizeof(struct tcp_bucket);
}

void
tcp_table_init(struct tcp_table *table, void *memory, uint32_t refs_max, struct siphash_key key)
{
	table->buckets = memory;
	table->bucket_count = tcp_table_buckets(refs_max);
	table->refs = 0;
	table->refs_max = refs_max;
	table->key = key;
	memset(memory, 0, tcp_table_bytes(refs_max));
}

uint64_t
tcp_table_hash(const struct tcp *t, const struct tcp_tuple *tuple)
{
	return hash_of(&t->table, tuple);
}

void
tcp_table_prefetch(const struct tcp *t, uint64_t hash_value)
{
	__builtin_prefetch(&t->table.buckets[first_bucket(&t->table, hash_value)]);
}

uint32_t
tcp_table_peek(const struct tcp *t, uint64_t hash_value)
{
	const struct tcp_bucket *bucket = &t->table.buckets[first_bucket(&t->table, hash_value)];
	uint16_t tag = tag_of(hash_value);

	for (uint32_t i = 0; i < TCP_BUCKET_REFS; i++)
		if (bucket->tag[i] == tag && bucket->ref[i] != 0)
			return bucket->ref[i];
	return 0;
}

uint32_t
tcp_table_find(const struct tcp *t, const struct tcp_tuple *tuple)
{
	return tcp_table_find_hashed(t, tuple, hash_of(&t->table, tuple));
}

uint32_t
tcp_table_find_hashed(const struct tcp *t, const struct tcp_tuple *tuple, uint64_t hash_value)
{
	const struct tcp_table *table = &t->table;
	uint16_t tag = tag_of(hash_value);
	uint32_t at = first_bucket(table, hash_value);

	for (uint32_t probes = 0; probes < table->bucket_count; probes++) {
		const struct tcp_bucket *bucket = &table->buckets[at];

		for (uint32_t i = 0; i < TCP_BUCKET_REFS; i++)
			if (bucket->tag[i] == tag && bucket->ref[i] != 0 &&
			    tcp_tuple_equal(tuple_of(t, bucket->ref[i]), tuple))
				return bucket->ref[i];
		if (bucket->overflow == 0)
			return 0;
		at = next_bucket(table, at);
	}
	return 0;
}

void
tcp_table_insert(struct tcp *t, const struct tcp_tuple *tuple, uint32_t ref)
{
	struct tcp_table *table = &t->table;
	uint64_t hash_value = hash_of(table, tuple);
	uint32_t at = first_bucket(table, hash_value);

	CHECK_HOT(tcp_table_find(t, tuple) == 0);
	CHECK(table->refs < table->refs_max);
	table->refs++;
	/* Ends: there are more places than references. */
	for (;; at = next_bucket(table, at)) {
		struct tcp_bucket *bucket = &table->buckets[at];

		if (bucket->used == TCP_BUCKET_REFS) {
			CHECK(bucket->overflow < UINT16_MAX);
			bucket->overflow++;
			continue;
		}
		for (uint32_t i = 0; i < TCP_BUCKET_REFS; i++) {
			if (bucket->ref[i] != 0)
				continue;
			bucket->ref[i] = ref;
			bucket->tag[i] = tag_of(hash_value);
			bucket->used++;
			return;
		}
	}
}

void
tcp_table_remove(struct tcp *t, const struct tcp_tuple *tuple, uint32_t ref)
{
	struct tcp_table *table = &t->table;
	uint32_t at = first_bucket(table, hash_of(table, tuple));

	for (uint32_t probes = 0; probes < table->bucket_count; probes++) {
		struct tcp_bucket *bucket = &table->buckets[at];

		for (uint32_t i = 0; i < TCP_BUCKET_REFS; i++) {
			if (bucket->ref[i] != ref)
				continue;
			bucket->ref[i] = 0;
			bucket->used--;
			table->refs--;
			return;
		}
		CHECK(bucket->overflow > 0);
		bucket->overflow--;
		at = next_bucket(table, at);
	}
	CHECK(false);
}
