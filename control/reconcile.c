/* Sums wrap alike on both sides (meter/tab.h): only their difference is read as a number. */
#include "reconcile.h"

#include "config/log.h"

enum err
reconcile_init(struct reconcile *r, struct tabs *tabs)
{
	*r = (struct reconcile){ .tabs = tabs };
	r->sum = store_prepare(tabs->ledger->store,
			       "SELECT count(*), CAST(coalesce(sum(cost_nano), 0) AS BIGINT),"
			       " CAST(coalesce(sum(prompt_tokens + completion_tokens), 0) AS BIGINT)"
			       " FROM ledger WHERE node = ?1 AND epoch = ?2 AND worker = ?3"
			       " AND sequence > ?4 AND sequence <= ?5");
	return r->sum != NULL ? ERR_OK : ERR_STORE_FAILED;
}

void
reconcile_fini(struct reconcile *r)
{
	store_finalize(r->sum);
}

static void
look_at(struct tabs_tab *tab, bool is_full)
{
	tab->look.phase = TABS_LOOK_BEGUN;
	if (is_full)
		tab->look.found = (struct tab_totals){ 0 };
}

static void
begin_round(struct reconcile *r, bool is_full)
{
	r->is_running = true;
	r->is_full = is_full;
	for (uint32_t i = 0; i < r->tabs->count; i++)
		look_at(&r->tabs->tab[i], is_full);
}

void
reconcile_ask(struct reconcile *r, uint64_t now_ns)
{
	r->begin_at_ns = now_ns + RECONCILE_EVERY_NS;
	begin_round(r, true);
}

/* --- one tab --------------------------------------------------------------------------------- */

static uint64_t
magnitude(uint64_t difference)
{
	return (int64_t)difference < 0 ? -difference : difference;
}

static bool
is_settled(const struct tabs_tab *tab)
{
	return tab->is_settleable && tab->next_line == tab->capacity;
}

/* Records that the worker counted and its segments do not have; or that they have and a dead worker did not count,
 * but for the one that it died behind. Segments that are gone were in the ledger. */
static uint64_t
missing_of_spool(const struct reconcile *r, const struct tabs_tab *tab)
{
	uint64_t last = ledger_last_sequence(r->tabs->ledger, tab->epoch, tab->worker);
	uint64_t counted = tab->look.goal.sequence;

	if (last == 0)
		return 0;
	if (last < counted)
		return counted - last;
	return tab->look.is_last && last > counted + 1 ? last - counted : 0;
}

static void
compare(struct reconcile *r, struct tabs_tab *tab)
{
	struct tabs_look *look = &tab->look;
	struct reconcile_difference was = look->difference;

	look->phase = TABS_LOOK_DONE;
	look->difference = (struct reconcile_difference){
		.records = magnitude(look->goal.sequence - look->rows) + missing_of_spool(r, tab),
		.cost_nano = magnitude(look->goal.cost_nano - look->found.cost_nano),
		.tokens = magnitude(look->goal.tokens - look->found.tokens),
	};
	if ((look->difference.records | look->difference.cost_nano | look->difference.tokens) == 0) {
		tab->is_done = look->is_last;
		return;
	}
	if (was.records == look->difference.records && was.cost_nano == look->difference.cost_nano &&
	    was.tokens == look->difference.tokens && !r->is_full)
		return;
	LOG_ERROR("reconcile_difference", LOG_NUMBER("epoch", tab->epoch), LOG_NUMBER("worker", tab->worker),
		  LOG_NUMBER("records", look->difference.records),
		  LOG_NUMBER("cost_nano", look->difference.cost_nano),
		  LOG_NUMBER("tokens", look->difference.tokens), LOG_NUMBER("counted", look->goal.sequence),
		  LOG_NUMBER("in_ledger", look->rows),
		  LOG_NUMBER("in_spool", ledger_last_sequence(r->tabs->ledger, tab->epoch, tab->worker)));
}

static enum err
read_goal(struct reconcile *r, struct tabs_tab *tab)
{
	struct tabs_look *look = &tab->look;
	enum err verdict;

	/* Of a dead one they do not move any more. */
	look->is_last = is_settled(tab);
	verdict = tabs_read_totals(tab, &look->goal);
	if (verdict == ERR_MORE)
		return ERR_OK; /* again in a moment */
	if (verdict != ERR_OK) {
		look->phase = TABS_LOOK_DONE;
		r->failures++;
		return store_refuse(r->tabs->ledger->store, verdict, "%s cannot be read", tab->name);
	}
	/* A tab whose totals went back has lost them: all is compared. */
	if (look->found.sequence == 0 || look->found.sequence > look->goal.sequence) {
		look->found = (struct tab_totals){ 0 };
		look->rows = 0;
	}
	look->phase = TABS_LOOK_SUMS;
	return ERR_OK;
}

static enum err
add_rows(struct reconcile *r, struct tabs_tab *tab)
{
	struct tabs_look *look = &tab->look;
	struct ledger *ledger = r->tabs->ledger;
	uint64_t left = look->goal.sequence - look->found.sequence;
	uint64_t to = look->found.sequence + (left < RECONCILE_ROWS ? left : RECONCILE_ROWS);
	enum err verdict = ERR_OK;

	store_bind_text(r->sum, 1, bytes_from_text(ledger->node));
	store_bind_int64(r->sum, 2, (int64_t)tab->epoch);
	store_bind_int64(r->sum, 3, tab->worker);
	store_bind_int64(r->sum, 4, (int64_t)look->found.sequence);
	store_bind_int64(r->sum, 5, (int64_t)to);
	if (store_step(r->sum) == STORE_ROW) {
		look->rows += (uint64_t)store_column_int64(r->sum, 0);
		look->found.cost_nano += (uint64_t)store_column_int64(r->sum, 1);
		look->found.tokens += (uint64_t)store_column_int64(r->sum, 2);
		r->checked += to - look->found.sequence;
		look->found.sequence = to;
	} else {
		verdict = store_failed(ledger->store);
		r->failures++;
	}
	store_reset(r->sum);
	return verdict;
}

/* --- the round ------------------------------------------------------------------------------- */

static enum err
step_tab(struct reconcile *r, struct tabs_tab *tab, bool *more)
{
	struct tabs_look *look = &tab->look;

	/* Dead and settled since it was looked at. */
	if ((look->phase == TABS_LOOK_NONE || look->phase == TABS_LOOK_DONE) && is_settled(tab) && !look->is_last)
		look_at(tab, false);
	if (look->phase == TABS_LOOK_BEGUN) {
		*more = true;
		return read_goal(r, tab);
	}
	if (look->phase != TABS_LOOK_SUMS)
		return ERR_OK;
	if (look->found.sequence == look->goal.sequence) {
		*more = true;
		compare(r, tab);
		return ERR_OK;
	}
	/* What the ledger is still to get is no difference yet. */
	if (!ledger_has_drained(r->tabs->ledger, tab->epoch, tab->worker, look->goal.sequence))
		return ERR_OK;
	*more = true;
	return add_rows(r, tab);
}

static bool
is_over(const struct reconcile *r)
{
	for (uint32_t i = 0; i < r->tabs->count; i++) {
		enum tabs_look_phase phase = r->tabs->tab[i].look.phase;

		if (phase == TABS_LOOK_BEGUN || phase == TABS_LOOK_SUMS)
			return false;
	}
	return true;
}

enum err
reconcile_step(struct reconcile *r, uint64_t now_ns, bool *more)
{
	enum err verdict = ERR_OK;

	*more = false;
	if (now_ns >= r->begin_at_ns) {
		r->begin_at_ns = now_ns + RECONCILE_EVERY_NS;
		/* One that waits for the ledger goes on. */
		if (!r->is_running)
			begin_round(r, false);
	}
	for (uint32_t i = 0; i < r->tabs->count && !*more && verdict == ERR_OK; i++)
		verdict = step_tab(r, &r->tabs->tab[i], more);
	if (verdict == ERR_OK && r->is_running && is_over(r)) {
		r->is_running = false;
		r->rounds++;
		r->ended_at_ns = now_ns;
	}
	return verdict;
}

struct reconcile_difference
reconcile_difference(const struct reconcile *r)
{
	struct reconcile_difference sum = { 0 };

	for (uint32_t i = 0; i < r->tabs->count; i++) {
		const struct reconcile_difference *one = &r->tabs->tab[i].look.difference;

		sum.records += one->records;
		sum.cost_nano += one->cost_nano;
		sum.tokens += one->tokens;
	}
	return sum;
}
