/* The router under test: tables, TLS, spool, packets, one worker. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "cert_file.h"
#include "defaults.h"
#include "seeded.h"
#include "tls/cert.h"
#include "tls/keyhash.h"
#include "tls_engine.h"
#include "town.h"

#define EXCHANGES (32 * TOWN_SCALE)
#define SPOOL_RECORDS (256 * TOWN_SCALE)
#define PACKETS (8192 * TOWN_SCALE)
#define FEW 4u /* entries of each table */

/* The clients' key, and those of two other accounts. */
static const char *const key_texts[] = { "eco_town0000000000000000", "eco_town1111111111111111",
					 "eco_town2222222222222222" };

static void
name_set(char *to, uint16_t *len, const char *text)
{
	*len = (uint16_t)strlen(text);
	memcpy(to, text, *len);
}

static void
put_accounts(struct town *t)
{
	bool changed;

	for (uint32_t i = 0; i < COUNT_OF(key_texts); i++) {
		struct shm_account account = { .account_id = 11 + 100 * i, .live = 1 };
		struct shm_key key = { .key_id = 13 + 100 * i, .account = i, .live = 1 };

		keyhash_make(t->shm.header->pepper, bytes_from_text(key_texts[i]), key.hash);
		CHECK(shm_put_account(&t->shm, i, &account, &changed) == ERR_OK);
		CHECK(shm_put_key(&t->shm, i, &key, &changed) == ERR_OK);
		atomic_store(&shm_balance(&t->shm, i)->credited_nano, INT64_C(1000000000000));
	}
}

static void
put_tables(struct town *t)
{
	struct shm_plan plan = { .plan_id = 12, .live = 1 };
	struct shm_price price = { .price_id = 14, .version = 3, .live = 1,
				   .input_nano_per_mtoken = 150000000,
				   .output_nano_per_mtoken = 600000000, .byte_nano_per_million = 1 };
	struct shm_region region = { .region_id = 15, .live = 1 };
	struct shm_deployment deployments[2] = { { .deployment_id = 16, .live = 1 },
						 { .deployment_id = 18, .live = 1 } };
	struct shm_model model = { .model_id = 17, .live = 1,
				   .target = { .price = 0, .deployment_count = 2, .deployments = { 0, 1 },
					       .policy = (uint8_t)t->plan.policy,
					       .resend = (uint8_t)t->plan.resend,
					       .retry_percent = (uint16_t)t->plan.retry_percent } };
	bool changed;

	name_set(region.name.text, &region.name.len, "mv");
	for (int i = 0; i < 2; i++)
		name_set(deployments[i].served_name.text, &deployments[i].served_name.len, "served/name");
	name_set(model.name.text, &model.name.len, "town-model");
	for (uint32_t i = 0; i < t->plan.pods; i++) {
		struct shm_deployment *deployment = &deployments[i >= t->plan.first_pods];

		pods_put(t, i, SHM_POD_READY);
		deployment->pods[deployment->pod_count++] = i;
	}
	CHECK(shm_put_plan(&t->shm, 0, &plan, &changed) == ERR_OK);
	CHECK(shm_put_price(&t->shm, 0, &price, &changed) == ERR_OK);
	CHECK(shm_put_region(&t->shm, 0, &region, &changed) == ERR_OK);
	for (uint32_t i = 0; i < 2; i++)
		CHECK(shm_put_deployment(&t->shm, i, &deployments[i], &changed) == ERR_OK);
	CHECK(shm_put_model(&t->shm, 0, &model, &changed) == ERR_OK);
	put_accounts(t);
}

/* A catalogue with names of their own. */
static void
put_models(struct town *t)
{
	for (uint32_t i = 0; i < t->plan.models; i++) {
		struct shm_model model = { .model_id = 1000 + i, .live = 1, .target = { .price = SHM_NONE } };
		char name[24];
		bool changed;

		snprintf(name, sizeof(name), "model-%04u", i);
		name_set(model.name.text, &model.name.len, name);
		CHECK(shm_put_model(&t->shm, FEW + i, &model, &changed) == ERR_OK);
	}
}

static void
open_tables(struct town *t)
{
	static const uint8_t id[16] = { 1 };
	static const uint8_t pepper[32] = { 2 };
	struct shm_capacity capacity = { 0 };
	uint64_t bytes;

	for (int i = SHM_KEYS; i <= SHM_REGIONS; i++)
		capacity.count[i] = FEW;
	capacity.count[SHM_MODELS] += t->plan.models;
	bytes = shm_bytes(&capacity, 1);
	t->shm_memory = aligned_alloc(CACHE_LINE_BYTES, bytes);
	CHECK(t->shm_memory != NULL);
	memset(t->shm_memory, 0, bytes);
	shm_format(t->shm_memory, &capacity, 1, id, pepper);
	CHECK(shm_attach(&t->shm, t->shm_memory, bytes) == ERR_OK);
	put_tables(t);
	put_models(t);
	t->spool_memory = aligned_alloc(CACHE_LINE_BYTES, spool_bytes(SPOOL_RECORDS));
	CHECK(t->spool_memory != NULL);
	memset(t->spool_memory, 0, spool_bytes(SPOOL_RECORDS));
	spool_format(t->spool_memory, 1, 0, 0, SPOOL_RECORDS);
	spool_writer_init(&t->spool, t->spool_memory);
	t->tab = aligned_alloc(CACHE_LINE_BYTES, tab_bytes(EXCHANGES));
	CHECK(t->tab != NULL);
	memset(t->tab, 0, tab_bytes(EXCHANGES));
	tab_format(t->tab, 1, 0, EXCHANGES);
}

/* One for all seeds of the process: parsing keys is slow. */
static const struct tls_identity *
identity(void)
{
	static struct tls_identity *made;
	char text[CERT_TEXT_BYTES];

	if (made == NULL) {
		made = tls_identity_new();
		CHECK(tls_identity_add(made, 0, cert_file("edge.pem"), cert_file("edge.key"), CERT_ANY_TIME, text,
				       sizeof(text)) == ERR_OK);
	}
	return made;
}

static void
open_tls(struct town *t)
{
	static struct seeded entropy;
	static const struct ticket_secrets tickets = { .layout = TICKET_SECRETS_LAYOUT, .count = 1 };
	struct tls_context_config config = { .conns_max = 32 * TOWN_SCALE,
					     .ticket_lifetime_s = 3600,
					     .tickets = &tickets,
					     .entropy = seeded_entropy, .owner = &entropy };

	entropy.state = t->plan.seed;
	tls_engine_choose(&config);
	if (t->plan.has_lanes)
		tls_engine_use_lanes(&config);
	t->tls = tls_context_new(&config, identity());
	CHECK(t->tls != NULL);
	tls_set_time(t->tls, INT64_C(1795500000));
}

static void
fill_net(struct town *t, bool of_router, struct net_config *net)
{
	static const struct eth_addr macs[2] = { { { 2, 0, 0, 0, 0, 1 } }, { { 2, 0, 0, 0, 0, 2 } } };
	struct ip_port *port = &net->ip.ports[0];

	net->count = 1;
	net->ip.port_count = 1;
	net->ip.announce = true;
	net->ip.hash_key = t->plan.seed;
	port->mac = macs[of_router ? 0 : 1];
	port->mtu_bytes = 1500;
	port->address_count = of_router || t->plan.networks == 0 ? 1 : t->plan.networks;
	for (uint32_t i = 0; i < port->address_count; i++) {
		port->addresses[i].address = town_address(t, of_router);
		port->addresses[i].address.byte[14] += (uint8_t)i;
		port->addresses[i].prefix_bits = t->plan.is_v6 ? 64 : 112;
	}
}

static struct tcp *
open_tcp(struct town *t, bool of_router, struct pkt_pool *header, struct pkt_pool *bare, void **memory)
{
	struct tcp_config config = {
		.conns_max = 256 * TOWN_SCALE,
		.half_open_max = 64 * TOWN_SCALE,
		.time_wait_max = 256 * TOWN_SCALE,
		.ranges_max = 8192 * TOWN_SCALE,
		.mss_v4 = 1460,
		.mss_v6 = 1440,
		.recv_bytes_max = 64 * 1024,
		.send_bytes_max = 512 * 1024,
		.window_shift = 8,
		/* A reset may be lost, and nobody repeats it: who waits asks now and then. */
		.keepalive_ns = 20 * NSEC_PER_SEC,
		.seed = t->plan.seed + of_router,
		.hash_key = { (uint8_t)t->plan.seed, of_router },
		.cookie_key = { (uint8_t)t->plan.seed, 9 },
	};
	size_t bytes = (tcp_bytes(&config) + 63) & ~(size_t)63;

	if (of_router && t->plan.ports > 0) {
		config.ephemeral_port_min = 20000;
		config.ephemeral_port_max = (uint16_t)(20000 + t->plan.ports - 1);
	}
	*memory = aligned_alloc(CACHE_LINE_BYTES, bytes);
	CHECK(*memory != NULL);
	return tcp_init(*memory, &config, header, bare, t->now_ns);
}

/* Such as no honest client meets. */
static struct h2_limits
generous_h2(void)
{
	struct h2_limits h2 = defaults_worker()->h2;

	h2.bytes = 8 * MIB;
	h2.connection_bytes = MIB;
	h2.guard.resets = 1000;
	return h2;
}

void
router_open(struct town *t)
{
	struct worker_config worker = {
		.counts = { .clients = 32 * TOWN_SCALE, .exchanges = EXCHANGES, .upstreams = 32 * TOWN_SCALE,
			    .heads = 64 * TOWN_SCALE, .blocks = 256 * TOWN_SCALE },
		.times = defaults_worker()->times,
		.limits = defaults_worker()->limits,
		.routing = defaults_worker()->routing,
		.listeners = { { .port = 443, .tls = t->plan.is_tls, .http2 = t->plan.is_h2 } },
		.listener_count = 1,
		.unix_minus_monotonic_ns = (int64_t)tls_town_epoch_ns(t),
	};
	struct net_config net = { 0 };

	open_tables(t);
	pkt_pool_init(&t->router_header, PACKETS);
	pkt_pool_init(&t->router_bare, PACKETS);
	pkt_pool_init(&t->router_payload, PACKETS);
	pkt_pool_init(&t->router_receive, PACKETS);
	t->router_tcp = open_tcp(t, true, &t->router_header, &t->router_bare, &t->router_tcp_memory);
	net.tcp = t->router_tcp;
	net.pool = &t->router_payload;
	fill_net(t, true, &net);
	net_init(&t->router_net, &net, t->now_ns);
	if (t->plan.is_tls)
		open_tls(t);
	if (t->plan.is_https)
		t->upstream_tls = tls_upstream_open(t);
	tls_town_open(t);
	if (t->plan.is_h2)
		worker.h2 = t->plan.h2.bytes > 0 ? t->plan.h2 : generous_h2();
	/* A lossy wire is slow, and slowness is not what is tested here. */
	worker.times.handshake_ns = 120 * NSEC_PER_SEC;
	worker.times.header_ns = 120 * NSEC_PER_SEC;
	worker.times.body_ns = 120 * NSEC_PER_SEC;
	worker.times.idle_ns = 300 * NSEC_PER_SEC;
	worker.times.h2_window_ns = 300 * NSEC_PER_SEC;
	worker.times.connect_ns = 40 * NSEC_PER_SEC;
	worker.times.connect_tls_ns = 40 * NSEC_PER_SEC;
	if (t->plan.per_source > 0)
		worker.limits.per_source = t->plan.per_source;
	if (t->plan.heads > 0)
		worker.counts.heads = t->plan.heads;
	if (t->plan.handshakes > 0)
		worker.limits.handshakes = t->plan.handshakes;
	if (t->plan.handshakes_per_source > 0)
		worker.limits.handshakes_per_source = t->plan.handshakes_per_source;
	worker.routing.retry_burst = t->plan.retry_burst;
	worker.routing.eject_percent = t->plan.eject_percent;
	/* Each move may take a pod away from a request, and each pod may be one that is not believed. */
	if (t->plan.move_count > 0 || t->plan.is_https)
		worker.routing.tries = TRIES_MAX;
	worker.surfaces[SHM_SURFACE_ECOLINK] = (struct worker_surface){
		true, true, "/v1", "eco_", "x-ecolink-", 0, 32 * MIB, 26 * MIB, 25 * MIB,
		REFUSAL_FORM_OPENAI, false, "", false
	};
	worker.surfaces[SHM_SURFACE_INFER] = (struct worker_surface){
		true, true, "/api/v1", "sk-infer-", "x-infer-", 0, MIB, 26 * MIB, 25 * MIB,
		REFUSAL_FORM_CODES, true, "", true
	};
	worker.shm = t->shm;
	worker.net = &t->router_net;
	worker.tcp = t->router_tcp;
	worker.tls = t->tls;
	worker.upstream_tls = t->upstream_tls;
	worker.spool = &t->spool;
	worker.tab = t->tab;
	worker.payload_pool = &t->router_payload;
	worker.source_v4 = town_address(t, true);
	worker.source_v6 = town_address(t, true);
	memcpy(worker.id_key, &t->plan.seed, sizeof(t->plan.seed));
	t->worker = worker_new(&worker, t->now_ns);
	CHECK(t->worker != NULL && worker_listen(t->worker) == ERR_OK);

	pkt_pool_init(&t->town_header, PACKETS);
	pkt_pool_init(&t->town_bare, PACKETS);
	pkt_pool_init(&t->town_payload, PACKETS);
	pkt_pool_init(&t->town_receive, PACKETS);
	t->town_tcp = open_tcp(t, false, &t->town_header, &t->town_bare, &t->town_tcp_memory);
	net = (struct net_config){ .tcp = t->town_tcp, .pool = &t->town_payload };
	fill_net(t, false, &net);
	net_init(&t->town_net, &net, t->now_ns);
	t->link[0] = link_new(&t->plan.link[0], &t->router_receive, t->plan.seed * 2);
	t->link[1] = link_new(&t->plan.link[1], &t->town_receive, t->plan.seed * 2 + 1);
}

void
router_close(struct town *t)
{
	worker_free(t->worker);
	if (t->upstream_tls != NULL)
		tls_context_free(t->upstream_tls);
	tls_town_close(t);
	if (t->tls != NULL)
		tls_context_free(t->tls);
	net_fini(&t->router_net);
	tcp_fini(t->router_tcp);
	net_fini(&t->town_net);
	tcp_fini(t->town_tcp);
	link_free(t->link[0]);
	link_free(t->link[1]);
	CHECK(t->router_header.used == 0 && t->router_bare.used == 0);
	CHECK(t->router_payload.used == 0 && t->router_receive.used == 0);
	CHECK(t->town_header.used == 0 && t->town_bare.used == 0);
	CHECK(t->town_payload.used == 0 && t->town_receive.used == 0);
	free(t->router_tcp_memory);
	free(t->town_tcp_memory);
	free(t->spool_memory);
	free(t->tab);
	free(t->shm_memory);
}
