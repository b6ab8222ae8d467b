/* The dataplane's state comes from its lines of the shared file, control's from its own structs. */
#include "report.h"

#include <arpa/inet.h>

#include "base/units.h"
#include "clock.h"
#include "shm/counters.h"

#define STATUS_PODS_MAX 1000

/* Of a worker, which may be writing it. */
static void
add_text(yyjson_mut_doc *doc, yyjson_mut_val *to, const char *key, const char *text, size_t room)
{
	yyjson_mut_obj_add_strncpy(doc, to, key, text, strnlen(text, room));
}

static yyjson_mut_val *
describe_dataplane(const struct shm *shm, yyjson_mut_doc *doc, uint64_t now_ns)
{
	yyjson_mut_val *dataplane = yyjson_mut_obj(doc);
	yyjson_mut_val *workers = yyjson_mut_arr(doc);
	struct shm_header *header = shm->header;
	uint64_t beat_at_ns = atomic_load(&header->dataplane_beat_at_ns);

	yyjson_mut_obj_add_bool(doc, dataplane, "alive", clock_is_fresh(beat_at_ns, now_ns));
	yyjson_mut_obj_add_uint(doc, dataplane, "epoch", atomic_load(&header->dataplane_epoch));
	for (uint32_t i = 0; i < header->worker_count; i++) {
		const struct shm_worker *w = shm_worker(shm, i);
		yyjson_mut_val *worker = yyjson_mut_obj(doc);

		yyjson_mut_obj_add_uint(doc, worker, "worker", i);
		yyjson_mut_obj_add_bool(doc, worker, "alive",
					clock_is_fresh(atomic_load(&w->beat_at_ns), now_ns));
		yyjson_mut_obj_add_uint(doc, worker, "pinned_generation",
					atomic_load(&w->pinned_generation));
		yyjson_mut_obj_add_uint(doc, worker, "requests",
					atomic_load(&w->counters[counter_at(COUNTER_REQUESTS)]));
		yyjson_mut_obj_add_uint(doc, worker, "usage_written", atomic_load(&w->usage_written));
		add_text(doc, worker, "tls_primitives", w->tls_primitives, sizeof(w->tls_primitives));
		add_text(doc, worker, "tls_ciphers", w->tls_ciphers, sizeof(w->tls_ciphers));
		yyjson_mut_obj_add_uint(doc, worker, "tls_lane_batches",
					atomic_load(&w->counters[counter_at(COUNTER_TLS_LANE_BATCHES)]));
		yyjson_mut_obj_add_uint(doc, worker, "tls_lanes_filled",
					atomic_load(&w->counters[counter_at(COUNTER_TLS_LANES_FILLED)]));
		yyjson_mut_arr_append(workers, worker);
	}
	yyjson_mut_obj_add_val(doc, dataplane, "workers", workers);
	return dataplane;
}

static yyjson_mut_val *
describe_file(const struct share *share, yyjson_mut_doc *doc)
{
	yyjson_mut_val *file = yyjson_mut_obj(doc);

	yyjson_mut_obj_add_uint(doc, file, "bytes", share->shm.header->file_bytes);
	yyjson_mut_obj_add_uint(doc, file, "huge_bytes", share->huge_bytes);
	return file;
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

/* Where it is asked, and for how long that has been known, if it is known by a name. */
static void
describe_address(const struct control *control, uint32_t entry, uint64_t now_ns, yyjson_mut_doc *doc,
		 yyjson_mut_val *object)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	const struct resolve_name *name = resolve_find(&control->resolve, entry);
	char text[INET6_ADDRSTRLEN];
	struct shm_pod pod;

	if (shm_read_pod(&control->publish.shm, entry, &pod) != ERR_OK || !shm_has_address(pod.address)) {
		yyjson_mut_obj_add_null(doc, object, "address");
	} else {
		bool is_ip4 = memcmp(pod.address, mapped, sizeof(mapped)) == 0;

		inet_ntop(is_ip4 ? AF_INET : AF_INET6, pod.address + (is_ip4 ? sizeof(mapped) : 0), text,
			  sizeof(text));
		yyjson_mut_obj_add_strcpy(doc, object, "address", text);
	}
	if (name == NULL || name->good_at_ns == 0)
		yyjson_mut_obj_add_null(doc, object, "resolved_s");
	else
		yyjson_mut_obj_add_uint(doc, object, "resolved_s", (now_ns - name->good_at_ns) / NSEC_PER_SEC);
}

/* What probes and workers know of it. name: NULL while the store cannot tell it. */
static yyjson_mut_val *
describe_pod(const struct control *control, uint32_t entry, const char *name, uint64_t now_ns, yyjson_mut_doc *doc)
{
	static const char *const probes[] = { "unknown", "up", "down" };
	static const char *const states[] = { "ready", "drain", "maint" };
	const struct shm_pod_health *health = shm_pod_health(&control->publish.shm, entry);
	uint32_t probe = atomic_load(&health->probe_state);
	yyjson_mut_val *object = yyjson_mut_obj(doc);
	struct shm_pod pod;

	if (shm_read_pod(&control->publish.shm, entry, &pod) != ERR_OK)
		pod = (struct shm_pod){ .state = SHM_POD_READY };
	yyjson_mut_obj_add_uint(doc, object, "id", control->publish.entries[NOUN_POD].id_of[entry]);
	yyjson_mut_obj_add_strcpy(doc, object, "name", name);
	yyjson_mut_obj_add_str(doc, object, "scheme", pod.is_tls ? "https" : "http");
	yyjson_mut_obj_add_str(doc, object, "state", states[pod.state < COUNT_OF(states) ? pod.state : 0]);
	describe_address(control, entry, now_ns, doc, object);
	yyjson_mut_obj_add_str(doc, object, "probe", probes[probe <= SHM_PROBE_DOWN ? probe : 0]);
	yyjson_mut_obj_add_uint(doc, object, "probe_us", atomic_load(&health->probe_latency_us));
	yyjson_mut_obj_add_uint(doc, object, "in_flight", atomic_load(&health->in_flight));
	if (atomic_load(&health->gauges_until_ns) > now_ns) {
		yyjson_mut_obj_add_uint(doc, object, "running", atomic_load(&health->running));
		yyjson_mut_obj_add_uint(doc, object, "waiting", atomic_load(&health->waiting));
		yyjson_mut_obj_add_uint(doc, object, "cache_permille", atomic_load(&health->cache_permille));
	}
	yyjson_mut_obj_add_uint(doc, object, "first_token_us", first_token_us(health));
	yyjson_mut_obj_add_uint(doc, object, "errors", atomic_load(&health->eject_errors));
	yyjson_mut_obj_add_str(doc, object, "passive", passive_name(health, now_ns));
	return object;
}

/* False: the store does not answer. */
static bool
describe_rows(struct control *control, uint64_t now_ns, yyjson_mut_doc *doc, yyjson_mut_val *pods)
{
	struct statement *row = store_prepare(&control->store, "SELECT id, name FROM pods ORDER BY id LIMIT ?1");
	enum store_step step;

	if (row == NULL)
		return false;
	store_bind_int64(row, 1, STATUS_PODS_MAX);
	while ((step = store_step(row)) == STORE_ROW) {
		uint32_t entry = entries_find(&control->publish.entries[NOUN_POD],
					      (uint64_t)store_column_int64(row, 0));

		if (entry != ENTRIES_NONE)
			yyjson_mut_arr_append(pods, describe_pod(control, entry,
								 (const char *)store_column_text(row, 1).ptr,
								 now_ns, doc));
	}
	store_finalize(row);
	return step == STORE_DONE;
}

/* Every pod, of the first STATUS_PODS_MAX; without names while the store is away. */
static void
describe_pods(struct control *control, yyjson_mut_doc *doc, yyjson_mut_val *status)
{
	const struct entries *entries = &control->publish.entries[NOUN_POD];
	yyjson_mut_val *pods = yyjson_mut_arr(doc);
	uint64_t now_ns = clock_now_ns();
	bool is_up = describe_rows(control, now_ns, doc, pods);

	if (!is_up)
		yyjson_mut_arr_clear(pods);
	for (uint32_t i = 0; !is_up && i < entries->fresh && yyjson_mut_arr_size(pods) < STATUS_PODS_MAX; i++)
		if (entries->id_of[i] != 0)
			yyjson_mut_arr_append(pods, describe_pod(control, i, NULL, now_ns, doc));
	yyjson_mut_obj_add_bool(doc, status, "store_up", is_up);
	yyjson_mut_obj_add_bool(doc, status, "has_more_pods", entries->count > yyjson_mut_arr_size(pods));
	yyjson_mut_obj_add_val(doc, status, "pods", pods);
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
	yyjson_mut_obj_add_val(doc, status, "settings", reload_show_state(control, doc, now_ns));
	yyjson_mut_obj_add_val(doc, status, "shared_file", describe_file(&control->share, doc));
	yyjson_mut_obj_add_val(doc, status, "tables", describe_tables(&control->publish, doc));
	describe_pods(control, doc, status);
	yyjson_mut_obj_add_val(doc, status, "ledger", describe_ledger(&control->ledger, &control->tabs, doc));
	yyjson_mut_obj_add_val(doc, status, "reconcile", report_reconcile(control, doc));
	return status;
}
