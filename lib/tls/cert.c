/*
 * mbedTLS wants random numbers to blind its arithmetic on the key. They are made from the key
 * itself, so that this needs no source of entropy and gives the same answer every time.
 */
#include "tls/cert.h"

#include <mbedtls/error.h>
#include <mbedtls/sha256.h>
#include <stdio.h>

#include "base/check.h"
#include "tls/pair.h"

/* The texts, their DER, what is parsed from it, and mbedTLS's temporaries. */
#define HEAP_BYTES (1024u * 1024)

struct blinding {
	struct bytes key;
	uint32_t counter;
};

static int
blind(void *owner, uint8_t *to, size_t len)
{
	struct blinding *blinding = owner;
	mbedtls_sha256_context sha;
	uint8_t hash[32];

	while (len > 0) {
		size_t part = len < sizeof(hash) ? len : sizeof(hash);

		mbedtls_sha256_init(&sha);
		CHECK(mbedtls_sha256_starts(&sha, 0) == 0);
		CHECK(mbedtls_sha256_update(&sha, (const uint8_t *)&blinding->counter,
					    sizeof(blinding->counter)) == 0);
		CHECK(mbedtls_sha256_update(&sha, blinding->key.ptr, blinding->key.len) == 0);
		CHECK(mbedtls_sha256_finish(&sha, hash) == 0);
		mbedtls_sha256_free(&sha);
		memcpy(to, hash, part);
		to += part;
		len -= part;
		blinding->counter++;
	}
	explicit_bzero(hash, sizeof(hash));
	return 0;
}

static void
describe(const struct pair_fault *fault, char *text, size_t room)
{
	char detail[128];

	if (room == 0)
		return;
	if (fault->library == 0) {
		snprintf(text, room, "%s", fault->sentence);
		return;
	}
	mbedtls_strerror(fault->library, detail, sizeof(detail));
	snprintf(text, room, "%s (%s)", fault->sentence, detail);
}

static enum err
check_in(struct instance *instance, struct bytes chain_pem, struct bytes key_pem, int64_t now_s,
	 struct pair_fault *fault)
{
	struct pair pair;
	enum err verdict = pair_parse(&pair, chain_pem, key_pem, instance, fault);

	if (verdict != ERR_OK)
		return verdict;
	instance_set_time(instance, now_s);
	if (now_s != CERT_ANY_TIME && !pair_is_in_time(&pair)) {
		*fault = (struct pair_fault){
			"A certificate of the chain has expired, or is not valid yet.", 0
		};
		verdict = ERR_TLS_CERTIFICATE_EXPIRED;
	}
	pair_free(&pair);
	return verdict;
}

enum err
cert_check(struct bytes chain_pem, struct bytes key_pem, int64_t now_s, char *text, size_t room)
{
	struct blinding blinding = { .key = key_pem };
	struct instance *instance = instance_new(HEAP_BYTES, blind, &blinding);
	struct pair_fault fault = { "There is not enough memory to check the certificate.", 0 };
	enum err verdict = ERR_TLS_MEMORY;

	if (instance != NULL) {
		struct instance *before = instance_enter(instance);

		verdict = check_in(instance, chain_pem, key_pem, now_s, &fault);
		instance_leave(before);
		instance_free(instance);
	}
	if (verdict != ERR_OK)
		describe(&fault, text, room);
	else if (room > 0)
		text[0] = '\0';
	return verdict;
}
