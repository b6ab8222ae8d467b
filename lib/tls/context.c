/* What a worker's connections have in common: certificates, tickets, and the pool. */
#include "tls/conn.h"

#include <psa/crypto.h>

#include "base/check.h"
#include "base/units.h"
#include "tls/crypto.h"
#include "tls/identity.h"
#include "tls/terms.h"

#define PROBE_ARENA_BYTES (256u * KIB)

/* So that there is always a full one, or a fiber left. */
CHECK_STATIC(LANES_KINDS * (LANES - 1) < TLS_FIBERS_MAX, "of lanes that are not full a fiber is left");
CHECK_STATIC(FIBER_IS_WATCHED || FIBER_BYTES == TLS_FIBER_BYTES, "as the budget counts it");

#define TICKET_LIFETIME_S_MAX 604800 /* RFC 8446 4.6.1 */

#define OFFERS_MAX 2
static const char *const protocols[] = { "http/1.1", NULL };
static const char *const protocols_h2[] = { "h2", "http/1.1", NULL };

/* mbedTLS's callback: what the client's listener shows for the name that is asked for, and whom it believes. */
static int
choose_pairs(mbedtls_ssl_context *ssl)
{
	struct handshake *hs = mbedtls_ssl_get_user_data_p(ssl);
	struct keys_clients *clients = &hs->keys->clients[hs->listener];
	size_t len = 0;
	const unsigned char *name = mbedtls_ssl_get_hs_sni(ssl, &len);

	hs->sni_len = 0;
	if (name != NULL && len <= CONN_SNI_BYTES_MAX) {
		memcpy(hs->sni, name, len);
		hs->sni_len = (uint8_t)len;
	}
	if (clients->cas != NULL) {
		mbedtls_ssl_set_hs_ca_chain(ssl, clients->cas, NULL);
		/* step() is stricter. */
		mbedtls_ssl_set_hs_authmode(ssl, MBEDTLS_SSL_VERIFY_OPTIONAL);
	}
	return keys_choose(hs->keys, hs->listener, bytes_make(hs->sni, hs->sni_len), ssl);
}

void
context_put_keys(struct tls_context *context, struct tls_keys *keys)
{
	struct tls_keys *next = atomic_load_explicit(&context->wiped, memory_order_relaxed);

	if (!keys_put(keys))
		return;
	instance_take_back(context->instance, instance_arena(keys->instance));
	do
		keys->next = next;
	while (!atomic_compare_exchange_weak_explicit(&context->wiped, &next, keys, memory_order_release,
						      memory_order_relaxed));
}

/* Before the keys, so that it is locked with them. */
static bool
make_keyring(struct tls_context *context, const char *records)
{
	size_t align = _Alignof(struct keyring);
	uint8_t *memory = arena_alloc(instance_arena(context->instance), sizeof(struct keyring) + align - 1);

	if (memory == NULL)
		return false;
	context->ring = (struct keyring *)(((uintptr_t)memory + align - 1) & ~(uintptr_t)(align - 1));
	if (!keyring_init(context->ring, records))
		return false;
	/* mbedTLS does its own without the detour. */
	if (context->ring->aead.kind != AEAD_MBEDTLS)
		instance_set_keyring(context->instance, context->ring);
	return true;
}

static bool
make_pool(struct tls_context *context, uint32_t conns_max)
{
	context->conns =
		arena_alloc(instance_arena(context->instance), conns_max * sizeof(*context->conns));
	if (context->conns == NULL)
		return false;
	context->conns_max = conns_max;
	for (uint32_t i = conns_max; i-- > 0;) {
		context->conns[i].context = context;
		context->conns[i].next_free = context->free_conns;
		context->free_conns = &context->conns[i];
	}
	return true;
}

/* What is offered; handshake.c adds whom a listener believes of its clients. */
static void
digest_policy(const char *const *offered, uint8_t policy[TICKET_POLICY_BYTES])
{
	struct bytes names[OFFERS_MAX];
	size_t count = 0;

	/* With the byte behind each, so that no two lists are one text. */
	for (; offered[count] != NULL; count++) {
		CHECK(count < OFFERS_MAX);
		names[count] = bytes_make(offered[count], strlen(offered[count]) + 1);
	}
	derive_digest(DERIVE_SHA256, names, count, policy);
}

static bool
configure(struct tls_context *context, const struct tls_context_config *config, mbedtls_ssl_config *ssl,
	  const char *const *offered, uint8_t policy[TICKET_POLICY_BYTES])
{
	if (!terms_set(ssl, context->instance, MBEDTLS_SSL_IS_SERVER, offered))
		return false;
	mbedtls_ssl_conf_authmode(ssl, MBEDTLS_SSL_VERIFY_NONE);
	mbedtls_ssl_conf_cert_cb(ssl, choose_pairs);
	digest_policy(offered, policy);
	if (config->ticket_lifetime_s == 0)
		return true;
	CHECK(config->ticket_lifetime_s <= TICKET_LIFETIME_S_MAX);
	context->tickets.instance = context->instance;
	context->tickets.lifetime_s = config->ticket_lifetime_s;
	tls_set_tickets(context, config->tickets);
	mbedtls_ssl_conf_session_tickets_cb(ssl, ticket_write, ticket_parse, &context->tickets);
	mbedtls_ssl_conf_new_session_tickets(ssl, 1);
	return true;
}

static void
adopt_keys(struct tls_context *context, struct tls_keys *keys)
{
	CHECK(atomic_fetch_add_explicit(&context->keys_count, 1, memory_order_relaxed) < TLS_KEYS_MAX);
	instance_lend(context->instance, instance_arena(keys->instance));
	context->keys = keys;
}

void
tls_prepare(void)
{
	(void)crypto_prepare();
}

bool
tls_has_primitives(const char *name)
{
	struct instance *instance = instance_new(PROBE_ARENA_BYTES, NULL, NULL);
	bool has = instance != NULL && instance_use_primitives(instance, name);

	instance_free(instance);
	return has;
}

bool
tls_has_records(const char *name)
{
	struct aead aead;

	if (!aead_choose(&aead, name))
		return false;
	aead_fini(&aead);
	return true;
}

static bool
choose_primitives(struct instance *instance, const struct tls_context_config *config)
{
	if (config->lanes == NULL)
		return instance_use_primitives(instance, config->primitives);
	return instance_use_primitives(instance, "libcrypto") && instance_use_lanes(instance, config->lanes);
}

struct tls_context *
tls_context_new(const struct tls_context_config *config, const struct tls_identity *identity)
{
	uint32_t handshakes_max = config->handshakes_max != 0 ? config->handshakes_max : config->conns_max;
	size_t for_handshakes = config->arena_bytes != 0 ? config->arena_bytes :
							   (size_t)handshakes_max * TLS_HANDSHAKE_BYTES;
	struct instance *instance = instance_new(TLS_CONTEXT_BYTES + for_handshakes +
							 (size_t)config->conns_max * sizeof(struct tls_conn) +
							 connect_bytes(config),
						 config->entropy, config->owner);
	struct tls_keys *keys;
	struct instance *before;
	struct tls_context *context;
	bool made;

	CHECK(identity == NULL || tls_identity_count(identity) > 0);
	if (instance == NULL)
		return NULL;
	if (!choose_primitives(instance, config)) {
		instance_free(instance);
		return NULL;
	}
	keys = tls_keys_new(identity, config->authorities);
	before = instance_enter(instance);
	context = arena_alloc(instance_arena(instance), sizeof(*context));
	CHECK(context != NULL);
	context->instance = instance;
	context->handshakes_max = handshakes_max;
	context->fibers = fiber_pool_new(handshakes_max < TLS_FIBERS_MAX ? handshakes_max : TLS_FIBERS_MAX);
	mbedtls_ssl_config_init(&context->config);
	mbedtls_ssl_config_init(&context->config_h2);
	if (keys != NULL)
		adopt_keys(context, keys);
	made = context->fibers != NULL && keys != NULL &&
	       make_keyring(context, config->records) &&
	       configure(context, config, &context->config, protocols, context->policy) &&
	       configure(context, config, &context->config_h2, protocols_h2, context->policy_h2) &&
	       connect_setup_init(&context->clients, instance, config) &&
	       make_pool(context, config->conns_max);
	instance_leave(before);
	if (!made) {
		tls_context_free(context);
		return NULL;
	}
	return context;
}

CHECK_STATIC(IDENTITY_LISTENERS_MAX <= 32, "a bit for each listener");

static uint32_t
listeners_that_ask_anew(const struct tls_keys *old, const struct tls_keys *keys)
{
	uint32_t listeners = 0;

	for (uint32_t i = 0; i < IDENTITY_LISTENERS_MAX; i++) {
		const struct keys_clients *was = &old->clients[i], *is = &keys->clients[i];

		if (is->cas != NULL &&
		    (was->cas == NULL || memcmp(was->digest, is->digest, sizeof(is->digest)) != 0))
			listeners |= UINT32_C(1) << i;
	}
	return listeners;
}

uint32_t
tls_context_replace(struct tls_context *context, struct tls_keys *keys)
{
	struct instance *before = instance_enter(context->instance);
	struct tls_keys *old = context->keys;
	uint32_t listeners = listeners_that_ask_anew(old, keys);

	adopt_keys(context, keys);
	context_put_keys(context, old);
	connect_renew(context);
	instance_leave(before);
	return listeners;
}

unsigned int
tls_context_sweep(struct tls_context *context)
{
	struct tls_keys *keys = atomic_exchange_explicit(&context->wiped, NULL, memory_order_acquire);

	while (keys != NULL) {
		struct tls_keys *next = keys->next;

		tls_keys_free(keys);
		atomic_fetch_sub_explicit(&context->keys_count, 1, memory_order_relaxed);
		keys = next;
	}
	return atomic_load_explicit(&context->keys_count, memory_order_relaxed);
}

void
tls_context_free(struct tls_context *context)
{
	struct instance *before;
	struct instance *instance;

	if (context == NULL)
		return;
	instance = context->instance;
	before = instance_enter(instance);
	for (uint32_t i = 0; i < context->conns_max; i++)
		CHECK(context->conns[i].state == CONN_FREE);
	if (context->keys != NULL)
		context_put_keys(context, context->keys);
	connect_setup_fini(&context->clients);
	mbedtls_ssl_config_free(&context->config);
	mbedtls_ssl_config_free(&context->config_h2);
	instance_set_keyring(instance, NULL);
	if (context->ring != NULL)
		keyring_fini(context->ring);
	fiber_pool_free(context->fibers);
	instance_leave(before);
	CHECK(tls_context_sweep(context) == 0);
	instance_free(instance);
}

void
tls_set_time(struct tls_context *context, int64_t now_s)
{
	instance_set_time(context->instance, now_s);
}

void
tls_set_tickets(struct tls_context *context, const struct ticket_secrets *secrets)
{
	if (context->tickets.lifetime_s == 0)
		return;
	CHECK(secrets != NULL && ticket_secrets_are_whole(secrets, sizeof(*secrets)));
	context->tickets.secrets = *secrets;
}

uint32_t
tls_lanes_run(struct tls_context *context, uint64_t now_ns)
{
	struct lanes *lanes = instance_lanes(context->instance);
	struct instance *before;
	uint32_t used;

	if (lanes == NULL)
		return 0;
	before = instance_enter(context->instance);
	used = lanes_run(lanes, now_ns);
	instance_leave(before);
	return used;
}

uint64_t
tls_lanes_next_at(const struct tls_context *context)
{
	const struct lanes *lanes = instance_lanes(context->instance);

	return lanes != NULL ? lanes_next_at(lanes) : UINT64_MAX;
}

void *
tls_lanes_done(struct tls_context *context)
{
	struct lanes *lanes = instance_lanes(context->instance);
	struct lanes_seat *seat = lanes != NULL ? lanes_next_done(lanes) : NULL;

	return seat != NULL ? seat->owner : NULL;
}

const char *
tls_context_primitives(const struct tls_context *context)
{
	return instance_primitives(context->instance);
}

const char *
tls_context_ciphers(const struct tls_context *context)
{
	return context->ring->aead.name;
}

struct arena_use
tls_context_memory(const struct tls_context *context)
{
	return arena_use(instance_arena(context->instance));
}
