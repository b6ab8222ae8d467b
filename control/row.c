/*
 * One row into the tables or out of them: its entry, its hot cells, its body, and what there is to say of a row
 * that has no place.
 */
#include "row.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "body.h"
#include "config/log.h"
#include "resolve.h"

/* As after a good answer: what was known of a pod's health was of another place. Requests under way keep their
 * count, and the slot of a half-open pod. */
static void
forget_health(struct shm_pod_health *health)
{
	atomic_store(&health->probe_state, SHM_PROBE_UNKNOWN);
	atomic_store(&health->gauges_until_ns, 0);
	atomic_store(&health->eject_errors, 0);
	atomic_store(&health->eject_row, 0);
	atomic_store(&health->eject_until_ns, 0);
	atomic_store(&health->busy_until_ns, 0);
	atomic_store(&health->first_token, 0);
}

static bool
is_elsewhere(const struct shm_pod *pod, const struct shm_pod *before)
{
	return pod->port != before->port || memcmp(pod->address, before->address, sizeof(pod->address)) != 0;
}

static void
move_pod(struct publish *p, uint32_t entry)
{
	forget_health(shm_pod_health(&p->shm, entry));
	if (p->moved != NULL)
		p->moved(p->moved_owner, entry);
}

/*
 * Hot cells of an entry that is about to stand for a new id. Plain stores: no worker can know the entry, it
 * has either never been live or rested long enough.
 */
static void
make_cells(struct publish *p, enum noun noun, uint32_t entry, struct statement *row)
{
	if (noun == NOUN_ACCOUNT) {
		struct shm_balance_cell *cell = shm_balance(&p->shm, entry);

		atomic_store(&cell->held_nano, 0);
		atomic_store(&cell->elsewhere_nano, 0);
		atomic_store(&cell->in_flight, 0);
		atomic_store(&cell->spent_nano, store_column_int64(row, ACCOUNT_SPENT_HERE));
		repair_forget(&p->repair, entry);
	} else if (noun == NOUN_KEY) {
		struct shm_bucket_cell *cell = shm_bucket(&p->shm, entry);

		atomic_store(&cell->request_full_at_ns, 0);
		atomic_store(&cell->token_full_at_ns, 0);
	} else if (noun == NOUN_POD) {
		struct shm_pod_health *health = shm_pod_health(&p->shm, entry);

		forget_health(health);
		atomic_store(&health->probe_latency_us, 0);
		atomic_store(&health->eject_prober, 0);
		atomic_store(&health->in_flight, 0);
	}
}

/* Each round meets the row again: a line for the first of its kind and a count say as much as a line for each. */
static void
refuse(struct publish *p, enum noun noun, int64_t id, const char *why)
{
	struct publish_refused *refused = &p->refused[noun];

	p->rows_refused++;
	refused->rows_now += p->in_round;
	if (!refused->told_other)
		LOG_ERROR("row_not_published", LOG_TEXT("noun", noun_name(noun)), LOG_NUMBER("id", id),
			  LOG_TEXT("why", why), LOG_TEXT("others", "are counted in sluice_table_unpublished"));
	refused->told_other = true;
}

static void
refuse_full(struct publish *p, enum noun noun, int64_t id, uint64_t now_ns)
{
	struct publish_refused *refused = &p->refused[noun];
	char why[PUBLISH_WHY_BYTES];

	p->rows_refused++;
	refused->rows_now += p->in_round;
	if (!refused->told_full && !publish_has_room(p, noun, now_ns, why))
		LOG_ERROR("table_full", LOG_TEXT("noun", noun_name(noun)), LOG_NUMBER("id", id),
			  LOG_TEXT("why", why), LOG_TEXT("others", "are counted in sluice_table_unpublished"));
	refused->told_full = true;
}

bool
publish_has_room(const struct publish *p, enum noun noun, uint64_t now_ns, char why[PUBLISH_WHY_BYTES])
{
	const struct entries *entries = &p->entries[noun];
	const char *name = noun_plural(noun);

	if (entries_has_room(entries, now_ns))
		return true;
	snprintf(why, PUBLISH_WHY_BYTES,
		 "the table of %s is full: %u of %u entries are in use, %u rest for %llu minutes after they"
		 " were deleted; raise capacity.%s in sluice.yaml, which takes effect when the shared file is"
		 " made anew",
		 name, entries->count, entries->capacity, entries->resting_count,
		 (unsigned long long)(ENTRIES_REST_NS / (60 * NSEC_PER_SEC)), name);
	return false;
}

static bool
remove_entry(struct publish *p, enum noun noun, uint32_t entry, uint64_t now_ns)
{
	union body gone;
	bool changed;

	memset(&gone, 0, sizeof(gone));
	CHECK(body_put(p, noun, entry, &gone, &changed) == ERR_OK); /* deleting needs no room */
	entries_free(&p->entries[noun], entry, now_ns);
	if (noun == NOUN_ACCOUNT)
		repair_forget(&p->repair, entry);
	p->rows_removed++;
	return true;
}

void
row_put_money(struct shm_balance_cell *cell, struct statement *row)
{
	int64_t spent = store_column_int64(row, ACCOUNT_SPENT), here = store_column_int64(row, ACCOUNT_SPENT_HERE);

	atomic_store_explicit(&cell->elsewhere_nano, spent > here ? spent - here : 0, memory_order_relaxed);
	atomic_store_explicit(&cell->credited_nano, store_column_int64(row, ACCOUNT_CREDITED),
			      memory_order_relaxed);
}

bool
row_publish(struct publish *p, enum noun noun, struct statement *row, uint64_t now_ns)
{
	int64_t id = store_column_int64(row, 0);
	struct entries *entries = &p->entries[noun];
	uint32_t entry = entries_find(entries, (uint64_t)id);
	bool is_new = entry == ENTRIES_NONE, changed = false, was_there = false;
	union body body, before;
	enum err verdict;

	memset(&body, 0, sizeof(body));
	if (!body_make(p, noun, row, &body)) {
		refuse(p, noun, id, "it or what it refers to does not fit the tables");
		return is_new ? false : remove_entry(p, noun, entry, now_ns);
	}
	if (is_new) {
		entry = entries_take(entries, (uint64_t)id, now_ns);
		if (entry == ENTRIES_NONE) {
			refuse_full(p, noun, id, now_ns);
			return false;
		}
		make_cells(p, noun, entry, row);
	}
	if (noun == NOUN_ACCOUNT) {
		row_put_money(shm_balance(&p->shm, entry), row);
		repair_look(&p->repair, entry, shm_balance(&p->shm, entry), (uint64_t)id,
			    store_column_int64(row, ACCOUNT_SPENT_HERE), now_ns);
	}
	if (noun == NOUN_POD && !is_new)
		was_there = shm_read_pod(&p->shm, entry, &before.pod) == ERR_OK;
	verdict = body_put(p, noun, entry, &body, &changed);
	if (verdict != ERR_OK) {
		refuse(p, noun, id, err_sentence(verdict));
		if (is_new)
			entries_free(entries, entry, now_ns);
		return false;
	}
	entries->seen[entry] = p->round;
	p->rows_published += changed;
	if (was_there && is_elsewhere(&body.pod, &before.pod))
		move_pod(p, entry);
	if (noun == NOUN_POD && p->resolve != NULL)
		resolve_note(p->resolve, entry, (uint64_t)id,
			     body.pod.name_hash != 0 ? store_column_text(row, 1) : BYTES_NONE, now_ns);
	return changed;
}

void
publish_move_pod(struct publish *p, uint32_t entry, uint64_t pod_id, const uint8_t address[16])
{
	union body body;
	bool changed;

	CHECK(shm_read_pod(&p->shm, entry, &body.pod) == ERR_OK && body.pod.pod_id == pod_id &&
	      body.pod.name_hash != 0);
	memcpy(body.pod.address, address, sizeof(body.pod.address));
	CHECK(body_put(p, NOUN_POD, entry, &body, &changed) == ERR_OK); /* an entry that is there needs no room */
	p->rows_published += changed;
	move_pod(p, entry);
}

enum err
row_publish_id(struct publish *p, enum noun noun, int64_t id, bool may_put, bool may_remove, uint64_t now_ns,
	       bool *changed)
{
	struct statement *statement = p->one[noun];
	uint32_t entry = entries_find(&p->entries[noun], (uint64_t)id);
	enum err verdict = ERR_OK;

	*changed = false;
	store_bind_int64(statement, 1, id);
	switch (store_step(statement)) {
	case STORE_ROW:
		if (may_put)
			*changed = row_publish(p, noun, statement, now_ns);
		break;
	case STORE_DONE:
		if (may_remove && entry != ENTRIES_NONE)
			*changed = remove_entry(p, noun, entry, now_ns);
		break;
	default:
		verdict = store_failed(p->store);
	}
	store_reset(statement);
	return verdict;
}
