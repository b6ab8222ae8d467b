/* How many of everything, and what they come to. */
#include "dataplane/budget.h"

#include <stdio.h>

#include "base/check.h"
#include "base/ring.h"
#include "dataplane/lcore.h"
#include "dataplane/port.h"
#include "dataplane/settings.h"
#include "dataplane/tap.h"

/* The least that tcp.send may be: CLIENT_UNACKED_BYTES_HIGH, and in one step a gathered event and a full stage,
 * sealed. */
#define SEND_BYTES_MIN (448 * 1024)
CHECK_STATIC(SEND_BYTES_MIN > CLIENT_UNACKED_BYTES_HIGH + (EVENT_BYTES_MAX + TLS_RECORD_BYTES_MAX) * 5 / 4,
	     "a step's output fits");
/* Beside the body: its last block, which is not full, and what else is kept of that request. */
#define SHARE_SPARE_BLOCKS 5
#define WINDOW_SHIFT 8 /* windows to 16 MiB */
/* Connections that linger, close or wait beside those of sessions. */
#define CONNS_SPARE 1024
#define RANGES_PER_CONNECTION 8
#define HEADS_MIN 64
#define IP4_TCP_HEADERS 40
#define IP6_TCP_HEADERS 60

/* What a surface takes as one body, and the blocks of its head, must fit an account's share (body.c), of each
 * worker: of 3/8 of the blocks what is not left to its answers. */
static uint32_t
blocks_min(const struct config *config)
{
	const struct config_surface *surfaces[] = { &config->surfaces.ecolink, &config->surfaces.infer,
						    &config->surfaces.third, &config->surfaces.fourth };
	uint64_t most = 0;

	for (size_t i = 0; i < COUNT_OF(surfaces); i++) {
		if (surfaces[i]->enabled && surfaces[i]->body_bytes_max > most)
			most = surfaces[i]->body_bytes_max;
		if (surfaces[i]->enabled && surfaces[i]->upload_bytes_max > most)
			most = surfaces[i]->upload_bytes_max;
	}
	return (uint32_t)((most / BODY_BLOCK_BYTES + SHARE_SPARE_BLOCKS) * 32 / 9);
}

static uint32_t
per_worker(const struct config *config, uint64_t all)
{
	uint64_t share = (all + config->workers - 1) / config->workers;

	return share < 1 ? 1 : (uint32_t)share;
}

void
budget_counts(const struct config *config, struct worker_counts *counts)
{
	uint32_t clients = per_worker(config, config->limits.clients);
	uint32_t upstreams = per_worker(config, config->limits.upstreams);

	counts->clients = clients;
	counts->handshakes = clients < config->limits.handshakes ? clients : config->limits.handshakes;
	counts->upstreams = upstreams;
	counts->upstream_handshakes =
		upstreams < config->limits.upstream_handshakes ? upstreams : config->limits.upstream_handshakes;
	/* A request in flight has a connection to a backend or is about to have one. */
	counts->exchanges = clients < upstreams ? clients : upstreams;
	/* A head being read by each of a part of the clients, one more by each busy backend. */
	counts->heads = HEADS_MIN + counts->exchanges / 4;
	counts->blocks = per_worker(config, config->limits.bodies_bytes / BODY_BLOCK_BYTES);
	if (counts->blocks < blocks_min(config))
		counts->blocks = blocks_min(config);
}

static struct tcp_policy
policy_of(const struct config_tcp_peer *peer)
{
	return (struct tcp_policy){
		.recv_bytes_start = (uint32_t)peer->receive_start_bytes,
		.recv_bytes_max = (uint32_t)peer->receive_max_bytes,
		.user_timeout_ns = peer->user_timeout_ns,
		.keepalive_ns = peer->keep_alive_ns,
		.keepalive_step_ns = peer->keep_alive_step_ns,
		.keepalive_probes = peer->keep_alive_probes,
	};
}

/* The smallest MTU of all ports: a connection may leave by any of them. */
static uint32_t
mtu_of(const struct config *config)
{
	uint32_t mtu = config->ports[0].mtu;

	for (uint32_t p = 1; p < config->port_count; p++)
		if (config->ports[p].mtu < mtu)
			mtu = config->ports[p].mtu;
	return mtu;
}

void
budget_tcp(const struct config *config, const struct worker_counts *counts, struct tcp_config *tcp)
{
	uint32_t mtu = mtu_of(config);
	uint32_t sessions = counts->clients + counts->upstreams;

	*tcp = (struct tcp_config){
		.conns_max = sessions + CONNS_SPARE,
		.half_open_max = config->tcp.half_open > 0 ? per_worker(config, config->tcp.half_open) :
							     counts->clients / 4 + CONNS_SPARE,
		.time_wait_max =
			config->tcp.time_wait > 0 ? per_worker(config, config->tcp.time_wait) : sessions,
		.orphans_max = config->tcp.orphans > 0 ? per_worker(config, config->tcp.orphans) : 0,
		.ranges_max = (sessions + CONNS_SPARE) * RANGES_PER_CONNECTION,
		.mss_v4 = (uint16_t)(mtu - IP4_TCP_HEADERS),
		.mss_v6 = (uint16_t)(mtu - IP6_TCP_HEADERS),
		.recv_bytes_max = (uint32_t)config->tcp.clients.receive_max_bytes,
		.send_bytes_max = (uint32_t)config->tcp.send_bytes,
		.window_shift = WINDOW_SHIFT,
		.time_wait_ns = config->tcp.time_wait_time_ns,
		.fin_wait_ns = config->tcp.fin_wait_time_ns,
		.peer_mss_min = (uint16_t)config->tcp.mss_min,
		.syn_acks_max = config->tcp.syn_acks,
		.path_mtu_min_v4 = (uint16_t)config->tcp.path_mtu_min,
		.ecn_connect = config->tcp.asks_for_ecn,
	};
	tcp->policies[TCP_POLICY_ACCEPTED] = policy_of(&config->tcp.clients);
	tcp->policies[TCP_POLICY_CONNECTED] = policy_of(&config->tcp.backends);
}

void
budget_pools(const struct config *config, struct pools_plan *plan)
{
	uint32_t mtu = 0;

	for (uint32_t p = 0; p < config->port_count; p++)
		if (config->ports[p].mtu > mtu)
			mtu = config->ports[p].mtu;
	pools_plan(plan, mtu, PORT_DESCRIPTORS * config->port_count, config->memory.bytes / config->workers);
}

/* --- the sum --------------------------------------------------------------------------------- */

struct sum {
	const struct config_complaints *to;
	uint64_t bytes;
};

static void
say(const struct sum *sum, const char *group, const char *name, uint64_t count, uint64_t each_bytes,
    uint64_t bytes)
{
	char line[128];

	snprintf(line, sizeof(line), "  %-8s %-17s %10llu x %8llu B %12llu KiB", group, name,
		 (unsigned long long)count, (unsigned long long)each_bytes, (unsigned long long)(bytes / KIB));
	sum->to->line(sum->to->owner, line);
}

static void
add(struct sum *sum, const char *group, const char *name, uint64_t count, uint64_t each_bytes, uint64_t bytes)
{
	say(sum, group, name, count, each_bytes, bytes);
	sum->bytes += bytes;
}

static void
add_packets(struct sum *sum, const struct config *config)
{
	struct pools_part parts[POOLS_PARTS];
	struct pools_plan plan;

	budget_pools(config, &plan);
	pools_parts(&plan, parts);
	for (int i = 0; i < POOLS_PARTS; i++)
		add(sum, "packets", parts[i].name, parts[i].count, parts[i].each_bytes,
		    (uint64_t)parts[i].count * parts[i].each_bytes);
}

static void
add_tcp(struct sum *sum, const struct config *config, const struct worker_counts *counts)
{
	struct tcp_part parts[TCP_PARTS];
	struct tcp_config tcp;

	budget_tcp(config, counts, &tcp);
	tcp_parts(&tcp, parts);
	for (int i = 0; i < TCP_PARTS; i++)
		add(sum, "tcp", parts[i].name, parts[i].count, parts[i].each_bytes, parts[i].bytes);
}

static void
add_sessions(struct sum *sum, const struct config *config, const struct worker_counts *counts)
{
	struct worker_part parts[WORKER_PARTS];
	struct shm_capacity tables = { .count = { [SHM_PODS] = config->capacity.pods,
						  [SHM_DEPLOYMENTS] = config->capacity.deployments,
						  [SHM_MODELS] = config->capacity.models,
						  [SHM_INSTANCES] = config->capacity.instances,
						  [SHM_ACCOUNTS] = config->capacity.accounts } };

	worker_parts(counts, &tables, parts);
	for (int i = 0; i < WORKER_PARTS; i++)
		add(sum, "sessions", parts[i].name, parts[i].count, parts[i].each_bytes, parts[i].bytes);
}

static void
add_stacks(struct sum *sum, const char *name, uint32_t handshakes)
{
	uint32_t count = handshakes < TLS_FIBERS_MAX ? handshakes : TLS_FIBERS_MAX;

	add(sum, "tls", name, count, TLS_FIBER_BYTES, (uint64_t)count * TLS_FIBER_BYTES);
}

static void
add_keys(struct sum *sum, const char *name, size_t each_bytes)
{
	add(sum, "tls", name, TLS_KEYS_MAX, each_bytes, (uint64_t)TLS_KEYS_MAX * each_bytes);
}

/* Towards clients, and towards backends. */
static void
add_tls(struct sum *sum, const struct worker_counts *counts, const struct credentials *credentials)
{
	add(sum, "tls", "contexts", 2, TLS_CONTEXT_BYTES, 2 * TLS_CONTEXT_BYTES);
	add_keys(sum, "keys", tls_keys_bytes(credentials->identity, NULL));
	add(sum, "tls", "handshakes", counts->handshakes, TLS_HANDSHAKE_BYTES,
	    (uint64_t)counts->handshakes * TLS_HANDSHAKE_BYTES);
	add_stacks(sum, "stacks", counts->handshakes);
	add(sum, "tls", "connections", counts->clients, TLS_CONN_BYTES,
	    (uint64_t)counts->clients * TLS_CONN_BYTES);
	add(sum, "tls", "with backends", counts->upstreams, TLS_CONN_BYTES + TLS_CONNECT_BYTES,
	    (uint64_t)counts->upstreams * (TLS_CONN_BYTES + TLS_CONNECT_BYTES));
	add_keys(sum, "their authorities", tls_keys_bytes(NULL, credentials->authorities));
	add(sum, "tls", "their handshakes", counts->upstream_handshakes, TLS_HANDSHAKE_BYTES,
	    (uint64_t)counts->upstream_handshakes * TLS_HANDSHAKE_BYTES);
	add_stacks(sum, "their stacks", counts->upstream_handshakes);
	add(sum, "tls", "their sessions", UPSTREAM_SESSIONS_MAX, TLS_SESSION_BYTES,
	    (uint64_t)UPSTREAM_SESSIONS_MAX * TLS_SESSION_BYTES);
}

uint64_t
budget_print(const struct config *config, const struct credentials *credentials,
	     const struct config_complaints *to)
{
	struct sum sum = { .to = to };
	struct worker_counts counts;
	struct worker_config worker = { 0 };
	uint64_t rings = (uint64_t)config->workers * config->workers;
	char line[128];

	budget_counts(config, &counts);
	to->line(to->owner, "memory of one worker:");
	add_packets(&sum, config);
	add_tcp(&sum, config, &counts);
	add_sessions(&sum, config, &counts);
	add_tls(&sum, &counts, credentials);
	settings_fill(config, &worker);
	add(&sum, "http2", "arena", worker.h2.bytes > 0, worker.h2.bytes, worker.h2.bytes);
	add(&sum, "core", "neighbours, paths", 1, sizeof(struct lcore), sizeof(struct lcore));
	say(&sum, "worker", "sum", 1, sum.bytes, sum.bytes);
	to->line(to->owner, "memory of all:");
	say(&sum, "workers", "", config->workers, sum.bytes, sum.bytes * config->workers);
	sum.bytes *= config->workers;
	add(&sum, "rings", "", rings, sizeof(struct ring), rings * sizeof(struct ring));
	for (uint32_t p = 0; p < config->port_count; p++)
		if (config->ports[p].exception.tap[0] != '\0')
			add(&sum, "tap", config->ports[p].exception.tap, 1, tap_bytes(config->workers),
			    tap_bytes(config->workers));
	snprintf(line, sizeof(line), "  total %llu KiB", (unsigned long long)(sum.bytes / KIB));
	to->line(to->owner, line);
	return sum.bytes;
}
