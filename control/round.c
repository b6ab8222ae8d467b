/*
 * The reconciliation: all rows in slices, then the entries whose rows are gone, then the reported changes that
 * nobody needs any more. Each slice is a few milliseconds; changes and probes come in between.
 */
#include "publish.h"

#include "base/check.h"
#include "row.h"

#define CHANGES_KEPT "100000"

static void
count_refused(struct publish_refused *refused)
{
	if (refused->rows_now == 0)
		refused->told_full = refused->told_other = false;
	refused->rows = refused->rows_now;
	refused->rows_now = 0;
}

static enum err
step_rows(struct publish *p, enum noun noun, uint64_t now_ns)
{
	struct statement *statement = p->next[noun];
	enum store_step step;
	int rows = 0;

	store_bind_int64(statement, 1, p->after_id);
	store_bind_int64(statement, 2, PUBLISH_SLICE_ROWS);
	while ((step = store_step(statement)) == STORE_ROW) {
		p->after_id = store_column_int64(statement, 0);
		p->repaired += row_publish(p, noun, statement, now_ns);
		rows++;
	}
	store_reset(statement);
	if (step != STORE_DONE)
		return store_failed(p->store);
	if (rows < PUBLISH_SLICE_ROWS) {
		p->step++;
		p->after_id = 0;
	}
	return ERR_OK;
}

/* Entries that the round has not met: their rows are gone, unless they came while it ran. */
static enum err
step_sweep(struct publish *p, enum noun noun, uint64_t now_ns)
{
	struct entries *entries = &p->entries[noun];
	int asked = 0;

	for (; p->after_id < entries->fresh; p->after_id++) {
		uint32_t entry = (uint32_t)p->after_id;
		enum err verdict;
		bool changed;

		if (entries->id_of[entry] == 0 || entries->seen[entry] == p->round)
			continue;
		if (asked++ == PUBLISH_SLICE_ROWS)
			return ERR_OK;
		verdict = row_publish_id(p, noun, (int64_t)entries->id_of[entry], false, true, now_ns, &changed);
		if (verdict != ERR_OK)
			return verdict;
		p->repaired += changed;
	}
	p->step++;
	p->after_id = 0;
	return ERR_OK;
}

/*
 * Reported changes that are published need not be kept. Of several routers each deletes what all that live
 * (node.h) have read; one that was away for longer finds by its reconciliation what it has missed. At most
 * CHANGES_KEPT stay for one that lives and does not read. What may go are the first ones: a slice takes those
 * that begin with the very first, ?2 numbers far.
 */
#define FORGET "DELETE FROM changes WHERE seq <= ?1 AND seq < (SELECT min(seq) FROM changes) + ?2"
static const char forget_own[] = FORGET;
static const char forget_shared[] =
	FORGET " AND (seq <= ?1 - " CHANGES_KEPT " OR seq <= (SELECT"
	" coalesce(min(change_seq), 0) FROM nodes WHERE"
	" beat_at > CAST(extract(epoch FROM clock_timestamp()) AS BIGINT) - 60))";

/* One slice. It ends with one that finds nothing; an error ends it, too, until the next round has ended. */
static enum err
forget_changes(struct publish *p)
{
	struct statement *statement = store_prepare(p->store, store_is_shared(p->store) ? forget_shared
										    : forget_own);
	enum err verdict;

	p->is_forgetting = false;
	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_int64(statement, 1, p->change_seq);
	store_bind_int64(statement, 2, PUBLISH_SLICE_ROWS);
	verdict = store_run(p->store, statement);
	p->is_forgetting = verdict == ERR_OK && store_changes(statement) > 0;
	store_finalize(statement);
	return verdict;
}

static void
begin_round(struct publish *p, uint64_t now_ns)
{
	p->in_round = true;
	p->round++;
	p->step = 0;
	p->after_id = 0;
	p->round_started_at_ns = now_ns;
	repair_begin_round(&p->repair);
}

bool
publish_is_due(const struct publish *p, uint64_t now_ns)
{
	return p->in_round || p->is_forgetting || p->rounds == 0 ||
	       now_ns - p->round_started_at_ns >= PUBLISH_ROUND_NS;
}

enum err
publish_step(struct publish *p, uint64_t now_ns, bool *more)
{
	enum err verdict;

	*more = false;
	if (!publish_is_due(p, now_ns))
		return ERR_OK;
	if (p->is_forgetting) {
		verdict = forget_changes(p);
		*more = p->is_forgetting;
		return verdict;
	}
	if (!p->in_round)
		begin_round(p, now_ns);
	if (p->step < NOUN_COUNT)
		verdict = step_rows(p, (enum noun)p->step, now_ns);
	else
		verdict = step_sweep(p, (enum noun)(2 * NOUN_COUNT - 1 - p->step), now_ns);
	if (verdict != ERR_OK)
		return verdict;
	*more = p->step < 2 * NOUN_COUNT;
	if (*more)
		return ERR_OK;
	for (int n = 0; n < NOUN_COUNT; n++)
		count_refused(&p->refused[n]);
	p->in_round = false;
	p->rounds++;
	p->round_ns = now_ns - p->round_started_at_ns;
	atomic_store(&p->shm.header->reconciled_at_ns, now_ns);
	p->is_forgetting = *more = true;
	return ERR_OK;
}

void
publish_took(struct publish *p, uint64_t slice_ns)
{
	p->busy_ns += slice_ns;
	if (slice_ns > p->slice_ns_max)
		p->slice_ns_max = slice_ns;
	if (!p->in_round && !p->is_forgetting) {
		p->round_busy_ns = p->busy_ns;
		p->busy_ns = 0;
	}
}

enum err
publish_all(struct publish *p, uint64_t now_ns)
{
	bool more;

	p->is_forgetting = false;
	begin_round(p, now_ns);
	do {
		enum err verdict = publish_step(p, now_ns, &more);

		if (verdict != ERR_OK)
			return verdict;
	} while (more);
	return ERR_OK;
}
