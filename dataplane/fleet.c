/* From the configuration to running workers: sums first, then pools, ports, stacks, sessions. */
#include "dataplane/fleet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "config/log.h"
#include "dataplane/budget.h"
#include "dataplane/clock.h"
#include "dataplane/eal.h"
#include "dataplane/engine.h"
#include "dataplane/hold.h"
#include "dataplane/quota.h"
#include "dataplane/settings.h"

/* Share of the receive pool's bytes that data may pin before it is pressure by itself. */
#define RECV_TRUESIZE_PERCENT 90
/* Payload of one packet that a port cuts; behind it the headers, and IP's length field ends at 65535. */
#define TSO_BYTES_MAX (60 * 1024)
#define TSO_PIECES_MAX 64
#define LINKS_EVERY_NS (100 * NSEC_PER_MSEC)

static bool
random_bytes(void *to, size_t len)
{
	return getrandom(to, len, 0) == (ssize_t)len;
}

static int
entropy(void *owner, uint8_t *to, size_t len)
{
	(void)owner;
	return random_bytes(to, len) ? 0 : -1;
}

/* --- the parts of one worker's configuration ------------------------------------------- */

static uint8_t
prefix_bits_of(const struct config_address *address)
{
	return (uint8_t)(address->is_ip4 ? 96 + address->prefix_bits : address->prefix_bits);
}

static void
fill_ip(const struct fleet *fleet, struct ip_config *ip)
{
	ip->port_count = fleet->port_count;
	ip->path_mtu_min_v4 = (uint16_t)fleet->config->tcp.path_mtu_min;
	for (uint32_t p = 0; p < fleet->port_count; p++) {
		const struct config_port *from = &fleet->config->ports[p];
		struct ip_port *to = &ip->ports[p];

		to->mac = fleet->ports[p].mac;
		to->mtu_bytes = (uint16_t)from->mtu;
		to->vlan = (uint16_t)from->vlan;
		to->address_count = from->address_count;
		for (uint32_t i = 0; i < from->address_count; i++) {
			memcpy(to->addresses[i].address.byte, from->addresses[i].ip, 16);
			to->addresses[i].prefix_bits = prefix_bits_of(&from->addresses[i]);
		}
		if (from->gateway4.is_set)
			memcpy(to->gateway_v4.byte, from->gateway4.ip, 16);
		if (from->gateway6.is_set)
			memcpy(to->gateway_v6.byte, from->gateway6.ip, 16);
	}
}

/* The first address of the family, over all ports. */
static void
fill_source(const struct config *config, bool v4, struct ip_addr *source)
{
	for (uint32_t p = 0; p < config->port_count; p++) {
		for (uint32_t i = 0; i < config->ports[p].address_count; i++) {
			if (config->ports[p].addresses[i].is_ip4 != v4)
				continue;
			memcpy(source->byte, config->ports[p].addresses[i].ip, 16);
			return;
		}
	}
}

/* --- one worker -------------------------------------------------------------------------- */

/* Secrets that all workers of the process share. */
struct secrets {
	uint64_t hash_key;
	uint8_t rss_key[PORT_RSS_KEY_BYTES];
	uint8_t cookie_key[16];
};

/* What the ports together are good for: those that lack it do it in software, and some have it. */
static void
fill_tcp_offload(const struct fleet *fleet, struct tcp_config *tcp)
{
	uint16_t pieces = TSO_PIECES_MAX;

	for (uint32_t p = 0; p < fleet->port_count; p++) {
		const struct port_offload *use = &fleet->ports[p].offload;

		tcp->checksum_offload = tcp->checksum_offload || use->tcp_checksum;
		if (!use->tso_v4 && !use->tso_v6)
			continue;
		tcp->tso_bytes_max = TSO_BYTES_MAX;
		if (use->tso_pieces_max <= pieces)
			pieces = (uint16_t)(use->tso_pieces_max - 1); /* the header is one */
	}
	tcp->tso_pieces_max = tcp->tso_bytes_max > 0 ? pieces : 0;
}

/* Pools whose emptiness is pressure. */
static void
fill_tcp_pressure(const struct fleet *fleet, const struct pools *pools, struct tcp_config *tcp)
{
	uint32_t held = 0;

	for (uint32_t p = 0; p < fleet->port_count; p++)
		held += fleet->ports[p].receive_descriptors;
	tcp->watched_pools[0] = (struct tcp_watched_pool){ pools->receive, held };
	tcp->watched_pools[1] = (struct tcp_watched_pool){ pools->payload, 0 };
	tcp->watched_pools[2] = (struct tcp_watched_pool){ pools->header, 0 };
	tcp->watched_pools[3] = (struct tcp_watched_pool){ pools->bare, 0 };
	tcp->recv_truesize_max = pools_receive_bytes(&fleet->pools_plan) / 100 * RECV_TRUESIZE_PERCENT;
}

static struct tcp *
open_tcp(struct fleet *fleet, uint32_t index, const struct worker_counts *counts,
	 const struct secrets *secrets)
{
	struct lcore *l = &fleet->lcores[index];
	struct tcp_config tcp;

	budget_tcp(fleet->config, counts, &tcp);
	fill_tcp_offload(fleet, &tcp);
	fill_tcp_pressure(fleet, &l->pools, &tcp);
	net_serve_tcp(&l->net, &tcp);
	memcpy(tcp.cookie_key, secrets->cookie_key, sizeof(tcp.cookie_key));
	if (!random_bytes(tcp.hash_key, sizeof(tcp.hash_key)) ||
	    !random_bytes(&tcp.seed, sizeof(tcp.seed)))
		return NULL;
	fleet->tcp_memory[index] = aligned_alloc(CACHE_LINE_BYTES, (tcp_bytes(&tcp) + 63) & ~(size_t)63);
	if (fleet->tcp_memory[index] == NULL)
		return NULL;
	return tcp_init(fleet->tcp_memory[index], &tcp, l->pools.header, l->pools.bare, clock_ns());
}

static struct tls_context *
open_tls(const struct fleet *fleet, const struct worker_counts *counts)
{
	struct tls_context_config tls = {
		.conns_max = counts->clients,
		.handshakes_max = counts->handshakes,
		.ticket_lifetime_s = (uint32_t)(fleet->config->ticket_lifetime_ns / NSEC_PER_SEC),
		.tickets = fleet->newest_tickets,
		.entropy = entropy,
	};
	struct tls_context *context;

	engine_fill(fleet->config, &tls);
	context = tls_context_new(&tls, fleet->credentials->identity);
	if (context != NULL)
		tls_set_time(context, (int64_t)(clock_unix_ns() / NSEC_PER_SEC));
	return context;
}

/* Towards backends. */
static struct tls_context *
open_upstream_tls(const struct fleet *fleet, const struct worker_counts *counts)
{
	struct tls_context_config tls = {
		.conns_max = counts->upstreams,
		.handshakes_max = counts->upstream_handshakes,
		.authorities = fleet->credentials->authorities,
		.connects_max = counts->upstreams,
		.sessions_max = UPSTREAM_SESSIONS_MAX,
		.entropy = entropy,
	};
	struct tls_context *context;

	engine_fill(fleet->config, &tls);
	context = tls_context_new(&tls, NULL);
	if (context != NULL)
		tls_set_time(context, (int64_t)(clock_unix_ns() / NSEC_PER_SEC));
	return context;
}

static void
open_net(struct fleet *fleet, uint32_t index, struct tcp *tcp, const struct secrets *secrets)
{
	struct lcore *l = &fleet->lcores[index];
	struct net_config net = { .index = (uint16_t)index,
				  .count = (uint16_t)fleet->count,
				  .steering = &fleet->steering,
				  .pool = l->pools.payload,
				  .tcp = tcp };

	fill_ip(fleet, &net.ip);
	for (uint32_t p = 0; p < fleet->port_count; p++)
		net.kernel_queue[p] = fleet->config->ports[p].exception.queue;
	net.ip.announce = index == 0;
	net.ip.hash_key = secrets->hash_key;
	net_init(&l->net, &net, clock_ns());
}

static int64_t
unix_minus_monotonic_ns(void)
{
	return (int64_t)clock_unix_ns() - (int64_t)clock_ns();
}

/* False: no randomness, or no memory. */
static bool
open_sessions(struct fleet *fleet, uint32_t index, struct worker_config *worker)
{
	struct lcore *l = &fleet->lcores[index];

	settings_fill(fleet->config, worker);
	/* The configuration's own texts change with it. */
	CHECK(settings_keep(&fleet->texts, worker));
	worker->clock = clock_ns;
	fill_source(fleet->config, true, &worker->source_v4);
	fill_source(fleet->config, false, &worker->source_v6);
	worker->shm = fleet->shm;
	worker->net = &l->net;
	worker->spool = &fleet->spool.writers[index];
	worker->tab = fleet->spool.tabs[index];
	worker->payload_pool = l->pools.payload;
	worker->unix_minus_monotonic_ns = unix_minus_monotonic_ns();
	atomic_store(&l->unix_minus_monotonic_ns, worker->unix_minus_monotonic_ns);
	if (!random_bytes(worker->id_key, sizeof(worker->id_key)))
		return false;
	l->worker = worker_new(worker, clock_ns());
	return l->worker != NULL && worker_listen(l->worker) == ERR_OK;
}

static void
tell_tls(const struct fleet *fleet, uint32_t index, const struct tls_context *tls)
{
	struct shm_worker *line = shm_worker(&fleet->shm, index);

	snprintf(line->tls_primitives, sizeof(line->tls_primitives), "%s", tls_context_primitives(tls));
	snprintf(line->tls_ciphers, sizeof(line->tls_ciphers), "%s", tls_context_ciphers(tls));
}

static bool
open_worker(struct fleet *fleet, uint32_t index, const struct secrets *secrets, char *text,
	    size_t room)
{
	struct worker_config worker = { .index = (uint16_t)index };

	budget_counts(fleet->config, &worker.counts);
	worker.tcp = open_tcp(fleet, index, &worker.counts, secrets);
	worker.tls = open_tls(fleet, &worker.counts);
	worker.upstream_tls = open_upstream_tls(fleet, &worker.counts);
	if (worker.tcp == NULL || worker.tls == NULL || worker.upstream_tls == NULL) {
		snprintf(text, room,
			 "no memory for the connections of worker %u; lower limits.clients or "
			 "limits.upstreams",
			 index);
		return false;
	}
	tell_tls(fleet, index, worker.tls);
	open_net(fleet, index, worker.tcp, secrets);
	if (!open_sessions(fleet, index, &worker)) {
		snprintf(text, room,
			 "no memory for the sessions of worker %u (%llu MiB); lower limits.clients, "
			 "limits.upstreams or limits.bodies",
			 index, (unsigned long long)(worker_bytes(&worker) / MIB));
		return false;
	}
	return true;
}

/* --- all of them ---------------------------------------------------------------------------- */

static void
link_rings(struct fleet *fleet)
{
	for (uint32_t from = 0; from < fleet->count; from++) {
		for (uint32_t to = 0; to < fleet->count; to++) {
			struct ring *ring = &fleet->rings[from * fleet->count + to];

			if (from == to)
				continue;
			fleet->lcores[from].net.to[to] = ring;
			fleet->lcores[to].net.from[from] = ring;
		}
	}
}

static enum port_wish
wish_of(enum config_offload offload)
{
	return offload == CONFIG_OFFLOAD_ON  ? PORT_ON :
	       offload == CONFIG_OFFLOAD_OFF ? PORT_OFF :
					       PORT_AUTO;
}

static bool
open_ports(struct fleet *fleet, const struct secrets *secrets, char *text, size_t room)
{
	steering_init(&fleet->steering, (uint16_t)fleet->count, secrets->hash_key);
	for (uint32_t p = 0; p < fleet->config->port_count; p++) {
		const struct config_port *from = &fleet->config->ports[p];
		struct port_config port = { .device = from->device,
					    .index = (uint8_t)p,
					    .queue_count = (uint16_t)fleet->count,
					    .mtu_bytes = (uint16_t)from->mtu,
					    .wishes = { wish_of(from->offload.receive_checksum),
							wish_of(from->offload.ip_checksum),
							wish_of(from->offload.tcp_checksum),
							wish_of(from->offload.tso) },
					    .rss_key = secrets->rss_key };

		for (uint32_t i = 0; i < fleet->count; i++)
			port.receive_pools[i] = fleet->lcores[i].pools.receive;
		if (!port_open(&fleet->ports[p], &port, text, room))
			return false;
		steering_follow(&fleet->steering, &fleet->ports[p].rss);
		fleet->port_count++;
	}
	return true;
}

static bool
open_taps(struct fleet *fleet, char *text, size_t room)
{
	for (uint32_t p = 0; p < fleet->port_count; p++) {
		const struct config_port *from = &fleet->config->ports[p];
		struct tap_config tap = { .name = from->exception.tap,
					  .mac = fleet->ports[p].mac,
					  .vlan = (uint16_t)from->vlan,
					  .mtu_bytes = (uint16_t)from->mtu,
					  .port = (uint8_t)p,
					  .rate = from->exception.rate,
					  .queue = from->exception.queue,
					  .workers = fleet->count,
					  .pool = fleet->lcores[0].pools.payload };
		struct tap *opened;

		if (tap.name[0] == '\0')
			continue;
		opened = malloc(sizeof(*opened));
		CHECK(opened != NULL);
		if (!tap_open(opened, &tap, text, room)) {
			free(opened);
			return false;
		}
		fleet->taps[p] = opened;
		/* The first worker sends for the kernel. */
		fleet->lcores[0].taps[p] = opened;
		for (uint32_t i = 0; i < fleet->count; i++)
			fleet->lcores[i].net.kernel[p] = &opened->to_kernel[i];
	}
	return true;
}

static bool
open_spool(struct fleet *fleet, uint64_t epoch, char *text, size_t room)
{
	const struct config *config = fleet->config;
	struct worker_counts counts;
	struct spool_files_config spool = { .folder = config->spool.path,
					    .epoch = epoch,
					    .worker_count = fleet->count,
					    .segment_bytes = config->spool.segment_bytes,
					    .size_bytes = config->spool.size_bytes };

	budget_counts(config, &counts);
	spool.requests = counts.exchanges;
	return spool_files_open(&fleet->spool, &spool, text, room) == ERR_OK &&
	       spool_files_tend(&fleet->spool, clock_ns(), text, room) == ERR_OK;
}

/* False: no memory. Where the kernel's limit forbids to lock it, the identity's is not locked either, which is
 * told. */
static bool
open_tickets(struct fleet *fleet, const struct ticket_secrets *tickets)
{
	fleet->arena = arena_new(ARENA_BYTES_MIN);
	if (fleet->arena == NULL)
		return false;
	for (int i = 0; i < 2; i++) {
		fleet->tickets[i] = arena_alloc(fleet->arena, sizeof(*fleet->tickets[i]));
		CHECK(fleet->tickets[i] != NULL);
	}
	arena_lock_used(fleet->arena);
	*fleet->tickets[0] = *tickets;
	fleet->newest_tickets = fleet->tickets[0];
	return true;
}

bool
fleet_open(struct fleet *fleet, const struct config *config, const struct shm *shm,
	   const struct credentials *credentials, const struct ticket_secrets *tickets,
	   char *text, size_t room)
{
	struct secrets secrets;
	uint64_t epoch = clock_unix_ns();

	memset(fleet, 0, sizeof(*fleet));
	fleet->config = config;
	fleet->shm = *shm;
	fleet->credentials = credentials;
	fleet->count = config->workers;
	budget_pools(config, &fleet->pools_plan);
	if (!random_bytes(&secrets, sizeof(secrets)) ||
	    !eal_start(config, pools_bytes(&fleet->pools_plan) * config->workers, text, room))
		return false;
	if (!open_tickets(fleet, tickets)) {
		snprintf(text, room, "no memory for the tickets' secrets");
		return false;
	}
	fleet->lcores = calloc(fleet->count, sizeof(struct lcore));
	fleet->rings = aligned_alloc(CACHE_LINE_BYTES,
				     sizeof(struct ring) * fleet->count * fleet->count);
	CHECK(fleet->lcores != NULL && fleet->rings != NULL);
	memset(fleet->rings, 0, sizeof(struct ring) * fleet->count * fleet->count);
	for (uint32_t i = 0; i < fleet->count; i++)
		if (!pools_open(&fleet->lcores[i].pools, &fleet->pools_plan, i, text, room))
			return false;
	if (!open_ports(fleet, &secrets, text, room) ||
	    !open_spool(fleet, epoch, text, room))
		return false;
	for (uint32_t i = 0; i < fleet->count; i++) {
		struct lcore *l = &fleet->lcores[i];

		if (!open_worker(fleet, i, &secrets, text, room))
			return false;
		l->ports = fleet->ports;
		l->port_count = fleet->port_count;
		l->queue = (uint16_t)i;
		atomic_init(&l->tickets, fleet->newest_tickets);
		atomic_init(&l->tickets_taken, fleet->newest_tickets);
		l->may_sleep = config->idle == CONFIG_IDLE_SLEEP;
	}
	link_rings(fleet);
	if (!open_taps(fleet, text, room))
		return false;
	route_reset(shm);
	quota_reset(shm);
	hold_reset(shm);
	atomic_store(&shm->header->dataplane_epoch, epoch);
	return true;
}

bool
fleet_start(struct fleet *fleet)
{
	void *arguments[NET_WORKERS_MAX];

	for (uint32_t i = 0; i < fleet->count; i++)
		arguments[i] = &fleet->lcores[i];
	fleet->is_syncing = spool_sync_start(&fleet->sync, fleet->spool.folder);
	return fleet->is_syncing && eal_launch(fleet->count, lcore_run, arguments);
}

void
fleet_tend(struct fleet *fleet, uint64_t now_ns)
{
	if (now_ns < fleet->links_at_ns)
		return;
	fleet->links_at_ns = now_ns + LINKS_EVERY_NS;
	for (uint32_t i = 0; i < fleet->count; i++)
		atomic_store_explicit(&fleet->lcores[i].unix_minus_monotonic_ns, unix_minus_monotonic_ns(),
				      memory_order_relaxed);
	for (uint32_t p = 0; p < fleet->port_count; p++) {
		bool is_down = !port_is_up(&fleet->ports[p]);

		if (is_down == fleet->is_down[p])
			continue;
		fleet->is_down[p] = is_down;
		LOG_WARN(is_down ? "link_down" : "link_up", LOG_TEXT("name", fleet->ports[p].name));
		for (uint32_t i = 0; i < fleet->count && !is_down; i++)
			atomic_fetch_add(&fleet->lcores[i].links_up[p], 1);
	}
}

/* What no worker has taken. */
static void
drop_keys(struct fleet *fleet)
{
	for (uint32_t i = 0; i < fleet->count; i++) {
		tls_keys_free(atomic_exchange(&fleet->lcores[i].keys, NULL));
		tls_keys_free(atomic_exchange(&fleet->lcores[i].upstream_keys, NULL));
	}
}

/* Of all workers or of none. */
static bool
make_keys(struct fleet *fleet, const struct credentials *credentials)
{
	for (uint32_t i = 0; i < fleet->count; i++) {
		struct tls_keys *keys = tls_keys_new(credentials->identity, NULL);
		struct tls_keys *upstream_keys = tls_keys_new(NULL, credentials->authorities);

		atomic_store_explicit(&fleet->lcores[i].keys, keys, memory_order_release);
		atomic_store_explicit(&fleet->lcores[i].upstream_keys, upstream_keys, memory_order_release);
		if (keys == NULL || upstream_keys == NULL) {
			drop_keys(fleet);
			return false;
		}
	}
	return true;
}

const char *
fleet_reload(struct fleet *fleet, const struct config *config, const struct credentials *credentials)
{
	struct lcore_settings *next =
		fleet->newest == &fleet->settings[0] ? &fleet->settings[1] : &fleet->settings[0];

	CHECK(fleet_may_reload(fleet));
	memset(next, 0, sizeof(*next));
	settings_fill(config, &next->worker);
	if (!settings_keep(&fleet->texts, &next->worker))
		return "the texts of surfaces have changed too often; sluice-dataplane must start again";
	if (!make_keys(fleet, credentials))
		return "there is no memory for the keys and authorities of all workers";
	next->may_sleep = config->idle == CONFIG_IDLE_SLEEP;
	fleet->newest = next;
	for (uint32_t i = 0; i < fleet->count; i++)
		atomic_store_explicit(&fleet->lcores[i].settings, next, memory_order_release);
	return NULL;
}

bool
fleet_has_reloaded(const struct fleet *fleet)
{
	for (uint32_t i = 0; i < fleet->count; i++)
		if (atomic_load_explicit(&fleet->lcores[i].settings_taken, memory_order_acquire) != fleet->newest)
			return false;
	return true;
}

bool
fleet_may_reload(struct fleet *fleet)
{
	bool has_room = true;

	for (uint32_t i = 0; i < fleet->count; i++) {
		const struct worker *w = fleet->lcores[i].worker;

		if (tls_context_sweep(w->tls) == TLS_KEYS_MAX ||
		    tls_context_sweep(w->config.upstream_tls) == TLS_KEYS_MAX)
			has_room = false;
	}
	return has_room && fleet_has_reloaded(fleet);
}

struct ticket_secrets *
fleet_tickets_place(struct fleet *fleet)
{
	for (uint32_t i = 0; i < fleet->count; i++)
		if (atomic_load_explicit(&fleet->lcores[i].tickets_taken, memory_order_acquire) !=
		    fleet->newest_tickets)
			return NULL;
	return fleet->newest_tickets == fleet->tickets[0] ? fleet->tickets[1] : fleet->tickets[0];
}

void
fleet_set_tickets(struct fleet *fleet)
{
	fleet->newest_tickets = fleet_tickets_place(fleet);
	CHECK(fleet->newest_tickets != NULL);
	for (uint32_t i = 0; i < fleet->count; i++)
		atomic_store_explicit(&fleet->lcores[i].tickets, fleet->newest_tickets, memory_order_release);
}

void
fleet_drain(struct fleet *fleet)
{
	for (uint32_t i = 0; i < fleet->count; i++)
		atomic_store(&fleet->lcores[i].drain, true);
}

void
fleet_cut(struct fleet *fleet)
{
	for (uint32_t i = 0; i < fleet->count; i++)
		atomic_store(&fleet->lcores[i].cut, true);
}

uint32_t
fleet_in_flight(const struct fleet *fleet)
{
	uint32_t sum = 0;

	for (uint32_t i = 0; i < fleet->count; i++)
		sum += atomic_load(&fleet->lcores[i].in_flight);
	return sum;
}

void
fleet_stop(struct fleet *fleet)
{
	for (uint32_t i = 0; i < fleet->count; i++)
		atomic_store(&fleet->lcores[i].stop, true);
	eal_join();
}

static void
close_taps(struct fleet *fleet)
{
	for (uint32_t p = 0; p < fleet->port_count; p++) {
		if (fleet->taps[p] == NULL)
			continue;
		tap_close(fleet->taps[p]);
		free(fleet->taps[p]);
		for (uint32_t i = 0; i < fleet->count; i++)
			fleet->lcores[i].net.kernel[p] = NULL;
	}
}

void
fleet_close(struct fleet *fleet)
{
	drop_keys(fleet);
	/* First: its thread reads the rings that net_fini() would empty. */
	close_taps(fleet);
	for (uint32_t i = 0; i < fleet->count; i++) {
		struct lcore *l = &fleet->lcores[i];
		struct tls_context *tls = l->worker->tls;
		struct tls_context *upstream_tls = l->worker->config.upstream_tls;
		struct tcp *tcp = l->worker->tcp;

		worker_free(l->worker);
		tls_context_free(tls);
		tls_context_free(upstream_tls);
		net_fini(&l->net);
		tcp_fini(tcp);
		free(fleet->tcp_memory[i]);
	}
	for (uint32_t p = 0; p < fleet->port_count; p++)
		port_close(&fleet->ports[p]);
	if (fleet->is_syncing)
		spool_sync_stop(&fleet->sync);
	spool_files_close(&fleet->spool);
	free(fleet->rings);
	free(fleet->lcores);
	eal_stop();
}
