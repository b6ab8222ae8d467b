/*
 * What a stranger's certificates cost, in verifications, whatever he sends: counted where mbedTLS asks for them
 * (sluice_mbedtls_hooks.h), which the linker leads by here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <sluice_mbedtls_hooks.h>

#include "base/units.h"
#include "cert_file.h"
#include "cert_forge.h"
#include "tls/cert.h"
#include "tls/conn.h"
#include "tls_duo.h"
#include "tls_pairing.h"

#define MTLS 1 /* the listener */
#define SAID_MAX 12

static const uint16_t versions[] = { 0x0303, 0x0304 };

static int verifications;

int __real_instance_ecp_muladd(mbedtls_ecp_group *group, mbedtls_ecp_point *result, const mbedtls_mpi *a,
			       const mbedtls_ecp_point *generator, const mbedtls_mpi *b,
			       const mbedtls_ecp_point *point);
int __wrap_instance_ecp_muladd(mbedtls_ecp_group *group, mbedtls_ecp_point *result, const mbedtls_mpi *a,
			       const mbedtls_ecp_point *generator, const mbedtls_mpi *b,
			       const mbedtls_ecp_point *point);
int __real_instance_mpi_exp_mod(mbedtls_mpi *result, const mbedtls_mpi *base, const mbedtls_mpi *power,
				bool is_public, const mbedtls_mpi *modulus);
int __wrap_instance_mpi_exp_mod(mbedtls_mpi *result, const mbedtls_mpi *base, const mbedtls_mpi *power,
				bool is_public, const mbedtls_mpi *modulus);

/* ECDSA's. */
int
__wrap_instance_ecp_muladd(mbedtls_ecp_group *group, mbedtls_ecp_point *result, const mbedtls_mpi *a,
			   const mbedtls_ecp_point *generator, const mbedtls_mpi *b,
			   const mbedtls_ecp_point *point)
{
	verifications++;
	return __real_instance_ecp_muladd(group, result, a, generator, b, point);
}

/* RSA's, and nothing else here. */
int
__wrap_instance_mpi_exp_mod(mbedtls_mpi *result, const mbedtls_mpi *base, const mbedtls_mpi *power,
			    bool is_public, const mbedtls_mpi *modulus)
{
	verifications += is_public;
	return __real_instance_mpi_exp_mod(result, base, power, is_public, modulus);
}

/* --- what is said ------------------------------------------------------------------------------ */

#define LEAF(by, with) { .subject = "api.sluice.test", .issuer = (by), .key = "edge", .signer = (with) }
#define CA(name, own, by, with) \
	{ .subject = (name), .issuer = (by), .key = (own), .signer = (with), .is_ca = true }

/* Of the authority, whose key is wild.key, all know that it is called "root". */
static const struct cert_plan root = CA("root", "wild", "root", "wild");

struct row {
	const char *name;
	struct cert_plan said[SAID_MAX]; /* without a subject: the end */
	struct cert_plan again; /* behind them, */
	size_t times;
	int verifications; /* of the chain; what proves the key comes on top when it is believed */
	enum err verdict;
};

static const struct row rows[] = {
	{ "the authority's own", { LEAF("root", "wild") }, .verifications = 1 },
	{ "four between", { LEAF("i", "chain"), CA("i", "chain", "j", "p384"), CA("j", "p384", "k", "chain"),
			    CA("k", "chain", "l", "addresses"), CA("l", "addresses", "root", "wild") },
	  .verifications = 5 },
	{ "five between", { LEAF("i", "chain"), CA("i", "chain", "j", "p384"), CA("j", "p384", "k", "chain"),
			    CA("k", "chain", "l", "addresses"), CA("l", "addresses", "m", "addresses"),
			    CA("m", "addresses", "root", "wild") },
	  .verifications = 5, .verdict = ERR_TLS_PEER_UNFIT },
	{ "one between, expired", { LEAF("i", "chain"), { .subject = "i", .issuer = "root", .key = "chain",
							   .signer = "wild", .is_ca = true, .is_expired = true } },
	  .verifications = 2, .verdict = ERR_TLS_PEER_EXPIRED },
	/* What has been signed anew has two certificates for a while. */
	{ "the expired one first", { LEAF("i", "chain"), { .subject = "i", .issuer = "root", .key = "chain",
							    .signer = "wild", .is_ca = true, .is_expired = true },
				     CA("i", "chain", "root", "wild") },
	  .verifications = 2 },
	{ "the expired one last", { LEAF("i", "chain"), CA("i", "chain", "root", "wild"),
				    { .subject = "i", .issuer = "root", .key = "chain", .signer = "wild",
				      .is_ca = true, .is_expired = true } },
	  .verifications = 2 },
	{ "another authority's first", { LEAF("i", "chain"), CA("i", "chain", "elsewhere", "p384"),
					 CA("elsewhere", "p384", "root", "wild") },
	  .verifications = 3 },
	{ "a namesake of another kind", { LEAF("i", "chain"), { .subject = "i", .issuer = "root", .rsa_bits = 2048,
								 .exponent_bits = 17, .is_ca = true },
					  CA("i", "chain", "root", "wild") },
	  .verifications = 2 },
	{ "eight more than are needed", { LEAF("root", "wild") }, CA("x", "chain", "x", "chain"), 8,
	  .verifications = 1 },
	{ "nine more", { LEAF("root", "wild") }, CA("x", "chain", "x", "chain"), 9,
	  .verdict = ERR_TLS_PEER_UNFIT },
	/* Made up: each might have signed each, and none has. */
	{ "expired, P-256", { LEAF("a", "chain") },
	  { .subject = "a", .issuer = "a", .key = "wild", .signer = "chain", .is_forged = true, .is_ca = true,
	    .is_expired = true }, 8, .verifications = 1, .verdict = ERR_TLS_PEER_UNKNOWN },
	{ "expired, P-384", { LEAF("a", "p384") },
	  { .subject = "a", .issuer = "a", .key = "p384", .signer = "p384", .is_forged = true, .is_ca = true,
	    .is_expired = true }, 8, .verifications = 2, .verdict = ERR_TLS_PEER_UNKNOWN },
	{ "in force, P-256", { LEAF("a", "chain") },
	  { .subject = "a", .issuer = "a", .key = "wild", .signer = "chain", .is_forged = true, .is_ca = true }, 8,
	  .verifications = 1, .verdict = ERR_TLS_PEER_UNKNOWN },
	{ "RSA", { { .subject = "api.sluice.test", .issuer = "a", .key = "edge", .rsa_bits = 4096 } },
	  { .subject = "a", .issuer = "a", .rsa_bits = 4096, .exponent_bits = 32, .is_ca = true,
	    .is_expired = true }, 8, .verifications = 1, .verdict = ERR_TLS_PEER_UNKNOWN },
	{ "RSA, a long exponent", { { .subject = "api.sluice.test", .issuer = "a", .key = "edge",
				      .rsa_bits = 2048 } },
	  { .subject = "a", .issuer = "a", .rsa_bits = 2048, .exponent_bits = 33, .is_ca = true }, 1,
	  .verdict = ERR_TLS_PEER_UNFIT },
	{ "RSA, a long modulus", { { .subject = "api.sluice.test", .issuer = "a", .key = "edge",
				     .rsa_bits = 4104 } },
	  { .subject = "a", .issuer = "a", .rsa_bits = 4104, .exponent_bits = 17, .is_ca = true }, 1,
	  .verdict = ERR_TLS_PEER_UNFIT },
	{ "RSA, a long key of the first", { { .subject = "api.sluice.test", .issuer = "root", .rsa_bits = 8192,
					      .exponent_bits = 8190, .signer = "wild" } },
	  .verdict = ERR_TLS_PEER_UNFIT },
	/* Good signatures of somebody who took the authority's name: each is compared with that one's key, too. */
	{ "the authority's name", { LEAF("root", "chain") }, CA("root", "chain", "root", "chain"), 8,
	  .verifications = 10, .verdict = ERR_TLS_PEER_UNFIT },
};

static struct cert_forged said[SAID_MAX];

static size_t
forge(const struct row *row)
{
	size_t count = 0;

	while (count < SAID_MAX && row->said[count].subject != NULL) {
		cert_forge(&row->said[count], &said[count]);
		count++;
	}
	for (size_t i = 0; i < row->times; i++) {
		assert_true(count < SAID_MAX);
		cert_forge(&row->again, &said[count++]);
	}
	return count;
}

static struct bytes
root_pem(void)
{
	struct cert_forged forged;

	cert_forge(&root, &forged);
	return cert_forge_pem(&forged, 1);
}

static void
compare(const struct row *row, const char *where, uint16_t version, enum err verdict, int dear)
{
	int expected = row->verifications + (row->verdict == ERR_OK);

	if (verdict != row->verdict || dear != expected)
		fail_msg("%s, %s, %x: %s after %d verifications", row->name, where, version, err_name(verdict),
			 dear);
}

/* --- clients ----------------------------------------------------------------------------------- */

/* The client itself verifies our certificate and who has its key. */
#define VERIFICATIONS_OF_CLIENT 2

static struct tls_duo duo;

static struct tls_context *
context_that_believes_root(void)
{
	static struct seeded seed;
	struct tls_identity *identity = tls_identity_new();
	char text[CERT_TEXT_BYTES];
	struct tls_context *context;

	for (uint32_t listener = 0; listener <= MTLS; listener++)
		assert_int_equal(tls_identity_add(identity, listener, cert_file("edge.pem"), cert_file("edge.key"),
						  CERT_ANY_TIME, text, sizeof(text)),
				 ERR_OK);
	assert_int_equal(tls_identity_add_client_ca(identity, MTLS, root_pem(), text, sizeof(text)), ERR_OK);
	seed.state = 1;
	context = tls_duo_context(identity, 2, &seed, 0x11);
	tls_identity_free(identity);
	return context;
}

static void
come_in(struct tls_context *context, uint16_t version, size_t count)
{
	struct tls_client_config config = tls_duo_client_of(version);

	config.cert_pem = cert_file("edge.pem");
	config.key_pem = cert_file("edge.key");
	config.said = said;
	config.said_count = count;
	tls_duo_init(&duo, context, &config);
	tls_conn_free(duo.server);
	duo.server = tls_accept(context, MTLS, false);
	verifications = 0;
	(void)tls_duo_shake(&duo, 0);
}

static void
a_clients_certificates_cost_a_signature_each_level(void **state)
{
	struct tls_context *context = context_that_believes_root();

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++)
		for (size_t i = 0; i < COUNT_OF(rows); i++) {
			come_in(context, versions[v], forge(&rows[i]));
			compare(&rows[i], "client", versions[v], duo.server_verdict,
				verifications - VERIFICATIONS_OF_CLIENT);
			tls_duo_fini(&duo);
		}
	tls_context_free(context);
}

/* --- backends ---------------------------------------------------------------------------------- */

static struct pairing pairing;

static void
meet(const struct row *row, uint16_t version, const struct tls_target *target)
{
	struct pairing_options options = { .chain = "edge", .authority = "ca", .believed = root_pem() };
	size_t count = forge(row);
	struct instance *before;

	pairing_open(&pairing, &options);
	pairing.only_12 = version == 0x0303;
	before = instance_enter(pairing.theirs->instance);
	cert_say_instead(&pairing.theirs->keys->pairs[0].chain, said, count);
	instance_leave(before);
	pairing_connect(&pairing, target);
	verifications = 0;
	(void)pairing_shake(&pairing, 0);
	pairing_part(&pairing);
	pairing_close(&pairing);
}

static void
a_backends_certificates_cost_a_signature_each_level(void **state)
{
	struct tls_target target = pairing_target("api.sluice.test");

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++)
		for (size_t i = 0; i < COUNT_OF(rows); i++) {
			meet(&rows[i], versions[v], &target);
			compare(&rows[i], "backend", versions[v], pairing.client_verdict, verifications);
		}
}

static void
with_a_pin_alone_no_chain_costs_anything(void **state)
{
	static const struct row long_one = { "eight in force", { LEAF("a", "chain") },
					     CA("a", "chain", "a", "chain"), 8, .verifications = 0 };
	struct row row = long_one;
	struct tls_target target = pairing_pinned("edge");

	(void)state;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		meet(&row, versions[v], &target);
		compare(&row, "pinned", versions[v], pairing.client_verdict, verifications);
	}
	target.pins[0][0] ^= 1;
	row.verdict = ERR_TLS_PEER_PIN;
	for (size_t v = 0; v < COUNT_OF(versions); v++) {
		meet(&row, versions[v], &target);
		compare(&row, "pinned elsewhere", versions[v], pairing.client_verdict, verifications);
	}
}

/* --- authorities ------------------------------------------------------------------------------- */

static void
an_authority_with_a_long_key_is_none(void **state)
{
	static const struct cert_plan large = { .subject = "root", .issuer = "root", .rsa_bits = 8192,
						.exponent_bits = 17, .is_ca = true };
	struct tls_identity *identity = tls_identity_new();
	struct tls_authorities *authorities = tls_authorities_new();
	struct cert_forged both[2];
	char text[CERT_TEXT_BYTES];
	uint32_t skipped = 0;

	(void)state;
	cert_forge(&large, &both[0]);
	cert_forge(&root, &both[1]);
	assert_int_equal(tls_identity_add_client_ca(identity, 0, cert_forge_pem(both, 2), text, sizeof(text)),
			 ERR_TLS_BAD_CERTIFICATE);
	assert_non_null(strstr(text, "4096 bits"));
	assert_int_equal(tls_authorities_add(authorities, "bundle", cert_forge_pem(both, 2), &skipped, text,
					     sizeof(text)),
			 ERR_OK);
	assert_int_equal(skipped, 1);
	tls_authorities_free(authorities);
	tls_identity_free(identity);
}

int
main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_clients_certificates_cost_a_signature_each_level),
		cmocka_unit_test(a_backends_certificates_cost_a_signature_each_level),
		cmocka_unit_test(with_a_pin_alone_no_chain_costs_anything),
		cmocka_unit_test(an_authority_with_a_long_key_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
