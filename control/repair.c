/* Why the order of reads in repair_look() is what it is stands in repair.h. */
#include "repair.h"

#include <stdlib.h>

#include "config/log.h"
#include "shm/balance.h"

bool
repair_init(struct repair *r, uint32_t capacity)
{
	*r = (struct repair){ .notes = calloc(capacity, sizeof(*r->notes)) };
	return r->notes != NULL;
}

void
repair_fini(struct repair *r)
{
	free(r->notes);
	r->notes = NULL;
}

void
repair_forget(struct repair *r, uint32_t entry)
{
	r->notes[entry] = (struct repair_note){ 0 };
}

void
repair_begin_round(struct repair *r)
{
	r->lines = 0;
}

static void
tell(struct repair *r, uint64_t account_id, int64_t spent_nano, int64_t ledger_nano)
{
	int64_t difference = ledger_nano - spent_nano; /* neither is negative */

	r->repaired++;
	r->repaired_nano += (uint64_t)(difference < 0 ? -difference : difference);
	if (r->lines++ < REPAIR_LINES_MAX)
		LOG_WARN("balance_repaired", LOG_NUMBER("account", account_id),
			 LOG_NUMBER("spent_nano", spent_nano), LOG_NUMBER("ledger_nano", ledger_nano),
			 LOG_NUMBER("difference_nano", difference),
			 LOG_TEXT("others", "are counted in sluice_balance_repaired_total"));
}

bool
repair_next(struct repair *r, uint32_t *entry)
{
	while (r->count > 0) {
		*entry = r->waiting[r->head];
		/* 0: it has had its look. */
		if (r->notes[*entry].at_ns >= r->settled_at_ns)
			return false;
		r->head = (r->head + 1) % REPAIR_WAITING_MAX;
		r->count--;
		if (r->notes[*entry].at_ns != 0)
			return true;
	}
	return false;
}

static void
look_first(struct repair *r, uint32_t entry, const struct shm_balance_cell *cell, int64_t spent_nano,
	   uint64_t now_ns)
{
	/* Behind the sum: whose debit is in it was counted before that, and is not any more. */
	if (atomic_load(&cell->in_flight) > 0)
		return;
	r->notes[entry] = (struct repair_note){ .at_ns = now_ns, .spent_nano = spent_nano };
	if (r->count < REPAIR_WAITING_MAX)
		r->waiting[(r->head + r->count++) % REPAIR_WAITING_MAX] = entry;
}

void
repair_look(struct repair *r, uint32_t entry, struct shm_balance_cell *cell, uint64_t account_id,
	    int64_t ledger_nano, uint64_t now_ns)
{
	struct repair_note *note = &r->notes[entry];
	int64_t spent_nano = atomic_load(&cell->spent_nano);

	if (spent_nano == ledger_nano) {
		note->at_ns = 0;
	} else if (note->at_ns == 0) {
		look_first(r, entry, cell, spent_nano, now_ns);
	} else if (note->spent_nano != spent_nano) {
		note->at_ns = 0; /* it is used: at the next round again */
	} else if (r->settled_at_ns > note->at_ns) {
		note->at_ns = 0;
		if (balance_correct(cell, spent_nano, ledger_nano))
			tell(r, account_id, spent_nano, ledger_nano);
	}
}
