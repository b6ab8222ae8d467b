/* A pod's address and settings are read from the store for each probe, so a change needs no telling. */
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "config/log.h"

static size_t
take_body(char *ptr, size_t size, size_t count, void *owner)
{
	struct probe_flight *flight = owner;

	(void)ptr;
	flight->body_bytes += size * count;
	return flight->body_bytes <= PROBE_BODY_MAX ? size * count : 0; /* 0: curl gives up */
}

enum err
probe_init(struct probe *p, struct store *store, struct publish *publish,
	   const struct probe_defaults *defaults)
{
	*p = (struct probe){ .store = store, .publish = publish, .defaults = *defaults };
	p->row = store_prepare(store,
			       "SELECT address, port, host, state, probe_path, probe_interval_ms,"
			       " probe_timeout_ms, rise, fall FROM pods WHERE id = ?1");
	p->pods = calloc(publish->entries[NOUN_POD].capacity + 1, sizeof(*p->pods));
	p->multi = curl_multi_init();
	if (p->row == NULL || p->pods == NULL || p->multi == NULL)
		return ERR_STORE_FAILED;
	for (int i = 0; i < PROBE_FLIGHTS_MAX; i++) {
		p->flights[i].easy = curl_easy_init();
		if (p->flights[i].easy == NULL)
			return ERR_STORE_FAILED;
	}
	return ERR_OK;
}

struct probe_defaults
probe_defaults_of(const struct config *config)
{
	return (struct probe_defaults){
		.path = config->probes.path,
		.interval_ns = config->probes.interval_ns,
		.timeout_ns = config->probes.timeout_ns,
		.rise = config->probes.rise,
		.fall = config->probes.fall,
	};
}

void
probe_set_defaults(struct probe *p, const struct probe_defaults *defaults)
{
	p->defaults = *defaults;
}

static void
land(struct probe *p, struct probe_flight *flight)
{
	curl_multi_remove_handle(p->multi, flight->easy);
	curl_slist_free_all(flight->headers);
	flight->headers = NULL;
	flight->is_flying = false;
}

void
probe_fini(struct probe *p)
{
	for (int i = 0; i < PROBE_FLIGHTS_MAX; i++) {
		if (p->flights[i].is_flying)
			land(p, &p->flights[i]);
		curl_easy_cleanup(p->flights[i].easy);
	}
	curl_multi_cleanup(p->multi);
	store_finalize(p->row);
	free(p->pods);
}

CURLM *
probe_multi(struct probe *p)
{
	return p->multi;
}

/* What a probe of this pod is like; read from its row. */
struct manner {
	char url[256];
	char host[64];
	int state;
	uint64_t interval_ns;
	uint64_t timeout_ns;
	uint32_t rise;
	uint32_t fall;
};

static uint64_t
or_default(int64_t value, uint64_t unit, uint64_t fallback)
{
	return value > 0 ? (uint64_t)value * unit : fallback;
}

static bool
read_manner(struct probe *p, uint64_t pod_id, struct manner *m)
{
	struct statement *row = p->row;
	bool found;

	store_bind_int64(row, 1, (int64_t)pod_id);
	found = store_step(row) == STORE_ROW;
	if (found) {
		const char *address = (const char *)store_column_text(row, 0).ptr;
		const char *path = (const char *)store_column_text(row, 4).ptr;
		bool is_ip6 = strchr(address, ':') != NULL;

		snprintf(m->url, sizeof(m->url), "http://%s%s%s:%d%s", is_ip6 ? "[" : "", address,
			 is_ip6 ? "]" : "", (int)store_column_int64(row, 1),
			 path[0] != '\0' ? path : p->defaults.path);
		snprintf(m->host, sizeof(m->host), "%s", (const char *)store_column_text(row, 2).ptr);
		m->state = (int)store_column_int64(row, 3);
		m->interval_ns = or_default(store_column_int64(row, 5), NSEC_PER_MSEC,
					    p->defaults.interval_ns);
		m->timeout_ns = or_default(store_column_int64(row, 6), NSEC_PER_MSEC,
					   p->defaults.timeout_ns);
		m->rise = (uint32_t)or_default(store_column_int64(row, 7), 1, p->defaults.rise);
		m->fall = (uint32_t)or_default(store_column_int64(row, 8), 1, p->defaults.fall);
	}
	store_reset(row);
	return found;
}

/* --- taking off -------------------------------------------------------------------------- */

static struct probe_flight *
free_flight(struct probe *p)
{
	for (int i = 0; i < PROBE_FLIGHTS_MAX; i++)
		if (!p->flights[i].is_flying)
			return &p->flights[i];
	return NULL;
}

static void
take_off(struct probe *p, struct probe_flight *flight, uint32_t entry, const struct manner *m)
{
	CURL *easy = flight->easy;
	char host[80];

	flight->entry = entry;
	flight->pod_id = p->pods[entry].pod_id;
	flight->body_bytes = 0;
	flight->is_flying = true;
	p->pods[entry].is_flying = true;
	curl_easy_reset(easy);
	curl_easy_setopt(easy, CURLOPT_URL, m->url);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(m->timeout_ns / NSEC_PER_MSEC));
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/* Pods are reached directly, whatever the environment says. */
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "sluice-control");
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, flight);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, (char *)flight);
	if (m->host[0] != '\0') {
		snprintf(host, sizeof(host), "Host: %s", m->host);
		flight->headers = curl_slist_append(NULL, host);
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, flight->headers);
	}
	CHECK(curl_multi_add_handle(p->multi, easy) == CURLM_OK);
}

static void
consider(struct probe *p, uint32_t entry, uint64_t now_ns)
{
	struct probe_pod *pod = &p->pods[entry];
	uint64_t pod_id = p->publish->entries[NOUN_POD].id_of[entry];
	struct probe_flight *flight;
	struct manner manner;

	if (pod->is_flying)
		return;
	if (pod->pod_id != pod_id)
		*pod = (struct probe_pod){ .pod_id = pod_id, .due_at_ns = now_ns };
	if (pod_id == 0 || now_ns < pod->due_at_ns)
		return;
	flight = free_flight(p);
	if (flight == NULL)
		return;
	pod->due_at_ns = now_ns + p->defaults.interval_ns;
	if (!read_manner(p, pod_id, &manner))
		return;
	pod->due_at_ns = now_ns + manner.interval_ns;
	if (manner.state != SHM_POD_MAINT)
		take_off(p, flight, entry, &manner);
}

/* --- coming back ------------------------------------------------------------------------- */

static void
change_state(struct probe *p, uint32_t entry, uint32_t state, const char *why)
{
	struct shm_pod_health *health = shm_pod_health(&p->publish->shm, entry);

	atomic_store(&health->probe_state, state);
	p->pods[entry].streak = 0;
	p->transitions++;
	log_write(state == SHM_PROBE_UP ? LOG_INFO_LEVEL : LOG_WARN_LEVEL,
		  state == SHM_PROBE_UP ? "pod_up" : "pod_down",
		  (struct log_field[]){ LOG_NUMBER("pod", p->pods[entry].pod_id),
					LOG_TEXT("why", why), { 0 } });
}

static void
take_result(struct probe *p, struct probe_flight *flight, bool is_good, const char *why)
{
	struct probe_pod *pod = &p->pods[flight->entry];
	struct shm_pod_health *health;
	struct manner manner;
	uint32_t state, wanted = is_good ? SHM_PROBE_UP : SHM_PROBE_DOWN;

	pod->is_flying = false;
	/* Meanwhile the entry may have become another pod's, or nobody's. */
	if (pod->pod_id != flight->pod_id ||
	    p->publish->entries[NOUN_POD].id_of[flight->entry] != flight->pod_id ||
	    !read_manner(p, flight->pod_id, &manner))
		return;
	health = shm_pod_health(&p->publish->shm, flight->entry);
	state = atomic_load(&health->probe_state);
	if (state == wanted) {
		pod->streak = 0;
		return;
	}
	pod->streak++;
	if (state == SHM_PROBE_UNKNOWN || pod->streak >= (is_good ? manner.rise : manner.fall))
		change_state(p, flight->entry, wanted, why);
}

static void
come_back(struct probe *p, CURL *easy, CURLcode code)
{
	struct probe_flight *flight;
	char *private = NULL, why[32];
	long status = 0;
	curl_off_t total_us = 0;
	bool is_good;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(easy, CURLINFO_TOTAL_TIME_T, &total_us);
	flight = (struct probe_flight *)(void *)private;
	is_good = code == CURLE_OK && status >= 200 && status <= 299;
	if (is_good) {
		p->good++;
		atomic_store(&shm_pod_health(&p->publish->shm, flight->entry)->probe_latency_us,
			     total_us < UINT32_MAX ? (uint32_t)total_us : UINT32_MAX);
	} else {
		p->bad++;
	}
	snprintf(why, sizeof(why), "status %ld", status);
	land(p, flight);
	take_result(p, flight, is_good, code == CURLE_OK ? why : curl_easy_strerror(code));
}

void
probe_turn(struct probe *p, uint64_t now_ns)
{
	const struct entries *entries = &p->publish->entries[NOUN_POD];
	CURLMsg *message;
	int left;

	/* From another place each time: when flights are short, nobody is always last. */
	for (uint32_t i = 0; i < entries->fresh; i++)
		consider(p, (p->turn + i) % entries->fresh, now_ns);
	p->turn += PROBE_FLIGHTS_MAX;
	curl_multi_perform(p->multi, &left);
	while ((message = curl_multi_info_read(p->multi, &left)) != NULL)
		if (message->msg == CURLMSG_DONE)
			come_back(p, message->easy_handle, message->data.result);
}
