/* The dataplane's numbers come from its lines of the shared file, control's from its own structs. */
#include "report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/units.h"
#include "clock.h"
#include "config/served.h"
#include "shm/counters.h"

struct pod_counts {
	uint32_t by_probe[SHM_PROBE_DOWN + 1];
	uint32_t by_state[SHM_POD_MAINT + 1];
	uint32_t unresolved;
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
		counts.unresolved += !shm_has_address(pod.address);
		counts.by_state[pod.state <= SHM_POD_MAINT ? pod.state : SHM_POD_READY]++;
		counts.ejected += atomic_load(&health->eject_until_ns) != 0;
		counts.busy += atomic_load(&health->busy_until_ns) > now_ns;
	}
	return counts;
}

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

/* "_ns" at the end of a counter's name becomes "_seconds": Prometheus knows base units only. */
static bool
tells_time(const char *name, int *stem)
{
	static const char unit[] = "_ns";
	size_t len = strlen(name);
	bool is_time = len >= sizeof(unit) && strcmp(name + len - (sizeof(unit) - 1), unit) == 0;

	*stem = (int)(is_time ? len - (sizeof(unit) - 1) : len);
	return is_time;
}

static void
emit_counter(FILE *out, const struct shm *shm, enum counter c)
{
	static const char gauge[] = "Gauge: ";
	const char *help = counter_sentence(c);
	bool is_gauge = strncmp(help, gauge, sizeof(gauge) - 1) == 0;
	char name[96];
	int stem;
	bool is_time = tells_time(counter_name(c), &stem);

	snprintf(name, sizeof(name), "dataplane_%.*s%s%s", stem, counter_name(c), is_time ? "_seconds" : "",
		 is_gauge ? "" : "_total");
	describe(out, name, is_gauge ? "gauge" : "counter", is_gauge ? help + sizeof(gauge) - 1 : help);
	for (uint32_t w = 0; w < shm->header->worker_count; w++) {
		uint64_t value = atomic_load(&shm_worker(shm, w)->counters[counter_at(c)]);

		if (is_time)
			fprintf(out, "sluice_%s{worker=\"%u\"} %llu.%09llu\n", name, w,
				(unsigned long long)(value / NSEC_PER_SEC),
				(unsigned long long)(value % NSEC_PER_SEC));
		else
			fprintf(out, "sluice_%s{worker=\"%u\"} %llu\n", name, w, (unsigned long long)value);
	}
}

static void
emit_counters(FILE *out, const struct shm *shm)
{
	for (int c = 0; c < COUNTER_COUNT; c++)
		emit_counter(out, shm, (enum counter)c);
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
	    clock_is_fresh(atomic_load(&header->dataplane_beat_at_ns), now_ns));
	one(out, "dataplane_epoch", "gauge", "Which life of the dataplane this is.",
	    atomic_load(&header->dataplane_epoch));
	describe(out, "worker_up", "gauge", "1: the worker's heartbeat is fresh.");
	for (uint32_t w = 0; w < header->worker_count; w++)
		fprintf(out, "sluice_worker_up{worker=\"%u\"} %d\n", w,
			clock_is_fresh(atomic_load(&shm_worker(shm, w)->beat_at_ns), now_ns));
	describe(out, "worker_tls_info", "gauge", "1: what computes for the worker's TLS.");
	for (uint32_t w = 0; w < header->worker_count; w++) {
		const struct shm_worker *line = shm_worker(shm, w);

		fprintf(out, "sluice_worker_tls_info{worker=\"%u\",primitives=\"%.*s\",ciphers=\"%.*s\"} 1\n",
			w, (int)sizeof(line->tls_primitives), line->tls_primitives,
			(int)sizeof(line->tls_ciphers), line->tls_ciphers);
	}
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
emit_certificates(FILE *out, const struct control *control)
{
	static struct served served;

	(void)served_read(control->reload.folder, control->instance, &served);
	describe(out, "tls_certificate_not_after_seconds", "gauge",
		 "Unix time at which a certificate that is shown, or one of its chain, expires.");
	for (uint32_t i = 0; i < served.count; i++)
		fprintf(out,
			"sluice_tls_certificate_not_after_seconds"
			"{listener=\"%u\",name=\"%s\",kind=\"%s\"} %lld\n",
			served.certificate[i].listener, served.certificate[i].name,
			served.certificate[i].is_rsa ? "rsa" : "ecdsa",
			(long long)served.certificate[i].not_after_s);
}

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
	one(out, "ticket_secrets", "gauge", "Secrets by which TLS session tickets are sealed or opened.",
	    control->tickets.secrets->count);
	seconds(out, "ticket_secret_age_seconds", "Since the secret began that seals tickets now.",
		tickets_age_s(&control->tickets, clock_unix_ns() / NSEC_PER_SEC) * NSEC_PER_SEC);
	one(out, "ticket_readers", "gauge", "Dataplanes that have the tickets' secrets from here.",
	    control->tickets.reader_count);
	describe(out, "settings_sequence", "gauge", "Newest settings that a reload made, by who has them.");
	fprintf(out, "sluice_settings_sequence{process=\"control\"} %llu\n",
		(unsigned long long)reload->now.sequence);
	fprintf(out, "sluice_settings_sequence{process=\"dataplane\"} %llu\n",
		(unsigned long long)atomic_load(&header->settings_taken));
	one(out, "settings_on_trial", "gauge", "1: a reload waits for its confirmation.",
	    reload->now.stage == HANDOVER_TRIAL);
	emit_certificates(out, control);
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
	const struct resolve *resolve = &control->resolve;
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
	one(out, "ledger_unreadable_files", "gauge", "Segments and tabs that the disk does not give.",
	    ledger_unreadable(ledger) + tabs_unreadable(&control->tabs));
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
	one(out, "balance_repaired_total", "counter", "Balance cells that were set to what the ledger has.",
	    publish->repair.repaired);
	one(out, "balance_repaired_nano_dollars_total", "counter", "By how much, up and down together.",
	    publish->repair.repaired_nano);
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
	one(out, "resolve_names", "gauge", "Pods that are told by name.", resolve->count);
	one(out, "resolve_failing", "gauge", "Names whose last lookup failed.", resolve->failing);
	one(out, "resolve_good_total", "counter", "Lookups of names that found an address.", resolve->good);
	one(out, "resolve_bad_total", "counter", "Lookups of names that found none.", resolve->bad);
	one(out, "resolve_moves_total", "counter", "Pods whose address has changed.", resolve->moves);
	describe(out, "pods", "gauge", "Pods by what their probes say.");
	fprintf(out, "sluice_pods{probe=\"unknown\"} %u\n", pods.by_probe[SHM_PROBE_UNKNOWN]);
	fprintf(out, "sluice_pods{probe=\"up\"} %u\n", pods.by_probe[SHM_PROBE_UP]);
	fprintf(out, "sluice_pods{probe=\"down\"} %u\n", pods.by_probe[SHM_PROBE_DOWN]);
	describe(out, "pods_by_state", "gauge", "Pods by what the operator wants of them.");
	fprintf(out, "sluice_pods_by_state{state=\"ready\"} %u\n", pods.by_state[SHM_POD_READY]);
	fprintf(out, "sluice_pods_by_state{state=\"drain\"} %u\n", pods.by_state[SHM_POD_DRAIN]);
	fprintf(out, "sluice_pods_by_state{state=\"maint\"} %u\n", pods.by_state[SHM_POD_MAINT]);
	one(out, "pods_unresolved", "gauge", "Pods whose name was never resolved: nobody asks them.",
	    pods.unresolved);
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
	one(out, "shared_file_bytes", "gauge", "Size of the shared file.", control->share.shm.header->file_bytes);
	one(out, "shared_file_huge_bytes", "gauge",
	    "Of it in huge pages when control started; /dev/shm gives them where it is mounted with huge=advise.",
	    control->share.huge_bytes);
	emit_workers(out, &control->publish.shm, now_ns);
	emit_counters(out, &control->publish.shm);
	emit_verdicts(out, &control->publish.shm);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}
