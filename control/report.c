/* The dataplane's numbers come from its lines of the shared file, control's from its own structs. */
#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/units.h"
#include "clock.h"
#include "meter/usage.h"
#include "shm/counters.h"

#define BEAT_FRESH_NS (2 * NSEC_PER_SEC) /* an older heartbeat means: not running */

static bool
is_fresh(uint64_t beat_at_ns, uint64_t now_ns)
{
	return beat_at_ns != 0 && now_ns - beat_at_ns < BEAT_FRESH_NS;
}

/* --- status ------------------------------------------------------------------------------ */

static yyjson_mut_val *
describe_dataplane(const struct shm *shm, yyjson_mut_doc *doc, uint64_t now_ns)
{
	yyjson_mut_val *dataplane = yyjson_mut_obj(doc);
	yyjson_mut_val *workers = yyjson_mut_arr(doc);
	struct shm_header *header = shm->header;
	uint64_t beat_at_ns = atomic_load(&header->dataplane_beat_at_ns);

	yyjson_mut_obj_add_bool(doc, dataplane, "alive", is_fresh(beat_at_ns, now_ns));
	yyjson_mut_obj_add_uint(doc, dataplane, "epoch", atomic_load(&header->dataplane_epoch));
	for (uint32_t i = 0; i < header->worker_count; i++) {
		const struct shm_worker *w = shm_worker(shm, i);
		yyjson_mut_val *worker = yyjson_mut_obj(doc);

		yyjson_mut_obj_add_uint(doc, worker, "worker", i);
		yyjson_mut_obj_add_bool(doc, worker, "alive",
					is_fresh(atomic_load(&w->beat_at_ns), now_ns));
		yyjson_mut_obj_add_uint(doc, worker, "pinned_generation",
					atomic_load(&w->pinned_generation));
		yyjson_mut_obj_add_uint(doc, worker, "requests",
					atomic_load(&w->counters[(int)ERR_COUNT + (int)COUNTER_REQUESTS]));
		yyjson_mut_obj_add_uint(doc, worker, "usage_written", atomic_load(&w->usage_written));
		yyjson_mut_arr_append(workers, worker);
	}
	yyjson_mut_obj_add_val(doc, dataplane, "workers", workers);
	return dataplane;
}

static yyjson_mut_val *
describe_tables(const struct publish *publish, yyjson_mut_doc *doc)
{
	yyjson_mut_val *tables = yyjson_mut_obj(doc);

	for (int n = 0; n < NOUN_COUNT; n++) {
		yyjson_mut_val *table = yyjson_mut_obj(doc);

		yyjson_mut_obj_add_uint(doc, table, "used", publish->entries[n].count);
		yyjson_mut_obj_add_uint(doc, table, "capacity", publish->entries[n].capacity);
		yyjson_mut_obj_add_val(doc, tables, noun_plural((enum noun)n), table);
	}
	return tables;
}

struct pod_counts {
	uint32_t by_probe[SHM_PROBE_DOWN + 1];
	uint32_t by_state[SHM_POD_MAINT + 1];
	uint32_t ejected; /* half open ones included */
	uint32_t busy;
};

static struct pod_counts
count_pods(const struct publish *publish, uint64_t now_ns)
{
	const struct entries *entries = &publish->entries[NOUN_POD];
	struct pod_counts counts = { 0 };

	for (uint32_t entry = 0; entry < entries->fresh; entry++) {
		const struct shm_pod_health *health;
		struct shm_pod pod;
		uint32_t probe;

		if (entries->id_of[entry] == 0 || shm_read_pod(&publish->shm, entry, &pod) != ERR_OK)
			continue;
		health = shm_pod_health(&publish->shm, entry);
		probe = atomic_load(&health->probe_state);
		counts.by_probe[probe <= SHM_PROBE_DOWN ? probe : SHM_PROBE_UNKNOWN]++;
		counts.by_state[pod.state <= SHM_POD_MAINT ? pod.state : SHM_POD_READY]++;
		counts.ejected += atomic_load(&health->eject_until_ns) != 0;
		counts.busy += atomic_load(&health->busy_until_ns) > now_ns;
	}
	return counts;
}

/* The mean of the last answers, without its age (lib/spread). */
static uint32_t
first_token_us(const struct shm_pod_health *health)
{
	return (uint32_t)atomic_load(&health->first_token);
}

/* What its answers say: lib/spread/eject.h, and whether it asked for a pause. */
static const char *
passive_name(const struct shm_pod_health *health, uint64_t now_ns)
{
	uint64_t until_ns = atomic_load(&health->eject_until_ns);

	if (until_ns > now_ns)
		return "ejected";
	if (until_ns != 0)
		return "half-open";
	return atomic_load(&health->busy_until_ns) > now_ns ? "busy" : "in";
}

/* Every pod by name with what probes and workers know of it; at most 1000. */
static yyjson_mut_val *
describe_pods(struct control *control, yyjson_mut_doc *doc)
{
	static const char *const probes[] = { "unknown", "up", "down" };
	static const char *const states[] = { "ready", "drain", "maint" };
	yyjson_mut_val *pods = yyjson_mut_arr(doc);
	uint64_t now_ns = clock_now_ns();
	struct statement *row = store_prepare(&control->store,
					  "SELECT id, name, state FROM pods ORDER BY id LIMIT 1000");

	while (row != NULL && store_step(row) == STORE_ROW) {
		uint32_t entry = entries_find(&control->publish.entries[NOUN_POD],
					      (uint64_t)store_column_int64(row, 0));
		const struct shm_pod_health *health;
		yyjson_mut_val *pod;
		uint32_t probe;
		int state = (int)store_column_int64(row, 2);

		if (entry == ENTRIES_NONE)
			continue;
		health = shm_pod_health(&control->publish.shm, entry);
		probe = atomic_load(&health->probe_state);
		pod = yyjson_mut_obj(doc);
		yyjson_mut_obj_add_sint(doc, pod, "id", store_column_int64(row, 0));
		yyjson_mut_obj_add_strcpy(doc, pod, "name", (const char *)store_column_text(row, 1).ptr);
		yyjson_mut_obj_add_str(doc, pod, "state",
				       states[state >= 0 && state < (int)COUNT_OF(states) ? state : 0]);
		yyjson_mut_obj_add_str(doc, pod, "probe", probes[probe <= SHM_PROBE_DOWN ? probe : 0]);
		yyjson_mut_obj_add_uint(doc, pod, "probe_us", atomic_load(&health->probe_latency_us));
		yyjson_mut_obj_add_uint(doc, pod, "in_flight", atomic_load(&health->in_flight));
		if (atomic_load(&health->gauges_until_ns) > now_ns) {
			yyjson_mut_obj_add_uint(doc, pod, "running", atomic_load(&health->running));
			yyjson_mut_obj_add_uint(doc, pod, "waiting", atomic_load(&health->waiting));
			yyjson_mut_obj_add_uint(doc, pod, "cache_permille", atomic_load(&health->cache_permille));
		}
		yyjson_mut_obj_add_uint(doc, pod, "first_token_us", first_token_us(health));
		yyjson_mut_obj_add_uint(doc, pod, "errors", atomic_load(&health->eject_errors));
		yyjson_mut_obj_add_str(doc, pod, "passive", passive_name(health, now_ns));
		yyjson_mut_arr_append(pods, pod);
	}
	store_finalize(row);
	return pods;
}

static yyjson_mut_val *
describe_ledger(const struct ledger *ledger, const struct tabs *tabs, yyjson_mut_doc *doc)
{
	yyjson_mut_val *object = yyjson_mut_obj(doc);

	yyjson_mut_obj_add_uint(doc, object, "records", ledger->records);
	yyjson_mut_obj_add_uint(doc, object, "pending", ledger_pending(ledger));
	yyjson_mut_obj_add_uint(doc, object, "replayed", ledger->replayed);
	yyjson_mut_obj_add_uint(doc, object, "gaps", ledger->gaps);
	yyjson_mut_obj_add_uint(doc, object, "damaged", ledger->damaged);
	yyjson_mut_obj_add_uint(doc, object, "segments", ledger->segment_count);
	yyjson_mut_obj_add_uint(doc, object, "crashed", tabs->crashed);
	yyjson_mut_obj_add_uint(doc, object, "crashed_pending", tabs_pending(tabs));
	yyjson_mut_obj_add_uint(doc, object, "crashed_damaged", tabs->damaged);
	return object;
}

yyjson_mut_val *
report_reconcile(struct control *control, yyjson_mut_doc *doc)
{
	const struct reconcile *reconcile = &control->reconcile;
	struct reconcile_difference difference = reconcile_difference(reconcile);
	yyjson_mut_val *object = yyjson_mut_obj(doc);

	yyjson_mut_obj_add_bool(doc, object, "running", reconcile->is_running);
	yyjson_mut_obj_add_uint(doc, object, "rounds", reconcile->rounds);
	if (reconcile->ended_at_ns != 0)
		yyjson_mut_obj_add_uint(doc, object, "ended_ms_ago",
					(clock_now_ns() - reconcile->ended_at_ns) / NSEC_PER_MSEC);
	yyjson_mut_obj_add_uint(doc, object, "checked", reconcile->checked);
	yyjson_mut_obj_add_uint(doc, object, "failures", reconcile->failures);
	yyjson_mut_obj_add_uint(doc, object, "difference_records", difference.records);
	yyjson_mut_obj_add_uint(doc, object, "difference_cost_nano", difference.cost_nano);
	yyjson_mut_obj_add_uint(doc, object, "difference_tokens", difference.tokens);
	return object;
}

yyjson_mut_val *
report_status(struct control *control, yyjson_mut_doc *doc)
{
	uint64_t now_ns = clock_now_ns();
	struct shm_header *header = control->publish.shm.header;
	yyjson_mut_val *status = yyjson_mut_obj(doc);

	yyjson_mut_obj_add_strcpy(doc, status, "instance", control->instance);
	yyjson_mut_obj_add_uint(doc, status, "uptime_s",
				(now_ns - control->started_at_ns) / NSEC_PER_SEC);
	yyjson_mut_obj_add_uint(doc, status, "generation", atomic_load(&header->generation));
	yyjson_mut_obj_add_uint(doc, status, "reconciled_ms_ago",
				(now_ns - atomic_load(&header->reconciled_at_ns)) / NSEC_PER_MSEC);
	yyjson_mut_obj_add_uint(doc, status, "rows_refused", control->publish.rows_refused);
	yyjson_mut_obj_add_val(doc, status, "dataplane",
			       describe_dataplane(&control->publish.shm, doc, now_ns));
	yyjson_mut_obj_add_val(doc, status, "tables", describe_tables(&control->publish, doc));
	yyjson_mut_obj_add_val(doc, status, "pods", describe_pods(control, doc));
	yyjson_mut_obj_add_val(doc, status, "ledger", describe_ledger(&control->ledger, &control->tabs, doc));
	yyjson_mut_obj_add_val(doc, status, "reconcile", report_reconcile(control, doc));
	return status;
}

/* --- usage ------------------------------------------------------------------------------- */

/* What the rows are grouped by: its name in the answer, the expression, and one for people. */
static const struct {
	const char *by;
	const char *group;
	const char *label;
} groups[] = {
	{ "account", "account_id", "(SELECT name FROM accounts WHERE id = account_id)" },
	{ "key", "key_id", "(SELECT prefix FROM keys WHERE id = key_id)" },
	{ "model", "model_id", "(SELECT name FROM models WHERE id = model_id)" },
	{ "instance", "instance_id", "(SELECT name FROM instances WHERE id = instance_id)" },
	{ "region", "region", "region" },
	{ "pod", "pod_id", "(SELECT name FROM pods WHERE id = pod_id)" },
	{ "hour", "finished_at_ns / 3600000000000 * 3600", "NULL" }, /* name_hour() */
};

static const char single_sql[] =
	"SELECT request_id, epoch, worker, sequence, key_id, account_id,"
	" model_id, instance_id, pod_id, region, price_id, price_version, status, outcome, source,"
	" stream, suspect, prompt_tokens, completion_tokens, cost_nano, finished_at_ns, queue_us,"
	" connect_us, first_byte_us, total_us, request_bytes, response_bytes, unit, units FROM ledger"
	" WHERE finished_at_ns >= ?1 AND finished_at_ns < ?2 AND (?3 = 0 OR account_id = ?3)"
	" ORDER BY finished_at_ns LIMIT ?4";

#define UNITS(unit) "CASE unit WHEN " #unit " THEN units ELSE 0 END"
CHECK_STATIC(USAGE_IMAGES == 2 && USAGE_MILLISECONDS == 3 && USAGE_CHARACTERS == 4 && USAGE_BYTES == 5,
	     "as the sums say");

static struct statement *
prepare_usage(struct store *store, const char *by)
{
	char sql[4096];

	if (strcmp(by, "request") == 0)
		return store_prepare(store, single_sql);
	for (size_t i = 0; i < COUNT_OF(groups); i++) {
		if (strcmp(by, groups[i].by) != 0)
			continue;
		snprintf(sql, sizeof(sql),
			 "SELECT %s AS \"%s\", %s AS name, count(*) AS requests,"
			 " sum(CASE WHEN status >= 400 THEN 1 ELSE 0 END) AS failed, "
			 STORE_SUM("prompt_tokens") " AS prompt_tokens, "
			 STORE_SUM("completion_tokens") " AS completion_tokens, "
			 STORE_SUM(UNITS(2)) " AS images, "
			 STORE_SUM(UNITS(3)) " AS milliseconds, "
			 STORE_SUM(UNITS(4)) " AS characters, "
			 STORE_SUM(UNITS(5)) " AS bytes, "
			 STORE_SUM("cost_nano") " AS cost_nano,"
			 " sum(CASE WHEN source = 2 THEN 1 ELSE 0 END) AS estimated,"
			 " sum(CASE WHEN outcome = %d THEN 1 ELSE 0 END) AS crashed,"
			 " sum(CASE WHEN outcome = %d THEN 1 ELSE 0 END) AS refused FROM ledger"
			 " WHERE finished_at_ns >= ?1 AND finished_at_ns < ?2"
			 " AND (?3 = 0 OR account_id = ?3) GROUP BY 1 ORDER BY 1 LIMIT ?4",
			 groups[i].group, by, groups[i].label, USAGE_CRASHED, USAGE_REFUSED);
		return store_prepare(store, sql);
	}
	store_refuse(store, ERR_STORE_INVALID, "usage by \"%.32s\" is not known; there are account, key, model, "
		     "instance, region, pod, hour and request", by);
	return NULL;
}

static yyjson_mut_val *
emit_hex(yyjson_mut_doc *doc, struct bytes blob)
{
	char text[65] = "";

	for (size_t i = 0; i < blob.len && 2 * i + 2 < sizeof(text); i++)
		snprintf(text + 2 * i, 3, "%02x", blob.ptr[i]);
	return yyjson_mut_strcpy(doc, text);
}

/* Times are formatted here: no two databases do it alike. */
static void
name_hour(yyjson_mut_doc *doc, yyjson_mut_val *row)
{
	time_t hour = (time_t)yyjson_mut_get_sint(yyjson_mut_obj_get(row, "hour"));
	struct tm parts;
	char text[32];

	gmtime_r(&hour, &parts);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:00Z", &parts);
	yyjson_mut_obj_put(row, yyjson_mut_str(doc, "name"), yyjson_mut_strcpy(doc, text));
}

/* An object with the columns' names. */
static yyjson_mut_val *
emit_columns(yyjson_mut_doc *doc, struct statement *row)
{
	yyjson_mut_val *object = yyjson_mut_obj(doc);

	for (int i = 0; i < store_column_count(row); i++) {
		yyjson_mut_val *name = yyjson_mut_strcpy(doc, store_column_name(row, i));
		yyjson_mut_val *value;

		switch (store_column_kind(row, i)) {
		case STORE_INTEGER:
			value = yyjson_mut_sint(doc, store_column_int64(row, i));
			break;
		case STORE_NULL:
			value = yyjson_mut_null(doc);
			break;
		case STORE_BLOB:
			value = emit_hex(doc, store_column_blob(row, i));
			break;
		default:
			value = yyjson_mut_strcpy(doc, (const char *)store_column_text(row, i).ptr);
		}
		yyjson_mut_obj_add(object, name, value);
	}
	return object;
}

/* What is a number in the store is a word for its readers. */
static void
name_numbers(yyjson_mut_doc *doc, yyjson_mut_val *row)
{
	static const char *const outcomes[USAGE_OUTCOME_COUNT] = {
		[USAGE_OK] = "ok", [USAGE_CLIENT_ABORT] = "client_abort",
		[USAGE_UPSTREAM_ERROR] = "upstream_error", [USAGE_TIMEOUT] = "timeout",
		[USAGE_CRASHED] = "crashed", [USAGE_REFUSED] = "refused",
	};
	static const char *const sources[USAGE_SOURCE_COUNT] = {
		[USAGE_FINAL] = "final", [USAGE_RUNNING] = "running", [USAGE_ESTIMATED] = "estimated",
	};
	static const char *const units[USAGE_UNIT_COUNT] = {
		[USAGE_NO_UNIT] = "none", [USAGE_REQUESTS] = "requests", [USAGE_IMAGES] = "images",
		[USAGE_MILLISECONDS] = "milliseconds", [USAGE_CHARACTERS] = "characters",
		[USAGE_BYTES] = "bytes",
	};
	static const struct {
		const char *column;
		const char *const *words;
		uint64_t count;
	} named[] = { { "outcome", outcomes, USAGE_OUTCOME_COUNT },
		      { "source", sources, USAGE_SOURCE_COUNT },
		      { "unit", units, USAGE_UNIT_COUNT } };

	for (size_t i = 0; i < COUNT_OF(named); i++) {
		yyjson_mut_val *value = yyjson_mut_obj_get(row, named[i].column);
		uint64_t number = (uint64_t)yyjson_mut_get_sint(value);

		/* Of a later release than this one: as it is. */
		if (number < named[i].count)
			yyjson_mut_obj_put(row, yyjson_mut_str(doc, named[i].column),
					   yyjson_mut_str(doc, named[i].words[number]));
	}
	for (int flag = 0; flag < 2; flag++) {
		const char *column = flag ? "suspect" : "stream";
		bool is_set = yyjson_mut_get_sint(yyjson_mut_obj_get(row, column)) != 0;

		yyjson_mut_obj_put(row, yyjson_mut_str(doc, column), yyjson_mut_bool(doc, is_set));
	}
}

enum err
report_usage_rows(struct control *control, const struct report_usage *asked, yyjson_mut_doc *doc,
		  yyjson_mut_val **rows)
{
	struct store *store = &control->store;
	struct statement *statement;
	enum err verdict = ERR_OK;
	enum store_step step;

	store->problem[0] = '\0';
	statement = prepare_usage(store, asked->by);
	if (statement == NULL)
		return ERR_STORE_INVALID;
	store_bind_int64(statement, 1, asked->since_s * (int64_t)NSEC_PER_SEC);
	store_bind_int64(statement, 2, asked->until_s * (int64_t)NSEC_PER_SEC);
	store_bind_int64(statement, 3, asked->account_id);
	store_bind_int64(statement, 4, asked->limit);
	*rows = yyjson_mut_arr(doc);
	while ((step = store_step(statement)) == STORE_ROW) {
		yyjson_mut_val *row = emit_columns(doc, statement);

		if (strcmp(asked->by, "request") == 0)
			name_numbers(doc, row);
		if (strcmp(asked->by, "hour") == 0)
			name_hour(doc, row);
		yyjson_mut_arr_append(*rows, row);
	}
	if (step != STORE_DONE)
		verdict = store_failed(store);
	store_finalize(statement);
	return verdict;
}

/* --- metrics ----------------------------------------------------------------------------- */

static void
describe(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP sluice_%s %s\n# TYPE sluice_%s %s\n", name, help, name, type);
}

static void
one(FILE *out, const char *name, const char *type, const char *help, uint64_t value)
{
	describe(out, name, type, help);
	fprintf(out, "sluice_%s %llu\n", name, (unsigned long long)value);
}

static void
seconds(FILE *out, const char *name, const char *help, uint64_t ns)
{
	describe(out, name, "gauge", help);
	fprintf(out, "sluice_%s %llu.%09llu\n", name, (unsigned long long)(ns / NSEC_PER_SEC),
		(unsigned long long)(ns % NSEC_PER_SEC));
}

static void
emit_counters(FILE *out, const struct shm *shm)
{
	static const char gauge[] = "Gauge: ";

	for (int c = 0; c < COUNTER_COUNT; c++) {
		const char *help = counter_sentence((enum counter)c);
		bool is_gauge = strncmp(help, gauge, sizeof(gauge) - 1) == 0;
		char name[96];

		snprintf(name, sizeof(name), "dataplane_%s%s", counter_name((enum counter)c),
			 is_gauge ? "" : "_total");
		describe(out, name, is_gauge ? "gauge" : "counter",
			 is_gauge ? help + sizeof(gauge) - 1 : help);
		for (uint32_t w = 0; w < shm->header->worker_count; w++)
			fprintf(out, "sluice_%s{worker=\"%u\"} %llu\n", name, w,
				(unsigned long long)atomic_load(
					&shm_worker(shm, w)->counters[ERR_COUNT + c]));
	}
}

static void
emit_verdicts(FILE *out, const struct shm *shm)
{
	describe(out, "dataplane_verdicts_total", "counter",
		 "Verdicts about packets, connections and requests, by name.");
	for (int e = ERR_MORE + 1; e < ERR_COUNT; e++) {
		uint64_t sum = 0;

		for (uint32_t w = 0; w < shm->header->worker_count; w++)
			sum += atomic_load(&shm_worker(shm, w)->counters[e]);
		fprintf(out, "sluice_dataplane_verdicts_total{verdict=\"%s\"} %llu\n",
			err_name((enum err)e), (unsigned long long)sum);
	}
}

static void
emit_workers(FILE *out, const struct shm *shm, uint64_t now_ns)
{
	struct shm_header *header = shm->header;

	one(out, "dataplane_up", "gauge", "1: the dataplane's heartbeat is fresh.",
	    is_fresh(atomic_load(&header->dataplane_beat_at_ns), now_ns));
	one(out, "dataplane_epoch", "gauge", "Which life of the dataplane this is.",
	    atomic_load(&header->dataplane_epoch));
	describe(out, "worker_up", "gauge", "1: the worker's heartbeat is fresh.");
	for (uint32_t w = 0; w < header->worker_count; w++)
		fprintf(out, "sluice_worker_up{worker=\"%u\"} %d\n", w,
			is_fresh(atomic_load(&shm_worker(shm, w)->beat_at_ns), now_ns));
	describe(out, "worker_busy_seconds_total", "counter", "Time of turns that had work.");
	for (uint32_t w = 0; w < header->worker_count; w++)
		fprintf(out, "sluice_worker_busy_seconds_total{worker=\"%u\"} %.9f\n", w,
			(double)atomic_load(&shm_worker(shm, w)->busy_cycles) / NSEC_PER_SEC);
	describe(out, "worker_idle_seconds_total", "counter", "Time of turns that had none.");
	for (uint32_t w = 0; w < header->worker_count; w++)
		fprintf(out, "sluice_worker_idle_seconds_total{worker=\"%u\"} %.9f\n", w,
			(double)atomic_load(&shm_worker(shm, w)->idle_cycles) / NSEC_PER_SEC);
}

static void
emit_tables(FILE *out, const struct publish *publish)
{
	describe(out, "table_used", "gauge", "Entries in use of each shared table.");
	for (int n = 0; n < NOUN_COUNT; n++)
		fprintf(out, "sluice_table_used{table=\"%s\"} %u\n", noun_plural((enum noun)n),
			publish->entries[n].count);
	describe(out, "table_unpublished", "gauge",
		 "Rows that the last reconciliation could not publish; capacity.* of sluice.yaml makes room.");
	for (int n = 0; n < NOUN_COUNT; n++)
		fprintf(out, "sluice_table_unpublished{table=\"%s\"} %u\n", noun_plural((enum noun)n),
			publish->refused[n].rows);
	describe(out, "table_capacity", "gauge", "Entries of each shared table.");
	for (int n = 0; n < NOUN_COUNT; n++)
		fprintf(out, "sluice_table_capacity{table=\"%s\"} %u\n", noun_plural((enum noun)n),
			publish->entries[n].capacity);
}

/* Of what can be away, or behind. */
static void
emit_lags(FILE *out, struct control *control, uint64_t now_ns)
{
	const struct shm_header *header = control->publish.shm.header;
	const struct reload *reload = &control->reload;
	uint64_t reconciled_at_ns = atomic_load(&header->reconciled_at_ns);
	struct statement *ask = store_prepare(&control->store, "SELECT 1");
	bool is_up = ask != NULL && store_step(ask) == STORE_ROW;

	store_finalize(ask);
	one(out, "store_up", "gauge", "1: the store answers.", is_up);
	seconds(out, "spool_lag_seconds", "How long the oldest record of the spool waits for the ledger.",
		ledger_lag_ns(&control->ledger, clock_unix_ns()));
	seconds(out, "publish_age_seconds", "Since the tables were compared with the store last.",
		reconciled_at_ns != 0 && now_ns > reconciled_at_ns ? now_ns - reconciled_at_ns : 0);
	one(out, "instances_ended_total", "counter", "Instances ended because their account's credit was used up.",
	    control->credit.ended);
	describe(out, "settings_sequence", "gauge", "Newest settings that a reload made, by who has them.");
	fprintf(out, "sluice_settings_sequence{process=\"control\"} %llu\n",
		(unsigned long long)reload->now.sequence);
	fprintf(out, "sluice_settings_sequence{process=\"dataplane\"} %llu\n",
		(unsigned long long)atomic_load(&header->settings_taken));
	one(out, "settings_on_trial", "gauge", "1: a reload waits for its confirmation.",
	    reload->now.stage == HANDOVER_TRIAL);
	describe(out, "reloads_total", "counter", "Reloads of sluice.yaml, by what became of them.");
	fprintf(out, "sluice_reloads_total{result=\"taken\"} %llu\n", (unsigned long long)reload->taken);
	fprintf(out, "sluice_reloads_total{result=\"refused\"} %llu\n", (unsigned long long)reload->refused);
	fprintf(out, "sluice_reloads_total{result=\"undone\"} %llu\n", (unsigned long long)reload->undone);
}

static void
emit_control(FILE *out, struct control *control, uint64_t now_ns)
{
	const struct publish *publish = &control->publish;
	const struct ledger *ledger = &control->ledger;
	const struct probe *probe = &control->probe;
	struct pod_counts pods = count_pods(publish, now_ns);
	struct reconcile_difference difference = reconcile_difference(&control->reconcile);

	one(out, "control_uptime_seconds", "gauge", "Since control started.",
	    (now_ns - control->started_at_ns) / NSEC_PER_SEC);
	one(out, "publish_generation", "gauge", "Publishes that changed a shared table.",
	    atomic_load(&publish->shm.header->generation));
	one(out, "publish_rows_total", "counter", "Rows published.", publish->rows_published);
	one(out, "publish_removed_total", "counter", "Rows removed.", publish->rows_removed);
	one(out, "publish_refused_total", "counter", "Rows that could not be published.",
	    publish->rows_refused);
	one(out, "publish_rounds_total", "counter", "Full reconciliations.", publish->rounds);
	one(out, "publish_repaired_total", "counter",
	    "Differences that only a reconciliation found.", publish->repaired);
	seconds(out, "publish_round_seconds", "The last full reconciliation, from beginning to end.",
		publish->round_ns);
	seconds(out, "publish_round_busy_seconds", "What its slices took of that.", publish->round_busy_ns);
	seconds(out, "publish_slice_seconds_max", "The longest slice of a reconciliation.", publish->slice_ns_max);
	one(out, "ledger_records_total", "counter", "Usage records put into the ledger.",
	    ledger->records);
	one(out, "ledger_pending", "gauge", "Usage records not in the ledger yet.",
	    ledger_pending(ledger));
	one(out, "ledger_replayed_total", "counter", "Records that the ledger had already.",
	    ledger->replayed);
	one(out, "ledger_gaps_total", "counter", "Records that never came.", ledger->gaps);
	one(out, "ledger_damaged_total", "counter", "Records with a wrong checksum.",
	    ledger->damaged);
	one(out, "ledger_segments", "gauge", "Spool segments present.", ledger->segment_count);
	one(out, "ledger_recovered_total", "counter",
	    "Records behind the count of a segment whose header a power cut had set back.", ledger->recovered);
	one(out, "spool_bytes", "gauge", "Bytes of the spool's segments.", ledger->spool_bytes);
	one(out, "spool_free_bytes", "gauge", "Bytes that the spool's disk has left.", ledger->free_bytes);
	one(out, "ledger_crashed_total", "counter",
	    "Requests that a dead dataplane left open, put into the ledger.", control->tabs.crashed);
	one(out, "ledger_crashed_pending", "gauge", "Lines of dead dataplanes' tabs not looked at yet.",
	    tabs_pending(&control->tabs));
	one(out, "ledger_crashed_damaged_total", "counter",
	    "Lines of dead dataplanes' tabs with a wrong checksum.", control->tabs.damaged);
	one(out, "ledger_unreadable_tabs", "gauge", "Files of the spool that are no tabs, or cannot be read.",
	    control->tabs.unreadable);
	one(out, "reconcile_rounds_total", "counter", "Times that counters, spool and ledger were compared.",
	    control->reconcile.rounds);
	one(out, "reconcile_failures_total", "counter", "Comparisons that an error ended.",
	    control->reconcile.failures);
	one(out, "reconcile_difference_records", "gauge",
	    "Usage records by which counters, spool and ledger differ.", difference.records);
	one(out, "reconcile_difference_nano_dollars", "gauge",
	    "Cost by which the workers' counters and the ledger differ.", difference.cost_nano);
	one(out, "reconcile_difference_tokens", "gauge",
	    "Tokens by which the workers' counters and the ledger differ.", difference.tokens);
	one(out, "ledger_foreign_files", "gauge", "Files of the spool that are no segments.",
	    ledger->foreign);
	one(out, "probe_good_total", "counter", "Health probes answered well.", probe->good);
	one(out, "probe_bad_total", "counter", "Health probes failed.", probe->bad);
	one(out, "probe_gauges_good_total", "counter", "Answers of backends that told their load.",
	    probe->gauges_good);
	one(out, "probe_gauges_bad_total", "counter", "Backends asked for their load that did not tell it.",
	    probe->gauges_bad);
	one(out, "probe_transitions_total", "counter", "Pods that came up or went down.",
	    probe->transitions);
	describe(out, "pods", "gauge", "Pods by what their probes say.");
	fprintf(out, "sluice_pods{probe=\"unknown\"} %u\n", pods.by_probe[SHM_PROBE_UNKNOWN]);
	fprintf(out, "sluice_pods{probe=\"up\"} %u\n", pods.by_probe[SHM_PROBE_UP]);
	fprintf(out, "sluice_pods{probe=\"down\"} %u\n", pods.by_probe[SHM_PROBE_DOWN]);
	describe(out, "pods_by_state", "gauge", "Pods by what the operator wants of them.");
	fprintf(out, "sluice_pods_by_state{state=\"ready\"} %u\n", pods.by_state[SHM_POD_READY]);
	fprintf(out, "sluice_pods_by_state{state=\"drain\"} %u\n", pods.by_state[SHM_POD_DRAIN]);
	fprintf(out, "sluice_pods_by_state{state=\"maint\"} %u\n", pods.by_state[SHM_POD_MAINT]);
	one(out, "pods_ejected", "gauge", "Pods that are ejected or half open.", pods.ejected);
	one(out, "pods_busy", "gauge", "Pods that asked for a pause.", pods.busy);
}

char *
report_metrics(struct control *control, size_t *len)
{
	uint64_t now_ns = clock_now_ns();
	char *text = NULL;
	FILE *out = open_memstream(&text, len);

	if (out == NULL)
		return NULL;
	emit_control(out, control, now_ns);
	emit_lags(out, control, now_ns);
	tally_emit(&control->tally, &control->publish, out);
	emit_tables(out, &control->publish);
	emit_workers(out, &control->publish.shm, now_ns);
	emit_counters(out, &control->publish.shm);
	emit_verdicts(out, &control->publish.shm);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
