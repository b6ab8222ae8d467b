#include "town_tls.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "cert_file.h"
#include "dataplane/secure.h"
#include "seeded.h"
#include "tls/cert.h"
#include "tls/conn.h"
#include "tls/target.h"
#include "tls_engine.h"
#include "tls_pairing.h"
#include "town.h"

#define SESSIONS 8
/* The same certificates, twice: of another bundle, so that sessions of one are not for the other. */
static const char *const authorities[] = { "ca", "again" };
/* What stays behind once: PSA's key slots, and what an RSA key keeps from its first use. */
#define BLOCKS_KEPT_MAX 24

static const struct {
	const char *pair;      /* that it shows */
	const char *authority; /* NULL: by its key alone */
	const char *pin;       /* whose key; NULL: any */
	const char *name;      /* that it must bear */
	enum err verdict;      /* of the handshake */
} trusts[TRUST_COUNT] = {
	[TRUST_CHAIN] = { "edge", "ca", NULL, "api.sluice.test", ERR_OK },
	[TRUST_PIN] = { "self", NULL, "self", "", ERR_OK },
	[TRUST_BOTH] = { "rsa", "ca", "rsa", "rsa.sluice.test", ERR_OK },
	[TRUST_WRONG_NAME] = { "edge", "ca", NULL, "other.sluice.test", ERR_TLS_PEER_NAME },
	[TRUST_EXPIRED] = { "old", "ca", NULL, "old.sluice.test", ERR_TLS_PEER_EXPIRED },
	[TRUST_UNKNOWN] = { "self", "ca", NULL, "self.sluice.test", ERR_TLS_PEER_UNKNOWN },
	[TRUST_WRONG_PIN] = { "edge", "ca", "self", "api.sluice.test", ERR_TLS_PEER_PIN },
	[TRUST_NOWHERE] = { "edge", "nobody's", "edge", "api.sluice.test", ERR_UPSTREAM_NO_TRUST },
};

/* --- made once for all seeds of the process: parsing is slow ---------------------------------- */

static void
add_authority(struct tls_authorities *to, const char *name, const char *behind)
{
	static char text[16384];
	struct bytes ca = cert_file("ca.pem"), backends = cert_file("backends.pem");
	uint32_t skipped;
	char why[256];
	int len = snprintf(text, sizeof(text), "%.*s%.*s%s", (int)ca.len, (const char *)ca.ptr, (int)backends.len,
			   (const char *)backends.ptr, behind);

	CHECK(len < (int)sizeof(text));
	CHECK(tls_authorities_add(to, name, bytes_make((const uint8_t *)text, (size_t)len), &skipped, why,
				  sizeof(why)) == ERR_OK);
}

const struct tls_authorities *
tls_upstream_authorities(void)
{
	static struct tls_authorities *made;

	if (made != NULL)
		return made;
	made = tls_authorities_new();
	CHECK(made != NULL);
	for (size_t i = 0; i < COUNT_OF(authorities); i++)
		add_authority(made, authorities[i], authorities[i]);
	return made;
}

void
tls_upstream_believe(struct town *t, const char *behind)
{
	struct tls_authorities *others = tls_authorities_new();

	CHECK(others != NULL);
	if (behind != NULL)
		add_authority(others, "ca", behind);
	(void)tls_context_sweep(t->upstream_tls);
	secure_believe(t->worker, tls_keys_new(NULL, others));
	tls_authorities_free(others);
}

/* A listener for each kind of trust. */
static const struct tls_identity *
identity(void)
{
	static struct tls_identity *made;
	char text[CERT_TEXT_BYTES];

	if (made != NULL)
		return made;
	made = tls_identity_new();
	CHECK(made != NULL);
	for (uint32_t i = 0; i < TRUST_COUNT; i++) {
		char chain[32], key[32];

		snprintf(chain, sizeof(chain), "%s.pem", trusts[i].pair);
		snprintf(key, sizeof(key), "%s.key", trusts[i].pair);
		CHECK(tls_identity_add(made, i, cert_file(chain), cert_file(key), CERT_ANY_TIME, text,
				       sizeof(text)) == ERR_OK);
	}
	return made;
}

static const struct tls_target *
pinned(enum town_trust trust)
{
	static struct tls_target made[TRUST_COUNT];

	if (made[trust].pin_count == 0)
		made[trust] = pairing_pinned(trusts[trust].pin);
	return &made[trust];
}

static int64_t
now_s(const struct town *t)
{
	return (int64_t)((tls_town_epoch_ns(t) + t->now_ns) / NSEC_PER_SEC);
}

uint64_t
tls_town_epoch_ns(const struct town *t)
{
	/* When old.pem has run out, and the others have not. */
	return UINT64_C(1000000000) * (t->plan.is_https ? 1893456000 : 1795500000);
}

/* Of the town's own clients that speak TLS 1.2 alone. */
static mbedtls_ssl_config only_12;

/* --- contexts ------------------------------------------------------------------------------------ */

static struct tls_context *
open_context(const struct town *t, const struct tls_identity *own, uint64_t draws, bool has_lanes)
{
	static struct seeded entropy;
	static const struct ticket_secrets tickets = { .layout = TICKET_SECRETS_LAYOUT, .count = 1 };
	struct tls_context_config config = { .conns_max = TOWN_CONNS_MAX,
					     .ticket_lifetime_s = own != NULL ? 3600 : 0,
					     .tickets = &tickets,
					     .entropy = seeded_entropy,
					     .owner = &entropy,
					     .authorities = tls_upstream_authorities(),
					     .connects_max = TOWN_CONNS_MAX,
					     .sessions_max = SESSIONS };
	struct tls_context *context;

	entropy.state = t->plan.seed + draws;
	config.primitives = tls_engine_primitives();
	if (has_lanes)
		tls_engine_use_lanes(&config);
	context = tls_context_new(&config, own);
	CHECK(context != NULL);
	tls_set_time(context, now_s(t));
	return context;
}

void
tls_town_open(struct town *t)
{
	if (!t->plan.is_https && !t->plan.has_our_clients)
		return;
	t->town_tls = open_context(t, identity(), 1000, false);
	/* A configuration is of many connections at once: the other one of each side has TLS 1.2 alone. */
	mbedtls_ssl_conf_max_tls_version(&t->town_tls->config_h2, MBEDTLS_SSL_VERSION_TLS1_2);
	only_12 = t->town_tls->clients.config;
	mbedtls_ssl_conf_max_tls_version(&only_12, MBEDTLS_SSL_VERSION_TLS1_2);
}

void
tls_town_close(struct town *t)
{
	if (t->town_tls != NULL)
		tls_context_free(t->town_tls);
}

struct tls_context *
tls_upstream_open(struct town *t)
{
	struct tls_context *context = open_context(t, NULL, 2000, t->plan.has_lanes);

	t->upstream_blocks = tls_context_memory(context).blocks;
	return context;
}

void
tls_describe_pod(const struct town *t, uint32_t pod, struct shm_pod *body)
{
	enum town_trust trust = t->plan.trust[pod];

	if (!t->plan.is_https)
		return;
	body->is_tls = 1;
	body->tls.name.len = (uint16_t)strlen(trusts[trust].name);
	memcpy(body->tls.name.text, trusts[trust].name, body->tls.name.len);
	if (trusts[trust].authority != NULL) {
		body->tls.authority.len = (uint16_t)strlen(trusts[trust].authority);
		memcpy(body->tls.authority.text, trusts[trust].authority, body->tls.authority.len);
	}
	if (trusts[trust].pin != NULL) {
		body->tls.pin_count = 1;
		memcpy(body->tls.pins[0], pinned(trust)->pins[0], TLS_PIN_BYTES);
	}
}

/* --- an end ---------------------------------------------------------------------------------------- */

static struct town_tls
of_ours(struct tls_conn *conn)
{
	struct town_tls tls = { .ours = conn, .stream = calloc(1, sizeof(*tls.stream)) };

	CHECK(tls.ours != NULL && tls.stream != NULL);
	return tls;
}

struct town_tls
tls_of_client(struct town *t)
{
	struct tls_target target = { .id = 1, .name = "localhost" };
	struct town_tls tls;
	uint64_t drawn;

	if (!t->plan.has_our_clients || prng_below(&t->tls_prng, 2) == 0)
		return (struct town_tls){ .stock = conn_tls(t) };
	tls_set_time(t->town_tls, now_s(t));
	drawn = prng_below(&t->tls_prng, COUNT_OF(authorities));
	target.authority = tls_find_authority(t->town_tls, bytes_from_text(authorities[drawn]));
	tls = of_ours(tls_connect(t->town_tls, &target));
	if (drawn == 1) {
		tls.ours->handshake->ssl.MBEDTLS_PRIVATE(conf) = &only_12;
		tls.ours->handshake->ssl.MBEDTLS_PRIVATE(tls_version) = MBEDTLS_SSL_VERSION_TLS1_2;
	}
	return tls;
}

struct town_tls
tls_of_backend(struct town *t, uint32_t pod)
{
	tls_set_time(t->town_tls, now_s(t));
	return of_ours(tls_accept(t->town_tls, t->plan.trust[pod], t->plan.is_tls12[pod]));
}

void
tls_free(struct town_tls *tls)
{
	tls_client_free(tls->stock);
	tls_conn_free(tls->ours);
	free(tls->stream);
	*tls = (struct town_tls){ .stock = NULL };
}

bool
tls_is_used(const struct town_tls *tls)
{
	return tls->stock != NULL || tls->ours != NULL;
}

enum err
tls_step(struct town_tls *tls, struct bytes *in, struct tls_out *out)
{
	return tls->stock != NULL ? tls_client_step(tls->stock, in, out) : tls_handshake(tls->ours, in, out);
}

enum err
tls_read(struct town_tls *tls, struct bytes *in, struct tls_out *plain, struct tls_out *out)
{
	if (tls->stock != NULL)
		return tls_client_open(tls->stock, in, plain, out);
	return tls_stream_open(tls->stream, tls->ours, in, plain, out);
}

enum err
tls_write(struct town_tls *tls, struct bytes *plain, struct tls_out *out)
{
	if (tls->stock != NULL)
		return tls_client_seal(tls->stock, plain, out);
	return tls_stream_seal(tls->stream, tls->ours, plain, out);
}

void
tls_say_end(struct town_tls *tls, struct tls_out *out)
{
	if (tls->stock != NULL) {
		CHECK(tls_client_close(tls->stock, out) == ERR_OK);
		return;
	}
	tls_close(tls->ours);
	CHECK(tls_answer(tls->ours, out) == ERR_OK);
}

void
tls_renew(struct town_tls *tls, bool asks)
{
	if (tls->ours != NULL && tls_is_open(tls->ours))
		records_renew(&tls->ours->records, asks);
}

/* --- judgement ----------------------------------------------------------------------------------------- */

static bool
has_trust(const struct town *t, enum town_trust trust)
{
	for (uint32_t i = 0; i < t->plan.pods; i++)
		if (t->plan.trust[i] == trust)
			return true;
	return false;
}

void
tls_judge(struct town *t)
{
	size_t blocks;

	if (!t->plan.is_https)
		return;
	for (uint32_t i = TRUST_COUNT_GOOD; i < TRUST_COUNT; i++)
		if (t->worker->counters[trusts[i].verdict] > 0 && !has_trust(t, i))
			town_fail(t, "%s, and no pod is one", err_name(trusts[i].verdict));
	for (uint32_t i = 0; i < t->plan.pods; i++)
		if (t->plan.shake_fault == ERR_OK &&
		    t->pods[i].refusals > t->worker->counters[trusts[t->plan.trust[i]].verdict])
			town_fail(t, "pod %u was refused %u times, and it is not counted why", i,
				  t->pods[i].refusals);
	blocks = tls_context_memory(t->upstream_tls).blocks;
	if (blocks > t->upstream_blocks + SESSIONS + BLOCKS_KEPT_MAX)
		town_fail(t, "%zu blocks of TLS towards backends, %zu at the start", blocks, t->upstream_blocks);
}
