/* What a balance cell says after each death between two stores; and that what is only late is not repaired. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>

#include "base/prng.h"
#include "meter/tab.h"
#include "shm/balance.h"
#include "world.h"

#define EPOCH UINT64_C(0x5151)
#define LINES 4
#define RECORDS 20000
#define WORKERS 3
#define CREDIT_NANO (INT64_C(1) << 60)

/* One worker of a dataplane, as the other process sees it. */
struct hand {
	struct tab_header *tab;
	struct spool_header *segment;
	struct spool_writer spool;
	struct shm_balance_cell *cell;
	char tab_path[160];
	char segment_path[160];
	int64_t account;
	uint64_t seed;
	uint32_t worker;
	_Atomic bool stop;
	int file; /* locked as long as it lives; -1: does not */
};

struct house {
	struct world *w;
	struct hand hands[WORKERS];
	uint32_t hand_count;
	int64_t told_nano; /* of crashed lines */
	bool is_deaf;      /* control dies before it tells the cells */
};

static void *
map_new(const char *path, size_t bytes, int *file)
{
	void *memory;

	*file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	assert_true(*file >= 0);
	assert_int_equal(ftruncate(*file, (off_t)bytes), 0);
	memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
	assert_ptr_not_equal(memory, MAP_FAILED);
	return memory;
}

static void
hand_begin(struct house *h, struct hand *hand, uint32_t worker)
{
	const char *folder = h->w->spool_path;
	int file;

	snprintf(hand->tab_path, sizeof(hand->tab_path), "%s/%016llx-%04x.tab", folder, (unsigned long long)EPOCH,
		 worker);
	snprintf(hand->segment_path, sizeof(hand->segment_path), "%s/%016llx-%04x-00000000.spool", folder,
		 (unsigned long long)EPOCH, worker);
	hand->tab = map_new(hand->tab_path, tab_bytes(LINES), &hand->file);
	tab_format(hand->tab, EPOCH, worker, LINES);
	assert_int_equal(flock(hand->file, LOCK_EX | LOCK_NB), 0);
	hand->segment = map_new(hand->segment_path, spool_bytes(RECORDS), &file);
	close(file);
	spool_format(hand->segment, EPOCH, worker, 0, RECORDS);
	spool_writer_init(&hand->spool, hand->segment);
	hand->worker = worker;
	hand->seed = worker + 1;
	hand->account = 1;
	hand->cell = shm_balance(&h->w->control.publish.shm, 0);
}

static void
hand_die(struct hand *hand)
{
	if (hand->file >= 0) {
		assert_int_equal(flock(hand->file, LOCK_UN), 0);
		assert_int_equal(close(hand->file), 0);
	}
	hand->file = -1;
}

static void
hear(void *owner, uint64_t account_id, int64_t cost_nano)
{
	struct house *h = owner;

	assert_int_equal(account_id, 1);
	h->told_nano += cost_nano;
	if (!h->is_deaf)
		balance_settle(h->hands[0].cell, 0, cost_nano);
}

static void
listen_to_tabs(struct house *h)
{
	h->w->control.tabs.spent = hear;
	h->w->control.tabs.owner = h;
}

static struct house *
house_make(uint32_t hands)
{
	struct house *h = calloc(1, sizeof(*h));
	bool credited;

	assert_non_null(h);
	h->w = world_make();
	if (!world_is_postgres())
		world_sql(h->w, "PRAGMA synchronous = OFF"); /* no machine dies here, and a disk may be slow */
	assert_int_equal(world_put(h->w, NOUN_ACCOUNT, "a", "{}"), 1);
	assert_int_equal(store_top_up(&h->w->control.store, 1, CREDIT_NANO, "", &credited), ERR_OK);
	control_publish(&h->w->control);
	for (h->hand_count = 0; h->hand_count < hands; h->hand_count++)
		hand_begin(h, &h->hands[h->hand_count], h->hand_count);
	listen_to_tabs(h);
	return h;
}

static void
house_free(struct house *h)
{
	for (uint32_t i = 0; i < h->hand_count; i++) {
		hand_die(&h->hands[i]);
		munmap(h->hands[i].tab, tab_bytes(LINES));
		munmap(h->hands[i].segment, spool_bytes(RECORDS));
		unlink(h->hands[i].tab_path);
		unlink(h->hands[i].segment_path);
	}
	world_free(h->w);
	free(h);
}

/* --- turns of control's loop, in its order ---------------------------------------------------- */

static void
turn_publish(struct house *h)
{
	assert_int_equal(publish_repair(&h->w->control.publish, h->w->now_ns), ERR_OK);
	if (publish_is_due(&h->w->control.publish, h->w->now_ns))
		assert_int_equal(publish_all(&h->w->control.publish, h->w->now_ns), ERR_OK);
}

static void
turn_ledger(struct house *h)
{
	struct control *control = &h->w->control;
	bool more = true;

	ledger_scan(&control->ledger, EPOCH, h->w->now_ns);
	tabs_scan(&control->tabs);
	while (more)
		assert_int_equal(ledger_drain(&control->ledger, h->w->now_ns, &more), ERR_OK);
	for (more = true; more;)
		assert_int_equal(tabs_settle(&control->tabs, &more), ERR_OK);
	control->publish.repair.settled_at_ns = tabs_settled_at_ns(&control->tabs);
}

/* Two rounds over all rows, and a second look behind each. */
static void
turns(struct house *h)
{
	for (int i = 0; i < 6; i++) {
		h->w->now_ns += PUBLISH_ROUND_NS / 3;
		turn_publish(h);
		turn_ledger(h);
	}
}

static int64_t
cell_nano(const struct house *h)
{
	return atomic_load(&h->hands[0].cell->spent_nano);
}

static uint64_t
repaired(const struct house *h)
{
	return h->w->control.publish.repair.repaired;
}

/* Ledger, account and what this router has spent say the same. */
static int64_t
ledger_nano(struct house *h)
{
	int64_t rows = world_number(h->w, "SELECT CAST(coalesce(sum(cost_nano), 0) AS BIGINT) FROM ledger");

	assert_int_equal(world_number(h->w, "SELECT spent_nano FROM accounts"), rows);
	assert_int_equal(world_number(h->w, "SELECT CAST(coalesce(sum(spent_nano), 0) AS BIGINT) FROM"
					    " node_spending"), rows);
	return rows;
}

/* --- a request, up to each store that a kill may come behind ----------------------------------- */

enum stage { ADMITTED, OPEN, DEBITED, NAMED, RECORDED, FREED, COUNTED, LEFT };

static _Atomic uint64_t *
state_of(struct hand *hand, uint32_t line)
{
	return &((struct tab_line *)((uintptr_t)hand->tab + TAB_HEADER_BYTES))[line].state;
}

static void
request(struct hand *hand, int64_t held_nano, int64_t cost_nano, enum stage until)
{
	struct usage_record record = { .account_id = (uint64_t)hand->account, .cost_nano = held_nano,
				       .outcome = USAGE_CRASHED, .prompt_tokens = 1 };

	atomic_fetch_add(&hand->cell->in_flight, 1);
	assert_int_equal(balance_hold(hand->cell, held_nano), BALANCE_HELD);
	if (until >= OPEN)
		tab_write(hand->tab, 0, &record);
	if (until >= DEBITED)
		balance_settle(hand->cell, held_nano, cost_nano);
	record.cost_nano = cost_nano;
	record.outcome = USAGE_OK;
	if (until >= COUNTED)
		assert_int_equal(tab_close(hand->tab, 0, &hand->spool, &record), ERR_OK);
	else if (until >= NAMED)
		atomic_store(state_of(hand, 0), hand->spool.sequence + 1);
	if (until == RECORDED || until == FREED)
		assert_int_equal(spool_append(&hand->spool, &record), ERR_OK);
	if (until == FREED)
		atomic_store(state_of(hand, 0), TAB_FREE);
	if (until >= LEFT)
		atomic_fetch_sub(&hand->cell->in_flight, 1);
}

/* As the next dataplane does before its workers run. */
static void
begin_anew(struct house *h)
{
	atomic_store(&h->hands[0].cell->in_flight, 0);
	atomic_store(&h->hands[0].cell->held_nano, 0);
}

static void
a_kill_of_the_dataplane_leaves_the_cell_right(void **state)
{
	static const struct {
		enum stage until;
		int64_t billed_nano;
		uint64_t repairs;
	} kills[] = {
		{ ADMITTED, 0, 0 }, { OPEN, 70, 0 },     { DEBITED, 70, 1 }, { NAMED, 70, 1 },
		{ RECORDED, 50, 0 }, { FREED, 50, 0 }, { COUNTED, 50, 0 }, { LEFT, 50, 0 },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(kills); i++) {
		struct house *h = house_make(1);

		request(&h->hands[0], 20, 10, LEFT);
		turns(h);
		request(&h->hands[0], 70, 50, kills[i].until);
		hand_die(&h->hands[0]);
		assert_int_equal(cell_nano(h), kills[i].until >= DEBITED ? 60 : 10);
		/* Nobody has counted anew: what was in flight seems to be. */
		turns(h);
		assert_int_equal(repaired(h), 0);
		begin_anew(h);
		turns(h);
		turns(h);
		assert_int_equal(ledger_nano(h), 10 + kills[i].billed_nano);
		assert_int_equal(cell_nano(h), 10 + kills[i].billed_nano);
		assert_int_equal(repaired(h), kills[i].repairs);
		assert_int_equal(h->w->control.publish.repair.repaired_nano, kills[i].repairs * 50);
		house_free(h);
	}
}

/* Behind the commit of a crash's rows, before their cells are told. */
static void
a_kill_of_control_leaves_the_cell_right(void **state)
{
	(void)state;
	for (int is_doubled = 0; is_doubled < 2; is_doubled++) {
		struct house *h = house_make(1);

		request(&h->hands[0], 70, 70, is_doubled ? DEBITED : OPEN);
		hand_die(&h->hands[0]);
		begin_anew(h);
		h->is_deaf = true;
		for (int i = 0; i < 3; i++)
			turn_ledger(h);
		assert_int_equal(h->told_nano, 70);
		assert_int_equal(cell_nano(h), is_doubled ? 70 : 0);
		world_restart(h->w);
		listen_to_tabs(h);
		turns(h);
		assert_int_equal(ledger_nano(h), 70);
		assert_int_equal(cell_nano(h), 70);
		/* Two deaths, each with half of the harm of the other. */
		assert_int_equal(repaired(h), is_doubled ? 0 : 1);
		house_free(h);
	}
}

/* A cell that is off by 5, whatever else is under way. */
static struct house *
house_make_wrong(void)
{
	struct house *h = house_make(1);

	request(&h->hands[0], 20, 10, LEFT);
	turns(h);
	balance_settle(h->hands[0].cell, 0, 5);
	return h;
}

static void
nothing_is_repaired_while_a_request_is_in_flight(void **state)
{
	struct house *h = house_make_wrong();

	(void)state;
	request(&h->hands[0], 7, 7, ADMITTED);
	turns(h);
	assert_int_equal(repaired(h), 0);
	/* Others come and go beside it. */
	request(&h->hands[0], 7, 7, LEFT);
	turns(h);
	assert_int_equal(repaired(h), 0);
	begin_anew(h);
	turns(h);
	assert_int_equal(repaired(h), 1);
	assert_int_equal(cell_nano(h), 17);
	assert_int_equal(ledger_nano(h), 17);
	house_free(h);
}

static void
nothing_is_repaired_while_records_wait(void **state)
{
	struct house *h = house_make_wrong();
	struct ledger *ledger = &h->w->control.ledger;
	const char *path = h->hands[0].segment_path;
	char away[170];
	bool more;

	(void)state;
	/* A scan at the time of the first look may have come before it; and looks alone say nothing of records. */
	h->w->now_ns += PUBLISH_ROUND_NS;
	turn_ledger(h);
	turn_publish(h);
	assert_int_equal(h->w->control.publish.repair.count, 1);
	for (int i = 0; i < 3; i++) {
		turn_publish(h);
		h->w->now_ns += PUBLISH_ROUND_NS;
	}
	assert_int_equal(repaired(h), 0);
	/* A segment that cannot be read waits, and the repair with it. */
	request(&h->hands[0], 7, 7, LEFT);
	for (int i = 0; i < 2; i++) {
		h->w->now_ns += PUBLISH_ROUND_NS;
		turn_publish(h);
	}
	assert_int_equal(cell_nano(h), 22);
	h->w->now_ns++;
	ledger_scan(ledger, EPOCH, h->w->now_ns);
	snprintf(away, sizeof(away), "%s.away", path);
	assert_int_equal(rename(path, away), 0);
	assert_int_equal(ledger_drain(ledger, h->w->now_ns, &more), ERR_OK);
	assert_int_equal(ledger_unreadable(ledger), 1);
	h->w->control.publish.repair.settled_at_ns = tabs_settled_at_ns(&h->w->control.tabs);
	h->w->now_ns += PUBLISH_ROUND_NS;
	turn_publish(h);
	assert_int_equal(repaired(h), 0);
	assert_int_equal(rename(away, path), 0);
	turns(h);
	assert_int_equal(repaired(h), 1);
	assert_int_equal(cell_nano(h), 17);
	house_free(h);
}

/* Between the two looks a request comes, runs and goes, or is there: each is counted once. */
static void
what_comes_between_the_looks_is_not_lost(void **state)
{
	for (enum stage until = ADMITTED; until <= LEFT; until++) {
		struct house *h = house_make_wrong();
		bool is_debited = until >= DEBITED;

		(void)state;
		h->w->now_ns += PUBLISH_ROUND_NS;
		turn_publish(h);
		assert_int_equal(h->w->control.publish.repair.count, 1);
		h->w->now_ns++;
		turn_ledger(h);
		request(&h->hands[0], 7, 7, until);
		h->w->now_ns++;
		turn_publish(h);
		/* Who has not settled yet adds to what is right. */
		assert_int_equal(cell_nano(h), is_debited ? 22 : 10);
		assert_int_equal(repaired(h), is_debited ? 0 : 1);
		hand_die(&h->hands[0]);
		turns(h);
		begin_anew(h);
		turns(h);
		assert_int_equal(cell_nano(h), ledger_nano(h));
		house_free(h);
	}
}

static void
an_account_that_goes_takes_its_look_along(void **state)
{
	struct house *h = house_make_wrong();

	(void)state;
	h->w->now_ns += PUBLISH_ROUND_NS;
	turn_publish(h);
	world_sql(h->w, "DELETE FROM node_spending; DELETE FROM topups; DELETE FROM accounts");
	control_publish(&h->w->control);
	h->w->now_ns++;
	turn_ledger(h);
	turn_publish(h);
	assert_int_equal(h->w->control.publish.repair.count, 0);
	assert_int_equal(repaired(h), 0);
	house_free(h);
}

/* More accounts than have a place to wait are looked at again by the next round. */
static void
who_finds_no_place_has_the_next_rounds_look(void **state)
{
	struct repair repair;
	static struct shm_balance_cell cells[REPAIR_WAITING_MAX + 2];
	uint32_t entry, looks = 0;

	(void)state;
	assert_true(repair_init(&repair, COUNT_OF(cells)));
	for (uint32_t i = 0; i < COUNT_OF(cells); i++) {
		atomic_store(&cells[i].spent_nano, i + 10);
		repair_look(&repair, i, &cells[i], i + 1, 3, 100);
	}
	assert_int_equal(repair.count, REPAIR_WAITING_MAX);
	assert_false(repair_next(&repair, &entry));
	repair.settled_at_ns = 100;
	assert_false(repair_next(&repair, &entry));
	repair.settled_at_ns = 101;
	for (; repair_next(&repair, &entry); looks++)
		repair_look(&repair, entry, &cells[entry], entry + 1, 3, 102);
	assert_int_equal(looks, REPAIR_WAITING_MAX);
	assert_int_equal(repair.repaired, REPAIR_WAITING_MAX);
	assert_int_equal(repair.lines, REPAIR_WAITING_MAX); /* of which the first are written */
	for (uint32_t i = 0; i < COUNT_OF(cells); i++)
		repair_look(&repair, i, &cells[i], i + 1, 3, 103);
	assert_int_equal(repair.repaired, COUNT_OF(cells));
	for (uint32_t i = 0; i < COUNT_OF(cells); i++)
		assert_int_equal(cells[i].spent_nano, 3);
	repair_fini(&repair);
}

/* --- beside workers that run --------------------------------------------------------------------- */

/* Requests with pauses, so that the account has moments without one. No assertions: they are this thread's. */
static void *
ask_all_the_time(void *argument)
{
	struct hand *hand = argument;
	struct prng prng;

	prng_init(&prng, hand->seed);
	for (uint32_t i = 0; i < RECORDS - 1 && !atomic_load(&hand->stop); i++) {
		int64_t held_nano = 1 + prng_below(&prng, 100), cost_nano = prng_below(&prng, 200);
		struct usage_record record = { .account_id = 1, .cost_nano = held_nano };

		atomic_fetch_add_explicit(&hand->cell->in_flight, 1, memory_order_relaxed);
		if (balance_hold(hand->cell, held_nano) == BALANCE_HELD) {
			tab_write(hand->tab, 0, &record);
			record.cost_nano = cost_nano;
			balance_settle(hand->cell, held_nano, cost_nano);
			tab_close(hand->tab, 0, &hand->spool, &record);
		}
		atomic_fetch_sub_explicit(&hand->cell->in_flight, 1, memory_order_release);
		if (prng_below(&prng, 20) == 0)
			poll(NULL, 0, (int)prng_below(&prng, 8));
	}
	return NULL;
}

/* Without deaths no difference is one, however the looks fall. With one every few turns (a debit that nobody
 * records, or rows that no cell was told of) the cell comes right beside running workers. */
static void
workers_and_repairs_run_beside_each_other(void **state)
{
	int turns_max = world_is_postgres() ? 60 : 200;

	(void)state;
	for (int with_deaths = 0; with_deaths < 2; with_deaths++) {
		struct house *h = house_make(WORKERS);
		pthread_t threads[WORKERS];
		uint64_t deaths = 0;

		for (uint32_t i = 0; i < WORKERS; i++)
			assert_int_equal(pthread_create(&threads[i], NULL, ask_all_the_time, &h->hands[i]), 0);
		for (int i = 0; i < turns_max; i++) {
			h->w->now_ns += PUBLISH_ROUND_NS / 2;
			if (with_deaths && i % 20 == 0) {
				balance_settle(h->hands[0].cell, 0, 1000 + (int64_t)deaths);
				deaths++;
			}
			turn_publish(h);
			turn_ledger(h);
		}
		for (uint32_t i = 0; i < WORKERS; i++)
			atomic_store(&h->hands[i].stop, true);
		for (uint32_t i = 0; i < WORKERS; i++)
			pthread_join(threads[i], NULL);
		turns(h);
		turns(h);
		print_message("%lld records, %llu deaths, %llu repairs\n",
			      (long long)world_number(h->w, "SELECT count(*) FROM ledger"),
			      (unsigned long long)deaths, (unsigned long long)repaired(h));
		assert_int_equal(cell_nano(h), ledger_nano(h));
		assert_int_equal(atomic_load(&h->hands[0].cell->held_nano), 0);
		assert_true(with_deaths ? repaired(h) >= 1 && repaired(h) <= deaths : repaired(h) == 0);
		house_free(h);
	}
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_kill_of_the_dataplane_leaves_the_cell_right),
		cmocka_unit_test(a_kill_of_control_leaves_the_cell_right),
		cmocka_unit_test(nothing_is_repaired_while_a_request_is_in_flight),
		cmocka_unit_test(nothing_is_repaired_while_records_wait),
		cmocka_unit_test(what_comes_between_the_looks_is_not_lost),
		cmocka_unit_test(an_account_that_goes_takes_its_look_along),
		cmocka_unit_test(who_finds_no_place_has_the_next_rounds_look),
		cmocka_unit_test(workers_and_repairs_run_beside_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
