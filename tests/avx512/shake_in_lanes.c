/*
 * Handshakes beside each other by crypto_mb's own lanes, each kind of them: all open, and as many batches run as
 * there are kinds that they wait for. With SLUICE_TLS_PRIMITIVES=crypto_mb in its environment.
 */
#include <stdio.h>

#include <mbedtls/ssl.h>

#include "base/units.h"
#include "cert_file.h"
#include "tls/lanes.h"
#include "tls_duo.h"

#define SKIPPED 77
#define AT_ONCE 3 /* enough for a batch of each kind */

static const uint16_t p256[] = { MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE };

static const struct scene {
	const char *chain;
	const char *host;
	const char *ca;
	uint16_t version;
	const uint16_t *groups;
	uint32_t batches;
} scenes[] = {
	{ "edge", "api.sluice.test", "ca.pem", 0x0304, NULL, 3 },
	{ "edge", "api.sluice.test", "ca.pem", 0x0304, p256, 3 },
	{ "edge", "api.sluice.test", "ca.pem", 0x0303, NULL, 3 },
	{ "p384", "p384.sluice.test", "p384.pem", 0x0304, NULL, 3 },
	{ "rsa", "api.sluice.test", "ca.pem", 0x0304, NULL, 4 },
};

static struct tls_duo duos[AT_ONCE];
static struct seeded seed = { 5 };

/* Of what has waited long enough; 0: nothing. */
static uint32_t
run_later(struct tls_context *context)
{
	static uint64_t now_ns = NSEC_PER_SEC;
	uint32_t used;

	now_ns += LANES_WAIT_US * NSEC_PER_USEC;
	used = tls_lanes_run(context, now_ns);
	while (tls_lanes_done(context) != NULL)
		;
	return used;
}

static bool
shake(const struct scene *scene)
{
	struct tls_identity *identity = tls_duo_identity((const char *const[]){ scene->chain, NULL });
	struct tls_context *context = tls_duo_context(identity, AT_ONCE, &seed, 1);
	struct tls_client_config client = tls_duo_client_of(scene->version);
	uint32_t batches = 0;
	uint32_t filled;
	bool is_good = true;

	client.ca_pem = cert_file(scene->ca);
	client.host = scene->host;
	client.groups = scene->groups;
	for (uint32_t i = 0; i < AT_ONCE; i++) {
		client.seed = i;
		tls_duo_init(&duos[i], context, &client);
		duos[i].is_patient = true;
		tls_set_owner(duos[i].server, &duos[i]);
	}
	do {
		for (uint32_t i = 0; i < AT_ONCE; i++)
			while (tls_duo_turn(&duos[i], 0))
				;
		filled = run_later(context);
		is_good = is_good && (filled == AT_ONCE || filled == 0);
		batches += filled > 0;
	} while (filled > 0);
	for (uint32_t i = 0; i < AT_ONCE; i++) {
		is_good = tls_duo_exchange(&duos[i]) && is_good;
		tls_duo_fini(&duos[i]);
	}
	tls_context_free(context);
	tls_identity_free(identity);
	printf("%s, version %04x: %u batches\n", scene->chain, scene->version, batches);
	return is_good && batches == scene->batches;
}

int
main(void)
{
	bool is_good = true;

	if (lanes_crypto_mb() == NULL) {
		puts("this build or this processor does not have crypto_mb");
		return SKIPPED;
	}
	for (size_t i = 0; i < COUNT_OF(scenes); i++)
		is_good = shake(&scenes[i]) && is_good;
	return is_good ? 0 : 1;
}
