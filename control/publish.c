/*
 * Changes to the tables as the store reports them, and the publisher's beginning and end.
 *
 * Order matters only between nouns: a row is published after those that it refers to (enum noun's order)
 * and removed before them, so a worker that follows a reference finds something there.
 */
#include "publish.h"

#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "body.h"
#include "config/log.h"
#include "row.h"

#define CHANGES_AT_ONCE 1000

/* --- reported changes -------------------------------------------------------------------- */

struct change {
	int noun;
	int64_t id;
};

static enum err
read_changes(struct publish *p, struct change *changes, size_t *count, int64_t *seq)
{
	enum store_step step;

	*count = 0;
	store_bind_int64(p->changes, 1, *seq);
	while ((step = store_step(p->changes)) == STORE_ROW) {
		*seq = store_column_int64(p->changes, 0);
		changes[(*count)++] = (struct change){ (int)store_column_int64(p->changes, 1),
						       store_column_int64(p->changes, 2) };
	}
	store_reset(p->changes);
	return step == STORE_DONE ? ERR_OK : store_failed(p->store);
}

static enum err
publish_pass(struct publish *p, const struct change *changes, size_t count, enum noun noun,
	     bool removing, uint64_t now_ns)
{
	for (size_t i = 0; i < count; i++) {
		enum err verdict;
		bool changed;

		if (changes[i].noun != (int)noun || changes[i].id == 0)
			continue;
		verdict = row_publish_id(p, noun, changes[i].id, !removing, removing, now_ns, &changed);
		if (verdict != ERR_OK)
			return verdict;
	}
	return ERR_OK;
}

enum err
publish_changes(struct publish *p, uint64_t now_ns)
{
	static struct change changes[CHANGES_AT_ONCE];
	size_t count;

	do {
		int64_t seq = p->change_seq;
		enum err verdict = read_changes(p, changes, &count, &seq);

		for (int n = 0; n < NOUN_COUNT && verdict == ERR_OK; n++)
			verdict = publish_pass(p, changes, count, (enum noun)n, false, now_ns);
		for (int n = NOUN_COUNT - 1; n >= 0 && verdict == ERR_OK; n--)
			verdict = publish_pass(p, changes, count, (enum noun)n, true, now_ns);
		if (verdict != ERR_OK)
			return verdict;
		p->change_seq = seq;
	} while (count == CHANGES_AT_ONCE);
	return ERR_OK;
}

/* --- what others spend ------------------------------------------------------------------- */

/* Accounts that another router has spent of within ten seconds by the server's clock. A commit that took longer
 * is found by the reconciliation. Columns as those of accounts. */
static const char spending_sql[] =
	"SELECT id, suspended, credited_nano, spent_nano, coalesce((SELECT spent_nano FROM node_spending s"
	" WHERE s.account_id = accounts.id AND s.node = ?3), 0) FROM accounts WHERE id > ?1 AND id IN"
	" (SELECT account_id FROM node_spending WHERE node <> ?3 AND"
	" at >= CAST(extract(epoch FROM clock_timestamp()) AS BIGINT) - 10) ORDER BY id LIMIT ?2";

enum err
publish_spending(struct publish *p, uint64_t now_ns)
{
	enum store_step step;
	int rows = 0;

	if (p->spending == NULL || now_ns < p->spending_at_ns)
		return ERR_OK;
	store_bind_int64(p->spending, 1, p->spending_after_id);
	store_bind_int64(p->spending, 2, PUBLISH_SLICE_ROWS);
	while ((step = store_step(p->spending)) == STORE_ROW) {
		uint32_t entry;

		p->spending_after_id = store_column_int64(p->spending, 0);
		entry = entries_find(&p->entries[NOUN_ACCOUNT], (uint64_t)p->spending_after_id);
		if (entry != ENTRIES_NONE)
			row_put_money(shm_balance(&p->shm, entry), p->spending);
		rows++;
	}
	store_reset(p->spending);
	if (step != STORE_DONE)
		return store_failed(p->store);
	if (rows < PUBLISH_SLICE_ROWS) {
		p->spending_after_id = 0;
		p->spending_at_ns = now_ns + PUBLISH_SPENDING_NS;
	}
	return ERR_OK;
}

enum err
publish_repair(struct publish *p, uint64_t now_ns)
{
	enum err verdict = ERR_OK;
	uint32_t entry;
	bool changed;

	for (int i = 0; i < PUBLISH_REPAIR_ROWS && verdict == ERR_OK && repair_next(&p->repair, &entry); i++)
		verdict = row_publish_id(p, NOUN_ACCOUNT, (int64_t)p->entries[NOUN_ACCOUNT].id_of[entry], true,
					 false, now_ns, &changed);
	return verdict;
}

/* --- beginning and end ------------------------------------------------------------------- */

static bool
read_back(struct publish *p, enum noun noun, uint64_t now_ns)
{
	uint32_t capacity = p->shm.header->capacity.count[body_table(noun)];

	if (!entries_init(&p->entries[noun], capacity))
		return false;
	for (uint32_t entry = 0; entry < capacity; entry++) {
		uint64_t id = body_live_id(&p->shm, noun, entry);

		if (id != 0 && entries_restore(&p->entries[noun], entry, id))
			continue;
		if (id != 0) {
			union body gone;
			bool changed;

			/* Two entries for one id: a file that something else wrote into. */
			memset(&gone, 0, sizeof(gone));
			CHECK(body_put(p, noun, entry, &gone, &changed) == ERR_OK);
			LOG_ERROR("entry_twice", LOG_TEXT("noun", noun_name(noun)),
				  LOG_NUMBER("id", id));
		}
		if (shm_is_used(&p->shm, body_table(noun), entry))
			entries_rest(&p->entries[noun], entry, now_ns);
	}
	return true;
}

/* The first round takes all rows, and with them whatever was reported until now. */
static enum err
skip_changes(struct publish *p)
{
	struct statement *statement = store_prepare(p->store, "SELECT coalesce(max(seq), 0) FROM changes");
	enum err verdict = ERR_OK;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	if (store_step(statement) == STORE_ROW)
		p->change_seq = store_column_int64(statement, 0);
	else
		verdict = store_failed(p->store);
	store_finalize(statement);
	return verdict;
}

static bool
prepare(struct publish *p, enum noun noun)
{
	char sql[600];

	snprintf(sql, sizeof(sql), "%s WHERE id = ?1", body_query(noun));
	p->one[noun] = store_prepare(p->store, sql);
	snprintf(sql, sizeof(sql), "%s WHERE id > ?1 ORDER BY id LIMIT ?2", body_query(noun));
	p->next[noun] = store_prepare(p->store, sql);
	for (int i = 0; i < 2 && noun == NOUN_ACCOUNT; i++) {
		struct statement *statement = i == 0 ? p->one[noun] : p->next[noun];

		if (statement != NULL)
			store_bind_text(statement, 3, bytes_from_text(p->store->node));
	}
	return p->one[noun] != NULL && p->next[noun] != NULL;
}

enum err
publish_init(struct publish *p, struct store *store, struct shm shm, uint64_t now_ns)
{
	enum err verdict = ERR_OK;

	*p = (struct publish){ .store = store, .shm = shm };
	if (shm_repair(&p->shm) != ERR_OK)
		return ERR_SHM_FULL;
	if (!repair_init(&p->repair, shm.header->capacity.count[SHM_ACCOUNTS]))
		return ERR_STORE_FAILED;
	if (store_is_shared(store)) {
		p->spending = store_prepare(store, spending_sql);
		if (p->spending == NULL)
			return ERR_STORE_FAILED;
		store_bind_text(p->spending, 3, bytes_from_text(store->node));
	}
	p->changes = store_prepare(store, "SELECT seq, kind, id FROM changes WHERE seq > ?1"
					  " ORDER BY seq LIMIT 1000");
	CHECK_STATIC(CHANGES_AT_ONCE == 1000, "as the query says");
	for (int n = 0; n < NOUN_COUNT && verdict == ERR_OK; n++)
		if (!prepare(p, (enum noun)n) || !read_back(p, (enum noun)n, now_ns))
			verdict = ERR_STORE_FAILED;
	if (verdict == ERR_OK && p->changes != NULL)
		verdict = skip_changes(p);
	if (verdict != ERR_OK || p->changes == NULL) {
		publish_fini(p);
		return ERR_STORE_FAILED;
	}
	return ERR_OK;
}

void
publish_fini(struct publish *p)
{
	for (int n = 0; n < NOUN_COUNT; n++) {
		store_finalize(p->one[n]);
		store_finalize(p->next[n]);
		entries_fini(&p->entries[n]);
	}
	repair_fini(&p->repair);
	store_finalize(p->changes);
	store_finalize(p->spending);
}
