/*
 * Random histories of money: top-ups, holds, settlements, releases; records drained, drained again, and half
 * drained by a control that dies; dataplanes that die with what they held; new shared files.
 *
 * After every step: available + held + spent is what was paid in, and the ledger has what was drained, once.
 *
 *   SLUICE_HISTORIES=N  how many (12), each with its number as seed
 */
#include "base/prng.h"
#include "shm/balance.h"
#include "world.h"

#define ACCOUNTS 3
#define HOLDS_MAX 12
#define RECORDS_MAX 400
#define STEPS 160
#define EPOCH 5

struct history {
	struct world *w;
	struct prng prng;
	int64_t scale; /* of amounts */
	bool may_owe;  /* money was taken back, or cost more than was held */
	int64_t credited[ACCOUNTS];
	int64_t spent[ACCOUNTS];
	int64_t drained[ACCOUNTS];
	int64_t accounts[ACCOUNTS]; /* ids */
	struct {
		int account;
		int64_t nano;
	} holds[HOLDS_MAX];
	int hold_count;
	struct {
		int account;
		int64_t cost;
		bool is_drained;
	} records[RECORDS_MAX]; /* sequence - 1: the spool */
	int record_count;
	uint64_t top_ups;
};

static struct shm_balance_cell *
cell_of(const struct history *h, int account)
{
	const struct publish *p = &h->w->control.publish;

	return shm_balance(&p->shm, entries_find(&p->entries[NOUN_ACCOUNT], (uint64_t)h->accounts[account]));
}

static int64_t
amount(struct history *h)
{
	return 1 + (int64_t)(prng_next(&h->prng) % (uint64_t)h->scale);
}

static int
some_account(struct history *h)
{
	return (int)prng_below(&h->prng, ACCOUNTS);
}

static void
check(const struct history *h)
{
	for (int a = 0; a < ACCOUNTS; a++) {
		const struct shm_balance_cell *cell = cell_of(h, a);
		int64_t held = 0;
		char sql[120];

		for (int i = 0; i < h->hold_count; i++)
			held += h->holds[i].account == a ? h->holds[i].nano : 0;
		assert_int_equal(cell->credited_nano, h->credited[a]);
		assert_int_equal(cell->spent_nano, h->spent[a]);
		assert_int_equal(cell->held_nano, held);
		assert_int_equal(balance_available_nano(cell) + held + h->spent[a], h->credited[a]);
		assert_true(h->may_owe || balance_available_nano(cell) >= 0);
		snprintf(sql, sizeof(sql), "SELECT spent_nano FROM accounts WHERE id = %lld",
			 (long long)h->accounts[a]);
		assert_int_equal(world_number(h->w, sql), h->drained[a]);
		snprintf(sql, sizeof(sql),
			 "SELECT coalesce(sum(cost_nano), 0) FROM ledger WHERE account_id = %lld",
			 (long long)h->accounts[a]);
		assert_int_equal(world_number(h->w, sql), h->drained[a]);
	}
}

static void
top_up(struct history *h)
{
	int a = some_account(h);
	int64_t nano = 8 * amount(h);
	char reference[32];
	bool credited;

	if (prng_below(&h->prng, 10) == 0) {
		nano = -amount(h); /* a correction */
		h->may_owe = true;
	}
	snprintf(reference, sizeof(reference), "r%llu", (unsigned long long)++h->top_ups);
	/* Whoever did not get the answer asks again. */
	for (int i = 0; i <= (int)prng_below(&h->prng, 2); i++)
		assert_int_equal(store_top_up(&h->w->control.store, h->accounts[a], nano, reference, &credited),
				 ERR_OK);
	h->credited[a] += nano;
	control_publish(&h->w->control);
}

static void
hold(struct history *h)
{
	int a = some_account(h);
	int64_t nano = amount(h), available = balance_available_nano(cell_of(h, a));
	enum balance_hold verdict;

	if (h->hold_count == HOLDS_MAX)
		return;
	verdict = balance_hold(cell_of(h, a), nano);
	assert_int_equal(verdict == BALANCE_HELD, available >= nano);
	if (verdict != BALANCE_HELD)
		return;
	h->holds[h->hold_count].account = a;
	h->holds[h->hold_count++].nano = nano;
}

/* As settle.c does: the cell, then the record. */
static void
end_request(struct history *h, bool is_billed)
{
	int i, a;
	int64_t cost = 0;

	if (h->hold_count == 0 || h->record_count == RECORDS_MAX)
		return;
	i = (int)prng_below(&h->prng, (uint32_t)h->hold_count);
	a = h->holds[i].account;
	if (is_billed) {
		cost = 1 + (int64_t)(prng_next(&h->prng) % (uint64_t)h->holds[i].nano);
		if (prng_below(&h->prng, 20) == 0) {
			cost += h->holds[i].nano;
			h->may_owe = true;
		}
	}
	balance_settle(cell_of(h, a), h->holds[i].nano, cost);
	h->spent[a] += cost;
	h->holds[i] = h->holds[--h->hold_count];
	if (!is_billed)
		return;
	h->records[h->record_count].account = a;
	h->records[h->record_count++].cost = cost;
}

static enum err
add_record(struct history *h, int i)
{
	struct usage_record record = { .sequence = (uint64_t)i + 1, .status = 200,
				       .account_id = (uint64_t)h->accounts[h->records[i].account],
				       .cost_nano = h->records[i].cost, .finished_at_unix_ns = 1 };

	return ledger_add(&h->w->control.ledger, EPOCH, 0, &record);
}

/* A batch that begins anywhere, and with it again what was drained before. */
static void
drain(struct history *h, bool all)
{
	int from = 0, to = h->record_count;

	if (h->record_count == 0)
		return;
	if (!all) {
		from = (int)prng_below(&h->prng, (uint32_t)h->record_count);
		to = from + 1 + (int)prng_below(&h->prng, 16);
		to = to < h->record_count ? to : h->record_count;
	}
	while (from < to) {
		int end = from + LEDGER_BATCH_MAX < to ? from + LEDGER_BATCH_MAX : to;

		assert_int_equal(ledger_begin(&h->w->control.ledger), ERR_OK);
		for (int i = from; i < end; i++)
			assert_int_equal(add_record(h, i), ERR_OK);
		assert_int_equal(ledger_end(&h->w->control.ledger, ERR_OK), ERR_OK);
		for (int i = from; i < end; i++) {
			h->drained[h->records[i].account] += h->records[i].is_drained ? 0 : h->records[i].cost;
			h->records[i].is_drained = true;
		}
		from = end;
	}
}

static void
kill_control(struct history *h)
{
	/* Perhaps in the middle of a batch: what was not committed was not. */
	if (h->record_count > 0 && prng_below(&h->prng, 2) == 0) {
		assert_int_equal(ledger_begin(&h->w->control.ledger), ERR_OK);
		for (int i = 0; i < h->record_count && i < LEDGER_BATCH_MAX; i++)
			assert_int_equal(add_record(h, i), ERR_OK);
		store_rollback(&h->w->control.store);
	}
	world_restart(h->w);
}

static void
kill_dataplane(struct history *h)
{
	for (int a = 0; a < ACCOUNTS; a++)
		atomic_store(&cell_of(h, a)->held_nano, 0); /* hold_reset() of the next one */
	h->hold_count = 0;
}

/* A reboot: /dev/shm is empty. Control drains everything first. */
static void
lose_the_shared_file(struct history *h)
{
	kill_dataplane(h);
	drain(h, true);
	free(h->w->control.share.shm.header);
	world_make_shm(h->w);
	world_restart(h->w);
}

static void
step(struct history *h)
{
	switch (prng_below(&h->prng, 24)) {
	case 0:
	case 1:
	case 2:
		top_up(h);
		break;
	case 3:
	case 4:
	case 5:
		drain(h, false);
		break;
	case 6:
		kill_control(h);
		break;
	case 7:
		kill_dataplane(h);
		break;
	case 8:
		lose_the_shared_file(h);
		break;
	case 9:
		end_request(h, false);
		break;
	case 10:
	case 11:
	case 12:
	case 13:
	case 14:
	case 15:
		end_request(h, true);
		break;
	default:
		hold(h);
	}
}

static void
run_history(uint64_t seed)
{
	/* Small change, and amounts around 2^31 and 2^53: sums stay below 2^63, which test_balance.c is about. */
	static const int64_t scales[] = { 100, INT64_C(1) << 31, INT64_C(1) << 53 };
	static struct history h;

	h = (struct history){ .w = world_make(), .scale = scales[seed % COUNT_OF(scales)] };
	prng_init(&h.prng, seed);
	for (int a = 0; a < ACCOUNTS; a++) {
		char name[8];

		snprintf(name, sizeof(name), "a%d", a);
		h.accounts[a] = world_put(h.w, NOUN_ACCOUNT, name, "{}");
	}
	for (int i = 0; i < STEPS; i++) {
		step(&h);
		check(&h);
	}
	kill_dataplane(&h);
	drain(&h, true);
	check(&h);
	for (int a = 0; a < ACCOUNTS; a++)
		assert_int_equal(h.drained[a], h.spent[a]);
	world_free(h.w);
}

static void
money_is_neither_made_nor_lost(void **state)
{
	const char *text = getenv("SLUICE_HISTORIES");
	uint64_t count = text != NULL ? strtoull(text, NULL, 10) : 12;

	(void)state;
	for (uint64_t seed = 1; seed <= count; seed++) {
		print_message("history %llu\n", (unsigned long long)seed);
		run_history(seed);
	}
}

/* 2^63 nano-dollars are nobody's: such a top-up is refused whole, and what is there stays. */
static void
a_top_up_that_does_not_fit_is_refused(void **state)
{
	struct world *w = world_make();
	int64_t id = world_put(w, NOUN_ACCOUNT, "rich", "{}");
	bool credited = false;

	(void)state;
	assert_int_equal(store_top_up(&w->control.store, id, INT64_MAX - 5, "all", &credited), ERR_OK);
	assert_true(credited);
	credited = false;
	assert_int_not_equal(store_top_up(&w->control.store, id, 6, "more", &credited), ERR_OK);
	assert_false(credited);
	assert_int_equal(world_number(w, "SELECT credited_nano FROM accounts"), INT64_MAX - 5);
	assert_int_equal(world_number(w, "SELECT count(*) FROM topups"), 1);
	assert_int_equal(store_top_up(&w->control.store, id, 5, "rest", &credited), ERR_OK);
	control_publish(&w->control);
	assert_int_equal(shm_balance(&w->control.publish.shm, 0)->credited_nano, INT64_MAX);
	world_free(w);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(money_is_neither_made_nor_lost),
		cmocka_unit_test(a_top_up_that_does_not_fit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
