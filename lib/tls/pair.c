/* Names are dNSName entries of subjectAltName; the common name counts only where there are none
 * (RFC 6125). */
#include "tls/pair.h"

#include <mbedtls/error.h>
#include <mbedtls/oid.h>
#include <mbedtls/pem.h>
#include <mbedtls/sha256.h>

#include "base/check.h"
#include "tls/cert.h"

#define RSA_BITS_MIN 2048
#define RSA_BITS_MAX 4096 /* mbedTLS is slow at more, and one signature is one step of a worker */

/* mbedTLS wants the NUL of a text counted. Returns NULL without memory. */
static uint8_t *
text_copy(struct arena *arena, struct bytes text)
{
	uint8_t *copy = arena_alloc(arena, text.len + 1);

	if (copy != NULL && text.len > 0)
		memcpy(copy, text.ptr, text.len);
	return copy;
}

static enum err
chain_fault(struct pair_fault *fault, const char *sentence, int library)
{
	*fault = (struct pair_fault){ sentence, library };
	return ERR_TLS_BAD_CERTIFICATE;
}

static enum err
key_fault(struct pair_fault *fault, const char *sentence, int library)
{
	*fault = (struct pair_fault){ sentence, library };
	return ERR_TLS_BAD_KEY;
}

static bool
raw_equal(const mbedtls_x509_buf *a, const mbedtls_x509_buf *b)
{
	return bytes_equal(bytes_make(a->p, a->len), bytes_make(b->p, b->len));
}

static bool
kind_is_accepted(const mbedtls_pk_context *key)
{
	size_t bits = mbedtls_pk_get_bitlen(key);

	if (mbedtls_pk_can_do(key, MBEDTLS_PK_RSA))
		return bits >= RSA_BITS_MIN && bits <= RSA_BITS_MAX;
	if (mbedtls_pk_can_do(key, MBEDTLS_PK_ECDSA)) {
		mbedtls_ecp_group_id group = mbedtls_ecp_keypair_get_group_id(mbedtls_pk_ec(*key));

		return group == MBEDTLS_ECP_DP_SECP256R1 || group == MBEDTLS_ECP_DP_SECP384R1;
	}
	return false;
}

/* As a Certificate message has them, each behind its length, in TLS 1.3 before the length of its extensions. */
static size_t
message_bytes(const mbedtls_x509_crt *chain)
{
	size_t bytes = 0;

	for (; chain != NULL; chain = chain->next)
		bytes += chain->raw.len + 5;
	return bytes;
}

static enum err
kind_fault(struct pair_fault *fault)
{
	return chain_fault(fault,
			   "The certificate's key must be ECDSA on P-256 or P-384, or RSA of "
			   "2048 to 4096 bits: make a new key (openssl ecparam -name prime256v1 -genkey).",
			   0);
}

static enum err
parse_chain(struct pair *pair, struct bytes pem, struct arena *arena, struct pair_fault *fault)
{
	uint8_t *text = text_copy(arena, pem);
	int failed;

	if (text == NULL)
		return ERR_TLS_MEMORY;
	/* mbedTLS would take anything else for DER. */
	if (strstr((const char *)text, "-----BEGIN CERTIFICATE-----") == NULL) {
		arena_release(arena, text);
		return chain_fault(fault, "There is no PEM certificate in it: is it the right file?", 0);
	}
	failed = mbedtls_x509_crt_parse(&pair->chain, text, pem.len + 1);
	arena_release(arena, text);
	if (failed > 0)
		return chain_fault(fault,
				   "One certificate of the chain cannot be read: is the file whole, and no RSA "
				   "key longer than 4096 bits?",
				   0);
	/* What the patch of mbedTLS says of a long RSA key. */
	if (failed == MBEDTLS_ERR_X509_FEATURE_UNAVAILABLE)
		return kind_fault(fault);
	if (failed != 0)
		return chain_fault(fault, "The certificate chain cannot be read: is the file whole?", failed);
	for (const mbedtls_x509_crt *crt = &pair->chain; crt->next != NULL; crt = crt->next)
		if (!raw_equal(&crt->issuer_raw, &crt->next->subject_raw))
			return chain_fault(fault,
					   "The chain is out of order: each certificate must be "
					   "followed by that of its issuer, the server's first.",
					   0);
	if (message_bytes(&pair->chain) > CERT_CHAIN_BYTES_MAX)
		return chain_fault(fault,
				   "The chain is longer than 16,000 bytes (without PEM), and no handshake has "
				   "room for it: leave out what is not between the server's and its root.",
				   0);
	if (!kind_is_accepted(&pair->chain.pk))
		return kind_fault(fault);
	if (pair_name(pair, 0).len == 0)
		return chain_fault(fault, "The certificate names no host: it needs a subjectAltName.", 0);
	return ERR_OK;
}

static enum err
parse_key(struct pair *pair, struct bytes pem, struct instance *instance, struct pair_fault *fault)
{
	struct arena *arena = instance_arena(instance);
	uint8_t *text = text_copy(arena, pem);
	int failed;

	if (text == NULL)
		return ERR_TLS_MEMORY;
	if (strstr((const char *)text, "PRIVATE KEY-----") == NULL) {
		arena_release(arena, text);
		return key_fault(fault, "There is no PEM private key in it: is the file whole?", 0);
	}
	failed = mbedtls_pk_parse_key(&pair->key, text, pem.len + 1, NULL, 0, instance_random,
				      instance);
	arena_release(arena, text);
	if (failed == MBEDTLS_ERR_PK_PASSWORD_REQUIRED)
		return key_fault(fault, "The private key is encrypted: write it without a passphrase.", 0);
	if (failed != 0)
		return key_fault(fault, "The private key cannot be read: is the file whole?", failed);
	if (!kind_is_accepted(&pair->key))
		return key_fault(
			fault,
			"The private key must be ECDSA on P-256 or P-384, or RSA of 2048 to "
			"4096 bits.",
			0);
	return ERR_OK;
}

static enum err
parse_both(struct pair *pair, struct bytes chain_pem, struct bytes key_pem,
	   struct instance *instance, struct pair_fault *fault)
{
	enum err verdict;

	if (chain_pem.len > CERT_PEM_BYTES_MAX)
		return chain_fault(fault, "The certificate chain is longer than 64 KiB.", 0);
	if (key_pem.len > CERT_PEM_BYTES_MAX)
		return key_fault(fault, "The private key is longer than 64 KiB.", 0);
	verdict = parse_chain(pair, chain_pem, instance_arena(instance), fault);
	if (verdict == ERR_OK)
		verdict = parse_key(pair, key_pem, instance, fault);
	if (verdict != ERR_OK)
		return verdict;
	if (mbedtls_pk_check_pair(&pair->chain.pk, &pair->key, instance_random, instance) != 0) {
		*fault = (struct pair_fault){
			"The private key does not belong to the certificate: one file is another pair's.", 0
		};
		return ERR_TLS_KEY_MISMATCH;
	}
	return ERR_OK;
}

enum err
pair_parse(struct pair *pair, struct bytes chain_pem, struct bytes key_pem,
	   struct instance *instance, struct pair_fault *fault)
{
	uint64_t refusals = arena_use(instance_arena(instance)).refusals;
	enum err verdict;

	mbedtls_x509_crt_init(&pair->chain);
	mbedtls_pk_init(&pair->key);
	*fault = (struct pair_fault){ NULL, 0 };
	verdict = parse_both(pair, chain_pem, key_pem, instance, fault);
	if (verdict == ERR_OK)
		return ERR_OK;
	pair_free(pair);
	/* mbedTLS reports a failed allocation in many ways. */
	if (arena_use(instance_arena(instance)).refusals != refusals) {
		*fault =
			(struct pair_fault){ "There is not enough memory for the certificate.", 0 };
		return ERR_TLS_MEMORY;
	}
	return verdict;
}

void
pair_free(struct pair *pair)
{
	mbedtls_x509_crt_free(&pair->chain);
	mbedtls_pk_free(&pair->key);
}

enum err
pair_check_time(const struct pair *pair, struct pair_fault *fault)
{
	for (const mbedtls_x509_crt *crt = &pair->chain; crt != NULL; crt = crt->next) {
		bool is_leaf = crt == &pair->chain;

		if (mbedtls_x509_time_is_past(&crt->valid_to)) {
			*fault = (struct pair_fault){
				is_leaf ? "The certificate has expired: get a new one." :
					  "An intermediate certificate has expired: get its issuer's new one.",
				0
			};
			return ERR_TLS_CERTIFICATE_EXPIRED;
		}
		if (mbedtls_x509_time_is_future(&crt->valid_from)) {
			*fault = (struct pair_fault){
				"A certificate of the chain is not valid yet: look at this machine's clock.", 0
			};
			return ERR_TLS_CERTIFICATE_EXPIRED;
		}
	}
	return ERR_OK;
}

static enum pair_match
match_name(struct bytes name, struct bytes host)
{
	const uint8_t *dot;

	if (bytes_equal_nocase(name, host))
		return PAIR_MATCH_EXACT;
	if (name.len < 3 || name.ptr[0] != '*' || name.ptr[1] != '.' || host.len == 0)
		return PAIR_MATCH_NONE;
	dot = memchr(host.ptr, '.', host.len);
	if (dot == NULL || dot == host.ptr)
		return PAIR_MATCH_NONE;
	if (!bytes_equal_nocase(bytes_after(name, 1), bytes_after(host, (size_t)(dot - host.ptr))))
		return PAIR_MATCH_NONE;
	return PAIR_MATCH_WILDCARD;
}

static bool
is_dns_name(const mbedtls_x509_sequence *entry)
{
	return (entry->buf.tag & (MBEDTLS_ASN1_TAG_CLASS_MASK | MBEDTLS_ASN1_TAG_VALUE_MASK)) ==
	       (MBEDTLS_ASN1_CONTEXT_SPECIFIC | MBEDTLS_X509_SAN_DNS_NAME);
}

static struct bytes
common_name(const struct pair *pair)
{
	for (const mbedtls_x509_name *part = &pair->chain.subject; part != NULL; part = part->next)
		if (part->oid.p != NULL && MBEDTLS_OID_CMP(MBEDTLS_OID_AT_CN, &part->oid) == 0)
			return bytes_make(part->val.p, part->val.len);
	return BYTES_NONE;
}

struct bytes
pair_name(const struct pair *pair, size_t index)
{
	const mbedtls_x509_sequence *entry = &pair->chain.subject_alt_names;
	size_t seen = 0;

	for (; entry != NULL && entry->buf.p != NULL; entry = entry->next)
		if (is_dns_name(entry) && entry->buf.len > 0 && seen++ == index)
			return bytes_make(entry->buf.p, entry->buf.len);
	return seen == 0 && index == 0 ? common_name(pair) : BYTES_NONE;
}

/* Days since 1970 of a date of the Gregorian calendar (Howard Hinnant's days_from_civil); years begin in March. */
static int64_t
days_of(int64_t year, int64_t month, int64_t day)
{
	int64_t y = month <= 2 ? year - 1 : year;
	int64_t era = y / 400;
	int64_t year_of_era = y - era * 400;
	int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

int64_t
pair_unix_s(const mbedtls_x509_time *time)
{
	return days_of(time->year, time->mon, time->day) * 86400 + time->hour * 3600 + time->min * 60 + time->sec;
}

void
pair_facts(const struct pair *pair, struct identity_facts *facts)
{
	struct bytes name = pair_name(pair, 0);
	size_t len = name.len < sizeof(facts->name) ? name.len : sizeof(facts->name) - 1;

	facts->is_rsa = mbedtls_pk_can_do(&pair->chain.pk, MBEDTLS_PK_RSA);
	facts->not_before_s = pair_unix_s(&pair->chain.valid_from);
	facts->not_after_s = pair_unix_s(&pair->chain.valid_to);
	for (const mbedtls_x509_crt *crt = pair->chain.next; crt != NULL; crt = crt->next)
		if (pair_unix_s(&crt->valid_to) < facts->not_after_s)
			facts->not_after_s = pair_unix_s(&crt->valid_to);
	CHECK(mbedtls_sha256(pair->chain.raw.p, pair->chain.raw.len, facts->fingerprint, 0) == 0);
	/* It goes into logs and labels. */
	for (size_t i = 0; i < len; i++)
		facts->name[i] = name.ptr[i] > ' ' && name.ptr[i] < 0x7f && name.ptr[i] != '"' &&
						 name.ptr[i] != '\\' ?
					 (char)name.ptr[i] :
					 '?';
	facts->name[len] = '\0';
}

enum pair_match
pair_match(const struct pair *pair, struct bytes host)
{
	const mbedtls_x509_sequence *entry = &pair->chain.subject_alt_names;
	enum pair_match best = PAIR_MATCH_NONE;
	bool any = false;

	for (; entry != NULL && entry->buf.p != NULL; entry = entry->next) {
		enum pair_match match;

		if (!is_dns_name(entry))
			continue;
		any = true;
		match = match_name(bytes_make(entry->buf.p, entry->buf.len), host);
		if (match > best)
			best = match;
	}
	return any ? best : match_name(common_name(pair), host);
}
