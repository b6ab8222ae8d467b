/* Rows into memory, memory into flights, flights into health cells. */
#include "probe.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "clock.h"
#include "config/log.h"

#define FILES_KEPT_S_MAX (24 * 3600)

static size_t
take_body(char *ptr, size_t size, size_t count, void *owner)
{
	struct probe_flight *flight = owner;

	flight->body_bytes += size * count;
	if (flight->is_for_gauges)
		gauges_feed(&flight->gauges, ptr, size * count);
	/* 0: curl gives up */
	return flight->body_bytes <= (flight->is_for_gauges ? PROBE_GAUGES_BYTES_MAX : PROBE_BODY_MAX) ?
		       size * count :
		       0;
}

enum err
probe_init(struct probe *p, struct store *store, struct publish *publish,
	   const struct probe_defaults *defaults)
{
	*p = (struct probe){ .store = store, .publish = publish, .defaults = *defaults };
	prng_init(&p->prng, (uint64_t)(uintptr_t)p);
	p->rows = store_prepare(store,
				"SELECT id, state, probe_path, probe_interval_ms, probe_timeout_ms,"
				" rise, fall, metrics_path FROM pods WHERE id > ?1"
				" ORDER BY id LIMIT ?2");
	p->pods = calloc(publish->entries[NOUN_POD].capacity + 1, sizeof(*p->pods));
	p->multi = curl_multi_init();
	if (p->rows == NULL || p->pods == NULL || p->multi == NULL)
		return ERR_STORE_FAILED;
	for (int i = 0; i < PROBE_FLIGHTS_MAX; i++) {
		p->flights[i].easy = curl_easy_init();
		if (p->flights[i].easy == NULL)
			return ERR_STORE_FAILED;
	}
	return ERR_OK;
}

struct probe_defaults
probe_defaults_of(const struct config *config, uint64_t now_ns)
{
	return (struct probe_defaults){
		.path = config->probes.path,
		.interval_ns = config->probes.interval_ns,
		.jitter_percent = config->probes.jitter_percent,
		.timeout_ns = config->probes.timeout_ns,
		.rise = config->probes.rise,
		.fall = config->probes.fall,
		.config = config,
		.authorities_at_ns = now_ns,
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
	curl_slist_free_all(flight->place);
	flight->headers = NULL;
	flight->place = NULL;
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
	store_finalize(p->rows);
	free(p->pods);
}

CURLM *
probe_multi(struct probe *p)
{
	return p->multi;
}

/* --- rows ---------------------------------------------------------------------------------- */

#define ROUND_NS NSEC_PER_SEC
#define CHANGED_NS (100 * NSEC_PER_MSEC) /* between two rounds for changes, at least */

static void
copy_column(struct statement *rows, int column, char *to, size_t room)
{
	snprintf(to, room, "%s", (const char *)store_column_text(rows, column).ptr);
}

static void
take_row(struct probe *p, struct statement *rows, uint64_t now_ns)
{
	uint64_t id = (uint64_t)store_column_int64(rows, 0);
	uint32_t entry = entries_find(&p->publish->entries[NOUN_POD], id);
	struct probe_pod *pod;
	struct probe_manner *m;

	/* What is not published yet comes with the next round. */
	if (entry == ENTRIES_NONE)
		return;
	pod = &p->pods[entry];
	if (pod->is_flying || pod->is_flying_for_gauges) {
		if (pod->pod_id != id)
			return; /* the flight is another pod's */
	} else if (pod->pod_id != id) {
		*pod = (struct probe_pod){ .pod_id = id, .due_at_ns = now_ns, .gauges_due_at_ns = now_ns };
	}
	m = &pod->manner;
	m->state = (uint8_t)store_column_int64(rows, 1);
	copy_column(rows, 2, m->path, sizeof(m->path));
	m->interval_ms = (uint32_t)store_column_int64(rows, 3);
	m->timeout_ms = (uint32_t)store_column_int64(rows, 4);
	m->rise = (uint32_t)store_column_int64(rows, 5);
	m->fall = (uint32_t)store_column_int64(rows, 6);
	copy_column(rows, 7, m->metrics_path, sizeof(m->metrics_path));
	pod->is_known = true;
}

static void
read_slice(struct probe *p, uint64_t now_ns)
{
	enum store_step step;
	uint32_t count = 0;

	/* A change of any table: it may be a pod's, and comes often. */
	if (p->publish->rows_published != p->seen_rows && p->after_id == 0 &&
	    p->read_at_ns > p->begun_at_ns + CHANGED_NS)
		p->read_at_ns = p->begun_at_ns + CHANGED_NS;
	if (now_ns < p->read_at_ns)
		return;
	if (p->after_id == 0) {
		p->seen_rows = p->publish->rows_published;
		p->begun_at_ns = now_ns;
	}
	store_bind_int64(p->rows, 1, p->after_id);
	store_bind_int64(p->rows, 2, PROBE_ROWS);
	while ((step = store_step(p->rows)) == STORE_ROW) {
		p->after_id = store_column_int64(p->rows, 0);
		take_row(p, p->rows, now_ns);
		count++;
	}
	store_reset(p->rows);
	if (step == STORE_BROKEN || count < PROBE_ROWS) {
		p->after_id = 0;
		p->read_at_ns = now_ns + ROUND_NS;
	}
}

static uint64_t
interval_ns(const struct probe *p, const struct probe_manner *m)
{
	return m->interval_ms > 0 ? m->interval_ms * NSEC_PER_MSEC : p->defaults.interval_ns;
}

/* By chance somewhat earlier or later: probes.jitter_percent. */
static uint64_t
next_at_ns(struct probe *p, const struct probe_manner *m, uint64_t now_ns)
{
	uint64_t ns = interval_ns(p, m), most_ns = ns / 100 * p->defaults.jitter_percent;

	return now_ns + ns - most_ns + prng_next(&p->prng) % (2 * most_ns + 1);
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

/* Address and port, as a URL and a Host field have them. */
static void
emit_place(char *place, size_t room, const struct shm_pod *where)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	bool is_ip6 = memcmp(where->address, mapped, sizeof(mapped)) != 0;
	char address[INET6_ADDRSTRLEN];

	inet_ntop(is_ip6 ? AF_INET6 : AF_INET, where->address + (is_ip6 ? 0 : sizeof(mapped)), address,
		  sizeof(address));
	snprintf(place, room, "%s%s%s:%u", is_ip6 ? "[" : "", address, is_ip6 ? "]" : "", where->port);
}

static void
emit_secure_url(char *url, size_t room, const struct shm_pod *where, const char *path)
{
	bool is_ip6 = memchr(where->tls.name.text, ':', where->tls.name.len) != NULL;

	snprintf(url, room, "https://%s%.*s%s:%u%s", is_ip6 ? "[" : "", where->tls.name.len, where->tls.name.text,
		 is_ip6 ? "]" : "", where->port, path);
}

static const char *
authority_file(const struct probe *p, struct bytes name)
{
	const struct config *config = p->defaults.config;

	for (uint32_t i = 0; i < config->authority_count; i++)
		if (bytes_equal(bytes_from_text(config->authorities[i].name), name))
			return config->authorities[i].file;
	return ""; /* no such file: the probe fails, as requests do */
}

/* libcurl takes what it has read of a file for good for so many seconds; what it read before the reload is not. */
static void
forget_files(const struct probe *p, struct probe_flight *flight)
{
	uint64_t age_s = (clock_now_ns() - p->defaults.authorities_at_ns) / NSEC_PER_SEC;

	curl_easy_setopt(flight->easy, CURLOPT_CA_CACHE_TIMEOUT,
			 (long)(age_s < FILES_KEPT_S_MAX ? age_s : FILES_KEPT_S_MAX));
}

/* The URL has the name that the certificate must have; what is connected to is the address. */
static void
ask_for_trust(struct probe *p, struct probe_flight *flight, const struct shm_pod *where, const char *place)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char text[SHM_POD_PINS_MAX * 64] = "", to[SHM_NAME_BYTES];
	size_t len = 0;

	snprintf(to, sizeof(to), "::%s", place);
	flight->place = curl_slist_append(NULL, to);
	curl_easy_setopt(flight->easy, CURLOPT_CONNECT_TO, flight->place);
	/* What is resumed is not looked at: neither by other authorities nor by other pins. */
	curl_easy_setopt(flight->easy, CURLOPT_SSL_SESSIONID_CACHE, 0L);
	/* The system's own are nobody's here. */
	curl_easy_setopt(flight->easy, CURLOPT_CAPATH, NULL);
	if (where->tls.authority.len > 0) {
		struct bytes name = bytes_make(where->tls.authority.text, where->tls.authority.len);

		curl_easy_setopt(flight->easy, CURLOPT_CAINFO, authority_file(p, name));
		forget_files(p, flight);
	} else {
		/* The pin is all that counts, as lib/tls/target.h says. */
		curl_easy_setopt(flight->easy, CURLOPT_SSL_VERIFYPEER, 0L);
		curl_easy_setopt(flight->easy, CURLOPT_SSL_VERIFYHOST, 0L);
	}
	for (uint32_t i = 0; i < where->tls.pin_count && i < SHM_POD_PINS_MAX; i++) {
		const uint8_t *pin = where->tls.pins[i];

		len += (size_t)snprintf(text + len, sizeof(text) - len, "%ssha256//", i > 0 ? ";" : "");
		for (uint32_t bit = 0; bit < 256; bit += 6) {
			uint32_t pair = (uint32_t)pin[bit / 8] << 8 | (bit / 8 + 1 < 32 ? pin[bit / 8 + 1] : 0);

			text[len++] = digits[pair >> (10 - bit % 8) & 63];
		}
		text[len++] = '=';
		text[len] = '\0';
	}
	if (len > 0)
		curl_easy_setopt(flight->easy, CURLOPT_PINNEDPUBLICKEY, text);
}

static void
take_off(struct probe *p, struct probe_flight *flight, uint32_t entry, const struct shm_pod *where,
	 bool is_for_gauges)
{
	struct probe_pod *pod = &p->pods[entry];
	const struct probe_manner *m = &pod->manner;
	const char *path = is_for_gauges ? m->metrics_path : m->path[0] != '\0' ? m->path : p->defaults.path;
	uint64_t timeout_ns = m->timeout_ms > 0 ? m->timeout_ms * NSEC_PER_MSEC : p->defaults.timeout_ns;
	CURL *easy = flight->easy;
	char url[512], host[SHM_NAME_BYTES + 8], place[INET6_ADDRSTRLEN + 16];

	flight->entry = entry;
	flight->pod_id = pod->pod_id;
	memcpy(flight->address, where->address, sizeof(flight->address));
	flight->port = where->port;
	flight->body_bytes = 0;
	flight->is_flying = true;
	flight->is_for_gauges = is_for_gauges;
	flight->gauges = (struct gauges){ .len = 0 };
	if (is_for_gauges)
		pod->is_flying_for_gauges = true;
	else
		pod->is_flying = true;
	emit_place(place, sizeof(place), where);
	curl_easy_reset(easy);
	if (where->is_tls) {
		emit_secure_url(url, sizeof(url), where, path);
		ask_for_trust(p, flight, where, place);
	} else {
		snprintf(url, sizeof(url), "http://%s%s", place, path);
	}
	curl_easy_setopt(easy, CURLOPT_URL, url);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)(timeout_ns / NSEC_PER_MSEC));
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	/* Pods are reached directly, whatever the environment says. */
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "sluice-control");
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, flight);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, (char *)flight);
	if (where->host.len > 0 || where->is_tls) {
		if (where->host.len > 0)
			snprintf(host, sizeof(host), "Host: %.*s", where->host.len, where->host.text);
		else
			snprintf(host, sizeof(host), "Host: %s", place);
		flight->headers = curl_slist_append(NULL, host);
		curl_easy_setopt(easy, CURLOPT_HTTPHEADER, flight->headers);
	}
	CHECK(curl_multi_add_handle(p->multi, easy) == CURLM_OK);
}

/* False: all places in the air are taken. */
static bool
send_out(struct probe *p, uint32_t entry, const struct shm_pod *where, bool is_for_gauges, uint64_t now_ns)
{
	struct probe_pod *pod = &p->pods[entry];
	struct probe_flight *flight = free_flight(p);

	if (flight == NULL)
		return false;
	*(is_for_gauges ? &pod->gauges_due_at_ns : &pod->due_at_ns) = next_at_ns(p, &pod->manner, now_ns);
	take_off(p, flight, entry, where, is_for_gauges);
	return true;
}

/* False: all places in the air are taken, and it is to be looked at again. */
static bool
consider(struct probe *p, uint32_t entry, uint64_t now_ns)
{
	const struct probe_pod *pod = &p->pods[entry];
	uint64_t pod_id = p->publish->entries[NOUN_POD].id_of[entry];
	bool wants_probe, wants_gauges;
	struct shm_pod where;

	if (!pod->is_known || pod_id == 0 || pod->pod_id != pod_id || pod->manner.state == SHM_POD_MAINT)
		return true;
	wants_probe = !pod->is_flying && now_ns >= pod->due_at_ns;
	wants_gauges = !pod->is_flying_for_gauges && pod->manner.metrics_path[0] != '\0' &&
		       now_ns >= pod->gauges_due_at_ns;
	if ((!wants_probe && !wants_gauges) || shm_read_pod(&p->publish->shm, entry, &where) != ERR_OK ||
	    !shm_has_address(where.address))
		return true;
	return (!wants_probe || send_out(p, entry, &where, false, now_ns)) &&
	       (!wants_gauges || send_out(p, entry, &where, true, now_ns));
}

/* From where the last turn stopped: when flights are short, nobody is always last. */
static void
walk(struct probe *p, uint64_t now_ns)
{
	uint32_t fresh = p->publish->entries[NOUN_POD].fresh;

	for (uint32_t i = 0; i < PROBE_LOOKS && i < fresh; i++) {
		if (p->walk >= fresh)
			p->walk = 0;
		if (!consider(p, p->walk, now_ns))
			return;
		p->walk++;
	}
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

static bool
is_of_its_pod(const struct probe *p, const struct probe_flight *flight)
{
	struct shm_pod now;

	return p->pods[flight->entry].pod_id == flight->pod_id &&
	       p->publish->entries[NOUN_POD].id_of[flight->entry] == flight->pod_id &&
	       shm_read_pod(&p->publish->shm, flight->entry, &now) == ERR_OK && now.port == flight->port &&
	       memcmp(now.address, flight->address, sizeof(now.address)) == 0;
}

static void
take_gauges(struct probe *p, struct probe_flight *flight, bool is_good, uint64_t now_ns)
{
	struct probe_pod *pod = &p->pods[flight->entry];
	struct shm_pod_health *health;

	pod->is_flying_for_gauges = false;
	gauges_end(&flight->gauges);
	if (!is_good || !flight->gauges.is_there) {
		p->gauges_bad++;
		return;
	}
	p->gauges_good++;
	if (!is_of_its_pod(p, flight))
		return;
	health = shm_pod_health(&p->publish->shm, flight->entry);
	atomic_store_explicit(&health->running, flight->gauges.running, memory_order_relaxed);
	atomic_store_explicit(&health->waiting, flight->gauges.waiting, memory_order_relaxed);
	atomic_store_explicit(&health->cache_permille, flight->gauges.cache_permille, memory_order_relaxed);
	atomic_store_explicit(&health->gauges_until_ns,
			      now_ns + PROBE_GAUGES_LIVES * interval_ns(p, &pod->manner), memory_order_release);
}

static void
take_result(struct probe *p, struct probe_flight *flight, bool is_good, curl_off_t total_us, const char *why)
{
	struct probe_pod *pod = &p->pods[flight->entry];
	struct shm_pod_health *health;
	uint32_t state, rise, fall, wanted = is_good ? SHM_PROBE_UP : SHM_PROBE_DOWN;

	pod->is_flying = false;
	/* Meanwhile the entry may have become another pod's, or nobody's, or the pod be elsewhere. */
	if (!is_of_its_pod(p, flight))
		return;
	rise = pod->manner.rise > 0 ? pod->manner.rise : p->defaults.rise;
	fall = pod->manner.fall > 0 ? pod->manner.fall : p->defaults.fall;
	health = shm_pod_health(&p->publish->shm, flight->entry);
	if (is_good)
		atomic_store(&health->probe_latency_us, total_us < UINT32_MAX ? (uint32_t)total_us : UINT32_MAX);
	state = atomic_load(&health->probe_state);
	if (state == wanted) {
		pod->streak = 0;
		return;
	}
	pod->streak++;
	if (state == SHM_PROBE_UNKNOWN || pod->streak >= (is_good ? rise : fall))
		change_state(p, flight->entry, wanted, why);
}

static void
come_back(struct probe *p, CURL *easy, CURLcode code, uint64_t now_ns)
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
	if (flight->is_for_gauges) {
		land(p, flight);
		take_gauges(p, flight, is_good, now_ns);
		return;
	}
	if (is_good)
		p->good++;
	else
		p->bad++;
	snprintf(why, sizeof(why), "status %ld", status);
	land(p, flight);
	take_result(p, flight, is_good, total_us, code == CURLE_OK ? why : curl_easy_strerror(code));
}

void
probe_again(struct probe *p, uint32_t entry)
{
	p->pods[entry].due_at_ns = 0;
	p->pods[entry].gauges_due_at_ns = 0;
	p->pods[entry].streak = 0;
}

void
probe_turn(struct probe *p, uint64_t now_ns)
{
	CURLMsg *message;
	int left;

	read_slice(p, now_ns);
	walk(p, now_ns);
	curl_multi_perform(p->multi, &left);
	while ((message = curl_multi_info_read(p->multi, &left)) != NULL)
		if (message->msg == CURLMSG_DONE)
			come_back(p, message->easy_handle, message->data.result, now_ns);
}
