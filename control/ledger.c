/* The ledger's rows, and what they cost. Where records come from is ledger_segments.c's. */
#include "ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "meter/tab.h"

static const char insert_sql[] =
	"INSERT INTO ledger(node, epoch, worker, sequence, request_id, key_id, account_id, model_id,"
	" instance_id, pod_id, region, price_id, price_version, status, outcome, source, stream,"
	" suspect, prompt_tokens, completion_tokens, cost_nano, finished_at_ns, queue_us,"
	" first_byte_us, total_us, request_bytes, response_bytes, unit, units, connect_us) VALUES (?1, ?2, ?3, ?4,"
	" ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,"
	" ?24, ?25, ?26, ?27, ?28, ?29, ?30) ON CONFLICT (node, epoch, worker, sequence) DO NOTHING";

/* SQLite makes a floating-point number of a sum that does not fit, which the column refuses for ever. */
#define INT64_MAX_TEXT "9223372036854775807"

enum err
ledger_init(struct ledger *l, struct store *store, const char *node, const char *folder)
{
	*l = (struct ledger){ .store = store, .batch_max = LEDGER_BATCH_MIN };
	snprintf(l->node, sizeof(l->node), "%s", node);
	snprintf(store->node, sizeof(store->node), "%s", node);
	snprintf(l->folder, sizeof(l->folder), "%s", folder);
	if (mkdir(folder, 0700) != 0 && errno != EEXIST)
		return store_refuse(store, ERR_STORE_FAILED, "%s: %s", folder, strerror(errno));
	l->insert = store_prepare(store, insert_sql);
	l->spend = store_prepare(store,
				 "UPDATE accounts SET spent_nano = CASE WHEN spent_nano > " INT64_MAX_TEXT " - ?2"
				 " THEN " INT64_MAX_TEXT " ELSE spent_nano + ?2 END WHERE id = ?1");
	l->spend_here = store_prepare(
		store, "INSERT INTO node_spending(node, account_id, spent_nano) VALUES (?3, ?1, ?2)"
		       " ON CONFLICT (node, account_id) DO UPDATE SET spent_nano ="
		       " CASE WHEN node_spending.spent_nano > " INT64_MAX_TEXT " - ?2 THEN " INT64_MAX_TEXT
		       " ELSE node_spending.spent_nano + ?2 END");
	l->look = store_prepare(store, "SELECT 1 FROM ledger WHERE node = ?1 AND epoch = ?2 AND worker = ?3"
				       " AND sequence = ?4");
	l->look_id = store_prepare(store, "SELECT 1 FROM ledger WHERE node = ?1 AND epoch = ?2 AND worker = ?3"
					  " AND sequence > ?4 AND sequence < ?5 AND request_id = ?6 LIMIT 1");
	return l->insert != NULL && l->spend != NULL && l->spend_here != NULL && l->look != NULL &&
			       l->look_id != NULL
		       ? ERR_OK
		       : ERR_STORE_FAILED;
}

void
ledger_fini(struct ledger *l)
{
	ledger_forget_segments(l);
	store_finalize(l->insert);
	store_finalize(l->spend);
	store_finalize(l->spend_here);
	store_finalize(l->look);
	store_finalize(l->look_id);
}

/* --- writing rows ------------------------------------------------------------------------- */

static void
bind_record(struct ledger *l, uint64_t epoch, uint32_t worker, const struct usage_record *r)
{
	struct statement *s = l->insert;
	size_t region_len = r->region_len < sizeof(r->region) ? r->region_len : sizeof(r->region);

	store_bind_text(s, 1, bytes_from_text(l->node));
	store_bind_int64(s, 2, (int64_t)epoch);
	store_bind_int64(s, 3, worker);
	store_bind_int64(s, 4, (int64_t)r->sequence);
	store_bind_blob(s, 5, bytes_make(r->request_id, sizeof(r->request_id)));
	store_bind_int64(s, 6, (int64_t)r->key_id);
	store_bind_int64(s, 7, (int64_t)r->account_id);
	store_bind_int64(s, 8, (int64_t)r->model_id);
	store_bind_int64(s, 9, (int64_t)r->instance_id);
	store_bind_int64(s, 10, (int64_t)r->pod_id);
	store_bind_text(s, 11, bytes_make(r->region, region_len));
	store_bind_int64(s, 12, (int64_t)r->price_id);
	store_bind_int64(s, 13, r->price_version);
	store_bind_int64(s, 14, r->status);
	store_bind_int64(s, 15, r->outcome);
	store_bind_int64(s, 16, r->source);
	store_bind_int64(s, 17, r->stream);
	store_bind_int64(s, 18, r->suspect);
	store_bind_int64(s, 19, (int64_t)r->prompt_tokens);
	store_bind_int64(s, 20, (int64_t)r->completion_tokens);
	store_bind_int64(s, 21, r->cost_nano);
	store_bind_int64(s, 22, (int64_t)r->finished_at_unix_ns);
	store_bind_int64(s, 23, (int64_t)r->queue_us);
	store_bind_int64(s, 24, (int64_t)r->first_byte_us);
	store_bind_int64(s, 25, (int64_t)r->total_us);
	store_bind_int64(s, 26, (int64_t)r->request_bytes);
	store_bind_int64(s, 27, (int64_t)r->response_bytes);
	store_bind_int64(s, 28, r->unit);
	store_bind_int64(s, 29, (int64_t)r->units);
	store_bind_int64(s, 30, (int64_t)r->connect_us);
}

static void
add_spending(struct ledger_batch *batch, const struct usage_record *r)
{
	for (uint32_t i = batch->spending_count; i-- > 0;) {
		struct ledger_spending *spending = &batch->spending[i];

		if (spending->account_id == r->account_id) {
			if (__builtin_add_overflow(spending->cost_nano, r->cost_nano, &spending->cost_nano))
				spending->cost_nano = INT64_MAX;
			return;
		}
	}
	batch->spending[batch->spending_count++] = (struct ledger_spending){ r->account_id, r->cost_nano };
}

enum err
ledger_begin(struct ledger *l)
{
	l->batch.spending_count = l->batch.count = 0;
	l->batch.records = l->batch.replayed = 0;
	return store_begin(l->store);
}

enum err
ledger_add(struct ledger *l, uint64_t epoch, uint32_t worker, const struct usage_record *record)
{
	struct ledger_batch *batch = &l->batch;

	CHECK(batch->count < LEDGER_BATCH_MAX);
	bind_record(l, epoch, worker, record);
	batch->added[batch->count] = *record;
	return store_post(l->insert, &batch->inserted[batch->count++]);
}

/* What became of the records: only those that are rows now are paid for. */
static enum err
count_inserted(struct ledger *l)
{
	struct ledger_batch *batch = &l->batch;
	enum err verdict = store_settle(l->store);

	if (verdict != ERR_OK)
		return verdict;
	for (uint32_t i = 0; i < batch->count; i++) {
		if (batch->inserted[i] == 0)
			continue;
		add_spending(batch, &batch->added[i]);
		batch->added[batch->records++] = batch->added[i];
	}
	batch->replayed = batch->count - batch->records;
	return ERR_OK;
}

static int
compare_accounts(const void *a, const void *b)
{
	uint64_t left = ((const struct ledger_spending *)a)->account_id;
	uint64_t right = ((const struct ledger_spending *)b)->account_id;

	return left < right ? -1 : left > right;
}

static enum err
spend_on(struct ledger *l, struct statement *statement, const struct ledger_spending *spending)
{
	store_bind_int64(statement, 1, (int64_t)spending->account_id);
	store_bind_int64(statement, 2, spending->cost_nano);
	if (statement == l->spend_here)
		store_bind_text(statement, 3, bytes_from_text(l->node));
	return store_post(statement, NULL);
}

/* In the order of the accounts: routers that wait for each other's rows do not wait in a circle. */
static enum err
spend(struct ledger *l)
{
	struct ledger_spending *spending = l->batch.spending;
	enum err verdict = ERR_OK;

	qsort(spending, l->batch.spending_count, sizeof(*spending), compare_accounts);
	for (uint32_t i = 0; i < l->batch.spending_count && verdict == ERR_OK; i++) {
		verdict = spend_on(l, l->spend, &spending[i]);
		if (verdict == ERR_OK)
			verdict = spend_on(l, l->spend_here, &spending[i]);
	}
	return verdict;
}

enum err
ledger_end(struct ledger *l, enum err verdict)
{
	if (verdict == ERR_OK)
		verdict = count_inserted(l);
	if (verdict == ERR_OK)
		verdict = spend(l);
	if (verdict == ERR_OK)
		verdict = store_commit(l->store);
	else
		store_rollback(l->store);
	if (verdict != ERR_OK)
		return verdict;
	for (uint64_t i = 0; i < l->batch.records && l->tally != NULL; i++)
		tally_count(l->tally, &l->batch.added[i]);
	l->records += l->batch.records;
	l->replayed += l->batch.replayed;
	return ERR_OK;
}

/* --- reading them ------------------------------------------------------------------------- */

static enum err
any_row(struct ledger *l, struct statement *look, bool *has)
{
	enum store_step step = store_step(look);
	enum err verdict = step != STORE_BROKEN ? ERR_OK : store_failed(l->store);

	*has = step == STORE_ROW;
	store_reset(look);
	return verdict;
}

enum err
ledger_has(struct ledger *l, uint64_t epoch, uint32_t worker, uint64_t sequence, bool *has)
{
	store_bind_text(l->look, 1, bytes_from_text(l->node));
	store_bind_int64(l->look, 2, (int64_t)epoch);
	store_bind_int64(l->look, 3, worker);
	store_bind_int64(l->look, 4, (int64_t)sequence);
	return any_row(l, l->look, has);
}

enum err
ledger_has_request(struct ledger *l, uint64_t epoch, uint32_t worker, uint64_t behind_sequence,
		   const uint8_t request_id[16], bool *has)
{
	store_bind_text(l->look_id, 1, bytes_from_text(l->node));
	store_bind_int64(l->look_id, 2, (int64_t)epoch);
	store_bind_int64(l->look_id, 3, worker);
	store_bind_int64(l->look_id, 4, (int64_t)behind_sequence);
	store_bind_int64(l->look_id, 5, (int64_t)TAB_SEQUENCE_FIRST);
	store_bind_blob(l->look_id, 6, bytes_make(request_id, 16));
	return any_row(l, l->look_id, has);
}

enum err
ledger_last_epoch(struct ledger *l, uint64_t *epoch)
{
	struct statement *statement =
		store_prepare(l->store, "SELECT coalesce(max(epoch), 0) FROM ledger WHERE node = ?1");
	enum err verdict = ERR_OK;

	if (statement == NULL)
		return ERR_STORE_FAILED;
	store_bind_text(statement, 1, bytes_from_text(l->node));
	if (store_step(statement) == STORE_ROW)
		*epoch = (uint64_t)store_column_int64(statement, 0);
	else
		verdict = store_failed(l->store);
	store_finalize(statement);
	for (uint32_t i = 0; i < l->segment_count; i++)
		if (l->segments[i].header->epoch > *epoch)
			*epoch = l->segments[i].header->epoch;
	return verdict;
}
