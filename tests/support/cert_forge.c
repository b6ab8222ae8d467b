/* DER, written from its end (mbedtls/asn1write.h). */
#include "cert_forge.h"

#include <mbedtls/asn1write.h>
#include <mbedtls/base64.h>
#include <mbedtls/ecp.h>
#include <mbedtls/oid.h>
#include <mbedtls/pk.h>
#include <mbedtls/platform.h>
#include <mbedtls/sha256.h>
#include <mbedtls/sha512.h>
#include <stdio.h>

#include "base/check.h"
#include "cert_file.h"
#include "seeded.h"
#include "tls/instance.h"

#define SEQUENCE (MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SEQUENCE)
#define SET (MBEDTLS_ASN1_CONSTRUCTED | MBEDTLS_ASN1_SET)
#define CONTEXT(number) ((uint8_t)(MBEDTLS_ASN1_CONTEXT_SPECIFIC | MBEDTLS_ASN1_CONSTRUCTED | (number)))
#define PEM_BYTES (64 * 1024)

/* The workshop: keys are read and signatures made in it. */
static struct {
	struct instance *instance;
	struct seeded seed;
} shop;

struct der {
	uint8_t bytes[CERT_FORGED_BYTES_MAX];
	uint8_t *from; /* up to the end */
};

static void
begin(struct der *der)
{
	der->from = der->bytes + sizeof(der->bytes);
}

static size_t
length(const struct der *der)
{
	return (size_t)(der->bytes + sizeof(der->bytes) - der->from);
}

static void
put(struct der *der, const void *bytes, size_t len)
{
	CHECK(mbedtls_asn1_write_raw_buffer(&der->from, der->bytes, bytes, len) >= 0);
}

/* Around all that was written since there were so many bytes. */
static void
wrap(struct der *der, size_t since, uint8_t tag)
{
	CHECK(mbedtls_asn1_write_len(&der->from, der->bytes, length(der) - since) > 0);
	CHECK(mbedtls_asn1_write_tag(&der->from, der->bytes, tag) > 0);
}

static void
wrap_bits(struct der *der, size_t since)
{
	put(der, "", 1);
	wrap(der, since, MBEDTLS_ASN1_BIT_STRING);
}

#define PUT_OID(der, oid) CHECK(mbedtls_asn1_write_oid(&(der)->from, (der)->bytes, oid, sizeof(oid) - 1) > 0)

static void
put_name(struct der *der, const char *text)
{
	size_t since = length(der);

	CHECK(mbedtls_asn1_write_utf8_string(&der->from, der->bytes, text, strlen(text)) > 0);
	PUT_OID(der, MBEDTLS_OID_AT_CN);
	wrap(der, since, SEQUENCE);
	wrap(der, since, SET);
	wrap(der, since, SEQUENCE);
}

static void
put_validity(struct der *der, bool is_expired)
{
	const char *until = is_expired ? "010101000000Z" : "491231235959Z";
	size_t since = length(der);

	put(der, until, 13);
	wrap(der, since, MBEDTLS_ASN1_UTC_TIME);
	put(der, "000101000000Z", 13);
	CHECK(mbedtls_asn1_write_len(&der->from, der->bytes, 13) > 0);
	CHECK(mbedtls_asn1_write_tag(&der->from, der->bytes, MBEDTLS_ASN1_UTC_TIME) > 0);
	wrap(der, since, SEQUENCE);
}

/* --- keys -------------------------------------------------------------------------------------- */

static void
read_key(const char *name, mbedtls_pk_context *key)
{
	struct bytes pem;
	char file[32];
	uint8_t text[2048];

	snprintf(file, sizeof(file), "%s.key", name);
	pem = cert_file(file);
	CHECK(pem.len < sizeof(text));
	memcpy(text, pem.ptr, pem.len);
	text[pem.len] = '\0';
	mbedtls_pk_init(key);
	CHECK(mbedtls_pk_parse_key(key, text, pem.len + 1, NULL, 0, instance_random, shop.instance) == 0);
	CHECK(mbedtls_pk_can_do(key, MBEDTLS_PK_ECDSA));
}

static bool
is_p384(const mbedtls_pk_context *key)
{
	return mbedtls_pk_get_bitlen(key) == 384;
}

static void
put_ec_key(struct der *der, const char *name)
{
	size_t since = length(der), len = 0, parameters;
	mbedtls_pk_context key;
	uint8_t point[128];

	read_key(name, &key);
	CHECK(mbedtls_ecp_write_public_key(mbedtls_pk_ec(key), MBEDTLS_ECP_PF_UNCOMPRESSED, &len, point,
					   sizeof(point)) == 0);
	put(der, point, len);
	wrap_bits(der, since);
	parameters = length(der);
	if (is_p384(&key))
		PUT_OID(der, MBEDTLS_OID_EC_GRP_SECP384R1);
	else
		PUT_OID(der, MBEDTLS_OID_EC_GRP_SECP256R1);
	PUT_OID(der, MBEDTLS_OID_EC_ALG_UNRESTRICTED);
	wrap(der, parameters, SEQUENCE);
	wrap(der, since, SEQUENCE);
	mbedtls_pk_free(&key);
}

/* Odd, and of exactly so many bits. */
static void
put_number(struct der *der, uint32_t bits)
{
	uint8_t number[2048];
	size_t len = (bits + 7) / 8;
	size_t since = length(der);

	CHECK(len <= sizeof(number) && bits > 1);
	CHECK(instance_random(shop.instance, number, len) == 0);
	number[0] = (uint8_t)(number[0] & (0xffu >> (8 * len - bits)));
	number[0] = (uint8_t)(number[0] | 1u << ((bits - 1) % 8));
	number[len - 1] |= 1;
	put(der, number, len);
	if (number[0] & 0x80)
		put(der, "", 1);
	wrap(der, since, MBEDTLS_ASN1_INTEGER);
}

static void
put_rsa_key(struct der *der, uint32_t bits, uint32_t exponent_bits)
{
	size_t since = length(der), parameters;

	put_number(der, exponent_bits);
	put_number(der, bits);
	wrap(der, since, SEQUENCE);
	wrap_bits(der, since);
	parameters = length(der);
	CHECK(mbedtls_asn1_write_null(&der->from, der->bytes) > 0);
	PUT_OID(der, MBEDTLS_OID_PKCS1_RSA);
	wrap(der, parameters, SEQUENCE);
	wrap(der, since, SEQUENCE);
}

/* --- signatures -------------------------------------------------------------------------------- */

static void
put_algorithm(struct der *der, const mbedtls_pk_context *signer)
{
	size_t since = length(der);

	if (signer == NULL) {
		CHECK(mbedtls_asn1_write_null(&der->from, der->bytes) > 0);
		PUT_OID(der, MBEDTLS_OID_PKCS1_SHA256);
	} else if (is_p384(signer)) {
		PUT_OID(der, MBEDTLS_OID_ECDSA_SHA384);
	} else {
		PUT_OID(der, MBEDTLS_OID_ECDSA_SHA256);
	}
	wrap(der, since, SEQUENCE);
}

static size_t
sign(const struct cert_plan *plan, mbedtls_pk_context *signer, struct bytes text, uint8_t to[1024])
{
	mbedtls_md_type_t kind = MBEDTLS_MD_SHA256;
	uint8_t hash[48];
	size_t len = 0;

	if (signer == NULL) {
		len = (plan->rsa_bits + 7) / 8;
		CHECK(len <= 1024 && instance_random(shop.instance, to, len) == 0);
		to[0] = 0; /* below any modulus of this length */
		return len;
	}
	if (is_p384(signer)) {
		kind = MBEDTLS_MD_SHA384;
		CHECK(mbedtls_sha512(text.ptr, text.len, hash, 1) == 0);
	} else {
		CHECK(mbedtls_sha256(text.ptr, text.len, hash, 0) == 0);
	}
	if (plan->is_forged)
		hash[0] ^= 1;
	CHECK(mbedtls_pk_sign(signer, kind, hash, is_p384(signer) ? 48 : 32, to, 1024, &len, instance_random,
			      shop.instance) == 0);
	return len;
}

/* --- a certificate ----------------------------------------------------------------------------- */

/* basicConstraints with cA, critical. */
static void
put_constraints(struct der *der)
{
	size_t since = length(der);

	CHECK(mbedtls_asn1_write_bool(&der->from, der->bytes, 1) > 0);
	wrap(der, since, SEQUENCE);
	wrap(der, since, MBEDTLS_ASN1_OCTET_STRING);
	CHECK(mbedtls_asn1_write_bool(&der->from, der->bytes, 1) > 0);
	PUT_OID(der, MBEDTLS_OID_BASIC_CONSTRAINTS);
	wrap(der, since, SEQUENCE);
}

/* subjectAltName of one dNSName. */
static void
put_alternative(struct der *der, const char *dns)
{
	size_t since = length(der);

	put(der, dns, strlen(dns));
	wrap(der, since, MBEDTLS_ASN1_CONTEXT_SPECIFIC | 2);
	wrap(der, since, SEQUENCE);
	wrap(der, since, MBEDTLS_ASN1_OCTET_STRING);
	PUT_OID(der, MBEDTLS_OID_SUBJECT_ALT_NAME);
	wrap(der, since, SEQUENCE);
}

static void
put_extensions(struct der *der, const struct cert_plan *plan)
{
	size_t since = length(der);

	if (plan->is_ca)
		put_constraints(der);
	if (plan->dns != NULL)
		put_alternative(der, plan->dns);
	if (length(der) == since)
		return;
	wrap(der, since, SEQUENCE);
	wrap(der, since, CONTEXT(3));
}

static void
put_text(struct der *der, const struct cert_plan *plan, const mbedtls_pk_context *signer)
{
	size_t since = length(der), version;

	put_extensions(der, plan);
	if (plan->key != NULL)
		put_ec_key(der, plan->key);
	else
		put_rsa_key(der, plan->rsa_bits, plan->exponent_bits);
	put_name(der, plan->subject);
	put_validity(der, plan->is_expired);
	put_name(der, plan->issuer);
	put_algorithm(der, signer);
	CHECK(mbedtls_asn1_write_int(&der->from, der->bytes, 1) > 0);
	version = length(der);
	CHECK(mbedtls_asn1_write_int(&der->from, der->bytes, 2) > 0);
	wrap(der, version, CONTEXT(0));
	wrap(der, since, SEQUENCE);
}

static void
forge(const struct cert_plan *plan, mbedtls_pk_context *signer, struct cert_forged *to)
{
	struct der text, whole;
	uint8_t signature[1024];
	size_t len;

	begin(&text);
	put_text(&text, plan, signer);
	len = sign(plan, signer, bytes_make(text.from, length(&text)), signature);
	begin(&whole);
	put(&whole, signature, len);
	wrap_bits(&whole, 0);
	put_algorithm(&whole, signer);
	put(&whole, text.from, length(&text));
	wrap(&whole, 0, SEQUENCE);
	to->len = length(&whole);
	memcpy(to->der, whole.from, to->len);
}

void
cert_forge(const struct cert_plan *plan, struct cert_forged *to)
{
	struct instance *before;
	mbedtls_pk_context signer;

	if (shop.instance == NULL)
		shop.instance = instance_new(256 * 1024, seeded_entropy, &shop.seed);
	CHECK(shop.instance != NULL);
	before = instance_enter(shop.instance);
	if (plan->signer != NULL)
		read_key(plan->signer, &signer);
	forge(plan, plan->signer != NULL ? &signer : NULL, to);
	if (plan->signer != NULL)
		mbedtls_pk_free(&signer);
	instance_leave(before);
}

struct bytes
cert_forge_pem(const struct cert_forged *chain, size_t count)
{
	static char pem[PEM_BYTES];
	size_t at = 0;

	for (size_t i = 0; i < count; i++) {
		size_t len = 0;

		at += (size_t)snprintf(pem + at, sizeof(pem) - at, "-----BEGIN CERTIFICATE-----\n");
		CHECK(mbedtls_base64_encode((unsigned char *)pem + at, sizeof(pem) - at, &len, chain[i].der,
					    chain[i].len) == 0);
		at += len;
		at += (size_t)snprintf(pem + at, sizeof(pem) - at, "\n-----END CERTIFICATE-----\n");
	}
	return bytes_make((uint8_t *)pem, at);
}

static void
say(mbedtls_x509_crt *crt, const struct cert_forged *said)
{
	crt->raw.p = mbedtls_calloc(1, said->len);
	CHECK(crt->raw.p != NULL);
	memcpy(crt->raw.p, said->der, said->len);
	crt->raw.len = said->len;
	crt->MBEDTLS_PRIVATE(own_buffer) = 1;
}

void
cert_say_instead(mbedtls_x509_crt *own, const struct cert_forged *said, size_t count)
{
	CHECK(count > 0 && own->next == NULL);
	for (mbedtls_x509_crt *last = own; --count > 0; last = last->next) {
		last->next = mbedtls_calloc(1, sizeof(*last));
		CHECK(last->next != NULL);
		mbedtls_x509_crt_init(last->next);
	}
	/* What was parsed points into the old text, which is the arena's until the end. */
	for (mbedtls_x509_crt *crt = own; crt != NULL; crt = crt->next)
		say(crt, said++);
}
